"""Notebook 10 on planted decisions: it ends in a report, whatever was compared and whoever was excluded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nbtools.data.study import home
from nbtools.runs import folders
from nbtools.workflow import preregistration

ALL = "none random V1 V2 TO"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))
    study, parts = home() / "data/derived/tiny", {"classification": "c", "cue_conflict": "q"}
    for folder in ("nsd", "c/train", "c/val", "q"):
        (study / folder).mkdir(parents=True)
    entries = {"name": "tiny", "simulated": True, "nsd": "nsd", "subject": 1, "image_size": 32, **parts}
    (study / "study.toml").write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in entries.items()))


def attacked(roi: str, seed: int, right: float) -> None:
    """A finished run of two attacks on a network, of whose decisions about 40 images a share is right at every ε."""
    full = {**folders.defaults("04_adversarial_attacks"), "study": "tiny", "roi": roi, "seed": seed}
    folder = folders.run_folder("04_adversarial_attacks", full)
    folder.mkdir(parents=True)
    said = {"image_id": [f"i{i}" for i in range(40)], "label": 0, "prediction": (np.arange(40) >= 40 * right) * 1}
    decisions = pd.DataFrame({**said, "margin": 1.0, "condition": roi, "seed": seed})
    parts = [decisions.assign(attack=a, epsilon=e / 255) for a in full["attacks"].split() for e in (0, 2, 4)]
    pd.concat(parts).to_parquet(folder / "decisions.parquet")
    record = {"notebook": "04_adversarial_attacks", "parameters": full, "inputs": {}, "seconds": 1.0}
    (folder / folders.RECORD).write_text(json.dumps({**record, "finished": "2026-01-01T00:00:00+0000"}))


def summarised(**parameters: Any) -> dict[str, Any]:
    """What notebook 10's cells leave behind."""
    notebook = json.loads((folders.NOTEBOOKS / "10_summary.ipynb").read_text(encoding="utf-8"))
    found: dict[str, Any] = {}
    for cell in notebook["cells"]:
        tags = cell["metadata"].get("tags", [])
        if cell["cell_type"] == "code" and "install" not in tags:
            exec("".join(cell["source"]), found)
            found |= {"study": "tiny", **parameters} if "parameters" in tags else {}
    return found


@pytest.mark.parametrize("rois", ["V1 V2 TO", "none random", "V1 TO", "none TO"])
def test_it_reports_whatever_is_compared(rois: str) -> None:
    for roi, seed in ((roi, seed) for roi in rois.split() for seed in (0, 1)):
        attacked(roi, seed, right=0.5 + 0.1 * seed)
    folder = summarised(rois=rois, seeds="0 1")["run"].folder
    has_pairs = ("none" in rois) and ("TO" in rois)
    assert ("Against the controls" in (folder / "report.html").read_text(encoding="utf-8")) == has_pairs


def test_a_dorsal_hierarchy_stands_beside_the_ventral_one() -> None:
    with (home() / "data/derived/tiny/study.toml").open("a") as file:
        file.write('dorsal = ["V3A", "V3B", "IPS0"]\n')
    ventral = {"V1": 0.4, "V2": 0.5, "V4": 0.6, "LO": 0.7, "TO": 0.8}
    for roi, right in {**ventral, "V3A": 0.5, "V3B": 0.5, "IPS0": 0.5}.items():
        for seed in range(3):
            attacked(roi, seed, right + 0.05 * seed + 0.025 * (len(roi) % 2 == seed % 2))
    left = summarised(rois=" ".join(ventral) + " V3A V3B IPS0", seeds="0 1 2")
    found = left["streams"].set_index("along")["slope"]
    assert found["ventral"].gt(0.1).all()
    assert found["dorsal"].abs().lt(0.1).all()
    assert "steeper along the ventral hierarchy" in left["parallel"][0]
    assert "Beside the dorsal hierarchy" in (left["run"].folder / "report.html").read_text(encoding="utf-8")
    assert list(left["regions"]) == list(ventral), "the verdict is the ventral hierarchy's, as without the other"


def test_excluded_seeds_count_nowhere_and_stop_no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preregistration, "sources", lambda _: [])  # digesting all code takes half a second
    config = {"study": "tiny", "rois": "V1 V2 TO", "controls": "none random", "seeds": "0 1 2", "alphas": ""}
    preregistration.preregister(config, least_clean=0.5)
    for roi, seed in ((roi, seed) for roi in ALL.split() for seed in (0, 1, 2)):
        attacked(roi, seed, right=0.1 if (roi, seed) == ("V2", 0) else 0.9 - 0.05 * ((roi, seed) == ("TO", 1)))
    left = summarised(rois=ALL, seeds="0 1 2")
    assert set(left["networks"]["seed"]) == {1, 2}
    assert "2 seeds)" in left["verdict"]
    alone = summarised(rois=ALL, seeds="0")  # a first look at the seed that leaves
    assert set(alone["networks"]["seed"]) == {0}
    assert "Not as fixed: every seed has a network to exclude" in alone["fixed"].words
    assert "looked at later" in alone["verdict"]
