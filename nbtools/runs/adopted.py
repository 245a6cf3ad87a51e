"""A network from outside as a finished run: what notebook 03 would have left, and where it came from."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch

from nbtools.checks import OTHER_CLASSES, listed, reading
from nbtools.classifiers import Classifier, logits_of
from nbtools.conditions import ADOPTED
from nbtools.data.images.counterparts import counterparts, read_class_table
from nbtools.data.images.folders import SPLITS, subfolders
from nbtools.data.study import Study, open_study
from nbtools.errors import InputError
from nbtools.files import locked, write_text
from nbtools.models.adopted import take_over, whole
from nbtools.models.networks import AdoptedNet, freeze, load_model, save_model
from nbtools.models.sources import Source
from nbtools.runs.folders import PATIENCE, collect
from nbtools.runs.lineage import NETWORKS
from nbtools.runs.newcomers import free_folder
from nbtools.runs.provenance import surroundings
from nbtools.runs.records import RECORD

_BY = f"python -m nbtools adopt; {NETWORKS} was not run"


def adopt(name: str, source: Source, study: str = "demo", *, seed: int = 0, table: Path | None = None) -> Path:
    """Make a finished run of a network from outside, under the condition ``net-<name>``.

    Parameters
    ----------
    name : str
        Its own, as a region's is written.
    source : Source
        Where it comes from.
    study : str
        By name, or the path of its ``study.toml``.
    seed : int
        Several networks of one name, each with a seed of its own, are a sample of their kind.
    table : Path, optional
        Which of the study's classes each of the network's is (`read_class_table`); left out, they are found by name.

    Returns
    -------
    Path
        The run's folder.

    Raises
    ------
    InputError
        If the name cannot be, there is such a network already, the weights do not fit, the table leaves out a class of
        the study, or the network has no finite answer.
    """
    condition, began = ADOPTED + name, time.time()
    asked = {"study": study, "roi": condition, "seed": seed}
    folder, described = free_folder(name, study, seed), open_study(study)
    with locked(folder, PATIENCE):
        free_folder(name, study, seed)  # another process may have made it meanwhile
        network, said = _made(source, _classes_of(described), table)
        _check_answers(network, described.image_size)
        _check_another(network, condition, study)
        save_model(network, folder)
        record = {
            "notebook": NETWORKS,
            "parameters": {**asked, "architecture": source.architecture},
            "study": described.name,
            "subject": described.subject,
            "voxels": asdict(described.voxels),
            "inputs": {},  # its weights are here
            "adopted": {"by": _BY, **_told(source, network), "notes": said},
            **surroundings(),
            "seconds": round(time.time() - began, 1),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }
        write_text(folder / RECORD, json.dumps(record, indent=1) + "\n")
    print(*said, f"adopted as {condition}, seed {seed}: {folder}", sep="\n")
    return folder


def _check_another(network: AdoptedNet, condition: str, study: str) -> None:
    """Raise `InputError` if a network of this name has the same weights: twice the same is no sample of two."""
    found = collect(NETWORKS, study)
    for folder in found.loc[found["roi"] == condition, "folder"]:
        pairs = list(zip_longest(network.parameters(), load_model(Path(folder)).parameters()))
        if all(ours is not None and theirs is not None and torch.equal(ours, theirs) for ours, theirs in pairs):
            raise InputError(
                f"this network is there already, as {condition} of another seed",
                file=folder,
                expected="a network trained apart, for another seed",
                got="the same weights",
                fix="give another name, to compare its normalisation or size",
            )


def _made(source: Source, wanted: tuple[str, ...], table: Path | None) -> tuple[AdoptedNet, list[str]]:
    """Build the network, with its weights and normalisation inside, and say what was done."""
    members, what = _members(source.classes, wanted, table)
    classes = source.classes if members is None else wanted
    network = AdoptedNet(source.architecture, source.classes, classes, members, int(source.side))
    built = whole(network)
    said = [*source.fill(built), what]
    take_over(network, built)
    for buffer, values in ((network.backbone.pixel_mean, source.mean), (network.backbone.pixel_sd, source.sd)):
        buffer.copy_(torch.tensor(values).view(3, 1, 1))
    freeze(network)
    return network, said


def _members(own: Sequence[str], wanted: Sequence[str], table: Path | None) -> tuple[list[list[int]] | None, str]:
    """Return which of the network's classes are each of the study's, None where not all have some, and say so."""
    found = counterparts(own, wanted, read_class_table(table, own, wanted) if table else None)
    without = [name for name, members in zip(wanted, found, strict=True) if not members]
    if table and without:
        raise InputError(
            "the table leaves out classes of the study",
            file=table,
            expected=f"a class of the network for each of {', '.join(wanted)}",
            got=f"none for {', '.join(without)}",
            fix=f"add them, or leave out --table: {OTHER_CLASSES} then take the network",
        )
    if without or not wanted:
        missing = f"no class of its is {listed(without, 5)}" if without else "the study has no classes"
        missing += "; if others are, a table can say so: --table FILE" * bool(without)
        return None, f"it keeps its own {len(own)} classes ({missing}): {OTHER_CLASSES} take it"
    if list(own) == list(wanted):
        return None, "its classes are the study's"
    n_used = sum(map(len, found))
    return found, f"{n_used} of its {len(own)} classes are the study's {len(wanted)}"


def _classes_of(study: Study) -> tuple[str, ...]:
    """Name the classes of a study's images; none where it has none."""
    if not study.has("classification"):
        return ()
    splits = [subfolders(study.need("classification") / split) for split in reversed(SPLITS)]
    return tuple(place.name for place in next(filter(None, splits), []))


def _check_answers(network: AdoptedNet, side: int) -> None:
    """Raise `InputError` unless the network says something finite to a picture of the study's size."""
    fix = "see that the weights and the size are those of its training"
    with reading("the network gives no answer", LookupError, RuntimeError, expected="logits of a picture", fix=fix):
        logits_of(Classifier(network), torch.full((1, 3, side, side), 0.5))


def _told(source: Source, network: AdoptedNet) -> dict[str, Any]:
    """Return what a record says of where a network comes from, how it is asked, and what its classes became."""
    told = {**source.place, "architecture": source.architecture}
    told |= {"mean": [*map(float, source.mean)], "sd": [*map(float, source.sd)], "side": int(source.side)}
    if network.members is None:
        return told
    mapped = zip(network.classes, network.members, strict=True)
    return {**told, "classes": {name: [source.classes[i] for i in members] for name, members in mapped}}
