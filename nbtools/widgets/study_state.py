"""The study explorer without its widgets: all finished runs, a filter, their metrics, curves and the hierarchy."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from nbtools.checks import check_enough
from nbtools.conditions import HIERARCHY, conditions_of
from nbtools.errors import InputError, Note
from nbtools.files import read_table
from nbtools.metrics.decisions.robustness import WORST_CASE, at_epsilon, epsilon_label, robust_accuracy, under_attack
from nbtools.metrics.samples.contrasts import over_networks
from nbtools.metrics.samples.verdicts import verdicts
from nbtools.plots.robustness.networks import METRIC_LABELS
from nbtools.runs import folders, several
from nbtools.runs.lineage import ATTACKED, NETWORKS, PREDICTORS

ALL = "all"
_SHOWN = ("notebook", "roi", "alpha", "seed")
_LAST = ("seconds", "finished")


@dataclass(frozen=True)
class HierarchyChoice:
    """Which attacked networks the hierarchy figure shows.

    Attributes
    ----------
    alpha : float
        α of the networks.
    seeds : tuple of int
        Their seeds.
    attack : str
        The attack, or the worst case of all.
    epsilon : float
        The budget, pixel units; clean images are shown beside it.
    """

    alpha: float
    seeds: tuple[int, ...]
    attack: str
    epsilon: float


def all_runs(study: str) -> pd.DataFrame:
    """Collect the finished runs of all notebooks: one row each, with what it reached.

    Parameters
    ----------
    study : str
        A study by name, or the path of its ``study.toml``.

    Returns
    -------
    DataFrame
        ``notebook``, all parameters, ``seconds``, ``finished``, ``folder``, and, where a run has them, ``pattern r``,
        ``validation accuracy``, ``neural r`` (last epoch) and the accuracy at each ε of each attack.

    Raises
    ------
    InputError
        If the study has no finished run.
    """
    table = finished_runs(study)
    reached = [_reached(row["notebook"], Path(row["folder"])) for _, row in table.iterrows()]
    return pd.concat([table, pd.DataFrame(reached)], axis=1)


def finished_runs(study: str) -> pd.DataFrame:
    """Return what `all_runs` does, without what the runs reached: no table of theirs is read."""
    parts = [folders.collect(name, study).assign(notebook=name) for name in folders.notebooks()]
    parts = [part for part in parts if len(part)]
    run_one = "run a notebook (`python -m nbtools run notebooks/…`, or `python -m nbtools demo`)"
    check_enough("the study has no finished run", len(parts), 1, fix=run_one)
    return pd.concat(parts, ignore_index=True)


def metrics_of(table: pd.DataFrame) -> list[str]:
    """Return the names of the metrics that any of the runs has."""
    first = ["pattern r", "validation accuracy", "neural r"]
    return [name for name in table if name in first or " at " in str(name)]


def filtered(table: pd.DataFrame, notebook: str, words: str) -> pd.DataFrame:
    """Keep a notebook's runs (or ``"all"``) that hold every word, in a name, a parameter or as ``alpha=0.65``."""
    rows = table if notebook == ALL else table[table["notebook"] == notebook]
    wanted = set(words.casefold().split())
    return rows[np.array([wanted <= words_of(row) for _, row in rows.iterrows()], dtype=bool)]


def words_of(row: pd.Series) -> set[str]:
    """Return the words that a run can be found by: its values, and ``name=value``."""
    words: set[str] = set()
    for name, value in row.dropna().items():
        text = f"{value:g}" if isinstance(value, float) else str(value)
        words |= {text.casefold(), f"{name}={text}".casefold()}
    return words


def table_of(table: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Return what to show of the runs: what they are, the chosen metrics, how long they took."""
    columns = measured(table, [*_SHOWN, *metrics, *_LAST])
    shown = table[columns].rename(columns={"roi": "condition or region"})
    if "finished" in shown:
        shown["finished"] = [f"{at.to_pydatetime().astimezone():%Y-%m-%d %H:%M}" for at in shown["finished"]]
    return shown


def histories(table: pd.DataFrame, order: Sequence[str] = HIERARCHY) -> pd.DataFrame:
    """Read the training histories of the runs that have one, with ``condition`` and ``run`` (words) of each.

    Raises
    ------
    InputError
        If none has.
    """
    trainings = table[table["folder"].map(lambda folder: (Path(folder) / "history.parquet").exists()).astype(bool)]
    if trainings.empty:
        raise InputError(
            "none of these runs was a training",
            expected=f"a run of {PREDICTORS} or {NETWORKS}",
            got=f"{len(table)} other runs",
            fix="widen the filter",
        )
    rank = {name: place for place, name in enumerate(conditions_of(order))}
    trainings = trainings.sort_values("roi", key=lambda names: names.map(rank), kind="stable")
    names = trainings["roi"] + np.where(trainings["notebook"] == PREDICTORS, " predictor", "")
    said = several.told_apart(names, trainings.filter(["alpha", "seed"]).convert_dtypes())
    named = trainings.assign(condition=trainings["roi"], run=said)
    return several.tables(named, "history", columns=("condition", "run", "folder"))


def measured(table: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """Return those of the columns that hold a number: unguided networks have no neural r, predictors no accuracy."""
    return [name for name in columns if name in table and table[name].notna().any()]


def hierarchy_options(table: pd.DataFrame) -> dict[str, list]:
    """Return what there is to choose from: α, seeds, attacks and ε (pixel units) of the attacked networks."""
    attacked = table[table["notebook"] == ATTACKED]
    if not len(attacked):
        return {}
    decisions = pd.concat(
        [_decisions(folder)[["attack", "epsilon"]].drop_duplicates() for folder in attacked["folder"]]
    )
    return {
        "alpha": sorted(attacked["alpha"].unique()),
        "seeds": sorted(int(seed) for seed in attacked["seed"].unique()),
        "attack": list(dict.fromkeys([WORST_CASE, *decisions["attack"]])),
        "epsilon": sorted(e for e in decisions["epsilon"].unique() if e > 0),
    }


def usual_alpha(table: pd.DataFrame) -> float:
    """Return the α at which most networks were attacked."""
    return float(table.loc[table["notebook"] == ATTACKED, "alpha"].mode().iloc[0])


def hierarchy_of(
    table: pd.DataFrame, chosen: HierarchyChoice, order: Sequence[str] = HIERARCHY
) -> tuple[pd.DataFrame, dict[float, str]]:
    """Compute robust accuracy by condition, and say whether it rises along the hierarchy.

    Parameters
    ----------
    table : DataFrame
        From `all_runs`.
    chosen : HierarchyChoice
        Which networks. Where runs differ in other parameters, those with the defaults count.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.

    Returns
    -------
    accuracy : DataFrame
        From `metrics.over_networks`, of the networks that were attacked on as many images as most.
    said : dict of ε → str
        From `metrics.verdicts`: of clean images and of the chosen ε.

    Raises
    ------
    InputError
        If no network fits, or as `under_attack`.
    """
    found = several.chosen(table, ATTACKED, alpha=chosen.alpha, seed=list(chosen.seeds))
    alike = found["n_images"].isin(found["n_images"].mode().tail(1))
    if not alike.all():
        names = ", ".join(found.loc[~alike, "roi"].unique())
        warnings.warn(f"left out, as most were attacked on other images: {names}", Note, stacklevel=2)
    networks = robust_accuracy(under_attack(several.tables(found[alike], "decisions"), chosen.attack))
    accuracy = over_networks(networks, "accuracy", by=("condition", "epsilon"))
    return accuracy, verdicts(networks[networks["epsilon"].isin([0.0, chosen.epsilon])], order)


def describe_curves(curves: pd.DataFrame, metrics: Sequence[str]) -> str:
    """Say in words what the curves show: where each metric ended."""
    last = curves[curves["split"] == "validation"].sort_values("epoch").groupby("folder").last().set_index("run")
    said = []
    for metric in metrics:
        values = last[metric].dropna()
        ends = f"from {values.min():.3g} ({values.idxmin()}) to {values.max():.3g} ({values.idxmax()})"
        said.append(f"{METRIC_LABELS[metric]} ends {ends if len(values) > 1 else f'at {values.iloc[0]:.3g}'}")
    return f"On validation images, {counted(len(last), 'training')}: {'; '.join(said)}."


def describe_hierarchy(accuracy: pd.DataFrame, chosen: HierarchyChoice) -> str:
    """Say in words what the hierarchy figure shows."""
    at = at_epsilon(accuracy, chosen.epsilon).set_index("condition")["accuracy"]
    seeds, over = ", ".join(map(str, chosen.seeds)), "networks" if len(chosen.seeds) > 1 else "images, of one network"
    return (
        f"{counted(len(at), 'condition')} at α = {chosen.alpha:g}, seeds {seeds}; "
        f"bars are 95 % intervals over {over}. At ε = {epsilon_label(chosen.epsilon)} accuracy goes from "
        f"{at.min():.1%} ({at.idxmin()}) to {at.max():.1%} ({at.idxmax()})."
    )


def counted(n: int, what: str) -> str:
    """Say how many there are of something: "1 run", "2 runs"."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _reached(notebook: str, folder: Path) -> dict[str, float]:
    """What a run reached, by name of the metric."""
    if notebook == PREDICTORS:
        pattern = read_table(folder / "pattern_r.parquet")
        return {"pattern r": pattern.loc[pattern["control"] == "trained", "pattern_r"].mean()}
    if notebook == NETWORKS and (folder / "history.parquet").exists():  # one that is adopted was not trained here
        history = read_table(folder / "history.parquet")
        last = history[(history["split"] == "validation") & (history["epoch"] == history["epoch"].max())].iloc[0]
        return {"validation accuracy": last["accuracy"], "neural r": last.get("neural_r", np.nan)}
    if notebook == ATTACKED:
        decisions = _decisions(str(folder))
        right = (decisions["prediction"] == decisions["label"]).groupby([decisions["attack"], decisions["epsilon"]])
        return {f"{attack} at {epsilon_label(epsilon)}": value for (attack, epsilon), value in right.mean().items()}
    return {}


def _decisions(folder: str) -> pd.DataFrame:
    return read_table(Path(folder) / "decisions.parquet")
