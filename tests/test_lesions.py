"""Lesions of the read-out: subspaces as they are said to be, networks whose decisions lie in them or beside them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from nbtools import attacks, metrics, models
from nbtools.data.images.sets import ImageSet
from nbtools.errors import InputError
from nbtools.metrics.decisions.lesions import INTACT, LESIONS
from nbtools.metrics.geometry.subspaces import (
    leading_directions,
    matched_directions,
    random_directions,
    random_units,
    strongest_units,
    variance_share,
)

CLASSES, K = ("a", "b", "c"), 4


def spread_out(d: int = 40, seed: int = 0) -> np.ndarray:
    """A covariance whose eigenvalues fall by a third each, some of them 0."""
    basis = np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))[0]
    values = 0.7 ** np.arange(d)
    values[-5:] = 0
    return basis * values @ basis.T


# --- subspaces ----------------------------------------------------------------------------------------------


def test_leading_directions_lie_in_the_row_space_and_explain_the_answers() -> None:
    rng = np.random.default_rng(0)
    weights, covariance = rng.standard_normal((6, 40)), spread_out()
    everything = np.linalg.svd(weights)[2][:6]
    for k in (1, 3, 6):
        basis = leading_directions(weights, covariance, k)
        assert basis.T @ basis == pytest.approx(np.eye(k))
        assert everything.T @ (everything @ basis) == pytest.approx(basis)
    points = rng.multivariate_normal(np.zeros(40), covariance, 20_000)
    answers = points @ weights.T
    components = np.linalg.svd(answers - answers.mean(0), full_matrices=False)[2]  # independent: of sampled answers
    first = weights.T @ components[:2].T
    cosines = np.linalg.svd(np.linalg.qr(first)[0].T @ leading_directions(weights, covariance, 2))[1]
    assert cosines.min() > 0.98


def test_a_direction_without_variance_does_not_lead() -> None:
    weights = np.array([[100.0, 0, 0], [0, 1, 0]])
    assert np.abs(leading_directions(weights, np.diag([0.0, 1, 1]), 1)).ravel() == pytest.approx([0, 1, 0])


@pytest.mark.parametrize(("k", "share"), [(1, 0.1), (4, 0.01), (4, 0.5), (12, 0.3), (12, 0.95)])
def test_matched_directions_hold_the_variance_that_is_asked_for(k: int, share: float) -> None:
    covariance = spread_out()
    bases = [matched_directions(covariance, k, share, seed) for seed in range(5)]
    for basis in bases:
        assert basis.T @ basis == pytest.approx(np.eye(k), abs=1e-9)
        assert variance_share(basis, covariance) == pytest.approx(share, abs=1e-4)
    assert not np.allclose(bases[0] @ bases[0].T, bases[1] @ bases[1].T, atol=0.01)
    np.testing.assert_array_equal(bases[0], matched_directions(covariance, k, share, 0))


def test_the_variance_of_all_leading_components_is_nearly_reached() -> None:
    covariance = spread_out()
    values = np.linalg.eigvalsh(covariance)[::-1]
    most = values[:3].sum() / values.sum()
    assert variance_share(matched_directions(covariance, 3, most, 0), covariance) == pytest.approx(most, rel=0.1)


def test_random_directions_hold_their_share_on_average() -> None:
    covariance = spread_out()
    shares = [variance_share(random_directions(40, 10, seed), covariance) for seed in range(400)]
    assert np.mean(shares) == pytest.approx(10 / 40, rel=0.05)


def test_units_are_single_features() -> None:
    weights = np.array([[0.0, 3, 0, -1], [0, 0, 2, -1]])
    assert strongest_units(weights, 2).T.tolist() == [[0, 1, 0, 0], [0, 0, 1, 0]]
    drawn = random_units(30, 5, 1)
    assert (drawn.sum(0) == 1).all()
    assert np.linalg.matrix_rank(drawn) == 5
    assert (drawn != random_units(30, 5, 2)).any()


def test_more_directions_than_there_are_cannot_be_taken() -> None:
    with pytest.raises(InputError, match="k cannot be 3"):
        leading_directions(np.ones((5, 9)) * np.arange(1, 6)[:, None], np.eye(9), 3)
    with pytest.raises(InputError, match="k cannot be 10"):
        random_directions(9, 10, 0)


# --- networks -----------------------------------------------------------------------------------------------


def images(n: int = 24, side: int = 16) -> ImageSet:
    pixels = torch.randint(0, 256, (n, 3, side, side), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    ids = np.array([f"i{i}" for i in range(n)])
    return ImageSet(pixels, torch.arange(n) % 3, ids, CLASSES)


def planted(carries: bool, n_components: int = K) -> models.GuidedNet:
    """A network that is right on all images by directions that its neural head reads, or by others, orthogonal."""
    network = models.freeze(models.build(models.GuidedNet, 1, "small_resnet", CLASSES, n_components))
    shown = images()
    features = models.read_out(network, shown.pixels, ["pooled"])["pooled"].double().numpy()
    features -= features.mean(axis=0)
    components = np.linalg.svd(features, full_matrices=False)[2]
    carrying, others = components[:16], components[16 : 16 + K]
    onehot = np.eye(3)[shown.labels.numpy()]
    fitted = np.linalg.lstsq(features @ carrying.T, onehot - 1 / 3, rcond=None)[0].T @ carrying
    rows = np.linalg.svd(fitted)[2][:2]  # three logits that add up to nothing span two dimensions
    with torch.no_grad():
        mixed = np.random.default_rng(0).standard_normal((n_components, 2 if carries else K))
        network.neural_head.weight.copy_(torch.as_tensor(mixed @ (rows if carries else others)))
        network.class_head.weight.copy_(torch.as_tensor(fitted))
        mean = models.read_out(network, shown.pixels, ["pooled"])["pooled"].mean(0)
        network.class_head.bias.copy_(-network.class_head.weight @ mean)
    return network


@pytest.fixture(scope="module")
def decisions() -> pd.DataFrame:
    networks = {("TO", 0): planted(True), ("random", 0): planted(False)}
    networks["none", 0] = models.freeze(models.build(models.GuidedNet, 0, "small_resnet", CLASSES, 0))
    return attacks.decide_lesioned(networks, images(), [0.5 / 255], k=2, n_draws=2, steps=3)


def test_a_lesion_is_a_projection_of_the_features() -> None:
    network, shown = planted(True), images()
    before = {name: values.clone() for name, values in network.state_dict().items()}
    features = models.read_out(network, shown.pixels, ["pooled"])["pooled"].double().numpy()
    weights, centre = models.neural_weights(network), features.mean(axis=0)
    basis = leading_directions(weights, np.cov(features.T), 2)
    # independent: what least squares makes of the features from the neural head's rows is taken away
    explained = np.linalg.lstsq(weights.T, (features - centre).T, rcond=None)[0]
    left = features - (weights.T @ explained).T
    head = network.class_head
    expected = left @ head.weight.detach().double().numpy().T + head.bias.detach().double().numpy()
    after = models.lesioned(network, basis, centre)
    assert models.predict(after, shown.pixels).numpy() == pytest.approx(expected, abs=1e-3)
    assert all(torch.equal(values, before[name]) for name, values in network.state_dict().items())
    assert not after.training
    assert not any(weights.requires_grad for weights in after.parameters())


def test_a_lesion_of_a_unit_leaves_its_mean() -> None:
    network, shown = planted(True), images()
    features = models.read_out(network, shown.pixels, ["pooled"])["pooled"]
    after = models.lesioned(network, np.eye(features.shape[1])[:, [7]], features.mean(0).double().numpy())
    features[:, 7] = features[:, 7].mean()
    torch.testing.assert_close(models.predict(after, shown.pixels), network.class_head(features), atol=1e-4, rtol=1e-4)


def test_neural_heads_elsewhere_have_no_directions_of_the_pooled_features() -> None:
    wide = models.GuidedNet("small_resnet", CLASSES, (3, 5), ("pooled", "layer4"))
    assert models.neural_weights(wide).shape == (3, wide.backbone.width)
    assert models.neural_weights(models.GuidedNet("small_resnet", CLASSES, 3, "layer2")) is None
    assert models.neural_weights(models.GuidedNet("small_resnet", CLASSES, 0)) is None


def test_what_is_no_subspace_is_refused() -> None:
    network = models.GuidedNet("small_resnet", CLASSES, 3)
    width = network.backbone.width
    for basis in (np.ones((width, 1)), np.eye(width - 1)[:, :2]):
        with pytest.raises(InputError, match="no subspace"):
            models.lesioned(network, basis, np.zeros(width))


def test_decisions_in_the_neural_subspace_go_with_it_and_others_stay(decisions: pd.DataFrame) -> None:
    accuracy = metrics.lesion_accuracy(decisions).set_index(["condition", "attacked", "epsilon", "lesion"])["accuracy"]
    for condition in ("TO", "random"):
        assert accuracy[condition, "clean", 0.0, INTACT] == 1
        assert accuracy[condition, "clean", 0.0, "random directions"] == 1
    assert accuracy["TO", "clean", 0.0, "neural directions"] == pytest.approx(1 / 3), "chance"
    assert accuracy["random", "clean", 0.0, "neural directions"] == 1
    assert accuracy["TO", "intact", 0.5 / 255, INTACT] < 1
    same = decisions.query("condition == 'random' and attacked != 'lesioned' and draw == 0")
    margins = same.pivot(index=["image_id", "epsilon"], columns="lesion", values="margin")
    np.testing.assert_allclose(margins["neural directions"], margins[INTACT], atol=0.01)


def test_cost_is_that_of_the_lesion_over_its_controls(decisions: pd.DataFrame) -> None:
    cost = metrics.lesion_cost(decisions).set_index(["condition", "attacked", "epsilon", "control"])
    assert set(cost.reset_index()["control"]) == set(LESIONS["neural directions"])
    assert cost.loc[("TO", "clean", 0.0, "random directions"), "cost"] == pytest.approx(2 / 3)
    assert cost.loc[("random", "clean", 0.0, "random directions"), "cost"] == pytest.approx(0)
    assert (cost["ci_low"] <= cost["cost"]).all()
    assert (cost["cost"] <= cost["ci_high"]).all()
    by_hand = decisions.query("condition == 'TO' and attacked == 'lesioned' and epsilon > 0")
    right = (by_hand["prediction"] == by_hand["label"]).groupby(by_hand["lesion"]).mean()
    found = cost.loc[("TO", "lesioned", 0.5 / 255, "matched directions"), "cost"]
    assert found == pytest.approx(right["matched directions"] - right["neural directions"])
    units = metrics.lesion_cost(decisions, "neural units")
    assert set(units["control"]) == {"random units"}
    assert set(units["condition"]) == {"TO", "random"}, "without a neural head there is no lesion"
    none = metrics.lesion_cost(decisions[decisions["condition"] == "none"])
    assert none.empty
    assert list(none) == list(units)


def test_lesions_take_what_their_controls_take(decisions: pd.DataFrame) -> None:
    gone = decisions.groupby(["condition", "lesion"])["variance"].mean()
    for condition in ("TO", "random"):
        assert gone[condition, "matched directions"] == pytest.approx(gone[condition, "neural directions"], abs=1e-3)
    assert gone["TO", "neural directions"] > 5 * gone["TO", "random directions"]
    assert list(decisions.loc[decisions["condition"] == "none", "lesion"].unique()) == [INTACT]
    assert decisions.groupby(["condition", "attacked", "lesion", "draw", "epsilon"]).size().eq(24).all()


def test_an_intact_network_is_attacked_with_all_steps(decisions: pd.DataFrame) -> None:
    """Not just beyond its boundary: its wrong decisions are as wrong as three steps make them."""
    at = decisions.query("condition == 'TO' and lesion == @INTACT and epsilon > 0")
    fell = at[at["prediction"] != at["label"]].groupby("attacked")["margin"].mean()
    assert fell["intact"] <= fell["lesioned"]
    by_sweep = attacks.sweep(planted(True), images(), [0.5 / 255], steps=3)
    own = at.query("attacked == 'lesioned'").set_index("image_id")["prediction"]
    assert own.equals(by_sweep.query("epsilon > 0").set_index("image_id")["prediction"].reindex(own.index))


def test_lesions_that_are_not_asked_for_in_numbers_are_refused(decisions: pd.DataFrame) -> None:
    network = {("TO", 0): planted(True)}
    for wrong in ({"k": 5}, {"n_draws": 0}, {"k": 0}):
        with pytest.raises(InputError, match="cannot be"):
            attacks.decide_lesioned(network, images(), [1 / 255], steps=1, **wrong)
    with pytest.raises(InputError, match="no network"):
        attacks.decide_lesioned({}, images(), [1 / 255])
    with pytest.raises(InputError, match="unknown lesion"):
        metrics.lesion_cost(decisions, "neural")
    with pytest.raises(InputError, match="cannot be compared"):
        metrics.lesion_accuracy(pd.concat([decisions, decisions]))


def test_tables_with_gaps_are_refused(decisions: pd.DataFrame) -> None:
    for name in ("neural directions", "random directions"):
        with pytest.raises(InputError, match="lacks lesions"):
            metrics.lesion_cost(decisions[decisions["lesion"] != name])
    half = decisions["image_id"].isin([f"i{k}" for k in range(12)])
    draw = (decisions["lesion"] == "random directions") & (decisions["draw"] == 1)
    for measure in (metrics.lesion_cost, metrics.lesion_accuracy):
        with pytest.raises(InputError, match="that other images lack"):
            measure(decisions[~(draw & half)])
        with pytest.raises(InputError, match="without variance"):
            measure(decisions.drop(columns="variance"))


def test_features_that_do_not_vary_have_no_directions() -> None:
    for covariance, says in ((np.zeros((5, 5)), "no variance"), (np.full((5, 5), np.nan), "not finite")):
        with pytest.raises(InputError, match=says):
            matched_directions(covariance, 2, 0.3, 0)
        with pytest.raises(InputError, match=says):
            leading_directions(np.eye(5), covariance, 2)
    network = planted(True)
    with pytest.raises(InputError, match="at least 2"):
        attacks.decide_lesioned({("TO", 0): network}, images(1), [1 / 255], steps=1)
    with torch.no_grad():
        network.neural_head.weight.fill_(torch.nan)
    with pytest.raises(InputError, match="weights are not finite"):
        attacks.decide_lesioned({("TO", 0): network}, images(6), [1 / 255], k=1, steps=1)
