"""Training: fit a region's predictor, then train a network that classifies and matches that predictor."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from nbtools.checks import check_same_classes
from nbtools.conditions import Condition
from nbtools.data.images.sets import ImageSet
from nbtools.data.images.views import augment, take
from nbtools.devices import best_device
from nbtools.errors import InputError
from nbtools.models.networks import GuidedNet, RoiPredictor, fold_batchnorm, freeze
from nbtools.models.read_outs import predict
from nbtools.training.loop import Batch, Batches, MakeBatch, Objective, TrainConfig, fit

TargetScale = Literal["raw", "global"]


def row_r(a: Tensor, b: Tensor) -> Tensor:
    """Return the Pearson correlation of each pair of rows: (n, k), (n, k) → (n,); 0 for a constant row."""
    return F.cosine_similarity(a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True), dim=1)


class PredictorObjective(Objective):
    """Squared error summed over components, averaged over images (the authors' predictor loss)."""

    model: RoiPredictor

    def __init__(self, model: RoiPredictor):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return loss and neural r for pixels (n, 3, h, w) and target scores (n, k)."""
        predicted = self.model(x).float()
        loss = (predicted - target).square().sum(1).mean()
        return {"loss": loss, "neural_r": row_r(predicted.detach(), target).mean()}


class GuidedObjective(Objective):
    """(1 − α) · cross-entropy + α · mean squared error against the predicted responses (paper, eq. 1).

    Without targets the second term is missing; α = 0 is then training on labels alone.
    """

    model: GuidedNet

    def __init__(self, model: GuidedNet, alpha: float):
        super().__init__()
        self.model, self.alpha = model, alpha

    def forward(self, x: Tensor, labels: Tensor, target: Tensor | None = None) -> dict[str, Tensor]:
        """Return the loss terms, accuracy and neural r for pixels (n, 3, h, w) and labels (n,)."""
        logits, neural = self.model.heads(x)
        class_loss = F.cross_entropy(logits, labels)
        terms = {
            "loss": (1 - self.alpha) * class_loss,
            "class_loss": class_loss,
            "accuracy": (logits.argmax(1) == labels).float().mean(),
        }
        if target is not None and neural is not None:
            neural = neural.float()
            terms["neural_loss"] = F.mse_loss(neural, target)
            terms["loss"] = terms["loss"] + self.alpha * terms["neural_loss"]
            terms["neural_r"] = row_r(neural.detach(), target).mean()
        return terms


@dataclass(frozen=True)
class Guide:
    """A frozen predictor and how its responses become targets.

    Attributes
    ----------
    predictor : RoiPredictor
        Frozen: eval mode, no gradients, its batch normalisations folded into its convolutions.
    partner : Tensor or None
        Shape (n_images,): the image whose response each image is given, for a shuffled control.
    mean : Tensor
        Shape (n_components,), subtracted from the predicted scores.
    scale : float
        The scores are divided by it.
    """

    predictor: RoiPredictor
    partner: Tensor | None
    mean: Tensor
    scale: float

    def to(self, device: torch.device) -> Guide:
        """Return the guide on a device."""
        return replace(self, predictor=self.predictor.to(device), mean=self.mean.to(device))

    @torch.no_grad()
    def targets(self, views: Tensor) -> Tensor:
        """Return targets (n, n_components) for pixels (n, 3, h, w) in [0, 1]."""
        return (self.predictor(views).float() - self.mean) / self.scale


def make_guide(
    condition: Condition, predictor: RoiPredictor, images: ImageSet, target_scale: TargetScale, seed: int
) -> Guide:
    """Freeze a predictor and fix how it guides.

    Parameters
    ----------
    condition : Condition
        A shuffled control pairs every image with another one, once and for all.
    predictor : RoiPredictor
        Trained, or freshly made for the condition ``random``.
    images : ImageSet
        All the images the guide is for: rows of a training are rows of this set.
    target_scale : {"raw", "global"}
        ``raw`` takes the scores as they come (paper). ``global`` subtracts their mean over `images` and
        divides by the root of their mean variance over components: the term then begins at one size in every condition.
    seed : int
        Of the pairing.

    Raises
    ------
    InputError
        If the condition is of manifold guidance, `target_scale` is unknown, or the predictor gives the same scores
        for all images.
    """
    if condition.kind == "manifold":
        raise InputError(
            "a guide gives targets, which manifold guidance does without",
            expected="a region, random or <region>-shuffle",
            got=condition.name,
            fix="leave -manifold out, or train with training.train_manifold_guided",
        )
    freeze(predictor.to(best_device()))
    scores = predict(predictor, images.pixels)
    scale = float(scores.var(dim=0).mean().sqrt())
    if target_scale not in ("raw", "global") or not scale > 0:
        raise InputError(
            "no targets can be made",
            expected="target_scale raw or global, and scores that vary over images",
            got=f"target_scale={target_scale!r}, standard deviation {scale:.3g}",
            fix="check the spelling, and that the predictor was trained",
        )
    partner = derangement(len(images), seed) if condition.kind == "shuffle" else None
    folded = fold_batchnorm(predictor)  # it answers in every step: faster, and the same up to rounding
    if target_scale == "raw":
        return Guide(folded, partner, torch.zeros(scores.shape[1]), 1.0)
    return Guide(folded, partner, scores.mean(0), scale)


def derangement(n: int, seed: int) -> Tensor:
    """Pair every one of n images or categories with another: a random cycle through all of them."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    partner = torch.empty_like(order)
    partner[order] = order.roll(1)
    return partner


def fit_predictor(
    model: RoiPredictor,
    images: ImageSet,
    scores: Tensor,
    splits: dict[str, np.ndarray],
    config: TrainConfig,
    checkpoint: Path | None = None,
) -> pd.DataFrame:
    """Train a neural predictor (§2.2 of the paper).

    Parameters
    ----------
    model : RoiPredictor
        Trained in place and left frozen.
    images : ImageSet
        Scanner images.
    scores : Tensor
        Shape (n_images, n_components): measured responses in the component basis, row by row with `images`.
    splits : dict
        Rows under ``train`` and ``validation``; rows under any other name are never touched.
    config : TrainConfig
        Optimiser, schedule, seed.
    checkpoint : Path, optional
        A file: training resumes from it, bit for bit on a CPU, and writes to it after every epoch.

    Returns
    -------
    DataFrame
        One row per epoch and split: loss, neural_r, lr, seconds.

    Raises
    ------
    InputError
        If scores do not fit images and model, training diverges, or the checkpoint was made with another
        configuration.
    """
    check_scores(model, images, scores)
    return fit(PredictorObjective(model), partial(_scored_views, images, scores), splits, config, checkpoint)


def check_scores(model: RoiPredictor, images: ImageSet, scores: Tensor) -> None:
    """Raise `InputError` unless scores are (n_images, n_components) of these images and this predictor."""
    expected = (len(images), model.config["n_components"])
    if scores.shape != expected:
        raise InputError(
            "scores do not fit images and model",
            expected=f"(n_images, n_components) = {expected}",
            got=tuple(scores.shape),
            fix="join by id; build the model for the scores' basis",
        )


def _scored_views(images: ImageSet, scores: Tensor, device: torch.device) -> MakeBatch:
    pixels, targets, size = _resident(images.pixels, device), scores.to(device), images.pixels.shape[-1]
    return lambda rows, boxes: (augment(take(pixels, rows).to(device), boxes, size), targets[rows])


def train_guided(
    model: GuidedNet,
    images: ImageSet,
    guide: Guide | None,
    alpha: float,
    splits: dict[str, np.ndarray],
    config: TrainConfig,
    checkpoint: Path | None = None,
    size: int | None = None,
) -> pd.DataFrame:
    """Train a network to classify and, with a guide, to match a region's predicted responses.

    Parameters
    ----------
    model : GuidedNet
        Trained in place and left frozen.
    images : ImageSet
        Labelled images.
    guide : Guide or None
        Its targets are computed anew for every augmented view. None trains on labels alone.
    alpha : float
        Weight of the neural term, in [0, 1); that of the class term is 1 − α, also without a guide: give 0 there,
        unless the condition is ``ce-weight`` (`Condition.weighted`).
    splits, config, checkpoint
        As in `fit_predictor`.
    size : int, optional
        Side of the views in pixels; the images' own side if left out.

    Returns
    -------
    DataFrame
        One row per epoch and split: loss, class_loss, accuracy, neural_loss, neural_r, lr, seconds.

    Raises
    ------
    InputError
        If images and network are not of the same classes, α is out of range, an image has no label, the neural head
        does not fit the guide, the best epoch is to be kept but there is no guide to judge it by, training diverges,
        or the checkpoint was made with another configuration.
    """
    check_same_classes(images.classes, model)
    if guide is None and config.keep == "best":
        raise InputError(
            "without a guide no epoch is the best",
            expected='keep="last"',
            got='keep="best", which goes by neural r',
            fix="keep the last epoch",
        )
    if not 0 <= alpha < 1 or (images.labels < 0).any():
        raise InputError(
            "guided training needs labels and α in [0, 1)",
            expected="0 ≤ α < 1 and a label for every image",
            got=f"α = {alpha}, {int((images.labels < 0).sum())} images without a label",
            fix="correct α, or load the images with load_folder",
        )
    if guide and model.config["n_components"] != len(guide.mean):
        raise InputError(
            "the neural head does not fit the guide",
            expected=f"{len(guide.mean)} components, as the predictor",
            got=model.config["n_components"],
            fix="build the network with the predictor's n_components",
        )
    views = partial(labelled_views, images, size or images.pixels.shape[-1])
    # on the CPU, so that it can be sent to processes of other GPUs
    batches = partial(_guided_views, views, guide.to(torch.device("cpu"))) if guide else views
    return fit(GuidedObjective(model, alpha), batches, splits, config, checkpoint)


def _guided_views(labelled: Batches, guide: Guide, device: torch.device) -> MakeBatch:
    views, here = labelled(device), guide.to(device)

    def batch(rows: Tensor, boxes: Tensor) -> Batch:
        seen, labels = views(rows, boxes)
        shown = seen if here.partner is None else views(here.partner[rows], boxes)[0]
        return seen, labels, here.targets(shown)

    return batch


def labelled_views(images: ImageSet, size: int, device: torch.device) -> MakeBatch:
    """Return what makes batches of augmented views (n, 3, size, size) and their labels (n,), on a device."""
    pixels, labels = _resident(images.pixels, device), images.labels.to(device)
    return lambda rows, boxes: (augment(take(pixels, rows).to(device), boxes, size), labels[rows])


def _resident(pixels: Tensor, device: torch.device) -> Tensor:
    """Keep the pixels on a GPU if they take less than half its free memory, else where they are."""
    if device.type != "cuda" or pixels.nbytes > torch.cuda.mem_get_info(device)[0] / 2:
        return pixels
    return pixels.to(device)
