"""Where a network from outside comes from: a file, torchvision, timm; each says what it was trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn
from torchvision import models as library

from nbtools.checks import check_choice, check_range, reading
from nbtools.data.images.counterparts import as_synsets, read_class_names
from nbtools.data.images.ilsvrc import ILSVRC
from nbtools.errors import InputError
from nbtools.files import sha256_of
from nbtools.models.architectures import SECOND, TIMM, check_architecture, unknown
from nbtools.models.networks import downloaded
from nbtools.models.weights import load_weights, put

Channels = tuple[float, ...]
_OF_BYTES = "give that of pixels in [0, 1]: of pixels up to 255, divide by 255"
_RESCALED = (
    "{} turns pixels that are normalised as ImageNet's into [-1, 1], as with torchvision's weights "
    "(transform_input=True): if its training did not, this gives other answers"
)


@dataclass(frozen=True)
class Source:
    """What is known of a network from outside.

    Attributes
    ----------
    architecture : str
        As of any network.
    classes : tuple of str (n_classes,)
        What it was trained to tell apart, in the order of its last layer.
    mean, sd : tuple of float (3,)
        By which it was trained to see pixels normalised, of pixels in [0, 1].
    side : int
        Of the square images it was trained on, in pixels.
    place : dict
        Where its weights come from, for records.
    fill : callable
        Gives them to a whole network of its library; returns what was done to make them fit.
    """

    architecture: str
    classes: tuple[str, ...]
    mean: Channels
    sd: Channels
    side: int
    place: dict[str, Any]
    fill: Callable[[nn.Module], list[str]]

    def __post_init__(self) -> None:
        check_architecture(self.architecture)
        check_range("the side of images", self.side, 1, whole=True)
        for name, values, least in (("mean", self.mean, 0.0), ("sd", self.sd, 1e-3)):
            check_range(f"the number of channels of the {name}", len(values), 3, 3)
            for value in values:
                check_range(f"the {name} of pixels in [0, 1]", value, least, 1.0, fix=_OF_BYTES)


def source_of(
    *,
    architecture: str | None = None,
    weights: Path | None = None,
    torchvision: str | None = None,
    timm: str | None = None,
    classes: Path | None = None,
    mean: Sequence[float] | None = None,
    sd: Sequence[float] | None = None,
    size: int | None = None,
) -> Source:
    """Describe a network by one of three places: a file of weights, torchvision's, timm's.

    Parameters
    ----------
    architecture : str, optional
        Of weights in a file, or of torchvision's.
    weights, torchvision, timm
        One of them; the arguments of `from_file`, `from_torchvision`, `from_timm`.
    classes, mean, sd, size
        As `from_file` takes them: all with a file, none without.

    Raises
    ------
    InputError
        If one is missing, or said beside those who know; or as these three.
    """
    trained: dict[str, Any] = {"classes": classes, "mean": mean, "sd": sd, "size": size}
    named = {"architecture": architecture, **trained}
    needed = [*named] if weights else ["architecture"] if torchvision else []
    wrong = {
        "missing": [f"--{name}" for name in needed if named[name] is None],
        "too much": [f"--{name}" for name, value in named.items() if value is not None and name not in needed],
    }
    if told := "; ".join(f"{what}: {', '.join(names)}" for what, names in wrong.items() if names):
        raise InputError(
            "weights in a file do not say what they were trained on; torchvision and timm do",
            expected=", ".join(f"--{name}" for name in needed) or "the name alone",
            got=told,
            fix="see the code it was trained with: by other pixels or classes it gives other answers, and no error",
        )
    if weights:
        return from_file(str(architecture), weights, **trained)
    return from_torchvision(str(architecture), torchvision) if torchvision else from_timm(str(timm))


def from_file(
    architecture: str, weights: Path, classes: Path, mean: Sequence[float], sd: Sequence[float], size: int
) -> Source:
    """Describe weights in a file.

    Parameters
    ----------
    architecture : str
        That they are of.
    weights : Path
        As `load_weights` reads it.
    classes : Path
        As `read_class_names` reads it.
    mean, sd : sequence of float (3,)
        Of pixels in [0, 1], red, green, blue, as the training normalised them; 0 and 1 where it did not.
    size : int
        Side of its images, in pixels.

    Raises
    ------
    InputError
        If a file cannot be read, there is no such architecture, or a number cannot be.
    """
    names = read_class_names(classes)
    told = [_RESCALED.format(architecture)] if architecture in SECOND else []
    with reading("these weights cannot be read", OSError, file=weights, expected="a file", fix="correct the path"):
        place = {"file": weights.name, "sha256": sha256_of(weights)}  # records are shared: no user's folders

    def fill(network: nn.Module) -> list[str]:
        return [*told, *load_weights(network, weights, SECOND.get(architecture, ()))]

    return Source(architecture, names, tuple(mean), tuple(sd), size, place, fill)


def from_torchvision(architecture: str, name: str) -> Source:
    """Describe weights that torchvision publishes, such as ``IMAGENET1K_V2`` of ``resnet50``; filling downloads them.

    Raises
    ------
    InputError
        If torchvision has no such architecture or weights.
    """
    check_choice("torchvision has no such architecture", architecture, library.list_models(library))
    known = library.get_model_weights(architecture)
    check_choice(f"torchvision has no such weights of {architecture}", name, known.__members__)
    weights = known[name]
    taken = weights.transforms()

    def fill(network: nn.Module) -> list[str]:
        state, own = downloaded(weights), network.state_dict().keys()
        put(network, {key: value for key, value in state.items() if key in own}, assign=True)
        aside = len(state.keys() - own)  # second classifiers, which serve training alone
        return [f"left aside: {aside} tensors of what serves training alone"] * bool(aside)

    classes, place = as_synsets(weights.meta["categories"]), {"torchvision": name, "url": weights.url}
    return Source(architecture, classes, tuple(taken.mean), tuple(taken.std), taken.crop_size[0], place, fill)


def from_timm(name: str) -> Source:
    """Describe weights that timm publishes, such as ``resnet50.a1_in1k``; filling downloads them.

    Raises
    ------
    InputError
        If timm is not installed or has no such network, or it was not trained on ImageNet's thousand.
    """
    architecture = TIMM + name.partition(".")[0]
    check_architecture(architecture)
    import timm  # an extra, and slow to import

    known = timm.list_models(pretrained=True)
    if name not in known:
        raise unknown("timm has no such weights", name, known)
    told = timm.models.get_pretrained_cfg(name)
    if told.num_classes != len(ILSVRC):
        raise InputError(
            f"timm does not say what {name} tells apart",
            expected=f"a network of ImageNet's {len(ILSVRC)} classes",
            got=f"{told.num_classes} classes",
            fix="save its state dict, and adopt that by --weights with --classes",
        )

    def fill(network: nn.Module) -> list[str]:
        fix = "see that there is a network connection, and that the name is among timm.list_pretrained()"
        with reading("timm's weights cannot be had", Exception, expected="weights it publishes", fix=fix):
            put(network, timm.create_model(name, pretrained=True).state_dict(), assign=True)
        return []

    mean, sd, side = tuple(told.mean), tuple(told.std), told.input_size[-1]
    return Source(architecture, ILSVRC, mean, sd, side, {"timm": name}, fill)
