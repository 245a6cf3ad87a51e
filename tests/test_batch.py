"""The command line: strict about parameters, honest about failures, quick about what is finished."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from nbtools import data
from nbtools.cli import main
from nbtools.conditions import CONDITIONS
from nbtools.metrics.decisions.robustness import epsilon_label
from nbtools.runs import folders

PARAMETERS = 'study: str = "tiny"\nroi: str = "TO"\nalpha: float = 0.8\nseed: int = 0\nflip: bool = False'
START = """
from pathlib import Path
import pandas as pd
from nbtools.runs import folders
folders.NOTEBOOKS = Path.cwd()  # of this test
run = folders.start("train", globals())
run.save_table("scores", pd.DataFrame({"r": [alpha]}))
print("alpha is", repr(alpha), "and flip is", repr(flip))
"""


def write_notebook(*cells: str, name: str = "train", parameters: str = PARAMETERS) -> None:
    code: list[dict[str, Any]] = [
        {"cell_type": "code", "id": f"cell-{i}", "metadata": {}, "source": text, "outputs": [], "execution_count": None}
        for i, text in enumerate([parameters, *cells])
    ]
    code[0]["metadata"] = {"tags": ["parameters"]}
    kernel = {"name": "of-another-environment", "display_name": "Python 3", "language": "python"}  # not here
    notebook = {"cells": code, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    (folders.NOTEBOOKS / f"{name}.ipynb").write_text(json.dumps(notebook))


def make_home(home: Path, notebooks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a home with a study, and a folder for notebooks of a test's own."""
    monkeypatch.setenv("NBTOOLS_HOME", str(home))
    monkeypatch.setattr(folders, "NOTEBOOKS", notebooks)
    study = home / "data/derived/tiny"
    for folder in (folders.NOTEBOOKS, study / "nsd", study / "pictures"):
        folder.mkdir(parents=True)
    (study / "study.toml").write_text(
        'name = "tiny"\nsimulated = true\nnsd = "nsd"\nsubject = 1\nclassification = "pictures"\nimage_size = 32\n'
    )


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own with a study, and a notebook that succeeds."""
    make_home(tmp_path / "home", tmp_path / "notebooks", monkeypatch)
    write_notebook(START, "run.finish()")
    return tmp_path / "home"


def no_papermill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "papermill", None)  # importing it would fail


# --- running ------------------------------------------------------------------------------------------------


@pytest.mark.notebook
def test_a_notebook_runs_once_with_its_parameters(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["run", "notebooks/train.ipynb", "-p", "alpha", "1", "-p", "flip", "True"]
    assert main(arguments) == 0
    run = folders.find("train", "tiny")
    assert run.parameters == {"study": "tiny", "roi": "TO", "alpha": 1.0, "seed": 0, "flip": True}
    assert run.folder == folders.run_folder("train", {"alpha": 1, "flip": True})
    assert list(run.table("scores").r) == [1.0]
    assert "alpha is 1.0 and flip is True" in (run.folder / "notebook.ipynb").read_text()
    shown = capfd.readouterr()
    assert shown.err == "", "a newcomer has nothing to wonder about"

    no_papermill(monkeypatch)
    before = (run.folder / "run.json").stat().st_mtime_ns
    assert main(arguments) == 0
    assert "finished before" in capfd.readouterr().out
    assert (run.folder / "run.json").stat().st_mtime_ns == before


WAIT = """
import time
from nbtools.processes import Bar, _Lines
_Lines.told -= 100  # a line is due
for _ in Bar(range(30), "waiting"):
    time.sleep(0.1)
"""


@pytest.mark.notebook
def test_a_run_says_in_its_log_how_far_it_is_and_leaves_no_bar_in_its_notebook(home: Path) -> None:
    write_notebook(START, WAIT, "run.finish()")
    folder = folders.run_folder("train", {})
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text("of an earlier try\n")
    assert main(["run", "train", "--quiet"]) == 0
    told = (folder / "log.txt").read_text(encoding="utf-8")
    assert re.fullmatch(r"waiting: \d+ of 30 · 00:0\d gone, 00:0\d left · .*\n", told)
    assert "waiting" not in json.dumps([c["outputs"] for c in cells_of(folder) if c["cell_type"] == "code"])
    assert "NBTOOLS_LOG" not in os.environ
    assert folders.stale(folder) == [], "the log is no result"
    assert main(["run", "train", "--quiet"]) == 0
    assert (folder / "log.txt").read_text(encoding="utf-8") == told


def cells_of(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]


@pytest.mark.notebook
@pytest.mark.skipif(sys.platform == "win32", reason="no terminals with names")
def test_a_run_on_a_terminal_shows_there_how_far_it_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_notebook(START, WAIT, "run.finish()")
    master, terminal = os.openpty()
    with open(terminal, "w", encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        assert main(["run", "train"]) == 0
        shown = os.read(master, 2**20).decode()
    os.close(master)
    assert "waiting:" in shown
    assert "/30 [" in shown
    assert shown.count("\n") == 1, "every state over the one before"
    assert not (folders.run_folder("train", {}) / "log.txt").exists()


@pytest.mark.notebook
def test_a_failing_cell_is_a_failure_even_after_finish(capfd: pytest.CaptureFixture[str]) -> None:
    write_notebook(START, "run.finish()", "1 / 0", "print('not reached')")
    assert main(["run", "train"]) == 1
    folder = folders.run_folder("train", {})
    assert not (folder / "run.json").exists()
    assert folders.collect("train", "tiny").empty
    error = capfd.readouterr().err
    assert "ZeroDivisionError" in error
    assert str(folder / "notebook.ipynb") in error
    partial = json.loads((folder / "notebook.ipynb").read_text())
    outputs = [cell["outputs"] for cell in partial["cells"] if cell["cell_type"] == "code"]
    assert "alpha is 0.8" in json.dumps(outputs)
    assert outputs[-2][0]["ename"] == "ZeroDivisionError"
    assert outputs[-1] == []


@pytest.mark.notebook
def test_input_that_a_notebook_refuses_is_told_in_words(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_notebook(START, "run.upstream('train', roi='V4')", "run.finish()")
    assert main(["run", "train"]) == 1
    folder, error = folders.run_folder("train", {}), capfd.readouterr().err
    assert error.startswith("error: no finished runs of train with these parameters\n  file: ")
    assert f"python -m nbtools run train -p study tiny -p roi V4\nthe notebook as far as it went: {folder}" in error
    assert "Traceback" in (folder / "notebook.ipynb").read_text()
    assert list(home.rglob(".tmp-*")) == [], "no lock is left"


@pytest.mark.notebook
def test_a_kernel_that_dies_is_a_failure(capfd: pytest.CaptureFixture[str]) -> None:
    """As when memory runs out."""
    write_notebook(START, "run.finish()", "import os; os._exit(1)")
    assert main(["run", "train"]) == 1
    assert "died" in capfd.readouterr().err
    assert not (folders.run_folder("train", {}) / "run.json").exists()


@pytest.mark.notebook
def test_a_notebook_that_never_finishes_its_run_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    write_notebook(START)
    assert main(["run", "train"]) == 1
    assert "ended without finishing its run" in capfd.readouterr().err


@pytest.mark.notebook
def test_plain_papermill_leaves_the_same_run(tiny_study: Path, tmp_path: Path) -> None:
    """Of a real notebook: a folder of the same name, the same tables, and the same record of what they came from."""
    notebook = folders.PROJECT / "notebooks/01_brain_responses.ipynb"
    homes = {"strict": ["nbtools", "run", notebook], "plain": ["papermill", notebook, tmp_path / "executed.ipynb"]}
    started = []
    for home, command in homes.items():
        shutil.copytree(tiny_study.parent, tmp_path / home / "data/derived/tiny")
        environment = {**os.environ, "NBTOOLS_HOME": str(tmp_path / home), "OMP_NUM_THREADS": "1"}
        options = [sys.executable, "-m", *map(str, command), "-p", "study", "tiny", "-p", "rois", "V1, TO"]
        started.append(subprocess.Popen(options, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
    for process in started:
        said, _ = process.communicate(timeout=600)
        assert process.returncode == 0, said
    strict, plain = ([file.parent for file in (tmp_path / home).rglob("run.json")] for home in homes)
    assert [folder.name for folder in strict] == [folder.name for folder in plain] != []
    made, beside = ({file.name for file in folders[0].iterdir()} for folders in (strict, plain))
    assert made - beside == {"notebook.ipynb"}
    assert "noise_ceilings.parquet" in made
    for name in made:
        if name.endswith(".parquet"):
            pd.testing.assert_frame_equal(pd.read_parquet(strict[0] / name), pd.read_parquet(plain[0] / name))
    records = [json.loads((folder / "run.json").read_text()) for folder in (*strict, *plain)]
    for part in ("parameters", "inputs", "study"):
        assert records[0][part] == records[1][part]


# --- bad input, refused before anything runs ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-p", "aplha", "0.5"], "train has no parameter aplha"),
        (["-p", "seed", "first"], "expected: int, such as 0"),
        (["-p", "seed", "1.5"], "expected: int, such as 0"),
        (["-p", "alpha", "high"], "expected: float, such as 0.8"),
        (["-p", "flip", "yes"], "expected: bool, such as False"),
        (["-p", "flip", "false"], "expected: bool, such as False"),
    ],
)
def test_a_bad_parameter_is_refused(
    arguments: list[str], said: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    no_papermill(monkeypatch)
    assert main(["run", "train", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert said in error
    assert not (home / "runs").exists(), "no folder for what cannot run"


def test_an_unknown_notebook_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "trian"]) == 1
    assert "no notebook 'trian'" in capsys.readouterr().err


def test_a_notebook_of_the_same_name_elsewhere_is_not_mistaken_for_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "train.ipynb"
    copy.write_bytes((folders.NOTEBOOKS / "train.ipynb").read_bytes())
    assert main(["run", str(copy)]) == 1
    assert "the project's own notebooks only" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["fly"], ["run"], ["run", "train", "-p", "alpha"], ["world", "--seed", "a"]])
def test_a_command_that_makes_no_sense_is_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: nbtools" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("fetch nsd --dry-run --subject 9", "--subject cannot be 9\n  expected: a whole number from 1 to 8"),
        ("fetch nsd --dry-run --subject 0", "--subject cannot be 0"),
        ("fetch nsd --dry-run --sessions 5-3", "these are no sessions"),
        ("fetch nsd --dry-run --sessions 0", "no such session"),
        ("fetch cifar100 --dry-run --jobs 0", "--jobs cannot be 0"),
        ("prepare nsd --study tiny --jobs -3", "--jobs cannot be -3"),
        ("prepare haxby --subject 8", "Haxby's study has no such subject\n  expected: 1, 2, 3, 4, 5, 6\n"),
        ("world new --seed -1", "seed is negative"),
        ("world new --subject 9", "--subject cannot be 9"),
        ("explore --port 65536", "--port cannot be 65536"),
    ],
)
def test_a_number_outside_its_range_is_refused_in_words(
    arguments: str, said: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(home.rglob("*"))
    assert main(arguments.split()) == 1
    assert said in capsys.readouterr().err
    assert sorted(home.rglob("*")) == before


def test_the_shell_sees_the_status() -> None:
    """Through the interpreter, as Snakemake and make call it; and help is quick, no torch needed."""
    command = [sys.executable, "-X", "importtime", "-m", "nbtools", "run", "nothing"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folders.PROJECT)
    assert ended.returncode == 1
    assert "error: no notebook 'nothing'" in ended.stderr
    imported = {line.split("|")[-1].strip() for line in ended.stderr.splitlines() if line.startswith("import time:")}
    assert "nbtools.cli" in imported
    assert not {"torch", "papermill", "plotly", "pandas"} & imported


# --- world and summary --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "c:x", " "])
def test_world_makes_nothing_elsewhere(home: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(home.parent.rglob("*"))
    assert main(["world", name, "--profile", "tiny"]) == 1
    assert "a study cannot have this name" in capsys.readouterr().err
    assert sorted(home.parent.rglob("*")) == before


@pytest.mark.slow
def test_world_makes_the_study_it_was_asked_for(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(data, "make_study", lambda folder, **options: asked.append((folder, options)) or folder)
    assert main(["world"]) == 0
    assert main(["world", "small", "--profile", "tiny", "--seed", "3", "--truth", "null", "--subject", "2"]) == 0
    usual = {"seed": 0, "profile": "demo", "truth": "beyond", "subject": 1, "dorsal": False}
    other = {"seed": 3, "profile": "tiny", "truth": "null", "subject": 2, "dorsal": False}
    assert asked == [
        (home / "data/derived/demo", {**usual, "name": "demo"}),
        (home / "data/derived/small", {**other, "name": "small"}),
    ]
    assert str(home / "data/derived/small") in capsys.readouterr().out


def write_summary(rois: str, top: float, monkeypatch: pytest.MonkeyPatch, finished: str) -> Path:
    write_notebook("1", name="10_summary", parameters='study: str = "tiny"\nrois: str = "none TO"')
    monkeypatch.setattr("time.strftime", lambda _: finished)
    run = folders.start("10_summary", {"study": "tiny", "rois": rois})
    rows = [
        {"condition": name, "epsilon": epsilon, "accuracy": top - i / 10 - epsilon}
        for i, name in enumerate(sorted(rois.split()))
        for epsilon in (0.0, 4 / 255)
    ]
    run.save_table("accuracy", pd.DataFrame(rows))
    run.save_text("verdict.txt", f"the verdict of {rois}")
    run.finish()
    return run.folder


def test_summary_prints_the_newest_table_in_the_order_of_its_conditions(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    newest = write_summary("none V2-shuffle V3 V1", 0.9, monkeypatch, "2026-11-02T00:00:00+0000")
    write_summary("none TO", 0.5, monkeypatch, "2026-11-01T00:00:00+0000")
    capsys.readouterr()
    assert main(["summary", "tiny"]) == 0
    out = capsys.readouterr().out
    assert "tiny study, simulated" in out
    assert "the verdict of none V2-shuffle V3 V1" in out
    assert str(newest / "report.html") in out
    table = [line.split() for line in out.splitlines()]
    assert [row[0] for row in table if row and row[0] in (*CONDITIONS, "V2-shuffle", "V3")] == [
        *("none", "V2-shuffle", "V3", "V1")
    ]
    assert ["epsilon", "clean", epsilon_label(4 / 255)] in table
    assert ["V1", "0.90", "0.88"] in table, "sorted first, 0.9, less 4/255"


def test_summary_without_a_run_says_how_to_make_one(capsys: pytest.CaptureFixture[str]) -> None:
    write_notebook(START, "run.finish()", name="10_summary")
    assert main(["summary", "tiny"]) == 1
    error = capsys.readouterr().err
    assert "there is no summary yet" in error
    assert "nbtools demo" in error
