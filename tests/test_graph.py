"""The graph: which runs a study takes, what its table adds, and that nothing in a study's file is run by a shell."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from nbtools.attacks import ATTACKS
from nbtools.conditions import HIERARCHY
from nbtools.data.study import home, study_file
from nbtools.errors import InputError
from nbtools.runs import folders
from nbtools.workflow.config import KEYS, attack_names, read_config, world_arguments
from nbtools.workflow.graph import make_graph
from nbtools.workflow.jobs import SUMMARY, TARGETS, Graph, Job
from nbtools.workflow.sizes import source_of

SNAKEFILE = folders.PROJECT / "Snakefile"
TINY = read_config(folders.PROJECT / "config/tiny.yaml")
ENDS = ("V1", "TO")
HOSTILE = """V1'; touch hacked; echo "$(touch hacked)`touch hacked` {wildcards} \\ #"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(folders.PROJECT))


def names(config: dict[str, Any], target: str = "study") -> set[str]:
    return {job.name for job in make_graph(config).of(target)}


def added(*rows: dict[str, Any], **keys: Any) -> set[str]:
    """What rows of the table add to the tiny study."""
    before, after = names({**TINY, **keys}), names({**TINY, **keys, "table": list(rows)})
    assert before <= after
    return after - before


def describe(study: str) -> None:
    """A further subject's study: its description, and folders, are enough to plan with."""
    file = study_file(study)
    for part in ("train", "val"):
        (file.parent / part).mkdir(parents=True)
    file.write_text(
        f'name = "{study}"\nsimulated = true\nimage_size = 32\nsubject = 2\nnsd = "."\nclassification = "."\n'
    )


def snakemake(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(SNAKEFILE), "--cores", "1", *arguments]
    return subprocess.run(command, cwd=home(), capture_output=True, text=True, timeout=120)


# --- jobs ---------------------------------------------------------------------------------------------------


def test_the_demo_has_seven_predictors_and_eleven_networks_a_seed() -> None:
    demo = names({}, "all")
    kinds = {kind: len([name for name in demo if name.startswith(kind)]) for kind in ("predictor", "network", "attack")}
    assert kinds == {"predictor": 7, "network": 3 * (1 + 11), "attack": 3 * 11}
    assert {name for name in demo if "seed" not in name} == {"responses", "first_look", "summary"}
    assert {name for name in demo if "seeds" in name} == {"summary_seeds_0", "summary_seeds_0_1"}


def test_networks_of_a_seed_begin_with_its_start() -> None:
    planned = {job.name: job for job in make_graph({"seeds": "0 1"}).jobs}
    for name in ("none", "V1", "V1_alpha0.65", "TO-shuffle", "labels", "decay-0.1"):
        assert planned["network_start_seed1"].record in planned[f"network_{name}_seed1"].after
    assert not planned["network_start_seed1"].after
    for start in ("scratch", "imagenet"):
        assert not any("start" in name for name in names({"settings": {"03_guided_training": {"start": start}}}))


def test_a_network_of_several_parts_waits_for_all_their_predictors() -> None:
    planned = {job.name: job for job in make_graph({"rois": "V1 TO", "further": "V1+TO random+labels-guide"}).jobs}
    for name, guides in {"V1+TO": ("V1", "TO"), "random+labels-guide": ("TO", "labels-guide")}.items():
        after = [planned[f"predictor_{roi}_seed0"].record for roi in guides]
        assert planned[f"network_{name}_seed1"].after == (*after, planned["network_start_seed1"].record)


def test_predictors_are_shared_unless_each_seed_has_its_own() -> None:
    shared, own = ({job.name: job for job in make_graph(config).jobs} for config in ({}, {"predictors": "own"}))
    once = {f"predictor_{roi}_seed0" for roi in (*HIERARCHY, "labels-guide")}
    assert {name for name in shared if name.startswith("predictor")} == once
    assert own["predictor_TO_seed2"].record in own["network_TO_seed2"].after
    assert own["network_TO_seed2"].parameters["predictor_seed"] == 2
    assert shared["predictor_TO_seed0"].record in shared["network_TO_seed2"].after
    assert "predictor_seed" not in shared["network_TO_seed2"].parameters


def test_a_job_is_the_run_that_its_parameters_name() -> None:
    """What was run by hand, in a notebook or by papermill is found, and not run again."""
    records = {job.name: job.record for job in make_graph({}).jobs}
    by_hand: dict[str, tuple[str, dict[str, Any]]] = {
        "network_TO_seed0": ("03_guided_training", {}),
        "network_V1_alpha0.35_seed0": ("03_guided_training", {"roi": "V1", "alpha": 0.35}),
        "attack_none_seed0": ("04_adversarial_attacks", {"roi": "none"}),
        "summary": ("10_summary", {}),
        "14_brain_and_geometry": ("14_brain_and_geometry", {}),
    }
    for name, (notebook, values) in by_hand.items():
        assert records[name] == folders.run_folder(notebook, values) / folders.RECORD


@pytest.mark.parametrize("config", [{}, TINY, {"seeds": "0 1", "rois": "V1 V3"}], ids=["demo", "tiny", "other"])
def test_a_job_comes_after_those_it_waits_for(config: dict[str, Any]) -> None:
    planned = make_graph(config)
    seen: set[Path] = set()
    for job in planned.jobs:
        assert set(job.after) <= seen
        assert any(job.record in records for records in planned.targets.values())
        seen.add(job.record)
    assert len({job.name for job in planned.jobs}) == len(planned.jobs) == len(seen)
    for target in TARGETS:
        closed = {job.record for job in planned.of(target)}
        assert all(set(job.after) <= closed for job in planned.of(target))


def test_a_seed_adds_its_own_jobs() -> None:
    one, two = (names({"seeds": seeds, "predictors": "own"}, "all") for seeds in ("0", "0 1"))
    own = {name.replace("seed0", "seed1") for name in one if "seed0" in name}
    assert two - one == {*own, "summary_seeds_0"}


def test_a_first_look_comes_first_and_then_seed_after_seed() -> None:
    """Among runs that could be made, none goes before one that an earlier report waits for."""
    planned = make_graph({"rois": "V1 V2 TO"})
    jobs, priorities = {job.name: job for job in planned.jobs}, planned.priorities
    for earlier, later in pairwise(["first_look", "summary_seeds_0", "summary_seeds_0_1", "summary"]):
        first, then = (upstream(planned, jobs[name]) for name in (earlier, later))
        assert first < then
        assert min(priorities[record] for record in first) > max(priorities[record] for record in then - first)
    ends = {name for name in jobs if jobs[name].record in upstream(planned, jobs["first_look"])}
    made = {f"{kind}_{name}_seed0" for kind in ("network", "attack") for name in ("none", "V1", "TO")}
    assert ends == {*made, "network_start_seed0", "predictor_V1_seed0", "predictor_TO_seed0"}
    assert priorities[jobs["first_look"].record] >= max(priorities.values())


def upstream(planned: Graph, job: Job) -> set[Path]:
    after = {job.record: job.after for job in planned.jobs}
    found, waiting = set[Path](), [*job.after]
    while waiting:
        if (record := waiting.pop()) not in found:
            found.add(record)
            waiting += after[record]
    return found


@pytest.mark.parametrize(
    ("config", "summaries"),
    [
        ({"rois": "V1", "controls": "none", "seeds": 0}, {"summary"}),  # a first look would be the same
        ({"rois": "V1 TO", "controls": "random", "seeds": 0}, {"summary", "first_look"}),
        ({"rois": "V1 TO", "controls": "none", "seeds": "3 1"}, {"summary", "first_look"}),
    ],
)
def test_no_report_is_made_twice(config: dict[str, Any], summaries: set[str]) -> None:
    assert {job.name for job in make_graph(config).of("all") if job.notebook == SUMMARY} == summaries


def test_what_a_study_lacks_data_for_is_not_planned() -> None:
    everything = names(TINY)
    describe("tiny")
    lacking = {"07_shape_bias", "09_manifolds", "17_natural_corruptions", "network_labels_seed0", "attack_labels_seed0"}
    assert everything - names(TINY) == lacking
    with study_file("tiny").open("a") as file:
        file.write('cue_conflict = "."\nscanner_labels = "study.toml"\ncorruptions = "nowhere"\n')
    assert everything - names(TINY) == {"17_natural_corruptions"}


@pytest.mark.parametrize(("label", "fits"), [("dog", True), ("n02391049", False)])
def test_labels_are_told_where_they_are_classes_alone(label: str, fits: bool) -> None:
    """Pictures of THINGS may be labelled by its categories, and networks trained on ImageNet's classes beside them."""
    describe("tiny")
    file = study_file("tiny")
    for name, part in product(("dog", "tool"), ("train", "val")):
        (file.parent / part / name).mkdir()
    pd.DataFrame({"image_id": [0, 1], "label": [label, None]}).to_parquet(file.parent / "labels.parquet")
    with file.open("a") as described:
        described.write('scanner_labels = "labels.parquet"\n')
    planned = make_graph({**TINY, "controls": "none labels labels-guide", "rois": "V1 TO"})
    assert ("network_labels_seed0" in {job.name for job in planned.jobs}) == fits
    assert "network_labels-guide_seed0" in {job.name for job in planned.jobs}
    assert planned.left_out.get("labels", []) == ([] if fits else ["scanner_labels of its classes"])


@pytest.mark.parametrize("folders_there", ["", "val", "train val"])
def test_networks_are_planned_where_there_are_images_to_train_and_test_them(folders_there: str) -> None:
    """Haxby's study has pictures to test with alone: no training is planned, and it is said why."""
    describe("tiny")
    for part in {"train", "val"} - set(folders_there.split()):
        (study_file("tiny").parent / part).rmdir()
    planned = make_graph(TINY)
    made = {job.notebook for target in TARGETS for job in planned.of(target)}
    trained = {"03_guided_training", "04_adversarial_attacks", "10_summary", "14_brain_and_geometry"}
    assert made & trained == (trained if folders_there == "train val" else set())
    assert "01_brain_responses" in made
    assert ("classification/train" in planned.left_out.get("10_summary", [])) == ("train" not in folders_there)


def test_worse_guides_are_planned_for_every_region_where_they_are_asked_for() -> None:
    assert not any(f"-{dose}-" in name for name in names({}) for dose in ("images", "noise", "voxels"))
    config = {"rois": "V1 LO TO", "seeds": "0 1", "dose": "noise", "doses": "0.5 4"}
    planned = {job.name: job for job in make_graph(config).jobs}
    of = [(roi, level) for roi in ("V1", "LO", "TO") for level in (0.5, 4.0)]
    named = {f"{roi}-noise-{level:g}" for roi, level in of}
    networks = {f"{kind}_{each}_seed{seed}" for kind in ("network", "attack") for each in named for seed in (0, 1)}
    predictors = {f"predictor_{roi}_noise-{level}_seed0" for roi, level in of}
    assert {name for name in planned if "noise" in name} == networks | predictors
    after = planned["network_LO-noise-4_seed1"].after
    assert planned["predictor_LO_noise-4.0_seed0"].record in after
    assert planned["network_start_seed1"].record in after
    compared = planned["12_alpha"].parameters
    assert (compared["dose"], compared["doses"], compared["regions"]) == ("noise", "0.5 4", "V1 LO TO")
    for roi, noise in product(("V1", "LO", "TO"), ("", "-noise-0.5", "-noise-4")):
        assert planned[f"attack_{roi}{noise}_seed1"].record in planned["12_alpha"].after


def test_networks_are_trained_against_perturbations_with_a_guide_and_without() -> None:
    config = {"rois": "V1 LO", "controls": "random", "seeds": "0 1", "hardened": "fast-4 gauss-0.25"}
    planned = {job.name: job for job in make_graph(config).jobs}
    compared = planned["19_training_and_certificates"]
    crossed = "none LO none-fast-4 LO-fast-4 none-gauss-0.25 LO-gauss-0.25 none-fast-8 none-gauss-0.5"
    assert (compared.parameters["rois"], compared.parameters["seeds"]) == (crossed, "0 1")
    decays = "decay-0.003 decay-0.01 decay-0.03 decay-0.1 decay-0.3"
    assert (compared.parameters["others"], compared.parameters["alphas"]) == (f"LO {decays}", "0.35 0.65 0.9")
    on_fronts = [*crossed.split(), *decays.split(), "LO_alpha0.35", "LO_alpha0.65"]
    attacks = {planned[f"attack_{name}_seed{seed}"].record for name in on_fronts for seed in (0, 1)}
    assert set(compared.after) == attacks
    one = {job.name: job for job in make_graph({**config, "alphas": "", "further": "labels"}).jobs}
    alone = one["19_training_and_certificates"].parameters
    assert (alone["others"], alone["alphas"]) == ("LO", "0.9"), "no weight decays, one α"
    assert planned["predictor_LO_seed0"].record in planned["network_LO-fast-4_seed1"].after
    both = {job.name: job for job in make_graph({**config, "hardened": "at-4 atboth-4"}).jobs}
    crossed = "none LO none-at-4 LO-at-4 LO-atboth-4 none-at-8"
    assert both["19_training_and_certificates"].parameters["rois"] == crossed, "without a guide there is one term"
    assert not any("fast" in name or name.startswith("19") for name in names({**config, "hardened": ""}))
    with pytest.raises(InputError, match="unknown condition 'none-fats-4'"):
        make_graph({**config, "hardened": "fats-4"})


def test_a_ridge_predictor_waits_for_the_network_whose_features_it_takes() -> None:
    planned = {job.name: job for job in make_graph({"rois": "V1 TO-ridge", "seeds": "1"}).jobs}
    predictor = planned["predictor_TO_predictor-ridge_seed0"]
    assert predictor.after == (planned["network_start_seed0"].record,)
    assert predictor.record in planned["network_TO-ridge_seed1"].after
    assert planned["predictor_V1_seed0"].after == ()
    drawn = {"settings": {"02_neural_predictors": {"predictor": "ridge", "features_of": "scratch"}}}
    assert all(not job.after for job in make_graph(drawn).jobs if job.notebook == "02_neural_predictors")
    with pytest.raises(InputError, match="a guided network has no features"):
        make_graph({"settings": {"02_neural_predictors": {"predictor": "ridge", "features_of": "V1"}}})


# --- the table ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"rois": "V4"}, "predictor_V4_seed0 network_V4_seed0 attack_V4_seed0"),
        ({"rois": "TO", "alphas": 0.65}, "network_TO_alpha0.65_seed0 attack_TO_alpha0.65_seed0"),
        ({"rois": "none", "seeds": "0 3"}, "network_start_seed3 network_none_seed3 attack_none_seed3"),
        ({"rois": "TO V1", "attacks": "L2PGD"}, "attack_TO_seed0_L2PGD attack_V1_seed0_L2PGD"),
        ({"rois": "TO", "attacks": "LinfPGD LinfTargetedPGD"}, ""),  # the study's own
        ({"rois": "TO V1", "seeds": 0}, ""),  # there already
        (
            {"rois": "V2-shuffle", "alphas": "0.9"},
            "predictor_V2_seed0 network_V2-shuffle_seed0 attack_V2-shuffle_seed0",
        ),
        (
            {"rois": "V1@layer1~2+V4-noise-0.5-rdm+TO-ridge-shuffle"},
            "predictor_V4_noise-0.5_seed0 predictor_TO_predictor-ridge_seed0 "
            "network_V1@layer1~2+V4-noise-0.5-rdm+TO-ridge-shuffle_seed0 "
            "attack_V1@layer1~2+V4-noise-0.5-rdm+TO-ridge-shuffle_seed0",
        ),
    ],
)
def test_a_row_adds_its_own_jobs(row: dict[str, Any], expected: str) -> None:
    assert added(row) == set(expected.split())


def test_a_row_crosses_its_columns() -> None:
    describe("tiny-2")
    row = {"rois": "V1 TO", "seeds": "1 2", "subjects": "tiny tiny-2", "alphas": "0.35 0.65", "attacks": "L2PGD"}
    found = added(row)
    assert len({name for name in found if name.startswith("attack")}) == 2 * 2 * 2 * 2
    assert len({name for name in found if name.startswith("network")}) == 2 * 2 * 2 * 2 + 2 * 2  # a start a seed
    assert {name for name in found if name.startswith("predictor")} == {f"predictor_tiny-2_{roi}_seed0" for roi in ENDS}
    assert "attack_tiny-2_V1_alpha0.35_seed2_L2PGD" in found


def test_what_a_row_leaves_out_is_the_studys_own() -> None:
    describe("tiny-2")
    pairs = [("network", "start"), *product(("network", "attack"), ENDS)]
    networks = {f"{kind}_tiny-2_{roi}_seed{seed}" for kind, roi in pairs for seed in (0, 5)}
    predictors = {f"predictor_tiny-2_{roi}_seed0" for roi in ENDS}
    assert added({"subjects": "tiny-2"}, seeds="0 5") == networks | predictors


def test_a_further_subjects_runs_wait_for_its_own() -> None:
    describe("tiny-2")
    planned = {job.name: job for job in make_graph({**TINY, "table": [{"subjects": "tiny-2"}]}).jobs}
    attack, network = planned["attack_tiny-2_TO_seed0"], planned["network_tiny-2_TO_seed0"]
    assert attack.after == (network.record,)
    before = ("predictor_tiny-2_TO_seed0", "network_tiny-2_start_seed0")
    assert network.after == tuple(planned[name].record for name in before)
    assert (home() / "runs/tiny-2") in network.record.parents


def test_attacks_are_known_without_their_code() -> None:
    assert attack_names() == list(ATTACKS)


def test_rows_that_overlap_share_their_jobs() -> None:
    assert added({"rois": "V4 LO"}, {"rois": "LO", "seeds": "0 1"}) == added({"rois": "V4 LO"}) | {
        "network_start_seed1",
        "network_LO_seed1",
        "attack_LO_seed1",
    }


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"roi": "V1"}, "key that nothing reads"),
        ({"rois": "V9"}, "unknown condition"),
        ({"rois": ""}, "without regions or seeds"),
        ({"seeds": "one"}, "seeds cannot be 'one'"),
        ({"alphas": "1.5"}, "alphas cannot be '1.5'"),
        ({"profile": "large"}, "no such profile"),
        ({"truth": "maybe"}, "no world of such a truth"),
        ({"gpus": "two"}, "gpus cannot be 'two'"),
        ({"settings": "V1"}, "settings cannot be read"),
        ({"settings": {"03_guided_trainings": {}}}, "no notebook '03_guided_trainings'"),
        ({"settings": {"03_guided_training": {"epoch": 3}}}, "no parameter epoch"),
        ({"table": {"rois": "V1"}}, "the table cannot be read"),
        ({"table": ["V1"]}, "the table cannot be read"),
        ({"table": [{}]}, "the table cannot be read"),
        ({"table": [{"roi": "V1"}]}, "unknown column"),
        ({"table": [{"rois": ["V1", "TO"]}]}, "rois cannot be read"),
        ({"table": [{"rois": "V1", "seeds": ""}]}, "empty column"),
        ({"table": [{"rois": "V1", "seeds": "-1"}]}, "seeds cannot be '-1'"),
        ({"table": [{"rois": "V1", "alphas": "much"}]}, "alphas cannot be 'much'"),
        ({"table": [{"rois": "V9"}]}, "unknown condition 'V9'"),
        ({"table": [{"attacks": "L3PGD"}]}, "unknown attack"),
        ({"table": [{"attacks": "L2PGD LinfPGD"}]}, "several norms"),
        ({"settings": {"04_adversarial_attacks": {"attacks": "LinfPGD L2PGD"}}}, "several norms"),
        ({"settings": {"04_adversarial_attacks": {"attacks": "LinfBGD"}}}, "unknown attack"),
        ({"settings": {"04_adversarial_attacks": {"epsilons": "1 2"}}}, "10_summary reads ε that are not attacked"),
        ({"settings": {"10_summary": {"epsilons": "2 16"}}}, "10_summary reads ε that are not attacked"),
        ({"settings": {"10_summary": {"attack": "L2PGD"}}}, "10_summary reads an attack that is not run"),
        ({"settings": {"12_alpha": {"epsilon": 5}}}, "12_alpha reads ε that are not attacked"),
        ({"truth": None}, "in quotes"),  # `truth: null`, as YAML reads it
        ({"subject": 9}, "no such subject"),
        ({"world_seed": -1}, "world_seed cannot be -1"),
        ({"doses": "0"}, "above 0 and below 1"),
        ({"doses": "much"}, "doses cannot be 'much'"),
        ({"dose": "voxel", "doses": "0.5"}, "not made worse by that"),
        ({"table": [{"subjects": "demo-9"}]}, "no study 'demo-9'"),
        ({"rois": "V1 TO@layer9"}, "unknown read-out of small_resnet\n.*layer1, layer2, layer3, layer4, pooled, "),
        ({"table": [{"rois": "V1@layer9+TO"}]}, "unknown read-out of small_resnet"),
        ({"rois": "TO@layer4.add", "settings": {"03_guided_training": {"architecture": "resnet18"}}}, "of resnet18"),
        ({"settings": {"03_guided_training": {"guided_readout": "layer9"}}}, "unknown read-out of small_resnet"),
        ({"settings": {"02_neural_predictors": {"readouts": "layer1 layer9"}}}, "unknown read-out of small_resnet"),
    ],
)
def test_what_cannot_be_is_refused_in_words(config: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        make_graph(config)


def test_any_node_of_the_network_can_be_matched() -> None:
    assert "network_TO@layer4.add_seed0" in {job.name for job in make_graph({"rois": "V1@layer2 TO@layer4.add"}).jobs}


@pytest.mark.parametrize("text", ["- V1", "{", "\xff"])
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.yaml").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match="the study's file"):
        read_config(tmp_path / "x.yaml")


# --- the shell ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="a POSIX shell")
@pytest.mark.parametrize(
    "arguments",
    [
        next(
            job.arguments
            for job in make_graph({"settings": {"01_brain_responses": {"rois": HOSTILE}}}).jobs
            if job.name == "responses"
        ),
        world_arguments({"study": HOSTILE, "profile": HOSTILE, "world_seed": HOSTILE, "truth": HOSTILE}),
    ],
    ids=["run", "world"],
)
def test_a_value_reaches_its_program_as_text(tmp_path: Path, arguments: str) -> None:
    show = f"{sys.executable} -c 'import sys; print(sys.argv[1:])' {arguments}"
    shown = subprocess.run(show, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert repr(HOSTILE) in shown.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="a POSIX shell")
def test_snakemake_runs_nothing_of_a_value(tmp_path: Path) -> None:
    done = snakemake("--config", f"world_seed={HOSTILE}", "--", "world")
    assert done.returncode != 0
    assert "world_seed cannot be" in done.stdout + done.stderr
    assert not list(tmp_path.rglob("hacked"))


# --- the workflow -------------------------------------------------------------------------------------------


def test_snakemake_plans_the_graphs_jobs_and_a_rows(tmp_path: Path) -> None:
    config = {**TINY, "table": [{"rois": "LO", "alphas": 0.5}]}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(config))
    done = snakemake("--configfile", "x.yaml", "--dry-run", "--printshellcmds", "--", "study")
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    planned = set(re.findall(r"^(?:local)?rule (\S+):", said, re.MULTILINE))
    assert planned == {"study", "world", *names(config)}
    for job in make_graph(config).of("study"):
        assert f"-m nbtools run --quiet {job.arguments}\n" in said
        assert str(job.log) in said, "a failed notebook is named"


def test_rows_shown_as_comments_are_rows() -> None:
    text = (folders.PROJECT / "config/nsd.yaml").read_text()
    rows = yaml.safe_load("\n".join(re.findall(r"^# (- \{.*)$", text, re.MULTILINE)))
    for row in rows:
        for subject in row.get("subjects", "").split():
            describe(subject)
    config = read_config(folders.PROJECT / "config/nsd.yaml")
    assert len(rows) == 4
    for row in rows:
        assert names({**config, "table": [row]}) > names(config)


def test_every_key_is_told_of() -> None:
    text = (folders.PROJECT / "docs/cluster.md").read_text() + (folders.PROJECT / "config/nsd.yaml").read_text()
    text += (folders.PROJECT / "config/tiny.yaml").read_text()
    simulated = {"world_seed", "subject", "truth"}  # options of `python -m nbtools world`
    untold = {key for key in KEYS if f"{key}:" not in text and f"`{key}" not in text}
    assert untold <= simulated


@pytest.mark.parametrize("study", ["macaque", "tvsd-F", "nsd", "haxby", "democracy"])
def test_a_study_that_is_not_there_is_not_made_up(study: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A made-up study would take its place, and its results its name."""
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))
    assert make_graph({"study": study}).profile is None
    with pytest.raises(InputError, match=f"there is no study '{study}'"):  # as the Snakefile asks
        source_of(study)


@pytest.mark.parametrize("study", ["demo", "tiny", "demo-2", "tiny-labels"])
def test_a_simulated_study_is_known_by_its_name(study: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))
    assert make_graph({"study": study}).profile
