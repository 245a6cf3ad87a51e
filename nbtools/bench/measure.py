"""What comparisons share: a folder, a stopwatch, a process of its own to measure in, a row of the table."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from nbtools.processes import peak_memory

Row = dict[str, object]
T = TypeVar("T")


def row(baseline_s: float, ours_s: float, *, goal: str, notes: str, **others: object) -> Row:
    """Return a row: the seconds that both sides took, how often ours goes into the other, and what else is said."""
    return {
        "baseline_s": baseline_s,
        "ours_s": ours_s,
        "ratio": baseline_s / ours_s,
        "goal": goal,
        **others,
        "notes": notes,
    }


def timed(function: Callable[[], T], clock: Callable[[], float] = time.perf_counter) -> tuple[float, T]:
    """Return the seconds that a call takes by some clock, and what it returns."""
    start = clock()
    result = function()
    return clock() - start, result


def in_new_process(function: Callable[..., T], *arguments: Any) -> tuple[float, float, T]:
    """Call a module's function in a process of its own.

    Returns
    -------
    seconds : float
        That the call took.
    memory : float
        Highest memory use of that process (MB).
    result
        What the function returns.
    """
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_measured, function, *arguments).result()


def _measured(function: Callable[..., T], *arguments: Any) -> tuple[float, float, T]:
    seconds, result = timed(partial(function, *arguments))
    return seconds, peak_memory() or float("nan"), result


@contextmanager
def scratch() -> Iterator[Path]:
    """Give a folder for what is measured; it is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="nbtools_bench_") as folder:
        yield Path(folder)
