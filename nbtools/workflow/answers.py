"""Answers to the notebooks' exercises: what is right, and the file that keeps what was answered."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd

from nbtools.checks import reading
from nbtools.data.study import home
from nbtools.errors import InputError
from nbtools.files import make_folder, writable

Right = Callable[[object], bool | None]  # whether an answer is right; None: it is no answer of this kind
KINDS = {"time": str, "exercise": str, "answer": str | list, "right": bool | None}  # of what a line says
COLUMNS = ("student", "exercise", "answers", "first", "last", "right", "finished")


def word(right: str | Collection[str] | Callable[[], str | Collection[str]]) -> Right:
    """Return what tells whether an answer is a word, in small or capital letters.

    Parameters
    ----------
    right : str, collection of str, or callable that returns one
        The word, or several that are equally right; called when there is an answer, where it may not be to be had.
    """

    def told(answer: object) -> bool:
        words = right() if callable(right) else right
        words = [words] if isinstance(words, str) else words
        return str(answer).strip().casefold() in {each.casefold() for each in words}

    return told


def number(low: float, high: float, units: Sequence[float] = (1,)) -> Right:
    """Return what tells whether an answer lies between two numbers; ``"42.9 %"``, ``"5.7/255"``, ``"0,65"`` are some.

    Parameters
    ----------
    low, high : float
        The bounds of what is right: an answer that was read off a figure is near.
    units : sequence of float
        Units an answer may be in, in units of the bounds: ``(1, 100)`` takes a share for per cent.
    """

    def right(answer: object) -> bool | None:
        value = _value(str(answer))
        return None if value is None else any(low <= value * unit <= high for unit in units)

    return right


def _value(answer: str) -> float | None:
    """Read a number as people write it, with figures' own minus; None where it is none, or not finite."""
    try:
        value = float(answer.strip().removesuffix("%").removesuffix("/255").replace(",", ".").replace("\u2212", "-"))
    except ValueError:
        return None
    return value if isfinite(value) else None


# --- the file -------------------------------------------------------------------------------------------------


def answers_file() -> Path:
    """Return the file of all answers given here: a line of JSON each, beside data/ and runs/."""
    return home() / "answers.jsonl"


def keep_answer(exercise: str, answer: object, right: bool | None) -> None:
    """Append an answer to the file; raise `InputError` where that cannot be written."""
    line = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "exercise": exercise,
        "answer": answer,
        "right": right,
    }
    make_folder(home())
    # One short line: whole, whoever else appends. Half a character, as a page may send one, becomes a question mark.
    with writable(answers_file()), answers_file().open("a", encoding="utf-8", errors="replace") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")


def pool_answers(files: Iterable[Path]) -> pd.DataFrame:
    """Put the answers of several students into one table.

    Parameters
    ----------
    files : iterable of Path
        Each student's ``answers.jsonl``, under a name of its own.

    Returns
    -------
    DataFrame
        A row per student (the file's name) and exercise: how many `answers`, the `first` and the `last` of them,
        whether it came `right` (empty for a guess, which is neither), when it was `finished`.

    Raises
    ------
    InputError
        If a file cannot be read as answers, or two have one name.
    """
    rows: list[dict[str, object]] = []
    seen: dict[str, Path] = {}
    for file in files:
        if file.stem in seen:
            raise InputError(
                "two students have one name",
                file=file,
                expected="a file of its own name for each student",
                got=f"{seen[file.stem]} as well",
                fix="rename one",
            )
        seen[file.stem] = file
        rows += [{"student": file.stem, **line} for line in _lines(file)]
    if not rows:
        return pd.DataFrame(columns=list(COLUMNS))
    table = pd.DataFrame(rows).groupby(["student", "exercise"], sort=True)
    pooled = table.agg(answers=("answer", "size"), finished=("time", "max"))
    for place, take in (("first", 0), ("last", -1)):
        pooled[place] = table["answer"].apply(lambda given, take=take: given.iloc[take])
    pooled["right"] = table["right"].apply(lambda given: given.iloc[-1] if given.notna().any() else None)
    return pooled.reset_index()[list(COLUMNS)]


def as_csv(pooled: pd.DataFrame) -> str:
    """Return a table of answers for a spreadsheet: words that it would take for a formula begin with an apostrophe.

    Parameters
    ----------
    pooled : DataFrame
        From `pool_answers`.
    """
    return pooled.map(_inert).to_csv(index=False)


def _inert(cell: object) -> object:
    formula = isinstance(cell, str) and cell.lstrip()[:1] in {*"=+-@"} and _value(cell) is None
    return f"'{cell}" if formula else cell


def _lines(file: Path) -> list[dict[str, object]]:
    """Read the answers of one file."""
    expected = "a line of JSON per answer: time, exercise, answer, right"
    fix = "ask for the student's answers.jsonl, which lies beside their data/ and runs/"
    kinds = OSError, ValueError, RecursionError
    with reading("this is no file of answers", *kinds, file=file, expected=expected, fix=fix):
        text = file.read_text(encoding="utf-8-sig")  # Windows' editors begin UTF-8 with a mark
        lines = [json.loads(line) for line in text.split("\n") if line.strip()]  # splitlines() also ends them at U+2028
        if not all(map(_is_answer, lines)):
            raise ValueError("something else")
    return lines


def _is_answer(line: Any) -> bool:
    known = isinstance(line, dict) and line.keys() == KINDS.keys()
    return known and all(isinstance(line[name], kind) for name, kind in KINDS.items())
