"""Repeat a finished run, or compare two: ``python -m nbtools repeat RUN``, ``python -m nbtools compare RUN RUN``."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nbtools.checks import reading
from nbtools.data.study import home
from nbtools.files import PREFIX, read_table
from nbtools.processes import exported
from nbtools.runs import folders
from nbtools.runs.batch import run_notebook
from nbtools.runs.lineage import check_trained
from nbtools.runs.provenance import summing_variables

# Another order of adding changes a column or a tensor by less than this share of its largest value; other results more.
TOLERANCE = 1e-5
CLOCKS = ("seconds", "finished")  # columns that no run repeats
# What a record notes beside the run's surroundings: told apart here, or never the same.
_OWN = ("parameters", "inputs", "seconds", "finished", "peak_memory_mb", "slurm_job")

Parts = dict[str, tuple[str, pd.Series]]  # column or tensor → its type and shape, and its values in order


@dataclass(frozen=True)
class Difference:
    """What is not the same in two files.

    Attributes
    ----------
    part : str
        A column, a tensor, or the file as a whole.
    size : float
        Largest difference as a share of the largest value; infinite where values are no numbers, or other ones.
    what : str
        The same in words.
    """

    part: str
    size: float
    what: str


def repeat(folder: Path) -> int:
    """Run a finished run's notebook again, elsewhere, and print whether it gives the same.

    It runs with the recorded parameters and as many threads as then, in a home of its own that sees the same data and
    all other runs. That home is removed, or kept and named where the result differs. The run itself is only read.

    Parameters
    ----------
    folder : Path
        The run's.

    Returns
    -------
    int
        0 if tables and weights are the same, to the bit or within `TOLERANCE`; else 1.

    Raises
    ------
    InputError
        If the folder holds no finished run, an adopted network, or its notebook no longer takes its parameters.
    """
    then = folders.finished_record(folder)
    notebook, parameters = then["notebook"], then["parameters"]
    check_trained(notebook, parameters)
    scratch, same = _scratch_home(folders.run_folder(notebook, parameters)), False
    try:
        with environment({**_as_then(then), "NBTOOLS_HOME": str(scratch)}):
            finished = run_notebook(notebook, parameters) == 0
            again = folders.run_folder(notebook, parameters)
        same = finished and compare(folder, again) == 0
    except BaseException:  # also Ctrl-C
        shutil.rmtree(scratch)
        raise
    if same:
        shutil.rmtree(scratch)
    else:
        print(f"what was made now is kept: {again}")
    return int(not same)


def compare(first: Path, second: Path) -> int:
    """Print in what two finished runs differ: parameters, inputs, surroundings, tables, weights.

    Parameters
    ----------
    first, second : Path
        Their folders.

    Returns
    -------
    int
        0 if tables and weights are the same, to the bit or within `TOLERANCE`; else 1.

    Raises
    ------
    InputError
        If a folder holds no finished run, or a file in it cannot be read.
    """
    one, other = folders.finished_record(first), folders.finished_record(second)
    for kind, lines in {
        "parameters": differing(one["parameters"], other["parameters"]),
        "inputs": differing(_stamps(one), _stamps(other)),
        "surroundings": differing(*({k: v for k, v in record.items() if k not in _OWN} for record in (one, other))),
    }.items():
        print(f"{kind}: {'the same' if not lines else ''}", *lines, sep="\n  " if lines else "")
    names = sorted(_artefacts(first) | _artefacts(second))
    largest, exact = 0.0, True
    for name in names:
        found = differences(first / name, second / name)
        exact &= not found
        largest = max([largest, *(difference.size for difference in found)])
        print(f"{name}: {_told(found)}")
    print(_verdict(exact, largest, len(names)))
    return int(largest > TOLERANCE)


def differences(first: Path, second: Path) -> list[Difference]:
    """Compare two tables, or two files of weights, part by part, without the columns in `CLOCKS`.

    Parameters
    ----------
    first, second : Path
        Parquet or safetensors files.

    Returns
    -------
    list of Difference
        The largest first; empty if every value is the same to the bit.

    Raises
    ------
    InputError
        If a file cannot be read.
    """
    missing = [file for file in (first, second) if not file.exists()]
    if missing:
        return [Difference("the file", np.inf, f"not in {missing[0].parent}")]
    one, other = _parts(first), _parts(second)
    found = [_difference(part, one.get(part), other.get(part)) for part in dict.fromkeys([*one, *other])]
    return sorted((each for each in found if each), key=lambda each: -each.size)


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Give processes that start meanwhile these variables, and none beside them that changes sums."""
    with exported({**dict.fromkeys(summing_variables()), **variables}):
        yield


# --- repeating ----------------------------------------------------------------------------------------------


def _as_then(record: dict[str, Any]) -> dict[str, str]:
    """Return the variables a run had; where none set the number of threads, those that give the number it took."""
    variables, threads = record.get("environment"), record.get("threads")
    if variables is None or threads is None:
        print("this run is from before threads were noted: it is repeated with as many as there are now")
        return summing_variables()
    if "OMP_NUM_THREADS" in variables:
        return variables
    counts = {"OMP_NUM_THREADS": threads.get("torch"), "OPENBLAS_NUM_THREADS": threads.get("openblas")}
    return {**{name: str(count) for name, count in counts.items() if count}, **variables}


def _scratch_home(left_out: Path) -> Path:
    """Make a home in which everything is a link to what is in this one, but for one run's folder.

    It lies beside this one where that is allowed: a study's relative paths may lead out of the home.
    """
    beside = home().parent if os.access(home().parent, os.W_OK) else None
    scratch = Path(tempfile.mkdtemp(prefix="nbtools_repeat_", dir=beside))
    _link(home(), scratch, left_out)
    return scratch


def _link(source: Path, target: Path, left_out: Path) -> None:
    for entry in source.iterdir():
        if not left_out.is_relative_to(entry):
            (target / entry.name).symlink_to(entry, target_is_directory=entry.is_dir())
        elif entry != left_out:
            (target / entry.name).mkdir()
            _link(entry, target / entry.name, left_out)


# --- comparing ----------------------------------------------------------------------------------------------


def _artefacts(folder: Path) -> set[str]:
    names = {file.name for file in folder.iterdir() if file.suffix in (".parquet", ".safetensors")}
    return {name for name in names if name != folders.CHECKPOINT and not name.startswith(PREFIX)}


def _parts(file: Path) -> Parts:
    if file.suffix == ".parquet":
        table = read_table(file)
        return {
            str(name): (f"{table[name].dtype} ({len(table)},)", table[name]) for name in table if name not in CLOCKS
        }
    from safetensors import SafetensorError  # with torch: help should not wait for it
    from safetensors.torch import load_file

    expected, fix = "a safetensors file", "run the notebook again"
    with reading("weights cannot be read", OSError, SafetensorError, file=file, expected=expected, fix=fix):
        tensors = load_file(file)
    parts = {}
    for name, tensor in sorted(tensors.items()):
        # NumPy has no bfloat16; float32 holds all its values
        values = tensor.float() if tensor.is_floating_point() and tensor.element_size() < 4 else tensor
        parts[name] = (f"{tensor.dtype} {tuple(tensor.shape)}", pd.Series(values.flatten().numpy()))
    return parts


def _difference(part: str, one: tuple[str, pd.Series] | None, other: tuple[str, pd.Series] | None) -> Difference | None:
    if one is None or other is None:
        return Difference(part, np.inf, f"only in the {'second' if one is None else 'first'}")
    if one[0] != other[0]:
        return Difference(part, np.inf, f"{one[0]} and {other[0]}")
    a, b = one[1], other[1]
    if a.dtype.kind != "f":
        n = 0 if a.equals(b) else int((a.map(repr) != b.map(repr)).sum())
        return Difference(part, np.inf, f"{n} of {len(a)} values") if n else None
    x, y = (values.to_numpy(np.float64, na_value=np.nan) for values in (a, b))  # holds every shorter float
    if x.tobytes() == y.tobytes():
        return None
    finite = np.isfinite(x) & np.isfinite(y)
    if not np.array_equal(x[~finite], y[~finite], equal_nan=True):
        return Difference(part, np.inf, "other values are not finite")
    scale = np.abs(x[finite]).max(initial=0)
    gap = np.abs(x[finite] - y[finite]).max(initial=0)
    size = float(gap / scale) if scale else float("inf" if gap else 0)
    return Difference(part, size, f"by {size:.2g} of the largest value")


def _stamps(record: dict[str, Any]) -> dict[str, Any]:
    """Digests of the inputs: when a file was written does not change what is in it."""
    return {name: str(next(iter(then.values()), ""))[:12] for name, then in record["inputs"].items()}


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Say of nested entries which differ, a line each."""
    first, second = _flat(one), _flat(other)
    names = [name for name in dict.fromkeys([*first, *second]) if first.get(name) != second.get(name)]
    return [f"{name}: {first.get(name, 'nothing')} → {second.get(name, 'nothing')}" for name in names]


def _flat(entries: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in entries.items():
        value = " ".join(map(str, value)) if isinstance(value, list) else value
        found |= _flat(value, f"{before}{name}.") if isinstance(value, dict) else {f"{before}{name}": value}
    return found


def _told(found: list[Difference], shown: int = 5) -> str:
    if not found:
        return "the same to the bit"
    more = [f"and {len(found) - shown} more, by less"] if len(found) > shown else []
    return "; ".join([*(f"{each.part} differs: {each.what}" for each in found[:shown]), *more])


def _verdict(exact: bool, largest: float, n: int) -> str:
    files = f"files compared: {n}; columns that are clocks ({', '.join(CLOCKS)}) are left out"
    if exact:
        return f"THE SAME to the bit: {files}"
    if largest <= TOLERANCE:
        return f"THE SAME within {TOLERANCE:g} of each column's or tensor's largest value ({largest:.2g}): {files}"
    return f"DIFFERENT: see above, where; {files}"
