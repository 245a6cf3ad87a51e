"""A model in a run's folder: saved as weights and what they belong to, and rebuilt of these two files alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from nbtools.errors import InputError
from nbtools.files import write_text, written
from nbtools.models.adopted import AdoptedNet
from nbtools.models.networks import GuidedNet, Network, RoiPredictor, freeze
from nbtools.models.weights import put

Key = TypeVar("Key")
_MODELS: dict[str, type[Network]] = {kind.__name__: kind for kind in (RoiPredictor, GuidedNet, AdoptedNet)}


def save_model(model: Network, folder: Path) -> None:
    """Write ``weights.safetensors`` and ``model.json`` into a folder; each appears whole or not at all."""
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    with written(folder / "weights.safetensors") as beside:
        save_file(state, beside)
    write_text(folder / "model.json", json.dumps({"model": type(model).__name__, **model.config}, indent=2) + "\n")


def load_model(folder: Path) -> Any:
    """Rebuild a model from ``model.json`` and ``weights.safetensors`` alone, frozen.

    Raises
    ------
    InputError
        If a file is missing, describes no known model, or the weights do not fit.
    """
    description, weights = folder / "model.json", folder / "weights.safetensors"
    try:
        config = json.loads(description.read_text(encoding="utf-8"))
        model = _MODELS[config.pop("model")](**config)
        put(model, load_file(weights))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        raise InputError(
            "the model cannot be rebuilt",
            file=folder,
            expected=f"model.json ({' or '.join(_MODELS)}) and weights.safetensors that fit it",
            got=f"{type(error).__name__}: {error}",
            fix="train it again; a finished run has both files. One trained before networks knew their classes: write "
            '"classes": ["…", …], the folders of its training images sorted, in place of "n_classes" in model.json',
        ) from error
    return freeze(model)


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
