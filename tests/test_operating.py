"""How often tests are right, counted on worlds whose power is known: planted scores, orders of regions, small sets."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from nbtools.conditions import HIERARCHY
from nbtools.errors import InputError
from nbtools.metrics.samples.verdicts import verdict
from nbtools.metrics.stats import share
from nbtools.metrics.studies.operating import FINDINGS, Size, draws, findings, rates

BUDGET = 4 / 255
FIVE = HIERARCHY[:5]


def world(
    rise: float = 0.0,
    *,
    seeds: int = 4,
    subjects: tuple[int, ...] = (1,),
    noise: float = 0.002,
    offsets: tuple[float, ...] = (0.0,) * 5,
) -> pd.DataFrame:
    """Accuracies of networks of five regions and a control: seeds differ by much, regions of a seed by the rise."""
    rng, rows = np.random.default_rng(0), []
    for subject in subjects:
        for seed in range(seeds):
            start = 0.4 + rng.normal(0, 0.05)
            means = {"none": 0.0} | {roi: 0.1 + rise * i + offsets[i] for i, roi in enumerate(FIVE)}
            rows += [(name, subject, seed, BUDGET, start + mean + rng.normal(0, noise)) for name, mean in means.items()]
    return pd.DataFrame(rows, columns=["condition", "subject", "seed", "epsilon", "accuracy"])


def counted(table: pd.DataFrame, claim: str, sets: str = "all") -> dict[str, int]:
    row = table[(table["claim"] == claim) & (table["sets"] == sets)].iloc[0]
    return {finding: int(row[finding]) for finding in FINDINGS if row[finding]}


# --- what is counted ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rise", "finding"), [(0.02, "rises"), (-0.02, "falls")])
def test_a_plain_rise_or_fall_is_found_in_every_set(rise: float, finding: str) -> None:
    table = rates(world(rise), HIERARCHY, Size(3))
    assert counted(table, "accuracy at 4/255") == {finding: 4}, "sets of three among four seeds"
    assert counted(table, "accuracy at 4/255", "apart") == {finding: 1}
    assert counted(table, "accuracy at 4/255, one of 1 measures") == {finding: 4}
    assert counted(table, f"{FIVE[-1]} − none at 4/255") == {"rises": 4}


def test_each_set_is_given_to_the_packages_own_test() -> None:
    """The count is that of `verdict` over every set, one by one."""
    scores = world(0.003, seeds=5, noise=0.02)
    said = [verdict(scores[scores["seed"].isin(some)], "accuracy") for some in combinations(range(5), 3)]
    expected = Counter("rises" if "rises along" in one else "unclear" for one in said)
    assert len(expected) == 2, "some sets tell, some do not"
    found = counted(rates(scores, HIERARCHY, Size(3)), "accuracy at 4/255")
    assert sum(found.values()) == 10
    assert found["rises"] == expected["rises"]


def test_other_measures_join_the_claims() -> None:
    scores = world(0.02)
    others = scores.assign(measure="smoothness", score=-scores["accuracy"], direction=-1)
    found = findings(scores, HIERARCHY, others)
    assert found["smoothness, one of 2 measures"] == "rises", "it falls, as the paper says"


def test_one_network_of_each_finds_nothing() -> None:
    assert set(findings(world(0.02, seeds=1), HIERARCHY).values()) == {"unclear"}


# --- which sets ---------------------------------------------------------------------------------------------


def test_all_sets_where_they_are_few_and_a_sample_where_they_are_many() -> None:
    every, apart = draws([1], range(6), Size(3), FIVE, exchangeable=False, n=20)
    assert {draw.seeds for draw in every} == set(combinations(range(6), 3))
    assert [draw.seeds for draw in apart] == [(0, 1, 2), (3, 4, 5)]
    some, _ = draws([1], range(6), Size(3), FIVE, exchangeable=False, n=19)
    assert len(set(some)) == 19
    assert some == draws([1], range(6), Size(3), FIVE, exchangeable=False, n=19)[0], "the same each time"


def test_several_subjects_are_taken_together() -> None:
    every, apart = draws([1, 2, 3], range(4), Size(2, 2), FIVE, exchangeable=False, n=100)
    assert len(every) == 3 * 6
    assert [(draw.subjects, draw.seeds) for draw in apart] == [((1, 2), (0, 1)), ((1, 2), (2, 3))]
    own = every[0].of(world(subjects=(1, 2, 3)), FIVE)
    assert set(own["subject"]) == {1, 2}
    assert set(own["seed"]) == {0, 1}


@pytest.mark.parametrize("size", [Size(5), Size(2, 2)])
def test_fewer_networks_than_a_set_has_are_refused(size: Size) -> None:
    with pytest.raises(InputError, match="too few networks"):
        rates(world(), HIERARCHY, size)


# --- regions that are alike ---------------------------------------------------------------------------------


def test_exchanged_regions_take_all_their_networks_along_and_controls_stay() -> None:
    scores = world(subjects=(1, 2))
    every, _ = draws([1, 2], range(4), Size(3, 2), FIVE, exchangeable=True, n=50)
    one = next(draw for draw in every if draw.orders[0] != FIVE)
    own = one.of(scores, FIVE).set_index(["condition", "subject", "seed"])["accuracy"]
    before = scores.set_index(["condition", "subject", "seed"])["accuracy"]
    for subject, order in zip(one.subjects, one.orders, strict=True):
        for rank, origin in zip((*FIVE, "none"), (*order, "none"), strict=True):
            assert [own[rank, subject, seed] for seed in one.seeds] == [
                before[origin, subject, seed] for seed in one.seeds
            ]


def test_all_orders_of_few_regions_are_taken() -> None:
    every, _ = draws([1], range(3), Size(3), FIVE[:3], exchangeable=True, n=6)
    assert len({draw.orders for draw in every}) == 6


def test_in_a_null_world_rises_and_falls_are_as_frequent() -> None:
    """Regions that differ in no order, by much: what is said, is said by chance, of either sign."""
    scores = world(offsets=(0.05, -0.05, 0.03, -0.02, 0.01), seeds=3)
    every = rates(scores[scores["condition"] != FIVE[-1]], FIVE, Size(3), exchangeable=True, n=24)
    row = every[(every["claim"] == "accuracy at 4/255") & (every["sets"] == "all")].iloc[0]
    assert row["n_sets"] == 24, "all orders of four regions"
    assert row["rises"] == row["falls"]
    assert row["n_apart"] == 3, "one set of three seeds, three orthogonal contrasts of four regions"


# --- intervals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 3, 10])
def test_the_interval_is_that_of_clopper_and_pearson(n: int) -> None:
    theirs = binomtest(n, 10).proportion_ci(method="exact")
    assert share(n, 10, 10) == pytest.approx((n / 10, theirs.low, theirs.high))
    wide = share(30 * n, 300, 10)
    assert wide == pytest.approx(share(n, 10, 10)), "300 sets that amount to ten"
