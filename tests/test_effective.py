"""Effective robustness on planted lines: the right value, its interval's coverage, no false alarm."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from scipy.stats import t

from nbtools import plots
from nbtools.errors import InputError
from nbtools.metrics.decisions.effective import accuracy_lines, accuracy_pairs, effective_robustness

MANY = 10**9  # images: accuracies as they are planted
PLAIN = ("start", "none", "ce-weight", "decay-0.01", "decay-0.03", "decay-0.1", "decay-0.3")
SLOPE, OFFSET = 0.8, -1.5
EXACT = 1e-4


def networks(
    delta: float, sd: float, draws: int = 1, shift: float = 0.4, seed: int = 0, *, own: float = 0.0, plain: int = 7
) -> pd.DataFrame:
    """Draws of 3 networks a condition about a line: unguided ones, and guided ones `delta` above it and to its right.

    Conditions lie off the line by an SD of their `own`, which their networks share; networks by one of `sd` more.
    """
    rng, parts = np.random.default_rng(seed), []
    for i, name in enumerate((*PLAIN[:plain], "TO")):
        x = 1.2 + 0.15 * i + shift * (name == "TO") + rng.normal(0, 0.1, (draws, 3))
        y = OFFSET + SLOPE * x + delta * (name == "TO") + rng.normal(0, own or EXACT, (draws, 1))
        y = y + rng.normal(0, sd, x.shape)
        of = {"images": np.arange(draws).repeat(3), "condition": name, "seed": np.tile(np.arange(3), draws)}
        parts.append(pd.DataFrame({**of, "clean": expit(x).ravel(), "accuracy": expit(y).ravel()}))
    return pd.concat(parts, ignore_index=True).assign(n_clean=MANY, n=MANY)


def test_the_line_and_the_gain_are_those_planted() -> None:
    pairs = networks(0.7, sd=1e-4)
    line = accuracy_lines(pairs, PLAIN).iloc[0]
    assert (line.slope, line.intercept) == pytest.approx((SLOPE, OFFSET), abs=1e-3)
    row = effective_robustness(pairs, PLAIN).iloc[0]
    x = logit(pairs[pairs.condition == "TO"].clean).mean()
    expected = expit(OFFSET + SLOPE * x + 0.7) - expit(OFFSET + SLOPE * x)
    assert row.effective == pytest.approx(expected, abs=1e-3)
    assert row.ci_low < row.effective < row.ci_high
    assert row.p < 1e-6
    assert row.n_seeds == 3


@pytest.mark.parametrize("own", [0.0, 0.2])
@pytest.mark.parametrize(("plain", "shift"), [(7, 0.4), (7, 2.0), (3, 0.4)])
def test_intervals_cover_and_there_is_no_false_alarm(plain: int, shift: float, own: float) -> None:
    """Also where a condition's networks lie off the line together: as a guide's do, with or without an effect."""
    how, draws = {"sd": 0.1, "shift": shift, "own": own, "plain": plain}, 300
    found = effective_robustness(networks(0.5, draws=draws, **how), PLAIN)
    above, at = (logit(found.accuracy), found.accuracy)
    low, high = (above - logit(at - found[bound]) for bound in ("ci_low", "ci_high"))
    assert np.mean((low <= 0.5) & (high >= 0.5)) == pytest.approx(0.95, abs=0.04)
    null = effective_robustness(networks(0.0, draws=draws, seed=1, **how), PLAIN)
    assert np.mean(null.p <= 0.05) == pytest.approx(0.05, abs=0.04)
    assert ((null.p <= 0.05) == ((null.ci_low > 0) | (null.ci_high < 0))).all()
    assert np.mean(null.p_holm <= 0.05) < 0.01


def test_a_condition_is_tested_as_by_a_regression_with_an_indicator() -> None:
    pairs = networks(0.4, sd=0.2)
    means = pairs.assign(x=logit(pairs.clean), y=logit(pairs.accuracy)).groupby("condition")[["x", "y"]].mean()
    design = np.column_stack([np.ones(8), means.x, means.index == "TO"])
    weights, squares, *_ = np.linalg.lstsq(design, means.y, rcond=None)
    error = np.sqrt(squares[0] / 5 * np.linalg.inv(design.T @ design)[2, 2])
    assert effective_robustness(pairs, PLAIN).p[0] == pytest.approx(2 * t.sf(abs(weights[2]) / error, 5), rel=1e-4)


def test_there_is_no_line_through_one_or_equal_conditions_and_no_test_of_two() -> None:
    pairs = networks(0.5, sd=0.2)
    equal = pairs.assign(clean=pairs.clean.where(pairs.condition == "TO", 0.8))
    for none in (pairs[pairs.condition.isin(["none", "TO"])], equal):
        found = effective_robustness(none, PLAIN)
        assert found[["predicted", "effective", "ci_low", "ci_high", "p", "p_holm"]].isna().all(axis=None)
        assert found.accuracy.notna().all()
    two = effective_robustness(networks(0.5, sd=0.2, plain=2), PLAIN)
    assert two.effective.notna().all()
    assert two[["ci_low", "ci_high", "p", "p_holm"]].isna().all(axis=None)
    flat = effective_robustness(pairs.assign(accuracy=0.1), PLAIN)
    assert flat.effective.abs().max() < 1e-9
    assert flat.p.isna().all(), "networks that do not differ leave nothing to judge a difference by"


def decisions(rights: dict[str, dict[str, np.ndarray]], other: Callable[[int], str]) -> pd.DataFrame:
    """One network a condition; image i of class i % 4; of other images the first are there, named by `other`."""
    rows = [
        (other(i) if kind != "clean" else f"{i}", i % 4, i % 4 if right else 9, name, 0, kind)
        for name, sets in rights.items()
        for kind, each in sets.items()
        for i, right in enumerate(each)
    ]
    return pd.DataFrame(rows, columns=["image_id", "label", "prediction", "condition", "seed", "images"])


def test_clean_accuracy_is_that_of_the_images_that_correspond() -> None:
    first_right = np.arange(40) < 10
    rights = {name: {"clean": first_right, "edges": np.arange(10) < 5} for name in ("none", "TO")}
    paired = accuracy_pairs(decisions(rights, str))
    assert paired.paired.all()
    assert paired[["clean", "n_clean", "accuracy", "n"]].values.tolist() == [[1.0, 10, 0.5, 10]] * 2
    others = decisions(rights, lambda i: f"sketch/{i}")
    others = others[(others.images == "clean") | (others.label < 2)]
    unpaired = accuracy_pairs(others)
    assert not unpaired.paired.any()
    assert set(unpaired.n_clean) == {20}, "of the two classes that are there"
    assert set(unpaired.clean) == {6 / 20}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda table: table[table.images != "clean"], "clean images are missing"),
        (lambda table: table[table.images == "clean"], "no other images"),
        (lambda table: table.iloc[1:], "1 images that not all networks"),
        (lambda table: pd.concat([table, table.tail(2)]), "2 of them twice"),
        (lambda table: table.drop(columns="images"), "without images"),
        (lambda table: table.assign(label=table.label.where(table.images == "clean", 7)), "4 images with two labels"),
        (lambda table: table.assign(label=table.label.where(table.condition == "TO", 7)), "8 images with two labels"),
    ],
)
def test_tables_that_are_none(change: Callable[[pd.DataFrame], pd.DataFrame], says: str) -> None:
    rights = {name: {"clean": np.ones(4), "edges": np.ones(4)} for name in ("none", "TO")}
    with pytest.raises(InputError, match=says):
        accuracy_pairs(change(decisions(rights, str)))


def test_there_must_be_networks_of_both_kinds() -> None:
    pairs = networks(0.5, sd=0.2)
    with pytest.raises(InputError, match="no network is without a guide"):
        effective_robustness(pairs, ["labels"])
    assert accuracy_lines(pairs, "none")["n"].item() == 1
    with pytest.raises(InputError, match="no network is without a guide"):
        effective_robustness(pairs, "labels")
    with pytest.raises(InputError, match="no network is guided"):
        effective_robustness(pairs, [*PLAIN, "TO"])


def test_figures_show_the_numbers() -> None:
    pairs = pd.concat([networks(0.5, sd=0.2, seed=i).assign(images=name) for i, name in enumerate(("edges", "R"))])
    table, lines = effective_robustness(pairs, PLAIN), accuracy_lines(pairs, PLAIN)
    fig = plots.accuracy_lines(pairs, lines, title="t")
    drawn = [trace for trace in fig.data if trace.name == "TO"]
    assert [len(trace.x) for trace in drawn] == [3, 3]
    at = pairs[(pairs.images == "edges") & (pairs.condition == "TO")]
    np.testing.assert_allclose(drawn[0].y, logit(at.accuracy), atol=1e-6)
    line = next(trace for trace in fig.data if trace.name == "line without a guide")
    assert np.diff(line.y) / np.diff(line.x) == pytest.approx(lines.slope[0])
    assert [note.text for note in fig.layout.annotations] == ["edges", "R"]
    (bars,) = plots.effective_robustness(table, title="t").data
    np.testing.assert_allclose(bars.y, 100 * table.effective)
    np.testing.assert_allclose(bars.y + bars.error_y.array, 100 * table.ci_high)
    with pytest.raises(InputError, match="cannot be drawn"):
        plots.accuracy_lines(pairs.head(0), lines, title="t")
    with pytest.raises(InputError, match="twice"):
        plots.effective_robustness(pd.concat([table, table]), title="t")
