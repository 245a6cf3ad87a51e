"""RSA: RDMs agree with SciPy, planted geometry is found, resampling with rsatoolbox, bad input gives no number."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from rsatoolbox.inference import eval_bootstrap_pattern
from rsatoolbox.model import ModelFixed
from scipy import stats
from scipy.spatial.distance import pdist

from nbtools import plots
from nbtools.errors import InputError
from nbtools.metrics.brain.rsa import (
    METHODS,
    WHITENED,
    joined,
    labels_of,
    matrices_of,
    rdm,
    rdm_noise_ceiling,
    rdms,
    repeat_rdms,
    similarities,
)
from nbtools.metrics.brain.similarity import differences, intervals, mds, over_runs, own_region
from nbtools.plots.labels import plot_size

N = 24
IDS = np.arange(100, 100 + N)


def geometry(seed: int, n: int = N, width: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, width))


def noisy(signal: np.ndarray, sd: float, seed: int) -> np.ndarray:
    return signal + sd * np.random.default_rng(seed).normal(size=signal.shape)


@pytest.fixture(scope="module")
def planted() -> pd.DataFrame:
    """Three regions of different geometry, and a network that has each, and one that has none."""
    regions = {name: geometry(seed) for seed, name in enumerate(("V1", "V4", "TO"))}
    networks = [rdm(noisy(x, 0.5, 9), IDS, name, "pooled") for name, x in regions.items()]
    networks.append(rdm(geometry(7), IDS, "none", "pooled"))
    measured = [rdm(noisy(x, 0.3, k), IDS, name, "measured") for name, x in regions.items() for k in (1, 2)]
    return similarities(joined(networks), joined(measured), n_boot=100)


# --- RDMs -----------------------------------------------------------------------------------------------------


def test_an_rdm_is_scipys_correlation_distance_in_the_order_of_ids():
    x, order = geometry(0), np.random.default_rng(1).permutation(N)
    found = rdm(x[order], IDS[order], "TO", "pooled")
    np.testing.assert_allclose(found.dissimilarities[0], pdist(x, "correlation"), atol=1e-12)
    assert list(found.pattern_descriptors["image_id"]) == list(IDS)
    assert (found.rdm_descriptors["name"], found.rdm_descriptors["source"]) == (["TO"], ["pooled"])


def test_it_ignores_scale_and_shift_of_each_image_and_the_order_of_features():
    x, rng = geometry(0), np.random.default_rng(1)
    changed = (rng.uniform(0.1, 9, (N, 1)) * x + rng.normal(size=(N, 1)))[:, rng.permutation(x.shape[1])]
    same, other = (rdm(values, IDS, "a", "pooled").dissimilarities for values in (changed, x * np.arange(1, 13)))
    np.testing.assert_allclose(same, rdm(x, IDS, "a", "pooled").dissimilarities, atol=1e-12)
    assert not np.allclose(other, same), "scaling a feature is another geometry"


def test_repeats_have_an_rdm_each_joined_by_image():
    trials = [geometry(k) for k in range(3)]
    order = np.random.default_rng(3).permutation(3 * N)
    stacked, ids, repeats = np.concatenate(trials), np.tile(IDS, 3), np.repeat([1, 2, 3], N)
    found = repeat_rdms(stacked[order], ids[order], repeats[order], "V1")
    for k, x in enumerate(trials):
        np.testing.assert_allclose(found.dissimilarities[k], pdist(x, "correlation"), atol=1e-12)


@pytest.mark.parametrize(
    ("features", "ids", "said"),
    [
        (np.where(np.arange(N)[:, None] == 3, 2.5, geometry(0)), IDS, "1 images with constant features"),
        (np.where(geometry(0) > 2, np.nan, geometry(0)), IDS, "NaN or infinity"),
        (np.where(geometry(0) > 2, np.inf, geometry(0)), IDS, "NaN or infinity"),
        (geometry(0), np.where(IDS == 101, 100, IDS), "1 ids that repeat"),
        (geometry(0), IDS[:-1], r"\(24, 12\) and \(23,\)"),
        (geometry(0)[:1], IDS[:1], "3 rows"),
        (geometry(0)[:, :1], IDS, "2 columns"),
        (np.tile(geometry(0)[:1], (N, 1)), IDS, "all images are equally far apart"),
        (geometry(0)[0], IDS, r"\(12,\) and \(24,\)"),
    ],
)
def test_bad_features_give_no_rdm(features, ids, said):
    with pytest.raises(InputError, match=said):
        rdm(features, ids, "TO", "pooled")


def test_other_images_are_not_compared():
    a, b = rdm(geometry(0), IDS, "a", "pooled"), rdm(geometry(0), IDS + 1, "b", "pooled")
    for attempt in (lambda: joined([a, b]), lambda: similarities(a, b)):
        with pytest.raises(InputError, match="23 of them in common"):
            attempt()
    with pytest.raises(InputError, match="no RDM"):
        joined([])


def test_a_missing_repeat_is_noticed():
    x, ids, repeats = geometry(0, 2 * N), np.tile(IDS, 2), np.repeat([1, 2], N)
    with pytest.raises(InputError, match="not over the same images"):
        repeat_rdms(x[:-1], ids[:-1], repeats[:-1], "V1")
    with pytest.raises(InputError, match="V1: trials do not fit"):
        repeat_rdms(x, ids[:-1], repeats, "V1")


# --- similarities ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "reference"),
    [
        ("spearman", lambda x, y: stats.spearmanr(x, y).statistic),
        ("corr", lambda x, y: stats.pearsonr(x, y).statistic),
        ("tau-b", lambda x, y: stats.kendalltau(x, y).statistic),
    ],
)
@pytest.mark.parametrize("ties", [False, True])
def test_similarities_are_scipys(method, reference, ties):
    x, y = geometry(0), geometry(1)
    if ties:  # every image twice: many dissimilarities are equal
        x[N // 2 :] = x[: N // 2]
    a, b = rdm(x, IDS, "a", "pooled"), rdm(y, IDS, "b", "pooled")
    if ties:  # equal but for rounding
        a.dissimilarities = a.dissimilarities.round(9)
    found = similarities(a, b, method, n_boot=0)["similarity"].item()
    assert found == pytest.approx(reference(a.dissimilarities[0], b.dissimilarities[0]), abs=1e-10)


def test_tie_aware_similarities_do_not_reward_ties():
    """rho-a is the mean of Spearman's ρ over all ways to break ties; tau-a counts a tied pair as no agreement."""
    a, b = (rdm(geometry(seed, 3), IDS[:3], "a", "pooled") for seed in (0, 1))
    a.dissimilarities, b.dissimilarities = np.array([[1.0, 1.0, 2.0]]), np.array([[1.0, 2.0, 3.0]])
    broken = np.mean([stats.spearmanr([*tied, 3], [1, 2, 3]).statistic for tied in permutations([1, 2])])
    assert similarities(a, b, "rho-a", n_boot=0)["similarity"].item() == pytest.approx(broken)
    assert similarities(a, b, "tau-a", n_boot=0)["similarity"].item() == pytest.approx(2 / 3)
    assert similarities(a, b, "spearman", n_boot=0)["similarity"].item() > broken


def test_whitened_cosine_is_linear_cka():
    """Whitened cosine of squared distances equals linear CKA (Diedrichsen et al. 2021)."""
    x, y = (stats.zscore(geometry(seed), axis=1) for seed in (0, 1))
    centred = [part - part.mean(axis=0) for part in (x, y)]
    gram = [part @ part.T for part in centred]
    cka = np.sum(gram[0] * gram[1]) / np.sqrt(np.sum(gram[0] ** 2) * np.sum(gram[1] ** 2))
    a, b = rdm(x, IDS, "a", "pooled"), rdm(y, IDS, "b", "pooled")
    assert similarities(a, b, "cosine_cov", n_boot=0)["similarity"].item() == pytest.approx(cka, abs=1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_a_geometry_in_itself_and_repeats_with_its_seed(method):
    same, other = rdm(geometry(0), IDS, "a", "pooled"), rdm(geometry(1), IDS, "b", "pooled")
    table = similarities(same, joined([same, other]), method, n_boot=3, seed=5)
    first = table[table["draw"] == 0].set_index("b")["similarity"]
    assert first["a"] == pytest.approx(1)
    assert first["b"] < 0.9
    pd.testing.assert_frame_equal(table, similarities(same, joined([same, other]), method, n_boot=3, seed=5))
    assert not table.equals(similarities(same, joined([same, other]), method, n_boot=3, seed=6))
    assert np.isfinite(table["similarity"]).all()


@pytest.mark.parametrize("method", WHITENED)
def test_whitened_similarities_are_resampled_of_many_images_too(method):
    """rsatoolbox's own bootstrap of whitened similarities fails from 100 images on."""
    a, b = (rdm(geometry(seed, 120), np.arange(120), "a", "pooled") for seed in (0, 1))
    assert np.isfinite(similarities(a, b, method, n_boot=2)["similarity"]).all()


def test_repeats_of_a_region_count_as_one():
    model = rdm(geometry(0), IDS, "TO", "pooled")
    repeats = [rdm(noisy(geometry(0), 1, k), IDS, "TO", "measured") for k in (1, 2)]
    together = similarities(model, joined(repeats), n_boot=0)["similarity"]
    apart = [similarities(model, repeat, n_boot=0)["similarity"].item() for repeat in repeats]
    assert together.item() == pytest.approx(np.mean(apart))


def test_resampling_is_rsatoolboxs():
    """Same spread as rsatoolbox's bootstrap, and no image's distance to itself: these would raise every ρ."""
    a, b = rdm(geometry(0), IDS, "a", "pooled"), rdm(noisy(geometry(0), 1, 1), IDS, "b", "measured")
    draws = similarities(a, b, n_boot=300)["similarity"].to_numpy()
    state = np.random.get_state()  # noqa: NPY002 — rsatoolbox draws from the global generator
    np.random.seed(0)  # noqa: NPY002
    theirs = eval_bootstrap_pattern(ModelFixed("a", a), b, method="spearman", N=300, boot_noise_ceil=False).evaluations
    np.random.set_state(state)  # noqa: NPY002
    assert draws[1:].std() == pytest.approx(np.std(theirs), rel=0.2)
    assert draws[1:].mean() == pytest.approx(np.mean(theirs), abs=0.02)


def test_halves_without_replacement_spread_as_resamples_do():
    a, b = (rdm(noisy(geometry(0, 60), 1, k), np.arange(60), "a", "pooled") for k in (1, 2))
    spread = {m: similarities(a, b, m, n_boot=200)["similarity"][1:].std() for m in ("corr", "corr_cov")}
    assert spread["corr_cov"] == pytest.approx(spread["corr"], rel=0.4)


@pytest.mark.parametrize("n_images", [10, 40])
@pytest.mark.parametrize("method", METHODS)
def test_an_interval_holds_its_estimate_whatever_the_method(method, n_images):
    """Every half of the images has a higher whitened cosine than the whole."""
    ids = np.arange(n_images)
    for seed in range(3):
        x = geometry(seed, n_images, 20)
        model, region = rdm(x, ids, "a", "pooled"), rdm(noisy(x, 1, seed + 50), ids, "V1", "measured")
        row = intervals(similarities(model, region, method, n_boot=40, seed=seed)).iloc[0]
        assert -1 <= row["ci_low"] < row["similarity"] < row["ci_high"] <= 1


def test_the_interval_of_a_whitened_cosine_spreads_as_samples_of_images_do():
    ids, found = np.arange(40), []
    for seed in range(30):
        x = geometry(seed, 40, 20)
        model, region = rdm(x, ids, "a", "pooled"), rdm(noisy(x, 1, seed + 50), ids, "V1", "measured")
        found.append(similarities(model, region, "cosine_cov", n_boot=30)["similarity"].to_numpy())
    estimates, spread = np.array(found)[:, 0], np.array(found)[:, 1:].std(axis=1)
    assert spread.mean() == pytest.approx(estimates.std(), rel=0.3)


@pytest.fixture(scope="module")
def rarely_flat() -> dict[str, pd.DataFrame]:
    """Two networks and a region of ten images; the first network tells but one image from the rest."""
    ids, odd = np.arange(10), np.zeros((10, 4))
    odd[:, 0] = 1
    odd[0] = [0, 0, 1, 0]
    x = geometry(2, 10)
    networks = joined([rdm(odd, ids, "V1", "pooled"), rdm(noisy(x, 1, 4), ids, "V2", "pooled")])
    region = joined([rdm(noisy(x, 1, k), ids, name, "measured") for k, name in enumerate(("V1", "V2"))])
    return {method: similarities(networks, region, method, n_boot=100) for method in METHODS}


@pytest.mark.parametrize("method", METHODS)
def test_resamples_without_a_geometry_have_no_similarity_and_are_left_out(rarely_flat, method):
    """A third of the resamples lack the odd image: all others are equally far apart, and are like nothing."""
    draws = rarely_flat[method]
    missing = draws["similarity"].isna()
    assert 0.2 < missing[draws["a"] == "V1"].mean() < 0.6
    assert not missing[draws["a"] == "V2"].any(), "what another RDM lacks has no part in it"
    table = intervals(draws)
    assert (table["ci_low"] <= table["similarity"]).all()
    assert (table["similarity"] <= table["ci_high"]).all()
    row = differences(draws).iloc[0]
    wide = draws[draws["b"] == row["region"]].pivot(index="draw", columns="a", values="similarity")
    gaps = (wide["V1"] - wide["V2"]).to_numpy()
    t = gaps[0] / np.nanstd(gaps[1:], ddof=1)
    assert row["p"] == pytest.approx(2 * stats.t.sf(abs(t), 9))
    assert row["ci_low"] <= row["difference"] <= row["ci_high"]
    assert own_region(draws)[["advantage", "ci_low", "ci_high", "p"]].notna().all(axis=None)


def test_repeats_that_lack_a_geometry_are_left_out_of_their_mean():
    flat, x = rdm(geometry(0), IDS, "V1", "measured"), geometry(1)
    flat.dissimilarities[:] = 1 + 1e-12 * np.arange(flat.dissimilarities.size)  # equal but for rounding
    model, sound = rdm(noisy(x, 1, 3), IDS, "a", "pooled"), rdm(x, IDS, "V1", "measured")
    for method in METHODS:
        both, one, none = (
            similarities(model, joined(parts), method, n_boot=0)["similarity"].item()
            for parts in ([flat, sound], [sound], [flat])
        )
        assert both == pytest.approx(one)
        assert np.isnan(none)


def test_one_rdm_joined_stays_what_it_is():
    alone = rdm(geometry(0), IDS, "VT", "measured")
    for same in (joined([alone]), rdms({("VT", "measured"): geometry(0)}, IDS)):
        assert labels_of(same) == [("measured", "VT")]
        np.testing.assert_array_equal(same.dissimilarities, alone.dissimilarities)
        assert list(matrices_of(same)) == ["measured VT"]
        again = joined([same, rdm(geometry(1), IDS, "TO", "pooled")])
        assert labels_of(again) == [("measured", "VT"), ("pooled", "TO")]
    assert labels_of(repeat_rdms(geometry(0), IDS, np.ones(N, int), "VT")) == [("measured", "VT")]


def test_unknown_methods_and_few_images_are_refused():
    few = rdm(geometry(0, 9), IDS[:9], "a", "pooled")
    with pytest.raises(InputError, match="unknown similarity"):
        similarities(few, few, "pearson")
    with pytest.raises(InputError, match="unknown similarity"):
        rdm_noise_ceiling(few, "pearson")
    with pytest.raises(InputError, match="too few images"):
        similarities(few, few)
    assert len(similarities(few, few, n_boot=0)) == 1


# --- noise ceilings -------------------------------------------------------------------------------------------


def test_the_ceiling_bounds_what_the_true_geometry_reaches():
    signal = geometry(0, 60, 40)
    repeats = joined([rdm(noisy(signal, 1, k), np.arange(60), "V1", "measured") for k in range(3)])
    for method in METHODS:
        ceiling = rdm_noise_ceiling(repeats, method).iloc[0]
        truth = similarities(rdm(signal, np.arange(60), "V1", "pooled"), repeats, method, n_boot=0)
        assert ceiling["lower"] < truth["similarity"].item() < ceiling["upper"], method
    assert (ceiling["region"], ceiling["n_repeats"], ceiling["n_images"]) == ("V1", 3, 60)


def test_without_noise_the_ceiling_is_one_and_with_noise_alone_it_is_low():
    sure = joined([rdm(geometry(0), IDS, "V1", "measured")] * 3)
    assert rdm_noise_ceiling(sure)[["lower", "upper"]].iloc[0].to_list() == pytest.approx([1, 1])
    blind = joined([rdm(geometry(k), IDS, "V1", "measured") for k in range(3)])
    assert abs(rdm_noise_ceiling(blind)["lower"].item()) < 0.2


def test_a_spearman_ceiling_is_nilis():
    parts = [rdm(noisy(geometry(0), 1, k), IDS, "V1", "measured") for k in range(3)]
    ranks = np.stack([stats.rankdata(part.dissimilarities[0]) for part in parts])
    upper = np.mean([stats.spearmanr(row, ranks.mean(axis=0)).statistic for row in ranks])
    lower = np.mean(
        [stats.spearmanr(row, np.delete(ranks, k, 0).mean(axis=0)).statistic for k, row in enumerate(ranks)]
    )
    found = rdm_noise_ceiling(joined(parts)).iloc[0]
    assert (found["lower"], found["upper"]) == pytest.approx((lower, upper))


@pytest.mark.parametrize("method", ["spearman", "rho-a", "tau-a", "corr", "cosine_cov"])
def test_what_unwritten_memory_holds_is_not_complained_of(monkeypatch, recwarn, method):
    def unwritten(shape, dtype=float, **_):
        memory = np.zeros(shape, dtype)
        if memory.dtype == float:
            memory.view(np.uint64)[...] = 0x7FF0000000000001  # a signalling NaN
        return memory

    monkeypatch.setattr(np, "empty", unwritten)
    parts = [rdm(noisy(geometry(0), 1, k), IDS, "V1", "measured") for k in range(3)]
    assert rdm_noise_ceiling(joined(parts), method)[["lower", "upper"]].notna().all(axis=None)
    similarities(joined(parts), joined([rdm(geometry(1), IDS, "TO", "pooled")]), method, n_boot=2)
    assert [str(found.message) for found in recwarn] == []


def test_one_repeat_has_no_ceiling():
    table = rdm_noise_ceiling(rdm(geometry(0), IDS, "V1", "measured"))
    assert table[["lower", "upper"]].isna().all(axis=None)
    assert table["n_repeats"].tolist() == [1]


# --- what similarities say ------------------------------------------------------------------------------------


def test_intervals_hold_their_similarity_and_do_not_depend_on_the_order_of_rows(planted: pd.DataFrame):
    table = intervals(planted)
    assert len(table) == 4 * 3
    own = table[table["a"] == table["b"]]
    assert (own["similarity"] > 0.6).all()
    assert (own["ci_low"] < own["similarity"]).all()
    assert (own["similarity"] < own["ci_high"]).all()
    keys = ["a", "b"]
    shuffled = intervals(planted.sample(frac=1, random_state=0)).sort_values(keys, ignore_index=True)
    pd.testing.assert_frame_equal(shuffled, table.sort_values(keys, ignore_index=True))


def test_a_planted_difference_is_found_and_corrected(planted: pd.DataFrame):
    table = differences(planted)
    assert len(table) == 3 * 6
    assert (table["p_holm"] >= table["p"]).all()
    row = table.query("region == 'V1' and first == 'V1' and second == 'none'").iloc[0]
    assert row["difference"] > row["ci_low"] > 0
    assert row["p_holm"] < 0.001
    null = table.query("region == 'V1' and first == 'V4' and second == 'TO'").iloc[0]
    assert null["ci_low"] < 0 < null["ci_high"]
    at_zero = planted[planted["draw"] == 0].set_index(["a", "b"])["similarity"]
    assert row["difference"] == pytest.approx(at_zero["V1", "V1"] - at_zero["none", "V1"])


def test_a_network_does_not_differ_from_its_copy():
    x = rdm(geometry(0), IDS, "V1", "pooled")
    copy = rdm(geometry(0), IDS, "V2", "pooled")
    table = differences(similarities(joined([x, copy]), rdm(geometry(1), IDS, "V1", "measured"), n_boot=20))
    assert table[["difference", "p"]].iloc[0].to_list() == pytest.approx([0, 1])


def test_own_regions_are_found_where_they_are_planted(planted: pd.DataFrame):
    row = own_region(planted).iloc[0]
    assert row["ci_low"] > 0.3
    assert row["p"] == row["p_least"] == pytest.approx(1 / 6)
    assert (row["n_regions"], row["n_closest"]) == (3, 3)
    swapped = own_region(planted.replace({"a": {"V1": "V4", "V4": "TO", "TO": "V1"}})).iloc[0]
    assert (swapped["p"], swapped["n_closest"]) == (1, 0)


def test_a_network_or_region_that_is_like_all_gains_nothing():
    names = [("pooled", a, "measured", b) for a in ("V1", "V4", "TO") for b in ("V1", "V4", "TO")]
    table = pd.DataFrame(names, columns=["a_source", "a", "b_source", "b"])
    general = table["a"].map({"V1": 0.1, "V4": 0.2, "TO": 0.3}) + table["b"].map({"V1": 0.3, "V4": 0.0, "TO": 0.1})
    draws = pd.concat([table.assign(similarity=general, draw=k, n_images=50, method="spearman") for k in range(3)])
    row = own_region(draws).iloc[0]
    assert (row["advantage"], row["p"]) == pytest.approx((0, 1))


def test_networks_without_a_region_and_single_regions_are_left_out(planted: pd.DataFrame):
    assert own_region(planted.query("b == 'V1'")).empty
    assert own_region(planted.query("a == 'none'")).empty
    assert differences(planted.query("a == 'none'")).empty


def test_draws_are_checked(planted: pd.DataFrame):
    for function in (intervals, differences, own_region):
        with pytest.raises(InputError, match="without similarity"):
            function(planted.drop(columns="similarity"))
        with pytest.raises(InputError, match="no interval over draws"):
            function(planted[planted["draw"] == 0])
    names = [("pooled", str(a), "measured", str(b)) for a in range(10) for b in range(10)]
    many = pd.DataFrame(names, columns=["a_source", "a", "b_source", "b"])
    many = pd.concat([many.assign(similarity=0.1, draw=k, n_images=50, method="spearman") for k in range(3)])
    with pytest.raises(InputError, match="too many regions"):
        own_region(many)


def square(distance: np.ndarray) -> pd.DataFrame:
    rows = [("pooled", str(i), "pooled", str(j), 1 - d) for (i, j), d in np.ndenumerate(distance)]
    return pd.DataFrame(rows, columns=["a_source", "a", "b_source", "b", "similarity"])


def test_a_planar_geometry_is_mapped_without_stress():
    points = np.random.default_rng(0).uniform(size=(7, 2))
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    found = mds(square(distance), seed=1)
    np.testing.assert_allclose(pdist(found[["x", "y"]]), pdist(points), atol=0.01)
    assert found["stress"].iloc[0] < 0.01
    assert list(found["name"]) == [str(i) for i in range(7)]
    pd.testing.assert_frame_equal(found, mds(square(distance), seed=1))


def test_the_stress_is_kruskals():
    distance = 1 - np.eye(6)  # six points equally far apart fit no plane
    found = mds(square(distance))
    placed = pdist(found[["x", "y"]])
    assert found["stress"].iloc[0] == pytest.approx(np.sqrt(np.sum((placed - 1) ** 2) / np.sum(placed**2)), abs=1e-3)
    assert found["stress"].iloc[0] > 0.1


@pytest.mark.parametrize(
    "broken",
    [
        lambda table: table.iloc[:-1],
        lambda table: table.assign(similarity=table["similarity"].where(table.index > 0)),
        lambda table: table.query("a in ['0', '1'] and b in ['0', '1']"),
    ],
)
def test_an_incomplete_table_makes_no_map(broken):
    with pytest.raises(InputError, match="make no map"):
        mds(broken(square(1 - np.eye(4))))


# --- figures --------------------------------------------------------------------------------------------------

TITLE = "Figure (demo study, simulated)"


def test_the_figure_of_networks_and_regions_shows_every_similarity_and_band(planted: pd.DataFrame):
    table = intervals(planted)
    ceilings = pd.DataFrame({"region": ["V1", "V4", "TO"], "lower": 0.4, "upper": 0.8})
    figure = plots.network_region(table, ceilings, title=TITLE)
    drawn = sorted(trace.x[0] for trace in figure.data if trace.x[0] is not None)
    assert drawn == pytest.approx(sorted(table["similarity"]))
    bands = [shape for shape in figure.layout.shapes if (shape.x0, shape.x1) == (0.4, 0.8)]
    own = [shape for shape in figure.layout.shapes if shape.type == "rect" and shape not in bands]
    assert (len(bands), len(own)) == (3, 3)
    assert figure.layout.title.text == TITLE
    with pytest.raises(InputError, match="unknown names"):
        plots.network_region(table, ceilings.iloc[:2], title=TITLE)
    with pytest.raises(InputError, match="unknown names"):
        plots.network_region(table.assign(a_source="layer3"), ceilings, title=TITLE)


@pytest.mark.parametrize("n_regions", [1, 3])
def test_the_figure_of_networks_and_regions_has_room_for_its_titles(planted: pd.DataFrame, n_regions: int):
    regions = ["V1", "V4", "TO"][:n_regions]
    table = intervals(planted).query("b in @regions and a in @regions")
    bands = pd.DataFrame({"region": regions, "lower": 0.4, "upper": 0.8})
    layout = plots.network_region(table, bands, title=TITLE).layout
    assert layout.height - layout.margin.t - layout.margin.b >= 200, "the title of the vertical axis"
    titles = [layout[f"xaxis{number if number > 1 else ''}"].title.text for number in range(1, n_regions + 1)]
    assert list(filter(None, titles)) == ["Spearman ρ"], "once: a panel may be narrower than it"


def test_rdms_are_shown_as_percentiles_sorted_by_category():
    matrix = np.abs(np.subtract.outer([0, 10, 1], [0, 10, 1])).astype(float)
    figure = plots.rdm_grid({"a": matrix, "b": 5 * matrix + 1}, ["disk", "star", "disk"], title=TITLE)
    expected = np.array([[0, 1, 3], [1, 0, 2], [3, 2, 0]]) * 100 / 3
    for trace in figure.data:
        np.testing.assert_allclose(trace.z, expected)
    assert list(figure.layout.yaxis.ticktext) == ["disk", "star"]
    assert list(figure.layout.yaxis.tickvals) == [0.5, 2]


@pytest.mark.parametrize("nothing", [None, np.nan, pd.NA])
def test_images_without_a_category_come_last(nothing):
    """As a study's table of labels has them, which may name some of its images only."""
    matrix = np.abs(np.subtract.outer([0, 10, 1, 4], [0, 10, 1, 4])).astype(float)
    figure = plots.rdm_grid({"a": matrix}, pd.Series(["star", nothing, "disk", nothing]), title=TITLE)
    plain = plots.rdm_grid({"a": matrix[np.ix_([2, 0, 1, 3], [2, 0, 1, 3])]}, title=TITLE)
    np.testing.assert_array_equal(figure.data[0].z, plain.data[0].z)
    axis = figure.layout.yaxis
    assert dict(zip(axis.ticktext, axis.tickvals, strict=True)) == {"disk": 0, "star": 1, "no category": 2.5}
    unnamed = plots.rdm_grid({"a": matrix}, [nothing] * 4, title=TITLE)
    assert list(unnamed.layout.yaxis.ticktext) == ["no category"]


@pytest.mark.parametrize(
    ("rdms", "categories"),
    [({}, None), ({"a": np.eye(3), "b": np.eye(4)}, None), ({"a": np.ones((3, 2))}, None), ({"a": np.eye(3)}, ["x"])],
)
def test_rdms_that_do_not_go_together_are_not_drawn(rdms, categories):
    with pytest.raises(InputError, match="cannot be drawn together"):
        plots.rdm_grid(rdms, categories, title=TITLE)


def test_the_heat_map_and_the_map_show_what_their_tables_hold():
    names = [("pooled", "TO"), ("measured", "V1"), ("pooled", "none")]
    rows = [(*a, *b, 1.0 if a == b else 0.1 * (i + j)) for i, a in enumerate(names) for j, b in enumerate(names)]
    table = pd.DataFrame(rows, columns=["a_source", "a", "b_source", "b", "similarity"]).assign(ci_low=0, ci_high=1)
    heat = plots.similarity_heatmap(table, title=TITLE).data[0].z
    np.testing.assert_allclose(heat, [[np.nan, 0.2, 0.3], [0.2, np.nan, 0.1], [0.3, 0.1, np.nan]])
    places = mds(table)
    figure = plots.rdm_map(places, title=TITLE)
    markers = {trace.name: trace for trace in figure.data if trace.mode == "markers" and trace.x[0] is not None}
    assert markers["region, measured: V1"].x[0] == places.set_index("name").loc["V1", "x"]
    assert f"stress-1 = {places['stress'].iloc[0]:.2f}" in figure.layout.title.text
    spans = [np.ptp(axis.range) for axis in (figure.layout.xaxis, figure.layout.yaxis)]
    assert spans[0] / spans[1] == pytest.approx(np.divide(*plot_size(figure))), "a unit is as long on either axis"
    assert (figure.layout.yaxis.scaleanchor, figure.layout.xaxis.constrain) == ("x", "domain"), "and stays so"


MEANS = (("none", 0.2), ("TO", 0.5))


def test_similarities_over_runs_are_their_means() -> None:
    rng = np.random.default_rng(0)
    keys = {"a_source": "pooled", "b_source": "measured", "b": "VT", "n_images": 8, "method": "spearman"}
    rows = [{**keys, "a": a, "run": run, "similarity": rng.normal(mean, 0.1)} for run in range(12) for a, mean in MEANS]
    each = pd.DataFrame(rows)
    found = over_runs(each, n_boot=500).set_index("a")
    for name, _ in MEANS:
        values = each.loc[each.a == name, "similarity"]
        assert found.loc[name, "similarity"] == pytest.approx(values.mean())
        sem = values.std() / np.sqrt(len(values))
        assert found.loc[name, "ci_high"] - found.loc[name, "ci_low"] == pytest.approx(3.92 * sem, rel=0.25)
    with pytest.raises(InputError, match="no interval over runs"):
        over_runs(each[each.run == 0])
    with pytest.raises(InputError, match="without run"):
        over_runs(each.drop(columns="run"))
