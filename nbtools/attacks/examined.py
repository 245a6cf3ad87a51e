"""What labelled images tell of networks: their decisions, their gradients, and where in frequency they give way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from torch import nn

from nbtools.attacks.interface import perturb, sweep
from nbtools.attacks.table import ATTACKS
from nbtools.checks import as_names, check_choice, check_enough, check_range, check_same_classes
from nbtools.data.images.sets import ImageSet, to_float
from nbtools.devices import best_device
from nbtools.metrics.decisions.robustness import WORST_CASE
from nbtools.metrics.pixels.smoothness import input_gradient, squared_norm
from nbtools.metrics.pixels.spectrum import frequency_scores, radial_spectrum, spectral_energy
from nbtools.metrics.samples.tables import stacked
from nbtools.processes import Bar

_SPECTRAL = [f"{of}_{name}" for of in ("gradient", "attack") for name in ("centroid", "below")]
_COLUMNS = {
    "decisions": ["image_id", "label", "epsilon", "prediction", "margin", "distance", "converged", "attack"],
    "inputs": ["image_id", "gradient", "gradient_attacked", *_SPECTRAL],
    "spectra": ["frequency", "share", "of"],
}


class Examined(NamedTuple):
    """What `examine` found; each table names the network in ``condition`` and ``seed``.

    Attributes
    ----------
    decisions : DataFrame
        As `sweep` gives them, of the worst case of all attacks.
    inputs : DataFrame
        One row per network and image: ``image_id``, ``gradient`` and ``gradient_attacked`` (squared norms on the clean
        image and where PGD ends, nats² per unit pixel²), and as `metrics.frequency_scores` has them
        ``gradient_centroid``, ``gradient_below``, ``attack_centroid``, ``attack_below``.
    spectra : DataFrame
        One row per network, change and ring: ``of`` (``"gradient"`` on the clean image, or ``"attack"``),
        ``frequency`` (cycles/image), ``share`` of the energy, the mean over images.
    """

    decisions: pd.DataFrame
    inputs: pd.DataFrame
    spectra: pd.DataFrame


def examine(
    networks: Mapping[tuple[str, int], nn.Module],
    images: ImageSet,
    epsilons: Sequence[float],
    *,
    attacks: Sequence[str] = ("LinfPGD", "LinfTargetedPGD"),
    steps: int = 20,
    batch_size: int = 128,
) -> Examined:
    """Attack networks, and measure their gradients and what attacks change, network by network.

    Parameters
    ----------
    networks : mapping of (condition, seed) → nn.Module
        In eval mode, of the images' classes; random numbers use the seed.
    images : ImageSet
        Labelled images.
    epsilons : sequence of float
        Radii of the attacks, pixel units, above 0.
    attacks : sequence of str
        Keys of `ATTACKS`, each run on what those before it left standing.
    steps : int
        Of gradient ascent.
    batch_size : int
        Images whose gradients and changes are measured together.

    Returns
    -------
    Examined
        Without networks, tables of no row.

    Raises
    ------
    InputError
        If no attack is named, a network is not of the images' classes, or as `sweep`.

    Notes
    -----
    The change whose spectrum is taken is that of PGD (L∞) at the largest ε after all its steps, on every image, right
    or wrong: one that stops just beyond a network's boundary would tell how far that is.
    """
    attacks = as_names(attacks)
    check_enough("no attack was named", len(attacks), 1, fix=f"name some of {', '.join(ATTACKS)}")
    for name in attacks:
        check_choice("unknown attack", name, ATTACKS)
    check_range("batch_size", batch_size, 1, whole=True)
    check_same_classes(images.classes, *networks.values())
    parts = [Examined(*(pd.DataFrame(columns=[*names, "condition", "seed"]) for names in _COLUMNS.values()))]
    for (condition, seed), network in Bar(networks.items(), "networks", unit="network"):
        decided = _worst(network, images, epsilons, attacks, steps, seed)
        found = decided, *_changed(network, images, max(epsilons), steps, seed, batch_size)
        parts.append(Examined(*(table.assign(condition=condition, seed=seed) for table in found)))
    return Examined(*(pd.concat(tables, ignore_index=True) for tables in zip(*(parts[1:] or parts), strict=True)))


def _worst(
    network: nn.Module, images: ImageSet, epsilons: Sequence[float], attacks: Sequence[str], steps: int, seed: int
) -> pd.DataFrame:
    """Attack what the attacks before left standing: the last one's decisions are the worst case of all."""
    decided: Any = None
    for name in attacks:
        taken = ATTACKS[name].steps_for(steps)
        decided = sweep(network, images, epsilons, attack=name, steps=taken, seed=seed, after=decided)
    return decided.assign(attack=WORST_CASE)


def _changed(
    network: nn.Module, images: ImageSet, epsilon: float, steps: int, seed: int, batch_size: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure gradients and changes of all images, and the mean spectrum of both."""
    tables, rings = [], defaultdict(list)
    for start in range(0, len(images), batch_size):
        rows = images[slice(start, start + batch_size)].to(best_device())
        x = to_float(rows.pixels)
        point = perturb(network, x, rows.labels, [epsilon], steps=steps, seed=seed + start, stop_at_success=False)[0]
        gradient, after = (input_gradient(network, at, rows.labels).cpu() for at in (x, point))
        norms = {"gradient": squared_norm(gradient), "gradient_attacked": squared_norm(after)}
        columns = [pd.DataFrame({"image_id": rows.ids.astype(str), **{name: v.numpy() for name, v in norms.items()}})]
        for of, change in {"gradient": gradient, "attack": (point - x).cpu()}.items():
            energy = spectral_energy(change)
            rings[of].append(radial_spectrum(energy))
            columns.append(frequency_scores(energy).add_prefix(f"{of}_"))
        tables.append(pd.concat(columns, axis=1))
    shares = {of: np.nanmean(np.concatenate(parts), axis=0) for of, parts in rings.items()}
    spectra = {of: pd.DataFrame({"frequency": range(len(share)), "share": share}) for of, share in shares.items()}
    return pd.concat(tables, ignore_index=True), stacked(spectra, "of")
