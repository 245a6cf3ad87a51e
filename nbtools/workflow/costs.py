"""What each run of a study takes: one table of estimates, which `plan` prints and the Snakefile asks.

Time is that of the notebook's finished runs; where there are none, that of one step of training (`calibration`, or a
slow machine's) times the images that a notebook's parameters say it works on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from math import ceil
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import pandas as pd

from nbtools.checks import check_choice
from nbtools.conditions import is_adopted, parse_condition
from nbtools.guides import is_region
from nbtools.runs import folders
from nbtools.runs.lineage import CLOUDS, NETWORKS, PREDICTORS, START
from nbtools.runs.records import finished_record
from nbtools.runs.several import taken_over
from nbtools.workflow.calibration import Calibration, Step, on_gpu, threads_for
from nbtools.workflow.jobs import Graph, Job
from nbtools.workflow.needs import needs_of
from nbtools.workflow.sizes import Sizes, sizes_of, source_of

RUNS, MODEL, GUESS = "finished runs", "calibration", "a slow machine"  # where a time comes from
STARTUP = 3.0  # seconds, measured: a run's kernel, its runner and their imports
SAFETY = 3  # times the estimated time: other nodes are slower, and others work beside
MEMORY_LIMIT = 8 * 2**30  # bytes: as nbtools.data.images.sets, which takes seconds to import
_LEAST_MINUTES, _MEMORY_MARGIN = 10, 1.1
GPU_SPEEDUP = 50  # of a GPU over one such core, an old one
# Measured: the process that runs a notebook and Slurm's Snakemake around it; with its kernel and all libraries, or with
# those of tables alone; more of them is in memory where there is a GPU.
RUNNER_MB, _BASE_MB, _TABLES_MB, _GPU_MB = 375, 1_450, 750, 2_000


class Network(NamedTuple):
    """What a network takes.

    Attributes
    ----------
    slow : float
        Seconds of one core for a step of training, per image and pixel: slow machines', so that no job is cut short.
    weights_mb : float
        Size of its file.
    values : float
        Values of its layers' maps, for each value of an image.
    """

    slow: float
    weights_mb: float
    values: float


_MEASURED = {"resnet18": Network(3e-6, 46.0, 42.0), "small_resnet": Network(7.2e-7, 5.0, 42.0)}

# --- work ---------------------------------------------------------------------------------------------------

# Of a step of training, which goes forward, back to the weights and back to the maps: a look, and the pixels' gradient.
PASSED, GRADIENT = 1 / 3, 2 / 3
_FULL_BATCH = 256
# A climb that succeeds ends, and who stands at a large ε is not attacked at a smaller one: share of all steps.
CLIMBED = 0.45
CERTIFIED = 0.3  # an image is left alone once its certificate is decided: share of all passes
# What a step of training against perturbations takes beside its own: nbtools.training.hardening, which loads torch.
HARDENED = {"at": 7 * GRADIENT, "fast": GRADIENT, "trades": PASSED + 10 * GRADIENT + 1, "gauss": 0.0}
HARDENED["atboth"] = HARDENED["at"]
# What one step of an attack takes, in steps of training, and whether it starts anew at every ε.
_ATTACKS = {
    "PGD": (GRADIENT + PASSED, True),
    "TargetedPGD": (GRADIENT + PASSED, True),
    "FGSM": (2 * GRADIENT + PASSED, True),
    "FGM": (2 * GRADIENT + PASSED, True),
    "FMN": (GRADIENT + PASSED, False),
    "DeepFool": (10 * GRADIENT + PASSED, False),
    "CarliniWagner": (9 * GRADIENT + 9 * PASSED, False),
    "BrendelBethge": (GRADIENT + 20 * PASSED, False),
    "AutoAttack": (20 * GRADIENT + 60 * PASSED, True),
    "Square": (50 * PASSED, True),
    "Noise": (PASSED, True),
}
# Steps of those that a run's `steps` is not for: `Attack.steps_for`.
OWN_STEPS = {
    **dict.fromkeys(("FGSM", "FGM"), 1),
    **dict.fromkeys(("FMN", "AutoAttack", "Square", "Noise"), 100),
    "DeepFool": 50,
    "CarliniWagner": 200,
    "BrendelBethge": 1000,
}

Values = Mapping[str, Any]


def _rdms_compared(values: Values, sizes: Sizes) -> float:
    n_rdms, n_images = 4 * _n_networks(values), min(values["n_images"] or sizes.shared, sizes.shared)
    return 4e-9 * values["n_boot"] * n_rdms**2 * n_images**2 / 2


def _manifolds_drawn(values: Values, sizes: Sizes) -> float:
    n_spaces = _n_networks(values) * (1 + len(values["readouts"].split()))
    return n_spaces * (1 + 1e-4 * values["n_draws"] * values["n_samples"] * values["n_points"])


@dataclass(frozen=True)
class Kind:
    """What a notebook's runs do.

    Attributes
    ----------
    trains : str
        The images it trains a network of its own on, as `Sizes` names them.
    looks : tuple of str
        The images that each of its networks sees.
    attacks : str
        On each of its networks, beside those that its parameters name.
    seconds : float
        Beside networks.
    more : callable, optional
        Further such seconds, from the run's parameters and the study's sizes.
    gpu : bool
        Whether it is given a GPU.
    shown_mb : float
        Size of its tables and figures.
    """

    trains: str = ""
    looks: tuple[str, ...] = ()
    attacks: str = ""
    seconds: float = 3.0
    more: Callable[[Values, Sizes], float] = lambda values, sizes: 0.0
    gpu: bool = False
    shown_mb: float = 0.3


KINDS = {
    "01_brain_responses": Kind(),
    PREDICTORS: Kind(trains="scanner", gpu=True),
    NETWORKS: Kind(trains="train", gpu=True),
    "04_adversarial_attacks": Kind(gpu=True),
    "05_attack_explorer": Kind(),
    "06_smoothness_and_transfer": Kind(attacks="LinfPGD LinfFGSM LinfNoise", looks=("val",), seconds=10, gpu=True),
    "07_shape_bias": Kind(looks=("conflict",), seconds=10),
    "08_rsa": Kind(looks=4 * ("shared",), seconds=15, more=_rdms_compared, shown_mb=5),
    "09_manifolds": Kind(looks=4 * ("shared",), seconds=15, more=_manifolds_drawn),
    "10_summary": Kind(shown_mb=5),
    # nbtools.attacks.audit: each ε apart, without bound, four times the steps, those towards targets, four starts;
    # Square; noise; another network's images
    "11_attacks_and_audit": Kind(attacks=15 * "LinfPGD " + "LinfSquare LinfNoise", seconds=20, gpu=True),
    "12_alpha": Kind(),
    CLOUDS: Kind(trains="train", attacks=3 * "LinfPGD ", seconds=10, gpu=True),
    "14_brain_and_geometry": Kind(looks=("shared", "val"), seconds=40, shown_mb=20),
    "15_study_explorer": Kind(),
    "17_natural_corruptions": Kind(looks=("corrupted", "val"), seconds=10),
    # one climb for the spectra, gradients before and after it
    "18_compare_networks": Kind(looks=("conflict", "shared"), attacks="LinfPGD LinfFGSM", seconds=10, gpu=True),
    "19_training_and_certificates": Kind(seconds=10, gpu=True),
}


def images_of(notebook: str, values: Values, sizes: Sizes) -> float:
    """Count the images that a run works on, each as often as it costs a step of training; `values`: all parameters."""
    kind = KINDS[notebook]
    found = PASSED * sum(getattr(sizes, images) for images in kind.looks)
    asked = [_climbed(attack, values, own=True) for attack in values.get("attacks", "").split()]
    asked += [_climbed(attack, values) for attack in kind.attacks.split()]
    asked.append(PASSED * CERTIFIED * values.get("passes", 0) * len(values.get("sigmas", "").split()))
    found += sum(asked) * min(values.get("n_images", 2), sizes.val)
    return found * _n_networks(values) + (_trained(values, sizes, kind.trains) if kind.trains else 0)


def _named(values: Values) -> list[str]:
    """Return the conditions of the networks that a run takes."""
    several = [word for name in ("rois", "controls", "networks") for word in values.get(name, "").split()]
    return several or [str(values.get("roi", ""))]


def _n_networks(values: Values) -> int:
    return len(_named(values)) * max(len(values.get("seeds", "").split()), 1)


def _climbed(attack: str, values: Values, *, own: bool = False) -> float:
    """Count an attack on one image, with the run's steps, or with its own where it has such."""
    kind, n_epsilons = attack.removeprefix("Linf").removeprefix("L2"), len(values["epsilons"].split())
    check_choice(f"what {attack} costs is not known", kind, _ATTACKS, fix="add a line to _ATTACKS in workflow/costs.py")
    worth, anew = _ATTACKS[kind]
    fixed = kind in OWN_STEPS and (own or OWN_STEPS[kind] == 1)
    steps = OWN_STEPS[kind] if fixed else values["steps"]
    return steps * worth * (n_epsilons * CLIMBED if anew else 1) + (n_epsilons + 1) * PASSED


def _trained(values: Values, sizes: Sizes, images: str) -> float:
    """Count validation as training; a guided network's images pass its guides too."""
    condition, n_images = parse_condition(values["roi"]), getattr(sizes, images)
    if values.get("predictor") == "ridge":  # what follows is a matter of matrices, not of networks
        return PASSED * n_images
    epochs = values["start_epochs"] if condition.kind == "start" else values["epochs"]
    guided = images == "train" and bool(condition.parts)  # parts share the images
    hardened = HARDENED[condition.hardened[0]] if condition.hardened else 0
    return epochs * n_images * (1 + PASSED * guided + hardened)


# --- the table ----------------------------------------------------------------------------------------------


class Taken(NamedTuple):
    """What finished runs took: their mean seconds, the most memory of one in MB, their mean size on disk in MB."""

    seconds: float
    memory: int
    disk: float


def estimates(graph: Graph, calibration: Calibration, past: Mapping[Path, Taken] | None = None) -> pd.DataFrame:
    """Return what each run of a study takes.

    Parameters
    ----------
    graph : Graph
        The study's runs.
    calibration : Calibration
        Of the study's step of training. A slow machine stands in for what was not measured: another step, or a GPU
        where the run is given none.
    past : mapping, optional
        From `past_runs`; left out, all is counted.

    Returns
    -------
    DataFrame
        Indexed by record: notebook, threads, gpus, memory (MB), seconds, disk (MB), source (`RUNS`,
        `MODEL` or `GUESS`).
    """

    @cache
    def sizes(study: str) -> Sizes:
        return sizes_of(graph.source if study == graph.study else source_of(study), graph.profile)

    training, full = steps_of(graph)
    rows = {}
    for job in graph.jobs:
        kind, of = KINDS[job.notebook], sizes(job.study)
        gpus = graph.gpus * kind.gpu
        taken, source = (past or {}).get(job.record), RUNS
        if taken is None:
            step = training if kind.trains else full
            slowness, source = _slowness(step, calibration, gpus > 0)
            taken = _counted(job, of, step, slowness, gpus > 0)
        rows[job.record] = {
            "notebook": job.notebook,
            "threads": threads_for(of.image_size),
            "gpus": gpus,
            "memory": taken.memory,
            "seconds": STARTUP + taken.seconds,
            "disk": taken.disk,
            "source": source,
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def steps_of(graph: Graph) -> tuple[Step, Step]:
    """Return what a step of training is in a study: of its networks, at its size; and the same in full precision.

    What is looked at or attacked is in full precision, and in batches that are no larger than `_FULL_BATCH`. A study
    without images to classify has no networks: its step is that of the notebook as it stands.
    """
    networks = [job for job in graph.jobs if job.notebook == NETWORKS]
    values = parameters_of(networks[0]) if networks else folders.defaults(NETWORKS)
    size = sizes_of(graph.source, graph.profile).image_size
    step = Step(values["architecture"], values["precision"], values["batch_size"], size)
    return step, replace(step, precision="32-true", batch_size=min(step.batch_size, _FULL_BATCH))


def parameters_of(job: Job) -> dict[str, Any]:
    """Return all of a run's parameters, those left at their defaults too, and those it takes over from another run."""
    own = {**folders.defaults(job.notebook), **folders.typed(job.notebook, job.parameters)}
    if job.notebook != CLOUDS:
        return own
    trained_as = {**folders.defaults(NETWORKS), **folders.typed(NETWORKS, job.trained_as)}
    return {**taken_over(NETWORKS, trained_as, own["changes"]), **own}


def _slowness(step: Step, calibration: Calibration, gpu: bool) -> tuple[float, str]:
    """Return how long work takes, of what it takes the slow machine, and how that is known."""
    measured = calibration.seconds.get(str(step)) if on_gpu(calibration.device) == gpu else None
    if measured is None:
        return (1 / GPU_SPEEDUP if gpu else 1.0), GUESS
    return measured / (network_of(step.architecture, step.image_size).slow * step.image_size**2), MODEL


@cache
def network_of(architecture: str, image_size: int) -> Network:
    """Return what a network takes; one that was not measured, by its operations and its graph.

    Raises
    ------
    InputError
        If there is no such architecture, or it does not take such images.
    """
    if architecture in _MEASURED:
        return _MEASURED[architecture]
    from nbtools.models.sizes import taken_by  # loads torch, which the measured ones do without

    asked, known = (taken_by(name, image_size) for name in (architecture, "resnet18"))
    slow = _MEASURED["resnet18"].slow * asked.operations / known.operations
    return Network(slow, 4e-6 * asked.n_weights, asked.n_values / (3 * image_size**2))


def _counted(job: Job, sizes: Sizes, step: Step, slowness: float, gpu: bool) -> Taken:
    """Count what a run would take; its memory with a margin."""
    kind, values = KINDS[job.notebook], parameters_of(job)
    network = _of_job(job, str(values.get("architecture", step.architecture)), values, sizes.image_size)
    an_image = network.slow * sizes.image_size**2 * slowness
    seconds = kind.seconds + kind.more(values, sizes) + images_of(job.notebook, values, sizes) * an_image
    memory = ceil(memory_of(job.notebook, values, sizes, network, gpu) * _MEMORY_MARGIN / 100) * 100
    return Taken(seconds, memory, kind.shown_mb + (network.weights_mb if kind.trains else 0))


def _of_job(job: Job, architecture: str, values: Values, side: int) -> Network:
    """Return what a run's networks take on average, at the study's size; adopted ones see images at their own."""
    own = network_of(architecture, side)
    seeds = str(values.get("seeds", values.get("seed", ""))).split()
    each = []
    for name, seed in product(filter(is_adopted, _named(values)), seeds):
        told = finished_record(folders.find(NETWORKS, job.study, roi=name, seed=int(seed)).folder)["adopted"]
        each.append(_enlarged(network_of(told["architecture"], told["side"]), (told["side"] / side) ** 2))
    each += [own] * (_n_networks(values) - len(each))
    return own._replace(slow=fmean(one.slow for one in each), values=max(one.values for one in each))


def _enlarged(network: Network, by: float) -> Network:
    return network._replace(slow=network.slow * by, values=network.values * by)


def memory_of(notebook: str, values: Values, sizes: Sizes, network: Network, gpu: bool) -> int:
    """Return the most memory a run holds, in MB: libraries, images, responses, and what a pass keeps for its gradient.

    On a GPU the passes are in its own memory.
    """
    reads, view = needs_of(notebook), 3 * sizes.image_size**2
    if not reads:
        return _TABLES_MB
    n_held = sizes.val + sizes.shared
    if KINDS[notebook].trains:
        n_held = sizes.scanner if notebook == PREDICTORS else sizes.train + sizes.scanner
        passing = min(values["batch_size"], n_held)
    else:  # attacks take up to 512 images at once; of what is only read out, less is kept
        passing = min(values.get("n_images", 0) or 100, 512, sizes.val)
    # float32 maps of all layers, and copies in work
    passed = 0 if gpu else int(passing * view * network.values * 4 * 2)
    n_points = min(values.get("n_images", 0), 512) * (len(str(values.get("epsilons", "")).split()) + 1)
    pixels = min(n_held * view, MEMORY_LIMIT) + 4 * n_points * view  # a larger set is mapped from a file
    rois = [name for name in str(values.get("rois", values.get("roi", ""))).split() if is_region(name)]
    responses = 2 * 4 * 3 * sizes.scanner * sizes.voxels * len(rois) if "responses" in reads else 0
    return ceil(_BASE_MB + _GPU_MB * gpu + (pixels + passed + responses) / 2**20)


def past_runs(jobs: Iterable[Job]) -> dict[Path, Taken]:
    """Return what finished runs of its kind took, for each run that has such; old ones took as long as the next will.

    Runs of one notebook take alike, but for other attacks and for networks that others begin with: one study's settings
    are those of all of them.
    """
    kinds: dict[tuple[object, ...], list[Job]] = defaultdict(list)
    for job in jobs:
        kinds[job.notebook, job.parameters.get("attacks"), job.parameters.get("roi") == START].append(job)
    found: dict[Path, Taken] = {}
    for alike in kinds.values():
        if records := [(job, record) for job in alike if (record := folders.read_record(job.record.parent))]:
            taken = Taken(
                seconds=fmean(float(record["seconds"]) for _, record in records),
                memory=max(int(record.get("peak_memory_mb") or 0) for _, record in records) + RUNNER_MB,
                disk=fmean(_size_mb(job.record.parent) for job, _ in records),
            )
            found |= {job.record: taken for job in alike}
    return found


def _size_mb(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file()) / 1e6


# --- what a cluster is asked for ----------------------------------------------------------------------------


def time_limit(seconds: float) -> int:
    """Return the minutes to ask for: with a margin for slower and busier machines."""
    return max(_LEAST_MINUTES, ceil(SAFETY * seconds / 60))


def growing(amount: int) -> Callable[..., int]:
    """Return what gives Snakemake an amount that grows with each attempt: a job that lacked it is tried with more."""
    return lambda wildcards, attempt: int(amount) * attempt
