"""Networks' decisions on several sets of images of one study's classes."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from nbtools.checks import check_same_classes
from nbtools.data.images.sets import ImageSet
from nbtools.metrics.samples.tables import stacked
from nbtools.models.networks import Network
from nbtools.probes.corruptions import decide
from nbtools.processes import Bar


def decide_others(networks: Mapping[tuple[str, int], Network], sets: Mapping[str, ImageSet]) -> pd.DataFrame:
    """Let networks decide on sets of images.

    Parameters
    ----------
    networks : mapping of (condition, seed) to Network
        In eval mode.
    sets : mapping of str to ImageSet
        By name, ``"clean"`` among them where `metrics.accuracy_pairs` is to follow.

    Returns
    -------
    DataFrame
        One row per set × network × image: ``image_id``, ``label``, ``prediction``, ``margin`` (logit of the label −
        largest other), ``condition``, ``seed``, ``images`` (the set's name).

    Raises
    ------
    InputError
        If a network is not of the images' classes.
    """
    for images in sets.values():
        check_same_classes(images.classes, *networks.values())
    told = {name: decide(networks, images) for name, images in Bar(sets.items(), "sets of images", unit="set")}
    return stacked(told, "images")
