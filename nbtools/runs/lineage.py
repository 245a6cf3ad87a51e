"""Which runs come before a run, and the command that makes one from nothing."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from itertools import product
from typing import Any

from nbtools.conditions import HIERARCHY, parse_condition
from nbtools.data.study import open_study, study_file

PREDICTORS, NETWORKS, ATTACKED = "02_neural_predictors", "03_guided_training", "04_adversarial_attacks"
CLOUDS = "13_manifold_guidance"  # trains as NETWORKS do, but for what its own parameters change
START = "start"  # the network that those of a seed begin with
_START_AS = ("start_epochs", "start_learning_rate", "architecture")  # what it must have in common with them
# What each network that they compare must have been through.
COMPARED = {"06_smoothness_and_transfer": NETWORKS, "07_shape_bias": NETWORKS, "09_manifolds": ATTACKED}

Asked = tuple[str, dict[str, Any]]  # a notebook, and those of its parameters that are asked for


def before(notebook: str, parameters: Mapping[str, Any]) -> list[Asked]:
    """Return the runs that a run builds on, if it is one of a network, or one that others build on.

    Parameters
    ----------
    notebook : str
        Without ``.ipynb``.
    parameters : mapping
        All of its parameters.
    """
    own = {name: parameters[name] for name in ("study", "roi", "alpha", "seed") if name in parameters}
    worse = {"share": share} if (share := parameters.get("share", 1)) != 1 else {}  # the guide
    if notebook == ATTACKED:
        return [(NETWORKS, {**own, **worse})]
    if notebook == NETWORKS:
        guide = parse_condition(own["roi"], _hierarchy(own["study"])).roi
        predictor = {"study": own["study"], "roi": guide, "seed": parameters["predictor_seed"], **worse}
        start = start_of(parameters)
        return [(PREDICTORS, predictor)] * bool(guide) + [(NETWORKS, start)] * bool(start)
    if notebook in COMPARED:
        several = product(parameters["rois"].split(), parameters["seeds"].split())
        return [(COMPARED[notebook], {**own, "roi": roi, "seed": seed}) for roi, seed in several]
    return []


def start_of(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Name the run of the network that one with these parameters begins with; empty where it begins with none.

    Parameters
    ----------
    parameters : mapping
        All of the parameters of a network's run (notebook 03).
    """
    if parameters["start"] != "trained" or parameters["roi"] == START:
        return {}
    return {"roi": START, **{name: parameters[name] for name in ("study", "seed", *_START_AS)}}


def _hierarchy(study: str) -> tuple[str, ...]:
    """Return a study's regions in their order; of one that is not there yet, the paper's."""
    return open_study(study).hierarchy if study_file(study).is_file() else HIERARCHY


def command(notebook: str, parameters: Mapping[str, Any]) -> str:
    """Return the command that runs a notebook with these parameters, quoted for a shell."""
    return f"python -m nbtools run {arguments(notebook, parameters)}"


def arguments(notebook: str, parameters: Mapping[str, Any]) -> str:
    """Return what follows ``run`` in that command: a parameter is text, whatever it holds."""
    return shlex.join([notebook, *(word for name, value in parameters.items() for word in ("-p", name, str(value)))])
