"""What notebooks share: several models, tables and verdicts at once; images by their use; settings from parameters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from nbtools import data, metrics, models, training
from nbtools.attacks import attacked_gradients, perturb
from nbtools.conditions import CONDITIONS, MEANING, parse_condition
from nbtools.data.brains.responses import RoiTrials
from nbtools.errors import InputError

SIDE, K, CLASSES = 16, 3, tuple("abcd")
TABLE = pd.DataFrame({"image_id": [3, 1], "r": [0.25, -1.0]}, index=[7, 8])


def some_images(n: int = 24) -> data.ImageSet:
    pixels = torch.randint(0, 256, (n, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return data.ImageSet(pixels, torch.arange(n) % 4, np.arange(n), CLASSES)


# --- models -------------------------------------------------------------------------------------------------


def saved(folder: Path, *of: object) -> SimpleNamespace:
    folder.mkdir()
    models.save_model(models.build(*of), folder)  # type: ignore[arg-type]
    return SimpleNamespace(folder=folder)


def test_models_of_several_runs_are_loaded_frozen_by_their_keys(tmp_path: Path) -> None:
    runs = {("V1", k): saved(tmp_path / str(k), models.GuidedNet, k, "small_resnet", CLASSES, 0) for k in (1, 0)}
    found = models.load_models(runs)
    assert list(found) == [("V1", 1), ("V1", 0)]
    for (_, k), network in found.items():
        same = models.build(models.GuidedNet, k, "small_resnet", CLASSES, 0).state_dict()
        assert all(torch.equal(value, same[name]) for name, value in network.state_dict().items())
        assert not network.training
    with pytest.raises(InputError, match="cannot be rebuilt"):
        models.load_models({"TO": SimpleNamespace(folder=tmp_path)})


def test_several_networks_give_the_same_read_out() -> None:
    networks = {k: models.freeze(models.build(models.GuidedNet, k, "small_resnet", CLASSES, K)) for k in (0, 1)}
    pixels = some_images().pixels
    for name in ("pooled", "neural"):
        found = models.read_each(networks, pixels, name)
        for k, network in networks.items():
            np.testing.assert_array_equal(found[k], models.read_out(network, pixels, [name])[name].numpy())


# --- images and responses -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def source(tiny_study: Path) -> data.Study:
    return data.open_study(str(tiny_study))


def test_training_images_leave_a_margin_for_crops(source: data.Study) -> None:
    plain = data.load_training_images(source)
    assert plain.pixels.shape[-1] == source.image_size
    assert data.load_training_images(source, "crop-flip").pixels.shape[-1] == round(source.image_size * 8 / 7)
    folder = data.load_folder(source.need("classification") / "train", source.image_size)
    assert torch.equal(plain.pixels, folder.pixels)


def test_test_images_are_chosen_as_ever(source: data.Study) -> None:
    every = data.load_folder(source.need("classification") / "val", source.image_size)
    some = data.load_test_images(source, 7)
    assert some.ids.tolist() == every[data.choose_rows(len(every), 7)].ids.tolist()
    assert len(data.load_test_images(source)) == len(data.load_test_images(source, 10**6)) == len(every)
    assert some.class_names == [name.split("/")[0] for name in some.ids]
    with pytest.raises(InputError):
        data.load_test_images(replace(source, classification=None))
    for none in (0, -5):
        with pytest.raises(InputError, match=f"the number of test images cannot be {none}"):
            data.load_test_images(source, none)


def test_labels_come_in_the_order_asked_for_or_not_at_all(source: data.Study) -> None:
    every = data.load_labels(source)
    ids = every.index.to_numpy()[[4, 1]]
    assert data.load_labels(source, ids).tolist() == every.iloc[[4, 1]].tolist()
    assert data.load_labels(source, np.array([-1])).isna().all()
    assert data.load_labels(replace(source, scanner_labels=None), ids).empty


def test_pictures_are_the_same_pixels_channels_last() -> None:
    images = some_images()
    np.testing.assert_array_equal(data.to_pictures(images.pixels), images.to_numpy())
    assert data.to_pictures(data.to_float(images.pixels)).shape == (24, SIDE, SIDE, 3)


def some_trials() -> RoiTrials:
    responses = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    ids, none = np.array([5, 3, 5, 9, 3, 5]), np.empty((0, 3), int)
    return RoiTrials("V1", responses, ids, np.arange(6), np.array([1, 1, 2, 1, 2, 3]), np.zeros((2, 3), int), none)


def test_trials_of_some_images_stay_in_their_order() -> None:
    found = data.trials_of(some_trials(), np.array([9, 5]))
    assert found.image_ids.tolist() == [5, 5, 9, 5]
    assert found.sessions.tolist() == [0, 2, 3, 5]
    assert found.repeats.tolist() == [1, 2, 1, 3]
    np.testing.assert_array_equal(found.responses, some_trials().responses[[0, 2, 3, 5]])


# --- settings of a training ---------------------------------------------------------------------------------

PARAMETERS = {
    "study": "demo",
    "epochs": 3,
    "batch_size": 64,
    "learning_rate": 0.1,
    "compiled": True,
    "seed": 2,
    "architecture": "small_resnet",
    "guided_readout": "layer3",
    "start": "scratch",
}


def test_parameters_become_settings_by_their_names() -> None:
    expected = training.TrainConfig(epochs=3, batch_size=64, lr=0.1, compile=True, seed=2)
    assert training.config_of(PARAMETERS) == expected
    changed = training.config_of(PARAMETERS, keep="best", weight_decay=0.5)
    assert changed == replace(expected, keep="best", weight_decay=0.5)


def test_every_training_notebook_names_all_settings_but_few() -> None:
    from nbtools.runs import defaults

    odd = {"schedule": "constant", "augmentation": "none", "precision": "16-mixed", "devices": 3, "accumulate": 5}
    for notebook in ("02_neural_predictors", "03_guided_training"):
        config = training.config_of({**defaults(notebook), **odd, "epochs": 77, "learning_rate": 7.0})
        assert {name: getattr(config, name) for name in odd} == odd
        assert (config.epochs, config.lr) == (77, 7.0)


def test_a_network_starts_as_its_parameters_say(monkeypatch: pytest.MonkeyPatch) -> None:
    network = training.new_network(PARAMETERS, CLASSES, K)
    same = models.build(models.GuidedNet, 2, "small_resnet", CLASSES, K, "layer3")
    assert network.config == same.config
    assert all(map(torch.equal, network.state_dict().values(), same.state_dict().values()))
    with pytest.raises(InputError, match="no weights for this architecture"):  # before they are downloaded
        training.new_network({**PARAMETERS, "start": "imagenet"}, CLASSES, K)
    loaded: list[nn.Module] = []
    monkeypatch.setattr("nbtools.training.parameters.load_imagenet_weights", loaded.append)
    network = training.new_network({**PARAMETERS, "start": "imagenet", "architecture": "resnet18"}, CLASSES, K)
    assert loaded == [network.backbone]
    with pytest.raises(InputError, match="no such start"):
        training.new_network({**PARAMETERS, "start": "middle"}, CLASSES, K)


def test_a_network_begins_with_another_one(tmp_path: Path) -> None:
    run = saved(tmp_path / "start", models.GuidedNet, 7, "small_resnet", CLASSES, 0)
    begun, start = training.new_network(PARAMETERS, CLASSES, K, run.folder), models.load_model(run.folder)
    for name in ("backbone", "class_head"):
        given, had = (getattr(model, name).state_dict() for model in (begun, start))
        assert all(map(torch.equal, given.values(), had.values()))
    drawn = training.new_network(PARAMETERS, CLASSES, K).neural_head.state_dict()
    assert all(map(torch.equal, begun.neural_head.state_dict().values(), drawn.values())), "the head is the seed's own"
    assert all(weights.requires_grad for weights in begun.parameters())
    for other in ({"architecture": "resnet18"}, {}):
        with pytest.raises(InputError, match="architecture" if other else "classes"):
            training.new_network({**PARAMETERS, **other}, CLASSES if other else CLASSES[::-1], K, run.folder)


@pytest.mark.parametrize("condition", ["V1", "TO-shuffle", "random"])
def test_a_guide_is_made_of_the_predictor_in_the_folder(condition: str, tmp_path: Path) -> None:
    run = saved(tmp_path / "02", models.RoiPredictor, 0, "small_resnet", K, 20)
    guide = training.load_guide(parse_condition(condition), run.folder, some_images(), "global", 1)
    seed = 1001 if condition == "random" else 0
    predictor = models.build(models.RoiPredictor, seed, "small_resnet", K, 20)
    expected = training.make_guide(parse_condition(condition), predictor, some_images(), "global", 1)
    x = data.to_float(some_images().pixels)
    torch.testing.assert_close(guide.targets(x), expected.targets(x), rtol=0, atol=0)
    assert (guide.partner is None) == (condition != "TO-shuffle")


# --- tables and verdicts ------------------------------------------------------------------------------------


def test_tables_are_stacked_with_what_each_is_of() -> None:
    both = metrics.stacked({("V1", 0): TABLE, ("TO", 1): TABLE}, "condition", "seed")
    assert list(both.columns) == ["image_id", "r", "condition", "seed"]
    assert both.condition.tolist() == ["V1", "V1", "TO", "TO"]
    assert both.seed.tolist() == [0, 0, 1, 1]
    assert both.index.tolist() == [0, 1, 2, 3]
    assert metrics.stacked({0.5: TABLE}, "r").r.tolist() == [0.5, 0.5], "a column of that name is replaced"


@pytest.mark.parametrize(("parts", "names"), [({}, ["roi"]), ({"V1": TABLE}, []), ({("V1", 0): TABLE}, ["roi"])])
def test_keys_and_columns_must_agree(parts: dict, names: list[str]) -> None:
    with pytest.raises(InputError, match="cannot be put together"):
        metrics.stacked(parts, *names)


def test_scores_are_in_the_form_that_claims_takes() -> None:
    table = pd.DataFrame({"condition": ["V1", "V4", "TO"], "capacity": [0.1, 0.2, 0.3]})
    scores = metrics.as_scores(table, "capacity", "manifold capacity", -1)
    assert metrics.claims(scores, ["V1", "V4", "TO"]).slope.tolist() == [pytest.approx(-1)]
    with pytest.raises(InputError, match="manifold radius cannot be tested"):
        metrics.as_scores(table, "radius", "manifold radius")


def test_voxels_have_the_ceilings_asked_for() -> None:
    rng = np.random.default_rng(0)
    responses, ids = rng.normal(size=(30, 4)), np.repeat(np.arange(10), 3)
    responses = (responses + rng.normal(size=(10, 4))[ids]) / 2**0.5
    responses = (responses - responses.mean(0)) / responses.std(0)
    table = metrics.voxel_ceilings(responses, ids, noise_ceiling=3, n1=1)
    assert list(table.columns) == ["voxel", "noise_ceiling", "n1"]
    snr = metrics.ncsnr(responses, ids)
    np.testing.assert_array_equal(table.noise_ceiling, metrics.noise_ceiling(snr, n=3))
    np.testing.assert_array_equal(table.n1, metrics.noise_ceiling(snr, n=1))
    unequal = metrics.voxel_ceilings(responses, ids, noise_ceiling=np.array([1, 2, 3])).noise_ceiling
    np.testing.assert_array_equal(unequal, metrics.noise_ceiling(snr, n=np.array([1, 2, 3])))
    assert (table.n1 <= unequal).all()
    assert (unequal <= table.noise_ceiling).all()


# --- RDMs ---------------------------------------------------------------------------------------------------


def test_rdms_of_several_spaces_are_joined_by_name() -> None:
    spaces = {("V1", "measured"): np.random.default_rng(0).normal(size=(6, 9)), ("none", "pooled"): np.eye(6) + 1}
    spaces["none", "pooled"][0, 1] = 3
    found = metrics.matrices_of(metrics.rdms(spaces, np.arange(6)))
    assert list(found) == ["measured V1", "pooled none"]
    for (name, kind), values in spaces.items():
        one = metrics.rdm(values, np.arange(6), name, kind).get_matrices()[0]
        np.testing.assert_array_equal(found[f"{kind} {name}"], one)
    with pytest.raises(InputError, match="no RDM"):
        metrics.rdms({}, np.arange(6))


def test_patterns_are_averaged_by_category_in_the_order_asked_for() -> None:
    values, labels = np.arange(12.0).reshape(6, 2), ["face", "cat", "face", "cat", "cat", "shoe"]
    means = metrics.category_means(values, labels, ["cat", "face"])
    np.testing.assert_allclose(means, [values[[1, 3, 4]].mean(0), values[[0, 2]].mean(0)])
    for missing, of in ((["house"], labels), (["cat"], labels[:5])):
        with pytest.raises(InputError, match="no mean pattern"):
            metrics.category_means(values, of, missing)


# --- gradients under attack ---------------------------------------------------------------------------------


class Linear(nn.Module):
    """Two classes, told apart by a weighted sum of all pixels."""

    def __init__(self, seed: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3 * SIDE**2, generator=torch.Generator().manual_seed(seed)))

    def forward(self, x: Tensor) -> Tensor:
        score = (x - 0.5).flatten(1) @ self.weight
        return torch.stack([score, -score, score - 1, score - 1], 1)


def test_gradients_are_taken_where_the_attack_ends() -> None:
    images, radii = some_images(), [0.0, 2 / 255, 4 / 255]
    networks = {(roi, seed): Linear(seed).eval() for roi, seed in (("V1", 0), ("V1", 1), ("none", 0))}
    table = attacked_gradients(networks, images, radii, steps=3)
    assert len(table) == 3 * 3 * len(images)
    assert table.groupby(["condition", "seed", "epsilon"], sort=False).ngroups == 9
    x, network = data.to_float(images.pixels), networks["V1", 1]
    points = perturb(network, x, images.labels, radii[1:], steps=3, seed=1, stop_at_success=False)
    of = table[(table.condition == "V1") & (table.seed == 1)]
    for epsilon, at in zip(radii, [x, *points], strict=True):
        expected = metrics.squared_gradient(network, at, images.labels).numpy()
        np.testing.assert_array_equal(of[of.epsilon == epsilon].gradient, expected)


# --- names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*CONDITIONS, "TO-manifold"])
def test_every_condition_has_a_meaning(name: str) -> None:
    assert MEANING[parse_condition(name).kind]


def test_published_ceilings_are_of_the_hierarchys_regions() -> None:
    assert list(metrics.PUBLISHED_CEILINGS) == metrics.in_order(list(metrics.PUBLISHED_CEILINGS))
