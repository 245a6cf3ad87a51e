"""Figures of brain responses and of the networks that predict them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from nbtools.checks import as_names
from nbtools.conditions import HIERARCHY
from nbtools.plots.looks import color
from nbtools.plots.marks import add_key
from nbtools.plots.style import INK, PALE, balanced, faded, new_figure, panels
from nbtools.plots.tables import check_drawable, check_names, ordered

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from nibabel import Nifti1Image


def regions(volume: Nifti1Image, names: Sequence[str], *, order: Sequence[str] = HIERARCHY, title: str) -> Figure:
    """Draw regions on six axial slices with nilearn, in their colours.

    Parameters
    ----------
    volume : Nifti1Image
        Labels (x, y, z) as `nbtools.data.brains.nsd.roi_volume` gives them: 1 for the first of `names`, and so on.
    names : sequence of str
        The regions.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.
    """
    # These take a second to import; only this figure needs them.
    from matplotlib import pyplot as plt
    from matplotlib.colors import ListedColormap
    from nilearn import plotting

    names, figure = as_names(names), plt.figure(figsize=(11, 2.8))
    palette = ListedColormap([color(roi, order) for roi in names])
    look: dict = {"alpha": 1, "black_bg": False, "annotate": False, "draw_cross": False, "colorbar": False}
    slices: dict = {"display_mode": "z", "cut_coords": 6, "bg_img": None}
    plotting.plot_roi(
        volume, cmap=palette, vmin=1, vmax=len(names), figure=figure, axes=(0, 0.1, 1, 0.75), **slices, **look
    )
    handles = [plt.Rectangle((0, 0), 1, 1, color=color(roi, order)) for roi in names]
    figure.legend(handles, names, loc="lower center", ncols=len(names), frameon=False)
    figure.suptitle(f"{title}: axial slices, lowest first", x=0.01, ha="left")
    plt.close(figure)  # a notebook shows the returned figure; an open one would be shown twice
    return figure


def noise_ceilings(
    table: pd.DataFrame,
    published: Mapping[str, tuple[float, float]] | None = None,
    *,
    order: Sequence[str] = HIERARCHY,
    title: str,
    sites: str = "voxels",
) -> go.Figure:
    """Show the distribution of voxels' noise ceilings in each region.

    Parameters
    ----------
    table : DataFrame
        One row per voxel: ``roi``, ``voxel``, ``noise_ceiling`` (percent of variance; missing in all where no image was
        shown twice).
    published : mapping of roi → (mean, SD), optional
        Values to compare with, drawn as open diamonds.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.
    sites : str
        What voxels are called: `Study.sites`.

    Raises
    ------
    InputError
        If the table is empty or lacks a column.
    """
    check_drawable(table, ("roi", "voxel", "noise_ceiling"))
    rois = ordered(table["roi"], order)
    fig = new_figure(title, "region", "noise ceiling (% of variance)")
    for place, roi in enumerate(rois):
        values = table.loc[table["roi"] == roi, "noise_ceiling"]
        ink = color(roi, order)
        look = {"line": {"color": ink, "width": 1.5}, "fillcolor": faded(ink, 0.25), "width": 0.8}
        said = {"name": roi, "showlegend": False, "hoverinfo": "skip"}
        fig.add_violin(x0=place, y=values, points=False, spanmode="hard", **look, **said)
    stats = table.groupby("roi")["noise_ceiling"].agg(["mean", "std", "size"]).loc[rois]
    _mean_sd(fig, range(len(rois)), stats, f"mean ± SD of {sites}", "circle")
    if table["noise_ceiling"].isna().all():
        _say_no_ceiling(fig)
    shown = [roi for roi in rois if roi in (published or {})]
    if published and shown:
        known = pd.DataFrame([published[roi] for roi in shown], columns=["mean", "std"])
        _mean_sd(fig, [rois.index(roi) + 0.3 for roi in shown], known, "published", "diamond-open")
    ticks = [f"<b>{roi}</b><br>n = {stats.loc[roi, 'size']}" for roi in rois]
    return fig.update_xaxes(tickvals=np.arange(len(rois)), ticktext=ticks)


def predictor_scores(table: pd.DataFrame, *, order: Sequence[str] = HIERARCHY, title: str) -> go.Figure:
    """Show each region's pattern correlations over images, beside its shuffled control.

    Parameters
    ----------
    table : DataFrame
        One row per image: ``roi``, ``image_id``, ``pattern_r``, ``control`` (``trained`` or ``shuffled``).
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty or lacks a column, or ``control`` holds something else.
    """
    check_drawable(table, ("roi", "image_id", "pattern_r", "control"))
    check_names(table["control"], ("trained", "shuffled"), "control")
    rois = ordered(table["roi"], order)
    fig = new_figure(title, "region of the predictor", "pattern correlation r (one per image)")
    fig.add_hline(y=0, line={"color": PALE, "width": 1})
    for place, roi in enumerate(rois):
        for control, shift in (("trained", -0.19), ("shuffled", 0.19)):
            look = {"name": f"{roi}, {control}", "x0": place + shift, "width": 0.32, "showlegend": False}
            add_control(fig, table, roi, control, order, **look)
    for name, fill, line in (("trained", faded(INK, 0.35), INK), ("shuffled pairing", "white", PALE)):
        marker = {"symbol": "square", "size": 13, "color": fill, "line": {"color": line, "width": 2}}
        add_key(fig, name, marker)
    return fig.update_xaxes(tickvals=np.arange(len(rois)), ticktext=[f"<b>{roi}</b>" for roi in rois])


def voxel_scores(
    table: pd.DataFrame, *, order: Sequence[str] = HIERARCHY, title: str, sites: str = "voxels"
) -> go.Figure:
    """Show each voxel's prediction r against the highest r its noise allows, sqrt(NC/100); a panel per region.

    Parameters
    ----------
    table : DataFrame
        One row per voxel: ``roi``, ``voxel``, ``r``, ``noise_ceiling`` (percent of variance).
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.
    sites : str
        What voxels are called: `Study.sites`.

    Raises
    ------
    InputError
        If the table is empty or lacks a column.
    """
    check_drawable(table, ("roi", "voxel", "r", "noise_ceiling"))
    rois = ordered(table["roi"], order)
    columns = balanced(len(rois), 4)
    titles = {
        "x_title": f"ceiling of the {sites[:-1]}, √(NC/100)",
        "y_title": f"prediction r of the {sites[:-1]}",
    }
    of_roi = {roi: table[table["roi"] == roi] for roi in rois}
    heads = [f"<b>{roi}</b>, {len(part)} {sites}<br>median r {part['r'].median():.2f}" for roi, part in of_roi.items()]
    shared: dict[str, Any] = {**titles, "row": 200, "gap": 30, "shared_yaxes": True, "horizontal_spacing": 0.03}
    fig, places = panels(title, len(rois), columns, heads=heads, **shared)
    for (roi, part), place in zip(of_roi.items(), places, strict=True):
        add_voxels(fig, part, roi, order, text=part["voxel"], **place)
    low = min(-0.1, float(table["r"].min()) - 0.05)
    fig.update_layout(showlegend=False).update_xaxes(range=[-0.03, 1.03], dtick=0.5)
    return fig.update_yaxes(range=[low, 1.12], dtick=0.5)


def add_control(
    fig: go.Figure, table: pd.DataFrame, roi: str, control: str, order: Sequence[str], **options: Any
) -> None:
    """Draw the pattern correlations of a region as a box: trained in its colour, the shuffled control pale."""
    ink = color(roi, order)
    line, fill = (ink, faded(ink, 0.35)) if control == "trained" else (PALE, "white")
    values = table.loc[(table["roi"] == roi) & (table["control"] == control), "pattern_r"]
    look = {"boxmean": True, "boxpoints": False, "line": {"color": line, "width": 1.8}, "fillcolor": fill}
    fig.add_box(y=values, **look, **options)


def add_voxels(fig: go.Figure, voxels: pd.DataFrame, roi: str, order: Sequence[str], **options: Any) -> None:
    """Draw r of a region's voxels against the highest that their noise allows, and the line on which both agree."""
    panel = {"row": options["row"], "col": options["col"]}
    if voxels["noise_ceiling"].isna().all():
        _say_no_ceiling(fig, **panel)
    line = {"color": PALE, "width": 1.5}
    fig.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line=line, hoverinfo="skip", **panel)
    ceiling = np.sqrt(voxels["noise_ceiling"].clip(lower=0) / 100)
    marker = {"color": color(roi, order), "size": 5, "opacity": 0.5}
    fig.add_scatter(x=ceiling, y=voxels["r"], mode="markers", name=roi, marker=marker, **options)


def _say_no_ceiling(fig: go.Figure, **panel: int) -> None:
    place = {"xref": "x domain", "yref": "y domain", "x": 0.5, "y": 0.02, "yanchor": "bottom"}
    fig.add_annotation(text="no ceiling:<br>no image was shown twice", showarrow=False, **place, **panel)


def _mean_sd(fig: go.Figure, x: Sequence[float], stats: pd.DataFrame, name: str, shape: str) -> None:
    marker = {"symbol": shape, "size": 10, "color": INK, "line": {"width": 2}}
    bars = {"type": "data", "array": list(stats["std"]), "color": INK, "thickness": 1.6, "width": 5}
    fig.add_scatter(x=list(x), y=list(stats["mean"]), mode="markers", name=name, marker=marker, error_y=bars)
