"""NSD's two files: the paper's settings stand in one, and the other differs only where it says why."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from nbtools.data.fetch import obtain
from nbtools.data.study import home
from nbtools.runs import folders
from nbtools.workflow.config import read_config
from nbtools.workflow.graph import make_graph

FILES = {name: folders.PROJECT / f"config/{name}.yaml" for name in ("nsd", "nsd-paper")}
NETWORKS, CLOUDS = "03_guided_training", "13_manifold_guidance"
ATTACKED, TRANSFERRED, ALL_ATTACKS = "04_adversarial_attacks", "06_smoothness_and_transfer", "11_attacks_and_audit"
CERTIFIED = "19_training_and_certificates"

# What the paper and its authors' code say: arXiv 2405.02564, methods; repository shaox192/NeuralGuidance.
PAPER = yaml.safe_load("""
02_neural_predictors:
  {architecture: resnet18, epochs: 40, batch_size: 200, learning_rate: 0.001, weight_decay: 0.0005, schedule: constant,
   augmentation: none, variance: 0.95}
03_guided_training:
  {architecture: resnet18, start: imagenet, guided_readout: pooled, target_scale: raw, alpha: 0.9, epochs: 60,
   batch_size: 1024, optimizer: sgd, learning_rate: 0.015, weight_decay: 0.0001, schedule: step,
   augmentation: crop-flip}
04_adversarial_attacks: {steps: 40, n_images: 2500}
06_smoothness_and_transfer: {steps: 40, n_images: 2500}
11_attacks_and_audit: {steps: 40, n_images: 2500}
13_manifold_guidance:
  {class_weight: 0.08, distance_weight: 0.3, variance_weight: 0.62,
   changes: epochs=46 batch_size=4096 learning_rate=0.1}
""")
# Their budgets are of pixels over ImageNet's sd, here the mean of its three channels.
SD, PIXELS = 0.226, 3 * 224 * 224
BUDGETS = np.arange(0.001, 0.02, 0.002)
EPSILONS = {
    (ATTACKED, "epsilons"): BUDGETS * SD * 255,
    (ALL_ATTACKS, "epsilons"): BUDGETS * SD * 255,
    (ALL_ATTACKS, "lengths"): BUDGETS * SD * np.sqrt(PIXELS),
    (TRANSFERRED, "epsilons"): np.array([0.08, 0.12, 0.18, 0.26, 0.38]) * SD * 255,
}
ATTACKS = {"LinfPGD", "LinfFGSM", "L2CarliniWagner", "L2DeepFool", "L2FGM", "L2BrendelBethge", "LinfAutoAttack"}
# Where ours differs, and nowhere else.
OURS = {
    *("controls", "seeds", "alphas", "hardened", "filtered", "table"),
    f"{NETWORKS} target_scale",
    *(f"{name} epsilons" for name in (ATTACKED, TRANSFERRED, ALL_ATTACKS, CLOUDS, "10_summary")),
    *(f"{name} epsilons" for name in ("18_compare_networks", "20_frequency", "22_other_images")),
    *(f"{name} epsilon" for name in (TRANSFERRED, "09_manifolds", "12_alpha", "15_study_explorer", CERTIFIED)),
    *(f"{name} attacks" for name in (ATTACKED, ALL_ATTACKS)),
    *(f"{name} lengths" for name in (ALL_ATTACKS, CERTIFIED)),
    *(f"{name} n_images" for name in (TRANSFERRED, ALL_ATTACKS, CLOUDS)),
}


def flat(name: str) -> dict[str, Any]:
    config = dict(read_config(FILES[name]))
    settings = config.pop("settings")
    return config | {f"{book} {key}": value for book, values in settings.items() for key, value in values.items()}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))


@pytest.mark.parametrize("name", FILES)
def test_both_plan(name: str) -> None:
    config = read_config(FILES[name])
    graph = make_graph(config)
    assert graph.source is None, "before any data are there"
    assert graph.of("study")
    of_networks = config["settings"][ATTACKED]["epsilons"].split()
    readers = ("09_manifolds", "10_summary", "12_alpha", "15_study_explorer", CERTIFIED)
    read = [config["settings"][book].get(key, "") for book in readers for key in ("epsilon", "epsilons")]
    assert set(" ".join(read).split()) <= set(of_networks), (
        "who reads attacked networks reads budgets that were attacked"
    )


def test_the_papers_values_stand_in_its_file() -> None:
    config = read_config(FILES["nsd-paper"])
    for book, values in PAPER.items():
        assert values.items() <= config["settings"][book].items(), book
    for (book, key), budgets in EPSILONS.items():
        written = [float(word) for word in config["settings"][book][key].split()]
        assert written == pytest.approx(budgets.tolist(), rel=0.01), (book, key)
    assert set(config["settings"][ALL_ATTACKS]["attacks"].split()) == ATTACKS
    assert config["controls"].split() == ["none", "random", "V1-shuffle", "TO-shuffle"]
    decays = [float(name.removeprefix("decay-")) for name in config["further"].split()]
    assert len(decays) == 5
    assert np.log10(decays) == pytest.approx(np.arange(-3.5, -1, 0.5), abs=0.03), "half-decades"


def test_ours_differs_from_the_papers_where_it_says_so() -> None:
    ours, papers = flat("nsd"), flat("nsd-paper")
    assert {key for key in ours.keys() | papers.keys() if ours.get(key) != papers.get(key)} == OURS
    assert (OURS & ours.keys()) - {"table"} <= commented(FILES["nsd"]), "each difference has its reason beside it"


def commented(file: Path) -> set[str]:
    """Name the settings whose line ends in a comment."""
    found, section = set(), ""
    for line in file.read_text().splitlines():
        if head := re.fullmatch(r"  (\w+):(  #.*)?", line):
            section = f"{head[1]} "
        elif setting := re.fullmatch(r"( *)(\w+):.*  # .+", line):
            found.add((section if setting[1] else "") + setting[2])
    return found


def test_a_fetched_study_names_cue_conflict_images_of_its_own_classes(tmp_path: Path) -> None:
    """As the paper's authors made them; `prepare cue-conflict` paints them there."""
    study = obtain._describe_nsd(obtain.NsdWish(), tmp_path / "volumes")
    folders_named = (study.classification, study.cue_conflict)
    assert folders_named == (home() / "data/raw/imagenet50", home() / "data/raw/imagenet50-cue-conflict")
