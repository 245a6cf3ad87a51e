"""``python -m nbtools plan``: which runs a study takes, which are finished, what the rest will take, and can find."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pandas as pd

from nbtools.processes import Bar
from nbtools.runs import folders
from nbtools.runs.provenance import registered_names
from nbtools.workflow.calibration import device_name, measured_rates, on_gpu, read_calibration
from nbtools.workflow.config import Config
from nbtools.workflow.costs import GUESS, MODEL, RUNS, estimates, past_runs, steps_of
from nbtools.workflow.graph import make_graph
from nbtools.workflow.jobs import SUMMARY, TARGETS, Graph, Job
from nbtools.workflow.power import power_lines
from nbtools.workflow.tables import aligned
from nbtools.workflow.to_come import to_come

_SHOWN = 5  # names of files


def plan(config: Config) -> str:
    """Return what a study takes here, as text: a table with a row for each notebook, totals, and power.

    Parameters
    ----------
    config : mapping
        What the study's file says.

    Raises
    ------
    InputError
        As `graph.make_graph`, or if a run's record is damaged.
    """
    device, graph = device_name(), make_graph(config)
    asked, graph = graph.gpus, replace(graph, gpus=int(on_gpu(device)))
    past, done = past_runs(graph.jobs), finished_jobs(graph)
    known = all(job.record in past for job in graph.jobs)
    calibration = read_calibration(graph.study) if known else measured_rates(graph.study, steps_of(graph))
    table = estimates(graph, calibration, past)
    old = old_jobs(graph, done)
    table["finished"], table["old"] = (table.index.isin(list(records)) for records in (done, old))
    table["hours"] = table.seconds * table.threads.clip(upper=os.cpu_count()).where(table.gpus == 0, 1) / 3600
    notes = [*_old(old), *_others(graph), *_notes(device, table, asked), *graph.notes]
    parts = [*_assumed(graph), _by_notebook(table), "", *_totals(table, graph), "", *power_lines(graph, done), *notes]
    return "\n".join(parts)


def finished_jobs(graph: Graph) -> set[Path]:
    """Return the records of the runs that Snakemake would not run again: finished, with all that they came from."""
    done: set[Path] = set()
    known: dict[tuple[str, str], bool] = {}
    for job in Bar(graph.jobs, "looking at runs", unit="run", leave=False, delay=1):
        if set(job.after) <= done and folders.stale(job.record.parent, known) == [] and _knows_what_was_fixed(job):
            done.add(job.record)
    return done


def old_jobs(graph: Graph, done: set[Path]) -> dict[Path, list[str]]:
    """Return the records of runs that were finished and would be run again, and what each came from that has changed.

    Nothing has where it builds on such runs, or has not read all that is fixed of its study by now.
    """
    known: dict[tuple[str, str], bool] = {}
    looked_at = {job.record: folders.stale(job.record.parent, known) for job in graph.jobs if job.record not in done}
    return {record: changed for record, changed in looked_at.items() if changed is not None}


def _knows_what_was_fixed(job: Job) -> bool:
    """Whether a finished summary has read all that is fixed of its study by now."""
    if job.notebook != SUMMARY:
        return True
    known = folders.finished_record(job.record.parent).get("preregistered", [])
    return known == registered_names(job.study)


def wall_seconds(table: pd.DataFrame, jobs: Iterable[Job], cores: int) -> float:
    """Return how long the unfinished ones of `jobs` take at least: all cores busy, and the longest chain of runs.

    Runs on the GPU go one after the other.
    """
    chain: dict[Path, float] = {}
    for job in jobs:
        row = table.loc[job.record]
        own = 0.0 if row.finished else row.seconds
        chain[job.record] = own + max((chain[record] for record in job.after), default=0.0)
    todo = table[table.index.isin(list(chain)) & ~table.finished]
    at_once = max(cores // int(table.threads.max()), 1)
    busy = todo.seconds[todo.gpus == 0].sum() / at_once
    return max(busy, todo.seconds[todo.gpus > 0].sum(), *chain.values(), 0.0)


def _assumed(graph: Graph) -> list[str]:
    """Say what is assumed of a study that is still to be fetched."""
    if graph.source or graph.profile:
        return []
    of = to_come(graph.study).sizes
    return [
        f"{graph.study} is not here yet; assumed, at {of.image_size} pixels: {of.train} images to classify, "
        f"{of.scanner} that the brain was shown, regions {' '.join(graph.hierarchy)}\n"
    ]


def _by_notebook(table: pd.DataFrame) -> str:
    groups = [(str(notebook), group) for notebook, group in table.groupby("notebook")]
    rows = [[name, *_cells(group), ", ".join(sorted(set(group.source)))] for name, group in groups]
    rows.append(["together", *_cells(table), ""])
    numbers = ["runs", "finished", "old", "to do", "CPU h", "GPU h", "memory MB", "disk MB"]
    return aligned(["notebook", *numbers, "from"], rows, right=numbers)


def _cells(group: pd.DataFrame) -> list[str]:
    todo = group[~group.finished]
    hours = [f"{spent:.2f}" if spent else "–" for spent in _hours(todo)]
    memory, disk = (f"{todo.memory.max():.0f}", f"{todo.disk.sum():.0f}") if len(todo) else ("–", "–")
    return [str(n) for n in (len(group), group.finished.sum(), group.old.sum(), len(todo))] + [*hours, memory, disk]


def _hours(todo: pd.DataFrame) -> tuple[float, float]:
    """Return hours of CPUs and of GPUs."""
    return todo.hours[todo.gpus == 0].sum(), todo.hours[todo.gpus > 0].sum()


def _totals(table: pd.DataFrame, graph: Graph) -> list[str]:
    cores, lines = os.cpu_count() or 1, []
    for target in TARGETS:
        jobs = graph.of(target)
        part = table.loc[[job.record for job in jobs]]
        todo = part[~part.finished]
        cpu, gpu = _hours(todo)
        wall = wall_seconds(table, jobs, cores)
        told = f"{wall / 60:.0f} min" if wall < 5400 else f"{wall / 3600:.1f} h"
        lines.append(
            f"{target + ':':10} {len(part)} runs, {len(todo)} to do: {cpu:.2f} CPU hours, {gpu:.2f} GPU hours, "
            f"{todo.disk.sum():.0f} MB; here, on {cores} cores, {told} at least"
        )
    lines[0] += " ← what `study` makes"
    return [*lines, "(the others by --targets; the table above holds all of them, and the rows of the file's table)"]


def _old(old: dict[Path, list[str]]) -> list[str]:
    """Say why runs do not count as finished that once were."""
    changed = list(dict.fromkeys(name for names in old.values() for name in names))
    more = f" and {len(changed) - _SHOWN} more" if changed[_SHOWN:] else ""
    n = sum(map(bool, old.values()))
    why = [f"of {n} what they came from has changed since ({', '.join(changed[:_SHOWN])}{more})"] * bool(n)
    why += [f"{len(old) - n} build on runs that are old or missing"] * (n < len(old))
    return [f"old: {len(old)} runs were finished and are to be made again; {', '.join(why)}"] * bool(old)


def _others(graph: Graph) -> list[str]:
    """Say of which planned notebooks there are finished runs that the plan does not ask for."""
    asked, n = {job.record for job in graph.jobs}, Counter[str]()
    for folder in {job.record.parents[1] for job in graph.jobs}:
        n[folder.name] += len(set(folder.glob(f"*/{folders.RECORD}")) - asked)
    told = ", ".join(f"{n[name]} of {name}" for name in sorted(+n))
    return [f"not asked for: finished runs with other parameters than the plan's: {told}"] * bool(told)


def _notes(device: str, table: pd.DataFrame, gpus: int) -> list[str]:
    told = {
        RUNS: "mean time and size of this study's finished runs of that notebook",
        MODEL: f"images counted from the parameters, times a step of training measured here ({device})",
        GUESS: "images counted likewise, for a CPU where a run is given no GPU",
    }
    sources = set(table.source[~table.finished])
    lines = [f"{source}: {what}" for source, what in told.items() if source in sources]
    if gpus and not on_gpu(device):
        lines.append("this machine has no GPU: what is said is of its CPU; plan again where the study will run")
    return lines
