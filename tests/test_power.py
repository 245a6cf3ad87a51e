"""Power: the share of simulated studies that find a planted effect, Cohen's tables, and spreads that were planted."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nbtools.errors import InputError
from nbtools.metrics import power as power_of, sample_needed, smallest_effect, spread
from nbtools.metrics.samples.contrasts import contrast, slope
from nbtools.metrics.samples.power import USUAL


@pytest.mark.parametrize(
    ("n", "effect", "level"), [(3, 0.05, 0.05), (6, 0.05, 0.05), (5, 0.12, 0.05 / 28), (4, 0, 0.05)]
)
def test_power_is_the_share_of_studies_that_find_the_effect(n: int, effect: float, level: float) -> None:
    draws = np.random.default_rng(n).normal(effect, 0.035, (1000, 1, 1, n))
    found = sum(contrast(one, [1.0]).p <= level for one in draws)
    assert stats.binomtest(found, 1000, power_of(effect, 0.035, n, level)).pvalue > 0.01


def test_power_is_that_of_cohens_tables() -> None:
    """Two-sided paired t at .05 and 80 %: 34 pairs for d = .5, 199 for .2, 15 for .8 (G*Power 3.1)."""
    assert [sample_needed(d, 1) for d in (0.2, 0.5, 0.8)] == [199, 34, 15]
    assert power_of(0.5, 1, 34) == pytest.approx(0.8078, abs=1e-4)


@pytest.mark.parametrize("n", [2, 3, 13, 200])
@pytest.mark.parametrize("level", [0.05, 0.05 / 28])
def test_the_smallest_effect_has_the_usual_power(n: int, level: float) -> None:
    effect = smallest_effect(0.035, n, level)
    assert power_of(effect, 0.035, n, level) == pytest.approx(USUAL)
    assert smallest_effect(0.07, n, level) == pytest.approx(2 * effect), "in the spread's unit"
    if n < 20:
        assert sample_needed(1.0001 * effect, 0.035, level) == n


def networks(n_seeds: int, n_subjects: int, sd: float) -> pd.DataFrame:
    """Scores of V1, V4, TO and none: each seed has a slope of its own, .1 ± sd, each subject a general level."""
    rng, rows = np.random.default_rng(0), []
    for subject, seed in product(range(n_subjects), range(n_seeds)):
        tilt, level = rng.normal(0.1, sd), rng.normal(0, 5)
        scores = {"none": level, **{name: level + tilt * rank for rank, name in enumerate(("V1", "V4", "TO"))}}
        rows += [{"condition": c, "seed": seed, "subject": subject, "score": s} for c, s in scores.items()]
    return pd.DataFrame(rows)


def test_spreads_are_those_of_the_contrasts() -> None:
    scores, regions = networks(400, 1, 0.02), ["V1", "V4", "TO"]
    found = spread(scores, "score", regions, ["none"])
    assert found is not None
    assert (found.n, found.slope) == (400, pytest.approx(0.02, rel=0.1))
    assert found.difference == pytest.approx(found.slope * np.sqrt((0 + 1 + 4) / 3)), "tilt × rank"
    effect = slope(scores, "score", regions)
    assert found.slope == pytest.approx(effect.value / effect.d)
    of_subjects = spread(networks(2, 30, 0.02), "score", regions, ["none"], over="subject")
    assert of_subjects is not None
    theirs = slope(networks(2, 30, 0.02), "score", regions)
    assert (of_subjects.n, of_subjects.slope) == (30, pytest.approx(theirs.value / theirs.d))


def test_a_seed_that_lacks_a_network_says_nothing() -> None:
    scores = networks(3, 1, 0.02)
    some = scores[~((scores.seed == 1) & (scores.condition == "none"))]
    found = spread(some, "score", ["V1", "TO"], ["none"])
    assert found is not None
    assert found.n == 2
    assert np.isnan(found.slope), "two regions"
    assert spread(scores[scores.seed == 0], "score", ["V1", "TO"], ["none"]) is None
    assert spread(scores, "score", ["V1", "LO"], ["none"]) is None


def test_what_has_no_power_is_refused() -> None:
    for call in (
        lambda: power_of(0.1, 0.0, 3),
        lambda: power_of(0.1, 0.1, 1),
        lambda: smallest_effect(0.1, 1),
        lambda: smallest_effect(0.1, 3, level=0.9),
        lambda: sample_needed(0.0, 0.1),
        lambda: spread(networks(2, 1, 0.1).drop(columns="seed"), "score", ["V1"], ["none"]),
        lambda: spread(pd.concat([networks(2, 1, 0.1)] * 2), "score", ["V1"], ["none"]),
    ):
        with pytest.raises(InputError):
            call()
