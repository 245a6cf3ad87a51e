"""Rows of text in, a table for a terminal out."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> str:
    """Return rows under their head as text, column by column; those named in `right` end at one place."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    sides = [">" if name in right else "<" for name in head]
    lines = [zip(row, sides, widths, strict=True) for row in [head, *rows]]
    return "\n".join("  ".join(f"{cell:{side}{width}}" for cell, side, width in line).rstrip() for line in lines)
