"""docs/encoders.md, run as it stands: an encoder's answers come back, and guide like measured ones."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from nbtools import data
from nbtools.data.brains.measured import load_design
from nbtools.data.study import open_study
from nbtools.runs.batch import run_notebook

PAGE = Path(__file__).parents[1] / "docs/encoders.md"


def encode(pictures: np.ndarray) -> np.ndarray:
    """Another package's encoder (n, height, width, 3) → (n, 24): a linear one."""
    small = pictures[:, ::4, ::4].reshape(len(pictures), -1) / 255.0
    weights = np.random.default_rng(0).normal(size=(small.shape[1], 24)) / small.shape[1] ** 0.5
    return (small - 0.5) @ weights


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def home(tiny_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the page's blocks were run: the first one in the encoder's place, the second one here."""
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))
    (tmp_path / "data/derived").mkdir(parents=True)
    (tmp_path / "data/derived/demo").symlink_to(tiny_study.parent)
    folder = tmp_path / "data/raw/predicted"
    folder.mkdir(parents=True)
    (folder / "stimuli.hdf5").symlink_to(open_study("demo").stimuli)
    there, here = blocks()
    assert here.count("\n") <= 20
    monkeypatch.chdir(folder)
    for roi in ("V1", "TO"):
        given: dict[str, Any] = {"encode": encode if roi == "V1" else lambda pictures: -2 * encode(pictures)}
        exec(there.replace("predictions/V1", f"predictions/{roi}"), given)
    monkeypatch.chdir(tmp_path)
    exec(here, {})
    return tmp_path


def test_an_encoders_answers_come_back(home: Path) -> None:
    study, measured = open_study("predicted"), open_study("demo")
    assert study.hierarchy == ("V1", "TO")
    np.testing.assert_array_equal(load_design(study).shared_ids, load_design(measured).shared_ids)
    responses = data.load_responses(study, "V1")
    with h5py.File(measured.stimuli) as store:
        answers = encode(store["imgBrick"][:])[responses.image_ids]
    z = (answers - answers.mean(0)) / answers.std(0)
    np.testing.assert_allclose(responses.responses, z, atol=1e-4)
    np.testing.assert_allclose(data.load_responses(study, "TO").responses, -z, atol=1e-4)
    assert (responses.n_repeats == 1).all()
    assert len(data.load_training_images(study)) == len(data.load_training_images(measured))


@pytest.mark.parametrize("change", [lambda answers: answers[:-1], lambda answers: np.concatenate([answers] * 2)])
def test_answers_to_other_pictures_are_noticed(home: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """More rows than the stimuli have would be taken for these, whatever they were answers to."""
    file = home / "data/raw/predicted/predictions/V1.npy"
    np.save(file, change(np.load(file)))
    with pytest.raises(AssertionError, match="one row a picture"):
        exec(blocks()[1], {})


@pytest.mark.long  # four notebooks
def test_it_guides(home: Path) -> None:
    assert run_notebook("01_brain_responses", {"study": "predicted", "rois": "V1 TO"}) == 0
    few = {"study": "predicted", "roi": "V1", "epochs": "2"}
    assert run_notebook("02_neural_predictors", few) == 0
    for roi in ("start", "V1"):
        assert run_notebook("03_guided_training", {**few, "roi": roi, "start_epochs": "1"}) == 0
