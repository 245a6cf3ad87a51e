"""The notebooks: how they are written, and that all of them run, from the first to the summary, also after a kill."""

from __future__ import annotations

import ast
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from nbtools import runs
from nbtools.clouds import CategoryManifolds
from nbtools.conditions import VENTRAL
from nbtools.metrics.noise_ceiling import noise_ceiling
from nbtools.metrics.robustness import epsilon_label

FILES = sorted(runs.NOTEBOOKS.glob("*.ipynb"))
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
    assert runs.defaults(file.stem)["study"] == ("haxby" if file.stem == "16_haxby" else "demo")


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_it_tells_and_does_not_define(file: Path) -> None:
    for cell in code_cells(file):
        tree = ast.parse(source(cell))
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        assert not [node for node in ast.walk(tree) if isinstance(node, kinds)], "code belongs in the package"
        assert len(cell["source"]) <= 20 or "parameters" in cell["metadata"].get("tags", []), source(cell)
    markdown = [cell for cell in read(file) if cell["cell_type"] == "markdown"]
    assert len(markdown) >= 3


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
    assert "`answer`" in source(exercises)
    assert source(check).startswith("answer = None\nif answer is not None:\n")
    assert 'print("right' in source(check)
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
CAPACITY = pd.DataFrame({"measured": [0.2, 0.5], "predicted": [0.9, 0.4]}, index=["V1", "LO"])
TO_LAST = pd.Series([0.1, 0.2], index=["none", "TO"])
CLOUDS = CategoryManifolds(torch.zeros(2, 8), torch.ones(2), torch.eye(8)[:2].expand(2, 2, 8))
HELD = pd.DataFrame({("response", "most"): [0.5, 0.3], ("held_out", "most"): [0.1, 0.2]}, index=["V1", "LO"])
GEOMETRY = pd.DataFrame({"measure": "capacity", "condition": ["VT", "VT-face"], "value": [0.1, 0.3]})
PREDICTORS = pd.DataFrame({"roi": ["V1", "TO"], "pattern r": [0.3, 0.4]}, index=[4, 2])
TABLE = pd.DataFrame({"clean": [0.9, 0.8], "4/255": [0.1, 0.3]}, index=["V1", "TO"])
ALPHAS = pd.DataFrame({"epsilon": [0.0, 4 / 255, 4 / 255], "alpha": [0.0, 0.0, 0.9], "accuracy": [0.9, 0.1, 0.2]})
PATH = pd.DataFrame({"condition": ["none", "none", "TO"], "level": [1.0, 2.0, 4.0], "reached": [False, True, True]})


def potency(_: None, role: str) -> pd.DataFrame:
    """What the others' accuracy on each network's adversarial images could be."""
    assert role == "source"
    return pd.DataFrame({"condition": ["TO", "V1"], "accuracy": [0.8, 0.5]})


@pytest.mark.parametrize(
    ("name", "known", "right", "wrong"),
    [
        ("00_start_here", {"VENTRAL": VENTRAL}, "VO", "LO"),
        ("01_brain_responses", {"noise_ceiling": noise_ceiling, "np": np}, 42.9, 20.0),
        ("02_neural_predictors", {"voxels": VOXELS}, 6 / 7, 0.9),
        ("03_guided_training", {}, 0.0, 0.5),
        ("04_adversarial_attacks", {"accuracy": ACCURACY, "main": "LinfPGD"}, 2.5, 4.5),
        ("05_attack_explorer", {"path": PATH}, 2.0, 4.0),
        ("06_smoothness_and_transfer", {"transfer_robustness": potency, "decisions": None}, "V1", "TO"),
        ("07_shape_bias", {"by_condition": TO_LAST}, "TO", "none"),
        ("08_rsa", {"to_last": TO_LAST, "last": "TO"}, "TO", "none"),
        ("09_manifolds", {"capacity": CAPACITY}, "LO", "V1"),
        ("10_summary", {"table": TABLE}, "TO", "V1"),
        ("11_attacks_and_audit", {"last": LAST}, "L2PGD", "LinfPGD"),
        ("12_alpha", {"accuracy": ALPHAS, "budget": 4 / 255, "epsilon_label": epsilon_label}, 0.9, 0.0),
        ("13_manifold_guidance", {"manifolds": CLOUDS, "n_components": 8}, 0.25, 0.5),
        ("14_brain_and_geometry", {"held": HELD}, "LO", "V1"),
        ("15_study_explorer", {"predictors": PREDICTORS}, "TO", "V1"),
        ("16_haxby", {"geometry": GEOMETRY}, "VT-face", "VT"),
        ("17_natural_corruptions", {"table": pd.DataFrame({"kept": [0.5, 0.7]}, index=["none", "TO"])}, "TO", "none"),
    ],
)
def test_an_exercise_knows_right_from_wrong(
    name: str, known: dict[str, Any], right: object, wrong: object, capsys: pytest.CaptureFixture[str]
) -> None:
    check = source(code_cells(runs.NOTEBOOKS / f"{name}.ipynb")[-1])
    exec(check, dict(known))
    assert capsys.readouterr().out == "", "unanswered, it is silent"
    exec(check.replace("answer = None", f"answer = {right!r}", 1), dict(known))
    assert capsys.readouterr().out.startswith("right")
    with pytest.raises(AssertionError, match=r"\w"):
        exec(check.replace("answer = None", f"answer = {wrong!r}", 1), dict(known))


# --- the whole graph ----------------------------------------------------------------------------------------

GRAPH = [pytest.mark.notebook]
CONFIG = yaml.safe_load((runs.PROJECT / "config/tiny.yaml").read_text())
CONDITIONS = [*CONFIG["controls"].split(), *CONFIG["rois"].split()]
EVERY = [*CONFIG["further"].split(), *CONDITIONS]
TARGETS = ("all", "study", "explorers")
DECISIONS = {"image_id", "label", "epsilon", "prediction", "margin", "condition", "seed"}
SCORES = {"measure", "condition", "score", "direction"}
EXPECTED = {
    "01_brain_responses": (1, {"noise_ceilings": {"roi", "voxel", "noise_ceiling"}}),
    "02_neural_predictors": (
        2,
        {
            "history": {"epoch", "split", "loss"},
            "pattern_r": {"roi", "image_id", "pattern_r", "control"},
            "voxels": {"roi", "voxel", "r", "noise_ceiling"},
        },
    ),
    "03_guided_training": (len(EVERY), {"history": {"epoch", "split", "loss", "accuracy"}}),
    "04_adversarial_attacks": (len(EVERY), {"decisions": {"attack", *DECISIONS}}),
    "05_attack_explorer": (1, {"path": {"condition", "epsilon"}}),
    "06_smoothness_and_transfer": (1, {"scores": SCORES, "matched": {"condition", "difference"}}),
    "07_shape_bias": (1, {"scores": SCORES, "consistency": {"a", "b", "kappa"}}),
    "08_rsa": (1, {"model_region": set(), "mds": set()}),
    "09_manifolds": (1, {"scores": SCORES, "regions": {"condition", "measure", "value"}}),
    "10_summary": (2, {"accuracy": {"condition", "epsilon", "accuracy", "ci_low", "ci_high", "n"}}),
    "11_attacks_and_audit": (1, {"decisions": {"attack", *DECISIONS}, "audit": {"check", "passed"}}),
    "12_alpha": (1, {"matched": {"condition", "reached", "accuracy"}}),
    "13_manifold_guidance": (1, {"decisions": DECISIONS, "clouds": {"category", "radius"}}),
    "14_brain_and_geometry": (1, {"drive": {"roi"}, "rdms": set()}),
    "15_study_explorer": (1, {"runs": {"notebook"}}),
    "17_natural_corruptions": (1, {"mean": {"condition", "accuracy"}, "decisions": {"corruption", "severity"}}),
}


@dataclass(frozen=True)
class Graph:
    """A copy of the project that ran the tiny study: killed in the middle, then taken up again.

    Attributes
    ----------
    project : Path
        The copy; its data and runs lie inside.
    killed : dict
        Each record there was when the first start was killed, and when it was written.
    reported : int
        How many notebooks Snakemake had reported as finished by then.
    interrupted : list of Path
        Folders of the runs that were being trained then.
    locked : str
        What a plain start said after the kill.
    """

    project: Path
    killed: dict[Path, int]
    reported: int
    interrupted: list[Path]
    locked: str

    def records(self) -> dict[Path, int]:
        return {file: file.stat().st_mtime_ns for file in sorted((self.project / "runs").rglob("run.json"))}

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, *arguments], **where(self.project), capture_output=True, timeout=1500)

    def snakemake(self, *arguments: str) -> str:
        done = self.python("-m", "snakemake", "--cores", "2", "--configfile", "config/tiny.yaml", *arguments)
        return f"status {done.returncode}\n{done.stdout}{done.stderr}"

    def planned(self, *arguments: str) -> set[str]:
        """The jobs a start would run now."""
        return set(re.findall(r"^(?:local)?rule (\S+):", self.snakemake("--dry-run", *arguments), re.MULTILINE))


def where(project: Path) -> dict[str, Any]:
    """Run in the copy, with the copy's package, as text."""
    environment = {**os.environ, "PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"}
    environment.pop("NBTOOLS_HOME", None)
    return {"cwd": project, "env": environment, "text": True}


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Graph]:
    project = tmp_path_factory.mktemp("graph") / "project"
    ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
    for folder in ("nbtools", "notebooks", "config"):
        shutil.copytree(runs.PROJECT / folder, project / folder, ignore=ignored)
    shutil.copy(runs.PROJECT / "Snakefile", project)
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", "config/tiny.yaml", "--", *TARGETS]
    first = subprocess.Popen(
        command, **where(project), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    assert first.stdout is not None
    log, reported = "", -1  # the study itself is the first job, and no notebook
    for line in first.stdout:
        log += line
        reported += line.startswith("Finished jobid")
        if reported == 3:
            break
    assert reported == 3, log
    deadline = time.monotonic() + 300
    while not (checkpoints := list((project / "runs").rglob("checkpoint.safetensors"))):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(random.uniform(0, 0.1))
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    interrupted = [file.parent for file in checkpoints if not (file.parent / "run.json").exists()]
    graph = Graph(project, {}, reported, interrupted, "")
    killed = graph.records()
    locked = graph.snakemake("--rerun-incomplete", "--", *TARGETS)
    graph.snakemake("--unlock")
    resumed = graph.snakemake("--rerun-incomplete", "--", *TARGETS)
    assert resumed.startswith("status 0"), resumed
    yield Graph(project, killed, reported, interrupted, locked)
    shutil.rmtree(project)


@pytest.mark.skipif(os.name != "posix", reason="kills a process group")
class TestGraph:
    pytestmark = GRAPH

    def test_a_killed_start_is_taken_up_where_it_was(self, graph: Graph) -> None:
        assert "lock" in graph.locked
        assert graph.reported <= len(graph.killed) < sum(n for n, _ in EXPECTED.values())
        kept = [file for file, written in graph.killed.items() if graph.records()[file] == written]
        assert len(kept) >= graph.reported, "what was finished is not computed twice"

    def test_an_interrupted_training_is_as_if_undisturbed(self, graph: Graph) -> None:
        """Run once more from its start to its end, it gives the same weights and tables, to the bit."""
        assert graph.interrupted
        again = graph.python("-m", "nbtools", "repeat", str(graph.interrupted[0]))
        assert again.returncode == 0, again.stdout + again.stderr
        assert "THE SAME to the bit" in again.stdout

    @pytest.mark.parametrize("notebook", EXPECTED)
    def test_every_notebook_left_its_tables(self, graph: Graph, notebook: str) -> None:
        n_runs, tables = EXPECTED[notebook]
        folders = [file.parent for file in graph.records() if file.parent.parent.name == notebook]
        assert len(folders) == n_runs
        for folder in folders:
            for name, columns in tables.items():
                table = pd.read_parquet(folder / f"{name}.parquet")
                assert columns <= set(table.columns)
                assert len(table)
            assert not list(folder.glob("*checkpoint*")), "a finished training leaves no checkpoint"

    def test_every_condition_has_its_decisions(self, graph: Graph) -> None:
        files = (graph.project / "runs/tiny/04_adversarial_attacks").glob("*/decisions.parquet")
        decisions = pd.concat(map(pd.read_parquet, files))
        assert set(decisions.condition) == set(EVERY)
        counts = decisions.groupby(["condition", "attack", "epsilon"]).image_id.nunique()
        assert (counts == CONFIG["settings"]["04_adversarial_attacks"]["n_images"]).all()
        assert len(counts) == len(EVERY) * 2 * 3, "two attacks, and two ε beside the clean images"

    def test_executed_notebooks_show_figures_and_no_errors(self, graph: Graph) -> None:
        files = sorted((graph.project / "runs").rglob("notebook.ipynb"))
        assert len(files) == len(graph.records())
        for file in files:
            outputs = [output for cell in code_cells(file) for output in cell["outputs"]]
            assert all(cell["execution_count"] for cell in code_cells(file)), file
            assert not [output for output in outputs if output["output_type"] == "error"]
            complaints = "".join("".join(o["text"]) for o in outputs if o.get("name") == "stderr")
            assert not re.search(r"Traceback|\w*Error\b|(Deprecation|Future|Runtime)Warning", complaints), file
            figures = [o["data"]["application/vnd.plotly.v1+json"] for o in outputs if "plotly" in str(o.get("data"))]
            titles = [str(figure["layout"]["title"]["text"]) for figure in figures]
            assert titles, f"{file} has no figure"
            assert all("simulated" in title for title in titles), titles

    def test_the_report_opens_offline_and_says_simulated(self, graph: Graph) -> None:
        pages = [file.read_text() for file in (graph.project / "runs").rglob("report.html")]
        assert len(pages) == 2, "of the demo, and of the whole study"
        for page in pages:
            assert "study, simulated" in page
            assert not re.search(r"<(?:script|link|img)[^>]+(?:src|href)=[\"']?https?:", page)
            assert page.count("Plotly.newPlot(") >= 5
            for condition in CONDITIONS:
                assert condition in page

    def test_the_summary_prints(self, graph: Graph) -> None:
        shown = graph.python("-m", "nbtools", "summary", "tiny")
        assert shown.returncode == 0, shown.stderr
        assert "tiny study, simulated" in shown.stdout
        table = [line.split() for line in shown.stdout.splitlines()]
        shown_rows = [row[0] for row in table if row and row[0] in EVERY]
        assert shown_rows in (CONDITIONS, EVERY), "of the summary that finished last"
        assert ["epsilon", "clean", "2/255", "4/255"] in table

    def test_a_second_start_does_nothing(self, graph: Graph) -> None:
        before = graph.records()
        assert "Nothing to be done" in graph.snakemake("--", *TARGETS)
        assert graph.records() == before

    def test_saved_notebooks_are_not_run_again(self, graph: Graph) -> None:
        """A reader runs a notebook in JupyterLab and saves it."""
        file = graph.project / "notebooks/03_guided_training.ipynb"
        original = file.read_text()
        file.write_text(original.replace('"outputs": []', '"outputs": [{"output_type": "stream"}]'))
        try:
            assert graph.planned() == set()
        finally:
            file.write_text(original)

    def test_edited_code_is_run_again_with_what_follows(self, graph: Graph) -> None:
        file = graph.project / "notebooks/04_adversarial_attacks.ipynb"
        original = file.read_text()
        file.write_text(original.replace("images.pixels.shape", "images.pixels[:].shape"))
        try:
            assert graph.planned() == {"all", "summary", *(f"attack_{name}_seed0" for name in CONDITIONS)}
        finally:
            file.write_text(original)

    def test_a_new_region_adds_only_its_own_jobs(self, graph: Graph) -> None:
        own = {"predictor_V4_seed0", "network_V4_seed0", "attack_V4_seed0"}
        assert graph.planned("--config", "rois=V1 V4 TO") == {"all", "summary", *own}

    def test_numbers_and_dorsal_regions_may_be_written_plainly(self, graph: Graph) -> None:
        """YAML reads `alpha: 1` as a whole number; V3 is no region of the hierarchy, but has a name."""
        mine = graph.project / "config/mine.yaml"
        mine.write_text(
            yaml.safe_dump({"rois": "V3", "controls": "none", "settings": {"03_guided_training": {"alpha": 1}}})
        )
        planned = graph.planned("--configfile", "config/mine.yaml")
        assert {"predictor_V3_seed0", "network_V3_seed0", "network_none_seed0", "summary"} <= planned

    @pytest.mark.long
    def test_the_first_notebook_makes_the_demo_study(self, graph: Graph) -> None:
        done = graph.python("-m", "nbtools", "run", "notebooks/00_start_here.ipynb")
        assert done.returncode == 0, done.stderr
        assert (graph.project / "data/derived/demo/study.toml").exists()
        (file,) = (graph.project / "runs/demo/00_start_here").glob("*/notebook.ipynb")
        titles = re.findall(r"[\w ]+\(demo study, simulated\)", file.read_text())
        assert len(set(titles)) == 3, "three sets of images"
