"""`nbtools explore`: which notebook is served, with which parameters, and what is said before anything is served."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import nbformat
import pytest

from nbtools.cli import main
from nbtools.data.study import as_toml
from nbtools.errors import InputError
from nbtools.runs import folders
from nbtools.widgets import serve

NOTEBOOK = "05_attack_explorer"


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))


def test_without_parameters_the_notebook_itself_is_served(tmp_path: Path) -> None:
    file = folders.NOTEBOOKS / f"{NOTEBOOK}.ipynb"
    assert serve._with_parameters(file, {}, tmp_path) == file


@pytest.mark.parametrize("texts", [{"rois": "V1 TO"}, {"seed": "3", "epsilons": "1 2", "rois": 'a "quoted" \\ name'}])
def test_parameters_reach_the_notebook_and_its_cells_stay(tmp_path: Path, texts: dict[str, str]) -> None:
    given = folders.typed(NOTEBOOK, texts)
    file = folders.NOTEBOOKS / f"{NOTEBOOK}.ipynb"
    copy = nbformat.read(serve._with_parameters(file, given, tmp_path), 4)
    (own,) = [cell for cell in copy.cells if "injected-parameters" in cell.metadata.tags]
    found: dict[str, object] = {}
    exec(own.source, found)
    assert {name: found[name] for name in given} == given
    others = [cell.source for cell in copy.cells if cell is not own]
    assert others == [cell.source for cell in nbformat.read(file, 4).cells]


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ({"regions": "V1"}, "has no parameter regions"),
        ({"seed": "none"}, "seed"),
        ({"rois": "V1 TO"}, "no finished runs of 03_guided_training"),
    ],
)
def test_what_cannot_be_shown_is_said_before_anything_is_served(texts: dict[str, str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        serve.serve(NOTEBOOK, 0, texts)


def test_a_study_that_is_gone_or_has_no_run_is_said_before_anything_is_served(tmp_path: Path) -> None:
    for study in ("gone", "../gone", "gone/study.toml"):
        with pytest.raises(InputError, match=r"no study|cannot have this name"):
            serve.serve("15_study_explorer", 0, {"study": study})
    entries = {"name": "mine", "simulated": False, "image_size": 32, "responses": "r", "stimuli": "s.hdf5"}
    file = tmp_path / "data/raw/mine/study.toml"
    file.parent.mkdir(parents=True)
    file.write_text(as_toml(entries), encoding="utf-8")
    with pytest.raises(InputError, match="no finished run"):
        serve.serve("15_study_explorer", 0, {"study": "mine"})


def test_the_command_line_takes_parameters(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    assert main(["explore", "-p", "rois", "V1 TO", "--no-browser"]) == 1
    assert "no finished runs" in capsys.readouterr().err
    served: list[tuple] = []
    monkeypatch.setattr(serve, "serve", lambda *given, **own: served.append((given, own)) or 0)
    main(["explore", "15", "-p", "study", "mine", "--port", "9000"])
    assert served == [(("15_study_explorer", 9000, {"study": "mine"}), {"open_browser": True})]


def test_voila_gives_no_file_away_and_is_told_so_in_words_it_takes(tmp_path: Path) -> None:
    from traitlets.config.loader import KVArgParseConfigLoader
    from voila.configuration import VoilaConfiguration

    config = KVArgParseConfigLoader(serve.arguments(tmp_path / "a.ipynb", 0), classes=[VoilaConfiguration])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        (pattern,) = VoilaConfiguration(config=config.load_config()).file_allowlist
    assert [str(each.message) for each in told if "file_allowlist" in str(each.message)] == []
    assert not [name for name in ("", "a.ipynb", "data/x.png") if re.search(pattern, name)]
