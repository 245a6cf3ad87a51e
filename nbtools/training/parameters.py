"""What a run's parameters say of a training: its settings, its guide, the network it starts with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from nbtools.checks import check_choice
from nbtools.conditions import Condition
from nbtools.data.images.sets import ImageSet
from nbtools.models.networks import GuidedNet, RoiPredictor, begin_with, build, load_imagenet_weights, load_model
from nbtools.training.guided import Guide, TargetScale, make_guide
from nbtools.training.loop import TrainConfig

_CALLED = {"lr": "learning_rate", "compile": "compiled"}  # where parameters have other names than settings
STARTS = ("trained", "scratch", "imagenet")  # the network of the seed's `start`; drawn weights; torchvision's (paper)
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


def load_guide(condition: Condition, folder: Path, images: ImageSet, target_scale: TargetScale, seed: int) -> Guide:
    """Make a guide of the predictor in a run's folder; ``random``, of one of its size that was never trained.

    Parameters
    ----------
    condition : Condition
        What guides.
    folder : Path
        Of the predictor's run (notebook 02).
    images : ImageSet
        All the images the guide is for.
    target_scale : {"raw", "global"}
        As `make_guide`.
    seed : int
        Of untrained weights, and of a shuffled control's pairing.

    Raises
    ------
    InputError
        As `make_guide`, or if there is no predictor in the folder.
    """
    return guide_of(condition, load_model(folder), images, target_scale, seed)


def guide_of(
    condition: Condition, predictor: RoiPredictor, images: ImageSet, target_scale: TargetScale, seed: int
) -> Guide:
    """Make a guide of a trained predictor, as `load_guide` does of one in a folder."""
    if condition.kind == "random":
        predictor = build(RoiPredictor, seed + _UNTRAINED, **predictor.config)
    return make_guide(condition, predictor, images, target_scale, seed)


def new_network(
    parameters: Mapping[str, Any],
    classes: Sequence[str],
    n_components: int,
    start: Path | None = None,
    image_size: int | None = None,
) -> GuidedNet:
    """Build the network that a notebook's parameters describe, with the weights it starts from.

    Parameters
    ----------
    parameters : mapping
        ``seed``, ``architecture``, ``guided_readout``, ``start``.
    classes : sequence of str
        Those of the images it is to be trained on.
    n_components : int
        Outputs of its neural head; without any it has none.
    start : Path, optional
        Folder of the network it begins with, where one was trained for that.
    image_size : int, optional
        Side in pixels of the images it is to see.

    Raises
    ------
    InputError
        If there is no such start, architecture or read-out, none of torchvision's weights for it, it cannot take such
        images, or the network to begin with is another one or knows other classes.
    """
    check_choice("no such start", parameters["start"], STARTS)
    named = parameters["architecture"], classes, n_components, parameters["guided_readout"], image_size
    network = build(GuidedNet, parameters["seed"], *named)
    if start:
        begin_with(network, load_model(start))
    elif parameters["start"] == "imagenet":
        load_imagenet_weights(network.backbone)
    return network
