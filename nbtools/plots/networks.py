"""Figures of networks: how they trained, and how robust they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nbtools.conditions import BASELINES, DECAYS, HIERARCHY, color, dash, symbol
from nbtools.errors import InputError
from nbtools.metrics.robustness import epsilon_label
from nbtools.metrics.stats import TrendTest, describe
from nbtools.plots.style import (
    BOTTOM,
    HEIGHT,
    INK,
    PALE,
    TEMPLATE,
    TOP,
    at_epsilon,
    axis_places,
    check_accuracy,
    check_names,
    check_table,
    condition_axis,
    error_bars,
    faded,
    new_figure,
    ordered,
    padded,
    place_labels,
    spread,
    thinned,
)

METRIC_LABELS = {
    "loss": "loss",
    "class_loss": "classification loss",
    "neural_loss": "neural loss",
    "distance_loss": "distance outside spheres",
    "variance_loss": "variance term",
    "accuracy": "accuracy",
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
    check_table(history, ("epoch", "split"))
    check_names(history["split"], ("train", "validation"), "split")
    metrics = [name for name in METRIC_LABELS if name in history and history[name].notna().any()]
    if not metrics:
        raise InputError(
            "the history has no metric to show",
            expected=f"any of {', '.join(METRIC_LABELS)}",
            got=f"columns {', '.join(map(str, history))}",
            fix="give the history that training returned",
        )
    columns = min(3, len(metrics))
    rows = -(-len(metrics) // columns)
    fig = make_subplots(rows, columns, horizontal_spacing=0.11, vertical_spacing=0.24)
    for i, metric in enumerate(metrics):
        at = {"row": i // columns + 1, "col": i % columns + 1}
        for split, shade in (("train", PALE), ("validation", INK)):
            part = history[(history["split"] == split) & history[metric].notna()].sort_values("epoch")
            if len(part):
                fig.add_scatter(
                    x=part["epoch"],
                    y=part[metric],
                    name=split,
                    legendgroup=split,
                    showlegend=not any(trace.name == split for trace in fig.data),
                    mode="lines+markers",
                    line={"color": shade, "width": 2.5},
                    marker={"size": 4},
                    **at,
                )
        fig.update_xaxes(title_text="epoch", **at)
        fig.update_yaxes(title_text=METRIC_LABELS[metric], **at)
    return fig.update_layout(template=TEMPLATE, title_text=title, height=TOP + BOTTOM + 230 * rows)


def robustness_curves(accuracy: pd.DataFrame, *, title: str) -> go.Figure:
    """Show accuracy against the attack's budget, one line and confidence band per condition.

    Parameters
    ----------
    accuracy : DataFrame
        One row per condition × ε, as ``robust_accuracy(decisions, by=("condition",))`` gives it: ``condition``,
        ``epsilon`` (pixel units), ``accuracy``, ``ci_low``, ``ci_high`` (fractions).
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty, lacks a column, or has several rows for one condition and ε.
    """
    check_accuracy(accuracy)
    fig = new_figure(title, "attack budget ε (pixel units)", "accuracy")
    conditions = ordered(accuracy["condition"])
    ends = []
    for name in conditions:
        part = accuracy[accuracy["condition"] == name].sort_values("epsilon")
        x = part["epsilon"] * 255
        _band(fig, x, part["ci_low"], part["ci_high"], color(name))
        fig.add_scatter(
            x=x,
            y=part["accuracy"],
            name=name,
            mode="lines+markers",
            line={"color": color(name), "dash": dash(name), "width": 2.5},
            marker={"symbol": symbol(name), "size": 8},
        )
        ends.append((x.iloc[-1], part["accuracy"].iloc[-1]))
    top = min(1.02, 1.06 * float(accuracy["ci_high"].max()) + 0.01)
    plot_height = HEIGHT - TOP - BOTTOM
    wanted = np.array([y for _, y in ends]) / (top + 0.02) * plot_height
    for name, (x, y), raw, place in zip(conditions, ends, wanted, spread(wanted, 19, plot_height), strict=True):
        fig.add_annotation(
            x=x,
            y=y,
            ax=50,
            ay=raw - place,
            text=name,
            xanchor="left",
            arrowhead=0,
            arrowwidth=1.2,
            arrowcolor=color(name),
            standoff=6,
        )
    ticks = thinned(np.sort(accuracy["epsilon"].unique()))
    last = float(ticks[-1]) * 255
    fig.update_xaxes(tickvals=ticks * 255, ticktext=[epsilon_label(e) for e in ticks])
    fig.update_xaxes(range=[-0.03 * last, 1.03 * last])
    fig.update_yaxes(range=[-0.02, top], tickformat=".0%")
    return fig.update_layout(showlegend=False, margin={"r": 130})


def hierarchy(
    accuracy: pd.DataFrame,
    trend: Mapping[float, TrendTest],
    epsilons: Sequence[float],
    seeds: pd.DataFrame | None = None,
    *,
    title: str,
) -> go.Figure:
    """Show whether networks guided by later regions are more robust: one panel per budget.

    Parameters
    ----------
    accuracy : DataFrame
        One row per condition × ε (see `robustness_curves`); bars are its intervals.
    trend : mapping of ε → TrendTest
        Written above the panel of that ε; may lack some.
    epsilons : sequence of float
        The budgets to show, pixel units; 0 is clean.
    seeds : DataFrame, optional
        One row per condition × seed × ε (``robust_accuracy(decisions)``); small dots.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If a table is empty or lacks a column, or an ε is not in it.
    """
    check_accuracy(accuracy)
    places = axis_places(ordered(accuracy["condition"]))
    spacing = 0.2 / len(epsilons)
    fig = make_subplots(len(epsilons), 1, shared_xaxes=True, vertical_spacing=spacing)
    for row, epsilon in enumerate(epsilons, start=1):
        part = at_epsilon(accuracy, epsilon).set_index("condition")
        guided = [name for name in places if name in part.index and name in HIERARCHY]
        x, y = [places[name] for name in guided], part.loc[guided, "accuracy"]
        fig.add_scatter(x=x, y=y, mode="lines", line={"color": "#cfcfcf", "width": 2}, hoverinfo="skip", row=row, col=1)
        if "none" in part.index:
            _baseline(fig, part.loc["none", "accuracy"], row)
        for name in (name for name in places if name in part.index):
            _interval_marker(fig, places[name], part.loc[name], name, row)
        if seeds is not None:
            dots = at_epsilon(seeds, epsilon)
            dots = dots[dots["condition"].isin(places)]
            fig.add_scatter(
                x=dots["condition"].map(places) + 0.2,
                y=dots["accuracy"],
                mode="markers",
                name="one seed",
                marker={"size": 5, "color": [color(name) for name in dots["condition"]], "opacity": 0.6},
                row=row,
                col=1,
            )
        text = f"<b>ε = {epsilon_label(epsilon)}</b>" if epsilon else "<b>clean images</b>"
        text += f"   {describe(trend[epsilon])}" if epsilon in trend else ""
        where = {
            "xref": "paper",
            "x": 0,
            "xanchor": "left",
            "yref": f"y{row if row > 1 else ''} domain",
            "y": 1,
        }
        fig.add_annotation(text=text, **where, yanchor="bottom", showarrow=False, font={"size": 13}, align="left")
        fig.update_yaxes(title_text="accuracy", tickformat=".3~p", nticks=5, row=row, col=1)
    fig.update_layout(template=TEMPLATE, title_text=title, showlegend=False)
    fig.update_layout(height=TOP + BOTTOM + 45 + 210 * len(epsilons))
    fig.update_layout(margin={"t": TOP + 15, "b": BOTTOM + 30, "r": 60})
    condition_axis(fig, places)
    for group, text in ((BASELINES, "controls"), (DECAYS, "weight decay"), (HIERARCHY, "regions, early → late")):
        members = [places[name] for name in group if name in places]
        if members:
            below = {"yref": "paper", "y": 0, "yshift": -46, "yanchor": "top", "xref": "x"}
            fig.add_annotation(text=f"<i>{text}</i>", x=np.mean(members), showarrow=False, **below)
    return fig.update_xaxes(title={"text": "what guided the network", "standoff": 40}, row=len(epsilons), col=1)


def trade_off(accuracy: pd.DataFrame, epsilon: float, *, title: str) -> go.Figure:
    """Show robust against clean accuracy, one labelled marker per network.

    Parameters
    ----------
    accuracy : DataFrame
        One row per condition (× seed) × ε, as `robust_accuracy` gives it, with ε = 0 and the chosen ε.
    epsilon : float
        The budget of the vertical axis, pixel units.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty or lacks a column, or a network lacks one of the two ε.
    """
    keys = ["condition", "seed"] if "seed" in accuracy else ["condition"]
    check_accuracy(accuracy, keys)
    clean, robust = at_epsilon(accuracy, 0.0), at_epsilon(accuracy, epsilon)
    both = clean.merge(robust, on=keys, suffixes=("_clean", "_robust"))
    if not len(both) == len(clean) == len(robust):
        raise InputError(
            "some networks lack one of the two budgets",
            expected=f"every network at ε = 0 and at ε = {epsilon_label(epsilon)}",
            got=f"{len(clean)} networks at ε = 0, {len(robust)} at the other, {len(both)} at both",
            fix="attack every network at the same budgets, clean images included",
        )
    fig = new_figure(title, "clean accuracy", f"accuracy at ε = {epsilon_label(epsilon)}")
    for row in both.to_dict("records"):
        name, (x, y) = row["condition"], (row["accuracy_clean"], row["accuracy_robust"])
        bars = {
            "error_x": error_bars(x, row["ci_low_clean"], row["ci_high_clean"], color(name), "cross"),
            "error_y": error_bars(y, row["ci_low_robust"], row["ci_high_robust"], color(name), "cross"),
        }
        marker = {"symbol": symbol(name), "size": 12, "color": color(name), "line": {"width": 1.5}}
        # With a network per seed the markers themselves show the spread; bars would hide them.
        fig.add_scatter(x=[x], y=[y], name=name, mode="markers", marker=marker, **({} if "seed" in keys else bars))
    bounds = ("accuracy",) if "seed" in keys else ("ci_low", "ci_high")
    x_range = padded(both[[f"{bound}_clean" for bound in bounds]])
    y_range = padded(both[[f"{bound}_robust" for bound in bounds]])
    labelled = both.sort_values("accuracy_robust").drop_duplicates("condition", keep="last")
    points = both[["accuracy_clean", "accuracy_robust"]].to_numpy()
    targets = labelled[["accuracy_clean", "accuracy_robust"]].to_numpy()
    place_labels(fig, targets, points, list(labelled["condition"]), x_range, y_range)
    fig.update_xaxes(range=x_range, tickformat=".3~p")
    return fig.update_yaxes(range=y_range, tickformat=".3~p").update_layout(showlegend=False)


def _baseline(fig: go.Figure, accuracy: float, row: int) -> None:
    """Draw the unguided network's accuracy as a dotted line, named at its right end."""
    label = {"annotation_text": "none", "annotation_position": "right", "annotation_font_size": 12}
    fig.add_hline(y=accuracy, line={"color": INK, "width": 1, "dash": "dot"}, row=row, col=1, **label)


def _interval_marker(fig: go.Figure, x: float, point: pd.Series, name: str, row: int) -> None:
    fig.add_scatter(
        x=[x],
        y=[point["accuracy"]],
        name=name,
        mode="markers",
        marker={"symbol": symbol(name), "size": 12, "color": color(name), "line": {"width": 1.5}},
        error_y=error_bars(point["accuracy"], point["ci_low"], point["ci_high"], color(name)),
        row=row,
        col=1,
    )


def _band(fig: go.Figure, x: pd.Series, low: pd.Series, high: pd.Series, hex_color: str) -> None:
    """Fill the area between two curves."""
    fig.add_scatter(
        x=[*x, *x[::-1]],
        y=[*high, *low[::-1]],
        fill="toself",
        mode="lines",
        line={"width": 0},
        fillcolor=faded(hex_color, 0.09),
        hoverinfo="skip",
        showlegend=False,
    )
