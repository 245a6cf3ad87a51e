"""Each condition's fixed colour, dash and shape, in every figure. Said here and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import numpy as np

from nbtools.conditions import CE_WEIGHT, DECAYS, HIERARCHY, Condition, parse_condition
from nbtools.guides import LABELS_GUIDE, MODIFIERS

# Dark to light along the hierarchy (steps of inferno, lightness L* 17 to 75), so that the order reads in grey
# print and to colour-blind eyes (tests/test_plots.py simulates both); unguided controls are black and grey.
_SCALE = ("#420a68", "#6a176e", "#932667", "#bc3754", "#dd513a", "#f37819", "#fca50a")
_SHAPES = ("circle", "square", "diamond", "triangle-up", "triangle-down", "pentagon", "star")
_CONTROL_MARKS = {
    "none": ("#000000", "cross"),
    "start": ("#5f5f5f", "asterisk"),
    "random": ("#8c8c8c", "x"),
    "labels": ("#2d6cc0", "hourglass"),
    LABELS_GUIDE: ("#2d6cc0", "hourglass-open"),
    CE_WEIGHT: ("#5a5a5a", "diamond-wide"),
}
# Without a guide, by how they are trained: in grey, the darker the larger their number.
_TRAINED_GREY, _TRAINED_SPAN, _TRAINED_SHAPES = (
    0x5F,
    0x3C,
    {
        "at": "diamond-tall",
        "fast": "triangle-ne",
        "trades": "triangle-se",
        "beta": "star-triangle-down",
        "gauss": "octagon",
        "lowpass": "triangle-sw",
        "channel": "triangle-nw",
    },
)
_OTHER_MARK, _PARTS_SHAPE = ("#1f7f8c", "hexagon"), "star-diamond"
_DECAY_COLOR = "#5b7f5b"
# Of adopted networks: each has one by its name, and one of _SHAPES; greens, blues and violets, which no region has.
_ADOPTED = ("#0b6e4f", "#08a6a0", "#0a66c2", "#5b8def", "#6a51a3", "#1d3f72")
_DASHES = {
    "none": "solid",
    "start": "dot",
    "random": "dot",
    "labels": "dashdot",
    "labels-guide": "4px 2px",
    "ce-weight": "1px 6px",
    "decay": "longdash",
    "roi": "solid",
    "parts": "solid",
    "depth": "8px 2px 2px 2px",
    "adopted": "12px 3px 3px 3px",
    **{word: changed.dash for word, changed in MODIFIERS.items()},
}
# One shape for each member of the family, weakest first; a decay of another strength has the last.
_DECAY_SYMBOLS = ("triangle-left", "bowtie", "triangle-right", "hexagram", "star-square")


def color(condition: str, hierarchy: Sequence[str] = HIERARCHY) -> str:
    """Return the condition's colour (hex) in a hierarchy; a shuffled control or a manifold has its guide's."""
    return _mark(parse_condition(condition), hierarchy)[0]


def _mark(parsed: Condition, hierarchy: Sequence[str]) -> tuple[str, str]:
    """Return colour and shape: a control's own, or its regions'; regions outside the hierarchy share one.

    Several regions have the colour of their weighted mean place.
    """
    if parsed.kind == "decay":
        return _DECAY_COLOR, _DECAY_SYMBOLS[DECAYS.index(parsed.name) if parsed.name in DECAYS else -1]
    if parsed.kind == "adopted":
        shape, color = divmod(crc32(parsed.name.encode()) % (len(_SHAPES) * len(_ADOPTED)), len(_ADOPTED))
        return _ADOPTED[color], _SHAPES[shape]
    if parsed.hardened and not parsed.parts:
        grey = f"{round(_TRAINED_GREY - _TRAINED_SPAN * level(parsed.name)):02x}"
        return f"#{3 * grey}", _TRAINED_SHAPES[parsed.hardened[0]]
    if parsed.kinds[0] in _CONTROL_MARKS:
        return _CONTROL_MARKS[parsed.kinds[0]]
    places = [hierarchy.index(part.source) for part, n in parsed.parts for _ in range(n) if part.source in hierarchy]
    several = len(parsed.parts) > 1
    if not places:
        return _OTHER_MARK[0], _PARTS_SHAPE if several else _OTHER_MARK[1]
    shade = _shade(float(np.mean(places)) / max(len(hierarchy) - 1, 1))
    return shade, _PARTS_SHAPE if several else _SHAPES[places[0] % len(_SHAPES)]


def _shade(share: float) -> str:
    """Return the colour (hex) at a share, 0 to 1, of the way from dark to light."""
    steps = np.array([[int(step[i : i + 2], 16) for i in (1, 3, 5)] for step in _SCALE])
    along = np.linspace(0, 1, len(steps))
    return "#" + "".join(f"{round(np.interp(share, along, channel)):02x}" for channel in steps.T)


def dash(condition: str) -> str:
    """Return the condition's plotly line dash, so that print and colour-blind readers can tell controls."""
    return _DASHES[parse_condition(condition).kind]


def level(condition: str) -> float:
    """Return how far the numbers in a condition's name are above (to 1) or below (to −1) those of usual examples."""
    parsed = parse_condition(condition)
    named = [word for part, _ in parsed.parts for word in part.words] + [parsed.hardened or ("", None)]
    usual = {word: changed.number.example for word, changed in MODIFIERS.items() if changed.number}
    steps = [np.log2(number / usual[word]) for word, number in named if number is not None]
    return float(np.tanh(sum(steps) / 2))


def symbol(condition: str, hierarchy: Sequence[str] = HIERARCHY) -> str:
    """Return the condition's plotly marker: a shape per region, open for its shuffled control, dotted for manifolds."""
    parsed = parse_condition(condition)
    said = {end for kind in parsed.kinds if kind in MODIFIERS for end in MODIFIERS[kind].marks}
    ends = [end for end in ("open", "dot") if end in said]
    return "-".join(dict.fromkeys([*_mark(parsed, hierarchy)[1].split("-"), *ends]))
