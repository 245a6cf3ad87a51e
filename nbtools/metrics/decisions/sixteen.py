"""The 16 entry-level categories of cue-conflict studies, and the ImageNet synsets that belong to each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from nbtools.errors import InputError

# Geirhos et al. (2018), Generalisation in humans and deep neural networks: WordNet's hyponyms of 16 MS COCO
# categories. Some of these synsets are not among ImageNet's 1,000.
_DOGS = """
02085782 02085936 02086079 02086240 02086646 02086910 02087046 02087394 02088094 02088238 02088364 02088466 02088632
02089078 02089867 02089973 02090379 02090622 02090721 02091032 02091134 02091244 02091467 02091635 02091831 02092002
02092339 02093256 02093428 02093647 02093754 02093859 02093991 02094114 02094258 02094433 02095314 02095570 02095889
02096051 02096294 02096437 02096585 02097047 02097130 02097209 02097298 02097474 02097658 02098105 02098286 02099267
02099429 02099601 02099712 02099849 02100236 02100583 02100735 02100877 02101006 02101388 02101556 02102040 02102177
02102318 02102480 02102973 02104029 02104365 02105056 02105162 02105251 02105505 02105641 02105855 02106030 02106166
02106382 02106550 02106662 02107142 02107312 02107574 02107683 02107908 02108000 02108422 02108551 02108915 02109047
02109525 02109961 02110063 02110185 02110627 02110806 02110958 02111129 02111277 08825211 02111500 02112018 02112350
02112706 02113023 02113624 02113712 02113799 02113978"""
_BIRDS = """
01321123 01514859 01792640 07646067 01530575 01531178 01532829 01534433 01537544 01558993 01562265 01560419 01582220
10281276 01592084 01601694 01614925 01616318 01622779 01795545 01796340 01797886 01798484 01817953 01818515 01819313
01820546 01824575 01828970 01829413 01833805 01843065 01843383 01855032 01855672 07646821 01860187 02002556 02002724
02006656 02007558 02009229 02009912 02011460 02013706 02017213 02018207 02018795 02025239 02027492 02028035 02033041
02037110 02051845 02056570"""
_SYNSETS: dict[str, str] = {
    "airplane": "02690373 03955296 13861050 13941806",
    "bear": "02132136 02133161 02134084 02134418",
    "bicycle": "02835271 03792782",
    "bird": _BIRDS,
    "boat": "02951358 03344393 03662601 04273569 04612373 04612504",
    "bottle": "02823428 03937543 03983396 04557648 04560804 04579145 04591713",
    "car": "02814533 03100240 03100346 13419325 04285008",
    "cat": "02122878 02123045 02123159 02126465 02123394 02123597 02124075 02125311",
    "chair": "02791124 03376595 04099969 00605023 04429376",
    "clock": "02708093 03196217 04548280",
    "dog": _DOGS,
    "elephant": "02504013 02504458",
    "keyboard": "03085013 04505470",
    "knife": "03041632",
    "oven": "03259401 04111414 04111531",
    "truck": "03345487 03417042 03770679 03796401 00319176 01016201 03930630 03930777 05061003 06547832 10432053 "
    "03977966 04461696 04467665",
}
SYNSETS: dict[str, frozenset[str]] = {
    name: frozenset(f"n{offset}" for offset in offsets.split()) for name, offsets in _SYNSETS.items()
}
CATEGORIES: tuple[str, ...] = tuple(SYNSETS)


def decide_category(probabilities: ArrayLike, classes: Sequence[str], categories: Sequence[str]) -> np.ndarray:
    """Let a network decide between categories.

    Parameters
    ----------
    probabilities : array-like (n_images, n_classes)
        Class probabilities, finite, each row adding up to 1.
    classes : sequence of str (n_classes,)
        What each column stands for: the categories themselves, or ImageNet synsets (``n02690373``).
    categories : sequence of str
        Those in question: shapes and textures of a cue-conflict set.

    Returns
    -------
    array (n_images,) of str
        The category of the highest probability: of the class of that name, or, for synsets, of the *mean* over the
        category's synsets that the network knows (Geirhos et al. 2018).

    Raises
    ------
    InputError
        If rows are not probabilities, or a category has neither a class nor a synset among `classes`.
    """
    p = np.asarray(probabilities, dtype=float)
    sums = p.ndim == 2 and p.shape[1] == len(classes) and bool(len(p)) and np.allclose(p.sum(axis=1), 1, atol=1e-3)
    if not sums or (p < 0).any():
        raise InputError(
            "these are not class probabilities",
            expected=f"(n_images, {len(classes)}), not negative, rows adding up to 1",
            got=f"shape {p.shape}",
            fix="apply softmax to the logits",
        )
    columns = {name: _columns(name, classes) for name in categories}
    unknown = [name for name, found in columns.items() if not found]
    if unknown or len(columns) < 2:
        raise InputError(
            "the network cannot decide between these categories",
            expected="two categories or more, each a class of the network or one with synsets among them",
            got=f"{', '.join(unknown) or 'too few'} of {', '.join(categories)}",
            fix="leave out images of these categories: `decidable` names those the network knows",
        )
    scores = np.stack([p[:, found].mean(axis=1) for found in columns.values()], axis=1)
    return np.array(list(columns))[scores.argmax(axis=1)]


def decidable(classes: Sequence[str], categories: Sequence[str]) -> list[str]:
    """Return the categories that a network of these classes can decide for."""
    return [name for name in categories if _columns(name, classes)]


def decidable_conflicts(conflicts: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Keep the cue-conflict images whose shape and texture a network can both name.

    Parameters
    ----------
    conflicts : DataFrame
        ``shape`` and ``texture`` of each image, as `cue_conflict_names` reads them.
    classes : sequence of str
        The network's.

    Returns
    -------
    DataFrame
        Their rows, with the index they had.

    Raises
    ------
    InputError
        If none of them is in conflict.
    """
    kept = known_conflicts(conflicts, classes)
    if (kept["shape"] == kept["texture"]).all():
        categories = sorted({*conflicts["shape"], *conflicts["texture"]})
        raise InputError(
            "these cue-conflict images ask nothing of the networks",
            expected="images of two categories or more that are classes of the networks, or have synsets among them",
            got=f"{', '.join(decidable(classes, categories)) or 'none'} of {len(categories)} categories",
            fix="paint images of the study's own classes: python -m nbtools prepare cue-conflict; of an adopted "
            "network say which of its classes are these: python -m nbtools adopt … --table",
        )
    return kept


def known_conflicts(conflicts: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Keep images as `decidable_conflicts` does, though none of them may be in conflict, or none be left."""
    known = decidable(classes, sorted({*conflicts["shape"], *conflicts["texture"]}))
    return conflicts[conflicts["shape"].isin(known) & conflicts["texture"].isin(known)]


def conflict_reach(conflicts: pd.DataFrame, classes: Sequence[str]) -> str:
    """Say in a sentence how far cue-conflict images reach with a network's classes.

    The half-width is that of a 95 % interval of one network's shape bias where it is widest, at .5, were every image
    taken for its shape or its texture: 1.96 · √(.25 / images).

    Parameters
    ----------
    conflicts, classes
        As `decidable_conflicts` takes them.

    Returns
    -------
    str
        Such as ``"3 of 16 categories are known (airplane, clock, elephant): 6 ordered pairs, 30 images, a shape bias
        of .5 within ± .18"``; where categories are left out, with what to do about it.

    Raises
    ------
    InputError
        As `decidable_conflicts`.
    """
    kept = decidable_conflicts(conflicts, classes)
    there, known = (sorted({*table["shape"], *table["texture"]}) for table in (conflicts, kept))
    pairs = kept.loc[kept["shape"] != kept["texture"], ["shape", "texture"]]
    half_width = f"{1.96 * (0.25 / len(pairs)) ** 0.5:.2f}".removeprefix("0")
    reach = (
        f"{len(known)} of {len(there)} categories are known: {len(pairs.drop_duplicates())} ordered pairs, "
        f"{len(pairs)} images, a shape bias of .5 within ± {half_width}"
    )
    advice = f" ({', '.join(known)} alone; of all classes: python -m nbtools prepare cue-conflict)"
    return reach + (advice if len(known) < len(there) else "")


def _columns(category: str, classes: Sequence[str]) -> list[int]:
    members = {category} if category in classes else SYNSETS.get(category, frozenset())
    return [place for place, name in enumerate(classes) if name in members]
