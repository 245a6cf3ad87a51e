"""Any network as attacks and metrics ask it, whoever made it: where it lives, in its own precision, for logits."""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from nbtools.checks import check_finite
from nbtools.errors import InputError

# For functions that differentiate: they may be called under torch.no_grad and torch.inference_mode.
differentiating = torch.inference_mode(False)


class Classifier(nn.Module):
    """A network for attacks, metrics and other libraries to ask.

    Parameters
    ----------
    model : nn.Module
        Maps pixels (n, 3, h, w) in [0, 1] to logits (n, n_classes).

    Notes
    -----
    Pixels reach the network on its own device and in the precision of its weights: one in bfloat16 sees pixels that
    are rounded to 8 bits. Its logits come back where the pixels are and in their precision.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        # a gradient passes through copies of weights that were made under torch.inference_mode
        frozen = any(weights.is_inference() for weights in model.parameters())
        self.model = deepcopy(model) if frozen else model
        self.training = model.training  # the network's own parts stay as they are
        if hasattr(model, "classes"):  # by which images are joined with it (checks.check_same_classes)
            self.classes = model.classes

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (n, n_classes), the caller's own to write to.

        Raises
        ------
        InputError
            If the network returns anything else, or a logit is not finite, nor a gradient, once it is asked for.
        """
        return _checked(self.model(self._seen(x)), x)

    def matched(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the logits (n, n_classes) and what each guide matches (n, width), as `GuidedNet.matched` does.

        Raises
        ------
        InputError
            As `forward`, or if the network has no such method, or what it matches is nothing, or not finite.
        """
        matched: Any = getattr(self.model, "matched", None)
        if matched is None:
            raise InputError(
                "this network has no neural output to know of",
                expected="a method matched: pixels → the logits, and a list of what guides match (n, width)",
                got=f"a {type(self.model).__name__} without",
                fix="take a network that was trained or adopted here, or leave the adaptive attack out",
            )
        logits, values = matched(self._seen(x))
        _check_matched(values, x)
        return _checked(logits, x), [value.to(x) for value in values]

    def _seen(self, x: Tensor) -> Tensor:
        """Return pixels as the network sees them; a gradient that comes back to them is checked.

        The sign of NaN is 0: an image without a direction would count as one that withstands L∞.
        """
        watched = x.view_as(x)
        if watched.requires_grad:
            watched.register_hook(partial(check_finite, what="gradients"))
        return watched.to(home_of(self.model, x))


def _checked(logits: Tensor, x: Tensor) -> Tensor:
    """Return a network's answer to x where the pixels are, in their precision, to be written to."""
    if not isinstance(logits, Tensor) or logits.shape[:1] != x.shape[:1] or logits.ndim != 2:
        raise InputError(
            "the model returns no logits",
            expected=f"one tensor ({len(x)}, n_classes)",
            got=_described(logits),
            fix="wrap it in a torch.nn.Module whose forward returns the logits alone, such as model(x)['logits']",
        )
    check_finite(logits)
    return logits.to(x, copy=True)


def _check_matched(values: object, x: Tensor) -> None:
    """Raise `InputError` unless a network matches several numbers of every image of x, all of them finite."""
    several = values if isinstance(values, list | tuple) else ()
    fits = [isinstance(each, Tensor) and each.ndim == 2 and len(each) == len(x) for each in several]
    if not several or not all(fits):
        raise InputError(
            "the model's method matched returns nothing that a guide could match",
            expected=f"logits, and a list of tensors ({len(x)}, width), one or more",
            got=_described(values),
            fix="return the neural output of all images, whatever its name, in a list",
        )
    for each in several:
        check_finite(each, "neural outputs")


def home_of(model: nn.Module, x: Tensor) -> Tensor:
    """Return any tensor of the device and precision a model works in; without weights, x (n, 3, h, w) itself."""
    tensors = chain(model.parameters(), model.buffers())
    return next((tensor for tensor in tensors if tensor.is_floating_point()), x)


@torch.no_grad()
def logits_of(model: nn.Module, x: Tensor) -> Tensor:
    """Return what a model says to pixels (n, 3, h, w), without a gradient."""
    return model(x)


def _described(answer: object) -> str:
    if isinstance(answer, Tensor):
        return f"a tensor {tuple(answer.shape)}"
    if isinstance(answer, list | tuple):
        return f"a {type(answer).__name__} of {', '.join(map(_described, answer)) or 'nothing'}"
    inside = f" of {', '.join(map(str, answer))}" if isinstance(answer, dict) else ""
    return f"a {type(answer).__name__}{inside}"
