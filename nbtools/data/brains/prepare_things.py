"""Studies of measured brains that saw pictures of THINGS: two macaques (TVSD), three people (THINGS-fMRI)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nbtools.checks import check_choice, check_counts, check_once, check_table, listed, reading
from nbtools.data.brains import things_fmri, tvsd
from nbtools.data.brains.measured import load_design, load_trials
from nbtools.data.brains.responses import count_repeats, trials_of
from nbtools.data.brains.sessions import SIMULATED, Session, choose_sessions, session_files, write_session
from nbtools.data.brains.tvsd import Shown
from nbtools.data.images.folders import subfolders
from nbtools.data.images.stimuli import SHOWN, opened_stimuli, rows_mark
from nbtools.data.study import Study, as_toml
from nbtools.errors import InputError
from nbtools.files import opened_hdf5, read_table, write_text, written
from nbtools.metrics.brain.noise_ceiling import ncsnr, noise_ceiling

SIZE = 64  # pixels; a study of another size has it in its name
# Lowest noise ceiling of an electrode or voxel, percent for three showings, and why.
RELIABLE = 56, "two single showings correlate by .3, as the authors ask"
ABOVE_NOISE = 10, "of voxels that hold nothing but noise, one in four comes as far"
# What publishers say of electrodes or voxels, and what it is by our ratio of signal to noise over k repeats.
PUBLISHED: dict[str, Callable[[NDArray, int], NDArray]] = {
    "reliab": lambda snr, k: noise_ceiling(snr, 1) / 100,
    "oracle": lambda snr, k: np.sqrt(noise_ceiling(snr, 1) * noise_ceiling(snr, k - 1)) / 100,
    "nc_singletrial": lambda snr, k: noise_ceiling(snr, 1),
    "nc_testset": lambda snr, k: noise_ceiling(snr, k),
}
_PLACE = ["i", "j", "k"]
_FETCH = "delete it and fetch again: python -m nbtools fetch things-fmri"


def prepare_tvsd(raw: Path, monkey: str, *, image_size: int = SIZE) -> Path:
    """Make a study of a monkey: V1, V4, IT.

    Parameters
    ----------
    raw : Path
        ``data/raw``, with ``tvsd/`` and ``things/`` as `fetch` leaves them.
    monkey : {"F", "N"}
        The monkey.
    image_size : int
        Side in pixels at which networks see the pictures.

    Returns
    -------
    Path
        The ``study.toml``.

    Raises
    ------
    InputError
        If a file or a picture is missing or damaged, or does not fit the others.
    """
    folder = tvsd.monkey_folder(raw, monkey)
    shown = tvsd.shown_images(folder)
    session = tvsd.session_of(folder, monkey, shown)
    entries = {
        "simulated": _is_simulated(folder / "THINGS_normMUA.mat"),
        "responses": f"../tvsd/{folder.name}/responses",
        "regions": list(session.responses),
        "sites": "electrodes",
    }
    return _write_study(raw, f"tvsd-{monkey}", shown, [(1, session)], entries, RELIABLE, image_size)


def prepare_things_fmri(raw: Path, subject: int, *, image_size: int = SIZE) -> Path:
    """Make a study of a person: the regions that were fetched, V1 V2 V4 VO PPA LO TO among them as its hierarchy.

    Parameters
    ----------
    raw : Path
        ``data/raw``, with ``things-fmri/`` and ``things/`` as `fetch` leaves them.
    subject : int
        1 to 3.
    image_size : int
        As for `prepare_tvsd`.

    Returns
    -------
    Path
        The ``study.toml``. PHC is not among the data; PPA stands in its place, under its own name.

    Raises
    ------
    InputError
        As `prepare_tvsd`.
    """
    check_choice("THINGS-fMRI has no such subject", subject, things_fmri.SUBJECTS)
    folder = things_fmri.subject_place(raw / "things-fmri", subject)
    trials, n_trials = _read_trials(folder / things_fmri.STIMULI, subject)
    shown = Shown(*(sorted(set(trials.loc[trials["trial_type"] == kind, "stimulus"])) for kind in ("train", "test")))
    responses, voxels = _read_regions(folder, subject, n_trials)
    regions = [roi for roi in things_fmri.HIERARCHY if roi in responses] or list(responses)
    parts = ((number, _session(part, shown, responses, voxels)) for number, part in trials.groupby("session"))
    entries = {
        "simulated": _is_simulated(folder / things_fmri.RESPONSES),
        "responses": f"../things-fmri/responses/subj{subject:02d}",
        "regions": regions,
        "subject": subject,
    }
    return _write_study(raw, f"things-subj{subject:02d}", shown, parts, entries, ABOVE_NOISE, image_size)


def ceilings_beside(study: Study, raw: Path) -> pd.DataFrame:
    """Compare what the repeats of the test images say of electrodes or voxels with what their publishers say.

    Parameters
    ----------
    study : Study
        From `prepare_tvsd` or `prepare_things_fmri`.
    raw : Path
        As there.

    Returns
    -------
    DataFrame
        One row per region × publishers' measure: ``roi``, ``measure``, ``n`` (electrodes or voxels that have both),
        ``kept`` (of the region's, by the study's choice), ``published`` and ``ours`` (means), ``difference``
        (ours − published, mean), ``r``. From all repeats of all ``n``; ``reliab`` and ``oracle`` are correlations, the
        others percent of variance.

    Raises
    ------
    InputError
        As the loaders, or if the publishers' table is missing or damaged.
    """
    published, rows = _published(study, raw), []
    everything = replace(study, voxels=replace(study.voxels, noise_ceiling=0))
    shared = load_design(study).shared_ids
    kept = {roi: len(trials.voxels) for roi, trials in load_trials(study, study.hierarchy).items()}
    for roi, trials in load_trials(everything, study.hierarchy).items():
        tested = trials_of(trials, shared)
        varies = tested.responses.max(axis=0) != tested.responses.min(axis=0)
        z = tested.responses[:, varies]
        z = (z - z.mean(axis=0)) / z.std(axis=0)
        snr, k = ncsnr(z, tested.image_ids), int(count_repeats(tested.image_ids).max())
        both = pd.DataFrame(tested.voxels[varies], columns=_PLACE).assign(snr=snr).merge(published, on=_PLACE)
        for measure in published.columns.intersection(list(PUBLISHED)):
            ours = PUBLISHED[measure](both["snr"].to_numpy(), k)
            pair = pd.DataFrame({"published": both[measure], "ours": ours}).dropna()
            mean, r = pair.mean(), float(pair.corr().iloc[0, 1])
            told = {**mean, "difference": mean["ours"] - mean["published"], "r": r}
            rows.append({"roi": roi, "measure": measure, "n": len(pair), "kept": kept[roi], **told})
    return pd.DataFrame(rows)


def _published(study: Study, raw: Path) -> pd.DataFrame:
    if study.sites == "electrodes":
        return tvsd.published_reliability(study.responses.parent)
    folder = things_fmri.subject_place(raw / "things-fmri", study.subject)
    return _read_voxels(folder / things_fmri.VOXELS, study.subject)


# --- THINGS-fMRI ----------------------------------------------------------------------------------------------


def _read_trials(file: Path, subject: int) -> tuple[pd.DataFrame, int]:
    """Read which trial (``trial_id``) showed which ``stimulus`` in which ``session``, as which ``trial_type``.

    Returned with how many trials there are responses to, catch trials among them.
    """
    problem, needed = "the table of trials cannot be read", ["trial_type", "session", "trial_id", "stimulus"]
    with reading(problem, OSError, ValueError, file=file, expected=f"CSV with {', '.join(needed)}", fix=_FETCH):
        table = pd.read_csv(file)
    check_table(problem, table, needed, fix=_FETCH)
    trials = table[table["trial_type"].isin(["train", "test"])]  # no catch trials
    test = trials["trial_type"] == "test"
    wrong = {
        "rows without a whole number as trial_id": _no_numbers(trials["trial_id"], 0),
        "rows without a whole number as session": _no_numbers(trials["session"], 1),
        "rows without a stimulus": sum(not isinstance(name, str) for name in trials["stimulus"]),
        "rows of another subject": _of_others(table, subject),
        "stimuli both to train and to test on": trials.loc[test, "stimulus"][
            trials.loc[test, "stimulus"].isin(trials.loc[~test, "stimulus"])
        ].nunique(),
        "kinds of trial, train and test, that are missing": 2 - trials["trial_type"].nunique(),
    }
    expected = f"trials of subject {subject}, of train and of test: trial_id from 0, session from 1, a picture's name"
    check_counts("the table of trials cannot be used", wrong, expected=expected, fix=_FETCH, file=file)
    check_once(problem, trials, ["trial_id"], fix=_FETCH)
    whole = trials.astype({"trial_id": np.int64, "session": np.int64})
    choose_sessions(file, whole["session"].unique())  # none is missing
    return whole.sort_values("trial_id"), int(pd.to_numeric(table["trial_id"], errors="coerce").max()) + 1


def _no_numbers(column: pd.Series, least: int) -> int:
    """Count entries that are no whole number from the least on."""
    numbers = pd.to_numeric(column, errors="coerce")
    return int((~((numbers >= least) & (numbers % 1 == 0) & (numbers < 2**53))).sum())


def _of_others(table: pd.DataFrame, subject: int) -> int:
    """Count rows that name another subject: as a number or as ``sub-01``; none where the table names nobody."""
    if "subject_id" not in table:
        return 0
    named = pd.to_numeric(table["subject_id"].astype(str).str.extract(r"(\d+)")[0])
    return int((named.notna() & (named != subject)).sum())


def _read_voxels(file: Path, subject: int) -> pd.DataFrame:
    """Read the table of voxels: where they lie is named i, j, k."""
    voxels = things_fmri.read_voxels(file)
    places = [f"voxel_{axis}" for axis in "xyz"]
    measures = voxels.columns.intersection(list(PUBLISHED))
    check_table("the table of voxels cannot be used", voxels, places, fix=_FETCH)
    wrong = {
        "voxels without a place": max(_no_numbers(voxels[axis], -(10**6)) for axis in places),
        "voxels where another lies": int(voxels.duplicated(places).sum()),
        "voxels of another subject": _of_others(voxels, subject),
        "measures of reliability that are no numbers": sum(voxels[name].dtype.kind not in "iuf" for name in measures),
    }
    expected = f"voxels of subject {subject}, each at a voxel_x, voxel_y, voxel_z of its own"
    check_counts("the table of voxels cannot be used", wrong, expected=expected, fix=_FETCH, file=file)
    return voxels.rename(columns=dict(zip(places, _PLACE, strict=True)))


def _read_regions(
    folder: Path, subject: int, n_trials: int
) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.int64]]]:
    """Read responses (n_trials, n_voxels) and i, j, k of each region all of whose voxels are there."""
    file, about = folder / things_fmri.RESPONSES, folder / things_fmri.VOXELS
    table = _read_voxels(about, subject)
    expected = f"voxel_id, each once, and responses of each (n_voxels, {n_trials} trials), of a region at least"
    with opened_hdf5(file, "reduced responses cannot be read", expected=expected, fix=_FETCH) as tree:
        ids, values = pd.Index(tree["voxel_id"][:]), tree["responses"][:]
    marked = things_fmri.marked_regions(table)
    wanted = {roi: table["voxel_id"][things_fmri.region_voxels(table, roi, about)] for roi in marked}
    whole = {roi: of for roi, of in wanted.items() if of.isin(ids).all()}
    if values.shape != (len(ids), n_trials) or values.dtype.kind not in "iuf" or not ids.is_unique or not whole:
        got = f"{ids.nunique()} different of {len(ids)} voxels, responses {values.shape} {values.dtype}, "
        got += f"whole regions: {listed(whole) or 'none'}"
        raise InputError("responses do not fit their tables", file=file, expected=expected, got=got, fix=_FETCH)
    places = table.set_index("voxel_id")[_PLACE]
    responses = {roi: values[ids.get_indexer(of)].T for roi, of in whole.items()}
    return responses, {roi: places.loc[of].to_numpy(np.int64) for roi, of in whole.items()}


def _session(
    trials: pd.DataFrame, shown: Shown, responses: Mapping[str, NDArray], voxels: dict[str, NDArray[np.int64]]
) -> Session:
    rows = trials["trial_id"].to_numpy()
    return Session(
        image_ids=pd.Index([*shown.train, *shown.test]).get_indexer(trials["stimulus"]).astype(np.int64),
        shared=(trials["trial_type"] == "test").to_numpy(),
        repeats=np.zeros(len(rows), np.int64),  # counted over all sessions by the loaders
        responses={roi: values[rows] for roi, values in responses.items()},
        voxels=voxels,
        source={"study": "Hebart et al. 2023"},
    )


# --- what both have -------------------------------------------------------------------------------------------


def _write_sessions(folder: Path, parts: Iterable[tuple[int, Session]], names: Iterable[str]) -> None:
    """Write sessions of these pictures with their numbers, and remove those that an earlier table had."""
    there, mark = [], rows_mark(names)
    for number, session in parts:
        marked = replace(session, source={**session.source, SHOWN: mark})
        write_session(folder / f"session{number:02d}.hdf5", marked)
        there.append(number)
    for number, file in session_files(folder).items():
        if number not in there:
            file.unlink()


def _write_study(
    raw: Path,
    name: str,
    shown: Shown,
    parts: Iterable[tuple[int, Session]],
    entries: Mapping[str, object],
    choice: tuple[float, str],
    image_size: int,
) -> Path:
    """Write sessions, and into the study's folder stimuli, pictures to classify, labels and its description."""
    from nbtools.data.images.things import check_pictures, things_classes, things_labels  # torch imports slowly

    name += f"-{image_size}px" * (image_size != SIZE)
    folder, names = raw / name, [*shown.train, *shown.test]
    pictures, table = raw / "things" / "object_images", raw / "things" / "category53_long-format.tsv"
    # First what may refuse: pictures sorted for other test images, or too few, stay in no study of these responses.
    check_pictures(pictures, names, image_size)
    things_classes(pictures, table, folder / "images", set(shown.test), shown=set(names))
    _write_sessions((folder / str(entries["responses"])).resolve(), parts, names)
    _write_stimuli(pictures, names, folder / "stimuli.hdf5", image_size)
    classes = [place.name for place in subfolders(folder / "images" / "train")]
    with written(folder / "scanner_labels.parquet") as beside:
        things_labels(names, table, classes).to_parquet(beside, index=False)
    of_folder = {"stimuli": "stimuli.hdf5", "classification": "images", "scanner_labels": "scanner_labels.parquet"}
    told = {"name": name, **entries, **of_folder, "image_size": image_size}
    return _describe(folder / "study.toml", told, choice)


def _write_stimuli(pictures: Path, names: list[str], file: Path, image_size: int) -> None:
    """Write the pictures in the order of their ids, and beside them a table of these names; what is there is kept."""
    from nbtools.data.images.things import things_stimuli  # torch imports slowly

    beside = file.with_name("stimuli.parquet")
    with suppress(InputError):  # missing or damaged: both are made anew
        with opened_stimuli(file) as brick:
            whole = brick.shape == (len(names), image_size, image_size, 3)
        if whole and list(read_table(beside, ["name"])["name"]) == names:
            return
    beside.unlink(missing_ok=True)
    things_stimuli(pictures, names, file, image_size)
    with written(beside) as place:
        pd.DataFrame({"image_id": range(len(names)), "name": names}).to_parquet(place, index=False)


def _describe(file: Path, told: Mapping[str, object], choice: tuple[float, str]) -> Path:
    """Write a study's description; one that says the same is kept, of any other what it says beside, too."""
    old, own = "", {}
    with suppress(OSError, ValueError):
        old = file.read_text(encoding="utf-8-sig")
        own = tomllib.loads(old)
        if told.items() <= own.items():
            return file
    made = "# Measured responses to pictures of THINGS, made by `python -m nbtools prepare`.\n"
    if told["simulated"]:
        made = "# Made-up responses in the form of measured ones: no brain was measured.\n"
    stands_in = "# PPA stands in for PHC, which the data do not name.\n" * ("PPA" in str(told["regions"]))
    least, why = choice
    _, *chosen = re.split(r"^[ \t]*\[[ \t]*voxels[ \t]*\][^\n]*\n?", old, maxsplit=1, flags=re.MULTILINE)
    under = chosen[0] if chosen else f"noise_ceiling = {least}  # percent, in odd showings of the test: {why}\n"
    own = {key: value for key, value in own.items() if type(value) in (str, bool, int, float, list)}
    return write_text(file, f"{made}{stands_in}{as_toml({**own, **told})}\n[voxels]\n{under}")


def _is_simulated(file: Path) -> bool:
    """Say whether a file of responses says of itself, by an attribute, that it is a stand-in."""
    with opened_hdf5(file, "responses cannot be read", expected="HDF5", fix="delete it and fetch it again") as tree:
        return bool(tree.attrs.get(SIMULATED, False))
