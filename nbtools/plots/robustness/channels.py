"""Figures of spatial frequency: how sensitive networks are to noise of each octave, what they know without some."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from nbtools.checks import check_enough
from nbtools.conditions import HIERARCHY
from nbtools.metrics.decisions.channels import HUMAN_CHANNEL, gaussian
from nbtools.plots.marks import Look, add_curve, error_bars, look_of
from nbtools.plots.style import PALE, legend_beside, new_figure, panels
from nbtools.plots.tables import check_drawable, check_points, ordered

_POINTS = ("condition", "band", "sensitivity", "ci_low", "ci_high")
_HEADS = {"low": "frequencies below the cut", "high": "above it", "band": "the octave around it"}
_SHIFT = 0.025  # octaves between the conditions' points, so that bars do not cover each other


def noise_channels(
    thresholds: pd.DataFrame, channels: pd.DataFrame, *, order: Sequence[str] = HIERARCHY, title: str
) -> go.Figure:
    """Show sensitivity to noise over spatial frequency: points with intervals, and the Gaussian fitted to them.

    Parameters
    ----------
    thresholds : DataFrame
        From `metrics.noise_thresholds`, one row per condition × band (of several seeds: `metrics.over_networks`, by
        condition and band): ``condition``, ``band`` (cycles/image), ``sensitivity``, ``ci_low``, ``ci_high``. A band
        without a threshold is an open triangle at the bound of its interval, which points to where it lies.
    channels : DataFrame
        From `metrics.noise_channel`, one row per condition × measure: ``condition``, ``measure``, ``value``. A
        condition without a channel has no curve.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If a table is empty, lacks a column, or has a point twice.
    """
    fix = "average seeds first: metrics.over_networks"
    check_drawable(thresholds, _POINTS)
    check_points(thresholds, ("condition", "band"), fix=fix)
    check_drawable(channels, ("condition", "measure", "value"))
    check_points(channels, ("condition", "measure"), fix=fix)
    fig = new_figure(title, "spatial frequency (cycles/image)", "sensitivity (1 / variance of noise at threshold)")
    fitted = channels.pivot(index="condition", columns="measure", values="value")
    names = ordered(thresholds["condition"], order)
    bands = np.unique(thresholds["band"])
    for number, name in enumerate(names):
        rows, look = thresholds[thresholds["condition"] == name].sort_values("band"), look_of(name, order)
        shift = 2 ** (_SHIFT * (number - (len(names) - 1) / 2))
        _add_points(fig, rows.assign(band=rows["band"] * shift), name, look)
        if name in fitted.index:
            x = np.geomspace(bands[0] / 2**0.5, bands[-1] * 2**0.5, 200)
            line = {"color": look.color, "dash": look.dash, "width": 2}
            y = gaussian(x, **fitted.loc[name])
            fig.add_scatter(x=x, y=y, name=name, legendgroup=name, mode="lines", line=line, showlegend=False)
    _add_people(fig)
    octaves = bands[0] * 2.0 ** np.arange(np.log2(max(bands[-1], HUMAN_CHANNEL["centre"]) / bands[0]) + 1)
    ends = np.log10([octaves[0] / 2**0.5, octaves[-1] * 2**0.5])
    fig.update_xaxes(type="log", range=ends.tolist(), tickvals=octaves, ticktext=[f"{f:g}" for f in octaves])
    known = thresholds[["sensitivity", "ci_low", "ci_high"]].replace([0, np.inf], np.nan).to_numpy()
    heights = [np.nanmin(known) / 2, np.nanmax(known) * 2] if np.isfinite(known).any() else [1, 10]
    fig.update_yaxes(type="log", range=np.log10(heights).tolist(), dtick="D2", tickformat="~r")
    return legend_beside(fig, len(names) + 1)


def filter_curves(table: pd.DataFrame, *, order: Sequence[str] = HIERARCHY, title: str) -> go.Figure:
    """Show accuracy over where a filter cuts: a panel for each kind of images, a line for each condition.

    Parameters
    ----------
    table : DataFrame
        One row per condition × kind × cut: ``condition``, ``passes`` (a panel's head: of `metrics.filtered_accuracy`
        what passes; its ``"all"``, whole images, stands in every panel), ``cut`` (cycles/image; NaN of whole images),
        ``accuracy``, ``ci_low``, ``ci_high``: `metrics.over_networks` by condition, passes and cut.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty or lacks a column, or no image was filtered.
    """
    check_drawable(table, ("condition", "passes", "cut", "accuracy", "ci_low", "ci_high"))
    names, cuts = ordered(table["condition"], order), np.unique(table["cut"].dropna())
    check_enough("there is no filter to draw", len(cuts), 1, fix="filter the images: probes.decide_filtered")
    kinds = [kind for kind in dict.fromkeys(table["passes"]) if kind != "all"]
    heads = [_HEADS.get(kind, kind) for kind in kinds]
    fig, places = panels(title, len(kinds), heads=heads, shared_yaxes=True, horizontal_spacing=0.04)
    placed = table.assign(cut=table["cut"].fillna(2 * cuts[-1]))  # whole images beyond the last cut
    for kind, place in zip(kinds, places, strict=True):
        for name in names:
            rows, look = placed[placed["condition"] == name].sort_values("cut"), look_of(name, order)
            for line in (rows[rows["passes"] == kind], rows[rows["passes"] == "all"]):  # not joined
                add_curve(fig, line["cut"], line, "accuracy", name, look=look, bars="cross", size=7, **place)
    ticks = {"tickvals": [*cuts, 2 * cuts[-1]], "ticktext": [*(f"{cut:g}" for cut in cuts), "whole"]}
    fig.update_xaxes(type="log", title_text="cut (cycles/image)", **ticks)
    fig.update_yaxes(tickformat=".0%", rangemode="tozero")
    fig.update_yaxes(title_text="accuracy", col=1)
    return legend_beside(fig, len(names))


def _add_points(fig: go.Figure, rows: pd.DataFrame, name: str, look: Look) -> None:
    """Draw the bands of one condition; those without a threshold as triangles that point beyond the range."""
    bars = error_bars(rows.replace({"ci_high": {np.inf: np.nan}}), "sensitivity", look.color, "line")
    marks = {"symbol": look.symbol, "size": 8, "color": look.color}
    where = {"x": rows["band"], "mode": "markers", "name": name, "legendgroup": name}
    fig.add_scatter(**where, y=rows["sensitivity"], error_y=bars, marker=marks)
    beyond = rows["sensitivity"].isna()
    for known, open_end, at, symbol in (
        ("ci_high", "ci_low", 0, "triangle-down-open"),
        ("ci_low", "ci_high", np.inf, "triangle-up-open"),
    ):
        y = rows[known].where(beyond & (rows[open_end] == at))
        fig.add_scatter(**where, y=y, marker={**marks, "symbol": symbol}, showlegend=False)


def _add_people(fig: go.Figure) -> None:
    """Mark the octave that people recognise objects by."""
    half = 2 ** (HUMAN_CHANNEL["bandwidth"] / 2)
    span = HUMAN_CHANNEL["centre"] / half, HUMAN_CHANNEL["centre"] * half
    fig.add_vrect(*span, fillcolor=PALE, opacity=0.25, line_width=0, layer="below")
    place = {"x": np.log10(HUMAN_CHANNEL["centre"]), "y": 1, "yref": "paper", "yanchor": "top", "showarrow": False}
    fig.add_annotation(**place, text="human channel<br>(Subramanian<br>et al. 2023)", font_size=12)
