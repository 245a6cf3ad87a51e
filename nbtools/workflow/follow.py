"""``python -m nbtools study``: Snakemake makes a study's runs; lines say what is finished, and how long the rest takes.

Snakemake tells what happens as events (its interface for loggers), on this machine and on a cluster alike.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from math import nan
from pathlib import Path
from types import FrameType, ModuleType

import pandas as pd
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from nbtools.checks import check_choice
from nbtools.data.study import open_study
from nbtools.places import PROJECT
from nbtools.processes import SILENCE, Bar
from nbtools.runs.batch import SAID
from nbtools.runs.figures import draw_pictures
from nbtools.workflow.calibration import read_calibration
from nbtools.workflow.costs import estimates, past_runs
from nbtools.workflow.jobs import SUMMARY, TARGETS, Graph, Job
from nbtools.workflow.plan import finished_jobs, wall_seconds
from nbtools.workflow.summary import publish, report_file, summary

NAME = "nbtools"  # of the logger
GLANCE = 2.0  # seconds after which the bar of a terminal is brought up to date
_AGAIN = "mend what it says, then give the same command again: what is finished stays"


def follow(graph: Graph, targets: Sequence[str], arguments: Iterable[str]) -> int:
    """Make the runs of targets with Snakemake, and print a line for each; return the exit status.

    Parameters
    ----------
    graph : Graph
        The study's runs.
    targets : sequence of str
        Of `jobs.TARGETS`.
    arguments : iterable of str
        Of Snakemake: where it runs, and what it plans from, which gives the same graph.

    Raises
    ------
    InputError
        If there is no such target, or the study is neither there nor one that is simulated.
    """
    for target in targets:
        check_choice("there is no such target", target, TARGETS, fix="check the spelling")
    if graph.profile is None:
        open_study(graph.study)
    progress = Progress(graph, targets)
    if progress.whole:  # Snakemake takes longer to find that out than all else here
        progress.end(0)
        return 0
    return _make(progress, [*arguments, "--", *targets])


def _make(progress: Progress, arguments: Sequence[str]) -> int:
    """Let Snakemake make what is left, and tell of it; return the exit status."""
    from snakemake.cli import main  # imports slowly
    from snakemake_interface_logger_plugins.registry import LoggerPluginRegistry

    class LogHandler(LogHandlerBase):
        """Hands events on, in place of what Snakemake would print."""

        writes_to_stream, writes_to_file, needs_rulegraph = True, False, False
        has_filter = has_formatter = True

        def __post_init__(self) -> None:
            logging.Handler.__init__(self)

        def emit(self, record: logging.LogRecord) -> None:
            progress.hear(record)

    plugin = ModuleType(NAME)  # what a package of Snakemake's plugins would be
    vars(plugin)["LogHandler"] = LogHandler
    LoggerPluginRegistry().register_plugin(NAME, plugin)

    def stop(number: int, frame: FrameType | None) -> None:
        progress.stopped = True
        signal.default_int_handler(number, frame)

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, as in a script's background
        signal.signal(signal.SIGINT, stop)
    usual = ["--snakefile", str(PROJECT / "Snakefile"), "--rerun-incomplete", "--scheduler", "greedy", "--logger", NAME]
    with progress.bar():
        try:
            main([*usual, *arguments])
        except SystemExit as ended:
            status = int(ended.code or 0)
    progress.end(status)
    return status


class Progress:
    """What of a study is finished, at work and to come, told in lines.

    Parameters
    ----------
    graph : Graph
        The study's runs.
    targets : sequence of str
        Of `jobs.TARGETS`: whose runs are made.
    """

    def __init__(self, graph: Graph, targets: Sequence[str]):
        self.graph = graph
        self.jobs = {job.name: job for job in graph.jobs if any(job.record in graph.targets[name] for name in targets)}
        self.finished = finished_jobs(graph) & {job.record for job in self.jobs.values()}
        self.at_work: dict[str, float] = {}  # by a rule's name: when it was started
        self.failed: list[str] = []
        self.errors: list[str] = []
        self.stopped = False  # by Ctrl-C, which ends the runs at work too
        self.cores = os.cpu_count() or 1
        self._names: dict[int, str] = {}  # of rules, by Snakemake's numbers for jobs
        self._planned = estimates(graph, read_calibration(graph.study), past_runs(graph.jobs)).assign(took=nan)
        self._told = time.monotonic()
        self._over = threading.Event()
        self._bar: Bar | None = None

    @property
    def whole(self) -> bool:
        """Whether nothing is left to make."""
        return len(self.finished) == len(self.jobs)

    @contextmanager
    def bar(self) -> Iterator[None]:
        """Show on a terminal, below the lines, what is at work and how long the rest takes."""
        form, n = "{percentage:3.0f}%|{bar:20}| {desc}", len(self.jobs)
        if not sys.stderr.isatty():
            yield
            return
        with Bar(None, "", n, initial=len(self.finished), bar_format=form, leave=False) as self._bar:
            yield
        self._bar = None

    def hear(self, event: logging.LogRecord) -> None:
        """Take in an event of Snakemake's."""
        match getattr(event, "event", None), vars(event):
            case LogEvent.RESOURCES_INFO, {"cores": int(cores)}:
                self.cores = cores
            case LogEvent.RESOURCES_INFO, {"nodes": int(at_once)}:  # jobs in a cluster's queue
                self.cores = at_once * int(self._planned.threads.max())
            case LogEvent.RUN_INFO, _:
                self._begin()
            case LogEvent.JOB_INFO, {"jobid": number, "rule_name": name}:
                self._names[number], self.at_work[name] = name, time.monotonic()
            case LogEvent.JOB_FINISHED, {"job_id": number}:
                self._finish(self._names[number])
            case LogEvent.JOB_ERROR, {"rule_name": name, "log": logs} if not self.stopped:
                self._fail(name, logs)
            case _, {"levelno": level} if level >= logging.ERROR:
                self.errors.append(event.getMessage())

    def end(self, status: int) -> None:
        """Draw what figures lack, and say how all ended: what the largest summary says, or what is to do."""
        self._over.set()
        summaries = [job for job in self.jobs.values() if job.notebook == SUMMARY]
        if not status and summaries:
            for study in self.graph.studies:  # not in each run: a browser takes as long to start as a small run
                draw_pictures(study)
            folder = max(summaries, key=lambda job: len(job.after)).record.parent
            self._say(f"{summary(folder)}\nReport: {publish(folder)}")
        elif status and self.failed:
            self._say(f"{len(self.failed)} failed, {len(self.jobs) - len(self.finished)} not made: {_AGAIN}")
        elif status:
            told = [] if self.stopped else self.errors
            self._say("\n".join(told) or "stopped: the same command goes on from here")

    def minutes_left(self) -> float:
        """Return the minutes in which the rest is made, if it takes longer than planned as its like did until now."""
        started, now = dict(self.at_work), time.monotonic()
        elapsed = {self.jobs[name].record: now - then for name, then in started.items() if name in self.jobs}
        table = self._planned.assign(finished=self._planned.index.isin(list(self.finished)))
        table["elapsed"] = pd.Series(elapsed, dtype=float).reindex(table.index, fill_value=0.0)
        table["took"] = table.took.fillna(table.elapsed.where(table.elapsed > table.seconds))  # it is late already
        known = table[table.took.notna()]
        sums = known.groupby("notebook")[["took", "seconds"]].sum()
        pace = known.took.sum() / known.seconds.sum() if len(known) else 1.0
        table["seconds"] *= table.notebook.map(sums.took / sums.seconds).fillna(pace)
        table["seconds"] = (table.seconds - table.elapsed).clip(lower=0.0)
        return wall_seconds(table, self.jobs.values(), self.cores) / 60

    # --- events ---

    def _begin(self) -> None:
        n_jobs, n_left = len(self.jobs), len(self.jobs) - len(self.finished)
        self._say(f"{self.graph.study}: {n_jobs} runs, {n_left} to make · {self._forecast()}")
        self._say(f"report, from the first figure on: {report_file(self.graph.study)}")
        threading.Thread(target=self._watch, daemon=True).start()

    def _finish(self, name: str) -> None:
        seconds = time.monotonic() - self.at_work.pop(name)
        job = self.jobs.get(name)
        if job is None and name not in TARGETS:  # it makes or prepares the study
            self._say(f"{label(name)} · {seconds:.0f} s · {self._forecast()}")
        if job is None or job.record in self.finished:  # it was finished before, and only looked at
            return
        self.finished.add(job.record)
        self.failed = [other for other in self.failed if other != name]  # it was tried again
        self._planned.loc[job.record, "took"] = seconds
        self._say(f"{self._count()} · {label(name)} · {seconds:.0f} s · {self._forecast()}")
        if job.notebook == SUMMARY and self._grown(job):
            values = job.parameters
            self._say(f"report of {values['rois']}, seeds {values['seeds']}: {publish(job.record.parent)}")

    def _grown(self, job: Job) -> bool:
        """Tell whether no larger summary is finished: two at work at once may end in any order."""
        summaries = [
            other for other in self.jobs.values() if other.notebook == SUMMARY and other.record in self.finished
        ]
        return all(len(other.after) <= len(job.after) for other in summaries)

    def _fail(self, name: str, logs: list[str]) -> None:
        """Say so, once: Snakemake tells it again in the end. On a cluster there are further logs than the notebook."""
        self.at_work.pop(name, None)
        if name in self.failed:
            return
        self.failed.append(name)
        job = self.jobs.get(name)
        elsewhere = [file for file in logs if job and file != str(job.log)]
        said = [reason(job), *(f"  log:      {file}" for file in elsewhere)] if job and elsewhere else []
        self._say("\n".join([*said, f"failed: {label(name)}"]))

    def _watch(self) -> None:
        """Say what is at work: on a terminal's bar, elsewhere when nothing else is said for a while."""
        while not self._over.wait(GLANCE if self._bar else max(self._told + SILENCE - time.monotonic(), 1.0)):
            self._glance()
            if not self._bar and time.monotonic() - self._told >= SILENCE:
                self._say(f"{self._count()} · {self._now()} · {self._forecast()}")

    # --- lines ---

    def _glance(self) -> None:
        """Bring the bar up to date, where there is one."""
        if bar := self._bar:
            bar.n = len(self.finished)
            bar.set_description_str(f"{self._count()} · {self._forecast()} · {self._now()}")

    def _now(self) -> str:
        names = [f"{label(name)}{how_far(self.jobs.get(name))}" for name in list(self.at_work)]
        return f"at work: {'; '.join(names) or 'nothing yet'}"

    def _count(self) -> str:
        return f"{len(self.finished)} of {len(self.jobs)}"

    def _forecast(self) -> str:
        return "all finished" if self.whole else about(self.minutes_left())

    def _say(self, text: str) -> None:
        self._told = time.monotonic()
        self._glance()
        Bar.write(text)  # above the bar, where there is one
        sys.stdout.flush()


def label(name: str) -> str:
    """Return a rule's name in words: ``network V1, seed 0`` for ``network_V1_seed0``."""
    return re.sub(r" (alpha|seed)(?=\d)", r", \1 ", name.replace("_", " "))


def how_far(job: Job | None) -> str:
    """Return what a run at work said last of itself in its log, if that is not long ago."""
    with suppress(OSError):
        if job and time.time() - (log := job.record.with_name(SAID)).stat().st_mtime < 2 * SILENCE:
            *_, line = log.read_text(encoding="utf-8").splitlines()
            return f" ({' · '.join(line.split(' · ')[:2])})"
    return ""


def about(minutes: float) -> str:
    """Return how long the rest takes, in words."""
    if minutes < 1:
        return "less than a minute left"
    whole = round(minutes)
    if whole < 90:
        return f"about {whole} minute{'s' * (whole > 1)} left"
    return f"about {minutes / 60:.1f} hours left"


def reason(job: Job) -> str:
    """Return why a run failed: the last error of its notebook, as far as it went."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        cells = json.loads(Path(job.log).read_text(encoding="utf-8"))["cells"]
        errors = [out for cell in cells for out in cell.get("outputs", []) if out["output_type"] == "error"]
        return f"error: {errors[-1]['evalue']}"
    return "error: it ended before its notebook said why"
