"""Figures of networks: how they trained, and how robust they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from nbtools.conditions import DECAYS, HIERARCHY, baselines
from nbtools.errors import InputError
from nbtools.metrics.decisions.robustness import epsilon_label
from nbtools.plots.labels import epsilon_axis, place_labels, spread
from nbtools.plots.looks import color
from nbtools.plots.marks import Look, add_band, add_conditions, add_curve, add_point, crossed_bars, look_of, marker
from nbtools.plots.style import (
    BOTTOM,
    HEIGHT,
    INK,
    NOTE,
    NOTE_LETTERS,
    PALE,
    TOP,
    axis_places,
    balanced,
    condition_axis,
    conditions_title,
    new_figure,
    padded,
    panels,
    tall,
    wrapped,
)
from nbtools.plots.tables import check_accuracy, check_drawable, check_names, clean_and_robust, drawn_at, ordered

METRIC_LABELS = {
    "loss": "loss",
    "class_loss": "classification loss",
    "neural_loss": "neural loss",
    "distance_loss": "distance outside spheres",
    "variance_loss": "variance term",
    "accuracy": "accuracy",
    "robust_accuracy": "accuracy under PGD",
    "neural_r": "neural correlation r",
    "lr": "learning rate",
}


def training_curves(history: pd.DataFrame, *, title: str) -> go.Figure:
    """Show how training went: one panel per metric, training and validation apart.

    Parameters
    ----------
    history : DataFrame
        One row per epoch and split: ``epoch``, ``split`` (``train`` or ``validation``) and any of
        `METRIC_LABELS`; a metric that a split does not have is missing there.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty, lacks a column, holds another split, or has none of the metrics.
    """
    check_drawable(history, ("epoch", "split"))
    check_names(history["split"], ("train", "validation"), "split")
    metrics = [name for name in METRIC_LABELS if name in history and history[name].notna().any()]
    if not metrics:
        raise InputError(
            "the history has no metric to show",
            expected=f"any of {', '.join(METRIC_LABELS)}",
            got=f"columns {', '.join(map(str, history))}",
            fix="give the history that training returned",
        )
    heads = [METRIC_LABELS[metric] for metric in metrics]  # beside an axis they would be longer than a panel is high
    columns = balanced(len(metrics), 3)
    fig, places = panels(title, len(metrics), columns, heads=heads, row=150, gap=65, horizontal_spacing=0.1)
    for metric, place in zip(metrics, places, strict=True):
        for split, shade in (("train", PALE), ("validation", INK)):
            part = history[(history["split"] == split) & history[metric].notna()].sort_values("epoch")
            if len(part):
                add_curve(fig, part["epoch"], part, metric, split, look=Look(shade), width=2.5, size=4, **place)
    return fig.update_xaxes(title_text="epoch")


def robustness_curves(accuracy: pd.DataFrame, *, order: Sequence[str] = HIERARCHY, title: str) -> go.Figure:
    """Show accuracy against the attack's budget, one line and confidence band per condition.

    Parameters
    ----------
    accuracy : DataFrame
        One row per condition × ε, as `metrics.over_networks` gives it, or `robust_accuracy` of one seed: ``condition``,
        ``epsilon`` (pixel units), ``accuracy``, ``ci_low``, ``ci_high`` (fractions).
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty, lacks a column, or has several rows for one condition and ε.
    """
    check_accuracy(accuracy)
    fig = new_figure(title, "attack budget ε (pixel units)", "accuracy")
    ends = {}
    for name in ordered(accuracy["condition"], order):
        part = accuracy[accuracy["condition"] == name].sort_values("epsilon")
        x = part["epsilon"] * 255
        look = look_of(name, order)
        add_band(fig, x, part, look.color)
        add_curve(fig, x, part, "accuracy", name, look=look, width=2.5)
        ends[name] = (x.iloc[-1], part["accuracy"].iloc[-1])
    top = min(1.02, 1.06 * float(accuracy["ci_high"].max()) + 0.01)
    _name_ends(fig, ends, top, order)
    epsilon_axis(fig, accuracy["epsilon"])
    last = float(accuracy["epsilon"].max()) * 255
    fig.update_xaxes(range=[-0.03 * last, 1.03 * last])
    fig.update_yaxes(range=[-0.02, top], tickformat=".0%")
    return fig.update_layout(showlegend=False, margin={"r": 60 + 8 * max(map(len, ends))})


def hierarchy(
    accuracy: pd.DataFrame,
    said: Mapping[float, str],
    epsilons: Sequence[float],
    seeds: pd.DataFrame | None = None,
    *,
    order: Sequence[str] = HIERARCHY,
    title: str,
) -> go.Figure:
    """Show whether networks guided by later regions are more robust: one panel per budget.

    Parameters
    ----------
    accuracy : DataFrame
        One row per condition × ε (see `robustness_curves`); bars are its intervals.
    said : mapping of ε → str
        Written above the panel of that ε, such as `metrics.verdicts` returns it; may lack some.
    epsilons : sequence of float
        The budgets to show, pixel units; 0 is clean.
    seeds : DataFrame, optional
        One row per condition × seed × ε (``robust_accuracy(decisions)``); small dots.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If a table is empty or lacks a column, or an ε is not in it.
    """
    check_accuracy(accuracy)
    places = axis_places(ordered(accuracy["condition"], order), order)
    heads = [_head(epsilon, said.get(epsilon, "")) for epsilon in epsilons]
    room = 10 + 17 * max(1 + head.count("<br>") for head in heads)
    fig, rows = panels(title, len(epsilons), 1, row=150, gap=20 + room, shared_xaxes=True)
    for epsilon, head, row in zip(epsilons, heads, rows, strict=True):
        at = drawn_at(accuracy, epsilon).set_index("condition")
        add_conditions(fig, at, "accuracy", places, order, **row)
        if seeds is not None:
            dots = drawn_at(seeds, epsilon)
            dots = dots[dots["condition"].isin(places)]
            marks = {"size": 5, "color": [color(name, order) for name in dots["condition"]], "opacity": 0.6}
            x = dots["condition"].map(places) + 0.2
            fig.add_scatter(x=x, y=dots["accuracy"], mode="markers", name="one seed", marker=marks, **row)
        fig.add_annotation(text=head, yref=f"{fig.data[-1].yaxis} domain", **NOTE)
    fig.update_yaxes(title_text="accuracy", tickformat=".3~p", nticks=5)
    plot = fig.layout.height - fig.layout.margin.t - BOTTOM
    condition_axis(tall(fig, plot, room, 20), places).update_layout(showlegend=False, margin={"r": 60})
    groups = {"controls": baselines(order), "weight decay": DECAYS, "regions, early → late": order}
    there = " · ".join(text for text, group in groups.items() if any(name in group for name in places))
    return fig.update_xaxes(title_text=f"{conditions_title(places)}: {there}".rstrip(": "), row=len(epsilons), col=1)


def _head(epsilon: float, said: str) -> str:
    """Return what stands above a budget's panel, in lines that fit a narrow figure."""
    text = f"<b>ε = {epsilon_label(epsilon)}</b>" if epsilon else "<b>clean images</b>"
    return f"{text}<br>{wrapped(said, NOTE_LETTERS)}" if said else text


def trade_off(accuracy: pd.DataFrame, epsilon: float, *, order: Sequence[str] = HIERARCHY, title: str) -> go.Figure:
    """Show robust against clean accuracy, one labelled marker per network.

    Parameters
    ----------
    accuracy : DataFrame
        One row per condition (× seed) × ε, as `robust_accuracy` gives it, with ε = 0 and the chosen ε.
    epsilon : float
        The budget of the vertical axis, pixel units.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty or lacks a column, or a network lacks one of the two ε.
    """
    keys = ["condition", "seed"] if "seed" in accuracy else ["condition"]
    check_accuracy(accuracy, keys)
    both = clean_and_robust(accuracy, epsilon, keys)
    fig = new_figure(title, "clean accuracy", f"accuracy at ε = {epsilon_label(epsilon)}")
    for row in both.to_dict("records"):
        name, (x, y) = row["condition"], (row["accuracy_clean"], row["accuracy_robust"])
        # With a network per seed the markers themselves show the spread; bars would hide them.
        look = marker(name, order)
        bars = {} if "seed" in keys else crossed_bars(row, look["color"])
        add_point(fig, name, x, y, marker=look, **bars)
    bounds = ("accuracy",) if "seed" in keys else ("ci_low", "ci_high")
    fig.update_xaxes(range=padded(both[[f"{bound}_clean" for bound in bounds]]), tickformat=".3~p")
    fig.update_yaxes(range=padded(both[[f"{bound}_robust" for bound in bounds]]), tickformat=".3~p")
    labelled = both.sort_values("accuracy_robust").drop_duplicates("condition", keep="last")
    points, targets = (table[["accuracy_clean", "accuracy_robust"]].to_numpy() for table in (both, labelled))
    place_labels(fig, targets, points, list(labelled["condition"]))
    return fig.update_layout(showlegend=False)


def _name_ends(fig: go.Figure, ends: Mapping[str, tuple[float, float]], top: float, order: Sequence[str]) -> None:
    """Write each curve's name to the right of its end (x, y), apart from the others; ``top`` ends the axis."""
    plot_height = HEIGHT - TOP - BOTTOM
    wanted = np.array([y for _, y in ends.values()]) / (top + 0.02) * plot_height
    look = {"xanchor": "left", "arrowhead": 0, "arrowwidth": 1.2, "standoff": 6}
    for (name, (x, y)), raw, place in zip(ends.items(), wanted, spread(wanted, 19, plot_height), strict=True):
        ink = color(name, order)
        fig.add_annotation(x=x, y=y, ax=50, ay=raw - place, text=name, arrowcolor=ink, **look)
