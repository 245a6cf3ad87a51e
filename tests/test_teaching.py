"""For a class: answers that stay with the instructor, a first cell that installs, a glossary that is in order."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from nbtools.cli import main
from nbtools.errors import InputError
from nbtools.runs import folders, provenance
from nbtools.workflow.teaching import student_copies

FILES = sorted(folders.NOTEBOOKS.glob("*.ipynb"))
NAMES = [file.stem for file in FILES]
LINK = re.compile(r"\]\(([^):]+)\)")


def read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8"))


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def tagged(cells: list[dict[str, Any]], tag: str) -> list[dict[str, Any]]:
    return [cell for cell in cells if tag in cell["metadata"].get("tags", [])]


def numbers(text: str) -> list[str]:
    return re.findall(r"^(\d)\. ", text, re.MULTILINE)


def code(text: str, *tags: str) -> dict[str, Any]:
    metadata = {"tags": list(tags)} if tags else {}
    return {"cell_type": "code", "id": f"c{abs(hash(text)) % 10**6}", "metadata": metadata, "source": [text]} | {
        "outputs": [],
        "execution_count": None,
    }


@pytest.fixture
def notebooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two notebooks in the place of the project's: one with an answer and an output, one with neither."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    answer = {"cell_type": "markdown", "id": "a", "metadata": {"tags": ["answer"]}, "source": ["the planted secret"]}
    ran = {**code("1 + 1"), "execution_count": 3}
    ran["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["two"]}]
    for name, cells in {"one": [code('study: str = "ä"', "parameters"), ran, answer], "two": [code("2")]}.items():
        notebook = {"cells": cells, "metadata": {"kernelspec": {}}, "nbformat": 4, "nbformat_minor": 5}
        (folder / f"{name}.ipynb").write_text(json.dumps(notebook, ensure_ascii=False), encoding="utf-8")
    monkeypatch.setattr(folders, "NOTEBOOKS", folder)
    return folder


# --- student copies -----------------------------------------------------------------------------------------


def test_a_planted_answer_and_outputs_are_gone(notebooks: Path, tmp_path: Path) -> None:
    copies = student_copies(tmp_path / "a/class")
    assert [file.name for file in copies] == ["one.ipynb", "two.ipynb"]
    assert "secret" not in copies[0].read_text(encoding="utf-8")
    assert '"two"' not in copies[0].read_text(encoding="utf-8")
    assert [source(cell) for cell in read(copies[0])["cells"]] == ['study: str = "ä"', "1 + 1"]
    assert "secret" in (notebooks / "one.ipynb").read_text(encoding="utf-8"), "the original keeps it"


@pytest.mark.parametrize("existing", ["one.ipynb", "essay.txt", ".ipynb_checkpoints"])
def test_work_is_never_overwritten(existing: str, notebooks: Path, tmp_path: Path) -> None:
    folder = tmp_path / "class"
    folder.mkdir()
    (folder / existing).write_text("a student's")
    with pytest.raises(InputError, match="a new or empty folder"):
        student_copies(folder)
    assert [file.read_text() for file in folder.iterdir()] == ["a student's"]


def test_a_file_is_no_folder(notebooks: Path, tmp_path: Path) -> None:
    (tmp_path / "class").write_text("")
    with pytest.raises(InputError, match="a file"):
        student_copies(tmp_path / "class")


def test_the_command_copies_into_an_empty_folder(
    notebooks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "class").mkdir()
    assert main(["student", str(tmp_path / "class")]) == 0
    assert capsys.readouterr().out == f"2 notebooks without answers: {tmp_path / 'class'}\n"
    assert main(["student", str(tmp_path / "class")]) == 1
    assert "there is something already" in capsys.readouterr().err


def test_copies_of_the_project_are_the_same_but_for_the_answers(tmp_path: Path) -> None:
    """Also in the eyes of provenance: what a copy computes is what its original would."""
    for original, copy in zip(FILES, student_copies(tmp_path / "class"), strict=True):
        whole = read(original)
        whole["cells"] = [cell for cell in whole["cells"] if not tagged([cell], "answer")]
        assert read(copy) == whole
        assert copy.read_text(encoding="utf-8").endswith("}\n")
        assert provenance.code_digest(copy) == provenance.code_digest(original)


# --- the instructor's section -------------------------------------------------------------------------------


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_every_exercise_has_one_answer(file: Path) -> None:
    cells = read(file)["cells"]
    assert tagged(cells, "answer") == [cells[-1]], "one cell, the last"
    answer = cells[-1]
    assert answer["cell_type"] == "markdown"
    head, folded = source(answer).split("<details>\n<summary>Show</summary>\n\n")
    assert head == "## For instructors: answers\n\n"
    assert folded.endswith("\n\n</details>"), "folded, wherever the notebook is read"
    assert "simulated" in source(answer), "the study is"
    scores = re.findall(r"(?<![\d/√])\.\d\d\b", source(answer).replace("√0.429 = .65", ""))
    assert not scores, "a score of another machine's networks"
    (exercises,) = [cell for cell in cells if source(cell).startswith("## Try it yourself")]
    assert numbers(source(answer)) == numbers(source(exercises))


# --- the first cell: installing -----------------------------------------------------------------------------


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_the_cell_that_installs_comes_first_and_is_the_same_everywhere(file: Path) -> None:
    cells = [cell for cell in read(file)["cells"] if cell["cell_type"] == "code"]
    assert tagged(cells, "install") == cells[:1]
    assert source(cells[0]) == install_cell()


def install_cell() -> str:
    first = next(cell for cell in read(FILES[0])["cells"] if cell["cell_type"] == "code")
    assert tagged([first], "install"), "the first code cell installs the project"
    return source(first)


class Installation:
    """Runs the cell as on a machine without the project, and notes the commands it would run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, place: Path, *there: str) -> None:
        self.commands: list[list[str]] = []
        self.path: list[str] = []
        place.mkdir(parents=True, exist_ok=True)
        monkeypatch.chdir(place)
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: name in there or None)
        monkeypatch.setattr(subprocess, "check_call", lambda command: self.commands.append([*map(str, command)]))
        monkeypatch.setattr("sys.path", self.path)
        exec(install_cell(), {})


def test_in_a_checkout_it_installs_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nbtools").mkdir()
    (tmp_path / "nbtools/__init__.py").touch()
    monkeypatch.delenv("NBTOOLS_REPOSITORY", raising=False)
    done = Installation(monkeypatch, tmp_path / "notebooks")
    assert [command[1:] for command in done.commands] == [["-m", "pip", "install", "--quiet", "--editable", ".."]]
    assert done.path == [str(tmp_path)], "so that the running kernel finds it"


def test_elsewhere_it_installs_what_the_address_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBTOOLS_REPOSITORY", "https://the.address")
    done = Installation(monkeypatch, tmp_path / "content")
    assert [command[-1] for command in done.commands] == ["git+https://the.address"]
    assert done.path == []


@pytest.mark.parametrize("there", [("numpy", "torch"), ("numpy", "pandas", "requests", "tornado"), ()])
def test_what_the_kernel_may_have_loaded_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: tuple[str, ...]
) -> None:
    """Colab's torch is built for its GPU: pip is asked for that very version, local part and all."""
    monkeypatch.setattr(importlib.metadata, "version", lambda name: f"2.8.0+{name}")
    monkeypatch.setenv("NBTOOLS_REPOSITORY", "https://the.address")
    (command,) = Installation(monkeypatch, tmp_path / "content", *there).commands
    assert command[1:5] == ["-m", "pip", "install", "--quiet"]
    assert command[5:-1] == [f"{name}==2.8.0+{name}" for name in there]


def test_without_an_address_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NBTOOLS_REPOSITORY", raising=False)
    with pytest.raises(AssertionError, match="NBTOOLS_REPOSITORY"):
        Installation(monkeypatch, tmp_path / "content")


def test_where_the_project_is_it_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "check_call", lambda command: pytest.fail("nothing to install"))
    exec(install_cell(), {})


def test_the_cell_that_installs_is_no_part_of_what_computes(tmp_path: Path) -> None:
    parts = [code('study: str = "demo"', "parameters"), code("import nbtools.metrics.stats")]
    digests = set()
    for first in ([], [code("import sys", "install")], [code("import os", "install")]):
        file = tmp_path / "x.ipynb"
        file.write_text(json.dumps({"cells": [*first, *parts]}))
        digests.add(provenance.code_digest(file))
    assert len(digests) == 1


# --- pages --------------------------------------------------------------------------------------------------


def test_the_glossary_is_alphabetical_and_points_to_notebooks() -> None:
    text = (folders.PROJECT / "notebooks/glossary.md").read_text(encoding="utf-8")
    entries = re.findall(r"^- \*\*(.+?)\.\*\* (.+)$", text, re.MULTILINE)
    assert len(entries) > 40
    spelt = str.maketrans({"α": "alpha", "ε": "epsilon", "κ": "kappa", "ρ": "rho"})
    keys = [term.lower().translate(spelt) for term, _ in entries]
    assert keys == sorted(keys)
    known = {name[:2] for name in NAMES}
    for term, meaning in entries:
        places = re.findall(r"\[([\d, ]+)\]", meaning)
        assert places, f"{term} names no notebook"
        assert {number for place in places for number in place.split(", ")} <= known, term


@pytest.mark.parametrize("page", ["docs/teaching.md", "notebooks/glossary.md"])
def test_links_point_somewhere(page: str) -> None:
    file = folders.PROJECT / page
    for target in re.findall(r"\]\(([^)]+)\)", file.read_text(encoding="utf-8")):
        assert (file.parent / target).exists(), target


def test_every_link_of_a_copy_leads_to_a_file_beside_it(tmp_path: Path) -> None:
    """JupyterLab opens nothing above the folder it was started in: the notebooks', or a student's."""
    copies = student_copies(tmp_path)
    linked = {name for copy in copies for cell in read(copy)["cells"] for name in LINK.findall(source(cell))}
    assert {*NAMES[1:]} | {"glossary"} <= {name.split(".")[0] for name in linked}
    assert {name for name in linked if not (tmp_path / name).exists()} == set()


def test_the_lesson_takes_ninety_minutes() -> None:
    text = (folders.PROJECT / "docs/teaching.md").read_text(encoding="utf-8")
    spans = [(int(a), int(b)) for a, b in re.findall(r"^\| (\d+)–(\d+) \|", text, re.MULTILINE)]
    assert spans[0][0] == 0
    assert spans[-1][1] == 90
    assert all(before[1] == after[0] for before, after in pairwise(spans))
