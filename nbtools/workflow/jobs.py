"""What a study's graph is made of: notebook runs, each with those it waits for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nbtools.data.study import Study
from nbtools.runs.lineage import arguments
from nbtools.workflow.to_come import to_come

TARGETS = ("all", "attacks", "study", "explorers")
SUMMARY = "10_summary"


@dataclass(frozen=True)
class Job:
    """One notebook run of a study.

    Attributes
    ----------
    name : str
        Of its rule, such as ``"network_V1_seed0"``.
    notebook : str
        Without ``.ipynb``.
    parameters : dict
        Those that are not left at the notebook's defaults, and ``study``.
    record : Path
        The file that says it is finished: ``run.json`` in its run folder.
    after : tuple of Path
        Records of the runs it waits for.
    trained_as : dict
        For `CLOUDS`, parameters of the networks whose training it takes over.
    """

    name: str
    notebook: str
    parameters: Mapping[str, Any]
    record: Path
    after: tuple[Path, ...]
    trained_as: Mapping[str, Any] = field(default_factory=dict)

    @property
    def study(self) -> str:
        """Its study: a name, or the path of a ``.toml`` file."""
        return str(self.parameters["study"])

    @property
    def log(self) -> Path:
        """The executed notebook; after a failure, as far as it went."""
        return self.record.with_name("notebook.ipynb")

    @property
    def arguments(self) -> str:
        """What follows ``python -m nbtools run``.

        In the order of the parameters' names: Snakemake runs a job again whose command changed.
        """
        return arguments(self.notebook, dict(sorted(self.parameters.items())))


@dataclass(frozen=True)
class Graph:
    """All runs of a study.

    Attributes
    ----------
    study : str
        A name, or the path of a ``.toml`` file.
    jobs : tuple of Job
        Each after those it waits for.
    targets : mapping
        The records of each of `TARGETS`.
    rois : tuple of str
        Regions whose responses are read.
    source : Study or None
        The study's description, None where it is not there yet.
    profile : str or None
        With which a simulated study is made; None: the study is to be fetched.
    gpus : int
        That a run is given that gains from one.
    left_out : mapping
        Notebooks (and conditions) of which runs are not planned, and what there is not that these would need.
    """

    study: str
    jobs: tuple[Job, ...]
    targets: Mapping[str, set[Path]]
    rois: tuple[str, ...]
    source: Study | None
    profile: str | None
    gpus: int
    left_out: Mapping[str, list[str]]

    def of(self, target: str) -> list[Job]:
        """Return the jobs of a target."""
        return [job for job in self.jobs if job.record in self.targets[target]]

    @property
    def hierarchy(self) -> tuple[str, ...]:
        """Regions, early to late: the study's, or those it will have."""
        return self.source.hierarchy if self.source else to_come(self.study).regions

    @property
    def priorities(self) -> dict[Path, int]:
        """How soon each run is made: the sooner, the more summaries wait for it; a summary as soon as it can be."""
        waiting: dict[Path, set[Path]] = {job.record: set() for job in self.jobs}
        for job in reversed(self.jobs):  # each after those it waits for
            own = {job.record} if job.notebook == SUMMARY else set()
            for record in job.after:
                waiting[record] |= waiting[job.record] | own
        n_summaries = sum(job.notebook == SUMMARY for job in self.jobs)
        return {job.record: n_summaries if job.notebook == SUMMARY else len(waiting[job.record]) for job in self.jobs}

    @property
    def notes(self) -> list[str]:
        """Of which notebooks no run is planned, and why, a line each."""
        return [f"not planned: {notebook}, for want of {', '.join(parts)}" for notebook, parts in self.left_out.items()]

    @property
    def studies(self) -> list[str]:
        """The study, and those of further subjects."""
        return list(dict.fromkeys([self.study, *(job.study for job in self.jobs)]))
