"""What each run of a study takes: one table of estimates, which `plan` prints and the Snakefile asks.

Time is that of the notebook's finished runs; where there are none, that of one step of training (`calibration`, or a
slow machine's) times the images that a notebook's parameters say it works on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cache
from itertools import product
from math import ceil
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import pandas as pd

from nbtools.conditions import is_adopted
from nbtools.guides import is_region
from nbtools.runs import folders
from nbtools.runs.lineage import CLOUDS, NETWORKS, PREDICTORS, START, trunk_of
from nbtools.runs.records import finished_record
from nbtools.runs.several import taken_over
from nbtools.workflow.calibration import Calibration, Step, on_gpu, threads_for
from nbtools.workflow.jobs import Graph, Job
from nbtools.workflow.needs import needs_of
from nbtools.workflow.sizes import Sizes, sizes_of, source_of
from nbtools.workflow.to_come import to_come
from nbtools.workflow.work import FULL_BATCH, KINDS, Values, images_of, n_networks, networks_of

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
        source = graph.source if study == graph.study else source_of(study)
        return sizes_of(source, graph.profile, to_come(study).sizes)

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

    What is looked at or attacked is in full precision, and in batches that are no larger than `FULL_BATCH`. A study
    without images to classify has no networks: its step is that of the notebook as it stands.
    """
    networks = [job for job in graph.jobs if job.notebook == NETWORKS]
    values = parameters_of(networks[0]) if networks else folders.defaults(NETWORKS)
    size = sizes_of(graph.source, graph.profile, to_come(graph.study).sizes).image_size
    step = Step(values["architecture"], values["precision"], values["batch_size"], size)
    return step, replace(step, precision="32-true", batch_size=min(step.batch_size, FULL_BATCH))


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
    names = [*networks_of(values), trunk_of(values).get("roi", "") if job.notebook == PREDICTORS else ""]
    for name, seed in product(filter(is_adopted, names), seeds):
        told = finished_record(folders.find(NETWORKS, job.study, roi=name, seed=int(seed)).folder)["adopted"]
        network, larger = network_of(told["architecture"], told["side"]), (told["side"] / side) ** 2
        each.append(network._replace(slow=network.slow * larger, values=network.values * larger))
    each += [own] * (n_networks(values) - len(each))
    return own._replace(slow=fmean(one.slow for one in each), values=max(one.values for one in each))


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
