"""Processors played by this one: rounding differs by the instructions that sums are computed with."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from nbtools.checks import check_choice
from nbtools.data.study import home
from nbtools.processes import exported

# Variables that PyTorch's own kernels and oneDNN's read, from the smallest set of instructions to the largest.
INSTRUCTIONS: dict[str, dict[str, str]] = {
    "default": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "avx512": {"ATEN_CPU_CAPABILITY": "avx512", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
}
NATIVE = "native"  # whatever is told now


def available() -> list[str]:
    """Return the sets of instructions that this machine can be told to use: on Linux, with an x86 processor."""
    import torch  # imports slowly

    names, best = list(INSTRUCTIONS), torch.backends.cpu.get_cpu_capability().lower()
    told = sys.platform == "linux" and platform.machine() == "x86_64" and best in names
    return names[: names.index(best) + 1] if told else []


@contextmanager
def told_to_use(instructions: str) -> Iterator[None]:
    """Let processes that are started meanwhile compute with these instructions, in a home of their own.

    Raises
    ------
    InputError
        If this machine cannot.
    """
    if instructions == NATIVE:
        yield
        return
    check_choice("this machine cannot be told to use these instructions", instructions, [NATIVE, *available()])
    own = home() / "runs" / "known" / instructions
    with exported({**INSTRUCTIONS[instructions], "NBTOOLS_HOME": str(own)}):
        yield
