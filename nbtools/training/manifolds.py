"""Manifold guidance: train a network whose category clouds have the place, size and directions a region gives them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from nbtools.checks import check_choice, check_eval, check_range, check_same_classes
from nbtools.data.images.sets import ImageSet
from nbtools.data.images.views import augment, draw_boxes, take
from nbtools.devices import best_device, full_precision
from nbtools.errors import InputError
from nbtools.models.networks import GuidedNet
from nbtools.training.checkpoints import fingerprint
from nbtools.training.clouds import (
    FEWEST,
    CategoryManifolds,
    Form,
    category_manifolds,
    distance_outside,
    variance_outside,
)
from nbtools.training.guided import labelled_views
from nbtools.training.loop import Objective, TrainConfig, fit
from nbtools.training.targets import Guide, derangement

Weights = tuple[float, float, float]  # a₁ of the cross-entropy, a₂ of the distance, a₃ of the variance outside

PAPER_WEIGHTS: Weights = (0.08, 0.3, 0.62)


@torch.no_grad()
def neural_manifolds(guide: Guide, images: ImageSet, size: int, seed: int) -> CategoryManifolds:
    """Measure the manifolds of a guide's responses to labelled images.

    Parameters
    ----------
    guide : Guide
        From `training.make_guide`. A shuffled guide gives every category the manifold of another one, by a fixed
        derangement: shapes and sizes of the clouds stay, what they belong to does not.
    images : ImageSet
        The training images, every one labelled; seen whole, without augmentation.
    size : int
        Side of the views in pixels.
    seed : int
        Of the derangement.

    Raises
    ------
    InputError
        As `category_manifolds`.
    """
    manifolds = category_manifolds(cloud_responses(guide, images, size), images.labels, len(images.classes))
    return manifolds if guide.partner is None else manifolds.of_categories(derangement(len(images.classes), seed))


@torch.no_grad()
@full_precision()
def cloud_responses(of: Guide | GuidedNet, images: ImageSet, size: int, batch_size: int = 256) -> Tensor:
    """Return a guide's scaled responses to whole images, or a frozen network's neural head's.

    Parameters
    ----------
    of : Guide or GuidedNet
        Whose responses; a network has a neural head and is in eval mode.
    images : ImageSet
        Seen without augmentation.
    size : int
        Side of the views in pixels.
    batch_size : int
        Images seen together.

    Returns
    -------
    Tensor
        float32, shape (n_images, n_components), on the CPU.

    Raises
    ------
    InputError
        If a network is in training mode, or not of the images' classes.
    """
    check_range("batch_size", batch_size, 1)
    check_same_classes(images.classes, of)
    device = best_device()
    here = of.to(device)
    if isinstance(here, GuidedNet):
        check_eval(here)
    whole = draw_boxes("none", batch_size, torch.Generator())
    parts = []
    for rows in torch.arange(len(images)).split(batch_size):
        views = augment(take(images.pixels, rows).to(device), whole[: len(rows)], size)
        parts.append(here.targets(views, rows)[0] if isinstance(here, Guide) else here.features(views)["neural"])
    return torch.cat(parts).cpu()


class ManifoldObjective(Objective):
    """a₁ · cross-entropy + a₂ · distance outside the neural spheres + a₃ · variance outside the neural bases.

    Parameters
    ----------
    model : GuidedNet
        Its neural head has as many outputs as the manifolds have components.
    manifolds : CategoryManifolds
        One per class of the model.
    weights : (float, float, float)
        a₁, a₂, a₃; (0.08, 0.3, 0.62) in the paper.
    form : {"corrected", "authors"}
        Of the third term, see `variance_outside`.
    """

    model: GuidedNet
    centres: Tensor
    radii: Tensor
    bases: Tensor

    def __init__(self, model: GuidedNet, manifolds: CategoryManifolds, weights: Weights, form: Form = "corrected"):
        super().__init__()
        self.model, self.weights, self.form = model, weights, form
        for name in ("centres", "radii", "bases"):  # buffers, so that they move to the device with the model
            self.register_buffer(name, getattr(manifolds, name))

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the loss, its three terms unweighted, and accuracy, for pixels (n, 3, h, w) and labels (n,)."""
        logits, neural = self.model.heads(x)
        assert neural is not None
        with torch.autocast(x.device.type, enabled=False):  # geometry needs float32
            terms = {
                "class_loss": F.cross_entropy(logits.float(), labels),
                "distance_loss": distance_outside(neural.float(), labels, self.centres, self.radii),
                "variance_loss": variance_outside(neural.float(), labels, self.bases, self.form),
            }
            loss = torch.stack([a * term for a, term in zip(self.weights, terms.values(), strict=True)]).sum()
        return {"loss": loss, **terms, "accuracy": (logits.argmax(1) == labels).float().mean()}


def train_manifold_guided(
    model: GuidedNet,
    images: ImageSet,
    manifolds: CategoryManifolds,
    weights: Weights,
    splits: dict[str, np.ndarray],
    config: TrainConfig,
    checkpoint: Path | None = None,
    size: int | None = None,
    form: Form = "corrected",
) -> pd.DataFrame:
    """Train a network to classify, and to lay out its categories as a region does.

    Parameters
    ----------
    model : GuidedNet
        Trained in place and left frozen.
    images : ImageSet
        Labelled images.
    manifolds : CategoryManifolds
        From the training images alone.
    weights : (float, float, float)
        a₁, a₂, a₃ of `ManifoldObjective`. a₂ = a₃ = 0 trains on labels alone.
    splits, config, checkpoint, size
        As in `training.train_guided`. A batch needs two images per category, on average: in every batch,
        categories with fewer count in the cross-entropy only.
    form : {"corrected", "authors"}
        See `variance_outside`.

    Returns
    -------
    DataFrame
        One row per epoch and split: loss, class_loss, distance_loss (in the unit of the responses),
        variance_loss, accuracy, lr, seconds.

    Raises
    ------
    InputError
        If an image has no label, model, classes and manifolds do not fit, weights or form are not as above, batches
        are too small, the best epoch is to be kept, training diverges, or the checkpoint was made with another
        configuration.
    """
    _check_training(model, images, manifolds, weights, config, form)
    objective = ManifoldObjective(model, manifolds, weights, form)
    clouds = [fingerprint(manifolds.centres), fingerprint(manifolds.radii)]
    told = {"weights": list(weights), "form": form, "clouds": clouds}
    views = partial(labelled_views, images, size or images.pixels.shape[-1])
    return fit(objective, views, splits, config, checkpoint, told)


def _check_training(
    model: GuidedNet, images: ImageSet, manifolds: CategoryManifolds, weights: Weights, config: TrainConfig, form: Form
) -> None:
    check_same_classes(images.classes, model)
    sizes = len(images.classes), model.config["n_components"]
    k, d = manifolds.centres.shape
    if sizes != (k, d) or (images.labels < 0).any():
        raise InputError(
            "images, network and manifolds do not fit",
            expected=f"labelled images of {k} classes, a network of {d} components",
            got="{} classes, a network of {} components, ".format(*sizes)
            + f"{int((images.labels < 0).sum())} images without a label",
            fix="build the network for these images and with the predictor's n_components",
        )
    if not (weights[0] > 0 and all(0 <= weight < float("inf") for weight in weights)) or config.keep == "best":
        raise InputError(
            "these are no settings of manifold guidance",
            expected='weights a₁ > 0, a₂ ≥ 0, a₃ ≥ 0, and keep="last": no neural r says which epoch is best',
            got=f"{weights}, keep={config.keep!r}",
            fix=f"start from the paper's {PAPER_WEIGHTS}",
        )
    check_choice("unknown form", form, get_args(Form))
    if config.batch_size // (config.devices * config.accumulate) < FEWEST * k:
        raise InputError(
            "batches are too small for category clouds",
            expected=f"{FEWEST * k} images or more in each part: {FEWEST} of each of {k} categories, on average",
            got=f"{config.batch_size} images on {config.devices} devices, accumulate = {config.accumulate}",
            fix="raise batch_size",
        )
