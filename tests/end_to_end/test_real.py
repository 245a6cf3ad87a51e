"""Measured brains from a server on loopback to the report, as README's chapter has it; all of it is simulated here.

Small first: a few hundred pictures, three regions, one network each. Then files of the true size, to a predictor.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from test_download import Page, Server
from test_things_fetch import POINTER
from things_archives import encrypted_zip, plain_zip
from things_files import CATEGORIES, names_of, write_monkey
from things_pictures import colours, picture, write_categories

from nbtools import data, metrics, models, training
from nbtools.data.images.things import place_of
from nbtools.data.study import Study, open_study
from nbtools.errors import InputError
from nbtools.runs import folders
from nbtools.workflow.config import read_config
from nbtools.workflow.graph import make_graph

CONFIG = {
    "study": "tvsd-F-32px",
    "rois": "V1 V4 IT",
    "controls": "none",
    "seeds": 0,
    "settings": {
        "02_neural_predictors": {"epochs": 2},
        "03_guided_training": {"start_epochs": 1, "epochs": 1},
        "04_adversarial_attacks": {"steps": 2, "epsilons": "2 4", "n_images": 24},
    },
}
FURTHER = {  # notebooks that take the study as it is
    "05_attack_explorer": {"steps": "2", "n_images": "4", "rois": "none IT"},
    "08_rsa": {"n_boot": "5", "rois": "none V1 V4 IT"},
    "09_manifolds": {"n_points": "3", "n_samples": "5", "n_draws": "2", "rois": "none V1 V4 IT", "seeds": "0"},
    "15_study_explorer": {},
}


def write_stand_in(folder: Path, n: int, n_test: int, side: int = 20) -> dict[str, bytes]:
    """Write a monkey whose electrodes are mixtures of its pictures' colours; return all pictures by their places.

    Of a hundred drawings, each in many pictures: a mark behind the drawing tells their files apart.
    """
    pool = names_of(n + max(n // 7, 100))
    test = [name for name in pool if name.startswith(("dog_2_", "axe"))][:n_test]
    train = [name for name in pool if name not in test][:n]
    drawings = [picture(f"{number}", side) for number in range(100)]
    seen = np.stack([colours(drawing) for drawing in drawings])
    of = {name: number % 100 for number, name in enumerate(pool)}
    write_monkey(folder / "monkeyF", "F", train, test, features=seen[[of[name] for name in [*train, *test]]])
    return {place_of(name): drawings[of[name]] + name.encode() for name in pool}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


def serve(server: Server, folder: Path, pictures: bytes) -> str:
    """Have a server give what lies in a folder, and the archive of the pictures; return its address."""
    files = {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    pages = {name: Page(content, cuts=[len(content) // 2]) for name, content in files.items()}  # each breaks off, once
    server.pages |= {f"/{name}": page for name, page in {**pages, "images_THINGS.zip": Page(pictures)}.items()}
    return server.url


def say(home: Path, *words: str, status: int = 0) -> str:
    """Give a command; return what it said."""
    environment = {**os.environ, "NBTOOLS_HOME": str(home), "OMP_NUM_THREADS": "1", "no_proxy": "127.0.0.1"}
    command = [sys.executable, "-m", "nbtools", *words]
    done = subprocess.run(command, cwd=folders.PROJECT, env=environment, capture_output=True, text=True, timeout=3000)
    assert done.returncode == status, f"{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def fetch_and_prepare(home: Path, url: str, *size: str) -> str:
    assert "Hebart et al. (2019)" in say(home, "fetch", "things", "--mirror", url, status=1), "the terms come first"
    assert not (home / "data").exists()
    say(home, "fetch", "things", "--agreed", "--mirror", url)
    say(home, "fetch", "tvsd", "--monkeys", "F", "--mirror", url)
    return say(home, "prepare", "tvsd", "--monkeys", "F", *size)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.notebook
def test_from_the_server_to_the_report(server: Server, tmp_path: Path) -> None:
    """Also: what is done is not done again, and a chosen electrode stays chosen."""
    drawn = write_stand_in(tmp_path / "public", 240, 24)
    write_categories(tmp_path / "public" / "category53_long-format.tsv", CATEGORIES)
    archive = encrypted_zip({f"object_images/{place}": raw for place, raw in drawn.items()})
    url, home = serve(server, tmp_path / "public", archive), tmp_path / "home"
    pages = server.pages["/monkeyF/THINGS_normMUA.mat"]
    server.pages["/monkeyF/THINGS_normMUA.mat"] = Page(POINTER)
    say(home.with_name("other"), "fetch", "tvsd", "--monkeys", "F", "--mirror", url, status=1)
    server.pages["/monkeyF/THINGS_normMUA.mat"] = pages
    assert "kept: electrodes of a noise ceiling" in fetch_and_prepare(home, url, "--size", "32")

    described = home / "data/raw/tvsd-F-32px/study.toml"
    described.write_text(described.read_text().replace("noise_ceiling = 56", "noise_ceiling = 60"))
    config = tmp_path / "small.yaml"
    config.write_text(yaml.safe_dump(CONFIG))
    assert "to do" in say(home, "plan", str(config))
    say(home, "study", str(config), "--cores", "2")
    report = (home / "runs/tvsd-F-32px/report.html").read_text()
    assert "tvsd-F-32px study, simulated" in report
    assert "Simulated: no brain was measured." in report
    assert "voxels" not in report.partition("<body")[2].replace("plotly", "")[:20_000]

    records = {file: file.stat().st_mtime_ns for file in home.rglob("run.json")}
    assert len(records) == 1 + 3 + 5 + 4 + 2  # responses, predictors, networks and their start, attacks, reports
    assert "V1 V4 IT" in say(home, "prepare", "tvsd", "--monkeys", "F", "--size", "32")
    assert "noise_ceiling = 60" in described.read_text()
    say(home, "study", str(config), "--cores", "2")
    assert {file: file.stat().st_mtime_ns for file in home.rglob("run.json")} == records

    for notebook, given in FURTHER.items():
        values = {"study": "tvsd-F-32px", **given}
        say(home, "run", notebook, *(word for name, value in values.items() for word in ("-p", name, value)))


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.notebook
def test_files_of_true_size_to_a_predictor(server: Server, tmp_path: Path) -> None:
    """22,248 + 100 × 30 showings on 1,024 electrodes, 25,000 pictures of 500 px in one archive."""
    drawn = write_stand_in(tmp_path / "public", 22_248, 100, side=500)
    write_categories(tmp_path / "public" / "category53_long-format.tsv", CATEGORIES)
    url = serve(server, tmp_path / "public", plain_zip({f"object_images/{place}": raw for place, raw in drawn.items()}))
    fetch_and_prepare(tmp_path / "home", url)
    say(tmp_path / "home", "run", "02", "-p", "study", "tvsd-F", "-p", "roi", "IT", "-p", "epochs", "2")
    (table,) = (tmp_path / "home/runs/tvsd-F/02_neural_predictors").rglob("voxels.parquet")
    assert len(pd.read_parquet(table)) > 50


# --- what is planted is found ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Study:
    raw = tmp_path_factory.mktemp("planted")
    for place, content in write_stand_in(raw / "tvsd", 900, 60).items():
        file = raw / "things" / "object_images" / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    write_categories(raw / "things" / "category53_long-format.tsv", CATEGORIES)
    return open_study(data.prepare_tvsd(raw, "F", image_size=16))


@pytest.mark.slow
def test_a_predictor_reaches_the_planted_ceiling(planted: Study, one_thread: None) -> None:
    """As in the simulated study: electrodes that hold the pictures' colours are predicted nearly as noise allows."""
    torch.manual_seed(0)
    trials = data.load_trials(planted, ["IT"], progress=False)["IT"]
    responses = data.load_responses(planted, "IT")
    seen = data.load_stimuli(planted.stimuli, responses.image_ids, planted.image_size)
    config = training.TrainConfig(epochs=12, batch_size=32, lr=3e-3, keep="best")
    model, _ = training.train_predictor(seen, responses, config)
    test = data.split_images(responses)["test"]
    r = metrics.voxel_r(model.voxels(models.predict(model, seen.pixels[test])), responses.responses[test])
    ceilings = metrics.voxel_ceilings(trials.responses, trials.image_ids, noise_ceiling=responses.n_repeats[test])
    reached = r / np.sqrt(ceilings["noise_ceiling"].to_numpy() / 100)
    assert len(r) > 50
    assert np.median(reached) > 0.92
    assert np.median(reached) <= 1.02


def test_what_is_planned_is_there(planted: Study) -> None:
    """Label controls are, for the scanner's pictures have categories; what has no data is left out, in words."""
    file = planted.stimuli.with_name("study.toml")
    graph = make_graph({**read_config(folders.PROJECT / "config/tvsd.yaml"), "study": str(file)})
    trained = {str(job.parameters["roi"]) for job in graph.jobs if job.notebook == "03_guided_training"}
    assert trained >= {"none", "random", "V1-shuffle", "IT-shuffle", "labels", "labels-guide", "V1", "V4", "IT"}
    assert not trained & {"TO", "TO-shuffle"}
    assert set(graph.left_out) == {"07_shape_bias", "17_natural_corruptions", "14_brain_and_geometry"}


def test_a_monkey_and_a_person_are_no_subjects_of_one_hierarchy(planted: Study) -> None:
    data.check_alike(planted, replace(planted, name="tvsd-N"))
    person = replace(planted, name="things-subj01", regions=("V1", "V2", "V4"), sites="voxels")
    for other in (person, replace(person, regions=planted.regions), replace(planted, regions=("V4", "V1", "IT"))):
        with pytest.raises(InputError, match=r"no subjects of one hierarchy(.|\n)*V1 V4 IT \(electrodes\)"):
            data.check_alike(planted, other)
