"""What every function that runs a model asks of it and of its images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nbtools.errors import InputError


def check_eval(model: nn.Module) -> None:
    """Raise `InputError` if the model is in training mode."""
    if model.training:
        raise InputError(
            "the model is in training mode",
            expected="model.eval(): batch statistics would leak between images",
            got="model.training is True",
            fix="call nbtools.models.networks.freeze(model)",
        )


def check_pixels(x: Tensor) -> None:
    """Raise `InputError` unless pixels are floats (n, channels, height, width) in [0, 1]."""
    if x.ndim != 4 or not len(x) or not x.is_floating_point():
        raise InputError(
            "these are not images",
            expected="float pixels (n, 3, height, width), n > 0",
            got=f"{tuple(x.shape)} {x.dtype}",
            fix="turn uint8 pixels into floats with nbtools.data.images.sets.to_float",
        )
    if not (x.min() >= 0 and x.max() <= 1):  # written so that NaN fails too
        raise InputError(
            "pixels outside [0, 1]",
            expected="floats from 0 to 1",
            got=f"{float(x.min()):.3g} to {float(x.max()):.3g}",
            fix="divide uint8 pixels by 255; normalisation belongs to the model",
        )


def check_labels(logits: Tensor, labels: Tensor) -> None:
    """Raise `InputError` unless there is a finite logit vector and one of its classes for every image."""
    fits = labels.shape == logits.shape[:1] and labels.dtype == torch.int64
    if not fits or not ((labels >= 0) & (labels < logits.shape[1])).all():
        raise InputError(
            "labels do not fit the model's classes",
            expected=f"int64 labels ({len(logits)},) from 0 to {logits.shape[1] - 1}",
            got=f"{tuple(labels.shape)} {labels.dtype}"
            + (f" from {int(labels.min())} to {int(labels.max())}" if labels.numel() else ""),
            fix="use labelled images of the classes the model was trained on",
        )
    check_finite(logits)


def check_finite(logits: Tensor) -> None:
    """Raise `InputError` where a logit (n, n_classes) is not a number: it is no decision and must not count as one."""
    if not logits.isfinite().all():
        raise InputError(
            "the model's logits are not finite",
            expected="finite logits for every image",
            got=f"NaN or infinite for {int((~logits.isfinite().all(1)).sum())} of {len(logits)} images",
            fix="look for a diverged training or a model in low precision",
        )
