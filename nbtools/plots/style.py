"""The one look of all figures: template, panels, axes, legends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.colors import hex_to_rgb
from plotly.subplots import make_subplots

from nbtools.conditions import DECAYS, HIERARCHY, baselines, is_adopted

Panel = dict[str, Any]  # {"row": row, "col": column}, as plotly's methods take them
WIDTH, HEIGHT = 900, 500
TOP, BOTTOM, LEFT, RIGHT = 80, 70, 80, 30
INK, PALE = "#222222", "#9a9a9a"
SEQUENTIAL = "Cividis"  # one hue path from dark to light: reads in grey print and to colour-blind eyes
DOTTED = {"color": INK, "width": 1, "dash": "dot"}  # a reference line
# A legend beside the plot; the gap makes a line 24 pixels high, grouped or not.
BESIDE = {"orientation": "v", "x": 1.02, "xanchor": "left", "y": 1, "yanchor": "top", "tracegroupgap": 5}
BARE = {"showticklabels": False, "ticks": "", "showgrid": False, "showline": False}  # an axis without numbers
_AXIS = {
    "showline": True,
    "linecolor": INK,
    "ticks": "outside",
    "tickcolor": INK,
    "gridcolor": "#ececec",
    "zeroline": False,
    "title": {"standoff": 12},
}
# White paper of its own, so that a figure reads the same in JupyterLab's dark theme and in print.
TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": "Arial, Helvetica, sans-serif", "size": 14, "color": INK},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "width": WIDTH,
        "height": HEIGHT,
        "margin": {"l": LEFT, "r": RIGHT, "t": TOP, "b": BOTTOM},
        "title": {"x": 0, "xref": "container", "xanchor": "left", "pad": {"l": 16}, "font": {"size": 17}},
        "xaxis": {**_AXIS, "showgrid": False},
        "yaxis": _AXIS,
        "legend": {"orientation": "h", "x": 1, "xanchor": "right", "y": 1.0, "yanchor": "bottom"},
        "hoverlabel": {"font": {"size": 13}},
        "modebar": {"remove": ["sendChartToCloud"]},  # plotly's button would upload the data of a figure
    }
)


def new_figure(title: str, x_title: str | None = None, y_title: str | None = None) -> go.Figure:
    """Return an empty figure in the common look with its titles set."""
    return go.Figure(layout={"template": TEMPLATE, "title_text": title}).update_layout(
        xaxis_title_text=x_title, yaxis_title_text=y_title
    )


def panels(
    title: str, n: int, columns: int | None = None, *, kind: str = "xy", gap: float = 0.0, **options: Any
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
    kind : str
        Plotly's kind of panel.
    gap : float
        Between rows, in the height of the plot of one row.
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
    fig = make_subplots(rows, columns, specs=specs, vertical_spacing=gap / rows, **options)
    places = [{"row": 1 + i // columns, "col": 1 + i % columns} for i in range(n)]
    return fig.update_layout(template=TEMPLATE, title_text=title), places


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
    """Write conditions' names below the horizontal axis; the figure grows until they do not touch."""
    names = [name.replace("-", "-<br>") for name in places]
    width = max(fig.layout.width or WIDTH, LEFT + RIGHT + round(52 * (max(places.values()) + 1)))
    return fig.update_layout(width=width).update_xaxes(
        tickvals=list(places.values()), ticktext=names, tickangle=0, tickfont={"size": 13}
    )


def guided_by(condition: str) -> str:
    """Say in a title which network it is: ``guided by V1``, but ``net-robust50`` of one from outside."""
    return condition if is_adopted(condition) else f"guided by {condition}"


def conditions_title(names: Iterable[str]) -> str:
    """Return the title of an axis of conditions: nothing here guided a network from outside."""
    return "network" if any(map(is_adopted, names)) else "what guided the network"


def plot_width(fig: go.Figure, width: int) -> go.Figure:
    """Give a plot and its margins a width (pixels); the paper stays wide enough for a title, free on the right."""
    right = RIGHT if fig.layout.margin.r is None else fig.layout.margin.r
    return fig.update_layout(width=max(width, WIDTH), margin={"r": right + max(WIDTH - width, 0)})


def legend_beside(fig: go.Figure, entries: int) -> go.Figure:
    """Put a legend to the right of the plot; the figure grows until it holds all entries."""
    height = max(fig.layout.height or HEIGHT, TOP + BOTTOM + 24 * entries)
    return fig.update_layout(legend=BESIDE, height=height, margin={"r": 150})


def faded(hex_color: str, opacity: float) -> str:
    """Return a hex colour as rgba with this opacity."""
    red, green, blue = hex_to_rgb(hex_color)
    return f"rgba({red},{green},{blue},{opacity})"


def padded(bounds: pd.DataFrame, share: float = 0.12) -> list[float]:
    """Return an axis range around all bounds, with a share of it free at either end."""
    low, high = float(bounds.to_numpy().min()), float(bounds.to_numpy().max())
    pad = share * max(high - low, 0.05)
    return [low - pad, high + pad]
