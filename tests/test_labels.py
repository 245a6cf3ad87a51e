"""Scanner labels: joined by image id, and refused where they do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from nbtools.data import fit_basis, label_trials, load_labels, load_responses, open_study, project, split_images
from nbtools.data.brains.responses import RoiTrials
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
        ([9], ["disk"], "0 labels"),
        ([3, 5, 7], ["disk", "bar", "heart"], "3 labels, 1 of them others: heart"),
        ([3, 5, 7, 7], ["disk", "bar", "star", "disk"], "1 images named twice"),
        (["3", "5", "seven"], ["disk", "bar", "star"], "1 ids are no whole number"),
        ([3, 5, 7.5], ["disk", "bar", "star"], "1 ids are no whole number"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path: Path, ids: list[int], labels: list[str], got: str) -> None:
    with pytest.raises(InputError, match=got):
        label_stimuli(stimuli([5, 7, 3]), write(tmp_path / "labels.parquet", ids, labels), CLASSES)


@pytest.mark.parametrize("rows", [([7, 9, 3], ["star", "disk", "disk"]), ([3, 5, 7], ["disk", None, "star"])])
def test_images_without_a_category_are_left_out(tmp_path: Path, rows: tuple[list[int], list[str]]) -> None:
    labelled = label_stimuli(stimuli([5, 7, 3]), write(tmp_path / "labels.parquet", *rows), CLASSES)
    assert labelled.ids.tolist() == [7, 3]
    assert labelled.labels.tolist() == [2, 0]
    assert labelled.pixels[:, 0, 0, 0].tolist() == [7, 3]


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


# --- categories in place of responses -----------------------------------------------------------------------


def shown(n: int) -> RoiTrials:
    rows, responses = np.arange(n), np.random.default_rng(0).normal(size=(n, 5)).astype(np.float32)
    return RoiTrials("TO", responses, rows, 1 + rows % 2, np.ones(n, int), np.zeros((5, 3), int), np.zeros((0, 3), int))


def test_a_guide_of_labels_has_the_regions_trials_and_nothing_but_labels() -> None:
    trials, labels = shown(60), np.array(CLASSES)[np.random.default_rng(1).integers(3, size=60)]
    made = label_trials(trials, labels)
    for name in ("image_ids", "sessions", "repeats"):
        np.testing.assert_array_equal(getattr(made, name), getattr(trials, name))
    assert made.responses.shape == (60, 3)
    np.testing.assert_allclose(made.responses.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(made.responses.std(0), 1, atol=1e-5)
    assert (np.array(sorted(CLASSES))[made.responses.argmax(1)] == labels).all()
    assert len(np.unique(made.responses, axis=0)) == 3  # two images of a category cannot be told apart


def test_an_image_of_no_category_is_none_of_a_guides() -> None:
    trials, labels = shown(60), np.array([*CLASSES, None, np.nan], dtype=object)[np.arange(60) % 5]
    made = label_trials(trials, labels)
    assert made.responses.shape == (60, 3)
    np.testing.assert_allclose(made.responses.mean(0), 0, atol=1e-6)
    of_none, of_one = made.responses[np.arange(60) % 5 > 2], made.responses[np.arange(60) % 5 < 3]
    assert (of_none < 0).all()
    assert ((of_one > 0).sum(1) == 1).all()


def test_a_study_without_labels_or_with_one_has_no_such_guide() -> None:
    for labels in (["disk"] * 6, ["disk", None, None, "disk", "disk", np.nan], ["disk", "bar"], []):
        with pytest.raises(InputError, match=r"categories cannot guide[\s\S]*scanner_labels"):
            label_trials(shown(6), np.array(labels, dtype=object))


def test_the_study_gives_labels_as_it_gives_a_region(tiny_study: Path) -> None:
    study = open_study(tiny_study)
    region, made = load_responses(study, "TO"), load_responses(study, "labels-guide")
    for name in ("image_ids", "n_repeats", "shared"):
        np.testing.assert_array_equal(getattr(made, name), getattr(region, name))
    basis = fit_basis(made.responses[split_images(made)["train"]])
    scores = project(basis, made.responses)
    labels = load_labels(study, made.image_ids).to_numpy()
    n_classes = len(set(labels))
    assert scores.shape[1] == n_classes - 1  # categories exclude each other
    centres = np.array([scores[labels == name].mean(0) for name in sorted(set(labels))])
    nearest = np.linalg.norm(scores[:, None] - centres, axis=2).argmin(1)
    assert (np.array(sorted(set(labels)))[nearest] == labels).all()
