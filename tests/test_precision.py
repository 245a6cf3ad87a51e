"""Half precision: a guide's weights are cast once, say what autocast has them say, and guide as in float32."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from nbtools.conditions import parse_condition
from nbtools.data.images.sets import ImageSet, to_float
from nbtools.models.networks import GuidedNet, RoiPredictor, build
from nbtools.training.guided import train_guided
from nbtools.training.loop import Precision, TrainConfig
from nbtools.training.targets import Guide, make_guide

pytestmark = pytest.mark.usefixtures("one_thread")

CPU, ROWS = torch.device("cpu"), torch.arange(24)
CONFIG = TrainConfig(epochs=1, batch_size=8, lr=1e-2, optimizer="sgd", precision="bf16-mixed")
SPLITS = {"train": np.arange(16), "validation": np.arange(16, 24)}


def some_images() -> ImageSet:
    draw = torch.Generator().manual_seed(0)
    tint = torch.rand((len(ROWS), 3, 1, 1), generator=draw) * 180
    pixels = (tint + torch.rand((len(ROWS), 3, 32, 32), generator=draw) * 75).to(torch.uint8)
    return ImageSet(pixels, ROWS % 4, ROWS.numpy().astype(str), tuple("abcd"))


def a_guide(architecture: str = "small_resnet", condition: str = "TO") -> Guide:
    predictor = build(RoiPredictor, 1, architecture, 5, 20)
    torch.nn.init.normal_(predictor.components, generator=torch.Generator().manual_seed(2))
    return make_guide(parse_condition(condition), predictor, some_images(), "raw", 0)


class Casts(TorchDispatchMode):
    """Counts how often a weight of a guide is cast."""

    def __init__(self, guide: Guide):
        super().__init__()
        self.weights = {weight.data_ptr() for aim in guide.aims for weight in aim.predictor.parameters()}
        self.n = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.n += func is torch.ops.aten._to_copy.default and args[0].data_ptr() in self.weights
        return func(*args, **(kwargs or {}))


def said(guide: Guide, dtype: torch.dtype = torch.bfloat16) -> tuple[Tensor, int]:
    """Return the targets under autocast, and how many weights were cast for them."""
    with torch.autocast("cpu", dtype), Casts(guide) as casts:
        (targets,) = guide.targets(to_float(some_images().pixels), ROWS)
    return targets, casts.n


@pytest.mark.parametrize(
    ("architecture", "condition", "dtype"),
    [
        *((name, "TO", torch.bfloat16) for name in ("small_resnet", "resnet18", "mobilenet_v3_small", "swin_v2_t")),
        ("small_resnet", "TO-rdm", torch.bfloat16),
        ("small_resnet", "TO", torch.float16),
    ],
)
def test_under_autocast_a_guide_casts_its_weights_once_and_says_the_same(
    architecture: str, condition: str, dtype: torch.dtype
) -> None:
    guide = a_guide(architecture, condition)
    before = {name: value.clone() for name, value in guide.aims[0].predictor.state_dict().items()}
    with torch.autocast("cpu", dtype):
        cast = guide.to(CPU)
    (expected, casts), (ours, fewer) = said(guide, dtype), said(cast, dtype)
    assert torch.equal(ours, expected)
    assert ours.dtype == torch.float32
    assert fewer < casts
    attention = architecture == "swin_v2_t"  # takes some of its weights by itself, and rounds more often
    assert attention or fewer == 0
    (full,) = guide.targets(to_float(some_images().pixels), ROWS)
    assert 0 < (ours - full).norm() / full.norm() < (0.1 if attention else 0.02), "float32, rounded"
    kept = guide.aims[0].predictor.state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in before.items()), "the guide itself is as it was"


def test_without_autocast_a_guide_stays_as_it_is() -> None:
    guide = a_guide()
    assert guide.to(CPU).aims[0].predictor is guide.aims[0].predictor
    assert said(guide.to(CPU))[1] > 0


@pytest.fixture
def dtypes(monkeypatch: pytest.MonkeyPatch) -> list[torch.dtype]:
    """Return the kinds of weights that predictors have in their passes from now on."""
    seen: list[torch.dtype] = []
    ask = RoiPredictor.forward

    def spied(self: RoiPredictor, x: Tensor) -> Tensor:
        seen.extend({part.weight.dtype for part in self.modules() if isinstance(part, (nn.Conv2d, nn.Linear))})
        return ask(self, x)

    monkeypatch.setattr(RoiPredictor, "forward", spied)
    return seen


def losses(guide: Guide, precision: Precision) -> dict[str, float]:
    network = build(GuidedNet, 0, "small_resnet", list("abcd"), 5)
    history = train_guided(network, some_images(), guide, 0.5, SPLITS, replace(CONFIG, precision=precision))
    return history.iloc[0][["loss", "class_loss", "neural_loss"]].to_dict()


def test_trainings_in_half_precision_have_such_a_guide_and_float32s_losses(dtypes: list[torch.dtype]) -> None:
    guide = a_guide()
    dtypes.clear()
    full = losses(guide, "32-true")
    assert set(dtypes) == {torch.float32}
    dtypes.clear()
    half = losses(guide, "bf16-mixed")
    assert set(dtypes) == {torch.bfloat16}
    assert half == pytest.approx(full, rel=0.01)
    assert half != full
