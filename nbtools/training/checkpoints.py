"""One file per unfinished training, holding everything its next step depends on. No pickle."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from nbtools.checks import reading
from nbtools.errors import InputError, Interrupted
from nbtools.files import write_tensors

State = dict[str, dict[str, Tensor]]  # group → name → tensor
MINUTES = 5  # between two checkpoints in the middle of an epoch
_TOGETHER = 10  # steps after which several processes ask one another whether to keep or stop


def save_checkpoint(file: Path, state: State, note: dict[str, Any]) -> None:
    """Write groups of tensors and a JSON note into one file: beside the old one, then into its place."""
    tensors = {
        # clones: one file may not hold the same memory under two names
        f"{group}/{name}": value.detach().cpu().contiguous().clone()
        for group, named in state.items()
        for name, value in named.items()
    }
    write_tensors(file, tensors, {"note": json.dumps(note)})


def load_checkpoint(file: Path, config: dict[str, Any]) -> tuple[State, dict[str, Any]]:
    """Read what `save_checkpoint` wrote.

    Parameters
    ----------
    file : Path
        The checkpoint.
    config : dict
        `made_with` of the training that wants to go on from it.

    Raises
    ------
    InputError
        If the file is damaged, or was written by a training with another configuration.
    """
    state: State = {}
    kinds = (SafetensorError, OSError, TypeError, KeyError, ValueError, RecursionError)
    anew = "delete the file; training then starts anew"
    with (
        reading("the checkpoint cannot be read", *kinds, file=file, expected="a checkpoint of this project", fix=anew),
        safe_open(file, "pt") as saved,
    ):
        note = json.loads(saved.metadata()["note"])
        made_with = dict(note["config"])
        for name in saved.keys():  # noqa: SIM118 (not a dict)
            group, _, rest = name.partition("/")
            state.setdefault(group, {})[rest] = saved.get_tensor(name)
    changed = {name for name in config.keys() | made_with.keys() if config.get(name) != made_with.get(name)}
    if changed:
        raise InputError(
            "the checkpoint was made with another configuration",
            file=file,
            expected={name: config.get(name) for name in sorted(changed)},
            got={name: made_with.get(name) for name in sorted(changed)},
            fix="delete the file to start anew, or train with the configuration it was made with",
        )
    return state, note


def made_with(model: nn.Module, config: Any, told: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a checkpoint and a training must agree on: settings, the loss, the network and its classes."""
    return {**getattr(model, "config", {}), **told, **asdict(config)}


def fingerprint(x: Tensor) -> str:
    """Return three digits that tell numbers from others and from their own order, rarely from their rounding."""
    flat = x.detach().cpu().double().flatten()
    return f"{float(flat @ torch.arange(1.0, len(flat) + 1, dtype=torch.float64).cos()):.3g}"


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimiser's moments under the names ``<parameter index>.<moment>``."""
    return {
        f"{index}.{name}": value
        for index, moments in optimizer.state_dict()["state"].items()
        for name, value in moments.items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put saved moments back, each in its parameter's memory layout: fused steps read both as one array."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, _, moment = name.partition(".")
        parameter = parameters[int(index)]
        same_shape = value.shape == parameter.shape
        placed = torch.empty_like(parameter, dtype=value.dtype).copy_(value) if same_shape else value
        state.setdefault(int(index), {})[moment] = placed.detach()
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


class Meter:
    """Sums over images of loss terms; they stay on the device until asked for."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count = 0

    def add(self, terms: dict[str, Tensor], n: int) -> None:
        """Add the means of a batch of n images."""
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, torch.zeros_like(value)) + value.detach() * n
        self.count += n

    def totals(self, fabric: Any) -> tuple[dict[str, Tensor], int]:
        """Return the sums and the number of images of all processes."""
        count = int(fabric.all_reduce(torch.tensor(self.count, device=fabric.device), reduce_op="sum"))
        # cloned: the reduction writes into what it is given
        return {name: fabric.all_reduce(value.clone(), reduce_op="sum") for name, value in self.sums.items()}, count

    def means(self, fabric: Any) -> dict[str, float]:
        """Return the mean of each term over all images of all processes."""
        sums, count = self.totals(fabric)
        return {name: float(total / count) for name, total in sums.items()}


@dataclass
class Progress:
    """How far a training has come.

    Attributes
    ----------
    epoch, step : int
        Where the next step is taken.
    seconds : float
        Spent training in this epoch.
    meter : Meter
        Of this epoch.
    history : list of dict
        Two rows per finished epoch.
    kept : dict
        The best epoch's weights, if those are to be kept.
    """

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    meter: Meter = field(default_factory=Meter)
    history: list[dict[str, Any]] = field(default_factory=list)
    kept: dict[str, Tensor] = field(default_factory=dict)

    def next_epoch(self) -> None:
        """Go to the first step of the next epoch."""
        self.epoch, self.step, self.seconds, self.meter = self.epoch + 1, 0, 0.0, Meter()


class Keeper:
    """Keeps a training's state in its file, at the end of an epoch, every few minutes, and when it is told to stop.

    Parameters
    ----------
    file : Path
        The checkpoint.
    model : nn.Module
        Being trained.
    optimizer : Optimizer
        Of its parameters.
    fabric : Fabric
        Launched; the first process writes.
    config : dict
        `made_with` of the training; a checkpoint of another one is refused.
    """

    def __init__(
        self, file: Path, model: nn.Module, optimizer: torch.optim.Optimizer, fabric: Any, config: dict[str, Any]
    ):
        self.file, self.model, self.optimizer, self.fabric, self.config = file, model, optimizer, fabric, config
        self.asked, self.saved = False, time.monotonic()

    def ask(self) -> None:
        """Stop at the next step, once it is kept."""
        self.asked = True

    def resume(self) -> Progress:
        """Put the last kept state back and return how far it had come.

        Raises
        ------
        InputError
            If the file is damaged, is of another configuration, or is not the same for all processes.
        """
        progress = self._load() if self.file.exists() else Progress()
        at = (progress.epoch, progress.step)
        if (first := tuple(self.fabric.broadcast(at))) != at:
            raise InputError(
                "processes see different checkpoints",
                file=self.file,
                expected=f"epoch and step {first}, as the first process",
                got=at,
                fix="keep the run on a disk that all nodes share, and start again",
            )
        if at != (0, 0) and self.fabric.is_global_zero:
            print(f"going on from a checkpoint: epoch {progress.epoch}, step {progress.step}")
        return progress

    def _load(self) -> Progress:
        state, note = load_checkpoint(self.file, self.config)
        self.model.load_state_dict(state["last"])
        restore_optimizer(self.optimizer, state.get("optimizer", {}))  # plain descent keeps none
        self.fabric.strategy.precision.load_state_dict(note["scaler"])
        meter = Meter()
        if self.fabric.is_global_zero:  # it holds the sums of all processes
            meter.sums = {name: state["meter"][name].to(self.fabric.device) for name in note["terms"]}
            meter.count = note["count"]
        return Progress(note["epoch"], note["step"], note["seconds"], meter, note["history"], state.get("kept", {}))

    def save(self, progress: Progress) -> None:
        """Write the state; all processes call this at the same step.

        Raises
        ------
        InputError
            If it cannot be written; the checkpoint before it is still there.
        Interrupted
            If one of the processes was told to stop.
        """
        sums, count = progress.meter.totals(self.fabric)
        if self.fabric.is_global_zero:
            model = self.model.state_dict()
            state = {
                "last": model,
                "kept": progress.kept,
                "optimizer": optimizer_tensors(self.optimizer),
                "meter": sums,
            }
            note = {
                "config": self.config,
                "history": progress.history,
                "scaler": self.fabric.strategy.precision.state_dict(),
                "epoch": progress.epoch,
                "step": progress.step,
                "seconds": progress.seconds,
                "count": count,
                "terms": list(sums),  # in their order, which the file does not keep
            }
            save_checkpoint(self.file, state, note)
        self.fabric.barrier()
        self.saved = time.monotonic()
        if self._most(self.asked):
            raise Interrupted

    def save_if_due(self, progress: Progress) -> None:
        """Write the state if it is time to, or if a process was told to stop; see `save`."""
        if self.fabric.world_size > 1 and progress.step % _TOGETHER:
            return
        if self._most(self.asked or time.monotonic() - self.saved > 60 * MINUTES):
            self.save(progress)

    def _most(self, wish: bool) -> bool:
        """Say whether one of the processes wishes so."""
        if self.fabric.world_size == 1:
            return wish
        return bool(self.fabric.all_reduce(torch.tensor(float(wish), device=self.fabric.device), reduce_op="sum"))
