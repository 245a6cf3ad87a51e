"""The study as a graph: world → predictors → guided networks → attacks → analyses → summary.

    snakemake --cores all                                    `make demo`: the embedded study, simulated
    snakemake --cores all study                              `make study`: every analysis of it
    snakemake --cores all explorers                          what the explorers of notebooks 05, 14 and 15 show first
    snakemake --cores all --config rois="V1 TO" seeds="0 1"  fewer regions, more seeds
    snakemake --cores all --configfile config/nsd.yaml       NSD and ImageNet, fetched and prepared (data/README.md)
    snakemake --cores all --config study=mine                a study of your own, by name or by its .toml's path

Every job is one notebook run; `nbtools.runs` names its folder from its parameters.
"""

import os
import sys

from nbtools import provenance, runs
from nbtools.conditions import DECAYS, HIERARCHY, parse_condition
from nbtools.data.study import open_study, study_file

# One thread a job, and as many jobs as cores: small networks gain nothing from a second thread.
os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE", MKL_NUM_THREADS="1")

STUDY = config.get("study", "demo")
FILE = study_file(STUDY)
SOURCE = open_study(STUDY) if FILE.exists() else None  # a simulated study that is still to be made
SETTINGS = config.get("settings", {})  # notebook → parameter → value, where it differs from the notebook's default
ALPHA = SETTINGS.get("03_guided_training", {}).get("alpha", runs.defaults("03_guided_training")["alpha"])


def words(key, default):
    return str(config.get(key, default)).split()


ROIS = words("rois", " ".join(HIERARCHY))
CONDITIONS = list(dict.fromkeys([*words("controls", f"none random {ROIS[0]}-shuffle {ROIS[-1]}-shuffle"), *ROIS]))
SEEDS = [int(seed) for seed in words("seeds", 0)]
# What `study` adds: further controls, and other weights of guidance for the first and the last region.
EVERY = list(dict.fromkeys([*words("further", " ".join(["labels", *DECAYS])), *CONDITIONS]))
PLAIN = [name for name in EVERY if parse_condition(name).kind != "decay"]
ALPHAS = sorted({ALPHA, *map(float, words("alphas", "0.35 0.9"))})
ENDS = list(dict.fromkeys([ROIS[0], ROIS[-1]]))

JOBS = {}  # the record of a run, the file that says it is finished → what makes it


def job(name, notebook, after=(), **own):
    """Plan a notebook's run and return its record."""
    values = {"study": STUDY, **SETTINGS.get(notebook, {}), **own}
    record = str(runs.run_folder(notebook, values) / runs.RECORD)
    file = runs.NOTEBOOKS / f"{notebook}.ipynb"
    JOBS[record] = {
        "name": name,
        "after": list(after),
        "sources": list(map(str, provenance.sources(file))),  # the modules whose change makes it old
        "code": provenance.code_digest(file),  # a notebook is old when its code changes, not when it is saved
        "command": " ".join(
            [sys.executable, "-m nbtools run", notebook, *(f"-p {key} '{value}'" for key, value in values.items())]
        ),
    }
    return record


def label(condition, seed, alpha):
    return f"{condition}_seed{seed}" if alpha == ALPHA else f"{condition}_alpha{alpha:g}_seed{seed}"


def predictor(roi, seed):
    return job(f"predictor_{roi}_seed{seed}", "02_neural_predictors", roi=roi, seed=seed)


def network(condition, seed, alpha=ALPHA):
    guide = parse_condition(condition).roi
    after = [predictor(guide, seed)] if guide else []
    return job(
        f"network_{label(condition, seed, alpha)}", "03_guided_training", after, roi=condition, seed=seed, alpha=alpha
    )


def attack(condition, seed, alpha=ALPHA):
    after = [network(condition, seed, alpha)]
    name = f"attack_{label(condition, seed, alpha)}"
    return job(name, "04_adversarial_attacks", after, roi=condition, seed=seed, alpha=alpha)


def of_all(plan, conditions):
    return [plan(condition, seed) for condition in conditions for seed in SEEDS]


def compared(conditions):
    """What notebooks that compare networks of several seeds take."""
    return {"rois": " ".join(conditions), "alpha": ALPHA, "seeds": " ".join(map(str, SEEDS))}


def one_seed(conditions):
    """What notebooks that compare networks of one seed take."""
    return {"rois": " ".join(conditions), "alpha": ALPHA, "seed": SEEDS[0]}


def has(entry):
    """A study that is still to be made is simulated and has all; of another one, what it lacks data for is not planned."""
    return SOURCE is None or SOURCE.has(entry)


DEMO = [
    job("responses", "01_brain_responses"),
    job("summary", "10_summary", of_all(attack, CONDITIONS), **compared(CONDITIONS)),
]
CLAIMS = {"06_smoothness_and_transfer": of_all(network, EVERY)}
if has("cue_conflict"):
    CLAIMS["07_shape_bias"] = of_all(network, EVERY)
if has("scanner_labels"):
    CLAIMS["09_manifolds"] = of_all(attack, EVERY) + of_all(predictor, ROIS)
ANALYSES = [job(notebook, notebook, after, **compared(EVERY)) for notebook, after in CLAIMS.items()]
SUMMARY = {"analyses": " ".join(CLAIMS), **compared(EVERY)}
STUDY_RUNS = [
    DEMO[0],
    *ANALYSES,
    job("summary_of_all", "10_summary", of_all(attack, EVERY) + ANALYSES, **SUMMARY),
    job("08_rsa", "08_rsa", of_all(network, PLAIN), **one_seed(PLAIN)),
    job(
        "12_alpha",
        "12_alpha",
        [*of_all(attack, ["none"]), *(attack(roi, seed, alpha) for roi in ENDS for seed in SEEDS for alpha in ALPHAS)],
        alphas=" ".join(f"{alpha:g}" for alpha in ALPHAS),
        **compared(ENDS),
    ),
    job(
        "13_manifold_guidance",
        "13_manifold_guidance",
        [network("none", SEEDS[0]), network(ENDS[-1], SEEDS[0])],
        roi=ENDS[-1],
        alpha=ALPHA,
        seed=SEEDS[0],
    ),
    job(
        "11_attacks_and_audit",
        "11_attacks_and_audit",
        of_all(network, ["none", ENDS[-1]]),
        **one_seed(["none", ENDS[-1]]),
    ),
]
if has("corruptions"):
    STUDY_RUNS += [job("17_natural_corruptions", "17_natural_corruptions", of_all(network, EVERY), **compared(EVERY))]
EXPLORERS = [
    job("05_attack_explorer", "05_attack_explorer", of_all(network, ["none", ENDS[-1]]), **one_seed(["none", ENDS[-1]])),
    job("14_brain_and_geometry", "14_brain_and_geometry", [DEMO[0], *of_all(network, ["none", *ROIS])], **one_seed(ROIS)),
    job("15_study_explorer", "15_study_explorer", DEMO, alpha=ALPHA, seed=SEEDS[0]),
]


PREPARED = []  # what all runs wait for, beside the study's file

if SOURCE is None or (SOURCE.simulated and not STUDY.endswith(".toml")):
    if STUDY in ("nsd", "haxby") or STUDY.endswith(".toml"):
        open_study(STUDY)  # says how to get it

    rule world:
        output:
            str(FILE),
        params:
            profile=config.get("profile", "demo"),
            seed=config.get("world_seed", 0),
            subject=config.get("subject", 1),
            labels="--labels" if config.get("labels", False) else "",
        shell:
            "{sys.executable} -m nbtools world {STUDY} --profile {params.profile} --seed {params.seed}"
            " --subject {params.subject} {params.labels}"


if SOURCE is not None and SOURCE.nsd is not None and not SOURCE.simulated:
    PREPARED = [touched := str(FILE.parent / "responses" / ".prepared")]

    # Once for all runs: each session's gigabyte is reduced to the regions' voxels, with all cores.
    rule prepare:
        input:
            str(FILE),
        output:
            touch(touched),
        threads: workflow.cores
        params:
            rois=" ".join(dict.fromkeys(roi for name in EVERY if (roi := parse_condition(name).roi))),
        shell:
            "{sys.executable} -m nbtools prepare nsd --study '{STUDY}' --rois {params.rois} --jobs {threads}"


rule all:
    default_target: True
    input:
        DEMO,


rule study:
    input:
        STUDY_RUNS,


rule explorers:
    input:
        EXPLORERS,


for record, planned in JOBS.items():

    rule:
        name:
            planned["name"]
        input:
            study_file=str(FILE),
            prepared=PREPARED,
            after=planned["after"],
            sources=planned["sources"],
        output:
            record,
        params:
            command=planned["command"],
            code=planned["code"],
        shell:
            "{params.command}"
