"""Haxby et al. (2001), fetched by nilearn: a small public fMRI study of eight categories, as prepared sessions.

A block of 24 s shows pictures of one category; the data do not say which picture when. So an "image" is a category
here: its id is the category's place in `CATEGORIES`, its picture a sheet of sixteen exemplars, and a trial is one
volume (2.5 s) of a block. Sessions are the scanner's runs.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from nbtools.checks import check_choice, listed, reading
from nbtools.data.brains.sessions import Session, write_session, written_hdf5
from nbtools.data.brains.volumes import NIBABEL_ERRORS, check_grid, grid_of
from nbtools.data.images.files import link, read_image
from nbtools.data.study import as_toml
from nbtools.errors import InputError
from nbtools.files import write_text, written

# As labels.txt names them, and the folders of their pictures.
CATEGORIES = {
    "face": "faces",
    "cat": "cats",
    "house": "houses",
    "chair": "chairs",
    "bottle": "bottles",
    "scissors": "scissors",
    "shoe": "shoes",
    "scrambledpix": "scrambled",
}
# Regions, by the fields of what nilearn fetches: ventral temporal cortex, and its voxels that prefer faces or houses.
MASKS = {"VT": "mask_vt", "VT-face": "mask_face", "VT-house": "mask_house"}
SUBJECTS = range(1, 7)
DELAY = 2  # volumes (5 s) by which the haemodynamic response follows the pictures
SHEET = 400  # side of a sheet of exemplars, pixels
_AGAIN = "delete it and run the command again: what is missing is fetched"


def prepare_haxby(folder: Path, subject: int = 2, *, image_size: int = 224) -> Path:
    """Fetch a subject's data if they are not there, and write them as a study.

    Parameters
    ----------
    folder : Path
        Where the study goes; what is fetched goes into its subfolder ``haxby2001``, some 300 MB a subject.
    subject : int
        1 to 6. Subject 2 has no gap.
    image_size : int
        Side in pixels at which networks see the pictures.

    Returns
    -------
    Path
        The ``study.toml``.

    Raises
    ------
    InputError
        If there is no such subject, or the data cannot be fetched, or are damaged or not of the form nilearn gives.
    """
    check_choice("Haxby's study has no such subject", subject, SUBJECTS)
    fetched = _fetch(folder, subject)
    labels = _labels(Path(fetched.session_target[0]))
    responses = {roi: _responses(fetched, mask, labels) for roi, mask in MASKS.items()}
    for run in sorted(labels["run"].unique()):
        write_session(folder / f"responses/session{run + 1:02d}.hdf5", _session(labels, run, responses, fetched))
    _write_pictures(folder, fetched.stimuli)
    with written(folder / "scanner_labels.parquet") as beside:
        names = list(CATEGORIES)
        pd.DataFrame({"image_id": range(len(names)), "label": names}).to_parquet(beside, index=False)
    return write_text(folder / "study.toml", _description(subject, image_size))


def _fetch(folder: Path, subject: int) -> Any:
    from nilearn.datasets import fetch_haxby

    kinds = OSError, ValueError, RuntimeError, EOFError
    expected = "a network, and data.pymvpa.org and nitrc.org within reach"
    fix = "try again: what is whole is kept. Behind a proxy set https_proxy"
    with reading("Haxby's data cannot be fetched", *kinds, file=folder / "haxby2001", expected=expected, fix=fix):
        return fetch_haxby(data_dir=folder, subjects=[subject], fetch_stimuli=True, verbose=1)


def _labels(file: Path) -> pd.DataFrame:
    """Read which category each volume belongs to: ``label``, ``run`` (from 0), in the order of the volumes."""
    kinds, expected = (OSError, ValueError, KeyError), "labels and chunks"
    with reading("the labels cannot be read", *kinds, file=file, expected=expected, fix=_AGAIN):
        table = pd.read_csv(file, sep=" ").rename(columns={"labels": "label", "chunks": "run"})
        known = set(table["label"]) == {*CATEGORIES, "rest"} and pd.api.types.is_integer_dtype(table["run"])
    if not known:
        raise InputError(
            "the labels are not Haxby's",
            file=file,
            expected=f"a label a volume of rest, {', '.join(CATEGORIES)}, and its run",
            got=listed(table["label"].unique(), 12),
            fix=_AGAIN,
        )
    # The response to a block begins and ends later than the block.
    delayed = table.groupby("run")["label"].shift(DELAY, fill_value="rest")
    return table.assign(label=delayed)


def _responses(fetched: Any, mask: str, labels: pd.DataFrame) -> NDArray[np.float32]:
    """Return a region's time series (n_volumes, n_voxels), without each run's linear trend; nilearn does the work."""
    import nibabel as nib
    from nilearn.maskers import NiftiMasker

    place, func = getattr(fetched, mask)[0], fetched.func[0]
    masker = NiftiMasker(place, detrend=True, standardize=None, runs=labels["run"].to_numpy())
    expected = f"whole volumes, as many as labels, and a mask {place}"
    with (
        reading("a region's responses cannot be read", *NIBABEL_ERRORS, file=func, expected=expected, fix=_AGAIN),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # nilearn's deprecations
        grid, other = (grid_of(nib.nifti1.load(file)) for file in (place, func))
        check_grid(grid, other, file=place, what=Path(place).name, like=Path(func).name)
        series = masker.fit_transform(func)
    if len(series) != len(labels):
        raise InputError(
            "volumes and labels differ in number",
            file=func,
            expected=f"{len(labels)} volumes, one a label",
            got=len(series),
            fix=_AGAIN,
        )
    return series.astype(np.float32)


def _session(labels: pd.DataFrame, run: int, responses: Mapping[str, NDArray[np.float32]], fetched: Any) -> Session:
    import nibabel as nib

    rows = np.flatnonzero((labels["run"] == run) & (labels["label"] != "rest"))
    ids = labels["label"].iloc[rows].map({name: i for i, name in enumerate(CATEGORIES)}).to_numpy(np.int64)
    masks = {roi: nib.nifti1.load(getattr(fetched, mask)[0]) for roi, mask in MASKS.items()}
    first = masks["VT"]
    return Session(
        image_ids=ids,
        shared=np.ones(len(ids), bool),  # eight categories are all there is: nothing to fit a predictor on
        repeats=np.zeros(len(ids), np.int64),
        responses={roi: values[rows] for roi, values in responses.items()},
        voxels={roi: np.argwhere(np.asarray(mask.dataobj).reshape(first.shape[:3]) > 0) for roi, mask in masks.items()},
        shape=first.shape[:3],
        affine=first.affine,
        source={"study": "Haxby et al. 2001", "run": int(run)},
    )


def _write_pictures(folder: Path, stimuli: Mapping[str, Any]) -> None:
    """Sort the exemplars into ``images/val/<category>/`` and write a sheet of each category as its image."""
    sheets = []
    for name, place in CATEGORIES.items():
        files = sorted(Path(file) for file in stimuli.get(place, []) if isinstance(file, str | Path))
        if not files:
            raise InputError(
                f"there are no pictures of {place}",
                file=folder / "haxby2001" / "stimuli",
                expected=", ".join(CATEGORIES.values()),
                got=", ".join(map(str, stimuli)) or "none",
                fix=_AGAIN,
            )
        for file in files:
            link(file, folder / "images" / "val" / name / file.name)
        sheets.append(_sheet(files))
    with written_hdf5(folder / "stimuli.hdf5") as store:
        store["imgBrick"] = np.stack(sheets)


def _sheet(files: list[Path]) -> NDArray[np.uint8]:
    """Lay sixteen exemplars out in four rows: (400, 400, 3)."""
    side = SHEET // 4
    chosen = [files[i * len(files) // 16] for i in range(16)]
    pictures = [Image.fromarray(read_image(file).permute(1, 2, 0).numpy()) for file in chosen]
    tiles = [np.asarray(picture.resize((side, side))) for picture in pictures]
    return np.concatenate([np.concatenate(tiles[row * 4 : row * 4 + 4], axis=1) for row in range(4)])


def _description(subject: int, image_size: int) -> str:
    entries = {
        "name": "haxby",
        "simulated": False,
        "responses": "responses",
        "stimuli": "stimuli.hdf5",
        "subject": subject,
        "classification": "images",
        "scanner_labels": "scanner_labels.parquet",
        "image_size": image_size,
    }
    made = f"# Haxby et al. (2001), subject {subject}, made by `python -m nbtools prepare haxby`.\n"
    return made + as_toml(entries)
