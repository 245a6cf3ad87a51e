"""How a file is written: beside its place, then put there. It appears whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = ".tmp-"  # of what a killed process leaves behind; nothing reads a file of such a name


@contextmanager
def written(file: Path) -> Iterator[Path]:
    """Give the path to write to; on leaving, put what is there in the place of `file`, or remove it after an error."""
    file.parent.mkdir(parents=True, exist_ok=True)
    # The name does not end as the file's does: a search for *.parquet must not find half a table.
    beside = file.with_name(f"{PREFIX}{file.name}.{os.getpid()}")
    try:
        yield beside
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)
