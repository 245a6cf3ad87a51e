from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import get_args

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import scipy.io
from PIL import Image
from safetensors.numpy import load_file
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import cross_val_score

from nbtools.conditions import HIERARCHY, ROI_LABELS
from nbtools.data.brains.measured import load_design, load_trials
from nbtools.data.brains.responses import average_repeats
from nbtools.data.images.corruptions import corruptions, load_corruption
from nbtools.data.images.sets import load_folder, to_float
from nbtools.data.names import Truth, usual_name
from nbtools.data.study import open_study
from nbtools.data.synthetic import check_made, make_study
from nbtools.data.synthetic.anatomy import build_anatomy
from nbtools.data.synthetic.corruptions import STRENGTHS
from nbtools.data.synthetic.recipe import CEILING_SD, DEAD, VOXELS, Settings, regions
from nbtools.data.synthetic.scenes import CLASSES, balanced, draw_latents, render, silhouettes
from nbtools.data.synthetic.subject import RegionTruth, noise_sd
from nbtools.data.synthetic.verdicts import QUESTIONS, expected_verdicts, verdicts_in
from nbtools.data.synthetic.world import World
from nbtools.errors import InputError
from nbtools.workflow.config import is_simulated
from nbtools.workflow.graph import make_graph

SCENES = ("classification", "cue_conflict", "corruptions", "nsd/nsddata_stimuli")

FUNC = "ppdata/subj01/func1pt8mm"
SESSIONS, IMAGES, SHARED = 3, 750, 100


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def session_file(folder: Path, session: int) -> Path:
    betas = folder / "nsd/nsddata_betas" / FUNC / "betas_fithrf_GLMdenoise_RR"
    (file,) = betas.glob(f"betas_session{session:02d}.*")
    return file


def volumes(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    roi = folder / "nsd/nsddata" / FUNC / "roi"
    return tuple(np.asarray(nib.load(roi / f"{n}.nii.gz").dataobj) for n in ("Kastner2015", "nsdgeneral"))


def truth(folder: Path, roi: str) -> dict[str, np.ndarray]:
    return load_file(folder / "truth" / f"{roi}.safetensors")


def shown(folder: Path, session: int) -> np.ndarray:
    """Row of imgBrick that each trial of a session showed."""
    design = scipy.io.loadmat(folder / "nsd/nsddata/experiments/nsd/nsd_expdesign.mat")
    trials = design["masterordering"][0, (session - 1) * 750 : session * 750].astype(int)
    return design["subjectim"][0, trials - 1] - 1


@pytest.fixture(scope="module")
def folder(tiny_study: Path) -> Path:
    return tiny_study.parent


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_and_an_interrupted_study_is_finished(folder: Path, tmp_path: Path):
    before = digests(folder)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    lost = [
        "study.toml",
        "truth/V4.safetensors",
        "truth/scanner.parquet",
        "scanner_labels.parquet",
        "nsd/nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5",
        next(name for name in before if name.startswith("classification/train/star")),
        next(name for name in before if name.startswith("cue_conflict/heart")),
        str(session_file(folder, 2).relative_to(folder)),
        str(session_file(folder, 3).relative_to(folder)),
    ]
    for name in lost:
        (copy / name).unlink()
    (session_file(copy, 1).parent / ".tmp-betas_session02.nii.gz").write_bytes(b"half")
    make_study(copy, profile="tiny", progress=False)
    assert digests(copy) == before
    assert digests(make_study(tmp_path / "anew", profile="tiny", progress=False).parent) == before


def test_finished_files_are_left_alone(folder: Path):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    make_study(folder, profile="tiny", progress=False)
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize("key", ["truth", "world_seed", "profile", "subject"])
def test_a_study_takes_no_world_that_was_made_otherwise(
    key: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))
    (tmp_path / "data/derived").mkdir(parents=True)
    (tmp_path / "data/derived/tiny").symlink_to(folder)
    same = {"truth": "beyond", "world_seed": 0, "profile": "tiny", "subject": 1}
    make_graph({"study": "tiny", **same})
    with pytest.raises(InputError, match="made otherwise"):
        make_graph({"study": "tiny", **same, key: {"truth": "null", "profile": "demo"}.get(key, 2)})


def test_a_world_of_an_older_version_is_to_be_made_anew(folder: Path, tmp_path: Path) -> None:
    made = json.loads((folder / "settings.json").read_text())
    (tmp_path / "settings.json").write_text(json.dumps({**made, "recipe": made["recipe"] - 1}))
    text = (folder / "study.toml").read_text()
    (tmp_path / "study.toml").write_text(text)
    with pytest.raises(InputError, match="delete its folder"):
        check_made(open_study(tmp_path / "study.toml"))
    (tmp_path / "study.toml").write_text(f"{text}category_labels = false\n")
    with pytest.raises(InputError, match="delete its folder and make it anew"):
        open_study(tmp_path / "study.toml")


@pytest.mark.parametrize("other", [{"seed": 1}, {"truth": "null"}, {"image_size": 48}, {"profile": "demo"}])
def test_a_folder_made_with_other_settings_is_refused(folder: Path, other: dict):
    with pytest.raises(InputError, match="other settings"):
        make_study(folder, progress=False, **{"profile": "tiny", "name": "tiny", **other})


def test_a_study_from_elsewhere_is_not_written_over(tmp_path: Path):
    (tmp_path / "study.toml").write_text("name = 'real'\n")
    with pytest.raises(InputError, match="not made here"):
        make_study(tmp_path, profile="tiny", progress=False)
    assert (tmp_path / "study.toml").read_text() == "name = 'real'\n"


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"image_size": 8}, {"profile": "huge"}])
def test_bad_arguments_write_nothing(tmp_path: Path, wrong: dict):
    with pytest.raises(InputError):
        make_study(tmp_path / "study", progress=False, **wrong)
    assert not (tmp_path / "study").exists()


def test_it_opens_as_a_study_and_says_simulated_everywhere(folder: Path):
    study = open_study(str(folder / "study.toml"))
    assert (study.name, study.simulated, study.subject, study.image_size) == ("tiny", True, 1, 32)
    assert "SIMULATED" in tomllib.loads((folder / "study.toml").read_text())["note"]
    assert "SIMULATED" in (folder / "README.txt").read_text()
    assert b"SIMULATED" in nib.load(session_file(folder, 1)).header["descrip"].item()
    assert b"SIMULATED" in (folder / "nsd/nsddata/experiments/nsd/nsd_expdesign.mat").read_bytes()[:116]
    with h5py.File(session_file(folder, 3)) as file:
        assert "SIMULATED" in file.attrs["note"]


def test_no_time_is_recorded(folder: Path):
    packed = session_file(folder, 1).read_bytes()
    assert packed[:2] == b"\x1f\x8b"
    assert packed[4:8] == bytes(4)  # gzip's mtime
    assert len(gzip.decompress(packed)) > 2**24
    assert json.loads((folder / "settings.json").read_text())["seed"] == 0


def test_layout_and_types(folder: Path):
    first, last = nib.load(session_file(folder, 1)), session_file(folder, SESSIONS)
    assert first.shape == (28, 34, 26, 750)
    assert first.get_data_dtype() == np.int16
    assert first.header.get_zooms()[:3] == pytest.approx((1.8, 1.8, 1.8))
    assert last.suffix == ".hdf5"
    with h5py.File(last) as file:
        assert file["betas"].shape == (750, 26, 34, 28)
        assert file["betas"].dtype == np.int16
    with h5py.File(folder / "nsd/nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5") as file:
        assert file["imgBrick"].shape == (IMAGES, 32, 32, 3)
        assert file["imgBrick"].dtype == np.uint8
    assert len(list((folder / "classification/train").glob("*/*.png"))) == 500
    assert len(list((folder / "classification/val").glob("*/*.png"))) == 100
    picture = Image.open(folder / "classification/val/ring/ring-0000.png")
    assert (picture.size, picture.mode) == ((32, 32), "RGB")
    assert not list(folder.rglob(".tmp-*"))


def test_design_repeats_every_image_and_needs_a_join_by_id(folder: Path):
    design = scipy.io.loadmat(folder / "nsd/nsddata/experiments/nsd/nsd_expdesign.mat")
    order, stimuli, shared = design["masterordering"], design["subjectim"], design["sharedix"]
    assert order.shape == (1, 2250)
    assert np.array_equal(np.unique(order, return_counts=True), [np.arange(1, IMAGES + 1), np.full(IMAGES, 3)])
    assert stimuli.shape == (8, IMAGES)
    assert shared.shape == (1, SHARED)
    assert (stimuli[:, :SHARED] == shared).all()
    assert (np.sort(stimuli, axis=1) == np.arange(1, IMAGES + 1)).all()
    assert (stimuli[0] == np.arange(1, IMAGES + 1)).mean() < 0.05
    assert len({row.tobytes() for row in stimuli}) == 8


@pytest.mark.parametrize("roi", HIERARCHY)
def test_regions_have_their_voxels_within_nsdgeneral(folder: Path, roi: str):
    kastner, visual = volumes(folder)
    labelled = np.isin(kastner, ROI_LABELS[roi])
    mask, planted = labelled & (visual == 1), truth(folder, roi)
    assert mask.sum() == VOXELS + DEAD.get(roi, 0)
    assert (labelled & (visual != 1)).sum() > 0
    both = np.concatenate([planted["ijk"], planted["dead_ijk"]])
    assert np.array_equal(np.unique(both, axis=0), np.argwhere(mask))
    assert np.array_equal(planted["ijk"], np.unique(planted["ijk"], axis=0))  # in the order of np.argwhere


def test_label_volumes_hold_nothing_else(folder: Path):
    kastner, visual = volumes(folder)
    planted = {label for roi in HIERARCHY for label in ROI_LABELS[roi]}
    assert set(np.unique(kastner)) == {-1, 0} | planted
    assert set(np.unique(visual)) == {-1, 0, 1}


@pytest.mark.parametrize("seed", range(5))
def test_the_regions_fit_for_any_seed(seed: int):
    anatomy = build_anatomy(Settings("any", seed, "tiny", "beyond", 32))
    assert {roi: len(voxels) for roi, voxels in anatomy.live.items()} == dict.fromkeys(HIERARCHY, VOXELS)


@pytest.mark.parametrize("session", [1, SESSIONS])
def test_both_file_formats_hold_the_planted_signal_where_it_was_planted(folder: Path, session: int):
    file = session_file(folder, session)
    if file.suffix == ".hdf5":
        with h5py.File(file) as opened:
            betas = opened["betas"][:].T  # trials × z × y × x → x × y × z × trials
    else:
        betas = np.asarray(nib.load(file).dataobj)
    planted = truth(folder, "TO")
    measured = betas[tuple(planted["ijk"].T)].T / 300
    signal = planted["signal"][shown(folder, session)]
    r = [np.corrcoef(m, s)[0, 1] for m, s in zip(measured.T, signal.T, strict=True)]
    # One trial's share of signal variance, from the ceiling: 1 / (1 + noise variance).
    expected = np.sqrt(1 / (1 + noise_sd(planted["noise_ceiling"]) ** 2))
    assert np.corrcoef(r, expected)[0, 1] > 0.95
    assert np.mean(r) == pytest.approx(expected.mean(), abs=0.02)
    assert (betas[tuple(planted["dead_ijk"].T)] == 0).all()
    assert (measured.std(axis=0) > 0.5).all()


def test_betas_do_not_clip_and_are_zero_outside_visual_cortex(folder: Path):
    betas = np.asarray(nib.load(session_file(folder, 1)).dataobj)
    kastner, visual = volumes(folder)
    assert np.abs(betas.astype(int)).max() < 10_000
    assert (betas[(visual != 1) & (kastner <= 0)] == 0).all()
    assert betas[(visual == 1) & (kastner == 0)].std(axis=1).min() > 100  # noise between the regions


def test_sessions_differ_in_mean_and_scale(folder: Path):
    ijk = tuple(truth(folder, "LO")["ijk"].T)
    first, second = (np.asarray(nib.load(session_file(folder, s)).dataobj)[ijk] for s in (1, 2))
    assert np.abs(first.mean(axis=1) - second.mean(axis=1)).mean() > 10
    ratio = first.std(axis=1) / second.std(axis=1)
    assert np.abs(np.median(ratio) - 1) > 3 * ratio.std() / np.sqrt(len(ratio))


@pytest.mark.parametrize("roi", HIERARCHY)
def test_the_signal_is_the_planted_mixture_of_features(folder: Path, roi: str):
    planted, features = truth(folder, roi), load_file(folder / "truth/features.safetensors")
    tuning = {name.removeprefix("tuning."): w for name, w in planted.items() if name.startswith("tuning.")}
    signal = sum(features[block] @ weights for block, weights in tuning.items())
    np.testing.assert_allclose(planted["signal"], signal, atol=1e-5)
    np.testing.assert_allclose(signal.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(signal.var(axis=0), 1, rtol=1e-9)
    shares = {block: (features[block] @ weights).var(axis=0).mean() for block, weights in tuning.items()}
    # Blocks overlap in content, so that their variances add up to one only roughly.
    assert shares == pytest.approx(regions("beyond")[roi].weights, abs=0.12)


def test_ceilings_follow_from_signal_and_noise_and_have_the_published_spread(folder: Path):
    rng = np.random.default_rng(0)
    for roi, region in regions("beyond").items():
        planted = truth(folder, roi)
        ceiling, sd = planted["noise_ceiling"], noise_sd(planted["noise_ceiling"])
        noise = rng.standard_normal((3, *planted["signal"].shape)) * sd
        average = planted["signal"] + noise.mean(axis=0)
        explained = [np.corrcoef(a, s)[0, 1] ** 2 for a, s in zip(average.T, planted["signal"].T, strict=True)]
        assert np.abs(explained - ceiling).max() < 0.15
        assert np.mean(explained) == pytest.approx(ceiling.mean(), abs=0.01)
        assert ceiling.mean() == pytest.approx(region.ceiling, abs=4 * CEILING_SD / np.sqrt(VOXELS))
        assert ceiling.std() == pytest.approx(CEILING_SD, abs=0.04)
        assert 0.03 <= ceiling.min() <= ceiling.max() <= 0.85


def test_corruptions_grow_with_severity(folder: Path):
    """In ImageNet-C's layout, images of the classification set; brightness and contrast have the strength planted."""
    table = corruptions(folder / "corruptions")
    assert table.groupby("corruption")["severity"].apply(list).to_dict() == {
        kind: [1, 2, 3, 4, 5] for kind in STRENGTHS
    }
    clean = load_folder(folder / "classification/val", 32)
    for kind, strengths in STRENGTHS.items():
        changes = []
        for severity in range(1, 6):
            images = load_corruption(folder / "corruptions", kind, severity, 32, clean.classes)
            same = to_float(clean[clean.rows(images.ids)].pixels)
            changes.append(float((to_float(images.pixels) - same).square().mean()))
        assert len(images) == 20
        assert changes == sorted(changes)
        if kind == "brightness":
            assert changes[0] == pytest.approx(strengths[0] ** 2, rel=0.1)
        if kind == "gaussian_noise":
            assert changes[1] == pytest.approx(strengths[1] ** 2, rel=0.1)


def test_texture_follows_shape_in_classification_only(folder: Path):
    classes = pd.read_parquet(folder / "truth/classification.parquet")
    assert (classes["shape"] == classes["texture"]).all()
    scanner = pd.read_parquet(folder / "truth/scanner.parquet")
    table = pd.crosstab(scanner["shape"], scanner["texture"]).to_numpy()
    assert scipy.stats.chi2_contingency(table).pvalue > 0.001
    assert table.sum(axis=0).tolist() == table.sum(axis=1).tolist() == [IMAGES // 10] * 10
    assert np.array_equal(scanner["image_id"], np.arange(IMAGES))
    assert scanner["shared"].sum() == SHARED


def test_cue_conflict_never_has_the_texture_of_its_shape(folder: Path):
    files = sorted((folder / "cue_conflict").glob("*/*.png"))
    named = [(path.parent.name, *path.stem.split("-")) for path in files]
    assert len(files) == 100
    assert all(parent == shape != texture for parent, shape, texture, _ in named)
    assert {texture for _, _, texture, _ in named} == set(CLASSES)
    latents = pd.read_parquet(folder / "truth/cue_conflict.parquet")
    assert (latents["shape"] != latents["texture"]).all()
    assert set(latents["file"]) == {str(path.relative_to(folder / "cue_conflict")) for path in files}
    assert (latents["file"].str.split("/").str[0] == latents["shape"].map(dict(enumerate(CLASSES)))).all()


@pytest.mark.slow
def test_another_subject_has_other_voxels_and_sees_the_same_scenes(folder: Path, tmp_path: Path):
    other = make_study(tmp_path / "second", profile="tiny", subject=2, progress=False).parent
    study = open_study(str(other / "study.toml"))
    assert study.subject == 2
    first, second = digests(folder), digests(other)
    scenes = [
        name
        for name in first
        if name.startswith(("classification", "cue_conflict", "corruptions", "nsd/nsddata_stimuli"))
    ]
    assert {name: second[name] for name in scenes} == {name: first[name] for name in scenes}
    assert (truth(folder, "TO")["signal"] != truth(other, "TO")["signal"]).all()
    assert (truth(folder, "TO")["noise_ceiling"] != truth(other, "TO")["noise_ceiling"]).all()
    averaged = average_repeats(load_trials(study, ["TO"], progress=False)["TO"], load_design(study).shared_ids)
    column = {tuple(ijk): i for i, ijk in enumerate(truth(other, "TO")["ijk"])}
    signal = truth(other, "TO")["signal"][averaged.image_ids][:, [column[tuple(ijk)] for ijk in averaged.voxels]]
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(averaged.responses.T, signal.T, strict=True)]
    assert np.median(r) > 0.5, "the betas are of this subject's signal, joined by this subject's images"


def test_scanner_labels_name_the_shape_of_each_image(folder: Path):
    labels = pd.read_parquet(folder / "scanner_labels.parquet")
    scanner = pd.read_parquet(folder / "truth/scanner.parquet")
    assert list(labels["image_id"]) == list(scanner["image_id"])
    assert [CLASSES.index(name) for name in labels["label"]] == list(scanner["shape"])


@pytest.mark.parametrize("subject", [0, 9])
def test_there_are_eight_subjects(tmp_path: Path, subject: int):
    with pytest.raises(InputError, match="no such subject"):
        make_study(tmp_path, profile="tiny", subject=subject)


# --- worlds ---------------------------------------------------------------------------------------------------

TRUTHS: tuple[Truth, ...] = get_args(Truth)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world whose scenes and features the others share: no file of it is written."""
    return World(tmp_path_factory.mktemp("scenes"), Settings("any", 0, "tiny", "beyond", 32))


@pytest.fixture(scope="module")
def worlds(scenes: World) -> dict[str, dict[str, RegionTruth]]:
    """What is planted in each region of each world."""
    made = {truth: World(scenes.folder, replace(scenes.settings, truth=truth)) for truth in TRUTHS}
    for world in made.values():
        vars(world)["features"] = scenes.features  # the same in all: computed once
    return {truth: world.regions for truth, world in made.items()}


def class_share(signal: np.ndarray, labels: pd.Series) -> float:
    """Share of the variance of signals (n, voxels) of variance 1 that the class explains, mean over voxels."""
    return float(pd.DataFrame(signal).groupby(labels.to_numpy()).transform("mean").var(ddof=0).mean())


def decodable(planted: RegionTruth, labels: pd.Series) -> float:
    """How often a linear read-out names the class from noise-free signals, on scenes it was not fitted to."""
    return cross_val_score(RidgeClassifier(), planted.signal, labels, cv=5).mean()


def test_in_beyond_the_class_has_as_small_a_part_in_every_region(scenes: World, worlds: dict):
    labels = scenes.scanner["shape"]
    share = [class_share(planted.signal, labels) for planted in worlds["beyond"].values()]
    assert max(share) < 0.2
    assert max(share) - min(share) < 0.06
    named = [decodable(planted, labels) for planted in worlds["beyond"].values()]
    assert 0.55 < min(named) <= max(named) < 0.8
    assert abs(named[-1] - named[0]) < 0.1, "no rise along the hierarchy"


def test_in_labels_the_part_of_the_class_grows(scenes: World, worlds: dict):
    planted, labels = worlds["labels"], scenes.scanner["shape"]
    assert decodable(planted["V1"], labels) < 0.7 < 0.98 < decodable(planted["TO"], labels)
    share = [class_share(region.signal, labels) for region in planted.values()]
    assert share == sorted(share)
    assert share[0] < 0.1
    assert share[-1] > 0.5


def test_in_null_and_quality_regions_hold_the_same_mixture_in_other_voxels(worlds: dict):
    for truth in ("null", "quality"):
        first, *others = regions(truth).values()
        assert all(region.weights == first.weights for region in others)
        signals = [planted.signal[:, 0] for planted in worlds[truth].values()]
        assert np.abs(np.corrcoef(signals) - np.eye(7)).max() < 0.9
    ceiling = {truth: [p.noise_ceiling.mean() for p in planted.values()] for truth, planted in worlds.items()}
    assert ceiling["quality"] == sorted(ceiling["quality"])
    for truth in ("beyond", "labels", "null"):
        assert np.ptp(ceiling[truth]) < 0.06


@pytest.mark.parametrize("name", TRUTHS)
def test_the_shares_of_a_region_add_up_to_one(name: Truth):
    for region in regions(name).values():
        assert sum(region.weights.values()) == pytest.approx(1)


@pytest.mark.slow
def test_another_truth_changes_the_subject_and_not_the_scenes(folder: Path, tmp_path: Path):
    other = make_study(tmp_path, profile="tiny", truth="quality", progress=False).parent
    study = open_study(str(other / "study.toml"))
    assert study.name == "tiny-quality"
    first, second = digests(folder), digests(other)
    assert first.keys() == second.keys()
    changed = {name for name in first if first[name] != second[name]}
    assert {name for name in changed if name.startswith("truth/")} == {
        *(f"truth/{roi}.safetensors" for roi in HIERARCHY),
        "truth/subject.json",
        "truth/verdicts.json",
    }
    assert not any(name.startswith((*SCENES, "nsd/nsddata/")) for name in changed)
    assert expected_verdicts(study).set_index("analysis")["expected"]["predictor"] == "rises"


@pytest.mark.parametrize("name", TRUTHS)
def test_every_analysis_has_its_expected_verdict_and_a_reason(folder: Path, tmp_path: Path, name: Truth):
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth/verdicts.json").write_text(json.dumps(verdicts_in(name)))
    table = expected_verdicts(replace(open_study(folder), nsd=tmp_path / "nsd"))
    assert list(table.columns) == ["analysis", "question", "expected", "why"]
    assert list(table["analysis"]) == list(QUESTIONS)
    assert set(table["expected"]) <= {"rises", "falls", "none", "unknown"}
    assert table["why"].str.len().min() > 10


def test_the_default_world_says_that_robustness_rises(folder: Path):
    expected = expected_verdicts(open_study(folder)).set_index("analysis")["expected"]
    assert (expected["robustness"], expected["predictor"], expected["shape bias"]) == ("rises", "none", "unknown")


@pytest.mark.parametrize("content", [None, "", "[", "3"], ids=["missing", "empty", "half", "number"])
def test_verdicts_that_cannot_be_read_are_refused(folder: Path, tmp_path: Path, content: str | None):
    (tmp_path / "truth").mkdir()
    if content is not None:
        (tmp_path / "truth/verdicts.json").write_text(content)
    with pytest.raises(InputError, match="cannot be read"):
        expected_verdicts(replace(open_study(folder), nsd=tmp_path / "nsd"))


def test_of_a_measured_study_nobody_knows_what_should_be_found(folder: Path):
    with pytest.raises(InputError, match="nobody knows"):
        expected_verdicts(replace(open_study(folder), simulated=False))


@pytest.mark.parametrize(
    ("arguments", "name"),
    [(("demo", "beyond"), "demo"), (("demo", "null"), "demo-null"), (("tiny", "labels", 2), "tiny-labels-subj02")],
)
def test_usual_names_tell_profile_truth_and_subject(arguments: tuple, name: str):
    assert usual_name(*arguments) == name
    assert is_simulated(name)


# --- scenes ---------------------------------------------------------------------------------------------------


def test_rendering_places_the_object_where_the_latents_say():
    rng = np.random.default_rng(0)
    latents = draw_latents(rng, np.zeros(40, int), balanced(rng, 40), 32)
    latents = latents.assign(contrast=0.35, saturation=0.0, red=0.35, green=0.35, blue=0.35)
    bright = render(latents, 32, rng).mean(axis=-1) / 255 > 0.52
    grid = (np.arange(32) + 0.5) / 16 - 1
    found_x = (bright * grid).sum(axis=(1, 2)) / bright.sum(axis=(1, 2))
    found_y = (bright * grid[:, None]).sum(axis=(1, 2)) / bright.sum(axis=(1, 2))
    assert np.abs(found_x - latents["dx"]).mean() < 0.06
    assert np.abs(found_y - latents["dy"]).mean() < 0.06
    radius = np.sqrt(bright.mean(axis=(1, 2)) * 4 / np.pi)
    assert np.corrcoef(radius, latents["scale"])[0, 1] > 0.7


def test_a_silhouette_ignores_where_the_object_lies_and_how_large_it_is():
    rng = np.random.default_rng(0)
    latents = draw_latents(rng, np.arange(10), np.arange(10), 32)
    moved = latents.assign(scale=0.6, dx=0.1, dy=-0.1)
    assert np.array_equal(silhouettes(latents, 30), silhouettes(moved, 30))
    areas = silhouettes(latents, 30).mean(axis=(1, 2))
    assert ((areas > 0.08) & (areas < 0.7)).all()


@pytest.mark.parametrize("size", [16, 48])
def test_other_sizes_render(size: int):
    rng = np.random.default_rng(0)
    pixels = render(draw_latents(rng, np.arange(10), np.arange(10), size), size, rng)
    assert pixels.shape == (10, size, size, 3)
    assert 20 < pixels.std() < 80
