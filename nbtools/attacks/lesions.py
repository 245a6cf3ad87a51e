"""Do robust decisions go by what the neural head reads? Networks decide, and are attacked, after lesions of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from nbtools.attacks.interface import perturb, sweep
from nbtools.checks import check_enough, check_range, check_same_classes
from nbtools.classifiers import Classifier, logits_of
from nbtools.data.images.sets import ImageSet, to_float
from nbtools.devices import best_device
from nbtools.metrics.decisions.lesions import INTACT
from nbtools.metrics.geometry.subspaces import (
    leading_directions,
    matched_directions,
    random_directions,
    random_units,
    strongest_units,
    variance_share,
)
from nbtools.models.lesions import lesioned, neural_weights
from nbtools.models.networks import GuidedNet
from nbtools.models.read_outs import decided, read_out
from nbtools.processes import Bar

_BATCH = 256
_DECIDED = ["image_id", "label", "epsilon", "prediction", "margin"]


@dataclass(frozen=True)
class Lesion:
    """One lesion of one network.

    Attributes
    ----------
    name : str
        Of `metrics.decisions.lesions.LESIONS`, or `INTACT`.
    draw : int
        Of random ones, from 0.
    variance : float
        Share of the pooled features' variance that it takes away.
    network : GuidedNet
        The network after it.
    """

    name: str
    draw: int
    variance: float
    network: GuidedNet


def decide_lesioned(
    networks: Mapping[tuple[str, int], GuidedNet],
    images: ImageSet,
    epsilons: Sequence[float],
    *,
    k: int = 8,
    n_draws: int = 3,
    steps: int = 10,
) -> pd.DataFrame:
    """Let networks decide, clean and under attack, with parts of the pooled features hidden from their class head.

    Parameters
    ----------
    networks : mapping of (condition, seed) → GuidedNet
        In eval mode, of the images' classes; random numbers use the seed.
    images : ImageSet
        Labelled images. Their pooled features' mean and covariance are those that lesions go by.
    epsilons : sequence of float
        Radii of PGD (L∞), pixel units, above 0.
    k : int
        Directions, or units, of a lesion; at most as many as the neural head has outputs.
    n_draws : int
        Of each random lesion.
    steps : int
        Of PGD.

    Returns
    -------
    DataFrame
        One row per network × lesion × draw × image × attack × ε: ``image_id``, ``label``, ``epsilon`` (0: clean),
        ``prediction``, ``margin``, ``condition``, ``seed``, ``lesion``, ``draw``, ``variance`` (the share of the
        features' that is gone), ``attacked``: ``"clean"`` images, or which network the adversarial ones were made
        against, the ``"intact"`` one or the ``"lesioned"`` one itself. A network without a neural head on the pooled
        features has no lesions: it is there as ``"intact"`` alone.

    Raises
    ------
    InputError
        If there is no network, one is not of the images' classes, has features or weights that are not finite, or
        features that do not vary, there is one image alone, k is too large, or as `attacks.sweep`.

    Notes
    -----
    Lesions: the k directions by which the neural head reads most (`leading_directions`), against random subspaces of k
    dimensions and random ones of the same variance; the k units of largest weight in the neural head, against random
    units. A random subspace takes far less variance away than one that the network was trained to use: alone, it would
    be no control. Against the intact network PGD takes all its steps: images that lie just beyond its boundary would be
    on the right side again after any lesion.
    """
    check_enough("no network was given", len(networks), 1, fix="name one: {('TO', 0): network}")
    check_range("n_draws", n_draws, 1, whole=True)
    check_enough("lesions go by how features vary: images", len(images), 2, fix="take more of them")
    check_same_classes(images.classes, *networks.values())
    parts = []
    for (condition, seed), network in Bar(networks.items(), "lesions", unit="network"):
        points = _adversarial(network, images, epsilons, steps, seed)
        for lesion in _lesions(network, images, k, n_draws, seed):
            again = sweep(lesion.network, images, epsilons, steps=steps, seed=seed)[_DECIDED]
            found = {"lesioned": again[again["epsilon"] > 0]}
            found |= {attacked: _decided(lesion.network, images, at) for attacked, at in points.items()}
            named = {"condition": condition, "seed": seed, "lesion": lesion.name, "draw": lesion.draw}
            named["variance"] = lesion.variance
            parts += [table.assign(**named, attacked=attacked) for attacked, table in found.items()]
    return pd.concat(parts, ignore_index=True)


def _lesions(network: GuidedNet, images: ImageSet, k: int, n_draws: int, seed: int) -> Iterator[Lesion]:
    yield Lesion(INTACT, 0, 0.0, network)
    weights = neural_weights(network)
    if weights is None:
        return
    features = read_out(network, images.pixels, ["pooled"])["pooled"].double().numpy()
    centre, covariance = features.mean(axis=0), np.cov(features.T)
    for name, draw, basis in _bases(weights, covariance, k, n_draws, seed):
        yield Lesion(name, draw, variance_share(basis, covariance), lesioned(network, basis, centre))


def _bases(
    weights: np.ndarray, covariance: np.ndarray, k: int, n_draws: int, seed: int
) -> Iterator[tuple[str, int, np.ndarray]]:
    """Yield each lesion's name, draw and orthonormal basis (width, k)."""
    width, neural = weights.shape[1], leading_directions(weights, covariance, k)
    yield "neural directions", 0, neural
    yield "neural units", 0, strongest_units(weights, k)
    share = variance_share(neural, covariance)
    for draw in range(n_draws):
        drawn = n_draws * seed + draw  # networks of other seeds meet other lesions
        yield "matched directions", draw, matched_directions(covariance, k, share, drawn)
        yield "random directions", draw, random_directions(width, k, drawn)
        yield "random units", draw, random_units(width, k, drawn)


def _adversarial(
    network: GuidedNet, images: ImageSet, epsilons: Sequence[float], steps: int, seed: int
) -> dict[str, dict[float, Tensor]]:
    """Return images by ε, (n, 3, h, w) each: ``"clean"`` ones, at 0, and those that attack the ``"intact"`` network."""
    parts = []
    for start in range(0, len(images), _BATCH):
        rows = images[slice(start, start + _BATCH)].to(best_device())
        x = to_float(rows.pixels)
        how: dict[str, Any] = {"steps": steps, "seed": seed + start, "stop_at_success": False}
        parts.append(torch.cat([x[None], perturb(network.to(x.device), x, rows.labels, sorted(epsilons), **how)]).cpu())
    clean, *attacked = torch.cat(parts, dim=1)
    return {"clean": {0.0: clean}, "intact": dict(zip(sorted(epsilons), attacked, strict=True))}


def _decided(network: GuidedNet, images: ImageSet, points: Mapping[float, Tensor]) -> pd.DataFrame:
    asked, tables = Classifier(network.to(best_device())), []
    for epsilon, x in points.items():
        logits = torch.cat([logits_of(asked, part.to(best_device())).cpu() for part in x.split(_BATCH)])
        said = {name: value.numpy() for name, value in decided(logits, images.labels).items()}
        columns = {"image_id": images.ids.astype(str), "label": images.labels.numpy(), "epsilon": epsilon, **said}
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)
