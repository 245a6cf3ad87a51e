"""The one door to a study's measurements, whatever they come from: its trials, its design, where its regions lie.

From here the way is straight: the module of a set says which sessions there are and reads them (`Recordings`),
`trials` puts them together, `responses` takes it from there. A new data set is one of two things:

- brought into sessions once (as `haxby` does): a function that writes ``session*.hdf5``, stimuli and a ``study.toml``
  with the entry ``responses``; nothing here changes;
- read where it lies (as `nsd` is): a module with the functions of `Recordings`, a line in `SETS`, and the entry of
  ``study.toml`` that names its folder in `nbtools.data.study`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce
from typing import Protocol

import nibabel as nib
import numpy as np
import pandas as pd

from nbtools.checks import as_names
from nbtools.conditions import Condition, check_rois, parse_condition
from nbtools.data.brains import nsd, own
from nbtools.data.brains.responses import Design, RoiResponses, RoiTrials, average_repeats, rows_of
from nbtools.data.brains.sessions import Session
from nbtools.data.brains.trials import assemble
from nbtools.data.study import Study
from nbtools.errors import InputError
from nbtools.guides import LABELS_GUIDE
from nbtools.metrics.brain.noise_ceiling import ncsnr, noise_ceiling


class Recordings(Protocol):
    """What a set of recordings offers of a study; errors are `InputError`."""

    def sessions_of(
        self, study: Study, rois: Sequence[str], wanted: Sequence[int] | None = None
    ) -> tuple[list[int], Callable[[int], Session]]:
        """Return the sessions to read, ascending (all without a gap, if none are `wanted`), and what reads one."""

    def design_of(self, study: Study) -> Design:
        """Return which trial showed which image, and which images are the test set."""

    def regions_of(self, study: Study) -> tuple[str, ...]:
        """Name the regions that can be asked for; none where it is not known yet."""

    def volume_of(self, study: Study, rois: Sequence[str]) -> nib.Nifti1Image | None:
        """Return a label volume: 1 for the first of `rois`, …; None where positions are unknown."""


# By the entry of study.toml that says where they are; a study without any of these has sessions of its own.
SETS: dict[str, Recordings] = {"nsd": nsd}


def load_trials(
    study: Study,
    rois: Sequence[str],
    *,
    sessions: Sequence[int] | None = None,
    zscore: bool = True,
    progress: bool = True,
) -> dict[str, RoiTrials]:
    """Load single-trial responses of regions, as the study's choice of voxels has them.

    Parameters
    ----------
    study : Study
        From `open_study`. Prepared sessions are read where there are any, else NSD's volumes.
    rois : sequence of str
        The study's regions, by their names; or ``["labels-guide"]``: the categories of the images that were shown, as
        if a region answered with them (`label_trials`).
    sessions : sequence of int, optional
        1-based. Without it all sessions there are, which must then be numbered without a gap.
    zscore : bool
        Z-score each voxel within each session (as NSD's noise ceiling does), if the study does. False: responses in
        their own unit, whatever the study says.
    progress : bool
        Show a bar over the sessions.

    Returns
    -------
    dict of str to RoiTrials
        Responses (n_trials, n_voxels), sessions ascending; every session's file is read once for all regions. Voxels
        that do not vary, or whose ceiling is below the study's, are listed in ``dropped``; showings of test images that
        had to judge these are left out (`_reliable`).

    Raises
    ------
    InputError
        If a file is missing or damaged, or no voxel of a region is left.
    """
    rois = as_names(rois)
    if rois == [LABELS_GUIDE]:
        from nbtools.data.images.labels import load_labels  # imports slowly, and takes memory

        last = study.hierarchy[-1]
        of = load_trials(study, [last], sessions=sessions, progress=progress)[last]
        return {LABELS_GUIDE: label_trials(of, load_labels(study, of.image_ids).to_numpy())}
    check_rois(rois)
    if study.voxels.subjects:
        return _together(study, rois, sessions, zscore, progress)
    zscore, threshold = zscore and study.voxels.zscore, study.voxels.noise_ceiling
    read = _set(study).sessions_of(study, rois, sessions)
    trials = assemble(*read, zscore=zscore, progress=progress, sites=study.sites)
    if threshold and zscore:
        shared = load_design(study).shared_ids
        trials = {roi: _reliable(part, shared, threshold) for roi, part in trials.items()}
    return trials


def label_trials(trials: RoiTrials, labels: Sequence[str] | np.ndarray) -> RoiTrials:
    """Put the categories of the images in place of a region's responses: what is guided by them differs in that alone.

    Parameters
    ----------
    trials : RoiTrials
        Responses (n_trials, n_voxels) of any region.
    labels : (n_trials,) str
        The category of the image that each trial showed; missing where it has none.

    Returns
    -------
    RoiTrials
        Of the same trials: a "voxel" a category, 1 where an image is of it and 0 elsewhere, z-scored over trials; an
        image without category is 0 in all. It has no noise and no place in a brain.

    Raises
    ------
    InputError
        If labels are not as many as trials, or all that are there are the same.
    """
    n, labels = len(trials.image_ids), np.asarray(labels, dtype=object)
    has = pd.notna(labels)
    names, of = np.unique(labels[has].astype(str), return_inverse=True)
    if len(labels) != n or len(names) < 2:
        raise InputError(
            "the categories cannot guide",
            expected=f"the labels of {n} trials, of two categories or more",
            got=f"{int(has.sum())} labels, {len(names)} categories",
            fix="name the scanner's images in the study's scanner_labels, or leave out labels-guide",
        )
    chosen = np.zeros((n, len(names)), np.float32)
    chosen[np.flatnonzero(has), of] = 1
    nowhere = np.zeros((len(names), 3), np.int64)
    z = (chosen - chosen.mean(axis=0)) / chosen.std(axis=0)
    return replace(trials, roi=LABELS_GUIDE, responses=z, voxels=nowhere, dropped=nowhere[:0])


def load_design(study: Study) -> Design:
    """Return which trial showed which image, and which images are the test set.

    Raises
    ------
    InputError
        If a file is missing or damaged, or an image is said to be of the test set and not to be.
    """
    return _common_design(study) if study.voxels.subjects else _set(study).design_of(study)


def load_responses(study: Study, roi: str) -> RoiResponses:
    """Return a region's responses (n_images, n_voxels), averaged over repeats; its test images are marked as shared.

    Raises
    ------
    InputError
        As `load_trials`, `load_design` and `average_repeats`.
    """
    return average_repeats(load_trials(study, [roi])[roi], load_design(study).shared_ids)


def region_names(study: Study) -> tuple[str, ...]:
    """Name the regions that can be asked for; none where it is not known yet."""
    return _set(study).regions_of(study.parts[0])


def condition_of(study: Study, name: str) -> Condition:
    """Read what guides a network of a study.

    Raises
    ------
    InputError
        As `parse_condition`; if the study has no such region.
    """
    return parse_condition(name, study.hierarchy, region_names(study))


def check_alike(study: Study, other: Study) -> None:
    """Raise `InputError` unless two subjects may be taken together: of the same regions, by the same sites.

    Regions of a monkey and of a person make no common hierarchy, though some be named alike.
    """
    of, against = (f"{' '.join(each.hierarchy)} ({each.sites})" for each in (other, study))
    if of != against:
        raise InputError(
            f"{other.name} and {study.name} are no subjects of one hierarchy",
            expected=f"{against}, as in {study.name}",
            got=of,
            fix="take subjects with the same regions together, such as tvsd-F and tvsd-N",
        )


def region_volume(study: Study, rois: Sequence[str]) -> nib.Nifti1Image | None:
    """Return the regions as one label volume (x, y, z): 1 for the first of `rois`, …; None where positions are unknown.

    Raises
    ------
    InputError
        As `nbtools.data.brains.nsd.roi_masks`.
    """
    return _set(study).volume_of(study, as_names(rois))


def _set(study: Study) -> Recordings:
    return next((recordings for entry, recordings in SETS.items() if getattr(study, entry) is not None), own)


def _together(
    study: Study, rois: Sequence[str], sessions: Sequence[int] | None, zscore: bool, progress: bool
) -> dict[str, RoiTrials]:
    """Lay the voxels of several subjects side by side, showing by showing of the images that all of them saw.

    Their voxels have no common place, so there is no mean voxel; what subjects share is what the first principal
    components of all their voxels together hold (`fit_basis`).
    """
    each = [load_trials(part, rois, sessions=sessions, zscore=zscore, progress=progress) for part in study.parts]
    shown = [_showings(trials[rois[0]]) for trials in each]
    common = reduce(np.intersect1d, shown)
    if not common.size:
        raise InputError(
            "the subjects have no image in common",
            expected="sessions in which all of them saw some of the shared images",
            got=f"none, for subjects {', '.join(map(str, study.voxels.subjects))}",
            fix="take more sessions of each",
        )
    rows = [np.argsort(keys)[np.searchsorted(np.sort(keys), common)] for keys in shown]
    return {roi: _side_by_side([trials[roi] for trials in each], rows) for roi in rois}


def _showings(trials: RoiTrials) -> np.ndarray:
    """Number each trial by its image and which showing of it this is."""
    return trials.image_ids * 1000 + trials.repeats


def _side_by_side(parts: list[RoiTrials], rows: list[np.ndarray]) -> RoiTrials:
    return RoiTrials(
        roi=parts[0].roi,
        responses=np.concatenate([part.responses[chosen] for part, chosen in zip(parts, rows, strict=True)], axis=1),
        image_ids=parts[0].image_ids[rows[0]],
        sessions=parts[0].sessions[rows[0]],
        repeats=parts[0].repeats[rows[0]],
        voxels=np.concatenate([part.voxels for part in parts]),
        dropped=np.concatenate([part.dropped for part in parts]),
    )


def _common_design(study: Study) -> Design:
    """All images are shared ones here: every fifth of them is the test set."""
    designs = [load_design(part) for part in study.parts]
    common = reduce(np.intersect1d, [design.image_ids for design in designs])
    return Design(designs[0].image_ids[np.isin(designs[0].image_ids, common)], common[::5])


def _reliable(trials: RoiTrials, shared: np.ndarray, threshold: float) -> RoiTrials:
    """Leave out voxels below a noise ceiling, which what is tested on has no part in.

    The training images judge. Where hardly any of them was shown again, little tells their noise from signal: then the
    odd showings of the test images judge, and are left out, so that tests and ceilings rest on the even ones alone.
    """
    tested = np.isin(trials.image_ids, shared)
    odd = tested & (trials.repeats % 2 == 1)
    if _shown_again(trials.image_ids[~tested]) < _shown_again(trials.image_ids[odd]):
        judging, trials = rows_of(trials, odd), rows_of(trials, ~odd)
    else:
        judging = rows_of(trials, ~tested)
    ceiling = _judged(judging)
    keep = ceiling >= threshold
    if not keep.any():
        raise InputError(
            f"{trials.roi}: no voxel reaches the noise ceiling asked for",
            expected=f"at least one voxel of {threshold:g} % or more",
            got=f"{ceiling.max():.1f} % at most",
            fix="lower noise_ceiling under [voxels] in the study's file",
        )
    return replace(
        trials,
        responses=trials.responses[:, keep],
        voxels=trials.voxels[keep],
        dropped=np.concatenate([trials.dropped, trials.voxels[~keep]]),
    )


def _shown_again(image_ids: np.ndarray) -> int:
    return len(image_ids) - len(np.unique(image_ids))


def _judged(trials: RoiTrials) -> np.ndarray:
    """Return ceilings (n_voxels,) as these trials have them.

    0 for a voxel that does not vary here, or half or twice as much as over all trials, as one artefact would have it: a
    ceiling is a share of that variance, and it would seem free of noise wherever the artefact is not.
    """
    if not _shown_again(trials.image_ids):
        raise InputError(
            f"{trials.roi}: nothing tells which voxels are reliable",
            expected="training images shown twice or more, or test images three times or more",
            got="each once among the showings that no test uses",
            fix="set noise_ceiling = 0 under [voxels] in the study's file: all voxels are taken then",
        )
    values, least = trials.responses, 1 / 2
    variance = values.var(axis=0, dtype=np.float64)
    usual = (values.max(axis=0) != values.min(axis=0)) & (least < variance) & (variance < 1 / least)
    ceiling = np.zeros(len(usual))
    if usual.any():
        ceiling[usual] = noise_ceiling(ncsnr(values[:, usual], trials.image_ids))
    return ceiling
