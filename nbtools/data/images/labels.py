"""Categories of the scanner's images: what the label control trains on, what RDMs are sorted by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from nbtools.checks import check_counts, listed
from nbtools.data.images.sets import ImageSet
from nbtools.data.study import Study
from nbtools.errors import InputError
from nbtools.files import read_table


def label_stimuli(images: ImageSet, file: Path | None, classes: tuple[str, ...]) -> ImageSet:
    """Give scanner images the classes that a table names, and leave out those that it names no class of.

    Parameters
    ----------
    images : ImageSet
        From `load_stimuli`.
    file : Path or None
        Parquet: ``image_id`` (row of the stimuli) and ``label`` (one of `classes`), a row for each image that has one.
        None if the study has no such table.
    classes : tuple of str
        The classifier's.

    Returns
    -------
    ImageSet
        Those of the images that have a label, in their order.

    Raises
    ------
    InputError
        If there is no table, it lacks a column, names an image twice or none of `images`, or a label is not a class.
    """
    if file is None:
        raise InputError(
            "the scanner's images have no labels in this study",
            expected="a table with image_id and label, named as scanner_labels in study.toml",
            got="none",
            fix="write one (data/README.md), or leave out the condition labels",
        )
    names = _read(file).reindex(images.ids)
    labelled = names.notna().to_numpy()
    labels = pd.Index(classes).get_indexer(names[labelled])
    others = names[labelled][labels < 0]
    if not len(labels) or len(others):
        raise InputError(
            "the scanner labels do not fit",
            file=file,
            expected=f"labels of some of {len(images)} images, each one of {', '.join(classes)}",
            got=f"{len(labels)} labels, {len(others)} of them others: {listed(others, 5)}",
            fix="name images by classes of the classification set, and leave out those of none; or leave out labels",
        )
    return replace(images[labelled], labels=torch.from_numpy(labels).long(), classes=classes)


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
