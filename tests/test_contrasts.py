"""Scores compared over networks: exact where normal, honest for accuracies, silent where there is one network."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from nbtools.conditions import HIERARCHY
from nbtools.errors import InputError
from nbtools.metrics.decisions.robustness import robust_accuracy
from nbtools.metrics.samples.contrasts import compare, contrast, layout, over_networks, slope, trend
from nbtools.metrics.samples.measures import claims
from nbtools.metrics.samples.verdicts import TOO_FEW, UNSCORED, in_order, verdict, verdicts

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


@pytest.mark.parametrize(("other", "value"), [(0.5, 0.0), (0.25, 0.25)])
def test_networks_that_all_agree_are_no_test(other: float, value: float) -> None:
    """Two networks of which one image each stands differ by nothing: that is the images' grain, and no certainty."""
    found = contrast([[[0.5, 0.5]], [[other, other]]], PAIR, margin=0.03)
    assert found.value == value
    assert np.isnan([found.ci_low, found.ci_high, found.p, found.d, found.p_tost]).all()
    assert not found.equivalent


def test_the_mean_of_networks_that_all_agree_has_the_interval_of_one_of_them() -> None:
    right = pd.DataFrame({"condition": "TO", "epsilon": 0.0, "label": 1, "prediction": 0, "image_id": range(60)})
    each = robust_accuracy(pd.concat([right.assign(seed=seed) for seed in (0, 1)]))
    found = over_networks(each, "accuracy").iloc[0]
    assert found["accuracy"] == found["ci_low"] == 0
    assert found["ci_high"] == pytest.approx(scipy_stats.binomtest(0, 60).proportion_ci().high)


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


# --- the order of regions -------------------------------------------------------------------------------------


def studies(spread: float, between: float, n: int, means: object = 0.2, n_seeds: int = 3) -> np.ndarray:
    """Scores (n, 7, 1, n_seeds) of n studies: regions differ by `spread`, in no order; seeds by theirs."""
    rng = np.random.default_rng(n_seeds)
    regions = np.reshape(means, (-1, 1, 1)) + rng.normal(0, spread, (n, 7, 1, 1))
    return regions + rng.normal(0, between, (n, 7, 1, n_seeds))


def most(share: float, n: int) -> float:
    """What a share of n simulations does not exceed by chance, but once in a thousand."""
    return float(scipy_stats.binom(n, share).ppf(0.999)) / n


@pytest.mark.parametrize("n_seeds", [3, 8])
@pytest.mark.parametrize(("spread", "between"), [(0.0, 0.04), (0.04, 0.04), (0.04, 0.007)])
def test_regions_in_no_order_do_not_rise(spread: float, between: float, n_seeds: int) -> None:
    found = [trend(study) for study in studies(spread, between, 400, n_seeds=n_seeds)]
    assert np.mean([one.p_both <= 0.05 for one in found]) <= most(0.05, 400)
    assert np.mean([one.p_order <= 0.05 for one in found]) <= most(0.05, 400)
    if spread > between:
        assert np.mean([one.p <= 0.05 for one in found]) > 0.25, "over seeds alone, any difference may look like a rise"


def test_a_rise_with_seeds_and_regions_that_scatter_is_found() -> None:
    rising = studies(0.015, 0.02, 200, means=np.linspace(0.13, 0.25, 7))
    assert np.mean([trend(study).p_both <= 0.05 for study in rising]) > 0.8
    falling = trend(-rising[0])
    assert (falling.value, falling.p_order) == pytest.approx((-trend(rising[0]).value, trend(rising[0]).p_order))


def test_the_orders_p_is_that_of_all_permutations_of_scipy() -> None:
    scores, ranks = studies(0.04, 0.02, 1)[0], np.arange(7)
    theirs = scipy_stats.permutation_test(
        (scores.mean(axis=(1, 2)),),
        lambda means, axis: np.abs(np.sum(means * (ranks - 3), axis=axis)),
        permutation_type="pairings",
        alternative="greater",
        n_resamples=np.inf,
    )
    assert trend(scores).p_order == pytest.approx(theirs.pvalue)


def test_the_order_of_many_regions_is_drawn_and_of_few_untested() -> None:
    rng = np.random.default_rng(0)
    rise = np.arange(10.0)[:, None, None] + rng.normal(0, 0.1, (10, 1, 3))
    assert trend(rise).p_order == pytest.approx(1 / 10_001)
    assert trend(rise[:8]).p_order == pytest.approx(2 / 40_320)
    assert trend(rise[:5]).p_order == pytest.approx(2 / 120)
    assert np.isnan(trend(np.zeros((7, 1, 3))).p_order), "nothing rises, in no network: no test"
    few = trend(rise[:4])
    assert np.isnan(few.p_order)
    assert few.p_both == max(few.p, few.p_page) < 0.05, "the networks decide alone"
    assert np.isnan(trend(rise[..., :1]).p_both), "one seed is no sample"


# --- three or four regions -----------------------------------------------------------------------------------


def few(means: object, between: float, n: int, n_seeds: int, spread: float = 0.0) -> list[bool]:
    """Whether each of n studies says rise or fall: regions of these means, scattered by `spread`; seeds by theirs."""
    rng = np.random.default_rng(n_seeds)
    regions = np.reshape(means, (-1, 1, 1)) + rng.normal(0, spread, (n, np.size(means), 1, 1))
    scores = regions + rng.normal(0, between, (n, np.size(means), 1, n_seeds))
    return [trend(study).p_both <= 0.05 for study in scores]


@pytest.mark.parametrize("n_seeds", [3, 5, 12])
def test_three_regions_that_do_not_differ_do_not_rise(n_seeds: int) -> None:
    assert np.mean(few([0, 0, 0], 1, 400, n_seeds)) <= most(0.05, 400)


@pytest.mark.parametrize("n_seeds", [3, 12])
def test_three_regions_in_no_order_rise_or_fall_as_often_as_chance_has_them_so(n_seeds: int) -> None:
    """That is what the verdict's words say; the slope over seeds alone would say it of most such worlds."""
    assert np.mean(few([0, 0, 0], 0.2, 200, n_seeds, spread=1)) <= most(1 / 3, 200)
    assert np.mean(few([1, 0, 2], 0.2, 50, n_seeds)) == 0, "the ends rise, a step between them falls"


def test_a_rise_over_three_regions_is_found() -> None:
    assert np.mean(few([0, 2, 4], 1, 100, 5)) > 0.9
    assert np.mean(few([0, -2, -4], 1, 100, 5)) > 0.9


def test_the_ranks_p_is_that_of_all_orders_within_seeds() -> None:
    """Page's L for three seeds of three regions, all 216 orders counted; SciPy gives the package's."""
    scores = np.array([[0.0, 0.1, 0.2], [0.3, 0.25, 0.21], [0.5, 0.6, 0.205]])[:, None]
    ranks = np.argsort(np.argsort(scores[:, 0], axis=0), axis=0) + 1
    orders = np.array(list(permutations((1, 2, 3)))) @ np.arange(1, 4)
    sums = np.add.outer(np.add.outer(orders, orders), orders)
    assert trend(scores).p_page == pytest.approx(2 * np.mean(sums >= (ranks.T @ np.arange(1, 4)).sum()))
    assert trend(np.concatenate([scores, 1.1 * scores], axis=1)).p_page == pytest.approx(2 / 36), (
        "of two subjects, ranked by their means"
    )


# --- no difference that counts --------------------------------------------------------------------------------


@pytest.mark.parametrize("n_seeds", [3, 6])
def test_equivalence_is_claimed_by_chance_at_most_once_in_twenty(n_seeds: int) -> None:
    rng = np.random.default_rng(n_seeds)
    at_margin, none = (rng.normal(mean, 0.01, (1000, 1, 1, n_seeds)) for mean in (0.03, 0.0))
    assert np.mean([contrast(scores, [1.0], 0.03).equivalent for scores in at_margin]) <= most(0.05, 1000)
    assert np.mean([contrast(scores, [1.0], 0.03).equivalent for scores in none]) > 0.8


def test_equivalent_is_where_the_90_percent_interval_lies_within() -> None:
    for values in np.random.default_rng(0).normal(0.01, 0.02, (50, 4)):
        low, high = scipy_stats.t.interval(0.9, 3, values.mean(), scipy_stats.sem(values))
        assert contrast(values[None, None], [1.0], 0.03).equivalent == (low >= -0.03 and high <= 0.03)
    assert contrast([[[0.2, 0.201]], [[0.2, 0.2]]], PAIR, 0.03).equivalent
    assert not contrast([[[0.2, 0.201]], [[0.1, 0.1]]], PAIR, 0.03).equivalent


def test_a_margin_is_of_the_ends_and_of_a_known_score() -> None:
    flat = table({name: [0.2 + 0.002 * rank, 0.201 + 0.00201 * rank] for rank, name in enumerate(HIERARCHY)})
    assert np.isnan(slope(flat, "score").p_tost), "whose margin nobody has said"
    assert slope(flat, "score", margin=0.013).equivalent
    assert not slope(flat, "score", margin=0.012).equivalent
    accuracies = flat.rename(columns={"score": "accuracy"})
    assert slope(accuracies, "accuracy").equivalent, "0.012 from end to end"
    against = compare(accuracies, "accuracy", ["TO", "V2"], ["V1"])
    assert against["equivalent"].all()
    assert not compare(flat, "score", ["TO"], ["V1"])["equivalent"].any()


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
    assert found["p_holm"].tolist() == pytest.approx([3 * max(found["p"].iloc[0], found["p_order"].iloc[0])] * 3)


@pytest.mark.parametrize("unscored", [HIERARCHY[:1], HIERARCHY])
def test_a_measure_without_a_score_has_no_test_and_takes_none_from_the_others(unscored: tuple[str, ...]) -> None:
    rng = np.random.default_rng(0)
    rise = {name: list(rank + rng.normal(0, 0.3, 3)) for rank, name in enumerate(HIERARCHY)}
    scored = pd.concat([table(rise, measure=name, direction=1) for name in ("robust", "smooth")])
    lacking = table({**rise, **{name: [np.nan, 0.5, np.nan] for name in unscored}}, measure="shape bias", direction=1)
    found = claims(pd.concat([scored, lacking]), HIERARCHY)
    assert found[:2].equals(claims(scored, HIERARCHY))
    assert found.loc[2].drop(["measure", "direction", "n_seeds", "n_subjects"]).isna().all()


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
        ([[0.1, 0.12, 0.1], [0.2, 0.21, 0.2], [0.3, 0.33, 0.3]], ": rises along these 3 regions; whether for their"),
        (
            [[0.3, 0.33, 0.3], [0.2, 0.21, 0.2], [0.1, 0.12, 0.1]],
            "in it, or in its reverse, with p = 0.33 (6 orders)",
        ),
        ([[0.1, 0.3], [0.2, 0.1], [0.3, 0.2]], "these networks cannot tell"),
        ([[0.1, 0.12], [0.2, 0.21], [0.3, 0.33]], ", Page's L p = 0.056: whether it rises, these networks cannot"),
        ([[0.1], [0.2], [0.3]], "+0.100 per region in these networks; one seed is no sample: no test"),
        ([[0.1] * 2, [0.2] * 2, [0.3] * 2], "+0.100 per region in these networks; all of them are alike: no test"),
    ],
)
def test_a_verdict_says_what_the_sample_can(values: list[list[float]], said: str) -> None:
    scores = table({"none": [9.0] * len(values[0]), **dict(zip(("V1", "V4", "TO"), values, strict=True))})
    assert said in verdict(scores, "score")
    assert verdict(scores[scores["condition"] != "V4"], "score") == TOO_FEW
    assert in_order(list(scores["condition"])[::-1]) == ["V1", "V4", "TO"]


@pytest.mark.parametrize(
    ("means", "between", "said"),
    [
        (range(7), 0.1, "of the order p < 0.001: rises along the hierarchy"),
        ((3, 0, 4, 1, 5, 2, 6), 0.01, "whether it rises, the regions' order cannot tell"),
        (range(7), 15, "whether it rises, these networks cannot tell"),
        ((0, 1, 0, -1, 0, 1, 0), 1, "whether it rises, these networks and the regions' order cannot tell"),
        ((0, 1, 0, -1, 0, 1, 0), 0.1, "no rise or fall as large as 0.5 from the first region to the last"),
    ],
)
def test_a_verdict_says_which_question_has_no_answer(means: Iterable[float], between: float, said: str) -> None:
    seeds = between * np.outer(np.arange(7) - 3, [-1, 0.1, 1]) / 6
    scores = table(dict(zip(HIERARCHY, np.array(list(means), float)[:, None] + seeds, strict=True)))
    assert verdict(scores, "score", margin=0.5).endswith(said)


def test_a_network_without_a_score_leaves_no_trend() -> None:
    scores = table({"V1": [0.1, np.nan], "V2": [0.2, 0.3], "TO": [0.3, 0.5], "none": [0.1, 0.1]})
    assert verdict(scores, "score") == UNSCORED
    assert verdict(scores.fillna(0.1), "score").startswith("+0.1")


def test_subjects_are_named_where_they_are_the_sample() -> None:
    one = table({"V1": [0.1, 0.12], "V4": [0.2, 0.21], "TO": [0.3, 0.33]}, subject="a")
    said = verdict(pd.concat([one, one.assign(subject="b", score=1.1 * one["score"])]), "score")
    assert "2 subjects, 2 seeds" in said


def test_every_budget_has_its_verdict() -> None:
    values = {"V1": [0.1, 0.12, 0.1], "V4": [0.2, 0.21, 0.2], "TO": [0.3, 0.33, 0.3]}
    rows = table(values).rename(columns={"score": "accuracy"})
    both = pd.concat([rows.assign(epsilon=0.0), rows.assign(epsilon=4 / 255, accuracy=-rows["accuracy"])])
    assert {epsilon: words.split(": ")[1].split(";")[0] for epsilon, words in verdicts(both).items()} == {
        0.0: "rises along these 3 regions",
        4 / 255: "falls along these 3 regions",
    }
