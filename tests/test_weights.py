"""Weights from outside: any layout of a file is one network, what does not fit is named, hostile files are refused."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from nbtools.errors import InputError
from nbtools.models.weights import load_weights


def network(seed: int = 0) -> nn.Module:
    """A stem, a block with a shortcut, a classifier."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        shortcut = nn.Sequential(nn.Conv2d(4, 8, 1, stride=2, bias=False), nn.BatchNorm2d(8))
        parts = {"conv1": nn.Conv2d(3, 4, 3), "layer1": BasicBlock(4, 8, stride=2, downsample=shortcut)}
        return nn.Sequential(OrderedDict(**parts, pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), fc=nn.Linear(8, 5)))


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.replace("downsample", "shortcut").replace("fc.", "linear."): v for name, v in state.items()}


def prefixed(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


LAYOUTS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "plain": lambda state: state,
    "nested": lambda state: {"epoch": 3, "state_dict": prefixed(state, "module."), "optimizer": {"lr": 0.1}},
    "deeper": lambda state: {"model": {"state_dict": prefixed(state, "_orig_mod.")}},
    "robust": lambda state: {
        "net": {
            **prefixed(state, "module.model."),
            **prefixed(state, "module.attacker.model."),
            "module.normalizer.new_mean": torch.zeros(3),
        }
    },
    "of any name": lambda state: {"best": {"weights": prefixed(state, "encoder.")}, "optimizer": {"state": {0: state}}},
    "averaged": lambda state: {"ema": {**prefixed(state, "module."), "n_averaged": torch.tensor(3)}},
    "renamed": lambda state: prefixed(renamed(state), "backbone."),
    "old": lambda state: {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("old", [False, True], ids=["zip", "legacy"])
def test_every_layout_is_the_network(tmp_path: Path, layout: str, old: bool) -> None:
    source, file = network(1), tmp_path / "weights.pt"
    torch.save(LAYOUTS[layout](source.state_dict()), file, _use_new_zipfile_serialization=not old)
    target = network()
    said = " ".join(load_weights(target, file))
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters(), strict=True))
    assert torch.equal(source.layer1.bn1.running_var, target.layer1.bn1.running_var)
    words = {
        "renamed": ["backbone.", "fc", "downsample"],
        "robust": ["net.module.model.", "left aside"],
        "averaged": ["ema.module.", "ema.n_averaged"],
    }
    assert all(word in said for word in words.get(layout, []))
    assert layout != "plain" or not said


TWO: dict[str, Callable[..., Any]] = {
    "and its average": lambda one, other: {"state_dict": one, "state_dict_ema": other},
    "and its average inside": lambda one, other: {**one, **prefixed(other, "ema.")},
    "and its teacher": lambda one, other: {**prefixed(one, "student."), **prefixed(other, "teacher.")},
    "and a half of it": lambda one, other: {"model": one, "net": {name: value.half() for name, value in one.items()}},
    "and one with a hole": lambda one, other: {"model": one, "net": {**one, "fc.bias": one["fc.bias"] / 0}},
}


@pytest.mark.parametrize("which", TWO)
def test_two_networks_in_one_file_are_not_one(tmp_path: Path, which: str) -> None:
    """Whichever came first would be taken for the other, and nobody would see it."""
    torch.save(TWO[which](network(1).state_dict(), network(2).state_dict()), tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"weights are of several networks(.|\n)*the one you mean"):
        load_weights(network(), tmp_path / "w.pt")


def test_what_serves_training_alone_is_left_aside(tmp_path: Path) -> None:
    state = {**network(1).state_dict(), "aux1.fc.weight": torch.zeros(3)}
    torch.save(prefixed(state, "module."), tmp_path / "w.pt")
    assert "aux1.fc.weight" in " ".join(load_weights(network(), tmp_path / "w.pt", ("aux1.",)))
    with pytest.raises(InputError, match=r"unexpected: aux1\.fc\.weight"):
        load_weights(network(), tmp_path / "w.pt")


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_converted_and_said(tmp_path: Path, kind: torch.dtype) -> None:
    source, target = network(1), network()
    save_file(prefixed({n: v.to(kind) if v.is_floating_point() else v for n, v in source.state_dict().items()}, "net."),
              tmp_path / "w.safetensors")  # fmt: skip
    assert str(kind) in " ".join(load_weights(target, tmp_path / "w.safetensors"))
    assert target.fc.weight.dtype == torch.float32
    assert torch.equal(target.fc.weight, source.fc.weight.to(kind).float())


def other(state: dict[str, Tensor], **changes: Tensor | None) -> dict[str, Tensor]:
    changed = {**state, **{name.replace("__", "."): value for name, value in changes.items()}}
    return {name: value for name, value in changed.items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fc__weight": torch.zeros(7, 8), "fc__bias": torch.zeros(7)}, [r"fc.weight \(7, 8\) for \(5, 8\)"]),
        ({"conv1__weight": None}, ["missing: conv1.weight"]),
        ({"extra__scale": torch.zeros(1)}, ["unexpected: extra.scale"]),
        ({"fc__bias": torch.tensor([0.0, torch.nan, 0, 0, 0])}, ["not finite: fc.bias"]),
        ({"fc__bias": torch.tensor([0.0, torch.inf, 0, 0, 0])}, ["not finite: fc.bias"]),
        ({"fc__bias": torch.zeros(5, dtype=torch.int32)}, ["of another kind: fc.bias torch.int32"]),
        ({"fc__bias": torch.zeros(5).to_sparse()}, ["of another kind: fc.bias"]),
        ({"fc__bias": torch.zeros(5, device="meta")}, ["of another kind: fc.bias"]),
        # each could be either
        ({"layer1__bn1__weight": None, "layer1__bn2__weight": None, "layer1__x__weight": torch.ones(8),
          "layer1__y__weight": torch.ones(8)}, ["missing: layer1.bn1.weight.*unexpected: layer1.x.weight"]),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(tmp_path: Path, changes: dict[str, Any], words: list[str]) -> None:
    file = tmp_path / "weights.pt"
    torch.save(other(network().state_dict(), **changes), file)
    for word in words:
        with pytest.raises(InputError, match=word):
            load_weights(network(), file)


def test_a_part_that_is_left_out_is_not_taken_from_another(tmp_path: Path) -> None:
    """One block for another differs in a number: that is no other word for it."""
    deep = nn.Sequential(*(nn.Linear(4, 4) for _ in range(3)))
    state = deep.state_dict()
    torch.save({name.replace("1.", "3."): value for name, value in state.items()}, tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"missing: 1\.weight.*unexpected: 3\.weight"):
        load_weights(deep, tmp_path / "w.pt")


class Bomb:
    """Unpickling it runs a program."""

    def __init__(self, planted: Path):
        self.planted = planted

    def __reduce__(self) -> tuple:
        return os.system, (f"touch '{self.planted}'",)


def as_zip(content: bytes, *, packed: bool = False) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3\n")
    return buffer.getvalue()


def saved(content: Any, **how: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **how)
    return buffer.getvalue()


def huge() -> Tensor:
    """A thousand million million numbers that lie in one."""
    return torch.zeros(1).expand(10**15)


def looped() -> dict[str, Any]:
    state: dict[str, Any] = {}
    state["model"] = state
    return state


def crowded() -> dict[str, Any]:
    state: dict[str, Any] = {}
    for place in range(1000):
        state[f"m{place}"] = {"again": state}
    return state


def boxed(header: dict[str, Any], data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


HOSTILE: dict[str, Callable[[Path], bytes]] = {
    "a program, zipped": lambda planted: as_zip(pickle.dumps({"fc.weight": Bomb(planted)})),
    "a program, as of old": lambda planted: pickle.dumps({"fc.weight": Bomb(planted)}),
    "a whole network": lambda planted: saved(network()),
    "a program among plain values": lambda planted: saved({"state_dict": network().state_dict(), "x": Bomb(planted)}),
    "cut short": lambda planted: saved(network().state_dict())[:-900],
    "cut short, as of old": lambda planted: saved(network().state_dict(), _use_new_zipfile_serialization=False)[:-50],
    "text": lambda planted: b"these are the weights you asked for\n" * 20,
    "nothing": lambda planted: b"",
    "a packed zip of zeros": lambda planted: as_zip(bytes(50_000_000), packed=True),
    "more numbers than it has": lambda planted: saved({**network().state_dict(), "fc.weight": huge()}),
    "itself, in itself": lambda planted: saved(looped()),
    "a list": lambda planted: saved([1, 2]),
    "no tensors": lambda planted: saved({"epoch": 3}),
    "numbered": lambda planted: saved({1: torch.zeros(2)}),
    "itself, a thousand times": lambda planted: saved(crowded()),
    "two of more numbers than it has": lambda planted: saved(
        {place: {**network().state_dict(), "fc.weight": huge()} for place in ("model", "net")}
    ),
    "boxes out of bounds": lambda planted: boxed(
        {"fc.weight": {"dtype": "F32", "shape": [5, 8], "data_offsets": [0, 160]}}
    ),
    "boxes of a huge shape": lambda planted: boxed(
        {"fc.weight": {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 4]}}, bytes(4)
    ),
    "endless names": lambda planted: boxed(
        {"a." * 400_000: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)
    ),
}  # fmt: skip


def test_of_a_whole_network_it_is_said_what_to_save(tmp_path: Path) -> None:
    torch.save(network(), tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"objects, such as torch\.nn[\s\S]*save its state dict alone: torch\.save\("):
        load_weights(network(), tmp_path / "w.pt")


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_refused_and_not_run(tmp_path: Path, kind: str) -> None:
    planted, file, target = tmp_path / "planted", tmp_path / "weights", network()
    file.write_bytes(HOSTILE[kind](planted))
    before = {name: value.clone() for name, value in target.state_dict().items()}
    with pytest.raises(InputError, match=r"weights (cannot be|do not fit)") as raised:
        load_weights(target, file)
    assert str(file) in str(raised.value)
    assert len(str(raised.value)) < 4000
    assert not re.search("safe_globals|allowlist|weights_only", str(raised.value)), "torch's advice is to run it"
    assert not planted.exists()
    assert all(torch.equal(value, before[name]) for name, value in target.state_dict().items())


def test_the_bombs_would_go_off(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(HOSTILE["a program, as of old"](tmp_path / "planted"))
    with file.open("rb") as stream:
        pickle.load(stream)
    assert (tmp_path / "planted").exists()


@pytest.mark.parametrize("text", ["", "a card\n", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"])
def test_a_file_of_another_kind_is_called_that(tmp_path: Path, text: str) -> None:
    (tmp_path / "w.pt").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"cannot be read(.|\n)*got: .*: not a PyTorch or safetensors file\n"):
        load_weights(network(), tmp_path / "w.pt")


def test_of_a_trunk_it_is_said_that_its_classifier_lacks(tmp_path: Path) -> None:
    state = {name: value for name, value in network(1).state_dict().items() if not name.startswith("fc.")}
    torch.save(prefixed(state, "module."), tmp_path / "w.pt")
    with pytest.raises(
        InputError, match=r"missing: fc.weight, fc.bias\n.*a trunk without its classifier cannot be.*fc$"
    ):
        load_weights(network(), tmp_path / "w.pt")
    del state["conv1.bias"]
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"to do: +name the architecture that they are of"):
        load_weights(network(), tmp_path / "w.pt")
