"""Training: the loop against a plain one, planted tuning, guides that stay frozen, kills, several processes."""

from __future__ import annotations

import errno
import hashlib
import math
import os
import random
import time
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from nbtools import devices
from nbtools.conditions import parse_condition
from nbtools.data.brains.measured import load_design, load_trials
from nbtools.data.brains.responses import average_repeats, fit_basis, project, split_images
from nbtools.data.images.sets import ImageSet, load_stimuli, to_float
from nbtools.data.images.views import augment, draw_boxes
from nbtools.data.study import open_study
from nbtools.errors import Helped, InputError
from nbtools.metrics.brain.prediction import pattern_r, shuffled_pattern_r
from nbtools.models.networks import GuidedNet, RoiPredictor, build
from nbtools.models.read_outs import predict
from nbtools.training import checkpoints, guided as training, loop
from nbtools.training.checkpoints import fingerprint, load_checkpoint, made_with, save_checkpoint
from nbtools.training.guided import (
    GuidedObjective,
    PredictorObjective,
    fit_predictor,
    row_r,
    train_guided,
)
from nbtools.training.loop import TrainConfig, learning_rate
from nbtools.training.targets import Guide, derangement, make_guide

pytestmark = pytest.mark.usefixtures("one_thread")

SIDE, K, N = 16, 3, 60
SPLITS = {"train": np.arange(40), "validation": np.arange(40, 50), "test": np.arange(50, N)}
CONFIG = TrainConfig(epochs=2, batch_size=10, lr=2e-3, precision="32-true")


def some_images(n: int = N, seed: int = 0) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    tint = torch.rand((n, 3, 1, 1), generator=generator) * 180
    pixels = (tint + torch.rand((n, 3, SIDE, SIDE), generator=generator) * 75).to(torch.uint8)
    return ImageSet(pixels, torch.arange(n) % 4, np.arange(n), tuple("abcd"))


def some_scores(images: ImageSet) -> Tensor:
    """Scores that the images' mean colours decide, and noise."""
    colours = to_float(images.pixels).mean((2, 3))
    noise = torch.randn(colours.shape, generator=torch.Generator().manual_seed(9))
    return 6 * (colours - colours.mean(0)) + 0.5 * noise


def a_predictor(seed: int = 0) -> RoiPredictor:
    return build(RoiPredictor, seed, "small_resnet", K, 20)


def a_network(n_components: int = K, seed: int = 0) -> GuidedNet:
    return build(GuidedNet, seed, "small_resnet", list("abcd"), n_components)


def a_guide(condition: str = "TO", target_scale: str = "global", seed: int = 0) -> Guide:
    predictor = a_predictor(1)
    predictor(to_float(some_images().pixels))  # running statistics that are not their initial values
    return make_guide(parse_condition(condition), predictor, some_images(), target_scale, seed)  # type: ignore[arg-type]


def digest(model: nn.Module) -> str:
    """Of every parameter and buffer."""
    state = model.state_dict()
    return hashlib.sha256(b"".join(state[name].numpy().tobytes() for name in sorted(state))).hexdigest()


def losses(history: pd.DataFrame) -> pd.DataFrame:
    return history.drop(columns="seconds")


def validation(history: pd.DataFrame, column: str) -> list[float]:
    return history.loc[history["split"] == "validation", column].tolist()


# --- losses and the loop ------------------------------------------------------------------------------------


def test_row_r_is_pearsons() -> None:
    a, b = torch.randn(5, 7) + 3, torch.randn(5, 7) - 1
    expected = [np.corrcoef(x, y)[0, 1] for x, y in zip(a.numpy(), b.numpy(), strict=True)]
    np.testing.assert_allclose(row_r(a, b), expected, atol=1e-5)
    assert row_r(torch.ones(1, 7), b[:1]).item() == 0


def test_predictor_loss_is_summed_over_components() -> None:
    model, x, target = a_predictor().eval(), torch.rand(4, 3, SIDE, SIDE), torch.randn(4, K)
    loss = PredictorObjective(model)(x, target)["loss"]
    assert loss.item() == pytest.approx(((model(x) - target) ** 2).sum().item() / 4, rel=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.9])
def test_guided_loss_weighs_both_terms(alpha: float) -> None:
    model, x, labels, target = a_network().eval(), torch.rand(4, 3, SIDE, SIDE), torch.arange(4), torch.randn(4, K)
    logits, neural = model.heads(x)
    assert neural is not None
    cross_entropy = -logits.log_softmax(1)[range(4), labels].mean().item()
    squared = ((neural - target) ** 2).mean().item()
    terms = GuidedObjective(model, alpha)(x, labels, target)
    assert terms["class_loss"].item() == pytest.approx(cross_entropy, rel=1e-5)
    assert terms["neural_loss"].item() == pytest.approx(squared, rel=1e-5)
    assert terms["loss"].item() == pytest.approx((1 - alpha) * cross_entropy + alpha * squared, rel=1e-5)
    assert terms["accuracy"].item() == (logits.argmax(1) == labels).float().mean().item()


SCHEDULERS = {
    "constant": lambda optimizer, total: torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1),
    "cosine": torch.optim.lr_scheduler.CosineAnnealingLR,
    "step": lambda optimizer, total: torch.optim.lr_scheduler.StepLR(optimizer, total // 3, gamma=0.1),
    "one-cycle": lambda optimizer, total: torch.optim.lr_scheduler.SequentialLR(
        optimizer,
        [
            torch.optim.lr_scheduler.LinearLR(optimizer, 1e-3 / 0.15, 1, total_iters=int(0.15 * total)),
            torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total - int(0.15 * total)),
        ],
        [int(0.15 * total)],
    ),
}


@pytest.mark.filterwarnings("ignore:Detected call of")
@pytest.mark.parametrize("schedule", SCHEDULERS)
def test_schedules_are_torchs(schedule: str) -> None:
    total = 60
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.2)
    scheduler = SCHEDULERS[schedule](optimizer, total)
    config = replace(CONFIG, schedule=schedule, lr=0.2)  # type: ignore[arg-type]
    for step in range(total):
        rising = schedule == "one-cycle" and 0 < step < 0.15 * total  # torch starts its rise at a small rate
        expected = 0.2 * step / (0.15 * total) if rising else scheduler.get_last_lr()[0]
        assert learning_rate(config, step / total) == pytest.approx(expected, rel=1e-6, abs=1e-9), step
        scheduler.step()


@pytest.mark.parametrize("epochs", [3, 7, 20, 30, 60, 90])
def test_step_decay_falls_on_thirds(epochs: int) -> None:
    rates = [learning_rate(replace(CONFIG, schedule="step", lr=1), epoch / epochs) for epoch in range(epochs)]
    expected = [10.0 ** -(3 * epoch // epochs) for epoch in range(epochs)]
    assert rates == pytest.approx(expected)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_loop_is_a_plain_loop(optimizer: str) -> None:
    """Whole batches without augmentation: the order of the images cannot matter, so torch alone can say it."""
    images, plain = some_images(), a_predictor()
    scores = some_scores(images)
    config = replace(
        CONFIG, epochs=6, batch_size=40, lr=0.003, optimizer=optimizer, schedule="step", augmentation="none"
    )
    config = replace(config, weight_decay=0.05, momentum=0.8)  # type: ignore[arg-type]
    model = a_predictor()
    history = fit_predictor(model, images, scores, SPLITS, config)

    steps = (
        torch.optim.Adam(plain.parameters(), 0.003, weight_decay=0.05)
        if optimizer == "adam"
        else torch.optim.SGD(plain.parameters(), 0.003, momentum=0.8, weight_decay=0.05)
    )
    scheduler = torch.optim.lr_scheduler.StepLR(steps, 2, gamma=0.1)
    x, target = to_float(images.pixels[:40]), scores[:40]
    for epoch in range(6):
        plain.train()
        loss = ((plain(x) - target) ** 2).sum(1).mean()
        steps.zero_grad()
        loss.backward()
        steps.step()
        scheduler.step()
        plain.eval()
        held_out = ((plain(to_float(images.pixels[40:50])) - scores[40:50]) ** 2).sum(1).mean().item()
        rows = history[history["epoch"] == epoch].set_index("split")
        assert rows.loc["train", "loss"] == pytest.approx(loss.item(), rel=2e-3)
        assert rows.loc["validation", "loss"] == pytest.approx(held_out, rel=2e-3)
        assert rows.loc["train", "lr"] == pytest.approx(0.003 * 0.1 ** (epoch // 2))
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_validation_is_the_mean_over_all_its_images() -> None:
    """More images than one batch of the evaluation, the last batch smaller."""
    images = some_images(340)
    scores, splits = some_scores(images), {"train": np.arange(20), "validation": np.arange(20, 340)}
    model = a_predictor()
    history = fit_predictor(model, images, scores, splits, replace(CONFIG, epochs=1))
    predicted = predict(model, images.pixels[20:], batch_size=77)
    squared = (predicted - scores[20:]).square().sum(1).mean().item()
    assert validation(history, "loss") == [pytest.approx(squared, rel=1e-4)]
    assert validation(history, "neural_r") == [pytest.approx(row_r(predicted, scores[20:]).mean().item(), abs=1e-4)]


def test_every_image_once_an_epoch_in_another_order() -> None:
    class Alone:
        global_rank, world_size = 0, 1

    rows = torch.arange(100, 140)
    epochs = [torch.cat([chosen for chosen, *_ in loop._views(rows, CONFIG, epoch, Alone())]) for epoch in (0, 1)]
    assert [sorted(epoch.tolist()) for epoch in epochs] == [rows.tolist()] * 2
    assert not torch.equal(*epochs)
    other = torch.cat([chosen for chosen, *_ in loop._views(rows, replace(CONFIG, seed=1), 0, Alone())])
    assert not torch.equal(other, epochs[0])
    few = replace(CONFIG, batch_size=8, steps_per_epoch=2)
    seen = [torch.cat([chosen for chosen, *_ in loop._views(rows, few, epoch, Alone())]).tolist() for epoch in (0, 1)]
    assert [len(set(each)) for each in seen] == [16, 16]
    assert set(seen[0]) != set(seen[1]), "fewer steps than the images fill: others of them in each epoch"


def test_more_images_take_no_more_steps_where_these_are_set() -> None:
    """The control `labels` draws as many batches from its own images and the scanner's as the others from theirs."""

    def steps(n: int, **changed: Any) -> list[float]:
        splits = {"train": np.arange(n), "validation": SPLITS["validation"]}
        history = train_guided(a_network(0), some_images(), None, 0.0, splits, replace(CONFIG, batch_size=8, **changed))
        return history["lr"].tolist()  # at an epoch's last step, of so many

    assert steps(24, steps_per_epoch=2) == steps(16)
    assert steps(24) != steps(16)


def test_processes_share_a_batch() -> None:
    class OfTwo:
        world_size = 2

        def __init__(self, rank: int):
            self.global_rank = rank

    class Alone:
        global_rank, world_size = 0, 1

    rows, config = torch.arange(40), replace(CONFIG, augmentation="crop-flip")
    whole = list(loop._views(rows, config, 3, Alone()))
    shares = [list(loop._views(rows, config, 3, OfTwo(rank))) for rank in (0, 1)]
    for (chosen, boxes, n), *parts in zip(whole, *shares, strict=True):
        for rank, (part, part_boxes, n_whole) in enumerate(parts):
            assert n_whole == n == len(chosen)
            assert torch.equal(part, chosen[rank::2])
            assert torch.equal(part_boxes, boxes[rank::2])


def test_low_precision_trains_float32_weights() -> None:
    images, model = some_images(), a_predictor()
    history = fit_predictor(model, images, some_scores(images), SPLITS, replace(CONFIG, precision="bf16-mixed"))
    full = a_predictor()
    reference = fit_predictor(full, images, some_scores(images), SPLITS, CONFIG)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert validation(history, "loss") == pytest.approx(validation(reference, "loss"), rel=0.1)
    assert digest(model) != digest(full)


# --- what is learnt -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_predictor_finds_planted_tuning(tiny_study: Path) -> None:
    study = open_study(str(tiny_study))
    responses = average_repeats(load_trials(study, ["V1"], progress=False)["V1"], load_design(study).shared_ids)
    splits = split_images(responses)
    basis = fit_basis(responses.responses[splits["train"]])
    scores = torch.from_numpy(project(basis, responses.responses)).float()
    images = load_stimuli(study.stimuli, responses.image_ids, study.image_size)
    assert images.ids.tolist() == responses.image_ids.tolist()
    model = build(RoiPredictor, 0, "small_resnet", scores.shape[1], len(responses.voxels))
    fit_predictor(model, images, scores, splits, TrainConfig(epochs=4, batch_size=64, lr=3e-3, schedule="one-cycle"))
    predicted, measured = predict(model, images.pixels[splits["test"]]), scores[splits["test"]]
    assert pattern_r(predicted, measured).mean() > shuffled_pattern_r(predicted, measured).max() + 0.1


def test_same_seed_same_result() -> None:
    def trained(seed: int) -> tuple[str, pd.DataFrame]:
        images, model = some_images(), a_predictor()
        history = fit_predictor(model, images, some_scores(images), SPLITS, replace(CONFIG, seed=seed))
        return digest(model), losses(history)

    (first, history), (second, again), (other, _) = trained(0), trained(0), trained(1)
    assert first == second
    pd.testing.assert_frame_equal(history, again, check_exact=True)
    assert other != first


def test_test_rows_are_never_touched() -> None:
    images, scores = some_images(), some_scores(some_images())
    poisoned, spoilt = replace(images, pixels=images.pixels.clone(), labels=images.labels.clone()), scores.clone()
    poisoned.pixels[SPLITS["test"]] = some_images(seed=5).pixels[SPLITS["test"]]
    poisoned.labels[SPLITS["test"]] = 0
    spoilt[SPLITS["test"]] = torch.nan
    guide, models = a_guide(), [a_predictor(), a_predictor(), a_network(), a_network()]
    histories = [
        fit_predictor(models[0], images, scores, SPLITS, CONFIG),
        fit_predictor(models[1], poisoned, spoilt, SPLITS, CONFIG),
        train_guided(models[2], images, guide, 0.5, SPLITS, CONFIG),
        train_guided(models[3], poisoned, guide, 0.5, SPLITS, CONFIG),
    ]
    for clean, poison in ((0, 1), (2, 3)):
        assert digest(models[clean]) == digest(models[poison])
        pd.testing.assert_frame_equal(losses(histories[clean]), losses(histories[poison]), check_exact=True)


def test_validation_rows_do_not_train() -> None:
    images, scores = some_images(), some_scores(some_images())
    spoilt = scores.clone()
    spoilt[SPLITS["validation"]] += 100
    models = [a_predictor(), a_predictor()]
    histories = [fit_predictor(m, images, s, SPLITS, CONFIG) for m, s in zip(models, (scores, spoilt), strict=True)]
    assert digest(models[0]) == digest(models[1])
    assert validation(histories[0], "loss") != validation(histories[1], "loss")


# --- guides -------------------------------------------------------------------------------------------------


def test_a_frozen_predictor_does_not_change_by_one_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the authors' code got wrong: `model.train()` reached the predictor's batch normalisation."""
    guide, modes = a_guide(), []
    predictor = guide.aims[0].predictor
    before = digest(predictor)
    targets = Guide.targets

    def spied(self: Guide, views: Tensor, rows: Tensor) -> list[Tensor]:
        modes.append((network.training, any(module.training for module in self.aims[0].predictor.modules())))
        return targets(self, views, rows)

    monkeypatch.setattr(Guide, "targets", spied)
    network = a_network()
    train_guided(network, some_images(), guide, 0.9, SPLITS, CONFIG)
    assert set(modes) == {(True, False), (False, False)}  # the network in both modes, the predictor in one
    assert digest(predictor) == before
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in predictor.parameters())
    predictor.head.bias.add_(1e-6)
    assert digest(predictor) != before  # the digest would have told


def batch_of(guide: Guide, monkeypatch: pytest.MonkeyPatch, rows: Tensor, boxes: Tensor) -> Any:
    """The batch that `train_guided` hands to the loop."""
    caught: list[Any] = []
    monkeypatch.setattr(training, "fit", lambda objective, batches, *rest: caught.append(batches))
    train_guided(a_network(), some_images(), guide, 0.9, SPLITS, CONFIG)
    return caught[0](torch.device("cpu"))(rows, boxes)


@pytest.mark.parametrize("condition", ["TO", "TO-shuffle"])
def test_targets_are_the_predictors_for_the_same_view(condition: str, monkeypatch: pytest.MonkeyPatch) -> None:
    guide, images = a_guide(condition), some_images()
    rows, boxes = torch.tensor([7, 3, 30]), draw_boxes("crop-flip", 3, torch.Generator().manual_seed(0))
    views, labels, targets = batch_of(guide, monkeypatch, rows, boxes)
    shown = rows if guide.partner is None else guide.partner[rows]
    assert torch.equal(views, augment(images.pixels[rows], boxes, SIDE))
    assert torch.equal(labels, images.labels[rows])
    (aim,) = guide.aims
    expected = (aim.predictor(augment(images.pixels[shown], boxes, SIDE)) - aim.mean) / aim.scale
    torch.testing.assert_close(targets, expected)
    assert (guide.partner is not None) == (condition == "TO-shuffle")


@given(st.integers(2, 300), st.integers(0, 2**31))
def test_a_shuffled_pairing_is_a_derangement(n: int, seed: int) -> None:
    partner = derangement(n, seed)
    assert sorted(partner.tolist()) == list(range(n))
    assert not (partner == torch.arange(n)).any()
    assert torch.equal(partner, derangement(n, seed))


def test_another_seed_is_another_pairing() -> None:
    first, second = a_guide("V1-shuffle", seed=0).partner, a_guide("V1-shuffle", seed=1).partner
    assert first is not None
    assert second is not None
    assert (first != second).float().mean() > 0.9


def test_global_targets_have_mean_0_and_variance_1() -> None:
    (targets,) = a_guide("TO", "global").targets(to_float(some_images().pixels), torch.arange(N))
    np.testing.assert_allclose(targets.mean(0), np.zeros(K), atol=1e-5)
    assert targets.var(0).mean().item() == pytest.approx(1, abs=1e-4)
    assert targets.var(0).std().item() > 1e-3  # one scale for all: components keep their proportions


def test_raw_targets_are_the_scores() -> None:
    guide, x = a_guide("TO", "raw"), to_float(some_images().pixels)
    assert torch.equal(guide.targets(x, torch.arange(N))[0], guide.aims[0].predictor(x))


def test_an_untrained_predictor_guides_too() -> None:
    predictor = a_predictor(4)
    guide = make_guide(parse_condition("random"), predictor, some_images(), "global", 0)
    assert guide.partner is None
    network = a_network()
    history = train_guided(network, some_images(), guide, 0.9, SPLITS, replace(CONFIG, epochs=6))
    assert np.isfinite(history.select_dtypes("number").to_numpy()).all()
    neural_loss = history.loc[history["split"] == "train", "neural_loss"].tolist()
    assert neural_loss[-1] < 0.8 * neural_loss[0]


def test_alpha_0_leaves_the_class_side_alone() -> None:
    guided, alone = a_network(), a_network(0)
    guide = a_guide()
    head = guided.neural_head
    assert head is not None
    before = head.weight.clone()
    train_guided(guided, some_images(), guide, 0.0, SPLITS, CONFIG)
    train_guided(alone, some_images(), None, 0.0, SPLITS, CONFIG)
    assert digest(guided.backbone) == digest(alone.backbone)
    assert digest(guided.class_head) == digest(alone.class_head)
    assert torch.equal(head.weight, before)
    weighed = a_network()
    train_guided(weighed, some_images(), guide, 0.1, SPLITS, CONFIG)
    assert digest(weighed.backbone) != digest(alone.backbone)


def test_a_lighter_class_term_is_a_smaller_step_to_sgd_and_nothing_to_adam() -> None:
    def trained(alpha: float, **changed: Any) -> GuidedNet:
        network = a_network(0)
        train_guided(network, some_images(), None, alpha, SPLITS, replace(CONFIG, **changed))
        return network

    def apart(*networks: GuidedNet) -> float:
        a, b = (torch.cat([p.flatten() for p in network.parameters()]) for network in networks)
        return (a - b).norm().item() / (a - torch.cat([p.flatten() for p in a_network(0).parameters()])).norm().item()

    light, slow = trained(0.5, optimizer="sgd", lr=0.02), trained(0.0, optimizer="sgd", lr=0.01)
    assert digest(light.class_head) == digest(slow.class_head)  # to the bit: a half is exact
    assert digest(light.backbone) == digest(slow.backbone)
    by_sgd = apart(light, trained(0.0, optimizer="sgd", lr=0.02))
    by_adam = apart(trained(0.5), trained(0.0))
    assert by_adam < 0.1 * by_sgd


def test_views_may_have_another_size_than_images(monkeypatch: pytest.MonkeyPatch) -> None:
    sides: list[int] = []
    monkeypatch.setattr(GuidedObjective, "forward", lambda self, x, *rest: sides.append(x.shape[-1]) or {}["stop"])
    with pytest.raises(KeyError, match="stop"):
        train_guided(a_network(), some_images(), a_guide(), 0.5, SPLITS, CONFIG, size=12)
    assert sides == [12]


# --- kills and resumes --------------------------------------------------------------------------------------

LONG = replace(CONFIG, epochs=6)
CASES = {
    "adam": LONG,
    "sgd": replace(LONG, optimizer="sgd", lr=0.01, schedule="one-cycle", augmentation="crop-flip"),
    "best": replace(LONG, keep="best"),
}


def train_case(case: str, file: Path, pause: float = 0.0) -> tuple[nn.Module, pd.DataFrame]:
    """Train as a case says; `pause` slows every batch down, so that a kill finds it at work."""
    if pause:
        rate = loop.learning_rate
        loop.learning_rate = lambda *at: time.sleep(pause) or rate(*at)  # type: ignore[assignment,func-returns-value]
    torch.set_num_threads(1)
    images = some_images()
    if case == "sgd":
        network = a_network()
        return network, train_guided(network, images, a_guide("TO-shuffle"), 0.5, SPLITS, CASES[case], file)
    model = a_predictor()
    return model, fit_predictor(model, images, scores_of(case), SPLITS, CASES[case], file)


def scores_of(case: str) -> Tensor:
    """Where the best epoch counts, validation is the opposite of training: learning makes it worse."""
    scores = some_scores(some_images())
    if case == "best":
        scores[SPLITS["validation"]] *= -1
    return scores


def epochs_in(file: Path, case: str) -> int:
    return len(load_checkpoint(file, agreed(case))[1]["history"]) // 2 if file.exists() else 0


@cache
def agreed(case: str) -> dict[str, Any]:
    if case == "sgd":
        return made_with(a_network(), CASES[case], {"alpha": 0.5, "guide": a_guide("TO-shuffle").told})
    return made_with(a_predictor(), CASES[case], {"scores": fingerprint(scores_of(case))})


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_killed_training_resumes_bit_for_bit(tmp_path: Path, processes: Any, case: str) -> None:
    file = tmp_path / "checkpoint.safetensors"
    process = processes.Process(target=train_case, args=(case, file, 0.1))
    process.start()
    deadline = time.monotonic() + 90
    while epochs_in(file, case) < 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(random.uniform(0, 1))  # any moment, in the middle of an epoch or of writing
    process.kill()
    process.join()
    assert process.exitcode == -9
    assert 1 <= epochs_in(file, case) < LONG.epochs
    resumed, history = train_case(case, file)
    whole, expected = train_case(case, tmp_path / "whole")
    assert digest(resumed) == digest(whole)
    pd.testing.assert_frame_equal(losses(history), losses(expected), check_exact=True)
    assert len(expected) == 2 * LONG.epochs


def test_a_finished_training_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, history = train_case("adam", tmp_path / "checkpoint")
    monkeypatch.setattr(loop, "_train_epoch", lambda *args: pytest.fail("trained again"))
    second, again = train_case("adam", tmp_path / "checkpoint")
    assert digest(first) == digest(second)
    pd.testing.assert_frame_equal(history, again)  # the seconds too


def test_the_best_epoch_is_kept(tmp_path: Path) -> None:
    model, history = train_case("best", tmp_path / "checkpoint")
    scores = validation(history, "neural_r")
    assert int(np.argmax(scores)) < len(scores) - 1
    rows, images = SPLITS["validation"], some_images()
    kept = row_r(predict(model, images.pixels[rows]), scores_of("best")[rows]).mean().item()
    assert kept == pytest.approx(max(scores), abs=1e-4)
    assert kept != pytest.approx(scores[-1], abs=1e-3)


def steps_in(file: Path, case: str) -> tuple[int, int]:
    note = load_checkpoint(file, agreed(case))[1]
    return note["epoch"], note["step"]


@pytest.mark.slow
def test_a_training_told_to_stop_keeps_its_last_step(tmp_path: Path, processes: Any) -> None:
    file = tmp_path / "checkpoint.safetensors"
    process = processes.Process(target=train_case, args=("sgd", file, 0.3))
    process.start()
    deadline = time.monotonic() + 90
    while epochs_in(file, "sgd") < 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.6)  # two of an epoch's four steps
    process.terminate()
    process.join(20)
    assert process.exitcode == 1, "by an error of its own, not by the signal"
    epoch, step = steps_in(file, "sgd")
    assert epoch >= 1
    assert 0 < step < 4, "in the middle of an epoch"
    resumed, history = train_case("sgd", file)
    whole, expected = train_case("sgd", tmp_path / "whole")
    assert digest(resumed) == digest(whole)
    pd.testing.assert_frame_equal(losses(history), losses(expected), check_exact=True)


@pytest.mark.slow
def test_a_training_is_kept_every_few_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[tuple[int, int]] = []
    save = checkpoints.Keeper.save
    monkeypatch.setattr(checkpoints.Keeper, "save", lambda self, at: kept.append((at.epoch, at.step)) or save(self, at))
    train_case("adam", tmp_path / "usual")
    assert kept == [(epoch, 0) for epoch in range(1, 7)], "short epochs: at the end of each"
    kept.clear()
    monkeypatch.setattr(checkpoints, "MINUTES", 0)
    train_case("adam", tmp_path / "often")
    steps = [(epoch, step) for epoch in range(6) for step in (1, 2, 3, 4)]
    assert kept == sorted([*steps, *((epoch, 0) for epoch in range(1, 7))])


@pytest.mark.slow
def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, saved = tmp_path / "checkpoint", []

    def full(tensors: Any, beside: Path, note: Any) -> None:
        save_file(tensors, beside, note)
        saved.append(1)
        if len(saved) == 3:
            os.truncate(beside, 1000)
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(InputError, match="make room"):
        train_case("adam", file)
    monkeypatch.undo()
    assert steps_in(file, "adam") == (2, 0)
    assert os.listdir(tmp_path) == ["checkpoint"]
    assert digest(train_case("adam", file)[0]) == digest(train_case("adam", tmp_path / "whole")[0])


# --- several devices, and batches in parts ------------------------------------------------------------------

# One epoch without Adam: Adam divides gradients by their size, which hides a wrong factor and makes rounding large
# where they are near 0 (after two epochs, .005 of neural r). Then rounding is 1e-5 of what training changes, and
# statistics, gradients or views that are not the whole batch's are 7 % of it or more: docs/log.md.
SHARED = replace(CONFIG, optimizer="sgd", lr=0.01, epochs=1)


def assert_one_model(trained: nn.Module | dict[str, Tensor], single: nn.Module, untrained: nn.Module) -> None:
    """Every parameter and running statistic went, up to rounding, where one process takes it."""
    found = trained.state_dict() if isinstance(trained, nn.Module) else trained
    expected, first = single.state_dict(), untrained.state_dict()
    moved = [name for name, value in expected.items() if not torch.equal(value, first[name])]
    assert {"backbone.parts.stem.0.weight", "backbone.parts.stem.1.running_var"} <= set(moved)
    apart, far = (
        torch.cat([(values[name] - expected[name]).flatten() for name in moved]).norm() for values in (found, first)
    )
    assert apart < 0.005 * far
    for name in moved:
        away, change = (found[name] - expected[name]).double(), (expected[name] - first[name]).double()
        assert away.norm() < 0.05 * change.norm(), name


@pytest.mark.slow
def test_two_processes_train_one_model() -> None:
    """The same batches, the same statistics of each: up to rounding, one model."""
    trained = []
    for n_devices in (1, 2):
        model = a_network()
        config = replace(SHARED, devices=n_devices)
        trained.append((model, losses(train_guided(model, some_images(), a_guide(), 0.5, SPLITS, config))))
    (one, single), (two, double) = trained
    pd.testing.assert_frame_equal(double, single, rtol=2e-3, atol=2e-3)
    assert not any(parameter.requires_grad for parameter in two.parameters())
    assert_one_model(two, one, a_network())


class Small(PredictorObjective):
    """Says, beside its loss, what becomes of a denormal number where it is trained."""

    def forward(self, x: Tensor, target: Tensor) -> dict[str, Tensor]:
        return {**super().forward(x, target), "small": 1e20 * (torch.tensor(1e-40) * 1)}


@pytest.mark.slow
@pytest.mark.parametrize("n_devices", [1, 2])
def test_denormals_are_flushed_in_every_process(n_devices: int) -> None:
    images, model = some_images(), a_predictor()
    batches = partial(training._scored_views, images, some_scores(images))
    history = loop.fit(Small(model), batches, SPLITS, replace(SHARED, devices=n_devices), None, {})
    assert history["small"].tolist() == [0, 0]


@pytest.mark.slow
def test_processes_that_a_cluster_started_train_one_model(tmp_path: Path, processes: Any) -> None:
    """Two nodes, as torchrun names them: each runs the same notebook; all but the first only help."""
    port = devices._free_port()
    started = [processes.Process(target=train_on_node, args=(tmp_path, rank, port)) for rank in (0, 1)]
    for process in started:
        process.start()
    for process in started:
        process.join(240)
    assert [process.exitcode for process in started] == [0, 0]
    assert (tmp_path / "helped1").exists()
    model = a_predictor()
    single = fit_predictor(model, some_images(), some_scores(some_images()), SPLITS, SHARED)
    pd.testing.assert_frame_equal(
        losses(pd.read_json(tmp_path / "history0.json")), losses(single), rtol=2e-3, atol=2e-3
    )
    agreed_on = made_with(model, SHARED, {"scores": fingerprint(some_scores(some_images()))})
    assert_one_model(load_checkpoint(tmp_path / "checkpoint", agreed_on)[0]["last"], model, a_predictor())


def train_on_node(folder: Path, rank: int, port: int) -> None:
    given = {"RANK": rank, "WORLD_SIZE": 2, "LOCAL_RANK": 0, "GROUP_RANK": rank, "MASTER_PORT": port}
    os.environ |= {"TORCHELASTIC_RUN_ID": "test", "MASTER_ADDR": "127.0.0.1", **{k: str(v) for k, v in given.items()}}
    images = some_images()
    try:
        history = fit_predictor(a_predictor(), images, some_scores(images), SPLITS, SHARED, folder / "checkpoint")
        history.to_json(folder / f"history{rank}.json", double_precision=15)
    except Helped:
        (folder / f"helped{rank}").touch()


def test_a_batch_in_parts_gives_the_same_gradient() -> None:
    """Without batch normalisation, which sees each part alone."""
    images, scores = some_images(), some_scores(some_images())
    found = []
    for parts in (1, 3):
        model = a_predictor()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.0
                module.forward = partial(still, module)  # type: ignore[method-assign]
        config = replace(CONFIG, optimizer="sgd", lr=1e-3, accumulate=parts)
        history = fit_predictor(model, images, scores, SPLITS, config)
        found.append((losses(history), model.head.weight.clone()))
    pd.testing.assert_frame_equal(found[0][0], found[1][0], rtol=1e-3, atol=1e-4)
    assert torch.allclose(found[0][1], found[1][1], rtol=1e-3, atol=1e-5)


def still(module: nn.BatchNorm2d, x: Tensor) -> Tensor:
    return nn.functional.batch_norm(x, module.running_mean, module.running_var, module.weight, module.bias)


@pytest.mark.parametrize("error", [RuntimeError("[enforce fail] allocate memory: 99 bytes"), MemoryError()])
def test_memory_that_runs_out_comes_with_advice(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def none_left(self: Any, *_: Tensor) -> None:
        raise error

    monkeypatch.setattr(PredictorObjective, "forward", none_left)
    with pytest.raises(InputError, match=r"memory ran out\n(.*\n)*.*accumulate = 4"):
        fitted(accumulate=2)


@pytest.mark.slow
def test_a_compiled_training_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced, not built: a compiler takes minutes."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    images, scores = some_images(), some_scores(some_images())
    plain, compiled = (
        fit_predictor(a_predictor(), images, scores, SPLITS, replace(CONFIG, compile=compiled, epochs=1))
        for compiled in (False, True)
    )
    pd.testing.assert_frame_equal(losses(plain), losses(compiled), rtol=1e-3, atol=1e-3)


# --- bad input ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changed", [{"lr": 1e-4}, {"epochs": 9}, {"seed": 1}, {"optimizer": "sgd"}])
def test_a_checkpoint_of_another_configuration(tmp_path: Path, changed: dict[str, Any]) -> None:
    images, file = some_images(), tmp_path / "checkpoint"
    config = replace(CONFIG, epochs=1)
    fit_predictor(a_predictor(), images, some_scores(images), SPLITS, config, file)
    with pytest.raises(InputError, match=rf"another configuration\n.*\n.*{next(iter(changed))}"):
        fit_predictor(a_predictor(), images, some_scores(images), SPLITS, replace(config, **changed), file)


DAMAGE: dict[str, Any] = {
    "truncated": lambda file: os.truncate(file, 5000),
    "empty": lambda file: os.truncate(file, 0),
    "HTML": lambda file: file.write_text("<html>"),
    "another safetensors file": lambda file: save_file({"weight": torch.zeros(2)}, file),
    "a note of something else": lambda file: save_checkpoint(file, {"last": {"w": torch.zeros(2)}}, {"a": 1}),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_checkpoint(tmp_path: Path, case: str) -> None:
    file = tmp_path / "checkpoint"
    save_checkpoint(file, {"last": {"w": torch.zeros(2000)}}, {"config": asdict(CONFIG), "history": []})
    DAMAGE[case](file)
    with pytest.raises(InputError, match=rf"cannot be read\n +file: +{file}"):
        fit_predictor(a_predictor(), some_images(), some_scores(some_images()), SPLITS, CONFIG, file)


def test_a_checkpoint_round_trip(tmp_path: Path) -> None:
    shared = torch.randn(3)
    state = {"last": {"a.b": shared, "step": torch.tensor(7)}, "kept": {"a.b": shared, "c/d": torch.ones(2).half()}}
    note = {"config": asdict(CONFIG), "history": [{"loss": 0.1 + 0.2}], "scaler": {}}
    save_checkpoint(tmp_path / "deep" / "file", state, note)
    loaded, read = load_checkpoint(tmp_path / "deep" / "file", asdict(CONFIG))
    assert read == note
    assert {group: list(named) for group, named in loaded.items()} == {g: list(n) for g, n in state.items()}
    for group, named in state.items():
        for name, value in named.items():
            assert torch.equal(loaded[group][name], value)
    assert os.listdir(tmp_path / "deep") == ["file"]


def fitted(scores: Tensor | None = None, splits: dict[str, np.ndarray] = SPLITS, **changed: Any) -> None:
    images = some_images()
    scores = some_scores(images) if scores is None else scores
    fit_predictor(a_predictor(), images, scores, splits, replace(CONFIG, **changed))


def guided(
    network: GuidedNet | None = None, images: ImageSet | None = None, alpha: float = 0.5, **changed: Any
) -> None:
    guide = changed.pop("guide", a_guide)()
    train_guided(network or a_network(), images or some_images(), guide, alpha, SPLITS, replace(CONFIG, **changed))


def unlabelled() -> ImageSet:
    images = some_images()
    labels = images.labels.clone()
    labels[3] = -1
    return replace(images, labels=labels)


def silent_guide() -> Guide:
    predictor = a_predictor()
    nn.init.zeros_(predictor.head.weight)
    return make_guide(parse_condition("TO"), predictor, some_images(), "raw", 0)


def test_a_checkpoint_is_of_one_regions_scores(tmp_path: Path) -> None:
    images = some_images()
    scores, config, file = some_scores(images), replace(CONFIG, epochs=1), tmp_path / "checkpoint"
    fit_predictor(a_predictor(), images, scores, SPLITS, config, file)
    fit_predictor(a_predictor(), images, scores * (1 + 1e-12), SPLITS, config, file)
    with pytest.raises(InputError, match="made with another configuration"):
        fit_predictor(a_predictor(), images, scores.roll(1, 0), SPLITS, config, file)


BAD: dict[str, tuple[Any, str]] = {
    "fewer scores than images": (lambda: fitted(torch.zeros(N - 1, K)), "do not fit"),
    "scores of another basis": (lambda: fitted(torch.zeros(N, 1)), "do not fit"),
    "scores that are not finite": (lambda: fitted(torch.full((N, K), torch.nan)), "diverged in epoch 0"),
    "a learning rate too high": (lambda: fitted(lr=1e30, optimizer="sgd", epochs=4), "diverged"),
    "no training image": (lambda: fitted(splits={**SPLITS, "train": SPLITS["train"][:0]}), "split is empty"),
    "no validation image": (lambda: fitted(splits={**SPLITS, "validation": SPLITS["train"][:0]}), "split is empty"),
    "a batch in more parts than images": (lambda: fitted(accumulate=11), "cannot be cut"),
    "a batch in parts of one image": (lambda: fitted(accumulate=10), r"no statistics of one value(.|\n)*batch_size"),
    "unknown augmentation": (lambda: fitted(augmentation="flip"), "unknown augmentation"),
    "alpha of 1": (lambda: guided(alpha=1.0), r"α in \[0, 1\)"),
    "alpha below 0": (lambda: guided(alpha=-0.1), r"α in \[0, 1\)"),
    "alpha not a number": (lambda: guided(alpha=float("nan")), r"α in \[0, 1\)"),
    "an image without a label": (lambda: guided(images=unlabelled()), "1 images without a label"),
    "no neural head": (lambda: guided(network=a_network(0)), "do not fit the guide"),
    "a head of another size": (lambda: guided(network=a_network(K + 1)), "do not fit the guide"),
    "best epoch without a guide": (lambda: guided(guide=lambda: None, keep="best"), "no epoch is the best"),
    "unknown target scale": (lambda: a_guide(target_scale="unit"), "no targets"),
    "a predictor that gives one answer": (silent_guide, "no targets"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case: str) -> None:
    attempt, message = BAD[case]
    with pytest.raises(InputError, match=message):
        attempt()


def test_training_leaves_small_numbers_as_they_were() -> None:
    images = some_images()
    fit_predictor(a_predictor(), images, some_scores(images), SPLITS, CONFIG)
    assert float(torch.tensor(1e-40) * 1) > 0, "denormals are flushed during training only"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        *(
            ({name: value}, f"{name} cannot be")
            for name in ("epochs", "batch_size", "devices", "accumulate")
            for value in (0, -1)
        ),
        *(
            ({name: value}, f"{name} cannot be")
            for name in ("lr", "weight_decay", "momentum")
            for value in (-1.0, math.nan, math.inf)
        ),
        ({"seed": -1}, "seed cannot be"),
        ({"schedule": "linear"}, "unknown schedule"),
        ({"optimizer": "lion"}, "unknown optimiser"),
        ({"keep": "first"}, "no such epoch can be kept"),
    ],
)
def test_a_training_that_cannot_be_is_refused_before_it_begins(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        replace(CONFIG, **change)
