"""``python -m nbtools calibrate``: the whole chain, in simulated worlds whose answers are known, over sets of seeds."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import pandas as pd
import yaml

import nbtools
from nbtools.checks import check_enough
from nbtools.conditions import HIERARCHY
from nbtools.data.names import usual_name
from nbtools.data.study import home, open_study
from nbtools.data.synthetic.verdicts import expected_verdicts
from nbtools.errors import InputError
from nbtools.files import read_table, write_text, written
from nbtools.metrics.decisions.robustness import robust_accuracy, under_attack
from nbtools.metrics.samples.tables import stacked
from nbtools.metrics.studies.operating import Size, rates
from nbtools.places import PROJECT
from nbtools.runs import folders
from nbtools.runs.lineage import ATTACKED, COMPARED
from nbtools.runs.provenance import surroundings
from nbtools.workflow.calibration import read_calibration
from nbtools.workflow.config import Config, read_config
from nbtools.workflow.costs import estimates, parameters_of, past_runs
from nbtools.workflow.follow import about
from nbtools.workflow.graph import make_graph
from nbtools.workflow.jobs import SUMMARY, Graph
from nbtools.workflow.known import save_known
from nbtools.workflow.plan import finished_jobs, wall_seconds

CONTROLS = ("none", "{last}-shuffle", "labels-guide")  # of the claims that worlds have answers to
# What a claim asks, by how it begins: a question of `data.expected_verdicts`.
_ASKS = {
    "accuracy at clean": "",
    "accuracy at": "robustness",
    "accuracy on others": "transfer",
    "gradient": "smoothness",
    "shape bias": "shape bias",
    "manifold capacity": "manifolds",
}
_EXCHANGEABLE = ("null",)  # worlds in which no region differs from another


@dataclass(frozen=True)
class Asked:
    """What `calibrate` is asked for.

    Attributes
    ----------
    truths : tuple of str
        Which worlds.
    seeds, subjects : tuple of int
        Of the networks, in each world.
    size : int
        Seeds of a set: as many as the studies have that it speaks of.
    profile : {"demo", "tiny"}
        How much of everything there is in a world.
    rois : tuple of str
        Regions, early to late.
    cores : int
        That runs may use.
    """

    truths: tuple[str, ...]
    seeds: tuple[int, ...]
    subjects: tuple[int, ...] = (1,)
    size: int = 3
    profile: str = "demo"
    rois: tuple[str, ...] = HIERARCHY
    cores: int = 1

    def config(self, truth: str, subject: int) -> Config:
        """Return the study's file of one world, as `make_graph` reads it; its runs are those of that study."""
        return {
            "settings": read_config(PROJECT / "config/tiny.yaml")["settings"] if self.profile == "tiny" else {},
            "study": usual_name(self.profile, truth, subject),
            "profile": self.profile,
            "truth": truth,
            "subject": subject,
            "rois": " ".join(self.rois),
            "controls": " ".join(CONTROLS).format(last=self.rois[-1]),
            "seeds": " ".join(map(str, self.seeds)),
        }


def calibrate(asked: Asked) -> pd.DataFrame:
    """Run what is not finished of the chain in every world, and count what each claim's test says of its networks.

    Parameters
    ----------
    asked : Asked

    Returns
    -------
    DataFrame
        With `known.COLUMNS`, and ``sets`` as `metrics.rates` has it: a row per world, number of subjects and claim.

    Raises
    ------
    InputError
        If there are fewer seeds than a set has, a world or region does not exist, or a run fails.
    """
    check_enough("there are too few seeds for a set", len(asked.seeds), asked.size, fix="name more: --seeds")
    configs = {world: asked.config(*world) for world in product(asked.truths, asked.subjects)}
    graphs = {world: make_graph(config) for world, config in configs.items()}
    for world, graph in graphs.items():
        left = {other.study: minutes_left(other, asked.cores) for other in graphs.values()}
        if left[graph.study]:
            print(f"{len(left)} worlds: {about(sum(left.values()))}; now {graph.study}", flush=True)
            _run(graph, configs[world], asked.cores)
    parts = []
    for truth, n_subjects in product(asked.truths, range(1, len(asked.subjects) + 1)):
        own = {subject: graphs[truth, subject] for subject in asked.subjects}
        print(f"counting: {truth}, sets of {asked.size} seeds, {n_subjects} of {len(own)} subjects", flush=True)
        parts.append(_counted(asked, truth, own, Size(asked.size, n_subjects)))
    return pd.concat(parts, ignore_index=True)


def save_counts(rows: pd.DataFrame, asked: Asked) -> Path:
    """Write what `calibrate` returned below ``runs/known``, as a table, and as JSON beside it; return the table."""
    numbers = {"regions": len(asked.rois), "of": asked.size, "seeds": len(asked.seeds), "subjects": len(asked.subjects)}
    name = "_".join([asked.profile, *asked.truths, *(f"{what}{n}" for what, n in numbers.items())])
    save_known(rows, folder() / f"{name}.json")
    with written(folder() / f"{name}.parquet") as beside:
        rows.to_parquet(beside, index=False)
    return folder() / f"{name}.parquet"


# --- runs ---------------------------------------------------------------------------------------------------


def minutes_left(graph: Graph, cores: int) -> float:
    """Return in how many minutes a world's networks will be attacked; 0 where they are."""
    table = estimates(graph, read_calibration(graph.study), past_runs(graph.jobs))
    table["finished"] = table.index.isin(list(finished_jobs(graph)))
    return wall_seconds(table, graph.of("attacks"), cores) / 60


def _run(graph: Graph, config: Config, cores: int) -> None:
    """Bring a world's networks to the end of their attacks; what is finished is kept."""
    file = write_text(folder() / f"{graph.study}.yaml", yaml.safe_dump(config, sort_keys=False))
    command = [sys.executable, "-m", "nbtools", "study", str(file), "--targets", "attacks", "--cores", str(cores)]
    if _status_of(command):
        raise InputError(
            f"the world {graph.study} is not finished",
            file=file,
            expected=f"{len(graph.of('attacks'))} finished runs",
            got="a run that failed, or was stopped",
            fix="mend what is said above, then the same command again: what is finished stays",
        )


def _status_of(command: list[str]) -> int:
    """Run a command; Ctrl-C reaches it too, and it is waited for, so that what it holds is free for the next."""
    process = subprocess.Popen(command, cwd=home())
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise


def folder() -> Path:
    """Return where tables of known worlds are kept."""
    return home() / "runs" / "known"


# --- what is counted ----------------------------------------------------------------------------------------


def _counted(asked: Asked, truth: str, graphs: Mapping[int, Graph], size: Size) -> pd.DataFrame:
    """Count a world's verdicts, and note what they come from."""
    networks = pd.concat([_accuracies(graph, subject) for subject, graph in graphs.items()])
    others, same = _other_scores(graphs, asked), truth in _EXCHANGEABLE
    table = rates(networks, asked.rois, size, others=pd.concat(others) if others else None, exchangeable=same)
    answers = expected_verdicts(open_study(next(iter(graphs.values())).study)).set_index("analysis")["expected"]
    last = asked.rois[-1]
    table = table[~table["claim"].str.contains(" − ") | table["claim"].str.startswith(f"{last} − ")]
    around = surroundings()
    return table.assign(
        world=truth,
        profile=asked.profile,
        expected=[answers.get(question(claim), "unknown") for claim in table["claim"]],
        n_regions=len(asked.rois),
        **asdict(size),
        of_seeds=len(asked.seeds),
        of_subjects=len(asked.subjects),
        made=time.strftime("%Y-%m-%d"),
        nbtools=nbtools.__version__,
        torch=around["packages"]["torch"],
        machine=" ".join([around["device"], around["environment"].get("ATEN_CPU_CAPABILITY", "")]).strip(),
    )


def question(claim: str) -> str:
    """Return which question of `data.expected_verdicts` a claim of `metrics.findings` asks; "" for none of them."""
    if " − " in claim:  # the last region's, of one of `CONTROLS`
        control = claim.partition(" − ")[2].partition(" at ")[0]
        return f"region against {'shuffle' if control.endswith('-shuffle') else control}"
    return next((asked for words, asked in _ASKS.items() if claim.startswith(words)), "")


def _accuracies(graph: Graph, subject: int) -> pd.DataFrame:
    """Return the accuracies of a world's networks as its summary computes them: of its attack, at its ε."""
    told = parameters_of(next(job for job in graph.jobs if job.notebook == SUMMARY))
    attacks = [job.record.parent for job in graph.of("attacks") if job.notebook == ATTACKED]
    said = {run.name: under_attack(read_table(run / "decisions.parquet"), told["attack"]) for run in attacks}
    decisions = stacked({(subject, run): decided for run, decided in said.items()}, "subject", "run")
    budgets = [0.0, *(float(level) / 255 for level in told["epsilons"].split())]
    return robust_accuracy(decisions[decisions["epsilon"].isin(budgets)], by=("condition", "subject", "seed"))


def _other_scores(graphs: Mapping[int, Graph], asked: Asked) -> list[pd.DataFrame]:
    """Return the scores of further measures, where their notebooks were run with all of these networks."""
    found = []
    for notebook in COMPARED:
        runs = {subject: _whole(folders.collect(notebook, graph.study), asked) for subject, graph in graphs.items()}
        if all(len(own) for own in runs.values()):
            newest = {subject: own.sort_values("finished")["folder"].iloc[-1] for subject, own in runs.items()}
            found += [read_table(Path(run) / "scores.parquet").assign(subject=one) for one, run in newest.items()]
    return [scores[scores["seed"].isin(asked.seeds)] for scores in found]


def _whole(runs: pd.DataFrame, asked: Asked) -> pd.DataFrame:
    """Return the runs that compared all regions and seeds, of the networks' α."""
    runs = runs[runs["alpha"] == folders.defaults(ATTACKED)["alpha"]]
    wanted = {"rois": {*asked.rois}, "seeds": {*map(str, asked.seeds)}}
    has = [all(names <= {*row[name].split()} for name, names in wanted.items()) for _, row in runs.iterrows()]
    return runs[pd.Series(has, index=runs.index, dtype=bool)]
