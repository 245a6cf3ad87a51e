"""A study of many runs: collected, and run as a workflow."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import torch

from nbtools.attacks.interface import sweep
from nbtools.bench.measure import Row, row, scratch, timed
from nbtools.conditions import HIERARCHY
from nbtools.data.brains.measured import load_responses
from nbtools.data.images.sets import choose_rows, load_folder, load_stimuli
from nbtools.data.study import home, open_study
from nbtools.files import write_text
from nbtools.models.networks import RoiPredictor
from nbtools.places import PROJECT
from nbtools.runs import folders, nursery
from nbtools.runs.lineage import START
from nbtools.runs.provenance import surroundings
from nbtools.runs.repeat import environment
from nbtools.training.parameters import config_of
from nbtools.training.pipeline import train_network, train_predictor

_ROIS = ("none", "V1", "TO")


def compare_collect() -> Row:
    """The records of 2,000 finished runs, each of 100 inputs, read into one table."""
    with scratch() as folder, environment({"NBTOOLS_HOME": str(folder)}):
        size = write_runs(2000)
        seconds, found = timed(lambda: folders.collect("03_guided_training", "demo"))
    assert sorted(found["seed"]) == list(range(2000))
    return {"ours_s": seconds, "goal": "5 s", "notes": f"2000 runs, records of {size / 1000:.0f} kB"}


def compare_workflow() -> Row:
    """Predictors, networks and attacks of the demo as a workflow of notebooks, against the bare calls: CPU seconds."""
    cores = os.cpu_count() or 1
    targets = [f"attack_{roi}_seed0" for roi in _ROIS]
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(PROJECT / "Snakefile"), "--cores", str(cores)]
    command += ["--quiet", "all", "--config", "rois=V1 TO", "controls=none", "--"]
    with scratch() as folder, environment({"NBTOOLS_HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}):
        run = lambda *names: subprocess.run([*command, *names], cwd=folder, check=True)  # noqa: E731
        run("world")
        before = _used_below(folder)
        wall, _ = timed(lambda: run(*targets))
        used = _used_below(folder) - before
        again, _ = timed(lambda: run(*targets))
        with ProcessPoolExecutor(cores, multiprocessing.get_context("spawn")) as pool:  # as many at once
            bare = sum(pool.map(_bare_calls, (START, *_ROIS)))
    return row(
        bare,
        used,
        goal="overhead below 10 %, restart 10 s",
        notes=f"CPU seconds of 9 runs; overhead {used / bare - 1:.0%}; CPU / ({cores} × wall) = "
        f"{used / cores / wall:.2f}; started again, nothing is done in {again:.1f} s",
    )


def _used_below(meeting: Path) -> float:
    """Return the CPU seconds of processes that this one has waited for, and of the nursery of warm kernels there."""
    import resource  # not on Windows

    import psutil

    waited = resource.getrusage(resource.RUSAGE_CHILDREN)
    commands = [(process, " ".join(process.info["cmdline"] or ())) for process in psutil.process_iter(["cmdline"])]
    nurseries = [process for process, command in commands if f"{nursery.__file__} {meeting}" in command]
    return waited.ru_utime + waited.ru_stime + sum(sum(process.cpu_times()[:4]) for process in nurseries)


def _bare_calls(roi: str) -> float:
    """Make the training and attack calls of notebooks 02, 03 and 04 for a condition; return their CPU seconds."""
    torch.set_num_threads(1)
    source = open_study("demo")
    images = load_folder(source.need("classification") / "train", source.image_size)
    test = load_folder(source.need("classification") / "val", source.image_size)
    predictor: RoiPredictor | None = None
    used: list[float] = []
    if roi in HIERARCHY:
        settings = folders.defaults("02_neural_predictors")
        responses = load_responses(source, roi)
        stimuli = load_stimuli(source.stimuli, responses.image_ids, source.image_size)
        named = {name: settings[name] for name in ("architecture", "variance")}
        fit = partial(train_predictor, stimuli, responses, config_of(settings, keep="best"), **named)
        seconds, (predictor, _) = timed(fit, time.process_time)
        used.append(seconds)
    settings = folders.defaults("03_guided_training")
    named = {name: settings[name] for name in ("alpha", "architecture", "target_scale", "validation_fraction")}
    of_start = {"epochs": settings["start_epochs"], "lr": settings["start_learning_rate"]}
    config = config_of(settings, **(of_start if roi == START else {}))
    train = partial(train_network, images, roi if roi in HIERARCHY else "none", predictor, config, **named)
    seconds, (network, _) = timed(train, time.process_time)
    used.append(seconds)
    if roi == START:
        return sum(used)
    settings = folders.defaults("04_adversarial_attacks")
    chosen = test[choose_rows(len(test), settings["n_images"])]
    radii = [float(level) / 255 for level in settings["epsilons"].split()]
    for attack in settings["attacks"].split():
        attacked = partial(sweep, network, chosen, radii, attack=attack, steps=settings["steps"])
        used.append(timed(attacked, time.process_time)[0])
    return sum(used)


def write_runs(n: int) -> int:
    """Write records of n networks of the demo study, seeds from 0, into the home; return the bytes of one."""
    stamp = {"sha256": 64 * "0", "size": 5_000_000, "modified": time.time_ns()}
    record = {
        "notebook": "03_guided_training",
        "parameters": folders.defaults("03_guided_training"),
        "inputs": {f"runs/demo/02_neural_predictors/TO_seed=0_{i:08x}/weights.safetensors": stamp for i in range(100)},
        **surroundings(),
        "seconds": 71.6,
        "finished": "2026-11-25T23:41:08+0000",
    }
    text = json.dumps(record, indent=1)
    for seed in range(n):
        own = text.replace('"seed": 0', f'"seed": {seed}', 1)
        write_text(home() / f"runs/demo/03_guided_training/TO_seed={seed}_{seed:08x}" / folders.RECORD, own)
    return len(text)
