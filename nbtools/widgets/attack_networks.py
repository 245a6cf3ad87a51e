"""Every trained network of a study by name, loaded when it is first asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd
from torch import nn

from nbtools.conditions import HIERARCHY, conditions_of
from nbtools.devices import best_device
from nbtools.models.networks import load_model
from nbtools.runs import folders
from nbtools.runs.lineage import NETWORKS

_SEED = " seed "


def name_of(condition: str, seed: int, usual: int) -> str:
    """Name a network: by its condition, and by its seed too where it is not the usual one."""
    return condition if seed == usual else f"{condition}{_SEED}{seed}"


def condition_of(name: str) -> str:
    """Return the condition of a network's name."""
    return name.partition(_SEED)[0]


def seed_of(name: str, usual: int) -> int:
    """Return the seed of a network's name."""
    seed = name.partition(_SEED)[2]
    return int(seed) if seed else usual


class TrainedNetworks(Mapping[str, nn.Module]):
    """A study's finished networks at one α, by condition, the usual seed's first; each is loaded when looked up.

    Parameters
    ----------
    study : str
        A study by name, or the path of its ``study.toml``.
    loaded : mapping of name → nn.Module
        Some that are there already; they come first.
    alpha : float
        Of guided networks.
    seed : int
        The usual one: networks of others are called ``"TO seed 1"``.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    """

    def __init__(
        self,
        study: str,
        loaded: Mapping[str, nn.Module],
        *,
        alpha: float,
        seed: int,
        order: Sequence[str] = HIERARCHY,
    ):
        found = _finished(study, alpha, order)
        found = found.sort_values("seed", key=lambda seeds: seeds.map(lambda own: (own != seed, own)), kind="stable")
        named = [name_of(roi, own, seed) for roi, own in zip(found["roi"], found["seed"], strict=True)]
        self._folders = dict.fromkeys(loaded, Path()) | dict(zip(named, map(Path, found["folder"]), strict=True))
        self._loaded = dict(loaded)

    def __getitem__(self, name: str) -> nn.Module:
        if name not in self._loaded:
            self._loaded[name] = load_model(self._folders[name]).to(best_device())
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self._folders

    def __iter__(self) -> Iterator[str]:
        return iter(self._folders)

    def __len__(self) -> int:
        return len(self._folders)


def _finished(study: str, alpha: float, order: Sequence[str]) -> pd.DataFrame:
    """Return one finished run for every condition and seed, by condition; an adopted network has no α."""
    runs = folders.collect(NETWORKS, study)
    runs = runs[(runs["alpha"] == alpha) | runs["alpha"].isna()]
    runs = folders.prefer_defaults(runs, NETWORKS, ("roi", "seed"))
    runs = runs.drop_duplicates(["roi", "seed"], keep=False) if len(runs) else runs  # nobody could say which is meant
    rank = {name: place for place, name in enumerate(conditions_of(order))}
    return runs.sort_values("roi", key=lambda names: names.map(rank).fillna(len(rank)), kind="stable")
