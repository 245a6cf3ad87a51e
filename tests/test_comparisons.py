"""Differences between conditions: planted ones are found, exact values are hit, what explains them is taken out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from nbtools.conditions import HIERARCHY
from nbtools.errors import InputError
from nbtools.metrics.comparisons import claims, compare, robust_at_clean

EPSILON = 4 / 255


def decisions(planted: dict[str, tuple[np.ndarray, np.ndarray]], seed: int = 0, **columns: object) -> pd.DataFrame:
    """Decisions of conditions from which images are right clean and attacked: each (n_images,) of bool."""
    rows = []
    for condition, answers in planted.items():
        for epsilon, right in zip((0.0, EPSILON), answers, strict=True):
            rows += [
                {"image_id": str(i), "label": 0, "epsilon": epsilon, "prediction": int(not ok), "margin": 0.0}
                | {"condition": condition, "seed": seed, **columns}
                for i, ok in enumerate(right)
            ]
    return pd.DataFrame(rows)


def first(n: int, of: int = 100) -> np.ndarray:
    return np.arange(of) < n


def test_a_planted_difference_is_found_exactly():
    table = compare(
        decisions({"TO": (first(90), first(60)), "none": (first(90), first(30))}), EPSILON, ["TO"], ["none"]
    )
    row = table.iloc[0]
    assert row["difference"] == pytest.approx(0.3)
    assert row["ci_low"] < 0.3 < row["ci_high"]
    assert row["ci_high"] - row["ci_low"] == pytest.approx(2 * 1.96 * np.sqrt(0.3 * 0.7 / 100), rel=0.15)
    assert row["p"] < 0.001
    assert row["n_images"] == 100


def test_p_is_the_sign_test_where_all_differences_are_of_one_size():
    gain, loss = 14, 5
    robust = np.r_[np.ones(gain), np.zeros(loss), np.ones(20)].astype(bool)
    control = np.r_[np.zeros(gain), np.ones(loss), np.ones(20)].astype(bool)
    clean = np.ones(len(robust), bool)
    table = compare(decisions({"TO": (clean, robust), "none": (clean, control)}), EPSILON, ["TO"], ["none"])
    exact = scipy_stats.binomtest(gain, gain + loss).pvalue
    assert table["p"][0] == pytest.approx(exact, abs=0.01)


def test_equal_networks_do_not_differ():
    same = (first(90), first(40))
    row = compare(decisions({"TO": same, "none": same}), EPSILON, ["TO"], ["none"]).iloc[0]
    assert (row["difference"], row["ci_low"], row["ci_high"], row["p"]) == (0, 0, 0, 1)


def test_matching_takes_out_what_clean_accuracy_explains():
    # Both stand on exactly the images they get right: all of TO's lead is clean accuracy.
    table = decisions({"TO": (first(90), first(90)), "none": (first(60), first(60))})
    assert compare(table, EPSILON, ["TO"], ["none"])["difference"][0] == pytest.approx(0.3)
    matched = compare(table, EPSILON, ["TO"], ["none"], matched=True).iloc[0]
    assert (matched["difference"], matched["n_images"]) == (0, 60)


def test_all_pairs_are_corrected_together():
    rng = np.random.default_rng(0)
    planted = {name: (np.ones(100, bool), rng.random(100) < 0.5) for name in ("V1", "TO", "none", "random")}
    table = compare(decisions(planted), EPSILON, ["V1", "TO"], ["none", "random"])
    assert list(zip(table["condition"], table["control"], strict=True)) == [
        ("V1", "none"),
        ("V1", "random"),
        ("TO", "none"),
        ("TO", "random"),
    ]
    assert (table["p_holm"] >= table["p"]).all()
    assert table["p_holm"].min() == pytest.approx(min(4 * table["p"].min(), 1))


def test_no_common_image_gives_no_number():
    table = decisions({"TO": (first(50), first(50)), "none": (~first(50), ~first(50))})
    with pytest.raises(InputError, match="no image in common"):
        compare(table, EPSILON, ["TO"], ["none"], matched=True)


@pytest.mark.parametrize(("conditions", "controls", "said"), [([], ["TO"], "condition"), (["TO"], [], "control")])
@pytest.mark.parametrize("matched", [False, True])
def test_nothing_to_compare_is_said(conditions: list[str], controls: list[str], said: str, matched: bool):
    with pytest.raises(InputError, match=f"no {said} to compare"):
        compare(decisions({"TO": (first(50), first(50))}), EPSILON, conditions, controls, matched=matched)


# The α curve


def curve(*points: tuple[float, int, int]) -> pd.DataFrame:
    """TO's decisions for (α, images right clean, images right attacked) of 1,000."""
    parts = [decisions({"TO": (first(c, 1000), first(r, 1000))}, alpha=alpha) for alpha, c, r in points]
    return pd.concat(parts, ignore_index=True)


def test_robust_accuracy_is_read_off_the_curve():
    table = robust_at_clean(curve((0.3, 900, 100), (0.6, 800, 300), (0.9, 600, 350)), EPSILON, 0.85)
    row = table.iloc[0]
    assert row["reached"]
    assert row["accuracy"] == pytest.approx(0.2)
    assert row["ci_low"] < 0.2 < row["ci_high"]
    assert row["n_alphas"] == 3


def test_beyond_the_curve_there_is_no_number():
    row = robust_at_clean(curve((0.3, 900, 100), (0.6, 800, 300)), EPSILON, 0.95).iloc[0]
    assert not row["reached"]
    assert row[["accuracy", "ci_low", "ci_high"]].isna().all()


def test_a_curve_needs_its_alphas():
    with pytest.raises(InputError, match="without alpha"):
        robust_at_clean(curve((0.3, 900, 100)).drop(columns="alpha"), EPSILON, 0.85)


@pytest.mark.parametrize("clean", [0, 1, 85])
def test_clean_accuracy_is_a_fraction(clean: float):
    with pytest.raises(InputError, match=r"0\.85"):
        robust_at_clean(curve((0.3, 900, 100)), EPSILON, clean)


# --- many measures along the hierarchy ----------------------------------------------------------------------


def scored(measure: str, values: list[float], direction: int = 1) -> pd.DataFrame:
    names = list(HIERARCHY)[: len(values)]
    return pd.DataFrame({"measure": measure, "condition": names, "score": values, "direction": direction})


def test_claims_go_by_the_direction_the_paper_gives_them():
    rising, falling = np.arange(7.0).tolist(), (-np.arange(7.0)).tolist()
    scores = pd.concat([scored("robust", rising), scored("radius", falling, -1), scored("other way", rising, -1)])
    none = scored("robust", [99.0]).assign(condition="none")  # a control is no part of the trend
    table = claims(pd.concat([scores, none]), HIERARCHY).set_index("measure")
    assert table["rho"].tolist() == pytest.approx([1, 1, -1])
    assert table["p"].tolist() == pytest.approx([1 / 5040, 1 / 5040, 1])
    assert table["p_holm"].tolist() == pytest.approx([3 / 5040, 3 / 5040, 1])


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (scored("robust", [1, 2, 3, 4, 5, 6]), "robust"),  # TO is missing
        (pd.concat([scored("robust", [1.0] * 7), scored("robust", [1.0] * 7)]), "robust"),
        (scored("robust", [1.0] * 7, direction=0), "robust"),
        (scored("robust", [1, 2, 3, 4, 5, 6, np.nan]), "finite"),
        (scored("robust", [1.0] * 7).drop(columns="direction"), "without direction"),
        (scored("robust", [1.0] * 7).iloc[:0], "0 rows"),
    ],
)
def test_claims_refuse_scores_that_do_not_fit(scores: pd.DataFrame, said: str):
    with pytest.raises(InputError, match=said):
        claims(scores, HIERARCHY)
