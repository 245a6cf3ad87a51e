"""Transfer attacks: adversarial images of one network, shown to every other."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import torch
from torch import Tensor, nn

from nbtools.attacks.interface import perturb
from nbtools.checks import check_eval, check_labels, check_same_classes
from nbtools.classifiers import Classifier, logits_of
from nbtools.data.images.sets import ImageSet, to_float
from nbtools.errors import InputError
from nbtools.processes import Bar


def transfer(
    models: Mapping[str, nn.Module],
    images: ImageSet,
    epsilon: float,
    *,
    attack: str = "LinfPGD",
    steps: int = 20,
    seed: int = 0,
) -> pd.DataFrame:
    """Show each network's adversarial images to all networks.

    Parameters
    ----------
    models : mapping of name → nn.Module
        At least two, in eval mode, of the same classes.
    images : ImageSet
        Labelled images.
    epsilon : float
        Budget, pixel units.
    attack, steps, seed
        As in `attacks.sweep`. The attack stops at success on its source: images lie just beyond the source's
        boundary.

    Returns
    -------
    DataFrame
        The decisions: one row per source × target × image: ``source``, ``target``, ``image_id``, ``label``,
        ``prediction`` (of the target), ``fooled_source`` (whether the image fooled the source),
        ``source_clean``, ``target_clean`` (whether each was right about the clean image).

    Raises
    ------
    InputError
        If there are fewer than two models, one is not of the images' classes, or as `attacks.perturb`.
    """
    if len(models) < 2:
        raise InputError("nothing to transfer to", expected="two networks or more", got=len(models), fix="name others")
    check_same_classes(images.classes, *models.values())
    x = to_float(images.pixels)
    clean = {name: _decide(model, x, images.labels) for name, model in models.items()}
    parts = []
    for source, model in Bar(models.items(), desc=f"transfer, {attack}", unit="source"):
        points = perturb(model, x, images.labels, [epsilon], attack=attack, steps=steps, seed=seed)[0]
        decided = {name: _decide(target, points, images.labels) for name, target in models.items()}
        for target, prediction in decided.items():
            columns = {
                "label": images.labels,
                "prediction": prediction,
                "fooled_source": decided[source] != images.labels,
                "source_clean": clean[source] == images.labels,
                "target_clean": clean[target] == images.labels,
            }
            table = pd.DataFrame({name: value.numpy() for name, value in columns.items()})
            parts.append(table.assign(source=source, target=target, image_id=images.ids.astype(str)))
    first = ["source", "target", "image_id"]
    decisions = pd.concat(parts, ignore_index=True)
    return decisions[[*first, *decisions.columns.difference(first, sort=False)]]


def _decide(model: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    check_eval(model)
    judge = Classifier(model)
    logits = torch.cat([logits_of(judge, part) for part in x.split(256)])
    check_labels(logits, labels)
    return logits.argmax(1)
