"""Conditions at equal r: a hierarchy of noise alone vanishes, a true one stays."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp

from nbtools.conditions import UNDOSED
from nbtools.errors import InputError
from nbtools.metrics.samples.contrasts import compare, slope
from nbtools.metrics.samples.verdicts import verdict
from nbtools.metrics.studies.dose import at_equal, explained_r, monotone, read_off

REGIONS = ("V1", "V2", "V4", "TO")
LEVELS = {"images": (0.1, 0.3, 1.0), "noise": (0.0, 1.0, 4.0)}
CEILINGS = np.linspace(0.2, 0.45, 4)  # share of a voxel's variance that is signal


def doses(effect: float, rng: np.random.Generator, n_seeds: int = 4, dose: str = "images") -> pd.DataFrame:
    """Networks whose robustness rises with how well their guide knows its region, and by `effect` a region.

    That is q = 1 / √(1 + c · noise / (n · signal)) after n images: noisy regions need more of them. Planted noise is in
    units of all that a voxel varies (`data.plant_noise`).
    """
    rows = []
    for seed, start in enumerate(rng.normal(0, 0.05, n_seeds)):
        for rank, (region, ceiling) in enumerate(zip(REGIONS, CEILINGS, strict=True)):
            for level in LEVELS[dose]:
                planted, share = (level**2, 1.0) if dose == "noise" else (0.0, level)
                q = 1 / np.sqrt(1 + 0.1 * (1 - ceiling + planted) / (share * ceiling))
                accuracy = 0.1 + 0.4 * q + effect * rank + start + rng.normal(0, 0.01)
                r = q + rng.normal(0, 0.005)
                rows.append((region, seed, level, r, r * np.sqrt(ceiling), accuracy))
    return pd.DataFrame(rows, columns=["condition", "seed", "dose", "r", "measured_r", "accuracy"])


def test_scores_are_read_at_equal_r_along_straight_lines() -> None:
    table = pd.DataFrame(
        {"dose": [1.0, 0.5, 1.0, 0.5], "r": [0.6, 0.4, 0.8, 0.5], "condition": ["V1"] * 2 + ["TO"] * 2}
    )
    table["accuracy"] = table["r"] + 0.1 * (table["condition"] == "TO")
    found = at_equal(table, "accuracy", "r", "dose").set_index("condition")
    assert np.allclose(found[["low", "high"]], (0.5, 0.6))
    assert found["accuracy"].to_dict() == pytest.approx({"V1": 0.55, "TO": 0.65})
    two = pd.concat([table.assign(subject=s, accuracy=table["accuracy"] + s) for s in (1, 2)])
    assert at_equal(two, "accuracy", "r", "dose").groupby("subject")["accuracy"].min().tolist() == pytest.approx(
        [1.55, 2.55]
    )


def test_a_falling_curve_is_read_as_the_same_one_that_rises() -> None:
    """Doses that isotonic regression gave one value are not skipped."""
    x, y = np.array([0.9, 0.8, 0.8, 0.7]), np.array([0.1, 0.2, 0.5, 0.6])
    levels = np.array([0.72, 0.75, 0.79, 0.85])
    assert read_off((x, y), levels) == pytest.approx([0.58, 0.55, 0.51, 0.15])
    assert read_off((x[::-1], y[::-1]), levels) == pytest.approx([0.58, 0.55, 0.51, 0.15])
    assert read_off((x, y), np.array([0.8])) == read_off((x[::-1], y[::-1]), np.array([0.8])) == pytest.approx([0.35])


def test_doses_that_are_numbered_backwards_give_the_same_scores() -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        table = pd.DataFrame({"condition": ["V1"] * 5 + ["TO"] * 5, "dose": np.tile([0.0, 1, 2, 4, 8], 2)})
        falling = np.tile([0.9, 0.9, 0.89, 0.86, 0.78], 2)
        table["clean"] = falling + 0.02 * rng.standard_normal(10)
        table["accuracy"] = 1.2 - falling + 0.02 * rng.standard_normal(10)
        found = at_equal(table, "accuracy", "clean", "dose")
        other = at_equal(table.assign(dose=1 / (1 + table["dose"])), "accuracy", "clean", "dose")
        np.testing.assert_allclose(found["accuracy"], other["accuracy"], rtol=1e-12)


def test_a_plateau_is_no_gain() -> None:
    """Networks on the very curve that they are read against, whose first doses cost nothing: false gains and alarms."""
    rng, doses = np.random.default_rng(1), np.array([0.0, 1, 2, 4, 8])
    clean, robust = np.array([0.90, 0.90, 0.895, 0.86, 0.78]), np.array([0.20, 0.30, 0.38, 0.48, 0.52])
    at, true = 0.875, np.interp(0.875, [0.86, 0.895], [0.48, 0.38])
    gains = np.empty((300, 5))
    for gain in gains.reshape(-1, 1):
        noise = 0.01 * rng.standard_normal((2, 6))
        curve = monotone(doses, clean + noise[0, :5], robust + noise[1, :5])
        gain[:] = true + noise[1, 5] - read_off(curve, np.array([at + noise[0, 5]]))
    assert abs(np.nanmean(gains)) < 0.009  # of a bent curve, noise in clean accuracy takes some off
    alarms = ttest_1samp(gains, 0, axis=1, alternative="greater", nan_policy="omit").pvalue < 0.05
    assert alarms.mean() < 0.09


@pytest.mark.parametrize("dose", LEVELS)
def test_a_hierarchy_of_noise_vanishes_and_a_true_one_stays(dose: str) -> None:
    """Coverage and false alarms, over a hundred worlds where robustness depends on the guides' r alone."""
    rng = np.random.default_rng(0)
    tables = [doses(0.0, rng, dose=dose) for _ in range(100)]
    full = [slope(table[table["dose"] == UNDOSED[dose]], "accuracy", REGIONS) for table in tables]
    assert np.mean([found.p <= 0.05 and found.value > 0 for found in full]) > 0.7  # taken as it comes, it rises
    equal = [slope(at_equal(table, "accuracy", "r", "dose"), "accuracy", REGIONS) for table in tables]
    assert abs(np.mean([found.value for found in equal])) < 0.002
    assert np.mean([found.p <= 0.05 for found in equal]) < 0.1
    assert np.mean([found.ci_low <= 0 <= found.ci_high for found in equal]) > 0.9
    ranks = {region: rank for rank, region in enumerate(REGIONS)}
    for table, found in zip(tables[:5], equal, strict=False):
        true = table.assign(accuracy=table["accuracy"] + 0.02 * table["condition"].map(ranks))
        risen = slope(at_equal(true, "accuracy", "r", "dose"), "accuracy", REGIONS)
        assert risen.value == pytest.approx(found.value + 0.02, abs=0.003)
        assert risen.p < 0.05


def test_equal_measured_r_would_turn_a_hierarchy_of_noise_round() -> None:
    """At one r with noisy recordings, the guide of the noisier region knows it better."""
    table = doses(0.0, np.random.default_rng(1), 8).query("condition in ('V1', 'V2')")
    found = compare(at_equal(table, "accuracy", "measured_r", "dose"), "accuracy", ["V2"], ["V1"]).iloc[0]
    assert found["ci_high"] < 0


def test_without_an_r_in_common_there_is_no_verdict() -> None:
    table = doses(0.02, np.random.default_rng(2))
    apart = table.assign(r=table["r"] + 2 * (table["condition"] == "TO"))
    assert verdict(at_equal(apart, "accuracy", "r", "dose"), "accuracy", REGIONS).startswith("no trend")
    for spoiled in (table[table["dose"] == 1], pd.concat([table, table]), table.drop(columns="r"), table.iloc[:0]):
        with pytest.raises(InputError, match="no curves"):
            at_equal(spoiled, "accuracy", "r", "dose")


@pytest.mark.parametrize("signal", [0.2, 0.5])
def test_explained_r_is_that_with_the_noise_free_response(signal: float) -> None:
    """Voxels of known ceiling, predicted with a known r of .6 with what is not noise."""
    rng, truth = np.random.default_rng(0), 0.6
    clean = rng.normal(size=(2000, 100))
    measured = np.sqrt(signal) * clean + np.sqrt(1 - signal) * rng.normal(size=clean.shape)
    predicted = truth * clean + np.sqrt(1 - truth**2) * rng.normal(size=clean.shape)
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(measured.T, predicted.T, strict=True)]
    voxels = pd.DataFrame({"r": r, "noise_ceiling": 100 * signal})
    both = pd.concat([voxels.assign(share=1.0), voxels.assign(share=0.3, r=voxels["r"] / 2)])
    assert explained_r(both, ["share"])["r"].tolist() == pytest.approx([truth, truth / 2], abs=0.01)
    assert explained_r(voxels)["r"].tolist() == pytest.approx([truth], abs=0.01)
    assert voxels["r"].mean() < 0.75 * truth
    for spoiled in (voxels.assign(noise_ceiling=0.0), voxels.drop(columns="r"), voxels.assign(noise_ceiling=np.nan)):
        with pytest.raises(InputError, match="side by side"):
            explained_r(spoiled)
