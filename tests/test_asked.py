"""What is not there is refused before a run makes anything on disk, by the command and in the notebook itself."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from nbtools.cli import main
from nbtools.errors import InputError
from nbtools.runs import folders
from nbtools.runs.asked import check_asked

STUDY = 'name = "tiny"\nsimulated = true\nnsd = "nsd"\nsubject = 1\nimage_size = 32\n'
WRONG = {
    "03_guided_training -p roi WRONG": "unknown condition 'WRONG'",
    "03_guided_training -p study tini": "no study 'tini'",
    "03_guided_training -p roi net-mine": "net-mine is not trained",
    "02_neural_predictors -p roi none": "no regions' names",
    "02_neural_predictors -p predictor ridge -p features_of V1": "has no features to predict guides from",
    "04_adversarial_attacks -p roi V1-shufle": "did you mean V1-shuffle",
    "03_guided_training -p roi V1@layer9+TO": r"expected: layer1, layer2, layer3, layer4, pooled, layer4\.",
    "03_guided_training -p guided_readout layer9": "unknown read-out of small_resnet",
    "02_neural_predictors -p readouts pooled,layer9": "unknown read-out of small_resnet",
    "07_shape_bias -p rois none,V1,TI": "not TI",
    "10_summary -p subjects demo-9": "no study 'demo-9'",
    "12_alpha -p regions V0": "not V0",
    "14_brain_and_geometry -p controls some": "not some",
    "16_haxby -p networks_of haxbi": "no study 'haxbi'",
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "papermill", None)  # importing it would fail
    file = tmp_path / "data/derived/tiny/study.toml"
    file.parent.mkdir(parents=True)
    file.write_text(STUDY)
    return tmp_path


@pytest.mark.parametrize("arguments", WRONG)
def test_what_is_not_there_is_refused_and_leaves_nothing(
    arguments: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook, *words = arguments.split()
    given = {"study": "tiny", **dict(zip(words[1::3], words[2::3], strict=True))}
    assert main(["run", notebook, *(word for pair in given.items() for word in ("-p", *pair))]) == 1
    assert re.search(WRONG[arguments], capsys.readouterr().err)
    with pytest.raises(InputError, match=WRONG[arguments]):
        folders.start(notebook, {**folders.defaults(notebook), **given})
    assert not (home / "runs").exists()


RUN = "runs/tiny/03_guided_training/net-{}_seed=0_0123abcd/run.json"


def test_an_adopted_networks_name_without_its_net_is_answered_with_the_whole(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("r18", "V1"):  # and one that has a region's name
        file = home / RUN.format(name)
        file.parent.mkdir(parents=True)
        parameters = {"study": "tiny", "roi": f"net-{name}", "seed": 0, "architecture": "resnet18"}
        record = {"notebook": "03_guided_training", "parameters": parameters, "inputs": {}, "seconds": 1.0}
        file.write_text(json.dumps({**record, "finished": "2026-11-01T10:00:00+0000"}))
    asked = "run 04_adversarial_attacks -p roi r18", "run 07_shape_bias -p rois none,r18", "export r18 --to out"
    for words in asked:
        study = ["--study", "tiny"] if words.startswith("export") else ["-p", "study", "tiny"]
        assert main([*words.split(), *study]) == 1
        assert re.search(r"unknown condition 'r18'[\s\S]*to do: +did you mean net-r18\?$", capsys.readouterr().err)
    for roi, says in {"r19": "roi r19", "V1": "roi V1"}.items():
        with pytest.raises(InputError, match=f"no finished runs of 03(.|\n)*{says}"):
            folders.find("03_guided_training", "tiny", roi=roi, seed=0)


def test_what_notebooks_ask_for_as_they_stand_is_accepted(tmp_path: Path) -> None:
    """The first of them makes the demo, which is not there yet."""
    check_asked("00_start_here", folders.defaults("00_start_here"))
    for name in ("demo", "haxby"):
        (tmp_path / "data/derived" / name).mkdir()
        (tmp_path / "data/derived" / name / "study.toml").write_text(STUDY.replace("tiny", name))
    own = 'regions = ["VT", "VT-face", "VT-house"]\nresponses = "sessions"\nstimuli = "stimuli.hdf5"\n'
    (tmp_path / "data/derived/haxby/study.toml").write_text(STUDY.replace('nsd = "nsd"\n', own))
    for notebook in folders.notebooks():
        check_asked(notebook, folders.defaults(notebook))


@pytest.mark.parametrize("named", ["04", "04_adversarial_attacks", "notebooks/04_adversarial_attacks.ipynb"])
def test_a_notebook_is_named_by_its_file_its_name_or_its_number(
    named: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("nbtools.runs.run_notebook", lambda notebook, *_, **__: asked.append(notebook))
    assert main(["run", named]) == 0
    assert asked == ["04_adversarial_attacks"]
    numbers = [name.partition("_")[0] for name in folders.notebooks()]
    assert len(numbers) == len(set(numbers))
    monkeypatch.undo()
    assert main(["run", "99"]) == 1
    assert "04_adversarial_attacks" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("run 04 -p roi=V1", True),
        ("run 04 -p roi=V1 -p study tiny", True),
        ("run 04 roi=V1", True),
        ("plan a b", False),
    ],
)
def test_a_parameter_written_otherwise_is_answered_with_how_it_is_written(
    words: str, said: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(words.split())
    assert capsys.readouterr().err.endswith("a parameter is two words, such as: -p roi V1\n") is said
