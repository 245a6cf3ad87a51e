"""Figures of natural corruptions: how accuracy falls with severity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from nbtools.conditions import HIERARCHY
from nbtools.plots.marks import add_curve, look_of
from nbtools.plots.style import balanced, legend_beside, panels
from nbtools.plots.tables import check_drawable, ordered

_COLUMNS = 3


def corruption_curves(table: pd.DataFrame, *, order: Sequence[str] = HIERARCHY, title: str) -> go.Figure:
    """Show accuracy against severity, a panel per corruption and a line per condition.

    Parameters
    ----------
    table : DataFrame
        From `metrics.over_networks` of `metrics.corruption_accuracy`: ``condition``, ``corruption``, ``severity`` (0:
        clean), ``accuracy``, ``ci_low``, ``ci_high``.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty or lacks a column.
    """
    check_drawable(table, ("condition", "corruption", "severity", "accuracy", "ci_low", "ci_high"))
    kinds, conditions = list(dict.fromkeys(table["corruption"])), ordered(table["condition"], order)
    heads = [kind.replace("_", " ") for kind in kinds]
    columns = balanced(len(kinds), _COLUMNS)
    shared: dict[str, Any] = {"row": 220, "gap": 65, "shared_yaxes": True, "horizontal_spacing": 0.04}
    fig, places = panels(title, len(kinds), columns, heads=heads, **shared)
    for kind, place in zip(kinds, places, strict=True):
        for name in conditions:
            line = table[(table["corruption"] == kind) & (table["condition"] == name)].sort_values("severity")
            look = look_of(name, order)
            add_curve(fig, line["severity"], line, "accuracy", name, look=look, bars="cross", size=7, **place)
    fig.update_xaxes(dtick=1, title_text="severity (0: clean)")
    fig.update_yaxes(tickformat=".0%", rangemode="tozero")
    fig.update_yaxes(title_text="accuracy", col=1)
    return legend_beside(fig, len(conditions))
