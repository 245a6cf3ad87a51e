"""What was shown and what was measured: a design, a region's responses by trial and by image, and the steps between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nbtools.checks import check_enough, check_range
from nbtools.errors import InputError

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.integer]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Design:
    """Which trial showed which image.

    Attributes
    ----------
    image_ids : (n_trials,) int64
        0-based row of the stimuli each trial showed.
    shared_ids : (n_shared,) int64
        0-based ids of the images of the test set: in NSD, those that all subjects saw.
    """

    image_ids: NDArray[np.int64]
    shared_ids: NDArray[np.int64]

    @property
    def training_ids(self) -> NDArray[np.int64]:
        """Ids of the images this subject saw that are not shared, ascending."""
        return np.setdiff1d(self.image_ids, self.shared_ids)


def count_repeats(image_ids: IntArray) -> NDArray[np.int64]:
    """Count which showing of its image each trial (n_trials,) is: 1, 2, 3, …"""
    order = np.argsort(image_ids, kind="stable")
    _, first, counts = np.unique(image_ids[order], return_index=True, return_counts=True)
    repeats = np.empty(len(order), np.int64)
    repeats[order] = np.arange(len(order)) - np.repeat(first, counts) + 1
    return repeats


@dataclass(frozen=True)
class RoiTrials:
    """One region's responses, trial by trial.

    Attributes
    ----------
    roi : str
        The region.
    responses : (n_trials, n_voxels) float32
        Z-scored within session, or percent signal change where the loader was asked for it.
    image_ids : (n_trials,) int64
        0-based row of the stimuli: the image is ``imgBrick[image_id]``.
    sessions : (n_trials,) int64
        1-based session of each trial.
    repeats : (n_trials,) int64
        Which repeat of its image the trial is: 1, 2, 3, …, counted over the whole experiment.
    voxels : (n_voxels, 3) int64
        i, j, k of each voxel in the subject's ``func1pt8mm`` volume, in the order of ``np.argwhere(mask)``.
    dropped : (n_dropped, 3) int64
        i, j, k of voxels left out because a session has no variance in them.

    Raises
    ------
    InputError
        If lengths disagree or a response is not finite.
    """

    roi: str
    responses: FloatArray
    image_ids: IntArray
    sessions: IntArray
    repeats: IntArray
    voxels: IntArray
    dropped: IntArray

    def __post_init__(self) -> None:
        n, n_voxels = _check_responses(self.roi, self.responses)
        rows = dict.fromkeys(("image_ids", "sessions", "repeats"), (n,))
        _check_shapes(self, {**rows, "voxels": (n_voxels, 3), "dropped": (len(self.dropped), 3)})


@dataclass(frozen=True)
class RoiResponses:
    """One region's responses, image by image.

    Attributes
    ----------
    roi : str
        The region.
    responses : (n_images, n_voxels) float32
        Mean over the repeats of each image, in the unit of the trials.
    image_ids : (n_images,) int64
        0-based row of the stimuli; each image once.
    n_repeats : (n_images,) int64
        How many trials went into the mean.
    shared : (n_images,) bool
        True for the images all subjects saw: the test set.
    voxels : (n_voxels, 3) int64
        i, j, k of each voxel.

    Raises
    ------
    InputError
        If lengths disagree, a response is not finite, or an image stands there twice.
    """

    roi: str
    responses: FloatArray
    image_ids: IntArray
    n_repeats: IntArray
    shared: BoolArray
    voxels: IntArray

    def __post_init__(self) -> None:
        n_images, n_voxels = _check_responses(self.roi, self.responses)
        rows = dict.fromkeys(("image_ids", "n_repeats", "shared"), (n_images,))
        _check_shapes(self, {**rows, "voxels": (n_voxels, 3)})
        n_unique = len(np.unique(self.image_ids))
        if n_unique != n_images:
            raise InputError(
                f"{self.roi}: an image stands there more than once",
                expected=f"{n_images} different image ids",
                got=f"{n_unique} different ones",
                fix="average the repeats first: average_repeats(trials, shared_ids)",
            )


def average_repeats(trials: RoiTrials, shared_ids: IntArray) -> RoiResponses:
    """Average the repeats of each image.

    Parameters
    ----------
    trials : RoiTrials
        Responses (n_trials, n_voxels).
    shared_ids : (n_shared,) int
        0-based ids of the images all subjects saw (`Design.shared_ids`).

    Returns
    -------
    RoiResponses
        Responses (n_images, n_voxels), sorted by image id.
    """
    image_ids, where, n_repeats = np.unique(trials.image_ids, return_inverse=True, return_counts=True)
    return RoiResponses(
        roi=trials.roi,
        responses=_averaged(trials.responses, where, n_repeats),
        image_ids=image_ids.astype(np.int64, copy=False),
        n_repeats=n_repeats.astype(np.int64, copy=False),
        shared=np.isin(image_ids, shared_ids),
        voxels=trials.voxels,
    )


def trials_of(trials: RoiTrials, image_ids: IntArray) -> RoiTrials:
    """Return the trials (n_kept, n_voxels) that showed one of these images, in the order in which they were shown."""
    return rows_of(trials, np.isin(trials.image_ids, image_ids))


def rows_of(trials: RoiTrials, rows: BoolArray) -> RoiTrials:
    """Return these trials (n_kept, n_voxels), in the order in which they were shown; at least one."""
    fix = "ask for images that were shown; those to test on are marked as shared"
    check_enough(f"{trials.roi}: no trial shows these images", int(rows.sum()), 1, fix=fix)
    return replace(
        trials,
        responses=trials.responses[rows],
        image_ids=trials.image_ids[rows],
        sessions=trials.sessions[rows],
        repeats=trials.repeats[rows],
    )


def equal_repeats(trials: RoiTrials, image_ids: IntArray) -> RoiTrials:
    """Return as many trials of each image as of any other: the first ones, of images that have enough.

    Parameters
    ----------
    trials : RoiTrials
        Responses (n_trials, n_voxels).
    image_ids : (n,) int
        The images in question, such as `Design.shared_ids`.

    Returns
    -------
    RoiTrials
        ``repeats`` counts from 1 to the number k of trials of each image. It is the k of two or more, as noise shows
        in repeats alone, that keeps the most trials: 3 in NSD, where every image was shown three times; 1 only where no
        image was shown twice.
    """
    asked = trials_of(trials, image_ids)
    repeats = count_repeats(asked.image_ids)
    n_images = np.bincount(repeats)  # with so many trials or more
    k = max(range(len(n_images)), key=lambda k: (k > 1, k * n_images[k]), default=0)
    enough = asked.image_ids[repeats == k]
    rows = np.isin(asked.image_ids, enough) & (repeats <= k)
    return rows_of(replace(asked, repeats=repeats), rows)


def average_within_sessions(trials: RoiTrials) -> RoiTrials:
    """Average the trials of each image within each session: one row a session and image, sorted by both.

    Parameters
    ----------
    trials : RoiTrials
        Responses (n_trials, n_voxels).

    Returns
    -------
    RoiTrials
        ``repeats`` counts the sessions in which an image was shown, from 1.
    """
    shown = np.stack([trials.sessions, trials.image_ids])
    keys, where, counts = np.unique(shown, axis=1, return_inverse=True, return_counts=True)
    return replace(
        trials,
        responses=_averaged(trials.responses, where, counts),
        image_ids=keys[1],
        sessions=keys[0],
        repeats=count_repeats(keys[1]),
    )


def _averaged(responses: FloatArray, where: IntArray, counts: IntArray) -> FloatArray:
    """Average rows (n, n_voxels) that go to the same place, as many there as `counts` says: (n_places, n_voxels)."""
    order = np.argsort(where, kind="stable")
    sums = np.add.reduceat(responses[order], np.cumsum(counts) - counts, axis=0)
    return (sums / counts[:, None]).astype(np.float32, copy=False)


def split_images(
    responses: RoiResponses, *, share: float = 1.0, validation_fraction: float = 0.1, seed: int = 0
) -> dict[str, IntArray]:
    """Split images into training, validation and test.

    The shared images are the test set, touched once; validation images are drawn from all others, so that
    models are never chosen on the test set. The draw depends on the image ids and the seed alone: all regions
    of a subject are split alike.

    Parameters
    ----------
    responses : RoiResponses
        Only its ids and ``shared`` are used.
    share : float
        Of the training images, in (0, 1]: the others are left out, so that a predictor learns less. Those of a
        smaller share are among those of a larger one; validation and test stay as they are.
    validation_fraction : float
        Share of the images that are not shared; in (0, 1).
    seed : int
        Of the draw.

    Returns
    -------
    dict of str to (n,) int arrays
        Row indices under ``"train"``, ``"validation"`` and ``"test"``, each ascending.

    Raises
    ------
    InputError
        If a part would be empty.
    """
    test, rest = np.flatnonzero(responses.shared), np.flatnonzero(~responses.shared)
    if not can_be_split(len(test), len(rest), validation_fraction):
        raise InputError(
            f"{responses.roi}: the images cannot be split into training, validation and test",
            expected="shared images to test on, and at least one image in both other parts",
            got=f"{len(test)} shared, {len(rest)} others, validation_fraction={validation_fraction}",
            fix="mark some images as shared, and not all (of NSD, load more sessions); or change validation_fraction",
        )
    rest = rest[np.argsort(responses.image_ids[rest], kind="stable")]
    n_validation = round(validation_fraction * len(rest))
    validation = np.random.default_rng(seed).choice(rest, size=n_validation, replace=False)
    train = np.random.default_rng(seed).permutation(np.setdiff1d(rest, validation))
    check_range("share", share, 1 / len(train), 1)
    return {"train": np.sort(train[: round(share * len(train))]), "validation": np.sort(validation), "test": test}


def can_be_split(n_shared: int, n_others: int, validation_fraction: float = 0.1) -> bool:
    """Say whether so many images, shared ones and others, leave `split_images` no empty part."""
    return n_shared > 0 and 0 < round(validation_fraction * n_others) < n_others


@dataclass(frozen=True)
class ResponseBasis:
    """The principal components in which responses are predicted.

    Attributes
    ----------
    mean, scale : (n_voxels,) float32
        Training mean and standard deviation of each voxel, in the unit of the responses.
    components : (n_components, n_voxels) float32
        Orthonormal directions in the space of z-scored voxels, by falling variance.
    explained_variance_ratio : (n_components,) float32
        Share of the training variance along each.
    """

    mean: FloatArray
    scale: FloatArray
    components: FloatArray
    explained_variance_ratio: FloatArray


def fit_basis(train_responses: FloatArray, variance: float = 0.95) -> ResponseBasis:
    """Z-score voxels by training statistics, then keep the components that hold a share of the variance.

    Parameters
    ----------
    train_responses : (n_images, n_voxels) float
        Training images only: nothing of validation or test images may enter.
    variance : float
        Share of the variance to keep, in (0, 1).

    Returns
    -------
    ResponseBasis
        With as few components as hold that share.

    Raises
    ------
    InputError
        If `variance` is not in (0, 1), there are fewer than two images, or a voxel is constant or not finite.
    """
    # Imported here: scikit-learn triples this module's memory, and loaders do without it.
    from sklearn.decomposition import PCA

    train_responses = np.asarray(train_responses)
    if not 0 < variance < 1 or train_responses.ndim != 2 or len(train_responses) < 2:
        raise InputError(
            "no basis can be fitted",
            expected="responses (n_images >= 2, n_voxels) and a variance in (0, 1)",
            got=f"responses of shape {train_responses.shape}, variance={variance}",
            fix="give the training rows of RoiResponses.responses, and for example variance=0.95",
        )
    mean = train_responses.mean(axis=0, dtype=np.float64)
    scale = train_responses.std(axis=0, dtype=np.float64)
    flat = ~(scale > 0) | ~np.isfinite(scale)
    if flat.any():
        raise InputError(
            "voxels without variance over the training images, or with a NaN",
            expected="finite responses that differ between images",
            got=f"{int(flat.sum())} of {len(flat)} voxels are constant or not finite",
            fix="load responses with load_trials, which drops dead voxels",
        )
    z = ((train_responses - mean) / scale).astype(np.float32)
    pca = PCA(n_components=variance, svd_solver="full").fit(z)
    return ResponseBasis(
        mean=mean.astype(np.float32),
        scale=scale.astype(np.float32),
        components=pca.components_.astype(np.float32),
        explained_variance_ratio=pca.explained_variance_ratio_.astype(np.float32),
    )


def project(basis: ResponseBasis, responses: FloatArray) -> FloatArray:
    """Return scores (n, n_components) of responses (n, n_voxels): ``z @ components.T``, z by `basis`."""
    return ((responses - basis.mean) / basis.scale) @ basis.components.T


def reconstruct(basis: ResponseBasis, scores: FloatArray) -> FloatArray:
    """Return z-scored voxels (n, n_voxels) from scores (n, n_components): ``scores @ components``."""
    return scores @ basis.components


def _check_responses(roi: str, responses: FloatArray) -> tuple[int, int]:
    if responses.ndim != 2 or 0 in responses.shape:
        raise InputError(
            f"{roi}: responses are not a table of rows × voxels",
            expected="two axes, neither empty",
            got=f"shape {responses.shape}",
            fix="give responses (n_trials or n_images, n_voxels)",
        )
    # A sum is finite only if all its parts are: no mask as large as the responses is made.
    if not np.isfinite(responses.sum(dtype=np.float64)):
        raise InputError(
            f"{roi}: responses are not finite",
            expected="finite numbers",
            got=f"NaN or infinity in {int((~np.isfinite(responses)).any(axis=0).sum())} voxels",
            fix="drop these voxels; load_trials does so with dead ones",
        )
    return responses.shape[0], responses.shape[1]


def _check_shapes(part: RoiTrials | RoiResponses, shapes: Mapping[str, tuple[int, ...]]) -> None:
    got = {name: getattr(part, name).shape for name in shapes}
    wrong = [name for name in shapes if got[name] != shapes[name]]
    if wrong:
        raise InputError(
            f"{part.roi}: labels do not fit the responses",
            expected=", ".join(f"{name} {shapes[name]}" for name in wrong),
            got=", ".join(f"{name} {got[name]}" for name in wrong),
            fix="select rows and columns of all arrays together",
        )
