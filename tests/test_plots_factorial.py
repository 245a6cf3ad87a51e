"""The figure of training × guidance holds the right points, and others' only where they belong."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nbtools import metrics, plots
from nbtools.conditions import color
from nbtools.errors import InputError

NAMES = ("none", "TO-at-4", "TO", "none-gauss-0.1", "none-at-4", "none-at-2", "TO-gauss-0.1", "V1", "V1-at-4")
EPSILON, TITLE = 4 / 255, "Training and guidance: demo study, simulated"


def networks(n_seeds: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        {"condition": name, "seed": seed, "epsilon": epsilon, "accuracy": (0.9 - 0.4 * k) * rng.uniform(0.9, 1)}
        for name in NAMES
        for seed in range(n_seeds)
        for k, epsilon in enumerate((0.0, EPSILON))
    ]
    table = pd.DataFrame(rows)
    return table.assign(ci_low=table["accuracy"] - 0.02, ci_high=table["accuracy"] + 0.02)


def test_guides_and_seeds_stand_at_their_training() -> None:
    table = networks()
    fig = plots.training_factorial(table, EPSILON, title=TITLE)
    assert list(fig.layout.xaxis.ticktext)[1:] == ["at-2", "at-4", "gauss-0.1"]
    means, dots = (
        {trace.name: trace for trace in fig.data if bool(trace.customdata is None) == mean} for mean in (True, False)
    )
    assert list(means) == ["none", "V1", "TO"]
    at = metrics.at_epsilon(table, EPSILON)
    for guide in ("none", "V1", "TO"):
        assert means[guide].marker.color == color(guide)
        name = guide if guide != "none" else "none"
        shown = dict(zip(np.round(means[guide].x).astype(int), means[guide].y, strict=True))
        assert shown[0] == pytest.approx(at.loc[at["condition"] == name, "accuracy"].mean())
        assert shown[2] == pytest.approx(at.loc[at["condition"] == f"{name}-at-4", "accuracy"].mean())
        assert len(dots[guide].y) == 3 * len(means[guide].y)
    assert sorted(np.round(means["V1"].x)) == [0, 2]


def test_networks_of_others_stand_apart_at_their_own_budget() -> None:
    fig = plots.training_factorial(networks(), EPSILON, metrics.PUBLISHED, title=TITLE)
    (star,) = [trace for trace in fig.data if trace.marker.symbol == "star-open"]
    assert (star.x[0], star.y[0]) == (4, 0.253)
    assert "of others" in star.name
    assert fig.layout.xaxis.ticktext[-1].startswith("others")
    assert "others" not in plots.training_factorial(networks(), EPSILON, title=TITLE).layout.xaxis.ticktext[-1]
    with pytest.raises(InputError, match="no accuracy at"):
        plots.training_factorial(networks(), 8 / 255, metrics.PUBLISHED, title=TITLE)
