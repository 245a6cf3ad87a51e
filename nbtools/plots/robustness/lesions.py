"""Figures of lesions: accuracy without what the neural head reads, and what that costs over random lesions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from nbtools.conditions import HIERARCHY
from nbtools.metrics.decisions.lesions import INTACT, LESIONS
from nbtools.metrics.decisions.robustness import epsilon_label
from nbtools.plots.looks import color
from nbtools.plots.marks import add_conditions, add_key, add_point, error_bars
from nbtools.plots.style import DOTTED, INK, Panel, axis_places, condition_axis, panels
from nbtools.plots.tables import check_drawable, check_points, ordered

_ASKED = ("condition", "attacked", "epsilon")
_AVERAGE = "average seeds first: metrics.over_networks"
_SHARED: dict[str, Any] = {"shared_yaxes": "all", "horizontal_spacing": 0.06, "row": 220, "gap": 65}
# Shapes are those of lesions, since places and colours say which condition it is.
_SHAPES: dict[str, dict[str, Any]] = {
    "intact": {"symbol": "line-ew-open", "size": 22},
    "what the neural head reads": {"symbol": "circle", "size": 9},
    "random, of the same variance": {"symbol": "diamond-open", "size": 9},
    "random, of the same size": {"symbol": "x-thin-open", "size": 8},
}


def lesion_accuracies(table: pd.DataFrame, *, order: Sequence[str] = HIERARCHY, title: str) -> go.Figure:
    """Show accuracy before and after lesions: a row of panels per lesion, a column for clean images and each attack.

    Parameters
    ----------
    table : DataFrame
        From `metrics.lesion_accuracy`, averaged by `metrics.over_networks`: ``condition``, ``attacked``, ``epsilon``
        (pixel units), ``lesion``, ``accuracy``, ``ci_low``, ``ci_high`` (fractions).
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty, lacks a column or has a point twice.
    """
    check_drawable(table, (*_ASKED, "lesion", "accuracy", "ci_low", "ci_high"))
    check_points(table, (*_ASKED, "lesion"), fix=_AVERAGE)
    columns = _columns(table)
    fig, places = panels(title, len(LESIONS) * len(columns), len(columns), heads=[*columns], **_SHARED)
    at = axis_places(ordered(table["condition"], order), order)
    drawn = [(lesion, rows) for lesion in LESIONS for rows in columns.values()]
    for (lesion, rows), place in zip(drawn, places, strict=True):
        _add_lesions(fig, rows, lesion, at, order, place)
    for kind, shape in _SHAPES.items():
        add_key(fig, kind, {**shape, **_edged(INK)}, row=1, col=1)
    return _named(fig.update_yaxes(tickformat=".0%"), at, [f"accuracy without<br>{name}" for name in LESIONS])


def lesion_costs(table: pd.DataFrame, *, order: Sequence[str] = HIERARCHY, title: str) -> go.Figure:
    """Show how much more a lesion costs than each of its controls: a row per control, a column as in the other figure.

    Parameters
    ----------
    table : DataFrame
        From `metrics.lesion_cost`, averaged by `metrics.over_networks`: ``condition``, ``attacked``, ``epsilon`` (pixel
        units), ``control``, ``cost``, ``ci_low``, ``ci_high`` (fractions).
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty, lacks a column or has a point twice.
    """
    check_drawable(table, (*_ASKED, "control", "cost", "ci_low", "ci_high"))
    check_points(table, (*_ASKED, "control"), fix=_AVERAGE)
    columns, controls = _columns(table), list(dict.fromkeys(table["control"]))
    fig, places = panels(title, len(controls) * len(columns), len(columns), heads=[*columns], **_SHARED)
    at = axis_places(ordered(table["condition"], order), order)
    drawn = [rows[rows["control"] == control] for control in controls for rows in columns.values()]
    for part, place in zip(drawn, places, strict=True):
        add_conditions(fig, part.set_index("condition"), "cost", at, order, **place)
        fig.add_hline(y=0, line=DOTTED, **place)
    rows = [f"accuracy lost beyond<br>{name}" for name in controls]
    return _named(fig.update_yaxes(tickformat="+.0%"), at, rows).update_layout(showlegend=False)


def _columns(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the rows of each column of panels: clean images, then each attack at each ε."""
    found = {}
    for (epsilon, attacked), rows in table.groupby(["epsilon", "attacked"]):
        found[f"ε = {epsilon_label(epsilon)}, against<br>the {attacked} network" if epsilon else "clean images"] = rows
    return found


def _add_lesions(
    fig: go.Figure, rows: pd.DataFrame, lesion: str, at: Mapping[str, float], order: Sequence[str], place: Panel
) -> None:
    """Draw a panel's markers: the intact networks, and beside each other what lesions left of them."""
    intact, neural, matched, random = _SHAPES.values()
    shapes = {INTACT: intact, lesion: neural, "matched directions": matched, LESIONS[lesion][-1]: random}
    shifts = dict(zip(shapes, (0.0, -0.24, 0.0, 0.24), strict=True))
    for row in rows[rows["lesion"].isin([INTACT, lesion, *LESIONS[lesion]])].to_dict("records"):
        name, kind = row["condition"], row["lesion"]
        ink = color(name, order)
        look = {"marker": {**shapes[kind], **_edged(ink)}, "showlegend": False}
        bars = {} if kind == INTACT else {"error_y": error_bars(row, "accuracy", ink)}
        add_point(fig, f"{name}, {kind}", at[name] + shifts[kind], row["accuracy"], **look, **bars, **place)


def _edged(ink: str) -> dict[str, Any]:
    return {"color": ink, "line": {"width": 2, "color": ink}}


def _named(fig: go.Figure, at: Mapping[str, float], rows: Sequence[str]) -> go.Figure:
    """Name each row of panels, and write conditions below every panel, which may be narrow."""
    condition_axis(fig, at).update_xaxes(tickfont_size=10, ticktext=list(at))
    for number, name in enumerate(rows, start=1):
        fig.update_yaxes(title_text=name, row=number, col=1)
    return fig
