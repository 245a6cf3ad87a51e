"""Haxby 2001 in nilearn's layout: the categories planted in a tiny copy come out, and damage is named."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from nbtools.cli import main
from nbtools.data.brains.haxby import CATEGORIES, DELAY, SHEET, prepare_haxby
from nbtools.data.brains.measured import load_design, load_trials, region_volume
from nbtools.data.images.sets import load_folder
from nbtools.data.study import open_study
from nbtools.errors import InputError
from nbtools.models.networks import GuidedNet, build, save_model
from nbtools.runs import folders
from nbtools.runs.batch import run_notebook

SHAPE = (8, 9, 7)
AFFINE = np.diag([3.5, 3.75, 3.75, 1])
RUNS, BLOCK, REST = 4, 6, 4
MASKS = ("mask8b_face_vt", "mask8b_house_vt", "mask8_face_vt", "mask8_house_vt")


def write_haxby(folder: Path, subject: int = 2) -> np.ndarray:
    """Write a small subject; return the patterns planted in its voxels (8 categories, n_voxels of VT)."""
    rng = np.random.default_rng(subject)
    data = folder / "haxby2001"
    own = data / f"subj{subject}"
    own.mkdir(parents=True)
    (data / "MD5SUMS").write_text(f"{'0' * 32}  nothing.tar.gz\n")
    inside = np.ones(SHAPE, bool)
    masks = {"mask4_vt": rng.random(SHAPE) < 0.2, **{name: rng.random(SHAPE) < 0.08 for name in MASKS}}
    for name, mask in {**masks, "anat": inside}.items():
        nib.save(nib.Nifti1Image(mask.astype(np.int16), AFFINE), own / f"{name}.nii.gz")
    nib.save(nib.Nifti1Image(inside.astype(np.int16), AFFINE), data / "mask.nii.gz")
    labels = write_labels(own / "labels.txt", rng)
    patterns = rng.normal(size=(len(CATEGORIES), int(masks["mask4_vt"].sum())))
    bold = 1000 + 20 * rng.normal(size=(*SHAPE, len(labels)))
    bold += np.arange(len(labels)) * 0.3  # a drift
    names = list(CATEGORIES)
    for row, label in enumerate(labels["labels"].to_numpy()[:-DELAY]):
        if label != "rest":  # the response comes later than the picture
            bold[..., row + DELAY][masks["mask4_vt"]] += 30 * patterns[names.index(label)]
    nib.save(nib.Nifti1Image(bold.astype(np.int16), AFFINE), own / "bold.nii.gz")
    write_stimuli(data / "stimuli", rng)
    return patterns


def write_labels(file: Path, rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    for run in range(RUNS):
        for name in rng.permutation(list(CATEGORIES)):
            rows += [("rest", run)] * REST + [(name, run)] * BLOCK
        rows += [("rest", run)] * REST
    table = pd.DataFrame(rows, columns=["labels", "chunks"])
    table.to_csv(file, sep=" ", index=False)
    return table


def write_stimuli(folder: Path, rng: np.random.Generator) -> None:
    folder.mkdir()
    (folder / "README").touch()
    for shade, place in enumerate(CATEGORIES.values()):
        (folder / place).mkdir()
        for i in range(18):
            noise = rng.integers(0, 20, (40, 40), np.uint8) + 25 * shade
            Image.fromarray(noise.astype(np.uint8)).save(folder / place / f"{place}_{i:02d}.jpg")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    folder = tmp_path_factory.mktemp("haxby")
    patterns = write_haxby(folder)
    return prepare_haxby(folder, image_size=32), patterns


def test_planted_patterns_come_out(made: tuple[Path, np.ndarray]) -> None:
    file, patterns = made
    study = open_study(str(file))
    assert study.title == "haxby, subject 2"
    trials = load_trials(study, ["VT", "VT-face", "VT-house"], progress=False)
    vt = trials["VT"]
    assert vt.responses.shape == (RUNS * len(CATEGORIES) * BLOCK, patterns.shape[1])
    assert np.bincount(vt.sessions)[1:].tolist() == [len(CATEGORIES) * BLOCK] * RUNS
    measured = np.stack([vt.responses[vt.image_ids == category].mean(axis=0) for category in range(len(CATEGORIES))])
    planted = patterns - patterns.mean(axis=0)
    r = [np.corrcoef(*pair)[0, 1] for pair in zip(measured, planted, strict=True)]
    assert min(r) > 0.8, "labels were shifted by the haemodynamic delay"
    np.testing.assert_array_equal(load_design(study).shared_ids, np.arange(len(CATEGORIES)))


def test_the_doctor_knows_what_it_is_for(
    made: tuple[Path, np.ndarray], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))
    assert main(["doctor", str(made[0]), "--deep"]) == 0
    told = capsys.readouterr().out
    assert "VT, VT-face, VT-house" in told
    can_run = re.findall(r"^(\d\d_\w+) +yes", told, re.MULTILINE)
    assert "16_haxby" in can_run
    assert "02_neural_predictors" not in can_run


def test_regions_have_their_place(made: tuple[Path, np.ndarray]) -> None:
    study = open_study(str(made[0]))
    volume = region_volume(study, ["VT"])
    assert volume is not None
    mask = nib.load(made[0].parent / "haxby2001/subj2/mask4_vt.nii.gz")
    np.testing.assert_array_equal(volume.get_fdata() == 1, mask.get_fdata() == 1)
    np.testing.assert_array_equal(volume.affine, mask.affine)


def test_pictures_are_sorted_by_category(made: tuple[Path, np.ndarray]) -> None:
    study = open_study(str(made[0]))
    images = load_folder(study.need("classification") / "val", 32)
    assert set(images.classes) == set(CATEGORIES)
    assert len(images) == 18 * len(CATEGORIES)
    with h5py.File(study.stimuli) as store:
        sheets = store["imgBrick"][:]
    assert sheets.shape == (len(CATEGORIES), SHEET, SHEET, 3)
    np.testing.assert_allclose(sheets.mean(axis=(1, 2, 3)), 25 * np.arange(8) + 9.5, atol=2)
    labels = pd.read_parquet(study.need("scanner_labels"))
    assert labels.label.tolist() == list(CATEGORIES)


def labels_of_another_study(folder: Path) -> None:
    file = folder / "haxby2001/subj2/labels.txt"
    file.write_text(file.read_text().replace("face", "dog"))


def fewer_labels(folder: Path) -> None:
    file = folder / "haxby2001/subj2/labels.txt"
    file.write_text("\n".join(file.read_text().splitlines()[:-5]))


def truncated_bold(folder: Path) -> None:
    file = folder / "haxby2001/subj2/bold.nii.gz"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty_mask(folder: Path) -> None:
    file = folder / "haxby2001/subj2/mask4_vt.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros(SHAPE, np.int16), AFFINE), file)


def turned_mask(folder: Path) -> None:
    file = folder / "haxby2001/subj2/mask8b_face_vt.nii.gz"
    nib.save(nib.load(file).as_reoriented(np.array([[0, -1], [1, 1], [2, 1]])), file)


def no_cats(folder: Path) -> None:
    for file in (folder / "haxby2001/stimuli/cats").iterdir():
        file.unlink()


def html_for_a_picture(folder: Path) -> None:
    (folder / "haxby2001/stimuli/shoes/shoes_00.jpg").write_text("<html>")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (labels_of_another_study, "labels are not Haxby's"),
        (fewer_labels, "responses cannot be read|differ in number"),
        (truncated_bold, "responses cannot be read"),
        (empty_mask, "responses cannot be read"),
        (turned_mask, r"mask8b_face_vt\.nii\.gz lies elsewhere than bold\.nii\.gz"),
        (no_cats, "no pictures of cats"),
        (html_for_a_picture, r"image cannot be read\n.*shoes_00\.jpg"),
    ],
)
def test_damage_is_named(tmp_path: Path, damage: object, says: str) -> None:
    write_haxby(tmp_path)
    damage(tmp_path)  # type: ignore[operator]
    with pytest.raises(InputError, match=says):
        prepare_haxby(tmp_path, image_size=32)
    assert not (tmp_path / "study.toml").exists()


@pytest.mark.notebook
def test_the_notebook_compares_networks_with_the_brain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From files of nilearn's layout to the notebook's tables, with networks of another study."""
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))
    write_haxby(tmp_path / "data/raw/haxby")
    prepare_haxby(tmp_path / "data/raw/haxby", image_size=32)
    other = tmp_path / "data/derived/tiny/study.toml"
    other.parent.mkdir(parents=True)
    other.write_text('name = "tiny"\nsimulated = true\nnsd = "nsd"\nsubject = 1\nimage_size = 32\n')
    for roi in ("none", "TO"):
        run = folders.start(
            "03_guided_training", {**folders.defaults("03_guided_training"), "study": "tiny", "roi": roi}
        )
        save_model(build(GuidedNet, 0, "small_resnet", ["disk", "ring"], 0), run.folder)
        run.finish()
    assert run_notebook("01_brain_responses", {"study": "haxby", "rois": "VT VT-face"}) == 0
    settings = {"networks_of": "tiny", "n_points": "12", "n_samples": "20", "n_draws": "2", "n_boot": "20"}
    assert run_notebook("16_haxby", settings) == 0
    found = folders.find("16_haxby", "haxby")
    ceilings = found.table("noise_ceilings").set_index("region")
    assert ceilings.loc["VT", "lower"] > 0.3, "the planted geometry is the same in every run"
    assert set(found.table("similarities")["a"]) == {"none", "TO"}
    assert set(found.table("geometry")["condition"]) == {"VT", "VT-face", "VT-house"}
