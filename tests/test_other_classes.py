"""Notebooks that need no classes, or other ones, on an adopted network that has not the study's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torchvision.models import get_model

from nbtools import data
from nbtools.data.study import open_study
from nbtools.errors import InputError
from nbtools.metrics.geometry import manifolds
from nbtools.models.networks import GuidedNet, RoiPredictor, build, freeze, save_model
from nbtools.models.sources import source_of
from nbtools.runs import folders
from nbtools.runs.adopted import adopt
from nbtools.runs.lineage import ATTACKED, NETWORKS, PREDICTORS

REGIONS = ("V1", "TO")


@pytest.fixture
def home(tmp_path: Path, tiny_study: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with the tiny study: networks, predictors, and `net-x`, which tells ImageNet's thousand apart."""
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))
    place = tmp_path / "data/derived/tiny"
    place.parent.mkdir(parents=True)
    place.symlink_to(tiny_study.parent)
    images = data.load_test_images(open_study("tiny"), 20)
    for seed, roi in enumerate(("none", *REGIONS)):
        network = build(GuidedNet, seed, "small_resnet", images.classes, 4 * (roi != "none"))
        finished(NETWORKS, network, roi=roi, alpha=0.9)
        decisions = pd.DataFrame({"image_id": images.ids, "label": images.labels, "condition": roi, "seed": 0})
        parts = [decisions.assign(epsilon=e, prediction=decisions["label"] * (seed > 0)) for e in (0.0, 4 / 255)]
        finished(ATTACKED, pd.concat(parts).assign(attack="LinfPGD"), roi=roi)
    for roi in REGIONS:
        finished(PREDICTORS, build(RoiPredictor, 0, "small_resnet", 4, 10), roi=roi)
    weights = tmp_path / "weights.pt"
    torch.save(get_model("shufflenet_v2_x0_5", weights=None).state_dict(), weights)
    told = {"architecture": "shufflenet_v2_x0_5", "classes": Path("imagenet"), "mean": (0.5,) * 3, "sd": (0.2,) * 3}
    adopt("x", source_of(weights=weights, size=32, **told), "tiny")
    return tmp_path


def finished(notebook: str, made: torch.nn.Module | pd.DataFrame, **parameters: Any) -> None:
    """A finished run of a network, or of decisions."""
    full = {**folders.defaults(notebook), "study": "tiny", "seed": 0, **parameters}
    folder = folders.run_folder(notebook, full)
    folder.mkdir(parents=True)
    if isinstance(made, pd.DataFrame):
        made.to_parquet(folder / "decisions.parquet", index=False)
    else:
        save_model(freeze(made), folder)
    record = {"notebook": notebook, "parameters": full, "inputs": {}, "seconds": 1.0}
    (folder / folders.RECORD).write_text(json.dumps({**record, "finished": "2026-01-01T00:00:00+0000"}))


def run_notebook(name: str, **asked: Any) -> dict[str, Any]:
    """Run a notebook's code cells one after another, and return what it knows at its end."""
    known: dict[str, Any] = {}
    for cell in json.loads((folders.NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]:
        tags = cell["metadata"].get("tags", [])
        if cell["cell_type"] == "code" and "install" not in tags:
            exec("".join(cell["source"]), known)
        if "parameters" in tags:
            known |= {"study": "tiny", **asked}
    return known


def test_manifolds_need_no_classes_and_the_gain_has_no_point_of_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifolds, "PENALTIES", manifolds.PENALTIES[:1])
    asked = {"rois": "none net-x V1 TO", "seeds": "0", "readouts": "pooled", "epsilon": "4"}
    found = run_notebook("09_manifolds", **asked, n_points=4, n_samples=4, n_draws=2)
    spaces = found["scores"].groupby("condition")["space"].unique()
    assert set(spaces["net-x"]) == {"pooled"}
    assert set(found["claimed"]["condition"]) >= {"none", "net-x", "V1", "TO"}
    assert set(found["points"]["condition"]) == {"V1", "TO"}
    assert np.isfinite(found["run"].table("manifolds").query("condition == 'net-x'")["radius"]).all()


def cue_conflict(folder: Path, *categories: str) -> Path:
    """Noise of every shape and texture, named as Geirhos et al. (2019) name it."""
    noise = np.random.default_rng(0).integers(0, 256, (len(categories),) * 2 + (16, 16, 3), dtype=np.uint8)
    for i, shape in enumerate(categories):
        (folder / shape).mkdir(parents=True)
        for j, texture in enumerate(categories):
            Image.fromarray(noise[i, j]).save(folder / shape / f"{shape}1-{texture}2.png")
    return folder


@pytest.mark.parametrize("known", ["both", "its own", "the study's", "none"])
def test_shape_bias_is_of_the_categories_that_a_network_knows(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], known: str
) -> None:
    """ImageNet's thousand decide between Geirhos's categories, the study's networks between its classes."""
    own, studys = ("airplane", "dog", "clock"), data.load_test_images(open_study("tiny"), 1).classes[:2]
    there = {"both": own + studys, "its own": own, "the study's": studys, "none": ("unicorn", "yeti")}[known]
    source = replace(open_study("tiny"), cue_conflict=cue_conflict(tmp_path / "cues", *there))
    monkeypatch.setattr(data, "open_study", lambda name: source)
    if known == "none":
        with pytest.raises(InputError, match="ask nothing of the networks"):
            run_notebook("07_shape_bias", rois="none net-x V1 TO", seeds="0")
        return
    found = run_notebook("07_shape_bias", rois="none net-x V1 TO", seeds="0")
    decided = found["decisions"].groupby("condition")["shape"].unique().map(set).to_dict()
    trained = {} if known == "its own" else {name: set(studys) for name in ("none", "V1", "TO")}
    assert decided == trained | ({} if known == "the study's" else {"net-x": set(own)})
    assert set(found["scores"]["condition"]) == set(decided)
    assert ("left out" in capsys.readouterr().out) == (known != "both")
    assert set(found["consistency"]["a"]) == ({"net-x"} if known == "its own" else {"none", "V1", "TO"})
