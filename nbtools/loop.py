"""The one training loop: any objective, one device or several, resumable after any epoch."""

from __future__ import annotations

import logging
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from tqdm.auto import tqdm

from nbtools.checkpoints import load_checkpoint, optimizer_tensors, restore_optimizer, save_checkpoint
from nbtools.data.views import Augmentation, draw_boxes
from nbtools.errors import InputError
from nbtools.models import freeze

Batch = tuple[Tensor, ...]
MakeBatch = Callable[[Tensor, Tensor], Batch]  # (rows, boxes) of the views → what the objective takes
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
Batches = Callable[[torch.device], MakeBatch]

# Fabric logs the precision at every start; it stands in run.json.
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)


@dataclass(frozen=True)
class TrainConfig:
    """How a network is trained; every field is recorded with the run."""

    epochs: int
    batch_size: int  # over all devices; the last, incomplete batch of an epoch is left out
    lr: float  # peak learning rate
    optimizer: Literal["adam", "sgd"] = "adam"
    momentum: float = 0.9  # of sgd
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine", "step", "one-cycle"] = "cosine"  # step: ×0.1 each third of training
    augmentation: Augmentation = "shift"
    keep: Literal["last", "best"] = "last"  # best: the epoch of the highest validation neural r
    precision: Precision = "32-true"  # half precision pays on GPUs, and on CPUs for large images
    compile: bool = False  # torch.compile: pays on long CUDA runs
    devices: int = 1
    seed: int = 0


WARMUP = 0.15  # share of a one-cycle schedule spent rising


def learning_rate(config: TrainConfig, progress: float) -> float:
    """Return the learning rate at `progress` (0 at the first step, 1 after the last)."""
    if config.schedule == "constant":
        return config.lr
    if config.schedule == "step":
        return config.lr * 0.1 ** math.floor(3 * progress)
    if config.schedule == "one-cycle" and progress < WARMUP:
        return config.lr * max(progress, 1e-3) / WARMUP
    if config.schedule in ("cosine", "one-cycle"):
        start = WARMUP if config.schedule == "one-cycle" else 0.0
        return config.lr * 0.5 * (1 + math.cos(math.pi * (progress - start) / (1 - start)))
    raise InputError(
        "unknown schedule",
        expected="constant, cosine, step or one-cycle",
        got=repr(config.schedule),
        fix="use one of these",
    )


class Objective(nn.Module):
    """A network, ``.model``, and the loss it is trained on."""

    model: nn.Module


def fit(
    objective: Objective,
    batches: Batches,
    splits: dict[str, np.ndarray],
    config: TrainConfig,
    checkpoint: Path | None,
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
        Where each epoch is kept, and where an unfinished training is taken up.

    Returns
    -------
    DataFrame
        One row per epoch and split: the loss terms' means over images, lr, seconds.

    Raises
    ------
    InputError
        If a split has no rows, the loss is not finite, or the checkpoint is not one of this training.
    """
    if not (len(splits["train"]) and len(splits["validation"])):
        raise InputError(
            "a split is empty",
            expected="rows under train and validation",
            got={name: len(rows) for name, rows in splits.items()},
            fix="split anew, with images on both sides",
        )
    with tempfile.TemporaryDirectory() as scratch:
        file = checkpoint or Path(scratch) / "checkpoint.safetensors"
        fabric = _fabric(config)
        if config.devices > 1:  # in processes of their own; the file carries the result back
            fabric.launch(_loop, objective, batches, splits, config, file)
        else:
            with _flushed_denormals():
                _loop(fabric, objective, batches, splits, config, file)
        state, note = load_checkpoint(file, asdict(config))
    objective.model.load_state_dict(state["kept"] if config.keep == "best" else state["last"])
    freeze(objective.model.cpu())
    return pd.DataFrame(note["history"])


@contextmanager
def _flushed_denormals() -> Iterator[None]:
    """Count denormals as 0: late in training they slow a CPU down several times. Elsewhere they keep their value."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _fabric(config: TrainConfig) -> Any:
    strategy = "ddp_notebook" if config.devices > 1 else "auto"
    return Fabric(accelerator="auto", devices=config.devices, precision=config.precision, strategy=strategy)


def _loop(
    fabric: Any,
    objective: Objective,
    batches: Batches,
    splits: dict[str, np.ndarray],
    config: TrainConfig,
    file: Path,
) -> None:
    objective.to(memory_format=torch.channels_last).to(fabric.device)
    optimizer = _optimizer(objective, config)
    history, kept = _resume(file, objective, optimizer, fabric, config)
    module, stepper = fabric.setup(torch.compile(objective) if config.compile else objective, optimizer)
    make_batch, train = batches(fabric.device), torch.from_numpy(splits["train"])
    validation = torch.from_numpy(splits["validation"])
    with _progress(train, config, len(history) // 2, fabric) as bar:
        for epoch in range(len(history) // 2, config.epochs):
            started = time.perf_counter()
            trained = _train_epoch(fabric, module, stepper, make_batch, train, config, epoch, bar)
            common = {"lr": stepper.param_groups[0]["lr"], "seconds": time.perf_counter() - started}
            checked = _evaluate(fabric, module, make_batch, validation)
            _check_finite(trained["loss"], epoch)
            history.append({"epoch": epoch, "split": "train", **trained, **common})
            history.append({"epoch": epoch, "split": "validation", **checked, **common})
            if fabric.is_global_zero:
                last = objective.model.state_dict()
                if _is_best(history, config):
                    kept = {name: value.clone() for name, value in last.items()}
                _save(file, last, kept, optimizer, fabric, config, history)
            fabric.barrier()


def _resume(
    file: Path, objective: Objective, optimizer: torch.optim.Optimizer, fabric: Any, config: TrainConfig
) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """Put the last finished epoch's state back; return its history and the weights kept so far."""
    if not file.exists():
        return [], {}
    state, note = load_checkpoint(file, asdict(config))
    objective.model.load_state_dict(state["last"])
    restore_optimizer(optimizer, state["optimizer"])
    fabric.strategy.precision.load_state_dict(note["scaler"])
    return note["history"], state.get("kept", {})


def _save(
    file: Path,
    last: dict[str, Tensor],
    kept: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
    fabric: Any,
    config: TrainConfig,
    history: list[dict[str, Any]],
) -> None:
    state = {"last": last, "kept": kept, "optimizer": optimizer_tensors(optimizer)}
    scaler = fabric.strategy.precision.state_dict()
    save_checkpoint(file, state, {"config": asdict(config), "history": history, "scaler": scaler})


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
    epoch: int,
    bar: tqdm,
) -> dict[str, float]:
    module.train()
    meter = Meter()
    n_steps = _n_steps(rows, config)
    for step, (chosen, boxes) in enumerate(_views(rows, config, epoch, fabric)):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, (epoch + step / n_steps) / config.epochs)
        with fabric.autocast():
            batch = make_batch(chosen, boxes)
        terms = module(*_channels_last(batch))
        fabric.backward(terms["loss"])
        optimizer.step()
        optimizer.zero_grad()
        meter.add(terms, len(chosen))
        bar.update()
        if step % 10 == 0:  # reading a value waits for the device
            bar.set_postfix({name: f"{value.detach().item():.3f}" for name, value in terms.items()}, refresh=False)
    return meter.means(fabric)


def _optimizer(objective: Objective, config: TrainConfig) -> torch.optim.Optimizer:
    weights = objective.parameters()
    if config.optimizer == "adam":
        return torch.optim.Adam(weights, config.lr, weight_decay=config.weight_decay, fused=True)
    if config.optimizer == "sgd":
        return torch.optim.SGD(weights, config.lr, momentum=config.momentum, weight_decay=config.weight_decay)
    raise InputError("unknown optimiser", expected="adam or sgd", got=repr(config.optimizer), fix="use one of them")


def _n_steps(rows: Tensor, config: TrainConfig) -> int:
    return max(len(rows) // config.batch_size, 1)


def _views(rows: Tensor, config: TrainConfig, epoch: int, fabric: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield this process's share of every batch, drawn from (seed, epoch) alone: a resume repeats it."""
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
    order = rows[torch.randperm(len(rows), generator=generator)]
    for chosen in order.split(config.batch_size)[: _n_steps(rows, config)]:
        boxes = draw_boxes(config.augmentation, len(chosen), generator)
        yield chosen[fabric.global_rank :: fabric.world_size], boxes[fabric.global_rank :: fabric.world_size]


def _channels_last(batch: Batch) -> Batch:
    return batch[0].contiguous(memory_format=torch.channels_last), *batch[1:]


@torch.no_grad()
def _evaluate(fabric: Any, module: nn.Module, make_batch: MakeBatch, rows: Tensor) -> dict[str, float]:
    module.eval()
    meter = Meter()
    for chosen in rows.split(256):
        with fabric.autocast():
            batch = make_batch(chosen, draw_boxes("none", len(chosen), torch.Generator()))
        meter.add(module(*_channels_last(batch)), len(chosen))
    return meter.means(fabric)


class Meter:
    """Means over images of loss terms; they stay on the device until asked for."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count = 0

    def add(self, terms: dict[str, Tensor], n: int) -> None:
        """Add the means of a batch of n images."""
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, torch.zeros_like(value)) + value.detach() * n
        self.count += n

    def means(self, fabric: Any) -> dict[str, float]:
        """Return the mean of each term over all images of all processes."""
        return {name: float(fabric.all_reduce(total / self.count)) for name, total in self.sums.items()}


def _progress(rows: Tensor, config: TrainConfig, done: int, fabric: Any) -> tqdm:
    n_steps = _n_steps(rows, config)
    return tqdm(
        total=config.epochs * n_steps,
        initial=done * n_steps,
        desc="training",
        unit="batch",
        disable=not fabric.is_global_zero,
    )
