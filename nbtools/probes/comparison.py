"""Two questions to networks that may be of any origin: shape or texture, and how alike a region they lay images out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from rsatoolbox.rdm import RDMs
from torch import Tensor

from nbtools.checks import check_choice
from nbtools.data.images.cue_conflict import cue_conflict_names
from nbtools.data.images.sets import load_folder
from nbtools.metrics.brain.rsa import rdms, similarities
from nbtools.metrics.decisions.sixteen import conflict_reach, decidable_conflicts, decide_category, known_conflicts
from nbtools.models.networks import GuidedNet, Network
from nbtools.models.read_outs import predict, read_out
from nbtools.processes import Bar

Networks = Mapping[tuple[str, int], Network]
Classifiers = Mapping[tuple[str, int], GuidedNet]
_OUT = "left out, fewer than two of the categories are known (which class is which: python -m nbtools adopt … --table)"
_DECIDED = ["image_id", "shape", "texture", "prediction", "condition", "seed"]


def decide_conflicts(networks: Classifiers, folder: Path | None, size: int) -> pd.DataFrame:
    """Let networks decide on cue-conflict images, each on those whose shape and texture it can both name.

    Parameters
    ----------
    networks : mapping of (condition, seed) → GuidedNet
        In eval mode, of any classes; one that knows no two of the categories decides nothing.
    folder : Path or None
        Of the images; None where a study has none.
    size : int
        To which they are read, in pixels.

    Returns
    -------
    DataFrame
        As `metrics.shape_bias` takes it: ``image_id``, ``shape``, ``texture``, ``prediction``, ``condition``,
        ``seed``; no row where no network can decide.

    Raises
    ------
    InputError
        As `load_folder` and `cue_conflict_names`.
    """
    parts = [pd.DataFrame(columns=_DECIDED)]
    if folder is None:
        return parts[0]
    images = load_folder(folder, size)
    asked = _asked(networks, cue_conflict_names(images.ids))
    for (condition, seed), known in Bar(asked.items(), "cue conflict", unit="network"):
        network = networks[condition, seed]
        p = predict(network, images[known.index.to_numpy()].pixels).softmax(1).numpy()
        said = decide_category(p, network.classes, sorted({*known["shape"], *known["texture"]}))
        parts.append(known.assign(prediction=said, condition=condition, seed=seed))
    return pd.concat(parts[1:] or parts, ignore_index=True)


def askable_conflicts(networks: Classifiers, conflicts: pd.DataFrame) -> pd.DataFrame:
    """Keep the cue-conflict images on which some network can decide.

    Parameters
    ----------
    networks : mapping of (condition, seed) → GuidedNet
        Of any classes.
    conflicts : DataFrame
        ``shape`` and ``texture`` of each image, as `cue_conflict_names` reads them.

    Returns
    -------
    DataFrame
        Their rows, with the index they had.

    Raises
    ------
    InputError
        If no network knows two of the categories.
    """
    asked = _asked(networks, conflicts)
    if not asked:
        decidable_conflicts(conflicts, next(iter(networks.values())).classes)  # says what there would have to be
    return conflicts.loc[sorted(set().union(*(known.index for known in asked.values())))]


def describe_conflicts(networks: Classifiers, conflicts: pd.DataFrame) -> str:
    """Say how far cue-conflict images reach: a line for the networks of each set of classes (`conflict_reach`).

    Parameters
    ----------
    networks, conflicts
        As `askable_conflicts` takes them.
    """
    asked, lines = _asked(networks, conflicts), []
    for classes in dict.fromkeys(network.classes for network in networks.values()):
        keys = [key for key, network in networks.items() if network.classes == classes]
        reach = conflict_reach(conflicts, classes) if keys[0] in asked else _OUT
        lines.append(f"{', '.join(dict.fromkeys(condition for condition, _ in keys))}: {reach}")
    return "\n".join(lines)


def _asked(networks: Classifiers, conflicts: pd.DataFrame) -> dict[tuple[str, int], pd.DataFrame]:
    """Return the images that each network can decide on, of those who know two categories."""
    known = {key: known_conflicts(conflicts, network.classes) for key, network in networks.items()}
    return {key: rows for key, rows in known.items() if (rows["shape"] != rows["texture"]).any()}


def region_similarity(
    networks: Networks, pixels: Tensor, image_ids: np.ndarray, measured: RDMs, readout: str = "pooled"
) -> pd.DataFrame:
    """Compare networks with a region by their RDMs.

    Parameters
    ----------
    networks : mapping of (condition, seed) → Network
        In eval mode, of any classes; those without the read-out are left out.
    pixels : Tensor (n_images, 3, height, width)
        uint8.
    image_ids : array (n_images,)
        Their ids.
    measured : RDMs
        Of one region's repeats of these images: `metrics.repeat_rdms`.
    readout : str
        As ``network.features`` names it.

    Returns
    -------
    DataFrame
        ``condition``, ``seed``, ``region``, ``similarity``: Spearman's ρ, averaged over repeats.

    Raises
    ------
    InputError
        If no network has the read-out, or as `metrics.rdms` and `metrics.similarities`.
    """
    features: dict[tuple[str, str], np.ndarray] = {}
    keys = {f"{condition}, seed {seed}": (condition, seed) for condition, seed in networks}
    for named, network in Bar(zip(keys, networks.values(), strict=True), "read-outs", len(keys)):
        features |= {(named, name): values.numpy() for name, values in read_out(network, pixels, [readout]).items()}
    if not features:
        there = {name for network in networks.values() for name in network.features(pixels[:1].float() / 255)}
        check_choice("no network has this read-out", readout, sorted(there))
    found = similarities(rdms(features, image_ids), measured, n_boot=0).set_index("a")
    rows = [(*keys[name], row["b"], row["similarity"]) for name, row in found.iterrows()]
    return pd.DataFrame(rows, columns=["condition", "seed", "region", "similarity"])
