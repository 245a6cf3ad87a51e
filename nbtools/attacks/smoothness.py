"""How steep the loss is at images and where attacks end: the input gradients of several networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from torch import nn

from nbtools.attacks.interface import perturb
from nbtools.checks import check_same_classes
from nbtools.data.images.sets import ImageSet, to_float
from nbtools.metrics.pixels.smoothness import squared_gradient
from nbtools.metrics.samples.tables import stacked
from nbtools.processes import Bar


def attacked_gradients(
    networks: Mapping[tuple[str, int], nn.Module], images: ImageSet, epsilons: Sequence[float], *, steps: int = 20
) -> pd.DataFrame:
    """Measure each network's input gradient on clean images, and where PGD against it ends after all its steps.

    Parameters
    ----------
    networks : mapping of (condition, seed) → nn.Module
        In eval mode; the attack's random starts use the seed.
    images : ImageSet
        Labelled images.
    epsilons : sequence of float
        Budgets in pixel units, those above 0 ascending; 0 is the clean image.
    steps : int
        Of PGD.

    Returns
    -------
    DataFrame
        One row per network × ε × image, as `metrics.smoothness` takes it: ``image_id``, ``gradient`` (squared norm),
        ``condition``, ``seed``, ``epsilon``.

    Raises
    ------
    InputError
        If a network is not of the images' classes, or as `perturb`, `metrics.squared_gradient`.
    """
    check_same_classes(images.classes, *networks.values())
    x, attacked = to_float(images.pixels), [epsilon for epsilon in epsilons if epsilon > 0]
    parts = {}
    for (condition, seed), network in Bar(networks.items(), "gradients", unit="network"):
        how: dict[str, Any] = {"steps": steps, "seed": seed, "stop_at_success": False}
        found = perturb(network, x, images.labels, attacked, **how)
        points = dict(zip(attacked, found, strict=True))
        for epsilon in epsilons:
            gradient = squared_gradient(network, points.get(epsilon, x), images.labels).numpy()
            parts[condition, seed, epsilon] = pd.DataFrame({"image_id": images.ids, "gradient": gradient})
    return stacked(parts, "condition", "seed", "epsilon")
