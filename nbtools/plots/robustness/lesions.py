"""Figures of lesions: accuracy without what the neural head reads, and what that costs over random lesions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from nbtools.conditions import HIERARCHY, color, symbol
from nbtools.metrics.decisions.lesions import INTACT, LESIONS
from nbtools.metrics.decisions.robustness import epsilon_label
from nbtools.plots.marks import add_conditions, add_key, add_point, error_bars
from nbtools.plots.style import INK, TOP, axis_places, condition_axis, legend_beside, panels
from nbtools.plots.tables import check_drawable, check_points, ordered

_AVERAGE = "average seeds first: metrics.over_networks"
_BAR = {"width": 3, "symbol": "line-ew-open", "size": 20}


def lesion_accuracies(table: pd.DataFrame, *, order: Sequence[str] = HIERARCHY, title: str) -> go.Figure:
    """Show accuracy before and after lesions: a row of panels per lesion, a column for clean images and each attack.

    Parameters
    ----------
    table : DataFrame
        From `metrics.lesion_accuracy`, averaged by `metrics.over_networks`: ``condition``, ``attacked``, ``epsilon``
        (pixel units; 0 of one of both attacks is drawn), ``lesion``, ``accuracy``, ``ci_low``, ``ci_high`` (fractions).
        A dash is the intact network, a filled marker what is left without what its neural head reads, open ones what
        random lesions leave.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty, lacks a column or has a point twice.
    """
    check_drawable(table, ("condition", "attacked", "epsilon", "lesion", "accuracy", "ci_low", "ci_high"))
    check_points(table, ("condition", "attacked", "epsilon", "lesion"), fix=_AVERAGE)
    columns = _asked(table)
    fig, places = panels(
        title,
        len(LESIONS) * len(columns),
        len(columns),
        gap=0.42,
        subplot_titles=[f"{lesion}: {head}" for lesion in LESIONS for head in columns],
        shared_yaxes="all",
        horizontal_spacing=0.03,
    )
    at = axis_places(ordered(table["condition"], order), order)
    drawn = [(lesion, rows) for lesion in LESIONS for rows in columns.values()]
    for (lesion, rows), place in zip(drawn, places, strict=True):
        for number, kind in enumerate([INTACT, lesion, *LESIONS[lesion]]):
            look = _look(number)
            for row in rows[rows["lesion"] == kind].to_dict("records"):
                name = row["condition"]
                bars = {"error_y": error_bars(row, "accuracy", color(name, order))} if number else {}
                marks = {"symbol": symbol(name, order), "size": 9, **look, **_inked(color(name, order), number)}
                x = at[name] + (0.22 * (number - 2) if number else 0)
                add_point(fig, f"{name}, {kind}", x, row["accuracy"], marker=marks, showlegend=False, **bars, **place)
    for number, kind in enumerate(["intact", "neural lesion", "of the same variance", "random: of the same size"]):
        add_key(fig, kind, {"size": 9, "symbol": "circle", **_look(number), **_inked(INK, number)}, row=1, col=1)
    fig.update_yaxes(tickformat=".0%").update_yaxes(title_text="accuracy", col=1).update_annotations(font_size=13)
    return _sized(fig, at, len(columns), len(LESIONS), 4)
