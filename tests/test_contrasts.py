"""Planned contrasts over networks: exact where normal, honest for accuracies, silent where there is one network."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from nbtools.conditions import HIERARCHY
from nbtools.errors import InputError
from nbtools.metrics.contrasts import accuracies, compare, contrast, slope

PAIR = (1.0, -1.0)


def networks(
    means: list[float], n_seeds: int, rng: np.random.Generator, *, between: float = 0.04, n_images: int = 300
) -> np.ndarray:
    """Accuracies of networks as the review of the demo measured them: seeds spread by .04, images by the binomial."""
    seeds = rng.normal(0, between, (len(means), 1, n_seeds))
    return rng.binomial(n_images, np.clip(np.array(means)[:, None, None] + seeds, 0.01, 0.99)) / n_images


def test_a_difference_is_the_paired_t_test_of_scipy() -> None:
    scores = np.random.default_rng(0).normal(size=(2, 1, 6))
    ours, theirs = contrast(scores, PAIR), scipy_stats.ttest_rel(*scores[:, 0])
    assert ours.p == pytest.approx(theirs.pvalue)
    assert (ours.ci_low, ours.ci_high) == pytest.approx(tuple(theirs.confidence_interval()))
    difference = scores[0, 0] - scores[1, 0]
    assert ours.d == pytest.approx(difference.mean() / difference.std(ddof=1))


def test_with_several_subjects_they_are_the_sample() -> None:
    scores = np.random.default_rng(0).normal(size=(2, 5, 3))
    theirs = scipy_stats.ttest_rel(*scores.mean(axis=2))
    assert contrast(scores, PAIR).p == pytest.approx(theirs.pvalue)


def test_one_network_is_no_sample() -> None:
    found = contrast([[[0.3]], [[0.1]]], PAIR)
    assert found.value == pytest.approx(0.2)
    assert np.isnan([found.ci_low, found.ci_high, found.p, found.d]).all()


@pytest.mark.parametrize("n_seeds", [3, 5])
def test_a_condition_does_not_differ_from_itself(n_seeds: int) -> None:
    """A against A over seeds: false alarms at most 5 % of times, give or take the simulation's own error."""
    rng = np.random.default_rng(n_seeds)
    p = [contrast(networks([0.13, 0.13], n_seeds, rng), PAIR).p for _ in range(1500)]
    assert np.mean(np.array(p) <= 0.05) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1500)


@pytest.mark.parametrize("n_seeds", [3, 5])
def test_intervals_of_a_slope_cover_it(n_seeds: int) -> None:
    means = list(np.linspace(0.13, 0.25, 7))
    rng = np.random.default_rng(n_seeds)
    ranks = np.arange(7) - 3.0
    found = [contrast(networks(means, n_seeds, rng), ranks / (ranks**2).sum()) for _ in range(1500)]
    inside = np.mean([effect.ci_low <= 0.02 <= effect.ci_high for effect in found])
    assert 0.93 <= inside <= 0.97


def decided(accuracy: dict[str, float], n_seeds: int, seed: int = 0) -> pd.DataFrame:
    """Decisions of networks that are right about this often."""
    rng = np.random.default_rng(seed)
    rows = [
        {"condition": name, "seed": s, "image_id": str(i), "label": 0, "epsilon": e,
         "prediction": int(rng.random() > right), "margin": 0.1}
        for name, right in accuracy.items() for s in range(n_seeds) for i in range(200) for e in (0.0, 4 / 255)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_planted_rise_is_found_and_measured() -> None:
    rise = dict(zip(HIERARCHY, np.linspace(0.1, 0.7, 7), strict=True))
    found = slope(decided(rise, 3), 4 / 255, HIERARCHY)
    assert found.ci_low < 0.1 < found.ci_high
    assert found.p < 0.05
    assert slope(decided(rise, 3), 4 / 255, HIERARCHY[::-1]).value == pytest.approx(-found.value)


def test_tables_of_comparisons_are_corrected_together_and_say_nothing_of_one_network() -> None:
    table = compare(decided({"TO": 0.6, "V1": 0.3, "none": 0.3}, 3), 4 / 255, ["TO", "V1"], ["none"])
    assert table.set_index("condition").loc["TO", "p_holm"] < 0.05 < table.set_index("condition").loc["V1", "p_holm"]
    alone = compare(decided({"TO": 0.6, "none": 0.3}, 1), 4 / 255, ["TO"], ["none"])
    assert alone[["ci_low", "ci_high", "p", "p_holm"]].isna().all(axis=None)
    assert alone["difference"].iloc[0] == pytest.approx(0.3, abs=0.1)


def test_accuracies_are_of_one_network_each() -> None:
    decisions = decided({"TO": 0.5, "none": 0.5}, 2)
    one = decisions.query("condition == 'TO' and seed == 1 and epsilon > 0")
    found = accuracies(decisions, 4 / 255, ["TO", "none"])
    assert found.shape == (2, 1, 2)
    assert found[0, 0, 1] == pytest.approx((one.prediction == one.label).mean())


@pytest.mark.parametrize(
    ("scores", "weights"),
    [([[[0.1]], [[np.nan]]], PAIR), ([[0.1], [0.2]], PAIR), ([[[0.1]], [[0.2]]], (1.0, 1.0)), ([[[0.1]]], PAIR)],
)
def test_scores_that_cannot_be_contrasted_are_refused(scores: object, weights: object) -> None:
    with pytest.raises(InputError, match="cannot be contrasted"):
        contrast(scores, weights)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="too few regions"):
        slope(pd.DataFrame(), 0.0, ["V1", "TO"])
    with pytest.raises(InputError, match="nothing to compare"):
        compare(decided({"TO": 0.5}, 1), 4 / 255, ["TO"], [])
