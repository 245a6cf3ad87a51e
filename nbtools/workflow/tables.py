"""Rows and numbers in, text for a terminal out."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> str:
    """Return rows under their head as text, column by column; those named in `right` end at one place."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    sides = [">" if name in right else "<" for name in head]
    lines = [zip(row, sides, widths, strict=True) for row in [head, *rows]]
    return "\n".join("  ".join(f"{cell:{side}{width}}" for cell, side, width in line).rstrip() for line in lines)


def ranges(numbers: Collection[int]) -> str:
    """Write 1, 2, 3, 7 as ``1–3, 7``."""
    starts = sorted(n for n in numbers if n - 1 not in numbers)
    ends = sorted(n for n in numbers if n + 1 not in numbers)
    return ", ".join(str(a) if a == b else f"{a}–{b}" for a, b in zip(starts, ends, strict=True))
