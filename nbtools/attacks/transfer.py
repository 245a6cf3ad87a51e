"""Transfer attacks: adversarial images of one network, shown to every other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from nbtools.attacks.interface import perturb
from nbtools.checks import check_enough, check_eval, check_labels, check_same_classes
from nbtools.classifiers import Classifier, logits_of
from nbtools.data.images.sets import ImageSet, to_float
from nbtools.metrics.samples.tables import stacked
from nbtools.processes import Bar


def transfer(
    networks: Mapping[tuple[str, int], nn.Module],
    images: ImageSet,
    epsilon: float,
    *,
    attack: str = "LinfPGD",
    steps: int = 20,
) -> pd.DataFrame:
    """Show each network's adversarial images to all networks.

    Parameters
    ----------
    networks : mapping of (condition, seed) → nn.Module
        At least two, in eval mode, of the same classes; the attack's random start uses the seed.
    images : ImageSet
        Labelled images.
    epsilon : float
        Budget, pixel units.
    attack, steps
        As in `attacks.sweep`, of a gradient attack, which takes all its steps: images that stop just beyond their
        source's boundary would hardly transfer, and would tell sources of other margins apart.

    Returns
    -------
    DataFrame
        The decisions: one row per source × target × image: ``source``, ``source_seed``, ``target``, ``seed`` (the
        target's), ``image_id``, ``label``, ``prediction`` (of the target), ``fooled_source`` (whether the image fooled
        the source), ``source_clean``, ``target_clean`` (whether each was right about the clean image).

    Raises
    ------
    InputError
        If there are fewer than two networks, one is not of the images' classes, or as `attacks.perturb`.
    """
    check_enough("nothing to transfer to", len(networks), 2, fix="name further networks")
    check_same_classes(images.classes, *networks.values())
    x = to_float(images.pixels)
    clean = {name: _decide(model, x, images.labels) for name, model in networks.items()}
    parts = {}
    for source, model in Bar(networks.items(), desc=f"transfer, {attack}", unit="source"):
        how: dict[str, Any] = {"attack": attack, "steps": steps, "seed": source[1], "stop_at_success": False}
        points = perturb(model, x, images.labels, [epsilon], **how)[0]
        decided = {name: _decide(target, points, images.labels) for name, target in networks.items()}
        for target, prediction in decided.items():
            columns = {
                "label": images.labels,
                "prediction": prediction,
                "fooled_source": decided[source] != images.labels,
                "source_clean": clean[source] == images.labels,
                "target_clean": clean[target] == images.labels,
            }
            table = pd.DataFrame({name: value.numpy() for name, value in columns.items()})
            parts[*source, *target] = table.assign(image_id=images.ids.astype(str))
    return stacked(parts, "source", "source_seed", "target", "seed")


def _decide(model: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    check_eval(model)
    judge = Classifier(model)
    logits = torch.cat([logits_of(judge, part) for part in x.split(256)])
    check_labels(logits, labels)
    return logits.argmax(1)
