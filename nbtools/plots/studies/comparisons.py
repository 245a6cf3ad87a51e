"""Figures of one score per condition, of differences, of the α ablation, of doses, and of every claim's slope."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from nbtools.conditions import HIERARCHY
from nbtools.metrics.decisions.robustness import epsilon_label
from nbtools.metrics.samples.contrasts import SIGNIFICANT
from nbtools.metrics.samples.verdicts import p_text
from nbtools.plots.labels import place_labels
from nbtools.plots.looks import color
from nbtools.plots.marks import add_conditions, add_curve, add_point, error_bars, look_of, ring
from nbtools.plots.style import (
    DOTTED,
    FAINT,
    INK,
    NOTE,
    NOTE_LETTERS,
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
from nbtools.plots.tables import check_drawable, check_points, clean_and_robust, ordered


def scores_by_condition(
    table: pd.DataFrame, score: str, label: str, *, note: str = "", order: Sequence[str] = HIERARCHY, title: str
) -> go.Figure:
    """Show one score per condition with its interval: controls, weight decays, then regions early to late.

    Parameters
    ----------
    table : DataFrame
        One row per condition: ``condition``, the score, ``ci_low``, ``ci_high``.
    score : str
        The score's column.
    label : str
        The vertical axis' title, with unit.
    note : str
        A sentence above the figure: the slope, as `metrics.verdict` puts it.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty or lacks a column.
    """
    check_drawable(table, ("condition", score, "ci_low", "ci_high"))
    fig = new_figure(title, conditions_title(table["condition"]), label)
    places = axis_places(ordered(table["condition"], order), order)
    add_conditions(fig, table.set_index("condition"), score, places, order)
    note = wrapped(note, NOTE_LETTERS)
    tall(fig, 330, above=17 * note.count("<br>"), below=20).add_annotation(text=note, yref="paper", **NOTE)
    return condition_axis(fig, places).update_layout(showlegend=False, margin={"r": 60})


def differences(table: pd.DataFrame, *, order: Sequence[str] = HIERARCHY, title: str) -> go.Figure:
    """Show how far each condition stands above each control: one panel per control.

    Parameters
    ----------
    table : DataFrame
        From `metrics.compare`: ``condition``, ``control``, ``difference``, ``ci_low``, ``ci_high``
        (fractions), ``p_holm``; the last three missing where networks of one seed are compared. Filled markers: p
        after Holm ≤ 0.05.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty or lacks a column.
    """
    check_drawable(table, ("condition", "control", "difference", "ci_low", "ci_high", "p_holm"))
    controls, conditions = (ordered(table[name], order) for name in ("control", "condition"))
    heads = [f"minus {control}" for control in controls]
    layout: dict[str, Any] = {"shared_xaxes": "all", "shared_yaxes": True, "horizontal_spacing": 0.04}
    height = 60 + 32 * len(conditions)
    fig, places = panels(title, len(controls), balanced(len(controls), 4), heads=heads, row=height, gap=55, **layout)
    for control, place in zip(controls, places, strict=True):
        for row in table[table["control"] == control].to_dict("records"):
            name, value = row["condition"], row["difference"]
            marker = ring(name, order, 11, filled=row["p_holm"] <= SIGNIFICANT)
            bars = error_bars(row, "difference", color(name, order))
            add_point(fig, name, value, name, marker=marker, error_x=bars, **place)
        fig.add_vline(x=0, line=DOTTED, **place)
    fig.update_layout(showlegend=False)
    small = {"tickfont": {"size": 11}, "nticks": 3}  # panels are narrow
    fig.update_xaxes(title={"text": "difference", "standoff": 4}, tickformat="+.0%", showticklabels=True, **small)
    return fig.update_yaxes(categoryorder="array", categoryarray=conditions[::-1])


def alpha_ablation(
    accuracy: pd.DataFrame, epsilon: float, *, order: Sequence[str] = HIERARCHY, title: str
) -> go.Figure:
    """Show what the weight of guidance buys and costs: robust against clean accuracy, and against α.

    Parameters
    ----------
    accuracy : DataFrame
        One row per condition × α × ε (``over_networks`` of them), ε = 0 and the
        chosen ε among them.
    epsilon : float
        The budget of the vertical axes, pixel units.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty, lacks a column or one of the two ε, or holds a condition × α twice.
    """
    check_drawable(accuracy, ("condition", "alpha", "epsilon", "accuracy", "ci_low", "ci_high"))
    keys = ["condition", "alpha"]
    check_points(accuracy, [*keys, "epsilon"], fix="average seeds first: over_networks, by condition, α and ε")
    both = clean_and_robust(accuracy, epsilon, keys)
    fig, (left, right) = panels(title, 2, shared_yaxes=True, horizontal_spacing=0.06, column_widths=[0.55, 0.45])
    for name in ordered(both["condition"], order):
        part = both[both["condition"] == name].sort_values("alpha")
        look = look_of(name, order)
        bars = error_bars(part, "accuracy_robust", look.color, "line", ("ci_low_robust", "ci_high_robust"))
        add_curve(fig, part["accuracy_clean"], part, "accuracy_robust", name, look=look, size=10, **left)
        add_curve(fig, part["alpha"], part, "accuracy_robust", name, look=look, size=10, error_y=bars, **right)
    fig.update_xaxes(title_text="clean accuracy (α beside each point)", tickformat=".0%", **left)
    fig.update_xaxes(title_text="weight of guidance α", **right)
    fig.update_yaxes(tickformat=".0%", range=padded(both[["ci_low_robust", "ci_high_robust"]]))
    fig.update_xaxes(range=padded(both[["accuracy_clean"]]), **left)
    points = both[["accuracy_clean", "accuracy_robust"]].to_numpy()
    place_labels(fig, points, points, [f"{alpha:g}" for alpha in both["alpha"]], font={"size": 11, "color": FAINT})
    return fig.update_yaxes(title_text=f"accuracy at ε = {epsilon_label(epsilon)}", **left)


def doses(accuracy: pd.DataFrame, epsilon: float, *, order: Sequence[str] = HIERARCHY, title: str) -> go.Figure:
    """Show how robustness goes with the quality of the guide, as guides are made worse on purpose.

    Parameters
    ----------
    accuracy : DataFrame
        One row per condition and dose: ``condition``, ``dose``, ``r`` of its guide (`metrics.explained_r`),
        ``accuracy``, ``ci_low``, ``ci_high`` (over networks).
    epsilon : float
        The budget, pixel units.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty, lacks a column, or holds a condition × dose twice.
    """
    check_drawable(accuracy, ("condition", "dose", "r", "accuracy", "ci_low", "ci_high"))
    check_points(accuracy, ["condition", "dose"], fix="average seeds first: over_networks, by condition, dose and r")
    y_title = f"accuracy at ε = {epsilon_label(epsilon)}"
    fig = new_figure(title, "r of the guide, relative to what the noise allows", y_title)
    for name in ordered(accuracy["condition"], order):
        part, look = accuracy[accuracy["condition"] == name].sort_values("dose"), look_of(name, order)
        add_curve(fig, part["r"], part, "accuracy", name, look=look, bars="line", size=10)
    return fig.update_yaxes(tickformat=".0%")


def trends(table: pd.DataFrame, *, title: str) -> go.Figure:
    """Show the slope along the hierarchy of every measure; below its name its ``mark``, where the table has one.

    Parameters
    ----------
    table : DataFrame
        From `metrics.claims`: ``measure`` (words), ``slope`` (positive where the measure goes the way the paper says),
        ``ci_low``, ``ci_high``, ``p``, ``p_order``, ``p_holm``. Filled markers: p after Holm ≤ 0.05; "order" where that
        is the p of the regions' order, which is larger than that of the networks. One network each has neither interval
        nor p.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty or lacks a column.
    """
    check_drawable(table, ("measure", "slope", "ci_low", "ci_high", "p", "p_order", "p_holm"))
    fig = new_figure(title, "slope, SD per region<br>(right: as the paper says of its regions)", "")
    colors = [INK if p <= SIGNIFICANT else "white" for p in table["p_holm"]]
    marker = {"size": 12, "color": colors, "line": {"width": 2, "color": INK}}
    text = table["p_holm"].map(p_text) + np.where(table["p_order"] > table["p"], " (order)", "")
    words = {"text": text, "textposition": "top center", "textfont": {"size": 11}}
    bars = error_bars(table, "slope", INK)
    names = table["measure"].map(lambda name: wrapped(name, 32))
    names += "<br><sup>" + table["mark"] + "</sup>" if "mark" in table else ""
    row = 18 + 16 * max(1 + name.count("<br>") for name in names)
    fig.add_scatter(x=table["slope"], y=names, mode="markers+text", marker=marker, error_x=bars, **words)
    fig.add_vline(x=0, line=DOTTED)
    fig.update_yaxes(range=[len(table) - 0.5, -0.6], tickfont_size=13)
    return tall(fig, 30 + row * len(table)).update_layout(showlegend=False)
