"""Training × guidance: what guidance adds is told from going further along a trade, with honest intervals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nbtools.errors import InputError
from nbtools.metrics.samples.contrasts import over_networks
from nbtools.metrics.studies.factorial import EQUAL, OWN, factors_of, guidance_gains, interactions, training_of
from nbtools.metrics.studies.fronts import compare_fronts, front_of, fronts, named_fronts, training_costs

EPSILON = 4 / 255
SERIES = {"none": 0, "none-at-1": 1, "none-at-2": 2, "none-at-4": 4, "none-at-8": 8}


def planted(
    above: dict[str, float], n_seeds: int = 4, noise: float = 0.0, rng: np.random.Generator | None = None
) -> pd.DataFrame:
    """Networks on one bent trade of clean for robust accuracy; those of TO lie `above` it, and .03 further along."""
    rng = rng or np.random.default_rng(0)
    starts, rows = rng.normal(0, 0.04, n_seeds), []  # what networks of a seed have in common
    for name, number in {**SERIES, "TO": 0, "TO-at-4": 4}.items():
        for seed in range(n_seeds):
            clean = 0.92 - 0.02 * number - 0.03 * name.startswith("TO") + noise * rng.normal()
            robust = trade(clean) + above.get(name, 0.0) + starts[seed] + noise * rng.normal()
            rows += [(name, seed, *pair) for pair in ((0.0, clean), (EPSILON, robust))]
    return pd.DataFrame(rows, columns=["condition", "seed", "epsilon", "accuracy"])


def trade(clean: float) -> float:
    return 0.3 + 2.5 * (0.92 - clean) if clean > 0.88 else 0.4 + 1.0 * (0.88 - clean)


def test_names_are_split_into_the_factors() -> None:
    assert factors_of("TO-at-4") == ("TO", "at", 4.0)
    assert factors_of("V1+TO-noise-0.5-shuffle-gauss-0.1") == ("V1+TO-noise-0.5-shuffle", "gauss", 0.1)
    assert (training_of("none-gauss-0.25"), training_of("TO")) == ("gauss-0.25", "standard")


def test_gains_are_over_the_network_trained_alike_and_over_the_trade() -> None:
    table = planted({"TO": 0.08, "TO-at-4": 0.05}).sample(frac=1, random_state=0)
    mean = over_networks(guidance_gains(table, EPSILON), "gain", ("training", "clean")).set_index(["training", "clean"])
    gains = mean["gain"]
    assert gains["standard", EQUAL] == pytest.approx(0.08)
    assert gains["at-4", EQUAL] == pytest.approx(0.05)
    assert gains["standard", OWN] == pytest.approx(0.08 + trade(0.89) - trade(0.92))
    assert gains["at-4", OWN] == pytest.approx(0.05 + trade(0.81) - trade(0.84))


def renamed(table: pd.DataFrame, way: str) -> pd.DataFrame:
    """Return networks of another way to train; of a cut, the lower the harder."""
    changed = {name: f"{factors_of(name)[0]}-{way}-{16 / factors_of(name)[2]:g}" for name in [*SERIES, "TO-at-4"][1:]}
    return table.replace({"condition": changed})


def test_a_guide_attacked_through_both_terms_has_none_of_the_same_number_beside_it() -> None:
    table = planted({"TO": 0.08, "TO-at-4": 0.05})
    both = guidance_gains(table.replace({"condition": {"TO-at-4": "TO-atboth-4"}}), EPSILON)
    pd.testing.assert_series_equal(both["gain"], guidance_gains(table, EPSILON)["gain"])
    assert set(both["training"]) == {"standard", "atboth-4"}
    assert interactions(both)["n_seeds"].eq(4).all()


def test_a_cut_is_the_farther_from_none_the_lower_it_is_and_an_octave_is_not() -> None:
    table = planted({"TO": 0.08, "TO-at-4": 0.05})
    cut = guidance_gains(renamed(table, "lowpass"), EPSILON)
    pd.testing.assert_series_equal(cut["gain"], guidance_gains(table, EPSILON)["gain"])
    octaves = guidance_gains(renamed(table, "channel"), EPSILON)
    assert octaves["gain"].isna().eq(octaves["clean"] == EQUAL).all()
    assert named_fronts(renamed(table, "channel").assign(alpha=0.9)) == ([], [])
    with pytest.raises(InputError, match=r"none-channel is no front(.|\n)*octaves"):
        fronts(renamed(table, "channel").assign(alpha=0.9), ["none-channel"])
    assert fronts(renamed(table, "lowpass").assign(alpha=0.9), ["none-lowpass"])["dose"].max() == 1 / 2


WORLDS = {"more": 0.08, "less": -0.08, "as much": 0.0}


@pytest.mark.parametrize("finding", WORLDS)
def test_the_verdict_is_that_of_the_planted_world(finding: str) -> None:
    """Where guidance adds as much at equal clean accuracy, the bent trade makes it less at each network's own."""
    rng = np.random.default_rng(2)
    table = planted({"TO": 0.1, "TO-at-4": 0.1 + WORLDS[finding]}, 6, 0.004, rng)
    found = interactions(guidance_gains(table, EPSILON)).set_index("clean")
    assert found.loc[EQUAL, "finding"] == finding
    assert found.loc[OWN, "finding"] == {"more": "more", "less": "less", "as much": "less"}[finding]
    assert found.loc[OWN, "interaction"] == pytest.approx(WORLDS[finding] - 0.045, abs=0.01)


def test_false_alarms_and_coverage_are_as_they_say() -> None:
    """Of 80 studies of five seeds in which guidance adds as much, at equal clean accuracy."""
    rng = np.random.default_rng(3)
    worlds = [planted({"TO": 0.1, "TO-at-4": 0.1}, 5, 0.006, rng) for _ in range(80)]
    found = pd.concat([interactions(guidance_gains(world, EPSILON)) for world in worlds])
    equal = found[found["clean"] == EQUAL]
    assert abs(equal["interaction"].mean()) < 0.004
    assert (equal["p"] <= 0.05).mean() < 0.1
    assert (equal["ci_low"].le(0) & equal["ci_high"].ge(0)).mean() > 0.9
    assert equal["finding"].isin(["more", "less"]).mean() < 0.07  # corrected for both rows


def test_nothing_is_extrapolated() -> None:
    table = planted({"TO": 0.1}, noise=0.001)
    table.loc[(table["condition"] == "TO") & (table["seed"] == 1) & (table["epsilon"] == 0), "accuracy"] = 0.99
    found = interactions(guidance_gains(table, EPSILON)).set_index("clean")
    assert found.loc[EQUAL, ["gain", "interaction", "ci_low", "p", "p_holm"]].isna().all()
    assert found.loc[EQUAL, "finding"] == "unclear"
    assert np.isfinite(found.loc[OWN, "p"])


def of(cells: dict[str, tuple[float, float]]) -> pd.DataFrame:
    rows = [(name, 0, *pair) for name, values in cells.items() for pair in zip((0.0, EPSILON), values, strict=True)]
    return pd.DataFrame(rows, columns=["condition", "seed", "epsilon", "accuracy"])


def test_networks_on_a_trade_with_a_plateau_gain_nothing() -> None:
    plateau = {"none": (0.90, 0.20), "none-at-1": (0.89, 0.25), "none-at-2": (0.89, 0.40), "none-at-4": (0.85, 0.50)}
    gains = guidance_gains(of({**plateau, "TO": (0.895, 0.225), "TO-at-4": (0.87, 0.45)}), EPSILON)
    assert gains.loc[gains["clean"] == EQUAL, "gain"].to_numpy() == pytest.approx(0, abs=1e-9)
    cuts = {"none": (0.9, 0.2), "none-lowpass-4": (0.5, 0.3), "none-lowpass-16": (0.85, 0.23)}  # the lower, the farther
    gains = guidance_gains(of({**cuts, "TO": (0.7, 0.26), "TO-lowpass-4": (0.5, 0.3)}), EPSILON)
    assert gains.loc[gains["clean"] == EQUAL, "gain"].to_numpy() == pytest.approx(0, abs=1e-9)


def test_tables_that_are_no_factorial_are_refused() -> None:
    table = planted({})
    for name in ("TO", "TO-at-4"):
        with pytest.raises(InputError, match="1 guides × seeds without"):
            guidance_gains(table[(table["condition"] != name) | (table["seed"] > 0)], EPSILON)
    for spoilt in (100 * table["accuracy"], table["accuracy"].where(table.index > 0, np.inf)):
        with pytest.raises(InputError, match="outside 0 to 1"):
            guidance_gains(table.assign(accuracy=spoilt), EPSILON)
    with pytest.raises(InputError, match="unknown condition"):
        factors_of("TO-at-4-at-4")
    for without in ("none-at-4", "TO-at-4", "TO"):
        with pytest.raises(InputError):
            interactions(guidance_gains(table[table["condition"] != without], EPSILON))
    with pytest.raises(InputError, match="no curve"):
        guidance_gains(pd.concat([table, table]), EPSILON)


# --- fronts ---------------------------------------------------------------------------------------------------


def of_several_alphas(above: float, n_seeds: int, noise: float, rng: np.random.Generator) -> pd.DataFrame:
    """The unguided networks of `planted`, and TO of several α, `above` the same trade."""
    rows = planted({}, n_seeds, noise, rng).query("condition in @SERIES").assign(alpha=0.9)
    starts = rows[(rows["condition"] == "none") & (rows["epsilon"] > 0)]["accuracy"].to_numpy() - trade(0.92)
    for alpha, seed in ((alpha, seed) for alpha in (0.35, 0.65, 0.9) for seed in range(n_seeds)):
        clean = 0.92 - 0.12 * alpha**2 + noise * rng.normal()
        robust = trade(clean) + above + starts[seed] + noise * rng.normal()
        values = {"condition": "TO", "seed": seed, "alpha": alpha}
        new = pd.DataFrame(
            [{**values, "epsilon": 0.0, "accuracy": clean}, {**values, "epsilon": EPSILON, "accuracy": robust}]
        )
        rows = pd.concat([rows, new], ignore_index=True)
    return rows


def test_conditions_lie_on_fronts() -> None:
    assert front_of("TO", 0.5) == ("TO", 0.5)
    assert front_of("none-at-4") == ("none-at", 4.0)
    assert front_of("TO-trades-2", 0.9) == ("TO-trades", 2.0)
    assert front_of("decay-0.01") == ("decay", 0.01)
    table = of_several_alphas(0.0, 2, 0.0, np.random.default_rng(0))
    laid = fronts(table, ["TO", "none-at"])
    assert sorted(laid.query("condition == 'TO'")["dose"].unique()) == [0, 0.35, 0.65, 0.9]
    assert sorted(laid.query("condition == 'none-at'")["dose"].unique()) == [0, 1, 2, 4, 8]
    guided = table.replace({"condition": {"none": "TO-shuffle", "none-at-4": "TO-shuffle-at-4"}})
    assert set(fronts(guided, ["TO-shuffle-at"])["network"]) == {"TO-shuffle", "TO-shuffle-at-4"}


def test_a_front_above_another_is_told_from_one_on_it() -> None:
    rng = np.random.default_rng(4)
    for above, significant in ((0.08, True), (0.0, False)):
        tables = [of_several_alphas(above, 4, 0.006, rng) for _ in range(12)]
        found = pd.concat([compare_fronts(table, EPSILON, ["TO"], ["none-at"]) for table in tables])
        # the start, where both fronts are the same network, is no part of the gain: a little less than planted
        assert found["difference"].mean() == pytest.approx(0.9 * above, abs=0.12 * above + 0.006)
        assert ((found["p"] <= 0.05).mean() > 0.8) == significant


def test_fronts_without_networks_are_not_compared() -> None:
    table = of_several_alphas(0.05, 3, 0.0, np.random.default_rng(0))
    with pytest.raises(InputError, match="no fronts such as none-gauss"):
        compare_fronts(table, EPSILON, ["TO"], ["none-gauss"])
    table.loc[(table["condition"] == "TO") & (table["epsilon"] == 0), "accuracy"] = 0.95
    table.loc[(table["condition"] == "none") & (table["epsilon"] == 0), "accuracy"] = 0.95
    row = compare_fronts(table, EPSILON, ["TO"], ["none-at"]).iloc[0]  # all of TO at one clean accuracy
    assert row[["difference", "ci_low", "p", "p_holm"]].isna().all()
    assert not row["equivalent"]


def test_the_cost_is_over_the_unguided_network_of_the_seed() -> None:
    seconds = pd.DataFrame(
        [
            (name, seed, base * (1 + seed))
            for name, base in {"none": 2, "TO": 3, "none-at-2": 12, "none-at-4": 14}.items()
            for seed in (0, 1)
        ],
        columns=["condition", "seed", "seconds"],
    )
    cost = over_networks(training_costs(seconds), "cost").set_index("condition")["cost"]
    assert cost.to_dict() == pytest.approx({"none": 1.0, "TO": 1.5, "none-at": 6.5})
    with pytest.raises(InputError, match="none of every seed"):
        training_costs(seconds[1:])
    for row in (0, 3):
        for wrong in (0.0, -1.0, np.nan, np.inf):
            with pytest.raises(InputError, match="1 networks without such a time"):
                training_costs(seconds.assign(seconds=seconds["seconds"].where(seconds.index != row, wrong)))


def test_no_front_is_asked_for() -> None:
    table = of_several_alphas(0.05, 2, 0.0, np.random.default_rng(0))
    for ask in (lambda: fronts(table, []), lambda: compare_fronts(table, EPSILON, [], ["none-at"])):
        with pytest.raises(InputError, match="no fronts"):
            ask()
