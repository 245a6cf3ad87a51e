"""Natural corruptions: scores of planted decisions, and decisions joined by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from nbtools import plots
from nbtools.data.images.corruptions import corruptions, load_corruption
from nbtools.data.images.sets import load_folder, to_float
from nbtools.data.study import open_study
from nbtools.errors import InputError
from nbtools.metrics.decisions.corruptions import corruption_accuracy, mean_corruption_accuracy
from nbtools.models.networks import GuidedNet, build, freeze
from nbtools.probes.corruptions import decide_corrupted


def planted(shares: dict[str, float], n: int = 200) -> pd.DataFrame:
    """Decisions of networks that are right on the first share of images, a tenth less at each severity."""
    rows = [
        (f"{i:03d}", 0, int(i >= (share - 0.1 * severity) * n), name, 0, kind, severity)
        for name, share in shares.items()
        for kind in ("fog", "noise")
        for severity in range(4)
        for i in range(n)
    ]
    return pd.DataFrame(
        rows, columns=["image_id", "label", "prediction", "condition", "seed", "corruption", "severity"]
    )


def test_accuracy_is_that_planted() -> None:
    table = corruption_accuracy(planted({"none": 0.7, "TO": 0.9}))
    found = table.set_index(["condition", "corruption", "severity"])
    assert found.loc[("TO", "fog", 2), "accuracy"] == pytest.approx(0.7)
    assert found.loc[("none", "noise", 0), "accuracy"] == pytest.approx(0.7)
    half = 1.96 * np.sqrt(0.7 * 0.3 / 200)
    assert found.loc[("TO", "fog", 2), "ci_high"] - 0.7 == pytest.approx(half, rel=0.2)
    assert set(table.n) == {200}


def test_the_mean_leaves_clean_images_out() -> None:
    mean = mean_corruption_accuracy(planted({"none": 0.7, "TO": 0.9})).set_index("condition")
    assert mean.loc["TO", "accuracy"] == pytest.approx(0.7)
    assert mean.loc["none", "accuracy"] == pytest.approx(0.5)
    assert (mean.ci_low < mean.accuracy).all()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.drop(columns="severity"), "without severity"),
        (lambda t: pd.concat([t, t.head(3)]), "3 of them twice"),
        (lambda t: t.head(0), "0 rows"),
    ],
)
def test_tables_that_are_none(change: object, says: str) -> None:
    with pytest.raises(InputError, match=says):
        corruption_accuracy(change(planted({"none": 0.5}, 10)))  # type: ignore[operator]


def test_decisions_are_the_networks_own(tiny_study: Path) -> None:
    study = open_study(str(tiny_study))
    folder = study.need("corruptions")
    there = corruptions(folder).query("corruption == 'contrast' and severity < 3")
    clean = load_folder(study.need("classification") / "val", 32)
    first = load_corruption(folder, "contrast", 1, 32, clean.classes)
    clean = clean[clean.rows(first.ids)[::-1]]  # another order than the folder's
    network = freeze(build(GuidedNet, 0, "small_resnet", clean.classes, 0))
    table = decide_corrupted({("none", 0): network}, clean, folder, there)
    assert len(table) == 3 * len(clean)
    at_two = table[table.severity == 2]
    second = load_corruption(folder, "contrast", 2, 32, clean.classes)
    logits = network(to_float(second.pixels))
    rows = second.rows(at_two.image_id.to_numpy())
    assert at_two.prediction.tolist() == logits.argmax(1)[torch.from_numpy(rows)].tolist()
    right = at_two.prediction == at_two.label
    assert ((at_two.margin > 0) == right).all()


def test_a_figure_has_a_panel_per_corruption_and_a_line_per_network() -> None:
    table = corruption_accuracy(planted({"none": 0.7, "TO": 0.9}))
    figure = plots.corruption_curves(table, title="Corruptions (tiny study, simulated)")
    assert [a.text for a in figure.layout.annotations] == ["fog", "noise"]
    assert [trace.name for trace in figure.data if trace.showlegend] == ["none", "TO"]
    assert list(figure.data[1].y) == pytest.approx([0.9, 0.8, 0.7, 0.6])
    with pytest.raises(InputError, match="severity"):
        plots.corruption_curves(table.drop(columns="severity"), title="")
