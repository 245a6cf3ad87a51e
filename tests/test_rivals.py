"""Rival explanations of a gain: planted worlds in which the answer to each is known."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest

from nbtools.errors import InputError
from nbtools.metrics import rivals
from nbtools.plots import rivals as figure

EPSILON = 4 / 255
SEEDS = range(5)
FLAT = {"none": 0.2, "decay-0.01": 0.3, "decay-0.1": 0.4}  # robust accuracy of a family: the smoother, the more


def world(robust: Mapping[str, float], noise: float = 0.004, rng: np.random.Generator | None = None) -> pd.DataFrame:
    """Networks of five seeds: those of a seed begin alike; clean accuracy falls by what robust accuracy gains."""
    rng, rows = rng or np.random.default_rng(0), []
    for seed in SEEDS:
        begun = rng.normal(0, 0.05)
        for condition, accuracy in robust.items():
            attacked = accuracy + begun + rng.normal(0, noise)
            clean = 0.9 - 0.5 * (FLAT.get(condition, 0.3) - 0.2) + rng.normal(0, noise / 4)
            for epsilon, value in ((0.0, clean), (EPSILON, attacked)):
                rows.append({"condition": condition, "seed": seed, "epsilon": epsilon, "accuracy": value})
    return pd.DataFrame(rows)


def smooth(of: Mapping[str, float]) -> pd.DataFrame:
    return pd.DataFrame([{"condition": name, "seed": s, "score": value} for name, value in of.items() for s in SEEDS])


def found(table: pd.DataFrame) -> dict[str, str]:
    return dict(zip(table["control"], table["finding"], strict=True))


def test_each_explanation_is_answered_as_planted() -> None:
    robust = {**FLAT, "TO": 0.4, "labels-guide": 0.4, "TO-shuffle": 0.2, "none-lowpass-8": 0.25, "none-gauss-0.1": 0.45}
    gradients = smooth({"none": 100.0, "decay-0.01": 50.0, "decay-0.1": 10.0, "TO": 10.0})
    table = rivals(world(robust), EPSILON, "TO", gradients)
    assert found(table) == {
        "none": "there",
        "labels-guide": "explains it",
        "TO-shuffle": "does not explain it",
        "none-lowpass-8": "does not explain it",
        "none-gauss-0.1": "explains it",
        "weight decay, equal smoothness": "explains it",
        "weight decay, equal clean accuracy": "does not explain it",
    }
    assert table["difference"].iloc[0] == pytest.approx(0.2, abs=0.01)
    assert len(figure(table, "TO", title="planted").layout.annotations) == len(table)


def test_beyond_the_family_nothing_is_told() -> None:
    gradients = smooth({"none": 100.0, "decay-0.01": 50.0, "decay-0.1": 10.0, "TO": 1.0})
    table = rivals(world({**FLAT, "TO": 0.5}), EPSILON, "TO", gradients).set_index("control")
    row = table.loc["weight decay, equal smoothness"]
    assert row["finding"] == "cannot be told"
    assert np.isnan(row["difference"])


def test_what_has_a_region_or_another_guide_is_no_rival() -> None:
    robust = {
        "none": 0.2,
        "TO": 0.4,
        "V1": 0.3,
        "V1-shuffle": 0.2,
        "TO-gauss-0.1": 0.5,
        "none-at-4": 0.6,
        "random": 0.2,
    }
    assert set(found(rivals(world(robust), EPSILON, "TO"))) == {"none", "random"}


def test_where_there_is_no_gain_there_is_nothing_to_explain() -> None:
    assert found(rivals(world({"none": 0.3, "TO": 0.3}), EPSILON, "TO"))["none"] == "not there"
    with pytest.raises(InputError, match="TO and none among them"):
        rivals(world({"none": 0.3, "V1": 0.3}), EPSILON, "TO")


def test_controls_that_are_as_good_are_rarely_told_apart() -> None:
    """Of a family of four tests, one finds what is not there in at most 5 of 100 worlds (here: 150 worlds, 3.3 sd)."""
    rng, wrong = np.random.default_rng(1), 0
    alike = dict.fromkeys(("none", "TO", "TO-shuffle", "labels-guide", "ce-weight"), 0.3)
    for _ in range(150):
        said = found(rivals(world(alike, 0.05, rng), EPSILON, "TO")).values()
        wrong += bool({"there", "does not explain it"} & set(said))
    assert wrong / 150 < 0.05 + 3.3 * np.sqrt(0.05 * 0.95 / 150)


def test_a_difference_within_the_margin_is_none_however_sure() -> None:
    table = rivals(world({"none": 0.2, "TO": 0.41, "labels-guide": 0.40}, 1e-4), EPSILON, "TO").set_index("control")
    assert table.loc["labels-guide", "p_holm"] < 0.05
    assert table.loc["labels-guide", "finding"] == "explains it"
