"""Run folders: the same parameters find the same results, and only whole, current results are read."""

from __future__ import annotations

import base64
import gzip
import hashlib
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import pytest

import nbtools
from nbtools.errors import InputError
from nbtools.runs import figures, folders, provenance, several
from nbtools.runs.batch import run_notebook
from nbtools.runs.lineage import NETWORKS

PARAMETERS = 'study: str = "tiny"\nroi: str = "TO"\nalpha: float = 0.8\nseed: int = 0\nflip: bool = False'
DEFAULTS = {"study": "tiny", "roi": "TO", "alpha": 0.8, "seed": 0, "flip": False}
TABLE = pd.DataFrame({"image_id": [3, 1], "r": [0.25, -1.0]})
CODE = "from nbtools import plots, pretended"


def write_notebook(name: str, parameters: str = PARAMETERS, code: str = CODE, **extra: Any) -> Path:
    """A notebook as JupyterLab writes it: the source is a list of lines."""
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": ["# Question\n"]},
        {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": parameters.splitlines(keepends=True)},
        {"cell_type": "code", "metadata": {}, "source": code.splitlines(keepends=True), **extra},
    ]
    file = folders.NOTEBOOKS / f"{name}.ipynb"
    file.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return file


def write_study(folder: Path, name: str = "tiny") -> Path:
    for part in ("nsd", "pictures"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    file = folder / "study.toml"
    entries = {"name": name, "simulated": True, "nsd": "nsd", "subject": 1, "classification": "pictures"}
    file.write_text("\n".join(f"{key} = {json.dumps(value)}" for key, value in entries.items()) + "\nimage_size = 32\n")
    return file


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, with a study and two notebooks."""
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(folders, "NOTEBOOKS", tmp_path / "notebooks")
    (tmp_path / "notebooks").mkdir()
    write_study(tmp_path / "home/data/derived/tiny")
    write_notebook("train")
    write_notebook("attack")
    return tmp_path / "home"


def finished(notebook: str = "train", table: pd.DataFrame = TABLE, **parameters: Any) -> folders.Run:
    """Run a notebook to its end, as its cells would."""
    run = folders.start(notebook, {**DEFAULTS, **parameters})
    if not run.finished:
        run.save_table("scores", table)
    run.finish()
    return run


def again(run: folders.Run) -> folders.Run:
    return folders.start(run.notebook, run.parameters)


def record(run: folders.Run) -> dict[str, Any]:
    return json.loads((run.folder / "run.json").read_text())


# --- one folder for each set of parameters ------------------------------------------------------------------


def test_the_same_parameters_name_the_same_folder(home: Path) -> None:
    folder = folders.run_folder("train", DEFAULTS)
    assert folder == folders.run_folder("train", {}) == folders.run_folder("train", dict(reversed(DEFAULTS.items())))
    assert folder.parent == home / "runs/tiny/train"
    assert folder.name.startswith("TO_seed=0_")
    assert finished().folder == folder


@pytest.mark.parametrize("changed", [{"roi": "V1"}, {"alpha": 0.81}, {"seed": 1}, {"flip": True}, {"study": "other"}])
def test_any_other_parameter_names_another_folder(changed: dict[str, Any]) -> None:
    folder, usual = folders.run_folder("train", changed), folders.run_folder("train", {})
    assert folder != usual
    assert folder.name.split("_")[-1] != usual.name.split("_")[-1], "the digest tells them apart, not the name"


def test_the_name_shows_what_is_not_the_default() -> None:
    assert folders.run_folder("train", {"alpha": 0.5, "roi": "V4"}).name.startswith("V4_seed=0_alpha=0.5_")


@pytest.mark.parametrize("alpha", [1, 1.0, "1", "1e0"])
def test_a_number_is_the_same_however_it_was_written(alpha: object) -> None:
    """YAML, the command line and a reader's cell write 1, '1e0' and 1.0 for the same α."""
    assert folders.run_folder("train", {"alpha": alpha}) == folders.run_folder("train", {"alpha": 1.0})
    assert finished(alpha=alpha).parameters["alpha"] == 1.0


def test_new_defaults_leave_finished_folders_where_they_are() -> None:
    """A reader who edits the parameters' cell changes the defaults; what was computed is still found."""
    run = finished(alpha=0.5)
    write_notebook("train", PARAMETERS.replace("0.8", "0.5"))
    assert folders.run_folder("train", {"alpha": 0.5}) == run.folder
    assert again(run).finished


def test_a_study_by_path_is_the_study_by_name(home: Path) -> None:
    study = write_study(home / "elsewhere", name="mine")
    for path in (str(study), "elsewhere/study.toml"):
        run = finished(study=path)
        assert run.folder.parent == home / "runs/mine/train"
        assert folders.stale(run.folder) == []
        assert folders.find("train", path).folder == run.folder
        assert record(run)["study"] == "mine"
    assert len(folders.collect("train", "mine")) == 1


def test_a_study_outside_home_is_stamped_too(tmp_path: Path) -> None:
    study = write_study(tmp_path / "disk", name="mine")
    run = finished(study=str(study))
    assert str(study) in record(run)["inputs"]
    study.write_text(study.read_text().replace("32", "64"))
    assert folders.stale(run.folder) == [str(study)]


def test_an_unknown_parameter_is_refused() -> None:
    with pytest.raises(InputError, match=r"no parameter aplha[\s\S]*study, roi, alpha, seed, flip"):
        folders.run_folder("train", {"aplha": 0.5})


@pytest.mark.parametrize(
    ("name", "value"), [("seed", "two"), ("seed", 1.5), ("seed", True), ("alpha", "high"), ("flip", "yes"), ("flip", 1)]
)
def test_a_value_of_another_type_is_refused(name: str, value: object) -> None:
    with pytest.raises(InputError, match=f"{name} cannot be"):
        folders.run_folder("train", {name: value})


def test_a_notebook_goes_on_with_its_parameters_as_they_were_read() -> None:
    """papermill wrote ``seeds = 7`` and ``alpha = 1``: the cells that follow split the text and divide the number."""
    write_notebook("train", PARAMETERS + '\nseeds: str = "0 1"')
    values = {**DEFAULTS, "seeds": 7, "alpha": 1, "other": 3}
    run = folders.start("train", values)
    assert values == {**run.parameters, "other": 3} == {**DEFAULTS, "seeds": "7", "alpha": 1.0, "other": 3}


# --- defaults -----------------------------------------------------------------------------------------------


def test_defaults_are_read_from_the_notebook_without_running_it() -> None:
    assert folders.defaults("train") == DEFAULTS
    assert [type(value) for value in folders.defaults("train").values()] == [str, str, float, int, bool]
    write_notebook("signed", "shift: int = -3  # pixels")
    assert folders.defaults("signed") == {"shift": -3}


def test_a_missing_notebook_is_named_beside_those_there_are() -> None:
    with pytest.raises(InputError, match=r"no notebook 'trian'[\s\S]*attack, train[\s\S]*no such file"):
        folders.defaults("trian")


def test_a_notebook_without_parameters_is_refused() -> None:
    file = write_notebook("bare")
    file.write_text(file.read_text().replace('"parameters"', '"other"'))
    with pytest.raises(InputError, match="no cell tagged parameters"):
        folders.defaults("bare")


# --- finished or not ----------------------------------------------------------------------------------------


def test_a_run_is_finished_only_when_it_says_so() -> None:
    run = folders.start("train", DEFAULTS)
    run.save_table("scores", TABLE)
    assert not again(run).finished
    assert folders.stale(run.folder) is None
    assert folders.collect("train", "tiny").empty
    run.finish()
    assert again(run).finished
    assert folders.stale(run.folder) == []
    assert list(folders.collect("train", "tiny").folder) == [str(run.folder)]


def test_a_run_killed_before_its_record_is_not_collected(home: Path) -> None:
    """A real process, killed between the table and run.json."""
    code = f"""
import os, signal, pandas
from pathlib import Path
from nbtools.runs import folders
folders.NOTEBOOKS = Path({str(folders.NOTEBOOKS)!r})
run = folders.start("train", {DEFAULTS!r})
run.save_table("scores", pandas.DataFrame({{"r": [1.0]}}))
write = folders.write_text
folders.write_text = lambda *_: os.kill(os.getpid(), signal.{"SIGKILL" if os.name == "posix" else "SIGTERM"})
run.finish()
"""
    killed = subprocess.run([sys.executable, "-c", code], cwd=folders.PROJECT, env={**os.environ}, check=False)
    if os.name == "posix":
        assert killed.returncode == -signal.SIGKILL
    folder = folders.run_folder("train", {})
    assert (folder / "scores.parquet").exists()
    assert folders.collect("train", "tiny").empty
    assert finished().folder == folder
    assert again(finished()).table("scores").equals(TABLE)


def test_the_record_is_written_last(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, to: (order.append(Path(to).name), replace(self, to))[1])
    run = folders.start("train", DEFAULTS)
    run.save_table("scores", TABLE)
    run.save_figure("curve", go.Figure())
    run.finish()
    assert order == ["scores.parquet", "curve.html", "run.json"]


@pytest.mark.parametrize("kind", ["table", "text"])
def test_a_half_written_file_is_never_read(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process ends while the bytes are being written: no file of that name is there, or the old one."""
    run = folders.start("train", DEFAULTS)
    run.save_table("scores", TABLE)
    run.save_text("report.html", "whole")

    def torn(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", torn)
    with pytest.raises(KeyboardInterrupt):
        run.save_table("scores", TABLE.head(1)) if kind == "table" else run.save_text("report.html", "ha")
    assert run.table("scores").equals(TABLE)
    assert (run.folder / "report.html").read_text() == "whole"
    assert [f.name for f in run.folder.glob("*.parquet")] == ["scores.parquet"], "a torn table looks like none"


def test_a_finished_run_is_only_read() -> None:
    """Every byte stays, also when a notebook runs its cells once more."""
    run = finished()
    before = {f: (f.read_bytes(), f.stat().st_mtime_ns) for f in run.folder.iterdir()}
    repeated = finished(table=TABLE.head(1))
    assert repeated.finished
    assert {f: (f.read_bytes(), f.stat().st_mtime_ns) for f in run.folder.iterdir()} == before
    assert repeated.table("scores").equals(TABLE)


def test_a_table_that_is_not_there_is_named_beside_those_that_are() -> None:
    with pytest.raises(InputError, match=r"expected: scores\n  got: +score\n"):
        finished().table("score")


@pytest.mark.parametrize("text", ["", '{"inputs": {', "[]", "{}", '{"inputs": {}}', '"text"'])
def test_a_damaged_record_is_refused(text: str) -> None:
    run = finished()
    (run.folder / "run.json").write_text(text)
    for read in (lambda: again(run), lambda: folders.collect("train", "tiny"), lambda: folders.find("train", "tiny")):
        with pytest.raises(InputError, match=r"record is damaged[\s\S]*run\.json[\s\S]*delete it"):
            read()


# --- stale --------------------------------------------------------------------------------------------------


def other_code(run: folders.Run) -> str:
    write_notebook("train", code=f"{CODE}\n1 + 2")
    return "train.ipynb"


def other_study(run: folders.Run) -> str:
    study = folders.study_file("tiny")
    study.write_text(study.read_text().replace("subject = 1", "subject = 2"))
    return "data/derived/tiny/study.toml"


def other_module(run: folders.Run) -> str:
    module = provenance.PACKAGE / "conditions.py"  # which the notebook imports by way of another
    module.write_text("HIERARCHY = (1,)")
    return module.name


def other_upstream(run: folders.Run) -> str:
    file = folders.find("attack", "tiny").folder / "scores.parquet"
    TABLE.head(1).to_parquet(file)
    return "scores.parquet"


def lost_upstream(run: folders.Run) -> str:
    (folders.find("attack", "tiny").folder / "scores.parquet").unlink()
    return "scores.parquet"


def more_data(run: folders.Run) -> str:
    (folders.home() / "data/raw/betas/session2").write_text("new")
    return "data/raw/betas"


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> folders.Run:
    """A finished run with inputs of every kind: notebook, study, module, upstream table, folder."""
    package = tmp_path / "nbtools"
    package.mkdir()
    (package / "pretended.py").write_text("from nbtools.conditions import HIERARCHY")
    (package / "conditions.py").write_text("HIERARCHY = ()")
    (package / "plots.py").write_text("SHOWN = True")
    monkeypatch.setattr(provenance, "PACKAGE", package)
    data = folders.home() / "data/raw/betas"
    data.mkdir(parents=True)
    (data / "session1").write_text("old")
    finished("attack")
    run = folders.start("train", DEFAULTS)
    run.upstream("attack", roi="TO")
    run.reads(data)
    run.save_table("scores", TABLE)
    run.finish()
    return run


@pytest.mark.parametrize("change", [other_code, other_study, other_module, other_upstream, lost_upstream, more_data])
def test_a_change_makes_a_run_stale(
    built: folders.Run, change: Callable[[folders.Run], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert folders.stale(built.folder) == []
    changed = change(built)
    (name,) = folders.stale(built.folder) or ["nothing"]
    assert name.endswith(changed)
    run = again(built)
    assert not run.finished
    assert f"{name} changed since this ran" in capsys.readouterr().out
    assert not list(run.folder.glob("*.parquet")), "results of other inputs are gone"
    assert folders.collect("train", "tiny").empty


def test_touching_files_changes_nothing(built: folders.Run) -> None:
    for file in [*folders.NOTEBOOKS.iterdir(), *folders.home().rglob("*"), *provenance.PACKAGE.iterdir()]:
        os.utime(file, (1e9, 1e9))
    assert folders.stale(built.folder) == []
    assert again(built).finished


def test_saving_a_notebook_with_its_outputs_changes_nothing(built: folders.Run) -> None:
    """Run All and Ctrl+S in JupyterLab must not undo a night of training."""
    write_notebook("train", outputs=[{"output_type": "stream", "text": "2"}], execution_count=4)
    assert folders.stale(built.folder) == []
    prose = folders.NOTEBOOKS / "train.ipynb"
    prose.write_text(prose.read_text().replace("# Question", "# A better question"))
    assert folders.stale(built.folder) == []


def test_presentation_makes_no_run_stale(built: folders.Run) -> None:
    names = [Path(name).stem for name in record(again(built))["inputs"] if name.endswith(".py")]
    assert "pretended" in names
    assert "conditions" in names
    assert not {"plots", "widgets", "runs", "batch"} & set(names)


def ran(*cells: str) -> folders.Run:
    """Run to the end in a kernel that ran these cells, as IPython notes them."""
    run = folders.start("train", {**DEFAULTS, "In": ["", *cells]})
    run.save_table("scores", TABLE)
    run.finish()
    return run


def test_cells_of_its_own_among_others_are_its_own() -> None:
    run = ran(PARAMETERS, f"{CODE}\n", "scores.plot()  # a reader's look at them")
    assert again(run).finished


@pytest.mark.parametrize("cells", [[PARAMETERS], ["from nbtools import plots, pretended  # and other code"]])
def test_what_other_cells_made_is_not_taken_for_the_notebooks(
    cells: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A student's copy with other code, or a cell that was edited and not saved."""
    run = ran(*cells)
    assert "other cells ran than" in capsys.readouterr().out
    assert not again(run).finished


def test_cells_after_the_finish_need_not_have_run() -> None:
    file = write_notebook("train", code="run.finish()")
    notebook = json.loads(file.read_text())
    notebook["cells"].append({"cell_type": "code", "metadata": {}, "source": ["answer = None"]})
    file.write_text(json.dumps(notebook))
    assert again(ran("run.finish()")).finished


# --- checkpoints --------------------------------------------------------------------------------------------


def interrupted(**parameters: Any) -> folders.Run:
    run = folders.start("train", {**DEFAULTS, **parameters})
    run.checkpoint.write_bytes(b"epoch 3")
    return run


def test_a_checkpoint_is_taken_up_and_goes_with_the_last_word() -> None:
    run = interrupted()
    resumed = again(run)
    assert resumed.checkpoint.read_bytes() == b"epoch 3"
    resumed.finish()
    assert not run.checkpoint.exists()


def test_a_checkpoint_of_another_guide_is_discarded(capsys: pytest.CaptureFixture[str]) -> None:
    """Half a training with the old predictor and half with the new one would be neither."""
    finished("attack")
    run = interrupted()
    table = folders.find("attack", "tiny").folder / "scores.parquet"
    os.utime(table, (1e9, 1e9))
    again(run).upstream("attack")
    assert run.checkpoint.exists()
    os.utime(table, (4e9, 4e9))
    again(run).upstream("attack")
    assert not run.checkpoint.exists()
    assert "training starts anew" in capsys.readouterr().out


def test_a_checkpoint_of_other_code_or_another_study_is_discarded() -> None:
    run = interrupted()
    os.utime(folders.study_file("tiny"), (4e9, 4e9))
    again(run)
    assert not run.checkpoint.exists()


# --- finding ------------------------------------------------------------------------------------------------


def test_find_returns_the_one_run() -> None:
    run = finished(roi="V1", seed=3)
    finished(roi="V4")
    found = folders.find("train", "tiny", roi="V1")
    assert (found.folder, found.parameters, found.finished) == (run.folder, run.parameters, True)
    assert found.table("scores").equals(TABLE)


def test_find_prefers_the_defaults_in_what_was_not_asked_for() -> None:
    usual = finished(roi="V1")
    other = finished(roi="V1", alpha=0.5)
    assert folders.find("train", "tiny", roi="V1").folder == usual.folder
    assert folders.find("train", "tiny", roi="V1", alpha=0.5).folder == other.folder


def test_find_takes_the_only_run_even_without_defaults() -> None:
    run = finished(alpha=0.5)
    assert folders.find("train", "tiny").folder == run.folder


def test_find_says_how_to_make_what_is_missing() -> None:
    finished(roi="V4")
    folders.start("train", {**DEFAULTS, "roi": "V1"})  # unfinished
    said = r"no finished runs [\s\S]*study tiny, roi V1\n[\s\S]*python -m nbtools run train -p study tiny -p roi V1$"
    with pytest.raises(InputError, match=said):
        folders.find("train", "tiny", roi="V1")


def test_all_that_is_missing_is_said_at_once() -> None:
    finished(roi="V4")
    run = folders.start("attack", DEFAULTS)
    with pytest.raises(InputError, match="no finished runs") as raised:
        run.upstreams("train", roi=["V1", "V4", "TO"], seed=["0", "1"])
    lines = [line.strip() for line in str(raised.value).splitlines()]
    absent = [("V1", 0), ("V1", 1), ("V4", 1), ("TO", 0), ("TO", 1)]
    commands = [f"python -m nbtools run train -p study tiny -p roi {roi} -p seed {seed}" for roi, seed in absent]
    assert " ".join(lines).endswith(" && ".join(commands))
    for roi, seed in absent:
        finished(roi=roi, seed=seed)
    assert len(run.upstreams("train", roi=["V1", "V4", "TO"], seed=["0", "1"])) == 6


def test_a_run_that_came_to_nothing_leaves_nothing(home: Path) -> None:
    """A process that asked for a run that is not there, or for a study that is not there, and ended."""
    code = f"""
from pathlib import Path
from nbtools.runs import folders
folders.NOTEBOOKS = Path({str(folders.NOTEBOOKS)!r})
folders.start("train", {DEFAULTS!r}).upstream("attack")
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "no finished runs of attack" in ended.stderr
    assert [path.name for path in (home / "runs/tiny").rglob("*")] == ["train"]


def test_a_home_that_may_not_be_written_to_is_told_in_words(home: Path) -> None:
    """It has data and no ``runs/``, and none can be made there."""
    (home / "runs").write_text("a file in its place: what refuses root, too")
    with pytest.raises(InputError, match=r"cannot be written\n  file: .*runs[\s\S]*NBTOOLS_HOME"):
        folders.start("train", DEFAULTS)
    with pytest.raises(InputError, match="cannot be written"):
        run_notebook("train", {})


def test_find_does_not_choose_between_equals() -> None:
    both = [finished(alpha=alpha).folder.name for alpha in (0.5, 0.6)]
    with pytest.raises(InputError, match="name the parameters they differ in") as raised:
        folders.find("train", "tiny", roi="TO")
    assert all(name in str(raised.value) for name in both)


def test_find_refuses_a_parameter_the_notebook_does_not_have() -> None:
    finished()
    with pytest.raises(InputError, match="train has no parameter rio"):
        folders.find("train", "tiny", rio="TO")


def test_an_upstream_run_is_found_in_the_same_study_and_noted(capsys: pytest.CaptureFixture[str]) -> None:
    upstream = finished("attack", roi="V1")
    (upstream.folder / "model.safetensors").write_bytes(b"weights")
    run = folders.start("train", DEFAULTS)
    assert run.upstream("attack", roi="V1").folder == upstream.folder
    run.finish()
    for name in ("scores.parquet", "model.safetensors"):
        noted = record(run)["inputs"][f"runs/tiny/attack/{upstream.folder.name}/{name}"]
        assert noted["sha256"] == hashlib.sha256((upstream.folder / name).read_bytes()).hexdigest()
    assert "changed since" not in capsys.readouterr().out
    with pytest.raises(InputError, match="no finished runs"):
        folders.Run("train", {**DEFAULTS, "study": "other"}, run.folder, finished=False).upstream("attack", roi="V1")


def test_an_outdated_upstream_run_is_pointed_out(capsys: pytest.CaptureFixture[str]) -> None:
    finished("attack")
    write_notebook("attack", code="2 + 2")
    folders.start("train", DEFAULTS).upstream("attack")
    assert "attack.ipynb changed since that ran" in capsys.readouterr().out


@pytest.mark.parametrize("listed", [{"roi": ["TO", "V1"]}, {"roi": ["TO", "V1"], "seed": ["1", "0"]}])
def test_several_upstream_runs_are_found_by_what_they_differ_in(listed: dict[str, list[Any]]) -> None:
    for roi in ("V1", "TO"):
        for seed in (0, 1):
            finished("attack", roi=roi, seed=seed)
    run = folders.start("train", DEFAULTS)
    found = run.upstreams("attack", **{**listed, "seed": listed.get("seed", 0), "alpha": 0.8})
    pairs = [("TO", 1), ("TO", 0), ("V1", 1), ("V1", 0)]
    assert list(found) == (pairs if "seed" in listed else ["TO", "V1"]), "in this order, numbers as numbers"
    for key, one in found.items():
        roi, seed = key if isinstance(key, tuple) else (key, 0)
        assert (one.parameters["roi"], one.parameters["seed"]) == (roi, seed)
        assert one.folder / "scores.parquet" in run.inputs
    assert list(run.upstreams("attack", roi="V1", seed=1)) == [()]
    with pytest.raises(InputError, match="no finished runs"):
        run.upstreams("attack", roi=["V1", "V4"], seed=0)


def test_two_networks_of_one_name_are_not_joined() -> None:
    """An attack on one `none`, and another one: the notebook's tables would have both under one name."""
    write_notebook(NETWORKS, PARAMETERS + '\npredictor_seed: int = 0\nstart: str = "scratch"')
    plain = {"roi": "none", "predictor_seed": 0, "start": "scratch"}
    one, other = (finished(NETWORKS, **plain, flip=flip) for flip in (False, True))
    attack = folders.start("attack", {**DEFAULTS, "roi": "none"})
    attack.use(one)
    attack.save_table("scores", TABLE)
    attack.finish()
    run = folders.start("train", DEFAULTS)
    for found in (one, attack, finished(NETWORKS, **{**plain, "roi": "ce-weight"}, flip=True)):
        run.use(found)
    with pytest.raises(InputError, match=r"two networks are none, seed 0[\s\S]*flip False and True"):
        run.use(other)
    later = folders.start("train", {**DEFAULTS, "seed": 1})
    later.use(other)
    with pytest.raises(InputError, match="two networks are none"):
        later.use(attack)


# --- saving several results ---------------------------------------------------------------------------------


def test_results_are_saved_by_name_but_for_none_and_once() -> None:
    run = folders.start("train", DEFAULTS)
    run.save({"a": TABLE, "b": None}, {"picture": go.Figure(), "nothing": None})
    assert run.table("a").equals(TABLE)
    names = {file.name for file in run.folder.iterdir()}
    assert names - {"picture.png", "picture.svg"} == {"a.parquet", "picture.html"}, "and pictures, where a browser is"
    run.finish()
    again(run).save({"a": TABLE.assign(r=0.0), "c": TABLE}, {})
    assert run.table("a").equals(TABLE), "a finished run is only read"
    assert not (run.folder / "c.parquet").exists()


# --- settings taken over ------------------------------------------------------------------------------------


def test_settings_are_taken_over_but_for_what_is_changed() -> None:
    assert several.taken_over("train", DEFAULTS, "") == DEFAULTS
    assert several.taken_over("train", DEFAULTS, "alpha=1  flip=True") == {**DEFAULTS, "alpha": 1.0, "flip": True}


@pytest.mark.parametrize(("changes", "says"), [("alpha", "cannot be read"), ("aplha=1", "aplha"), ("seed=x", "seed")])
def test_changes_that_cannot_be(changes: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        several.taken_over("train", DEFAULTS, changes)


# --- collecting ---------------------------------------------------------------------------------------------


def test_networks_are_chosen_by_value_or_list_and_the_defaults_go_before() -> None:
    made = {(roi, seed): finished(roi=roi, seed=seed) for roi in ("V1", "V4", "TO") for seed in (0, 1)}
    finished(roi="V1", flip=True)
    found = several.chosen(folders.collect("train", "tiny"), "train", roi=["V1", "TO"], seed="0", alpha=0.8)
    assert sorted(found.folder) == sorted(str(made[roi, 0].folder) for roi in ("V1", "TO"))
    mixed = pd.concat([found.assign(notebook="train"), found.assign(notebook="attack")])
    assert set(several.chosen(mixed, "train", roi="V1").notebook) == {"train"}
    with pytest.raises(InputError, match="no parameter rio"):
        several.chosen(found, "train", rio="V1")


def test_collect_gives_parameters_as_columns() -> None:
    made = [finished(roi=roi, seed=seed) for roi in ("V1", "TO") for seed in (0, 1)]
    write_study(folders.home() / "data/derived/other", "other")
    finished(study="other")
    found = folders.collect("train", "tiny")
    assert sorted(found.folder) == sorted(str(run.folder) for run in made)
    assert list(found.columns) == [*DEFAULTS, "seconds", "finished", "folder"]
    assert set(zip(found.roi, found.seed, strict=True)) == {("V1", 0), ("V1", 1), ("TO", 0), ("TO", 1)}
    assert folders.collect("attack", "tiny").empty
    with pytest.raises(InputError, match="no notebook 'never'"):
        folders.collect("never", "tiny")


def test_prefer_defaults_keeps_one_run_for_each_choice_where_it_can() -> None:
    finished(roi="V1")
    finished(roi="V1", alpha=0.5)
    finished(roi="TO", alpha=0.5)
    finished(roi="TO", alpha=0.6)
    kept = folders.prefer_defaults(folders.collect("train", "tiny"), "train", by=("roi",))
    assert sorted(zip(kept.roi, kept.alpha, strict=True)) == [("TO", 0.5), ("TO", 0.6), ("V1", 0.8)]
    everything = folders.prefer_defaults(folders.collect("train", "tiny"), "train", by=())
    assert len(everything) == 3, "V1 with α = 0.5 differs in both"


def test_of_runs_with_a_studys_own_settings_the_one_that_differs_in_nothing_else_is_found() -> None:
    usual = finished(roi="V1", alpha=0.5)
    finished(roi="V1", alpha=0.5, seed=3)
    assert folders.find("train", "tiny", roi="V1").folder == usual.folder


def test_runs_from_before_a_parameter_existed_give_way_to_the_defaults() -> None:
    before = finished(roi="V1")
    finished(roi="V1", alpha=0.5)
    write_notebook("train", PARAMETERS + "\nsteps: int = 20")
    assert folders.find("train", "tiny", roi="V1").folder == before.folder
    usual = folders.start("train", {**DEFAULTS, "roi": "V1", "steps": 20})
    usual.finish()
    assert folders.find("train", "tiny", roi="V1").folder == usual.folder


def test_tables_of_many_runs_become_one() -> None:
    for roi in ("V1", "TO"):
        finished(roi=roi, table=TABLE.assign(r=float(len(roi)), name=roi))
    joined = several.tables(folders.collect("train", "tiny"), "scores", columns=("roi", "seed"))
    assert list(joined.columns) == ["image_id", "r", "name", "roi", "seed"]
    assert (joined.roi == joined.name).all()
    assert list(joined.index) == [0, 1, 2, 3]


# --- what a run leaves behind -------------------------------------------------------------------------------


def test_the_record_tells_everything_the_results_came_from(built: folders.Run) -> None:
    note = record(built)
    assert note["parameters"] == DEFAULTS
    assert (note["notebook"], note["study"]) == ("train", "tiny")
    study = folders.study_file("tiny")
    assert note["inputs"]["data/derived/tiny/study.toml"]["sha256"] == hashlib.sha256(study.read_bytes()).hexdigest()
    assert "nbtools/conditions.py" in note["inputs"]
    assert note["nbtools"] == nbtools.__version__
    assert all(len(next(iter(stamp.values()))) == 64 for stamp in note["inputs"].values())
    for package in ("torch", "numpy", "foolbox", "pandas"):
        assert note["packages"][package] == importlib.metadata.version(package)
    assert note["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
    assert note["device"]
    assert 0 <= note["seconds"] < 60
    assert pd.Timestamp(note["finished"]).tzinfo is not None


@pytest.mark.skipif(os.name != "posix", reason="Windows does not tell a process's highest memory use")
def test_peak_memory_is_in_megabytes() -> None:
    held = bytearray(os.urandom(1 << 20)) * 200
    assert len(held) / 2**20 < record(finished())["peak_memory_mb"] < 100_000


def test_the_commit_is_noted_and_whether_files_differ_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.setattr(provenance, "PROJECT", project)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert record(finished(seed=1))["git"] is None
    git = ("git", "-C", str(project), "-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run([*git, "init", "-q"], check=True)
    (project / "a").write_text("1")
    subprocess.run([*git, "add", "a"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "a"], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert record(finished(seed=2))["git"] == {"commit": commit, "dirty": False}
    (project / "a").write_text("2")
    assert record(finished(seed=3))["git"] == {"commit": commit, "dirty": True}


def test_a_figures_page_needs_nothing_else(home: Path) -> None:
    run = folders.start("train", DEFAULTS)
    run.save_figure("curve", go.Figure(go.Scatter(y=[1, 2], name="</script>")))
    page = (run.folder / "curve.html").read_text()
    library = page.split('id="library">')[1].split("<")[0]
    assert b"plotly.js v" in gzip.decompress(base64.b64decode(library))[:200]
    assert not [word for word in ("http://", "https://", 'src="', "cdn") if word in page.replace(library, "")]
    assert page.count("</script>") == 2, "a figure's words end no script"
    assert len(page) < 2_500_000
    assert sorted(file.name for file in (home / "runs").glob("*.js")) == []


@pytest.mark.parametrize("missing", ["a browser", "kaleido"])
def test_without_a_browser_a_figure_is_a_page_and_the_run_says_so(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kaleido = pytest.importorskip("kaleido")
    errors = pytest.importorskip("choreographer.errors")

    def fails(*_: object, **__: object) -> None:
        raise errors.ChromeNotFoundError

    monkeypatch.delenv(figures.LATER)
    monkeypatch.setattr(kaleido, "write_fig_from_object_sync", fails)
    if missing == "kaleido":
        monkeypatch.setitem(sys.modules, "kaleido", None)
    run = folders.start("train", DEFAULTS)
    run.save({}, {"curve": go.Figure(), "none": None})
    run.finish()
    assert "curve without PNG and SVG" in capsys.readouterr().out
    figures.draw_pictures("tiny")
    assert "PNG and SVG of 1 figures of tiny are lacking" in capsys.readouterr().out
    assert {file.name for file in run.folder.iterdir()} >= {"curve.html", "run.json"}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What a browser was asked to draw; each picture holds the bars of its figure."""
    kaleido = pytest.importorskip("kaleido")
    asked: list[dict[str, Any]] = []

    def draws(wanted: list[dict[str, Any]], kopts: dict[str, Any]) -> tuple[()]:
        assert kopts["mathjax"] is False, "kaleido would fetch it"
        for each in wanted:
            Path(each["path"]).write_text(str(each["fig"]["data"][0]["y"]))
        asked.extend(wanted)
        return ()

    monkeypatch.delenv(figures.LATER)
    monkeypatch.setattr(kaleido, "write_fig_from_object_sync", draws)
    return asked


def bars(*heights: int) -> go.Figure:
    return go.Figure(go.Bar(y=list(heights))).update_layout(width=700)


def files_of(run: folders.Run) -> set[str]:
    return {file.name for file in run.folder.iterdir() if file.suffix in (".html", ".png", ".svg")}


def test_a_figure_is_a_page_and_two_pictures(drawn: list[dict[str, Any]]) -> None:
    run = folders.start("train", DEFAULTS)
    run.save({}, {"curve": bars(1, 2), "bars": bars(3)})
    assert files_of(run) == {f"{name}.{kind}" for name in ("bars", "curve") for kind in ("html", "png", "svg")}
    assert {each["opts"]["width"] for each in drawn} == {700}


def test_a_workflow_draws_the_pictures_of_all_runs_together(
    drawn: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(figures.LATER, "yes")
    runs = [folders.start("train", {**DEFAULTS, "seed": seed}) for seed in range(30)]
    for seed, run in enumerate(runs):
        run.save({}, {"bars": bars(1, seed)})
        run.save_text("report.html", "no figure")
        if seed:
            run.finish()
    assert not drawn
    figures.draw_pictures("tiny")
    assert files_of(runs[0]) == {"bars.html", "report.html"}, "it is not finished, and may be drawn anew"
    assert all(files_of(run) == {"bars.html", "bars.png", "bars.svg", "report.html"} for run in runs[1:])
    assert (runs[7].folder / "bars.svg").read_text() == "[1, 7]", "what the page shows"
    assert len(drawn) == 2 * 29
    figures.draw_pictures("tiny")
    assert len(drawn) == 2 * 29, "what is there is not drawn again"


@pytest.mark.parametrize("foreign", ["cut", "latin-1", "a list", "a word", "empty"])
def test_a_page_that_is_damaged_or_foreign_keeps_no_other_from_its_pictures(
    foreign: str, drawn: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(figures.LATER, "yes")
    run = folders.start("train", DEFAULTS)
    run.save({}, {"bars": bars(1, 2)})
    run.finish()
    whole = (run.folder / "bars.html").read_bytes()
    begins = next(line for line in whole.splitlines() if line.startswith(b"const {")).partition(b"= ")[0] + b"= "
    content = {"cut": whole[: whole.index(begins) + 60], "latin-1": b"\xe4\n" + whole, "empty": b""}
    content |= {"a list": begins + b"[1];\n", "a word": begins + b'"ab";\n'}
    (run.folder / "a.html").write_bytes(content[foreign])
    figures.draw_pictures("tiny")
    assert files_of(run) == {"a.html", "bars.html", "bars.png", "bars.svg"}


def test_a_figure_that_cannot_be_drawn_keeps_no_other_from_its_pictures(
    drawn: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor does one whose pictures were begun where there was no room: they are drawn again."""
    import kaleido

    monkeypatch.setenv(figures.LATER, "yes")
    run = folders.start("train", DEFAULTS)
    run.save({}, {f"bars{i:02}": bars(1, i) for i in range(30)})
    run.finish()
    (run.folder / "bars07.png").touch()
    draws, left_out = kaleido.write_fig_from_object_sync, "bars03"

    def some(wanted: list[dict[str, Any]], kopts: dict[str, Any]) -> tuple[Exception, ...]:
        draws([each for each in wanted if left_out not in each["path"]], kopts)
        return (TimeoutError("a figure too large"),) if any(left_out in each["path"] for each in wanted) else ()

    monkeypatch.setattr(kaleido, "write_fig_from_object_sync", some)
    figures.draw_pictures("tiny")
    said = capsys.readouterr().out
    assert "PNG and SVG of 1 figures of tiny are lacking" in said
    assert "a figure too large" in said
    assert "bars03.html" in said
    assert len(files_of(run)) == 3 * 30 - 2
    assert (run.folder / "bars07.png").read_text() == "[1, 7]"


def test_no_picture_of_an_older_figure_stays(drawn: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    run = folders.start("train", DEFAULTS)
    run.save_figure("bars", bars(1, 2))
    monkeypatch.setenv(figures.LATER, "yes")
    run.save_figure("bars", bars(3, 4))
    assert files_of(run) == {"bars.html"}


def test_nothing_is_pickled(built: folders.Run) -> None:
    built.save_text("report.html", "…")
    pages = [f for f in folders.home().rglob("runs/**/*") if f.is_file()]
    assert {f.suffix for f in pages} == {".json", ".parquet", ".html"}
    source = Path(folders.__file__).read_text()
    assert not [word for word in ("pickle", "joblib", "torch.save") if word in source]


def test_a_summary_of_nothing_says_what_to_run(home: Path) -> None:
    found = folders.collect("train", "tiny")
    assert set(DEFAULTS) <= set(found.columns)
    with pytest.raises(InputError, match="no finished run to read from"):
        several.tables(found[found.roi == "TO"], "scores", columns=())


def test_a_record_says_which_voxels_were_chosen(home: Path) -> None:
    run = finished()
    assert record(run)["voxels"] == {
        "betas": "b3",
        "retinotopy": "Kastner2015",
        "zscore": True,
        "noise_ceiling": 0.0,
        "subjects": [],
    }
    file = home / "data/derived/tiny/study.toml"
    file.write_text(file.read_text() + "[voxels]\nnoise_ceiling = 12.5\n")
    again_run = again(run)
    assert not again_run.finished, "another choice of voxels, other results"
    again_run.finish()
    assert record(again_run)["voxels"]["noise_ceiling"] == 12.5
