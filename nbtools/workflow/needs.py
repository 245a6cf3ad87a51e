"""What to ask of a cluster for each run of a study: threads, memory, time, GPUs, as functions of the study."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path

from nbtools.conditions import REGIONS
from nbtools.runs import folders
from nbtools.workflow.calibration import on_gpu, read_rates
from nbtools.workflow.config import Config
from nbtools.workflow.costs import (
    ON_GPU,
    TRAINERS,
    Sizes,
    Work,
    parameters_of,
    seconds_of,
    sizes_of,
    slow_rates,
    work_of,
)
from nbtools.workflow.graph import NETWORKS, PREDICTORS, Graph, Job, source_of

MEMORY_LIMIT = 8 * 2**30  # bytes: as nbtools.data.images.sets, which takes seconds to import
SAFETY = 3  # times the estimated time: other nodes are slower, and others work beside
_LEAST_MINUTES, _MEMORY_MARGIN = 10, 1.1
# Measured: the process that runs a notebook and Slurm's Snakemake around it; with its kernel and all libraries, or with
# those of tables alone; more of them is in memory where there is a GPU.
RUNNER_MB, _BASE_MB, _TABLES_MB, _GPU_MB = 375, 1_450, 750, 2_000
_TABLES_ONLY = ("10_summary", "12_alpha", "15_study_explorer")
_MEASURED = ("01_brain_responses", "02_neural_predictors", "08_rsa", "09_manifolds", "14_brain_and_geometry")
_WEIGHTS_MB = {"resnet18": 46.0, "small_resnet": 5.0}
_SHOWN_MB = {"14_brain_and_geometry": 20.0, "10_summary": 5.0, "08_rsa": 5.0}
_SMALL = 96  # pixels: networks of smaller images gain nothing from a second thread


@dataclass(frozen=True)
class Costed:
    """A run with the size of its study and its work.

    Attributes
    ----------
    job : Job
        The run.
    sizes : Sizes
        Of its study.
    architecture : str
        Of the study's networks.
    work : mapping
        From `costs.work_of`.
    gpus : int
        That it is given.
    """

    job: Job
    sizes: Sizes
    architecture: str
    work: Work
    gpus: int

    @property
    def threads(self) -> int:
        """How many threads it is given."""
        return 1 if self.sizes.image_size < _SMALL else 4

    @property
    def memory_mb(self) -> int:
        """The most memory it holds, in MB."""
        return memory_of(self.job, self.sizes, self.gpus > 0)

    @property
    def disk_mb(self) -> float:
        """The size of its folder, in MB: notebook, tables and figures, and weights where there are any."""
        weights = _WEIGHTS_MB[str(parameters_of(self.job).get("architecture", self.architecture))]
        return _SHOWN_MB.get(self.job.notebook, 0.3) + (weights if self.job.notebook in TRAINERS else 0.0)


@dataclass(frozen=True)
class Needs:
    """What a run asks for.

    Attributes
    ----------
    threads, gpus : int
        How many.
    memory_mb : int
        With a margin.
    minutes : int
        With a margin for slower and busier machines.
    """

    threads: int
    memory_mb: int
    minutes: int
    gpus: int


def costed(graph: Graph, config: Config) -> list[Costed]:
    """Return every run of a study with its work; `config` is what `graph` was made of."""

    @cache
    def sizes(study: str) -> Sizes:
        return sizes_of(graph.source if study == graph.study else source_of(study), config)

    settings = (config.get("settings") or {}).get(NETWORKS) or {}
    architecture = str(settings.get("architecture", folders.defaults(NETWORKS)["architecture"]))
    found = []
    for job in graph.jobs:
        work = work_of(job, sizes(job.study), architecture)
        gpus = int(config.get("gpus", 0)) if job.notebook in ON_GPU else 0
        found.append(Costed(job, sizes(job.study), architecture, work, gpus))
    return found


def needs_of(graph: Graph, config: Config) -> dict[Path, Needs]:
    """Return what each run of a study asks for, by its record.

    Nothing is measured here: rates are those that `python -m nbtools plan` kept, if they are of the device that the
    run is given, else slow ones.
    """
    device, kept = read_rates(graph.study)
    found = {}
    for run in costed(graph, config):
        slow = slow_rates([run.work], run.sizes.image_size, run.gpus > 0)
        rates = {**slow, **kept} if on_gpu(device) == (run.gpus > 0) else slow
        minutes = max(_LEAST_MINUTES, ceil(SAFETY * seconds_of(run.work, rates) / 60))
        memory = ceil(run.memory_mb * _MEMORY_MARGIN / 100) * 100
        found[run.job.record] = Needs(run.threads, memory, minutes, run.gpus)
    return found


def memory_of(job: Job, sizes: Sizes, gpu: bool) -> int:
    """Return the most memory a run holds, in MB: libraries, images, responses, and what a pass keeps for its gradient.

    On a GPU the passes are in its own memory.
    """
    if job.notebook in _TABLES_ONLY:
        return _TABLES_MB
    values, view = parameters_of(job), 3 * sizes.image_size**2
    n_held = sizes.val + sizes.shared
    if job.notebook in TRAINERS:
        n_held = sizes.scanner if job.notebook == PREDICTORS else sizes.train + sizes.scanner
        passing = min(values["batch_size"], n_held)
    else:  # attacks take up to 512 images at once; of what is only read out, less is kept
        passing = min(values.get("n_images", 0) or 100, 512, sizes.val)
    # float32 maps of all layers, about 42 values for each of a view in either architecture, and copies in work
    passed = 0 if gpu else passing * view * 42 * 4 * 2
    n_points = min(values.get("n_images", 0), 512) * (len(str(values.get("epsilons", "")).split()) + 1)
    pixels = min(n_held * view, MEMORY_LIMIT) + 4 * n_points * view  # a larger set is mapped from a file
    rois = [name for name in str(values.get("rois", values.get("roi", ""))).split() if name in REGIONS]
    responses = 2 * 4 * 3 * sizes.scanner * sizes.voxels * len(rois) if job.notebook in _MEASURED else 0
    return ceil(_BASE_MB + _GPU_MB * gpu + (pixels + passed + responses) / 2**20)


def growing(amount: int) -> Callable[..., int]:
    """Return what gives Snakemake an amount that grows with each attempt: a job that lacked it is tried with more."""
    return lambda wildcards, attempt: amount * attempt
