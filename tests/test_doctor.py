"""The doctor: whatever is missing or damaged is said, nothing is raised, and what notebooks need is what they read."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from nbtools.cli import main
from nbtools.conditions import HIERARCHY
from nbtools.data.brains.anatomy import load_volume
from nbtools.data.brains.betas import read_betas
from nbtools.data.brains.measured import load_design, load_responses, load_trials
from nbtools.data.brains.nsd import roi_folder
from nbtools.data.brains.prepare_nsd import prepare_nsd
from nbtools.data.brains.responses import split_images
from nbtools.data.brains.sessions import Session, read_session, regions_of, write_session
from nbtools.data.images.classified import load_test_images, load_training_images
from nbtools.data.images.labels import label_stimuli, load_labels
from nbtools.data.images.packed import pack_file
from nbtools.data.images.sets import load_folder, load_stimuli
from nbtools.data.study import Study, as_toml, open_study, study_file
from nbtools.errors import FileInUse, InputError
from nbtools.metrics.decisions.sixteen import CATEGORIES
from nbtools.runs import folders
from nbtools.workflow.doctor import DAMAGED, GOOD, IN_USE, MISSING, findings
from nbtools.workflow.needs import SPLIT, TEST_SET, TRAIN, VAL, builds_on, needs_of
from nbtools.workflow.tables import ranges

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
    "no val": (remove("classification/val"), "classification/val", MISSING),
    "an empty class": (empty_class, "classification/val", DAMAGED),
    "another name for a class": (other_name, "classification/val", DAMAGED),
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


def test_a_study_is_named_in_the_same_ways_by_all_that_tell_of_it(
    study: Study, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its file in ``config/`` and that one's name; by its own name and its study.toml."""
    monkeypatch.chdir(folders.PROJECT)
    told = []
    for named in ("tiny", "config/tiny.yaml", str(study_file("tiny"))):
        assert main(["doctor", named]) == 0
        told.append(capsys.readouterr().out)
    assert told[0] == told[1] == told[2]
    for named in ("tiny", "config/tiny.yaml"):
        assert main(["preregister", named, "--rois", "V1 V4 TO", "--seeds", "0 1"]) == 0
    assert "fixed already" in capsys.readouterr().out
    for command in ("doctor", "plan", "preregister", "study"):
        assert main([command, "mine"]) == 1
        assert capsys.readouterr().err.startswith("error: there is no study 'mine'")


@pytest.mark.parametrize("regions", [["FFA", "OPA"], ["OPA"]])
def test_a_study_of_other_regions_is_good(study: Study, regions: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with study_file("tiny").open("a") as file:
        file.write(f"regions = {json.dumps(regions)}\n")
    folder = roi_folder(study.need("nsd"), study.subject)
    general = nib.load(folder / "nsdgeneral.nii.gz")
    labels = np.arange(general.shape[0])[:, None, None] % 4 * (general.get_fdata() > 0)  # as those of faces and places
    for name in ("floc-faces", "floc-places"):
        nib.save(nib.Nifti1Image(labels.astype(np.int16), general.affine), folder / f"{name}.nii.gz")
    assert main(["doctor", "tiny"]) == 0
    assert re.search(r"^regions +good +(FFA|OPA) \d+", capsys.readouterr().out, re.MULTILINE)


def test_images_are_counted_as_they_are_loaded(study: Study) -> None:
    images = load_folder(study.need("classification") / "val", 8)
    folder = first(study, "classification/val/ring")
    for part in ("more", ".ipynb_checkpoints"):
        shutil.copytree(folder, folder.parent / "bar" / part)
    told = {finding.part: finding.found for finding in findings(study, deep=True)}["classification/val"]
    n_images = len(images) + images.class_names.count("ring")
    assert told == f"10 classes, {n_images} images; 0 of them are, byte by byte, in train too"
    shutil.copy(next(folder.iterdir()), study.need("classification") / "train/ring/again.png")
    told = {finding.part: finding.found for finding in findings(study, deep=True)}["classification/val"]
    assert told.endswith("2 of them are, byte by byte, in train too"), "that one and its copy below val/bar"


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


@pytest.mark.parametrize(
    ("classes", "state", "told"),
    [
        (["n02690373", "n02504458", "n02708093", "n09835506"], GOOD, "3 of 16 categories are known: 6 ordered pairs"),
        (["n09835506", "n02391049"], MISSING, "ask nothing of the networks"),
        (CATEGORIES, GOOD, "16 of 16 categories are known: 240 ordered pairs, 240 images"),
    ],
)
def test_how_far_cue_conflict_images_reach_is_told(
    study: Study, classes: Sequence[str], state: str, told: str, tmp_path: Path
) -> None:
    """Geirhos's images beside the folders of a study's own classes: sound images may be of little or no use to it."""
    for shape, texture in product(CATEGORIES, CATEGORIES):
        file = tmp_path / f"conflict/{shape}/{shape}1-{texture}2.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    for name in classes:
        (tmp_path / "own/train" / name).mkdir(parents=True)
    other = replace(study, classification=tmp_path / "own", cue_conflict=tmp_path / "conflict")
    (found,) = (finding for finding in findings(other) if finding.part == "cue_conflict")
    assert found.state == state
    assert told in found.found


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
    assert ranges([1, 2, 3, 7, 9, 10]) == "1–3, 7, 9–10"


def test_what_a_notebook_needs_is_what_its_code_asks_for() -> None:
    """Nothing that one control alone takes (stimuli of 03), or that is shown where it is there (cue_conflict of 00)."""
    measured = {"responses", "design", "stimuli", TEST_SET}
    assert {file.stem: set(needs_of(file.stem)) for file in folders.NOTEBOOKS.glob("[0-9]*.ipynb")} == {
        "00_start_here": {"design", "stimuli", TEST_SET, VAL},
        "01_brain_responses": {"responses", "stimuli"},
        "02_neural_predictors": measured | {SPLIT},
        "03_guided_training": {TRAIN},
        "04_adversarial_attacks": {VAL},
        "05_attack_explorer": {VAL},
        "06_smoothness_and_transfer": {VAL},
        "07_shape_bias": {"cue_conflict"},
        "08_rsa": measured,
        "09_manifolds": measured | {SPLIT, "scanner_labels"},
        "10_summary": set(),
        "11_attacks_and_audit": {VAL},
        "12_alpha": set(),
        "13_manifold_guidance": {TRAIN, VAL},
        "14_brain_and_geometry": measured | {VAL, "nsd"},
        "15_study_explorer": set(),
        "16_haxby": {"responses", "stimuli", VAL, "scanner_labels"},
        "17_natural_corruptions": {VAL, "corruptions"},
        "18_compare_networks": measured | {VAL},
        "19_training_and_certificates": {VAL},
        "20_frequency": {VAL},
        "22_other_images": {VAL},
        "21_mechanism": {VAL},
    }


def test_what_a_notebook_builds_on_is_what_it_looks_for() -> None:
    networks, attacks, predictors = "03_guided_training", "04_adversarial_attacks", "02_neural_predictors"
    built = {file.stem: set(builds_on(file.stem)) for file in folders.NOTEBOOKS.glob("[0-9]*.ipynb")}
    assert {name: found for name, found in built.items() if found != {networks}} == {
        **{name: set() for name in ("00_start_here", "01_brain_responses", predictors, networks)},
        "08_rsa": {networks, predictors},
        "09_manifolds": {networks, predictors, attacks},
        "10_summary": {attacks},
        "12_alpha": {networks, attacks},
        "13_manifold_guidance": {networks, predictors},
        "14_brain_and_geometry": {networks, predictors, "01_brain_responses"},
        "19_training_and_certificates": {networks, attacks},
        "16_haxby": set(),  # its networks are of another study
    }


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("trials = data.load_trials(source, names)", ["responses"]),
        ("images = data.load_test_images(source, n_images)", [VAL]),
        ("images = data.load_folder(source.need('classification') / 'val', 32)", [VAL]),
        ("f(source.need('classification'))\ng(source.need('classification') / 'val')", [VAL]),
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
    sources = {"markdown": "load_trials", "code": code}
    cells = [{"cell_type": kind, "metadata": {}, "source": source} for kind, source in sources.items()]
    name = f"{abs(hash(code))}"
    (tmp_path / f"{name}.ipynb").write_text(json.dumps({"cells": cells}))
    assert list(needs_of(name)) == found


def test_it_looks_at_each_subject_that_is_taken_together(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the second there is nothing: the first one's good state does not stand for both."""
    with study_file("tiny").open("a") as file:
        file.write("[voxels]\nsubjects = [2, 1]\n")
    both = open_study("tiny")
    volumes = {f.subject: f.state for f in findings(both) if f.part == "volumes"}
    assert volumes == {2: MISSING, 1: GOOD}
    assert [f.part for f in findings(both)].count("stimuli") == 1
    main(["doctor", "tiny"])
    told = capsys.readouterr().out
    assert re.search(r"^volumes of 2 +missing ", told, re.MULTILINE)
    assert re.search(r"^02_neural_predictors +no: .*responses", told, re.MULTILINE)


# --- is it true? ----------------------------------------------------------------------------------------------


def own_study(
    folder: Path, *, n_shared: int = 6, repeats: int = 3, rois: str = "V1 TO", images: str = "train val"
) -> None:
    """Write a study of one's own: 30 scanner images, of two classes as the images to classify are, in two sessions."""
    rng, n = np.random.default_rng(0), 30
    for number in (1, 2):
        ids = rng.permutation(np.tile(np.arange(n), repeats)[number - 1 :: 2])
        session = Session(
            image_ids=ids,
            shared=ids < n_shared,
            repeats=np.zeros(len(ids), np.int64),
            responses={roi: rng.normal(size=(len(ids), 4)) for roi in rois.split()},
            voxels={roi: np.full((4, 3), -1) for roi in rois.split()},
        )
        write_session(folder / f"responses/session{number:02d}.hdf5", session)
    with h5py.File(folder / "stimuli.hdf5", "w") as store:
        store["imgBrick"] = rng.integers(255, size=(n, 8, 8, 3), dtype=np.uint8)
    labels = {"image_id": range(n), "label": ["disk", "cross"] * (n // 2)}
    pd.DataFrame(labels).to_parquet(folder / "labels.parquet")
    for part in images.split():
        for name in ("disk", "cross"):
            (folder / "images" / part / name).mkdir(parents=True)
            Image.fromarray(rng.integers(255, size=(8, 8, 3), dtype=np.uint8)).save(
                folder / f"images/{part}/{name}/0.png"
            )
    entries = {"responses": "responses", "stimuli": "stimuli.hdf5", "scanner_labels": "labels.parquet", "image_size": 8}
    named = {"classification": "images"} if images else {}
    (folder / "study.toml").write_text(as_toml({"name": folder.name, "simulated": False, **entries, **named}))


OWN: dict[str, dict[str, object]] = {
    "whole": {},
    "shown once": {"repeats": 1},
    "one region": {"rois": "V1"},
    "no images to classify": {"images": ""},
    "images to test with alone": {"images": "val"},
    "all images in the test set": {"n_shared": 30},
    "all, and to test with alone, as Haxby's": {"n_shared": 30, "images": "val"},
    "no test set": {"n_shared": 0},
}


def scanned(study: Study) -> None:
    trials = load_trials(study, _rois(study)[:1], progress=False)
    load_stimuli(study.stimuli, np.unique(next(iter(trials.values())).image_ids)[:6], 8)


def _rois(study: Study) -> list[str]:
    return list(HIERARCHY if study.nsd else regions_of(study.responses / "session01.hdf5"))


def predicted(study: Study) -> None:
    responses = load_responses(study, _rois(study)[0])
    split_images(responses)
    load_stimuli(study.stimuli, responses.image_ids, 8)


def attacked(study: Study) -> None:
    load_training_images(study)
    load_test_images(study, 2)


def both(study: Study) -> None:
    predicted(study)
    load_training_images(study)


def labelled(study: Study) -> None:
    both(study)
    label_stimuli(load_stimuli(study.stimuli, np.arange(2), 8), study.scanner_labels, load_test_images(study).classes)


def of_categories(study: Study) -> None:
    scanned(study)
    load_stimuli(study.stimuli, load_labels(study).index.to_numpy(), 8)
    load_folder(study.need("classification") / "val", 8)


# What a notebook, and those it builds on, read of a study.
READS: dict[str, Callable[[Study], object]] = {
    "00_start_here": lambda study: (
        load_stimuli(study.stimuli, load_design(study).shared_ids[:12], 8),
        load_test_images(study, 2),
    ),
    "01_brain_responses": scanned,
    "02_neural_predictors": predicted,
    "03_guided_training": load_training_images,
    "04_adversarial_attacks": attacked,
    "07_shape_bias": lambda study: (attacked(study), load_folder(study.need("cue_conflict"), 8)),
    "08_rsa": both,
    "09_manifolds": labelled,
    "10_summary": attacked,
    "12_alpha": attacked,
    "13_manifold_guidance": lambda study: (both(study), attacked(study)),
    "14_brain_and_geometry": lambda study: (both(study), load_volume(study.need("nsd"), study.subject, _rois(study))),
    "15_study_explorer": load_training_images,
    "16_haxby": of_categories,
    "17_natural_corruptions": lambda study: (attacked(study), study.need("corruptions")),
    "19_training_and_certificates": attacked,
    "20_frequency": attacked,
    "18_compare_networks": lambda study: (
        attacked(study),
        scanned(study),
        load_stimuli(study.stimuli, load_design(study).shared_ids[:12], 8),
    ),
    "22_other_images": attacked,
    "21_mechanism": attacked,
}


def said(name: str, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    main(["doctor", name])
    lines = re.findall(r"^(\d\d_\w+) +(yes|no: .*?) +\d+$", capsys.readouterr().out, re.MULTILINE)
    return dict(lines)


def is_true(study: Study, answers: dict[str, str]) -> None:
    truth = {}
    for notebook, read in READS.items():
        try:
            read(study)
            truth[notebook] = "yes"
        except InputError:
            truth[notebook] = "no"
    assert {notebook: answers[notebook].partition(":")[0] for notebook in READS} == truth


@pytest.mark.parametrize("kind", OWN)
def test_what_it_says_can_run_can_be_read_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))
    own_study(tmp_path / "data/derived/mine", **OWN[kind])  # type: ignore[arg-type]
    answers = said("mine", capsys)
    assert set(answers) == {file.stem for file in folders.NOTEBOOKS.glob("[0-9]*.ipynb")}
    is_true(open_study("mine"), answers)


def test_regions_that_sessions_lack_are_told(tmp_path: Path) -> None:
    own_study(tmp_path)
    file = tmp_path / "study.toml"
    file.write_text(file.read_text() + as_toml({"regions": ["V1", "V9"]}))
    found = {part.part: part for part in findings(open_study(file))}
    assert found["prepared"].state == DAMAGED
    assert "session01.hdf5 lacks a region that the study names" in found["prepared"].found


@pytest.mark.parametrize("part", ["nsd/nsddata/ppdata", "scanner_labels.parquet"])
def test_what_it_says_of_nsd_is_true_too(study: Study, part: str, capsys: pytest.CaptureFixture[str]) -> None:
    prepare_nsd(study, ["V1"], progress=False)
    remove(part)(study)
    is_true(study, said("tiny", capsys))


def test_what_builds_on_finished_runs_needs_no_more_than_these(
    study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    """Networks that were trained elsewhere are attacked without the images they were trained on."""
    shutil.rmtree(study.need("classification") / "train")
    assert said("tiny", capsys)["04_adversarial_attacks"] == "no: classification/train"
    name = "03_guided_training"
    parameters = {**folders.defaults(name), "study": "tiny"}
    record = {"notebook": name, "parameters": parameters, "inputs": {}, "seconds": 1.0, "finished": "2026-11-28"}
    run = folders.run_folder(name, {"study": "tiny"})
    run.mkdir(parents=True)
    (run / folders.RECORD).write_text(json.dumps(record))
    assert said("tiny", capsys)["04_adversarial_attacks"] == "yes"


# --- damage of any kind ---------------------------------------------------------------------------------------

XML = b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'


def within(raw: bytes, rng: np.random.Generator) -> bytes:
    """Flip bits in the header of what a gzip file holds; the gzip itself is sound."""
    inner = bytearray(gzip.decompress(raw))
    for place in rng.integers(348, size=3):
        inner[place] ^= 1 << rng.integers(8)
    return gzip.compress(bytes(inner), 1)


ANYTHING: dict[str, Callable[[bytes, np.random.Generator], bytes]] = {
    "nothing": lambda raw, rng: b"",
    "access denied": lambda raw, rng: XML,
    "access denied, in gzip": lambda raw, rng: gzip.compress(XML),
    "a half": lambda raw, rng: raw[: len(raw) // 2],
    "a flipped bit": lambda raw, rng: flipped(raw, rng.integers(min(len(raw), 400))),
    "another": lambda raw, rng: flipped(raw, rng.integers(len(raw))),
}


def flipped(raw: bytes, place: int) -> bytes:
    return raw[:place] + bytes([raw[place] ^ 16]) + raw[place + 1 :]


@pytest.mark.parametrize("deep", [[], ["--deep"]], ids=["quick", "deep"])
def test_whatever_is_damaged_what_to_do_next_is_said(
    study: Study, deep: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Every file of a study in turn: each table is whole, and the end is reached."""
    rng = np.random.default_rng(3)
    run = folders.run_folder("01_brain_responses", {"study": "tiny"})
    run.mkdir(parents=True)
    (run / "run.json").write_text("{")
    shutil.rmtree(study.need("nsd").parent / "truth")
    endings = {".gz", ".hdf5", ".mat", ".parquet"}
    files = [file for file in sorted(study.need("nsd").parent.rglob("*")) if file.suffix in endings]
    assert len(files) == 8
    for file in [files[1], files[-2]] if deep else [*files, first(study, "*.png")]:
        raw, large = file.read_bytes(), file.stat().st_size > 10**6
        headers = {} if file.suffix != ".gz" or large else {f"header {n}": within for n in range(4)}
        for name, change in list({**ANYTHING, **headers}.items())[: 4 if large or deep else None]:
            file.write_bytes(change(raw, rng))
            assert main(["doctor", "tiny", *deep]) == 1, "the run is damaged at least"
            told = capsys.readouterr()
            assert re.search(r"^17_natural_corruptions +(yes|no: )", told.out, re.MULTILINE), (file, name)
            assert "to do next:" in told.out, (file, name)
            assert not told.err.startswith("Traceback"), (file, name)
        file.write_bytes(raw)


def test_a_session_twice_is_no_end_of_it(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    file = study_file("tiny")
    file.write_text(file.read_text().replace("simulated = true", "simulated = false"))
    volume = first(study, "betas_session01.nii.gz")
    shutil.copy(volume, volume.with_name("betas_session1.nii.gz"))
    assert main(["doctor", "tiny"]) == 1
    assert "mend what is damaged" in capsys.readouterr().out


def in_members(raw: bytes) -> bytes:
    inner = gzip.decompress(raw)
    return b"".join(gzip.compress(inner[start : start + 2**24], 1) for start in range(0, len(inner), 2**24))


def big_endian(raw: bytes) -> bytes:
    volume = nib.Nifti1Image.from_bytes(gzip.decompress(raw))
    header = volume.header.as_byteswapped(">")
    header["vox_offset"] = 352
    values = np.asarray(volume.dataobj).astype(">i2").tobytes(order="F")
    return gzip.compress(header.binaryblock + bytes(4) + values, 1)


SOUND: dict[str, Callable[[bytes], bytes]] = {
    "several members": in_members,
    "an empty member": lambda raw: raw + gzip.compress(b""),
    "zeros at the end": lambda raw: raw + bytes(512),
    "big-endian": big_endian,
}


@pytest.mark.parametrize("case", SOUND)
def test_a_sound_volume_is_good_however_it_is_written(study: Study, case: str) -> None:
    before = load_trials(study, ["V1"], progress=False)["V1"].responses
    volume = first(study, "betas_session01.nii.gz")
    volume.write_bytes(SOUND[case](volume.read_bytes()))
    assert states(study)["volumes"] == GOOD
    np.testing.assert_array_equal(load_trials(study, ["V1"], progress=False)["V1"].responses, before)


@pytest.mark.parametrize("kind", ["pack", "image"])
def test_images_are_read_again_one_by_one(study: Study, kind: str) -> None:
    folder = study.need("classification") / "val"
    if kind == "pack":
        load_folder(folder, study.image_size, memory_limit=0)
        pack = pack_file(folder, study.image_size)
        pack.write_bytes(flipped(pack.read_bytes(), 7))
    else:
        image = first(study, "classification/val/*/*.png")
        image.write_bytes(image.read_bytes()[:-30])
    assert states(study)["classification/val"] == GOOD, "there are as many"
    assert states(study, deep=True)["classification/val"] == DAMAGED


# --- a file in use --------------------------------------------------------------------------------------------


@pytest.fixture
def held(study: Study) -> Iterator[Callable[[Path], None]]:
    """Lets another process open an HDF5 file to write, as HDF5 locks it, until the test ends."""
    started: list[subprocess.Popen[str]] = []

    def hold(file: Path) -> None:
        code = "import h5py, sys; store = h5py.File(sys.argv[1], 'r+'); print('open', flush=True); sys.stdin.read()"
        command = [sys.executable, "-c", code, str(file)]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout
        assert started[-1].stdout.readline() == "open\n"

    yield hold
    for process in started:
        process.communicate("")


def test_a_file_that_is_open_elsewhere_is_in_use_at_every_door(study: Study, held: Callable[[Path], None]) -> None:
    prepare_nsd(study, ["V1", "TO"], progress=False)
    betas, session = first(study, "betas_session03.hdf5"), first(study, "responses/*/session01.hdf5")
    for file in (study.stimuli, betas, session):
        held(file)
    doors: dict[str, Callable[[], object]] = {
        "stimuli": lambda: load_stimuli(study.stimuli, np.arange(3), 32),
        "betas": lambda: read_betas(betas, np.zeros((1, 3), int), (28, 34, 26)),
        "session": lambda: read_session(session),
        "regions": lambda: regions_of(session),
        "trials": lambda: load_trials(study, ["V1"], progress=False),
    }
    for door in doors.values():
        with pytest.raises(FileInUse, match=r"(?s)not damaged.*close it there"):
            door()
    found = {f.part: f.state for f in findings(study)}
    assert {found[part] for part in ("stimuli", "volumes", "prepared")} == {IN_USE}
    told = " ".join(f.found for f in findings(study) if f.state == IN_USE)
    assert "fetch" not in told
    assert main(["doctor", "tiny"]) == 0, "nothing is damaged"


def test_a_file_in_use_is_one_in_another_process_too() -> None:
    error = FileInUse("in use", expected="a", got="b", fix="c")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is FileInUse
    assert str(again) == str(error)
