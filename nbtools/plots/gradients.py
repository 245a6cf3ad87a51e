"""Figures of smoothness and transfer: gradient norms, loss surfaces, the source × target matrix."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nbtools.conditions import DECAYS, color, dash, symbol
from nbtools.metrics.robustness import epsilon_label
from nbtools.plots.style import INK, TEMPLATE, TOP, check_table, error_bars, legend_beside, new_figure, ordered

_SURFACE_AXES = "along the gradient's sign and a random direction, both in 1/255"
LOSS_COLORS = "Cividis"  # one hue path from dark to light: reads in grey print and to colour-blind eyes


def smoothness_curves(table: pd.DataFrame, *, title: str) -> go.Figure:
    """Show the mean squared input gradient against the attack's budget, one line per condition.

    Parameters
    ----------
    table : DataFrame
        From `metrics.smoothness.smoothness`: ``condition``, ``epsilon`` (pixel units), ``mean``, ``ci_low``,
        ``ci_high``.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty or lacks a column.
    """
    check_table(table, ("condition", "epsilon", "mean", "ci_low", "ci_high"))
    fig = new_figure(title, "attack budget ε (pixel units)", "mean squared gradient (nats² / pixel²)")
    names = ordered(table["condition"])
    for place, name in enumerate(names):
        part = table[table["condition"] == name].sort_values("epsilon")
        nudge = (place - (len(names) - 1) / 2) * 0.012 * table["epsilon"].max() * 255  # so that bars do not hide
        fig.add_scatter(
            x=part["epsilon"] * 255 + nudge,
            y=part["mean"],
            name=name,
            mode="lines+markers",
            error_y=error_bars(part["mean"], part["ci_low"], part["ci_high"], color(name), "line"),
            line={"color": color(name), "dash": dash(name), "width": 2},
            marker={"symbol": symbol(name), "size": 9},
        )
    epsilons = np.sort(table["epsilon"].unique())
    fig.update_xaxes(tickvals=epsilons * 255, ticktext=[epsilon_label(e) for e in epsilons])
    return legend_beside(fig.update_yaxes(type="log", dtick=1), len(names))


def loss_surfaces(surfaces: Mapping[str, pd.DataFrame], *, title: str) -> go.Figure:
    """Show the loss around images as one 3-D surface per condition, all on one scale.

    Parameters
    ----------
    surfaces : mapping of condition → DataFrame
        From `metrics.smoothness.loss_surface`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If a table is empty or lacks a column.
    """
    for table in surfaces.values():
        check_table(table, ("along_gradient", "along_random", "loss"))
    names = list(surfaces)
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    fig = make_subplots(
        rows,
        columns,
        specs=[[{"type": "surface"}] * columns] * rows,
        subplot_titles=names,
        horizontal_spacing=0.01,
        vertical_spacing=0.06,
    )
    top = max(table["loss"].max() for table in surfaces.values())
    for place, table in enumerate(surfaces.values()):
        grid = table.pivot(index="along_random", columns="along_gradient", values="loss")
        fig.add_surface(
            x=grid.columns * 255,
            y=grid.index * 255,
            z=grid.to_numpy(),
            cmin=0,
            cmax=top,
            colorscale=LOSS_COLORS,
            showscale=place == 0,
            colorbar={"title": "loss (nats)", "len": 0.6},
            row=place // columns + 1,
            col=place % columns + 1,
        )
    small = {"size": 11}
    fig.update_scenes(
        xaxis={"title": {"text": "gradient", "font": small}, "tickfont": small, "nticks": 5},
        yaxis={"title": {"text": "random", "font": small}, "tickfont": small, "nticks": 5},
        zaxis={"title": "", "tickfont": small, "range": [0, top]},  # named at the colour bar
        camera={"eye": {"x": -2.1, "y": -2.2, "z": 1.0}, "center": {"x": 0, "y": 0, "z": -0.2}},
        aspectmode="cube",
    )
    margin = {"l": 10, "t": TOP + 20, "b": 20}
    return fig.update_layout(
        template=TEMPLATE,
        title_text=f"{title}<br><sup>{_SURFACE_AXES}</sup>",
        height=TOP + 60 + 290 * rows,
        margin=margin,
    )


def transfer_heatmap(matrix: pd.DataFrame, *, title: str) -> go.Figure:
    """Show every target's accuracy on every source's adversarial images; the diagonal is the white-box attack.

    Parameters
    ----------
    matrix : DataFrame
        From `metrics.transfer.transfer_matrix`: ``source``, ``target``, ``accuracy``, ``ci_low``, ``ci_high``, ``n``.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty or lacks a column.
    """
    check_table(matrix, ("source", "target", "accuracy", "ci_low", "ci_high", "n"))
    names = ordered(matrix["source"])
    grid = matrix.pivot(index="source", columns="target", values="accuracy").loc[names, names]
    hover = matrix.assign(
        text=[f"{r.accuracy:.2f} [{r.ci_low:.2f}, {r.ci_high:.2f}], n = {r.n}" for r in matrix.itertuples()]
    ).pivot(index="source", columns="target", values="text")
    fig = new_figure(title, "target (whose accuracy)", "source (whose adversarial images)")
    fig.add_heatmap(
        x=names,
        y=names,
        z=grid.to_numpy(),
        zmin=0,
        zmax=1,
        colorscale=LOSS_COLORS,
        text=np.vectorize(lambda v: f"{v:.2f}".lstrip("0") if v < 1 else "1")(grid.to_numpy()),
        texttemplate="%{text}",
        textfont={"size": 11},
        customdata=hover.loc[names, names].to_numpy(),
        hovertemplate="%{y} → %{x}: %{customdata}<extra></extra>",
        colorbar={"title": "accuracy", "tickformat": ".0%"},
    )
    for place in range(len(names)):
        box = {"x0": place - 0.5, "x1": place + 0.5, "y0": place - 0.5, "y1": place + 0.5}
        fig.add_shape(type="rect", **box, line={"color": "white", "width": 2})
    fig.update_yaxes(autorange="reversed", showgrid=False)
    side = 190 + 42 * len(names)
    return fig.update_layout(width=max(side + 110, 600), height=side, margin={"l": 130, "b": 110})


def equal_smoothness(table: pd.DataFrame, family: pd.DataFrame, *, title: str) -> go.Figure:
    """Show transfer robustness against smoothness: the weight-decay family as a line, the others beside it.

    Parameters
    ----------
    table : DataFrame
        From `metrics.transfer.at_equal_smoothness`: ``condition``, ``smoothness``, ``accuracy``, ``difference``,
        ``ci_low``, ``ci_high`` (of the difference; drawn as the bar where the network is matched).
    family : DataFrame
        ``condition``, ``smoothness``, ``accuracy`` of the weight-decay networks.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If a table is empty or lacks a column.
    """
    check_table(table, ("condition", "smoothness", "accuracy", "difference", "ci_low", "ci_high"))
    check_table(family, ("condition", "smoothness", "accuracy"))
    fig = new_figure(title, "mean squared gradient (nats² / pixel²; left is smoother)", "accuracy on others' images")
    line = family.sort_values("smoothness")
    fig.add_scatter(
        x=line["smoothness"],
        y=line["accuracy"],
        mode="lines+markers",
        name="weight decay",
        line={"color": color(DECAYS[0]), "dash": dash(DECAYS[0]), "width": 2},
        marker={"symbol": [symbol(name) for name in line["condition"]], "size": 10},
        text=line["condition"],
    )
    for row in table.to_dict("records"):
        name, value = row["condition"], row["accuracy"]
        family_value = value - row["difference"]  # NaN where the family has no member to compare with
        bounds = (family_value + row["ci_low"], family_value + row["ci_high"])
        bars = {} if np.isnan(family_value) else {"error_y": error_bars(value, *bounds, color(name))}
        marker = {"symbol": symbol(name), "size": 12, "color": color(name), "line": {"width": 1.5}}
        fig.add_scatter(x=[row["smoothness"]], y=[value], name=name, mode="markers", marker=marker, **bars)
    fig.update_xaxes(type="log", tickcolor=INK)
    return legend_beside(fig.update_yaxes(tickformat=".0%"), 1 + len(table))
