"""Figure of rival explanations: how far a guided network stands above each control that has what one of them names."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from nbtools.conditions import HIERARCHY
from nbtools.metrics.samples.contrasts import MARGINS, SIGNIFICANT
from nbtools.metrics.studies.rivals import GAIN
from nbtools.plots.looks import color
from nbtools.plots.marks import add_point, error_bars, ring
from nbtools.plots.style import DOTTED, PALE, new_figure, tall
from nbtools.plots.tables import check_drawable

_COLUMNS = ("explanation", "control", "difference", "ci_low", "ci_high", "p_holm", "finding")


def rivals(table: pd.DataFrame, guided: str, *, order: Sequence[str] = HIERARCHY, title: str) -> go.Figure:
    """Show the guided condition minus each control: the gain first, then what is left of it beside each explanation.

    Parameters
    ----------
    table : DataFrame
        From `metrics.rivals`. Filled markers: p after Holm ≤ .05. The grey band is the margin within which there is no
        difference; a row without a marker could not be compared.
    guided : str
        The condition whose gain it is.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty or lacks a column.
    """
    check_drawable(table, _COLUMNS)
    fig = new_figure(title, f"robust accuracy of {guided} minus that of the control", "")
    margin, names = MARGINS["accuracy"], []
    for row in table.to_dict("records"):
        name = f"<b>{row['explanation']}</b>" if row["explanation"] == GAIN else row["explanation"]
        names.append(f"{name}<br><sup>{row['control']}</sup>")
        look = ring(guided, order, 11, filled=row["p_holm"] <= SIGNIFICANT)
        bars = error_bars(row, "difference", color(guided, order))
        add_point(fig, row["control"], row["difference"], names[-1], marker=look, error_x=bars)
        at = {"xref": "paper", "x": 1.01, "xanchor": "left", "y": names[-1], "showarrow": False}
        fig.add_annotation(text=row["finding"], **at)
    fig.add_vrect(-margin, margin, fillcolor=PALE, opacity=0.25, line_width=0, layer="below")
    fig.add_vline(x=0, line=DOTTED)
    fig.update_yaxes(categoryorder="array", categoryarray=names[::-1], range=[-0.6, len(names) - 0.4])
    fig.update_xaxes(tickformat="+.0%")
    return tall(fig, 40 + 40 * len(names)).update_layout(showlegend=False, margin={"r": 150})
