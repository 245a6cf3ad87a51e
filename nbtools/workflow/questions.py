"""What the paper leaves open, answered by a study's own runs: three open questions of it, and three further checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from nbtools.checks import check_choice
from nbtools.conditions import BLUR
from nbtools.errors import InputError
from nbtools.guides import ADVERSARIAL
from nbtools.metrics.decisions.certificates import certified_accuracy
from nbtools.metrics.decisions.robustness import at_epsilon, robust_accuracy
from nbtools.metrics.samples.contrasts import MARGINS, SIGNIFICANT, compare, contrast, layout
from nbtools.metrics.samples.verdicts import judged, p_text, signed
from nbtools.metrics.studies.rivals import EXPLANATIONS, QUALITY
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
    answer: Callable[[Mapping[str, pd.DataFrame], tuple[str, str]], Answer]  # from these and the hierarchy's ends
    tables: tuple[str, ...]


def _along_dorsal(tables: Mapping[str, pd.DataFrame], ends: tuple[str, str]) -> Answer:
    rows = tables["streams"]
    rows = rows[rows["measure"].str.startswith("accuracy at ") & (rows["along"] == "dorsal")] if len(rows) else rows
    if not len(rows):
        return UNTOLD, "no slope of three dorsal regions (dorsal, in study.toml)"
    row = rows.iloc[-1]
    finding, number = _told(row, "slope", f"sd a region along the dorsal regions, {row['measure']}")
    if row.reindex(["p_order", "p_page"]).isna().all():  # regions that differ in any order would be said to rise
        return UNTOLD, f"{number}; the order of so few regions is untested"
    return finding, number


def _by_lesions(tables: Mapping[str, pd.DataFrame], ends: tuple[str, str]) -> Answer:
    """Go by attacks on the lesioned network itself: images made for the intact one were not made for this."""
    rows, control = tables["compared"], f"{ends[-1]}-shuffle"
    asked = {"condition": ends[-1], "control": control, "over": "matched directions", "attacked": "lesioned"}
    for column, value in asked.items():
        rows = rows[rows[column] == value] if column in rows else rows.head(0)
    if not len(rows):
        return UNTOLD, f"no lesions of {ends[-1]} beside {control}"
    row = rows.sort_values("epsilon").iloc[0]
    return _told(row, "difference", f"of accuracy beyond directions of equal variance, minus {control}")


def _beside_adversarial_training(tables: Mapping[str, pd.DataFrame], ends: tuple[str, str]) -> Answer:
    """Go by all adversarial training there is, each network's gains averaged: none of it is the one that counts."""
    rows = tables["gains"]
    rows = rows[(rows["guide"] == ends[-1]) & rows["way"].isin(ADVERSARIAL) & (rows["clean"] == "equal")]
    rows = rows[rows["training"] != "standard"].drop_duplicates(["training", "seed", *{"subject"} & set(rows)])
    if not len(rows):
        return UNTOLD, f"no network was trained against attacks, with {ends[-1]} and without a guide"
    if rows["gain"].isna().any():
        return UNTOLD, "no unguided network trained so has the guided one's clean accuracy"
    names = [name for name in ("subject", "seed") if name in rows]
    mean = rows.groupby(names, as_index=False)["gain"].mean()
    found = contrast(layout(mean.assign(condition="one"), "gain", ["one"]), [1.0], MARGINS["accuracy"])
    trained = ", ".join(rows["training"].unique())
    return _told(asdict(found), "value", f"of accuracy added to {trained}, at equal clean accuracy")


def _on_new_categories(tables: Mapping[str, pd.DataFrame], ends: tuple[str, str]) -> Answer:
    rows = tables["beyond"]
    rows = rows[(rows["condition"] == ends[-1]) & (rows["images"] != "clean")]
    if not len(rows):
        return UNTOLD, f"{ends[-1]} was not attacked on other categories"
    row = rows.iloc[0]  # the least ε: where next to no image stands, logits are coarse
    said = f"of accuracy on other categories at {row['images']}, beyond what networks without a guide have"
    return _told(row, "effective", said)


def _at_equal_clean(tables: Mapping[str, pd.DataFrame], ends: tuple[str, str]) -> Answer:
    area, (first, last) = tables["area"], ends
    if first == last or not set(ends) <= set(area["condition"]):
        return UNTOLD, f"{first} and {last} were not both trained at several α"
    if area["accuracy"].isna().any():
        return UNTOLD, "the curves over α share no clean accuracy"
    row = compare(area, "accuracy", [last], [first]).iloc[0]
    return _told(row, "difference", f"of accuracy at equal clean accuracy over α, {last} minus {first}")


def _by_certificates(tables: Mapping[str, pd.DataFrame], ends: tuple[str, str]) -> Answer:
    certificates, last = tables["certificates"], ends[-1]
    pair = certificates[certificates["condition"].isin(["none", last])]
    if pair["condition"].nunique() < 2:
        return UNTOLD, f"none and {last} were not both certified"
    sigma = pair["sigma"].max()
    radii = tables["certified"]["epsilon"]
    if not (radii > 0).any():
        return UNTOLD, "no radius above 0 was asked"
    radius = float(radii[radii > 0].min())  # the one that most networks can reach
    found = certified_accuracy(pair[pair["sigma"] == sigma], [radius])
    if not found["accuracy"].any():
        return UNTOLD, f"no image was certified at L2 {radius:g} under σ = {sigma:g}"
    row = compare(found, "accuracy", [last], ["none"]).iloc[0]
    return _told(row, "difference", f"of images certified at L2 {radius:g} under σ = {sigma:g}, {last} minus none")


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
BLURRED = "20_frequency"
ASKED = (*dict.fromkeys(question.notebook for question in QUESTIONS if question.notebook != SUMMARY), BLURRED)


def asking(run: Run, words: Iterable[str], **same: Any) -> dict[str, Run]:
    """Find the runs that answer.

    Parameters
    ----------
    run : Run
        Of the summary; it notes them as its input.
    words : iterable of str
        A notebook of `ASKED`, of which the run that was finished last is taken, or a notebook and the folder of its
        run, such as ``"12_alpha/all_be5bd1ed"``, as a study's plan has them.
    same
        Parameters that they have in common with the summary.

    Raises
    ------
    InputError
        If nothing is asked of a notebook, or there is no such run.
    """
    found = {}
    for word in words:
        notebook, _, folder = word.partition("/")
        check_choice("nothing is asked of this notebook", notebook, ASKED, fix="leave it out of `questions`")
        runs = collect(notebook, run.parameters["study"])
        if folder:
            runs = runs[[Path(there).name == folder for there in runs["folder"]]]
        for name, value in same.items():
            runs = runs[runs[name] == value]
        if runs.empty:
            asked = {"study": run.parameters["study"], **same}
            what = f"no finished run of {word} with these parameters"
            fix = "`python -m nbtools study --targets study` makes all, or leave it out of `questions`"
            raise InputError(what, expected="one", got=asked, fix=fix)
        place = Path(runs.loc[runs["finished"].idxmax(), "folder"])
        found[notebook] = run.use(Run(notebook, finished_record(place)["parameters"], place, finished=True))
    return found


def controls_elsewhere(runs: Mapping[str, Run], guided: str, epsilon: float, attack: str) -> dict[str, pd.DataFrame]:
    """Return scores of controls that have tables of their own, for `metrics.rivals`.

    Parameters
    ----------
    runs : mapping of notebook → Run
        As `asking` found them.
    guided : str
        The condition whose gain is to be explained.
    epsilon : float
        Budget, pixel units.
    attack : str
        Of the summary's decisions.

    Returns
    -------
    dict of explanation → DataFrame
        Of ``none`` behind a low pass at test time (notebook 20), of the first other region at equal r of the predictors
        (notebook 12 with ``doses``): those that were run with `guided`, at this ε (and under this attack).
    """
    found = {}
    if run := runs.get(BLURRED):
        decisions = run.table("decisions")
        blurred = [name for name in decisions["condition"].unique() if name.startswith(f"none{BLUR} ")]
        pair = decisions[decisions["condition"].isin([guided, *blurred])]
        if blurred and guided in set(pair["condition"]) and np.isclose(pair["epsilon"], epsilon).any():
            found[EXPLANATIONS["lowpass"]] = at_epsilon(robust_accuracy(pair), epsilon)
    if (run := runs.get("12_alpha")) and run.parameters["doses"]:
        at = np.isclose(float(run.parameters["epsilon"]) / 255, epsilon) and run.parameters["attack"] == attack
        equal = run.table("equal")
        others = [name for name in equal["condition"].unique() if name != guided]
        if at and others and guided in set(equal["condition"]):
            named = equal[equal["condition"].isin([guided, others[0]])]
            found[QUALITY] = named.replace({"condition": {others[0]: f"{others[0]}, equal predictor r"}})
    return found


def answer_questions(
    runs: Mapping[str, Run], own: Mapping[str, pd.DataFrame], hierarchy: Sequence[str]
) -> pd.DataFrame:
    """Answer the paper's open questions and further checks from a study's runs.

    Parameters
    ----------
    runs : mapping of notebook → Run
        Finished ones; a question whose notebook is missing cannot be told.
    own : mapping of str → DataFrame
        Tables of the summary itself.
    hierarchy : sequence of str
        Regions, early to late.

    Returns
    -------
    DataFrame
        One row per question: ``question``, ``claim``, ``finding`` (`SUPPORTED`, `NOT_SUPPORTED` or `UNTOLD`),
        ``number`` (words, with interval and p), ``from`` (the notebook), ``run`` (its run folder's name, "–" where
        there is none, or the summary itself): the notebook may have runs with other parameters.
    """
    rows = []
    for question in QUESTIONS:
        run = runs.get(question.notebook)
        finding, number = UNTOLD, f"{question.notebook} is not among the notebooks asked"
        if run or question.notebook == SUMMARY:
            finding, number = _answered(question, run, own, (hierarchy[0], hierarchy[-1]))
        told = {"claim": question.claim, "finding": finding, "number": number, "from": question.notebook}
        rows.append({"question": question.asks, **told, "run": run.folder.name if run else "–"})
    return pd.DataFrame(rows)


def _answered(question: Question, run: Run | None, own: Mapping[str, pd.DataFrame], ends: tuple[str, str]) -> Answer:
    tables = own
    if run:
        saved = [name for name in question.tables if (run.folder / f"{name}.parquet").exists()]
        if missing := [name for name in question.tables if name not in saved]:
            return UNTOLD, f"its run has no {', '.join(missing)}: nothing to go by was in it"
        tables = {name: run.table(name) for name in saved}
    return question.answer(tables, ends)


def _told(row: Mapping[str, Any] | pd.Series, column: str, words: str) -> Answer:
    """Say what was found by a difference, its interval and its p (Holm's, where there is one)."""
    value, low, high = (float(row[name]) for name in (column, "ci_low", "ci_high"))
    p = float(row.get("p_holm", row["p"]))
    if np.isnan([value, low, high, p]).any():
        return (
            UNTOLD,
            f"{'' if np.isnan(value) else signed(value) + ' '}{words}: no test, of one network or of equal ones",
        )
    number = f"{signed(value)} {words} (95 % CI {signed(low)} to {signed(high)}, {p_text(p)})"
    equivalent = bool(row["equivalent"]) if "equivalent" in row else bool(row.get("p_tost", np.nan) <= SIGNIFICANT)
    said = judged(value, p, equivalent)
    return {"more": SUPPORTED, "unclear": UNTOLD}.get(said, NOT_SUPPORTED), number
