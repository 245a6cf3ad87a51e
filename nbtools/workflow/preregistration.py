"""``python -m nbtools preregister``: what a study claims and how it will test it, fixed in a dated file with a digest.

    runs/<study>/preregistration/<date>-<first letters of the plan's sha256>.json

A file is never changed: another plan is another file. Kept where the runs are, it convinces those who trust this
machine's clock; its name, sent to somebody or committed elsewhere, convinces others.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nbtools.checks import check_choice, check_enough, check_range, reading
from nbtools.data.study import study_name
from nbtools.errors import InputError
from nbtools.files import locked, write_text
from nbtools.metrics.decisions.robustness import accuracy_at
from nbtools.metrics.samples.contrasts import FEWEST_ORDERED, MARGINS, SIGNIFICANT
from nbtools.metrics.samples.verdicts import in_order
from nbtools.runs import folders
from nbtools.runs.lineage import ATTACKED
from nbtools.runs.parameters import SEVERAL, words_of
from nbtools.runs.provenance import registered, registrations, short, sources, stamp, surroundings
from nbtools.runs.repeat import differing
from nbtools.workflow.config import Config, world_arguments
from nbtools.workflow.graph import make_graph
from nbtools.workflow.jobs import SUMMARY, Graph, Job

CLAIMS = (
    "the primary endpoint rises over the regions, from early to late",
    "at the largest ε, regions stand above every control",
    "every other measure has a slope over the regions in the paper's direction",
)
EXCLUSION = "a network whose clean accuracy is below the least leaves, and with it all networks of its seed"
ALPHA_RULE = "the same for all conditions, as the settings have it"
TESTS = {
    "slope": "least squares over the regions' ranks; Student's t over seeds, over subjects where there are several",
    "order": f"with {FEWEST_ORDERED} regions or more: share of orders with such a slope, with fewer Page's L; "
    "a rise takes both",
    "contrasts": "region minus control, networks of the same seed; Student's t; Holm over all pairs",
    "measures": "each measure's slope and order, the larger p; Holm over all measures",
    "equivalence": f"two one-sided tests, margin {MARGINS['accuracy']:g} of accuracy from the first to the last region",
    "level": SIGNIFICANT,
}
_AROUND = ("nbtools", "packages", "python", "git")


@dataclass(frozen=True)
class Preregistration:
    """A plan that was fixed, and what there was at that time.

    Attributes
    ----------
    file : Path
        Where it is written.
    plan : dict
        What was fixed (`plan_of`).
    registered : str
        When, in UTC (ISO 8601).
    planned_there, others_there : int
        Attacked networks of the study that were there already: those the plan asks for, and others, such as pilots'.
    around : dict
        Code and packages of that time.
    """

    file: Path
    plan: Mapping[str, Any]
    registered: str
    planned_there: int
    others_there: int
    around: Mapping[str, Any]

    def __str__(self) -> str:
        """Date and digest, as reports quote them."""
        return f"{self.registered[:10]} ({self.file.stem[11:]})"

    @property
    def seen(self) -> str:
        """Which data were there when it was written, in words."""
        others = f"; {self.others_there} others of the study were there" if self.others_there else ""
        if self.planned_there:
            return f"after data were seen: {self.planned_there} of its attacked networks were there{others}"
        return f"before any of its attacked networks was there{others}"


def preregister(config: Config, *, endpoint: str = "", least_clean: float = 0.0, note: str = "") -> str:
    """Fix a study's plan, unless it is fixed already, and return what to tell.

    Parameters
    ----------
    config : mapping
        What the study's file says.
    endpoint, least_clean, note
        As `plan_of` takes them.

    Raises
    ------
    InputError
        As `plan_of` and `read_all`.
    """
    graph = make_graph(config)
    plan = plan_of(config, endpoint=endpoint, least_clean=least_clean, note=note)
    folder = registrations(graph.study)
    with locked(folder):
        before = read_all(graph.study)
        if same := [one for one in before if one.plan == plan]:
            return f"fixed already, on {same[0]}, {same[0].seen}: nothing is written\n{same[0].file}"
        new = read(_write(folder, plan, graph))
    told = [f"fixed on {new}, {new.seen}", str(new.file), f"primary endpoint: slope of {plan['endpoint']}"]
    if before:
        told += [f"the first was fixed on {before[0]}; since the last, of {before[-1]}, these differ:"]
        told += [f"  {line}" for line in differing(before[-1].plan, plan)]
    return "\n".join(told)


def plan_of(config: Config, *, endpoint: str = "", least_clean: float = 0.0, note: str = "") -> dict[str, Any]:
    """Draw from a study's file what can be fixed beforehand, as plain JSON.

    Parameters
    ----------
    config : mapping
        What the study's file says.
    endpoint : str
        The primary one: the measure whose slope over the regions is the study's answer, such as
        ``"accuracy at 4/255"``; by default robust accuracy at the largest ε of notebook 10.
    least_clean : float
        Networks of lower clean accuracy are excluded; 0 excludes none.
    note : str
        In free words.

    Returns
    -------
    dict
        ``settings`` has for each notebook of the study, and each of its parameters, the values that its runs have;
        words of notebook 10's (seeds, ε, conditions) one by one.

    Raises
    ------
    InputError
        As `graph.make_graph`, or if the study has no summary, too few regions or networks for a test, or no such
        endpoint, or `least_clean` is no fraction.
    """
    check_range("the least clean accuracy", least_clean, 0, 1)
    graph = make_graph(config)
    settings = _settings(job for job in graph.jobs if job.record in graph.targets["all"] | graph.targets["study"])
    if SUMMARY not in settings:
        missing, fix = ", ".join(graph.left_out[SUMMARY]), "prepare its data first (`python -m nbtools doctor`)"
        raise InputError("the study has no summary to fix", expected=f"data for {SUMMARY}", got=missing, fix=fix)
    summary = settings[SUMMARY]
    regions = in_order(summary["rois"], graph.hierarchy)
    problem, fix = "this study has no test to fix", "plan further regions and seeds"
    check_enough(f"{problem}: regions", len(regions), 3, fix=fix)
    sample = max(len(summary["seeds"]), 1 + len(summary["subjects"]))
    check_enough(f"{problem}: networks of a region", sample, 2, fix=fix)
    endpoints = [accuracy_at(epsilon / 255) for epsilon in sorted(map(float, summary["epsilons"]))]
    endpoint = endpoint or endpoints[-1]
    check_choice("there is no such endpoint", endpoint, endpoints, fix="name one, or give notebook 10 that ε")
    return {
        "study": study_name(graph.study),
        "world": world_arguments(config) if graph.profile else None,
        "claims": list(CLAIMS),
        "endpoint": endpoint,
        "regions": regions,
        "exclusion": {"least clean accuracy": float(least_clean), "rule": EXCLUSION},
        "alpha rule": ALPHA_RULE,
        "tests": TESTS,
        "settings": settings,
        "note": note,
    }


def _settings(jobs: Iterable[Job]) -> dict[str, dict[str, list[Any]]]:
    found: dict[str, dict[str, list[Any]]] = {}
    for job in jobs:
        for name, value in {**folders.defaults(job.notebook), **folders.typed(job.notebook, job.parameters)}.items():
            values = found.setdefault(job.notebook, {}).setdefault(name, [])
            values += words_of(value) if job.notebook == SUMMARY and name in SEVERAL else [value]
    return {
        notebook: {
            name: sorted(set(values))
            for name, values in sorted(parameters.items())
            if name != "study" and (notebook == SUMMARY or name not in ("rois", "seeds"))  # as the summary's
        }
        for notebook, parameters in sorted(found.items())
    }


# --- files --------------------------------------------------------------------------------------------------


def read_all(study: str) -> list[Preregistration]:
    """Return a study's preregistrations, the first one first; raise `InputError` as `read` does."""
    return sorted(map(read, registered(study)), key=lambda one: one.registered)


def in_force(found: Iterable[Preregistration]) -> Preregistration | None:
    """Choose the one that a report goes by: the last before data were seen; if there is none such, the first."""
    found = list(found)
    return next(iter([one for one in found if not one.planned_there][-1:] or found), None)


def read(file: Path) -> Preregistration:
    """Read a preregistration.

    Raises
    ------
    InputError
        If it cannot be read, or is no longer what was written.
    """
    kinds = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)
    expected, fix = "what `python -m nbtools preregister` wrote", "put a copy of it back, or remove it and say so"
    with reading("a preregistration is damaged", *kinds, file=file, expected=expected, fix=fix):
        record = json.loads(file.read_text(encoding="utf-8"))
        written_digest, digest = record.pop("sha256"), _digest(record)
        there, around = record["networks there"], record["around"]
        found = Preregistration(file, record["plan"], record["registered"], there["planned"], there["others"], around)
        name = _name(found.registered, found.plan)
    if (written_digest, file.name) != (digest, name):
        raise InputError(
            "a preregistration was changed after it was written",
            file=file,
            expected=f"{name}, sha256 {written_digest}",
            got=f"{file.name}, sha256 {digest}",
            fix=f"{fix}; another plan is fixed by `python -m nbtools preregister`, beside this one",
        )
    return found


def _write(folder: Path, plan: Mapping[str, Any], graph: Graph) -> Path:
    notebooks = [folders.NOTEBOOKS / f"{name}.ipynb" for name in plan["settings"]]
    code = sorted({*notebooks, *(file for notebook in notebooks for file in sources(notebook))})
    around = {name: value for name, value in surroundings().items() if name in _AROUND}
    registered = datetime.now(UTC).isoformat(timespec="microseconds")
    record = {
        "registered": registered,
        "plan": plan,
        "networks there": _networks_there(graph),
        "around": {**around, "code": {short(file): stamp(file) for file in code}},
    }
    text = json.dumps({**record, "sha256": _digest(record)}, indent=1, ensure_ascii=False)
    return write_text(folder / _name(registered, plan), text + "\n")


def _networks_there(graph: Graph) -> dict[str, int]:
    """Count attacked networks that are there: a network is its study, condition, seed and α, however attacked."""
    names = ("roi", "seed", "alpha")
    attacked = [job for job in graph.jobs if job.notebook == ATTACKED]
    planned = {(study_name(job.study), *(job.parameters[name] for name in names)) for job in attacked}
    there = {
        (study_name(study), *(row[name] for name in names))
        for study in graph.studies
        for row in folders.collect(ATTACKED, study).to_dict("records")
    }
    return {"planned": len(there & planned), "others": len(there - planned)}


def _name(registered: str, plan: Mapping[str, Any]) -> str:
    return f"{registered[:10]}-{_digest(plan)[:8]}.json"


def _digest(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of content in one form, whatever the order of its keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
