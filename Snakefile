"""The study as a graph: world → predictors → guided networks → attacks → summary.

    snakemake --cores all                                    the embedded study, simulated
    snakemake --cores all --config rois="V1 TO" seeds="0 1"  fewer regions, more seeds
    snakemake --cores all --configfile config/nsd.yaml       a study of your own (see data/README.md)

Every job is one notebook run; `nbtools.runs` names its folder from its parameters.
"""

import os
import sys
from pathlib import Path

from nbtools import provenance, runs
from nbtools.conditions import HIERARCHY, ROI_LABELS, parse_condition
from nbtools.data.study import study_file

# One thread a job, and as many jobs as cores: small networks gain nothing from a second thread.
os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE", MKL_NUM_THREADS="1")

STUDY = config.get("study", "demo")
ROIS = str(config.get("rois", " ".join(HIERARCHY))).split()
CONTROLS = str(config.get("controls", f"none random {ROIS[0]}-shuffle {ROIS[-1]}-shuffle")).split()
SEEDS = [int(seed) for seed in str(config.get("seeds", 0)).split()]
SETTINGS = config.get("settings", {})  # notebook → parameter → value, where it differs from the notebook's default
CONDITIONS = list(dict.fromkeys([*CONTROLS, *ROIS]))
GUIDES = sorted({parse_condition(name).roi for name in CONDITIONS} - {None}, key=list(ROI_LABELS).index)
PACKAGE = Path(runs.__file__).parent
ALPHA = SETTINGS.get("03_guided_training", {}).get("alpha", runs.defaults("03_guided_training")["alpha"])


def parameters(notebook, **own):
    return {"study": STUDY, **SETTINGS.get(notebook, {}), **own}


def record(notebook, **own):
    """The file that says a run is finished."""
    return str(runs.run_folder(notebook, parameters(notebook, **own)) / runs.RECORD)


def sources(*modules):
    """The modules whose change makes results old."""
    return [str(PACKAGE / f"{module}.py") for module in modules]


def code(notebook):
    """A notebook is old when its code changes, not when it was saved with its outputs."""
    return provenance.code_digest(runs.NOTEBOOKS / f"{notebook}.ipynb")


def command(notebook, **own):
    flags = " ".join(f"-p {name} '{value}'" for name, value in parameters(notebook, **own).items())
    return f"{sys.executable} -m nbtools run {notebook} {flags}"


COMMON = ["conditions", "data/study", "data/images"]
LOADING = [*COMMON, "data/nsd", "data/betas", "data/design", "data/responses", "metrics/noise_ceiling"]
TRAINING = ["models", "checkpoints", "loop", "training"]
SUMMARY = dict(rois=" ".join(CONDITIONS), alpha=ALPHA, seeds=" ".join(map(str, SEEDS)))


rule all:
    input:
        record("01_brain_responses"),
        record("10_summary", **SUMMARY),


if not STUDY.endswith(".toml"):

    rule world:
        output:
            str(study_file(STUDY)),
        params:
            profile=config.get("profile", "demo"),
            seed=config.get("world_seed", 0),
            labels="--labels" if config.get("labels", False) else "",
        shell:
            "{sys.executable} -m nbtools world {STUDY} --profile {params.profile} --seed {params.seed} {params.labels}"


rule responses:
    input:
        str(study_file(STUDY)),
        sources(*LOADING),
    output:
        record("01_brain_responses"),
    params:
        command=command("01_brain_responses"),
        code=code("01_brain_responses"),
    shell:
        "{params.command}"


for seed in SEEDS:
    for roi in GUIDES:

        rule:
            name:
                f"predictor_{roi}_seed{seed}"
            input:
                str(study_file(STUDY)),
                sources(*LOADING, *TRAINING, "metrics/prediction"),
            output:
                record("02_neural_predictors", roi=roi, seed=seed),
            params:
                command=command("02_neural_predictors", roi=roi, seed=seed),
                code=code("02_neural_predictors"),
            shell:
                "{params.command}"

    for condition in CONDITIONS:
        guide = parse_condition(condition).roi

        rule:
            name:
                f"network_{condition}_seed{seed}"
            input:
                str(study_file(STUDY)),
                [record("02_neural_predictors", roi=guide, seed=seed)] if guide else [],
                sources(*COMMON, *TRAINING),
            output:
                record("03_guided_training", roi=condition, seed=seed),
            params:
                command=command("03_guided_training", roi=condition, seed=seed),
                code=code("03_guided_training"),
            shell:
                "{params.command}"

        rule:
            name:
                f"attack_{condition}_seed{seed}"
            input:
                record("03_guided_training", roi=condition, seed=seed),
                sources(*COMMON, "models", "attacks"),
            output:
                record("04_adversarial_attacks", roi=condition, seed=seed, alpha=ALPHA),
            params:
                command=command("04_adversarial_attacks", roi=condition, seed=seed, alpha=ALPHA),
                code=code("04_adversarial_attacks"),
            shell:
                "{params.command}"


rule summary:
    input:
        [
            record("04_adversarial_attacks", roi=condition, seed=seed, alpha=ALPHA)
            for condition in CONDITIONS
            for seed in SEEDS
        ],
        sources("metrics/robustness", "metrics/stats"),
    output:
        record("10_summary", **SUMMARY),
    params:
        command=command("10_summary", **SUMMARY),
        code=code("10_summary"),
    shell:
        "{params.command}"
