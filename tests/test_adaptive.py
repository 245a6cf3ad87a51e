"""The adaptive attack finds what is hidden where the neural output is another, or is not."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nbtools.attacks import perturb, perturb_towards, sweep
from nbtools.data.images.sets import ImageSet
from nbtools.errors import InputError
from nbtools.models.networks import AdoptedNet, GuidedNet, build, freeze

SIDE, STEPS, EPSILON = 12, 160, 0.12
ZONES = {"unless held": 0.006, "until broken": 0.03}  # of neural outputs that count as natural


class Guarded(nn.Module):
    """Two heads that agree on natural images: one robust, one not, and the neural output says which of them answers.

    The first channel holds the robust class. The neural output is a signed mean of the others: 0 in natural images.
    Where it has to be held, its signs are those of the fragile head's weights, so that climbing that head changes it
    before anything else.
    """

    def __init__(self, seed: int, hides: str):
        super().__init__()
        first, second = torch.randn(2, 2 * SIDE * SIDE, generator=torch.Generator().manual_seed(seed))
        self.weight = nn.Parameter(first)
        self.register_buffer("signs", (first if hides == "unless held" else second).sign())
        self.hides = hides

    def forward(self, x: Tensor) -> Tensor:
        return self.matched(x)[0]

    def matched(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        rest = x[:, 1:].flatten(1) - 0.5
        neural = (rest @ self.signs)[:, None] / len(self.weight)
        natural = neural[:, 0].abs() < ZONES[self.hides]
        fragile = natural if self.hides == "unless held" else ~natural
        lead = torch.where(fragile, rest @ self.weight, 100 * (x[:, 0].mean((1, 2)) - 0.5))
        return torch.stack([-lead, lead], dim=1), [neural]


def natural_images(model: Guarded, n: int = 12) -> ImageSet:
    """Images of which both heads say the same, without a neural output."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(n) % 2
    weight, sign = model.weight.detach(), model.signs
    along = weight - sign * (weight @ sign) / len(sign)  # leads, and leaves the neural output alone
    rest = 0.05 * torch.randn(n, len(weight), generator=generator)
    rest -= (rest @ sign)[:, None] * sign / len(sign)
    lead = (2 * labels - 1) * (3.6 + 0.6 * torch.rand(n, generator=generator))
    rest += (lead - rest @ weight)[:, None] * along / (along @ weight)
    robust = (0.3 + 0.4 * labels)[:, None, None, None].expand(n, 1, SIDE, SIDE)
    x = torch.cat([robust, rest.reshape(n, 2, SIDE, SIDE) + 0.5], dim=1)
    pixels = (x * 255).round().clamp(0, 255).to(torch.uint8)
    return ImageSet(pixels, labels, np.array([f"i{k}" for k in range(n)]), ("a", "b"))


def stands(model: nn.Module, images: ImageSet, attack: str, epsilon: float, **how: int) -> float:
    table = sweep(model, images, [epsilon], attack=attack, steps=STEPS, **how)
    right = table["prediction"] == table["label"]
    assert right[table["epsilon"] == 0].all()
    return float(right[table["epsilon"] > 0].mean())


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("hides", ["unless held", "until broken"])
def test_what_hides_behind_the_neural_output_is_found_by_the_attack_that_knows_it(hides: str, norm: str) -> None:
    epsilon = EPSILON if norm == "Linf" else EPSILON * math.sqrt(2 * SIDE**2)
    found = []
    for seed in range(3):
        model = Guarded(seed, hides).eval()
        images = natural_images(model)
        knowing = stands(model, images, f"{norm}AdaptivePGD", epsilon)
        blind = min(stands(model, images, f"{norm}{name}", epsilon, restarts=2) for name in ("PGD", "TargetedPGD"))
        found.append((blind, knowing))
    assert all(knowing < 0.1 < 0.8 < blind for blind, knowing in found), found


def guided() -> GuidedNet:
    return freeze(build(GuidedNet, 0, "small_resnet", ("a", "b", "c"), 5, image_size=16))


@pytest.mark.parametrize(
    "network", [guided, lambda: freeze(AdoptedNet("small_resnet", ("a", "b", "c"), ("a", "b", "c"), None, 16))]
)
def test_every_network_of_ours_can_be_attacked_that_way(network) -> None:
    """One with a neural head, and one without, of which the read-out is known."""
    model = network()
    x = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    labels = model(x).argmax(1)
    points = perturb(model, x, labels, [0.01, 0.3], attack="LinfAdaptivePGD", steps=10)
    assert (points[1] - x).abs().max() <= 0.3 + 1e-6
    assert (model(points[1]).argmax(1) != labels).any()
    aimed = perturb_towards(model, x, 1, [0.3], attack="L2AdaptivePGD", steps=10)
    assert aimed.shape == (1, *x.shape)


def test_a_network_without_a_neural_output_is_refused_in_words() -> None:
    class Foreign(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3))

    images = ImageSet(
        torch.zeros(3, 3, SIDE, SIDE, dtype=torch.uint8), torch.zeros(3).long(), np.arange(3).astype(str), tuple("abc")
    )
    with pytest.raises(InputError, match="no neural output"):
        sweep(Foreign().eval(), images, [0.1], attack="LinfAdaptivePGD")


WRONG = {
    "an empty list": (lambda values: [], "a list of nothing"),
    "a tensor": (lambda values: values[0], r"a tensor \(4, 1\)"),
    "maps": (lambda values: [values[0][:, :, None]], r"a tensor \(4, 1, 1\)"),
    "NaN": (lambda values: [values[0] * torch.nan], "neural outputs are not finite"),
    "too large a number": (lambda values: [1e30 * values[0]], "gradients are not finite"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_no_guide_could_match_is_refused(case: str) -> None:
    change, says = WRONG[case]

    class Other(Guarded):
        def matched(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
            logits, values = super().matched(x)
            return logits, change(values)

    model = Other(0, "unless held").eval()
    with pytest.raises(InputError, match=says):
        sweep(model, natural_images(model, 4), [0.1], attack="LinfAdaptivePGD", steps=4)
