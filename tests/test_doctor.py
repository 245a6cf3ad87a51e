"""The doctor: whatever is missing or damaged is said, nothing is raised, and what notebooks need is what they read."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from nbtools.cli import main
from nbtools.data.brains.prepare_nsd import prepare_nsd
from nbtools.data.images.sets import load_folder
from nbtools.data.study import Study, open_study, study_file
from nbtools.runs import folders
from nbtools.workflow import doctor
from nbtools.workflow.doctor import DAMAGED, GOOD, MISSING, findings
from nbtools.workflow.needs import needs_of

pytestmark = pytest.mark.filterwarnings("ignore:.*were dropped:UserWarning")


@pytest.fixture
def study(tiny_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A copy of the tiny study that a test may damage, at home under its name."""
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))
    folder = tmp_path / "data/derived/tiny"
    shutil.copytree(tiny_study.parent, folder)
    return open_study("tiny")


def states(study: Study, *, deep: bool = False) -> dict[str, str]:
    return {finding.part: finding.state for finding in findings(study, deep=deep)}


@pytest.mark.parametrize("deep", [False, True])
def test_a_whole_study_is_good(study: Study, deep: bool) -> None:
    found = states(study, deep=deep)
    assert found.pop("prepared") == MISSING
    assert set(found.values()) == {GOOD}
    prepare_nsd(study, ["V1", "TO"], progress=False)
    assert states(study, deep=deep)["prepared"] == GOOD


def first(study: Study, pattern: str) -> Path:
    return sorted(study.need("nsd").parent.rglob(pattern))[0]


def truncate(pattern: str, share: float) -> Callable[[Study], None]:
    def damage(study: Study) -> None:
        file = first(study, pattern)
        os.truncate(file, int(file.stat().st_size * share))

    return damage


def remove(pattern: str) -> Callable[[Study], None]:
    def damage(study: Study) -> None:
        path = first(study, pattern)
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return damage


def write(pattern: str, content: bytes) -> Callable[[Study], None]:
    return lambda study: (first(study, pattern).write_bytes(content), None)[1]


def empty_class(study: Study) -> None:
    for file in first(study, "classification/val/*").iterdir():
        file.unlink()


def other_name(study: Study) -> None:
    folder = first(study, "classification/val/ring")
    folder.rename(folder.with_name("Ring"))


def labels_without_ids(study: Study) -> None:
    pd.DataFrame({"label": ["disk"]}).to_parquet(study.need("scanner_labels"))


def other_stimuli(study: Study) -> None:
    with h5py.File(study.stimuli, "w") as store:
        store["pictures"] = np.zeros(3)


DAMAGE: dict[str, tuple[Callable[[Study], None], str, str]] = {
    "design gone": (remove("nsd_expdesign.mat"), "design", MISSING),
    "design cut": (truncate("nsd_expdesign.mat", 0.5), "design", DAMAGED),
    "design HTML": (write("nsd_expdesign.mat", b"<html>"), "design", DAMAGED),
    "atlas gone": (remove("Kastner2015.nii.gz"), "regions", MISSING),
    "atlas cut": (truncate("Kastner2015.nii.gz", 0.5), "regions", DAMAGED),
    "brain HTML": (write("nsdgeneral.nii.gz", b"<html>"), "volumes", DAMAGED),
    "volume cut at its start": (truncate("betas_session01.nii.gz", 0.001), "volumes", DAMAGED),
    "volume cut in the middle": (truncate("betas_session01.nii.gz", 0.5), "volumes", DAMAGED),
    "volume cut before its end": (truncate("betas_session01.nii.gz", 0.9999), "volumes", DAMAGED),
    "volume empty": (truncate("betas_session01.nii.gz", 0), "volumes", DAMAGED),
    "volume HTML": (write("betas_session01.nii.gz", b"<html>"), "volumes", DAMAGED),
    "HDF5 cut": (truncate("betas_session03.hdf5", 0.5), "volumes", DAMAGED),
    "all volumes gone": (remove("nsddata_betas"), "volumes", MISSING),
    "stimuli gone": (remove("nsd_stimuli.hdf5"), "stimuli", MISSING),
    "stimuli cut": (truncate("nsd_stimuli.hdf5", 0.5), "stimuli", DAMAGED),
    "other stimuli": (other_stimuli, "stimuli", DAMAGED),
    "no val": (remove("classification/val"), "classification", MISSING),
    "an empty class": (empty_class, "classification", DAMAGED),
    "another name for a class": (other_name, "classification", DAMAGED),
    "labels cut": (truncate("scanner_labels.parquet", 0.5), "scanner_labels", DAMAGED),
    "labels without ids": (labels_without_ids, "scanner_labels", DAMAGED),
    "cue conflict gone": (remove("cue_conflict"), "cue_conflict", MISSING),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_found_and_told(study: Study, case: str, capsys: pytest.CaptureFixture[str]) -> None:
    damage, part, state = DAMAGE[case]
    damage(study)
    assert states(study)[part] == state
    assert main(["doctor", "tiny"]) == (state == DAMAGED)
    told = capsys.readouterr().out
    assert re.search(rf"^{part} +{state} ", told, re.MULTILINE)


def test_images_are_counted_as_they_are_loaded(study: Study) -> None:
    images = load_folder(study.need("classification") / "val", 8)
    folder = first(study, "classification/val/ring")
    for part in ("more", ".ipynb_checkpoints"):
        shutil.copytree(folder, folder.parent / "bar" / part)
    told = {finding.part: finding.found for finding in findings(study, deep=True)}["classification"]
    n_ring = images.class_names.count("ring")
    assert f"val: 10 classes, {len(images) + n_ring} images" in told
    assert told.endswith("0 images of val are, byte by byte, in train too")
    shutil.copy(next(folder.iterdir()), study.need("classification") / "train/ring/again.png")
    told = {finding.part: finding.found for finding in findings(study, deep=True)}["classification"]
    assert told.endswith("2 images of val are, byte by byte, in train too"), "that one and its copy below val/bar"


def test_a_flipped_byte_is_found_by_reading_all(study: Study) -> None:
    volume = first(study, "betas_session01.nii.gz")
    whole = bytearray(volume.read_bytes())
    whole[-8] ^= 1  # of gzip's own checksum
    volume.write_bytes(bytes(whole))
    assert states(study)["volumes"] == GOOD, "its length is right"
    assert states(study, deep=True)["volumes"] == DAMAGED


def test_checksums_are_compared(study: Study) -> None:
    root = study.need("nsd")
    record = {"nsddata/x.bin": {"sha256": "0" * 64, "size": 3, "etag": "", "url": "http://x"}}
    (root / "nsddata/x.bin").write_bytes(b"abc")
    (root / "checksums.json").write_text(json.dumps(record))
    assert states(study, deep=True)["checksums"] == DAMAGED


def test_a_prepared_session_of_other_masks_is_found(study: Study) -> None:
    prepare_nsd(study, ["V1", "TO"], progress=False)
    shutil.copy(first(study, "nsdgeneral.nii.gz"), first(study, "Kastner2015.nii.gz"))
    assert states(study)["prepared"] == GOOD
    assert states(study, deep=True)["prepared"] == DAMAGED


def test_notebooks_are_told_what_they_lack(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(study.need("cue_conflict"))
    main(["doctor", "tiny"])
    told = capsys.readouterr().out
    assert re.search(r"^07_shape_bias +no: cue_conflict +0$", told, re.MULTILINE)
    assert re.search(r"^06_smoothness_and_transfer +yes +0$", told, re.MULTILINE)


def test_a_study_of_responses_alone_lacks_what_shows_a_brain(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    prepare_nsd(study, ["V1", "TO"], progress=False)
    lines = [line for line in study_file("tiny").read_text().splitlines() if not line.startswith("nsd =")]
    own = {"responses": study.responses, "stimuli": study.stimuli}
    named = [f'{key} = "{path}"' for key, path in own.items()]
    study_file("tiny").write_text("\n".join([*named, *lines]))
    main(["doctor", "tiny"])
    told = capsys.readouterr().out
    assert re.search(r"^14_brain_and_geometry +no: nsd +0$", told, re.MULTILINE)
    assert re.search(r"^02_neural_predictors +yes +0$", told, re.MULTILINE)


def test_what_is_missing_of_a_real_study_is_counted(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    file = study_file("tiny")
    file.write_text(file.read_text().replace("simulated = true", "simulated = false"))
    study.stimuli.unlink()
    main(["doctor", "tiny"])
    told = capsys.readouterr().out
    assert "fetch sessions 4–40: about 37 GB" in told
    assert re.search(r"prepare sessions 1–3: about \d+ min on \d+ cores", told)
    assert "fetch the stimuli" in told


def test_a_gap_is_written_as_ranges() -> None:
    assert doctor._ranges([1, 2, 3, 7, 9, 10]) == "1–3, 7, 9–10"


def test_what_a_notebook_needs_is_what_its_code_asks_for() -> None:
    """Nothing that one control alone takes (stimuli of 03), or that is shown where it is there (cue_conflict of 00)."""
    images, measured = {"classification"}, {"responses", "stimuli"}
    assert {file.stem: set(needs_of(file.stem)) for file in folders.NOTEBOOKS.glob("[0-9]*.ipynb")} == {
        "00_start_here": {"stimuli"} | images,
        "01_brain_responses": measured,
        "02_neural_predictors": measured,
        "03_guided_training": images,
        "04_adversarial_attacks": images,
        "05_attack_explorer": images,
        "06_smoothness_and_transfer": images,
        "07_shape_bias": {"cue_conflict"},
        "08_rsa": measured,
        "09_manifolds": measured | {"scanner_labels"},
        "10_summary": set(),
        "11_attacks_and_audit": images,
        "12_alpha": set(),
        "13_manifold_guidance": images,
        "14_brain_and_geometry": measured | images | {"nsd"},
        "15_study_explorer": set(),
        "16_haxby": measured | images | {"scanner_labels"},
        "17_natural_corruptions": images | {"corruptions"},
    }


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("trials = data.load_trials(source, names)", ["responses"]),
        ("images = data.load_test_images(source, n_images)", ["classification"]),
        ("for roi in rois:\n    f(source.need('corruptions'))", ["corruptions"]),
        ("if not run.finished:\n    if empty:\n        source.need('classification')", ["classification"]),
        ("if condition.kind == 'labels':\n    data.load_stimuli(source.stimuli, ids, 32)", []),
        ("if source.has('cue_conflict'):\n    source.need('cue_conflict')", []),
    ],
)
def test_only_what_is_asked_for_in_any_case_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, found: list[str]
) -> None:
    monkeypatch.setattr(folders, "NOTEBOOKS", tmp_path)
    cells = [{"cell_type": "markdown", "source": "load_trials"}, {"cell_type": "code", "source": code}]
    name = f"{abs(hash(code))}"
    (tmp_path / f"{name}.ipynb").write_text(json.dumps({"cells": cells}))
    assert list(needs_of(name)) == found


def test_it_looks_at_each_subject_that_is_taken_together(study: Study) -> None:
    both = replace(study, voxels=replace(study.voxels, subjects=(1, 2)))
    volumes = [states(part)["volumes"] for part in both.parts]
    assert volumes == [GOOD, MISSING]
