"""ROIs and guidance conditions: names, atlas labels and order. Said here and nowhere else.

Any well-formed name (`is_region`) can be a region's: which regions there are, a study's files say. Their order, early
to late, is `Study.hierarchy`, and what depends on it takes it as an argument; the default is the paper's, `HIERARCHY`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from nbtools.checks import check_choice
from nbtools.errors import InputError
from nbtools.guides import (
    CALLED,
    LABELS_GUIDE,
    MODIFIERS,
    NAMING,
    OTHERS,
    TRAININGS,
    Misspelled,
    Parts,
    example,
    fits,
    helpful,
    is_region,
    read_name,
    spelled,
)

# Labels of the Kastner 2015 atlas (Wang et al. 2015) as NSD's Kastner2015.nii.gz numbers them.
VENTRAL: dict[str, tuple[int, ...]] = {
    "V1": (1, 2),
    "V2": (3, 4),
    "V4": (7,),
    "VO": (8, 9),
    "PHC": (10, 11),
    "LO": (14, 15),
    "TO": (12, 13),
}
DORSAL: dict[str, tuple[int, ...]] = {
    "V3": (5, 6),
    "V3A": (17,),
    "V3B": (16,),
    "IPS0": (18,),
    "IPS1": (19,),
    "IPS2": (20,),
    "IPS3": (21,),
    "IPS4": (22,),
    "IPS5": (23,),
}
ROI_LABELS: dict[str, tuple[int, ...]] = {**VENTRAL, **DORSAL}
# NSD's volumes of regions, <name>.nii.gz, and the labels of each region in them. V1 to V4 stand in two.
RETINOTOPY: dict[str, dict[str, tuple[int, ...]]] = {
    "Kastner2015": ROI_LABELS,
    "prf-visualrois": {"V1": (1, 2), "V2": (3, 4), "V3": (5, 6), "V4": (7,)},
}
_STREAMS = "early midventral midlateral midparietal ventral lateral parietal"
FUNCTIONAL: dict[str, dict[str, tuple[int, ...]]] = {
    "floc-faces": {"OFA": (1,), "FFA": (2, 3)},
    "floc-bodies": {"EBA": (1,), "FBA": (2, 3)},
    "floc-places": {"OPA": (1,), "PPA": (2,), "RSC": (3,)},
    "floc-words": {"OWFA": (1,), "VWFA": (2, 3)},
    "streams": {name: (label,) for label, name in enumerate(_STREAMS.split(), 1)},
}
HIERARCHY: tuple[str, ...] = tuple(VENTRAL)  # early to late, the paper's order
# Unguided networks that weight decay alone makes smooth. docs/log.md says how the five were chosen.
DECAYS: tuple[str, ...] = ("decay-0.003", "decay-0.01", "decay-0.03", "decay-0.1", "decay-0.3")
CE_WEIGHT = "ce-weight"
# What guidance brings along beside a brain: category knowledge, as images and as a guide; less weight on the classes.
MATCHED: tuple[str, ...] = ("labels", LABELS_GUIDE, CE_WEIGHT)


def baselines(hierarchy: Sequence[str] = HIERARCHY) -> tuple[str, ...]:
    """Return the controls of a hierarchy; its first and its last region are those that are shuffled."""
    return "none", "random", *dict.fromkeys(f"{roi}-shuffle" for roi in (hierarchy[0], hierarchy[-1])), *MATCHED


def conditions_of(hierarchy: Sequence[str] = HIERARCHY) -> tuple[str, ...]:
    """Return a hierarchy's conditions in the order of tables and figures: controls, weight decays, regions."""
    return *baselines(hierarchy), *DECAYS, *hierarchy


BASELINES, CONDITIONS = baselines(), conditions_of()

ADOPTED = "net-"  # before the name of a network from outside
BLUR = " blur"  # after a condition, and before a cut: its network, tested behind a low pass (`probes.blurred`)
# What makes a guide worse on purpose, and how much of it makes none: noise, share of images, share of voxels.
UNDOSED = {"noise": 0.0, "images": 1.0, "voxels": 1.0}
_WHOLE = {MODIFIERS[word].parameter: level for word, level in UNDOSED.items()}


def dosed(rois: Sequence[str], dose: str, levels: Iterable[float]) -> dict[str, tuple[str, float]]:
    """Name the conditions of which the regions' guides are made worse, and those of the guides as they are.

    Parameters
    ----------
    rois : sequence of str
        Regions.
    dose : {"noise", "images", "voxels"}
        What is planted in, or left out of, that which their predictors learn from.
    levels : iterable of float
        How much of it.

    Returns
    -------
    dict of str to (str, float)
        Of each condition the region and the level.

    Raises
    ------
    InputError
        If there is no such dose.
    """
    check_choice("guides are not made worse by that", dose, UNDOSED)
    planted = [level for level in levels if level != UNDOSED[dose]]
    worse = {f"{roi}-{dose}-{spelled(level)}": (roi, level) for level in planted for roi in rois}
    return {**{roi: (roi, UNDOSED[dose]) for roi in rois}, **worse}


_PLAIN = ("none", "start", "labels", CE_WEIGHT)  # no guide
# Parts of a guide's name stand in this order, of whatever study.
_ORDER = (*VENTRAL, *DORSAL, *(roi for regions in FUNCTIONAL.values() for roi in regions))

MEANING: dict[str, str] = {  # of a kind of condition, in a table for readers
    "none": "no guide: classification only",
    "start": "no guide; shorter: what the networks of a seed, `none` too, begin with",
    "random": "guide: a predictor that was never trained",
    "roi": "guide: the trained predictor of this region",
    "parts": "guide: several predictors at once, a neural head each; the neural term is the weighted mean of theirs",
    "depth": "guide: the trained predictor, matched at a read-out of its own",
    "labels": "no guide, but the scanner's images with their labels: how much is category knowledge?",
    "labels-guide": "guide: a predictor of the scanner's images' labels, in place of responses",
    "ce-weight": "no guide, but the class term weighs 1 − α: how much is its weaker gradient?",
    "decay": "no guide, but weight decay: how much is smoothness?",
    "adopted": "a network from outside",
    **{word: changed.meaning for word, changed in MODIFIERS.items()},
}


@dataclass(frozen=True)
class Condition:
    """What guides a network.

    Attributes
    ----------
    name : str
        As it stands in tables and figures.
    kinds : tuple of str
        What it is made of (`MEANING`), innermost first.
    parts : tuple of (Part, int)
        The predictors that guide, each with its weight; empty without a guide.
    weight_decay : float
        Of the optimiser, for ``decay``.
    hardened : (str, float) or None
        How it is trained against perturbations (`nbtools.training.hardening`): a word, and its number.
    """

    name: str
    kinds: tuple[str, ...]
    parts: Parts = ()
    weight_decay: float = 0.0
    hardened: tuple[str, float] | None = None

    @property
    def kind(self) -> str:
        """The last of what it is made of: ``roi`` for a region as it is, ``shuffle`` for its shuffled control."""
        return self.kinds[-1]

    @property
    def meaning(self) -> str:
        """What it is, for readers."""
        varied = self.kinds[0] == "roi" and len(self.kinds) > 1 + bool(self.hardened)  # whose words name the predictor
        return "; ".join(MEANING[kind] for kind in self.kinds[int(varied) :])

    @property
    def predictors(self) -> list[dict[str, Any]]:
        """The runs of notebook 02 it takes, part by part: ``roi``, doses, and other parameters in which they differ.

        Doses are said where there is none too: a predictor of worse responses is never found in place of a region's.
        """
        return [{**_WHOLE, **part.predictor} for part, _ in self.parts]

    @property
    def weights(self) -> list[float]:
        """The weight of each part in the neural term; they sum to 1."""
        return [weight / sum(each for _, each in self.parts) for _, weight in self.parts]

    @property
    def labelled(self) -> bool:
        """Whether it takes the scanner's images' labels."""
        return self.kind == "labels" or any(part.roi == LABELS_GUIDE for part, _ in self.parts)

    @property
    def plain(self) -> bool:
        """Whether it learns the classes from their images, and nothing else from anywhere."""
        return self.kind in ("none", "start", CE_WEIGHT, "decay")

    @property
    def weighted(self) -> bool:
        """Whether α says anything of the network: the class term then weighs 1 − α."""
        return bool(self.parts) or self.kind == CE_WEIGHT


def is_adopted(name: str) -> bool:
    """Say whether a condition is a network from outside: ``net-`` and a name such as a region's (`NAMING`)."""
    return name.startswith(ADOPTED) and is_region(name.removeprefix(ADOPTED))


def parse_condition(name: str, hierarchy: Sequence[str] = HIERARCHY, regions: Sequence[str] = ()) -> Condition:
    """Read a condition's name.

    Parameters
    ----------
    name : str
        ``"none"``, ``"start"``, ``"labels"``, ``"ce-weight"``, ``"decay-<weight decay>"``, ``"net-<name>"``, an adopted
        network's, or a guide's (`nbtools.guides`): ``"TO"``, ``"V1+V4+TO"``, ``"random"``, ``"TO-noise-0.5-shuffle"``;
        ``none`` and guides also with a word of training: ``"none-at-4"``, ``"TO-gauss-0.1"``.
    hierarchy : sequence of str
        Regions, early to late; ``"random"`` has the size of the last one's predictor.
    regions : sequence of str
        All there are; left out, any well-formed name is one.

    Raises
    ------
    InputError
        If the name is none of these, or not the one spelling of what it means.
    """
    if name in _PLAIN:
        return Condition(name, (name,))
    if name.startswith("decay-") and (weight_decay := _decay(name)):
        return Condition(name, ("decay",), (), weight_decay)
    if is_adopted(name):
        return Condition(name, ("adopted",))
    try:
        parts, endings, hardened = read_name(name, hierarchy[-1], _ORDER, regions)
    except ValueError as wrong:
        raise InputError(
            f"unknown condition {name!r}",
            expected=f"{', '.join(_PLAIN)}, decay-<number>, {ADOPTED}<name>, or {helpful(wrong, regions)}",
            got=repr(name),
            fix=str(wrong) if isinstance(wrong, Misspelled) else f"{wrong}{_meant(name, regions or hierarchy)}",
        ) from None
    kinds = _kinds(parts) if parts else ("none",)
    return Condition(name, (*kinds, *endings, *(hardened or ())[:1]), parts, hardened=hardened)


def _meant(name: str, regions: Sequence[str]) -> str:
    """Ask for the usual name that is nearest to one that was mistyped, if any is near; of several parts, the last's."""
    before, plus, last = name.rpartition("+")
    words = [CALLED.get(word, word) for word in re.split(r"[-_\s]+", last.strip().lower())]
    number = words.pop() if re.fullmatch(r"\d+(\.\d+)?", words[-1]) else ""
    usual = {whole.lower(): (whole, "") for whole in (*_PLAIN, *OTHERS, *regions)}
    usual |= {f"{roi}-{word}".lower(): (roi, word) for roi in regions for word in MODIFIERS}
    usual |= {key: ("none", word) for word in TRAININGS for key in (word, f"none-{word}")}
    if said := set(words).intersection(TRAININGS):
        usual = {key: made for key, made in usual.items() if made[1] in said}
    near = get_close_matches("-".join(words), usual, 1, 0.75)
    source, word = usual[near[0]] if near else ("", "")
    if not near or (word and number and not fits(word, float(number))):
        return ""
    end = f"{word}-{number}" if word and number else word and example(word)
    return f"; did you mean {before.rstrip()}{plus}{'-'.join(filter(None, (source, end)))}?"


def _kinds(parts: Parts) -> tuple[str, ...]:
    """Name what the parts are made of, innermost first."""
    first, said = parts[0][0], {word for part, _ in parts for word, _ in part.words}
    source = "parts" if len(parts) > 1 else "roi" if is_region(first.source) else first.source
    depth = ("depth",) if any(part.readout for part, _ in parts) else ()
    return (source, *depth, *(word for word in MODIFIERS if word in said))


def _decay(name: str) -> float | None:
    """Return the weight decay a name holds if it is above 0 and written the one way: ``decay-0.001``."""
    try:
        value = float(name.removeprefix("decay-"))
    except ValueError:
        return None
    return value if value > 0 and name == f"decay-{value:g}" else None


def check_rois(names: Sequence[str]) -> None:
    """Raise `InputError` unless there is a name, and each can be a region's."""
    wrong = [name for name in names if not is_region(name)]
    if wrong or not names:
        raise InputError(
            "these are no regions' names" if wrong else "no region was asked for",
            expected=NAMING,
            got=", ".join(map(repr, wrong)) or "an empty list",
            fix="use the study's own names; `python -m nbtools doctor` lists them",
        )


def region_labels(roi: str, retinotopy: str = "Kastner2015") -> tuple[str, tuple[int, ...]]:
    """Return in which of NSD's volumes a region stands, and with which labels.

    Parameters
    ----------
    roi : str
        A region's name.
    retinotopy : {"Kastner2015", "prf-visualrois"}
        Where retinotopic regions are taken from: a probabilistic atlas, or the subject's own maps.

    Raises
    ------
    InputError
        If NSD has no such region there.
    """
    for atlas, regions in _atlases(retinotopy).items():
        if roi in regions:
            return atlas, regions[roi]
    raise InputError(
        f"NSD has no region {roi}",
        expected=", ".join(nsd_regions(retinotopy)),
        got=f"{roi!r}, retinotopy {retinotopy!r}",
        fix=f"choose one of these, or retinotopy from {', '.join(RETINOTOPY)}",
    )


def nsd_regions(retinotopy: str = "Kastner2015") -> tuple[str, ...]:
    """Name the regions NSD's volumes hold; `retinotopy` as in `region_labels`."""
    return tuple(roi for regions in _atlases(retinotopy).values() for roi in regions)


def _atlases(retinotopy: str) -> dict[str, dict[str, tuple[int, ...]]]:
    return {retinotopy: RETINOTOPY.get(retinotopy, {}), **FUNCTIONAL}
