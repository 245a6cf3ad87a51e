"""Figures of brain responses and of the networks that predict them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nbtools.conditions import color
from nbtools.plots.style import (
    BOTTOM,
    INK,
    LEFT,
    PALE,
    RIGHT,
    TEMPLATE,
    TOP,
    WIDTH,
    check_names,
    check_table,
    faded,
    new_figure,
    ordered,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def regions(volume: nib.Nifti1Image, names: Sequence[str], *, title: str) -> Figure:
    """Draw regions on six axial slices with nilearn, in their fixed colours.

    Parameters
    ----------
    volume : Nifti1Image
        Labels (x, y, z) as `nbtools.data.brains.nsd.roi_volume` gives them: 1 for the first of `names`, and so on.
    names : sequence of str
        The regions.
    title : str
        Title, with `Study.title`.
    """
    # These take a second to import; only this figure needs them.
    from matplotlib import pyplot as plt
    from matplotlib.colors import ListedColormap
    from nilearn import plotting

    figure = plt.figure(figsize=(11, 2.8))
    palette = ListedColormap([color(roi) for roi in names])
    look: dict = {"alpha": 1, "black_bg": False, "annotate": False, "draw_cross": False, "colorbar": False}
    slices: dict = {"display_mode": "z", "cut_coords": 6, "bg_img": None}
    plotting.plot_roi(
        volume, cmap=palette, vmin=1, vmax=len(names), figure=figure, axes=(0, 0.1, 1, 0.75), **slices, **look
    )
    handles = [plt.Rectangle((0, 0), 1, 1, color=color(roi)) for roi in names]
    figure.legend(handles, names, loc="lower center", ncols=len(names), frameon=False)
    figure.suptitle(f"{title}: axial slices, lowest first", x=0.01, ha="left")
    plt.close(figure)  # a notebook shows the returned figure; an open one would be shown twice
    return figure


def noise_ceilings(
    table: pd.DataFrame, published: Mapping[str, tuple[float, float]] | None = None, *, title: str
) -> go.Figure:
    """Show the distribution of voxels' noise ceilings in each region.

    Parameters
    ----------
    table : DataFrame
        One row per voxel: ``roi``, ``voxel``, ``noise_ceiling`` (percent of variance).
    published : mapping of roi → (mean, SD), optional
        Values to compare with, drawn as open diamonds.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty or lacks a column.
    """
    check_table(table, ("roi", "voxel", "noise_ceiling"))
    rois = ordered(table["roi"])
    fig = new_figure(title, "region", "noise ceiling (% of variance)")
    for place, roi in enumerate(rois):
        values = table.loc[table["roi"] == roi, "noise_ceiling"]
        fig.add_violin(
            x0=place,
            y=values,
            name=roi,
            width=0.8,
            points=False,
            spanmode="hard",
            line={"color": color(roi), "width": 1.5},
            fillcolor=faded(color(roi), 0.25),
            showlegend=False,
            hoverinfo="skip",
        )
    stats = table.groupby("roi")["noise_ceiling"].agg(["mean", "std", "size"]).loc[rois]
    _mean_sd(fig, np.arange(len(rois)), stats["mean"], stats["std"], "mean ± SD of voxels", "circle")
    shown = [roi for roi in rois if published and roi in published]
    if published and shown:
        means, sds = zip(*(published[roi] for roi in shown), strict=True)
        _mean_sd(fig, [rois.index(roi) + 0.3 for roi in shown], means, sds, "published", "diamond-open")
    ticks = [f"<b>{roi}</b><br>n = {stats.loc[roi, 'size']}" for roi in rois]
    return fig.update_xaxes(tickvals=np.arange(len(rois)), ticktext=ticks)


def predictor_scores(table: pd.DataFrame, *, title: str) -> go.Figure:
    """Show each region's pattern correlations over images, beside its shuffled control.

    Parameters
    ----------
    table : DataFrame
        One row per image: ``roi``, ``image_id``, ``pattern_r``, ``control`` (``trained`` or ``shuffled``).
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty or lacks a column, or ``control`` holds something else.
    """
    check_table(table, ("roi", "image_id", "pattern_r", "control"))
    check_names(table["control"], ("trained", "shuffled"), "control")
    rois = ordered(table["roi"])
    fig = new_figure(title, "region of the predictor", "pattern correlation r (one per image)")
    fig.add_hline(y=0, line={"color": PALE, "width": 1})
    for (place, roi), control in ((p, c) for p in enumerate(rois) for c in ("trained", "shuffled")):
        values = table.loc[(table["roi"] == roi) & (table["control"] == control), "pattern_r"]
        trained = control == "trained"
        fig.add_box(
            x0=place + (-0.19 if trained else 0.19),
            y=values,
            name=f"{roi}, {control}",
            width=0.32,
            boxmean=True,
            boxpoints=False,
            line={"color": color(roi) if trained else PALE, "width": 1.8},
            fillcolor=faded(color(roi), 0.35) if trained else "white",
            showlegend=False,
        )
    for name, fill, line in (("trained", faded(INK, 0.35), INK), ("shuffled pairing", "white", PALE)):
        marker = {"symbol": "square", "size": 13, "color": fill, "line": {"color": line, "width": 2}}
        fig.add_scatter(x=[None], y=[None], mode="markers", name=name, marker=marker)
    return fig.update_xaxes(tickvals=np.arange(len(rois)), ticktext=[f"<b>{roi}</b>" for roi in rois])


def voxel_scores(table: pd.DataFrame, *, title: str) -> go.Figure:
    """Show each voxel's prediction r against the highest r its noise allows, sqrt(NC/100); a panel per region.

    Parameters
    ----------
    table : DataFrame
        One row per voxel: ``roi``, ``voxel``, ``r``, ``noise_ceiling`` (percent of variance).
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty or lacks a column.
    """
    check_table(table, ("roi", "voxel", "r", "noise_ceiling"))
    rois = ordered(table["roi"])
    columns = min(4, len(rois))
    rows = -(-len(rois) // columns)
    fig = make_subplots(
        rows,
        columns,
        shared_yaxes=True,
        horizontal_spacing=0.03,
        vertical_spacing=0.12,
        x_title="ceiling of the voxel, √(NC/100)",
        y_title="prediction r of the voxel",
    )
    low = min(-0.1, float(table["r"].min()) - 0.05)
    for i, roi in enumerate(rois):
        part, at = table[table["roi"] == roi], {"row": i // columns + 1, "col": i % columns + 1}
        ceiling = np.sqrt(part["noise_ceiling"].clip(lower=0) / 100)
        identity = {"x": [0, 1], "y": [0, 1], "mode": "lines", "line": {"color": PALE, "width": 1.5}}
        fig.add_scatter(**identity, hoverinfo="skip", **at)
        marker = {"color": color(roi), "size": 5, "opacity": 0.5}
        fig.add_scatter(x=ceiling, y=part["r"], mode="markers", name=roi, marker=marker, text=part["voxel"], **at)
        text = f"<b>{roi}</b>, {len(part)} voxels<br>median r {part['r'].median():.2f}"
        fig.add_annotation(
            text=text, x=0.03, y=0.99, yanchor="top", align="left", xanchor="left", showarrow=False, **at
        )
    fig.update_layout(template=TEMPLATE, title_text=title, showlegend=False)
    side = (WIDTH - LEFT - RIGHT) // max(columns, 2)  # panels stay about square, however few
    fig.update_layout(width=LEFT + RIGHT + side * columns, height=TOP + BOTTOM + round(1.2 * min(side, 330)) * rows)
    fig.update_xaxes(range=[-0.03, 1.03], dtick=0.5)
    return fig.update_yaxes(range=[low, 1.12], dtick=0.5)


def _mean_sd(
    fig: go.Figure, x: Iterable[float], means: Iterable[float], sds: Iterable[float], name: str, shape: str
) -> None:
    marker = {"symbol": shape, "size": 10, "color": INK, "line": {"width": 2}}
    bars = {"type": "data", "array": list(sds), "color": INK, "thickness": 1.6, "width": 5}
    fig.add_scatter(x=list(x), y=list(means), mode="markers", name=name, marker=marker, error_y=bars)
