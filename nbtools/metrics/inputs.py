"""What metrics are given: features with an id or label for each image, and tables that hold several groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from nbtools.errors import InputError


def check_rows(what: str, values: np.ndarray, *labels: np.ndarray, n_images: int = 1, n_features: int = 1) -> None:
    """Raise `InputError` unless there is a row of values for each of enough images, and as many of their labels.

    Parameters
    ----------
    what : str
        What the values are, in the plural.
    values : array
        To be (n_images, n_features), at least so many of either.
    *labels : array
        To be (n_images,): ids, labels, repeats.
    """
    enough = values.ndim == 2 and len(values) >= n_images and values.shape[1] >= n_features
    if not enough or any(part.shape != values.shape[:1] for part in labels):
        raise InputError(
            f"{what} and their images do not fit",
            expected=f"(n_images >= {n_images}, n_features >= {n_features}), and one label or id for each image",
            got=" and ".join(str(part.shape) for part in (values, *labels)),
            fix="one row and one label or id per image, in the same order",
        )


def check_features(what: str, values: np.ndarray, *labels: np.ndarray, n_images: int = 1, n_features: int = 1) -> None:
    """Raise `InputError` as `check_rows`, and if a value is not finite."""
    check_rows(what, values, *labels, n_images=n_images, n_features=n_features)
    broken = int((~np.isfinite(values)).any(axis=1).sum())
    if broken:
        raise InputError(
            f"{what} are not finite",
            expected="finite numbers",
            got=f"NaN or infinity for {broken} of {len(values)} images",
            fix="drop dead voxels when loading; look for a diverged network",
        )


def groups_of(table: pd.DataFrame, by: Sequence[str]) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Yield the `by` columns of each group, in the order they come, and its rows; without any, the whole table."""
    if not by:
        yield {}, table
        return
    for key, rows in table.groupby(list(by), sort=False):
        yield dict(zip(by, key, strict=True)), rows
