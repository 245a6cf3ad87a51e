"""Scanner labels: joined by image id, and refused where they do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from nbtools.data.images.labels import label_stimuli
from nbtools.data.images.sets import ImageSet, joined
from nbtools.errors import InputError

CLASSES = ("disk", "bar", "star")


def stimuli(ids: list[int]) -> ImageSet:
    pixels = torch.stack([torch.full((3, 4, 4), i, dtype=torch.uint8) for i in ids])
    return ImageSet(pixels, torch.full((len(ids),), -1), np.array(ids), ())


def write(file: Path, ids: list[int], labels: list[str], name: str = "label") -> Path:
    pd.DataFrame({"image_id": ids, name: labels}).to_parquet(file)
    return file


def test_labels_are_joined_by_image_id(tmp_path: Path) -> None:
    file = write(tmp_path / "labels.parquet", [7, 3, 5, 9], ["star", "disk", "bar", "disk"])
    labelled = label_stimuli(stimuli([5, 7, 3]), file, CLASSES)
    assert labelled.labels.tolist() == [1, 2, 0]
    assert labelled.classes == CLASSES
    assert labelled.ids.tolist() == [5, 7, 3]


@pytest.mark.parametrize(
    "types",
    [{"image_id": str}, {"image_id": float}, {"image_id": "category"}, {"label": "category"}, {"image_id": "Int64"}],
)
def test_ids_may_be_text_and_columns_categories(tmp_path: Path, types: dict) -> None:
    table = pd.DataFrame({"image_id": [7, 3, 5, 9], "label": ["star", "disk", "bar", "disk"]}).astype(types)
    table.to_parquet(tmp_path / "labels.parquet")
    assert label_stimuli(stimuli([5, 7, 3]), tmp_path / "labels.parquet", CLASSES).labels.tolist() == [1, 2, 0]


@pytest.mark.parametrize(
    ("ids", "labels", "got"),
    [
        ([3, 5], ["disk", "bar"], "1 images without"),
        ([3, 5, 7], ["disk", "bar", "heart"], "1 images without"),
        ([3, 5, 7, 7], ["disk", "bar", "star", "disk"], "1 images named twice"),
        (["3", "5", "seven"], ["disk", "bar", "star"], "1 ids are no whole number"),
        ([3, 5, 7.5], ["disk", "bar", "star"], "1 ids are no whole number"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path: Path, ids: list[int], labels: list[str], got: str) -> None:
    with pytest.raises(InputError, match=got):
        label_stimuli(stimuli([5, 7, 3]), write(tmp_path / "labels.parquet", ids, labels), CLASSES)


def test_a_missing_or_malformed_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no labels in this study"):
        label_stimuli(stimuli([5]), None, CLASSES)
    with pytest.raises(InputError, match="cannot be read"):
        label_stimuli(stimuli([5]), write(tmp_path / "other.parquet", [5], ["bar"], name="shape"), CLASSES)
    (tmp_path / "half.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="cannot be read"):
        label_stimuli(stimuli([5]), tmp_path / "half.parquet", CLASSES)


def test_joined_sets_keep_rows_labels_and_ids(tmp_path: Path) -> None:
    labelled = label_stimuli(stimuli([5, 7]), write(tmp_path / "l.parquet", [5, 7], ["bar", "star"]), CLASSES)
    pictures = ImageSet(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), torch.tensor([0]), np.array(["a.png"]), CLASSES)
    both = joined(pictures, labelled)
    assert both.ids.tolist() == ["a.png", "5", "7"]
    assert both.labels.tolist() == [0, 1, 2]
    assert both.pixels[:, 0, 0, 0].tolist() == [0, 5, 7]
    with pytest.raises(InputError, match="do not go together"):
        joined(pictures, stimuli([5]))
