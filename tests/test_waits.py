"""What takes long on real data tells so: one bar a wait, with a total, counted to its end."""

from __future__ import annotations

import io
import os
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from nbtools import attacks, bench, metrics, models, probes
from nbtools.bench import comparisons
from nbtools.data.archives import contents
from nbtools.data.images.folders import equal_files
from nbtools.data.images.sets import ImageSet
from nbtools.models.networks import GuidedNet, build, freeze
from nbtools.processes import Bar
from nbtools.training.guided import train_guided
from nbtools.training.loop import TrainConfig
from nbtools.workflow import calibration
from nbtools.workflow.calibration import Step

RNG = np.random.default_rng(0)
N, EPSILONS, CLASSES = 12, [2 / 255, 4 / 255], ("a", "b", "c")
IMAGES = ImageSet(
    torch.randint(0, 256, (N, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)),
    torch.arange(N) % 3,
    np.arange(N).astype(str),
    CLASSES,
)
FEATURES, LABELS = RNG.normal(size=(60, 8)), np.repeat(["a", "b", "c"], 20)


def networks() -> dict[tuple[str, int], GuidedNet]:
    made = {("TO", seed): build(GuidedNet, seed, "small_resnet", CLASSES, 5, image_size=16) for seed in (0, 1)}
    for network in made.values():
        freeze(network)
    return made


def decisions() -> pd.DataFrame:
    rows = [(seed, epsilon, i) for seed in (0, 1, 2) for epsilon in (0.0, *EPSILONS) for i in range(N)]
    table = pd.DataFrame(rows, columns=["seed", "epsilon", "image_id"])
    return table.assign(condition="TO", label=0, prediction=0, margin=1.0, distance=0.0)


def trained() -> None:
    splits = {"train": np.arange(9), "validation": np.arange(9, N)}
    train_guided(build(GuidedNet, 0, "small_resnet", CLASSES, 0), IMAGES, None, 0.0, splits, TrainConfig(2, 3, 0.001))


def similar() -> None:
    space = {("V1", name): FEATURES for name in ("measured", "pooled")}
    rdms = metrics.rdms(space, np.arange(60))
    metrics.similarities(rdms, rdms, n_boot=3)


WAITS: dict[str, Callable[[], Any]] = {
    "attacks of one network": lambda: attacks.sweep(networks()["TO", 0], IMAGES, EPSILONS, steps=2, batch_size=5),
    "attacks of several": lambda: attacks.examine(networks(), IMAGES, EPSILONS, attacks=["LinfPGD"], steps=2),
    "certificates": lambda: attacks.certify(networks()["TO", 0], IMAGES, 0.1, n=20, n0=5),
    "transfer": lambda: attacks.transfer(networks(), IMAGES, EPSILONS[0], steps=2),
    "lesions": lambda: attacks.decide_lesioned(networks(), IMAGES, EPSILONS, k=2, n_draws=1, steps=2),
    "gradients": lambda: attacks.attacked_gradients(networks(), IMAGES, EPSILONS, steps=2),
    "curvature": lambda: probes.measure_curvature(networks(), IMAGES, ["pooled"]),
    "noise": lambda: probes.decide_masked(networks(), IMAGES, [0.1], batch_size=5),
    "other images": lambda: probes.decide_others(networks(), {"clean": IMAGES, "others": IMAGES}),
    "output": lambda: models.predict(networks()["TO", 0], IMAGES.pixels, 5),
    "read-outs": lambda: models.read_out(networks()["TO", 0], IMAGES.pixels, ["pooled"], 5),
    "read-outs of several": lambda: models.read_each(networks(), IMAGES.pixels),
    "training": trained,
    "intervals": lambda: metrics.robust_accuracy(decisions()),
    "geometry": lambda: metrics.repeated_geometry(FEATURES, LABELS, n_points=5, n_samples=5, n_draws=2),
    "manifolds": lambda: metrics.manifold_tables({"V1": FEATURES, "TO": FEATURES}, np.arange(60), LABELS),
    "RDMs": similar,
    "a step of training": lambda: calibration.measured_rates("tiny", [Step("small_resnet", "32-true", 4, 16)]),
    "comparisons": lambda: bench.main(["one", "two"]),
}


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Bar]:
    """All bars of a test, as a terminal has them."""
    bars: list[Bar] = []
    begin = Bar.__init__

    def noted(bar: Bar, *args: Any, **options: Any) -> None:
        begin(bar, *args, **options)
        bar.shown = not bar.disable  # closing disables it
        bars.append(bar)

    monkeypatch.setattr(Bar, "__init__", noted)
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))
    monkeypatch.setattr(comparisons, "COMPARISONS", {"one": trained_row, "two": trained_row})
    return bars


def trained_row() -> dict[str, object]:
    trained()
    return {"ours_s": 1.0}


def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", terminal)


@pytest.mark.parametrize("what", WAITS)
def test_a_wait_has_one_bar_with_a_total_that_is_reached(
    what: str, made: list[Bar], monkeypatch: pytest.MonkeyPatch
) -> None:
    watched(monkeypatch)
    WAITS[what]()
    shown = [bar for bar in made if bar.shown]
    assert len(shown) == 1
    assert shown[0].desc
    assert shown[0].n == shown[0].total > 1 or what == "a step of training"
    assert all(bar.around is shown[0] for bar in made if not bar.shown and bar.total != 1)


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_an_archive_is_read_byte_by_byte_as_it_lies_there(
    kind: str, made: list[Bar], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched(monkeypatch)
    archive, parts = tmp_path / f"files.{kind}", [os.urandom(2**19) for _ in range(4)]
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as tree:
            for n, part in enumerate(parts):
                tree.writestr(f"{n}.bin", part)
    else:
        with tarfile.open(archive, "w:gz" if kind == "tar.gz" else "w") as tar:
            for n, part in enumerate(parts):
                entry = tarfile.TarInfo(f"{n}.bin")
                entry.size = len(part)
                tar.addfile(entry, io.BytesIO(part))
    counted = [(stream.read(), made[0].n)[1] for _, _, stream in contents(archive)]
    (bar,) = made
    assert bar.total == archive.stat().st_size
    assert counted == sorted(counted)
    assert counted[0] < bar.total / 2, "not all at once"
    assert 0.9 < counted[-1] / bar.total < 1.1


def test_files_are_compared_under_a_bar(made: list[Bar], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched(monkeypatch)
    for name in "abcd":
        (tmp_path / name).write_text("alike")
    equal_files([tmp_path / "a", tmp_path / "b"], [tmp_path / "c", tmp_path / "d"])
    (bar,) = made
    assert (bar.n, bar.total, bar.shown) == (4, 4, True)
