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
from difflib import get_close_matches
from math import gcd, inf
from numbers import Real
from typing import Any, Literal, NamedTuple, get_args

from numpy import format_float_positional

LABELS_GUIDE, RANDOM = "labels-guide", "random"
OTHERS = (RANDOM, LABELS_GUIDE)  # sources that are no regions
STAGES = ("layer1", "layer2", "layer3", "layer4")  # with `pooled`, the read-outs that every network has

Target = Literal["responses", "rdm", "cka"]
Words = tuple[tuple[str, float | None], ...]


class Number(NamedTuple):
    """What follows a word: a number above 0, and between these."""

    example: float
    least: float = 0.0
    most: float = inf
    below: float = inf
    dose: str = ""  # along a front (`metrics.fronts`), with its unit
    order: int = 1  # there: 1, the larger the farther from none; -1, the smaller; 0, neither


class Modifier(NamedTuple):
    """What a word changes."""

    sets: str  # "predictor" or "target" of a part; "images" or "goal" of the whole guide; "training" of the network
    meaning: str  # in a table for readers
    dash: str  # plotly's, of a guide's curve
    marks: tuple[str, ...] = ()  # what its marker's name ends with: open, dot
    parameter: str = ""  # of notebook 02: which of its predictors is asked for
    number: Number | None = None


_SHARE = Number(0.5, below=1.0)
_EPSILON = Number(4, least=0.1, below=255.0, dose="ε = {:g}/255")
_BETA, _SD = Number(6, dose="β = {:g}"), Number(0.1, most=1.0, dose="σ = {:g}")
_CUT = Number(8, dose="below {:g} cycles/image", order=-1)
_CENTRE = Number(8, dose="around {:g} cycles/image", order=0)
MODIFIERS: dict[str, Modifier] = {  # in the order in which a name has them
    "noise": Modifier(
        "predictor", "its predictor learnt from responses plus noise (in SD)", "2px 2px", (), "noise", Number(0.5)
    ),
    "images": Modifier("predictor", "its predictor learnt from a share of the images", "2px 4px", (), "share", _SHARE),
    "voxels": Modifier("predictor", "its predictor learnt from a share of the voxels", "2px 8px", (), "voxels", _SHARE),
    "ridge": Modifier("predictor", "its predictor is a ridge regression on features", "8px 2px", (), "predictor"),
    "rdm": Modifier("target", "matched: how unlike the predictor finds a batch's images (RDM)", "12px 2px"),
    "cka": Modifier("target", "matched: the predictor's similarities of a batch's images (CKA)", "12px 6px"),
    "shuffle": Modifier("images", "guide: the trained predictor, looking at another image", "dash", ("open",)),
    "scrambled": Modifier("images", "guide: the predictor, looking at phase noise", "5px 10px", ("open", "dot")),
    "manifold": Modifier("goal", "guide: the places and shapes of its categories' clouds", "longdashdot", ("dot",)),
    **{
        word: Modifier("training", meaning, dash, ("dot",), number=number)
        for word, meaning, dash, number in (
            ("at", "trained on PGD's pictures, ε in 1/255", "3px 3px", _EPSILON),
            ("atboth", "trained on PGD's pictures, up both terms of the loss", "3px 6px", _EPSILON),
            ("fast", "trained on pictures of one step from a random start", "3px 9px", _EPSILON),
            ("trades", "trained so that PGD moves no answer (TRADES)", "6px 3px", _EPSILON),
            ("beta", "trained so that PGD moves no answer (TRADES, ε = 4/255), its β", "6px 9px", _BETA),
            ("gauss", "trained on pictures with white noise, its SD in [0, 1]", "6px 6px", _SD),
            ("lowpass", "trained on pictures of frequencies below, in cycles/image", "9px 3px", _CUT),
            ("channel", "trained on one octave around, in cycles/image", "9px 6px", _CENTRE),
        )
    },
}
TRAININGS = tuple(word for word, changed in MODIFIERS.items() if changed.sets == "training")
ADVERSARIAL = tuple(word for word in TRAININGS if MODIFIERS[word].number in (_EPSILON, _BETA))  # against attacks
UNGUIDED = {"atboth": "at"}  # what a way to train is called without a guide, where there is but one term to attack
# What others say for a word.
CALLED = {"pgd": "at", "adv": "at", "madry": "at", "fgsm": "fast", "gaussian": "gauss", "noisy": "gauss"}
CALLED |= {"blur": "lowpass", "lowpassed": "lowpass", "bandpass": "channel", "shuffled": "shuffle"}
# Words that no region's name holds, in whatever capitals: mistyped conditions would pass for regions.
RESERVED = {"none", "start", "random", "labels", "weight", "decay", "net", *MODIFIERS}
NAMING = (
    "letters, digits and _ in words that hyphens join; no word between hyphens or _ is, in whatever capitals, "
    f"{', '.join(sorted(RESERVED))}"
)


def _words(*sets: str) -> str:
    """Return a pattern for words that set one of these, each with its number."""
    chosen = {word: changed for word, changed in MODIFIERS.items() if changed.sets in sets}
    return "|".join(f"-{word}" + r"-\d+(?:\.\d+)?" * bool(changed.number) for word, changed in chosen.items())


def example(word: str) -> str:
    """Return a word as names have it, with a usual number where it has one: ``at-4``."""
    number = MODIFIERS[word].number
    return f"{word}-{spelled(number.example)}" if number else word


def _examples(*sets: str) -> str:
    return ", ".join(f"-{example(word)}" for word, changed in MODIFIERS.items() if changed.sets in sets)


def spelled(number: float) -> str:
    """Return the one spelling of a number in a name: without an exponent, and as short as can be."""
    return str(format_float_positional(number, trim="-"))


_PART = re.compile(rf"(.+?)((?:{_words('predictor', 'target')})*)(?:@([\w.]+))?(?:~([1-9]\d*))?", re.ASCII)
_GUIDE = re.compile(rf"(.+?)((?:{_words('images', 'goal')})*)", re.ASCII)
_TRAINED = re.compile(rf"(.+?)((?:{_words('training')})+)", re.ASCII)
_INSIDE = re.compile(rf"(.+?)({_words('training')})([-+@~].+)", re.ASCII)
_IN_UNITS = re.compile(
    rf"(-(?:{'|'.join(word for word in MODIFIERS if MODIFIERS[word].number == _EPSILON)})-[\d.]+)/255"
)
_WORD = re.compile(r"-([a-z]+)(?:-([\d.]+))?")
_BARE = re.compile(rf"-({'|'.join(word for word in MODIFIERS if MODIFIERS[word].number)})(?!-\d+(\.\d+)?(-|$))")
GRAMMAR = (
    f"a guide: SOURCE[{_examples('predictor')}][{_examples('target')}][@READOUT][~WEIGHT], several joined by +, then "
    f"[{_examples('images')}][{_examples('goal')}]; SOURCE is a region, {' or '.join(OTHERS)};\n"
    f"            or a guide, or none, and how it is trained: {_examples('training')}"
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


Parts = tuple[tuple[Part, int], ...]  # each with its weight


class Misspelled(ValueError):
    """A guide's name has a meaning, and another spelling than this one."""


class Absent(ValueError):
    """A guide's name has a meaning, but names regions that are not there."""


def unguided(way: str) -> str:
    """Name the condition without a guide that is trained this way: of ``atboth-4``, ``none-at-4``."""
    word, _, number = way.partition("-")
    return f"none-{UNGUIDED.get(word, word)}-{number}"


def is_region(name: str) -> bool:
    """Say whether a name can be a region's (`NAMING`)."""
    named = re.fullmatch(r"[A-Za-z0-9_]+(-[A-Za-z0-9_]+)*", name)
    return bool(named) and RESERVED.isdisjoint(re.split("[-_]", name.lower()))


def fits(word: str, number: object) -> bool:
    """Say whether a number can follow a word."""
    span = MODIFIERS[word].number
    if span is None or not isinstance(number, Real):
        return False
    value = float(number)
    return value > 0 and span.least <= value <= span.most and value < span.below


def takes(word: str, typed: float | None = None) -> str:
    """Say which number follows a word, and of one that is a share of 255 how it is written."""
    changed = MODIFIERS[word]
    assert changed.number  # where there is none, none is asked for
    usual, least, most, below, dose, _ = changed.number
    if typed and 0 < typed < least:
        usual = round(255 * typed, 1) or least
    span = f"from {least:g}" if least else "above 0"
    span += f" to {most:g}" if most < inf else f" and below {below:g}" if below < inf else ""
    unit = f" ({dose.format(usual)})" if dose else ""
    return f"after {word} comes a number {span}, such as {word}-{spelled(usual)}{unit}: {changed.meaning}"


def split_training(name: str) -> tuple[str, tuple[str, float] | None]:
    """Split a condition's name into its guide, or ``none``, and how the network is trained against perturbations.

    Raises
    ------
    ValueError
        If it is trained in two ways, or its number cannot be.
    """
    if not (found := _TRAINED.fullmatch(name)):
        return name, None
    ((word, number),) = _in_order(found[2])
    assert number is not None  # all these words have one
    return found[1], (word, number)


def read_name(
    name: str, largest: str, order: Sequence[str], regions: Sequence[str] = ()
) -> tuple[Parts, tuple[str, ...], tuple[str, float] | None]:
    """Read the name of a guide, or of none, with how the network is trained.

    Parameters
    ----------
    name : str
        ``"TO"``, ``"V1+TO-shuffle-at-4"``, ``"none-at-4"``.
    largest : str
        The region that ``random`` has the size of.
    order : sequence of str
        Regions in the order in which a name has them; further ones follow by the alphabet.
    regions : sequence of str
        All there are; left out, any well-formed name is one.

    Returns
    -------
    parts, endings, hardened
        The guide's parts, each once and with its weight, the words that hold for all of them, and the word of training
        with its number; without a guide no parts, without such a word None.

    Raises
    ------
    ValueError
        If the name is none of these, or not the one spelling of what it means: what to do.
    """
    base, hardened = split_training(_tidied(name))
    parts, endings = ((), ()) if hardened and base == "none" else _read_guide(base, largest, order, regions)
    if hardened and "manifold" in endings:
        raise ValueError("clouds and perturbed pictures are not learnt together: leave one out")
    if hardened and not parts:
        _, hardened = split_training(unguided(f"{hardened[0]}-{spelled(hardened[1])}"))
    one = _spell(parts, endings) if parts else base
    one += f"-{hardened[0]}-{spelled(hardened[1])}" if hardened else ""
    if name != one:
        raise Misspelled(f"write {one}")
    return parts, endings, hardened


def _tidied(name: str) -> str:
    """Return a name without blanks around + or units, the word of training at its end."""
    name = _IN_UNITS.sub(r"\1", re.sub(r"\s*\+\s*", "+", name))
    return _INSIDE.sub(r"\1\3\2", name)


def _read_guide(name: str, largest: str, order: Sequence[str], regions: Sequence[str]) -> tuple[Parts, tuple[str, ...]]:
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
    return tuple((part, weights[part] // common) for part in ordered), endings


def helpful(wrong: ValueError, regions: Sequence[str]) -> str:
    """Say of what guides can be what helps to correct a name: of regions that are not there, which are."""
    if isinstance(wrong, Misspelled):
        return "the one spelling of a guide"
    if not isinstance(wrong, Absent):
        return GRAMMAR
    more = len(regions) - _LISTED
    return f"a guide of {', '.join(regions[:_LISTED])}" + (f" and {more} more" if more > 0 else "")


def _match(pattern: re.Pattern[str], text: str) -> tuple[str, ...]:
    if found := pattern.fullmatch(text):
        return found.groups()
    raise ValueError(f"{text!r} cannot be read")


def _part(source: str, words: Words, readout: str | None, largest: str) -> Part:
    if not (source in OTHERS or is_region(source)):
        if bare := _BARE.search(source):
            raise ValueError(takes(bare[1]))
        if "~" in source:
            raise ValueError(f"{source!r}: a weight is a whole number from 1, after its part, such as V1~2+TO")
        raise ValueError(
            f"{source!r} is no source: names are case-sensitive, and controls stand at the end, for all, then, after "
            f"none too, how it is trained: {_trainings(source)}"
        )
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
        if number is not None and not fits(word, number):
            raise ValueError(takes(word, number))
    return tuple(sorted(words, key=lambda word: list(MODIFIERS).index(word[0])))


def _trainings(source: str) -> str:
    """List words of training, those first that are near to what was typed."""
    said = [CALLED.get(word, word) for word in re.split(r"[-_\s]+", source.lower())]
    near = [word for typed in said for word in get_close_matches(typed, TRAININGS)]
    return ", ".join(f"-{example(word)}" for word in dict.fromkeys([*near, *TRAININGS]))


def _spell(parts: Parts, endings: Sequence[str]) -> str:
    """Return the one name of a guide."""
    named = [str(part) + (f"~{weight}" if weight > 1 else "") for part, weight in parts]
    return "-".join(["+".join(named), *endings])
