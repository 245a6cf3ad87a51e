"""Smoothness: against the analytic gradient of a linear model, per image, and never a number from bad input."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from nbtools.errors import InputError
from nbtools.metrics.pixels.smoothness import describe_span, loss_surface, smoothness, squared_gradient


class Linear(nn.Module):
    def __init__(self, n_classes: int = 4, scale: float = 1.0):
        super().__init__()
        self.weight = nn.Parameter(scale * torch.randn(n_classes, 48, generator=torch.Generator().manual_seed(1)))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T


@pytest.fixture
def model() -> nn.Module:
    return Linear().eval()


def pixels(n: int = 7) -> Tensor:
    return torch.rand(n, 3, 4, 4, generator=torch.Generator().manual_seed(0))


LABELS = torch.tensor([0, 1, 2, 3, 0, 1, 2])


def test_it_is_the_analytic_gradient_of_a_linear_model(model):
    x = pixels()
    with torch.no_grad():
        error = model(x).double().softmax(1) - torch.eye(4)[LABELS]
        expected = (error @ model.weight.double()).square().sum(1)
    torch.testing.assert_close(squared_gradient(model, x, LABELS), expected, rtol=1e-5, atol=1e-9)


def test_an_image_has_its_own_value_whatever_it_is_batched_with(model):
    x = pixels()
    together = squared_gradient(model, x, LABELS)
    for batch_size in (1, 3):
        torch.testing.assert_close(squared_gradient(model, x, LABELS, batch_size), together, rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(squared_gradient(model, x[2:3], LABELS[2:3]), together[2:3], rtol=1e-5, atol=1e-9)


def test_a_confident_image_still_has_a_gradient():
    sure = Linear(scale=4.0).eval()
    x = pixels(40)
    labels = sure(x).argmax(1)
    single = nn.functional.cross_entropy(sure(x), labels, reduction="none")
    assert (single == 0).any(), "some images' loss is rounded to 0 in float32"
    assert (squared_gradient(sure, x, labels) > 0).all()


def test_the_model_is_left_as_it_was(model):
    before = model.weight.clone()
    squared_gradient(model, pixels(), LABELS)
    assert model.weight.grad is None
    assert torch.equal(before, model.weight)


class Broken(Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * torch.nan


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": Linear().train()}, "training mode"),
        ({"x": pixels() * 255}, "outside"),
        ({"x": pixels() - 0.5}, "outside"),
        ({"x": pixels() * torch.nan}, "outside"),
        ({"x": (pixels() * 255).to(torch.uint8)}, "not images"),
        ({"x": pixels()[0]}, "not images"),
        ({"labels": LABELS + 1}, "labels do not fit"),
        ({"labels": LABELS.float()}, "labels do not fit"),
        ({"model": Broken().eval()}, "not finite"),
    ],
)
@pytest.mark.parametrize("function", [squared_gradient, lambda *a: loss_surface(*a, radius=0.1, n=3)])
def test_bad_input_gives_no_number(model, function, change, said):
    inputs = {"model": model, "x": pixels(), "labels": LABELS, **change}
    with pytest.raises(InputError, match=said):
        function(inputs["model"], inputs["x"], inputs["labels"])


# Scores


def gradients(values: dict[str, list[float]]) -> pd.DataFrame:
    rows = [
        {"condition": name, "seed": 0, "epsilon": 0.0, "image_id": str(i), "gradient": value}
        for name, column in values.items()
        for i, value in enumerate(column)
    ]
    return pd.DataFrame(rows)


def test_scores_are_means_and_medians_over_images():
    values = np.random.default_rng(0).lognormal(size=400)
    table = smoothness(gradients({"V1": list(values), "TO": list(values / 2)})).set_index("condition")
    assert table.loc["V1", "mean"] == pytest.approx(values.mean())
    assert table.loc["TO", "median"] == pytest.approx(np.median(values) / 2)
    width = table.loc["V1", "ci_high"] - table.loc["V1", "ci_low"]
    assert width == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.15)
    assert (table["n"] == 400).all()


def test_every_network_has_its_own_score():
    table = gradients({"V1": [1.0, 3.0]})
    both = pd.concat([table, table.assign(seed=1, gradient=[3.0, 5.0])])
    assert smoothness(both)[["mean", "n"]].to_numpy().tolist() == [[2.0, 2], [4.0, 2]]
    with pytest.raises(InputError, match="such as seed"):
        smoothness(both, by=("condition", "epsilon"))


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_impossible_gradients_are_refused(bad):
    with pytest.raises(InputError, match="squared gradients"):
        smoothness(gradients({"V1": [1.0, bad]}))
    with pytest.raises(InputError, match="without gradient"):
        smoothness(gradients({"V1": [1.0]}).drop(columns="gradient"))


SPANNED = {("none", 0): 20.0, ("decay-0.1", 0): 5.0, ("none", 1): 40.0, ("decay-0.1", 1): 10.0}


@pytest.mark.parametrize(
    ("others", "told"),
    [
        ({("V1", 0): 20.0, ("TO", 0): 5.0, ("V1", 1): 40.0}, "the family spans every network"),
        ({("V1", 0): 21.0, ("V2", 0): 90.0}, "not spanned by the family: V1, V2 (train a weaker decay)"),
        ({("TO", 0): 9.0, ("TO", 1): 9.0}, "not spanned by the family: TO (train a stronger decay)"),
        ({("TO", 0): 4.0, ("TO", 1): 50.0}, "TO (train a stronger decay); TO (train a weaker decay)"),
    ],
)
def test_networks_that_a_family_of_their_seed_does_not_span_are_named(others: dict[tuple[str, int], float], told: str):
    rows = [(*key, value) for key, value in {**SPANNED, **others}.items()]
    table = pd.DataFrame(rows, columns=["condition", "seed", "mean"])
    assert describe_span(table, ["none", "decay-0.1"]).endswith(told)


# Surfaces


def test_the_surface_of_one_image_is_the_loss_at_its_points(model):
    x, labels = pixels(1) * 0.5 + 0.25, LABELS[:1]  # no point leaves [0, 1]
    table = loss_surface(model, x, labels, radius=0.2, n=5, seed=3)
    assert len(table) == 25
    centre = table[(table.along_gradient == 0) & (table.along_random == 0)].loss.item()
    assert centre == pytest.approx(nn.functional.cross_entropy(model(x), labels).item(), rel=1e-5)
    along = table[table.along_random == 0].sort_values("along_gradient").loss
    assert along.is_monotonic_increasing, "the loss of a linear model is convex and rises along its gradient's sign"
    uphill = x.clone().requires_grad_(True)
    nn.functional.cross_entropy(model(uphill), labels).backward()
    top = nn.functional.cross_entropy(model(x + 0.2 * uphill.grad.sign()), labels).item()
    assert along.iloc[-1] == pytest.approx(top, rel=1e-4)


def test_random_directions_depend_on_the_seed_alone(model):
    x = pixels(2)
    one, same, other = (loss_surface(model, x, LABELS[:2], 0.1, 3, seed) for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(one, same)
    assert not np.allclose(one.loss, other.loss)


@pytest.mark.parametrize(("radius", "n"), [(0, 5), (2, 5), (0.1, 4), (0.1, 1)])
def test_a_surface_needs_a_radius_and_a_centre(model, radius, n):
    with pytest.raises(InputError, match="no surface"):
        loss_surface(model, pixels(1), LABELS[:1], radius, n)
