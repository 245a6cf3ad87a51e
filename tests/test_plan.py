"""Planning: planted runs are counted and timed right, work grows as its parameters do, and rates are measured once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from nbtools.attacks import ATTACKS
from nbtools.cli import main
from nbtools.data.images import sets as images
from nbtools.data.study import home, open_study, study_file
from nbtools.errors import InputError
from nbtools.files import written
from nbtools.runs import folders
from nbtools.runs.batch import EXECUTED
from nbtools.workflow import calibration
from nbtools.workflow.calibration import calibration_file, device_name, measure, rates_for, read_rates
from nbtools.workflow.config import read_config
from nbtools.workflow.costs import ASSUMED, START, Sizes, sizes_of, slow_rates, work_of
from nbtools.workflow.graph import Graph, Job, make_graph
from nbtools.workflow.needs import MEMORY_LIMIT, RUNNER_MB, SAFETY, costed, growing, needs_of
from nbtools.workflow.plan import MODEL, RUNS, estimates, finished_jobs, past_runs, plan, wall_seconds

TINY = read_config(folders.PROJECT / "config/tiny.yaml")
NSD = read_config(folders.PROJECT / "config/nsd.yaml")
RATES = {
    START: 10.0,
    "trained small_resnet 32-true 64": 0.01,
    "passed small_resnet": 0.001,
    "gradient small_resnet": 0.002,
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))


def keep_rates(device: str, study: str = "tiny") -> None:
    with written(calibration_file(study)) as beside:
        beside.write_text(json.dumps({"device": device, "seconds": RATES}))


def finish(job: Job, seconds: float, memory: int = 1000, inputs: dict[str, Any] | None = None) -> None:
    """Plant a finished run: its record, and a megabyte of results."""
    job.record.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "notebook": job.notebook,
        "parameters": dict(job.parameters),
        "inputs": inputs or {},
        "seconds": seconds,
        "peak_memory_mb": memory,
        "finished": "2026-01-01T00:00:00+0000",
    }
    job.record.write_text(json.dumps(record))
    (job.record.parent / "weights.safetensors").write_bytes(bytes(1_000_000))


def named(graph: Graph) -> dict[str, Job]:
    return {job.name: job for job in graph.jobs}


def work(config: dict[str, Any], name: str) -> dict[str, float]:
    graph = make_graph(config)
    return dict(next(run.work for run in costed(graph, config) if run.job.name == name))


def with_settings(notebook: str, **values: Any) -> dict[str, Any]:
    settings = TINY["settings"]
    return {**TINY, "settings": {**settings, notebook: {**settings.get(notebook, {}), **values}}}


# --- what there is ------------------------------------------------------------------------------------------


def test_finished_old_and_missing_runs_are_told_apart() -> None:
    graph = make_graph(TINY)
    jobs = named(graph)
    for job in graph.of("all"):
        finish(job, 10.0)
    assert finished_jobs(graph) == {job.record for job in graph.of("all")}

    finish(jobs["predictor_TO_seed0"], 10.0, inputs={"nowhere": {"sha256": "0", "size": 1, "modified": 1}})  # old
    jobs["attack_none_seed0"].record.unlink()
    gone = {"predictor_TO_seed0", "network_TO_seed0", "network_TO-shuffle_seed0", "attack_TO_seed0"}
    gone |= {"attack_TO-shuffle_seed0", "attack_none_seed0", "summary"}  # and what follows from them
    assert {job.name for job in graph.of("all") if job.record not in finished_jobs(graph)} == gone


def test_planted_runs_give_known_totals() -> None:
    graph = make_graph(TINY)
    jobs = named(graph)
    finish(jobs["predictor_V1_seed0"], 100.0, memory=1100)
    finish(jobs["network_V1_seed0"], 200.0, memory=1200)
    finish(jobs["network_none_seed0"], 300.0, memory=1300)
    table = estimates(costed(graph, TINY), finished_jobs(graph), past_runs(graph.jobs), RATES, gpu=False)
    table = table.assign(name=[job.name for job in graph.jobs]).set_index("name")

    assert table.loc["predictor_TO_seed0", "seconds"] == 100 + 10, "as its like took, and the kernel's start"
    assert set(table[table.notebook == "03_guided_training"].seconds) == {250 + 10.0}
    assert set(table[table.notebook == "03_guided_training"].memory) == {1300 + RUNNER_MB}
    assert table.loc["network_TO_seed0", "cpu"] == pytest.approx(260 / 3600)
    assert table.loc["network_TO_seed0", "disk"] == pytest.approx(1.0, rel=0.01)
    assert set(table.source[table.notebook.isin(["02_neural_predictors", "03_guided_training"])]) == {RUNS}
    assert set(table.source[table.notebook == "04_adversarial_attacks"]) == {MODEL}
    assert table.finished.sum() == 3


def test_other_attacks_are_another_kind_of_run() -> None:
    config = {**TINY, "table": [{"rois": "TO", "attacks": "L2CarliniWagner"}]}
    graph = make_graph(config)
    finish(named(graph)["attack_TO_seed0"], 7.0)
    table = estimates(costed(graph, config), set(), past_runs(graph.jobs), RATES, gpu=False)
    assert table.source[named(graph)["attack_none_seed0"].record] == RUNS
    assert table.source[named(graph)["attack_TO_seed0_L2CarliniWagner"].record] == MODEL


def test_time_is_cores_or_the_longest_chain(tmp_path: Path) -> None:
    record = {name: tmp_path / name / folders.RECORD for name in "abcd"}
    after = {"a": (), "b": ("a",), "c": ("b",), "d": ()}
    jobs = [Job(name, "x", {}, record[name], tuple(record[a] for a in after[name])) for name in "abcd"]
    table = pd.DataFrame(
        {"finished": False, "seconds": [1.0, 2.0, 3.0, 100.0], "gpu": 0.0}, index=[record[name] for name in "abcd"]
    )
    assert wall_seconds(table, jobs, threads=1, cores=100) == 100
    assert wall_seconds(table, jobs, threads=1, cores=1) == 106
    assert wall_seconds(table, jobs, threads=4, cores=8) == 100
    assert wall_seconds(table, jobs[:3], threads=1, cores=2) == 6, "one after the other"
    table.loc[record["d"], "finished"] = True
    assert wall_seconds(table, jobs, threads=1, cores=1) == 6
    assert wall_seconds(table.assign(gpu=1.0), jobs, threads=1, cores=100) == 6, "one GPU"


# --- work ---------------------------------------------------------------------------------------------------


def test_training_grows_with_epochs_and_images() -> None:
    once, twice = (
        work(TINY, "network_TO_seed0"),
        work(with_settings("03_guided_training", epochs=6), "network_TO_seed0"),
    )
    kind = "trained small_resnet 32-true 64"
    assert once[kind] == 3 * 500 * 0.88
    assert twice[kind] == 2 * once[kind]
    assert twice["passed small_resnet"] - 500 == 2 * (once["passed small_resnet"] - 500), (
        "and scaling the targets, once"
    )
    assert work(TINY, "network_none_seed0")["passed small_resnet"] == 3 * 60, "no guide: validation alone"
    assert work({**TINY, "profile": "demo"}, "network_TO_seed0")[kind] == 5 * once[kind]
    assert work(TINY, "network_labels_seed0")[kind] == once[kind] + 3 * 650


def test_clouds_are_trained_as_networks_but_for_what_is_changed() -> None:
    kind, name = "trained small_resnet 32-true 64", "13_manifold_guidance"
    assert work(with_settings(name, changes=""), name)[kind] == work(TINY, "network_TO_seed0")[kind]
    assert work(with_settings(name, changes="epochs=9"), name)[kind] == 9 * 500 * 0.88
    larger = with_settings("03_guided_training", epochs=3, batch_size=128, precision="bf16-mixed")
    assert "trained small_resnet bf16-mixed 128" in work(larger, name)


def test_an_attack_grows_with_steps_budgets_and_images() -> None:
    kind, setting = "gradient small_resnet", "04_adversarial_attacks"
    base = work(with_settings(setting, attacks="LinfPGD"), "attack_TO_seed0")[kind]
    for more in ({"steps": 10}, {"n_images": 120, "epsilons": "2 4"}, {"epsilons": "1 2 3 4"}):
        assert work(with_settings(setting, attacks="LinfPGD", **more), "attack_TO_seed0")[kind] > 1.6 * base * 100 / 120


def test_every_attack_and_notebook_is_counted() -> None:
    everything = with_settings("04_adversarial_attacks", attacks=" ".join(ATTACKS))
    assert work(everything, "attack_TO_seed0")
    for job in make_graph(TINY).jobs:
        assert min(work_of(job, sizes_of(None, TINY), "small_resnet").values()) > 0


def test_a_seed_adds_the_time_of_its_runs() -> None:
    def seconds(config: dict[str, Any]) -> pd.Series:
        graph = make_graph(config)
        table = estimates(costed(graph, config), set(), {}, RATES, gpu=False)
        return table.assign(name=[job.name for job in graph.jobs]).set_index("name").seconds

    one, two = seconds(TINY), seconds({**TINY, "seeds": "0 1"})
    own = [name for name in two.index if name.endswith("seed1")]
    assert two[own].sum() == pytest.approx(one[[name.replace("seed1", "seed0") for name in own]].sum())


def test_a_study_that_is_not_there_has_an_assumed_size() -> None:
    assert sizes_of(None, NSD) == ASSUMED
    assert sizes_of(None, TINY) == Sizes(32, 500, 100, 100, 2500, 750, 100, 200)


def test_images_that_are_there_are_counted(tmp_path: Path) -> None:
    for place in [
        "images/train/a/1",
        "images/train/a/2",
        "images/train/b/3",
        "images/val/a/4",
        "shapes/a/5",
        "corrupted/fog/1/a/4",
    ]:
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).touch()
    study = tmp_path / "data/raw/nsd-subj03/study.toml"
    study.parent.mkdir(parents=True)
    study.write_text(
        'name = "mine"\nsimulated = false\nimage_size = 224\nsubject = 3\nnsd = "."\n'
        + "".join(
            f'{key} = "../../../{place}"\n'
            for key, place in {"classification": "images", "cue_conflict": "shapes", "corruptions": "corrupted"}.items()
        )
    )
    found = sizes_of(open_study("nsd-subj03"), {})
    assert (found.train, found.val, found.conflict, found.corrupted) == (3, 1, 1, 5)
    assert found.scanner == 250 * 32, "subject 3 had 32 sessions"


# --- what a cluster is asked for ----------------------------------------------------------------------------


def test_a_small_study_asks_for_little() -> None:
    asked = needs_of(make_graph(TINY), TINY).values()
    assert max(need.memory_mb for need in asked) <= 1900, "two at once on 4 GB"
    assert {(need.threads, need.gpus) for need in asked} == {(1, 0)}
    assert max(need.minutes for need in asked) <= 30


def test_the_papers_study_asks_for_gpus_where_it_trains_or_attacks() -> None:
    graph = make_graph(NSD)
    needs = needs_of(graph, NSD)
    asked = {job.name: needs[job.record] for job in graph.jobs}
    wanted = {job.notebook for job in graph.jobs if asked[job.name].gpus}
    assert {"02_neural_predictors", "03_guided_training", "04_adversarial_attacks"} <= wanted
    assert not wanted & {"01_brain_responses", "10_summary", "08_rsa", "12_alpha"}
    without = {**NSD, "gpus": 0}
    on_cpu = needs_of(make_graph(without), without)
    network = named(graph)["network_TO_seed0"].record
    assert on_cpu[network].gpus == 0
    assert on_cpu[network].memory_mb > asked["network_TO_seed0"].memory_mb > 8000, "a batch is in the machine's memory"
    assert on_cpu[network].minutes > 20 * asked["network_TO_seed0"].minutes


def test_memory_grows_with_the_batch() -> None:
    name, setting = "network_TO_seed0", "03_guided_training"
    asked = []
    for batch_size in (64, 512):
        graph = make_graph(with_settings(setting, batch_size=batch_size))
        asked.append(needs_of(graph, TINY)[named(graph)[name].record].memory_mb)
    assert asked[1] > asked[0] + 300


def test_time_is_that_of_the_calibration_with_a_margin() -> None:
    config = {**with_settings("03_guided_training", epochs=300), "profile": "demo"}
    graph = make_graph(config)
    record = named(graph)["network_none_seed0"].record
    slow = needs_of(graph, config)[record].minutes
    keep_rates("CPU: 1 of 2 cores")
    seconds = 10 + 3 + 300 * 2500 * (0.88 * 0.01 + 0.12 * 0.001)
    assert needs_of(graph, config)[record].minutes == pytest.approx(SAFETY * seconds / 60, abs=1)
    keep_rates("GPU: some")
    assert needs_of(graph, config)[record].minutes == slow, "another device's rates say nothing of this one's"


def test_a_retry_asks_for_more() -> None:
    assert [growing(1500)(None, attempt=attempt) for attempt in (1, 2, 3)] == [1500, 3000, 4500]


def test_constants_that_stand_twice_agree() -> None:
    assert MEMORY_LIMIT == images.MEMORY_LIMIT
    assert {job.log.name for job in make_graph(TINY).jobs} == {EXECUTED}
    assert set(
        slow_rates([{"trained resnet18 bf16-mixed 8": 1, "passed resnet18": 1, "arithmetic": 1}], 224, True)
    ) == {
        START,
        "trained resnet18 bf16-mixed 8",
        "passed resnet18",
    }


# --- calibration --------------------------------------------------------------------------------------------


def test_rates_are_measured_once_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []
    monkeypatch.setattr(calibration, "measure", lambda kind, size, threads: measured.append(kind) or 0.5)
    monkeypatch.setattr(calibration, "_start", lambda: 7.0)
    kinds = ["passed small_resnet", "gradient small_resnet", "arithmetic"]
    device, rates = rates_for("tiny", kinds, 32, 1)
    assert rates == {START: 7.0, "passed small_resnet": 0.5, "gradient small_resnet": 0.5}
    assert read_rates("tiny") == (device, rates)
    assert rates_for("tiny", [*kinds, "passed resnet18"], 32, 1)[1] == {**rates, "passed resnet18": 0.5}
    assert measured == ["passed small_resnet", "gradient small_resnet", "passed resnet18"]
    keep_rates("GPU: another")
    assert rates_for("tiny", kinds[:1], 32, 1)[1] == {START: 7.0, "passed small_resnet": 0.5}


def test_a_measured_rate_grows_with_the_image() -> None:
    assert measure("passed small_resnet", 64, 1) > measure("passed small_resnet", 16, 1) > 0
    assert measure("gradient small_resnet", 16, 1) > 0
    assert measure("trained small_resnet 32-true 128", 16, 1) > 0


@pytest.mark.parametrize("text", ["", "[]", '{"device": "x"}', '{"device": "x", "seconds": {"start": "soon"}}'])
def test_a_damaged_calibration_is_told(text: str) -> None:
    calibration_file("tiny").parent.mkdir(parents=True)
    calibration_file("tiny").write_text(text)
    with pytest.raises(InputError, match="calibration is damaged"):
        read_rates("tiny")


# --- the command --------------------------------------------------------------------------------------------


def test_the_command_counts_what_snakemake_would_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """tests/test_graph.py compares the graph with Snakemake's own plan."""
    keep_rates(device_name(1))
    file = tmp_path / "x.yaml"
    file.write_text(yaml.safe_dump(dict(TINY)))
    assert main(["plan", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "03_guided_training" in shown
    assert "all:       12 runs, 12 to do" in shown
    assert f"study:     {len(make_graph(TINY).of('study'))} runs" in shown
    assert "calibration: passes counted" in shown
    for job in make_graph(TINY).jobs:
        finish(job, 10.0)
    assert main(["plan", str(file), "--seeds", "0"]) == 0
    shown = capsys.readouterr().out
    assert "all:       12 runs, 0 to do: 0.00 CPU hours" in shown
    assert MODEL not in shown
    assert main(["plan", str(file), "--rois", "V1", "--seeds", "0 1"]) == 0
    assert "all:       18 runs" in capsys.readouterr().out


def test_a_study_without_data_is_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "measure", lambda kind, size, threads: 0.1)
    monkeypatch.setattr(calibration, "_start", lambda: 7.0)
    shown = plan(NSD)
    assert "03_guided_training" in shown
    assert not study_file("nsd").exists()
    if "GPU:" not in shown:
        assert "this machine has no GPU" in shown


def test_what_cannot_be_planned_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(tmp_path / "nowhere.yaml")]) == 1
    assert "the study's file cannot be read" in capsys.readouterr().err
    job = make_graph(TINY).jobs[0]
    finish(job, 1.0)
    job.record.write_text("{")
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(dict(TINY)))
    assert main(["plan", str(tmp_path / "x.yaml")]) == 1
    assert "record" in capsys.readouterr().err
    assert home() == tmp_path
