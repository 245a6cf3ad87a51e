"""A reader's guess, drawn into the figure of the result."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from nbtools.plots.style import INK


def with_guess(figure: go.Figure, at: Sequence[str], values: Sequence[float] | None, row: int = 1) -> go.Figure:
    """Return a figure with a guess in it, dashed; without a guess the figure as it is.

    Parameters
    ----------
    figure : Figure
        With named places on its horizontal axis.
    at : sequence of str
        Which of them the guess is about; places that the axis does not name are left out.
    values : sequence of float, optional
        The guess (`widgets.Exercise.value`).
    row : int
        Panel, from the top.
    """
    if values is None:
        return figure
    suffix = "" if row == 1 else str(row)
    axis = figure.layout[f"xaxis{suffix}"]
    places = dict(zip(axis.ticktext, axis.tickvals, strict=True))
    points = sorted((places[name], value) for name, value in zip(at, values, strict=True) if name in places)
    x, y = zip(*points, strict=True) if points else ((), ())
    line, marker = {"color": INK, "dash": "dash", "width": 2}, {"symbol": "x", "size": 9, "color": INK}
    look = {"mode": "lines+markers", "name": "your guess", "line": line, "marker": marker, "showlegend": True}
    return go.Figure(figure).add_scatter(x=x, y=y, xaxis=f"x{suffix}", yaxis=f"y{suffix}", **look)
