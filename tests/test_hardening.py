"""Training against perturbations: the published steps, robustness that is planted, collapse that is told, its costs."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import foolbox as fb
import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from nbtools import attacks, training
from nbtools.conditions import MEANING, parse_condition
from nbtools.data.images.sets import ImageSet, to_float
from nbtools.errors import InputError
from nbtools.guides import MODIFIERS
from nbtools.models.networks import GuidedNet, RoiPredictor, build
from nbtools.plots.looks import dash
from nbtools.training import collapsed, hardening
from nbtools.training.guided import GuidedObjective, labelled_views
from nbtools.training.hardening import HARDENINGS, Asked
from nbtools.training.loop import TrainConfig, fit
from nbtools.training.targets import Match
from nbtools.workflow.work import HARDENED

pytestmark = pytest.mark.usefixtures("one_thread")

SIDE, LEVEL = 8, 8 / 255


# --- a planted world --------------------------------------------------------------------------------------------


def world(n: int, side: int = SIDE, sure: float = 0.9, weak: float = 5 / 255) -> ImageSet:
    """Two classes, told by a shift of all red by .1, which errs, and by a faint pattern, which does not.

    Changes of 8/255 turn the pattern round, and leave the shift (Tsipras et al. 2019).
    """
    generator = torch.Generator().manual_seed(0)
    pattern = torch.randint(0, 2, (1, 3, side, side), generator=torch.Generator().manual_seed(99)) * 2 - 1.0
    labels = torch.arange(n) % 2
    sign = (2.0 * labels - 1)[:, None, None, None]
    said = torch.where(torch.rand((n, 1, 1, 1), generator=generator) < sure, sign, -sign)
    x = 0.5 + weak * sign * pattern + 0.06 * torch.randn((n, 3, side, side), generator=generator)
    x[:, :1] += 0.1 * said
    return ImageSet((x.clamp(0, 1) * 255).round().to(torch.uint8), labels, np.arange(n), ("a", "b"))


def trained(condition: str) -> GuidedNet:
    config = TrainConfig(epochs=3, batch_size=40, lr=3e-3, augmentation="none")
    return training.train_network(world(280), condition, None, config, alpha=0.0, validation_fraction=0.1)[0]


def test_a_network_trained_against_attacks_is_more_robust_than_one_that_is_not() -> None:
    """It gives up what is sure and faint; by attacks that training does not know."""
    test = world(400)[280:]
    accuracies = {}
    for condition in ("none", "none-at-8", "none-fast-8"):
        network = trained(condition)
        decided = attacks.sweep(network, test, [LEVEL], steps=20)
        decided = attacks.sweep(network, test, [LEVEL], attack="LinfTargetedPGD", steps=20, after=decided)
        accuracies[condition] = (decided["prediction"] == decided["label"]).groupby(decided["epsilon"]).mean()
    table = pd.DataFrame(accuracies)
    assert table.loc[0, "none"] > table.loc[0, "none-at-8"] + 0.03
    assert (table.loc[LEVEL, ["none-at-8", "none-fast-8"]] > table.loc[LEVEL, "none"] + 0.4).all()


class Small(nn.Module):
    """Two hidden layers, in place of a GuidedNet: an epoch takes milliseconds."""

    def __init__(self) -> None:
        super().__init__()
        self.config: dict[str, Any] = {}
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(3 * 4 * 4, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 2)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(10 * (x - 0.5))

    def matched(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self(x), []


def history_of(word: str) -> pd.DataFrame:
    images, splits = world(600, 4, 0.8, 8 / 255), {"train": np.arange(400), "validation": np.arange(400, 600)}
    objective = GuidedObjective(build(Small, 0), 0.0, hardened=(word, 16.0))
    config = TrainConfig(24, 50, 1e-2, schedule="constant", augmentation="none")
    return fit(objective, partial(labelled_views, images, 4), splits, config, None, {})


def test_a_large_step_collapses_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """One step over the whole ball is learnt by heart, and PGD's seven are not: catastrophic overfitting."""
    assert collapsed(history_of("at")) == collapsed(history_of("fast")) == []
    monkeypatch.setattr(hardening, "FAST_STEP", 2.0)
    history = history_of("fast")
    last = history.groupby("split").last()
    assert collapsed(history)
    assert last.loc["train", "accuracy"] > 0.8  # of its own attack
    assert last.loc["validation", "robust_accuracy"] < history["robust_accuracy"].max() - 0.25


def test_what_is_lost_along_with_clean_accuracy_is_no_collapse() -> None:
    def told(robust: list[float], clean: list[float]) -> list[int]:
        rows = {"epoch": range(len(robust)), "robust_accuracy": robust, "accuracy": clean, "split": "validation"}
        train = pd.DataFrame({"epoch": range(len(robust)), "accuracy": 0.1, "split": "train"})
        return collapsed(pd.concat([train, pd.DataFrame(rows)]).sample(frac=1, random_state=0))

    assert told([0.2, 0.5, 0.25, 0.24, 0.1], [0.5, 0.7, 0.7, 0.7, 0.8]) == [3, 4]
    assert told([0.2, 0.5, 0.1, 0.1], [0.5, 0.7, 0.3, 0.6]) == []
    assert told([0.0, 0.0], [0.5, 0.5]) == []
    assert told([0.5, 0.0], [0.80, 0.79]) == [1], "a hair of clean accuracy hides no collapse"
    assert told([0.25, 0.1, 0.12], [0.25, 0.8, 0.9]) == [], "one class for all withstands all, and knows nothing"
    assert told([np.nan, np.nan], [0.5, 0.5]) == [], "nobody watched"
    history = pd.DataFrame({"epoch": [0, 1], "split": "validation", "accuracy": [0.5, 0.6]})
    assert collapsed(history) == []
    watched = history.assign(robust_accuracy=0.4)
    for wrong in (pd.concat([watched, watched]), watched.drop(columns="split"), watched.iloc[:0]):
        with pytest.raises(InputError, match="no training's history"):
            collapsed(wrong)


# --- the published steps --------------------------------------------------------------------------------------


class Watched:
    """A network in float64, and all pixels that were put into it."""

    def __init__(self, n_components: int = 0) -> None:
        self.network: GuidedNet = build(GuidedNet, 0, "small_resnet", list("ab"), n_components).double()
        self.x = to_float(world(12).pixels).double()
        self.network(self.x)  # statistics of batch normalisation that are not those it begins with
        self.seen: list[Tensor] = []
        self.network.backbone.register_forward_pre_hook(lambda module, inputs: self.seen.append(inputs[0].detach()))
        self.asked = Asked(self.network, self.x, world(12).labels, lambda x: self.network(x).sum())

    def shown(self, word: str, level: float = LEVEL) -> Tensor:
        """The last pixels that one step of training on the network puts into it."""
        torch.manual_seed(1)
        HARDENINGS[word].show(self.asked, level)
        return self.seen[-1]


def test_pgd_is_foolbox_s_of_seven_steps() -> None:
    watched = Watched()
    mine, network = watched.shown("at"), Watched().network.eval()
    attack = fb.attacks.LinfPGD(abs_stepsize=LEVEL / 4, steps=7, random_start=True)
    torch.manual_seed(1)
    judge = fb.PyTorchModel(network, bounds=(0, 1), device="cpu")
    theirs = attack.run(judge, watched.x, fb.criteria.Misclassification(watched.asked.labels), epsilon=LEVEL)
    torch.testing.assert_close(mine, theirs)
    assert (mine - watched.x).abs().max() == pytest.approx(LEVEL)


def test_the_fast_step_is_one_of_125_percent_from_a_random_point() -> None:
    watched = Watched()
    mine = watched.shown("fast")
    torch.manual_seed(1)
    start = (watched.x + LEVEL * (2 * torch.rand_like(watched.x) - 1)).clamp(0, 1).requires_grad_()
    F.cross_entropy(Watched().network.eval()(start), watched.asked.labels).backward()
    assert start.grad is not None
    ahead = start.detach() + 1.25 * LEVEL * start.grad.sign()
    torch.testing.assert_close(mine, torch.clamp(ahead, watched.x - LEVEL, watched.x + LEVEL).clamp(0, 1))


def test_trades_is_that_of_its_paper() -> None:
    """Their loss written out: cross-entropy + 6 · KL(p(x) ‖ p(x′)), x′ ten steps up it, of .007 at ε = .031."""
    watched = Watched()
    network, x = Watched().network, watched.x
    torch.manual_seed(1)
    mine = HARDENINGS["trades"].show(watched.asked, LEVEL).class_loss
    torch.manual_seed(1)
    network.eval()
    moved, p = x + 0.001 * torch.randn_like(x), network(x).softmax(1).detach()
    for _ in range(10):
        moved = moved.clamp(0, 1).clamp(x - LEVEL, x + LEVEL).requires_grad_()
        (gradient,) = torch.autograd.grad((p * (p.log() - network(moved).log_softmax(1))).sum(), moved)
        moved = (moved + 0.007 / 0.031 * LEVEL * gradient.sign()).detach()
    moved = moved.clamp(x - LEVEL, x + LEVEL).clamp(0, 1)
    network.train()
    logits = network(x)
    p, q = logits.softmax(1), network(moved).softmax(1)
    divergence = (p * (p.log() - q.log())).sum(1).mean()
    torch.testing.assert_close(mine, F.cross_entropy(logits, watched.asked.labels) + 6 * divergence)
    torch.testing.assert_close(watched.seen[-1], moved)


def test_beta_is_trades_by_its_other_number() -> None:
    """At one ε: β = 6 makes the network of `trades`, to the bit; less of it another one."""
    config = TrainConfig(epochs=1, batch_size=20, lr=3e-3, augmentation="none")
    train = partial(training.train_network, world(40), predictor=None, config=config, alpha=0.0)
    (one, told), (same, told_too), (other, _) = (train(f"none-{word}") for word in ("trades-4", "beta-6", "beta-1"))
    torch.testing.assert_close(one.state_dict(), same.state_dict(), rtol=0, atol=0)
    pd.testing.assert_frame_equal(told.drop(columns="seconds"), told_too.drop(columns="seconds"))
    assert not torch.equal(one.state_dict()["class_head.weight"], other.state_dict()["class_head.weight"])


def test_noise_is_white_of_its_sd_and_not_clipped() -> None:
    watched = Watched()
    noise = watched.shown("gauss", 0.5) - watched.x
    assert float(noise.std()) == pytest.approx(0.5, rel=0.05)
    assert (watched.seen[-1] < 0).any()
    assert parse_condition("none-gauss-0.5").hardened == ("gauss", 0.5)
    show, attacked = hardening.hardening(("gauss", 0.5))
    assert attacked is None
    torch.manual_seed(1)
    show(watched.asked)
    torch.testing.assert_close(watched.seen[-1] - watched.x, noise)


def test_both_terms_are_attacked_where_it_is_asked() -> None:
    watched, neural = Watched(5), torch.randn((12, 5), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    losses = {}
    for word in ("at", "atboth"):
        torch.manual_seed(1)
        objective = GuidedObjective(watched.network, 0.9, [Match()], (word, 8.0)).train()
        objective(watched.x, watched.asked.labels, neural)
        shown = watched.seen[-1]
        losses[word] = objective.eval()(shown, watched.asked.labels, neural)
    assert losses["atboth"]["loss"] > losses["at"]["loss"]
    assert losses["atboth"]["neural_loss"] > losses["at"]["neural_loss"]
    assert losses["at"]["class_loss"] > losses["atboth"]["class_loss"]


@pytest.mark.parametrize("word", HARDENINGS)
def test_an_attack_leaves_no_trace_in_the_network(word: str) -> None:
    """Its passes move no statistics and no gradients of weights; the mode is that of before."""
    watched, plain = Watched(), Watched()
    shown = watched.shown(word)
    for x in [plain.x, shown] if word in ("trades", "beta") else [shown]:
        plain.network.train()(x)
    torch.testing.assert_close(watched.network.state_dict(), plain.network.state_dict(), rtol=0, atol=0)
    assert watched.network.training
    assert all(weights.grad is None for weights in watched.network.parameters())


# --- conditions -----------------------------------------------------------------------------------------------


def test_a_guided_network_is_trained_against_attacks_and_matches_its_guide() -> None:
    predictor: RoiPredictor = build(RoiPredictor, 1, "small_resnet", 4, 20)
    predictor(to_float(world(100).pixels))
    predictor.components.copy_(torch.linalg.qr(torch.randn((20, 4), generator=torch.Generator().manual_seed(0)))[0].T)
    config = TrainConfig(epochs=4, batch_size=25, lr=3e-3, augmentation="none")
    options = {"alpha": 0.5, "validation_fraction": 0.25}
    _, history = training.train_network(world(200), "TO-at-8", predictor, config, **options)  # type: ignore[arg-type]
    validation = history[history["split"] == "validation"]
    assert validation["neural_r"].iloc[-1] > max(0.3, validation["neural_r"].iloc[0])
    assert validation["robust_accuracy"].iloc[-1] > 0.6
    assert history.loc[history["split"] == "train", "robust_accuracy"].isna().all()


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("none-at", "number"),
        ("none-at-0", "from 0.1 and below 255"),
        ("none-at-255", "from 0.1 and below 255"),
        ("none-at-4.0", "write none-at-4"),
        ("none-gauss-0", "above 0"),
        (f"none-gauss-{'9' * 400}", "above 0"),
        ("none-at-4-fast-4", "one thing twice"),
        ("none-atboth-4", "write none-at-4"),
        ("TO-manifold-at-4", "clouds and perturbed pictures"),
        ("TO-at-4-shuffle", "write TO-shuffle-at-4"),
        ("labels-at-4", "no source"),
        ("decay-0.1-at-4", "no source"),
        ("start-at-4", "no source"),
        ("net-vit-at-4", "no source"),
    ],
)
def test_names_that_say_nothing_or_twice_are_refused(name: str, fix: str) -> None:
    with pytest.raises(InputError, match=fix):
        parse_condition(name)


def test_every_word_has_a_way_a_meaning_and_a_cost() -> None:
    words = {word for word, changed in MODIFIERS.items() if changed.sets == "training"}
    assert words == set(HARDENINGS) == set(HARDENED)
    names = [f"TO-{word}-0.5" for word in sorted(words)]
    assert len({dash(name) for name in names}) == len(names)
    for name, word in zip(names, sorted(words), strict=True):
        assert parse_condition(name).meaning == f"{MEANING['roi']}; {MODIFIERS[word].meaning}"
        assert "0.5" in MODIFIERS[word].number.dose.format(0.5), "along a front"
    with pytest.raises(InputError, match="not trained against perturbations"):
        hardening.hardening(("pgd", 4.0))


@pytest.mark.parametrize(
    "hardened",
    [("at", -4.0), ("at", 0.0), ("at", 1000.0), ("at", 4 / 255), ("gauss", -1.0), ("gauss", 25.5), ("at", "4")],
)
def test_numbers_that_cannot_be_are_refused(hardened: hardening.Hardened) -> None:
    with pytest.raises(InputError, match=rf"such perturbations(.|\n)*after {hardened[0]} comes a number"):
        hardening.hardening(hardened)


def test_a_checkpoint_of_another_way_is_not_taken_up(tmp_path: Path) -> None:
    config = TrainConfig(epochs=1, batch_size=20, lr=3e-3, augmentation="none")
    train = partial(
        training.train_network, world(40), predictor=None, config=config, alpha=0.0, checkpoint=tmp_path / "c"
    )
    train("none-at-8")
    train("none-at-8")
    for other in ("none-at-4", "none-fast-8", "none"):
        with pytest.raises(InputError, match="another"):
            train(other)


def test_objectives_can_be_sent_to_other_processes() -> None:
    network = build(GuidedNet, 0, "small_resnet", list("ab"), 0)
    for word in HARDENINGS:
        pickle.dumps(GuidedObjective(network, 0.0, hardened=(word, 0.5)))


class Operations(TorchDispatchMode):
    """Counts operations; torch's own counter does not bear a gradient within a step."""

    count = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            self.count += flop_registry[func._overloadpacket](*args, **(kwargs or {}), out_val=out)
        return out


@pytest.mark.parametrize("word", HARDENED)
def test_a_plan_s_costs_are_those_of_the_arithmetic(word: str) -> None:
    """Operations of a step, over those of a plain one; no step needs the gradient of its own pixels."""
    network = build(GuidedNet, 0, "small_resnet", list("ab"), 0)
    x, labels = to_float(world(4).pixels), world(4).labels

    def operations(hardened: tuple[str, float] | None) -> float:
        objective: Callable[..., dict[str, Tensor]] = GuidedObjective(network, 0.0, hardened=hardened).train()
        with Operations() as counted:
            objective(x, labels)["loss"].backward()
        return counted.count

    assert operations((word, 0.5)) / operations(None) == pytest.approx(1 + HARDENED[word], rel=0.15)
