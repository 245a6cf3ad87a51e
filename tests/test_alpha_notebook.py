"""Notebook 12 on planted runs: regions at equal quality of their guides, by whatever attack is asked for."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nbtools.conditions import parse_condition
from nbtools.data.study import home
from nbtools.runs import folders

REGIONS, SEEDS = ("V1", "V2", "TO"), (0, 1)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))
    study = home() / "data/derived/tiny"
    study.mkdir(parents=True)
    entries = {"name": "tiny", "simulated": True, "nsd": "nsd", "subject": 1, "image_size": 32}
    (study / "study.toml").write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in entries.items()))


def planted(notebook: str, name: str, table: pd.DataFrame, **parameters: Any) -> None:
    """A finished run with a table."""
    full = {**folders.defaults(notebook), "study": "tiny", **parameters}
    folder = folders.run_folder(notebook, full)
    folder.mkdir(parents=True)
    table.to_parquet(folder / f"{name}.parquet")
    record = {"notebook": notebook, "parameters": full, "inputs": {}, "seconds": 1.0}
    (folder / folders.RECORD).write_text(json.dumps({**record, "finished": "2026-01-01T00:00:00+0000"}))


def network(roi: str, seed: int, stands: int, **parameters: Any) -> None:
    """A network and its attack: so many of 20 images stand at 4/255; the second attack fells one more."""
    history = pd.DataFrame({"split": ["train", "validation"], "accuracy": 0.9})
    planted("03_guided_training", "history", history, roi=roi, seed=seed, **parameters)
    said = {"image_id": [f"i{i}" for i in range(20)], "label": 0, "margin": 1.0, "condition": roi, "seed": seed}
    parts = [
        pd.DataFrame({**said, "prediction": (np.arange(20) >= n) * 1}).assign(attack=attack, epsilon=epsilon)
        for attack, left in (("LinfPGD", stands), ("LinfTargetedPGD", stands - 1))
        for epsilon, n in ((0.0, 20), (4 / 255, left))
    ]
    planted("04_adversarial_attacks", "decisions", pd.concat(parts), roi=roi, seed=seed, **parameters)


@pytest.mark.parametrize(
    ("attack", "worse", "dose", "level"),
    [("worst case", 1, "images", 0.3), ("LinfPGD", 0, "noise", 4.0), ("worst case", 1, "voxels", 0.25)],
)
def test_doses_go_by_the_attack_that_is_asked_for(attack: str, worse: int, dose: str, level: float) -> None:
    for roi, seed in product(("none", *REGIONS), SEEDS):
        network(roi, seed, stands=10)
    usual = folders.defaults("12_alpha")
    for roi, seed, alpha in product(("V1", "TO"), SEEDS, {*map(float, usual["alphas"].split())} - {usual["alpha"]}):
        network(roi, seed, stands=10, alpha=alpha)
    for (rank, roi), dosed in product(enumerate(REGIONS), (True, False)):
        name = f"{roi}-{dose}-{level:g}" if dosed else roi
        voxels = pd.DataFrame({"r": [0.2 if dosed else 0.5] * 3, "noise_ceiling": 50.0, "images": 1.0})
        planted("02_neural_predictors", "voxels", voxels, **parse_condition(name).predictors[0])
        for seed in SEEDS if dosed else ():
            network(name, seed, stands=10 + rank)
    found: dict[str, Any] = {}
    for cell in json.loads((folders.NOTEBOOKS / "12_alpha.ipynb").read_text(encoding="utf-8"))["cells"]:
        tags = cell["metadata"].get("tags", [])
        if cell["cell_type"] == "code" and "install" not in tags:
            exec("".join(cell["source"]), found)
        if "parameters" in tags:
            asked = {"dose": dose, "doses": str(level), "seeds": "0 1", "attack": attack}
            found |= {"study": "tiny", "regions": " ".join(REGIONS), **asked}
    at = found["dosed_networks"].set_index(["condition", "dose"])["accuracy"]
    assert at["TO", level].unique() == pytest.approx((12 - worse) / 20)
    assert found["equal"].groupby("condition")["accuracy"].mean()[list(REGIONS)].is_monotonic_increasing
    saved = found["run"].table("equal")
    assert saved["kind"].unique().tolist() == [dose], "tables of two kinds can be put together"
