"""The audit: a plain network passes every check, networks that hide their gradients fail, and by the right ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.autograd import grad

from nbtools.attacks.audit import audit, describe_audit
from nbtools.attacks.flags import flags
from nbtools.attacks.interface import sweep
from nbtools.classifiers import Classifier
from nbtools.data.images.sets import ImageSet, to_float
from nbtools.errors import InputError

SIDE = 6
FLAGS = ["random outputs", "probabilities", "no gradient", "gradients inside"]
CHECKS = ["unbounded attack", "falls with ε", "more steps", "more restarts", "targeted", "black box", "random noise"]
CHECKS += FLAGS


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


# --- planted cheats: each is caught, by the check that is meant for it, whatever its weights


class Rippled(Plain):
    """A ripple on the logits, too small to change much and so steep that gradients follow nothing else."""

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        return logits + 0.002 * torch.sin(2e6 * logits)


class Random(Plain):
    """Another answer at every pass."""

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        return logits + 0.05 * torch.randn_like(logits)


class Probable(Plain):
    """Probabilities in place of logits, none of them 0 or 1."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).softmax(1)


class Purifying(Plain):
    """Moves each image towards what it takes it for before it decides."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            here = x.detach().requires_grad_()
            (uphill,) = grad(super().forward(here).max(1).values.sum(), here)  # imported under a name of its own
        return super().forward(x + 0.1 * uphill.sign())


def in_normalised_units(model: nn.Module, images: ImageSet) -> pd.DataFrame:
    """PGD of one's own on normalised pixels, (x − 0.5) / 0.25, with ε as if it were one of pixels."""
    # a change of ε there is one of ε / 4 here
    quarter = [epsilon / 4 for epsilon in EPSILONS["LinfPGD"]]
    table = sweep(model, images, quarter, steps=6)
    return table.assign(
        epsilon=table["epsilon"].map(dict(zip([0.0, *quarter], [0.0, *EPSILONS["LinfPGD"]], strict=True)))
    )


RAISED = {
    "random outputs": Random,
    "probabilities": Probable,
    "no gradient": Rounded,
    "gradients inside": Purifying,
}


@pytest.mark.parametrize("flag", RAISED)
def test_a_planted_cheat_raises_its_flag_in_20_of_20_networks(flag: str) -> None:
    for seed in range(20):
        model = Classifier(RAISED[flag](seed).eval())
        images = images_of(Plain(seed))
        raised = flags(model, to_float(images.pixels), images.labels)[flag]
        assert raised.all(), seed


@pytest.mark.slow
@pytest.mark.parametrize("make", [Rippled, None])
def test_a_planted_cheat_is_caught_and_an_honest_network_passes_in_20_of_20(make: type[Plain] | None) -> None:
    """Without a network of its own, the cheat lies in ε, and the same attack in pixel units passes."""
    passed = []
    for seed in range(20):
        model = (make or Plain)(seed).eval()
        images = images_of(Plain(seed), 24)
        theirs = [None] if make else [in_normalised_units(model, images), sweep(model, images, EPSILONS["LinfPGD"])]
        found = [audit(model, images, EPSILONS["LinfPGD"], steps=4, decisions=table) for table in theirs]
        passed.append([bool(table["passed"].all()) for table in found])
    assert passed == [[False] if make else [False, True]] * 20


@pytest.mark.parametrize("seed", range(20))
def test_plain_networks_raise_no_flag(seed: int) -> None:
    model = Classifier(Plain(seed).eval())
    images = images_of(model)
    assert not any(flag.any() for flag in flags(model, to_float(images.pixels), images.labels).values())


def test_a_network_that_no_gradient_passes_is_refused_in_words() -> None:
    class Detached(Plain):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.detach()).detach()

    with pytest.raises(InputError, match=r"no gradient passes[\s\S]*LinfSquare"):
        audited(Detached())


def test_decisions_of_an_attack_as_strong_pass() -> None:
    model = Plain().eval()
    images = images_of(model)
    theirs = sweep(model, images, EPSILONS["LinfPGD"], steps=12)
    table = audit(model, images, EPSILONS["LinfPGD"], steps=6, decisions=theirs).set_index("check")
    assert table.loc["decisions handed in", "passed"]


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
        "11 of 11 checks passed on 40 images: no sign of masked gradients\npass  unbounded"
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


def test_flags_are_raised_of_finite_gradients_and_labels_that_fit() -> None:
    class Undirected(Plain):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + (0 * x).flatten(1).norm(dim=1, keepdim=True).sqrt()

    images = images_of(Plain(), 6)
    x = to_float(images.pixels)
    with pytest.raises(InputError, match="gradients are not finite"):
        flags(Classifier(Undirected().eval()), x, images.labels)
    for label in (-1, 99):
        with pytest.raises(InputError, match="labels do not fit"):
            flags(Classifier(Plain().eval()), x, torch.full_like(images.labels, label))
