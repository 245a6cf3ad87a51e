"""Superordinate categories of concepts, as people sorted them: some that do not overlap, and how their pictures split.

No draw, no seed: sizes and names decide, names by their SHA-256, so that files in any order give the same sets.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from nbtools.checks import reading

OVERLAP = 0.1  # largest share of a category's pictures that may be of categories taken before
VALIDATION = 0.2  # share of a category's concepts, and of the others' pictures, that is set apart
_TABLE = "category53_long-format.tsv: columns category and uniqueID among those separated by tabs"


def read_categories(table: Path) -> dict[str, set[str]]:
    """Read the concepts of each category.

    Parameters
    ----------
    table : Path
        Text, with tabs: ``category`` and ``uniqueID`` (a concept) among its columns, a row for each that go together.

    Raises
    ------
    InputError
        If the file cannot be read, or lacks a column.
    """
    columns, fix = ["category", "uniqueID"], "delete it and fetch again: python -m nbtools fetch things --agreed"
    with reading("the categories cannot be read", OSError, ValueError, file=table, expected=_TABLE, fix=fix):
        # Windows' editors begin UTF-8 with a mark; a concept may be called "null".
        rows = pd.read_csv(table, sep="\t", usecols=columns, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    rows = rows.apply(lambda column: column.str.strip())
    rows = rows[(rows != "").all(axis=1)]
    return {str(name): set(concepts) for name, concepts in rows.groupby("category")["uniqueID"]}


def choose_categories(members: Mapping[str, Collection[str]], sizes: Mapping[str, int]) -> list[str]:
    """Choose categories that hardly overlap, largest first.

    From the one with most pictures down, ties by name, a category is taken unless more than a tenth of its pictures
    (`OVERLAP`) are of categories taken before.

    Parameters
    ----------
    members : mapping of str to collection of str
        Concepts of each category.
    sizes : mapping of str to int
        Pictures of each concept that has some.

    Returns
    -------
    list of str
        The categories. A concept of two of them is of neither (`category_of`).
    """

    def size(concepts: Iterable[str]) -> int:
        return sum(sizes.get(concept, 0) for concept in concepts)

    chosen: list[str] = []
    taken: set[str] = set()
    for name in sorted(members, key=lambda name: (-size(members[name]), name)):
        own = size(members[name])
        if own and size(taken.intersection(members[name])) <= OVERLAP * own:
            chosen.append(name)
            taken |= set(members[name])
    return chosen


def category_of(members: Mapping[str, Collection[str]], classes: Sequence[str]) -> dict[str, str]:
    """Return the category of each concept that belongs to exactly one of some."""
    often = Counter(concept for name in classes for concept in members[name])
    return {concept: name for name in classes for concept in members[name] if often[concept] == 1}


def split_pictures(
    pictures: Mapping[str, Sequence[str]],
    category: Mapping[str, str],
    held: Collection[str],
    shown: Collection[str],
) -> pd.DataFrame:
    """Say which pictures train, which are new pictures, and which are of new concepts.

    In each category, a fifth of the concepts (`VALIDATION`) are new: those the brain was not shown first, then by their
    names' SHA-256; none of a test image, none without a picture that was not shown. Of the other concepts' pictures a
    fifth, as far as there are enough that were not shown, are new ones, by SHA-256 too; all others train.

    Parameters
    ----------
    pictures : mapping of str to sequence of str
        Files of each concept.
    category : mapping of str to str
        Of each concept that has one.
    held : collection of str
        The brain's test images, ``<concept>/<file>``, which are left out.
    shown : collection of str
        All that the brain was shown.

    Returns
    -------
    DataFrame
        A row per picture: ``concept``, ``place`` (``<concept>/<file>``), ``category``, ``part`` (``"train"``, ``"val"``
        or ``"new"``). Pictures of new concepts that were shown are left out.
    """
    places = [
        (concept, f"{concept}/{file}") for concept in sorted(category) for file in sorted(pictures.get(concept, ()))
    ]
    rows = pd.DataFrame([row for row in places if row[1] not in set(held)], columns=["concept", "place"])
    rows = rows.assign(category=rows["concept"].map(category), unseen=~rows["place"].isin(list(shown)))
    tested, met = ({place.split("/")[0] for place in some} for some in (held, shown))
    parts = [_parts_of(own, tested, met) for _, own in rows.groupby("category")]
    return pd.concat([rows[:0].assign(part=""), *parts], ignore_index=True).drop(columns="unseen")


def _parts_of(rows: pd.DataFrame, tested: Collection[str], met: Collection[str]) -> pd.DataFrame:
    """Split one category's pictures."""
    candidates = set(rows["concept"][rows["unseen"]]) - set(tested)
    order = sorted(candidates, key=lambda concept: (concept in met, _digest(concept)))
    new = rows["concept"].isin(order[: round(VALIDATION * rows["concept"].nunique())])
    unseen = sorted(rows["place"][~new & rows["unseen"]], key=_digest)
    val = rows["place"].isin(unseen[: round(VALIDATION * (~new).sum())])
    return rows.assign(part=np.select([new, val], ["new", "val"], "train"))[~new | rows["unseen"]]


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()
