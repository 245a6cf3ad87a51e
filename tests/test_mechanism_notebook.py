"""Notebook 21 on planted networks of the tiny study: from their runs to its tables, whatever the conditions."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nbtools import data, models
from nbtools.runs import folders

pytestmark = pytest.mark.notebook


def planted(study: Path, classes: tuple[str, ...], roi: str, seed: int) -> None:
    """A finished run of an untrained network, as notebook 03 leaves one."""
    full = {**folders.defaults("03_guided_training"), "study": str(study), "roi": roi, "seed": seed}
    folder = folders.run_folder("03_guided_training", full)
    folder.mkdir(parents=True)
    models.save_model(
        models.build(models.GuidedNet, seed + len(roi), "small_resnet", classes, 5 if roi != "none" else 0), folder
    )
    record = {"notebook": "03_guided_training", "parameters": full, "inputs": {}, "seconds": 1.0}
    (folder / folders.RECORD).write_text(json.dumps({**record, "finished": "2026-01-01T00:00:00+0000"}))


@pytest.mark.parametrize("rois", ["none TO-shuffle V1", "none", "TO"])
def test_it_runs_with_any_conditions(
    rois: str, tiny_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))
    classes = data.load_test_images(data.open_study(str(tiny_study)), 1).classes
    for roi, seed in product(rois.split(), (0, 1)):
        planted(tiny_study, classes, roi, seed)
    small = {"readouts": "layer1 pooled", "n_images": 8, "k": 2, "n_draws": 1, "steps": 1, "seeds": "0 1"}
    found: dict[str, Any] = {}
    for cell in json.loads((folders.NOTEBOOKS / "21_mechanism.ipynb").read_text(encoding="utf-8"))["cells"]:
        tags = cell["metadata"].get("tags", [])
        if cell["cell_type"] == "code" and "install" not in tags:
            exec("".join(cell["source"]), found)
        if "parameters" in tags:
            found |= {"study": str(tiny_study), "rois": rois, **small}
    saved = {file.stem for file in found["run"].folder.glob("*.parquet")}
    assert set(found["accuracy"]["condition"]) == set(rois.split())
    assert (found["bent"]["n_seeds"] == 2).all()
    guided = {"V1"} if "V1" in rois else set()
    assert saved == {"dimensions", "curvature", "lesions", "costs", "compared"} | ({"shapes"} if guided else set())
    assert set(found["compared"]["condition"]) == guided
    if guided:
        assert np.isfinite(found["compared"]["ci_low"]).all()
        assert set(found["shapes"]["measure"]) == set(found["both"]["measure"])
