"""Figures of shape bias and error consistency."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from nbtools.conditions import HIERARCHY
from nbtools.plots.looks import color, symbol
from nbtools.plots.marks import error_bars, interval_text, matrix_figure
from nbtools.plots.style import DOTTED, INK, conditions_title, legend_beside, new_figure, tall
from nbtools.plots.tables import check_drawable, ordered


def class_bias(table: pd.DataFrame, *, order: Sequence[str] = HIERARCHY, title: str) -> go.Figure:
    """Show the shape bias of every class: a row per shape class, a marker per condition, its interval.

    Parameters
    ----------
    table : DataFrame
        From ``shape_bias(decisions, by=("condition", "shape"))``.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty or lacks a column.
    """
    check_drawable(table, ("condition", "shape", "shape_bias", "ci_low", "ci_high"))
    classes = sorted(table["shape"].unique())
    names = ordered(table["condition"], order)
    fig = new_figure(title, "decided by texture ← shape bias → decided by shape", "shape class")
    for i, name in enumerate(names):
        part = table[table["condition"] == name].set_index("shape").reindex(classes)
        offset = (i - (len(names) - 1) / 2) * 0.7 / len(names)
        ink = color(name, order)
        look = {"symbol": symbol(name, order), "size": 9, "color": ink}
        bars = error_bars(part, "shape_bias", ink, "line")
        y = np.arange(len(classes)) + offset
        fig.add_scatter(x=part["shape_bias"], y=y, name=name, mode="markers", marker=look, error_x=bars)
    fig.add_vline(x=0.5, line=DOTTED)
    fig.update_xaxes(range=[-0.02, 1.02], tickformat=".0%")
    fig.update_yaxes(tickvals=np.arange(len(classes)), ticktext=classes, autorange="reversed")
    return legend_beside(tall(fig, max(12 * len(classes) * len(names), 260)), len(names))


def shape_and_texture(table: pd.DataFrame, *, order: Sequence[str] = HIERARCHY, title: str) -> go.Figure:
    """Show how often each condition names the shape, the texture, or a third class.

    Parameters
    ----------
    table : DataFrame
        From ``shape_bias``: ``condition``, ``shape_accuracy``, ``texture_accuracy``.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty or lacks a column.
    """
    check_drawable(table, ("condition", "shape_accuracy", "texture_accuracy"))
    names = ordered(table["condition"], order)
    rows = table.set_index("condition").loc[names]
    parts = {
        "shape": (rows["shape_accuracy"], "#333333", ""),
        "texture": (rows["texture_accuracy"], "#9ecae1", "/"),
        "neither": (1 - rows["shape_accuracy"] - rows["texture_accuracy"], "#eeeeee", ""),
    }
    fig = new_figure(title, conditions_title(names), "share of cue-conflict images")
    for part, (values, fill, pattern) in parts.items():
        marker = {"color": fill, "line": {"color": INK, "width": 1}, "pattern": {"shape": pattern}}
        fig.add_bar(x=names, y=values, name=f"decided for {part}", marker=marker)
    fig.update_yaxes(tickformat=".0%", range=[0, 1])
    return fig.update_layout(barmode="stack")


def consistency_heatmap(table: pd.DataFrame, *, order: Sequence[str] = HIERARCHY, title: str) -> go.Figure:
    """Show the error consistency of every pair of networks.

    Parameters
    ----------
    table : DataFrame
        From `metrics.consistency_matrix`: ``a``, ``b``, ``kappa``, ``ci_low``, ``ci_high``, ``n``,
        ``n_seeds``.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty or lacks a column.
    """
    check_drawable(table, ("a", "b", "kappa", "ci_low", "ci_high", "n", "n_seeds"))
    said = [f"κ = {interval_text(r.kappa, r.ci_low, r.ci_high)}, {r.n} images" for r in table.itertuples()]
    itself = (table["a"] == table["b"]) & (table["n_seeds"] == 1)  # a network agrees with itself: nothing to see
    kappa = table["kappa"].mask(itself)
    text = ["" if np.isnan(value) else f"{value:z.2f}" for value in kappa]
    cells = table.assign(kappa=kappa, said=said, text=text)
    bar = {"title": "Cohen's κ"}
    fig = matrix_figure(title, cells, ("a", "b"), "kappa", "%{y} and %{x}", order, colorbar=bar)
    return fig.update_xaxes(title_text="network").update_yaxes(title_text="network")
