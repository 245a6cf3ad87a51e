"""The models of several runs, loaded together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from nbtools.models.networks import load_model

Key = TypeVar("Key")


class InFolder(Protocol):
    """What lies in a folder of its own: a run."""

    @property
    def folder(self) -> Path:
        """Where its model lies."""


def load_models(found: Mapping[Key, InFolder]) -> dict[Key, Any]:
    """Rebuild the model of every run, frozen.

    Parameters
    ----------
    found : mapping of key → run
        Such as ``run.upstreams`` returns it.

    Returns
    -------
    dict of key → model
        In the same order.

    Raises
    ------
    InputError
        As `load_model`.
    """
    return {key: load_model(run.folder) for key, run in found.items()}
