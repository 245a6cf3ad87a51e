"""Figures of what changes from read-out to read-out of networks: one line per condition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from nbtools.conditions import HIERARCHY
from nbtools.plots.marks import add_curve, look_of
from nbtools.plots.style import Panel, legend_beside, panels
from nbtools.plots.tables import check_drawable, check_points, ordered

READOUT_ORDER = ("pixels", "layer1", "layer2", "layer3", "layer4", "pooled", "neural", "logits")
_COLUMNS = ("condition", "readout", "value", "ci_low", "ci_high")


def dimensions_by_readout(table: pd.DataFrame, *, order: Sequence[str] = HIERARCHY, title: str) -> go.Figure:
    """Show how many dimensions categories fill, from read-out to read-out: a panel per measure.

    Parameters
    ----------
    table : DataFrame
        One row per condition × read-out × measure: ``condition``, ``readout``, ``measure`` (as
        `metrics.category_dimensions` names them), ``value``, ``ci_low``, ``ci_high``.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty, lacks a column or has a point twice.
    """
    check_drawable(table, (*_COLUMNS, "measure"))
    fig = _by_readout(table, ["measure"], 2, order, title)
    return fig.update_yaxes(title_text="dimensions", col=1)


def curvature_by_readout(table: pd.DataFrame, *, order: Sequence[str] = HIERARCHY, title: str) -> go.Figure:
    """Show how sharply paths of transformed images bend, from the pixels to the last read-out.

    Parameters
    ----------
    table : DataFrame
        One row per condition × read-out × transformation × measure, from `metrics.mean_curvature` averaged by
        `metrics.over_networks`: ``condition``, ``readout``, ``transformation``, ``measure``, ``value`` (degrees),
        ``ci_low``, ``ci_high``. A row of panels per measure, a column per transformation.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty, lacks a column or has a point twice.
    """
    check_drawable(table, (*_COLUMNS, "transformation", "measure"))
    fig = _by_readout(table, ["measure", "transformation"], table["transformation"].nunique(), order, title)
    return fig.update_yaxes(title_text="curvature (degrees a step)", col=1)


def add_readouts(
    fig: go.Figure,
    part: pd.DataFrame,
    names: Sequence[str],
    readouts: Sequence[str],
    order: Sequence[str],
    place: Panel,
) -> None:
    """Draw a panel's lines, one per condition, over read-outs that stand side by side.

    Parameters
    ----------
    fig : Figure
        Of panels.
    part : DataFrame
        The panel's rows: ``condition``, ``readout``, ``value``, ``ci_low``, ``ci_high``.
    names, readouts : sequence of str
        Conditions and read-outs, in their order (`in_readout_order`).
    order : sequence of str
        Regions, early to late.
    place : dict
        The panel.
    """
    for i, name in enumerate(names):
        rows = part[part["condition"] == name].set_index("readout")
        rows = rows.loc[[readout for readout in readouts if readout in rows.index]]
        nudge = (i - (len(names) - 1) / 2) * 0.03  # so that bars do not hide one another
        x = [readouts.index(readout) + nudge for readout in rows.index]
        add_curve(fig, x, rows, "value", name, look=look_of(name, order), bars="line", width=1.5, **place)
    ends = [-0.35, len(readouts) - 0.65]
    fig.update_xaxes(tickvals=list(range(len(readouts))), ticktext=readouts, range=ends, **place)


def in_readout_order(readouts: pd.Series) -> list[str]:
    """Return the distinct read-outs from pixels to logits, other nodes of a network after them as they come."""
    found = list(dict.fromkeys(readouts))
    return [name for name in READOUT_ORDER if name in found] + [name for name in found if name not in READOUT_ORDER]


def _by_readout(table: pd.DataFrame, by: list[str], columns: int, order: Sequence[str], title: str) -> go.Figure:
    """One panel per group of the `by` columns, row by row."""
    check_points(table, ("condition", "readout", *by), fix="average seeds first: metrics.over_networks")
    names, readouts = ordered(table["condition"], order), in_readout_order(table["readout"])
    groups = dict(list(table.sort_values(by[:1], kind="stable").groupby(by, sort=False)))
    heads = [", ".join(key) for key in groups]
    shared: dict[str, Any] = {"shared_yaxes": True, "horizontal_spacing": 0.03}
    fig, places = panels(title, len(heads), columns, heads=heads, row=230, gap=62, **shared)
    for part, place in zip(groups.values(), places, strict=True):
        add_readouts(fig, part, names, readouts, order, place)
    return legend_beside(fig.update_yaxes(rangemode="tozero"), len(names))
