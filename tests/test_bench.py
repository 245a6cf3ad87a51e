"""The benchmark's own parts: small sizes, same values, a table."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nbtools import bench
from nbtools.bench import brains, comparisons, measure
from nbtools.errors import InputError


def test_prints_a_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"baseline_s": 6.0, "ours_s": 2.0, "ratio": 3.0, "goal": "2x", "notes": ""}
    monkeypatch.setattr(comparisons, "COMPARISONS", {"one": lambda: row, "two": lambda: {**row, "peak_mb": 9.0}})
    bench.main(["one"])
    assert capsys.readouterr().out.split()[:4] == ["comparison", "baseline_s", "ours_s", "ratio"]
    bench.main([])
    assert "9.0" in capsys.readouterr().out


def test_unknown_comparison() -> None:
    with pytest.raises(InputError, match="unknown comparison"):
        bench.main(["nds"])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="elsewhere it begins with its parent's peak")
def test_the_memory_of_a_new_process_is_its_own() -> None:
    held = bytearray(os.urandom(1 << 20)) * 500
    _, memory, length = measure.in_new_process(len, b"two")
    assert length == 3
    assert 0 < memory < len(held) / 2**20


def test_nsd_on_a_small_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brains, "_SHAPE", (12, 11, 10))
    monkeypatch.setattr(brains, "_N_VOXELS", dict.fromkeys(brains.HIERARCHY, 5))
    row = brains.compare_nsd()
    assert list(row) == ["baseline_s", "ours_s", "ratio", "goal", "peak_mb", "notes"]
    assert 0 < float(str(row["peak_mb"])) < 300
