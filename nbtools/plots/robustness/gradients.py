"""Figures of smoothness and transfer: gradient norms, loss surfaces, the source × target matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from nbtools.conditions import DECAYS, HIERARCHY
from nbtools.plots.labels import epsilon_axis
from nbtools.plots.looks import color, symbol
from nbtools.plots.marks import add_curve, add_point, error_bars, interval_text, look_of, marker, matrix_figure
from nbtools.plots.style import INK, SEQUENTIAL, balanced, legend_beside, new_figure, panels
from nbtools.plots.tables import check_drawable, ordered

_SURFACE_AXES = "along the gradient's sign and a random direction, both in 1/255"


def smoothness_curves(table: pd.DataFrame, *, order: Sequence[str] = HIERARCHY, title: str) -> go.Figure:
    """Show the mean squared input gradient against the attack's budget, one line per condition.

    Parameters
    ----------
    table : DataFrame
        From `metrics.over_networks` of `metrics.smoothness`: ``condition``, ``epsilon`` (pixel units), ``mean``,
        ``ci_low``, ``ci_high``.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty or lacks a column.
    """
    check_drawable(table, ("condition", "epsilon", "mean", "ci_low", "ci_high"))
    fig = new_figure(title, "attack budget ε (pixel units)", "mean squared gradient (nats² / pixel²)")
    names = ordered(table["condition"], order)
    for place, name in enumerate(names):
        part = table[table["condition"] == name].sort_values("epsilon")
        nudge = (place - (len(names) - 1) / 2) * 0.012 * table["epsilon"].max() * 255  # so that bars do not hide
        look = look_of(name, order)
        add_curve(fig, part["epsilon"] * 255 + nudge, part, "mean", name, look=look, bars="line", size=9)
    epsilon_axis(fig, table["epsilon"])
    return legend_beside(fig.update_yaxes(type="log", dtick=1), len(names))


def loss_surfaces(surfaces: Mapping[str, pd.DataFrame], *, title: str) -> go.Figure:
    """Show the loss around images as one 3-D surface per condition, all on one scale.

    Parameters
    ----------
    surfaces : mapping of condition → DataFrame
        From `metrics.loss_surface`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If a table is empty or lacks a column.
    """
    for table in surfaces.values():
        check_drawable(table, ("along_gradient", "along_random", "loss"))
    fig, places = panels(
        f"{title}<br><sup>{_SURFACE_AXES}</sup>",
        len(surfaces),
        balanced(len(surfaces), 3),
        heads=list(surfaces),
        kind="surface",
        row=290,
        gap=10,
        horizontal_spacing=0.01,
    )
    top = max(table["loss"].max() for table in surfaces.values())
    bar = {"title": "loss (nats)", "len": 0.6}
    colors = {"cmin": 0, "cmax": top, "colorscale": SEQUENTIAL, "colorbar": bar}
    for table, place in zip(surfaces.values(), places, strict=True):
        grid = table.pivot(index="along_random", columns="along_gradient", values="loss")
        axes = {"x": grid.columns * 255, "y": grid.index * 255, "z": grid.to_numpy()}
        fig.add_surface(**axes, **colors, showscale=place == places[0], **place)
    small = {"size": 11}
    fig.update_scenes(
        xaxis={"title": {"text": "gradient", "font": small}, "tickfont": small, "nticks": 5},
        yaxis={"title": {"text": "random", "font": small}, "tickfont": small, "nticks": 5},
        zaxis={"title": "", "tickfont": small, "range": [0, top]},  # named at the colour bar
        camera={"eye": {"x": -2.3, "y": -2.4, "z": 1.1}, "center": {"x": 0, "y": 0, "z": -0.2}},
        aspectmode="cube",
    )
    return fig.update_layout(height=fig.layout.height - 50, margin={"l": 10, "b": 20})


def transfer_heatmap(matrix: pd.DataFrame, *, order: Sequence[str] = HIERARCHY, title: str) -> go.Figure:
    """Show every target's accuracy on every source's adversarial images; the diagonal is the white-box attack.

    Parameters
    ----------
    matrix : DataFrame
        From `metrics.transfer_matrix`: ``source``, ``target``, ``accuracy``, ``ci_low``, ``ci_high``, ``n``.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty or lacks a column.
    """
    check_drawable(matrix, ("source", "target", "accuracy", "ci_low", "ci_high", "n"))
    said = [f"{interval_text(r.accuracy, r.ci_low, r.ci_high)}, n = {r.n}" for r in matrix.itertuples()]
    text = [f"{value:.2f}".lstrip("0") if value < 1 else "1" for value in matrix["accuracy"]]
    look = {"zmin": 0, "zmax": 1, "colorbar": {"title": "accuracy", "tickformat": ".0%"}}
    cells = matrix.assign(said=said, text=text)
    fig = matrix_figure(title, cells, ("source", "target"), "accuracy", "%{y} → %{x}", order, **look)
    fig.update_xaxes(title_text="target (whose accuracy)")
    fig.update_yaxes(title_text="source (whose adversarial images)")
    for place in range(matrix["source"].nunique()):
        box = {"x0": place - 0.5, "x1": place + 0.5, "y0": place - 0.5, "y1": place + 0.5}
        fig.add_shape(type="rect", **box, line={"color": "white", "width": 2})
    return fig


def equal_smoothness(
    table: pd.DataFrame, family: pd.DataFrame, *, order: Sequence[str] = HIERARCHY, title: str
) -> go.Figure:
    """Show transfer robustness against smoothness: the weight-decay family as a line, the others beside it.

    Parameters
    ----------
    table : DataFrame
        From `metrics.at_equal_smoothness`: ``condition``, ``smoothness``, ``accuracy``, ``difference``,
        ``ci_low``, ``ci_high`` (of the difference; drawn as the bar where the network is matched).
    family : DataFrame
        ``condition``, ``smoothness``, ``accuracy`` of the weight-decay networks.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If a table is empty or lacks a column.
    """
    check_drawable(table, ("condition", "smoothness", "accuracy", "difference", "ci_low", "ci_high"))
    check_drawable(family, ("condition", "smoothness", "accuracy"))
    fig = new_figure(title, "mean squared gradient (nats² / pixel²; left is smoother)", "accuracy on others' images")
    line = family.sort_values("smoothness")
    look = look_of(DECAYS[0], order)
    add_curve(fig, line["smoothness"], line, "accuracy", "weight decay", look=look, size=10, text=line["condition"])
    fig.update_traces(marker_symbol=[symbol(name, order) for name in line["condition"]])
    for row in table.to_dict("records"):
        name, value = row["condition"], row["accuracy"]
        family_value = value - row["difference"]  # NaN where the family has no member to compare with
        matched = {"accuracy": value, "low": family_value + row["ci_low"], "high": family_value + row["ci_high"]}
        bars = error_bars(matched, "accuracy", color(name, order), bounds=("low", "high"))
        mark = {"marker": marker(name, order), "error_y": None if np.isnan(family_value) else bars}
        add_point(fig, name, row["smoothness"], value, **mark)
    fig.update_xaxes(type="log", tickcolor=INK)
    return legend_beside(fig.update_yaxes(tickformat=".0%"), 1 + len(table))
