"""A study's summary: a table and its verdict as text, and the report at a place that stays the same while it grows."""

from __future__ import annotations

import shutil
from pathlib import Path

from nbtools.data.study import home, open_study, study_name
from nbtools.errors import InputError
from nbtools.files import read_table, written
from nbtools.metrics.decisions.robustness import epsilon_label
from nbtools.runs import folders
from nbtools.runs.lineage import command
from nbtools.runs.records import finished_record
from nbtools.workflow.jobs import SUMMARY


def newest_summary(study: str) -> Path:
    """Return the folder of the summary that was finished last.

    Raises
    ------
    InputError
        If there is none.
    """
    found = folders.collect(SUMMARY, study)
    if found.empty:
        fix = f"`python -m nbtools demo`, or of another study `{command(SUMMARY, {'study': study})}`"
        raise InputError("there is no summary yet", expected=f"a finished run of {SUMMARY}", got="none", fix=fix)
    return Path(found.loc[found["finished"].idxmax(), "folder"])


def summary(folder: Path) -> str:
    """Return what a summary says: accuracies by condition and ε, and the verdict.

    Parameters
    ----------
    folder : Path
        Of a finished run of `SUMMARY`.
    """
    parameters = finished_record(folder)["parameters"]
    accuracy = read_table(folder / "accuracy.parquet")
    accuracy["epsilon"] = accuracy["epsilon"].map(epsilon_label)
    table = accuracy.pivot(index="condition", columns="epsilon", values="accuracy")
    rows = [name for name in parameters["rois"].split() if name in table.index]
    shown = table.loc[rows, accuracy["epsilon"].unique()].to_string(float_format="{:.2f}".format)
    verdict = (folder / "verdict.txt").read_text(encoding="utf-8")
    return f"\nRobust accuracy, {open_study(parameters['study']).title}\n\n{shown}\n\n{verdict}\n"


def report_file(study: str) -> Path:
    """Return where a study's report is found, whichever run it is of."""
    return home() / "runs" / study_name(study) / "report.html"


def publish(folder: Path) -> Path:
    """Put a summary's report where the study's is found, and return that place.

    Parameters
    ----------
    folder : Path
        Of a finished run of `SUMMARY`.
    """
    file = folder.parents[1] / "report.html"
    with written(file) as beside:
        shutil.copyfile(folder / "report.html", beside)
    return file
