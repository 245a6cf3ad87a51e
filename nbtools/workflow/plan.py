"""``python -m nbtools plan``: which runs a study takes, which are finished, and what the rest will take."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import pandas as pd

from nbtools.runs import folders
from nbtools.workflow.calibration import on_gpu, rates_for
from nbtools.workflow.config import Config
from nbtools.workflow.costs import ON_GPU, START, Rates, seconds_of
from nbtools.workflow.graph import TARGETS, Graph, Job, make_graph
from nbtools.workflow.needs import RUNNER_MB, Costed, costed

RUNS, MODEL = "finished runs", "calibration"


@dataclass(frozen=True)
class Measured:
    """What finished runs of a kind took.

    Attributes
    ----------
    seconds : float
        Mean of their recorded times.
    memory_mb : int
        The most that any of their kernels held, and what runs it.
    disk_mb : float
        Mean size of their folders.
    """

    seconds: float
    memory_mb: int
    disk_mb: float


def plan(config: Config) -> str:
    """Return what a study takes, as text: a table with a row for each notebook, and totals.

    Parameters
    ----------
    config : mapping
        What the study's file says.

    Raises
    ------
    InputError
        As `graph.make_graph`, or if a run's record is damaged.
    """
    graph = make_graph(config)
    work = costed(graph, config)
    done = finished_jobs(graph)
    past = past_runs(graph.jobs)
    threads, image_size = min(work[0].threads, os.cpu_count() or 1), work[0].sizes.image_size
    unknown = [run for run in work if run.job.record not in done and _kind(run.job) not in past]
    kinds = [kind for run in unknown for kind in run.work]
    device, rates = rates_for(graph.study, kinds, image_size, threads)
    table = estimates(work, done, past, rates, on_gpu(device), threads)
    return "\n".join([_by_notebook(table), "", *_totals(table, graph, threads), "", *_notes(device, table, config)])


def finished_jobs(graph: Graph) -> set[Path]:
    """Return the records of the runs that Snakemake would not run again: finished, with all that they came from."""
    done: set[Path] = set()
    for job in graph.jobs:
        if set(job.after) <= done and folders.stale(job.record.parent) == []:
            done.add(job.record)
    return done


def past_runs(jobs: Iterable[Job]) -> dict[tuple[str, str], Measured]:
    """Return what was recorded of runs of each kind; a run that has become old took as long as the next one will."""
    found = defaultdict(list)
    for job in jobs:
        if record := folders.read_record(job.record.parent):
            size = sum(file.stat().st_size for file in job.record.parent.iterdir() if file.is_file()) / 1e6
            found[_kind(job)].append(
                (float(record["seconds"]), int(record.get("peak_memory_mb") or 0) + RUNNER_MB, size)
            )
    return {
        kind: Measured(fmean(seconds), max(memory), fmean(disk))
        for kind, taken in found.items()
        for seconds, memory, disk in [zip(*taken, strict=True)]
    }


def _kind(job: Job) -> tuple[str, str]:
    """Runs of one notebook take alike, but for other attacks: one study's settings are those of all of them."""
    return job.notebook, str(job.parameters.get("attacks", ""))


def estimates(
    work: list[Costed],
    done: set[Path],
    past: dict[tuple[str, str], Measured],
    rates: Rates,
    gpu: bool,
    threads: int = 1,
) -> pd.DataFrame:
    """Return one row for each run: what it took before or what its work and the rates say.

    Parameters
    ----------
    work : list of Costed
        All runs of a study.
    done : set of Path
        Records of those that are finished.
    past : dict
        From `past_runs`.
    rates : mapping
        Seconds an image, by kind of pass.
    gpu : bool
        Whether they are those of a GPU.
    threads : int
        Of a run.

    Returns
    -------
    DataFrame
        Indexed by record: notebook, finished, seconds (with the start of its kernel), cpu and gpu (hours of each),
        memory (MB), disk (MB), source (`RUNS` or `MODEL`).
    """
    rows = {}
    for run in work:
        before = past.get(_kind(run.job))
        if before:
            seconds, memory, disk, source = before.seconds + rates[START], before.memory_mb, before.disk_mb, RUNS
        elif run.job.record in done:
            raise AssertionError("a finished run has a record")
        else:
            seconds, memory, disk, source = seconds_of(run.work, rates), run.memory_mb, run.disk_mb, MODEL
        on_card = gpu and run.job.notebook in ON_GPU
        rows[run.job.record] = {
            "notebook": run.job.notebook,
            "finished": run.job.record in done,
            "seconds": seconds,
            "cpu": 0.0 if on_card else seconds * threads / 3600,
            "gpu": seconds / 3600 if on_card else 0.0,
            "memory": memory,
            "disk": disk,
            "source": source,
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def wall_seconds(table: pd.DataFrame, jobs: Iterable[Job], threads: int, cores: int) -> float:
    """Return how long the unfinished ones of `jobs` take at least: all cores busy, and the longest chain of runs.

    Runs on the GPU go one after the other.
    """
    chain: dict[Path, float] = {}
    for job in jobs:
        row = table.loc[job.record]
        own = 0.0 if row.finished else row.seconds
        chain[job.record] = own + max((chain[record] for record in job.after), default=0.0)
    todo = table[table.index.isin(list(chain)) & ~table.finished]
    at_once = max(cores // threads, 1)
    busy = todo.seconds[todo.gpu == 0].sum() / at_once
    return max(busy, todo.seconds[todo.gpu > 0].sum(), *chain.values(), 0.0)


def _by_notebook(table: pd.DataFrame) -> str:
    head = ["notebook", "runs", "finished", "to do", "CPU h", "GPU h", "memory MB", "disk MB", "from"]
    rows = [head]
    for notebook, group in table.groupby("notebook"):
        rows.append([str(notebook), *_cells(group), ", ".join(sorted(set(group.source)))])
    rows.append(["together", *_cells(table), ""])
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return "\n".join(_line(row, widths) for row in rows)


def _line(row: list[str], widths: list[int]) -> str:
    middle = "  ".join(f"{cell:>{width}}" for cell, width in zip(row[1:-1], widths[1:-1], strict=True))
    return f"{row[0]:{widths[0]}}  {middle}  {row[-1]}".rstrip()


def _cells(group: pd.DataFrame) -> list[str]:
    todo = group[~group.finished]
    hours = [f"{todo[kind].sum():.2f}" if todo[kind].sum() else "–" for kind in ("cpu", "gpu")]
    memory, disk = (f"{todo.memory.max():.0f}", f"{todo.disk.sum():.0f}") if len(todo) else ("–", "–")
    return [str(len(group)), str(int(group.finished.sum())), str(len(todo)), *hours, memory, disk]


def _totals(table: pd.DataFrame, graph: Graph, threads: int) -> list[str]:
    cores, lines = os.cpu_count() or 1, []
    for target in TARGETS:
        jobs = graph.of(target)
        part = table.loc[[job.record for job in jobs]]
        todo = part[~part.finished]
        wall = wall_seconds(table, jobs, threads, cores)
        lines.append(
            f"{target + ':':10} {len(part)} runs, {len(todo)} to do: {todo.cpu.sum():.2f} CPU hours, "
            f"{todo.gpu.sum():.2f} GPU hours, {todo.disk.sum():.0f} MB; here, on {cores} cores, {_told(wall)} at least"
        )
    return lines


def _told(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _notes(device: str, table: pd.DataFrame, config: Config) -> list[str]:
    sources = set(table.source[~table.finished])
    lines = [f"{RUNS}: mean time and size of this study's finished runs of that notebook"] if RUNS in sources else []
    if MODEL in sources:
        lines.append(f"{MODEL}: passes counted from the parameters, times rates measured here ({device})")
    if int(config.get("gpus", 0)) and not on_gpu(device):
        lines.append("this machine has no GPU: hours are those of its CPU; plan again where the study will run")
    return lines
