"""How often each claim's test was right in worlds whose answers are known: the table that is kept, shown and quoted."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from nbtools.checks import reading
from nbtools.files import write_text
from nbtools.metrics.stats import share
from nbtools.metrics.studies.operating import FINDINGS
from nbtools.workflow.tables import aligned

FILE = Path(__file__).with_name("known.json")  # shipped: what `calibrate --save` wrote
SIZE = ("n_regions", "n_seeds", "n_subjects")  # of the studies that a row speaks of
# A row of the table. `metrics.rates` says what it counts; `of_…` are the seeds and subjects that sets were taken from.
COLUMNS: Mapping[str, type] = {
    **dict.fromkeys(("world", "profile", "claim", "expected"), str),
    **dict.fromkeys((*FINDINGS, "n_sets", "n_apart", *SIZE, "of_seeds", "of_subjects"), int),
    **dict.fromkeys(("made", "nbtools", "torch", "machine"), str),
}
_WHICH = ["world", "profile", "claim", *SIZE]  # what a newer row replaces


def read_known(file: Path = FILE) -> pd.DataFrame:
    """Return the kept table, with `COLUMNS`; without rows where none was made yet.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    if not file.exists():
        return pd.DataFrame(columns=list(COLUMNS))
    kinds = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)
    expected, fix = "a list of rows, each with " + ", ".join(COLUMNS), "take it from the repository, or calibrate anew"
    with reading("the table of known worlds is damaged", *kinds, file=file, expected=expected, fix=fix):
        rows = json.loads(file.read_text(encoding="utf-8"))
        for number, row in enumerate(rows):
            wrong = [name for name, kind in COLUMNS.items() if type(row[name]) is not kind]
            counts = [row[finding] for finding in FINDINGS]
            if wrong or min(counts) < 0 or not sum(counts) == row["n_sets"] > 0:
                raise ValueError(f"row {number}: {', '.join(wrong) or 'counts'}")
        return pd.DataFrame(rows, columns=list(COLUMNS))


def save_known(rows: pd.DataFrame, file: Path = FILE) -> Path:
    """Add rows of all sets to the kept table, in place of those of the same world, claim and size; return its path."""
    new = rows.loc[rows["sets"] == "all", list(COLUMNS)]
    kept = pd.concat([read_known(file), new]).drop_duplicates(_WHICH, keep="last")
    lines = [json.dumps(row, ensure_ascii=False) for row in kept.astype(object).to_dict("records")]
    return write_text(file, "[\n" + ",\n".join(lines) + "\n]\n")


def how_often(n_regions: int, n_seeds: int, n_subjects: int, file: Path = FILE) -> dict[str, str]:
    """Say of each claim's test how often it was right in simulated worlds of like size.

    Parameters
    ----------
    n_regions, n_seeds, n_subjects : int
        Of the study: nothing is said of one of another size than those that were simulated.
    file : Path
        The table.

    Returns
    -------
    dict of str to str
        By claim, such as ``"accuracy at 4/255"``.
    """
    known = read_known(file)
    alike = known[(known[list(SIZE)] == [n_regions, n_seeds, n_subjects]).all(axis=1)]
    return {str(claim): said for claim, rows in alike.groupby("claim", sort=False) if (said := _sentence(rows))}


def _sentence(rows: pd.DataFrame) -> str:
    """Say how often a slope was said to rise; nothing where no world has an answer to that."""
    said = rows.groupby("expected").agg({"rises": "sum", "n_sets": "sum", "of_seeds": "min"})
    places = {"rises": "where there was a rise", "none": "where there was none"}
    counts = {answer: said.loc[answer].tolist() for answer in places if answer in said.index}
    found = [f"in {rises} of {n} sets ({seeds} seeds) {places[at]}" for at, (rises, n, seeds) in counts.items()]
    sizes = {name.removeprefix("n_"): int(rows[name].iloc[0]) for name in SIZE}
    of = ", ".join(f"{n} {many if n != 1 else many.removesuffix('s')}" for many, n in sizes.items())
    return f"In simulated worlds of like size ({of}) this test said “rises” {' and '.join(found)}" if found else ""


def as_text(rows: pd.DataFrame) -> str:
    """Return what was counted as text for a terminal: which share of the sets said what, and how often that was right.

    Parameters
    ----------
    rows : DataFrame
        With `COLUMNS`, and ``sets`` as `metrics.rates` has it: those without a common network are shown apart, where
        there are several.
    """
    told = {"all": "All sets; intervals (95 %) are as wide as those of sets without a common network."}
    told["apart"] = "Sets without a common network."
    head = ["world", "claim", "expected", *FINDINGS, "right", "wrong", "sets", "seeds", "subjects"]
    parts = []
    for sets, group in rows.groupby("sets", sort=False):
        if sets == "all" or group["n_sets"].max() > 1:
            table = aligned(head, [_cells(row) for row in group.to_dict("records")], right=[*FINDINGS, *head[-3:]])
            parts.append(f"{told[str(sets)]}\n\n{table}")
    return "\n\n".join(parts)


def _cells(row: Mapping[Hashable, Any]) -> list[str]:
    """Return a row's cells; "cannot tell" is neither right nor wrong, and nothing is where no answer is known."""
    n, expected = row["n_sets"], row["expected"]
    counts = {"right": row.get(expected, 0), "wrong": n - row.get(expected, 0) - row["unclear"]}
    bounds = {
        name: "{:.2f} ({:.2f} to {:.2f})".format(*share(count, n, row["n_apart"])) for name, count in counts.items()
    }
    shown = bounds.values() if expected in FINDINGS else ["–", "–"]
    of = [f"{row[name]} of {row[f'of_{name[2:]}']}" for name in ("n_seeds", "n_subjects")]
    return [row["world"], row["claim"], expected, *(f"{row[what] / n:.2f}" for what in FINDINGS), *shown, str(n), *of]
