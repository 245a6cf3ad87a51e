"""Figures of one score per condition, of differences, of the α ablation, and of every claim's trend."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nbtools.conditions import HIERARCHY, color, dash, symbol
from nbtools.errors import InputError
from nbtools.metrics.robustness import epsilon_label
from nbtools.plots.style import (
    BOTTOM,
    INK,
    PALE,
    TEMPLATE,
    TOP,
    at_epsilon,
    axis_places,
    check_table,
    condition_axis,
    error_bars,
    new_figure,
    ordered,
)

SIGNIFICANT = 0.05


def scores_by_condition(table: pd.DataFrame, score: str, label: str, *, note: str = "", title: str) -> go.Figure:
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
        A sentence above the figure: the trend, as `stats.describe` puts it.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty or lacks a column.
    """
    check_table(table, ("condition", score, "ci_low", "ci_high"))
    fig = new_figure(title, "what guided the network", label)
    names = ordered(table["condition"])
    places = axis_places(names)
    rows = table.set_index("condition")
    line = [name for name in names if name in HIERARCHY]
    fig.add_scatter(
        x=[places[name] for name in line],
        y=rows.loc[line, score],
        mode="lines",
        line={"color": "#cfcfcf", "width": 2},
        hoverinfo="skip",
    )
    if "none" in rows.index:
        fig.add_hline(y=rows.loc["none", score], line={"color": INK, "width": 1, "dash": "dot"})
    for name in names:
        row = rows.loc[name]
        fig.add_scatter(
            x=[places[name]],
            y=[row[score]],
            name=name,
            mode="markers",
            marker={"symbol": symbol(name), "size": 12, "color": color(name), "line": {"width": 1.5}},
            error_y=error_bars(row[score], row["ci_low"], row["ci_high"], color(name)),
        )
    if note:
        above = {"xref": "paper", "x": 0, "xanchor": "left", "yref": "paper", "y": 1, "yanchor": "bottom"}
        fig.add_annotation(text=note, showarrow=False, font={"size": 13}, **above)
    return condition_axis(fig, places).update_layout(showlegend=False, margin={"t": TOP + 15, "b": BOTTOM + 20})


def differences(table: pd.DataFrame, *, title: str) -> go.Figure:
    """Show how far each condition stands above each control: one panel per control.

    Parameters
    ----------
    table : DataFrame
        From `metrics.comparisons.compare`: ``condition``, ``control``, ``difference``, ``ci_low``, ``ci_high``
        (fractions), ``p_holm``. Filled markers: p after Holm ≤ 0.05.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty or lacks a column.
    """
    check_table(table, ("condition", "control", "difference", "ci_low", "ci_high", "p_holm"))
    controls, conditions = ordered(table["control"]), ordered(table["condition"])
    titles = [f"minus {control}" for control in controls]
    fig = make_subplots(1, len(controls), shared_yaxes=True, subplot_titles=titles, horizontal_spacing=0.04)
    for column, control in enumerate(controls, start=1):
        for row in table[table["control"] == control].to_dict("records"):
            name, value = row["condition"], row["difference"]
            clear = row["p_holm"] <= SIGNIFICANT
            marker = {"symbol": symbol(name), "size": 11, "color": color(name) if clear else "white"}
            fig.add_scatter(
                x=[value],
                y=[name],
                name=name,
                mode="markers",
                marker={**marker, "line": {"width": 2, "color": color(name)}},
                error_x=error_bars(value, row["ci_low"], row["ci_high"], color(name)),
                row=1,
                col=column,
            )
        fig.add_vline(x=0, line={"color": INK, "width": 1, "dash": "dot"}, row=1, col=column)
    fig.update_layout(template=TEMPLATE, title_text=title, showlegend=False)
    fig.update_layout(height=TOP + BOTTOM + 60 + 32 * len(conditions), margin={"t": TOP + 20, "l": 110})
    small = {"tickfont": {"size": 11}, "tickangle": 0, "nticks": 6}  # panels are narrow
    fig.update_xaxes(title_text="difference", tickformat="+.0%", matches="x", **small)
    return fig.update_yaxes(categoryorder="array", categoryarray=conditions[::-1])


def alpha_ablation(accuracy: pd.DataFrame, epsilon: float, *, title: str) -> go.Figure:
    """Show what the weight of guidance buys and costs: robust against clean accuracy, and against α.

    Parameters
    ----------
    accuracy : DataFrame
        One row per condition × α × ε (``robust_accuracy(decisions, by=("condition", "alpha"))``), ε = 0 and the
        chosen ε among them.
    epsilon : float
        The budget of the vertical axes, pixel units.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty, lacks a column or one of the two ε, or holds a condition × α twice.
    """
    check_table(accuracy, ("condition", "alpha", "epsilon", "accuracy", "ci_low", "ci_high"))
    keys = ["condition", "alpha"]
    both = at_epsilon(accuracy, 0.0).merge(at_epsilon(accuracy, epsilon), on=keys, suffixes=("_clean", "_robust"))
    if both.duplicated(keys).any():
        raise InputError(
            "a condition stands twice at one α",
            expected="one row per condition × α × ε",
            got=f"{int(both.duplicated(keys).sum())} too many",
            fix='pool seeds: robust_accuracy(decisions, by=("condition", "alpha"))',
        )
    fig = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.06, column_widths=[0.55, 0.45])
    for name in ordered(both["condition"]):
        part = both[both["condition"] == name].sort_values("alpha")
        look = {
            "mode": "lines+markers",
            "name": name,
            "line": {"color": color(name), "dash": dash(name), "width": 2},
            "marker": {"symbol": symbol(name), "size": 10},
        }
        robust = part["accuracy_robust"]
        bars = error_bars(robust, part["ci_low_robust"], part["ci_high_robust"], color(name), "line")
        fig.add_scatter(x=part["accuracy_clean"], y=robust, **look, row=1, col=1)
        fig.add_scatter(x=part["alpha"], y=robust, error_y=bars, **look, showlegend=False, row=1, col=2)
        for _, point in part.iterrows():
            where = {"x": point["accuracy_clean"], "y": point["accuracy_robust"], "yshift": 13}
            text = f"{point['alpha']:g}"
            fig.add_annotation(**where, text=text, showarrow=False, font={"size": 11, "color": PALE}, row=1, col=1)
    fig.update_layout(template=TEMPLATE, title_text=title, legend={"y": 1.02})
    fig.update_xaxes(title_text="clean accuracy (α beside each point)", tickformat=".0%", row=1, col=1)
    fig.update_xaxes(title_text="weight of guidance α", row=1, col=2)
    fig.update_yaxes(tickformat=".0%")
    return fig.update_yaxes(title_text=f"accuracy at ε = {epsilon_label(epsilon)}", row=1, col=1)


def trends(table: pd.DataFrame, *, title: str) -> go.Figure:
    """Show the trend along the hierarchy of every measure.

    Parameters
    ----------
    table : DataFrame
        One row per measure: ``measure`` (words), ``rho`` (Spearman with the hierarchy's rank, positive where the
        measure goes the way the paper says), ``p_holm``. Filled markers: p after Holm ≤ 0.05.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty or lacks a column.
    """
    check_table(table, ("measure", "rho", "p_holm"))
    fig = new_figure(title, "Spearman ρ with hierarchy rank (right: as the paper says)", "")
    colors = [INK if p <= SIGNIFICANT else "white" for p in table["p_holm"]]
    labels = [f"p = {p:.3f}" if p >= 0.001 else "p < 0.001" for p in table["p_holm"]]
    fig.add_scatter(
        x=table["rho"],
        y=table["measure"],
        mode="markers+text",
        text=labels,
        textposition="top center",
        textfont={"size": 11},
        marker={"size": 12, "color": colors, "line": {"width": 2, "color": INK}},
    )
    fig.add_vline(x=0, line={"color": INK, "width": 1, "dash": "dot"})
    fig.update_xaxes(range=[-1.15, 1.15])
    fig.update_yaxes(range=[len(table) - 0.5, -0.6])
    return fig.update_layout(showlegend=False, height=TOP + BOTTOM + 60 + 46 * len(table), margin={"l": 330})
