"""The study's two trainings, a call each: a region's predictor from its responses, and a network that it guides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from nbtools.conditions import parse_condition
from nbtools.data.brains.responses import RoiResponses, fit_basis, project, split_images
from nbtools.data.images.sets import ImageSet, split_rows
from nbtools.errors import InputError
from nbtools.models.networks import GuidedNet, RoiPredictor, begin_with, build
from nbtools.training.guided import fit_predictor, train_guided
from nbtools.training.loop import TrainConfig
from nbtools.training.parameters import guide_of, new_network
from nbtools.training.targets import TargetScale


def train_predictor(
    images: ImageSet,
    responses: RoiResponses,
    config: TrainConfig,
    *,
    architecture: str = "small_resnet",
    variance: float = 0.95,
    checkpoint: Path | None = None,
) -> tuple[RoiPredictor, pd.DataFrame]:
    """Train a network to predict a region's responses, in their principal components (§2.2 of the paper).

    Parameters
    ----------
    images : ImageSet
        The images that were shown (n_images), row by row with `responses`.
    responses : RoiResponses
        Shape (n_images, n_voxels); those to shared images are left for the test.
    config : TrainConfig
        Optimiser, schedule, seed.
    architecture : str
        Of `models.list_architectures`.
    variance : float
        Share of the responses' variance that the components keep.
    checkpoint : Path, optional
        As in `fit_predictor`.

    Returns
    -------
    RoiPredictor, DataFrame
        Frozen; and one row per epoch and split.

    Raises
    ------
    InputError
        If images and responses are not of the same ids, or as `split_images`, `fit_basis` and `fit_predictor`.
    """
    if list(map(str, images.ids)) != list(map(str, responses.image_ids)):
        raise InputError(
            "images and responses are not of the same images",
            expected=f"the ids of {len(responses.image_ids)} responses, in their order",
            got=f"{len(images)} images, of other ids or in another order",
            fix="load them by id: load_stimuli(study.stimuli, responses.image_ids, study.image_size)",
        )
    splits = split_images(responses)
    basis = fit_basis(responses.responses[splits["train"]], variance)
    scores = torch.from_numpy(project(basis, responses.responses)).float()
    size = images.pixels.shape[-1]
    named = {"image_size": size, "roi": responses.roi}
    predictor = build(RoiPredictor, config.seed, architecture, *basis.components.shape, **named)
    predictor.components.copy_(torch.from_numpy(basis.components))
    return predictor, fit_predictor(predictor, images, scores, splits, config, checkpoint)


def train_network(
    images: ImageSet,
    condition: str,
    predictor: RoiPredictor | Sequence[RoiPredictor] | None,
    config: TrainConfig,
    *,
    alpha: float = 0.9,
    architecture: str = "small_resnet",
    target_scale: TargetScale = "global",
    validation_fraction: float = 0.12,
    start: GuidedNet | None = None,
    checkpoint: Path | None = None,
) -> tuple[GuidedNet, pd.DataFrame]:
    """Train a network to classify and, where the condition has a guide, to answer like a region (§2.3, eq. 1).

    Parameters
    ----------
    images : ImageSet
        Labelled images to train and validate on.
    condition : str
        ``none``, ``start``, ``ce-weight``, ``decay-<number>`` or a guide (`nbtools.guides`): a region, several
        (``V1+V4@layer3+TO``), ``<guide>-shuffle``, ``random`` (an untrained predictor); ``none-at-4``, ``TO-at-4``.
    predictor : RoiPredictor, sequence of RoiPredictor, or None
        From `train_predictor`, one for each part of the guide; conditions without a guide take no notice of it.
    config : TrainConfig
        Optimiser, schedule, seed.
    alpha : float
        α in [0, 1), the weight of the neural term; 0 where the condition has none.
    architecture : str
        Of `models.list_architectures`.
    target_scale : {"raw", "global"}
        As in `make_guide`.
    validation_fraction : float
        Share of the images to validate on.
    start : GuidedNet, optional
        What it begins with, such as a network trained as ``start``; left out, weights drawn from the seed.
    checkpoint : Path, optional
        As in `train_guided`.

    Returns
    -------
    GuidedNet, DataFrame
        Frozen; and one row per epoch and split.

    Raises
    ------
    InputError
        If the condition is unknown, takes other images than these, lacks its predictor or was given another region's;
        or as `train_guided`.
    """
    chosen = parse_condition(condition)
    if chosen.kind == "labels":
        raise InputError(
            "the label control cannot be trained from these images alone",
            expected="a condition that takes no other images",
            got=condition,
            fix="run notebook 03, which adds the scanner's images with their labels",
        )
    if chosen.kind == "adopted":
        raise InputError(
            "an adopted network is not trained",
            expected="a condition that is",
            got=condition,
            fix="load it: models.load_model, of the folder that `python -m nbtools adopt` made",
        )
    predictors = [predictor] if isinstance(predictor, RoiPredictor) else list(predictor or ())
    guide = guide_of(chosen, predictors, images, target_scale, config.seed) if chosen.parts else None
    parameters = {"seed": config.seed, "architecture": architecture, "guided_readout": "pooled", "start": "scratch"}
    n_components, readouts = (guide.n_components, guide.readouts) if guide else ([0], [None])
    size = images.pixels.shape[-1]
    network = new_network(parameters, images.classes, n_components, None, size, readouts)
    if start is not None:
        begin_with(network, start)
    splits = split_rows(len(images), validation_fraction)
    config = replace(config, weight_decay=chosen.weight_decay or config.weight_decay)
    weight = alpha * chosen.weighted
    return network, train_guided(network, images, guide, weight, splits, config, checkpoint, size, chosen.hardened)
