"""Ridge predictors: against the closed form, planted responses found, nothing looked at that must not be."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold
from torch import Tensor

from nbtools import plots
from nbtools.conditions import parse_condition
from nbtools.data import (
    ImageSet,
    average_repeats,
    fit_basis,
    fold_groups,
    load_design,
    load_stimuli,
    load_trials,
    open_study,
    plant_noise,
    project,
    split_images,
)
from nbtools.data.brains.responses import RoiTrials
from nbtools.data.images.sets import to_float
from nbtools.errors import InputError
from nbtools.metrics import pattern_r
from nbtools.models import GuidedNet, RoiPredictor, build, freeze, load_model, predict, read_out, save_model
from nbtools.models.networks import AdoptedNet
from nbtools.runs import trunk_of
from nbtools.training import fit_ridge, make_guide, new_predictor
from nbtools.training.ridge import ALPHAS

SPLITS = {"train": np.arange(160), "validation": np.arange(160, 180), "test": np.arange(180, 240)}
EACH = np.arange(160)  # every image a group of its own


@pytest.fixture(scope="module")
def images() -> ImageSet:
    """Coarse pictures: their features differ."""
    coarse = torch.rand(240, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    pixels = (torch.nn.functional.interpolate(coarse, 32, mode="bilinear") * 255).to(torch.uint8)
    return ImageSet(pixels, torch.full((240,), -1), np.arange(240), ())


def fresh(n_components: int, readouts: Sequence[str] = ("pooled",)) -> RoiPredictor:
    return freeze(build(RoiPredictor, 0, "small_resnet", n_components, 5, readouts=readouts))


def features(images: ImageSet, name: str) -> np.ndarray:
    """Z-scored over training images, of which all squares add up to 1."""
    found = read_out(fresh(1), images.pixels, [name])[name].double().numpy()
    known = found[SPLITS["train"]]
    varies = known.std(axis=0) > 1e-9
    return (found - known.mean(axis=0))[:, varies] / known.std(axis=0)[varies] / np.sqrt(found.shape[1] * len(known))


def planted(images: ImageSet, name: str, noise: float, n: int = 4) -> Tensor:
    """Responses along the first principal components of a read-out, of variance 1, with noise."""
    x = features(images, name)
    parts = x @ np.linalg.svd(x[SPLITS["train"]], full_matrices=False)[2][:n].T
    drawn = np.random.default_rng(0).normal(size=parts.shape)
    return torch.from_numpy(parts / parts[SPLITS["train"]].std(axis=0) + noise * drawn).float()


def test_one_read_out_is_ridge_regression_in_closed_form(images: ImageSet) -> None:
    """scikit-learn's Ridge, a fit for each fold, α and component, on the same folds."""
    scores = planted(images, "pooled", 1.0)
    groups = np.repeat(np.arange(40), 4)
    model = fresh(4)
    tried = fit_ridge(model, images, scores, SPLITS, groups)
    x, y = features(images, "pooled"), scores.double().numpy()
    train = x[:160], y[:160]
    loss = np.zeros((len(ALPHAS), 4))
    for fitted, held in GroupKFold(5).split(*train, groups):
        for i, alpha in enumerate(ALPHAS):
            predicted = Ridge(alpha).fit(train[0][fitted], train[1][fitted]).predict(train[0][held])
            loss[i] += ((predicted - train[1][held]) ** 2).mean(axis=0) / 5
    r2 = tried.pivot(index="alpha", columns="component", values="r2").to_numpy()
    np.testing.assert_allclose(r2, 1 - loss / train[1].var(axis=0), atol=1e-6)
    best = ALPHAS[loss.argmin(axis=0)]
    assert tried[tried["chosen"]]["alpha"].tolist() == best.tolist()
    expected = np.stack([Ridge(best[k]).fit(train[0], train[1][:, k]).predict(x) for k in range(4)], axis=1)
    np.testing.assert_allclose(predict(model, images.pixels), expected, atol=2e-4)


def test_a_planted_response_is_found_and_noise_is_not(images: ImageSet) -> None:
    scores = torch.cat([planted(images, "layer3", 0.3), planted(images, "layer3", 1e3)], dim=1)
    model = fresh(8, ["layer3"])
    tried = fit_ridge(model, images, scores, SPLITS, EACH)
    predicted = predict(model, images.pixels)[180:].numpy()
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(predicted.T, scores[180:].numpy().T, strict=True)]
    assert min(r[:4]) > 0.8
    chosen = tried[tried["chosen"]].set_index("component")
    assert chosen["r2"].between(-0.05, 0.05).tolist() == [False] * 4 + [True] * 4
    assert chosen.loc[5:, "alpha"].min() > 3 * chosen.loc[:4, "alpha"].max()
    assert chosen["weight"].unique() == [1.0]


@pytest.mark.parametrize("carrying", ["layer1", "pooled"])
def test_banded_ridge_finds_which_read_out_carries_the_signal(images: ImageSet, carrying: str) -> None:
    readouts, scores = ["layer1", "pooled"], planted(images, carrying, 0.5)
    banded, plain = fresh(4, readouts), fresh(4, [carrying])
    tried, alone = (fit_ridge(model, images, scores, SPLITS, EACH) for model in (banded, plain))
    chosen = tried[tried["chosen"]]
    assert chosen.groupby("component")["weight"].sum().tolist() == pytest.approx([1] * 4)
    assert chosen[chosen["readout"] == carrying]["weight"].mean() > 0.8
    wrong = fit_ridge(fresh(4, [r for r in readouts if r != carrying]), images, scores, SPLITS, EACH)
    r2 = [table[table["chosen"]]["r2"].mean() for table in (wrong, alone, tried)]
    assert r2[0] + 0.05 < r2[1] < r2[2] + 0.02
    expected = {name: read_out(banded, images.pixels, [name])[name] for name in readouts}
    head = torch.cat(list(expected.values()), 1) @ banded.head.weight.T + banded.head.bias
    torch.testing.assert_close(predict(banded, images.pixels), head, rtol=1e-4, atol=1e-4)


def test_nothing_but_training_images_is_looked_at(images: ImageSet) -> None:
    scores = planted(images, "pooled", 0.5)
    other, changed = ImageSet(images.pixels.clone(), images.labels, images.ids, ()), scores.clone()
    other.pixels[160:], changed[160:] = 7, 100.0
    before, model, again = fresh(4).state_dict(), fresh(4), fresh(4)
    fit_ridge(model, images, scores, SPLITS, EACH)
    fit_ridge(again, other, changed, SPLITS, EACH)
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
        assert torch.equal(value, before[name]) == (not name.startswith("head")), "the trunk stays as it was"


def test_groups_are_left_out_together(images: ImageSet) -> None:
    """Pictures shown twice, with one response of pure noise: whoever knows the one knows the other."""
    twice = np.repeat(np.arange(80), 2)
    pairs = ImageSet(images.pixels[twice], images.labels[twice], np.arange(160), ())
    scores = torch.from_numpy(np.random.default_rng(0).normal(size=(80, 3))).float()[twice]
    found = {}
    for name, groups in {"apart": np.random.default_rng(0).permutation(160), "together": twice}.items():
        tried = fit_ridge(fresh(3, ["layer3"]), pairs, scores, {"train": EACH}, groups)
        found[name] = tried[tried["chosen"]]["r2"].max()
    assert found["apart"] > 0.4
    assert found["together"] < 0.15
    with pytest.raises(InputError, match="no fold"):
        fit_ridge(fresh(3), pairs, scores, {"train": EACH}, np.zeros(160))


def test_a_ridge_predictor_is_a_predictor_like_any_other(images: ImageSet, tmp_path: Path) -> None:
    model, scores = fresh(4, ["layer2", "pooled"]), planted(images, "layer2", 0.5)
    fit_ridge(model, images, scores, SPLITS, EACH)
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    assert torch.equal(predict(model, images.pixels), predict(loaded, images.pixels))
    assert not any(parameter.requires_grad for parameter in [*model.parameters(), *loaded.parameters()])
    guide = make_guide(parse_condition("TO"), copy.deepcopy(loaded), images, "global", 0)
    x = torch.rand(4, 3, 32, 32)
    assert [each.shape for each in guide.targets(x, torch.arange(4))] == [(4, 4)]
    torch.testing.assert_close(loaded.features(x)["neural"], loaded(x))
    with pytest.raises(InputError, match="read-out"):
        fresh(4, [])
    with pytest.raises(InputError, match="read-out"):
        fresh(4, ["pooled", "pooled"])


def test_a_predictor_is_built_on_the_network_that_is_asked_for(tmp_path: Path) -> None:
    asked = {"seed": 3, "architecture": "small_resnet", "readouts": "layer2 pooled", "features_of": "start"}
    asked |= {"predictor": "ridge"}
    components, network = np.eye(4, 6, dtype=np.float32), build(GuidedNet, 7, "small_resnet", ("a", "b"), 0)
    save_model(network, tmp_path)
    model = new_predictor(asked, components, tmp_path)
    assert same(model.backbone, network.backbone)
    assert not same(model.backbone, new_predictor(asked, components).backbone)
    assert model.readouts == ("layer2", "pooled")
    assert torch.equal(model.components, torch.from_numpy(components))
    usual = build(RoiPredictor, 3, "small_resnet", 4, 6)
    assert same(new_predictor({**asked, "readouts": "pooled", "predictor": "trained"}, components).head, usual.head)
    with pytest.raises(InputError, match="no such predictor"):
        new_predictor({**asked, "predictor": "lasso"}, components)
    with pytest.raises(InputError, match="torchvision has no weights"):
        new_predictor({**asked, "features_of": "imagenet"}, components)


def test_features_of_an_adopted_network_are_those_it_has_itself(images: ImageSet, tmp_path: Path) -> None:
    """At its own side and by its own normalisation; a linear function of them is found, kept, and guides."""
    adopted = freeze(build(AdoptedNet, 5, "small_resnet", ("a", "b"), ("a", "b"), None, 48))
    adopted.backbone.pixel_mean.fill_(0.2)
    save_model(adopted, tmp_path)
    asked = {"seed": 3, "architecture": "resnet50", "readouts": "layer2 pooled", "features_of": "net-x"}
    model = new_predictor({**asked, "predictor": "ridge"}, np.eye(2, 6, dtype=np.float32), tmp_path, 32)
    x = to_float(images.pixels[:20])
    own = freeze(model).features(x)
    for name, values in adopted.features(x).items():
        assert name == "logits" or torch.equal(own[name], values)
    pooled = read_out(adopted, images.pixels, ["pooled"])["pooled"]
    scores = pooled @ torch.pca_lowrank(pooled, 2, niter=8)[2]
    fit_ridge(model, images, scores, SPLITS, EACH)
    said = predict(model, images.pixels)[SPLITS["test"]]
    assert pattern_r(said.T, scores[SPLITS["test"]].T).min() > 0.9, "a linear function of its features"
    save_model(model, tmp_path / "predictor")
    assert torch.equal(load_model(tmp_path / "predictor")(x), model(x))
    guide = make_guide(parse_condition("TO"), load_model(tmp_path / "predictor"), images, "raw", 0)
    torch.testing.assert_close(guide.targets(x, torch.arange(20))[0].cpu(), model(x), rtol=1e-3, atol=1e-3)


def test_features_are_taken_of_networks_that_are_not_guided() -> None:
    asked = {"predictor": "ridge", "study": "tiny", "seed": 2}
    assert trunk_of({**asked, "features_of": "net-x"}) == {"roi": "net-x", "study": "tiny", "seed": 2}
    with pytest.raises(InputError, match="guided network has no features"):
        trunk_of({**asked, "features_of": "V1"})


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(map(torch.equal, a.state_dict().values(), b.state_dict().values()))


@pytest.mark.parametrize("readouts", [["pooled"], ["layer1", "pooled"]])
def test_the_figure_shows_what_was_tried(readouts: list[str]) -> None:
    """Two components of variance 3 and 1, three penalties: R² of both together, and of each at its best."""
    index = pd.MultiIndex.from_product([(1, 2), (0.1, 1.0, 10.0), readouts], names=["component", "alpha", "readout"])
    n, r2 = len(readouts), np.array([0.2, 0.4, 0.1, 0.0, 0.1, 0.3])
    values = {"r2": np.repeat(r2, n), "variance": np.repeat([3.0, 1.0], 3 * n), "weight": np.tile([0.7, 0.3][:n], 6)}
    tried = pd.DataFrame(values, index=index).reset_index().assign(chosen=np.repeat([0, 1, 0, 0, 0, 1], n) == 1)
    figure = plots.ridge_penalties(tried, title="t")
    assert figure.data[0].x.tolist() == [0.1, 1.0, 10.0]
    assert figure.data[0].y.tolist() == pytest.approx([0.15, 0.325, 0.15])
    assert figure.layout.shapes[0].y0 == pytest.approx(0.375)
    assert {trace.name: list(trace.y) for trace in figure.data[1:]} == (
        {"layer1": [0.7, 0.7], "pooled": [0.3, 0.3]} if n == 2 else {}
    )
    assert all(axis.title.text for axis in [*figure.select_xaxes(), *figure.select_yaxes()])
    for bad in (tried.iloc[:0], tried.drop(columns="r2"), pd.concat([tried, tried])):
        with pytest.raises(InputError):
            plots.ridge_penalties(bad, title="t")


def shown(image_ids: Sequence[int], sessions: Sequence[int]) -> RoiTrials:
    n, nowhere = len(image_ids), np.zeros((1, 3), np.int64)
    ones = np.ones(n, np.int64)
    return RoiTrials(
        "V1", np.zeros((n, 1), np.float32), np.array(image_ids), np.array(sessions), ones, nowhere, nowhere
    )


def test_images_of_a_session_are_of_one_group_unless_repeats_join_all() -> None:
    apart = fold_groups(shown([5, 9, 5, 7, 8, 7], [1, 1, 1, 2, 2, 2]), np.array([5, 7, 8, 9]))
    assert (apart[:, None] == apart).tolist() == [[a == b for b in (1, 2, 2, 1)] for a in (1, 2, 2, 1)]
    chain = fold_groups(shown([1, 2, 2, 3, 4], [1, 1, 2, 2, 3]), np.array([4, 3, 2, 1]))
    assert (chain == chain[1]).tolist() == [False, True, True, True]
    joined = fold_groups(shown([1, 2, 2, 3], [1, 1, 2, 2]), np.array([1, 2, 3]))
    assert joined.tolist() == [0, 1, 2]
    only = fold_groups(shown([1, 2, 2, 3], [1, 1, 2, 2]), np.array([1, 3]))
    assert only[0] != only[1], "an image that is not fitted joins nothing"


def test_pattern_r_falls_as_noise_is_planted(tiny_study: Path) -> None:
    """On the tiny study: a region's test images, from features that were drawn at random."""
    study = open_study(tiny_study)
    trials, design = load_trials(study, ["V1"], progress=False)["V1"], load_design(study)
    found = []
    for noise in (0.0, 1.0, 4.0):
        responses = average_repeats(plant_noise(trials, noise, design.shared_ids), design.shared_ids)
        splits = split_images(responses)
        images = load_stimuli(study.stimuli, responses.image_ids, study.image_size)
        basis = fit_basis(responses.responses[splits["train"]])
        scores = torch.from_numpy(project(basis, responses.responses)).float()
        model = fresh(len(basis.components), ["layer1"])
        fit_ridge(model, images, scores, splits, fold_groups(trials, responses.image_ids[splits["train"]]))
        test = splits["test"]
        found.append(pattern_r(predict(model, images.pixels[torch.from_numpy(test)]), scores[test]).mean())
    assert found[0] > found[1] + 0.01 > found[2] + 0.1
