"""An installed package in a reader's folder: where home is, and copies of notebooks that are renewed or left alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nbtools import places
from nbtools.cli import main
from nbtools.data import study
from nbtools.errors import InputError
from nbtools.runs import copies, provenance
from nbtools.workflow import config
from nbtools.workflow.config import config_named, file_named

FIRST, PAGE, CONFIG = "notebooks/01_first.ipynb", "notebooks/glossary.md", "config/nsd.yaml"


def notebook(code: str, *outputs: str, prose: str = "# Why") -> str:
    said = [{"output_type": "stream", "name": "stdout", "text": text} for text in outputs]
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": prose},
        {"cell_type": "code", "metadata": {}, "source": code.splitlines(keepends=True), "outputs": said},
    ]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What an installed package brings along; the working folder is a reader's, and empty."""
    project = tmp_path / "site-packages/nbtools/shipped"
    files = {FIRST: notebook("a = 1"), PAGE: "words", CONFIG: "study: nsd\n", "Snakefile": "rules"}
    for name, text in files.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    for module in (places, study, copies, provenance):
        monkeypatch.setattr(module, "INSTALLED", True)
    for module in (places, copies, provenance, config):
        monkeypatch.setattr(module, "PROJECT", project)
    (tmp_path / "reader").mkdir()
    monkeypatch.chdir(tmp_path / "reader")
    monkeypatch.setenv("NBTOOLS_HOME", "to be restored")  # `home` writes it
    monkeypatch.delenv("NBTOOLS_HOME")
    return project


def text_of(name: str) -> str:
    return Path(name).read_text()


# --- the home -----------------------------------------------------------------------------------------------


def test_home_is_the_working_folder_also_for_processes_that_start_elsewhere(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert study.home() == tmp_path / "reader"
    monkeypatch.chdir(shipped)
    assert study.home() == tmp_path / "reader", "as a kernel finds it, which inherits the environment"


@pytest.mark.parametrize(("copied", "place"), [(True, "reader"), (False, "reader/notebooks")])
def test_a_notebook_that_is_opened_among_the_copies_has_their_home(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copied: bool, place: str
) -> None:
    """An editor starts its kernel in the notebook's folder; another folder of that name is no one's copies."""
    if copied:
        copies.renew()
    Path("notebooks").mkdir(exist_ok=True)
    monkeypatch.delenv("NBTOOLS_HOME", raising=False)
    monkeypatch.chdir("notebooks")
    assert study.home() == tmp_path / place


def test_a_home_that_is_given_holds(shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path / "elsewhere"))
    assert study.home() == tmp_path / "elsewhere"
    copies.renew()
    assert (tmp_path / "elsewhere" / FIRST).exists()
    assert not Path("notebooks").exists()


# --- the copies ---------------------------------------------------------------------------------------------


def test_copies_count_from_then_on_and_foreign_notebooks_do_not(shipped: Path, tmp_path: Path) -> None:
    Path("notebooks").mkdir()
    Path("notebooks/07_mine.ipynb").write_text("{}")
    assert copies.own_folder() == shipped
    assert copies.renew() == []
    assert copies.own_folder() == tmp_path / "reader"
    assert text_of(FIRST) == notebook("a = 1")
    assert text_of("notebooks/07_mine.ipynb") == "{}"
    assert not Path("Snakefile").exists()


def test_a_checkout_has_no_copies(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copies.renew()
    monkeypatch.setattr(copies, "INSTALLED", False)
    assert copies.own_folder() == shipped


@pytest.mark.parametrize(
    ("mine", "kept"),
    [
        (notebook("a = 1", "3\n"), False),  # what came out is not the reader's word
        (notebook("a = 2"), True),
        (notebook("a = 1", prose="# Because"), True),
        (notebook("a = 1") + "\n", False),
        (None, False),
    ],
    ids=["outputs", "code", "prose", "saved anew", "deleted"],
)
def test_a_new_version_renews_what_a_reader_has_not_changed(shipped: Path, mine: str | None, kept: bool) -> None:
    copies.renew()
    Path(FIRST).unlink()
    if mine is not None:
        Path(FIRST).write_text(mine)
    assert copies.renew() == [], "this version's are no news"
    assert text_of(FIRST) == (mine or notebook("a = 1")), "nor is a byte of them changed"
    (shipped / FIRST).write_text(notebook("a = 10"))
    (shipped / PAGE).write_text("more words")
    for _ in range(2):
        assert copies.renew() == [FIRST] * kept
        assert text_of(FIRST) == (mine if kept else notebook("a = 10"))
        assert text_of(PAGE) == "more words"


def test_a_change_that_is_taken_back_is_renewed_again(shipped: Path) -> None:
    copies.renew()
    Path(FIRST).write_text(notebook("a = 2"))
    (shipped / FIRST).write_text(notebook("a = 10"))
    assert copies.renew() == [FIRST]
    Path(FIRST).write_text(notebook("a = 1"))
    assert copies.renew() == []
    assert text_of(FIRST) == notebook("a = 10")


def test_a_file_that_was_there_before_is_kept_and_told(shipped: Path) -> None:
    for name in (FIRST, CONFIG):
        Path(name).parent.mkdir(exist_ok=True)
    Path(FIRST).write_text(notebook("mine"))
    Path(CONFIG).write_text("study: mine\n")
    assert copies.renew() == copies.renew() == [CONFIG, FIRST]
    assert text_of(FIRST) == notebook("mine")


def test_a_notebook_of_the_readers_that_is_none_is_kept(shipped: Path) -> None:
    copies.renew()
    Path(FIRST).write_text("a = 1")
    assert copies.renew() == []
    (shipped / FIRST).write_text(notebook("a = 10"))
    assert copies.renew() == [FIRST]
    assert text_of(FIRST) == "a = 1"


# --- what is found ------------------------------------------------------------------------------------------


def test_a_study_file_is_the_readers_else_the_projects(shipped: Path, tmp_path: Path) -> None:
    assert file_named("nsd") == file_named(CONFIG) == shipped / CONFIG
    copies.renew()
    Path(CONFIG).write_text("study: mine\n")
    Path("config/other.yaml").write_text("study: other\n")
    assert config_named("nsd") == config_named(CONFIG) == {"study": "mine"}
    assert config_named("other") == {"study": "other"}
    assert file_named("config/nowhere.yaml") == Path("config/nowhere.yaml")
    assert file_named("demo") is None


def test_a_foreign_config_folder_is_asked_by_its_path_alone(shipped: Path) -> None:
    Path("config").mkdir()
    Path("config/demo.yaml").write_text("lr: 1\n")
    assert file_named("demo") is None
    assert file_named("config/demo.yaml") == Path("config/demo.yaml")


def test_records_name_files_as_a_checkout_does(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the environment lies inside the reader's folder or not."""
    package = shipped.parent
    (package / "stats.py").write_text("1")
    monkeypatch.setattr(provenance, "PACKAGE", package)
    for home in (Path.cwd(), package.parents[1]):
        monkeypatch.setenv("NBTOOLS_HOME", str(home))
        names = [provenance.short(file) for file in (package / "stats.py", shipped / FIRST, home / "data/x")]
        assert names == ["nbtools/stats.py", FIRST, "data/x"]
        for name, file in zip(names, (package / "stats.py", shipped / FIRST), strict=False):
            assert provenance.unchanged(name, provenance.stamp(file))


def test_a_foreign_folder_of_the_packages_name_makes_nothing_old(
    shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a clone, where an installed version is tried."""
    package = shipped.parent
    monkeypatch.setattr(provenance, "PACKAGE", package)
    (package / "stats.py").write_text("1")
    for name in ("nbtools/stats.py", FIRST):
        Path(name).parent.mkdir()
        Path(name).write_text(notebook("other"))
    assert provenance.unchanged("nbtools/stats.py", provenance.stamp(package / "stats.py"))
    assert provenance.unchanged(FIRST, provenance.stamp(shipped / FIRST))


def test_the_repository_around_an_environment_is_not_taken_for_the_projects(shipped: Path) -> None:
    assert provenance.surroundings()["git"] is None


def test_a_foreign_notebook_is_refused_with_the_way_to_its_place(
    shipped: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("30_mine.ipynb").write_text(notebook("a = 1"))
    monkeypatch.setattr("nbtools.cli.runs.INSTALLED", True)
    assert main(["run", "30_mine.ipynb"]) == 1
    assert "nbtools lab" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_told(shipped: Path) -> None:
    Path("notebooks").write_text("a file")
    with pytest.raises(InputError, match="notebooks"):
        copies.renew()


def test_a_folder_in_a_files_place_is_told(shipped: Path) -> None:
    Path(PAGE).mkdir(parents=True)
    with pytest.raises(InputError, match=PAGE):
        copies.renew()


@pytest.mark.parametrize("damaged", ["{", "null", "3", "[1]", '"words"', "\x00"])
def test_a_damaged_list_of_copies_is_told_and_costs_nobody_a_change(damaged: str, shipped: Path) -> None:
    copies.renew()
    Path(FIRST).write_text(notebook("a = 2"))
    (list_of_copies,) = Path("notebooks").glob(".*.json")
    list_of_copies.write_text(damaged)
    with pytest.raises(InputError, match=r"delete it"):
        copies.renew()
    list_of_copies.unlink()
    assert copies.renew() == [FIRST]
    assert text_of(FIRST) == notebook("a = 2")


# --- the lab ------------------------------------------------------------------------------------------------


@pytest.fixture
def opened(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What JupyterLab is started with, in place of its start."""
    arguments: list[str] = []
    monkeypatch.setattr("nbtools.cli.lab.INSTALLED", True)
    monkeypatch.setattr("jupyterlab.labapp.LabApp.launch_instance", arguments.extend)
    return arguments


def test_the_lab_opens_on_the_copies_and_names_those_that_are_old(
    opened: list[str], shipped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lab", "--no-browser"]) == 0
    assert opened[0] == f"--notebook-dir={tmp_path / 'reader/notebooks'}"
    assert {"--ip=127.0.0.1", "--port=8888", "--no-browser"} <= set(opened)
    said = capsys.readouterr().out
    assert f"results:   {tmp_path / 'reader/runs'}" in said
    assert "kept" not in said
    Path(FIRST).write_text(notebook("a = 2"))
    (shipped / FIRST).write_text(notebook("a = 10"))
    main(["lab"])
    assert f"kept: {tmp_path / 'reader' / FIRST} is yours" in capsys.readouterr().out


def test_the_lab_opens_on_student_copies_whose_results_lie_with_the_others(
    opened: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("class").mkdir()
    assert main(["lab", "class"]) == 0
    assert opened[0] == f"--notebook-dir={tmp_path / 'reader/class'}"
    assert f"results:   {tmp_path / 'reader/runs'}" in capsys.readouterr().out
    assert not Path("notebooks").exists()
    assert main(["lab", "nowhere"]) == 1
    assert "nbtools student" in capsys.readouterr().err
