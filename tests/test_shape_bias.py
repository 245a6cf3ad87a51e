"""Shape bias: planted decisions have an exact bias; categories are decided as Geirhos et al. do."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from nbtools import plots
from nbtools.data.images import imagenet
from nbtools.data.images.cue_conflict import cue_conflict_names
from nbtools.errors import InputError
from nbtools.metrics.decisions.consistency import consistency_matrix, error_consistency
from nbtools.metrics.decisions.shape_bias import shape_bias
from nbtools.metrics.decisions.sixteen import (
    CATEGORIES,
    SYNSETS,
    conflict_reach,
    decidable,
    decidable_conflicts,
    decide_category,
)


def planted(shape: int, texture: int, other: int, condition: str = "TO", seed: int = 0) -> pd.DataFrame:
    """Decisions of which so many are for shape, for texture, for a third class; and ten images without conflict."""
    answers = ["disk"] * shape + ["star"] * texture + ["bar"] * other
    conflict = pd.DataFrame({"shape": "disk", "texture": "star", "prediction": answers})
    plain = pd.DataFrame({"shape": "disk", "texture": "disk", "prediction": ["disk"] * 10})
    table = pd.concat([conflict, plain], ignore_index=True)
    return table.assign(image_id=[f"{i:03d}" for i in range(len(table))], condition=condition, seed=seed)


def test_a_planted_bias_is_exact():
    row = shape_bias(planted(60, 20, 20)).iloc[0]
    assert row["shape_bias"] == pytest.approx(0.75)
    assert (row["shape_accuracy"], row["texture_accuracy"]) == pytest.approx((0.6, 0.2))
    assert (row["n"], row["n_decided"]) == (100, 80)
    width = row["ci_high"] - row["ci_low"]
    assert width == pytest.approx(2 * 1.96 * np.sqrt(0.75 * 0.25 / 80), rel=0.15)


def test_every_network_has_its_own():
    both = pd.concat([planted(60, 20, 20, seed=0), planted(20, 60, 20, seed=1)])
    assert shape_bias(both, by=("condition", "seed"))["shape_bias"].tolist() == pytest.approx([0.75, 0.25])
    with pytest.raises(InputError, match="such as seed"):
        shape_bias(both, by=("condition",))


def test_every_class_has_its_own():
    other = planted(10, 30, 0).iloc[:40].assign(shape="bar", texture="star")
    other["prediction"] = other["prediction"].replace("disk", "bar")
    other["image_id"] += "b"
    table = shape_bias(pd.concat([planted(60, 20, 20), other]), by=("condition", "shape")).set_index("shape")
    assert table["shape_bias"].to_dict() == pytest.approx({"disk": 0.75, "bar": 0.25})


def test_a_network_that_decides_for_neither_has_no_bias():
    row = shape_bias(planted(0, 0, 50)).iloc[0]
    assert (row["n"], row["n_decided"], row["shape_accuracy"]) == (50, 0, 0)
    assert row[["shape_bias", "ci_low", "ci_high"]].isna().all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.drop(columns="texture"), "without texture"),
        (lambda t: t.assign(prediction=None), "missing values"),
        (lambda t: t.assign(texture=t["shape"]), "none with a conflict"),
        (lambda t: pd.concat([t, t]), "25 of them twice"),
        (lambda t: t.iloc[:0], "0 rows"),
        (lambda t: t.assign(prediction=3), "all integer or all text"),
    ],
)
def test_other_tables_are_refused(change, said):
    with pytest.raises(InputError, match=said):
        shape_bias(change(planted(5, 5, 5)))


@pytest.mark.parametrize("wrong", [None, 3])
def test_an_answer_that_is_missing_or_of_another_kind_is_no_error_of_a_network(wrong):
    spoiled = planted(5, 5, 5).assign(prediction=wrong)
    for label in ("shape", "texture"):
        with pytest.raises(InputError, match="errors cannot be compared"):
            consistency_matrix(spoiled, label=label)


# Names


def test_names_of_both_sets_are_read():
    table = cue_conflict_names(np.array(["cat/cat4-truck3.png", "disk/disk-star-007.png", "oven/oven10-oven1.png"]))
    assert table[["shape", "texture"]].to_numpy().tolist() == [["cat", "truck"], ["disk", "star"], ["oven", "oven"]]


@pytest.mark.parametrize(
    "pair", [("n02690373", "n02504458"), ("hot-dog_1", "T.V. 2"), ("a_1-b", "c_3-d_4"), ("1", "-")]
)
def test_painted_images_may_be_of_any_classes(pair: tuple[str, str]):
    shape, texture = pair
    (row,) = cue_conflict_names(np.array([f"{shape}/{shape}_4-{texture}_30.png"])).itertuples()
    assert (row.shape, row.texture) == pair


@pytest.mark.parametrize(
    "name", ["cat4-truck3.png", "dog/cat4-truck3.png", "cat/cat4.png", "cat/cat4_truck3.png", "cat/.png"]
)
def test_other_names_are_refused(name):
    with pytest.raises(InputError, match="not the name of a cue-conflict image"):
        cue_conflict_names(np.array([name]))


# Categories


def test_the_mapping_is_that_of_the_sixteen():
    assert len(CATEGORIES) == 16
    synsets = [name for members in SYNSETS.values() for name in members]
    assert len(synsets) == len(set(synsets))
    assert all(len(name) == 9 and name[0] == "n" and name[1:].isdigit() for name in synsets)
    assert len(SYNSETS["dog"]) == 110
    assert "n02690373" in SYNSETS["airplane"]


def test_a_category_is_the_mean_over_its_synsets():
    classes = ["n02690373", "n02504013", "n02504458", "n00000001"]
    p = [[0.4, 0.5, 0.1, 0.0], [0.25, 0.5, 0.1, 0.15], [0.1, 0.0, 0.0, 0.9]]
    decided = decide_category(p, classes, ["airplane", "elephant"])
    assert decided.tolist() == ["airplane", "elephant", "airplane"], "means .30, .30 with .25, and nothing else counts"


def test_classes_of_the_categories_names_decide_for_themselves():
    assert decide_category([[0.2, 0.7, 0.1]], ["disk", "star", "bar"], ["disk", "bar"]).tolist() == ["disk"]


def test_imagenet50_knows_some_of_the_sixteen():
    fifty = ["n02690373", "n02504458", "n02708093", "n04254680"]
    assert decidable(fifty, CATEGORIES) == ["airplane", "clock", "elephant"]
    with pytest.raises(InputError, match="oven"):
        decide_category(np.full((1, 4), 0.25), fifty, ["airplane", "oven"])


def geirhos(per_pair: int) -> pd.DataFrame:
    """Names as the published set has them: every category in the texture of every category, itself included."""
    pairs = [(a, b, i) for a in CATEGORIES for b in CATEGORIES for i in range(1, per_pair + 1)]
    return cue_conflict_names(np.array([f"{a}/{a}{i}-{b}{i}.png" for a, b, i in pairs]))


def test_how_far_geirhoss_images_reach_is_said():
    published, fifty = geirhos(5), list(imagenet.SYNSETS)
    kept = decidable_conflicts(published, fifty)
    pd.testing.assert_frame_equal(kept, published.loc[kept.index])
    assert set(kept["shape"]) == set(kept["texture"]) == {"airplane", "clock", "elephant"}
    told = conflict_reach(published, fifty)
    assert told.startswith("3 of 16 categories are known: 6 ordered pairs, 30 images, a shape bias of .5 within ± .18")
    assert "airplane, clock, elephant alone" in told
    assert "prepare cue-conflict" in told
    whole = conflict_reach(published, [name for members in SYNSETS.values() for name in members])
    assert whole == "16 of 16 categories are known: 240 ordered pairs, 1200 images, a shape bias of .5 within ± .03"


def test_the_half_width_is_that_of_a_binomial_interval():
    n, rng = 30, np.random.default_rng(0)
    spread = 1.96 * (rng.binomial(n, 0.5, 20_000) / n).std()
    assert float(re.search(r"± (\.\d+)", conflict_reach(geirhos(5), list(imagenet.SYNSETS)))[1]) == pytest.approx(
        spread, abs=0.006
    )


@pytest.mark.parametrize("classes", [["disk", "star"], ["n02690373"]])
def test_images_that_ask_nothing_are_refused(classes: list[str]):
    with pytest.raises(InputError, match=r"ask nothing of the networks(.|\n)*prepare cue-conflict"):
        decidable_conflicts(geirhos(1), classes)


@pytest.mark.parametrize("p", [[[0.5, 0.6]], [[-0.5, 1.5]], [[np.nan, 1]], [0.5, 0.5], [[1.0]]])
def test_probabilities_are_asked_for(p):
    with pytest.raises(InputError, match="not class probabilities"):
        decide_category(p, ["disk", "star"], ["disk", "star"])


# Error consistency


def test_kappa_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    a = rng.random(500) < 0.7
    b = np.where(rng.random(500) < 0.5, a, rng.random(500) < 0.6)
    found = error_consistency(a, b)
    assert found["kappa"] == pytest.approx(cohen_kappa_score(a, b))
    assert found["ci_low"] < found["kappa"] < found["ci_high"]
    assert found["n"] == 500


@pytest.mark.slow
def test_independent_networks_have_none_and_copies_all():
    rng = np.random.default_rng(1)
    a, b = rng.random((2, 5000)) < 0.8
    assert error_consistency(a, b)["kappa"] == pytest.approx(0, abs=0.05)
    assert error_consistency(a, a)["kappa"] == pytest.approx(1)
    assert error_consistency(a, ~a)["kappa"] < 0


@pytest.mark.parametrize(("p", "q", "kappa"), [(0.95, 0.97, 0.0), (0.95, 0.97, 0.4), (0.7, 0.8, 0.4)])
def test_the_interval_of_kappa_covers_it_near_ceiling_too(p: float, q: float, kappa: float):
    """Where both networks fail no image of 400, as every second time at (.95, .97, 0), plain resamples never do."""
    expected = p * q + (1 - p) * (1 - q)
    both = (kappa * (1 - expected) + expected + p + q - 1) / 2
    shares = [both, p - both, q - both, 1 - p - q + both]
    rng, covered = np.random.default_rng(0), 0
    for _ in range(200):
        a, b = np.array([[1, 1], [1, 0], [0, 1], [0, 0]], bool)[rng.choice(4, 400, p=shares)].T
        found = error_consistency(a, b)
        covered += found["ci_low"] <= kappa <= found["ci_high"]
    assert covered >= 180


def test_networks_that_are_always_right_have_no_kappa():
    right = np.ones(50, bool)
    found = error_consistency(right, right)
    assert (found["observed"], found["expected"]) == (1, 1)
    assert np.isnan([found["kappa"], found["ci_low"], found["ci_high"]]).all()


@pytest.mark.parametrize(("a", "b"), [([True], [True]), ([True, False], [True]), ([1, 0], [1, 0]), ([], [])])
def test_what_is_not_right_or_wrong_is_refused(a, b):
    with pytest.raises(InputError, match="cannot be compared"):
        error_consistency(np.array(a), np.array(b))


def decisions() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    parts = [
        pd.DataFrame({"image_id": np.arange(60), "label": 0, "prediction": rng.integers(0, 2, 60), "condition": name})
        for name in ("TO", "none", "V1")
    ]
    return pd.concat(parts).sample(frac=1, random_state=0)


def test_the_matrix_holds_every_pair():
    table = consistency_matrix(decisions())
    assert len(table) == 9
    wide = decisions().pivot(index="image_id", columns="condition", values="prediction") == 0
    cell = table[(table.a == "TO") & (table.b == "V1")].kappa.item()
    assert cell == pytest.approx(cohen_kappa_score(wide["TO"], wide["V1"]))
    assert table[(table.a == "V1") & (table.b == "TO")].kappa.item() == cell
    with pytest.raises(InputError, match="some networks only"):
        consistency_matrix(decisions().iloc[1:])


# Figures


def test_networks_of_several_seeds_that_are_always_right_have_no_consistency() -> None:
    """Chance explains all of it: missing, and no error."""
    one = pd.DataFrame({"condition": "V1", "image_id": range(9), "label": 1, "prediction": 1})
    (row,) = consistency_matrix(pd.concat([one.assign(seed=seed) for seed in range(3)])).to_dict("records")
    assert np.isnan([row["kappa"], row["ci_low"], row["ci_high"]]).all()


def test_consistency_is_read_between_seeds() -> None:
    """Networks of a seed that fail on the very same images tell nothing: other seeds are asked."""
    rng, n = np.random.default_rng(0), 400
    shared, parts = rng.random(n) < 0.5, []
    for seed in range(4):
        luck = rng.random(n) < 0.5
        for condition, hard in (("V1", shared), ("TO", luck)):
            right = np.where(rng.random(n) < 0.8, hard, luck)
            parts.append(pd.DataFrame({"condition": condition, "seed": seed, "image_id": range(n), "label": 1}))
            parts[-1]["prediction"] = right.astype(int)
    table = consistency_matrix(pd.concat(parts)).set_index(["a", "b"])
    assert table.loc[("V1", "V1"), "ci_low"] > 0.4, "V1's networks share what they fail on"
    for pair in (("TO", "TO"), ("V1", "TO")):
        assert table.loc[pair, "kappa"] == pytest.approx(0, abs=0.1)
        assert table.loc[pair, "ci_low"] < 0 < table.loc[pair, "ci_high"]
    one = pd.concat(parts[:2])
    assert consistency_matrix(one).set_index(["a", "b"]).loc[("V1", "TO"), "ci_low"] > 0, "one seed: what it shares"
    right = [part["prediction"].to_numpy(bool) for part in parts[::2]]
    by_hand = [error_consistency(right[i], right[j])["kappa"] for i in range(4) for j in range(4) if i != j]
    assert table.loc[("V1", "V1"), "kappa"] == pytest.approx(np.mean(by_hand))


def test_figures_show_the_scores():
    tables = [planted(60, 20, 20), planted(20, 60, 20, condition="none")]
    scores = shape_bias(pd.concat(tables))
    fig = plots.scores_by_condition(scores, "shape_bias", "shape bias", note="ρ", title="t")
    points = {trace.name: trace.y[0] for trace in fig.data if trace.name}
    assert points == pytest.approx({"none": 0.25, "TO": 0.75})
    bars = plots.shape_and_texture(scores, title="t")
    assert np.array([trace.y for trace in bars.data]) == pytest.approx(np.array([[0.2, 0.6], [0.6, 0.2], [0.2, 0.2]]))
    classes = plots.class_bias(shape_bias(pd.concat(tables), by=("condition", "shape")), title="t")
    assert {trace.name: trace.x[0] for trace in classes.data} == pytest.approx({"none": 0.25, "TO": 0.75})
    (heat,) = plots.consistency_heatmap(consistency_matrix(decisions()), title="t").data
    assert list(heat.x) == ["none", "V1", "TO"]
    assert heat.text[0][0] == ""
    for draw in (plots.shape_and_texture, plots.class_bias, plots.consistency_heatmap):
        with pytest.raises(InputError, match="cannot be drawn"):
            draw(scores.iloc[:0], title="t")
