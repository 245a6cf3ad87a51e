"""Fronts over α, weight decay, β and blur: areas that are known, what starts where, and the figure of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nbtools import plots
from nbtools.errors import InputError
from nbtools.metrics.studies.fronts import compare_fronts, front_of, fronts, named_fronts
from nbtools.plots.looks import color, dash, symbol

EPSILON, TITLE = 4 / 255, "Fronts: demo study, simulated"
DECAYS = {"decay-0.01": 0.86, "decay-0.03": 0.8, "decay-0.1": 0.7}
OVER_ALPHA = {0.35: 0.88, 0.65: 0.84, 0.9: 0.74}


def networks(clean: dict[tuple[str, float], float], above: float = 0.0, n_seeds: int = 3) -> pd.DataFrame:
    """Networks of a straight trade, robust = .95 − clean, seed by seed a little higher; guided ones are `above` it."""
    heights = above + 0.001 * (np.arange(n_seeds) - (n_seeds - 1) / 2)
    rows = [
        {"condition": name, "alpha": alpha, "seed": seed, "epsilon": epsilon, "accuracy": value}
        for (name, alpha), at in clean.items()
        for seed in range(n_seeds)
        for epsilon, value in ((0.0, at), (EPSILON, 0.95 - at + heights[seed] * name.startswith("TO") + 0.01 * seed))
    ]
    return pd.DataFrame(rows).assign(ci_low=0.0, ci_high=1.0)


def planted(above: float, n_seeds: int = 3) -> pd.DataFrame:
    clean = {("none", 0.9): 0.9, **{("TO", alpha): at for alpha, at in OVER_ALPHA.items()}}
    clean |= {(name, 0.9): at for name, at in DECAYS.items()}
    clean |= {("none-beta-1", 0.9): 0.85, ("none-beta-6", 0.9): 0.7, ("TO-beta-1", 0.9): 0.7, ("TO-beta-6", 0.9): 0.6}
    return networks(clean, above, n_seeds)


def test_every_dose_has_a_front_and_words() -> None:
    assert front_of("none-beta-0.5") == ("none-beta", 0.5)
    assert front_of("TO blur 4") == ("TO blur", 0.25)
    assert front_of("TO-at-4 blur 8", 0.9) == ("TO-at-4 blur", 0.125)
    weak, strong = (front_of(f"none-lowpass-{cut}")[1] for cut in (12, 4))
    assert weak < strong, "of what is left of an image, less is more"
    table = networks(dict.fromkeys([("none", 0.9), ("none-beta-6", 0.9), ("none-gauss-0.1", 0.9)], 0.8))
    blurred = networks({("none", 0.9): 0.8, ("none blur 8", 0.9): 0.7})
    said = [fronts(table, ["none-beta", "none-gauss"]), fronts(blurred, ["none blur"])]
    assert list(pd.concat(said)["said"].unique()) == ["start", "β = 6", "σ = 0.1", "below 8 cycles/image"]
    assert set(said[1]["network"]) == {"none"}, "blur is no other network"


@pytest.mark.parametrize("above", [0.1, 0.0, -0.02])
def test_the_area_between_fronts_is_the_planted_one(above: float) -> None:
    """From ``none`` the guide's rises to its height above the trade until its first α; from there on it is there."""
    found = compare_fronts(planted(above).sample(frac=1, random_state=0), EPSILON, ["TO", "TO-beta"], ["decay"])
    to, hardened = (row for _, row in found.iterrows())
    assert (to["low"], to["high"]) == pytest.approx((0.74, 0.9))
    assert to["difference"] == pytest.approx(above * (1 - (0.9 - 0.88) / 2 / (0.9 - 0.74)), abs=1e-3)
    assert (hardened["low"], hardened["high"]) == pytest.approx((0.7, 0.74))
    assert hardened["difference"] == pytest.approx(above, abs=1e-9), "it starts at the guide of its own α"
    assert to["ci_low"] <= to["difference"] <= to["ci_high"]
    assert list(found["equivalent"]) == [abs(above) < 0.03] * 2


def test_holm_counts_every_pair_of_the_table() -> None:
    rng = np.random.default_rng(1)
    table = planted(0.05, 6)
    table["accuracy"] += 0.01 * rng.normal(size=len(table))
    found = compare_fronts(table, EPSILON, ["TO", "TO-beta"], ["decay", "none-beta"])
    assert len(found) == 4
    assert (found["p_holm"] >= found["p"]).all()
    assert found["p_holm"].min() == pytest.approx(4 * found["p"].min())


def test_guide_and_blur_are_told_from_blur_alone() -> None:
    cuts = {"12": 0.02, "8": 0.1, "4": 0.3}
    clean = {("none", 0.9): 0.9, ("TO", 0.9): 0.87, ("V1", 0.9): 0.8}
    clean |= {
        (f"{name} blur {cut}", 0.9): clean[name, 0.9] - lost for name in ("none", "TO") for cut, lost in cuts.items()
    }
    (row,) = compare_fronts(networks(clean, 0.08), EPSILON, ["TO blur"], ["none blur"]).to_dict("records")
    assert row["difference"] == pytest.approx(0.08)
    assert (row["low"], row["high"]) == pytest.approx((0.6, 0.87))
    assert named_fronts(networks(clean)) == (["TO blur"], ["none blur"])


def test_a_guide_of_one_alpha_has_no_front_over_it() -> None:
    table = planted(0.1)
    assert named_fronts(table) == (["TO", "TO-beta"], ["decay", "none-beta"])
    one = table[~table["alpha"].isin([0.35, 0.65])]
    assert named_fronts(one) == (["TO-beta"], ["decay", "none-beta"])


def test_a_front_starts_at_the_guide_of_its_own_alpha() -> None:
    start = fronts(planted(0.0), ["TO-beta"]).query("dose == 0")
    assert set(start["alpha"]) == {0.9}
    elsewhere = planted(0.0).query("condition != 'TO' or alpha != 0.9")
    with pytest.raises(InputError, match="such as TO-beta: networks of TO at its start"):
        fronts(elsewhere, ["TO-beta"])


def test_one_seed_ties_and_nothing_in_common() -> None:
    (one,) = compare_fronts(planted(0.1, 1), EPSILON, ["TO-beta"], ["decay"]).to_dict("records")
    assert one["difference"] == pytest.approx(0.1)
    assert np.isnan(one["ci_low"])
    assert np.isnan(one["p"])
    tied = planted(0.1).replace({"accuracy": {0.86: 0.8}})  # two decays as accurate
    (row,) = compare_fronts(tied, EPSILON, ["TO-beta"], ["decay"]).to_dict("records")
    assert row["difference"] == pytest.approx(0.1)
    apart = networks({("none", 0.9): 0.9, ("decay-0.1", 0.9): 0.8, ("TO", 0.9): 0.7, ("TO-beta-1", 0.9): 0.6})
    (none,) = compare_fronts(apart, EPSILON, ["TO-beta"], ["decay"]).to_dict("records")
    assert np.isnan([none["difference"], none["p"], none["p_holm"]]).all()
    assert not none["equivalent"]


# --- the figure -----------------------------------------------------------------------------------------------


def laid() -> pd.DataFrame:
    return fronts(planted(0.1), ["TO", "TO-beta", "decay", "none-beta"])


def test_fronts_run_from_their_start_through_their_doses() -> None:
    fig = plots.fronts(laid().sample(frac=1, random_state=0), EPSILON, title=TITLE)
    lines = {trace.name: trace for trace in fig.data if trace.mode == "lines+markers"}
    assert set(lines) == {"TO", "TO-beta", "decay", "none-beta"}
    assert list(lines["TO"].x) == pytest.approx([0.9, 0.88, 0.84, 0.74])
    assert list(lines["TO"].y) == pytest.approx([0.06, 0.18, 0.22, 0.32])
    assert list(lines["decay"].customdata) == ["start", "weight decay 0.01", "weight decay 0.03", "weight decay 0.1"]
    assert list(lines["TO-beta"].customdata) == ["start", "β = 1", "β = 6"]
    assert lines["TO-beta"].x[0] == pytest.approx(0.74)
    half = lines["TO"].error_y.array
    assert np.isnan(half[0]), "who starts several fronts has one interval, at its own marker"
    assert half[1] == pytest.approx(4.303 * 0.011 / np.sqrt(3), abs=1e-4)


def test_fronts_have_the_looks_and_names_of_their_conditions() -> None:
    fig = plots.fronts(laid(), EPSILON, title=TITLE)
    lines = {trace.name: trace for trace in fig.data if trace.mode == "lines+markers"}
    for front, condition in {
        "TO": "TO",
        "TO-beta": "TO-beta-6",
        "none-beta": "none-beta-6",
        "decay": "decay-0.1",
    }.items():
        line = lines[front]
        assert (line.line.color, line.line.dash) == (color(condition), dash(condition))
        assert line.marker.symbol == symbol(condition)
        assert next(iter(line.marker.size)) == 0 < min(list(line.marker.size)[1:])
    starts = {trace.name: trace for trace in fig.data if trace.mode == "markers"}
    assert {name: mark.marker.symbol for name, mark in starts.items()} == {"none": symbol("none"), "TO": symbol("TO")}
    assert sorted(note.text for note in fig.layout.annotations) == ["TO", "TO-beta", "decay", "none", "none-beta"]
    assert fig.layout.xaxis.title.text == "clean accuracy"
    assert fig.layout.yaxis.title.text == "accuracy at ε = 4/255"


def test_blurred_networks_are_drawn_as_what_they_are() -> None:
    table = networks({("none", 0.9): 0.9, ("none blur 8", 0.9): 0.8, ("TO", 0.9): 0.88, ("TO blur 8", 0.9): 0.8})
    fig = plots.fronts(fronts(table, ["none blur", "TO blur"]), EPSILON, title=TITLE)
    assert {trace.name: trace.line.color for trace in fig.data if trace.mode == "lines+markers"} == {
        "none blur": color("none"),
        "TO blur": color("TO"),
    }


def test_what_are_no_fronts_is_not_drawn() -> None:
    for bad in (laid().iloc[:0], laid().drop(columns="said")):
        with pytest.raises(InputError, match="cannot be drawn"):
            plots.fronts(bad, EPSILON, title=TITLE)
    with pytest.raises(InputError, match="no accuracy at"):
        plots.fronts(laid(), 8 / 255, title=TITLE)
    lacking = laid().query("condition != 'decay' or epsilon == 0 or dose < 0.1")
    with pytest.raises(InputError, match="lack one"):
        plots.fronts(lacking, EPSILON, title=TITLE)
