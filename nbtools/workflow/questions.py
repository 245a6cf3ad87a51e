"""What the paper leaves open, answered by a study's own runs: three open questions of it, and three further checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from nbtools.errors import InputError
from nbtools.metrics.decisions.certificates import certified_accuracy
from nbtools.metrics.samples.contrasts import SIGNIFICANT, compare, contrast, layout
from nbtools.metrics.samples.verdicts import p_text, signed
from nbtools.runs.folders import Run, collect
from nbtools.runs.records import finished_record
from nbtools.workflow.jobs import SUMMARY

SUPPORTED, NOT_SUPPORTED, UNTOLD = "supported", "not supported", "cannot be told here"
Answer = tuple[str, str]  # one of these, and its number in words


class Question(NamedTuple):
    """A question of the paper's summary."""

    asks: str
    claim: str  # what "supported" is said of
    notebook: str  # whose tables answer
    answer: Callable[[Mapping[str, pd.DataFrame], str], Answer]  # from these tables and the last region
    tables: tuple[str, ...]


def _along_dorsal(tables: Mapping[str, pd.DataFrame], last: str) -> Answer:
    rows = tables["streams"]
    rows = rows[rows["measure"].str.startswith("accuracy at ") & (rows["along"] == "dorsal")] if len(rows) else rows
    if not len(rows):
        return UNTOLD, "no slope of three dorsal regions (dorsal, in study.toml)"
    row = rows.iloc[-1]
    finding, number = _told(row, "slope", f"sd a region along the dorsal regions, {row['measure']}")
    if np.isnan(row["p_order"]):  # regions that differ in any order would be said to rise, or not to
        return UNTOLD, f"{number}; the order of so few regions is untested"
    return finding, number


def _by_lesions(tables: Mapping[str, pd.DataFrame], last: str) -> Answer:
    """Go by attacks on the lesioned network itself: images made for the intact one were not made for this."""
    rows = tables["compared"]
    for column, value in {"condition": last, "over": "matched directions", "attacked": "lesioned"}.items():
        rows = rows[rows[column] == value] if column in rows else rows.head(0)
    if not len(rows):
        return UNTOLD, f"no lesions of {last} beside a control"
    row = rows.sort_values(["epsilon", "control"], key=lambda x: x != f"{last}-shuffle" if x.name == "control" else x)
    row = row.iloc[0]
    return _told(row, "difference", f"of accuracy beyond directions of equal variance, minus {row['control']}")


def _beside_adversarial_training(tables: Mapping[str, pd.DataFrame], last: str) -> Answer:
    rows = tables["gains"]
    rows = rows[(rows["guide"] == last) & (rows["way"] == "at") & (rows["clean"] == "equal")]
    rows = rows[rows["training"] != "standard"]
    rows = rows[rows["training"] == rows["training"].iloc[0]] if len(rows) else rows
    named = f"of accuracy added to {rows['training'].iloc[0]}, at equal clean accuracy" if len(rows) else ""
    return _above_zero(rows.drop(columns="clean"), "gain", named)


def _on_new_categories(tables: Mapping[str, pd.DataFrame], last: str) -> Answer:
    rows = tables.get("beyond", pd.DataFrame(columns=["condition"]))
    rows = rows[(rows["condition"] == last) & (rows["images"] != "clean")] if "images" in rows else rows.head(0)
    if not len(rows):
        return UNTOLD, "no other categories were attacked"
    row = rows.iloc[0]  # the least ε: where next to no image stands, logits are coarse
    said = f"of accuracy on other categories at {row['images']}, beyond what networks without a guide have"
    return _told(row, "effective", said)


def _at_equal_clean(tables: Mapping[str, pd.DataFrame], last: str) -> Answer:
    area = tables["area"]
    others = [name for name in area["condition"].unique() if name != last]
    if last not in set(area["condition"]) or not others or area["accuracy"].isna().any():
        return UNTOLD, "the curves over α share no clean accuracy"
    row = compare(area, "accuracy", [last], others[:1]).iloc[0]
    return _told(row, "difference", f"of accuracy at equal clean accuracy over α, {last} minus {others[0]}")


def _by_certificates(tables: Mapping[str, pd.DataFrame], last: str) -> Answer:
    certificates = tables["certificates"]
    pair = certificates[certificates["condition"].isin(["none", last])]
    if pair["condition"].nunique() < 2:
        return UNTOLD, f"none and {last} were not both certified"
    pair = pair[pair["sigma"] == pair["sigma"].max()]
    radii = tables["certified"]["epsilon"]
    if not (radii > 0).any():
        return UNTOLD, "no radius above 0 was asked"
    radius = float(radii[radii > 0].min())  # the one that most networks can reach
    row = compare(certified_accuracy(pair, [radius]), "accuracy", [last], ["none"]).iloc[0]
    return _told(row, "difference", f"of images certified at L2 {radius:g}, {last} minus none")


QUESTIONS = (
    Question(
        "Do regions beyond the ventral stream guide as well?",
        "robust accuracy rises along the dorsal regions, too",
        SUMMARY,
        _along_dorsal,
        ("streams",),
    ),
    Question(
        "Which mechanism is it?",
        "decisions under attack go by the directions that the neural head reads",
        "21_mechanism",
        _by_lesions,
        ("compared",),
    ),
    Question(
        "Does it add to adversarial training?",
        "a guide adds to it at equal clean accuracy",
        "19_training_and_certificates",
        _beside_adversarial_training,
        ("gains",),
    ),
    Question(
        "Does it carry to other images?",
        "guided networks withstand more on categories that were never trained, too",
        "22_other_images",
        _on_new_categories,
        ("beyond",),
    ),
    Question(
        "Which balance does α strike?",
        "the last region withstands more than the first at equal clean accuracy",
        "12_alpha",
        _at_equal_clean,
        ("area",),
    ),
    Question(
        "Where does it stand beside certified defences?",
        "more images can be certified with a guide",
        "19_training_and_certificates",
        _by_certificates,
        ("certificates", "certified"),
    ),
)


def asking(run: Run, notebooks: Iterable[str], **same: Any) -> dict[str, Run]:
    """Find the runs that answer: of each notebook the one that was finished last, with these parameters.

    Parameters
    ----------
    run : Run
        Of the summary; it notes them as its input.
    notebooks : iterable of str
        Without ``.ipynb``.
    same
        Parameters that they have in common with the summary.

    Raises
    ------
    InputError
        If a notebook has no such run.
    """
    found = {}
    for notebook in notebooks:
        runs = collect(notebook, run.parameters["study"])
        for name, value in same.items():
            runs = runs[runs[name] == value]
        if runs.empty:
            asked = {"study": run.parameters["study"], **same}
            what = f"no finished run of {notebook} with these parameters"
            raise InputError(
                what, expected="one", got=asked, fix="`make study` makes all, or leave it out of `questions`"
            )
        folder = Path(runs.loc[runs["finished"].idxmax(), "folder"])
        found[notebook] = run.use(Run(notebook, finished_record(folder)["parameters"], folder, finished=True))
    return found


def at_equal_quality(runs: Mapping[str, Run], guided: str, epsilon: float, attack: str) -> pd.DataFrame | None:
    """Return robust accuracy of regions at equal r of their predictors, for `metrics.rivals`.

    Parameters
    ----------
    runs : mapping of notebook → Run
        As `asking` found them.
    guided : str
        The condition whose gain is to be explained.
    epsilon : float
        Budget, pixel units.
    attack : str
        Of the decisions.

    Returns
    -------
    DataFrame or None
        The table ``equal`` of notebook 12; None where that was not run, or not with worse predictors of this region, at
        this ε and under this attack.
    """
    if (run := runs.get("12_alpha")) is None:
        return None
    asked = run.parameters
    at = np.isclose(float(asked["epsilon"]) / 255, epsilon) and asked["attack"] == attack
    return run.table("equal") if at and asked["doses"] and guided in asked["regions"].split() else None


def answer_questions(runs: Mapping[str, Run], own: Mapping[str, pd.DataFrame], last: str) -> pd.DataFrame:
    """Answer the paper's open questions and further checks from a study's runs.

    Parameters
    ----------
    runs : mapping of notebook → Run
        Finished ones; a question whose notebook is missing cannot be told.
    own : mapping of str → DataFrame
        Tables of the summary itself.
    last : str
        The hierarchy's last region.

    Returns
    -------
    DataFrame
        One row per question: ``question``, ``claim``, ``finding`` (`SUPPORTED`, `NOT_SUPPORTED` or `UNTOLD`),
        ``number`` (words, with interval and p), ``from`` (the notebook), ``run`` (its run folder's name, "–" where
        there is none, or the summary itself): the notebook may have runs with other parameters.
    """
    rows = []
    for question in QUESTIONS:
        finding, number = UNTOLD, f"{question.notebook} was not run"
        if question.notebook == SUMMARY:
            finding, number = question.answer(own, last)
        elif run := runs.get(question.notebook):
            there = {name: run.table(name) for name in question.tables if (run.folder / f"{name}.parquet").exists()}
            finding, number = question.answer(there, last)
        asked = runs[question.notebook].folder.name if question.notebook in runs else "–"
        told = {"claim": question.claim, "finding": finding, "number": number, "from": question.notebook, "run": asked}
        rows.append({"question": question.asks, **told})
    return pd.DataFrame(rows)


def _above_zero(rows: pd.DataFrame, column: str, words: str) -> Answer:
    """Test a score of one condition's networks against 0."""
    if not len(rows) or rows[column].isna().any():
        return UNTOLD, "no network of every seed to read it off from"
    found = contrast(layout(rows.assign(condition="one"), column, ["one"]), [1.0])
    return _told(asdict(found), "value", words)


def _told(row: Mapping[str, Any] | pd.Series, column: str, words: str) -> Answer:
    """Say what was found by a difference, its interval and its p (Holm's, where there is one)."""
    value, low, high = (float(row[name]) for name in (column, "ci_low", "ci_high"))
    p = float(row.get("p_holm", row["p"]))
    if np.isnan([value, p]).any():
        return UNTOLD, f"{'' if np.isnan(value) else signed(value) + ' '}{words}: no test of so few networks"
    number = f"{signed(value)} {words} (95 % CI {signed(low)} to {signed(high)}, {p_text(p)})"
    if p > SIGNIFICANT:
        return (NOT_SUPPORTED if bool(row.get("equivalent", False)) else UNTOLD), number
    return (SUPPORTED if value > 0 else NOT_SUPPORTED), number
