"""What of a summary was fixed beforehand, what was looked at later: notebook 10's run beside a preregistration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from nbtools.data.study import open_study
from nbtools.files import make_folder
from nbtools.metrics.decisions.robustness import accuracy_at, too_low
from nbtools.metrics.samples.verdicts import in_order
from nbtools.runs.folders import Run
from nbtools.runs.lineage import ATTACKED, NETWORKS, PREDICTORS
from nbtools.runs.parameters import SEVERAL, words_of
from nbtools.runs.provenance import registrations, short, surroundings, unchanged
from nbtools.runs.records import ancestry
from nbtools.runs.repeat import differing
from nbtools.workflow.jobs import SUMMARY
from nbtools.workflow.preregistration import Preregistration, in_force, read_all

LATER = "looked at later"
_ALL_REST_ON = {PREDICTORS, NETWORKS, ATTACKED, SUMMARY}
_CHOSEN_BY_SUMMARY = {"roi", "rois", "seed", "seeds", "alpha"}  # parameters of the runs it asks for
_SHOWN = 5
_ONE_BY_ONE = {
    "rois",
    "others",
    "epsilons",
    "analyses",
    "questions",
}  # of these, what was added is marked where it stands


@dataclass(frozen=True)
class Beforehand:
    """What of a summary was fixed beforehand.

    Attributes
    ----------
    fixed : Preregistration or None
        The one in force; None where nothing was fixed.
    others : tuple of Preregistration
        The study's other ones.
    departures : mapping of notebook → list of str
        What is not as planned, in words.
    excluded : DataFrame
        Networks that leave by the rule: ``condition``, ``subject``, ``seed``, ``accuracy`` (on clean images).
    table : DataFrame or None
        ``what``, ``fixed beforehand``, ``here`` (all str).
    """

    fixed: Preregistration | None
    others: tuple[Preregistration, ...]
    departures: Mapping[str, list[str]]
    excluded: pd.DataFrame
    table: pd.DataFrame | None

    def kept(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of seeds of which no network is excluded: what leaves, leaves in all conditions."""
        return table[~table["seed"].isin(self.excluded["seed"])]

    def mark(self, measures: Iterable[str | float], conditions: Iterable[str] = (), analysis: str = SUMMARY) -> str:
        """Say of what a figure, table or line shows whether it was fixed beforehand; nothing where nothing was.

        Parameters
        ----------
        measures : iterable of str or float
            By name, or ε (pixel units) for accuracy at that ε. Where none of them was planned, nothing shown was.
        conditions : iterable of str
            Whose networks are shown.
        analysis : str
            The notebook that a measure comes from; all measures of one that was planned were.
        """
        if self.fixed is None:
            return ""
        planned = self.fixed.plan["settings"][SUMMARY]
        known = {accuracy_at(epsilon / 255) for epsilon in (0, *map(float, planned["epsilons"]))}
        names = [name if isinstance(name, str) else accuracy_at(name) for name in measures]
        added = [name for name in names if name not in known and analysis not in planned["analyses"]]
        if added == names or any(self.departures.get(each) for each in (*_ALL_REST_ON, analysis)):
            return LATER
        compared = {*planned["rois"], *planned.get("others", ())}
        added += [name for name in conditions if name not in compared]
        first = "primary endpoint, " * (names == [self.fixed.plan["endpoint"]])
        when = "after data were seen" if self.fixed.planned_there else "beforehand"
        return f"{first}fixed {when} on {self.fixed}" + f"; {LATER}: {', '.join(added)}" * bool(added)

    def said(self, verdicts: Mapping[float, str]) -> dict[float, str]:
        """Write each ε's mark behind its verdict."""
        marks = {epsilon: self.mark([epsilon]) for epsilon in verdicts}
        return {epsilon: words + f" [{marks[epsilon]}]" * bool(marks[epsilon]) for epsilon, words in verdicts.items()}

    def titled(self, title: str, measures: Iterable[str | float], conditions: Iterable[str]) -> str:
        """Write the mark of what a figure shows below its title."""
        mark = self.mark(measures, conditions)
        return f"{title}<br><sup>{mark}</sup>" if mark else title

    def marked(self, measures: pd.DataFrame, scores: Iterable[pd.DataFrame]) -> pd.DataFrame:
        """Add a column ``mark`` to a table of measures, where something was fixed.

        Parameters
        ----------
        measures : DataFrame
            From `metrics.claims`.
        scores : iterable of DataFrame
            What it was made of; those of another notebook name it in ``analysis``.
        """
        if self.fixed is None:
            return measures
        named = pd.concat([table.assign(analysis=table.get("analysis", SUMMARY)) for table in scores])
        of = named.groupby("measure")["analysis"].first()
        return measures.assign(mark=[self.mark([name], analysis=of[name]) for name in measures["measure"]])

    @property
    def words(self) -> str:
        """What a report says: what was fixed when, what else was, what is otherwise, who left, what changed since."""
        if self.fixed is None:
            return "Nothing was fixed beforehand (`python -m nbtools preregister`): all of this explores."
        lines = [f"Fixed on {self.fixed}, {self.fixed.seen}: {short(self.fixed.file)}", self.fixed.plan["note"]]
        for other in self.others:
            changes = "; ".join(differing(self.fixed.plan, other.plan))
            lines.append(f"Another was fixed on {other}, {other.seen}. There: {changes}")
        lines += [f"Not as fixed: {line}" for found in self.departures.values() for line in found]
        left = [f"{row.condition} of seed {row.seed} ({row.accuracy:.2f})" for row in self.excluded.itertuples()]
        excluded = f"Excluded for low clean accuracy, with all networks of their seeds: {', '.join(left)}"
        lines.append(excluded if left else "")
        changed = _changed(self.fixed.around)
        lines.append(f"Changed since then: {', '.join(changed)}" if changed else "")
        return "\n".join(filter(None, lines))


def beforehand(run: Run, networks: pd.DataFrame) -> Beforehand:
    """Set a run of notebook 10, and all runs it came from, beside what was fixed of its study; note that as input.

    Parameters
    ----------
    run : Run
        Its own, with the runs it builds on found already.
    networks : DataFrame
        One row per network × ε: ``condition``, ``subject``, ``seed``, ``epsilon``, ``accuracy``.

    Raises
    ------
    InputError
        If a preregistration was changed (`preregistration.read`).

    Notes
    -----
    Where exclusions leave no seed, all are shown, as looked at later.
    """
    folder = registrations(run.parameters["study"])
    make_folder(folder)  # so that a run notes that nothing was fixed: what is fixed later makes it old
    found = read_all(run.parameters["study"])
    run.reads(folder, *(one.file for one in found))
    fixed = in_force(found)
    if fixed is None:
        return Beforehand(None, (), {}, too_low(networks, 0.0), None)
    excluded = too_low(networks, fixed.plan["exclusion"]["least clean accuracy"])
    here = _here(run)
    departures = _departures(fixed.plan, here, ancestry(run.inputs))
    if set(excluded["seed"]) == set(networks["seed"]):  # a first look at one seed, say: no reason to stop the study
        departures.setdefault(SUMMARY, []).append("every seed has a network to exclude: all are shown")
        excluded = excluded[:0]
    others = tuple(one for one in found if one is not fixed)
    return Beforehand(fixed, others, departures, excluded, _side_by_side(fixed.plan, here, excluded))


def _here(run: Run) -> dict[str, list[Any]]:
    """Return the summary's parameters as `preregistration.plan_of` has them, and its regions in their order."""
    parameters = dict(run.parameters)
    order = open_study(parameters.pop("study")).hierarchy
    words = {name: sorted(set(words_of(parameters[name]))) for name in SEVERAL & parameters.keys()}
    return {**{name: [value] for name, value in parameters.items()}, **words, "regions": in_order(words["rois"], order)}


def _planned(plan: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return what was fixed of the summary, in the form of `_here`."""
    return {"regions": plan["regions"], **plan["settings"][SUMMARY]}


def _departures(
    plan: Mapping[str, Any], here: Mapping[str, list[Any]], came_from: Iterable[Mapping[str, Any]]
) -> dict[str, list[str]]:
    """Say of each notebook what its runs have otherwise; of the summary, what cannot be marked where it stands."""
    summary = _planned(plan)
    found = {SUMMARY: [_told(name, summary[name], here.get(name, [])) for name in summary if name not in _ONE_BY_ONE]}
    for record in came_from:
        lines = found.setdefault(record["notebook"], [])
        for name, planned in plan["settings"].get(record["notebook"], {}).items():
            value = record["parameters"].get(name)
            if name not in _CHOSEN_BY_SUMMARY and value not in planned:
                lines.append(_told(f"{record['notebook']} {name}", planned, [value]))
    return {notebook: list(dict.fromkeys(filter(None, lines))) for notebook, lines in found.items() if any(lines)}


def _told(name: str, planned: list[Any], here: list[Any]) -> str:
    return "" if here == planned else f"{name}: planned {_joined(planned)}, here {_joined(here)}"


def _joined(values: Iterable[Any]) -> str:
    return " ".join(map(str, values)) or "none"


def _side_by_side(plan: Mapping[str, Any], here: Mapping[str, list[Any]], excluded: pd.DataFrame) -> pd.DataFrame:
    rule, summary = plan["exclusion"], _planned(plan)
    least = rule["least clean accuracy"]
    rows = [
        ("primary endpoint", f"slope over the regions of {plan['endpoint']}", "–"),
        *[("claim", claim, "–") for claim in plan["claims"]],
        *[(f"test: {name}", str(words), "–") for name, words in plan["tests"].items()],
        ("exclusion", f"{rule['rule']}: {least:g}" if least else "none", f"{len(excluded)} excluded"),
        ("α rule", plan["alpha rule"], "–"),
        *[(name, _joined(planned), _joined(here.get(name, []))) for name, planned in summary.items()],
    ]
    return pd.DataFrame(rows, columns=["what", "fixed beforehand", "here"])


def _changed(around: Mapping[str, Any]) -> list[str]:
    """Name the files of code and the packages that are not as they were."""
    code = [name for name, then in around["code"].items() if not unchanged(name, then)]
    more = [f"{len(code) - _SHOWN} more files"] if len(code) > _SHOWN else []
    return [*code[:_SHOWN], *more, *differing(around["packages"], surroundings()["packages"])]
