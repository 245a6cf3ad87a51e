"""What a planned study can find, in two lines of `plan`: by its finished networks' spread, or the simulated study's."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nbtools.conditions import baselines
from nbtools.files import read_table
from nbtools.metrics.decisions.robustness import WORST_CASE, at_epsilon, under_attack
from nbtools.metrics.samples.contrasts import MARGINS, SIGNIFICANT
from nbtools.metrics.samples.power import USUAL, Spread, sample_needed, smallest_effect, spread
from nbtools.metrics.samples.verdicts import in_order
from nbtools.runs.lineage import ATTACKED
from nbtools.workflow.costs import parameters_of
from nbtools.workflow.jobs import Graph

# Of accuracy at 4/255 in the simulated study (docs/log.md, Three seeds, by networks).
SIMULATED = Spread(slope=0.0038, difference=0.042, n=3)


def power_lines(graph: Graph, done: Collection[Path]) -> list[str]:
    """Say which effects on robust accuracy the planned networks find, and what that rests on.

    Parameters
    ----------
    graph : Graph
        The study; its summary says which regions, controls, seeds and subjects are compared, and at which ε (the last).
    done : collection of Path
        Records of finished runs.

    Returns
    -------
    list of str
        Empty where there is no summary, or it compares no region with a control.
    """
    summary = [parameters_of(job) for job in graph.jobs if job.name == "summary"]
    if not summary:
        return []
    told = summary[0]
    order, rois = graph.hierarchy, told["rois"].split()
    regions, controls = in_order(rois, order), [name for name in rois if name in baselines(order)]
    if not (regions and controls):
        return []
    subjects = [told["study"], *told["subjects"].split()]
    over, sample = ("subject", subjects) if len(subjects) > 1 else ("seed", told["seeds"].split())
    networks = _finished(graph, done, told, subjects)
    found = spread(networks, "accuracy", regions, controls, over) if len(networks) else None
    known = found if found and found.difference and found.slope else None  # networks that all agree tell no spread
    effects = _effects(known or SIMULATED, len(sample), over, regions, len(regions) * len(controls))
    first, *others = [*effects, _basis(known, over), _counting(graph)]
    return [f"power: {first}", *(f"       {line}" for line in others), ""]


def _finished(graph: Graph, done: Collection[Path], told: dict[str, Any], subjects: list[str]) -> pd.DataFrame:
    """Return robust accuracy of the finished networks that the summary will compare."""
    rows, keys = [], ["condition", "seed", "subject"]
    for job in graph.jobs:
        own, file = job.parameters, job.record.with_name("decisions.parquet")
        attacked = job.notebook == ATTACKED and job.record in done and file.is_file()
        if attacked and job.study in subjects and own["roi"] in told["rois"].split() and own["alpha"] == told["alpha"]:
            rows.append([own["roi"], own["seed"], job.study, _score(file, told)])
    return pd.DataFrame(rows, columns=[*keys, "accuracy"]).dropna().drop_duplicates(keys)  # others are other attacks


def _score(file: Path, told: dict[str, Any]) -> float:
    """Return a network's accuracy at the summary's attack and last ε; NaN where it was not attacked so."""
    table = read_table(file)
    if told["attack"] not in {WORST_CASE, *table["attack"]}:
        return float("nan")
    at = at_epsilon(under_attack(table, told["attack"]), float(told["epsilons"].split()[-1]) / 255)
    return float((at["prediction"] == at["label"]).mean())


def _effects(of: Spread, n: int, over: str, regions: list[str], n_pairs: int) -> list[str]:
    strict, margin, corrected = SIGNIFICANT / n_pairs, MARGINS["accuracy"], f"by Holm's correction for {n_pairs}"
    needed, most = (sample_needed(margin, of.difference, level) for level in (SIGNIFICANT, strict))
    takes = f"a region − control difference of {margin:g} takes {needed} {over}s ({most} {corrected})"
    if n < 2:
        return [f"one {over} has no test; {takes}"]
    least, hardest = (smallest_effect(of.difference, n, level) for level in (SIGNIFICANT, strict))
    rise = ""
    if len(regions) > 2:
        ends = smallest_effect(of.slope, n) * (len(regions) - 1)
        rise = f"a rise of {ends:.3f} from {regions[0]} to {regions[-1]}, "
    finds = (
        f"{n} {over}s find, in {USUAL:.0%} of studies, {rise}a difference of {least:.3f} ({hardest:.3f} {corrected})"
    )
    return [finds, takes]


def _basis(known: Spread | None, over: str) -> str:
    of = known or SIMULATED
    source = f"{of.n} finished {over}s" if known else f"the simulated study's {of.n} seeds (none has run here)"
    unlike = ": subjects may differ by more" if over == "subject" and not known else ""
    slope = "" if np.isnan(of.slope) else f"{of.slope:.3f} of the slope, "
    return f"where robust accuracy spreads as over {source}{unlike}; sd {slope}{of.difference:.3f} of a difference"


def _counting(graph: Graph) -> str:
    """What a finite number of test images adds to every network's accuracy."""
    n = min(int(parameters_of(job)["n_images"]) for job in graph.jobs if job.notebook == ATTACKED)
    return f"{n} test images: counting them makes up to {np.sqrt(0.25 / n):.3f} of a network's spread (binomial sd)"
