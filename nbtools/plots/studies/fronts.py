"""Figure of fronts: what each way to robustness offers, from plain training on, and what it takes of clean accuracy."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from nbtools.conditions import HIERARCHY
from nbtools.metrics.decisions.robustness import epsilon_label
from nbtools.metrics.samples.contrasts import over_networks
from nbtools.plots.labels import place_labels
from nbtools.plots.looks import color
from nbtools.plots.marks import add_curve, add_point, crossed_bars, look_of, marker
from nbtools.plots.style import new_figure, padded, tall
from nbtools.plots.tables import check_drawable, clean_and_robust

_POINT = ("condition", "network", "dose", "said")


def fronts(networks: pd.DataFrame, epsilon: float, *, order: Sequence[str] = HIERARCHY, title: str) -> go.Figure:
    """Show robust against clean accuracy along fronts: a line each, from where it starts to its largest dose.

    Parameters
    ----------
    networks : DataFrame
        From `metrics.fronts`: one row per network × ε, ``condition`` (the front), ``network``, ``dose``, ``said``,
        ``seed`` (and ``subject``), ``epsilon``, ``accuracy``, ``ci_low``, ``ci_high``. Points are means over networks,
        bars their 95 % intervals.
    epsilon : float
        The budget of the vertical axis, pixel units.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty, lacks a column or one of the two ε, or as `over_networks`.
    """
    check_drawable(networks, (*_POINT, "seed", "epsilon", "accuracy", "ci_low", "ci_high"))
    mean = over_networks(networks, "accuracy", by=(*_POINT, "epsilon"))
    points = clean_and_robust(mean, epsilon, _POINT).sort_values("dose")
    fig = new_figure(title, "clean accuracy", f"accuracy at ε = {epsilon_label(epsilon)}")
    for name, front in points.groupby("condition", sort=False):
        look = look_of(front["network"].iloc[-1], order)
        along = front["dose"] > 0  # where it starts stands a condition with a marker of its own
        hover = f"{name}, %{{customdata}}<br>%{{x:.3f}} clean, %{{y:.3f}} robust<extra></extra>"
        shown = {"customdata": front["said"], "hovertemplate": hover, **crossed_bars(front.where(along), look.color)}
        add_curve(fig, front["accuracy_clean"], front, "accuracy_robust", str(name), look=look, size=9 * along, **shown)
    starts = points[points["dose"] == 0].drop_duplicates("network")
    for start in starts.to_dict("records"):
        name, x, y = start["network"], start["accuracy_clean"], start["accuracy_robust"]
        bars = crossed_bars(start, color(name, order))
        add_point(fig, name, x, y, marker=marker(name, order), **bars)
    tall(fig, 460).update_layout(showlegend=False)
    fig.update_xaxes(range=padded(points.filter(regex="(accuracy|ci).*_clean")), tickformat=".3~p")
    fig.update_yaxes(range=padded(points.filter(regex="(accuracy|ci).*_robust")), tickformat=".3~p")
    ends = points[points["dose"] > 0].drop_duplicates("condition", keep="last")
    named = pd.concat([ends, starts.assign(condition=starts["network"])]).drop_duplicates("condition")
    places = ["accuracy_clean", "accuracy_robust"]
    place_labels(fig, named[places].to_numpy(), points[places].to_numpy(), list(named["condition"]))
    return fig
