"""Notebook 19 on planted networks of the tiny study: certificates are made, whatever there is to cross."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nbtools import data, models
from nbtools.runs import folders

pytestmark = pytest.mark.notebook


def planted(study: Path, classes: tuple[str, ...], roi: str) -> None:
    """Finished runs of an untrained network and of an attack on it, as notebooks 03 and 04 leave them."""
    rng, n = np.random.default_rng(len(roi)), 12
    network = models.build(models.GuidedNet, len(roi), "small_resnet", classes, 5 if roi.startswith("TO") else 0)
    decisions = {"image_id": np.tile(np.arange(n).astype(str), 2), "label": 0, "margin": 0.0, "attack": "LinfPGD"}
    decisions |= {"epsilon": np.repeat([0.0, 4 / 255], n), "prediction": rng.integers(0, 2, 2 * n)}
    tables = {
        "03_guided_training": {"history": pd.DataFrame({"split": ["train"], "seconds": [1.0 + len(roi)]})},
        "04_adversarial_attacks": {"decisions": pd.DataFrame(decisions)},
    }
    for notebook, kept in tables.items():
        full = {**folders.defaults(notebook), "study": str(study), "roi": roi, "seed": 0}
        folder = folders.run_folder(notebook, full)
        folder.mkdir(parents=True)
        models.save_model(network, folder)
        for name, table in kept.items():
            table.to_parquet(folder / f"{name}.parquet")
        record = {"notebook": notebook, "parameters": full, "inputs": {}, "seconds": 1.0}
        (folder / folders.RECORD).write_text(json.dumps({**record, "finished": "2026-01-01T00:00:00+0000"}))


@pytest.mark.parametrize("rois", ["none TO", "none TO none-at-4 TO-atboth-4"])
def test_it_runs_with_any_conditions(
    rois: str, tiny_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))
    classes = data.load_test_images(data.open_study(str(tiny_study)), 1).classes
    for roi in rois.split():
        planted(tiny_study, classes, roi)
    asked = {
        "study": str(tiny_study),
        "rois": rois,
        "others": "TO",
        "alphas": "0.9",
        "seeds": "0",
        "lengths": "0.01 0.9",
    }
    found: dict[str, Any] = {}
    cells = json.loads((folders.NOTEBOOKS / "19_training_and_certificates.ipynb").read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        tags = cell["metadata"].get("tags", [])
        if cell["cell_type"] == "code" and "install" not in tags:
            exec("".join(cell["source"]), found)
        if "parameters" in tags:
            found |= {**asked, "passes": 60, "n_images": 2, "steps": 1}
    saved = {file.stem for file in found["run"].folder.glob("*.parquet")}
    crossed = {"gains", "interactions", "fronts"} if "at" in rois else set()
    assert saved == {"accuracy", "certificates", "certified", "attacked", "cost"} | crossed
    assert list(found["table"].columns) == [0.0, 0.01], "no vote reaches .9, so nothing is said of it"
