"""Where labels go: ticks and names that do not touch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from nbtools.metrics.decisions.robustness import epsilon_label
from nbtools.plots.style import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH


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


def plot_size(fig: go.Figure) -> np.ndarray:
    """Return width and height of the area inside the margins, in pixels."""
    layout, margin = fig.layout, fig.layout.margin
    across = (layout.width or WIDTH) - (margin.l or LEFT) - (margin.r or RIGHT)
    return np.array([across, (layout.height or HEIGHT) - (margin.t or TOP) - (margin.b or BOTTOM)])


def place_labels(fig: go.Figure, targets: np.ndarray, points: np.ndarray, names: Sequence[str]) -> None:
    """Write each name beside its target where it covers the fewest markers and other labels.

    Parameters
    ----------
    fig : Figure
        Gets one annotation per name; its axes' ranges, and its size and margins unless default, are set already.
    targets, points : arrays (n_names, 2), (n_points, 2)
        Where the names belong, and all markers, in data units.
    names : sequence of str (n_names,)
        The labels.
    """
    size = plot_size(fig)
    ranges = np.array([fig.layout.xaxis.range, fig.layout.yaxis.range])
    low, span = ranges[:, 0], np.ptp(ranges, axis=1)
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
