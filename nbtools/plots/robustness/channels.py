"""Figures of spatial-frequency channels: how sensitive networks are to noise of each octave."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from nbtools.conditions import HIERARCHY
from nbtools.metrics.decisions.channels import HUMAN_CHANNEL, gaussian
from nbtools.plots.marks import Look, error_bars, look_of
from nbtools.plots.style import PALE, legend_beside, new_figure
from nbtools.plots.tables import check_drawable, check_points, ordered

_POINTS = ("condition", "band", "sensitivity", "ci_low", "ci_high")
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
