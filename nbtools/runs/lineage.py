"""Which runs come before a run, and the command that makes one from nothing."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from itertools import product
from typing import Any

from nbtools.conditions import ADOPTED, HIERARCHY, is_adopted, parse_condition
from nbtools.data.study import open_study, study_file
from nbtools.errors import InputError

PREDICTORS, NETWORKS, ATTACKED = "02_neural_predictors", "03_guided_training", "04_adversarial_attacks"
CLOUDS = "13_manifold_guidance"  # trains as NETWORKS do, but for what its own parameters change
DRAWN = ("scratch", "imagenet")  # networks that are no run: weights drawn from the seed, torchvision's
START = "start"  # the network that those of a seed begin with
OF_A_TRAINING = ("alpha",)  # parameters of a network that say nothing of one that is adopted
_START_AS = ("start_epochs", "start_learning_rate", "architecture")  # what it must have in common with them
# What each network that they compare must have been through.
COMPARED = {"06_smoothness_and_transfer": NETWORKS, "07_shape_bias": NETWORKS, "09_manifolds": ATTACKED}
# What makes all that the notebooks ask for as they stand.
ALL_OF_DEMO = "\n            (python -m nbtools study --targets study explorers makes all that the notebooks ask for)"

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
    if notebook == ATTACKED:
        return [(NETWORKS, own)]
    if notebook == NETWORKS and not is_adopted(own["roi"]):
        guides = [part.predictor for part, _ in parse_condition(own["roi"], _hierarchy(own["study"])).parts]
        common = {"study": own["study"], "roi": "", "seed": parameters["predictor_seed"]}
        start = start_of(parameters)
        return [(PREDICTORS, {**common, **guide}) for guide in guides] + [(NETWORKS, start)] * bool(start)
    if notebook == PREDICTORS:
        trunk = trunk_of(parameters)
        return [(NETWORKS, trunk)] * bool(trunk)
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


def trunk_of(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Name the run of the network whose features a predictor with these parameters takes; empty where it takes none.

    Parameters
    ----------
    parameters : mapping
        All of the parameters of a predictor's run (notebook 02).

    Raises
    ------
    InputError
        If it would be a guided network: each might wait for the other.
    """
    features_of = parameters["features_of"]
    if parameters["predictor"] != "ridge" or features_of in DRAWN:
        return {}
    if parse_condition(features_of).parts:
        raise InputError(
            "a guided network has no features to predict guides from",
            expected=f"{' or '.join(DRAWN)}, or a condition without a guide, such as {START} or {ADOPTED}<name>",
            got=f"features_of = {features_of!r}",
            fix="choose one of these",
        )
    return {"roi": features_of, "study": parameters["study"], "seed": parameters["seed"]}


def _hierarchy(study: str) -> tuple[str, ...]:
    """Return a study's regions in their order; of one that is not there yet, the paper's."""
    return open_study(study).hierarchy if study_file(study).is_file() else HIERARCHY


def command(notebook: str, parameters: Mapping[str, Any]) -> str:
    """Return the command that makes a run with these parameters, quoted for a shell: a notebook's, or an adoption."""
    if notebook == NETWORKS and is_adopted(str(parameters.get("roi"))):
        return f"{_adoption(parameters)} --weights FILE …"
    return f"python -m nbtools run {arguments(notebook, parameters)}"


def _adoption(parameters: Mapping[str, Any]) -> str:
    given = [word for name in ("study", "seed") if name in parameters for word in (f"--{name}", str(parameters[name]))]
    return shlex.join(["python", "-m", "nbtools", "adopt", parameters["roi"].removeprefix(ADOPTED), *given])


def check_trained(notebook: str, parameters: Mapping[str, Any]) -> None:
    """Raise `InputError` if a run would train a network that is adopted."""
    if notebook == NETWORKS and is_adopted(parameters["roi"]):
        raise InputError(
            f"{parameters['roi']} is not trained",
            expected=f"a condition that {NETWORKS} trains",
            got="a network from outside, which is adopted",
            fix=f"{command(notebook, parameters)}; the notebooks after this one take it as they take others",
        )


def telling(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters by which a network is known: an adopted one has no α."""
    silent = OF_A_TRAINING if is_adopted(str(parameters.get("roi"))) else ()
    return {name: value for name, value in parameters.items() if name not in silent}


def arguments(notebook: str, parameters: Mapping[str, Any]) -> str:
    """Return what follows ``run`` in that command: a parameter is text, whatever it holds."""
    return shlex.join([notebook, *(word for name, value in parameters.items() for word in ("-p", name, str(value)))])
