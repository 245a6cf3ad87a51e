"""Measured brains that saw pictures of THINGS: files in their true format, what was planted in them comes out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from nbtools.cli import main
from nbtools.cli.preparing import ASKED_BY
from nbtools.data.brains import things_fmri, tvsd
from nbtools.data.brains.measured import load_design, load_responses, load_trials, region_names, region_volume
from nbtools.data.brains.prepare_things import ABOVE_NOISE, ceilings_beside, prepare_things_fmri, prepare_tvsd
from nbtools.data.brains.responses import average_repeats, equal_repeats, split_images
from nbtools.data.brains.sessions import Session, write_session
from nbtools.data.images.folders import images_below
from nbtools.data.images.labels import load_labels
from nbtools.data.images.stimuli import opened_stimuli
from nbtools.data.images.things import place_of
from nbtools.data.study import Study, as_toml, open_study
from nbtools.errors import InputError, Note
from nbtools.metrics.brain.noise_ceiling import ncsnr, noise_ceiling, voxel_ceilings
from nbtools.plots.brain.responses import noise_ceilings, voxel_scores
from nbtools.runs import folders
from nbtools.runs.batch import run_notebook
from nbtools.runs.folders import find
from nbtools.workflow.config import read_config
from nbtools.workflow.doctor import GOOD, findings
from nbtools.workflow.graph import make_graph
from nbtools.workflow.sizes import ASSUMED, sizes_of
from nbtools.workflow.to_come import to_come
from tests.things_files import (
    AREAS,
    CATEGORIES,
    LEVEL,
    names_of,
    write_image_list,
    write_monkey,
    write_person,
)
from tests.things_pictures import write_categories, write_pictures

POOL = names_of(200)
TEST = [name for name in POOL if name.startswith(("dog_2", "axe"))][:12]
TRAIN = [name for name in POOL[:80] if name not in TEST][:60]
pytestmark = pytest.mark.filterwarnings("ignore:.*were dropped:UserWarning")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """THINGS' pictures, some of which nobody is shown, and their categories."""
    folder = tmp_path_factory.mktemp("things")
    write_pictures(folder / "object_images", [place_of(name) for name in names_of(400)])
    write_categories(folder / "category53_long-format.tsv", CATEGORIES)
    return folder


@pytest.fixture
def raw(tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))
    folder = tmp_path / "data" / "raw"
    folder.mkdir(parents=True)
    (folder / "things").symlink_to(pictures)
    return folder


def write_tvsd(raw: Path, monkey: str = "F", **options: int) -> np.ndarray:
    return write_monkey(raw / "tvsd" / f"monkey{monkey}", monkey, TRAIN, TEST, **options)


# --- TVSD -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("monkey", ["F", "N"])
def test_each_monkeys_regions_are_where_its_own_file_has_them(raw: Path, monkey: str) -> None:
    write_tvsd(raw, monkey, repeats=4)
    study = open_study(prepare_tvsd(raw, monkey))
    assert (study.hierarchy, study.sites) == (("V1", "V4", "IT"), "electrodes")
    assert study.title == f"tvsd-{monkey} study, simulated", "the file says so"
    for roi, trials in load_trials(study, study.hierarchy, zscore=False, progress=False).items():
        assert trials.voxels[:, 0].tolist() == list(AREAS[monkey][roi])
        assert abs(trials.responses.mean() - LEVEL[roi]) < 1
    assert region_volume(study, ["V1"]) is None, "nobody says where electrodes lie in a volume"


def test_what_was_chosen_stays_and_what_is_measured_is_called_so(raw: Path) -> None:
    write_tvsd(raw, "F", repeats=4)
    file = prepare_tvsd(raw, "F")
    told = file.read_text().replace("[voxels]\nnoise_ceiling = 56 ", "[voxels]  # mine\nnoise_ceiling = 40 ")
    file.write_text(f"# mine\n{told}")
    assert prepare_tvsd(raw, "F").read_text() == f"# mine\n{told}"
    with h5py.File(raw / "tvsd/monkeyF/THINGS_normMUA.mat", "r+") as tree:
        del tree.attrs["simulated"]
    study = open_study(prepare_tvsd(raw, "F"))
    assert (study.simulated, study.title, study.voxels.noise_ceiling) == (False, "tvsd-F", 40)
    assert "Measured responses" in file.read_text()


def test_a_trial_is_of_its_image_and_showing(raw: Path) -> None:
    write_tvsd(raw, repeats=4)
    study = open_study(prepare_tvsd(raw, "F"))
    trials, design = load_trials(study, ["IT"], zscore=False, progress=False)["IT"], load_design(study)
    with h5py.File(raw / "tvsd/monkeyF/THINGS_normMUA.mat") as tree:
        np.testing.assert_allclose(trials.responses[:60], tree["train_MUA"][:, 512:832], rtol=1e-6)
        shown = trials.responses[(trials.image_ids == 60 + 7) & (trials.repeats == 3)]
        np.testing.assert_allclose(shown[0], tree["test_MUA_reps"][2, 7, 512:832], rtol=1e-6)
    assert design.shared_ids.tolist() == list(range(60, 72))
    named = pd.read_parquet(raw / "tvsd-F" / "stimuli.parquet")
    assert named["name"].tolist() == [*TRAIN, *TEST]


def test_dead_electrodes_are_dropped_and_showings_that_nothing_recorded_left_out(raw: Path) -> None:
    write_tvsd(raw, "N", repeats=6)
    with h5py.File(raw / "tvsd/monkeyN/THINGS_normMUA.mat", "r+") as tree:
        tree["train_MUA"][:, 256:320], tree["test_MUA_reps"][:, :, 256:320] = 0, 0  # an array that recorded nothing
        tree["train_MUA"][:, 770], tree["test_MUA_reps"][:, :, 770] = np.nan, np.nan
        tree["train_MUA"][3, 600] = np.nan
        tree["test_MUA_reps"][5, 2] = np.nan  # one image was shown once less
    study = open_study(prepare_tvsd(raw, "N"))
    with pytest.warns(Note, match="V1: 64 of 512 electrodes do not vary"):
        trials = load_trials(study, study.hierarchy, zscore=False, progress=False)
    dropped = {roi: part.dropped[:, 0].tolist() for roi, part in trials.items()}
    assert dropped == {"V1": list(range(256, 320)), "V4": [600], "IT": [770]}
    assert len(trials["V1"].image_ids) == 60 + 6 * 12 - 1
    assert np.unique(trials["V1"].image_ids, return_counts=True)[1][60:].tolist() == [6, 6, 5] + [6] * 9


def break_pointer(folder: Path) -> None:
    (folder / "THINGS_normMUA.mat").write_text("/annex/objects/MD5E-s194000000--0123456789abcdef.mat\n")


def break_truncated(folder: Path) -> None:
    file = folder / "THINGS_normMUA.mat"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def break_page(folder: Path) -> None:
    (folder / "_logs" / "things_imgs.mat").write_text("<!DOCTYPE html><html></html>")


def break_transposed(folder: Path) -> None:
    with h5py.File(folder / "THINGS_normMUA.mat", "r+") as tree:
        turned = tree["train_MUA"][:].T
        del tree["train_MUA"]
        tree["train_MUA"] = turned


def break_shape(folder: Path) -> None:
    write_image_list(folder / "_logs" / "things_imgs.mat", TRAIN[:-1], TEST)


def break_twice(folder: Path) -> None:
    write_image_list(folder / "_logs" / "things_imgs.mat", [*TRAIN[:-1], TEST[0]], TEST)


def break_lacking(folder: Path) -> None:
    with h5py.File(folder / "THINGS_normMUA.mat", "r+") as tree:
        del tree["test_MUA_reps"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (break_pointer, "but a git-annex pointer"),
        (break_truncated, "a monkey's file cannot be read"),
        (break_page, "but a web page"),
        (break_transposed, "turned round"),
        (break_shape, "do not fit the pictures"),
        (break_twice, "stands twice"),
        (break_lacking, "lacks test_MUA_reps"),
    ],
)
def test_damage_is_named_and_no_study_left(raw: Path, damage: Callable[[Path], None], said: str) -> None:
    write_tvsd(raw, repeats=3)
    damage(raw / "tvsd" / "monkeyF")
    with pytest.raises(InputError, match=said):
        prepare_tvsd(raw, "F")
    assert not (raw / "tvsd-F" / "study.toml").exists()
    with pytest.raises(InputError, match="no such monkey"):
        prepare_tvsd(raw, "E")


def test_a_stimulus_without_its_picture_is_refused(raw: Path) -> None:
    write_monkey(raw / "tvsd" / "monkeyF", "F", [*TRAIN[:-1], "dog_88s.jpg"], TEST, repeats=3)
    with pytest.raises(InputError, match="1 pictures of the stimuli are missing") as told:
        prepare_tvsd(raw, "F")
    assert "dog/dog_88s.jpg" in str(told.value)
    assert not (raw / "tvsd-F" / "study.toml").exists()


def test_no_test_image_of_the_brain_trains_or_validates(raw: Path) -> None:
    write_tvsd(raw, repeats=3)
    study = open_study(prepare_tvsd(raw, "F"))
    there = {file.name for file in images_below(study.need("classification"))}
    assert there & set(TRAIN)
    assert not there & set(TEST)
    labels = load_labels(study, np.arange(72))
    assert labels.dropna().map(CATEGORIES.get).map(len).eq(5).all()
    with opened_stimuli(study.stimuli) as brick:
        assert brick.shape == (72, 64, 64, 3)


# --- reliability ----------------------------------------------------------------------------------------------


def test_the_planted_ceilings_come_out_and_agree_with_the_publishers(raw: Path) -> None:
    """Of 1,024 electrodes and a hundred test images shown thirty times."""
    test = [name for name in names_of(400) if name.startswith(("dog_2", "axe", "saw", "hen"))][-100:]
    signal = write_monkey(raw / "tvsd" / "monkeyF", "F", TRAIN, test)
    study = open_study(prepare_tvsd(raw, "F"))
    with h5py.File(raw / "tvsd/monkeyF/THINGS_normMUA.mat", "r+") as tree:
        tree["oracle"][600:700] = np.nan  # of which the publishers say nothing
    beside = ceilings_beside(study, raw).set_index(["measure", "roi"])
    assert beside["n"].to_dict() == {
        **{("reliab", roi): len(electrodes) for roi, electrodes in AREAS["F"].items()},
        ("oracle", "V1"): 512,
        ("oracle", "V4"): 192,
        ("oracle", "IT"): 220,
    }
    assert (beside["r"] > 0.999).all()
    assert beside["difference"].abs().max() < 0.005
    for roi, trials in load_trials(study, study.hierarchy, progress=False).items():
        assert (beside.xs(roi, level="roi")["kept"] == trials.responses.shape[1]).all()
        assert trials.responses.shape[1] < len(AREAS["F"][roi])
    for roi, electrodes in AREAS["F"].items():
        error = beside.loc[("reliab", roi), "ours"] - signal[list(electrodes)].mean()
        assert abs(error) < 4 * 0.06 / np.sqrt(len(electrodes)), "within what a hundred images leave open"


def own_study(folder: Path, signal: np.ndarray, *, repeats: int, noise_ceiling: float = 0, seed: int = 0) -> Study:
    """A study in the open format: 300 training images shown once, 100 test images several times, in odd regions."""
    rng, n = np.random.default_rng(seed), len(signal)
    ids = np.r_[np.arange(300), np.tile(300 + np.arange(100), repeats)]
    values = (np.sqrt(signal) * rng.normal(size=(400, n)))[ids] + np.sqrt(1 - signal) * rng.normal(size=(len(ids), n))
    responses = {"early-x": values, "LIP_2": values[:, ::2]}
    nowhere = {roi: np.full((part.shape[1], 3), -1) for roi, part in responses.items()}
    nowhere["early-x"][:, 0] = np.arange(n)
    write_session(folder / "r/session1.hdf5", Session(ids, ids >= 300, np.zeros(len(ids), int), responses, nowhere))
    with h5py.File(folder / "stimuli.hdf5", "w") as tree:
        tree["imgBrick"] = rng.integers(0, 255, (400, 16, 16, 3), np.uint8)
    entries = {"name": "own", "simulated": False, "responses": "r", "stimuli": "stimuli.hdf5", "image_size": 32}
    told = as_toml({**entries, "regions": ["LIP_2", "early-x"], "sites": "electrodes"})
    (folder / "study.toml").write_text(f"{told}\n[voxels]\nnoise_ceiling = {noise_ceiling}\n")
    return open_study(folder)


def test_the_choice_rests_on_odd_showings_and_leaves_ceilings_without_bias(tmp_path: Path) -> None:
    """Of electrodes about the threshold: chosen by the showings that are tested, ceilings come out too high."""
    rng = np.random.default_rng(1)
    signal = rng.uniform(0, 0.1, 2000)
    study = own_study(tmp_path, signal, repeats=6, noise_ceiling=20)
    trials = load_trials(study, ["early-x"], progress=False)["early-x"]
    assert np.unique(trials.repeats[trials.image_ids >= 300]).tolist() == [2, 4, 6]
    assert len(trials.voxels) + len(trials.dropped) == 2000
    assert 200 < len(trials.voxels) < 1500
    assert abs(bias(trials.responses, trials.image_ids, signal[trials.voxels[:, 0]])) < 0.6
    whole = load_trials(own_study(tmp_path / "all", signal, repeats=6), ["early-x"], progress=False)["early-x"]
    ceiling = noise_ceiling(ncsnr(whole.responses, whole.image_ids))
    chosen = ceiling >= 20
    assert bias(whole.responses[:, chosen], whole.image_ids, signal[chosen]) > 3


def bias(responses: np.ndarray, ids: np.ndarray, signal: np.ndarray) -> float:
    """Mean error of ceilings, percent, of single showings: there they are the share of variance that is signal."""
    return float(np.mean(noise_ceiling(ncsnr(responses, ids), 1) - 100 * signal))


# --- the open format: a training set without repeats, a test set with them ------------------------------------------


@pytest.mark.parametrize("repeats", [1, 2, 5])
def test_any_number_of_repeats_in_the_test_set_alone(tmp_path: Path, repeats: int) -> None:
    study = own_study(tmp_path, np.full(40, 0.5), repeats=repeats)
    assert study.hierarchy == ("LIP_2", "early-x")
    assert set(region_names(study)) == {"early-x", "LIP_2"}
    trials, design = load_trials(study, study.hierarchy, progress=False), load_design(study)
    responses = average_repeats(trials["LIP_2"], design.shared_ids)
    assert np.unique(responses.n_repeats[responses.shared]).tolist() == [repeats]
    assert {name: len(rows) for name, rows in split_images(responses).items()} == {
        "train": 270,
        "validation": 30,
        "test": 100,
    }
    ceilings = voxel_ceilings(trials["LIP_2"].responses, trials["LIP_2"].image_ids, n1=1)["n1"]
    assert ceilings.isna().all() if repeats == 1 else abs(ceilings.mean() - 50) < 5
    assert equal_repeats(trials["LIP_2"], design.shared_ids).repeats.max() == repeats
    assert {found.part: found.state for found in findings(study, deep=True)}["prepared"] == GOOD


@pytest.mark.notebook
def test_the_notebooks_take_such_a_study(raw: Path) -> None:
    """01 and 02, whose ceilings, split and scores meet training images shown once and test images shown six times."""
    study = own_study(raw / "own", np.full(40, 0.5), repeats=6, noise_ceiling=20)
    assert run_notebook("01_brain_responses", {"study": "own", "rois": "LIP_2 early-x"}) == 0
    ceilings = find("01_brain_responses", "own").table("noise_ceilings").groupby("roi")["n1"].mean()
    assert ceilings.to_numpy() == pytest.approx(50, abs=5)
    assert run_notebook("02_neural_predictors", {"study": "own", "roi": "early-x", "epochs": "1"}) == 0
    voxels = find("02_neural_predictors", "own").table("voxels")
    assert (len(voxels), study.sites) == (40, "electrodes")
    assert voxels["noise_ceiling"].mean() == pytest.approx(75, abs=5), "of three showings; the others chose"


def test_plan_counts_the_images_that_were_shown_and_those_that_test(tmp_path: Path) -> None:
    study = own_study(tmp_path, np.full(4, 0.5), repeats=2)
    found = sizes_of(study, None)
    assert (found.scanner, found.shared) == (400, 100)
    (study.responses / "session1.hdf5").unlink()
    assert sizes_of(study, None).shared == ASSUMED.shared, "what is not there is assumed"


def test_a_choice_needs_showings_to_rest_on(tmp_path: Path) -> None:
    study = own_study(tmp_path, np.full(40, 0.5), repeats=2, noise_ceiling=10)
    with pytest.raises(InputError, match="nothing tells which voxels are reliable"):
        load_responses(study, "early-x")


def test_a_study_says_what_its_sites_are(tmp_path: Path) -> None:
    own_study(tmp_path, np.full(4, 0.5), repeats=2)
    file = tmp_path / "study.toml"
    file.write_text(file.read_text().replace('"electrodes"', '"neurons"'))
    with pytest.raises(InputError, match="no such sites"):
        open_study(tmp_path)


# --- THINGS-fMRI ----------------------------------------------------------------------------------------------


def write_fmri(raw: Path, **options: object) -> np.ndarray:
    return write_person(raw / "things-fmri" / "sub-01", TRAIN, TEST, **options)


@pytest.mark.parametrize("lo", ["{}", "{} (prf)"])
def test_a_persons_regions_come_out_of_the_tables(raw: Path, lo: str) -> None:
    write_fmri(raw, lo=lo)
    study = open_study(prepare_things_fmri(raw, 1))
    assert (study.hierarchy, study.subject, study.sites) == (things_fmri.HIERARCHY, 1, "voxels")
    assert "PPA stands in for PHC" in (raw / "things-subj01" / "study.toml").read_text()
    trials = load_trials(study, study.hierarchy, zscore=False, progress=False)
    table = pd.read_csv(raw / "things-fmri/sub-01/VoxelMetadata.csv")
    stimuli = pd.read_csv(raw / "things-fmri/sub-01/StimulusMetadata.csv")
    with h5py.File(raw / "things-fmri/sub-01/responses.h5") as tree:
        values = tree["responses"][:]
    for roi, columns in {"V4": ["hV4"], "LO": [lo.format("LO1"), lo.format("LO2")], "PPA": ["lPPA", "rPPA"]}.items():
        rows = np.flatnonzero(table[columns].eq(1).any(axis=1))
        everything = np.concatenate([trials[roi].voxels, trials[roi].dropped])
        assert set(map(tuple, everything)) == set(map(tuple, table.loc[rows, ["voxel_x", "voxel_y", "voxel_z"]].values))
        order = stimuli["trial_id"].to_numpy()
        assert {tuple(row) for row in values[rows][:, order]} >= {tuple(row) for row in trials[roi].responses.T}
    names = pd.read_parquet(raw / "things-subj01" / "stimuli.parquet")["name"].to_numpy()
    assert names[trials["V1"].image_ids].tolist() == stimuli["stimulus"].tolist(), "joined by name"
    assert sorted(names[load_design(study).shared_ids]) == sorted(TEST)
    assert region_volume(study, ["V1"]) is None


def test_overlapping_regions_share_their_voxels(raw: Path) -> None:
    write_fmri(raw)
    study = open_study(prepare_things_fmri(raw, 1))
    trials = load_trials(study, ["V1", "V2"], zscore=False, progress=False)
    shared = set(map(tuple, trials["V1"].voxels)) & set(map(tuple, trials["V2"].voxels))
    assert len(shared) == 2


@pytest.mark.parametrize(
    ("columns", "hierarchy", "there"),
    [
        (["V1", "hV4", "TO1", "TO2"], ("V1", "V4", "TO"), {"V1", "V4", "TO"}),
        (["V1", "lFFA", "rFFA"], ("V1",), {"V1", "FFA"}),
        (["V3", "lFFA", "rFFA"], ("V3", "FFA"), {"V3", "FFA"}),
    ],
)
def test_regions_are_those_that_were_fetched(
    raw: Path, columns: list[str], hierarchy: tuple[str, ...], there: set[str]
) -> None:
    """Those of the paper's hierarchy in its order; others can be asked for by name."""
    write_fmri(raw)
    folder = raw / "things-fmri" / "sub-01"
    file, table = folder / "responses.h5", things_fmri.read_voxels(folder / "VoxelMetadata.csv")
    kept = table["voxel_id"].to_numpy()[table[columns].eq(1).any(axis=1)]
    with h5py.File(file, "r+") as tree:
        values = tree["responses"][:][kept]
        del tree["responses"], tree["voxel_id"]
        tree["voxel_id"], tree["responses"] = kept, values
    study = open_study(prepare_things_fmri(raw, 1))
    assert (study.hierarchy, set(region_names(study))) == (hierarchy, there)


def test_a_region_that_the_table_does_not_mark_is_left_out(raw: Path) -> None:
    write_fmri(raw)
    file = raw / "things-fmri/sub-01/VoxelMetadata.csv"
    pd.read_csv(file).drop(columns="TO2").assign(hV4=0).to_csv(file, index=False)
    assert open_study(prepare_things_fmri(raw, 1)).hierarchy == ("V1", "V2", "VO", "PPA", "LO")


def test_of_voxels_that_hold_noise_one_in_four_comes_as_far() -> None:
    """In the six odd of twelve showings, as `study.toml` says of the threshold."""
    ids, showings = np.tile(np.arange(100), 6), np.random.default_rng(0).normal(size=(600, 4000))
    assert 0.22 < np.mean(noise_ceiling(ncsnr(showings, ids)) >= ABOVE_NOISE[0]) < 0.3
    assert "one in four" in ABOVE_NOISE[1]


def test_catch_trials_are_left_out_and_damage_is_named(raw: Path) -> None:
    write_fmri(raw)
    folder = raw / "things-fmri" / "sub-01"
    table = pd.read_csv(folder / "StimulusMetadata.csv")
    catch = table.assign(trial_type=table["trial_type"].where(table.index != 5, "catch"))
    catch.to_csv(folder / "StimulusMetadata.csv", index=False)
    assert len(load_design(open_study(prepare_things_fmri(raw, 1))).image_ids) == len(table) - 1
    first, later = table.index == 0, table["session"] > 1
    for broken, said in [
        (table.assign(trial_id=table["trial_id"].clip(upper=20)), r"trial_id\n(.*\n)*.*them twice"),
        (table.assign(trial_id=table["trial_id"] + 100), "do not fit their tables"),
        (table.assign(trial_id=table["trial_id"] - 1), "1 rows without a whole number as trial_id"),
        (table.assign(session=table["session"] + 0.5 * first), "1 rows without a whole number as session"),
        (table.assign(stimulus=table["stimulus"].mask(first)), "1 rows without a stimulus"),
        (table.assign(trial_type="train"), "1 kinds of trial"),
        (
            table.assign(trial_type=table["trial_type"].mask(later, "train")),
            "12 stimuli both to train",
        ),
        (table.assign(trial_type="catch"), "2 kinds of trial"),
        (table.drop(columns="session"), "without session"),
    ]:
        broken.to_csv(folder / "StimulusMetadata.csv", index=False)
        with pytest.raises(InputError, match=said):
            prepare_things_fmri(raw, 1)
    with pytest.raises(InputError, match="no such subject"):
        prepare_things_fmri(raw, 4)


# --- true size ------------------------------------------------------------------------------------------------

_READ = """
import json, re, sys, time
from pathlib import Path
import h5py
from nbtools.data.brains import tvsd
from nbtools.data.brains.measured import load_trials
from nbtools.data.study import open_study
folder, how = Path(sys.argv[1]), sys.argv[2]
shown = tvsd.shown_images(folder) if how == "session" else None
study = open_study(folder.parents[1] / "tvsd-F") if how == "study" else None
start = time.perf_counter()
if study:
    load_trials(study, study.hierarchy, progress=False)
elif shown:
    tvsd.session_of(folder, "F", shown)
else:
    with h5py.File(folder / "THINGS_normMUA.mat") as tree:
        tree["train_MUA"][:], tree["test_MUA_reps"][:]
peak = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())  # its own, not that of who started it
print(json.dumps([time.perf_counter() - start, int(peak[1]) / 1000]))
"""


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for the memory")
def test_a_monkey_of_true_size_is_read_in_seconds(raw: Path) -> None:
    """1,024 electrodes × (22,248 + 30 × 100) showings: three regions in 5 s and 500 MB, else about as by h5py."""
    folder, train, test = raw / "tvsd" / "monkeyF", names_of(22_248), names_of(100, start=22_248)
    write_monkey(folder, "F", train, test, compression="gzip")
    session = tvsd.session_of(folder, "F", tvsd.shown_images(folder))
    write_session(raw / "tvsd-F" / "responses" / "session01.hdf5", session)
    del session
    entries = {"name": "tvsd-F", "simulated": True, "responses": "responses", "stimuli": "none", "image_size": 64}
    told = as_toml({**entries, "regions": ["V1", "V4", "IT"], "sites": "electrodes"})
    (raw / "tvsd-F" / "study.toml").write_text(told + "[voxels]\nnoise_ceiling = 56\n")
    told = {}
    for how in ("h5py", "session", "study"):
        done = subprocess.run([sys.executable, "-c", _READ, folder, how], capture_output=True, text=True, check=True)
        told[how] = json.loads(done.stdout)
    print(f"seconds and MB: {told}")
    assert told["session"][0] < 1.5 * told["h5py"][0] + 1
    assert told["study"][0] < 5
    assert max(told["study"][1], told["session"][1]) < 500


# --- the commands ---------------------------------------------------------------------------------------------


def test_the_commands_say_how_reliable_sites_are_and_keep_what_is_there(
    raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tvsd(raw, repeats=5)
    write_fmri(raw)
    assert main(["prepare", "tvsd", "--monkeys", "F", "--size", "32"]) == 0
    assert main(["prepare", "things-fmri", "--subjects", "1"]) == 0
    said = capsys.readouterr().out
    assert "regions: V1 V4 IT" in said
    assert "PPA stands in for PHC" in said
    assert {"reliab", "oracle", "nc_testset", "nc_singletrial"} <= set(said.split())
    assert said.count("no brain was measured") == 2, "the published files say so"
    for name, next_step in {
        "tvsd-F-32px": "with `study: tvsd-F-32px`",
        "things-subj01": "plan config/things.yaml",
    }.items():
        study = open_study(name)
        n = [len(images_below(study.need("classification") / part)) for part in ("train", "val")]
        assert f"images: 2 categories, {n[0]} pictures to train, {n[1]} to test" in said
        assert next_step in said
    assert open_study("tvsd-F-32px").image_size == 32
    made = (raw / "tvsd-F-32px" / "stimuli.hdf5").stat().st_mtime_ns
    prepare_tvsd(raw, "F", image_size=32)
    assert (raw / "tvsd-F-32px" / "stimuli.hdf5").stat().st_mtime_ns == made
    write_image_list(raw / "tvsd/monkeyF/_logs/things_imgs.mat", TRAIN[::-1], TEST)
    prepare_tvsd(raw, "F", image_size=32)
    assert (raw / "tvsd-F-32px" / "stimuli.hdf5").stat().st_mtime_ns > made, "other pictures, or in another order"


def test_what_prepare_names_next_asks_that_study() -> None:
    for study, name in ASKED_BY.items():
        assert read_config(folders.PROJECT / f"config/{name}.yaml")["study"] == study


@pytest.mark.parametrize("name", ["tvsd", "things"])
def test_a_plan_before_the_data_is_the_plan_after_them(raw: Path, name: str) -> None:
    """Which runs, and of which regions; of how many images they are, only the data tell."""
    config = read_config(folders.PROJECT / f"config/{name}.yaml")
    before = make_graph(config)
    write_tvsd(raw, repeats=5)
    write_fmri(raw)
    prepare_tvsd(raw, "F") if name == "tvsd" else prepare_things_fmri(raw, 1)
    after = make_graph(config)
    assert before.source is None
    assert before.hierarchy == after.hierarchy
    assert dict(before.left_out) == dict(after.left_out)
    assert {job.record for job in before.jobs} == {job.record for job in after.jobs}
    assert to_come(f"{config['study']}-224px").sizes.image_size == 224


def test_figures_name_electrodes() -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"roi": "IT", "voxel": range(9), "noise_ceiling": rng.uniform(40, 90, 9), "r": rng.random(9)})
    figures = [draw(table, order=("IT",), title="", sites="electrodes") for draw in (noise_ceilings, voxel_scores)]
    drawn = " ".join(json.dumps(figure.to_plotly_json(), default=str, ensure_ascii=False) for figure in figures)
    assert all(words in drawn for words in ("SD of electrodes", "ceiling of the electrode", "9 electrodes"))
    assert "of voxels" not in drawn


@pytest.mark.parametrize(("study", "said"), [("tvsd-F", "prepare tvsd --monkeys F"), ("things-subj02", "--subjects 2")])
def test_whoever_asks_for_such_a_study_is_told_how_it_comes(raw: Path, study: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        open_study(study)
