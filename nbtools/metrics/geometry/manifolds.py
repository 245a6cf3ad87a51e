"""Geometry of class manifolds: mean-field capacity, radius and dimension, centre correlation, linear separability."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats
from scipy.optimize import nnls

from nbtools.checks import as_names, check_counts, check_enough, check_table
from nbtools.errors import InputError
from nbtools.metrics.inputs import check_features
from nbtools.metrics.stats import ROUNDING, bootstrap_ci, ci, ratio
from nbtools.processes import Bar

MEASURES: tuple[str, ...] = ("capacity", "radius", "dimension", "centre_correlation")
PENALTIES: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0)  # C of logistic regression, features z-scored
_FOLDS = 5


def manifold_geometry(features: ArrayLike, labels: ArrayLike, *, n_samples: int = 200, seed: int = 0) -> pd.DataFrame:
    """Estimate the mean-field geometry of every class's points.

    Parameters
    ----------
    features : array-like or CPU tensor (n_images, n_features)
        Responses or activations, any unit; their scale has no influence but on ``centre_norm``.
    labels : array-like or CPU tensor (n_images,)
        The class of each image; the images of one class make one manifold.
    n_samples : int
        Gaussian vectors T over which a manifold's quantities are averaged.
    seed : int
        Of these vectors.

    Returns
    -------
    DataFrame
        One row per manifold: ``label``; ``capacity`` α, the number of such manifolds per feature that a hyperplane
        can still divide as labels at random demand (2 for points, 2 / n_points at worst); ``radius`` relative to
        the centre's length; ``dimension``; ``centre_norm``, in the features' unit; ``centre_correlation``, the mean
        absolute cosine with the other centres, about the mean of all centres; ``n_points``; ``n_removed``, how many
        directions common to the centres were projected out (the same for all manifolds).

    Raises
    ------
    InputError
        If shapes disagree, a value is not finite, a label is missing (None or NaN), there is one class, a class has one
        point or points that do not differ, a centre lies at the mean of all centres, or `n_samples` is below 1.

    Notes
    -----
    Chung, Lee & Sompolinsky (2018), PRX 8, 031003, margin κ = 0. A point of a manifold is S = (s, 1): s its offset from
    the centre in units of the centre's length. For each T ~ N(0, I), V(T) is the vector nearest to T with V·S ≥ 0
    for every point, so V = T + Σ λ S with λ ≥ 0: a non-negative least-squares problem. Then

    - 1/α = ⟨‖V − T‖²⟩;
    - the anchor S̃ = Σ λ S / Σ λ, or the point of least T·S where T needs no change (λ = 0), with offset s̃;
    - R² = ⟨‖s̃‖²⟩, D = ⟨(t·s̃/‖s̃‖)²⟩, t being T without its last entry.

    Before, as Cohen, Chung, Lee & Sompolinsky (2020), Nat. Commun. 11, 746, do, directions that centres have in common
    are projected out; which ones is found more simply (docs/methods.md). With few points D and R are those of the
    sample: compare manifolds of equally many points only (`repeated_geometry`).
    """
    x, y = _checked(features, labels)
    check_enough("no vector T was asked for", n_samples, 1, fix="200 are usual")
    names = np.unique(y)
    clouds = [x[y == name] for name in names]
    correlation, n_removed, clouds = _uncorrelated(clouds)
    rng = np.random.default_rng(seed)
    rows = [_mean_field(cloud, n_samples, rng) for cloud in clouds]
    return pd.DataFrame(rows).assign(
        label=names, centre_correlation=correlation, n_points=list(map(len, clouds)), n_removed=n_removed
    )[["label", "capacity", "radius", "dimension", "centre_norm", "centre_correlation", "n_points", "n_removed"]]


def repeated_geometry(
    features: ArrayLike, labels: ArrayLike, *, n_points: int, n_samples: int = 200, n_draws: int = 5
) -> pd.DataFrame:
    """Estimate the geometry several times, each with other points of every class and other Gaussian vectors.

    Parameters
    ----------
    features, labels, n_samples
        As for `manifold_geometry`.
    n_points : int
        Images of each class per draw, without replacement: as many for every class, from 2 to half the smallest, so
        that draws differ as other images would (`summarise`).
    n_draws : int
        Draws, seeded 0, 1, …; equal labels get equal draws, so that spaces are compared on the same images.

    Returns
    -------
    DataFrame
        One row per draw × manifold: ``draw``, ``n_images`` (of the smallest class) and the columns of
        `manifold_geometry`.

    Raises
    ------
    InputError
        As `manifold_geometry`, or if a class has fewer than twice `n_points` images or `n_draws` is below 1.
    """
    x, y = _checked(features, labels)
    fewest = _fewest(y)
    if not 2 <= n_points <= fewest // 2 or n_draws < 1:
        raise InputError(
            "these draws cannot be made",
            expected=f"n_points from 2 to {fewest // 2}, half the images of the smallest class, and n_draws >= 1",
            got=f"n_points {n_points}, n_draws {n_draws}",
            fix="ask for fewer points, or add images of that class",
        )
    parts = []
    for draw in Bar(range(n_draws), "draws of points", unit="draw", leave=False):
        rng = np.random.default_rng(draw)
        rows = np.concatenate([rng.permutation(np.flatnonzero(y == name))[:n_points] for name in np.unique(y)])
        found = manifold_geometry(x[rows], y[rows], n_samples=n_samples, seed=draw)
        parts.append(found.assign(draw=draw, n_images=fewest))
    return pd.concat(parts, ignore_index=True)


def summarise(manifolds: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Average over manifolds, with an interval for other images of the same classes.

    Parameters
    ----------
    manifolds : DataFrame
        From `repeated_geometry`, with the `by` columns. Rows that share a group and a draw (manifolds; networks of
        several seeds) are averaged.
    by : sequence of str
        What tells spaces apart.

    Returns
    -------
    DataFrame
        One row per group × measure of `MEASURES`: the `by` columns, ``measure``, ``value``, ``ci_low``, ``ci_high``
        (95 %), ``n_draws``. Capacities are averaged harmonically, as the theory adds them.

    Raises
    ------
    InputError
        If a column is missing or a group has fewer than two draws.

    Notes
    -----
    The variance over images is that of the delete-d jackknife (Shao & Wu 1989): that over draws of m of n images, which
    share some, times m / (n − m); that of the draws' own mean comes on top, and Student's t has draws − 1 degrees of
    freedom. Draws differ by their vectors T, too: with few of these the interval is too wide. Other networks and other
    brains differ by more.
    """
    keys, fix = as_names(by), "make it with repeated_geometry, of n_draws=5 or so"
    counts = ("draw", "n_points", "n_images")
    check_table("this is not a table of manifolds", manifolds, (*keys, *counts, *MEASURES), fix=fix)
    inverse = manifolds.assign(capacity=1 / manifolds["capacity"])
    means = inverse.groupby([*keys, "draw"], sort=False, dropna=False)[list(MEASURES)].mean()
    means["capacity"] = 1 / means["capacity"]
    drawn, images = manifolds["n_points"].max(), manifolds["n_images"].min()
    long = means.melt(ignore_index=False, var_name="measure").groupby([*keys, "measure"], sort=False, dropna=False)[
        "value"
    ]
    table = long.agg(["mean", "var", "count"]).reset_index()
    check_enough("one draw has no interval", int(table["count"].min()), 2, fix=fix)
    variance = table["var"] * (drawn / (images - drawn) + 1 / table["count"])
    half = stats.t.ppf(0.975, table["count"] - 1) * np.sqrt(variance)
    bounds = {"ci_low": table["mean"] - half, "ci_high": table["mean"] + half}
    named = table.rename(columns={"mean": "value", "count": "n_draws"}).assign(**bounds)
    return named[[*keys, "measure", "value", "ci_low", "ci_high", "n_draws"]]


def separability(
    features: ArrayLike, labels: ArrayLike, seed: int = 0, *, runs: ArrayLike | None = None
) -> dict[str, object]:
    """Classify held-out images linearly.

    Parameters
    ----------
    features, labels
        As for `manifold_geometry`; features are z-scored by each fold's training images.
    seed : int
        Of the folds.
    runs : array-like (n_images,), optional
        The scanner run of each row. One run's rows share drift and noise: they are trained on together or held out
        together. Without it, each row stands for itself.

    Returns
    -------
    dict
        ``measure`` ("separability"), ``value`` (accuracy, a fraction), ``ci_low``, ``ci_high`` (95 %, bootstrap over
        runs, or images where there are none), so that it is a row beside those of `summarise`.

    Raises
    ------
    InputError
        As `manifold_geometry`, or if runs do not fit, or a class has fewer than 5 images or is in fewer than 5 runs.

    Notes
    -----
    scikit-learn's logistic regression, L2 penalty, five stratified folds. C is chosen among `PENALTIES` anew for each
    fold, by its accuracy over the other four held out in turn: none is good everywhere (docs/methods.md).
    """
    x, y = _checked(features, labels)
    groups = np.arange(len(y)) if runs is None else np.asarray(runs)
    check_features("features", x, groups)
    problem, fix = "a class has too few images or runs for a held-out test", "add some, or leave that class out"
    check_enough(problem, int(pd.Series(groups).groupby(y).nunique().min()), _FOLDS, fix=fix)
    right = _right_when_held_out(x, y, groups, seed)
    per_run = pd.DataFrame({"right": right, "n": 1.0}).groupby(groups).sum().to_numpy()
    interval = bootstrap_ci(per_run, lambda drawn, axis: ratio(*drawn.sum(axis).T), seed=seed)
    return {"measure": "separability", "value": right.mean(), **ci(interval)}


def _right_when_held_out(x: np.ndarray, y: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    """Whether each row's class (n,) is found by a classifier of the other folds, 0.0 or 1.0; groups are kept whole."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, PredefinedSplit, StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    fold, right = np.empty(len(y), dtype=int), np.empty(len(y))
    folds = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=seed).split(x, y, groups)
    for number, (_, held_out) in enumerate(folds):
        fold[held_out] = number
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    for train, held_out in PredefinedSplit(fold).split():
        search = GridSearchCV(classifier, {"logisticregression__C": PENALTIES}, cv=PredefinedSplit(fold[train]))
        right[held_out] = search.fit(x[train], y[train]).predict(x[held_out]) == y[held_out]
    return right


def _fewest(labels: np.ndarray) -> int:
    """Return how many images the smallest class has."""
    return int(np.unique(labels, return_counts=True)[1].min())


def _uncorrelated(clouds: list[np.ndarray]) -> tuple[np.ndarray, int, list[np.ndarray]]:
    """Project out the directions that the centres share.

    Returns each centre's mean |cosine| with the others before, how many directions went, and the clouds after, the
    mean of the centres at 0. The directions are leading right singular vectors of the unit-length centres; as few as
    leave the smallest mean squared cosine, and at most half as many as there are manifolds. Centres on one line, as two
    always are, keep it: without it nothing of them would be left.
    """
    centres = np.stack([cloud.mean(axis=0) for cloud in clouds])
    origin = centres.mean(axis=0)
    spread = np.sqrt(np.mean([cloud.var(axis=0).sum() for cloud in clouds]))
    lengths = np.linalg.norm(centres - origin, axis=1)
    check_counts(
        "a manifold's centre lies at the mean of all centres: its radius has no unit",
        {f"of {len(clouds)} centres are there": int((lengths <= 1e-9 * (spread + np.linalg.norm(origin))).sum())},
        expected="class means that differ",
        fix="look for features that say nothing about the class",
    )
    unit = (centres - origin) / lengths[:, None]
    directions = np.linalg.svd(unit, full_matrices=False)[2]
    cosines = [_cosines(unit - unit @ directions[:k].T @ directions[:k]) for k in range(len(clouds) // 2 + 1)]
    squared = np.array([np.mean(c**2) for c in cosines])
    k = int(np.flatnonzero(squared <= squared.min() + ROUNDING)[0])  # the last bit must not decide
    shared = directions[:k]
    moved = [cloud - origin for cloud in clouds]
    return np.abs(cosines[0]).mean(axis=1), k, [cloud - cloud @ shared.T @ shared for cloud in moved]


def _cosines(centres: np.ndarray) -> np.ndarray:
    """Cosines (n, n − 1) of each row with the others; all 1, the worst there is, if a row has lost all its length."""
    lengths = np.linalg.norm(centres, axis=1, keepdims=True)
    if (lengths < 1e-6).any():
        return np.ones((len(centres), len(centres) - 1))
    unit = centres / lengths
    return (unit @ unit.T)[~np.eye(len(unit), dtype=bool)].reshape(len(unit), -1)


def _mean_field(cloud: np.ndarray, n_samples: int, rng: np.random.Generator) -> dict[str, float]:
    """Capacity, radius and dimension of one manifold's points (n_points, n_features), about the common origin."""
    centre = cloud.mean(axis=0)
    length = np.linalg.norm(centre)
    # Only the points' own subspace matters: the SVD gives their coordinates in it. A Gaussian vector with an entry for
    # each point is turned into the same basis, so that not the basis but the points' inner products alone count: a
    # rotation changes no number.
    basis, stretch, _ = np.linalg.svd((cloud - centre) / length, full_matrices=False)
    points = np.column_stack([basis * stretch, np.ones(len(cloud))])
    drawn = rng.standard_normal((n_samples, len(cloud) + 1))
    targets = np.column_stack([drawn[:, :-1] @ basis, drawn[:, -1]])
    moves, anchors = (np.stack(part) for part in zip(*(_anchor(points, t) for t in targets), strict=True))
    radii = np.linalg.norm(anchors[:, :-1], axis=1)
    along = np.einsum("ij,ij->i", targets[:, :-1], anchors[:, :-1]) / radii
    return {
        "capacity": float(1 / np.mean(np.sum(moves**2, axis=1))),
        "radius": float(np.sqrt(np.mean(radii**2))),
        "dimension": float(np.mean(along**2)),
        "centre_norm": float(length),
    }


def _anchor(points: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return V − T and the anchor point S̃ for one T; points (n_points, n_coordinates) with last coordinate 1."""
    weights, _ = nnls(points.T, -target)
    move = weights @ points
    total = weights.sum()
    return move, move / total if total > 0 else points[np.argmin(points @ target)]


def _checked(features: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return features (n, d) as float64 and labels (n,)."""
    x, given = np.asarray(features, dtype=np.float64), np.asarray(labels, dtype=object)  # None stays None among words
    check_features("features", x, given)
    y = np.array(given.tolist())
    names = np.unique(y)
    flat = [str(name) for name in names if not np.ptp(x[y == name], axis=0).any()]
    check_counts(
        "these are no manifolds",
        {
            "class alone": int(len(names) == 1),
            f"classes of one image or of constant features: {', '.join(flat[:5])}": len(flat),
        },
        expected="two classes or more, each of images that differ in at least one feature",
        fix="take images of more classes, or more of each; look for a dead layer, or one image given many times",
    )
    return x, y
