"""The one training loop: any objective, one device or several, resumable after any step."""

from __future__ import annotations

import logging
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from nbtools.checks import check_choice, check_range
from nbtools.data.images.views import Augmentation, draw_boxes
from nbtools.devices import launch, make_fabric, memory_advice, share_statistics
from nbtools.errors import Helped, InputError
from nbtools.models.networks import freeze
from nbtools.processes import Bar, on_sigterm, place
from nbtools.training.checkpoints import Keeper, Meter, Progress, load_checkpoint, made_with

Batch = tuple[Tensor, ...]
MakeBatch = Callable[[Tensor, Tensor], Batch]  # (rows, boxes) of the views → what the objective takes
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
Optimizer = Literal["adam", "sgd"]
Keep = Literal["last", "best"]
Schedule = Literal["constant", "cosine", "step", "one-cycle"]
Batches = Callable[[torch.device], MakeBatch]

# Fabric logs the precision at every start; it stands in run.json.
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)


@dataclass(frozen=True)
class TrainConfig:
    """How a network is trained; every field is recorded with the run.

    Raises
    ------
    InputError
        If there is no such schedule, optimiser or epoch to keep, or a number is outside its range.
    """

    epochs: int
    batch_size: int  # over all devices; the last, incomplete batch of an epoch is left out
    lr: float  # peak learning rate
    optimizer: Optimizer = "adam"
    momentum: float = 0.9  # of sgd
    weight_decay: float = 0.0
    schedule: Schedule = "cosine"  # step: ×0.1 each third of training
    augmentation: Augmentation = "shift"
    keep: Keep = "last"  # best: the epoch of the highest validation neural r
    precision: Precision = "32-true"  # half precision pays on GPUs, and on CPUs for large images
    compile: bool = False  # torch.compile: pays on long CUDA runs
    devices: int = 1  # of each node
    steps_per_epoch: int | None = None  # None: as many as the images fill; fewer see others of them in each epoch
    accumulate: int = 1  # parts a device's share of a batch is cut into, where memory does not hold it whole
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("unknown schedule", self.schedule, get_args(Schedule))
        check_choice("unknown optimiser", self.optimizer, get_args(Optimizer))
        check_choice("no such epoch can be kept", self.keep, get_args(Keep))
        for name in ("epochs", "batch_size", "devices", "accumulate"):
            check_range(name, getattr(self, name), 1)
        if self.steps_per_epoch is not None:
            check_range("steps_per_epoch", self.steps_per_epoch, 1)
        for name in ("lr", "momentum", "weight_decay", "seed"):
            check_range(name, getattr(self, name), 0)


WARMUP = 0.15  # share of a one-cycle schedule spent rising


def learning_rate(config: TrainConfig, progress: float) -> float:
    """Return the learning rate at `progress` (0 at the first step, 1 after the last)."""
    if config.schedule == "constant":
        return config.lr
    if config.schedule == "step":
        return config.lr * 0.1 ** math.floor(3 * progress)
    if config.schedule == "one-cycle" and progress < WARMUP:
        return config.lr * max(progress, 1e-3) / WARMUP
    start = WARMUP if config.schedule == "one-cycle" else 0.0
    return config.lr * 0.5 * (1 + math.cos(math.pi * (progress - start) / (1 - start)))


class Objective(nn.Module):
    """A network, ``.model``, and the loss it is trained on."""

    model: nn.Module


def fit(
    objective: Objective,
    batches: Batches,
    splits: dict[str, np.ndarray],
    config: TrainConfig,
    checkpoint: Path | None,
    told: Mapping[str, Any],
) -> pd.DataFrame:
    """Train an objective's model and leave it frozen on the CPU.

    Parameters
    ----------
    objective : Objective
        Maps a batch to loss terms, ``loss`` among them.
    batches : callable
        Given a device, returns the function that makes a batch from rows (n,) and boxes (n, 5).
    splits : dict
        Rows under ``train`` and ``validation``.
    config : TrainConfig
        Everything else.
    checkpoint : Path, optional
        Where each epoch, and every `MINUTES` what there is of one, is kept, and where an unfinished training is
        taken up.
    told : mapping
        What tells the loss from others of such a network, in JSON's terms: a checkpoint knows it again.

    Returns
    -------
    DataFrame
        One row per epoch and split: the loss terms' means over images, lr, seconds.

    Raises
    ------
    InputError
        If a split has no rows, a batch has fewer images than there are parts of it, or too few to be normalised,
        the loss is not finite, memory runs out, or the checkpoint is not one of this training.
    Interrupted
        If the system asked the process to end; the last step is kept.
    Helped
        In every process but the first of those that torchrun or srun started together.
    """
    if not (len(splits["train"]) and len(splits["validation"])):
        raise InputError(
            "a split is empty",
            expected="rows under train and validation",
            got={name: len(rows) for name, rows in splits.items()},
            fix="split anew, with images on both sides",
        )
    here, agreed = place(), made_with(objective.model, config, told)
    with tempfile.TemporaryDirectory() as scratch, memory_advice(_smaller(config)):
        file = checkpoint or Path(scratch) / "checkpoint.safetensors"
        work = (objective, batches, splits, config, file, agreed)
        if max(config.devices, here.n_processes) > 1:  # in processes of their own; the file carries the result back
            launch(_loop, work, config.devices)
        else:
            _loop({}, *work)
        if here.rank > 0:
            raise Helped
        state, note = load_checkpoint(file, agreed)
    objective.model.load_state_dict(state["kept"] if config.keep == "best" else state["last"])
    freeze(objective.model.cpu())
    return pd.DataFrame(note["history"])


def _smaller(config: TrainConfig) -> str:
    half = "" if config.precision != "32-true" else 'precision = "bf16-mixed", or '
    return f"set {half}accumulate = {2 * config.accumulate} (the same batch in more parts), or train on more devices"


@contextmanager
def _flushed_denormals() -> Iterator[None]:
    """Count denormals as 0: late in training they slow a CPU down several times. Elsewhere they keep their value."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@contextmanager
def _too_few_told() -> Iterator[None]:
    """Turn what batch normalisation says of a single value of each channel into an `InputError`."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise InputError(
            "batch normalisation has no statistics of one value",
            expected="two images or more in each part of a batch on each device",
            got=str(error),
            fix="raise batch_size, or lower accumulate or devices",
        ) from error


@_too_few_told()
@_flushed_denormals()  # here, not around the call: processes of their own flush them too
def _loop(
    fabric_options: dict[str, Any],
    objective: Objective,
    batches: Batches,
    splits: dict[str, np.ndarray],
    config: TrainConfig,
    file: Path,
    agreed: dict[str, Any],
) -> None:
    fabric = make_fabric(config.precision, **fabric_options)
    fabric.launch()
    _check_parts(splits, config, fabric.world_size)
    objective.to(memory_format=torch.channels_last).to(fabric.device)
    if fabric.world_size > 1:
        share_statistics(objective)
    optimizer = _optimizer(objective, config)
    keeper = Keeper(file, objective.model, optimizer, fabric, agreed)
    state = keeper.resume()
    module, stepper = fabric.setup(_compiled(objective) if config.compile else objective, optimizer)
    with fabric.autocast():  # a guide is cast here, not in every step
        make_batch = batches(fabric.device)
    train, validation = (torch.from_numpy(splits[name]) for name in ("train", "validation"))
    n_steps = _n_steps(train, config)
    with on_sigterm(keeper.ask), _progress(train, config, state, fabric) as bar, _own_chance(fabric.device):
        while state.epoch < config.epochs:
            _train_epoch(fabric, module, stepper, make_batch, train, config, state, keeper, bar)
            trained = state.meter.means(fabric)
            _check_finite(trained["loss"], state.epoch)
            checked = _evaluate(fabric, module, make_batch, validation)
            # the rate is not asked of the optimiser: after a kill all steps of an epoch may have been taken before
            common = {"lr": _rate(config, state.epoch, n_steps - 1, n_steps), "seconds": state.seconds}
            state.history.append({"epoch": state.epoch, "split": "train", **trained, **common})
            state.history.append({"epoch": state.epoch, "split": "validation", **checked, **common})
            if _is_best(state.history, config):
                state.kept = {name: value.clone() for name, value in objective.model.state_dict().items()}
            state.next_epoch()
            keeper.save(state)


@contextmanager
def _own_chance(device: torch.device) -> Iterator[None]:
    """Leave the global generators, which dropout draws from, as they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def _chance(config: TrainConfig, epoch: int, step: int, rank: int) -> int:
    """Return the seed of what a step drops, the same after a kill; processes drop each their own."""
    return int(np.random.SeedSequence([config.seed, epoch, step, rank]).generate_state(1)[0])


def _compiled(objective: Objective) -> nn.Module:
    compiled = torch.compile(objective)
    assert isinstance(compiled, nn.Module)
    return compiled


def _check_finite(loss: float, epoch: int) -> None:
    if not math.isfinite(loss):
        raise InputError(
            f"training diverged in epoch {epoch}",
            expected="a finite loss",
            got=loss,
            fix="lower the learning rate, and look for targets that are not finite",
        )


def _is_best(history: list[dict[str, Any]], config: TrainConfig) -> bool:
    if config.keep == "last":
        return False
    scores = [row["neural_r"] for row in history if row["split"] == "validation"]
    return scores[-1] >= max(scores)


def _train_epoch(
    fabric: Any,
    module: nn.Module,
    optimizer: Any,
    make_batch: MakeBatch,
    rows: Tensor,
    config: TrainConfig,
    state: Progress,
    keeper: Keeper,
    bar: Bar,
) -> None:
    module.train()
    n_steps = _n_steps(rows, config)
    started = time.perf_counter() - state.seconds
    for step, (chosen, boxes, whole) in enumerate(_views(rows, config, state.epoch, fabric)):
        if step < state.step:  # taken before a kill
            continue
        torch.manual_seed(_chance(config, state.epoch, step, fabric.global_rank))
        for group in optimizer.param_groups:
            group["lr"] = _rate(config, state.epoch, step, n_steps)
        parts = list(zip(chosen.tensor_split(config.accumulate), boxes.tensor_split(config.accumulate), strict=True))
        for n, (part, part_boxes) in enumerate(parts, start=1):
            with fabric.autocast():
                batch = make_batch(part, part_boxes)
            with fabric.no_backward_sync(module, enabled=n < len(parts) and fabric.world_size > 1):
                terms = module(*_channels_last(batch))
                # processes are averaged, so that all parts together give the gradient of the mean over the batch
                fabric.backward(terms["loss"] * (len(part) * fabric.world_size / whole))
            state.meter.add(terms, len(part))
        optimizer.step()
        optimizer.zero_grad()
        state.step, state.seconds = step + 1, time.perf_counter() - started
        bar.update()
        if step % 10 == 0:  # reading a value waits for the device
            bar.set_postfix({name: f"{value.detach().item():.3f}" for name, value in terms.items()}, refresh=False)
        keeper.save_if_due(state)


def _rate(config: TrainConfig, epoch: int, step: int, n_steps: int) -> float:
    return learning_rate(config, (epoch + step / n_steps) / config.epochs)


def _optimizer(objective: Objective, config: TrainConfig) -> torch.optim.Optimizer:
    weights = objective.parameters()
    if config.optimizer == "adam":
        return torch.optim.Adam(weights, config.lr, weight_decay=config.weight_decay, fused=True)
    return torch.optim.SGD(weights, config.lr, momentum=config.momentum, weight_decay=config.weight_decay)


def _n_steps(rows: Tensor, config: TrainConfig) -> int:
    whole = max(len(rows) // config.batch_size, 1)
    return min(whole, config.steps_per_epoch or whole)


def _check_parts(splits: dict[str, np.ndarray], config: TrainConfig, n_processes: int) -> None:
    batch, parts = min(config.batch_size, len(splits["train"])), config.accumulate * n_processes
    if batch < parts or len(splits["validation"]) < n_processes:
        raise InputError(
            "a batch cannot be cut into these parts",
            expected="an image for each part on each device",
            got=f"{batch} images in a batch, {len(splits['validation'])} to validate on, "
            f"accumulate = {config.accumulate}, {n_processes} devices",
            fix="lower accumulate or devices, or raise batch_size",
        )


def _views(rows: Tensor, config: TrainConfig, epoch: int, fabric: Any) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Yield this process's share of every batch, and the batch's size; drawn from (seed, epoch) alone."""
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
    order = rows[torch.randperm(len(rows), generator=generator)]
    share = slice(fabric.global_rank, None, fabric.world_size)
    for chosen in order.split(config.batch_size)[: _n_steps(rows, config)]:
        boxes = draw_boxes(config.augmentation, len(chosen), generator)
        yield chosen[share], boxes[share], len(chosen)


def _channels_last(batch: Batch) -> Batch:
    return batch[0].contiguous(memory_format=torch.channels_last), *batch[1:]


@torch.no_grad()
def _evaluate(fabric: Any, module: nn.Module, make_batch: MakeBatch, rows: Tensor) -> dict[str, float]:
    module.eval()
    meter = Meter()
    for chosen in rows[fabric.global_rank :: fabric.world_size].split(256):
        with fabric.autocast():
            batch = make_batch(chosen, draw_boxes("none", len(chosen), torch.Generator()))
        meter.add(module(*_channels_last(batch)), len(chosen))
    return meter.means(fabric)


def _progress(rows: Tensor, config: TrainConfig, state: Progress, fabric: Any) -> Bar:
    n_steps = _n_steps(rows, config)
    return Bar(
        total=config.epochs * n_steps,
        initial=state.epoch * n_steps + state.step,
        desc="training",
        unit="batch",
        disable=not fabric.is_global_zero,
    )
