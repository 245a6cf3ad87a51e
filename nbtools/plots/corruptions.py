"""Figures of natural corruptions: how accuracy falls with severity."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nbtools.conditions import color, dash, symbol
from nbtools.plots.style import BOTTOM, TEMPLATE, TOP, check_table, error_bars, legend_beside, ordered

_COLUMNS = 3


def corruption_curves(table: pd.DataFrame, *, title: str) -> go.Figure:
    """Show accuracy against severity, a panel per corruption and a line per condition.

    Parameters
    ----------
    table : DataFrame
        From `metrics.corruptions.corruption_accuracy`: ``condition``, ``corruption``, ``severity`` (0: clean),
        ``accuracy``, ``ci_low``, ``ci_high``.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty or lacks a column.
    """
    check_table(table, ("condition", "corruption", "severity", "accuracy", "ci_low", "ci_high"))
    kinds, conditions = list(dict.fromkeys(table["corruption"])), ordered(table["condition"])
    n_rows, n_columns = -(-len(kinds) // _COLUMNS), min(len(kinds), _COLUMNS)
    fig = make_subplots(
        n_rows,
        n_columns,
        subplot_titles=[kind.replace("_", " ") for kind in kinds],
        shared_yaxes=True,
        horizontal_spacing=0.04,
        vertical_spacing=0.4 / n_rows,
    )
    for place, kind in enumerate(kinds):
        for name in conditions:
            line = table[(table["corruption"] == kind) & (table["condition"] == name)].sort_values("severity")
            fig.add_scatter(
                x=line["severity"],
                y=line["accuracy"],
                error_y=error_bars(line["accuracy"], line["ci_low"], line["ci_high"], color(name), "cross"),
                name=name,
                legendgroup=name,
                showlegend=place == 0,
                mode="lines+markers",
                line={"color": color(name), "dash": dash(name), "width": 2},
                marker={"symbol": symbol(name), "size": 7},
                row=place // _COLUMNS + 1,
                col=place % _COLUMNS + 1,
            )
    fig.update_xaxes(dtick=1, title_text="severity (0: clean)")
    fig.update_yaxes(tickformat=".0%", rangemode="tozero")
    fig.update_yaxes(title_text="accuracy", col=1)
    fig.update_layout(template=TEMPLATE, title_text=title, height=TOP + BOTTOM + 60 + 250 * n_rows)
    return legend_beside(fig, len(conditions))
