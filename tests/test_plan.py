"""Planning: planted runs are counted and timed right, work grows as its parameters do, and rates are measured once."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from nbtools.attacks import ATTACKS
from nbtools.cli import main
from nbtools.data.images import sets as images
from nbtools.data.study import home, open_study, study_file
from nbtools.errors import InputError
from nbtools.files import write_text, written
from nbtools.metrics import sample_needed, smallest_effect
from nbtools.runs import folders
from nbtools.runs.batch import EXECUTED
from nbtools.runs.provenance import registrations
from nbtools.workflow import calibration
from nbtools.workflow.calibration import (
    Calibration,
    Step,
    calibration_file,
    device_name,
    measure,
    measured_rates,
    read_calibration,
)
from nbtools.workflow.config import read_config
from nbtools.workflow.costs import (
    GUESS,
    MEMORY_LIMIT,
    MODEL,
    RUNNER_MB,
    RUNS,
    SAFETY,
    STARTUP,
    estimates,
    growing,
    parameters_of,
    past_runs,
    steps_of,
    time_limit,
)
from nbtools.workflow.graph import make_graph
from nbtools.workflow.jobs import SUMMARY, Graph, Job
from nbtools.workflow.plan import finished_jobs, plan, wall_seconds
from nbtools.workflow.power import power_lines
from nbtools.workflow.sizes import ASSUMED, Sizes, sizes_of
from nbtools.workflow.work import GRADIENT, KINDS, OWN_STEPS, PASSED, images_of

TINY = read_config(folders.PROJECT / "config/tiny.yaml")
NSD = read_config(folders.PROJECT / "config/nsd.yaml")
STEP = Step("small_resnet", "32-true", 64, 32)
RATE = 0.01
NOTHING = Calibration("", {})


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))


def keep_rate(device: str, study: str = "tiny") -> Calibration:
    with written(calibration_file(study)) as beside:
        beside.write_text(json.dumps({"device": device, "seconds": {str(STEP): RATE}}))
    return read_calibration(study)


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


def counted(config: dict[str, Any], name: str) -> float:
    graph = make_graph(config)
    job = named(graph)[name]
    return images_of(job.notebook, parameters_of(job), sizes_of(graph.source, graph.profile))


def by_name(config: dict[str, Any], kept: Calibration = NOTHING, past: bool = False) -> pd.DataFrame:
    """The study's table of estimates, with names in place of records."""
    graph = make_graph(config)
    table = estimates(graph, kept, past_runs(graph.jobs) if past else None)
    return table.set_index(pd.Index([job.name for job in graph.jobs]))


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
    gone |= {"attack_TO-shuffle_seed0", "attack_none_seed0", "first_look", "summary"}  # and what follows from them
    assert {job.name for job in graph.of("all") if job.record not in finished_jobs(graph)} == gone


def test_an_input_of_many_runs_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, asked = make_graph(TINY), []

    def unchanged(name: str, then: dict[str, Any]) -> bool:
        asked.append((name, then["size"]))
        return True

    monkeypatch.setattr("nbtools.runs.records.unchanged", unchanged)
    for i, job in enumerate(graph.jobs):
        finish(job, 10.0, inputs={"images": {"size": 1}, "code": {"size": i % 2}})
    assert finished_jobs(graph) == {job.record for job in graph.jobs}
    assert sorted(asked) == [("code", 0), ("code", 1), ("images", 1)]


def test_a_summary_is_old_once_more_is_fixed_of_its_study() -> None:
    graph = make_graph(TINY)
    for job in graph.jobs:
        finish(job, 10.0)
    write_text(registrations(graph.study) / "2026-01-02T000000Z-0123abcd.json", "{}")
    old = {job.name for job in graph.jobs if job.record not in finished_jobs(graph)}
    assert old == {job.name for job in graph.jobs if job.notebook == SUMMARY} | {"15_study_explorer"}  # it reads one


def test_planted_runs_give_known_totals() -> None:
    graph = make_graph(TINY)
    jobs = named(graph)
    finish(jobs["predictor_V1_seed0"], 100.0, memory=1100)
    finish(jobs["network_V1_seed0"], 200.0, memory=1200)
    finish(jobs["network_none_seed0"], 300.0, memory=1300)
    finish(jobs["network_start_seed0"], 250.0, memory=1300)
    table = by_name(TINY, keep_rate(device_name()), past=True)

    assert table.loc["predictor_TO_seed0", "seconds"] == 100 + STARTUP, "as its like took, and the kernel's start"
    assert set(table[table.notebook == "03_guided_training"].seconds) == {250 + STARTUP}
    assert set(table[table.notebook == "03_guided_training"].memory) == {1300 + RUNNER_MB}
    assert table.loc["network_TO_seed0", "disk"] == pytest.approx(1.0, rel=0.01)
    assert set(table.source[table.notebook.isin(["02_neural_predictors", "03_guided_training"])]) == {RUNS}
    assert set(table.source[table.notebook == "04_adversarial_attacks"]) == {MODEL}

    without = by_name(TINY)
    others = ~table.notebook.isin(["02_neural_predictors", "03_guided_training"])
    assert (table.memory[others] == without.memory[others]).all()
    assert set(without.source) == {GUESS}, "a cluster is asked for what is counted, whatever ran before"


def test_other_attacks_are_another_kind_of_run() -> None:
    config = {**TINY, "table": [{"rois": "TO", "attacks": "L2CarliniWagner"}]}
    finish(named(make_graph(config))["attack_TO_seed0"], 7.0)
    table = by_name(config, keep_rate("CPU: 2 cores"), past=True)
    assert table.source["attack_none_seed0"] == RUNS
    assert table.source["attack_TO_seed0_L2CarliniWagner"] == MODEL


def test_time_is_cores_or_the_longest_chain(tmp_path: Path) -> None:
    record = {name: tmp_path / name / folders.RECORD for name in "abcd"}
    after = {"a": (), "b": ("a",), "c": ("b",), "d": ()}
    jobs = [Job(name, "x", {}, record[name], tuple(record[a] for a in after[name])) for name in "abcd"]
    planned = {"finished": False, "seconds": [1.0, 2.0, 3.0, 100.0], "gpus": 0, "threads": 1}
    table = pd.DataFrame(planned, index=[record[name] for name in "abcd"])
    assert wall_seconds(table, jobs, cores=100) == 100
    assert wall_seconds(table, jobs, cores=1) == 106
    assert wall_seconds(table.assign(threads=4), jobs, cores=8) == 100
    assert wall_seconds(table, jobs[:3], cores=2) == 6, "one after the other"
    table.loc[record["d"], "finished"] = True
    assert wall_seconds(table, jobs, cores=1) == 6
    assert wall_seconds(table.assign(gpus=1), jobs, cores=100) == 6, "one GPU"


# --- work ---------------------------------------------------------------------------------------------------


def test_training_grows_with_epochs_and_images() -> None:
    once = counted(TINY, "network_TO_seed0")
    assert once == pytest.approx(2 * 500 * (1 + PASSED)), "a guide looks at what the network trains on"
    assert counted(TINY, "network_none_seed0") == counted(TINY, "network_labels_seed0") == 2 * 500
    assert counted(with_settings("03_guided_training", start_epochs=7), "network_start_seed0") == 7 * 500
    assert counted(TINY, "predictor_TO_seed0") == 3 * 750
    ridge = with_settings("02_neural_predictors", predictor="ridge")
    assert counted(ridge, "predictor_TO_seed0") == PASSED * 750, "each image is read out once"
    assert counted(with_settings("03_guided_training", epochs=4), "network_TO_seed0") == pytest.approx(2 * once)
    assert counted({**TINY, "profile": "demo"}, "network_TO_seed0") == pytest.approx(5 * once)


def test_clouds_are_trained_as_networks_but_for_what_is_changed() -> None:
    name = "13_manifold_guidance"
    as_it_is, two, nine = (
        counted(with_settings(name, changes=changes), name) for changes in ("", "epochs=2", "epochs=9")
    )
    assert as_it_is == two, "the networks' own epochs"
    assert nine - two >= 7 * 500
    longer = with_settings("03_guided_training", epochs=9)
    plain = {**longer["settings"][name], "changes": ""}
    assert counted({**longer, "settings": {**longer["settings"], name: plain}}, name) == nine
    batch = {job.notebook: parameters_of(job) for job in make_graph(longer).jobs}[name]
    assert (batch["batch_size"], batch["epochs"]) == (64, 2), "what the study's file changes goes before"


def test_an_attack_grows_with_steps_budgets_and_images() -> None:
    setting, name = "04_adversarial_attacks", "attack_TO_seed0"
    values = {"attacks": "LinfPGD", "steps": 10, "n_images": 50}
    base = counted(with_settings(setting, **values), name)
    for more in ({"steps": 20}, {"n_images": 100}, {"epsilons": "1 2 3 4"}):
        assert counted(with_settings(setting, **{**values, **more}), name) > 1.6 * base


def test_each_blur_is_counted_with_the_networks_behind_it() -> None:
    name = "20_frequency"
    one, two, three = (counted(with_settings(name, blurs=blurs), name) for blurs in ("4", "4 8", "4 8 12"))
    assert two > one
    assert three - two == pytest.approx(two - one)


def test_an_attack_is_counted_with_the_steps_it_takes() -> None:
    for name, attack in ATTACKS.items():
        steps = OWN_STEPS.get(name.removeprefix("Linf").removeprefix("L2"), 7)
        assert attack.steps_for(7) == steps or attack.steps == steps == 1, name


def test_every_attack_and_notebook_is_counted() -> None:
    for attack in ATTACKS:
        setting = with_settings("04_adversarial_attacks", attacks=attack)
        assert counted(setting, "attack_TO_seed0") > 60 * 2 * PASSED
    explorers = {"05_attack_explorer", "15_study_explorer"}
    without_networks = {"01_brain_responses", "10_summary", "12_alpha"} | explorers
    for job in make_graph(TINY).jobs:
        assert (counted(TINY, job.name) > 0) != (job.notebook in without_networks)
    assert (by_name(TINY).seconds > STARTUP).all()


def test_what_compares_networks_grows_with_them() -> None:
    seeds = {**TINY, "seeds": "0 1"}
    compared = "06_smoothness_and_transfer 07_shape_bias 09_manifolds 17_natural_corruptions 18_compare_networks "
    compared += "19_training_and_certificates 20_frequency 22_other_images 21_mechanism"
    for name in compared.split():
        assert counted(seeds, name) == pytest.approx(2 * counted(TINY, name))
    small, large = (by_name(with_settings("08_rsa", n_boot=n)).seconds["08_rsa"] for n in (20, 20_000))
    assert large > small + 100


def test_a_seed_adds_the_time_of_its_runs() -> None:
    kept = keep_rate(device_name())
    one, two = by_name(TINY, kept).seconds, by_name({**TINY, "seeds": "0 1"}, kept).seconds
    own = [name for name in two.index if name.endswith("seed1")]
    assert two[own].sum() == pytest.approx(one[[name.replace("seed1", "seed0") for name in own]].sum())


def test_a_step_of_an_attack_costs_as_one_of_training() -> None:
    """Forward, back to the maps, back to the weights: about a third each."""
    assert pytest.approx(1) == GRADIENT + PASSED


def test_what_is_not_trained_is_in_full_precision() -> None:
    assert steps_of(make_graph(TINY)) == (STEP, STEP)
    half, full = Step("resnet18", "bf16-mixed", 1024, 224), Step("resnet18", "32-true", 256, 224)
    assert steps_of(make_graph(NSD)) == (half, full)
    one = by_name(NSD, Calibration("GPU: some", {str(half): 0.001, str(full): 0.001})).seconds
    other = by_name(NSD, Calibration("GPU: some", {str(half): 0.001, str(full): 0.002})).seconds
    assert other["network_TO_seed0"] == one["network_TO_seed0"]
    assert other["attack_TO_seed0"] > 1.9 * one["attack_TO_seed0"]


def test_a_study_that_is_not_there_has_an_assumed_size() -> None:
    nsd, tiny = make_graph(NSD), make_graph(TINY)
    assert sizes_of(nsd.source, nsd.profile) == ASSUMED
    assert sizes_of(tiny.source, tiny.profile) == Sizes(32, 500, 100, 100, 2500, 750, 100, 200)


def test_images_that_are_there_are_counted(tmp_path: Path) -> None:
    for place in [
        "images/train/a/1.png",
        "images/train/a/2.png",
        "images/train/b/3.png",
        "images/val/a/4.png",
        "shapes/a/5.png",
        "corrupted/fog/1/a/4.png",
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
    found = sizes_of(open_study("nsd-subj03"), None)
    assert (found.train, found.val, found.conflict, found.corrupted) == (3, 1, 1, 5)
    assert found.scanner == 250 * 32, "subject 3 had 32 sessions"


# --- what a cluster is asked for ----------------------------------------------------------------------------


def test_a_small_study_asks_for_little() -> None:
    asked = by_name(TINY)
    assert asked.memory.max() <= 1900, "two at once on 4 GB"
    assert set(asked.threads) == {1}
    assert set(asked.gpus) == {0}
    assert time_limit(asked.seconds.max()) <= 30


def test_the_papers_study_asks_for_gpus_where_it_trains_or_attacks() -> None:
    asked, on_cpu = by_name(NSD), by_name({**NSD, "gpus": 0})
    wanted = set(asked.notebook[asked.gpus > 0])
    assert {"02_neural_predictors", "03_guided_training", "04_adversarial_attacks"} <= wanted
    assert not wanted & {"01_brain_responses", "10_summary", "08_rsa", "12_alpha"}
    assert set(asked.threads) == {4}
    assert set(on_cpu.gpus) == {0}
    name = "network_TO_seed0"
    assert on_cpu.memory[name] > asked.memory[name] > 8000, "a batch is in the machine's memory"
    assert time_limit(on_cpu.seconds[name]) > 20 * time_limit(asked.seconds[name])

    kept = Calibration("GPU: some", {str(step): 0.001 for step in steps_of(make_graph(NSD))})
    measured = by_name(NSD, kept)
    assert set(measured.source[measured.gpus > 0]) == {MODEL}
    assert set(measured.source[measured.gpus == 0]) == {GUESS}, "what is given no GPU is not as fast as one"
    assert (measured.seconds[measured.gpus == 0] == asked.seconds[asked.gpus == 0]).all()


def test_memory_grows_with_the_batch() -> None:
    small, large = (by_name(with_settings("03_guided_training", batch_size=size)).memory for size in (64, 512))
    assert large["network_TO_seed0"] > small["network_TO_seed0"] + 300


def test_notebooks_that_read_tables_alone_ask_for_less() -> None:
    asked = by_name(TINY)
    tables = {"10_summary", "12_alpha", "15_study_explorer"}
    assert set(asked.notebook[asked.memory < 1000]) == tables


def test_time_is_that_of_the_calibration_with_a_margin() -> None:
    config = {**with_settings("03_guided_training", epochs=300), "profile": "demo"}
    name, seconds = "network_none_seed0", 300 * 2500 * RATE
    slow = by_name(config).seconds[name]
    kept = by_name(config, keep_rate("CPU: 2 cores")).seconds[name]
    assert time_limit(kept) == pytest.approx(SAFETY * (STARTUP + seconds) / 60, abs=1)
    other = by_name(config, keep_rate("GPU: some")).seconds[name]
    assert other == slow, "another device's rates say nothing of this one's"


def test_a_retry_asks_for_more() -> None:
    assert [growing(1500)(None, attempt=attempt) for attempt in (1, 2, 3)] == [1500, 3000, 4500]


def test_constants_that_stand_twice_agree() -> None:
    assert MEMORY_LIMIT == images.MEMORY_LIMIT
    assert {job.log.name for job in make_graph(TINY).jobs} == {EXECUTED}
    assert {job.notebook for job in make_graph(TINY).jobs} == KINDS.keys()


# --- calibration --------------------------------------------------------------------------------------------


def test_a_step_is_measured_once_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[Step] = []
    monkeypatch.setattr(calibration, "measure", lambda step: measured.append(step) or 0.5)
    found, other = measured_rates("tiny", [STEP, STEP]), replace(STEP, batch_size=32)
    assert found == Calibration(device_name(), {str(STEP): 0.5}) == read_calibration("tiny")
    assert measured_rates("tiny", [STEP, other]).seconds == {str(STEP): 0.5, str(other): 0.5}
    assert measured_rates("tiny", [STEP]).seconds == {str(STEP): 0.5, str(other): 0.5}
    assert measured == [STEP, other]
    keep_rate("GPU: another")
    assert measured_rates("tiny", [STEP]).seconds == {str(STEP): 0.5}


def test_a_measured_step_grows_with_the_image() -> None:
    large, small = (measure(Step("small_resnet", "32-true", 128, size)) for size in (64, 16))
    assert large > small > 0


@pytest.mark.parametrize("text", ["", "[]", '{"device": "x"}', '{"device": "x", "seconds": {"start": "soon"}}'])
def test_a_damaged_calibration_is_told(text: str) -> None:
    calibration_file("tiny").parent.mkdir(parents=True)
    calibration_file("tiny").write_text(text)
    with pytest.raises(InputError, match="calibration is damaged"):
        read_calibration("tiny")


# --- the command --------------------------------------------------------------------------------------------


def test_the_command_counts_what_snakemake_would_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """tests/test_graph.py compares the graph with Snakemake's own plan."""
    keep_rate(device_name())
    file = tmp_path / "x.yaml"
    file.write_text(yaml.safe_dump(dict(TINY)))
    assert main(["plan", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "03_guided_training" in shown
    assert "all:       14 runs, 14 to do" in shown
    assert f"study:     {len(make_graph(TINY).of('study'))} runs" in shown
    assert "calibration: images counted" in shown
    for job in make_graph(TINY).jobs:
        finish(job, 10.0)
    assert main(["plan", str(file), "--seeds", "0"]) == 0
    shown = capsys.readouterr().out
    assert "all:       14 runs, 0 to do: 0.00 CPU hours" in shown
    assert MODEL not in shown
    assert main(["plan", str(file), "--rois", "V1", "--seeds", "0 1"]) == 0
    assert "all:       20 runs" in capsys.readouterr().out


def test_why_runs_are_not_finished_any_more_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    keep_rate(device_name())
    file = str(folders.PROJECT / "config/tiny.yaml")
    main(["plan", file])
    assert "were finished" not in (shown := capsys.readouterr().out)
    assert "not asked for" not in shown
    gone = {f"gone{n}": {"sha256": "0", "size": 1, "modified": 1} for n in range(7)}
    for job in make_graph({**TINY, "seeds": "0 1"}).of("all"):
        finish(job, 10.0, inputs=gone if job.name in ("predictor_TO_seed0", "network_none_seed1") else {})
    assert main(["plan", file]) == 0
    shown = capsys.readouterr().out
    told = "old: 7 runs were finished and are to be made again; of 1 what they came from has changed since "
    assert f"{told}(gone0, gone1, gone2, gone3, gone4 and 2 more), 6 build on runs that are old or missing" in shown
    assert re.search(r"^03_guided_training +12 +3 +2 +9 ", shown, re.MULTILINE)
    assert "other parameters than the plan's: 5 of 03_guided_training, 4 of 04_adversarial_attacks, 1 of 10_" in shown
    main(["plan", file, "--seeds", "0 1"])
    assert "not asked for" not in capsys.readouterr().out


@pytest.mark.parametrize(("device", "cpu", "gpu"), [("CPU: 2 cores", 3, 0), ("GPU: some", 2, 1)])
def test_hours_are_those_of_the_device_here(monkeypatch: pytest.MonkeyPatch, device: str, cpu: int, gpu: int) -> None:
    monkeypatch.setattr(sys.modules[plan.__module__], "device_name", lambda: device)
    for job in make_graph(TINY).of("all"):
        finish(job, 3600 - STARTUP)
    named(make_graph(TINY))["attack_none_seed0"].record.unlink()
    calibration_file("tiny").write_text(json.dumps({"device": device, "seconds": {str(STEP): RATE}}))
    told = plan(TINY)
    assert f"all:       14 runs, 3 to do: {cpu}.00 CPU hours, {gpu}.00 GPU hours, 3 MB" in told, "and the summaries"
    assert re.search(r"^04_adversarial_attacks +11 +3 +0 +8 ", told, re.MULTILINE)
    assert re.search(r"^10_summary +3 +0 +2 +3 ", told, re.MULTILINE)


# --- what can be found --------------------------------------------------------------------------------------


def attacked(job: Job, accuracy: float, n: int = 1000) -> None:
    """Plant a finished attack: this accuracy at 4/255, all right at 2/255."""
    finish(job, 1.0)
    right = [*(np.arange(n) < round(accuracy * n)), *[True] * n]
    same = {"attack": "LinfPGD", "condition": job.parameters["roi"], "seed": job.parameters["seed"], "label": 1}
    each = {"image_id": np.tile(np.arange(n), 2), "epsilon": np.repeat([4, 2], n) / 255}
    table = pd.DataFrame({**each, **same, "prediction": np.array(right, int), "margin": 0.0})
    table.to_parquet(job.record.with_name("decisions.parquet"))


def power_told(config: dict[str, Any]) -> list[str]:
    graph = make_graph(config)
    return power_lines(graph, {job.record for job in graph.jobs if job.record.exists()})


def test_a_study_without_images_to_classify_is_planned_without_its_summary() -> None:
    study = home() / "data/derived/tiny"
    (study / "nsd").mkdir(parents=True)
    (study / "study.toml").write_text('name = "tiny"\nsimulated = true\nnsd = "nsd"\nsubject = 1\nimage_size = 32\n')
    keep_rate(device_name())
    told = plan(TINY)
    assert "not planned: 10_summary, for want of" in told
    assert "power" not in told


def test_power_goes_by_the_spread_of_networks_that_have_finished() -> None:
    config = {**TINY, "rois": "V1 V4 TO", "controls": "none", "seeds": "0 1 2 3"}
    assert "over the simulated study's 3 seeds (none has run here)" in power_told(config)[2]
    scores = {"none": [0.1, 0.3, 0.2], "V1": [0.12, 0.3, 0.22], "V4": [0.2, 0.42, 0.3], "TO": [0.21, 0.41, 0.33]}
    jobs = named(make_graph(config))
    for condition, seed in product(scores, range(3)):
        attacked(jobs[f"attack_{condition}_seed{seed}"], scores[condition][seed])
    regions = np.array([scores[name] for name in ("V1", "V4", "TO")])
    slope = ((regions[2] - regions[0]) / 2).std(ddof=1)
    difference = np.sqrt((regions - scores["none"]).var(axis=1, ddof=1).mean())
    finds, takes, basis, images, _ = power_told(config)
    found, strict = (smallest_effect(difference, 4, level) for level in (0.05, 0.05 / 3))
    rise = 2 * smallest_effect(slope, 4)
    assert f"4 seeds find, in 80% of studies, a rise of {rise:.3f} from V1 to TO, a difference of {found:.3f}" in finds
    assert f"({strict:.3f} by Holm's correction for 3)" in finds
    assert f"difference of 0.03 takes {sample_needed(0.03, difference)} seeds" in takes
    assert f"over 3 finished seeds; sd {slope:.3f} of the slope, {difference:.3f} of a difference" in basis
    assert "60 test images: counting them makes up to 0.065" in images
    assert "one seed has no test; " in power_told({**config, "seeds": "0"})[0]
    assert power_told({**config, "controls": ""}) == []


def test_several_subjects_are_the_sample_of_a_plan() -> None:
    settings = {**TINY["settings"], "10_summary": {"subjects": "tiny-2 tiny-3"}}
    told = power_told({**TINY, "settings": settings})
    assert told[0].startswith("power: 3 subjects find, in 80% of studies, a difference of")
    assert "subjects may differ by more" in told[2]


def test_a_study_without_data_is_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "measure", lambda step: 0.1)
    shown = plan(NSD)
    assert "03_guided_training" in shown
    assert not study_file("nsd").exists()
    if "GPU:" not in shown:
        assert "this machine has no GPU" in shown


def test_a_study_without_images_to_classify_is_planned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(calibration, "measure", lambda step: 0.1)
    file = tmp_path / "study.toml"
    file.write_text('name = "seen"\nsimulated = false\nimage_size = 32\nsubject = 1\nnsd = "nsd"\n')
    shown = plan({"study": str(file)})
    assert "not planned: 10_summary, for want of" in shown
    assert "power:" not in shown


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
