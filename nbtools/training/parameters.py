"""What a run's parameters say of a training: its settings, its guide, the network it starts with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nbtools.checks import check_choice
from nbtools.conditions import Condition
from nbtools.data.images.sets import ImageSet
from nbtools.errors import InputError
from nbtools.guides import RANDOM
from nbtools.models.networks import GuidedNet, RoiPredictor, begin_with, build, load_imagenet_weights, load_model
from nbtools.training.loop import TrainConfig
from nbtools.training.targets import Guide, TargetScale, check_predictors, make_guide

_CALLED = {"lr": "learning_rate", "compile": "compiled"}  # where parameters have other names than settings
STARTS = ("trained", "scratch", "imagenet")  # the network of the seed's `start`; drawn weights; torchvision's (paper)
PREDICTORS = ("trained", "ridge")  # by its loss, all of it; its head alone, on a network that stays as it is
_UNTRAINED = 1000  # added to the seed of a predictor that was never trained: other weights than the network's


def config_of(parameters: Mapping[str, Any], **changes: Any) -> TrainConfig:
    """Return how a network is trained, from a notebook's parameters.

    Parameters
    ----------
    parameters : mapping
        ``epochs``, ``batch_size``, ``learning_rate``, …; those that are no setting of a training are left alone, and a
        setting that is not among them has its default.
    **changes
        Settings by their names in `TrainConfig`, in place of the parameters'.
    """
    named = {field.name: _CALLED.get(field.name, field.name) for field in fields(TrainConfig)}
    given = {name: parameters[key] for name, key in named.items() if key in parameters}
    return TrainConfig(**{**given, **changes})


def load_guide(
    condition: Condition, folders: Sequence[Path], images: ImageSet, target_scale: TargetScale, seed: int
) -> Guide:
    """Make a guide of the predictors in runs' folders; ``random``, of one of its size that was never trained.

    Parameters
    ----------
    condition : Condition
        What guides.
    folders : sequence of Path
        Of the predictors' runs (notebook 02), one for each part of the condition.
    images : ImageSet
        All the images the guide is for.
    target_scale : {"raw", "global"}
        As `make_guide`.
    seed : int
        Of untrained weights, of a shuffled control's pairing, and of scrambled phases.

    Raises
    ------
    InputError
        As `make_guide`, or if there is no predictor in a folder.
    """
    loaded = {folder: load_model(folder) for folder in dict.fromkeys(folders)}  # one that guides twice answers once
    return guide_of(condition, [loaded[folder] for folder in folders], images, target_scale, seed)


def guide_of(
    condition: Condition, predictors: Sequence[RoiPredictor], images: ImageSet, target_scale: TargetScale, seed: int
) -> Guide:
    """Make a guide of trained predictors, as `load_guide` does of those in folders."""
    check_predictors(condition, predictors)
    guiding = [
        _untrained(predictor, seed) if part.source == RANDOM else predictor
        for predictor, (part, _) in zip(predictors, condition.parts, strict=True)
    ]
    return make_guide(condition, guiding, images, target_scale, seed)


def _untrained(predictor: RoiPredictor, seed: int) -> RoiPredictor:
    """Return a predictor of the same size, and of the same response basis, with weights drawn from the seed."""
    fresh: RoiPredictor = build(RoiPredictor, seed + _UNTRAINED, **predictor.config)
    fresh.components.copy_(predictor.components)
    return fresh


def new_network(
    parameters: Mapping[str, Any],
    classes: Sequence[str],
    n_components: int | Sequence[int],
    start: Path | None = None,
    image_size: int | None = None,
    readouts: Sequence[str | None] = (None,),
) -> GuidedNet:
    """Build the network that a notebook's parameters describe, with the weights it starts from.

    Parameters
    ----------
    parameters : mapping
        ``seed``, ``architecture``, ``guided_readout``, ``start``.
    classes : sequence of str
        Those of the images it is to be trained on.
    n_components : int or sequence of int
        Outputs of its neural head, or of each (`Guide.n_components`); without any it has none.
    start : Path, optional
        Folder of the network it begins with, where one was trained for that.
    image_size : int, optional
        Side in pixels of the images it is to see.
    readouts : sequence of (str or None)
        Where each head sits (`Guide.readouts`); None: at the parameters' ``guided_readout``.

    Raises
    ------
    InputError
        If there is no such start, architecture or read-out, none of torchvision's weights for it, it cannot take such
        images, a head asks by name for the ``guided_readout``, or the network to begin with is another one or knows
        other classes.
    """
    check_choice("no such start", parameters["start"], STARTS)
    usual, sizes = parameters["guided_readout"], [n_components] if isinstance(n_components, int) else list(n_components)
    if usual in readouts:
        raise InputError(
            "a guide's part names the read-out at which it is anyway",
            expected=f"a condition has one name: without @{usual} where guided_readout is {usual}",
            got=f"@{usual}",
            fix=f"leave @{usual} out of the condition's name, or choose another guided_readout",
        )
    heads = [(n, where or usual) for n, where in zip(sizes, readouts, strict=True)]
    placed = heads[0] if len(heads) == 1 else tuple(map(list, zip(*heads, strict=True)))
    network = build(GuidedNet, parameters["seed"], parameters["architecture"], classes, *placed, image_size)
    if start:
        begin_with(network, load_model(start))
    elif parameters["start"] == "imagenet":
        load_imagenet_weights(network.backbone)
    return network


def new_predictor(
    parameters: Mapping[str, Any],
    components: np.ndarray,
    trunk: Path | None = None,
    image_size: int | None = None,
) -> RoiPredictor:
    """Build the predictor that a notebook's parameters describe, with the weights that are there before it learns.

    Parameters
    ----------
    parameters : mapping
        ``seed``, ``architecture``, ``readouts``, ``predictor``, ``features_of``; ``roi``, where it is of one.
    components : array (n_components, n_voxels)
        Of the response basis.
    trunk : Path, optional
        Folder of the network whose backbone, and architecture, it has, and of an adopted one the side of its images;
        left out, weights drawn from the seed, or torchvision's where a ridge predictor's ``features_of`` is
        ``imagenet``.
    image_size : int, optional
        Side in pixels of the images it is to see.

    Raises
    ------
    InputError
        If there is no such kind of predictor, architecture or read-out, none of torchvision's weights for it, or it
        cannot take such images; or as `load_model`.
    """
    check_choice("no such predictor", parameters["predictor"], PREDICTORS)
    network = load_model(trunk) if trunk else None
    known = {"architecture": parameters["architecture"], "image_size": image_size}
    if network:
        known = {**network.backbone.config, "side": getattr(network, "side", None)}
    size = dict(zip(("n_components", "n_voxels"), components.shape, strict=True), roi=parameters.get("roi", ""))
    predictor = build(RoiPredictor, parameters["seed"], readouts=parameters["readouts"].split(), **known, **size)
    predictor.components.copy_(torch.from_numpy(components))
    if network:
        predictor.backbone.load_state_dict(network.backbone.state_dict())
    elif parameters["predictor"] == "ridge" and parameters["features_of"] == "imagenet":
        load_imagenet_weights(predictor.backbone)
    return predictor
