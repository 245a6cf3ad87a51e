"""Rival explanations of a gain: planted worlds in which the answer to each is known."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest

from nbtools.errors import InputError
from nbtools.metrics import holm, rivals, rivals_verdict
from nbtools.metrics.studies.rivals import QUALITY
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
    tried = table[table["n_seeds"] > 0]
    return dict(zip(tried["control"], tried["finding"], strict=True))


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
    said = found(rivals(world({"none": 0.3, "TO": 0.3, "none-lowpass-8": 0.1}), EPSILON, "TO"))
    assert said == {"none": "not there", "none-lowpass-8": "cannot be told"}
    said = found(rivals(world({"none": 0.3, "TO": 0.33, "none-lowpass-8": 0.1}, 0.06), EPSILON, "TO"))
    assert said == {"none": "unclear", "none-lowpass-8": "cannot be told"}
    with pytest.raises(InputError, match="of no region as it is"):
        rivals(world({"none": 0.3, "V1": 0.3}), EPSILON, "TO")


@pytest.mark.parametrize("gain", [0.0, 0.3])
def test_controls_that_are_as_good_are_rarely_told_apart(gain: float) -> None:
    """What is not there is found in at most 5 of 100 worlds (here: of 150, 3.3 sd), with a gain and without one."""
    rng, wrong, there = np.random.default_rng(1), 0, 0
    alike = dict.fromkeys(("TO", "TO-shuffle", "labels-guide", "ce-weight"), 0.3 + gain)
    for _ in range(150):
        said = set(found(rivals(world({"none": 0.3, **alike}, 0.05, rng), EPSILON, "TO")).values())
        there += "there" in said
        wrong += "does not explain it" in said or (gain == 0 and "there" in said)
    assert wrong / 150 < 0.05 + 3.3 * np.sqrt(0.05 * 0.95 / 150)
    assert gain == 0 or there / 150 > 0.95


def test_the_gain_is_tested_alone_and_explanations_are_corrected_among_themselves() -> None:
    table = rivals(world({"none": 0.2, "TO": 0.3, "TO-shuffle": 0.2, "labels-guide": 0.25}, 0.02), EPSILON, "TO")
    gain, others = table.iloc[0], table.iloc[1:3]
    assert gain["p_holm"] == gain["p"]
    np.testing.assert_allclose(others["p_holm"], holm(others["p"]))


def test_at_equal_predictor_r_another_region_may_guide_as_well() -> None:
    networks = world({"none": 0.2, "TO": 0.4})
    for v1, finding in ((0.399, "explains it"), (0.3, "does not explain it")):
        at = {"V1, equal predictor r": v1, "TO": 0.4}
        rows = [(name, s, value + (0.01 + 0.002 * (name == "TO")) * s) for name, value in at.items() for s in SEEDS]
        equal = pd.DataFrame(rows, columns=["condition", "seed", "accuracy"])
        assert found(rivals(networks, EPSILON, "TO", elsewhere={QUALITY: equal}))["V1, equal predictor r"] == finding


def test_an_explanation_that_was_not_tried_is_listed_so() -> None:
    table = rivals(world({"none": 0.2, "TO": 0.4, "TO-shuffle": 0.2}), EPSILON, "TO")
    left = table[table["finding"] == "not tried"]
    assert set(table["explanation"]) - set(left["explanation"]) == {"the gain: no guide", "any guide"}
    assert {"labels of more images", "low spatial frequency", "smoothness", "predictor quality"} < set(
        left["explanation"]
    )
    assert left[["difference", "ci_low", "p_holm"]].isna().all(axis=None)
    drawn = figure(table, "TO", title="planted")
    assert len(drawn.layout.yaxis.categoryarray) == len(table) == len(drawn.layout.annotations)


def test_a_difference_within_the_margin_is_none_however_sure() -> None:
    table = rivals(world({"none": 0.2, "TO": 0.41, "labels-guide": 0.40}, 1e-4), EPSILON, "TO").set_index("control")
    assert table.loc["labels-guide", "p_holm"] < 0.05
    assert table.loc["labels-guide", "finding"] == "explains it"


def test_gradients_are_those_of_all_networks_that_are_read_off() -> None:
    networks = world({**FLAT, "TO": 0.4, "TO-shuffle": 0.2})
    gradients = smooth({"none": 100.0, "decay-0.01": 50.0, "decay-0.1": 10.0, "TO": 10.0})
    row = rivals(networks, EPSILON, "TO", gradients).set_index("explanation").loc["smoothness"]
    as_text = rivals(networks, EPSILON, "TO", gradients.astype({"seed": str})).set_index("explanation")
    pd.testing.assert_series_equal(as_text.loc["smoothness"], row)
    decay = gradients["condition"].eq("decay-0.1") & gradients["seed"].eq(1)
    for lacking in (
        gradients[gradients["condition"] != "TO"],
        gradients[~decay],
        gradients.assign(seed=gradients["seed"] + 90),
    ):
        with pytest.raises(InputError, match="without a gradient"):
            rivals(networks, EPSILON, "TO", lacking)
    for wrong in (gradients.assign(score="high"), pd.concat([gradients, gradients])):
        with pytest.raises(InputError):
            rivals(networks, EPSILON, "TO", wrong)


def test_what_is_said_names_each_finding_and_its_controls() -> None:
    said = rivals_verdict(rivals(world({"none": 0.2, "TO": 0.4, "TO-shuffle": 0.2}), EPSILON, "TO"), "TO")
    assert said.startswith("TO − none +0.2")
    assert "the gain is there. Does not explain it: any guide (TO-shuffle). Not tried: labels of more images" in said
    alone = world({"none": 0.2, "TO": 0.4})
    assert "no test): the gain is unclear" in rivals_verdict(rivals(alone[alone["seed"] == 0], EPSILON, "TO"), "TO")


def test_where_nobody_stands_nothing_is_told() -> None:
    nobody = world({"none": 0.2, "TO": 0.2, "TO-shuffle": 0.2})
    nobody.loc[nobody["epsilon"] > 0, "accuracy"] = 0.0
    assert found(rivals(nobody, EPSILON, "TO")) == {"none": "unclear", "TO-shuffle": "cannot be told"}


def test_a_gain_of_hardened_guides_has_other_controls() -> None:
    with pytest.raises(InputError, match="of no region as it is"):
        rivals(world({"none": 0.2, "TO": 0.4, "TO-at-4": 0.5}), EPSILON, "TO-at-4")
