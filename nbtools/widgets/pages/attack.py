"""What the attack page knows: some images, attacked at every ε of the explorer's slider, in each network of a seed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from nbtools.attacks.meaning import MEANING
from nbtools.attacks.table import ATTACKS
from nbtools.classifiers import logits_of
from nbtools.conditions import baselines, is_adopted, parse_condition
from nbtools.data.images.classified import load_test_images
from nbtools.data.images.sets import ImageSet
from nbtools.data.study import Study
from nbtools.errors import InputError
from nbtools.files import read_table
from nbtools.models.networks import load_model
from nbtools.processes import Bar
from nbtools.runs import folders
from nbtools.runs.lineage import ATTACKED, NETWORKS
from nbtools.runs.several import chosen
from nbtools.widgets.attack_paths import LEVELS, AttackPath, at_every_level
from nbtools.widgets.attack_view import amplification, decision_table
from nbtools.widgets.pages.packed import looks, packed
from nbtools.widgets.pages.sprites import Files, sprite
from nbtools.widgets.study_state import usual_alpha

STEPS = 20  # as in notebook 05
SHOWN = ("LinfPGD", "LinfFGSM", "L2PGD", "LinfNoise")


def attack_files(source: Study, runs: pd.DataFrame, n_images: int) -> Iterator[Files]:
    """Attack and pack: what the page needs at first, then a file for each network and attack.

    Parameters
    ----------
    source : Study
        Whose test images are attacked.
    runs : DataFrame
        From `study_state.all_runs`.
    n_images : int
        Test images, those of notebook 05.

    Yields
    ------
    Files
        As many as are made at once.

    Raises
    ------
    InputError
        If no network has been attacked in notebook 04, or one that was attacked is not there any more.
    """
    found, alpha, seed = _attacked_networks(source, runs)
    images = load_test_images(source, n_images)
    networks = {
        name: load_model(folders.find(NETWORKS, source.name, roi=name, alpha=alpha, seed=seed).folder)
        for name in found["roi"]
    }
    n_values = images.pixels[0].numel()
    tiles, layout = sprite(images.to_numpy())
    index = {
        "levels": (0.0, *LEVELS),
        "classes": images.classes,
        "images": [{"id": str(i), "label": int(label)} for i, label in zip(images.ids, images.labels, strict=True)],
        "networks": list(networks),
        "meaning": {name: parse_condition(name).meaning for name in networks},
        "looks": looks(list(networks), source.hierarchy),
        "attacks": {name: {"said": MEANING[name], "rms": ATTACKS[name].norm == 2} for name in SHOWN},
        "counted": {row.roi: _counted(row.folder, n_values) for row in found.itertuples()},
        "amplify": amplification(LEVELS),
        "sprite": layout,
        "alpha": alpha,
        "seed": seed,
    }
    yield {"data/attack.js": packed("attack", index, {"clean": images.to_numpy()}), "data/attack.png": tiles}
    with Bar(total=len(networks) * len(SHOWN), desc="attack page", unit="attack") as bar:
        for place, network in enumerate(networks.values()):
            for attack in SHOWN:
                file = f"attack-{place}-{attack}"
                yield {f"data/{file}.js": _box(file, attack_paths(network, images, attack, seed), images)}
                bar.update()


def attack_paths(network: nn.Module, images: ImageSet, attack: str, seed: int) -> list[AttackPath]:
    """Attack all images together at every ε of the explorer; return the path of each.

    Parameters
    ----------
    network : nn.Module
        In eval mode.
    images : ImageSet
        Labelled.
    attack : str
        A key of `ATTACKS`.
    seed : int
        Of its random starts.
    """
    asked, x, _, radii, found = at_every_level(network, images, LEVELS, attack, STEPS, None, seed)
    points = torch.cat([x[None], found.points]).detach()
    said = torch.cat([logits_of(asked, x)[None], found.logits]).softmax(-1)
    return [
        AttackPath((0.0, *LEVELS), (0.0, *radii), points[:, i], said[:, i], int(label), None, bool(found.ended[i]))
        for i, label in enumerate(images.labels)
    ]


def change_of(path: AttackPath) -> tuple[np.ndarray, np.ndarray]:
    """Return what an attack changed, in few bytes.

    Returns
    -------
    changes : int8 array (height · width · 3, n_levels)
        In units; the clean image is left out. A large change is rounded to half a grey level, a small one to a
        fourteenth of the largest.
    units : float32 array (n_levels,)
        In pixels.
    """
    change = (path.pixels[1:] - path.pixels[0]).permute(0, 2, 3, 1).flatten(1).numpy()
    peak = np.abs(change).max(1)
    units = np.maximum(np.minimum(peak / 7, 1 / 255), peak / 127)
    units[peak == 0] = 1
    return np.round(change / units[:, None]).astype(np.int8).T, units.astype(np.float32)


def _attacked_networks(source: Study, runs: pd.DataFrame) -> tuple[pd.DataFrame, float, int]:
    """Return the runs that attacked the study's networks at its usual α, of its first seed, in the order of figures."""
    if not (runs["notebook"] == ATTACKED).any():
        raise InputError(
            "no network of this study has been attacked",
            expected=f"finished runs of {ATTACKED}",
            got=f"finished runs of {', '.join(runs['notebook'].unique())}",
            fix=f"python -m nbtools study {source.name}",
        )
    alpha = usual_alpha(runs)
    found = chosen(runs, ATTACKED, alpha=alpha)
    seed = int(found["seed"].min())
    order = [*baselines(source.hierarchy), *source.hierarchy]
    found = found[(found["seed"] == seed) & (found["roi"].isin(order) | found["roi"].map(is_adopted))]
    rank = {name: place for place, name in enumerate(order)}
    return found.sort_values("roi", key=lambda names: names.map(rank), kind="stable"), alpha, seed


def _counted(folder: str, n_values: int) -> dict[str, list[tuple[float, int, int]]]:
    """Return, for each attack of a run of notebook 04, at each ε (1/255): how many images stand, of how many."""
    decisions = read_table(Path(folder) / "decisions.parquet")
    right = decisions["prediction"] == decisions["label"]
    counts = right.groupby([decisions["attack"], decisions["epsilon"]]).agg(["sum", "size"])
    said: dict[str, list[tuple[float, int, int]]] = {}
    for (attack, epsilon), (stand, n) in zip(counts.index, counts.to_numpy(), strict=True):
        scale = n_values**0.5 if ATTACKS[attack].norm == 2 else 1.0
        said.setdefault(attack, []).append((round(epsilon * 255 / scale, 4), int(stand), int(n)))
    return said


def _box(file: str, paths: list[AttackPath], images: ImageSet) -> str:
    """Pack one network under one attack: its probabilities, and what was changed in every image at every ε."""
    changes, units = (np.stack(part) for part in zip(*map(change_of, paths), strict=True))
    tables = [decision_table({"": path}, images.classes, image="") for path in paths]
    arrays = {
        "probabilities": torch.stack([path.probabilities for path in paths]).numpy(),
        "changes": changes,
        "units": units,
        "rivals": np.array([images.classes.index(table["rival"].iloc[0]) for table in tables], np.uint16),
        "converged": np.stack([table["converged"].to_numpy(np.uint8) for table in tables]),
    }
    return packed(file, {}, arrays)
