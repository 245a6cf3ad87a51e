"""The sweep: exact where the answer is known, no weaker than Foolbox where it is not, and honest throughout."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import foolbox as fb
import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from nbtools import bench
from nbtools.attacks import ATTACKS, gradient, perturb, sweep
from nbtools.data.images import ImageSet, load_folder, to_float
from nbtools.data.study import open_study
from nbtools.errors import InputError
from nbtools.metrics.robustness import check_decisions
from nbtools.models import GuidedNet, build, freeze
from nbtools.training import TrainConfig, train_guided

SIDE = 6


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    """Small batches are slowed down by threads that wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Linear(nn.Module):
    """Two classes and a known answer: |margin| > ε · ‖w‖₁ decides, away from the borders of [0, 1]."""

    def __init__(self, scale: float = 1.0):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(scale * torch.randn(2, 3 * SIDE * SIDE, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) - 0.5) @ self.weight.T

    def radii(self, images: ImageSet) -> np.ndarray:
        """The exact distance of each image to the boundary, negative for one that is on the wrong side."""
        apart = (self.weight[0] - self.weight[1]).double().detach()
        lead = (to_float(images.pixels).flatten(1).double() - 0.5) @ apart
        return (torch.where(images.labels == 0, lead, -lead) / apart.abs().sum()).numpy()


def grey_images(n: int = 60) -> ImageSet:
    """Pixels far from black and white; labels are a class's own for most images."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(90, 166, (n, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    decided = Linear()(to_float(pixels)).argmax(1)
    wrong = torch.arange(n) % 7 == 0
    return ImageSet(pixels, torch.where(wrong, 1 - decided, decided), np.array([f"i{k}" for k in range(n)]), ("a", "b"))


def between(values: np.ndarray, n: int = 6) -> list[float]:
    """ε that keep clear of every image's own radius."""
    values = np.sort(values[values > 0])
    chosen = np.linspace(0, len(values) - 2, n).astype(int)
    return [float(value) for value in (values[chosen] + values[chosen + 1]) / 2]


def right(table: pd.DataFrame) -> pd.DataFrame:
    """Which image (rows) was right at which ε (columns, ascending)."""
    correct = table.assign(right=table["prediction"] == table["label"])
    return correct.pivot(index="image_id", columns="epsilon", values="right").loc[table["image_id"].unique()]


@pytest.fixture(scope="module")
def trained(tiny_study: Any) -> tuple[GuidedNet, ImageSet]:
    """A small network, trained for seconds, and images it has not seen."""
    study = open_study(str(tiny_study))
    images = load_folder(study.classification / "train", study.image_size)
    rows = np.random.default_rng(0).permutation(len(images))
    splits = {"train": rows[20:], "validation": rows[:20]}
    network = build(GuidedNet, 0, "small_resnet", len(images.classes), 0)
    config = TrainConfig(epochs=6, batch_size=32, lr=3e-3, schedule="one-cycle", precision="32-true")
    torch.set_num_threads(1)
    train_guided(network, images, None, 0.0, splits, config)
    return network, load_folder(study.classification / "val", study.image_size)


EPSILONS = [float(epsilon) for epsilon in np.array([0.5, 1, 2, 4]) / 255]
STEPS = 10


@pytest.fixture(scope="module")
def decisions(trained: tuple[GuidedNet, ImageSet]) -> pd.DataFrame:
    return sweep(*trained, EPSILONS, steps=STEPS)


# --- the right answer ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.1, 10.0])  # logits up to 30 apart: a float32 softmax saturates at 17
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_linear_network_falls_where_it_must(attack: str, scale: float) -> None:
    model, images = Linear(scale).eval(), grey_images()
    epsilons = between(model.radii(images))
    table = right(sweep(model, images, epsilons, attack=attack))
    expected = model.radii(images)[:, None] > np.array([0, *epsilons])
    np.testing.assert_array_equal(table, expected)
    assert 0.8 < expected[:, 0].mean() < 0.9 > 0.1 > expected[:, -1].mean()


def test_margin_and_distance_are_those_of_the_final_image() -> None:
    model, images = Linear(0.1).eval(), grey_images()
    epsilons = between(model.radii(images))
    table = sweep(model, images, epsilons, attack="LinfFGSM")
    points = torch.cat(
        [
            to_float(images.pixels)[None],
            perturb(model, to_float(images.pixels), images.labels, epsilons, attack="LinfFGSM"),
        ]
    )
    logits = model(points.flatten(0, 1)).double()
    own = logits[torch.arange(len(logits)), images.labels.repeat(len(epsilons) + 1)]
    other = logits[torch.arange(len(logits)), 1 - images.labels.repeat(len(epsilons) + 1)]
    np.testing.assert_allclose(table["margin"], (own - other).detach(), atol=1e-4)
    assert ((table["margin"] > 0) == (table["prediction"] == table["label"])).all()
    away = (points - points[0]).flatten(2).abs().amax(2).flatten()
    np.testing.assert_allclose(table["distance"], away, atol=1e-7)
    assert list(table["image_id"][:60]) == list(images.ids)
    assert sorted(set(table["epsilon"])) == [0.0, *epsilons]


def foolbox_success(network: nn.Module, images: ImageSet, attack: Any, epsilons: list[float]) -> np.ndarray:
    """(n_epsilons, n_images): Foolbox alone, one run per ε."""
    judge = fb.PyTorchModel(network, bounds=(0, 1), device="cpu")
    torch.manual_seed(0)
    runs = [attack(judge, to_float(images.pixels), images.labels, epsilons=epsilon)[2] for epsilon in epsilons]
    return torch.stack(runs).numpy()


def test_pgd_is_no_weaker_than_foolbox(trained: tuple[GuidedNet, ImageSet], decisions: pd.DataFrame) -> None:
    attack = fb.attacks.LinfPGD(rel_stepsize=2.5 / STEPS, steps=STEPS)
    theirs = 1 - foolbox_success(*trained, attack, EPSILONS).mean(axis=1)
    ours = right(decisions)[EPSILONS].mean().to_numpy()
    assert theirs[0] - theirs[-1] > 0.2  # there is something to compare
    np.testing.assert_allclose(ours, theirs, atol=0.0201)
    assert ours.mean() <= theirs.mean()


def test_fgsm_is_foolboxs(trained: tuple[GuidedNet, ImageSet]) -> None:
    success = foolbox_success(*trained, fb.attacks.LinfFastGradientAttack(), EPSILONS)
    fallen = np.maximum.accumulate(success, axis=0)  # a find in a small ball lies in the larger ones
    ours = ~right(sweep(*trained, EPSILONS, attack="LinfFGSM"))[EPSILONS].to_numpy().T
    assert (ours != fallen).sum() <= 2  # signs of gradients that are 0 but for rounding
    assert (fallen != fallen[0]).any()


# --- honesty ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attack", ATTACKS)
def test_every_point_is_in_its_ball_and_in_range(trained: tuple[GuidedNet, ImageSet], attack: str) -> None:
    network, images = trained
    images = images[:40]
    pixels = images.pixels.clone()
    pixels[::2, :, ::2] = 0  # at the borders of the range
    pixels[1::2, :, ::2] = 255
    x = to_float(pixels)
    points = perturb(network, x, images.labels, EPSILONS, attack=attack, steps=5)
    assert points.shape == (len(EPSILONS), *x.shape)
    assert (points.min() >= 0, points.max() <= 1) == (True, True)
    for epsilon, point in zip(EPSILONS, points, strict=True):
        assert (point - x).abs().max() <= epsilon + 1e-6
    assert (points[-1] - x).abs().max() > EPSILONS[-2]


def test_what_is_reported_holds_for_the_network_itself(
    trained: tuple[GuidedNet, ImageSet], decisions: pd.DataFrame
) -> None:
    """In float32, unfolded, image by image: the table says what the network says."""
    network, images = trained
    points = perturb(network, to_float(images.pixels), images.labels, EPSILONS, steps=STEPS)
    for epsilon, point in zip(EPSILONS, points, strict=True):
        rows = decisions[decisions["epsilon"] == epsilon]
        alone = torch.cat([network(image[None]) for image in point]).argmax(1)
        np.testing.assert_array_equal(rows["prediction"], alone)
        assert (rows["distance"] <= epsilon + 1e-6).all()
    assert (decisions["prediction"] != decisions["label"]).mean() > 0.3


def test_decisions_are_what_metrics_take(decisions: pd.DataFrame) -> None:
    check_decisions(decisions)
    assert list(decisions.columns) == ["image_id", "label", "epsilon", "prediction", "margin", "distance"]
    assert len(decisions) == 100 * (1 + len(EPSILONS))


def test_an_image_that_fell_stays_down(decisions: pd.DataFrame) -> None:
    table = right(decisions).to_numpy()
    assert not (np.diff(table.astype(int), axis=1) > 0).any()


class Biased(Linear):
    """Climbs like `Linear`, and takes every image for the other class."""

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        return logits - 2 * logits.detach()


def test_the_network_itself_confirms_every_fall(monkeypatch: pytest.MonkeyPatch) -> None:
    """The faster copy that climbs may be wrong about who fell; the answer stays exact."""
    model, images = Linear(0.1).eval(), grey_images()
    epsilons = between(model.radii(images))
    monkeypatch.setattr(gradient, "fold_batchnorm", lambda model: Biased(0.1).eval())
    found = right(sweep(model, images, epsilons, attack="LinfFGSM"))
    np.testing.assert_array_equal(found, model.radii(images)[:, None] > np.array([0, *epsilons]))


class Band(nn.Module):
    """Class 1 only where the mean pixel lies between 0.55 and 0.65: a large step leaps over it."""

    def __init__(self) -> None:
        super().__init__()
        self.centre = nn.Parameter(torch.tensor(0.6))

    def forward(self, x: Tensor) -> Tensor:
        inside = 0.05 - (x.mean((1, 2, 3)) - self.centre).abs()
        return torch.stack([torch.zeros_like(inside), inside], dim=1)


def test_a_find_in_a_small_ball_counts_in_larger_ones() -> None:
    pixels = torch.full((1, 3, SIDE, SIDE), 128, dtype=torch.uint8)
    images = ImageSet(pixels, torch.tensor([0]), np.array(["grey"]), ("outside", "inside"))
    table = sweep(Band().eval(), images, [0.02, 0.1, 0.3, 0.4], attack="LinfFGSM")
    assert table["prediction"].tolist() == [0, 0, 1, 1, 1]
    np.testing.assert_allclose(table["distance"], [0, 0.02, 0.1, 0.1, 0.1], atol=1e-6)


def test_clean_errors_are_not_attacked(trained: tuple[GuidedNet, ImageSet]) -> None:
    network, images = trained
    x = to_float(images.pixels)
    wrong = network(x).argmax(1) != images.labels
    assert wrong.any()
    points = perturb(network, x, images.labels, EPSILONS, steps=2)
    assert torch.equal(points[:, wrong], x[wrong].expand(len(EPSILONS), -1, -1, -1, -1))
    assert not torch.equal(points[0, ~wrong], x[~wrong])


@pytest.fixture
def climbs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, int]]:
    """ε and number of images of each attack that is run."""
    climb, seen = gradient._climb, []

    def spied(method: Any, model: Any, fast: Any, x: Tensor, labels: Tensor, epsilon: float, start: Tensor) -> Any:
        seen.append((epsilon, len(x)))
        return climb(method, model, fast, x, labels, epsilon, start)

    monkeypatch.setattr(gradient, "_climb", spied)
    return seen


@pytest.mark.parametrize(("attack", "expected"), [("LinfPGD", 2), ("LinfFGSM", 4)])
def test_an_image_is_given_up_after_its_tries(climbs: list[tuple[float, int]], attack: str, expected: int) -> None:
    """PGD is given up at two ε in a row; one step says nothing about other ε, so FGSM never is."""
    model, images = Linear().eval(), grey_images()
    table = sweep(model, images, [1e-7, 2e-7, 3e-7, 4e-7], attack=attack, steps=3)
    n_correct = int((model.radii(images) > 0).sum())
    assert climbs == [(epsilon, n_correct) for epsilon in (4e-7, 3e-7, 2e-7, 1e-7)][:expected]
    assert right(table).iloc[:, -1].sum() == n_correct


def test_the_steps_stop_once_an_image_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    step, moved = gradient._step, []
    monkeypatch.setattr(gradient, "_step", lambda *args: moved.append(len(args[1])) or step(*args))
    model, images = Linear().eval(), grey_images()
    sweep(model, images, [0.2])
    n_correct = int((model.radii(images) > 0).sum())
    assert moved[0] == n_correct
    assert len(moved) < 40
    assert moved == sorted(moved, reverse=True)


# --- seeds and batches --------------------------------------------------------------------------------------


def test_a_seed_gives_the_same_table(trained: tuple[GuidedNet, ImageSet]) -> None:
    network, images = trained[0], trained[1][:30]
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first = sweep(network, images, EPSILONS[:2], steps=3)
    assert torch.equal(torch.rand(2), expected)  # the global generator is left alone
    pd.testing.assert_frame_equal(first, sweep(network, images, EPSILONS[:2], steps=3), check_exact=True)
    other = sweep(network, images, EPSILONS[:2], steps=3, seed=1)
    assert not np.array_equal(first["margin"], other["margin"])


def test_order_of_epsilons_does_not_matter(trained: tuple[GuidedNet, ImageSet]) -> None:
    network, images = trained[0], trained[1][:20]
    forwards, backwards = (sweep(network, images, order, steps=3) for order in (EPSILONS, EPSILONS[::-1]))
    pd.testing.assert_frame_equal(forwards, backwards)


def test_batches_change_nothing_but_random_starts(trained: tuple[GuidedNet, ImageSet]) -> None:
    network, images = trained[0], trained[1][:30]

    def table(attack: str, batch_size: int) -> pd.DataFrame:
        decided = sweep(network, images, EPSILONS, attack=attack, steps=10, batch_size=batch_size)
        return decided.sort_values(["epsilon", "image_id"], ignore_index=True)

    whole, parts = table("LinfFGSM", 512), table("LinfFGSM", 7)
    assert (whole["prediction"] != parts["prediction"]).sum() <= 1  # rounding
    whole, parts = table("LinfPGD", 512), table("LinfPGD", 7)
    assert whole[["image_id", "label", "epsilon"]].equals(parts[["image_id", "label", "epsilon"]])
    assert (right(whole).mean() - right(parts).mean()).abs().max() < 0.1


def test_the_network_is_left_as_it_was(trained: tuple[GuidedNet, ImageSet], decisions: pd.DataFrame) -> None:
    network, images = trained
    before = {name: value.clone() for name, value in network.state_dict().items()}
    sweep(network, images[:5], EPSILONS[:1], steps=2)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_the_benchmark_compares_like_with_like(
    trained: tuple[GuidedNet, ImageSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "_classifier", lambda folder: (trained[0], trained[1][:20]))
    monkeypatch.setattr(bench, "_STEPS", 5)
    row = bench.compare_attacks()
    assert row["ratio"] == pytest.approx(row["baseline_s"] / row["ours_s"])  # type: ignore[operator]
    found = re.search(r"differs by ([\d.]+) at most, ([+-][\d.]+) on average", str(row["notes"]))
    assert found
    assert -float(found[1]) <= float(found[2]) <= 0  # with so few steps ours finds more


# --- bad input ----------------------------------------------------------------------------------------------


class Broken(Linear):
    """Gives NaN for some images: all, or only those that were perturbed."""

    def __init__(self, only_perturbed: bool):
        super().__init__()
        self.only_perturbed = only_perturbed

    def forward(self, x: Tensor) -> Tensor:
        exact = (x * 255 - (x * 255).round()).abs().flatten(1).amax(1) < 1e-3
        spoilt = ~exact if self.only_perturbed else torch.ones_like(exact)
        return torch.where(spoilt[:, None], torch.nan, super().forward(x))


def swept(
    model: nn.Module | None = None, images: ImageSet | None = None, epsilons: Any = (0.1,), **options: Any
) -> None:
    sweep((model or Linear()).eval(), images or grey_images(), epsilons, **options)


def perturbed(change: Callable[[Tensor], Tensor], epsilons: Any = (0.1, 0.2), **options: Any) -> None:
    images = grey_images()
    perturb(Linear().eval(), change(to_float(images.pixels)), images.labels, epsilons, **options)


def with_label(label: int, classes: tuple[str, ...]) -> ImageSet:
    images = grey_images()
    labels = images.labels.clone()
    labels[3] = label
    return replace(images, labels=labels, classes=classes)


def with_a_nan(x: Tensor) -> Tensor:
    x[3, 0, 1, 1] = torch.nan
    return x


BAD: dict[str, tuple[Callable[[], object], str]] = {
    "training mode": (lambda: sweep(Linear().train(), grey_images(), [0.1]), "training mode"),
    "training mode, perturb": (
        lambda: perturb(Linear().train(), to_float(grey_images().pixels), grey_images().labels, [0.1]),
        "training mode",
    ),
    "ε of 0": (lambda: swept(epsilons=[0, 0.1]), "pixel units"),
    "ε below 0": (lambda: swept(epsilons=[-0.1]), "pixel units"),
    "ε in grey levels": (lambda: swept(epsilons=[4]), "divide by 255"),
    "ε twice": (lambda: swept(epsilons=[0.1, 0.1]), "pixel units"),
    "ε not a number": (lambda: swept(epsilons=[float("nan")]), "pixel units"),
    "one ε of several not a number": (lambda: swept(epsilons=[0.1, float("nan"), 0.2]), "pixel units"),
    "no ε": (lambda: swept(epsilons=[]), "pixel units"),
    "unknown attack": (lambda: swept(attack="PGD"), "unknown attack"),
    "no step": (lambda: swept(steps=0), "without a step"),
    "an image without a label": (lambda: swept(images=with_label(-1, ("a", "b"))), "1 images without a label"),
    "more classes than logits": (lambda: swept(images=with_label(2, ("a", "b", "c"))), "of 2 classes"),
    "NaN logits": (lambda: swept(Broken(only_perturbed=False)), "not finite"),
    "NaN logits of perturbed images": (lambda: swept(Broken(only_perturbed=True)), "not finite"),
    "pixels up to 255": (lambda: perturbed(lambda x: x * 255), r"outside \[0, 1\]"),
    "normalised pixels": (lambda: perturbed(lambda x: x - 0.5), r"outside \[0, 1\]"),
    "NaN pixels": (lambda: perturbed(with_a_nan), r"outside \[0, 1\]"),
    "descending ε, perturb": (lambda: perturbed(torch.clone, epsilons=[0.2, 0.1]), "ascending"),
    "unknown attack, perturb": (lambda: perturbed(torch.clone, attack="CW"), "unknown attack"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case: str) -> None:
    attempt, message = BAD[case]
    with pytest.raises(InputError, match=message):
        attempt()


def test_a_frozen_network_and_arrays_of_epsilons_are_fine() -> None:
    model, images = freeze(Linear()), grey_images()
    x, epsilons = to_float(images.pixels), np.array([0.05, 0.1])
    assert perturb(model, x, images.labels, epsilons, steps=3).shape == (2, *x.shape)  # type: ignore[arg-type]
    assert len(sweep(model, images, epsilons, steps=3)) == 3 * len(images)  # type: ignore[arg-type]
