"""The language of guides: what a network is to match, put together from parts. Spoken here and nowhere else.

    name    guide or none, then a word of training: -at-4
    guide   part+part+…, then -shuffle or -scrambled, then -manifold: these hold for all parts
    part    source, then words of `MODIFIERS` (some with a number), then @read-out, then ~weight
    source  a region, random or labels-guide

``V1~2+TO`` is two regions, the first counting twice; ``V1@layer1+V4@layer3+TO`` a sequence over depth;
``TO-noise-0.5-rdm`` the similarities of images to a predictor that learnt from noisier responses.

A guide has one spelling: parts in the order of the regions, words in that of the table, numbers as short as can be,
weights whole and without a common divisor. All signs are plain in folders, shells, YAML and rules of a workflow.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd, inf
from typing import Any, Literal, NamedTuple, get_args

from numpy import format_float_positional

LABELS_GUIDE, RANDOM = "labels-guide", "random"
OTHERS = (RANDOM, LABELS_GUIDE)  # sources that are no regions
STAGES = ("layer1", "layer2", "layer3", "layer4")  # with `pooled`, the read-outs that every network has

Target = Literal["responses", "rdm", "cka"]
Words = tuple[tuple[str, float | None], ...]


class Modifier(NamedTuple):
    """What a word changes."""

    sets: str  # "predictor" or "target" of a part; "images" or "goal" of the whole guide; "training" of the network
    meaning: str  # in a table for readers
    dash: str  # plotly's, of a guide's curve
    marks: tuple[str, ...] = ()  # what its marker's name ends with: open, dot
    parameter: str = ""  # of notebook 02: which of its predictors is asked for
    below: float = 0.0  # its number is above 0 and below this; 0: it has none
    dose: str = ""  # that number along a front (`metrics.fronts`), with its unit


MODIFIERS: dict[str, Modifier] = {  # in the order in which a name has them
    "noise": Modifier(
        "predictor", "its predictor learnt from responses plus noise (in SD)", "2px 2px", (), "noise", inf
    ),
    "images": Modifier("predictor", "its predictor learnt from a share of the images", "2px 4px", (), "share", 1.0),
    "voxels": Modifier("predictor", "its predictor learnt from a share of the voxels", "2px 8px", (), "voxels", 1.0),
    "ridge": Modifier("predictor", "its predictor is a ridge regression on features", "8px 2px", (), "predictor"),
    "rdm": Modifier("target", "matched: how unlike the predictor finds a batch's images (RDM)", "12px 2px"),
    "cka": Modifier("target", "matched: the predictor's similarities of a batch's images (CKA)", "12px 6px"),
    "shuffle": Modifier("images", "guide: the trained predictor, looking at another image", "dash", ("open",)),
    "scrambled": Modifier("images", "guide: the predictor, looking at phase noise", "5px 10px", ("open", "dot")),
    "manifold": Modifier("goal", "guide: the places and shapes of its categories' clouds", "longdashdot", ("dot",)),
    "at": Modifier("training", "trained on PGD's pictures, ε in 1/255", "3px 3px", ("dot",), "", 255.0, "ε = {:g}/255"),
    "atboth": Modifier(
        "training",
        "trained on PGD's pictures, up both terms of the loss",
        "3px 6px",
        ("dot",),
        "",
        255.0,
        "ε = {:g}/255",
    ),
    "fast": Modifier(
        "training",
        "trained on pictures of one step from a random start",
        "3px 9px",
        ("dot",),
        "",
        255.0,
        "ε = {:g}/255",
    ),
    "trades": Modifier(
        "training", "trained so that PGD moves no answer (TRADES)", "6px 3px", ("dot",), "", 255.0, "ε = {:g}/255"
    ),
    "beta": Modifier(
        "training",
        "trained so that PGD moves no answer (TRADES, ε = 4/255), its β",
        "6px 9px",
        ("dot",),
        "",
        inf,
        "β = {:g}",
    ),
    "gauss": Modifier(
        "training", "trained on pictures with white noise, its SD in [0, 1]", "6px 6px", ("dot",), "", inf, "σ = {:g}"
    ),
    "lowpass": Modifier(
        "training",
        "trained on pictures of frequencies below, in cycles/image",
        "9px 3px",
        ("dot",),
        "",
        inf,
        "below {:g} cycles/image",
    ),
    "channel": Modifier(
        "training",
        "trained on one octave around, in cycles/image",
        "9px 6px",
        ("dot",),
        "",
        inf,
        "around {:g} cycles/image",
    ),
}
# Words that no region's name holds.
RESERVED = {"none", "start", "random", "labels", "weight", "decay", "net", *MODIFIERS}
NAMING = f"letters, digits and _ in words that hyphens join, none of them {', '.join(sorted(RESERVED))}"


def _words(*sets: str) -> str:
    """Return a pattern for words that set one of these, each with its number."""
    chosen = {word: changed for word, changed in MODIFIERS.items() if changed.sets in sets}
    return "|".join(f"-{word}" + r"-\d+(?:\.\d+)?" * bool(changed.below) for word, changed in chosen.items())


_PART = re.compile(rf"(.+?)((?:{_words('predictor', 'target')})*)(?:@([\w.]+))?(?:~([1-9]\d*))?", re.ASCII)
_GUIDE = re.compile(rf"(.+?)((?:{_words('images', 'goal')})*)", re.ASCII)
_TRAINED = re.compile(rf"(.+?)((?:{_words('training')})+)", re.ASCII)
_WORD = re.compile(r"-([a-z]+)(?:-([\d.]+))?")
_BARE = re.compile(rf"-({'|'.join(word for word in MODIFIERS if MODIFIERS[word].below)})(?!-\d+(\.\d+)?(-|$))")
GRAMMAR = (
    "a guide: SOURCE[-noise-0.5, -images-0.25, -voxels-0.25, -ridge][-rdm or -cka][@READOUT][~WEIGHT], several joined "
    "by +, then [-shuffle or -scrambled][-manifold][-at-4, -gauss-0.1, -lowpass-8 …]"
)
_LISTED = 20  # regions, in an error


@dataclass(frozen=True)
class Part:
    """One predictor that guides.

    Attributes
    ----------
    source : str
        A region, ``random`` or ``labels-guide``.
    roi : str
        Whose predictor is used; for ``random``, whose predictor's size.
    words : tuple of (str, float or None)
        Words of `MODIFIERS` in their order, each with its number.
    readout : str or None
        Where the network matches it; None: where the run says.
    """

    source: str
    roi: str
    words: Words = ()
    readout: str | None = None

    @property
    def predictor(self) -> dict[str, Any]:
        """The run of notebook 02 it takes: ``roi``, and the parameters in which that differs from the usual one."""
        own = {MODIFIERS[word].parameter: word if number is None else number for word, number in self.words}
        return {"roi": self.roi, **{parameter: value for parameter, value in own.items() if parameter}}

    @property
    def target(self) -> Target:
        """What of the predictor is matched: its responses, or the images' similarities in them."""
        return next((kind for kind in get_args(Target) if kind in dict(self.words)), "responses")

    def __str__(self) -> str:
        words = [word if number is None else f"{word}-{spelled(number)}" for word, number in self.words]
        return "-".join([self.source, *words]) + (f"@{self.readout}" if self.readout else "")


def spelled(number: float) -> str:
    """Return the one spelling of a number in a name: without an exponent, and as short as can be."""
    return str(format_float_positional(number, trim="-"))


Parts = tuple[tuple[Part, int], ...]  # each with its weight


class Misspelled(ValueError):
    """A guide's name has a meaning, and another spelling than this one."""


class Absent(ValueError):
    """A guide's name has a meaning, but names regions that are not there."""


def is_region(name: str) -> bool:
    """Say whether a name can be a region's (`NAMING`)."""
    return bool(re.fullmatch(r"[A-Za-z0-9_]+(-[A-Za-z0-9_]+)*", name)) and RESERVED.isdisjoint(name.split("-"))


def split_training(name: str) -> tuple[str, tuple[str, float] | None]:
    """Split a condition's name into its guide, or ``none``, and how the network is trained against perturbations.

    Raises
    ------
    ValueError
        If it is trained in two ways, or its number cannot be or is written otherwise.
    """
    if not (found := _TRAINED.fullmatch(name)):
        return name, None
    base, ((word, number),) = found[1], _in_order(found[2])
    assert number is not None  # all these words have one
    word = "at" if (base, word) == ("none", "atboth") else word  # without a guide there is but one term
    if name != (one := f"{base}-{word}-{spelled(number)}"):
        raise Misspelled(f"write {one}")
    return base, (word, number)


def read_guide(
    name: str, largest: str, order: Sequence[str], regions: Sequence[str] = ()
) -> tuple[Parts, tuple[str, ...]]:
    """Read a guide's name.

    Parameters
    ----------
    name : str
        Of a guide.
    largest : str
        The region that ``random`` has the size of.
    order : sequence of str
        Regions in the order in which a name has them; further ones follow by the alphabet.
    regions : sequence of str
        All there are; left out, any well-formed name is one.

    Returns
    -------
    parts, endings
        The parts, each once and with its weight, and the words that hold for all of them.

    Raises
    ------
    ValueError
        If the name is no guide's, or not its one spelling: what to do.
    """
    if name != (tight := re.sub(r"\s*\+\s*", "+", name)):
        raise Misspelled(f"write {tight}, without blanks around +")
    texts, ends = _match(_GUIDE, name)
    endings = tuple(word for word, _ in _in_order(ends))
    weights: Counter[Part] = Counter()
    if not all(each := texts.split("+")):
        raise ValueError("+ stands between two parts, without blanks: V1+TO")
    for text in each:
        source, words, readout, weight = _match(_PART, text)
        weights[_part(source, _in_order(words), readout, largest)] += int(weight or 1)
    if "manifold" in endings and (len(weights) > 1 or any(p.readout or p.target != "responses" for p in weights)):
        raise ValueError("clouds are those of one predictor's responses: leave -manifold out")
    if absent := [part.source for part in weights if regions and part.source not in (*regions, *OTHERS)]:
        raise Absent(f"choose regions that are there, not {', '.join(absent)}; names are case-sensitive")
    rank = {source: place for place, source in enumerate((*order, *OTHERS))}
    ordered = sorted(weights, key=lambda part: (rank.get(part.source, len(order) - 0.5), str(part)))
    common = gcd(*weights.values())
    parts = tuple((part, weights[part] // common) for part in ordered)
    if name != (one := _spell(parts, endings)):
        raise Misspelled(f"write {one}")
    return parts, endings


def helpful(wrong: ValueError, regions: Sequence[str]) -> str:
    """Say of what guides can be what helps to correct a name: of regions that are not there, which are."""
    if isinstance(wrong, Misspelled):
        return "the one spelling of a guide"
    if not isinstance(wrong, Absent):
        return f"{GRAMMAR}; SOURCE is a region, {' or '.join(OTHERS)}"
    more = len(regions) - _LISTED
    return f"a guide of {', '.join(regions[:_LISTED])}" + (f" and {more} more" if more > 0 else "")


def _match(pattern: re.Pattern[str], text: str) -> tuple[str, ...]:
    if found := pattern.fullmatch(text):
        return found.groups()
    raise ValueError(f"{text!r} cannot be read")


def _part(source: str, words: Words, readout: str | None, largest: str) -> Part:
    if not (source in OTHERS or is_region(source)):
        if bare := _BARE.search(source):
            raise ValueError(_takes(bare[1]))
        if "~" in source:
            raise ValueError(f"{source!r}: a weight is a whole number from 1, after its part, such as V1~2+TO")
        raise ValueError(f"{source!r} is no source: names are case-sensitive, and controls stand at the end, for all")
    if source == RANDOM and any(MODIFIERS[word].sets == "predictor" for word, _ in words):
        raise ValueError("a predictor that was never trained learnt from nothing")
    return Part(source, largest if source == RANDOM else source, words, readout)


def _in_order(text: str) -> Words:
    """Read words such as ``-rdm-noise-0.5`` and put them into the table's order."""
    words = [(word, float(number) if number else None) for word, number in _WORD.findall(text)]
    sets = [(MODIFIERS[word].sets, MODIFIERS[word].parameter) for word, _ in words]
    if len(set(sets)) < len(sets):
        raise ValueError(f"{text[1:]} says one thing twice")
    for word, number in words:
        if number is not None and not 0 < number < MODIFIERS[word].below:
            raise ValueError(_takes(word))
    return tuple(sorted(words, key=lambda word: list(MODIFIERS).index(word[0])))


def _takes(word: str) -> str:
    """Say which number follows a word."""
    changed = MODIFIERS[word]
    below = f" and below {changed.below:g}" if changed.below < inf else ""
    return f"after {word} comes a number above 0{below}, such as {word}-0.5: {changed.meaning}"


def _spell(parts: Parts, endings: Sequence[str]) -> str:
    """Return the one name of a guide."""
    named = [str(part) + (f"~{weight}" if weight > 1 else "") for part, weight in parts]
    return "-".join(["+".join(named), *endings])
