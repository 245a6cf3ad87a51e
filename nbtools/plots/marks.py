"""What figures draw: the conditions' markers and curves, intervals, references, entries of legends, matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from nbtools.plots.looks import color, dash, level, symbol
from nbtools.plots.style import DOTTED, SEQUENTIAL, faded, new_figure, tall
from nbtools.plots.tables import ordered

Bars = Literal["point", "line", "cross"]
_WIDTHS: dict[Bars, dict[str, float]] = {
    "point": {"thickness": 1.8, "width": 4},
    "line": {"thickness": 1, "width": 2},
    "cross": {"thickness": 1.5, "width": 0},
}


_LARGER = 0.7  # than usual, at most: of the largest numbers


@dataclass(frozen=True)
class Look:
    """Colour (hex), plotly's dash and plotly's marker of a curve, and how large they are."""

    color: str
    dash: str = "solid"
    symbol: str = "circle"
    scale: float = 1.0  # of lines' widths and markers' sizes: conditions of one kind differ in it, by their number


def look_of(condition: str, order: Sequence[str]) -> Look:
    """Return a condition's look in a hierarchy."""
    scale = 1 + _LARGER * level(condition)
    return Look(color(condition, order), dash(condition), symbol(condition, order), scale)


def error_bars(
    rows: pd.DataFrame | pd.Series | Mapping[str, Any],
    value: str,
    ink: str,
    bars: Bars = "point",
    bounds: tuple[str, str] = ("ci_low", "ci_high"),
) -> dict[str, Any]:
    """Return plotly's error bars of a column, or of one row's value, with its bounds' columns.

    They are finer along a line, and faint where bars cross.
    """
    low, high = bounds
    return {
        "type": "data",
        "symmetric": False,
        "array": np.atleast_1d(rows[high] - rows[value]),
        "arrayminus": np.atleast_1d(rows[value] - rows[low]),
        "color": faded(ink, 0.3) if bars == "cross" else ink,
        **_WIDTHS[bars],
    }


def crossed_bars(rows: pd.DataFrame | Mapping[str, Any], ink: str) -> dict[str, dict[str, Any]]:
    """Return plotly's error bars, both ways, of robust against clean accuracy (`tables.clean_and_robust`)."""
    return {
        axis: error_bars(rows, f"accuracy_{end}", ink, "cross", (f"ci_low_{end}", f"ci_high_{end}"))
        for axis, end in (("error_x", "clean"), ("error_y", "robust"))
    }


def interval_text(value: float, low: float, high: float) -> str:
    """Write a value and its interval."""
    return f"{value:z.2f} [{low:z.2f}, {high:z.2f}]"


def marker(condition: str, order: Sequence[str], size: float = 12) -> dict[str, Any]:
    """Return a condition's marker."""
    look = look_of(condition, order)
    return {"symbol": look.symbol, "size": size * look.scale, "color": look.color, "line": {"width": 1.5}}


def ring(condition: str, order: Sequence[str], size: float = 10, *, filled: bool = True) -> dict[str, Any]:
    """Return a condition's marker with an edge in its colour, filled or white."""
    plain = marker(condition, order, size)
    return {**plain, "color": plain["color"] if filled else "white", "line": {"width": 2, "color": plain["color"]}}


def add_point(fig: go.Figure, name: str, x: object, y: object, **options: Any) -> None:
    """Draw one marker; options, its look among them, go to plotly."""
    fig.add_scatter(x=[x], y=[y], name=name, mode="markers", **options)


def add_curve(
    fig: go.Figure,
    x: Sequence[float] | pd.Series,
    rows: pd.DataFrame,
    y: str,
    name: str,
    *,
    look: Look,
    bars: Bars | None = None,
    width: float = 2,
    size: float | Sequence[float] = 8,
    **options: Any,
) -> None:
    """Draw a curve with its intervals; over several panels its name enters the legend once.

    Parameters
    ----------
    fig : Figure
        Gets one trace.
    x : sequence of float (n,)
        Where the rows stand.
    rows : DataFrame (n rows)
        ``y``, and with ``bars`` its bounds ``ci_low``, ``ci_high``.
    y, name : str
        The column to show, and what a legend says.
    look : Look
        Of the curve.
    bars : str, optional
        The kind of error bars; none without it.
    width, size : float
        Of the line and of its markers, in pixels.
    options
        Go to plotly; among them the panel.
    """
    if bars:
        options["error_y"] = error_bars(rows, y, look.color, bars)
    if "row" in options:
        options |= {"legendgroup": name, "showlegend": not any(trace.name == name for trace in fig.data)}
    line = {"color": look.color, "dash": look.dash, "width": width * look.scale}
    marks = {"symbol": look.symbol, "size": np.multiply(size, look.scale)}
    fig.add_scatter(x=x, y=rows[y], name=name, mode="lines+markers", line=line, marker=marks, **options)


def add_band(fig: go.Figure, x: pd.Series, rows: pd.DataFrame, ink: str, **panel: int) -> None:
    """Fill the area between the bounds of a curve's rows (``ci_low``, ``ci_high``) at x (n,)."""
    outline = {"x": [*x, *x[::-1]], "y": [*rows["ci_high"], *rows["ci_low"][::-1]]}
    look = {"mode": "lines", "line": {"width": 0}, "fill": "toself", "fillcolor": faded(ink, 0.09)}
    fig.add_scatter(**outline, **look, hoverinfo="skip", showlegend=False, **panel)


def add_conditions(
    fig: go.Figure, rows: pd.DataFrame, score: str, places: Mapping[str, float], order: Sequence[str], **panel: int
) -> None:
    """Draw a score of every condition (the rows' index) with its interval, at its place on the horizontal axis.

    A grey line joins the hierarchy's regions, a dotted one is at the unguided network's score.
    """
    names = [name for name in places if name in rows.index]
    guided = [name for name in names if name in order]
    joined = {"x": [places[name] for name in guided], "y": rows.loc[guided, score]}
    fig.add_scatter(**joined, mode="lines", line={"color": "#cfcfcf", "width": 2}, hoverinfo="skip", **panel)
    if "none" in names:
        label = {"annotation_text": "none", "annotation_position": "right", "annotation_font_size": 12}
        fig.add_hline(y=rows.loc["none", score], line=DOTTED, **label, **panel)
    for name in names:
        row = rows.loc[name]
        look = {"marker": marker(name, order), "error_y": error_bars(row, score, color(name, order))}
        add_point(fig, name, places[name], row[score], **look, **panel)


def add_key(fig: go.Figure, name: str, marks: Mapping[str, Any], **options: Any) -> None:
    """Write a legend's entry that stands for no single trace."""
    fig.add_scatter(x=[None], y=[None], mode="markers", name=name, marker=marks, **options)


def matrix_figure(
    title: str, table: pd.DataFrame, keys: tuple[str, str], value: str, hover: str, order: Sequence[str], **options: Any
) -> go.Figure:
    """Return a heat map of a value of all pairs of conditions.

    Parameters
    ----------
    title : str
        Title.
    table : DataFrame
        One row per pair: the two keys, the value, ``text`` (what the cell says), ``said`` (what a hover adds).
    keys : (str, str)
        Columns of the conditions: down, in their order, and across.
    value : str
        The column to show.
    hover : str
        What a hover says first, with ``%{y}`` and ``%{x}`` for the two conditions.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    options
        Go to plotly's heat map.
    """
    names = ordered(table[keys[0]], order)
    square = table.pivot(index=keys[0], columns=keys[1]).loc[names]
    values, text, said = (square[column][names].to_numpy() for column in (value, "text", "said"))
    words = {"text": text, "texttemplate": "%{text}", "textfont": {"size": 11}, "customdata": said}
    words["hovertemplate"] = f"{hover}: %{{customdata}}<extra></extra>"
    fig = new_figure(title)
    fig.add_heatmap(x=names, y=names, z=values, colorscale=SEQUENTIAL, **words, **options)
    fig.update_yaxes(autorange="reversed", showgrid=False)
    return tall(fig, max(36 * len(names), 200), below=30)
