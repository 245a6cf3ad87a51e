"""Networks: seeds, read-outs, normalisation inside, files that rebuild them, batch normalisation folded away."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights, resnet18

from nbtools import attacks, probes, training, widgets
from nbtools.data.images.sets import ImageSet
from nbtools.errors import InputError
from nbtools.models.architectures import PIXEL_MEAN
from nbtools.models.backbones import READOUTS, Backbone, readout
from nbtools.models.networks import (
    GuidedNet,
    RoiPredictor,
    build,
    fold_batchnorm,
    freeze,
    load_imagenet_weights,
    load_model,
    save_model,
)
from nbtools.models.read_outs import read_each
from nbtools.training import TrainConfig, train_guided
from nbtools.training.clouds import CategoryManifolds

TEN = list("abcdefghij")
ARCHITECTURES = ("small_resnet", "resnet18")
# Channels of each stage × its grid squared.
WIDTHS = {
    "resnet18": {"layer1": 64 * 16, "layer2": 128 * 4, "layer3": 256 * 4, "layer4": 512 * 4, "pooled": 512},
    "small_resnet": {"layer1": 32 * 16, "layer2": 64 * 4, "layer3": 128 * 4, "layer4": 256 * 4, "pooled": 256},
}


def pixels(n: int = 3, side: int = 32, seed: int = 0) -> Tensor:
    return torch.rand((n, 3, side, side), generator=torch.Generator().manual_seed(seed))


def randomised(model: nn.Module) -> nn.Module:
    """Give every batch normalisation statistics and weights as training might."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.5, 2.0),
                (module.weight, 0.5, 1.5),
                (module.bias, -0.5, 0.5),
            ):
                assert tensor is not None
                tensor.data.uniform_(low, high, generator=generator)
    return model


def same(a: nn.Module, b: nn.Module) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


# --- weights from a seed ------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_seed_decides_the_weights(architecture: str) -> None:
    def made(seed: int) -> RoiPredictor:
        return build(RoiPredictor, seed, architecture, 5, 40)

    assert same(made(1), made(1))
    assert not torch.equal(*(next(made(seed).backbone.parts.parameters()) for seed in (1, 2)))
    assert not torch.equal(made(1).head.weight, made(2).head.weight)


def test_building_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    build(GuidedNet, 0, "small_resnet", TEN, 5)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("readout_name", ["pooled", "layer2"])
def test_conditions_of_one_seed_start_alike(readout_name: str) -> None:
    none = build(GuidedNet, 3, "small_resnet", TEN, 0)
    guided = build(GuidedNet, 3, "small_resnet", TEN, 37, readout_name)
    assert same(none.backbone, guided.backbone)
    assert same(none.class_head, guided.class_head)
    assert torch.equal(none(pixels()), guided(pixels()))


# --- read-outs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [32, 48])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_readout_has_its_width(architecture: str, side: int) -> None:
    x = pixels(2, side)
    net = freeze(build(GuidedNet, 0, architecture, TEN, 7, "layer3"))
    widths = {name: features.shape[1] for name, features in net.features(x).items()}
    assert widths == {**WIDTHS[architecture], "logits": 10, "neural": 7}
    assert {name: net.backbone.readout_width(name) for name in READOUTS} == WIDTHS[architecture]
    assert net.neural_head.in_features == WIDTHS[architecture]["layer3"]
    bare = freeze(build(GuidedNet, 0, architecture, TEN, 0)).features(x)
    assert set(bare) == {*READOUTS, "logits"}
    predicted = freeze(build(RoiPredictor, 0, architecture, 7, 50)).features(x)
    assert {name: tuple(value.shape) for name, value in predicted.items()} == {
        **{name: (2, width) for name, width in WIDTHS[architecture].items()},
        "neural": (2, 7),
    }


@pytest.mark.parametrize("guided_readout", READOUTS)
def test_features_heads_and_forward_agree(guided_readout: str) -> None:
    net, x = freeze(randomised(build(GuidedNet, 0, "small_resnet", TEN, 7, guided_readout))), pixels()
    features, (logits, neural) = net.features(x), net.heads(x)
    assert torch.equal(logits, net(x))
    assert torch.equal(features["logits"], logits)
    assert torch.equal(features["neural"], neural)
    torch.testing.assert_close(neural, net.neural_head(features[guided_readout]))
    predictor = freeze(build(RoiPredictor, 0, "small_resnet", 7, 50))
    assert torch.equal(predictor.features(x)["neural"], predictor(x))


def test_a_readout_is_the_mean_over_its_grid() -> None:
    maps = {"layer1": torch.rand(2, 3, 8, 8), "pooled": torch.rand(2, 5)}
    blocks = maps["layer1"].numpy().reshape(2, 3, 4, 2, 4, 2).mean(axis=(3, 5))
    np.testing.assert_allclose(readout(maps, "layer1"), blocks.reshape(2, -1), rtol=1e-5)
    assert torch.equal(readout(maps, "pooled"), maps["pooled"])
    found = freeze(build(GuidedNet, 0, "small_resnet", TEN, 0)).backbone(pixels(2, 48))
    np.testing.assert_allclose(readout(found, "pooled"), found["layer4"].mean((2, 3)), rtol=1e-5)


def test_voxels_are_scores_times_components() -> None:
    predictor = build(RoiPredictor, 0, "small_resnet", 3, 8)
    predictor.components = torch.randn(3, 8)
    scores = torch.randn(4, 3)
    expected = np.einsum("nk,kv->nv", scores.numpy(), predictor.components.numpy())
    np.testing.assert_allclose(predictor.voxels(scores), expected, rtol=1e-5, atol=1e-6)


# --- normalisation inside -----------------------------------------------------------------------------------


def test_the_backbone_normalises_pixels_itself() -> None:
    backbone, seen = freeze(Backbone("small_resnet")), []
    backbone.parts.get_submodule("stem.0").register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    mean = torch.tensor(PIXEL_MEAN).view(1, 3, 1, 1).expand(2, 3, 32, 32)
    backbone(mean)
    backbone(torch.ones_like(mean))
    assert seen[0].abs().max() == 0
    sd = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    torch.testing.assert_close(seen[1], ((1 - mean) / sd))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Backbone("resnet51"), "unknown architecture"),
        (lambda: GuidedNet("small_resnet", TEN, 5, "layer5"), "unknown read-out"),
    ],
)
def test_unknown_names(make: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_imagenet_weights_give_torchvisions_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """Download nothing: a ResNet-18 of torchvision with its own random weights stands in for ImageNet's."""
    torch.manual_seed(0)
    reference = freeze(randomised(resnet18(weights=None)))
    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", lambda *args, **kwargs: reference.state_dict())
    backbone = Backbone("resnet18")
    load_imagenet_weights(backbone)
    freeze(backbone)
    reference.fc = nn.Identity()
    x = pixels(2, 64)
    expected = reference((x - backbone.pixel_mean) / backbone.pixel_sd)
    torch.testing.assert_close(readout(backbone(x), "pooled"), expected)


# --- frozen, folded -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_folding_leaves_the_function_and_the_model_as_they_were(architecture: str) -> None:
    model = randomised(build(GuidedNet, 0, architecture, TEN, 0)).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    folded, x = fold_batchnorm(model), pixels()
    with torch.no_grad():
        torch.testing.assert_close(folded(x), model(x), atol=1e-4, rtol=1e-4)
        assert model(x).std() > 0.1
    assert not [module for module in folded.modules() if isinstance(module, nn.BatchNorm2d)]
    assert not any(module.training for module in folded.modules())
    assert not any(parameter.requires_grad for parameter in folded.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_folding_follows_names_not_luck() -> None:
    """A convolution that no normalisation follows, and a normalisation that no convolution precedes, stay."""
    torch.manual_seed(0)
    odd = randomised(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4))).eval()
    folded, x = fold_batchnorm(odd), pixels()
    assert [type(module) for module in folded] == [nn.BatchNorm2d, nn.Conv2d, nn.ReLU, nn.BatchNorm2d]
    torch.testing.assert_close(folded(x), odd(x))


def test_frozen_means_that_nothing_can_change() -> None:
    model = freeze(build(GuidedNet, 0, "small_resnet", TEN, 0))
    before = model(pixels())
    model(pixels(seed=1))
    assert torch.equal(model(pixels()), before)
    assert not before.requires_grad


# --- files --------------------------------------------------------------------------------------------------


def models() -> list[nn.Module]:
    predictor = build(RoiPredictor, 0, "small_resnet", 5, 40)
    predictor.components = torch.randn(5, 40)
    return [predictor, build(GuidedNet, 0, "resnet18", TEN, 0), build(GuidedNet, 0, "small_resnet", TEN, 4, "layer2")]


@pytest.mark.parametrize("index", range(3))
def test_two_files_rebuild_a_model(tmp_path: Path, index: int) -> None:
    model = models()[index]
    save_model(randomised(model), tmp_path / "deep" / "folder")
    assert sorted(os.listdir(tmp_path / "deep/folder")) == ["model.json", "weights.safetensors"]
    (tmp_path / "deep").rename(tmp_path / "moved")
    loaded = load_model(tmp_path / "moved/folder")
    assert type(loaded) is type(model)
    assert same(loaded, model)
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    expected = freeze(model).features(pixels())
    assert all(torch.equal(value, expected[name]) for name, value in loaded.features(pixels()).items())


@pytest.mark.slow
def test_another_process_rebuilds_it(tmp_path: Path) -> None:
    model = freeze(randomised(build(GuidedNet, 0, "small_resnet", TEN, 4)))
    save_model(model, tmp_path)
    code = f"""
import torch
from pathlib import Path
from nbtools.models.networks import load_model
x = torch.rand((3, 3, 32, 32), generator=torch.Generator().manual_seed(0))
print(load_model(Path({str(tmp_path)!r}))(x).double().sum().item())
"""
    total = float(subprocess.check_output([sys.executable, "-c", code], text=True))
    assert total == pytest.approx(model(pixels()).double().sum().item(), rel=1e-6)


def test_nothing_written_is_a_pickle(tmp_path: Path) -> None:
    save_model(models()[0], tmp_path)
    assert json.loads((tmp_path / "model.json").read_text())["model"] == "RoiPredictor"
    raw = (tmp_path / "weights.safetensors").read_bytes()
    header = int.from_bytes(raw[:8], "little")
    tensors = json.loads(raw[8 : 8 + header])
    assert max(entry["data_offsets"][1] for entry in tensors.values() if "dtype" in entry) == len(raw) - 8 - header


def test_a_full_disk_is_told_and_leaves_what_was_there(tmp_path: Path) -> None:
    """The system's own refusal, as safetensors tells it."""
    save_model(freeze(build(GuidedNet, 0, "small_resnet", ["a", "b"], 0)), tmp_path)
    before = (tmp_path / "weights.safetensors").read_bytes()
    code = f"""
import resource, signal
from pathlib import Path
from nbtools.errors import InputError
from nbtools.models.networks import GuidedNet, save_model
from nbtools.training.checkpoints import save_checkpoint
network, folder = GuidedNet("small_resnet", ["a", "b"], 7), Path({str(tmp_path)!r})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
for save in (
    lambda: save_model(network, folder),
    lambda: save_checkpoint(folder / "checkpoint.safetensors", {{"last": network.state_dict()}}, {{}}),
):
    try:
        save()
    except InputError as error:
        print(error)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.count("a file cannot be written") == told.count("make room") == 2
    assert (tmp_path / "weights.safetensors").read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.json", "weights.safetensors"]


def test_networks_without_the_head_that_is_asked_for_are_named() -> None:
    networks = {n: freeze(build(GuidedNet, 0, "small_resnet", ["a", "b"], n)) for n in (0, 3)}
    pixels = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    assert read_each({3: networks[3]}, pixels, "neural")[3].shape == (2, 3)
    with pytest.raises(InputError, match=r"no neural head(.|\n)*none in 0"):
        read_each(networks, pixels, "neural")


def test_saving_again_replaces(tmp_path: Path) -> None:
    first, second = models()[1:]
    save_model(first, tmp_path)
    save_model(second, tmp_path)
    assert same(load_model(tmp_path), second)


def described(folder: Path, **changed: object) -> None:
    file = folder / "model.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))


def reweighted(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(folder / "weights.safetensors")
    change(tensors)
    save_file(tensors, folder / "weights.safetensors")


BAD_FOLDERS: dict[str, Callable[[Path], object]] = {
    "no description": lambda folder: (folder / "model.json").unlink(),
    "no weights": lambda folder: (folder / "weights.safetensors").unlink(),
    "description truncated": lambda folder: os.truncate(folder / "model.json", 30),
    "description not an object": lambda folder: (folder / "model.json").write_text("[1, 2]"),
    "description empty list": lambda folder: (folder / "model.json").write_text("[]"),
    "weights truncated": lambda folder: os.truncate(folder / "weights.safetensors", 20_000),
    "weights empty": lambda folder: os.truncate(folder / "weights.safetensors", 0),
    "weights are HTML": lambda folder: (folder / "weights.safetensors").write_text("<html>"),
    "unknown model": lambda folder: described(folder, model="Transformer"),
    "unknown architecture": lambda folder: described(folder, architecture="resnet19"),
    "unknown option": lambda folder: described(folder, depth=3),
    "other classes": lambda folder: described(folder, classes=TEN[1:]),
    "no name for its classes": lambda folder: described(folder, n_classes=10),
    "classes as text": lambda folder: described(folder, classes="abcdefghij"),
    "classes as numbers": lambda folder: described(folder, classes=list(range(10))),
    "a class twice": lambda folder: described(folder, classes=[*TEN[1:], TEN[1]]),
    "another architecture": lambda folder: described(folder, architecture="resnet18"),
    "a negative size": lambda folder: described(folder, n_components=-1),
    "size as text": lambda folder: described(folder, n_components="ten"),
    "a tensor missing": lambda folder: reweighted(folder, lambda tensors: tensors.pop("class_head.bias")),
    "a tensor too many": lambda folder: reweighted(folder, lambda t: t.update(more=torch.zeros(1))),
}


@pytest.mark.parametrize("case", BAD_FOLDERS)
def test_a_folder_that_holds_no_whole_model(tmp_path: Path, case: str) -> None:
    save_model(build(GuidedNet, 0, "small_resnet", TEN, 0), tmp_path)
    BAD_FOLDERS[case](tmp_path)
    with pytest.raises(InputError, match=rf"cannot be rebuilt\n +file: +{tmp_path}"):
        load_model(tmp_path)


# --- the classes it knows -----------------------------------------------------------------------------------

CLASSES = ("Äpfel und Birnen", "bar", "ring", "triangle")
OTHERS = {
    "renamed": (("Triangle", "bar", "ring", "Äpfel und Birnen"), r"triangle\n.*among them Triangle\n"),
    "in another order": (("bar", "ring", "triangle", "Äpfel und Birnen"), r"4 classes: Äpfel .*\n.*4 classes: bar,"),
    "one less": (CLASSES[1:], r"4 classes, among them Äpfel und Birnen\n.*3 classes: bar"),
    "one more": ((*CLASSES, "zebra"), r"4 classes: Äpfel .*\n.*5 classes, among them zebra"),
}


def some_images(classes: Sequence[str]) -> ImageSet:
    labels = torch.arange(16) % 4 % len(classes)
    return ImageSet((pixels(16) * 255).to(torch.uint8), labels, np.array(list("abcdefghijklmnop")), tuple(classes))


def a_network(n_components: int = 0) -> GuidedNet:
    return freeze(build(GuidedNet, 0, "small_resnet", CLASSES, n_components))


def train(images: ImageSet, file: Path | None = None, network: GuidedNet | None = None, epochs: int = 1) -> None:
    splits = {"train": np.arange(12), "validation": np.arange(12, 16)}
    config = TrainConfig(epochs=epochs, batch_size=8, lr=1e-3, augmentation="none")
    train_guided((network or a_network()).requires_grad_(True), images, None, 0.0, splits, config, file)


def train_by_clouds(images: ImageSet) -> None:
    splits, config = {"train": np.arange(16)}, TrainConfig(epochs=1, batch_size=16, lr=1e-3)
    clouds = CategoryManifolds(torch.zeros(4, 2), torch.ones(4), torch.zeros(4, 1, 2))
    training.train_manifold_guided(a_network(2), images, clouds, (1.0, 0.0, 0.0), splits, config)


def corrupted(images: ImageSet) -> None:
    probes.decide_corrupted({("none", 0): a_network()}, images, Path(), pd.DataFrame({"corruption": []}))


# Every public function and class that takes a network and images.
DOORS: dict[str, Callable[[ImageSet], object]] = {
    "training.train_guided": train,
    "training.train_manifold_guided": train_by_clouds,
    "training.train_network": lambda images: training.train_network(
        images, "none", None, TrainConfig(epochs=1, batch_size=8, lr=1e-3), start=a_network()
    ),
    "training.cloud_responses": lambda images: training.cloud_responses(a_network(2), images, 32),
    "attacks.sweep": lambda images: attacks.sweep(a_network(), images, [0.01]),
    "attacks.audit": lambda images: attacks.audit(a_network(), images, [0.01, 0.02]),
    "attacks.transfer": lambda images: attacks.transfer({("a", 0): a_network(), ("b", 0): a_network()}, images, 0.01),
    "attacks.examine": lambda images: attacks.examine({("a", 0): a_network()}, images, [0.01]),
    "attacks.attacked_gradients": lambda images: attacks.attacked_gradients({("a", 0): a_network()}, images, [0.01]),
    "attacks.certify": lambda images: attacks.certify(a_network(), images, 0.1),
    "attacks.decide_lesioned": lambda images: attacks.decide_lesioned({("a", 0): a_network()}, images, [0.01]),
    "probes.decide_corrupted": corrupted,
    "probes.decide_others": lambda images: probes.decide_others({("a", 0): a_network()}, {"clean": images}),
    "probes.decide_filtered": lambda images: probes.decide_filtered({("a", 0): a_network()}, images),
    "probes.decide_masked": lambda images: probes.decide_masked({("a", 0): a_network()}, images),
    "widgets.attack_path": lambda images: widgets.attack_path(a_network(), images[:1]),
    "widgets.AttackExplorer": lambda images: widgets.AttackExplorer(
        {"none": a_network()}, images, origin=widgets.Origin("demo", 0.65, 0), title="t"
    ),
}


OF_ANY_CLASSES = {"training.fit_head", "probes.measure_curvature"}  # a head of its own, and no decision


@pytest.mark.parametrize("case", OTHERS)
@pytest.mark.parametrize("door", DOORS)
def test_images_of_other_classes_are_refused(door: str, case: str) -> None:
    classes, words = OTHERS[case]
    with pytest.raises(InputError, match=rf"not of the network's classes\n.*{words}"):
        DOORS[door](some_images(classes))


def test_no_door_is_forgotten() -> None:
    found = set()
    for room in ("models", "training", "attacks", "probes", "metrics", "runs", "workflow", "plots", "widgets"):
        module = importlib.import_module(f"nbtools.{room}")
        for name in dir(module):
            thing = getattr(module, name)
            taken = str(inspect.signature(thing)).partition(" -> ")[0] if callable(thing) else ""
            if "ImageSet" in taken and re.search(r"nn\.Module|GuidedNet|Network", taken):
                found.add(f"{room}.{name}")
    assert found == {*DOORS, *OF_ANY_CLASSES}


def test_a_surrogate_of_other_classes_is_no_surrogate() -> None:
    images, other = some_images(CLASSES), freeze(build(GuidedNet, 0, "small_resnet", CLASSES[::-1], 0))
    with pytest.raises(InputError, match="not of the network's classes"):
        attacks.audit(a_network(), images, [0.01, 0.02], surrogate=other)


def test_a_network_of_another_library_is_known_by_a_number_alone() -> None:
    plain = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4)).eval()
    assert len(attacks.sweep(plain, some_images(OTHERS["renamed"][0]), [0.01], steps=1)) == 32


@pytest.mark.parametrize("classes", [[], ["a", "a"], "ab", 2, [1, 2], [["a"], ["b"]], None], ids=str)
def test_classes_are_different_names(classes: Any) -> None:
    with pytest.raises(InputError, match="has to know its classes' names"):
        GuidedNet("small_resnet", classes, 0)


def test_its_classes_travel_with_it(tmp_path: Path) -> None:
    save_model(a_network(), tmp_path)
    assert load_model(tmp_path).classes == CLASSES
    assert fold_batchnorm(load_model(tmp_path)).classes == CLASSES


def test_a_network_that_knows_a_number_alone_can_be_told_its_names(tmp_path: Path) -> None:
    save_model(a_network(), tmp_path)
    file = tmp_path / "model.json"
    named = file.read_text()
    file.write_text(json.dumps({"n_classes" if key == "classes" else key: v for key, v in json.loads(named).items()}))
    with pytest.raises(InputError, match=r'write "classes": .* in place of "n_classes" in model\.json'):
        load_model(tmp_path)
    file.write_text(named)
    assert load_model(tmp_path).classes == CLASSES


def test_a_training_goes_on_with_the_same_classes_only(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.safetensors"
    train(some_images(CLASSES), file)
    renamed = OTHERS["renamed"][0]
    with pytest.raises(InputError, match=r"another configuration[\s\S]*Triangle[\s\S]*triangle"):
        train(some_images(renamed), file, build(GuidedNet, 0, "small_resnet", renamed, 0))
