"""One file per unfinished training, holding everything its next epoch depends on. No pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nbtools.errors import InputError
from nbtools.files import written

State = dict[str, dict[str, Tensor]]  # group → name → tensor


def save_checkpoint(file: Path, state: State, note: dict[str, Any]) -> None:
    """Write groups of tensors and a JSON note into one file: beside the old one, then into its place."""
    tensors = {
        # clones: one file may not hold the same memory under two names
        f"{group}/{name}": value.detach().cpu().contiguous().clone()
        for group, named in state.items()
        for name, value in named.items()
    }
    with written(file) as beside:
        save_file(tensors, beside, {"note": json.dumps(note)})


def load_checkpoint(file: Path, config: dict[str, Any]) -> tuple[State, dict[str, Any]]:
    """Read what `save_checkpoint` wrote.

    Parameters
    ----------
    file : Path
        The checkpoint.
    config : dict
        The configuration of the training that wants to go on from it.

    Raises
    ------
    InputError
        If the file is damaged, or was written by a training with another configuration.
    """
    state: State = {}
    try:
        with safe_open(file, "pt") as saved:
            note = json.loads(saved.metadata()["note"])
            made_with = note["config"]
            for name in saved.keys():  # noqa: SIM118 (not a dict)
                group, _, rest = name.partition("/")
                state.setdefault(group, {})[rest] = saved.get_tensor(name)
    except (SafetensorError, TypeError, KeyError, ValueError) as error:
        raise InputError(
            "the checkpoint cannot be read",
            file=file,
            expected="a checkpoint of this project",
            got=error,
            fix="delete the file; training then starts anew",
        ) from error
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
