"""A study's answer in three sentences says what its tables say: a gain, a null, or that nothing was tested."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nbtools import metrics
from nbtools.errors import InputError

EPSILON, REGIONS = 4 / 255, ["V1", "V2", "V4", "LO", "TO"]


def networks(gain: float, n_seeds: int = 6, noise: float = 0.004) -> pd.DataFrame:
    """Networks of which TO's withstand so much more than none, at every seed alike but for noise."""
    rng, means = np.random.default_rng(0), dict(zip(REGIONS, np.linspace(0, gain, 5), strict=True))
    means |= {"none": 0.0, "random": -0.1}
    rows = [
        {"condition": name, "seed": seed, "epsilon": epsilon, "accuracy": 0.5 + mean + rng.normal(0, noise)}
        for name, mean in means.items()
        for seed in range(n_seeds)
        for epsilon in (0.0, EPSILON)
    ]
    return pd.DataFrame(rows)


def answer(table: pd.DataFrame) -> list[str]:
    at = table[table["epsilon"] == EPSILON]
    differences = metrics.compare(at, "accuracy", REGIONS, ["none", "random"])
    return metrics.answer(metrics.verdicts(table, REGIONS), differences, REGIONS)


def test_it_says_the_trend_the_controls_and_clean_accuracy_with_their_numbers() -> None:
    table = networks(gain=0.2)
    trend, controls, clean = answer(table)
    said = metrics.verdicts(table, REGIONS)
    assert trend == f"Robust accuracy at ε = 4/255: {said[EPSILON]}."
    assert clean == f"Clean accuracy: {said[0.0]}."
    assert "rises along the hierarchy" in trend
    found = metrics.compare(table[table["epsilon"] == EPSILON], "accuracy", REGIONS, ["none", "random"])
    row = found[(found["condition"] == "TO") & (found["control"] == "none")].iloc[0]
    assert f"+{row['difference']:.3f} to none (95 % CI +{row['ci_low']:.3f} to +{row['ci_high']:.3f}" in controls
    assert "of 2 controls it is above 2 (p ≤ 0.05 after Holm" in controls


def test_a_null_is_said_as_one() -> None:
    trend, controls, _ = answer(networks(gain=0.0))
    assert "no rise or fall as large as 0.03" in trend
    assert "it is above 1, as robust as 1 (p" in controls, "above random, and like none within the margin"
    _, unclear, _ = answer(networks(gain=0.0, noise=0.2))
    assert "not to be told from" in unclear


def test_one_network_each_has_no_test_and_no_interval() -> None:
    trend, controls, _ = answer(networks(gain=0.2, n_seeds=1))
    assert "no test" in trend
    assert "one network each has no test" in controls
    assert "CI" not in controls


def test_what_is_not_there_is_not_told() -> None:
    said = {EPSILON: "no trend: that takes three regions"}
    trend, controls, clean = metrics.answer(said, pd.DataFrame(), [])
    assert trend.endswith("no trend: that takes three regions.")
    assert controls == "Controls: none to compare a region with."
    assert clean == "Clean accuracy was not measured."
    with pytest.raises(InputError, match="cannot be told"):
        metrics.answer(said, pd.DataFrame({"condition": ["TO"]}), ["TO"])
