"""Guides: frozen predictors, and how what they say of an image becomes targets."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from nbtools.conditions import Condition
from nbtools.data.images.scrambled import scramble_phases
from nbtools.data.images.sets import ImageSet
from nbtools.devices import best_device, full_precision
from nbtools.errors import InputError
from nbtools.guides import RANDOM, Target
from nbtools.models.networks import RoiPredictor, fold_batchnorm, freeze
from nbtools.models.read_outs import predict
from nbtools.training.checkpoints import fingerprint

TargetScale = Literal["raw", "global"]


class Match(NamedTuple):
    """What one part of a guide asks of a network."""

    name: str = "neural"
    target: Target = "responses"  # what is matched: scores, or the similarities of a batch's images in predicted voxels
    weight: float = 1.0  # of its term among those of the guide, which sum to 1
    readout: str | None = None  # where it is matched; None: where the run says


@dataclass(frozen=True)
class Aim:
    """One predictor that guides.

    Attributes
    ----------
    asked : Match
        What is to match it, and how.
    predictor : RoiPredictor
        Frozen: eval mode, no gradients, its batch normalisations folded into its convolutions.
    mean : Tensor
        Shape (n_components,), subtracted from the predicted scores.
    scale : float
        The scores are divided by it.
    """

    asked: Match
    predictor: RoiPredictor
    mean: Tensor
    scale: float

    def to(self, device: torch.device) -> Aim:
        """Return it on a device; under autocast with its weights cast once and for all, for use there alone."""
        return replace(self, predictor=_cast(self.predictor, device).to(device), mean=self.mean.to(device))

    def of(self, scores: Tensor) -> Tensor:
        """Return the targets that scores (n, n_components) are: (n, n_components), or responses (n, n_voxels)."""
        if self.asked.target == "responses":
            return (scores - self.mean) / self.scale
        with torch.autocast(scores.device.type, enabled=False):
            return self.predictor.voxels(scores)


def _cast(predictor: RoiPredictor, device: torch.device) -> RoiPredictor:
    """Return a frozen predictor as autocast, where it is on, casts it in each pass; it says the same to the bit.

    Autocast keeps what it casts of weights that are trained alone: frozen ones it would cast anew in every step.
    """
    if not torch.is_autocast_enabled(device.type):
        return predictor
    cast = copy.deepcopy(predictor)
    for layer in cast.modules():
        if type(layer) in (nn.Conv2d, nn.Linear):  # kinds made of these may use their weights in other ways
            layer.to(torch.get_autocast_dtype(device.type))
    return cast


@dataclass(frozen=True)
class Guide:
    """Frozen predictors that guide a network together.

    Attributes
    ----------
    aims : tuple of Aim
        One for each part of the condition.
    partner : Tensor or None
        Shape (n_images,): the image whose responses each image is given, for a shuffled control.
    phases : int or None
        The seed of the phases by which pictures are scrambled before a predictor sees them, for that control.
    """

    aims: tuple[Aim, ...]
    partner: Tensor | None = None
    phases: int | None = None

    @property
    def n_components(self) -> list[int]:
        """The size of the neural head that each part asks for; 0: none, its read-out is matched itself."""
        return [len(aim.mean) if aim.asked.target == "responses" else 0 for aim in self.aims]

    @property
    def readouts(self) -> list[str | None]:
        """Where each part is matched; None: where the run says."""
        return [aim.asked.readout for aim in self.aims]

    @property
    def told(self) -> dict[str, Any]:
        """What tells it from other guides, in JSON's terms; predictors are known by their heads."""
        heads = [fingerprint(each) for aim in self.aims for each in aim.predictor.head.parameters()]
        partner = None if self.partner is None else fingerprint(self.partner)
        centred = any(bool(aim.mean.any()) for aim in self.aims)
        asked = [list(aim.asked) for aim in self.aims]
        return {"asked": asked, "predictors": heads, "centred": centred, "partner": partner, "phases": self.phases}

    def to(self, device: torch.device) -> Guide:
        """Return the guide on a device, as `Aim.to`."""
        return replace(self, aims=tuple(aim.to(device) for aim in self.aims))

    @torch.no_grad()
    def targets(self, views: Tensor, rows: Tensor) -> list[Tensor]:
        """Return what the parts ask of views: each of its share of them, the images `share_of` says.

        Parameters
        ----------
        views : Tensor
            Shape (n, 3, h, w), in [0, 1]; for a shuffled control, of the partners.
        rows : Tensor
            Shape (n,): numbers of the images, by which a scrambled control knows them again.

        Returns
        -------
        list of Tensor
            Scores (n_shared, n_components), or responses (n_shared, n_voxels) whose similarities are matched.
        """
        seen = views if self.phases is None else scramble_phases(views, rows, self.phases)
        shares = (share_of(seen, place, len(self.aims)) for place in range(len(self.aims)))
        return [aim.of(aim.predictor(share).float()) for aim, share in zip(self.aims, shares, strict=True)]


def share_of(batch: Tensor, place: int, n_parts: int) -> Tensor:
    """Return the images (n, …) of a batch that one of several parts asks about: every n_parts-th, of too few all.

    A batch's order is drawn anew in every epoch, so that each part's term is, in expectation, that over all images. A
    guide of several parts takes as many predictors' passes as a guide of one, and has as many targets: after as many
    epochs each part is matched less well than by all images (docs/log.md, *images are shared out*).
    """
    return batch[place::n_parts] if len(batch) >= n_parts else batch


def make_guide(
    condition: Condition,
    predictors: RoiPredictor | Sequence[RoiPredictor],
    images: ImageSet,
    target_scale: TargetScale,
    seed: int,
) -> Guide:
    """Freeze predictors and fix how they guide.

    Parameters
    ----------
    condition : Condition
        A shuffled control pairs every image with another one, once and for all, and for all parts.
    predictors : RoiPredictor or sequence of RoiPredictor
        One for each part of the condition, trained, or freshly made where it is ``random``.
    images : ImageSet
        All the images the guide is for: rows of a training are rows of this set.
    target_scale : {"raw", "global"}
        ``raw`` takes the scores as they come (paper). ``global`` subtracts their mean over `images` and
        divides by the root of their mean variance over components, each predictor's on its own: the term then begins at
        one size in every condition. Similarities are as they are in either case.
    seed : int
        Of the pairing, and of scrambled phases.

    Raises
    ------
    InputError
        If the condition is of manifold guidance or has other parts, `target_scale` is unknown, or a predictor gives the
        same scores for all images.
    """
    if "manifold" in condition.kinds:
        raise InputError(
            "a guide gives targets, which manifold guidance does without",
            expected="a guide's name without -manifold",
            got=condition.name,
            fix="leave -manifold out, or train with training.train_manifold_guided",
        )
    several = [predictors] if isinstance(predictors, RoiPredictor) else list(predictors)
    check_predictors(condition, several)
    scaled = {predictor: _scaled(predictor, images, target_scale) for predictor in dict.fromkeys(several)}
    aims = [
        Aim(Match(str(part), part.target, weight, part.readout), *scaled[predictor])
        for predictor, (part, _), weight in zip(several, condition.parts, condition.weights, strict=True)
    ]
    partner = derangement(len(images), seed) if "shuffle" in condition.kinds else None
    return Guide(tuple(aims), partner, seed if "scrambled" in condition.kinds else None)


def check_predictors(condition: Condition, predictors: Sequence[RoiPredictor]) -> None:
    """Raise `InputError` unless there is a predictor for each part of a condition, and none is of another region."""
    if len(predictors) != len(condition.parts):
        raise InputError(
            f"{condition.name} cannot be trained without its predictors",
            expected=f"{len(condition.parts)}, of {', '.join(part.roi for part, _ in condition.parts)} in this order",
            got=len(predictors),
            fix="train its predictor first (train_predictor, notebook 02), one for each part",
        )
    pairs = [(part.source, predictor.roi) for predictor, (part, _) in zip(predictors, condition.parts, strict=True)]
    if others := [roi for source, roi in pairs if roi and source not in (roi, RANDOM)]:
        raise InputError(
            f"{condition.name} is guided by other regions than these predictors are of",
            expected=", ".join(source for source, _ in pairs),
            got=", ".join(others),
            fix="correct the condition's name, or give its regions' predictors in their order",
        )


@full_precision()
def _scaled(predictor: RoiPredictor, images: ImageSet, target_scale: TargetScale) -> tuple[RoiPredictor, Tensor, float]:
    """Return a predictor folded, the mean and the scale of its targets."""
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
    folded = fold_batchnorm(predictor)  # it answers in every step: faster, and the same up to rounding
    raw = target_scale == "raw"
    return folded, torch.zeros(scores.shape[1]) if raw else scores.mean(0), 1.0 if raw else scale


def derangement(n: int, seed: int) -> Tensor:
    """Pair every one of n images or categories with another: a random cycle through all of them."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    partner = torch.empty_like(order)
    partner[order] = order.roll(1)
    return partner
