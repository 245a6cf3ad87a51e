"""Weights from outside: read as tensors alone, whatever the file's layout, and put under a network's own names."""

from __future__ import annotations

import re
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from nbtools.checks import check_counts, listed, reading
from nbtools.errors import InputError

Shapes = Mapping[str, torch.Size]
State = dict[str, Tensor]

_DEPTH, _WORDS = 3, 6  # of dicts in dicts, and of a prefix: a hostile file may go on for ever
_NUMBERS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_COUNTS = "num_batches_tracked"  # of batch normalisation: old files lack it, and an answer takes no notice of it
_EXPECTED = "safetensors, or a PyTorch file of tensors: a state dict, alone or in a checkpoint of plain values"
_SHOWN = 5


def load_weights(network: nn.Module, file: Path, spare: Sequence[str] = ()) -> list[str]:
    """Give a network the weights in a file.

    The file's names may have a prefix, of dicts that they lie in (``state_dict.``, ``model.``) and of wrappers
    (``module.``, ``backbone.``, ``_orig_mod.``), several too: the one that leaves the most of the network's own names
    is taken off, and tensors without it are left aside. Words that still differ, such as ``linear`` for ``fc``, are
    read as the network's where that is the one way in which all names and shapes fit.

    Parameters
    ----------
    network : nn.Module
        Of the same layers; it may be on the meta device.
    file : Path
        safetensors, or what ``torch.save`` wrote of tensors and plain values: nothing else in a file is run.
    spare : sequence of str
        With which names begin, behind the prefix, of what the network does without; it is left aside.

    Returns
    -------
    list of str
        What was done to make it fit, a sentence each: prefix, left aside, renamed, converted to float32.

    Raises
    ------
    InputError
        If the file cannot be read, holds anything else, several such networks that differ, claims more than it has,
        does not fit, or a weight is no finite number.
    """
    found = _read(file)
    own = network.state_dict()
    wanted = {name: value.shape for name, value in own.items()}
    prefixes = _prefixes(wanted, found)
    _check_one(prefixes, wanted, found, file)
    state, said = _named_as(wanted, found, prefixes[0], tuple(spare))
    _check_fit(state, wanted, file)
    _check_values(state, own, file)
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
        return _inside(_unpickled(file))


def _is_safetensors(file: Path) -> bool:
    return _beginning(file)[8:] == b"{"  # after the length of the JSON that it begins with


def _beginning(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(9)


def _unpickled(file: Path) -> Any:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch would advise to run what is in the file
        said = str(error).partition("WeightsUnpickler error:")[2] or str(error)
        if named := re.search(r"GLOBAL ([\w.]{1,80})|safe_globals", said):
            said = f"pickled objects, such as {named[1] or 'a network'}, that only running code in the file would make"
        if not _beginning(file).startswith((b"PK", b"\x80")):  # a zip's, a pickle's
            said = "not a PyTorch or safetensors file"
        raise ValueError(said.strip().partition("\n")[0]) from error


def _check_honest(file: Path) -> None:
    """Raise `ValueError` if a zip claims to hold more than it has: torch packs nothing, so such a file is a bomb."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            claimed = sum(entry.file_size for entry in archive.infolist())
        if claimed > (size := file.stat().st_size):
            raise ValueError(f"{size} bytes that claim to be {claimed}")


def _inside(found: Any) -> State:
    """Return the tensors of a checkpoint, each named by the dicts that it lies in and its own name."""
    if not isinstance(found, Mapping):
        raise TypeError(f"a {type(found).__name__}")
    state: State = {}
    waiting: list[tuple[tuple[str, ...], Mapping[Any, Any]]] = [((), found)]
    seen = {id(found)}  # one may lie in itself, or in many
    for places, inner in waiting:
        for name, value in inner.items():
            here = (*places, str(name))
            if isinstance(value, Tensor):
                state[".".join(here)] = value
            elif isinstance(value, Mapping) and len(here) <= _DEPTH and id(value) not in seen:
                seen.add(id(value))
                waiting.append((here, value))
    if not state:
        raise ValueError(f"no tensors, but {listed(found, _SHOWN) or 'nothing'}")
    return state


def _named_as(wanted: Shapes, found: State, prefix: str, spare: tuple[str, ...]) -> tuple[State, list[str]]:
    """Return the tensors under the network's names, as far as these are found, and what was done for it."""
    state = {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}
    aside = [name for name in found if not name.startswith(prefix)]
    unused = [name for name in state if name.startswith(spare)]
    state = {name: value for name, value in state.items() if not name.startswith(spare)}
    words = _other_words(wanted, state)
    state = {".".join(words.get(word, word) for word in name.split(".")): value for name, value in state.items()}
    said = [f"the prefix {prefix} taken off"] if prefix else []
    said += [f"left aside, without that prefix: {_some(aside)}"] if aside else []
    said += [f"left aside, of what serves training alone: {_some(unused)}"] if unused else []
    said += ["read as: " + ", ".join(f"{theirs} → {ours}" for theirs, ours in words.items())] if words else []
    return state, said


def _prefixes(wanted: Shapes, found: State) -> list[str]:
    """Return what stands before most of the network's names; where there are several, the shortest first."""
    counts = Counter({"": 0})
    for name in found:
        words = name.split(".", _WORDS)
        counts.update(
            "".join(f"{word}." for word in words[:n]) for n in range(len(words)) if ".".join(words[n:]) in wanted
        )
    most = max(counts.values())
    return sorted((prefix for prefix, count in counts.items() if count == most), key=len)


def _check_one(prefixes: list[str], wanted: Shapes, found: State, file: Path) -> None:
    """Raise `InputError` if a file has several networks of these names that differ, such as one and its average."""

    def under(prefix: str) -> State:
        named = {name: found[prefix + name] for name in wanted if prefix + name in found}
        return {name: value for name, value in named.items() if value.shape == wanted[name]}

    first = under(prefixes[0])
    others = [prefix for prefix in prefixes[1:] if not _are_same(first, under(prefix))]
    if others and 2 * len(first) > len(wanted):
        raise InputError(
            "these weights are of several networks",
            file=file,
            expected="one network, or the same one twice",
            got=", ".join(f"{prefix[:80] or 'no prefix, '}…" for prefix in [prefixes[0], *others[:_SHOWN]]),
            fix="save the one you mean alone: torch.save(network.state_dict(), file), or with safetensors",
        )


def _are_same(ours: State, theirs: State) -> bool:
    if ours.keys() != theirs.keys():
        return False
    pairs = [(ours[name], theirs[name]) for name in ours]
    return all(_is_plain(a, b.dtype) and _is_plain(b, a.dtype) and torch.equal(a.to(b), b) for a, b in pairs)


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
    last = list(wanted)[-1].rpartition(".")[0]
    trunk = bool(missing) and all(name.startswith(f"{last}.") for name in missing)
    if wrong := [f"{what}: {_some(names)}" for what, names in kinds.items() if names]:
        raise InputError(
            "the weights do not fit the network",
            file=file,
            expected=f"{len(wanted)} tensors such as {_some(list(wanted))}",
            got="; ".join(wrong),
            fix=f"a trunk without its classifier cannot be adopted: save the network with its last layer, {last}"
            if trunk
            else "name the architecture that they are of, and as many classes as its last layer has",
        )


def _check_values(state: State, own: State, file: Path) -> None:
    """Raise `InputError` unless weights are finite numbers in a format that float32 holds, and places whole ones."""
    weights = {name: value for name, value in state.items() if not name.endswith(_COUNTS)}
    plain = {name: value for name, value in weights.items() if _is_plain(value, own[name].dtype)}
    strange = [f"{name} {value.dtype}" for name, value in weights.items() if name not in plain]
    endless = [name for name, value in plain.items() if not value.float().isfinite().all()]
    wrong = {f"of another kind: {_some(strange)}": len(strange), f"not finite: {_some(endless)}": len(endless)}
    expected = "finite numbers in " + ", ".join(map(str, _NUMBERS))
    check_counts(f"these weights cannot be used: {file}", wrong, expected=expected, fix="save them anew as float32")


def _is_plain(value: Tensor, wanted: torch.dtype) -> bool:
    kinds = _NUMBERS if wanted.is_floating_point else (wanted,)  # such as where attention finds its biases
    return value.dtype in kinds and value.layout is torch.strided and value.device.type == "cpu"


def _some(names: list[str]) -> str:
    """Name the first few, and say how many there are."""
    return ", ".join(name[:80] for name in names[:_SHOWN]) + (f" … ({len(names)})" if len(names) > _SHOWN else "")
