"""Low-dimensional pictures of a space: a map of its dissimilarities, and its top components."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from nbtools.checks import check_enough
from nbtools.errors import InputError
from nbtools.metrics.geometry.manifolds import manifold_geometry
from nbtools.metrics.inputs import check_features
from nbtools.processes import Bar

N_COMPONENTS = 3


def pairs(rdm: ArrayLike, image_ids: ArrayLike) -> pd.DataFrame:
    """Write an RDM (n, n) as a table: one row per pair of images, ``first``, ``second``, ``dissimilarity``.

    Raises
    ------
    InputError
        If it is not a symmetric (n, n) table with zeros on the diagonal, or ids do not fit.
    """
    matrix, ids = _checked(rdm, image_ids)
    first, second = np.triu_indices(len(ids), k=1)
    return pd.DataFrame({"first": ids[first], "second": ids[second], "dissimilarity": matrix[first, second]})


def square(table: pd.DataFrame, image_ids: ArrayLike) -> NDArray[np.floating]:
    """Turn a table of `pairs` back into an RDM (n, n), rows and columns in the order of `image_ids`.

    Raises
    ------
    InputError
        If a pair of these images is missing or stands there twice.
    """
    ids = np.asarray(image_ids)
    both = pd.concat([table, table.rename(columns={"first": "second", "second": "first"})])
    chosen = both[both["first"].isin(ids) & both["second"].isin(ids)]
    if len(chosen) != len(ids) * (len(ids) - 1) or chosen.duplicated(["first", "second"]).any():
        raise InputError(
            "the pairs do not make an RDM",
            expected=f"each pair of the {len(ids)} images once: {len(ids) * (len(ids) - 1) // 2}",
            got=f"{len(chosen) // 2} pairs",
            fix="take the pairs of one space, and its images",
        )
    matrix = chosen.pivot(index="first", columns="second", values="dissimilarity").reindex(index=ids, columns=ids)
    return matrix.fillna(0.0).to_numpy()


def image_map(rdm: ArrayLike, image_ids: ArrayLike) -> pd.DataFrame:
    r"""Lay images out in the plane so that distances follow dissimilarities: metric multidimensional scaling.

    Parameters
    ----------
    rdm : array-like (n_images, n_images)
        Symmetric, zeros on the diagonal.
    image_ids : array-like (n_images,)
        Its rows' images.

    Returns
    -------
    DataFrame
        ``image_id``, ``x``, ``y`` (in the unit of the dissimilarities) and ``stress``, the same in every row.

    Raises
    ------
    InputError
        As `pairs`, or if there are fewer than three images.

    Notes
    -----
    Stress majorisation (SMACOF, scikit-learn), started at the classical solution (Torgerson 1952), so that nothing
    is random. Kruskal's stress-1 :math:`\sqrt{\sum (d_{ij} - \delta_{ij})^2 / \sum d_{ij}^2}` says how far distances
    on the map are from dissimilarities: 0 is perfect, 0.2 and more is poor.
    """
    from sklearn.manifold import smacof

    matrix, ids = _checked(rdm, image_ids)
    check_enough("no map of so few images", len(ids), 3, fix="take more images")
    xy, _ = smacof(matrix, n_components=2, init=_classical(matrix), n_init=1, normalized_stress=False)
    d = np.linalg.norm(xy[:, None] - xy[None], axis=-1)
    stress = np.sqrt(np.square(d - matrix).sum() / np.square(d).sum())
    return pd.DataFrame({"image_id": ids, "x": xy[:, 0], "y": xy[:, 1], "stress": stress})


def top_components(features: ArrayLike, image_ids: ArrayLike, labels: ArrayLike) -> pd.DataFrame:
    """Project images on the three directions in which they differ most.

    Parameters
    ----------
    features : array-like (n_images, n_features)
        Any unit; centred here.
    image_ids, labels : array-like (n_images,)
        Ids and class names.

    Returns
    -------
    DataFrame
        ``image_id``, ``label``, ``c1``, ``c2``, ``c3`` (unit of the features) and ``share``, the part of the variance
        that lies in these three, the same in every row.

    Raises
    ------
    InputError
        If lengths disagree, a value is not finite, or there are fewer than four images or three features.
    """
    x, ids, names = np.asarray(features, dtype=np.float64), np.asarray(image_ids), np.asarray(labels)
    check_features("features", x, ids, names, n_rows=N_COMPONENTS + 1, n_columns=N_COMPONENTS)
    u, s, v = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    signs = np.sign(v[np.arange(len(v)), np.abs(v).argmax(axis=1)])  # of the largest loading: else arbitrary
    scores = (u * s * signs)[:, :N_COMPONENTS]
    table = pd.DataFrame(scores, columns=["c1", "c2", "c3"])
    return table.assign(image_id=ids, label=names, share=np.square(s[:N_COMPONENTS]).sum() / np.square(s).sum())


def rdm_tables(
    spaces: Mapping[str, NDArray[np.floating]], image_ids: NDArray, order: NDArray
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compute the RDM of every space, and the map of its images.

    Parameters
    ----------
    spaces : mapping of name → (n_images, n_features) array
        Responses or features.
    image_ids : (n_images,) array
        Their images.
    order : (n_chosen,) array
        Ids of the images to take, in the order to show them.

    Returns
    -------
    rdms, maps : DataFrame
        From `pairs` and `image_map`, with a column ``space``. Distances are 1 − Pearson r (`metrics.rdm`).

    Raises
    ------
    InputError
        As `metrics.rdm`, `image_map`.
    """
    from nbtools.metrics.brain.rsa import rdm  # rsatoolbox takes a while to import

    rdms, maps = [], []
    chosen, ids = np.isin(image_ids, order), np.sort(order)
    for name, values in spaces.items():
        table = pairs(rdm(values[chosen], image_ids[chosen], name, "space").get_matrices()[0], ids)
        rdms.append(table.assign(space=name))
        maps.append(image_map(square(table, order), order).assign(space=name))
    return pd.concat(rdms, ignore_index=True), pd.concat(maps, ignore_index=True)


def manifold_tables(
    spaces: Mapping[str, NDArray[np.floating]], image_ids: NDArray, labels: NDArray, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compute the top components of every space, and the geometry of its class manifolds.

    Parameters
    ----------
    spaces : mapping of name → (n_images, n_features) array
        Responses or features.
    image_ids, labels : (n_images,) arrays
        Ids and class names.
    seed : int
        Of the geometry's Gaussian vectors.

    Returns
    -------
    components, manifolds : DataFrame
        From `top_components` and `metrics.manifold_geometry`, with a column ``space``.

    Raises
    ------
    InputError
        As these two.
    """
    parts = {name: top_components(values, image_ids, labels).assign(space=name) for name, values in spaces.items()}
    found = {
        name: manifold_geometry(values, labels, seed=seed).assign(space=name)
        for name, values in Bar(spaces.items(), "manifolds", unit="space", leave=False)
    }
    return pd.concat(parts.values(), ignore_index=True), pd.concat(found.values(), ignore_index=True)


def _classical(matrix: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the classical solution (n, 2): the top eigenvectors of the doubly centred squared dissimilarities."""
    squared = np.square(matrix)
    rows = squared.mean(axis=0)
    values, vectors = np.linalg.eigh(-0.5 * (squared - rows - rows[:, None] + rows.mean()))
    top = vectors[:, [-1, -2]]
    top = top * np.sign(top[np.abs(top).argmax(axis=0), [0, 1]])
    return top * np.sqrt(np.maximum(values[[-1, -2]], 0))


def _checked(rdm: ArrayLike, image_ids: ArrayLike) -> tuple[NDArray[np.floating], NDArray]:
    matrix, ids = np.asarray(rdm, dtype=np.float64), np.asarray(image_ids)
    n = len(ids)
    sound = matrix.shape == (n, n) and len(np.unique(ids)) == n and np.isfinite(matrix).all()
    if not sound or not np.allclose(matrix, matrix.T) or np.diag(matrix).any() or (matrix < 0).any():
        raise InputError(
            "this is not an RDM",
            expected=f"a finite, symmetric ({n}, {n}) table, none below 0, zeros on the diagonal, each image once",
            got=f"shape {matrix.shape}",
            fix="make it with nbtools.metrics.rdm, and give the ids of its images",
        )
    return matrix, ids
