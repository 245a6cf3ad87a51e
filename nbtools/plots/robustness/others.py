"""Figures of other images: accuracy on them over clean accuracy, and what guidance adds beyond that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from scipy.special import expit, logit

from nbtools.conditions import HIERARCHY
from nbtools.metrics.decisions.effective import logits
from nbtools.plots.marks import error_bars, look_of, marker
from nbtools.plots.style import DOTTED, INK, balanced, legend_beside, new_figure, panels
from nbtools.plots.tables import check_drawable, check_points, ordered

_COLUMNS = 3
_STEPS, _MOST = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2), 5  # from tick to tick; ticks of an axis
_CLUSTER = 0.8  # of the way from one set to the next, for all conditions of one


def accuracy_lines(
    pairs: pd.DataFrame, lines: pd.DataFrame, *, order: Sequence[str] = HIERARCHY, title: str
) -> go.Figure:
    """Show accuracy on other images over clean accuracy on logit axes: a panel per set, a marker per network, the line.

    Parameters
    ----------
    pairs : DataFrame
        From `metrics.accuracy_pairs`.
    lines : DataFrame
        From `metrics.accuracy_lines`; a set without a line has none.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If a table is empty or lacks a column.
    """
    check_drawable(pairs, ("images", "condition", "clean", "n_clean", "accuracy", "n"))
    check_drawable(lines, ("images", "intercept", "slope"))
    kinds, names = list(dict.fromkeys(pairs["images"])), ordered(pairs["condition"], order)
    columns = balanced(len(kinds), _COLUMNS)
    fig, places = panels(title, len(kinds), columns, heads=kinds, row=230, gap=100, horizontal_spacing=0.1)
    for kind, place in zip(kinds, places, strict=True):
        x, y = logits(of_kind := pairs[pairs["images"] == kind])
        ends = np.array([x.min(), x.max()])
        line = lines[lines["images"] == kind].iloc[0]
        drawn = {"x": ends, "y": line["intercept"] + line["slope"] * ends, "mode": "lines", "line": {"color": INK}}
        fig.add_scatter(**drawn, name="line without a guide", legendgroup="line", showlegend=kind == kinds[0], **place)
        for name in names:
            mine = (of_kind["condition"] == name).to_numpy()
            look = {"mode": "markers", "marker": marker(name, order, 8), "name": name, "legendgroup": name}
            fig.add_scatter(x=x[mine], y=y[mine], **look, showlegend=kind == kinds[0], **place)
        fig.update_xaxes(**_logit_axis(x), **place)
        fig.update_yaxes(**_logit_axis(np.append(y, drawn["y"])), **place)
    fig.update_xaxes(title_text="clean accuracy<br>(logit axis)")
    fig.update_yaxes(title_text="accuracy on these<br>images (logit axis)", col=1)
    return legend_beside(fig, len(names) + 2)


def _logit_axis(values: np.ndarray) -> dict[str, Any]:
    """Return the range of an axis around logits (n,), and ticks at round shares."""
    pad = 0.1 + 0.05 * np.ptp(values)
    ends = values.min() - pad, values.max() + pad
    low, high = expit(ends)
    step = next(step for step in _STEPS if (high - low) / step <= _MOST)
    shares = step * np.arange(np.ceil(low / step), np.floor(high / step) + 1)
    return {"range": ends, "tickvals": logit(shares), "ticktext": [f"{100 * share:.3g}%" for share in shares]}


def effective_robustness(table: pd.DataFrame, *, order: Sequence[str] = HIERARCHY, title: str) -> go.Figure:
    """Show effective robustness with its interval: a cluster per set of images, in it the conditions in their order.

    Parameters
    ----------
    table : DataFrame
        From `metrics.effective_robustness`: ``images``, ``condition``, ``effective``, ``ci_low``, ``ci_high``,
        ``p_holm``. Large markers: p after Holm ≤ .05.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty, lacks a column, or has a condition twice in a set.
    """
    check_drawable(table, ("images", "condition", "effective", "ci_low", "ci_high", "p_holm"))
    check_points(table, ("images", "condition"), fix="measure all networks of a condition together")
    kinds, names = list(dict.fromkeys(table["images"])), ordered(table["condition"], order)
    fig = new_figure(title, "images", "accuracy beyond the line<br>(percentage points)")
    fig.add_hline(y=0, line=DOTTED)
    for number, name in enumerate(names):
        rows, look = table[table["condition"] == name], look_of(name, order)
        x = rows["images"].map(kinds.index) + _CLUSTER * ((number + 0.5) / len(names) - 0.5)
        points = rows.assign(**{column: 100 * rows[column] for column in ("effective", "ci_low", "ci_high")})
        sizes = [13 if p <= 0.05 else 8 for p in rows["p_holm"]]
        marks = {"symbol": look.symbol, "size": sizes, "color": look.color, "opacity": 1}
        bars = error_bars(points, "effective", look.color, "line")
        fig.add_scatter(x=x, y=points["effective"], name=name, mode="markers", marker=marks, error_y=bars)
    words = [kind.replace(" ", "<br>") for kind in kinds]
    fig.update_xaxes(tickvals=list(range(len(kinds))), ticktext=words, range=[-0.6, len(kinds) - 0.4])
    return legend_beside(fig, len(names))
