"""Attacks: the same ones on the same network and images, by the libraries alone."""

from __future__ import annotations

from functools import cache
from typing import Any

import foolbox as fb
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pyautoattack import AutoAttack
from torch import Tensor, nn

from nbtools.attacks.interface import sweep
from nbtools.bench.measure import Row, row, scratch, timed
from nbtools.classifiers import logits_of
from nbtools.data.images.sets import ImageSet, choose_rows, load_folder, split_rows, to_float
from nbtools.data.study import open_study, study_file
from nbtools.data.synthetic import make_study
from nbtools.models.networks import GuidedNet, build, load_model, save_model
from nbtools.training.guided import train_guided
from nbtools.training.loop import TrainConfig

_STEPS, _LONG = 40, 1000  # of PGD
_FEW = 24  # images where each takes long
_LEVELS = (1 / 255, 2 / 255, 4 / 255)


def compare_attacks() -> Row:
    """One sweep over ten ε, against Foolbox given the same ten: the same attack on the same network and images."""
    model, images = _classifier()
    epsilons = [float(epsilon) for epsilon in np.geomspace(0.25, 8, 10) / 255]
    judge, pixels = _judge(model), to_float(images.pixels)
    torch.manual_seed(0)
    baseline_s, (_, _, success) = timed(lambda: _pgd(_STEPS)(judge, pixels, images.labels, epsilons=epsilons))
    ours_s, decisions = timed(lambda: sweep(model, images, epsilons, steps=_STEPS))
    right = (decisions["prediction"] == decisions["label"]).groupby(decisions["epsilon"]).mean()
    difference = right.loc[epsilons].to_numpy() - (~success).float().mean(1).numpy()
    return row(
        baseline_s,
        ours_s,
        goal="3x",
        notes=f"PGD-{_STEPS}, 10 ε, {len(images)} images, clean accuracy {right.loc[0.0]:.2f}; robust accuracy "
        f"(ours − Foolbox) differs by {np.abs(difference).max():.3f} at most, {difference.mean():+.4f} on average",
    )


def compare_long_pgd() -> Row:
    """PGD of 1,000 steps at three ε, against Foolbox from the same starts; and against our own of 40."""
    model, images = _classifier()
    images = images[:_FEW]
    judge, pixels = _judge(model), to_float(images.pixels)

    def theirs() -> NDArray[np.bool_]:
        stood = []
        for seed, epsilon in enumerate(_LEVELS):  # as a sweep draws its starts
            torch.manual_seed(seed)
            stood.append(~_pgd(_LONG)(judge, pixels, images.labels, epsilons=epsilon)[2])
        return torch.stack(stood).numpy()

    baseline_s, stood = timed(theirs)
    ours_s, long = timed(lambda: sweep(model, images, _LEVELS, steps=_LONG))
    short_s, short = timed(lambda: sweep(model, images, _LEVELS, steps=_STEPS))
    return row(
        baseline_s,
        ours_s,
        goal="2x the time of PGD-40",
        notes=f"PGD-{_LONG}, {len(_LEVELS)} ε, {len(images)} images, {_stood(long).mean():.0%} of decisions right; "
        f"{_same(_stood(long), stood)} as Foolbox's; {ours_s / short_s:.1f}x the time of PGD-{_STEPS}, whose decisions "
        f"are {_same(_stood(short), _stood(long))}",
    )


def compare_autoattack() -> Row:
    """AutoAttack at one ε, in its standard settings and with the same seed, against pyautoattack by itself."""
    model, images = _classifier()
    images, epsilon = images[:_FEW], _LEVELS[1]
    pixels = to_float(images.pixels)

    def theirs() -> Tensor:
        suite = AutoAttack(model, norm="Linf", eps=epsilon, seed=0)
        for part in (suite.apgd_targeted, suite.fab):  # ten classes have nine others
            part.n_target_classes = min(part.n_target_classes, len(images.classes) - 1)
        return suite.run_standard_evaluation(pixels, images.labels, batch_size=len(images))[0]

    with torch.random.fork_rng(devices=[]):
        baseline_s, points = timed(theirs)
    ours_s, decisions = timed(lambda: sweep(model, images, [epsilon], attack="LinfAutoAttack"))
    stood = (logits_of(model, points).argmax(1) == images.labels).numpy()[None]
    return row(
        baseline_s,
        ours_s,
        goal="the same decisions",
        notes=f"standard AutoAttack, one ε, {len(images)} images, {_stood(decisions).mean():.0%} of decisions right; "
        f"{_same(_stood(decisions), stood)} as pyautoattack's",
    )


def _pgd(steps: int) -> Any:
    return fb.attacks.LinfPGD(rel_stepsize=2.5 / steps, steps=steps)


def _judge(model: nn.Module) -> Any:
    return fb.PyTorchModel(model, bounds=(0, 1), device="cpu")


def _stood(decisions: pd.DataFrame) -> NDArray[np.bool_]:
    """Return which images (n_epsilons, n) a sweep left standing, ε ascending."""
    right = decisions.assign(right=decisions["prediction"] == decisions["label"])
    right = right.pivot(index="epsilon", columns="image_id", values="right").drop(index=0.0)
    return right[decisions["image_id"].drop_duplicates()].to_numpy()


def _same(ours: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> str:
    return f"{(ours == theirs).sum()} of {ours.size} the same"


@cache
def _classifier() -> tuple[nn.Module, ImageSet]:
    """Train a small network on the demo study; return it, frozen, and 300 of the study's validation images."""
    with scratch() as folder:
        study = open_study("demo" if study_file("demo").exists() else str(make_study(folder / "demo")))
        images = load_folder(study.need("classification") / "train", study.image_size)
        splits = split_rows(len(images), 0.04)
        config = TrainConfig(epochs=16, batch_size=64, lr=3e-3, schedule="one-cycle")
        model = build(GuidedNet, 0, "small_resnet", images.classes, 0)
        train_guided(model, images, None, 0.0, splits, config)
        save_model(model, folder / "network")
        validation = load_folder(study.need("classification") / "val", study.image_size)
        return load_model(folder / "network"), validation[choose_rows(len(validation), 300)]
