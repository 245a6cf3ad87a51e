"""What a run builds on is known before anything runs: an error about a missing run names all it takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nbtools.errors import InputError
from nbtools.runs import folders
from nbtools.runs.lineage import before
from nbtools.workflow.graph import make_graph
from nbtools.workflow.jobs import Job

ATTACK = {"roi": "V1-shuffle", "alpha": 0.35, "seed": 1}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))
    return tmp_path


def finish(notebook: str, **parameters: object) -> None:
    full = {**folders.defaults(notebook), "study": "of mine", **parameters}
    record = {"notebook": notebook, "parameters": full, "inputs": {}, "seconds": 1.0, "finished": "2026-01-01"}
    folders.write_text(folders.run_folder(notebook, full) / folders.RECORD, json.dumps(record))


def commands(notebook: str, **parameters: object) -> list[str]:
    with pytest.raises(InputError, match=f"no finished runs of {notebook} with") as raised:
        folders.find(notebook, "of mine", **parameters)
    said = str(raised.value).partition("to do:")[2]
    return [" ".join(command.split()[4:]) for command in said.split("&&")]


def test_a_missing_attack_takes_its_network_and_that_its_predictor() -> None:
    of = "-p study 'of mine' -p roi V1-shuffle -p alpha 0.35 -p seed 1"
    attack, network = f"04_adversarial_attacks {of}", f"03_guided_training {of}"
    predictor = "02_neural_predictors -p study 'of mine' -p roi V1 -p seed 0"
    alike = "-p start_epochs 8 -p start_learning_rate 0.003 -p architecture small_resnet"
    start = f"03_guided_training -p roi start -p study 'of mine' -p seed 1 {alike}"
    assert commands("04_adversarial_attacks", **ATTACK) == [predictor, start, network, attack]
    finish("02_neural_predictors", roi="V1", seed=0)
    assert commands("04_adversarial_attacks", **ATTACK) == [start, network, attack]
    finish("03_guided_training", roi="start", seed=1)
    assert commands("04_adversarial_attacks", **ATTACK) == [network, attack], "what is there is not made again"
    finish("03_guided_training", **ATTACK)
    assert commands("04_adversarial_attacks", **ATTACK) == [attack]
    alone = {"roi": "none", "start": "scratch"}
    assert commands("03_guided_training", **alone) == [
        "03_guided_training -p study 'of mine' -p roi none -p start scratch"
    ]


def test_a_guide_of_several_parts_takes_a_predictor_for_each() -> None:
    parameters = {**folders.defaults("03_guided_training"), "study": "of mine", "roi": "V1-noise-0.5+V4+TO-images-0.1"}
    of = [asked for notebook, asked in before("03_guided_training", parameters) if "02" in notebook]
    common = {"study": "of mine", "seed": 0}
    assert of == [
        {**common, "roi": "V1", "noise": 0.5},
        {**common, "roi": "V4"},
        {**common, "roi": "TO", "share": 0.1},
    ]


def test_a_network_with_a_worse_guide_takes_the_worse_predictor() -> None:
    found = commands("04_adversarial_attacks", roi="V1-noise-0.5", seed=1)
    assert [line[:2] for line in found] == ["02", "03", "03", "04"]
    assert found[0].endswith("-p noise 0.5")
    assert ["-p roi V1-noise-0.5 " in line for line in found] == [False, False, True, True]


def test_a_ridge_predictor_takes_the_network_whose_features_it_is_fitted_on() -> None:
    found = commands("03_guided_training", roi="V1-ridge", seed=1)
    start, predictor, first, network = (line.split(" ", 1)[1] for line in found)
    assert [line[:2] for line in found] == ["03", "02", "03", "03"]
    assert "-p roi start" in start
    assert start.endswith("-p seed 0")
    assert "-p predictor ridge" in predictor
    assert "-p roi start" in first
    assert "-p roi V1-ridge" in network


def test_a_missing_comparison_takes_all_that_it_compares() -> None:
    found = commands("07_shape_bias", rois="none V1", seeds="0 1")
    assert [line.split()[0][:2] for line in found] == ["03", "03", "03", "03", "02", "03", "03", "07"]


def test_a_network_is_told_of_all_that_it_lacks_at_once() -> None:
    """Its notebook asks for predictors first, and for the network it begins with later."""
    parameters = {**folders.defaults("03_guided_training"), "study": "of mine", "roi": "V1+TO-shuffle", "seed": 1}
    run = folders.Run("03_guided_training", parameters, folders.run_folder("03_guided_training", parameters), False)

    def told() -> list[str]:
        with pytest.raises(InputError) as raised:
            run.upstream("02_neural_predictors", seed=0, roi="V1")
        return str(raised.value).splitlines()

    problem, *rest = told()
    assert problem == "no finished runs of 02_neural_predictors and 03_guided_training with these parameters"
    said = [line.removeprefix("  expected:").strip() for line in rest[1:4]]
    alike = "start_epochs 8, start_learning_rate 0.003, architecture small_resnet"
    assert said == [
        "02_neural_predictors: study of mine, seed 0, roi V1",
        "02_neural_predictors: study of mine, roi TO, seed 0",
        f"03_guided_training: roi start, study of mine, seed 1, {alike}",
    ]
    finish("03_guided_training", roi="start", seed=1)
    finish("02_neural_predictors", roi="TO", seed=0)
    problem, *rest = told()
    assert problem == "no finished runs of 02_neural_predictors with these parameters"
    assert not any("TO" in line for line in rest), "what is there is not asked for"


def test_make_study_is_named_where_it_makes_the_runs() -> None:
    with pytest.raises(InputError, match="nbtools study --targets study"):
        folders.find("04_adversarial_attacks", "demo", roi="V1")


@pytest.mark.parametrize("job", make_graph({"study": "demo", "rois": "V1 TO"}).jobs, ids=lambda job: job.name)
def test_the_workflow_waits_for_the_same_runs(job: Job) -> None:
    full = {**folders.defaults(job.notebook), **job.parameters}
    first = {folders.run_folder(notebook, values) / folders.RECORD for notebook, values in before(job.notebook, full)}
    assert {file.parts[-3:] for file in first} <= {file.parts[-3:] for file in job.after}
