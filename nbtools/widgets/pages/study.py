"""What the study page knows: all finished runs, how the networks trained, robust accuracy for everything there is."""

from __future__ import annotations

import warnings
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nbtools.data.study import Study
from nbtools.errors import InputError, Note
from nbtools.metrics.decisions.robustness import epsilon_label
from nbtools.plots.robustness.networks import METRIC_LABELS
from nbtools.plots.style import axis_places
from nbtools.plots.tables import ordered
from nbtools.processes import Bar
from nbtools.widgets import study_state
from nbtools.widgets.pages.packed import looks, packed, rows
from nbtools.widgets.pages.sprites import Files
from nbtools.widgets.study_state import HierarchyChoice

CURVES = ("accuracy", "neural_r", "loss")


def study_files(source: Study, runs: pd.DataFrame) -> Files:
    """Pack a study's runs, training curves and robust accuracy.

    Parameters
    ----------
    source : Study
        The study.
    runs : DataFrame
        From `study_state.all_runs`.
    """
    options, order = study_state.hierarchy_options(runs), source.hierarchy
    seeds = list(dict.fromkeys([tuple(options["seeds"]), *((seed,) for seed in options["seeds"])]))
    choices = list(product(options["alpha"], seeds, options["attack"]))
    with warnings.catch_warnings(), Bar(choices, desc="study page", unit="choice") as bar:
        warnings.simplefilter("ignore", Note)  # the same for every choice: networks attacked on other images
        answers = {
            f"{alpha:g}|{' '.join(map(str, chosen))}|{attack}": _answer(source, runs, alpha, chosen, attack, options)
            for alpha, chosen, attack in bar
        }
    drawn = {name for answer in answers.values() for name in answer.get("accuracy", {}).get("condition", ())}
    trained = _curves(source, runs)
    index = {
        "alphas": [f"{alpha:g}" for alpha in options["alpha"]],
        "alpha": f"{study_state.usual_alpha(runs):g}",
        "seeds": [" ".join(map(str, chosen)) for chosen in seeds],
        "attacks": options["attack"],
        "levels": [round(epsilon * 255, 4) for epsilon in options["epsilon"]],
        "answers": answers,
        "places": axis_places(ordered(pd.Series(sorted(drawn)), order), order),
        "regions": order,
        "looks": looks([*drawn, *(curve["condition"] for curve in trained)], order),
        "runs": _table(runs),
        "words": [sorted(study_state.words_of(row)) for _, row in runs.drop(columns=["folder", "study"]).iterrows()],
        "notebooks": list(dict.fromkeys(runs["notebook"])),
        "curves": trained,
        "metrics": {name: METRIC_LABELS[name] for name in CURVES},
    }
    return {"data/study.js": packed("study", index, {})}


def _answer(
    source: Study, runs: pd.DataFrame, alpha: float, seeds: tuple[int, ...], attack: str, options: dict[str, list]
) -> dict[str, Any]:
    """Return robust accuracy of a choice, and what there is to say of it at each ε; or what is missing."""
    said: dict[str, str] = {}
    words: dict[str, str] = {}
    accuracy = pd.DataFrame()
    try:
        for epsilon in options["epsilon"]:
            chosen = HierarchyChoice(alpha, seeds, attack, epsilon)
            accuracy, tested = study_state.hierarchy_of(runs, chosen, source.hierarchy)
            words[f"{epsilon * 255:.4g}"] = study_state.describe_hierarchy(accuracy, chosen)
            said |= {f"{level * 255:.4g}": f"Slope, {epsilon_label(level)}: {text}." for level, text in tested.items()}
    except InputError as error:
        return {"missing": str(error).splitlines()[0]}
    shown = accuracy[["condition", "accuracy", "ci_low", "ci_high"]].assign(level=(accuracy["epsilon"] * 255).round(4))
    return {"accuracy": rows(shown), "said": said, "words": words}


def _curves(source: Study, runs: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the training curves on validation images, one for each run that was a training."""
    try:
        history = study_state.histories(runs, source.hierarchy)
    except InputError:  # networks from outside alone
        return []
    place = {folder: row for row, folder in enumerate(runs["folder"])}
    history = history[history["split"] == "validation"].sort_values("epoch", kind="stable")
    found = []
    for folder, part in history.groupby("folder", sort=False):
        metrics = {name: part[name].round(5).tolist() for name in CURVES if name in part and part[name].notna().any()}
        first = part.iloc[0]
        found.append({"row": place[folder], "name": first["run"], "condition": first["condition"], **metrics})
    return found


def _table(runs: pd.DataFrame) -> dict[str, Any]:
    """Return what the table shows of each run: columns, and rows of text or numbers."""
    shown = study_state.table_of(runs, study_state.metrics_of(runs)).assign(folder=_short(runs))
    shown = shown.astype(object).where(shown.notna(), np.nan)
    return {"columns": list(shown), "rows": shown.to_numpy().tolist()}


def _short(runs: pd.DataFrame) -> list[str]:
    return [Path(folder).name for folder in runs["folder"]]
