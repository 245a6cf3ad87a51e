"""The one door to responses: prepared sessions give NSD's numbers, one's own files theirs, and neither lies."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from nbtools.data.brains import nsd
from nbtools.data.brains.measured import SETS, load_design, load_trials, region_volume
from nbtools.data.brains.prepare_nsd import prepare_nsd, prepared_file, reduce_session
from nbtools.data.brains.responses import Design, RoiTrials, average_repeats, split_images
from nbtools.data.brains.sessions import Session, read_session, regions_of, session_files, write_session
from nbtools.data.brains.trials import assemble
from nbtools.data.study import Study, VoxelChoices, as_toml, open_study
from nbtools.data.synthetic import make_study
from nbtools.errors import InputError
from nbtools.metrics.brain.noise_ceiling import ncsnr, noise_ceiling
from nbtools.runs.batch import run_notebook
from nbtools.runs.folders import find
from nbtools.workflow.doctor import DAMAGED, GOOD, findings

ROIS = ["V1", "TO"]
pytestmark = pytest.mark.filterwarnings("ignore:.*were dropped:UserWarning")


def assert_same(first: RoiTrials, second: RoiTrials) -> None:
    for part in ("responses", "image_ids", "sessions", "repeats", "voxels", "dropped"):
        np.testing.assert_array_equal(getattr(first, part), getattr(second, part))


@pytest.fixture
def study(tiny_study: Path, tmp_path: Path) -> Study:
    """The tiny simulated study, its prepared sessions in a folder of this test's own."""
    return replace(open_study(str(tiny_study)), responses=tmp_path / "responses")


@pytest.fixture
def moved(tiny_study: Path, tmp_path: Path) -> Study:
    """A copy of the tiny study's NSD tree that a test may damage."""
    shutil.copytree(tiny_study.parent / "nsd", tmp_path / "nsd")
    return replace(open_study(str(tiny_study)), nsd=tmp_path / "nsd", responses=tmp_path / "responses")


# --- prepared -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zscore", [True, False])
def test_prepared_sessions_give_the_numbers_of_the_volumes(study: Study, zscore: bool) -> None:
    from_volumes = load_trials(study, ROIS, zscore=zscore, progress=False)
    prepare_nsd(study, ROIS, jobs=2, progress=False)
    assert study.measured == study.responses
    for roi, trials in load_trials(replace(study, nsd=study.nsd), ROIS, zscore=zscore, progress=False).items():
        assert_same(trials, from_volumes[roi])


def test_prepared_sessions_do_without_the_volumes(moved: Study) -> None:
    whole = load_trials(moved, ROIS, progress=False)
    files = prepare_nsd(moved, ROIS, progress=False)
    assert sum(file.stat().st_size for file in files) < 4e6
    shutil.rmtree(moved.need("nsd") / "nsddata_betas")
    assert prepare_nsd(moved, ["TO"], progress=False) == files, "what is reduced needs no volume"
    with pytest.raises(InputError, match="sessions 1, 2, 3 are not there to be prepared"):
        prepare_nsd(moved, ["V4"], progress=False)
    for roi, trials in load_trials(moved, ROIS, progress=False).items():
        assert_same(trials, whole[roi])


def test_volumes_and_prepared_sessions_mix(study: Study) -> None:
    whole = load_trials(study, ROIS, progress=False)
    prepare_nsd(study, ROIS, sessions=[2], progress=False)
    assert [file.name for file in study.responses.iterdir()] == ["session02.hdf5"]
    for roi, trials in load_trials(study, ROIS, progress=False).items():
        assert_same(trials, whole[roi])


def test_a_session_is_prepared_once(study: Study) -> None:
    (file,) = prepare_nsd(study, ROIS, sessions=[1], progress=False)
    before = file.stat().st_mtime_ns
    prepare_nsd(study, ["TO"], sessions=[1], progress=False)
    assert file.stat().st_mtime_ns == before
    prepare_nsd(study, ["V4"], sessions=[1], progress=False)
    assert set(regions_of(file)) == {"V1", "TO", "V4"}, "regions prepared before stay"


def test_a_session_says_what_it_was_made_of(study: Study) -> None:
    import hashlib

    for number in (1, 3):  # a .nii.gz and an .hdf5
        (file,) = prepare_nsd(study, ROIS, sessions=[number], progress=False)
        source = read_session(file).source
        volume = nsd.find_sessions(study.need("nsd"), study.subject)[number]
        assert source["file"] == volume.name
        assert source["sha256"] == hashlib.sha256(volume.read_bytes()).hexdigest()


def test_a_touched_volume_is_not_read_again_a_changed_one_is(moved: Study) -> None:
    (file,) = prepare_nsd(moved, ROIS, sessions=[1], progress=False)
    before = file.stat().st_mtime_ns
    volume = nsd.find_sessions(moved.need("nsd"), moved.subject)[1]
    os.utime(volume, ns=(1, 1))
    prepare_nsd(moved, ROIS, sessions=[1], progress=False)
    assert file.stat().st_mtime_ns == before
    shutil.copy(nsd.find_sessions(moved.need("nsd"), moved.subject)[2], volume)
    with pytest.raises(InputError, match=r"changed: betas_session01\.nii\.gz"):
        load_trials(moved, ROIS, progress=False)
    prepare_nsd(moved, ROIS, sessions=[1], progress=False)
    load_trials(moved, ROIS, progress=False)


def test_a_changed_mask_or_design_is_noticed(moved: Study) -> None:
    import nibabel as nib
    import scipy.io

    prepare_nsd(moved, ROIS, progress=False)
    atlas = next(moved.need("nsd").rglob("Kastner2015.nii.gz"))
    kept = atlas.read_bytes()
    image = nib.load(atlas)
    nib.save(nib.Nifti1Image(np.roll(np.asarray(image.dataobj), 1, axis=2), image.affine), atlas)
    with pytest.raises(InputError, match="the masks of V1, TO"):
        load_trials(moved, ROIS, progress=False)
    atlas.write_bytes(kept)
    design = next(moved.need("nsd").rglob("nsd_expdesign.mat"))
    entries = {name: value for name, value in scipy.io.loadmat(design).items() if not name.startswith("_")}
    scipy.io.savemat(design, {**entries, "masterordering": entries["masterordering"][:, ::-1]})
    with pytest.raises(InputError, match="the trials showed other images"):
        load_trials(moved, ROIS, progress=False)


def test_one_damaged_volume_does_not_stop_the_others(moved: Study) -> None:
    volume = nsd.find_sessions(moved.need("nsd"), moved.subject)[1]
    volume.write_bytes(volume.read_bytes()[:-1000])
    with pytest.raises(InputError, match=r"1 of 3 sessions(.|\n)*session 1: the betas"):
        prepare_nsd(moved, ROIS, progress=False)
    assert sorted(file.name for file in moved.responses.iterdir()) == ["session02.hdf5", "session03.hdf5"]


@pytest.mark.slow
def test_preparing_survives_kills(moved: Study) -> None:
    expected = {file.name: file.read_bytes() for file in prepare_nsd(moved, ROIS, progress=False)}
    shutil.rmtree(moved.responses)
    code = f"""
from pathlib import Path
from collections.abc import Sequence
from dataclasses import dataclass, replace
from nbtools.data.brains import sessions, prepare_nsd as prepare
from nbtools.data.study import Study
study = {moved!r}
if __name__ == "__main__":
    prepare.prepare_nsd(study, {ROIS}, progress=False)
"""
    code = code.replace("PosixPath", "Path").replace("VoxelChoices", "prepare.VoxelChoices")
    code = code.replace("prepare.VoxelChoices", "__import__('nbtools.data.study', fromlist='x').VoxelChoices")
    script = moved.responses.parent / "prepare.py"
    script.write_text(code)
    for wait in (1.5, 2.0, 2.5):
        process = subprocess.Popen([sys.executable, str(script)], start_new_session=True)
        time.sleep(wait)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for file in session_files(moved.responses).values():
            assert file.read_bytes() == expected[file.name], "a session is there whole or not at all"
    prepare_nsd(moved, ROIS, progress=False)
    assert {file.name: file.read_bytes() for file in session_files(moved.responses).values()} == expected


def test_sessions_that_are_not_there_cannot_be_prepared(study: Study) -> None:
    with pytest.raises(InputError, match="sessions 7 are not there"):
        prepare_nsd(study, ROIS, sessions=[1, 7], progress=False)


def test_a_region_that_was_not_prepared_is_named(study: Study) -> None:
    prepare_nsd(study, ["TO"], progress=False)
    with pytest.raises(InputError, match=r"holds no V1(.|\n)*--rois"):
        load_trials(study, ROIS, progress=False)


# --- voxels ---------------------------------------------------------------------------------------------------


def test_unreliable_voxels_are_left_out_without_a_look_at_the_test_images(study: Study) -> None:
    every = load_trials(study, ["TO"], progress=False)["TO"]
    train = ~np.isin(every.image_ids, load_design(study).shared_ids)
    ceiling = noise_ceiling(ncsnr(every.responses[train], every.image_ids[train]))
    chosen = replace(study, voxels=VoxelChoices(noise_ceiling=30))
    some = load_trials(chosen, ["TO"], progress=False)["TO"]
    np.testing.assert_array_equal(some.voxels, every.voxels[ceiling >= 30])
    np.testing.assert_array_equal(some.responses, every.responses[:, ceiling >= 30])
    assert 0 < len(some.voxels) < len(every.voxels)
    assert len(some.voxels) + len(some.dropped) == len(every.voxels) + len(every.dropped)
    with pytest.raises(InputError, match="no voxel reaches the noise ceiling"):
        load_trials(replace(study, voxels=VoxelChoices(noise_ceiling=99)), ["TO"], progress=False)


def test_a_study_chooses_zscores_betas_and_retinotopy(moved: Study) -> None:
    raw = load_trials(replace(moved, voxels=VoxelChoices(zscore=False)), ["TO"], progress=False)["TO"]
    assert_same(raw, load_trials(moved, ["TO"], zscore=False, progress=False)["TO"])
    with pytest.raises(InputError, match="betas_assumehrf"):
        load_trials(replace(moved, voxels=VoxelChoices(betas="b1")), ["TO"], progress=False)
    mapped = replace(moved, voxels=VoxelChoices(retinotopy="prf-visualrois"))
    with pytest.raises(InputError, match="NSD has no region TO"):
        load_trials(mapped, ["TO"], progress=False)
    with pytest.raises(InputError, match=r"prf-visualrois\.nii\.gz"):
        load_trials(mapped, ["V1"], progress=False)
    atlas = next(moved.need("nsd").rglob("Kastner2015.nii.gz"))
    shutil.copy(atlas, atlas.with_name("prf-visualrois.nii.gz"))
    shutil.copy(atlas, atlas.with_name("streams.nii.gz"))
    both = load_trials(mapped, ["V4", "parietal"], progress=False)  # label 7 in both volumes
    np.testing.assert_array_equal(both["V4"].responses, both["parietal"].responses)
    overlap = region_volume(mapped, ["V4", "parietal"])
    assert overlap is not None
    assert set(np.unique(overlap.get_fdata())) == {0, 2}, "a voxel of both is the last one's"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Two subjects in one tree: every other image of the first subject's design is the second's too."""
    folder = tmp_path_factory.mktemp("pair")
    for subject in (1, 2):
        make_study(folder / str(subject), profile="tiny", subject=subject, progress=False)
    for part in ("nsddata/ppdata", "nsddata_betas/ppdata"):
        shutil.copytree(folder / "2/nsd" / part / "subj02", folder / "1/nsd" / part / "subj02")
    study = open_study(str(folder / "1/study.toml"))
    return replace(study, voxels=VoxelChoices(subjects=(1, 2)))


def test_subjects_are_taken_together_showing_by_showing(pair: Study) -> None:
    both = load_trials(pair, ["TO"], progress=False)["TO"]
    first, second = (load_trials(pair.of(subject), ["TO"], progress=False)["TO"] for subject in (1, 2))
    n = first.responses.shape[1]
    assert both.responses.shape[1] == n + second.responses.shape[1]
    for row in range(0, len(both.image_ids), 37):
        for part, columns in ((first, slice(0, n)), (second, slice(n, None))):
            (trial,) = np.flatnonzero((part.image_ids == both.image_ids[row]) & (part.repeats == both.repeats[row]))
            np.testing.assert_array_equal(both.responses[row, columns], part.responses[trial])
    common = np.intersect1d(first.image_ids, second.image_ids)
    np.testing.assert_array_equal(np.unique(both.image_ids), common)
    assert pair.title == "tiny study, simulated"
    assert replace(pair, simulated=False).title == "tiny, subjects 1 2 together"


def test_subjects_together_have_images_to_train_and_to_test_on(pair: Study) -> None:
    both, design = load_trials(pair, ["TO"], progress=False)["TO"], load_design(pair)
    splits = split_images(average_repeats(both, design.shared_ids))
    assert {name: len(rows) > 0 for name, rows in splits.items()} == dict.fromkeys(splits, True)
    assert len(splits["test"]) == pytest.approx(0.2 * len(np.unique(both.image_ids)), abs=1)


# --- another set ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StudyOfMonkeys(Study):
    """A study with one entry more."""

    monkeys: Path | None = None


class Monkeys:
    """The whole of what a new set has to offer."""

    def sessions_of(self, study: Study, rois: Sequence[str], wanted: Sequence[int] | None = None) -> tuple:
        return [1, 2], own_session

    def design_of(self, study: Study) -> Design:
        return Design(own_session(1).image_ids, np.array([10]))

    def volume_of(self, study: Study, rois: Sequence[str]) -> None:
        return None


def test_a_new_set_is_a_module_and_a_line_in_a_table(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SETS, "monkeys", Monkeys())
    monkeys = StudyOfMonkeys(**{**vars(study), "nsd": None}, monkeys=study.responses)
    np.testing.assert_array_equal(load_trials(monkeys, ["IT"], progress=False)["IT"].sessions, np.repeat([1, 2], 12))
    np.testing.assert_array_equal(load_design(monkeys).shared_ids, [10])
    assert region_volume(monkeys, ["IT"]) is None


# --- one's own ------------------------------------------------------------------------------------------------


def own_session(seed: int, n_trials: int = 12, n_voxels: int = 5) -> Session:
    rng = np.random.default_rng(seed)
    return Session(
        image_ids=np.arange(n_trials) % 4 + 10,
        shared=np.arange(n_trials) % 4 == 0,
        repeats=np.zeros(n_trials, np.int64),
        responses={"IT": rng.normal(size=(n_trials, n_voxels)).astype(np.float32) * 7 + 3},
        voxels={"IT": np.full((n_voxels, 3), -1)},
    )


@pytest.fixture
def own(study: Study, tmp_path: Path) -> Study:
    """Two sessions that are not NSD's, without voxels' places or repeats."""
    for number in (1, 2):
        write_session(tmp_path / f"responses/session{number:02d}.hdf5", own_session(number))
    return replace(study, nsd=None, simulated=False)


def test_own_sessions_are_read(own: Study) -> None:
    trials = load_trials(own, ["IT"], progress=False)["IT"]
    raw = np.concatenate([own_session(number).responses["IT"] for number in (1, 2)])
    np.testing.assert_allclose(load_trials(own, ["IT"], zscore=False, progress=False)["IT"].responses, raw)
    for session in (1, 2):
        part = raw[trials.sessions == session].astype(float)
        expected = (part - part.mean(0)) / part.std(0)
        np.testing.assert_allclose(trials.responses[trials.sessions == session], expected, atol=1e-5)
    np.testing.assert_array_equal(trials.repeats, np.repeat(np.arange(1, 7), 4))
    design = load_design(own)
    np.testing.assert_array_equal(design.shared_ids, [10])
    np.testing.assert_array_equal(design.image_ids, trials.image_ids)
    assert region_volume(own, ["IT"]) is None


def test_a_region_may_be_named_alone(own: Study) -> None:
    for door in (partial(load_trials, progress=False), region_volume):
        assert str(door(own, "IT")) == str(door(own, ["IT"]))
    assert list(read_session(own.responses / "session01.hdf5", "IT").responses) == ["IT"]
    with pytest.raises(InputError, match="got:      'I T'"):
        load_trials(own, "I T", progress=False)


def test_own_voxels_have_a_place_where_the_file_says_so(own: Study) -> None:
    session = own_session(1)
    places = np.argwhere(np.ones((1, 5, 1)))
    affine = np.diag([2.0, 2, 2, 1])
    file = own.responses / "session01.hdf5"
    write_session(file, replace(session, voxels={"IT": places}, shape=(4, 6, 3), affine=affine))
    volume = region_volume(own, ["IT"])
    assert volume is not None
    np.testing.assert_array_equal(np.argwhere(volume.get_fdata() == 1), places)
    np.testing.assert_array_equal(volume.affine, affine)


def break_file(change: object) -> object:
    def broken(folder: Path) -> None:
        with h5py.File(folder / "session02.hdf5", "r+") as tree:
            change(tree)  # type: ignore[operator]

    return broken


def put(name: str, values: object) -> object:
    def change(tree: h5py.File) -> None:
        del tree[name]
        tree[name] = values

    return break_file(change)


def with_nan(tree: h5py.File) -> None:
    tree["regions/IT/responses"][3, 1] = np.nan


BAD_OWN: dict[str, tuple] = {
    "no sessions": (shutil.rmtree, "there are no sessions of responses"),
    "a gap": (lambda f: (f / "session02.hdf5").rename(f / "session03.hdf5"), "sessions are missing"),
    "twice": (lambda f: shutil.copy(f / "session02.hdf5", f / "session002.hdf5"), "stands there twice"),
    "not HDF5": (lambda f: (f / "session02.hdf5").write_text("<html>"), "cannot be read"),
    "empty": (lambda f: (f / "session02.hdf5").write_bytes(b""), "cannot be read"),
    "truncated": (lambda f: os.truncate(f / "session02.hdf5", 3000), "cannot be read"),
    "a folder": (lambda f: ((f / "session02.hdf5").unlink(), (f / "session02.hdf5").mkdir()), "cannot be read"),
    "another format": (break_file(lambda t: t.attrs.update(format="nbtools responses 9")), "no session of responses"),
    "no ids": (break_file(lambda t: t.pop("image_id", None)), "no session of responses"),
    "no shared": (break_file(lambda t: t.pop("shared", None)), "no session of responses"),
    "no region": (break_file(lambda t: t.pop("regions/IT", None)), "holds no IT"),
    "ids of floats": (put("image_id", np.arange(12.0)), "do not belong together"),
    "negative ids": (put("image_id", np.arange(12) - 1), "do not belong together"),
    "fewer ids": (put("image_id", np.arange(11)), "do not belong together"),
    "fewer rows": (put("regions/IT/responses", np.ones((11, 5))), "do not belong together"),
    "rows of text": (put("regions/IT/responses", np.full((12, 5), b"x")), "do not belong together"),
    "flat responses": (put("regions/IT/responses", np.ones(12)), "do not belong together"),
    "fewer places": (put("regions/IT/voxels", np.zeros((4, 3), int)), "do not belong together"),
    "other voxels": (put("regions/IT/voxels", np.zeros((5, 3), int)), "different voxels"),
    "a repeat that is NaN": (put("repeat", np.full(12, np.nan)), "whole numbers"),
    "places between voxels": (put("regions/IT/voxels", np.full((5, 3), 1.5)), "whole numbers"),
    "places outside the volume": (break_file(lambda t: t.attrs.update(shape=(2, 2, -3))), "outside the volume"),
    "an affine of another shape": (break_file(lambda t: t.attrs.update(affine=np.eye(3))), "affine"),
    "no scale": (break_file(lambda t: t.attrs.update(scale=0.0)), "do not belong together"),
    "a bad note": (break_file(lambda t: t.attrs.update(source="{")), "cannot be read"),
    "all constant": (put("regions/IT/responses", np.ones((12, 5))), "no voxel varies"),
    "all NaN": (put("regions/IT/responses", np.full((12, 5), np.nan)), "no voxel varies"),
}


@pytest.mark.parametrize("case", BAD_OWN)
def test_bad_own_files(own: Study, case: str) -> None:
    damage, says = BAD_OWN[case]
    damage(own.responses)
    with pytest.raises(InputError, match=says) as error:
        load_trials(own, ["IT"], progress=False)
    assert "to do:" in str(error.value)


ANYTHING: dict[str, object] = {
    "text": b"x",
    "texts": np.array(["é"] * 12, dtype=h5py.string_dtype()),
    "NaN": np.nan,
    "huge": 1e308,
    "a square": np.eye(12),
    "nothing": np.zeros(0),
    "empty": h5py.Empty("f"),
    "complex": np.full(12, 1j),
    "pairs": np.zeros(12, [("a", int), ("b", int)]),
    "large": np.arange(12, dtype=np.uint64) + 2**63,
}
PLACES = ("image_id", "shared", "repeat", "regions", "regions/IT", "regions/IT/responses", "regions/IT/voxels")


@pytest.mark.parametrize("value", ANYTHING)
@pytest.mark.parametrize("place", [*PLACES, "@format", "@scale", "@shape", "@affine", "@source"])
def test_whatever_stands_in_a_session_it_is_read_or_refused(own: Study, place: str, value: str) -> None:
    with h5py.File(own.responses / "session02.hdf5", "r+") as tree:
        if place.startswith("@"):
            tree.attrs[place[1:]] = ANYTHING[value]
        else:
            tree.pop(place, None)
            tree[place] = ANYTHING[value]
    for door in (lambda: load_trials(own, ["IT"], progress=False), lambda: load_design(own)):
        with suppress(InputError):
            door()


SHARED = np.arange(12) % 4 == 0


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32, ">i2"])
def test_shared_may_be_ones_and_zeros(own: Study, dtype: str) -> None:
    put("shared", SHARED.astype(dtype))(own.responses)  # type: ignore[operator]
    np.testing.assert_array_equal(load_design(own).shared_ids, [10])


@pytest.mark.parametrize(
    ("values", "got"),
    [
        (np.where(SHARED, b"True", b"False"), "b'False', b'True'"),
        (np.where(SHARED, b"1", b"0"), "b'0', b'1'"),
        (np.where(SHARED, 1.0, np.nan), "float64: 1.0, nan"),
        (np.where(SHARED, 1, -1), "int64: -1, 1"),
        (np.where(SHARED, 255, 0), "int64: 0, 255"),
    ],
)
def test_shared_that_is_neither_true_nor_false_is_refused(own: Study, values: np.ndarray, got: str) -> None:
    put("shared", values)(own.responses)  # type: ignore[operator]
    with pytest.raises(InputError, match=rf"shared holds something else than true and false(.|\n)*{got}"):
        load_design(own)


@pytest.mark.parametrize("value", [b"nbtools responses 1", np.bytes_(b"nbtools responses 1"), ["nbtools responses 1"]])
def test_the_format_may_be_written_as_matlab_writes_it(own: Study, value: object) -> None:
    expected = load_trials(own, ["IT"], zscore=False, progress=False)["IT"]
    attributes = {"format": value, "scale": np.array([1.0]), "source": b"{}"}
    break_file(lambda t: t.attrs.update(attributes))(own.responses)  # type: ignore[operator]
    assert_same(load_trials(own, ["IT"], zscore=False, progress=False)["IT"], expected)


def renumbered(own: Study, ids: np.ndarray, n_images: int) -> Study:
    """Have both sessions show these ids, of so many images."""
    for number in (1, 2):
        write_session(own.responses / f"session{number:02d}.hdf5", replace(own_session(number), image_ids=ids))
    stimuli = own.responses.parent / "own.hdf5"
    with h5py.File(stimuli, "w") as store:
        store["imgBrick"] = np.zeros((n_images, 2, 2, 3), np.uint8)
    return replace(own, stimuli=stimuli)


@pytest.mark.parametrize("door", [lambda study: load_trials(study, ["IT"], progress=False), load_design])
def test_image_ids_are_rows_of_the_stimuli(own: Study, door: Callable[[Study], object]) -> None:
    ids = np.arange(12) % 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        door(renumbered(own, ids, 4))
        door(replace(own, stimuli=own.responses / "nothing"))
    with pytest.raises(InputError, match=r"ids from 0 to 3(.|\n)*got:      ids from 1 to 4(.|\n)*subtract 1"):
        door(renumbered(own, ids + 1, 4))
    with pytest.raises(InputError, match=r"got:      ids from 0 to 3(.|\n)*counted from 0$"):
        door(renumbered(own, ids, 3))
    with pytest.warns(UserWarning, match="ids go from 1 to 4, image 0 is never shown: are they counted from 1"):
        door(renumbered(own, ids + 1, 5))


@pytest.mark.parametrize(("n_images", "state", "says"), [(4, DAMAGED, "subtract 1"), (5, GOOD, "counted from 1?")])
def test_doctor_asks_about_image_ids(own: Study, n_images: int, state: str, says: str) -> None:
    found = findings(renumbered(own, np.arange(12) % 4 + 1, n_images), deep=True)
    told = next(finding for finding in found if finding.part == "prepared")
    assert told.state == state
    assert says in told.found


def test_own_sessions_lie_in_one_place(own: Study) -> None:
    places, affine = np.argwhere(np.ones((1, 5, 1))), np.diag([2.0, 2, 2, 1])
    for number, factor in ((1, 1), (2, 1 + 1e-7)):
        session = replace(own_session(number), voxels={"IT": places}, shape=(4, 6, 3), affine=affine * factor)
        write_session(own.responses / f"session{number:02d}.hdf5", session)
    load_trials(own, ["IT"], progress=False)
    for attributes in ({"affine": affine * [-1, 1, 1, 1]}, {"shape": (4, 6, 4)}):
        write_session(own.responses / "session02.hdf5", replace(session, **attributes))
        with pytest.raises(InputError, match=r"session 2 (lies elsewhere than|and) session 1"):
            load_trials(own, ["IT"], progress=False)


def test_an_image_cannot_be_tested_on_and_trained_on(own: Study) -> None:
    put("shared", np.zeros(12, bool))(own.responses)  # type: ignore[operator]
    with pytest.raises(InputError, match=r"in the test set and out of it(.|\n)*e\.g\. 10"):
        load_design(own)


def test_a_voxel_that_is_nan_once_is_left_out_and_reported(own: Study) -> None:
    break_file(with_nan)(own.responses)  # type: ignore[operator]
    with pytest.warns(UserWarning, match="IT: 1 of 5 voxels"):
        trials = load_trials(own, ["IT"], progress=False)["IT"]
    assert trials.responses.shape == (24, 4)
    assert len(trials.dropped) == 1


def test_a_session_comes_back_as_it_was_written(tmp_path: Path) -> None:
    session = replace(own_session(3), source={"file": "x", "size": 3}, scale=300.0)
    write_session(tmp_path / "session01.hdf5", session)
    back = read_session(tmp_path / "session01.hdf5", ["IT"])
    for part in ("image_ids", "shared", "repeats"):
        np.testing.assert_array_equal(getattr(back, part), getattr(session, part))
    np.testing.assert_array_equal(back.responses["IT"], session.responses["IT"])
    assert (back.scale, back.source, back.shape, back.affine) == (300.0, session.source, None, None)


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(2, 9), min_size=1, max_size=4),
    constant=st.sets(st.integers(0, 3), max_size=3),
    seed=st.integers(0, 99),
)
def test_assembling_is_zscoring_session_by_session(lengths: list[int], constant: set[int], seed: int) -> None:
    """Against the plain way, whatever the sessions' lengths and dead voxels."""
    rng = np.random.default_rng(seed)
    blocks = [rng.normal(5, 3, (n, 4)) for n in lengths]
    for voxel in constant:
        blocks[rng.integers(len(blocks))][:, voxel] = 2.5
    ids = [rng.integers(0, 5, n) for n in lengths]

    def read(number: int) -> Session:
        n = lengths[number - 1]
        values = {"VT": blocks[number - 1].copy()}
        zeros = np.zeros(n, np.int64)
        return Session(ids[number - 1], zeros.astype(bool), zeros, values, {"VT": np.argwhere(np.ones((4, 1, 1)))})

    trials = assemble(range(1, len(lengths) + 1), read, progress=False)["VT"]
    alive = [voxel for voxel in range(4) if voxel not in constant]
    expected = np.concatenate([(b - b.mean(0)) / np.where(b.std(0) == 0, 1, b.std(0)) for b in blocks])[:, alive]
    np.testing.assert_allclose(trials.responses, expected, atol=1e-5)
    everything = np.concatenate(ids)
    counted = [int((everything[: row + 1] == image).sum()) for row, image in enumerate(everything)]
    np.testing.assert_array_equal(trials.repeats, counted)
    np.testing.assert_array_equal(trials.sessions, np.repeat(np.arange(1, len(lengths) + 1), lengths))


def test_one_session_can_be_reduced_by_itself(study: Study) -> None:
    volume = nsd.find_sessions(study.need("nsd"), study.subject)[1]
    assert reduce_session(study, 1, volume, ["TO"]) == prepared_file(study, 1)


@pytest.mark.notebook
def test_a_study_shown_once_is_trained_on_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No image twice: no ceiling, which is a missing value and no error."""
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))
    folder, rng = tmp_path / "data/raw/once", np.random.default_rng(0)
    ids = np.arange(40)
    responses = {"TO": rng.normal(size=(40, 6))}
    once = Session(ids, ids % 4 == 0, np.zeros(40, np.int64), responses, {"TO": np.full((6, 3), -1)})
    write_session(folder / "responses/session01.hdf5", once)
    with h5py.File(folder / "stimuli.hdf5", "w") as store:
        store["imgBrick"] = rng.integers(0, 256, (40, 32, 32, 3), np.uint8)
    entries = {
        "name": "once",
        "simulated": False,
        "image_size": 32,
        "responses": "responses",
        "stimuli": "stimuli.hdf5",
    }
    (folder / "study.toml").write_text(as_toml(entries))
    assert run_notebook("02_neural_predictors", {"study": "once", "epochs": "1"}) == 0
    run = find("02_neural_predictors", "once")
    assert run.finished
    assert run.table("voxels")["noise_ceiling"].isna().all()
    assert run.table("voxels")["r"].notna().all()
