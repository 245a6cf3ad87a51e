"""Studies of measured brains that saw pictures of THINGS: two macaques (TVSD), three people (THINGS-fMRI)."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nbtools.checks import check_choice, check_counts, listed, reading
from nbtools.data.brains import things_fmri, tvsd
from nbtools.data.brains.measured import load_design, load_trials
from nbtools.data.brains.responses import count_repeats, trials_of
from nbtools.data.brains.sessions import SIMULATED, Session, write_session
from nbtools.data.brains.tvsd import Shown
from nbtools.data.images.folders import subfolders
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
_FETCH = "fetch it again: python -m nbtools fetch things-fmri"


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
    write_session(folder / "responses" / "session01.hdf5", session)
    entries = {
        "simulated": _is_simulated(folder / "THINGS_normMUA.mat"),
        "responses": f"../tvsd/{folder.name}/responses",
        "regions": list(session.responses),
        "sites": "electrodes",
    }
    return _write_study(raw, f"tvsd-{monkey}", shown, entries, RELIABLE, image_size)


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
    root, place = raw / "things-fmri", f"responses/subj{subject:02d}"
    folder = things_fmri.subject_place(root, subject)
    trials = _read_trials(folder / things_fmri.STIMULI)
    shown = Shown(*(sorted(set(trials.loc[trials["trial_type"] == kind, "stimulus"])) for kind in ("train", "test")))
    responses, voxels = _read_regions(folder, int(trials["trial_id"].max()) + 1)
    regions = [roi for roi in things_fmri.HIERARCHY if roi in responses] or list(responses)
    for number, part in trials.groupby("session"):
        write_session(root / place / f"session{number:02d}.hdf5", _session(part, shown, responses, voxels))
    entries = {
        "simulated": _is_simulated(folder / things_fmri.RESPONSES),
        "responses": f"../things-fmri/{place}",
        "regions": regions,
        "subject": subject,
    }
    return _write_study(raw, f"things-subj{subject:02d}", shown, entries, ABOVE_NOISE, image_size)


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
    kept = {roi: len(trials.voxels) for roi, trials in load_trials(study, study.hierarchy, progress=False).items()}
    for roi, trials in load_trials(everything, study.hierarchy, progress=False).items():
        tested = trials_of(trials, shared)
        z = (tested.responses - tested.responses.mean(axis=0)) / tested.responses.std(axis=0)
        snr, k = ncsnr(z, tested.image_ids), int(count_repeats(tested.image_ids).max())
        both = pd.DataFrame(tested.voxels, columns=_PLACE).assign(snr=snr).merge(published, on=_PLACE)
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
    return _placed(things_fmri.read_voxels(folder / things_fmri.VOXELS))


# --- THINGS-fMRI ----------------------------------------------------------------------------------------------


def _read_trials(file: Path) -> pd.DataFrame:
    """Read which trial (``trial_id``) showed which ``stimulus`` in which ``session``, as which ``trial_type``."""
    problem, needed = "the table of trials cannot be read", ["trial_type", "session", "trial_id", "stimulus"]
    expected = f"CSV with {', '.join(needed)}, each trial once, no picture both in training and in the test"
    kinds = OSError, ValueError, LookupError, TypeError
    with reading(problem, *kinds, file=file, expected=expected, fix=_FETCH):
        trials = pd.read_csv(file)[needed]
        trials = trials[trials["trial_type"].isin(["train", "test"])].sort_values("trial_id")  # no catch trials
        numbers, kind = trials[["session", "trial_id"]], trials[["stimulus", "trial_type"]].drop_duplicates()
        odd = (numbers % 1 != 0) | (numbers < 0)
        wrong = {
            "kinds of trials missing": 2 - trials["trial_type"].nunique(),
            "gaps": trials.isna().to_numpy().sum(),
            "sessions and trial_id that are no whole numbers from 0": odd.to_numpy().sum(),
            "trials twice": trials.duplicated("trial_id").sum(),
            "pictures in training and test": kind.duplicated("stimulus").sum(),
        }
    check_counts(problem, wrong, expected=expected, fix=_FETCH, file=file)
    return trials.astype(dict.fromkeys(numbers, np.int64))


def _read_regions(folder: Path, n_trials: int) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.int64]]]:
    """Read responses (n_trials, n_voxels) and i, j, k of each region all of whose voxels are there."""
    file, of_voxels = folder / things_fmri.RESPONSES, folder / things_fmri.VOXELS
    table = things_fmri.read_voxels(of_voxels)
    expected = f"voxel_id, and responses of each (n_voxels, {n_trials} trials or more), of a region at least"
    with opened_hdf5(file, "reduced responses cannot be read", expected=expected, fix=_FETCH) as tree:
        ids, values = pd.Index(tree["voxel_id"][:]), tree["responses"][:]
    marked = things_fmri.marked_regions(table)
    wanted = {roi: table["voxel_id"][things_fmri.region_voxels(table, roi, of_voxels)] for roi in marked}
    whole = {roi: of for roi, of in wanted.items() if of.isin(ids).all()}
    if values.ndim != 2 or len(values) != len(ids) or values.shape[1] < n_trials or not whole:
        got = f"{len(ids)} voxels, responses {values.shape}, whole regions: {listed(whole) or 'none'}"
        raise InputError("responses do not fit their tables", file=file, expected=expected, got=got, fix=_FETCH)
    places = _placed(table).set_index("voxel_id")[_PLACE]
    responses = {roi: values[ids.get_indexer(of)].T for roi, of in whole.items()}
    return responses, {roi: places.loc[of].to_numpy(np.int64) for roi, of in whole.items()}


def _placed(voxels: pd.DataFrame) -> pd.DataFrame:
    """Name where voxels lie i, j, k."""
    return voxels.rename(columns={f"voxel_{axis}": name for axis, name in zip("xyz", _PLACE, strict=True)})


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


def _write_study(
    raw: Path, name: str, shown: Shown, entries: Mapping[str, object], choice: tuple[float, str], image_size: int
) -> Path:
    """Write stimuli, pictures to classify, labels and the study's description into its folder."""
    from nbtools.data.images.things import things_classes, things_labels  # torch imports slowly

    name += f"-{image_size}px" * (image_size != SIZE)
    folder, names = raw / name, [*shown.train, *shown.test]
    pictures, table = raw / "things" / "object_images", raw / "things" / "category53_long-format.tsv"
    _write_stimuli(pictures, names, folder / "stimuli.hdf5", image_size)
    things_classes(pictures, table, folder / "images", set(shown.test), shown=set(names))
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
    if file.is_file() and beside.is_file() and list(read_table(beside, ["name"])["name"]) == names:
        return
    beside.unlink(missing_ok=True)
    things_stimuli(pictures, names, file, image_size)
    with written(beside) as place:
        pd.DataFrame({"image_id": range(len(names)), "name": names}).to_parquet(place, index=False)


def _describe(file: Path, told: Mapping[str, object], choice: tuple[float, str]) -> Path:
    """Write a study's description; one that says the same is kept, and of any what was chosen under [voxels]."""
    old = ""
    with suppress(OSError, ValueError):
        old = file.read_text(encoding="utf-8-sig")
        if told.items() <= tomllib.loads(old).items():
            return file
    made = "# Measured responses to pictures of THINGS, made by `python -m nbtools prepare`.\n"
    if told["simulated"]:
        made = "# Made-up responses in the form of measured ones: no brain was measured.\n"
    stands_in = "# PPA stands in for PHC, which the data do not name.\n" * ("PPA" in str(told["regions"]))
    least, why = choice
    _, heading, chosen = old.partition("\n[voxels]")
    chosen = chosen if heading else f"\nnoise_ceiling = {least}  # percent, in odd showings of the test: {why}\n"
    return write_text(file, f"{made}{stands_in}{as_toml(told)}\n[voxels]{chosen}")


def _is_simulated(file: Path) -> bool:
    """Say whether a file of responses says of itself, by an attribute, that it is a stand-in."""
    with opened_hdf5(file, "responses cannot be read", expected="HDF5", fix="fetch it again") as tree:
        return bool(tree.attrs.get(SIMULATED, False))
