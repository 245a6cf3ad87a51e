"""Training: fit a region's predictor, then train a network that classifies and matches that predictor."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from nbtools.checks import check_same_classes
from nbtools.data.images.sets import ImageSet
from nbtools.data.images.views import augment, take
from nbtools.errors import InputError
from nbtools.models.networks import GuidedNet, RoiPredictor
from nbtools.training.checkpoints import fingerprint
from nbtools.training.hardening import Asked, Hardened, Shown, as_they_are, hardening
from nbtools.training.loop import Batch, Batches, MakeBatch, Objective, TrainConfig, fit
from nbtools.training.matching import MATCHED, row_r
from nbtools.training.targets import Guide, Match, share_of


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
    """(1 − α) · cross-entropy + α · the neural term (paper, eq. 1): the weighted mean of what the guide's parts ask.

    Without a guide the second term is missing; α = 0 is then training on labels alone. A network that is `hardened`
    sees perturbed pictures while it learns, and is asked for what its guide says of them as they are.
    """

    model: GuidedNet

    def __init__(
        self, model: GuidedNet, alpha: float, asked: Sequence[Match] = (Match(),), hardened: Hardened | None = None
    ):
        super().__init__()
        self.model, self.alpha, self.asked = model, alpha, tuple(asked)
        self.show, self.attacked = hardening(hardened)

    def forward(self, x: Tensor, labels: Tensor, *targets: Tensor) -> dict[str, Tensor]:
        """Return the loss terms, accuracy and neural r for pixels (n, 3, h, w), labels (n,) and each part's targets."""

        def whole(other: Tensor) -> Tensor:
            return self._of(as_they_are(asked._replace(x=other)), labels, targets)["loss"]

        asked = Asked(self.model, x, labels, whole)
        terms = self._of(self.show(asked) if self.training else as_they_are(asked), labels, targets)
        if not self.training and self.attacked:
            terms["robust_accuracy"] = self.attacked(asked)
        return terms

    def _of(self, shown: Shown, labels: Tensor, targets: Sequence[Tensor]) -> dict[str, Tensor]:
        terms = {
            "loss": (1 - self.alpha) * shown.class_loss,
            "class_loss": shown.class_loss,
            "accuracy": (shown.logits.argmax(1) == labels).float().mean(),
        }
        if targets:
            terms |= self._neural(shown.matched, targets)
            terms["loss"] = terms["loss"] + self.alpha * terms["neural_loss"]
        return terms

    def _neural(self, matched: Sequence[Tensor], targets: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return the weighted means of the parts' losses and r; where there are several, each one's r as well."""
        losses, rs = {}, {}
        for place, (asked, own, target) in enumerate(zip(self.asked, matched, targets, strict=True)):
            with torch.autocast(own.device.type, enabled=False):  # similarities need float32
                losses[asked], rs[asked] = MATCHED[asked.target](share_of(own, place, len(targets)).float(), target)
        weighted = {"neural_loss": losses, "neural_r": rs}
        means = {
            name: torch.stack([asked.weight * each[asked] for asked in self.asked]).sum()
            for name, each in weighted.items()
        }
        return means | ({f"neural_r {asked.name}": rs[asked] for asked in rs} if len(rs) > 1 else {})


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
    batches, told = partial(_scored_views, images, scores), {"scores": fingerprint(scores)}
    return fit(PredictorObjective(model), batches, splits, config, checkpoint, told)


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
    hardened: Hardened | None = None,
) -> pd.DataFrame:
    """Train a network to classify and, with a guide, to match what its predictors say of each view.

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
    hardened : (str, float), optional
        How it is trained against perturbations (`Condition.hardened`): its training rows are then of perturbed
        pictures.

    Returns
    -------
    DataFrame
        One row per epoch and split: loss, class_loss, accuracy, neural_loss, neural_r, lr, seconds. Where a network is
        trained on attacked pictures, validation rows have robust_accuracy, too: under PGD at that ε.

    Raises
    ------
    InputError
        If images and network are not of the same classes, α is out of range, an image has no label, the neural heads
        do not fit the guide, the best epoch is to be kept but there is no guide to judge it by, training diverges,
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
    views = partial(labelled_views, images, size or images.pixels.shape[-1])
    told: dict[str, Any] = {"alpha": alpha} | ({"hardened": list(hardened)} if hardened else {})
    if guide is None:
        return fit(GuidedObjective(model, alpha, hardened=hardened), views, splits, config, checkpoint, told)
    _check_heads(model, guide)
    objective = GuidedObjective(model, alpha, [aim.asked for aim in guide.aims], hardened)
    # on the CPU, so that it can be sent to processes of other GPUs
    batches = partial(_guided_views, views, guide.to(torch.device("cpu")))
    return fit(objective, batches, splits, config, checkpoint, {**told, "guide": guide.told})


def _check_heads(model: GuidedNet, guide: Guide) -> None:
    elsewhere = any(asked not in (None, has) for asked, has in zip(guide.readouts, model.guided_readouts, strict=False))
    if list(model.n_components) != guide.n_components or elsewhere:
        raise InputError(
            "the neural heads do not fit the guide",
            expected=f"{guide.n_components} components at {guide.readouts} (None: anywhere)",
            got=f"{list(model.n_components)} at {list(model.guided_readouts)}",
            fix="build the network with the guide's n_components and readouts",
        )


def _guided_views(labelled: Batches, guide: Guide, device: torch.device) -> MakeBatch:
    views, here = labelled(device), guide.to(device)

    def batch(rows: Tensor, boxes: Tensor) -> Batch:
        seen, labels = views(rows, boxes)
        shown = seen if here.partner is None else views(here.partner[rows], boxes)[0]
        return seen, labels, *here.targets(shown, rows)

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
