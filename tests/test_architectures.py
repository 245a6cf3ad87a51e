"""Architectures by name: a library's own network, its own logits, its read-outs where they should be; trained, kept."""

from __future__ import annotations

import copy
import json
import pickle
import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from nbtools.conditions import parse_condition
from nbtools.data.images.sets import ImageSet
from nbtools.errors import InputError, Interrupted
from nbtools.models import list_architectures, read_out, taken_by
from nbtools.models.anatomy import anatomy_of
from nbtools.models.architectures import OWN, assembled
from nbtools.models.backbones import Backbone, readout
from nbtools.models.networks import (
    GuidedNet,
    RoiPredictor,
    begin_with,
    build,
    fold_batchnorm,
    freeze,
    load_imagenet_weights,
    load_model,
    save_model,
)
from nbtools.models.passes import maps_of_tokens
from nbtools.training.checkpoints import Keeper
from nbtools.training.guided import train_guided
from nbtools.training.loop import TrainConfig
from nbtools.training.targets import make_guide
from nbtools.workflow import costs

CLASSES = tuple("abcd")
HEADS = 1000  # classes of a library's network
TORCHVISION = torchvision.models.list_models(module=torchvision.models)
NO_LINEAR = {"squeezenet1_0", "squeezenet1_1"}  # they end in a convolution


def pixels(side: int, n: int = 2) -> Tensor:
    return torch.rand((n, 3, side, side), generator=torch.Generator().manual_seed(0))


def randomised(model: nn.Module) -> nn.Module:
    """Give normalisations and vectors that begin as zeros and ones what training might."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.ndim == 1 and tensor.is_floating_point():
            low, high = (0.5, 1.5) if name.endswith(("weight", "var")) else (-0.3, 0.3)
            tensor.data.uniform_(low, high, generator=generator)
    return model


def with_weights_of(library: nn.Module, architecture: str, image_size: int | None = None) -> GuidedNet:
    """Our network, with the weights of a library's."""
    ours = build(GuidedNet, 0, architecture, list(map(str, range(HEADS))), 0, image_size=image_size)
    last = ours.backbone.anatomy.last
    state = library.state_dict()
    ours.backbone.parts.load_state_dict({name: state[name] for name in ours.backbone.parts.state_dict()})
    head = {k: v for k in ("weight", "bias") if (v := state.get(f"{last}.{k}")) is not None}  # MaxViT has no bias
    ours.class_head.load_state_dict(head)
    return freeze(ours)


def normalised(backbone: Backbone, x: Tensor) -> Tensor:
    return (x - backbone.pixel_mean) / backbone.pixel_sd


# --- the library's own network ------------------------------------------------------------------------------

SAME = {"resnet50": 32, "shufflenet_v2_x0_5": 32, "mobilenet_v3_small": 32, "convnext_tiny": 32, "swin_t": 32}
MORE = {"googlenet": 64, "efficientnet_b0": 64, "densenet121": 64, "mnasnet0_5": 64, "regnet_y_400mf": 64}
LARGE = {"alexnet": 64, "vgg11_bn": 32, "vit_b_32": 64, "swin_v2_t": 64, "maxvit_t": 224, "inception_v3": 96}
OF_TIMM = {f"timm.{name}": 32 for name in ("vit_small_patch16_224", "resnet50d", "convnext_atto")}
EXTRA = pytest.mark.skipif(find_spec("timm") is None, reason="timm is an extra")
SLOW = [pytest.param(*case, marks=pytest.mark.slow) for case in {**MORE, **LARGE}.items()]
SLOW += [pytest.param(*case, marks=(pytest.mark.slow, EXTRA)) for case in OF_TIMM.items()]


@pytest.mark.parametrize(("architecture", "side"), [*SAME.items(), *SLOW])
def test_logits_are_the_librarys_own_and_folding_keeps_them(architecture: str, side: int) -> None:
    torch.manual_seed(0)
    library = randomised(assembled(architecture, side)).eval()
    ours, x = with_weights_of(library, architecture, side), pixels(side)
    with torch.no_grad():
        expected = library(normalised(ours.backbone, x))
        size = expected.abs().max()
        assert expected.std() > 0.01 * size
        torch.testing.assert_close(ours(x) / size, expected / size, atol=1e-5, rtol=0)
        torch.testing.assert_close(fold_batchnorm(ours)(x) / size, expected / size, atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", TORCHVISION)
def test_every_classifier_has_five_readouts_or_is_refused_in_words(architecture: str) -> None:
    if architecture in NO_LINEAR:
        with pytest.raises(InputError, match="does not end in a linear layer"):
            anatomy_of(architecture)
        return
    anatomy = anatomy_of(architecture)
    *stages, pooled = [anatomy.nodes[node] for node in anatomy.readouts.values()]
    places = [layout.grid[0] for layout in stages if layout.grid]
    assert len(places) == 4
    assert places == sorted(places, reverse=True)
    assert len(set(places)) in (1, 4)
    last = anatomy.blueprint.get_submodule(anatomy.last)
    assert (pooled.kind, pooled.channels) == ("vector", last.in_features)
    assert anatomy.last not in anatomy.nodes, "a trunk ends before it: there is nothing to read"


def test_small_resnet_is_trained_as_it_was_by_hand() -> None:
    """The hand-kept forward of before, on the same weights: the same gradients to the bit."""
    ours = build(GuidedNet, 0, "small_resnet", CLASSES, 5)
    hand, x = copy.deepcopy(ours), pixels(32, 4)
    parts = dict(hand.backbone.parts.named_children())
    maps = parts["stem"](normalised(hand.backbone, x))
    for stage in ("layer1", "layer2", "layer3", "layer4"):
        maps = parts[stage](maps)
    pooled = [F.adaptive_avg_pool2d(maps, 1).flatten(1) for _ in range(2)]
    for logits, neural in ((hand.class_head(pooled[0]), hand.neural_head(pooled[1])), ours.heads(x)):
        (F.cross_entropy(logits, torch.arange(4)) + neural.square().mean()).backward()
    gradients = dict(ours.named_parameters())
    assert all(torch.equal(weights.grad, gradients[name].grad) for name, weights in hand.named_parameters())


# --- read-outs ----------------------------------------------------------------------------------------------


def seen_at(library: nn.Module, module: str, x: Tensor) -> Tensor:
    """What a module gives, copied before a later one writes into it."""
    found: list[Tensor] = []
    hook = library.get_submodule(module).register_forward_hook(lambda layer, given, out: found.append(out.clone()))
    with torch.no_grad():
        library(x)
    hook.remove()
    return found[0]


def as_they_are(maps: Tensor) -> Tensor:
    return maps


PLACES: dict[tuple[str, str], tuple[str, Callable[[Tensor], Tensor]]] = {
    **{("resnet50", f"layer{n}"): (f"layer{n}", as_they_are) for n in range(1, 5)},
    **{("swin_t", f"layer{n}"): (f"features.{2 * n - 1}", lambda maps: maps.movedim(3, 1)) for n in range(1, 4)},
    ("swin_t", "pooled"): ("flatten", as_they_are),
    ("densenet121", "features.norm5"): ("features.norm5", as_they_are),  # a ReLU writes into these four
    ("resnet50", "layer2.0.bn1"): ("layer2.0.bn1", as_they_are),
    ("resnet50", "layer2.1.bn3"): ("layer2.1.bn3", as_they_are),
    ("mobilenet_v3_small", "classifier.0"): ("classifier.0", as_they_are),
    ("mobilenet_v3_small", "features.3"): ("features.3", as_they_are),  # a module: its last node
}


@pytest.mark.parametrize("architecture", sorted({architecture for architecture, _ in PLACES}))
def test_a_readout_is_what_the_library_computes_there(architecture: str) -> None:
    torch.manual_seed(0)
    wanted = {name: place for (of, name), place in PLACES.items() if of == architecture}
    library = randomised(assembled(architecture)).eval()
    backbone, x = Backbone(architecture, 64, list(wanted)).eval(), pixels(64)
    backbone.parts.load_state_dict(library.state_dict(), strict=False)
    with torch.no_grad():
        maps = backbone(x)
    for name, (module, turned) in wanted.items():
        expected = turned(seen_at(library, module, normalised(backbone, x)))
        torch.testing.assert_close(maps[name], expected, atol=1e-5, rtol=1e-5)
        assert readout(maps, name).shape == (2, backbone.readout_width(name))


def test_tokens_lie_where_their_patches_are() -> None:
    tokens = torch.cat([torch.full((1, 2, 3), -1.0), torch.arange(18.0).view(1, 6, 3)], dim=1)
    maps = maps_of_tokens(tokens, (2, 3))
    np.testing.assert_array_equal(maps[0, 0], [[0, 3, 6], [9, 12, 15]])
    np.testing.assert_array_equal(maps[0, :, 1, 2], [15, 16, 17])


@pytest.mark.slow
def test_a_transformers_stages_are_quarters_of_its_blocks_and_pooled_its_class_token() -> None:
    torch.manual_seed(0)
    library = randomised(assembled("vit_b_32", 96)).eval()
    backbone, x = Backbone("vit_b_32", 96).eval(), pixels(96)
    backbone.parts.load_state_dict(library.state_dict(), strict=False)
    given = normalised(backbone, x)
    with torch.no_grad():
        maps = backbone(x)
    for stage, block in {"layer1": 2, "layer2": 5, "layer3": 8, "layer4": 11}.items():
        tokens = seen_at(library, f"encoder.layers.encoder_layer_{block}", given)
        torch.testing.assert_close(maps[stage], maps_of_tokens(tokens, (3, 3)), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(maps["pooled"], seen_at(library, "encoder.ln", given)[:, 0], atol=1e-5, rtol=1e-5)


def test_any_node_is_read_out_of_a_network_that_was_not_trained_on_it() -> None:
    network, images = freeze(build(GuidedNet, 0, "small_resnet", CLASSES, 0)), (pixels(32, 3) * 255).byte()
    found = read_out(network, images, ["layer2.bn1", "pooled", "neural"], batch_size=2)
    assert {name: tuple(values.shape) for name, values in found.items()} == {
        "layer2.bn1": (3, 64 * 4),
        "pooled": (3, 256),
    }
    with pytest.raises(InputError, match=r"\n +expected: layer1, layer2, layer3, layer4, pooled, layer2\.bn2, "):
        read_out(network, images, ["layer2.bn3"])


# --- what cannot be -----------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "a name": (lambda: Backbone("resnet5"), r"unknown architecture\n +expected: resnet50, .*alexnet"),
    "a name of nothing": (lambda: Backbone(""), "unknown architecture"),
    "no name": (lambda: Backbone(None), "unknown architecture"),  # type: ignore[arg-type]
    "a read-out": (lambda: Backbone("resnet18", None, ["layer5"]), r"unknown read-out of resnet18\n +expected: layer"),
    "no last linear layer": (lambda: Backbone("squeezenet1_1"), "does not end in a linear layer"),
    "images too small": (lambda: Backbone("alexnet", 32), "alexnet does not take images of 32 px"),
    "images no patches fit": (lambda: Backbone("vit_b_16", 40), "no vit_b_16 for images of 40 px"),
    "no side": (lambda: Backbone("vit_b_16", "large"), "vit_b_16"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_network_that_cannot_be_is_refused_with_what_there_is(case: str) -> None:
    make, words = REFUSED[case]
    with pytest.raises(InputError, match=words):
        make()


def test_timm_is_asked_for_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbtools.models.architectures.find_spec", lambda name: None)
    assert set(list_architectures()) == {*OWN, *TORCHVISION}
    with pytest.raises(InputError, match=r"timm is not installed[\s\S]*neuroai-nbtools\[timm\]"):
        Backbone("timm.vit_small_patch16_224")


@pytest.mark.slow
def test_images_of_another_size_are_refused_by_a_network_of_one_size() -> None:
    network = freeze(build(GuidedNet, 0, "vit_b_32", CLASSES, 0, image_size=64))
    assert network.config["image_size"] == 64
    with pytest.raises(InputError, match=r"built for images of another size[\s\S]*64, 64[\s\S]*96, 96"):
        network(pixels(96))
    with pytest.raises(InputError, match="another architecture"):
        begin_with(network, build(GuidedNet, 0, "vit_b_32", CLASSES, 0, image_size=96))


# --- trained, kept, sent ------------------------------------------------------------------------------------

# The first at once, those of many weights not with every change.
TRAINED = {
    "mobilenet_v3_small": (32, ()),
    "resnet50": (32, pytest.mark.slow),
    "convnext_tiny": (32, pytest.mark.slow),
    "timm.vit_small_patch16_224": (32, (pytest.mark.slow, EXTRA)),
    "alexnet": (64, pytest.mark.slow),
    "vit_b_32": (64, pytest.mark.long),
    "vgg11": (32, pytest.mark.long),
}
CONFIG = TrainConfig(epochs=1, batch_size=4, lr=1e-3, optimizer="sgd", momentum=0.0)
SPLITS = {"train": np.arange(8), "validation": np.arange(8, 12)}


def trained(architecture: str, side: int, file: Path) -> tuple[GuidedNet, pd.DataFrame]:
    generator = torch.Generator().manual_seed(0)
    shown = torch.randint(256, (12, 3, side, side), dtype=torch.uint8, generator=generator)
    images = ImageSet(shown, torch.arange(12) % 4, np.arange(12).astype(str), CLASSES)
    predictor = build(RoiPredictor, 1, "small_resnet", 5, 20)
    guide = make_guide(parse_condition("TO"), predictor, images, "global", 0)
    network = build(GuidedNet, 0, architecture, CLASSES, 5, "layer3", image_size=side)
    return network, train_guided(network, images, guide, 0.5, SPLITS, CONFIG, file)


def same(ours: nn.Module, theirs: nn.Module) -> bool:
    expected = theirs.state_dict()
    return all(torch.equal(value, expected[name]) for name, value in ours.state_dict().items())


def stop_after_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    save = Keeper.save_if_due
    monkeypatch.setattr(Keeper, "save_if_due", lambda self, at: self.ask() or save(self, at))


@pytest.mark.parametrize(
    ("architecture", "side"), [pytest.param(name, side, marks=marks) for name, (side, marks) in TRAINED.items()]
)
def test_it_is_trained_guided_resumes_bit_for_bit_and_is_kept(
    architecture: str, side: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    state = torch.random.get_rng_state()
    whole, expected = trained(architecture, side, tmp_path / "whole")
    assert torch.equal(torch.random.get_rng_state(), state), "dropout draws from a generator of its own"
    with monkeypatch.context() as stopping:
        stop_after_one_step(stopping)
        with pytest.raises(Interrupted):
            trained(architecture, side, tmp_path / "checkpoint")
    resumed, history = trained(architecture, side, tmp_path / "checkpoint")
    assert same(resumed, whole)
    pd.testing.assert_frame_equal(history.drop(columns="seconds"), expected.drop(columns="seconds"), check_exact=True)
    assert expected.neural_loss.notna().all()
    save_model(whole, tmp_path / "kept")
    loaded, x = load_model(tmp_path / "kept"), pixels(side)
    assert same(loaded, whole)
    torch.testing.assert_close(loaded(x), whole(x), atol=1e-4, rtol=1e-4)  # maps lie in another order after training
    assert json.loads((tmp_path / "kept/model.json").read_text()) == {"model": "GuidedNet", **whole.config}


@pytest.mark.parametrize("architecture", ["mobilenet_v3_small", "densenet121"])
def test_copies_and_messages_are_the_same_network_in_both_modes(architecture: str) -> None:
    network, x = randomised(build(GuidedNet, 0, architecture, CLASSES, 3, "layer2")), pixels(64)
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        for mode in (True, False):
            answers = []
            for model in (network.train(mode), other.train(mode)):
                torch.manual_seed(0)
                answers.append(copy.deepcopy(model).heads(x))
            assert all(torch.equal(ours, theirs) for ours, theirs in zip(*answers, strict=True))
    folded = fold_batchnorm(network.eval())
    assert torch.equal(pickle.loads(pickle.dumps(folded))(x), folded(x))


def test_training_drops_and_use_does_not() -> None:
    network, x = build(GuidedNet, 0, "mobilenet_v3_small", CLASSES, 0).eval(), pixels(64)
    pooled = [readout(network.backbone(x), "pooled") for _ in range(2)]
    assert torch.equal(*pooled)
    network.train()
    dropped = readout(network.backbone(x), "pooled")
    assert (dropped == 0).float().mean() > 0.1


SOME = ["small_resnet", *(pytest.param(name, marks=pytest.mark.slow) for name in ("mobilenet_v3_small", "swin_t"))]


@pytest.mark.parametrize("architecture", SOME)
def test_it_is_one_graph_to_the_compiler_and_takes_half_precision(architecture: str) -> None:
    network, x = freeze(build(GuidedNet, 0, architecture, CLASSES, 0)), pixels(64)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), network(x))
    network, x = (thing.to(memory_format=torch.channels_last) for thing in (network, x))
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(network(x).float(), compiled(x).float(), atol=0.05, rtol=0.05)


# --- folding ------------------------------------------------------------------------------------------------


def left_of(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@pytest.mark.parametrize(
    ("architecture", "left"),
    {"resnet50": 0, "mobilenet_v3_small": 0, "shufflenet_v2_x0_5": 0, "densenet121": 62}.items(),
)
def test_what_follows_a_convolution_is_folded(architecture: str, left: int) -> None:
    folded = fold_batchnorm(build(GuidedNet, 0, architecture, CLASSES, 0).eval())
    assert left_of(folded) == left
    assert same(fold_batchnorm(folded), folded), "once is enough"


def test_a_convolution_that_is_read_stays_as_it_is() -> None:
    network, x = randomised(build(GuidedNet, 0, "small_resnet", CLASSES, 3, "layer2.conv1")).eval(), pixels(32)
    folded = fold_batchnorm(network)
    assert left_of(folded) == 1
    for ours, theirs in zip(folded.heads(x), network.heads(x), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


class PreActivated(nn.Module):
    """Named as torchvision's blocks, in another order: the normalisation comes before its convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 3, 3, bias=False), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv1(self.bn1(x).relu())


class Twice(PreActivated):
    """A convolution whose values are used beside their normalisation too."""

    def forward(self, x: Tensor) -> Tensor:
        maps = self.conv1(x)
        return self.bn1(maps) + maps


class Choosing(PreActivated):
    """The path goes by the values."""

    def forward(self, x: Tensor) -> Tensor:
        return self.bn1(self.conv1(x)) if x.mean() > 0 else x


@pytest.mark.parametrize("kind", [PreActivated, Twice, Choosing])
def test_folding_follows_the_values_of_any_network(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    network, x = randomised(kind()).eval(), pixels(16)
    torch.testing.assert_close(fold_batchnorm(network)(x), network(x), atol=1e-5, rtol=1e-4)


# --- weights of before, and of ImageNet ---------------------------------------------------------------------


def test_a_resnet18_of_before_is_loaded(tmp_path: Path) -> None:
    network, x = freeze(randomised(build(GuidedNet, 0, "resnet18", CLASSES, 0))), pixels(32)
    save_model(network, tmp_path)
    former = {"backbone.parts.conv1.": "backbone.parts.stem.0.", "backbone.parts.bn1.": "backbone.parts.stem.1."}
    state = {}
    for name, value in load_file(tmp_path / "weights.safetensors").items():
        head = next((head for head in former if name.startswith(head)), "")
        state[former.get(head, "") + name.removeprefix(head)] = value
    assert "backbone.parts.stem.1.running_var" in state
    save_file(state, tmp_path / "weights.safetensors")
    assert torch.equal(load_model(tmp_path)(x), network(x))


@pytest.mark.parametrize("architecture", ["resnet50", "googlenet", "densenet121"])
def test_imagenet_weights_of_any_classifier(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Download nothing: the library's own random weights stand in, in the layout of what it publishes."""
    more = {"init_weights": True} if architecture == "googlenet" else {}  # with the second classifiers, as published
    library = randomised(torchvision.models.get_model(architecture, weights=None, **more)).eval()
    state = {published(name): value for name, value in library.state_dict().items() if "tracked" not in name}
    monkeypatch.setattr(torchvision.models.WeightsEnum, "get_state_dict", lambda *args, **kwargs: state)
    backbone = Backbone(architecture)
    load_imagenet_weights(backbone)
    assert all(torch.equal(value, library.state_dict()[name]) for name, value in backbone.parts.state_dict().items())


def published(name: str) -> str:
    """What DenseNet's file calls a layer: it was written when names held dots."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", name)


@pytest.mark.slow
def test_imagenet_weights_of_a_transformer_fit_other_images(monkeypatch: pytest.MonkeyPatch) -> None:
    library = assembled("vit_b_32")
    monkeypatch.setattr(torchvision.models.WeightsEnum, "get_state_dict", lambda *a, **k: library.state_dict())
    backbone = Backbone("vit_b_32", 64)
    load_imagenet_weights(backbone)
    embedded, published = (net.encoder.pos_embedding for net in (backbone.parts, library))
    assert embedded.shape == (1, 5, 768)
    assert torch.equal(embedded[:, 0], published[:, 0]), "the class token's own"


@EXTRA
def test_a_network_of_timm_sees_pixels_as_its_weights_do() -> None:
    backbone = Backbone("timm.vit_small_patch16_224", 32)
    assert backbone.pixel_mean.flatten().tolist() == backbone.pixel_sd.flatten().tolist() == [0.5, 0.5, 0.5]
    assert backbone.image_size == 32


def test_there_are_none_for_a_network_of_our_own() -> None:
    with pytest.raises(InputError, match="no weights for this architecture"):
        load_imagenet_weights(Backbone("small_resnet"))


# --- what it takes ------------------------------------------------------------------------------------------


def test_what_a_network_takes_is_counted() -> None:
    resnet = taken_by("resnet18", 224)
    assert resnet.operations == pytest.approx(2 * 1.814e9, rel=0.01)  # torchvision's own count of multiply-adds
    assert resnet.n_weights == 11_689_512  # and of weights
    assert resnet.n_values / (3 * 224**2) == pytest.approx(costs.network_of("resnet18", 224).values, rel=0.25)
    assert taken_by("vit_b_16", 224).n_weights == 86_567_656
    assert taken_by("cornet_s", 224).n_weights == 53_416_616  # as its authors' code counts


def test_a_plan_knows_what_any_network_takes() -> None:
    known, asked = costs.network_of("resnet18", 64), costs.network_of("resnet50", 64)
    assert asked.slow / known.slow == pytest.approx(4.09 / 1.81, rel=0.05)
    assert asked.weights_mb == pytest.approx(102, rel=0.02)
    assert asked.values > 3 * known.values
    with pytest.raises(InputError, match="unknown architecture"):
        costs.network_of("resnet5", 64)
