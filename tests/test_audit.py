"""The audit: a plain network passes every check, networks that hide their gradients fail, and by the right ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from nbtools.attacks.audit import audit, describe_audit
from nbtools.data.images.sets import ImageSet, to_float
from nbtools.errors import InputError

SIDE = 6
CHECKS = ["unbounded attack", "falls with ε", "more steps", "more restarts", "targeted", "black box", "random noise"]


class Plain(nn.Module):
    """Two linear classes."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 3 * SIDE * SIDE, generator=torch.Generator().manual_seed(seed)))

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) - 0.5) @ self.weight.T


class Confident(Plain):
    """Logits ten thousand times as large: a float32 softmax has no gradient, the attack's loss has."""

    def forward(self, x: Tensor) -> Tensor:
        return 1e4 * super().forward(x)


class Saturated(Plain):
    """Gives probabilities, all of them 0 or 1 in float32."""

    def forward(self, x: Tensor) -> Tensor:
        return (1e4 * super().forward(x)).softmax(1)


class Rounded(Plain):
    """Sees 64 grey levels: no gradient gets through, and little is lost."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward((x * 63).round() / 63)


def images_of(model: nn.Module, n: int = 40) -> ImageSet:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(90, 166, (n, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    with torch.no_grad():
        labels = model(to_float(pixels)).argmax(1)
    return ImageSet(pixels, labels, np.array([f"i{k}" for k in range(n)]), ("a", "b"))


EPSILONS = {"LinfPGD": [0.003, 0.01, 0.02], "L2PGD": [0.03, 0.1, 0.2]}


def audited(model: nn.Module, attack: str = "LinfPGD", **options: object) -> pd.DataFrame:
    model = model.eval()
    return audit(model, images_of(model), EPSILONS[attack], attack=attack, steps=6, **options)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize(("model", "attack"), [(Plain, "LinfPGD"), (Plain, "L2PGD"), (Confident, "L2PGD")])
def test_a_plain_network_passes(model: Callable[[], nn.Module], attack: str) -> None:
    table = audited(model(), attack)
    assert list(table["check"]) == CHECKS
    assert table["passed"].all(), describe_audit(table)
    assert (table["passed"] == (table["value"] <= table["limit"])).all()
    assert describe_audit(table).startswith(
        "7 of 7 checks passed on 40 images: no sign of masked gradients\npass  unbounded"
    )


@pytest.mark.slow
@pytest.mark.parametrize(("model", "attack"), [(Saturated, "LinfPGD"), (Rounded, "LinfPGD"), (Rounded, "L2PGD")])
def test_a_network_that_hides_its_gradients_fails(model: Callable[[], nn.Module], attack: str) -> None:
    table = audited(model(), attack).set_index("check")
    assert not table.loc["unbounded attack", "passed"], describe_audit(table.reset_index())
    assert "gradients hide something" in describe_audit(table.reset_index())


@pytest.mark.slow
def test_black_box_and_transfer_find_what_rounding_hides() -> None:
    table = audited(Rounded(), surrogate=Plain().eval()).set_index("check")
    assert table.loc["black box", "value"] > 0.1
    assert table.loc["transfer", "value"] > 0.3, "the same weights, without the rounding"
    assert not table.loc[["black box", "transfer"], "passed"].any()


@pytest.mark.slow
def test_an_audit_repeats() -> None:
    pd.testing.assert_frame_equal(audited(Rounded()), audited(Rounded()))


BAD: dict[str, tuple[Callable[[], object], str]] = {
    "one budget": (lambda: audit(Plain().eval(), images_of(Plain()), [0.1]), "several budgets"),
    "another attack": (
        lambda: audit(Plain().eval(), images_of(Plain()), [0.1, 0.2], attack="LinfFGSM"),
        "cannot audit",
    ),
    "training mode": (lambda: audit(Plain().train(), images_of(Plain()), [0.1, 0.2]), "training mode"),
    "grey levels": (lambda: audit(Plain().eval(), images_of(Plain()), [1, 2]), "pixel units"),
    "nothing right": (lambda: audit(Opposite().eval(), images_of(Plain()), [0.1, 0.2]), "nothing to lose"),
}


class Opposite(Plain):
    """Always the other class."""

    def forward(self, x: Tensor) -> Tensor:
        return -super().forward(x)


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case: str) -> None:
    attempt, message = BAD[case]
    with pytest.raises(InputError, match=message):
        attempt()
