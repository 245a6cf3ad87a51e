"""The one look of all figures, and the helpers they share: checks of tables, label placement, error bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from nbtools.conditions import BASELINES, CONDITIONS, DECAYS, HIERARCHY
from nbtools.errors import InputError

WIDTH, HEIGHT = 900, 500
TOP, BOTTOM, LEFT, RIGHT = 80, 70, 80, 30
INK, PALE = "#222222", "#9a9a9a"
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
    }
)


def new_figure(title: str, x_title: str, y_title: str) -> go.Figure:
    """Return an empty figure in the common look with its titles set."""
    return go.Figure(layout={"template": TEMPLATE, "title_text": title}).update_layout(
        xaxis_title_text=x_title, yaxis_title_text=y_title
    )


def check_table(table: pd.DataFrame, columns: Sequence[str]) -> None:
    """Raise `InputError` unless the table has rows and these columns."""
    missing = [column for column in columns if column not in table]
    if missing or not len(table):
        raise InputError(
            "the table cannot be drawn",
            expected=f"at least one row with {', '.join(columns)}",
            got=f"{len(table)} rows" + (f", without {', '.join(missing)}" if missing else ""),
            fix="finish the run that makes this table, or rename its columns",
        )


def check_names(values: pd.Series, allowed: Sequence[str], column: str) -> None:
    """Raise `InputError` unless the column holds only these names."""
    unknown = sorted(set(values.astype(str)) - set(allowed))
    if unknown:
        raise InputError(
            f"the column {column} holds unknown names",
            expected=" or ".join(allowed),
            got=", ".join(unknown),
            fix=f"rename them in {column}",
        )


def check_accuracy(accuracy: pd.DataFrame, keys: Sequence[str] = ("condition",)) -> None:
    """Raise `InputError` unless the table has one accuracy and interval per key and ε."""
    check_table(accuracy, (*keys, "epsilon", "accuracy", "ci_low", "ci_high"))
    doubled = int(accuracy.duplicated([*keys, "epsilon"]).sum())
    if doubled:
        raise InputError(
            "several accuracies stand at one point of the figure",
            expected=f"one row per {' × '.join(keys)} × epsilon",
            got=f"{doubled} rows too many",
            fix=f"average seeds first: robust_accuracy(decisions, by={tuple(keys)!r})",
        )


def at_epsilon(accuracy: pd.DataFrame, epsilon: float) -> pd.DataFrame:
    """Return the rows at one ε (pixel units); raise `InputError` if there are none."""
    rows = accuracy[np.isclose(accuracy["epsilon"], epsilon, rtol=1e-6, atol=1e-9)]
    if not len(rows):
        raise InputError(
            f"no accuracy at ε = {epsilon * 255:.4g}/255",
            expected="one of ε = " + ", ".join(f"{e * 255:.4g}/255" for e in sorted(set(accuracy["epsilon"]))),
            got=f"{epsilon * 255:.4g}/255",
            fix="choose an ε that was run; ε is in pixel units, k/255",
        )
    return rows


def ordered(names: pd.Series) -> list[str]:
    """Return the distinct names in the order of `conditions.CONDITIONS`, others after them as they come."""
    found = list(dict.fromkeys(names.astype(str)))
    return sorted(found, key=lambda name: CONDITIONS.index(name) if name in CONDITIONS else len(CONDITIONS))


def axis_places(names: Sequence[str]) -> dict[str, float]:
    """Return each condition's place on an axis: controls, weight decays, regions, others; a gap between groups."""
    known = (BASELINES, DECAYS, HIERARCHY)
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


def legend_beside(fig: go.Figure, entries: int) -> go.Figure:
    """Put a legend to the right of the plot; the figure grows until it holds all entries."""
    legend = {"orientation": "v", "x": 1.02, "xanchor": "left", "y": 1, "yanchor": "top"}
    height = max(fig.layout.height or HEIGHT, TOP + BOTTOM + 24 * entries)
    return fig.update_layout(legend=legend, height=height, margin={"r": 150})


def faded(hex_color: str, opacity: float) -> str:
    """Return a hex colour as rgba with this opacity."""
    red, green, blue = (int(hex_color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def error_bars(
    value: float | pd.Series,
    low: float | pd.Series,
    high: float | pd.Series,
    ink: str,
    look: Literal["point", "line", "cross"] = "point",
) -> dict:
    """Return plotly's error bars from intervals' bounds, in a colour; finer along a line, faint where bars cross."""
    bars = {
        "type": "data",
        "symmetric": False,
        "array": np.atleast_1d(high - value),
        "arrayminus": np.atleast_1d(value - low),
    }
    looks = {
        "point": {"color": ink, "thickness": 1.8, "width": 4},
        "line": {"color": ink, "thickness": 1, "width": 2},
        "cross": {"color": faded(ink, 0.3), "thickness": 1.5, "width": 0},
    }
    return {**bars, **looks[look]}


def padded(bounds: pd.DataFrame, share: float = 0.12) -> list[float]:
    """Return an axis range around all bounds, with a share of it free at either end."""
    low, high = float(bounds.to_numpy().min()), float(bounds.to_numpy().max())
    pad = share * max(high - low, 0.05)
    return [low - pad, high + pad]


def thinned(values: np.ndarray, gap: float = 0.075) -> np.ndarray:
    """Keep ascending values whose tick labels do not touch: at least ``gap`` of the range apart."""
    kept = [values[-1]]
    for value in values[-2::-1]:
        clear = kept[-1] - value >= gap * (values[-1] - values[0])
        if clear and (value == values[0] or value - values[0] >= gap * (values[-1] - values[0])):
            kept.append(value)
    return np.array([*([values[0]] if kept[-1] != values[0] else []), *kept[::-1]])


def spread(wanted: np.ndarray, gap: float, top: float) -> np.ndarray:
    """Move label heights (n,) apart to at least ``gap``, in their order, none above ``top``."""
    order = np.argsort(wanted, kind="stable")
    places = wanted[order].astype(float)
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + gap)
    places[-1] = min(places[-1], top)
    for i in range(len(places) - 2, -1, -1):
        places[i] = min(places[i], places[i + 1] - gap)
    return places[np.argsort(order, kind="stable")]


def plot_size(fig: go.Figure) -> np.ndarray:
    """Return width and height of the area inside the margins, in pixels."""
    layout, margin = fig.layout, fig.layout.margin
    across = (layout.width or WIDTH) - (margin.l or LEFT) - (margin.r or RIGHT)
    return np.array([across, (layout.height or HEIGHT) - (margin.t or TOP) - (margin.b or BOTTOM)])


def place_labels(
    fig: go.Figure,
    targets: np.ndarray,
    points: np.ndarray,
    names: Sequence[str],
    x_range: Sequence[float],
    y_range: Sequence[float],
) -> None:
    """Write each name beside its target where it covers the fewest markers and other labels.

    Parameters
    ----------
    fig : Figure
        Gets one annotation per name; of the default size, unless its size and margins are set already.
    targets, points : arrays (n_names, 2), (n_points, 2)
        Where the names belong, and all markers, in data units.
    names : sequence of str (n_names,)
        The labels.
    x_range, y_range : (low, high)
        The axes' ranges.
    """
    size = plot_size(fig)
    low, span = np.array([x_range[0], y_range[0]]), np.array([np.ptp(x_range), np.ptp(y_range)])
    pixels, markers = ((values - low) / span * size for values in (targets, points))
    halo = "rgba(255,255,255,0.7)"  # so that bars behind a label do not strike it out
    taken = [(*(marker - 9), *(marker + 9)) for marker in markers]
    for name, (x, y), target in zip(names, pixels, targets, strict=True):
        half = 3.8 * len(name)
        spots = [(dx * (half + 14), dy) for dx in (1, -1) for dy in (0, 16, -16)] + [(0, 20), (0, -20)]
        boxes = [(x + dx - half, y + dy - 9, x + dx + half, y + dy + 9) for dx, dy in spots]
        best = int(np.argmin([sum(_overlap(box, other) for other in taken) for box in boxes]))
        taken.append(boxes[best])
        dx, dy = spots[best]
        fig.add_annotation(x=target[0], y=target[1], text=name, showarrow=False, xshift=dx, yshift=dy, bgcolor=halo)


def _overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Area shared by two boxes (left, bottom, right, top)."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0)
