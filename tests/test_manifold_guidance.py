"""Manifold guidance: planted clouds, scikit-learn's components, a loss that is 0 where it should be, kills."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings, strategies as st
from sklearn.decomposition import PCA
from torch import Tensor, nn

from nbtools.conditions import parse_condition
from nbtools.data.images.sets import ImageSet, to_float
from nbtools.errors import InputError
from nbtools.models.networks import GuidedNet, RoiPredictor, build, freeze
from nbtools.models.read_outs import predict
from nbtools.training import loop
from nbtools.training.clouds import (
    CategoryManifolds,
    category_manifolds,
    cloud_geometry,
    distance_outside,
    variance_outside,
)
from nbtools.training.guided import train_guided
from nbtools.training.loop import TrainConfig
from nbtools.training.manifolds import (
    PAPER_WEIGHTS,
    ManifoldObjective,
    cloud_responses,
    neural_manifolds,
    train_manifold_guided,
)
from nbtools.training.targets import Aim, Guide, Match, derangement, make_guide

SIDE, D, K, N = 16, 6, 4, 80
SPLITS = {"train": np.arange(60), "validation": np.arange(60, N)}
CONFIG = TrainConfig(epochs=3, batch_size=20, lr=2e-3)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def planted(n: int = 50, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Four clouds that vary along one to four of eight directions, and hardly along the others."""
    rng = np.random.default_rng(seed)
    labels = np.arange(K * n) % K
    spread = np.full((K, 8), 0.01)
    for category in range(K):
        spread[category, category : 2 * category + 1] = 1 + category
    values = 5 * rng.normal(size=(K, 8))[labels] + rng.normal(size=(len(labels), 8)) * spread[labels]
    return torch.from_numpy(values).float(), torch.from_numpy(labels)


def some_images(seed: int = 0) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    tint = torch.rand((N, 3, 1, 1), generator=generator) * 180
    pixels = (tint + torch.rand((N, 3, SIDE, SIDE), generator=generator) * 75).to(torch.uint8)
    return ImageSet(pixels, torch.arange(N) % K, np.arange(N), tuple("abcd"))


def a_network(n_components: int = D, classes: str = "abcd") -> GuidedNet:
    return build(GuidedNet, 0, "small_resnet", list(classes), n_components)


def a_guide(condition: str = "TO", target_scale: str = "global", predictor: RoiPredictor | None = None) -> Guide:
    predictor = predictor or build(RoiPredictor, 1, "small_resnet", D, 20)
    predictor.train()(to_float(some_images().pixels))  # running statistics that are not their initial values
    return make_guide(parse_condition(condition), predictor, some_images(), target_scale, 0)  # type: ignore[arg-type]


def some_manifolds(condition: str = "TO") -> CategoryManifolds:
    return neural_manifolds(a_guide(condition), some_images()[SPLITS["train"]], SIDE, 0)


def digest(model: nn.Module) -> str:
    state = model.state_dict()
    return hashlib.sha256(b"".join(state[name].numpy().tobytes() for name in sorted(state))).hexdigest()


# --- manifolds ----------------------------------------------------------------------------------------------


def test_centres_radii_and_bases_are_numpys_and_scikit_learns() -> None:
    responses, labels = planted()
    manifolds = category_manifolds(responses, labels, K)
    for category in range(K):
        cloud = responses[labels == category].numpy().astype(np.float64)
        pca = PCA(n_components=0.95, svd_solver="full").fit(cloud)
        np.testing.assert_allclose(manifolds.centres[category], cloud.mean(0), rtol=1e-5, atol=1e-6)
        distances = ((cloud - cloud.mean(0)) ** 2).sum(1)
        assert manifolds.radii[category].item() == pytest.approx(np.sqrt(distances.mean()), rel=1e-5)
        basis = manifolds.bases[category, : manifolds.dimensions[category]].double().numpy()
        np.testing.assert_allclose(basis.T @ basis, pca.components_.T @ pca.components_, atol=1e-4)
    assert manifolds.dimensions.tolist() == [1, 2, 3, 4], "as many as were planted"


def test_a_bigger_share_of_variance_needs_a_bigger_basis() -> None:
    responses, labels = planted()
    few, many = (category_manifolds(responses, labels, K, variance) for variance in (0.3, 0.999999))
    assert few.dimensions.tolist() == [1, 1, 1, 1]
    clouds = [responses[labels == k].double().numpy() for k in range(K)]
    theirs = [PCA(0.999999, svd_solver="full").fit(cloud).n_components_ for cloud in clouds]
    assert many.dimensions.tolist() == theirs
    assert min(theirs) > 4, "the noise around what was planted counts too"


def test_a_guides_manifolds_are_those_of_its_scaled_responses() -> None:
    guide, images = a_guide(), some_images()[SPLITS["train"]]
    manifolds = neural_manifolds(guide, images, SIDE, 0)
    (aim,) = guide.aims
    scaled = (predict(aim.predictor, images.pixels) - aim.mean) / aim.scale
    torch.testing.assert_close(cloud_responses(guide, images, SIDE, batch_size=7), scaled)
    torch.testing.assert_close(manifolds.centres, category_manifolds(scaled, images.labels, K).centres)
    network = freeze(a_network())
    neural = network.heads(to_float(images.pixels))[1]
    torch.testing.assert_close(cloud_responses(network, images, SIDE, batch_size=7), neural)
    raw = neural_manifolds(a_guide(target_scale="raw"), images, SIDE, 0)
    torch.testing.assert_close(manifolds.radii, raw.radii / aim.scale)


def test_clouds_are_measured_in_the_same_precision_everywhere() -> None:
    """In TF32 a GPU's would be .05 % off: a training of these clouds would not know its checkpoint elsewhere."""
    seen, predictor = [], build(RoiPredictor, 1, "small_resnet", D, 20)
    predictor.register_forward_hook(lambda *_: seen.append(torch.backends.cudnn.allow_tf32))
    neural_manifolds(a_guide(predictor=predictor), some_images(), SIDE, 0)
    assert seen == [True, False, False], "one look that is not measured, the scale, the clouds"
    assert torch.backends.cudnn.allow_tf32


def test_a_shuffled_guide_gives_every_category_the_manifold_of_another() -> None:
    own, shuffled = some_manifolds(), some_manifolds("TO-shuffle")
    order = derangement(K, 0)
    assert not (order == torch.arange(K)).any()
    torch.testing.assert_close(shuffled.radii, own.radii[order])
    torch.testing.assert_close(shuffled.centres, own.centres[order])
    torch.testing.assert_close(shuffled.bases, own.bases[order])


# --- the loss -----------------------------------------------------------------------------------------------


def plain_terms(neural: Tensor, labels: Tensor, manifolds: CategoryManifolds) -> tuple[float, float, float]:
    """Distance, variance outside and the authors' variance, category by category in NumPy."""
    x, distances, outside, authors = neural.double().numpy(), [], [], []
    whole = x - x.mean(0)
    for category in np.unique(labels.numpy()):
        rows = labels.numpy() == category
        if rows.sum() < 2:
            continue
        basis = manifolds.bases[category].double().numpy()
        far = ((x[rows] - manifolds.centres[category].numpy()) ** 2).sum(1).mean() ** 0.5
        distances.append(max(0, far - manifolds.radii[category].item()))
        own = x[rows] - x[rows].mean(0)
        outside.append(1 - ((own @ basis.T) ** 2).sum() / (own**2).sum())
        missed = np.linalg.norm(whole[rows] - whole[rows] @ basis.T @ basis, axis=1)
        authors.append((1 - missed / np.linalg.norm(whole[rows], axis=1)).mean())
    return float(np.mean(distances)), float(np.mean(outside)), float(np.mean(authors))


@pytest.mark.parametrize("n", [13, 40])
def test_the_terms_are_a_plain_loop_over_categories(n: int) -> None:
    manifolds = category_manifolds(*planted(), K)
    generator = torch.Generator().manual_seed(n)
    neural, labels = 3 * torch.randn((n, 8), generator=generator), torch.randint(0, 3, (n,), generator=generator)
    labels[0] = 3  # alone in its category: it counts in neither term
    expected = plain_terms(neural, labels, manifolds)
    terms = (
        distance_outside(neural, labels, manifolds.centres, manifolds.radii),
        variance_outside(neural, labels, manifolds.bases),
        variance_outside(neural, labels, manifolds.bases, "authors"),
    )
    assert [term.item() for term in terms] == pytest.approx(expected, rel=1e-4)


def test_clouds_inside_sphere_and_basis_cost_nothing() -> None:
    manifolds = category_manifolds(*planted(), K)
    labels = torch.arange(40) % K
    along = torch.einsum("nm,nmd->nd", torch.randn(40, manifolds.bases.shape[1]), manifolds.bases[labels])
    inside = manifolds.centres[labels] + 0.1 * along
    assert distance_outside(inside, labels, manifolds.centres, manifolds.radii).item() == 0
    assert variance_outside(inside, labels, manifolds.bases).item() == pytest.approx(0, abs=1e-5)
    outside = manifolds.centres[labels] + torch.randn(40, 8) * (manifolds.bases[labels].abs().sum(1) < 0.1)
    assert variance_outside(outside, labels, manifolds.bases).item() > 0.9


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 30), st.integers(0, 10**6), st.floats(1e-3, 1e3))
def test_variance_outside_is_a_share_that_ignores_scale_and_place(n: int, seed: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    neural, labels = torch.randn((n, 8), generator=generator), torch.randint(0, K, (n,), generator=generator)
    bases = category_manifolds(*planted(), K).bases
    share = variance_outside(neural, labels, bases).item()
    assert -1e-5 <= share <= 1 + 1e-5
    moved = scale * (neural + torch.randn((K, 8), generator=generator)[labels])
    assert variance_outside(moved, labels, bases).item() == pytest.approx(share, abs=1e-3)
    assert -1e-5 <= variance_outside(neural, labels, bases, "authors").item() <= 1 + 1e-5


@pytest.mark.parametrize("term", ["distance", "corrected", "authors"])
def test_following_the_gradient_of(term: str) -> None:
    """What each term does to a cloud; the authors' sign drives variance out of the basis."""
    manifolds = category_manifolds(*planted(), K)
    labels = torch.arange(40) % K
    neural = (4 * torch.randn((40, 8), generator=torch.Generator().manual_seed(0))).requires_grad_()

    def geometry() -> pd.Series:
        return cloud_geometry(neural.detach(), labels, manifolds).mean()

    before = geometry()
    optimizer = torch.optim.Adam([neural], 0.05)
    for _ in range(100):
        optimizer.zero_grad()
        loss = (
            distance_outside(neural, labels, manifolds.centres, manifolds.radii)
            if term == "distance"
            else variance_outside(neural, labels, manifolds.bases, term)  # type: ignore[arg-type]
        )
        loss.backward()
        optimizer.step()
    after = geometry()
    assert loss.isfinite()
    if term == "distance":
        assert after.distance < before.distance - 2
    elif term == "corrected":
        assert after.variance_inside > before.variance_inside + 0.2
    else:
        assert after.variance_inside < before.variance_inside - 0.1


@pytest.mark.parametrize("form", ["corrected", "authors"])
@pytest.mark.parametrize("case", ["all at one point", "all at the centre", "one of each category"])
def test_gradients_stay_finite(form: Any, case: str) -> None:
    manifolds = category_manifolds(*planted(), K)
    labels = torch.arange(K) if case.startswith("one") else torch.arange(12) % K
    neural = torch.ones(len(labels), 8) if case == "all at one point" else manifolds.centres[labels].clone()
    neural.requires_grad_()
    loss = distance_outside(neural, labels, manifolds.centres, torch.zeros(K))
    loss = loss + variance_outside(neural, labels, manifolds.bases, form)
    loss.backward()
    assert loss.isfinite()
    assert neural.grad is not None
    assert neural.grad.isfinite().all()
    assert (case != "one of each category") or loss.item() == 0


@pytest.mark.parametrize("form", ["corrected", "authors"])
def test_the_objective_weighs_three_terms(form: Any) -> None:
    model, manifolds = a_network().eval(), some_manifolds()
    x, labels = torch.rand(12, 3, SIDE, SIDE), torch.arange(12) % K
    terms = ManifoldObjective(model, manifolds, PAPER_WEIGHTS, form)(x, labels)
    logits, neural = model.heads(x)
    assert neural is not None
    assert terms["class_loss"].item() == pytest.approx(nn.functional.cross_entropy(logits, labels).item(), rel=1e-5)
    outside = variance_outside(neural, labels, manifolds.bases, form)
    assert terms["variance_loss"].item() == pytest.approx(outside.item(), rel=1e-5)
    weighed = 0.08 * terms["class_loss"] + 0.3 * terms["distance_loss"] + 0.62 * terms["variance_loss"]
    assert terms["loss"].item() == pytest.approx(weighed.item(), rel=1e-5)


# --- training -----------------------------------------------------------------------------------------------


def trained(checkpoint: Path | None = None, **changed: Any) -> tuple[GuidedNet, pd.DataFrame]:
    network, config = a_network(), replace(CONFIG, **changed)
    history = train_manifold_guided(
        network, some_images(), some_manifolds(), PAPER_WEIGHTS, SPLITS, config, checkpoint, SIDE
    )
    return network, history


def test_training_brings_the_clouds_nearer_and_into_the_basis() -> None:
    network, history = trained(epochs=12)
    train = history[history["split"] == "train"]
    assert train["distance_loss"].iloc[-1] < train["distance_loss"].iloc[0] / 2
    assert train["variance_loss"].iloc[-1] < train["variance_loss"].iloc[0]
    assert not network.training
    assert {"class_loss", "distance_loss", "variance_loss", "accuracy", "lr"} <= set(history)
    assert np.isfinite(history.select_dtypes("number").to_numpy()).all()


def test_a_checkpoint_is_of_one_guides_clouds(tmp_path: Path) -> None:
    config, file = replace(CONFIG, epochs=1), tmp_path / "checkpoint"
    manifolds = some_manifolds()
    of = {"as it was": manifolds, "others": replace(manifolds, centres=manifolds.centres.roll(1, 0))}

    def train(which: str, weights: Any = PAPER_WEIGHTS) -> None:
        train_manifold_guided(a_network(), some_images(), of[which], weights, SPLITS, config, file, SIDE)

    train("as it was")
    train("as it was")
    for changes in (("others",), ("as it was", (0.1, 0.3, 0.6))):
        with pytest.raises(InputError, match="made with another configuration"):
            train(*changes)


def test_weights_of_0_train_on_labels_alone() -> None:
    bare, alone = a_network(), a_network(0)
    train_manifold_guided(bare, some_images(), some_manifolds(), (1.0, 0.0, 0.0), SPLITS, CONFIG)
    train_guided(alone, some_images(), None, 0.0, SPLITS, CONFIG)
    assert digest(bare.backbone) == digest(alone.backbone)
    assert digest(bare.class_head) == digest(alone.class_head)
    assert digest(trained()[0].backbone) != digest(alone.backbone)


def test_the_predictor_does_not_change_by_one_byte() -> None:
    guide = a_guide()
    predictor = guide.aims[0].predictor
    before = digest(predictor)
    manifolds = neural_manifolds(guide, some_images()[SPLITS["train"]], SIDE, 0)
    network = a_network()
    train_manifold_guided(network, some_images(), manifolds, PAPER_WEIGHTS, SPLITS, CONFIG)
    assert digest(predictor) == before
    assert not any(parameter.requires_grad for parameter in predictor.parameters())
    assert not predictor.training


@pytest.mark.parametrize(
    "changed", [{}, {"optimizer": "sgd", "lr": 0.01, "augmentation": "crop-flip", "schedule": "one-cycle"}]
)
def test_an_interrupted_training_resumes_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any]
) -> None:
    whole, expected = trained(tmp_path / "whole", **changed)
    train_epoch = loop._train_epoch

    def interrupted(*arguments: Any) -> Any:
        if arguments[6].epoch == 2:
            raise KeyboardInterrupt
        return train_epoch(*arguments)

    monkeypatch.setattr(loop, "_train_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut", **changed)
    monkeypatch.undo()
    resumed, history = trained(tmp_path / "cut", **changed)
    assert digest(resumed) == digest(whole)
    pd.testing.assert_frame_equal(history.drop(columns="seconds"), expected.drop(columns="seconds"), check_exact=True)


def test_low_precision_keeps_the_geometry_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = []

    def spied(neural: Tensor, *rest: Any) -> Tensor:
        kinds.append((neural.dtype, (neural @ neural.T).dtype))
        return distance_outside(neural, *rest)

    monkeypatch.setattr("nbtools.training.manifolds.distance_outside", spied)
    _, history = trained(precision="bf16-mixed", epochs=1)
    assert set(kinds) == {(torch.float32, torch.float32)}
    assert np.isfinite(history["loss"]).all()


# --- geometry -----------------------------------------------------------------------------------------------


def test_the_regions_own_clouds_have_its_geometry() -> None:
    responses, labels = planted()
    table = cloud_geometry(responses, labels, category_manifolds(responses, labels, K))
    assert table["category"].tolist() == list(range(K))
    np.testing.assert_allclose(table["distance"], table["neural_radius"], rtol=1e-4)
    np.testing.assert_allclose(table["radius"], table["neural_radius"], rtol=1e-4)
    assert table["variance_inside"].between(0.95, 1.0001).all()
    assert table["variance_expected"].tolist() == [1 / 8, 2 / 8, 3 / 8, 4 / 8]
    even = cloud_geometry(torch.randn(4000, 8), torch.arange(4000) % K, category_manifolds(responses, labels, K))
    np.testing.assert_allclose(even["variance_inside"], even["variance_expected"], atol=0.03)
    moved = cloud_geometry(responses + 3, labels, category_manifolds(responses, labels, K))
    np.testing.assert_allclose(moved["radius"], table["radius"], rtol=1e-4)
    np.testing.assert_allclose(moved["distance"] ** 2, table["radius"] ** 2 + 8 * 9, rtol=1e-4)


# --- bad input ----------------------------------------------------------------------------------------------


def measured(change: Any, **options: Any) -> None:
    responses, labels = planted()
    category_manifolds(*change(responses, labels), **{"n_categories": K, **options})


def guided(
    network: GuidedNet | None = None,
    weights: Any = PAPER_WEIGHTS,
    images: ImageSet | None = None,
    form: Any = "corrected",
    **changed: Any,
) -> None:
    config = replace(CONFIG, **changed)
    train_manifold_guided(
        network or a_network(), images or some_images(), some_manifolds(), weights, SPLITS, config, form=form
    )


def unlabelled() -> ImageSet:
    images = some_images()
    return replace(images, labels=torch.where(torch.arange(N) == 3, -1, images.labels))


def one_answer() -> None:
    predictor = build(RoiPredictor, 1, "small_resnet", D, 20)
    nn.init.zeros_(predictor.head.weight)
    guide = Guide((Aim(Match(), predictor.eval(), torch.zeros(D), 1.0),))
    neural_manifolds(guide, some_images(), SIDE, 0)


BAD: dict[str, tuple[Any, str]] = {
    "fewer labels than responses": (lambda: measured(lambda r, y: (r, y[1:])), "no manifolds"),
    "labels that are not whole numbers": (lambda: measured(lambda r, y: (r, y.float())), "no manifolds"),
    "a response that is not a number": (lambda: measured(lambda r, y: (r / 0 * 0, y)), "no manifolds"),
    "no images": (lambda: measured(lambda r, y: (r[:0], y[:0])), "no manifolds"),
    "all of the variance": (lambda: measured(lambda r, y: (r, y), variance=1.0), "no manifolds"),
    "an image without a category": (lambda: measured(lambda r, y: (r, y - 1)), "labels do not fit"),
    "a label beyond the categories": (lambda: measured(lambda r, y: (r, y), n_categories=3), "labels do not fit"),
    "a category without images": (lambda: measured(lambda r, y: (r, y), n_categories=5), r"too few.*\n.*\n.*\[4\]"),
    "a category of one image": (lambda: measured(lambda r, y: (r[:7], y[:7])), r"too few images\n.*\n.*\[3\]"),
    "a category without variance": (
        lambda: measured(lambda r, y: (torch.where(y[:, None] == 2, 0.1, r), y)),
        r"without variance\n.*\n.*\[2\]",
    ),
    "a predictor that gives one answer": (one_answer, "without variance"),
    "parts of other sizes": (lambda: CategoryManifolds(torch.zeros(3, 2), torch.zeros(3), torch.zeros(3, 1, 4)), "bel"),
    "features of another space": (
        lambda: cloud_geometry(torch.randn(20, D + 1), torch.arange(20) % K, some_manifolds()),
        "not in the manifolds' space",
    ),
    "a network in training mode": (lambda: cloud_responses(a_network().train(), some_images(), SIDE), "training mode"),
    "a head of another size": (lambda: guided(a_network(D + 1)), "do not fit"),
    "no neural head": (lambda: guided(a_network(0)), "do not fit"),
    "a network of other classes": (lambda: guided(a_network(D, "abcde")), "not of the network's classes"),
    "an image without a label": (lambda: guided(images=unlabelled()), "1 images without a label"),
    "no class weight": (lambda: guided(weights=(0.0, 0.5, 0.5)), "no settings"),
    "a negative weight": (lambda: guided(weights=(0.1, -0.5, 0.5)), "no settings"),
    "a weight that is not a number": (lambda: guided(weights=(0.1, 0.5, float("nan"))), "no settings"),
    "the best epoch": (lambda: guided(keep="best"), "no settings"),
    "an unknown form": (lambda: guided(form="paper"), "unknown form"),
    "a batch of one image per category": (lambda: guided(batch_size=K), "too small"),
    "a guide's targets for manifolds": (lambda: a_guide("TO-manifold"), "does without"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case: str) -> None:
    attempt, message = BAD[case]
    with pytest.raises(InputError, match=message):
        attempt()
