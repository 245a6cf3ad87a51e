"""The notebooks: how they are written, and that all of them run, from the first to the summary, also after a kill."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from nbtools import metrics, widgets, workflow
from nbtools.conditions import VENTRAL, parse_condition
from nbtools.runs import folders
from nbtools.training.clouds import CategoryManifolds

FILES = sorted(folders.NOTEBOOKS.glob("*.ipynb"))
NAMES = [file.stem for file in FILES]


def read(file: Path) -> list[dict[str, Any]]:
    return json.loads(file.read_text(encoding="utf-8"))["cells"]


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def code_cells(file: Path) -> list[dict[str, Any]]:
    return [cell for cell in read(file) if cell["cell_type"] == "code"]


# --- how they are written -----------------------------------------------------------------------------------


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_it_is_kept_without_outputs(file: Path) -> None:
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code_cells(file))
    assert "widgets" not in json.loads(file.read_text(encoding="utf-8"))["metadata"]


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_it_opens_with_the_question_and_what_it_takes(file: Path) -> None:
    opening = read(file)[0]
    assert opening["cell_type"] == "markdown"
    number = file.stem.split("_")[0]
    assert re.match(rf"# {number} · .+", source(opening))
    for word in ("Question.", "You will", "Paper.", "Needs", "Makes", "Time"):
        assert f"**{word}**" in source(opening), f"the opening lacks {word}"
    assert 3 <= len(re.findall(r"^\d\. ", source(opening), re.MULTILINE)) <= 5, "three to five goals"


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_its_parameters_are_annotated_scalars(file: Path) -> None:
    install, parameters, *rest = code_cells(file)
    assert install["metadata"].get("tags") == ["install"]
    assert parameters["metadata"].get("tags") == ["parameters"]
    assert not [cell for cell in rest if cell["metadata"].get("tags")]
    for line in ast.parse(source(parameters)).body:
        assert isinstance(line, ast.AnnAssign), f"not `name: type = value`: {ast.unparse(line)}"
        assert isinstance(line.annotation, ast.Name)
        assert line.value is not None, f"no value: {ast.unparse(line)}"
        assert type(ast.literal_eval(line.value)).__name__ == line.annotation.id
        assert line.annotation.id in ("str", "int", "float", "bool")
    assert folders.defaults(file.stem)["study"] == ("haxby" if file.stem == "16_haxby" else "demo")


def test_papermill_reads_every_line_of_parameters() -> None:
    """Its own grammar is narrower than Python's: no `=` in a comment. In batch, a line it cannot read is warned of."""
    from papermill.inspection import inspect_notebook

    for file in FILES:
        assert inspect_notebook(str(file)).keys() == folders.defaults(file.stem).keys()


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_it_tells_and_does_not_define(file: Path) -> None:
    for cell in code_cells(file):
        tree = ast.parse(source(cell))
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        assert not [node for node in ast.walk(tree) if isinstance(node, kinds)], "code belongs in the package"
        assert len(cell["source"]) <= 20 or "parameters" in cell["metadata"].get("tags", []), source(cell)
    markdown = [cell for cell in read(file) if cell["cell_type"] == "markdown"]
    assert len(markdown) >= 3


def lines_of(cell: dict[str, Any]) -> int:
    """Lines of code: blank ones and comments are not read as such."""
    return sum(1 for line in source(cell).splitlines() if line.strip() and not line.strip().startswith("#"))


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_its_cells_are_short(file: Path) -> None:
    """What takes more lines is a step of the method, and belongs into a room of the package."""
    install, parameters, *rest = map(lines_of, code_cells(file))
    assert np.median([install, parameters, *rest]) <= 5
    assert np.median(rest) <= 5
    assert max(rest) <= 10
    assert install <= 12


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_rooms_offer_what_it_takes_of_them(file: Path) -> None:
    tree = ast.parse("\n".join(map(source, code_cells(file))))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "nbtools"]
    rooms = {alias.name for node in imports for alias in node.names}
    taken = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)]
    for node in taken:
        if node.value.id in rooms:
            assert node.attr in dir(importlib.import_module(f"nbtools.{node.value.id}")), ast.unparse(node)


def test_figures_and_trends_take_the_studys_order() -> None:
    """One that is forgotten would show a study's own regions in the paper's order, or leave them out."""
    rooms = {before: importlib.import_module(f"nbtools.{before or 'widgets'}") for before in ("plots", "metrics", "")}
    takes = {
        f"{before}.{name}".strip(".") for before, room in rooms.items() for name in dir(room) if ordered_by(room, name)
    }
    assert {"plots.hierarchy", "metrics.verdict", "metrics.verdicts", "AttackExplorer", "hierarchy_of"} <= takes
    for file in FILES:
        for call in ast.walk(ast.parse("\n".join(map(source, code_cells(file))))):
            if isinstance(call, ast.Assign) and ast.unparse(call.targets) == "order":
                assert ast.unparse(call.value) == "source.hierarchy", f"{file.stem}: {ast.unparse(call)}"
            if isinstance(call, ast.Call) and ast.unparse(call.func) in takes:
                said = ast.unparse(call)
                assert re.search(r"\border\b|\.hierarchy\b|\.dorsal\b", said), f"{file.stem}: {said}"


def ordered_by(room: Any, name: str) -> bool:
    offered = getattr(room, name)
    return callable(offered) and "order" in inspect.signature(offered).parameters


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_it_starts_and_finishes_its_own_run(file: Path) -> None:
    text = "\n".join(map(source, code_cells(file)))
    assert re.findall(r'runs\.start\("(\w+)", globals\(\)\)', text) == [file.stem]
    assert text.count("run.finish()") == 1


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_it_ends_with_exercises_that_wait_for_an_answer(file: Path) -> None:
    exercises, check, answers = read(file)[-3:]
    assert source(exercises).startswith("## Try it yourself")
    assert "1. " in source(exercises)
    assert check["metadata"]["jupyter"]["source_hidden"], "no solution in view"
    assert re.search(rf'^(widgets\.)?Exercise\("{file.stem[:2]}-1", ', source(check).splitlines()[-1])
    assert answers["metadata"].get("tags") == ["answer"], "then the instructor's section"


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_its_cells_have_ids_of_their_own(file: Path) -> None:
    ids = [cell["id"] for cell in read(file)]
    assert len(set(ids)) == len(ids)


def test_notebooks_point_to_notebooks_that_exist() -> None:
    for file in FILES:
        for cell in read(file):
            named = re.findall(r"\b\d\d_[a-z]+(?:_[a-z]+)+\b", source(cell))
            assert set(named) <= set(NAMES), file.name


# --- exercises ----------------------------------------------------------------------------------------------

ACCURACY = pd.DataFrame(
    {"attack": "LinfPGD", "epsilon": [0.0, 2 / 255, 4 / 255], "accuracy": [0.9, 0.6, 0.2], "condition": "TO"}
)
VOXELS = pd.DataFrame({"r": [0.2, 0.3, 0.6, 0.9], "noise_ceiling": [4.0, 36.0, 49.0, 100.0]})
LAST = pd.DataFrame({"attack": ["LinfPGD", "L2PGD", "L2FGM"], "accuracy": [0.1, 0.2, 0.4], "condition": "TO"})
CAPACITY = pd.DataFrame(
    {"space": ["measured", "measured", "pooled"], "condition": ["V1", "LO", "V1"], "value": [0.2, 0.5, 0.9]}
)
TO_LAST = pd.DataFrame(
    {"condition": ["none", "TO"], "a": ["none", "TO"], "similarity": [0.1, 0.2], "shape_bias": [0.1, 0.2]}
)
CLOUDS = CategoryManifolds(torch.zeros(2, 8), torch.ones(2), torch.eye(8)[:2].expand(2, 2, 8))
HELD = pd.DataFrame({("response", "most"): [0.5, 0.3], ("held_out", "most"): [0.1, 0.2]}, index=["V1", "LO"])
GEOMETRY = pd.DataFrame({"measure": "capacity", "condition": ["VT", "VT-face"], "value": [0.1, 0.3]})
PREDICTORS = pd.DataFrame({"roi": ["V1", "TO"], "pattern r": [0.3, 0.4]}, index=[4, 2])
TABLE = pd.DataFrame({"clean": [0.9, 0.8], "4/255": [0.1, 0.3]}, index=["V1", "TO"])
ALPHAS = pd.DataFrame({"epsilon": [0.0, 4 / 255, 4 / 255], "alpha": [0.0, 0.0, 0.9], "accuracy": [0.9, 0.1, 0.2]})
SPECTRAL = pd.DataFrame(
    {"measure": "frequency of the gradient", "condition": ["none", "TO", "net-x"], "score": [9.0, 5.0, np.nan]}
)
CERTIFIED = pd.DataFrame({0.0: [0.9, 0.8], 0.2: [0.1, 0.3]}, index=["none", "TO-at-4"])
BEYOND = pd.DataFrame({"V1": [0.0, 0.1], "TO": [0.2, -0.1]}, index=["low pass", "contrast"])
HELD_BY_HEADS = pd.DataFrame(
    {"lesion": ["neural directions", "neural directions", "random units"], "condition": ["TO", "V1", "random"]}
).assign(variance=[0.2, 0.4, 0.9])
KEPT = pd.DataFrame({"kept": [0.5, 0.7]}, index=["none", "TO"])
PATH = pd.DataFrame({"condition": ["none", "none", "TO"], "level": [1.0, 2.0, 4.0], "reached": [False, True, True]})


def potency(_: None, role: str) -> pd.DataFrame:
    """What the others' accuracy on each network's adversarial images could be."""
    assert role == "source"
    return pd.DataFrame({"condition": ["TO", "V1"], "seed": 0, "accuracy": [0.8, 0.5], "ci_low": 0, "ci_high": 1})


@pytest.mark.parametrize(
    ("name", "known", "right", "wrong"),
    [
        ("00_start_here", {"VENTRAL": VENTRAL}, ["VO", "vo "], ["LO", 4]),
        ("01_brain_responses", {"metrics": metrics, "np": np}, [42.9, 0.429, "43 %", "42,9"], [20.0, 0.2, "many"]),
        ("02_neural_predictors", {"per_voxel": VOXELS}, [6 / 7, 85.7], [0.9]),
        ("03_guided_training", {}, [0, 0.0], [0.5, True]),
        ("04_adversarial_attacks", {"worst": ACCURACY}, [2.5, 2.5 / 255, "3/255"], [4.5, 0.5]),
        ("05_attack_explorer", {"path": PATH}, [2.0, 1.8, 2.2, "2/255"], [1.4, 4.0, 0]),
        ("05_attack_explorer", {"path": PATH.assign(reached=False)}, [0], [2.0]),
        (
            "06_smoothness_and_transfer",
            {
                "metrics": SimpleNamespace(transfer_robustness=potency, over_networks=metrics.over_networks),
                "decisions": None,
            },
            ["V1"],
            ["TO"],
        ),
        ("07_shape_bias", {"scores": TO_LAST}, ["TO", "to"], ["none"]),
        ("08_rsa", {"to_last": TO_LAST, "last": "TO"}, ["TO"], ["none"]),
        ("09_manifolds", {"capacity": CAPACITY}, ["LO"], ["V1"]),
        ("10_summary", {"table": TABLE}, ["TO"], ["V1"]),
        ("11_attacks_and_audit", {"last": LAST}, ["L2PGD", "l2pgd"], ["LinfPGD"]),
        ("12_alpha", {"accuracy": ALPHAS, "budget": 4 / 255, "metrics": metrics}, [0.9, "0.9"], [0.0, "α"]),
        ("13_manifold_guidance", {"manifolds": CLOUDS, "n_components": 8}, [0.25, "25 %"], [0.5]),
        ("14_brain_and_geometry", {"held": HELD}, ["LO"], ["V1"]),
        ("15_study_explorer", {"predictors": PREDICTORS}, ["TO"], ["V1"]),
        ("16_haxby", {"geometry": GEOMETRY}, ["VT-face", "vt-face"], ["VT"]),
        (
            "17_natural_corruptions",
            {"table": KEPT},
            ["TO"],
            ["none"],
        ),
        ("18_compare_networks", {"table": SPECTRAL}, ["TO"], ["none", "net-x"]),
        ("20_frequency", {"table": CERTIFIED.set_axis(["clean", "robust"], axis=1)}, ["TO-at-4"], ["none"]),
        ("19_training_and_certificates", {"table": CERTIFIED, "radii": [0.0, 0.2]}, ["TO-at-4"], ["none"]),
        ("22_other_images", {"table": BEYOND, "parse_condition": parse_condition}, ["low pass"], ["contrast"]),
        ("21_mechanism", {"accuracy": HELD_BY_HEADS}, ["V1", "v1"], ["TO", "random"]),
    ],
)
def test_an_exercise_knows_right_from_wrong(
    name: str, known: dict[str, Any], right: list, wrong: list, kept: Path
) -> None:
    *before, last = source(code_cells(folders.NOTEBOOKS / f"{name}.ipynb")[-1]).splitlines()
    known = {**known, "workflow": workflow, "Exercise": widgets.Exercise, "widgets": widgets}
    exec("\n".join([*before, f"exercise = {last}"]), known)
    exercise = known["exercise"]
    assert not kept.exists(), "unanswered, it keeps nothing"
    for answers, said in ((right, "Right"), (wrong, "Not yet")):
        for answer in answers:
            assert exercise.commit(answer).startswith(said) or "is not a number" in exercise.said, answer
            assert exercise.state == ("right" if said == "Right" else "wrong")
    if exercise.options:
        assert any(str(answer).casefold() in map(str.casefold, exercise.options) for answer in right)
    lines = [json.loads(line) for line in kept.read_text().splitlines()]
    assert [line["answer"] for line in lines] == [str(answer) for answer in [*right, *wrong]]


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))
    return tmp_path / "answers.jsonl"
