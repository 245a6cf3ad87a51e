"""Categories of the scanner's images: what the label control trains on, what RDMs are sorted by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from nbtools.checks import check_counts
from nbtools.data.images.sets import ImageSet
from nbtools.data.study import Study
from nbtools.errors import InputError
from nbtools.files import read_table


def label_stimuli(images: ImageSet, file: Path | None, classes: tuple[str, ...]) -> ImageSet:
    """Give scanner images the classes that a table names.

    Parameters
    ----------
    images : ImageSet
        From `load_stimuli`.
    file : Path or None
        Parquet: ``image_id`` (row of the stimuli) and ``label`` (one of `classes`), a row per image at least for
        `images`. None if the study has no such table.
    classes : tuple of str
        The classifier's.

    Returns
    -------
    ImageSet
        The same images, labelled.

    Raises
    ------
    InputError
        If there is no table, it lacks a column or an image, names an image twice, or a label is not a class.
    """
    if file is None:
        raise InputError(
            "the scanner's images have no labels in this study",
            expected="a table with image_id and label, named as scanner_labels in study.toml",
            got="none",
            fix="write one (data/README.md), or leave out the condition labels",
        )
    index = {name: place for place, name in enumerate(classes)}
    found = [index.get(name, -1) for name in _read(file).reindex(images.ids)]
    if min(found) < 0:
        raise InputError(
            "the scanner labels do not fit",
            file=file,
            expected=f"one of {', '.join(classes)} for each of {len(images)} images",
            got=f"{sum(place < 0 for place in found)} images without such a label",
            fix="name every image once, by classes of the classification set",
        )
    return replace(images, labels=torch.tensor(found), classes=classes)


def load_labels(source: Study, image_ids: np.ndarray | None = None) -> pd.Series:
    """Read the categories of a study's scanner images.

    Parameters
    ----------
    source : Study
        Its table ``scanner_labels`` names them.
    image_ids : ndarray (n_images,), optional
        Which images, in this order; None for all of the table.

    Returns
    -------
    Series of str
        By image id; missing for an image without category, and empty where the study has no such table.

    Raises
    ------
    InputError
        If the table cannot be read, lacks a column, or names an image twice.
    """
    if not source.has("scanner_labels"):
        return pd.Series(dtype=str)
    labels = _read(source.need("scanner_labels"))
    return labels if image_ids is None else labels.reindex(image_ids)


def _read(file: Path) -> pd.Series:
    """Read labels by image id, which may be written as text."""
    table = read_table(file, ["image_id", "label"])
    ids = pd.to_numeric(table["image_id"], errors="coerce")
    check_counts(
        f"the scanner labels do not fit: {file}",
        {
            "ids are no whole number": int((ids % 1 != 0).sum()),
            "images named twice": int(ids.duplicated().sum()),
            "labels are no name": int((~table["label"].map(pd.api.types.is_hashable).astype(bool)).sum()),
        },
        expected="image_id, the row of the stimuli (0, 1, …), once each, and the name of its class",
        fix="name every image once, by its row in the stimuli",
    )
    return table.set_index(ids.astype(np.int64))["label"]
