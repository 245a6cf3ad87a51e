"""Architectures by name, as torchvision, timm or this package build them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Any

import torchvision
from torch import nn

from nbtools.errors import InputError
from nbtools.models.own import cifar_resnet18, cornet_s, small_resnet

PIXEL_MEAN = (0.485, 0.456, 0.406)  # ImageNet's, so that pretrained weights see what they were trained on
PIXEL_SD = (0.229, 0.224, 0.225)

OWN: dict[str, Callable[[], nn.Module]] = {each.__name__: each for each in (small_resnet, cifar_resnet18, cornet_s)}
TIMM = "timm."
_SIDE = 224  # pixels, where a library does not say otherwise
_SIZED = {"vit": "image_size", "maxvit": "input_size"}  # torchvision's that are built for one size, by their first word
# Without second classifiers, which serve training alone; with the change of scale their weights were trained with.
_INCEPTION = {"aux_logits": False, "transform_input": True, "init_weights": True}
_OPTIONS: dict[str, dict[str, Any]] = {"googlenet": _INCEPTION, "inception_v3": _INCEPTION}
SECOND: dict[str, tuple[str, ...]] = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}
_MOST_LISTED = 120


def list_architectures() -> list[str]:
    """Return all names: those of this package, of torchvision's classifiers and, where it is installed, of timm."""
    return _at_hand() + ([TIMM + name for name in _timm().list_models()] if find_spec("timm") else [])


def _at_hand() -> list[str]:
    return [*OWN, *torchvision.models.list_models(module=torchvision.models)]


def check_architecture(name: str) -> None:
    """Raise `InputError` unless there is an architecture of this name."""
    of_timm = str(name).startswith(TIMM)
    if of_timm and not find_spec("timm"):
        raise InputError(
            "timm is not installed",
            expected="timm, for its networks",
            got=name,
            fix='pip install "neuroai-nbtools[timm]"',
        )
    if name not in (list_architectures() if of_timm else _at_hand()):
        raise unknown("unknown architecture", name, list_architectures())


def unknown(problem: str, got: str, known: Iterable[str], first: Iterable[str] = ()) -> InputError:
    """Return the error that lists what there is: what is to stand first, the nearest of the other names, the rest."""
    known = list(known)
    listed = list(dict.fromkeys([*first, *get_close_matches(str(got), known, 8, 0.4), *known]))
    more = len(listed) - _MOST_LISTED
    expected = ", ".join(listed[:_MOST_LISTED]) + (f" and {more} more" if more > 0 else "")
    return InputError(problem, expected=expected, got=repr(got), fix="use one of these")


def is_sized(architecture: str) -> bool:
    """Say whether an architecture is built for images of one size."""
    if architecture.startswith(TIMM):
        name = architecture.removeprefix(TIMM)
        return bool(_timm().models.get_pretrained_cfg_value(name, "fixed_input_size"))
    return architecture.split("_")[0] in _SIZED


def assembled(architecture: str, image_size: int | None = None) -> nn.Module:
    """Return a network as its library builds it, with drawn weights.

    Parameters
    ----------
    architecture : str
        Of `list_architectures`.
    image_size : int, optional
        Side in pixels, for one that `is_sized`; left out, the library's own. Others take no notice of it.
    """
    if architecture in OWN:
        return OWN[architecture]()
    options = options_of(architecture, image_size)
    if architecture.startswith(TIMM):
        return _timm().create_model(architecture.removeprefix(TIMM), pretrained=False, **options)
    return torchvision.models.get_model(architecture, weights=None, **options)


def options_of(architecture: str, image_size: int | None = None) -> dict[str, Any]:
    """Return what a library is told to build a network, beside its name."""
    sized = image_size if is_sized(architecture) else None
    if architecture.startswith(TIMM):
        return {"img_size": sized} if sized else {}
    options = dict(_OPTIONS.get(architecture, {}))
    if sized:
        option = _SIZED[architecture.split("_")[0]]
        options[option] = sized if option == "image_size" else (sized, sized)
    return options


def own_side(network: nn.Module) -> int:
    """Return the side in pixels of the images that a library builds a network for."""
    return int(_told(network).get("input_size", (3, _SIDE, _SIDE))[-1])


def normalisation(network: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and standard deviation of pixels, a value per channel, that a library trains a network with."""
    told = _told(network)
    return tuple(told.get("mean", PIXEL_MEAN)), tuple(told.get("std", PIXEL_SD))


def _told(network: nn.Module) -> dict[str, Any]:
    """Return what timm says of the weights it has for a network."""
    return getattr(network, "pretrained_cfg", {})


def left_whole(architecture: str) -> tuple[list[Any], list[type[nn.Module]]]:
    """Return the functions and layers of a library that torch.fx cannot follow, and leaves whole."""
    if not architecture.startswith(TIMM):
        return [], []
    return _timm().layers.get_notrace_functions(), _timm().layers.get_notrace_modules()


def _timm() -> Any:
    import timm  # an extra, and slow to import

    return timm
