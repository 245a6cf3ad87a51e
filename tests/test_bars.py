"""Progress bars: one on a terminal, a line a minute in a log, one place that makes them."""

from __future__ import annotations

import ast
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
import tqdm.std

import nbtools
from nbtools import processes
from nbtools.processes import LOG, Bar

PACKAGE = Path(nbtools.__file__).parent
SOURCES = [file for file in sorted(PACKAGE.rglob("*.py")) if file.name != "processes.py"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[float]:
    """Seven seconds pass whenever somebody looks."""
    seconds = count(step=7.0)
    monkeypatch.setattr(tqdm.std, "time", lambda: next(seconds))
    monkeypatch.setattr(processes, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    monkeypatch.setattr(processes._Lines, "told", 0.0)
    return seconds


def watched(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO) -> io.StringIO:
    """Have bars written there: not in a fixture, whose stderr pytest takes back."""
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


# --- logs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leave", [True, False])
def test_a_log_gets_a_line_a_minute_that_says_how_long_it_takes(
    clock: Iterator[float], monkeypatch: pytest.MonkeyPatch, leave: bool
) -> None:
    log = watched(monkeypatch, io.StringIO())
    for _ in Bar(range(1000), "attack", leave=leave, unit="image"):
        pass
    lines = log.getvalue().split("\n")[:-1]
    assert 100 < len(lines) <= next(clock) / 60
    assert [line for line in lines if not re.fullmatch(r"attack: \d+ of 1000 · \S+ gone, [\d:]+ left · .+", line)] == []


def test_many_short_waits_together_get_a_line_a_minute(clock: Iterator[float], monkeypatch: pytest.MonkeyPatch) -> None:
    log = watched(monkeypatch, io.StringIO())
    for n in range(100):
        for _ in Bar(range(1), f"attack {n}"):  # none takes a minute
            pass
    lines = log.getvalue().splitlines()
    assert 10 < len(lines) <= next(clock) / 60
    assert len({line.partition(":")[0] for line in lines}) == len(lines) < 100


def test_what_takes_no_time_leaves_a_log_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    log = watched(monkeypatch, io.StringIO())
    monkeypatch.setattr(processes._Lines, "told", -1000.0)  # a line would be due
    with Bar(total=5, desc="attack") as bar:
        bar.set_postfix_str("first step")
        bar.update(5)
    assert log.getvalue() == ""


def test_a_run_in_batch_writes_its_bars_to_its_log(tmp_path: Path) -> None:
    own = tmp_path / "log.txt"
    program = "from nbtools import processes as p; p._Lines.told -= 100\n"
    program += "import time\nfor _ in p.Bar(range(5), 'attack'): time.sleep(1)"
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, LOG: str(own)}, capture_output=True, text=True, check=True
    )
    assert re.fullmatch(r"attack: \d of 5 · 00:0\d gone, 00:0\d left · .*\n", own.read_text(encoding="utf-8"))
    assert (done.stdout, done.stderr) == ("", "")


# --- one at a time ------------------------------------------------------------------------------------------


def test_a_terminal_sees_every_state_over_the_one_before(
    clock: Iterator[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = watched(monkeypatch, Terminal())
    for _ in Bar(range(30), desc="attack", mininterval=0):
        pass
    assert terminal.getvalue().count("\rattack:") >= 30
    assert terminal.getvalue().count("\n") == 1


@pytest.mark.parametrize("iterated", [True, False])
def test_a_wait_inside_another_stands_behind_it(
    clock: Iterator[float], monkeypatch: pytest.MonkeyPatch, iterated: bool
) -> None:
    terminal = watched(monkeypatch, Terminal())
    for network in Bar(["none", "TO"], "networks"):
        if iterated:
            assert list(Bar(range(4), network)) == [0, 1, 2, 3]
        else:
            with Bar(total=4, desc=network) as inner:
                inner.set_postfix(passes=7)
                inner.update(3)
    shown = terminal.getvalue()
    assert shown.count("\n") == 1
    assert "none 3 of 4" in shown
    assert "TO 3 of 4" in shown
    assert ("passes=7" in shown) != iterated
    assert re.search(r"\r(none|TO):", shown) is None
    assert " of 4" not in shown.split("\r")[-1], "it is over"


def test_what_is_left_goes_by_whole_steps_though_they_tell_of_themselves(
    clock: Iterator[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = watched(monkeypatch, Terminal())
    for network in Bar(range(4), "networks"):
        list(Bar(range(20), f"network {network}"))
    half = re.findall(r"2/4 \[(\d+):(\d+)<(\d+):(\d+),.*network 2 1 of", terminal.getvalue())[0]
    gone, left = (60 * int(half[at]) + int(half[at + 1]) for at in (0, 2))
    assert gone > 300
    assert 0.9 < left / gone < 1.1


@pytest.mark.parametrize("opened", [True, False])
def test_a_wait_that_broke_off_silences_no_later_one(
    clock: Iterator[float], monkeypatch: pytest.MonkeyPatch, opened: bool
) -> None:
    terminal = watched(monkeypatch, Terminal())

    def breaks_off() -> None:
        if opened:
            with Bar(total=3, desc="first"):
                raise RuntimeError
        for _ in Bar(range(3), "first"):
            raise RuntimeError

    with pytest.raises(RuntimeError) as kept:  # as IPython keeps the last traceback
        breaks_off()
    for _ in Bar(range(3), "second", mininterval=0):
        pass
    assert "\rsecond: 100%" in terminal.getvalue()
    assert kept.tb is not None


def test_nobody_watches_where_tqdm_is_silenced(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = watched(monkeypatch, Terminal())
    monkeypatch.setenv("TQDM_DISABLE", "1")
    for _ in Bar(range(3), "attack", disable=False):
        pass
    assert terminal.getvalue() == ""


# --- the package --------------------------------------------------------------------------------------------


def _closing(tree: ast.AST) -> set[ast.expr]:
    """What is iterated over, or opened by ``with``, and so closed when something breaks off."""
    found: set[ast.expr] = set()
    for node in ast.walk(tree):
        match node:
            case ast.For() | ast.comprehension():
                found |= {node.iter}
            case ast.withitem():
                found |= {node.context_expr}
            case ast.Call(func=ast.Name(id="dict" | "list"), args=[one]):  # takes all at once
                found |= {one}
            case ast.Return(value=ast.expr() as value):  # whoever asked for it opens it
                found |= {value}
    return found


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_every_bar_is_made_in_one_place_says_what_is_waited_for_and_is_closed(file: Path) -> None:
    source = file.read_text(encoding="utf-8")
    tree = ast.parse(source)
    assert re.search(r"import tqdm|from tqdm(\.auto)? |\btqdm\(", source) is None
    made = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "Bar"]
    for bar in made:
        words = {keyword.arg for keyword in bar.keywords}
        assert bar in _closing(tree), f"line {bar.lineno}: it stays open when something breaks off"
        assert len(bar.args) > 1 or {"desc", None} & words, f"line {bar.lineno}: nobody knows what is waited for"
