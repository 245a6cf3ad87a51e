"""Weights from outside: read as tensors alone, whatever the file's layout, and put under a network's own names."""

from __future__ import annotations

import re
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from nbtools.checks import check_counts, reading
from nbtools.errors import InputError

Shapes = Mapping[str, torch.Size]
State = dict[str, Tensor]

_INSIDE = ("state_dict", "model_state_dict", "model", "net")  # where a checkpoint keeps its network
_DEPTH = 3  # of such, one in the other; and words of a prefix: a hostile file may go on for ever
_NUMBERS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_COUNTS = "num_batches_tracked"  # of batch normalisation: old files lack it, and an answer takes no notice of it
_EXPECTED = "safetensors, or a PyTorch file of tensors: a state dict, alone or in a checkpoint of plain values"
_SHOWN = 5


def load_weights(network: nn.Module, file: Path) -> list[str]:
    """Give a network the weights in a file.

    The file's names may have a prefix (``module.``, ``model.``, ``backbone.``, ``_orig_mod.``, several): the one that
    leaves the most of the network's own names is taken off, and tensors without it are left aside. Words that still
    differ, such as ``linear`` for ``fc``, are read as the network's where that is the one way in which all names and
    shapes fit.

    Parameters
    ----------
    network : nn.Module
        Of the same layers; it may be on the meta device.
    file : Path
        safetensors, or what ``torch.save`` wrote of tensors and plain values: nothing else in a file is run.

    Returns
    -------
    list of str
        What was done to make it fit, a sentence each: prefix, left aside, renamed, converted to float32.

    Raises
    ------
    InputError
        If the file cannot be read, holds anything else, claims more than it has, does not fit, or a weight is no
        finite number.
    """
    found = _read(file)
    own = network.state_dict()
    wanted = {name: value.shape for name, value in own.items()}
    state, said = _named_as(wanted, found)
    _check_fit(state, wanted, file)
    _check_values(state, file)
    other = sorted({str(value.dtype) for value in state.values() if value.is_floating_point()} - {"torch.float32"})
    said += [f"converted to float32 from {', '.join(other)}"] if other else []
    counts = {name: torch.tensor(0) for name in wanted if name.endswith(_COUNTS)}
    state = {name: value.to(own[name].dtype) for name, value in (counts | state).items()}
    put(network, state, assign=True)
    return said


def put(network: nn.Module, state: Mapping[str, Tensor], *, assign: bool = False) -> None:
    """Load a whole state dict as one of the library's present version, which safetensors does not say."""
    of_now: OrderedDict[str, Tensor] = OrderedDict(state)
    of_now._metadata = network.state_dict()._metadata  # type: ignore[attr-defined]
    network.load_state_dict(of_now, assign=assign)


def _read(file: Path) -> State:
    """Read the named tensors of a file, whatever else a checkpoint holds."""
    fix = (
        "where it was made, load it and save its state dict alone: torch.save(network.state_dict(), file), "
        "or with safetensors"
    )
    # torch's reader raises errors of many kinds
    with reading("these weights cannot be read", Exception, file=file, expected=_EXPECTED, fix=fix):
        if _is_safetensors(file):
            return load_file(file)
        _check_honest(file)
        found = _inside(_unpickled(file))
        state = {str(name): value for name, value in found.items() if isinstance(value, Tensor)}
        if not state:
            raise ValueError(f"no tensors, but {', '.join(map(str, list(found)[:_SHOWN])) or 'nothing'}")
        return state


def _is_safetensors(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(9)[8:] == b"{"  # after the length of the JSON that it begins with


def _unpickled(file: Path) -> Any:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch would advise to run what is in the file
        said = str(error).partition("WeightsUnpickler error:")[2] or str(error)
        if named := re.search(r"GLOBAL ([\w.]{1,80})|safe_globals", said):
            said = f"pickled objects, such as {named[1] or 'a network'}, that only running code in the file would make"
        raise ValueError(said.strip().partition("\n")[0]) from error


def _check_honest(file: Path) -> None:
    """Raise `ValueError` if a zip claims to hold more than it has: torch packs nothing, so such a file is a bomb."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            claimed = sum(entry.file_size for entry in archive.infolist())
        if claimed > (size := file.stat().st_size):
            raise ValueError(f"{size} bytes that claim to be {claimed}")


def _inside(found: Any) -> Mapping[Any, Any]:
    """Return the state dict of a checkpoint."""
    for _ in range(_DEPTH):
        if not isinstance(found, Mapping):
            raise TypeError(f"a {type(found).__name__}")
        inner = [found[name] for name in _INSIDE if isinstance(found.get(name), Mapping)]
        found = inner[0] if inner else found
    return found


def _named_as(wanted: Shapes, found: State) -> tuple[State, list[str]]:
    """Return the tensors under the network's names, as far as these are found, and what was done for it."""
    prefix = _prefix(wanted, found)
    state = {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}
    aside = [name for name in found if not name.startswith(prefix)]
    words = _other_words(wanted, state)
    state = {".".join(words.get(word, word) for word in name.split(".")): value for name, value in state.items()}
    said = [f"the prefix {prefix} taken off"] if prefix else []
    said += [f"left aside, without that prefix: {_some(aside)}"] if aside else []
    said += ["read as: " + ", ".join(f"{theirs} → {ours}" for theirs, ours in words.items())] if words else []
    return state, said


def _prefix(wanted: Shapes, found: State) -> str:
    """Return what stands before most of the network's names; of several, the shortest."""
    counts = Counter({"": 0})
    for name in found:
        words = name.split(".", _DEPTH)
        counts.update(
            "".join(f"{word}." for word in words[:n]) for n in range(len(words)) if ".".join(words[n:]) in wanted
        )
    return min(counts, key=lambda prefix: (-counts[prefix], len(prefix)))


def _other_words(wanted: Shapes, state: State) -> dict[str, str]:
    """Return by which words the names that do not fit become those that are missing; empty unless one way does it."""
    missing = {name for name in wanted.keys() - state.keys() if not name.endswith(_COUNTS)}
    others = {name for name in state.keys() - wanted.keys() if not name.endswith(_COUNTS)}
    if len(missing) != len(others):
        return {}
    ways: dict[str, set[str]] = {}
    for theirs in others:
        for ours in missing:
            pairs = list(zip(theirs.split("."), ours.split("."), strict=False))
            differ = [pair for pair in pairs if pair[0] != pair[1]]
            alike = theirs.count(".") == ours.count(".") and state[theirs].shape == wanted[ours]
            if alike and len(differ) == 1 and not differ[0][0].isdigit():
                ways.setdefault(differ[0][0], set()).add(differ[0][1])
    words = {theirs: ours for theirs, (ours, *more) in ways.items() if not more}
    renamed = {".".join(words.get(word, word) for word in name.split(".")) for name in others}
    return words if renamed == missing else {}


def _check_fit(state: State, wanted: Shapes, file: Path) -> None:
    """Raise `InputError` unless there is a tensor of its shape for each of the network's names, and no other."""
    missing = [name for name in wanted if name not in state and not name.endswith(_COUNTS)]
    unexpected = [name for name in state if name not in wanted]
    shapes = [
        f"{name} {tuple(state[name].shape)} for {tuple(shape)}"
        for name, shape in wanted.items()
        if name in state and state[name].shape != shape
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    if wrong := [f"{what}: {_some(names)}" for what, names in kinds.items() if names]:
        raise InputError(
            "the weights do not fit the network",
            file=file,
            expected=f"{len(wanted)} tensors such as {_some(list(wanted))}",
            got="; ".join(wrong),
            fix="name the architecture that they are of, and as many classes as its last layer has",
        )


def _check_values(state: State, file: Path) -> None:
    """Raise `InputError` unless weights are finite numbers in a format that float32 holds."""
    weights = {name: value for name, value in state.items() if not name.endswith(_COUNTS)}
    strange = [f"{name} {value.dtype}" for name, value in weights.items() if not _is_plain(value)]
    endless = [name for name, value in weights.items() if _is_plain(value) and not value.float().isfinite().all()]
    wrong = {f"of another kind: {_some(strange)}": len(strange), f"not finite: {_some(endless)}": len(endless)}
    expected = "finite numbers in " + ", ".join(map(str, _NUMBERS))
    check_counts(f"these weights cannot be used: {file}", wrong, expected=expected, fix="save them anew as float32")


def _is_plain(value: Tensor) -> bool:
    return value.dtype in _NUMBERS and value.layout is torch.strided and value.device.type == "cpu"


def _some(names: list[str]) -> str:
    """Name the first few, and say how many there are."""
    return ", ".join(name[:80] for name in names[:_SHOWN]) + (f" … ({len(names)})" if len(names) > _SHOWN else "")
