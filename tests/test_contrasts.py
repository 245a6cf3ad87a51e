"""Scores compared over networks: exact where normal, honest for accuracies, silent where there is one network."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from nbtools.conditions import HIERARCHY
from nbtools.errors import InputError
from nbtools.metrics.contrasts import claims, compare, contrast, layout, over_networks, slope
from nbtools.metrics.verdicts import TOO_FEW, UNSCORED, in_order, verdict, verdicts

PAIR = (1.0, -1.0)
SLOPE = np.arange(7) - 3.0


def networks(
    means: list[float], n_seeds: int, rng: np.random.Generator, *, between: float = 0.04, n_images: int = 300
) -> np.ndarray:
    """Accuracies (n_conditions, 1, n_seeds): seeds differ by .04 as the demo's networks do, images by the binomial."""
    seeds = rng.normal(0, between, (len(means), 1, n_seeds))
    return rng.binomial(n_images, np.clip(np.array(means)[:, None, None] + seeds, 0.01, 0.99)) / n_images


def table(scores: dict[str, list[float]], **columns: object) -> pd.DataFrame:
    """A score of each condition's network of each seed."""
    rows = [{"condition": name, "seed": s, "score": v} for name, values in scores.items() for s, v in enumerate(values)]
    return pd.DataFrame(rows).assign(**columns)


# --- one contrast -------------------------------------------------------------------------------------------


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


def test_networks_that_all_agree_have_an_interval_of_no_width() -> None:
    same = contrast(np.full((2, 1, 3), 0.4), PAIR)
    assert (same.value, same.p, same.d) == (0, 1, 0)
    apart = contrast([[[0.5, 0.5]], [[0.25, 0.25]]], PAIR)
    assert (apart.ci_low, apart.ci_high, apart.p, apart.d) == (0.25, 0.25, 0, np.inf)


@pytest.mark.parametrize("n_seeds", [3, 5])
def test_a_condition_does_not_differ_from_itself(n_seeds: int) -> None:
    """A against A over seeds: false alarms in 5 % of cases, give or take the simulation's own error."""
    rng = np.random.default_rng(n_seeds)
    p = np.array([contrast(networks([0.13, 0.13], n_seeds, rng), PAIR).p for _ in range(1500)])
    assert np.mean(p <= 0.05) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1500)


@pytest.mark.parametrize("n_seeds", [3, 5])
@pytest.mark.parametrize("rise", [0.0, 0.12])
def test_intervals_of_a_slope_cover_it(n_seeds: int, rise: float) -> None:
    rng, weights = np.random.default_rng(n_seeds), SLOPE / (SLOPE**2).sum()
    means = list(np.linspace(0.13, 0.13 + rise, 7))
    found = [contrast(networks(means, n_seeds, rng), weights) for _ in range(1500)]
    assert 0.93 <= np.mean([effect.ci_low <= rise / 6 <= effect.ci_high for effect in found]) <= 0.97


def test_the_mean_of_a_condition_is_covered_too() -> None:
    rng = np.random.default_rng(0)
    found = [contrast(networks([0.13], 3, rng), [1.0]) for _ in range(1500)]
    assert 0.93 <= np.mean([effect.ci_low <= 0.13 <= effect.ci_high for effect in found]) <= 0.97


# --- tables -------------------------------------------------------------------------------------------------


def test_a_planted_rise_is_found_and_measured() -> None:
    rng = np.random.default_rng(0)
    scores = table({name: list(0.1 * rank + rng.normal(0, 0.02, 3)) for rank, name in enumerate(HIERARCHY)})
    found = slope(scores, "score")
    assert found.ci_low < 0.1 < found.ci_high
    assert found.p < 0.05
    assert slope(scores, "score", HIERARCHY[::-1]).value == pytest.approx(-found.value)
    fitted = np.polyfit(range(7), scores.groupby("condition", sort=False)["score"].mean(), 1)[0]
    assert found.value == pytest.approx(fitted)


def test_comparisons_are_corrected_together_and_say_nothing_of_one_network() -> None:
    scores = table({"TO": [0.61, 0.6, 0.62], "V1": [0.3, 0.32, 0.28], "none": [0.31, 0.3, 0.29]})
    found = compare(scores, "score", ["TO", "V1"], ["none"]).set_index("condition")
    assert found.loc["TO", "p_holm"] == pytest.approx(2 * found.loc["TO", "p"])
    assert found.loc["TO", "p_holm"] < 0.05 < found.loc["V1", "p_holm"]
    alone = compare(scores[scores["seed"] == 0], "score", ["TO"], ["none"])
    assert alone[["ci_low", "ci_high", "p", "p_holm"]].isna().all(axis=None)
    assert alone["difference"].iloc[0] == pytest.approx(0.3)


def test_one_network_keeps_its_own_interval_over_images() -> None:
    scores = table({"TO": [0.6, 0.4], "none": [0.3, 0.1]}, ci_low=0.25, ci_high=0.65)
    pooled = over_networks(scores, "score").set_index("condition")
    assert pooled.loc["TO", "score"] == pytest.approx(0.5)
    assert pooled.loc["TO", "ci_high"] > 0.65  # two networks say little
    assert list(pooled["n_seeds"]) == [2, 2]
    alone = over_networks(scores[scores["seed"] == 0], "score").set_index("condition")
    assert list(alone.loc["TO", ["score", "ci_low", "ci_high"]]) == [0.6, 0.25, 0.65]


def test_an_accuracys_interval_ends_at_zero_and_one() -> None:
    scores = table({"TO": [0.1, 0.5]}, ci_low=0.0, ci_high=1.0).rename(columns={"score": "accuracy"})
    assert list(over_networks(scores, "accuracy").loc[0, ["ci_low", "ci_high"]]) == [0, 1]


def test_a_mean_leaves_no_row_out_and_needs_no_interval() -> None:
    scores = table({"TO": [0.1, 0.3], "none": [0.2, 0.4]}, alpha=[0.5, 0.5, np.nan, np.nan])
    found = over_networks(scores, "score", by=("condition", "alpha"))
    assert found["score"].tolist() == pytest.approx([0.2, 0.3])
    alone = over_networks(table({"TO": [0.1]}), "score").iloc[0]
    assert alone["score"] == 0.1
    assert np.isnan(alone["ci_low"])
    unknown = over_networks(scores.assign(score=[0.1, np.nan, 0.2, 0.4]), "score")
    assert unknown["score"].tolist() == pytest.approx([np.nan, 0.3], nan_ok=True)
    assert unknown["ci_low"].isna().tolist() == [True, False]
    for wrong in (scores.drop(columns="alpha"), scores[:0]):
        with pytest.raises(InputError, match="cannot be averaged"):
            over_networks(wrong, "score", by=("condition", "alpha"))


def test_seeds_and_subjects_may_be_numbers_or_names() -> None:
    scores = table({"TO": [0.1, 0.3], "none": [0.2, 0.5]}, seed=[1, "b", 1, "b"])
    assert layout(scores, "score", ["TO", "none"]).tolist() == [[[0.1, 0.3]], [[0.2, 0.5]]]


def test_claims_go_by_the_direction_the_paper_gives_them() -> None:
    rng = np.random.default_rng(0)
    rise = {name: list(rank + rng.normal(0, 0.3, 3)) for rank, name in enumerate(HIERARCHY)}
    fall = {name: [-1000 * value for value in values] for name, values in rise.items()}  # in another unit
    parts = {"robust": (rise, 1), "radius": (fall, -1), "other way": (rise, -1)}
    scores = pd.concat([table(values, measure=name, direction=way) for name, (values, way) in parts.items()])
    found = claims(pd.concat([scores, table({"none": [99.0] * 3}, measure="robust", direction=1)]), HIERARCHY)
    assert list(found["measure"]) == list(parts)
    first = found["slope"].iloc[0]
    assert found["slope"].tolist() == pytest.approx([first, first, -first])
    assert (found["p_holm"] >= found["p"]).all()


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (table({name: [1.0] for name in HIERARCHY[:6]}, measure="robust", direction=1), "1 of 7 × 1 × 1 networks"),
        (table({name: [1.0] for name in HIERARCHY}, measure="robust", direction=0), "1 or −1"),
        (table({name: [1.0] for name in HIERARCHY}, measure="robust"), "without direction"),
        (table({name: ["high"] for name in HIERARCHY}, measure="robust", direction=1), "expected: numbers"),
        (table({name: [1.0] for name in HIERARCHY}, measure="robust", direction="1"), "expected: numbers"),
    ],
)
def test_claims_refuse_scores_that_do_not_fit(scores: pd.DataFrame, said: str) -> None:
    with pytest.raises(InputError, match=said):
        claims(scores, HIERARCHY)


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (table({"TO": [0.1, 0.2], "none": [0.1]}), "1 of 2 × 1 × 2 networks without a score: none, 0, 1"),
        (table({"TO": [0.1], "none": [np.nan]}), "without a score"),
        (pd.concat([table({"TO": [0.1], "none": [0.2]})] * 2), "twice"),
        (table({"TO": [0.1]}).drop(columns="score"), "without score"),
        (table({"TO": [0.1], "none": [0.2]}, seed=np.nan), "2 without a subject or seed"),
        (table({"TO": [0.1], "none": [0.2]}, subject=None), "2 without a subject or seed"),
        (table({"TO": [0.1], "none": [0.2]}).assign(score="high"), "expected: numbers"),
    ],
)
def test_networks_that_are_not_paired_are_refused(scores: pd.DataFrame, said: str) -> None:
    with pytest.raises(InputError, match=said):
        layout(scores, "score", ["TO", "none"])


def test_scores_that_cannot_be_contrasted_are_refused() -> None:
    for scores, weights in (([[[0.1]], [[np.nan]]], PAIR), ([[0.1], [0.2]], PAIR), ([[[0.1]]], PAIR)):
        with pytest.raises(InputError, match="cannot be contrasted"):
            contrast(scores, weights)
    with pytest.raises(InputError, match="too few regions"):
        slope(table({"V1": [0.1], "TO": [0.2]}), "score", ["V1", "TO"])
    with pytest.raises(InputError, match="each once"):
        slope(table({"V1": [0.1], "TO": [0.2]}), "score", ["V1", "V1", "TO"])
    with pytest.raises(InputError, match="nothing to compare"):
        compare(table({"TO": [0.1]}), "score", ["TO"], [])


# --- words --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([[0.1, 0.12], [0.2, 0.21], [0.3, 0.33]], ": rises along the hierarchy"),
        ([[0.3, 0.33], [0.2, 0.21], [0.1, 0.12]], ": falls along the hierarchy"),
        ([[0.1, 0.3], [0.2, 0.1], [0.3, 0.2]], "these networks cannot tell"),
        ([[0.1], [0.2], [0.3]], "+0.100 per region in these networks; one seed is no sample: no test"),
    ],
)
def test_a_verdict_says_what_the_sample_can(values: list[list[float]], said: str) -> None:
    scores = table({"none": [9.0] * len(values[0]), **dict(zip(("V1", "V4", "TO"), values, strict=True))})
    assert said in verdict(scores, "score")
    assert verdict(scores[scores["condition"] != "V4"], "score") == TOO_FEW
    assert in_order(list(scores["condition"])[::-1]) == ["V1", "V4", "TO"]


def test_a_network_without_a_score_leaves_no_trend() -> None:
    scores = table({"V1": [0.1, np.nan], "V2": [0.2, 0.3], "TO": [0.3, 0.5], "none": [0.1, 0.1]})
    assert verdict(scores, "score") == UNSCORED
    assert verdict(scores.fillna(0.1), "score").startswith("+0.1")


def test_subjects_are_named_where_they_are_the_sample() -> None:
    one = table({"V1": [0.1, 0.12], "V4": [0.2, 0.21], "TO": [0.3, 0.33]}, subject="a")
    said = verdict(pd.concat([one, one.assign(subject="b", score=one["score"] + 0.01)]), "score")
    assert "2 subjects, 2 seeds" in said


def test_every_budget_has_its_verdict() -> None:
    rows = table({"V1": [0.1, 0.12], "V4": [0.2, 0.21], "TO": [0.3, 0.33]}).rename(columns={"score": "accuracy"})
    both = pd.concat([rows.assign(epsilon=0.0), rows.assign(epsilon=4 / 255, accuracy=-rows["accuracy"])])
    assert {epsilon: words.split(": ")[1] for epsilon, words in verdicts(both).items()} == {
        0.0: "rises along the hierarchy",
        4 / 255: "falls along the hierarchy",
    }
