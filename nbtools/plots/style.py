"""The one look of all figures: template, panels, axes, legends."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.colors import hex_to_rgb
from plotly.subplots import make_subplots

from nbtools.conditions import DECAYS, HIERARCHY, baselines, is_adopted

Panel = dict[str, Any]  # {"row": row, "col": column}, as plotly's methods take them
NARROW, WIDE = 700, 1920  # pixels: a figure has no width of its own, and fits any place between these
HEIGHT = 500
TOP, BOTTOM, LEFT, RIGHT = 66, 70, 70, 30
_TITLE_LINE, _HEAD_LINE = 21, 17  # pixels
_ENTRY, _TURNED = 24, 45  # of a legend beside the plot, and what labels that are turned take of its height, pixels
_TITLE_LETTERS, _HEAD_LETTERS = 76, 70  # that a line of a title, and those of the heads side by side, hold when narrow
_UPRIGHT = 13  # conditions below a narrow figure
INK, PALE, FAINT = "#222222", "#9a9a9a", "#6b6b6b"  # lines may be pale, words no more than faint
SEQUENTIAL = "Cividis"  # one hue path from dark to light: reads in grey print and to colour-blind eyes
DOTTED = {"color": INK, "width": 1, "dash": "dot"}  # a reference line
# A legend beside the plot; the gap makes a line 24 pixels high, grouped or not.
BESIDE = {
    "orientation": "v",
    "x": 1.02,
    "xanchor": "left",
    "yref": "paper",
    "y": 1,
    "yanchor": "top",
    "tracegroupgap": 5,
}
# A sentence above a plot, of lines of so many letters.
NOTE_LETTERS = 84
NOTE = {"xref": "paper", "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom", "align": "left", "showarrow": False}
NOTE |= {"font": {"size": 13}}
BARE = {"showticklabels": False, "ticks": "", "showgrid": False, "showline": False}  # an axis without numbers
_AXIS = {
    "showline": True,
    "linecolor": INK,
    "ticks": "outside",
    "tickcolor": INK,
    "gridcolor": "#ececec",
    "zeroline": False,
    "title": {"standoff": 12},
    "automargin": True,  # margins are as wide as the longest label
    "autotickangles": [0, -45, -90],  # and labels turn before they touch
}
# White paper of its own, so that a figure reads the same in JupyterLab's dark theme and in print.
TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": "Arial, Helvetica, sans-serif", "size": 14, "color": INK},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "autosize": True,
        "height": HEIGHT,
        "margin": {"l": LEFT, "r": RIGHT, "t": TOP, "b": BOTTOM},
        "title": {"x": 0, "xref": "container", "xanchor": "left", "yref": "container", "y": 1, "yanchor": "top"},
        "title_pad": {"l": 16, "t": 14},
        "title_font": {"size": 17},
        "xaxis": {**_AXIS, "showgrid": False},
        "yaxis": _AXIS,
        # below all else, in as many rows as it takes
        "legend": {"orientation": "h", "x": 0.5, "xanchor": "center", "yref": "container", "y": 0, "yanchor": "bottom"},
        "hoverlabel": {"font": {"size": 13}},
        "modebar": {"remove": ["sendChartToCloud"]},  # plotly's button would upload the data of a figure
    }
)


def new_figure(title: str, x_title: str | None = None, y_title: str | None = None) -> go.Figure:
    """Return an empty figure in the common look with its titles set."""
    fig = go.Figure(layout={"template": TEMPLATE, "title_text": wrapped(title)})
    return tall(fig.update_layout(xaxis_title_text=x_title, yaxis_title_text=y_title))


def panels(
    title: str,
    n: int,
    columns: int | None = None,
    *,
    heads: Sequence[str] = (),
    kind: str = "xy",
    row: float = HEIGHT - TOP - BOTTOM,
    gap: float = 0,
    **options: Any,
) -> tuple[go.Figure, list[Panel]]:
    """Return an empty figure of panels in the common look, and each panel's place.

    Parameters
    ----------
    title : str
        Title.
    n : int
        Panels, filled row by row.
    columns : int, optional
        Panels in a row; without it all are in one.
    heads : sequence of str, optional
        Above the first panels; long ones are wrapped, as they must be where the figure is narrow.
    kind : str
        Plotly's kind of panel.
    row : float
        Height of a row's plot, pixels.
    gap : float
        What its axis and its labels take below a row, pixels; heads have room of their own.
    options
        Go to `plotly.subplots.make_subplots`.

    Returns
    -------
    Figure
    list of Panel (n,)
    """
    columns = columns or n
    rows = -(-n // columns)
    cells = [{"type": kind} if i < n else None for i in range(rows * columns)]
    specs = [cells[row * columns :][:columns] for row in range(rows)]
    said = [wrapped(head, max(_HEAD_LETTERS // columns, 10)) for head in heads]
    above, between = _head_room(said[:columns]), gap + _head_room(said[columns:])
    plot = rows * row + (rows - 1) * between
    options |= {"specs": specs, "subplot_titles": said or None, "vertical_spacing": between / plot}
    fig = make_subplots(rows, columns, **options).update_annotations(font_size=13)
    places = [{"row": 1 + i // columns, "col": 1 + i % columns} for i in range(n)]
    return tall(fig.update_layout(template=TEMPLATE, title_text=wrapped(title)), plot, above), places


def _head_room(heads: Sequence[str]) -> float:
    """Return what heads take above a row of panels, pixels."""
    return 8 + _HEAD_LINE * max(1 + head.count("<br>") for head in heads) if any(heads) else 0


def balanced(n: int, most: int) -> int:
    """Return how many columns n panels have, at most so many, so that rows are as alike as can be."""
    return -(-n // -(-n // most))


def wrapped(text: str, letters: int = _TITLE_LETTERS) -> str:
    """Break a text, by default a title, into lines of at most so many letters; breaks that it has stay."""
    lines = (
        textwrap.wrap(part, letters, break_long_words=False, break_on_hyphens=False) for part in text.split("<br>")
    )
    return "<br>".join("<br>".join(line) or part for line, part in zip(lines, text.split("<br>"), strict=True))


def tall(fig: go.Figure, plot: float = HEIGHT - TOP - BOTTOM, above: float = 0, below: float = 0) -> go.Figure:
    """Make a plot so many pixels high, with more room between it and the title and below its axis."""
    breaks = (fig.layout.title.text or "").count("<br>")
    top = TOP + _TITLE_LINE * breaks + above
    fig.update_layout(title_pad_t=26 if breaks else 14)  # plotly moves titles of several lines up
    return fig.update_layout(height=top + plot + BOTTOM + below, margin={"t": top, "b": BOTTOM + below})


def axis_places(names: Sequence[str], order: Sequence[str] = HIERARCHY) -> dict[str, float]:
    """Return each condition's place on an axis: controls, weight decays, regions, others; a gap between groups."""
    known = (baselines(order), DECAYS, order)
    groups = [[name for name in names if name in group] for group in known]
    groups.append([name for name in names if not any(name in group for group in known)])
    places: dict[str, float] = {}
    for group in filter(None, groups):
        start = max(places.values()) + 1.6 if places else 0.0
        places.update({name: start + i for i, name in enumerate(group)})
    return places


def condition_axis(fig: go.Figure, places: Mapping[str, float]) -> go.Figure:
    """Write conditions' names below the horizontal axis: in two lines, or in one where so many have to turn."""
    names = [name.replace("-", "-<br>") for name in places] if len(places) <= _UPRIGHT else list(places)
    return fig.update_xaxes(tickvals=list(places.values()), ticktext=names, tickfont={"size": 12})


def guided_by(condition: str) -> str:
    """Say in a title which network it is: ``guided by V1``, but ``net-robust50`` of one from outside."""
    return condition if is_adopted(condition) else f"guided by {condition}"


def conditions_title(names: Iterable[str]) -> str:
    """Return the title of an axis of conditions: nothing here guided a network from outside."""
    return "network" if any(map(is_adopted, names)) else "what guided the network"


def legend_beside(fig: go.Figure, entries: int) -> go.Figure:
    """Put a legend to the right of the plot, which is high enough for all entries."""
    layout, margin = fig.layout, fig.layout.margin
    needed = margin.t + margin.b + _ENTRY * entries + _TURNED
    return fig.update_layout(legend=BESIDE, height=max(layout.height, needed))


def faded(hex_color: str, opacity: float) -> str:
    """Return a hex colour as rgba with this opacity."""
    red, green, blue = hex_to_rgb(hex_color)
    return f"rgba({red},{green},{blue},{opacity})"


def padded(bounds: pd.DataFrame, share: float = 0.12) -> list[float]:
    """Return an axis range around all bounds, with a share of it free at either end."""
    low, high = float(bounds.to_numpy().min()), float(bounds.to_numpy().max())
    pad = share * max(high - low, 0.05)
    return [low - pad, high + pad]
