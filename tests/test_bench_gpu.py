"""The GPU's benchmark on a processor, at tiny sizes: every row is there, and its numbers hang together."""

from __future__ import annotations

import pytest
import torch

from nbtools import bench
from nbtools.bench import gpu

TINY = gpu.Sizes(size=32, batch=16, steps=2, attacked=4, attack_steps=2, product=64)


@pytest.mark.slow
def test_every_row_is_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    real = gpu._train
    monkeypatch.setattr(
        gpu, "_train", lambda *given, compiled: real(*given, compiled=False)
    )  # a compiler takes minutes
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(gpu, "FULL", TINY)
    monkeypatch.setattr(gpu.gpu_table, "__defaults__", (TINY,))
    bench.main(["gpu"])
    said = capsys.readouterr().out
    for what in (
        "matrix product, bf16-mixed",
        "guided training, bf16-mixed, compiled",
        "attack sweep",
        "training views",
    ):
        assert what in said
    assert "no GPU: the processor" in said
    assert "more than 1 %" not in said, "half precision trains to the same loss"


def test_a_matrix_rate_is_what_a_product_takes() -> None:
    side = 256
    rate = gpu.matrix_rate(torch.device("cpu"), torch.float32, side)
    a = torch.rand(side, side)
    seconds = min(gpu.timed(lambda: a @ a)[0] for _ in range(20))
    assert 0.1 < rate * seconds / (2 * side**3) < 10
