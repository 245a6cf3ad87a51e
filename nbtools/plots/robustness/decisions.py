"""A figure of one image under attack: what a network decides at every ε."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from nbtools.conditions import HIERARCHY
from nbtools.plots.marks import Look, add_curve, look_of
from nbtools.plots.style import INK, new_figure
from nbtools.plots.tables import check_drawable, check_points

PATH_COLUMNS = ("condition", "level", "label", "probability", "rival", "rival_probability", "prediction", "reached")
X_TITLE = "attack budget ε (1/255)"


def decision_path(
    path: pd.DataFrame,
    level: float | None = None,
    *,
    x_title: str = X_TITLE,
    order: Sequence[str] = HIERARCHY,
    title: str,
) -> go.Figure:
    """Show how the decision about one image changes with the attack's budget, and where it flips.

    Parameters
    ----------
    path : DataFrame
        One row per condition × ε: ``condition``, ``level`` (ε in 1/255, 0 is clean), ``label``, ``probability``
        (of the label), ``rival``, ``rival_probability``, ``prediction``, ``reached`` (whether the attack succeeded).
    level : float, optional
        An ε to mark, in 1/255.
    x_title : str
        The unit of ε.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty, lacks a column, or has several rows for one condition and ε.
    """
    _check_path(path)
    fig = new_figure(title, x_title, "probability")
    for slot, name in enumerate(dict.fromkeys(path["condition"])):
        look = look_of(name, order)
        _draw_path(fig, path[path["condition"] == name].sort_values("level"), name, look, slot, _positions(path))
    fig.update_xaxes(**_level_axis(path))
    fig.update_yaxes(**_PROBABILITY)
    if level is not None:
        mark_level(fig, path, level)
    return fig


def mark_level(figure: go.Figure, path: pd.DataFrame, level: float) -> None:
    """Mark an ε (1/255) in a `decision_path`; a shape moves without drawing anything else anew."""
    at = _positions(path)[level]
    line = {"color": INK, "width": 1.5, "dash": "dash"}
    figure.layout.shapes = [{"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "line": line}]


_PROBABILITY = {"range": [-0.02, 1.04], "tickformat": ".0%", "tickvals": [0, 0.25, 0.5, 0.75, 1]}


def _check_path(path: pd.DataFrame) -> None:
    check_drawable(path, PATH_COLUMNS)
    check_points(path, ("condition", "level"), fix="give the path of one image and one attack")


def _positions(path: pd.DataFrame) -> dict[float, float]:
    """Place every ε on a logarithmic axis, the clean image one step before the smallest."""
    levels = sorted(path["level"].unique())
    first = next((level for level in levels if level > 0), 1.0)
    return {level: float(np.log2(level if level > 0 else first / 2)) for level in levels}


def _level_axis(path: pd.DataFrame) -> dict:
    """Name every ε, or every other of many, and the clean image."""
    positions = _positions(path)
    levels = [level for level in positions if level > 0]
    named = {0: "clean", **{level: f"{level:g}" for level in levels[:: 1 + (len(levels) > 9)]}}
    places = list(positions.values())
    text = [named.get(level, "") for level in positions]
    return {"tickvals": places, "ticktext": text, "range": [places[0] - 0.25, places[-1] + 0.25]}


def _draw_path(
    fig: go.Figure, path: pd.DataFrame, name: str, own: Look, slot: int, positions: dict[float, float]
) -> None:
    """Draw the label's probability, the rival's, and where the decision flips."""
    label, rival = path.iloc[0][["label", "rival"]]
    shade, shape = own.color, own.symbol
    x = [positions[level] for level in path["level"]]
    said = {"customdata": path["level"], "hovertemplate": "ε = %{customdata:g}/255: %{y:.1%}"}
    add_curve(fig, x, path, "probability", f"{name}: {label}", look=Look(shade, symbol=shape), width=2.5, **said)
    dotted = Look(shade, "dot", f"{shape}-open")
    add_curve(fig, x, path, "rival_probability", f"{name}: {rival}", look=dotted, width=1.8, size=6, **said)
    flip = path[path["reached"]].head(1)
    height, share = (("top", 0.25), ("bottom", 0.75))[slot % 2]  # two texts part, and none runs out of the figure
    turn = np.quantile(list(positions.values()), share)
    fig.add_scatter(
        x=[positions[level] for level in flip["level"]],
        y=flip["rival_probability"],
        text=[f"flips to {said}" for said in flip["prediction"]],
        mode="markers+text",
        textposition=[f"{height} {'right' if positions[level] < turn else 'left'}" for level in flip["level"]],
        marker={"symbol": "circle-open", "size": 17, "color": shade, "line": {"width": 2.5}},
        name="flip",
        showlegend=False,
        cliponaxis=False,
        hoverinfo="text",
    )
