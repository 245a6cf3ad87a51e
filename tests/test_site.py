"""The site's sources: which run is shown, what becomes of outputs, and that no room or notebook is left out."""

from __future__ import annotations

import importlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import nbformat
import plotly.graph_objects as go
import pytest
from executed_runs import code, display, plotly, write_run

from nbtools.errors import InputError
from nbtools.plots.style import new_figure
from nbtools.runs import folders
from nbtools.site import build_site, explorers
from nbtools.site.outputs import WIDGET, prepare
from nbtools.site.pages import explorers_page, gallery_page, notebooks_page
from nbtools.site.rooms import ROOMS, reference
from nbtools.site.shown import Shown, note, shown
from nbtools.workflow.teaching import student_copies

NOTEBOOK = "02_neural_predictors"
OWN = folders.PROJECT / "docs" / "site"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))
    return tmp_path


# --- which run is shown -------------------------------------------------------------------------------------


def test_the_run_nearest_the_defaults_is_shown_then_the_newest(home: Path) -> None:
    write_run(home, NOTEBOOK, "2026-03-01T10:00:00+0000", roi="V1", seed=4)
    write_run(home, NOTEBOOK, "2026-01-01T10:00:00+0000")
    (home / "runs/demo" / NOTEBOOK / "unfinished").mkdir()
    newest = write_run(home, NOTEBOOK, "2026-02-01T10:00:00+0000", roi=folders.defaults(NOTEBOOK)["roi"])
    page = shown(NOTEBOOK, "demo")
    assert (page.run, page.others) == (newest, 2)
    assert "all parameters as they stand" in note(page)
    assert "one of 3 finished runs" in note(page)


def test_a_page_says_what_its_run_had_otherwise_and_whether_the_notebook_changed(home: Path) -> None:
    write_run(home, NOTEBOOK, "2026-03-01T10:00:00+0000", roi="V1")
    assert "`roi = 'V1'`" in note(shown(NOTEBOOK, "demo"))
    assert "changed since" not in note(shown(NOTEBOOK, "demo"))
    write_run(home, NOTEBOOK, "2026-03-02T10:00:00+0000", [nbformat.v4.new_markdown_cell("of another day")], seed=0)
    assert "changed since" in note(shown(NOTEBOOK, "demo"))


def test_a_notebook_without_a_run_says_so(home: Path) -> None:
    page = shown(NOTEBOOK, "demo")
    assert page.run is None
    assert "no finished run" in note(page)
    assert f"nbtools run {NOTEBOOK}" in note(page)
    assert page.title.startswith("02 · ")
    assert page.question.endswith("?")
    assert "*without outputs*" in notebooks_page([page])


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the project's notebooks, with room for a reader's own."""
    shutil.copytree(folders.NOTEBOOKS, tmp_path / "notebooks", ignore=shutil.ignore_patterns(".*"))
    monkeypatch.setattr(folders, "NOTEBOOKS", tmp_path / "notebooks")
    return tmp_path / "notebooks"


def test_a_readers_own_notebook_without_parameters_is_none_of_the_projects(home: Path, beside: Path) -> None:
    named = folders.notebooks()
    nbformat.write(nbformat.v4.new_notebook(cells=[code()]), beside / "1 try.ipynb")
    assert folders.notebooks() == named


@pytest.mark.parametrize("opening", [[], [""], ["\n \n"], ["mine"]])
def test_a_readers_own_notebook_may_open_as_it_likes(opening: list[str], home: Path, beside: Path) -> None:
    cells = [nbformat.v4.new_markdown_cell(text) for text in opening] + [code(tags=("parameters",))]
    cells[-1].source = 'study: str = "demo"'
    nbformat.write(nbformat.v4.new_notebook(cells=cells), beside / "99_mine.ipynb")
    page = shown("99_mine", "demo")
    assert page.title in {"99_mine", "mine", cells[-1].source}
    assert page.title in notebooks_page([page])


@pytest.mark.parametrize("damaged", ["", "{", "[1]", "null", '{"cells": 3}'])
def test_a_damaged_notebook_is_named(damaged: str, home: Path, beside: Path, tmp_path: Path) -> None:
    run = write_run(home, NOTEBOOK, "2026-03-01T10:00:00+0000")
    (run / "notebook.ipynb").write_text(damaged)
    with pytest.raises(InputError, match=re.escape(str(run))):
        shown(NOTEBOOK, "demo")
    (beside / "30_mine.ipynb").write_text(damaged)
    for asks in (folders.notebooks, lambda: student_copies(tmp_path / "class")):
        with pytest.raises(InputError, match="30_mine"):
            asks()


# --- what becomes of outputs --------------------------------------------------------------------------------


@pytest.fixture
def notebook() -> Any:
    figure = new_figure("Does <b>it</b> rise?", "ε (1/255)", "robust accuracy").add_scatter(y=[1, 2], name='"TO"')
    bar = display({WIDGET: {"model_id": "1"}, "text/plain": "images:   0%|          | 0/9 [00:00<?, ?image/s]"})
    cells = [
        nbformat.v4.new_markdown_cell("# 05 · Attack\n\n**Question.** What then?"),
        code(tags=("install",)),
        code(tags=("parameters",)),
        nbformat.v4.new_markdown_cell("## The pictures"),
        code(bar, nbformat.v4.new_output("stream", text="12 images\n"), display({"image/png": "aGFsbG8="})),
        code(plotly(figure)),
        code(display({WIDGET: {"model_id": "2"}, "text/plain": "AttackExplorer(children=())"})),
        code(display({WIDGET: {"model_id": "3"}, "text/plain": "Exercise(question='Which?')"})),
        nbformat.v4.new_markdown_cell("It rises.", metadata={"tags": ["answer"]}),
    ]
    return nbformat.v4.new_notebook(cells=cells, metadata={"widgets": {"state": {}}})


def test_a_figure_becomes_a_place_and_a_file_of_its_data(notebook: Any) -> None:
    (figure,) = prepare(notebook, "05_attack_explorer")
    assert figure.description == 'Does it rise? Axes: ε (1/255), robust accuracy. Shown: "TO".'
    markup = notebook.cells[5].outputs[0].data["text/html"]
    assert 'data-figure="05_attack_explorer-1"' in markup
    assert "&quot;TO&quot;" in markup, "a name's own quotes do not end the description"
    name, content = re.fullmatch(r"window\.nbtoolsFigures\[(.*?)\] = (.*);\n", figure.script, re.DOTALL).groups()
    assert json.loads(name) == figure.name
    assert json.loads(content)["data"][0]["name"] == '"TO"'


def test_bars_vanish_and_an_explorer_becomes_its_picture(notebook: Any) -> None:
    prepare(notebook, "05_attack_explorer")
    assert [output.output_type for output in notebook.cells[4].outputs] == ["stream", "display_data"]
    explorer = notebook.cells[6].outputs[0].data["text/markdown"]
    assert re.match(r"!\[.{10,}\]\(../docs/attack_explorer.png\)", explorer)
    assert "JupyterLab" in notebook.cells[7].outputs[0].data["text/markdown"], "an exercise"
    assert "png" not in notebook.cells[7].outputs[0].data["text/markdown"]
    assert not [o for cell in notebook.cells for o in cell.get("outputs", []) if WIDGET in o.get("data", {})]
    assert "widgets" not in notebook.metadata, "a page would ask another host for their code"


def test_pictures_are_named_by_what_they_stand_under(notebook: Any) -> None:
    prepare(notebook, "05_attack_explorer")
    assert "The pictures" in notebook.cells[4].metadata["mystnb"]["image"]["alt"]


def test_answers_and_installation_are_left_out_and_parameters_folded(notebook: Any) -> None:
    prepare(notebook, "05_attack_explorer")
    tags = [cell.metadata["tags"] for cell in notebook.cells]
    assert tags == [[], ["remove-cell"], ["hide-input"], [], [], [], [], [], ["remove-cell"]]


@pytest.mark.parametrize(("width", "own"), [(640, 640), (None, 900)])
def test_a_figure_keeps_its_own_width_if_it_has_one(width: int | None, own: int) -> None:
    drawn = go.Figure(go.Scatter(y=[1]), {"width": width, "template": "none"})
    cells = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# 1"), code(plotly(drawn))])
    (figure,) = prepare(cells, "01")
    assert figure.width == width
    assert f'data-width="{own}"' in figure.markup(still=True)
    assert ("data-width" in figure.markup()) == bool(width)


def test_the_gallery_leads_to_each_figures_place(notebook: Any) -> None:
    figures = prepare(notebook, "05_attack_explorer")
    page = gallery_page(figures, [Shown("05_attack_explorer", notebook, None)])
    assert 'href="notebooks/05_attack_explorer.html#figure-1"' in page
    assert 'id="figure-1"' in figures[0].markup()
    assert "No notebook" in gallery_page([], [])


# --- that nothing is left out -------------------------------------------------------------------------------


def test_the_reference_has_every_name_of_every_room() -> None:
    pages = reference()
    for room in ROOMS:
        offered = set(importlib.import_module(f"nbtools.{room}").__all__)
        told = re.findall(r"^\.\. (?:autofunction|autoclass|data):: (\w+)$", pages[room], re.MULTILINE)
        assert sorted(told) == sorted(offered)


def test_every_room_has_its_page() -> None:
    doors = {stub.parent.name for stub in Path(folders.PROJECT, "nbtools").glob("*/__init__.pyi")}
    assert doors - {"bench", "site"} == set(ROOMS), "these two are commands"


def test_every_notebook_answers_a_question() -> None:
    named = set(re.findall(r"\(notebooks/(\w+)\.ipynb\)", (OWN / "questions.md").read_text(encoding="utf-8")))
    assert named == set(folders.notebooks())


def test_static_explorers_are_led_to_where_there_are_any(tmp_path: Path) -> None:
    assert "explorers/" not in explorers_page(tmp_path / "none")
    (tmp_path / "attack.html").write_text("<title>ε &amp; you</title>", encoding="utf-8")
    assert '<a href="explorers/attack.html">ε &amp; you</a>' in explorers_page(tmp_path)


@pytest.fixture
def written(home: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What was written of the explorers, in place of the attacks that take minutes; code is that of a folder."""
    done: list[Path] = []

    def writes(folder: Path, study: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "index.html").write_text(f"{study} {len(done)}", encoding="utf-8")
        done.append(folder)

    (home / "package").mkdir()
    monkeypatch.setattr(explorers, "PACKAGE", home / "package")
    monkeypatch.setattr(explorers, "write_pages", writes)
    monkeypatch.setattr(explorers, "open_study", lambda study: study)
    return done


def test_networks_are_attacked_again_only_where_runs_or_code_have_changed(home: Path, written: list[Path]) -> None:
    run = write_run(home, NOTEBOOK, "2026-03-01T10:00:00+0000", roi="V1")
    changes = {
        "nothing": lambda: None,
        "a run": lambda: write_run(home, NOTEBOOK, "2026-03-02T10:00:00+0000", roi="V4"),
        "a run made again": lambda: _set_finished(run, "2026-03-03T10:00:00+0000"),
        "a script": lambda: (home / "package" / "attack.js").write_text("draw()"),
        "a run that is gone": lambda: shutil.rmtree(run),
    }
    kept = explorers.kept_pages("demo")
    for number, change in enumerate(changes.values()):
        change()
        assert explorers.kept_pages("demo") == explorers.kept_pages("demo") == kept
        assert len(written) == 1 + number
    assert (kept / "index.html").read_text(encoding="utf-8") == "demo 4"


def _set_finished(run: Path, when: str) -> None:
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    (run / "run.json").write_text(json.dumps({**record, "finished": when}), encoding="utf-8")


def test_pages_that_were_stopped_half_way_are_written_again(
    home: Path, written: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(home, NOTEBOOK, "2026-03-01T10:00:00+0000", roi="V1")
    writes = explorers.write_pages

    def stopped(folder: Path, study: str) -> None:
        writes(folder, study)
        raise KeyboardInterrupt

    explorers.kept_pages("demo")
    write_run(home, NOTEBOOK, "2026-03-02T10:00:00+0000", roi="V4")
    monkeypatch.setattr(explorers, "write_pages", stopped)
    with pytest.raises(KeyboardInterrupt):
        explorers.kept_pages("demo")
    shutil.rmtree(home / "runs/demo" / NOTEBOOK / "2026-03-02_roi=V4")
    monkeypatch.setattr(explorers, "write_pages", writes)
    explorers.kept_pages("demo")
    assert len(written) == 3, "the runs are those of the first time, the pages are not"


def test_what_is_no_site_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="holds no site"):
        build_site(to=tmp_path)
    assert (tmp_path / "thesis.txt").read_text(encoding="utf-8") == "mine"


def test_a_study_that_is_named_wrongly_is_no_empty_site(home: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no study 'dmeo'"):
        build_site("dmeo", to=tmp_path / "site", work=tmp_path / "work")


def test_a_file_is_no_site(tmp_path: Path) -> None:
    (tmp_path / "site").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="holds no site"):
        build_site(to=tmp_path / "site")


def test_what_builds_a_site_is_asked_for_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbtools.site.build.find_spec", lambda _: None)
    with pytest.raises(InputError, match="Sphinx is not installed"):
        build_site(to=tmp_path)
