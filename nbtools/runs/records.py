"""A finished run's record, ``run.json``: it is written last, and says what the results came from."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from nbtools.checks import reading
from nbtools.data.study import home
from nbtools.errors import InputError
from nbtools.runs.lineage import NETWORKS
from nbtools.runs.provenance import unchanged

RECORD = "run.json"
_NUMBER = (int, float)
# What a record must hold; the rest of it is for readers.
_KINDS: dict[str, Any] = {"notebook": str, "parameters": dict, "inputs": dict, "seconds": _NUMBER, "finished": str}


def stale(folder: Path, known: dict[tuple[str, str], bool] | None = None) -> list[str] | None:
    """Return which inputs of a finished run have changed (none: an empty list), or None if it is not finished.

    Parameters
    ----------
    folder : Path
        The run's.
    known : dict of (str, str) to bool, optional
        What is found out, for further runs that are looked at in the same moment: most have the same inputs.
    """
    record, known = read_record(folder), {} if known is None else known
    if record is None:
        return None
    changed = []
    for name, then in record["inputs"].items():
        asked = name, json.dumps(then)
        if asked not in known:
            known[asked] = unchanged(name, then)
        changed += [] if known[asked] else [name]
    return changed


def read_record(folder: Path) -> dict[str, Any] | None:
    """Return a finished run's record, or None if the run is not finished.

    Raises
    ------
    InputError
        If the record is damaged.
    """
    file = folder / RECORD
    if not file.exists():
        return None
    kinds = (OSError, ValueError, LookupError, TypeError, RecursionError)
    expected = "the JSON this project wrote"
    with reading("a run's record is damaged", *kinds, file=file, expected=expected, fix="delete it"):
        record = json.loads(file.read_text(encoding="utf-8"))
        wrong = [name for name, kind in _KINDS.items() if not isinstance(record[name], kind)]
        wrong += [] if wrong else [name for name, then in record["inputs"].items() if not isinstance(then, dict)]
        if wrong:
            raise ValueError(f"{wrong[0]} is of another kind")
        datetime.fromisoformat(record["finished"])
        return record


def finished_record(folder: Path) -> dict[str, Any]:
    """Return a finished run's record; raise `InputError` if the run is not finished, or the record damaged."""
    record = read_record(folder)
    if record is None:
        raise InputError(
            "this is no finished run",
            file=folder,
            expected=f"a run's folder with {RECORD}",
            got="no such file",
            fix="name a folder below runs/<study>/<notebook>/",
        )
    return record


def ancestry(inputs: Iterable[Path]) -> list[dict[str, Any]]:
    """Return the records of the runs that some inputs are of, of the runs that these came from, and so on."""
    waiting, found = {file.parent for file in inputs}, dict[Path, dict[str, Any] | None]()
    while waiting:
        folder = waiting.pop()
        record = found[folder] = read_record(folder)
        named = {(home() / name).parent for name in record["inputs"]} if record else set()
        waiting |= named - found.keys()
    return [record for record in found.values() if record]


def one_of_each_name(known: dict[tuple[Any, ...], dict[str, Any]], folder: Path) -> None:
    """Add the networks that a run is of, or came from, to those `known`; refuse a second one of a name.

    Else a notebook would join what two networks did under one name: their training's settings are in no table.

    Raises
    ------
    InputError
        If a network of the same study, condition, seed and α was trained otherwise.
    """
    records = [record for record in ancestry([folder / RECORD]) if record["notebook"] == NETWORKS]
    for parameters in (record["parameters"] for record in records):
        name = tuple(parameters.get(part) for part in ("study", "roi", "seed", "alpha"))
        if (other := known.setdefault(name, parameters)) != parameters:
            kinds = [key for key in {**other, **parameters} if other.get(key) != parameters.get(key)]
            raise InputError(
                f"two networks are {name[1]}, seed {name[2]}, in what this notebook would join",
                file=folder,
                expected=f"runs that all came from one {NETWORKS}",
                got="; ".join(f"{key} {other.get(key)} and {parameters.get(key)}" for key in kinds),
                fix="run what came from the other one again, or delete the folder of the network that is not wanted",
            )
