"""Figure of training × guidance: how robust networks are that learn from attacked pictures, with guides and without."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from nbtools.conditions import HIERARCHY
from nbtools.guides import MODIFIERS
from nbtools.metrics.decisions.robustness import at_epsilon, epsilon_label
from nbtools.metrics.samples.contrasts import over_networks
from nbtools.metrics.studies.factorial import factors_of, training_of
from nbtools.plots.marks import error_bars, look_of
from nbtools.plots.style import DOTTED, legend_beside, new_figure
from nbtools.plots.tables import check_drawable, drawn_at, ordered

_SHIFT = 0.7  # of a step of the axis, from the first guide to the last


def training_factorial(
    networks: pd.DataFrame,
    epsilon: float,
    published: pd.DataFrame | None = None,
    *,
    order: Sequence[str] = HIERARCHY,
    title: str,
) -> go.Figure:
    """Show robust accuracy by how networks were trained, with each guide and without: seeds, their mean, its interval.

    Parameters
    ----------
    networks : DataFrame
        One row per network × ε (``metrics.robust_accuracy(decisions)``): ``condition``, ``seed`` (and ``subject``),
        ``epsilon``, ``accuracy``, ``ci_low``, ``ci_high``.
    epsilon : float
        Budget, pixel units.
    published : DataFrame, optional
        `metrics.PUBLISHED`, for photographs: networks of others at this ε are marked beside them.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty or lacks a column, there is no such ε, or as `over_networks`.
    """
    check_drawable(networks, ("condition", "seed", "epsilon", "accuracy", "ci_low", "ci_high"))
    at = drawn_at(networks, epsilon)
    at = at.assign(guide=[factors_of(name)[0] for name in at["condition"]], training=at["condition"].map(training_of))
    trainings = sorted(at["training"].unique(), key=_by_way)
    fig = new_figure(title, "trained on", f"accuracy at ε = {epsilon_label(epsilon)}")
    guides = ordered(at["guide"], order)
    for guide, shift in zip(guides, _shifts(len(guides)), strict=True):
        _add_guide(fig, at[at["guide"] == guide], guide, trainings, shift, order)
    others = at_epsilon(published, epsilon) if published is not None else at.iloc[:0]
    for row in others.to_dict("records"):
        marks = {"symbol": "star-open", "size": 13, "color": "#5a5a5a", "line": {"width": 1.5}}
        said = f"of others:<br>{row['network']},<br>clean {row['clean']:.0%}".replace(" (", "<br>(")
        fig.add_scatter(x=[len(trainings)], y=[row["accuracy"]], mode="markers", marker=marks, name=said)
    names = ["pictures<br>as they are" if name == "standard" else name for name in trainings]
    if len(others):
        names.append("others,<br>AutoAttack")
        fig.add_vline(x=len(trainings) - 0.5, line=DOTTED)
    fig.update_xaxes(tickvals=[*range(len(names))], ticktext=names, range=[-0.6, len(names) - 0.4], showgrid=False)
    fig.update_yaxes(tickformat=".0%", rangemode="tozero")
    return legend_beside(fig, len(guides) + 5 * len(others))


def _add_guide(
    fig: go.Figure, networks: pd.DataFrame, guide: str, trainings: list[str], shift: float, order: Sequence[str]
) -> None:
    """Draw a guide's networks as small points, and beside them their means with intervals."""
    look, places = look_of(guide, order), {name: place + shift for place, name in enumerate(trainings)}
    mean = over_networks(networks, "accuracy", by=("training",))
    bars = error_bars(mean, "accuracy", look.color)
    common = {"mode": "markers", "legendgroup": guide}
    marks = {"symbol": look.symbol, "color": look.color}
    fig.add_scatter(
        x=mean["training"].map(places),
        y=mean["accuracy"],
        name=guide,
        error_y=bars,
        marker={**marks, "size": 11},
        **common,
    )
    dots = {"color": look.color, "size": 5, "opacity": 0.6}
    x = networks["training"].map(places) + 0.07
    hover = "seed %{customdata}: %{y:.3f}<extra></extra>"
    seeds = {"customdata": networks["seed"], "hovertemplate": hover, "showlegend": False}
    fig.add_scatter(x=x, y=networks["accuracy"], name=guide, marker=dots, **seeds, **common)


def _shifts(n: int) -> np.ndarray:
    """Return where n guides stand within a step of the axis, (n,)."""
    return (np.arange(n) - (n - 1) / 2) * min(0.2, _SHIFT / n)


def _by_way(training: str) -> tuple[int, float]:
    """Sort standard training first, then ways as their table has them, weak before strong."""
    word, _, number = training.partition("-")
    return (list(MODIFIERS).index(word), float(number)) if number else (-1, 0.0)
