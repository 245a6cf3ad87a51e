"""Progress bars: states over each other on a terminal, a line a minute in a log, alive while nothing is finished."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
import tqdm.std

import nbtools
from nbtools.processes import Bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[float]:
    """Seven seconds pass whenever somebody looks."""
    seconds = count(step=7.0)
    monkeypatch.setattr(tqdm.std, "time", lambda: next(seconds))
    return seconds


@pytest.mark.parametrize("leave", [True, False])
def test_a_log_gets_a_line_a_minute(clock: Iterator[float], monkeypatch: pytest.MonkeyPatch, leave: bool) -> None:
    monkeypatch.setattr(sys, "stderr", log := io.StringIO())
    for _ in Bar(range(1000), desc="attack", leave=leave, miniters=0):
        pass
    lines = log.getvalue().splitlines()
    assert 100 < len(lines) <= next(clock) / 60 + 1
    assert all(re.match(r"attack: +\d+%.*/1000 \[", line) for line in lines)


def test_what_takes_less_than_a_minute_leaves_a_log_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", log := io.StringIO())
    with Bar(total=5, desc="attack") as bar:
        bar.set_postfix_str("first step")
        bar.update(5)
    assert log.getvalue() == ""


def test_a_terminal_sees_every_state_over_the_one_before(
    clock: Iterator[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    for _ in Bar(range(30), desc="attack", mininterval=0):
        pass
    assert terminal.getvalue().count("\rattack:") >= 30
    assert terminal.getvalue().count("\n") == 1


def test_every_bar_of_the_package_is_this_one() -> None:
    package = Path(nbtools.__file__).parent
    sources = {file: file.read_text(encoding="utf-8") for file in package.rglob("*.py") if file.name != "processes.py"}
    assert [file for file, source in sources.items() if re.search(r"import tqdm|\btqdm\(", source)] == []
