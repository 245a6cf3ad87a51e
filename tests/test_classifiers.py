"""Networks of others: of any precision, without weights, called where no gradient is kept; and what is no network."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from nbtools.attacks import ATTACKS, attacked_gradients, audit, perturb, perturb_towards, sweep, transfer
from nbtools.classifiers import Classifier
from nbtools.data.images.sets import ImageSet, to_float
from nbtools.errors import InputError
from nbtools.metrics import loss_surface, squared_gradient
from nbtools.models import predict
from nbtools.probes import decide_corrupted
from nbtools.widgets.attack_paths import AttackPath
from nbtools.widgets.attack_state import Bench, Choice

pytestmark = pytest.mark.usefixtures("one_thread")

SIDE, EPSILONS = 6, [0.01, 0.03]
ONE_IMAGE = torch.zeros(1, dtype=torch.int64), np.array(["one"])


class Plain(nn.Module):
    """Two linear classes, whose weights no processor rounds: they are in bfloat16 what they are in float64."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        signs = torch.randint(0, 2, (2, 3 * SIDE * SIDE), generator=torch.Generator().manual_seed(0)) * 2.0 - 1
        self.weight = nn.Parameter(signs.to(dtype))

    def forward(self, x: Tensor) -> Any:
        return (x.flatten(1) - 0.5) @ self.weight.T

    def matched(self, x: Tensor) -> tuple[Any, list[Tensor]]:
        return self.forward(x), [x.flatten(1)]


class Weightless(Plain):
    """The same, and nothing in it is a parameter or a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = [self.weight.detach()]
        del self.weight

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) - 0.5) @ self.kept[0].T


class Other(Plain):
    """Answers with something else than logits."""

    def __init__(self, answer: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor) -> Any:
        return self.answer(super().forward(x))


def images(n: int = 12) -> ImageSet:
    pixels = torch.randint(90, 166, (n, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return ImageSet(pixels, Plain()(to_float(pixels)).argmax(1), np.array([f"i{k}" for k in range(n)]), ("a", "b"))


IMAGES = images()
X = to_float(IMAGES.pixels)
NONE_THERE = pd.DataFrame(columns=["corruption", "severity"])


def explored(model: nn.Module) -> AttackPath:
    bench, choice = Bench({"one": model}, IMAGES, (4.0, 8.0)), Choice("i0", ("one",), steps=3, level=4.0)
    bench.compute(choice, "one")
    return bench.paths(choice)["one"]


ENTRIES: dict[str, Callable[[Any], Any]] = {
    "sweep": lambda model: sweep(model, IMAGES, EPSILONS, steps=3)["prediction"].to_numpy(),
    "perturb": lambda model: perturb(model, X, IMAGES.labels, EPSILONS, steps=3),
    "perturb_towards": lambda model: perturb_towards(model, X, 1, EPSILONS, steps=3),
    "audit": lambda model: audit(model, IMAGES[:4], EPSILONS, steps=1, surrogate=model)["passed"].to_numpy(),
    "transfer": lambda model: transfer({("one", 0): model, ("two", 0): model}, IMAGES, 0.03, steps=3)[
        "prediction"
    ].to_numpy(),
    "attacked_gradients": lambda model: attacked_gradients({("a", 0): model}, IMAGES, [0, 0.01], steps=3)["gradient"],
    "squared_gradient": lambda model: squared_gradient(model, X, IMAGES.labels),
    "loss_surface": lambda model: loss_surface(model, X, IMAGES.labels, 0.03, n=3)["loss"].to_numpy(),
    "predict": lambda model: predict(model, IMAGES.pixels),
    "the explorer": lambda model: explored(model).pixels,
}


@pytest.mark.parametrize("around", [nullcontext, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("entry", ENTRIES)
def test_every_network_gets_the_same_answer(entry: str, around: Callable[[], AbstractContextManager]) -> None:
    expected = np.asarray(ENTRIES[entry](Plain().eval()))
    models = Plain(), Plain(torch.float64), Weightless()
    with around():
        for model in models:
            np.testing.assert_allclose(ENTRIES[entry](model.eval()), expected, rtol=1e-4, atol=1e-5)
    assert np.isfinite(expected.astype(float)).all()


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_network_in_bfloat16_is_asked_in_bfloat16(entry: str) -> None:
    found = np.asarray(ENTRIES[entry](Plain(torch.bfloat16).eval()))
    assert found.dtype != np.dtype("O")
    assert found.shape == np.asarray(ENTRIES[entry](Plain().eval())).shape


@pytest.mark.parametrize("attack", [name for name in ATTACKS if name not in ("L2BrendelBethge", "L2AutoAttack")])
def test_every_attack_takes_every_network(attack: str) -> None:
    radii = EPSILONS if attack.startswith("Linf") else [0.1, 0.3]
    models = Plain(torch.float64), Plain(torch.bfloat16), Weightless()
    with torch.inference_mode():
        for model in models:
            assert len(sweep(model.eval(), IMAGES[:2], radii, attack=attack, steps=2)) == 6


@pytest.mark.parametrize("attack", ["LinfPGD", "LinfFMN", "L2CarliniWagner"])
def test_tensors_of_inference_mode_can_be_attacked(attack: str) -> None:
    def network() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 2)).eval()

    with torch.inference_mode():
        x, labels, model = to_float(IMAGES.pixels), IMAGES.labels.clone(), network()
    expected = perturb(network(), X, IMAGES.labels, EPSILONS, attack=attack, steps=3)
    assert torch.equal(perturb(model, x, labels, EPSILONS, attack=attack, steps=3), expected)


NO_LOGITS: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "dict": (lambda logits: {"logits": logits, "aux": logits}, "a dict of logits, aux"),
    "tuple": (lambda logits: (logits, logits), r"a tuple of a tensor \(\d+, 2\), a tensor \(\d+, 2\)"),
    "maps": (lambda logits: logits[:, :, None, None], r"a tensor \(\d+, 2, 1, 1\)"),
    "one image's": (lambda logits: logits[:1].expand(len(logits) + 1, -1), r"a tensor \(\d+, 2\)"),
    "classes": (lambda logits: logits.argmax(1), r"a tensor \(\d+,\)"),
}


@pytest.mark.parametrize("answer", NO_LOGITS)
@pytest.mark.parametrize("entry", ENTRIES)
def test_what_is_no_logits_is_refused(entry: str, answer: str) -> None:
    make, got = NO_LOGITS[answer]
    with pytest.raises(InputError, match=rf"returns no logits\n  expected: one tensor .*\n  got:      {got}\n"):
        ENTRIES[entry](Other(make).eval())


@pytest.mark.parametrize("entry", [name for name in ENTRIES if name != "the explorer"])
def test_what_is_no_network_and_what_is_in_training_is_refused(entry: str) -> None:
    with pytest.raises(InputError, match="not a network"):
        ENTRIES[entry](Plain().forward)
    with pytest.raises(InputError, match="training mode"):
        ENTRIES[entry](Plain().train())


def test_decisions_on_corruptions_are_numbers() -> None:
    broken = Other(lambda logits: logits * torch.nan).eval()
    with pytest.raises(InputError, match="not finite"):
        decide_corrupted({("a", 0): broken}, IMAGES, None, NONE_THERE)  # type: ignore[arg-type, dict-item]


@pytest.mark.parametrize("target", [0.0, 1.5, 2, -1, "a", True + 1])
def test_a_target_is_one_of_the_classes(target: Any) -> None:
    with pytest.raises(InputError, match=r"the target cannot be .*\n  expected: a whole number from 0 to 1\n"):
        perturb_towards(Plain().eval(), X, target, EPSILONS)


def test_a_wrapped_network_is_still_joined_by_the_names_of_its_classes() -> None:
    model, images = Plain().eval(), ImageSet(torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8), *ONE_IMAGE, ("a", "b"))
    model.classes = ("b", "a")  # type: ignore[assignment]
    for network in (model, Classifier(model), Classifier(Classifier(model))):
        with pytest.raises(InputError, match="not of the network's classes"):
            sweep(network, images, EPSILONS)


def test_a_network_keeps_its_parts_as_they_are() -> None:
    model = nn.Sequential(Plain(), nn.Dropout()).eval()
    model[1].train()
    Classifier(model)(X)
    assert [part.training for part in model] == [False, True]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"steps": 1.5}, "steps cannot be"),
        ({"steps": "5"}, "steps cannot be"),
        ({"restarts": 1.5}, "restarts cannot be"),
        ({"restarts": -1}, "restarts cannot be"),
        ({"batch_size": 0}, "batch_size cannot be"),
        ({"epsilons": 0.1}, "pixel units"),
        ({"epsilons": "0.1 0.2"}, "pixel units"),
        ({"epsilons": ["0.1"]}, "pixel units"),
        ({"epsilons": [0.1, None]}, "pixel units"),
        ({"epsilons": [[0.1, 0.2]]}, "pixel units"),
        ({"epsilons": ["0.1"], "attack": "L2PGD"}, "pixel units"),
    ],
)
def test_numbers_of_an_attack_have_their_range(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        sweep(Plain().eval(), IMAGES, **{"epsilons": [0.1], **options})
