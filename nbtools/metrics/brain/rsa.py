"""Representational similarity: RDMs of features and responses, how alike they are, and how alike noise lets them be.

RDMs are rsatoolbox's, over images in the order of their ids. What the similarities say is `similarity`'s part.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from rsatoolbox.data import Dataset
from rsatoolbox.inference import boot_noise_ceiling
from rsatoolbox.rdm import RDMs, calc_rdm, compare as compare_rdms, concat

from nbtools.checks import check_choice, check_counts, check_enough, check_range
from nbtools.errors import InputError
from nbtools.metrics.inputs import check_features
from nbtools.metrics.stats import ratio
from nbtools.processes import Bar

# Our name → rsatoolbox's; docs/methods.md says which is apt where.
METHODS = {
    "spearman": "spearman",
    "rho-a": "rho-a",
    "tau-a": "tau-a",
    "tau-b": "kendall",
    "corr": "corr",
    "corr_cov": "corr_cov",
    "cosine_cov": "cosine_cov",
}
WHITENED = ("corr_cov", "cosine_cov")
_FLAT = 1e-9  # correlation distances that differ by less are rounding


def rdm(features: ArrayLike, image_ids: ArrayLike, name: str, source: str) -> RDMs:
    """Correlation distances between the images' feature patterns.

    Parameters
    ----------
    features : array-like (n_images, n_features)
        Features of a network or responses of a region.
    image_ids : array-like (n_images,)
        Which image each row belongs to; each once, in any order.
    name : str
        Condition or region.
    source : str
        What the features are, such as ``"pooled"``, ``"neural"`` or ``"measured"``.

    Returns
    -------
    RDMs
        One RDM over the images in the order of their ids (``pattern_descriptors["image_id"]``); ``name`` and
        ``source`` are among its ``rdm_descriptors``.

    Raises
    ------
    InputError
        If there are fewer than three images, ids do not fit or repeat, a value is not finite, an image's features
        are constant (their correlation does not exist), or all images have the same pattern.

    Notes
    -----
    1 − Pearson r, as in the paper. It ignores the scale and shift of each image's pattern, not those of a feature.
    It is half the squared Euclidean distance of patterns centred and scaled to unit length.
    """
    values, ids = np.asarray(features, dtype=float), np.asarray(image_ids)
    _check_patterns(f"{source} {name}: features", values, ids)
    order = np.argsort(ids)
    distances = cast(RDMs, calc_rdm(Dataset(values[order]), "correlation")).get_vectors()
    if not np.ptp(distances) > _FLAT:
        raise InputError(
            f"{source} {name}: all images are equally far apart",
            expected="features that tell images apart",
            got=f"distances from {distances.min():.3g} to {distances.max():.3g}",
            fix="look for a diverged network, or one whose features do not depend on the image",
        )
    return RDMs(
        distances,
        dissimilarity_measure="correlation",
        rdm_descriptors={"name": [name], "source": [source]},
        pattern_descriptors={"image_id": ids[order]},
    )


def rdms(spaces: Mapping[tuple[str, str], ArrayLike], image_ids: ArrayLike) -> RDMs:
    """Correlation distances in several spaces, between the same images.

    Parameters
    ----------
    spaces : mapping of (name, source) → array-like (n_images, n_features)
        Features of networks and responses of regions, and what they are: as `rdm`.
    image_ids : array-like (n_images,)
        Which image each row belongs to, in all of them.

    Raises
    ------
    InputError
        As `rdm`, or if there is no space.
    """
    return joined([rdm(values, image_ids, name, source) for (name, source), values in spaces.items()])


def category_means(features: ArrayLike, labels: ArrayLike, categories: Sequence[object]) -> np.ndarray:
    """Average the patterns of each category: what an RDM of categories is made of.

    Parameters
    ----------
    features : array-like (n, n_features)
        Of images or trials.
    labels : array-like (n,)
        Category of each row.
    categories : sequence (n_categories,)
        In the order of the rows to return.

    Returns
    -------
    (n_categories, n_features) array

    Raises
    ------
    InputError
        If a category has no row, or labels do not fit.
    """
    values, of = np.asarray(features), np.asarray(labels)
    missing = [name for name in categories if of.shape != (len(values),) or not (of == name).any()]
    if missing:
        raise InputError(
            "these categories have no mean pattern",
            expected=f"a label for each of {len(values)} rows, and rows of every category",
            got=f"{of.shape} labels, none that is {missing[0]!r}",
            fix="give the categories that the labels name",
        )
    return np.stack([values[of == name].mean(axis=0) for name in categories])


def repeat_rdms(responses: ArrayLike, image_ids: ArrayLike, repeats: ArrayLike, name: str) -> RDMs:
    """One RDM for each repeat of the images: what a region's noise ceiling rests on.

    Parameters
    ----------
    responses : array-like (n_trials, n_voxels)
        Single trials.
    image_ids, repeats : array-like (n_trials,)
        Which image each trial showed, and which repeat of it the trial is (1, 2, 3).
    name : str
        Region.

    Returns
    -------
    RDMs
        One RDM per repeat, all over the same images; ``source`` is ``"measured"``.

    Raises
    ------
    InputError
        As `rdm`, or if an image lacks a repeat.
    """
    values, ids, numbers = np.asarray(responses), np.asarray(image_ids), np.asarray(repeats)
    check_features(f"{name}: trials", values, ids, numbers)
    return joined([rdm(values[numbers == n], ids[numbers == n], name, "measured") for n in np.unique(numbers)])


def joined(parts: Sequence[RDMs]) -> RDMs:
    """Put RDMs together by image id.

    Raises
    ------
    InputError
        If there is none, or they are not over the same images.
    """
    check_enough("there is no RDM", len(parts), 1, fix="make them with rdm")
    for other in parts[1:]:
        _check_images(parts[0], other)
    # rsatoolbox takes the names of descriptors from all but the first, so that one RDM alone would lose its own.
    return concat(list(parts), target_pdesc="image_id") if len(parts) > 1 else parts[0]


def labels_of(rdms: RDMs) -> list[tuple[str, str]]:
    """Return source and name of each RDM."""
    return list(zip(rdms.rdm_descriptors["source"], rdms.rdm_descriptors["name"], strict=True))


def matrices_of(rdms: RDMs) -> dict[str, np.ndarray]:
    """Return each RDM as a matrix (n_images, n_images), by what it is of: ``"measured V1"``."""
    titles = [f"{source} {name}" for source, name in labels_of(rdms)]
    return dict(zip(titles, rdms.get_matrices(), strict=True))


def similarities(a: RDMs, b: RDMs, method: str = "spearman", n_boot: int = 200, seed: int = 0) -> pd.DataFrame:
    """How alike the RDMs of two lists are, over all images and over resampled ones.

    Parameters
    ----------
    a, b : RDMs
        From `rdm`, `repeat_rdms` and `joined`. Several RDMs of one name and source (repeats) count as one: their
        similarities are averaged, as rsatoolbox averages over subjects.
    method : {"spearman", "rho-a", "tau-a", "tau-b", "corr", "corr_cov", "cosine_cov"}
        The last two are whitened: RDM entries that share an image err together.
    n_boot, seed : int
        Resamples of the images, and their seed. All pairs see the same resamples, so differences are paired.

    Returns
    -------
    DataFrame
        One row per pair and draw: ``draw`` (0: all images; 1 …: resamples), ``a``, ``a_source``, ``b``,
        ``b_source``, ``similarity``, ``n_images``, ``method``. Missing where all images of a resample are equally far
        apart.

    Raises
    ------
    InputError
        If the method is unknown, the two lists are not over the same images, or resamples are asked of fewer than
        ten images.

    Notes
    -----
    Bootstrap over images, as `rsatoolbox.inference.eval_bootstrap_pattern` (Schütt et al. 2023): an image drawn twice
    has no distance to itself in the sample. Whitening assumes that images are measured independently, which copies
    are not; whitened similarities are resampled by halves drawn without replacement, whose spread about their mean is
    that of the whole about its own (delete-half jackknife: Shao & Wu 1989). The mean itself is another, `cosine_cov`
    being the higher the fewer the images: so halves are moved to have the mean of the whole.
    """
    check_choice("unknown similarity", method, METHODS)
    check_range("n_boot", n_boot, 0)
    _check_images(a, b)
    if n_boot:
        check_enough("too few images to resample", a.n_cond, 10, fix="show more images, or n_boot=0")
    rng = np.random.default_rng(seed)
    labels = pd.MultiIndex.from_product([_names(a), _names(b)])
    rows = [_grouped(a, b, method)]
    for _ in Bar(range(n_boot), "resamples", leave=False):
        chosen = _resample(rng, a.n_cond, method)
        rows.append(_grouped(a.subsample_pattern("index", chosen), b.subsample_pattern("index", chosen), method))
    pairs = [(draw, *first, *second) for draw in range(n_boot + 1) for first, second in labels]
    table = pd.DataFrame(pairs, columns=["draw", "a_source", "a", "b_source", "b"])
    values = np.stack(rows)
    if n_boot and method in WHITENED:  # halves say how far a similarity spreads, not where it lies
        values[1:] = np.clip(values[1:] - np.nanmean(values[1:], axis=0) + values[0], -1, 1)
    return table.assign(similarity=values.ravel(), n_images=a.n_cond, method=method)


def rdm_noise_ceiling(regions: RDMs, method: str = "spearman") -> pd.DataFrame:
    """Between which bounds the similarity of a perfect model with single repeats would lie.

    Parameters
    ----------
    regions : RDMs
        Several RDMs (repeats) of each name and source.
    method : str
        As `similarities`.

    Returns
    -------
    DataFrame
        One row per region: ``region``, ``source``, ``lower``, ``upper``, ``n_repeats``, ``n_images``, ``method``. The
        bounds are missing where a region has one RDM only.

    Raises
    ------
    InputError
        If the method is unknown.

    Notes
    -----
    Nili et al. (2014): upper, the mean similarity of each repeat with the mean of all (itself among them); lower, with
    the mean of the others. It holds for `similarities` with the same repeats, not with their mean, which is less noisy.
    """
    check_choice("unknown similarity", method, METHODS)
    rows = []
    for source, name in _names(regions):
        part = regions.subset("name", name).subset("source", source)
        lower = upper = np.nan
        if part.n_rdm > 1:
            # For τ the mean is taken of ranks: the best mean is not known. And rsatoolbox multiplies memory that nobody
            # has written by NaN to make NaNs, which numpy complains of where that memory holds a signalling one.
            with warnings.catch_warnings(), np.errstate(invalid="ignore"):
                warnings.filterwarnings("ignore", "Noise ceiling for tau")
                lower, upper = boot_noise_ceiling(part, method=METHODS[method])
        found = {"region": name, "source": source, "lower": float(lower), "upper": float(upper)}
        rows.append({**found, "n_repeats": part.n_rdm, "n_images": part.n_cond, "method": method})
    return pd.DataFrame(rows)


def _names(rdms: RDMs) -> list[tuple[str, str]]:
    """Return the distinct (source, name), in their order."""
    return list(dict.fromkeys(labels_of(rdms)))


def _resample(rng: np.random.Generator, n: int, method: str) -> np.ndarray:
    return rng.permutation(n)[: n // 2] if method in WHITENED else rng.integers(n, size=n)


def _grouped(a: RDMs, b: RDMs, method: str) -> np.ndarray:
    """Similarities (n_names of a, n_names of b), averaged over the RDMs of a name that have one; NaN where none has."""
    there = np.outer(_tells_apart(a), _tells_apart(b))
    each = np.where(there, compare_rdms(a, b, METHODS[method]), 0)
    left, right = (_members(part) for part in (a, b))
    return ratio(left @ each @ right.T, left @ there @ right.T)


def _tells_apart(rdms: RDMs) -> np.ndarray:
    """Whether each RDM (n_rdms,) has two distances that differ: without, it is like no other by any method."""
    distances = rdms.get_vectors()  # NaN: of an image to its copy
    return np.nanmax(distances, axis=1) - np.nanmin(distances, axis=1) > _FLAT


def _members(rdms: RDMs) -> np.ndarray:
    """1.0 where an RDM is of a name (n_names, n_rdms)."""
    return np.array([[label == name for label in labels_of(rdms)] for name in _names(rdms)], dtype=float)


def _check_images(a: RDMs, b: RDMs) -> None:
    first, second = (np.asarray(part.pattern_descriptors["image_id"]) for part in (a, b))
    if not np.array_equal(first, second):
        raise InputError(
            "RDMs are not over the same images",
            expected=f"{len(first)} images, the same for both",
            got=f"{len(second)} images, {len(np.intersect1d(first, second))} of them in common",
            fix="choose the images by id before making RDMs",
        )


def _check_patterns(what: str, values: np.ndarray, ids: np.ndarray) -> None:
    """Raise unless there is one finite pattern that varies for each of three or more images."""
    check_features(what, values, ids, n_rows=3, n_columns=2)
    wrong = {
        "ids that repeat": len(ids) - len(np.unique(ids)),
        "images with constant features": int((values.std(axis=1) <= 1e-12 * np.abs(values).max(axis=1)).sum()),
    }
    check_counts(
        f"{what} make no RDM",
        wrong,
        expected="each image once, with features that are not all equal",
        fix="average repeats, drop dead images by id, or look for a diverged network",
    )
