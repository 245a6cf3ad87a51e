"""What to ask of a cluster for each run of a study: threads, memory, time, GPUs, as functions of the study."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path

from nbtools import runs
from nbtools.calibration import on_gpu, read_rates
from nbtools.costs import ON_GPU, Sizes, Work, memory_of, seconds_of, sizes_of, slow_rates, work_of
from nbtools.graph import NETWORKS, Graph, Job, source_of
from nbtools.study_config import Config

SAFETY = 3  # times the estimated time: other nodes are slower, and others work beside
_LEAST_MINUTES, _MEMORY_MARGIN = 10, 1.2
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
        return memory_of(self.job, self.sizes, self.architecture, self.gpus > 0)


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
    architecture = str(settings.get("architecture", runs.defaults(NETWORKS)["architecture"]))
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


def growing(amount: int) -> Callable[..., int]:
    """Return what gives Snakemake an amount that grows with each attempt: a job that lacked it is tried with more."""
    return lambda wildcards, attempt: amount * attempt
