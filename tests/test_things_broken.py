"""Measured brains whose tables and arrays are not what they should be: a number comes of none, and each is named."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from nbtools.data.brains import things_fmri
from nbtools.data.brains.measured import load_design, load_responses, load_trials
from nbtools.data.brains.prepare_things import ceilings_beside, prepare_things_fmri, prepare_tvsd
from nbtools.data.brains.sessions import session_files
from nbtools.data.images.stimuli import opened_stimuli
from nbtools.data.images.things import place_of
from nbtools.data.study import open_study
from nbtools.errors import InputError
from tests.test_things import TEST, TRAIN, pictures, raw, write_tvsd  # noqa: F401  # two of them are fixtures
from tests.things_archives import write_responses
from tests.things_files import N_ELECTRODES, write_monkey, write_person

Table = Callable[[pd.DataFrame], pd.DataFrame]
pytestmark = [
    pytest.mark.filterwarnings("error::RuntimeWarning"),  # of NaN that becomes some whole number
    pytest.mark.filterwarnings("ignore:.*were dropped:UserWarning"),
]
FOLDER, SHAPE = "things-fmri/sub-01", (6, len(TEST), N_ELECTRODES)


def rewrite(file: Path, change: Table) -> None:
    change(pd.read_csv(file)).to_csv(file, index=False)


# --- tables of a person ---------------------------------------------------------------------------------------


@pytest.fixture
def person(raw: Path) -> Path:  # noqa: F811
    write_person(raw / FOLDER, TRAIN, TEST)
    return raw


def moved(column: str, value: object, row: int = 3) -> Table:
    """Put a value into one row of a column."""
    return lambda table: table.astype({column: object}).assign(
        **{column: [value if n == row else old for n, old in enumerate(table[column])]}
    )


TRIALS: dict[str, tuple[Table, str]] = {
    "kinds spelled otherwise": (lambda t: t.assign(trial_type=t["trial_type"].str.title()), "2 kinds of trial"),
    "no test": (lambda t: t[t["trial_type"] == "train"], "1 kinds of trial"),
    "no training": (lambda t: t[t["trial_type"] == "test"], "1 kinds of trial"),
    "no id": (moved("trial_id", np.nan), "1 rows without a whole number as trial_id"),
    "an id below 0": (lambda t: t.assign(trial_id=t["trial_id"] - 1), "1 rows without a whole number as trial_id"),
    "half an id": (lambda t: t.assign(trial_id=t["trial_id"] + 0.5), "96 rows without a whole number as trial_id"),
    "an id in words": (moved("trial_id", "three"), "1 rows without a whole number as trial_id"),
    "an id twice": (moved("trial_id", 5), "twice"),
    "no session": (moved("session", np.nan), "1 rows without a whole number as session"),
    "sessions in words": (lambda t: t.assign(session="ses-1"), "96 rows without a whole number as session"),
    "sessions from 0": (lambda t: t.assign(session=t["session"] - 1), "rows without a whole number as session"),
    "a session missing": (lambda t: t.assign(session=t["session"].replace(3, 5)), "sessions are missing"),
    "no stimulus": (moved("stimulus", np.nan), "1 rows without a stimulus"),
    "a test image that trains": (
        lambda t: pd.concat([t, t[t["stimulus"] == TEST[0]].head(1).assign(trial_type="train", trial_id=96)]),
        "1 stimuli both to train and to test on",
    ),
    "another subject": (lambda t: t.assign(subject_id="sub-02"), "96 rows of another subject"),
    "cut after a line": (lambda t: t.iloc[:40], "do not fit their tables"),
    "cut within a line": (lambda t: t.iloc[:40].assign(session=t["session"].where(t.index < 39)), "1 rows without"),
}
VOXELS: dict[str, tuple[Table, str]] = {
    "no place": (lambda t: t.drop(columns="voxel_x"), "without voxel_x"),
    "a place missing": (moved("voxel_y", np.nan), "1 voxels without a place"),
    "all at one place": (lambda t: t.assign(voxel_x=0, voxel_y=0, voxel_z=0), "399 voxels where another lies"),
    "another subject": (lambda t: t.assign(subject_id=3), "400 voxels of another subject"),
    "a measure in words": (lambda t: t.assign(nc_testset="high"), "1 measures of reliability that are no numbers"),
    "half a member": (lambda t: t.assign(V1=t["V1"] * 0.5), "voxels of V1 cannot be told"),
}


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        *[pytest.param("StimulusMetadata.csv", *case, id=f"trials: {what}") for what, case in TRIALS.items()],
        *[pytest.param("VoxelMetadata.csv", *case, id=f"voxels: {what}") for what, case in VOXELS.items()],
    ],
)
def test_no_study_is_made_of_a_table_that_cannot_be(person: Path, name: str, change: Table, said: str) -> None:
    rewrite(person / FOLDER / name, change)
    with pytest.raises(InputError, match=said) as told:
        prepare_things_fmri(person, 1)
    assert not list(person.glob("*/study.toml"))
    assert not list(person.rglob("session*.hdf5"))
    assert "responses.h5" not in str(told.value) or said == "do not fit their tables", "the file at fault is named"


@pytest.mark.parametrize("change", ["twice", "more trials", "text"])
def test_no_study_is_made_of_responses_that_do_not_fit(person: Path, change: str) -> None:
    with h5py.File(person / FOLDER / "responses.h5", "r+") as tree:
        values = tree["responses"][:]
        changed = {"more trials": np.hstack([values, values]), "text": values.astype("S8")}.get(change, values)
        del tree["responses"]
        tree["responses"] = changed
        if change == "twice":
            tree["voxel_id"][0] = 5
    with pytest.raises(InputError, match="do not fit their tables"):
        prepare_things_fmri(person, 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.sample(frac=1, random_state=0),
        lambda t: t.assign(subject_id="sub-01"),
        lambda t: t.drop(columns=["subject_id", "run", "concept"]),
        lambda t: t.assign(trial_id=t["trial_id"].astype(float)),
        lambda t: pd.concat([t, t.head(1).assign(trial_type="catch", stimulus=np.nan, trial_id=np.nan)]),
    ],
)
def test_what_a_table_says_in_another_way_is_taken(person: Path, change: Table) -> None:
    first = load_trials(open_study(prepare_things_fmri(person, 1)), ["V1"], progress=False)["V1"]
    rewrite(person / FOLDER / "StimulusMetadata.csv", change)
    again = load_trials(open_study(prepare_things_fmri(person, 1)), ["V1"], progress=False)["V1"]
    np.testing.assert_array_equal(first.responses, again.responses)
    np.testing.assert_array_equal(first.image_ids, again.image_ids)


def test_sessions_of_an_earlier_table_do_not_stay(person: Path) -> None:
    """A second table has fewer of them, and the same trials in others."""
    study = open_study(prepare_things_fmri(person, 1))
    assert list(session_files(study.responses)) == [1, 2, 3]
    rewrite(person / FOLDER / "StimulusMetadata.csv", lambda t: t.assign(session=t["session"].clip(upper=2)))
    prepare_things_fmri(person, 1)
    assert list(session_files(study.responses)) == [1, 2]


# --- electrodes -----------------------------------------------------------------------------------------------


def mua(raw: Path, change: Callable[[np.ndarray, np.ndarray], object]) -> None:  # noqa: F811
    """Write a monkey's responses after a change to them: (n, 1024) and (repeats, n_test, 1024)."""
    write_tvsd(raw, repeats=SHAPE[0])
    with h5py.File(raw / "tvsd/monkeyF/THINGS_normMUA.mat", "r+") as tree:
        train, reps = tree["train_MUA"][:], tree["test_MUA_reps"][:]
        change(train, reps)
        tree["train_MUA"][...], tree["test_MUA_reps"][...] = train, reps


@pytest.mark.parametrize(
    "change",
    [
        lambda train, reps: (train.fill(np.nan), reps.fill(np.nan)),
        lambda train, reps: train.fill(np.inf),
        lambda train, reps: reps.fill(np.nan),
        lambda train, reps: reps[1:].fill(np.nan),
        lambda train, reps: np.multiply(train, 1e300, out=train),
    ],
)
def test_no_study_is_made_where_nothing_is_left_to_train_or_to_test_on(raw: Path, change: Callable) -> None:  # noqa: F811
    mua(raw, change)
    with pytest.raises(InputError, match="nothing to train or to test on"):
        prepare_tvsd(raw, "F")
    assert not list(raw.glob("*/study.toml"))
    assert not list(raw.rglob("session*.hdf5"))


STRANGE = slice(0, 40)  # electrodes that hold noise alone, and one thing more


def artefact(where: str) -> Callable[[np.ndarray, np.ndarray], object]:
    def change(train: np.ndarray, reps: np.ndarray) -> None:
        rng = np.random.default_rng(7)
        train[:, STRANGE], reps[..., STRANGE] = rng.normal(size=(len(train), 40)), rng.normal(size=(*SHAPE[:2], 40))
        if where == "constant in the test":
            reps[..., STRANGE] = 3
        elif where == "constant in odd showings":
            reps[::2, :, STRANGE] = 3
        elif where == "less in the test":
            reps[..., STRANGE] /= 10
        else:
            {"train": train[5], "odd": reps[0, 2], "even": reps[1, 2]}[where][STRANGE] = 1e4

    return change


@pytest.mark.parametrize(
    "where", ["train", "odd", "even", "less in the test", "constant in the test", "constant in odd showings"]
)
def test_an_electrode_of_noise_and_an_artefact_is_not_taken_for_reliable(raw: Path, where: str) -> None:  # noqa: F811
    """One electrode's variance lies in one showing, so that all others seem to agree; the region is read without it."""
    mua(raw, artefact(where))
    study = open_study(prepare_tvsd(raw, "F"))
    chosen = load_trials(study, ["V1"], progress=False)["V1"].voxels[:, 0]
    assert len(chosen) > 150
    assert chosen.min() >= STRANGE.stop
    beside = ceilings_beside(study, raw)
    assert np.isfinite(beside["ours"]).all()


def test_one_training_image_shown_twice_does_not_judge_all_voxels(person: Path) -> None:
    """Its one pair of showings would; the odd showings of the test do."""
    plain = load_responses(open_study(prepare_things_fmri(person, 1)), "V1")
    rewrite(person / FOLDER / "StimulusMetadata.csv", lambda t: t.replace({"stimulus": {TRAIN[1]: TRAIN[0]}}))
    shutil.rmtree(person / "things-subj01")
    again = load_responses(open_study(prepare_things_fmri(person, 1)), "V1")
    assert plain.n_repeats[plain.shared].tolist() == again.n_repeats[again.shared].tolist() == [1] * len(TEST)
    np.testing.assert_array_equal(plain.voxels, again.voxels)


def test_a_study_that_cannot_be_made_anew_stays_what_it_was(raw: Path) -> None:  # noqa: F811
    """Other test images: pictures to classify were sorted for the old ones, and are not sorted again."""
    write_tvsd(raw, repeats=4)
    study = open_study(prepare_tvsd(raw, "F"))
    before = {file: file.read_bytes() for file in (*session_files(study.responses).values(), study.stimuli)}
    write_monkey(raw / "tvsd/monkeyF", "F", [*TRAIN[1:], TEST[0]], [*TEST[1:], TRAIN[0]], repeats=4)
    with pytest.raises(InputError, match="something else lies there"):
        prepare_tvsd(raw, "F")
    assert {file: file.read_bytes() for file in before} == before


@pytest.mark.parametrize("order", ["responses first", "stimuli first"])
def test_responses_and_stimuli_of_two_lists_of_pictures_are_no_pair(raw: Path, order: str) -> None:  # noqa: F811
    """As a study of another size, or a kill between the two, leaves them."""
    write_tvsd(raw, repeats=4)
    large, small = (open_study(prepare_tvsd(raw, "F", image_size=size)) for size in (12, 8))
    load_trials(large, ["V1"], progress=False)
    if order == "stimuli first":
        kept = {file: file.read_bytes() for file in session_files(small.responses).values()}
    write_monkey(raw / "tvsd/monkeyF", "F", TRAIN[::-1], TEST, repeats=4)
    prepare_tvsd(raw, "F", image_size=8)
    load_trials(small, ["V1"], progress=False)
    if order == "stimuli first":
        for file, content in kept.items():
            file.write_bytes(content)
    wrong = small if order == "stimuli first" else large
    for load in (lambda: load_trials(wrong, ["V1"], progress=False), lambda: load_design(wrong)):
        with pytest.raises(InputError, match=r"to other images than the stimuli(.|\n)*prepare the study again"):
            load()
    load_trials(open_study(prepare_tvsd(raw, "F", image_size=wrong.image_size)), ["V1"], progress=False)


def test_damaged_stimuli_are_made_anew(raw: Path) -> None:  # noqa: F811
    write_tvsd(raw, repeats=4)
    study = open_study(prepare_tvsd(raw, "F", image_size=8))
    sound = study.stimuli.read_bytes()
    for damaged in (b"", sound[: len(sound) // 2], b"x" * len(sound)):
        study.stimuli.write_bytes(damaged)
        prepare_tvsd(raw, "F", image_size=8)
        with opened_stimuli(study.stimuli) as brick:
            assert brick.shape == (len(TRAIN) + len(TEST), 8, 8, 3)


@pytest.mark.parametrize("heading", ["[voxels]", "[ voxels ]  # mine", "  [voxels]"])
def test_what_was_written_into_a_description_stays_when_it_is_made_anew(raw: Path, heading: str) -> None:  # noqa: F811
    write_tvsd(raw, repeats=4)
    file = prepare_tvsd(raw, "F", image_size=8)
    told = file.read_text().replace("\n[voxels]\n", f'corruptions = "c"\n\n{heading}\n').replace("= 56 ", "= 40 ")
    file.write_text(told, newline="\r\n")
    with h5py.File(raw / "tvsd/monkeyF/THINGS_normMUA.mat", "r+") as tree:
        del tree.attrs["simulated"]
    study = open_study(prepare_tvsd(raw, "F", image_size=8))
    assert (study.simulated, study.voxels.noise_ceiling, study.corruptions.name) == (False, 40, "c")


def mixed(names: np.ndarray) -> np.ndarray:
    return np.array([name.decode() for name in names.astype("S")], h5py.string_dtype())


@pytest.mark.parametrize("spelled", [lambda n: n, lambda n: n.astype("S"), lambda n: n.astype(float), mixed])
def test_trials_in_another_order_are_noticed_however_they_are_named(tmp_path: Path, spelled: Callable) -> None:
    """Columns of the table of responses are trials 0, 1, 2 …; a block in another order would be other trials."""
    ids, values = np.array([7, 3, 9]), np.arange(30.0).reshape(3, 10)
    write_responses(tmp_path / "t.h5", ids, values, names=spelled(np.arange(10)))
    things_fmri.reduce_responses(tmp_path / "t.h5", np.array([3, 9]), tmp_path / "r.h5")
    with h5py.File(tmp_path / "r.h5") as tree:
        np.testing.assert_array_equal(tree["responses"], values[1:])
    write_responses(tmp_path / "t.h5", ids, values, names=spelled(np.arange(10)[::-1].copy()))
    with pytest.raises(InputError, match="not trials 0 to 9 in order"):
        things_fmri.reduce_responses(tmp_path / "t.h5", np.array([3, 9]), tmp_path / "r.h5")


@pytest.mark.parametrize("size", [32, 5000])
def test_nothing_is_made_where_a_picture_is_missing_or_too_large(raw: Path, size: int) -> None:  # noqa: F811
    """Pictures sorted into categories are kept as they are: they would stay those of too few."""
    shown = [*TRAIN[:-1], "dog_88s.jpg"] if size == 32 else TRAIN
    write_monkey(raw / "tvsd/monkeyF", "F", shown, TEST, repeats=4)
    with pytest.raises(InputError, match=r"missing|side of images"):
        prepare_tvsd(raw, "F", image_size=size)
    assert not list(raw.glob("tvsd-F*"))


# --- what to do is what helps ---------------------------------------------------------------------------------


def test_files_that_fetch_takes_for_whole_are_to_be_deleted_first(raw: Path) -> None:  # noqa: F811
    """`fetch` looks at sizes and its record: told to fetch again, it would keep them."""
    write_tvsd(raw, repeats=4)
    places = raw / "tvsd/monkeyF/_logs/things_imgs.mat", raw / "tvsd/monkeyF/THINGS_normMUA.mat"
    said = []
    for file in places:
        sound = file.read_bytes()
        file.write_bytes(sound[:600] + bytes(len(sound) - 600))
        with pytest.raises(InputError) as told:
            prepare_tvsd(raw, "F")
        said.append(str(told.value))
        file.write_bytes(sound)
    own = raw / "own"
    (own / "tvsd").mkdir(parents=True)
    (own / "tvsd" / "monkeyF").symlink_to(raw / "tvsd" / "monkeyF")
    (own / "things").mkdir()
    for name in [*TRAIN, *TEST]:
        (own / "things/object_images" / place_of(name)).parent.mkdir(parents=True, exist_ok=True)
        (own / "things/object_images" / place_of(name)).symlink_to(raw / "things/object_images" / place_of(name))
    table = own / "things/category53_long-format.tsv"
    for text in ('{"errors": [{"detail": "Not found."}]}', "category\tuniqueID\nanimal\tdog\n"):
        table.write_text(text)
        with pytest.raises(InputError) as told:
            prepare_tvsd(own, "F")
        assert str(table) in str(told.value)
        said.append(str(told.value))
    (own / "things/object_images" / place_of(TRAIN[0])).unlink()
    with pytest.raises(InputError) as told:
        prepare_tvsd(own, "F", image_size=32)
    assert len([text for text in [*said, str(told.value)] if "to do:    delete" in text]) == 5
