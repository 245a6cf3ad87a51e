"""Where labels go: ticks and names that do not touch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from nbtools.metrics.decisions.robustness import epsilon_label
from nbtools.plots.style import LEFT, NARROW, RIGHT, WIDE


def thinned(values: np.ndarray, gap: float = 0.075) -> np.ndarray:
    """Keep ascending values whose tick labels do not touch: at least ``gap`` of the range apart."""
    kept = [values[-1]]
    for value in values[-2::-1]:
        clear = kept[-1] - value >= gap * (values[-1] - values[0])
        if clear and (value == values[0] or value - values[0] >= gap * (values[-1] - values[0])):
            kept.append(value)
    return np.array([*([values[0]] if kept[-1] != values[0] else []), *kept[::-1]])


def epsilon_axis(fig: go.Figure, epsilons: pd.Series) -> None:
    """Tick the horizontal axis, in 1/255, at budgets in pixel units."""
    ticks = thinned(np.sort(epsilons.unique()))
    fig.update_xaxes(tickvals=ticks * 255, ticktext=[epsilon_label(epsilon) for epsilon in ticks])


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


def plot_size(fig: go.Figure, width: float = NARROW) -> np.ndarray:
    """Return width and height, in pixels, of the first panel of a figure that is so wide."""
    layout, margin = fig.layout, fig.layout.margin
    inside = [width - (margin.l or LEFT) - (margin.r or RIGHT), layout.height - margin.t - margin.b]
    domains = [axis.domain or (0, 1) for axis in (layout.xaxis, layout.yaxis)]
    return np.multiply(inside, np.diff(domains).ravel())


def place_labels(
    fig: go.Figure,
    targets: np.ndarray,
    points: np.ndarray,
    names: Sequence[str],
    *,
    stretched: bool = True,
    **look: Any,
) -> None:
    """Write each name beside its target, where it covers the fewest markers and other labels at any width.

    Parameters
    ----------
    fig : Figure
        Gets one annotation per name; the ranges of its first panel's axes, its height and its margins are set already.
    targets, points : arrays (n_names, 2), (n_points, 2)
        Where the names belong, and all markers, in data units.
    names : sequence of str (n_names,)
        The labels.
    stretched : bool
        Whether the horizontal axis grows with the figure.
    look
        Goes to the annotations.
    """
    sizes = [plot_size(fig, width) for width in ((NARROW, 1300, WIDE) if stretched else (NARROW,))]
    ranges = np.array([fig.layout.xaxis.range, fig.layout.yaxis.range])
    low, span = ranges[:, 0], np.ptp(ranges, axis=1)
    halo = "rgba(255,255,255,0.7)"  # so that bars behind a label do not strike it out
    pixels = [(targets - low) / span * size for size in sizes]  # of each width
    taken = [[(*(at - 9), *(at + 9)) for at in (points - low) / span * size] for size in sizes]
    for number, name in enumerate(names):
        spots = _spots(half := 4 * len(name))
        boxes = [[_box(at[number] + spot, half) for at in pixels] for spot in spots]
        costs = [sum(_overlap(b, t) for b, others in zip(box, taken, strict=True) for t in others) for box in boxes]
        best = int(np.argmin([cost + 0.01 * rank for rank, cost in enumerate(costs)]))
        for others, box in zip(taken, boxes[best], strict=True):
            others.append(box)
        where = {"x": targets[number, 0], "y": targets[number, 1], "xshift": spots[best][0], "yshift": spots[best][1]}
        fig.add_annotation(text=name, showarrow=False, bgcolor=halo, **where, **look)


def _spots(half: float) -> list[tuple[float, float]]:
    """Return where the middle of a label may lie (pixels from its point), the best place first; ``half``: its width."""
    beside = [(side * (half + 14), dy) for dy in (0, 16, -16, 32, -32) for side in (1, -1)]
    return [*beside, (0, 20), (0, -20), (0, 36), (0, -36)]


def _box(middle: np.ndarray, half: float) -> tuple[float, float, float, float]:
    return middle[0] - half, middle[1] - 10, middle[0] + half, middle[1] + 10


def _overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Area shared by two boxes (left, bottom, right, top)."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0)
