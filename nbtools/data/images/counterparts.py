"""Classes of a network from outside: their names read from a file, and which of them are each class of a study."""

from __future__ import annotations

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from nbtools.checks import check_counts, listed, reading
from nbtools.data.images.ilsvrc import ILSVRC
from nbtools.errors import InputError
from nbtools.metrics.decisions.sixteen import SYNSETS as SIXTEEN

IMAGENET = "imagenet"  # in place of a file: ILSVRC's thousand, in their order
_TABLE = "two columns: the network's class, the study's class; no header; a line is such as: tabby cat,cat"
_TEXT = OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, csv.Error


def read_class_names(file: Path) -> tuple[str, ...]:
    """Read the names of a network's classes, in the order of its logits.

    Parameters
    ----------
    file : Path
        Text with a name a line; or JSON: a list of names, or ``{"0": name, …}``, where a name may be a list that
        begins with it, as in Keras's ``imagenet_class_index.json``. A path ``imagenet`` where no file is: `ILSVRC`.

    Returns
    -------
    tuple of str (n_classes,)
        Different names. Torchvision's English names of ImageNet's thousand come back as synsets, as `ILSVRC` has them.

    Raises
    ------
    InputError
        If the file cannot be read, or names are none or repeat.
    """
    if str(file) == IMAGENET and not file.exists():
        return ILSVRC
    expected = 'a name a line, or JSON: ["cat", …] or {"0": "cat", …}'
    with reading("the classes cannot be read", *_TEXT, file=file, expected=expected, fix="write one"):
        text = file.read_text(encoding="utf-8-sig")  # Windows' editors begin UTF-8 with a mark
        names = _of_json(json.loads(text)) if text.lstrip()[:1] in ("[", "{") else text.splitlines()
        names = [name.strip() for name in names if name.strip()]
    repeated = sum(count > 1 for count in Counter(names).values())
    wrong = {"names repeat": repeated, "names": 0 if names else 1}
    fix = "give every class a name of its own"
    check_counts("these are no classes", wrong, expected=expected, fix=fix, file=file)
    return as_synsets(names)


def _of_json(found: list | dict) -> list[str]:
    entries = [found[str(place)] for place in range(len(found))] if isinstance(found, dict) else found
    return [entry[0] if isinstance(entry, list) else entry for entry in entries]


def as_synsets(names: Sequence[str]) -> tuple[str, ...]:
    """Return names as they are, but for those that torchvision gives ImageNet's thousand: these as synsets."""
    imagenets = len(names) == len(ILSVRC) and tuple(names) == tuple(_english().values())
    return ILSVRC if imagenets else tuple(names)


def read_class_table(file: Path, own: Sequence[str], wanted: Sequence[str]) -> dict[str, str]:
    """Read which class of a study each class of a network is: CSV or TSV of two columns, without a header.

    Parameters
    ----------
    file : Path
        The table.
    own : sequence of str (n_own,)
        The network's classes.
    wanted : sequence of str (n_wanted,)
        The study's.

    Returns
    -------
    dict of str to str
        Network's class → study's class.

    Raises
    ------
    InputError
        If it cannot be read, a line has not two columns, a class of the network stands there twice, or one stands
        there that the network, or the study, has not.
    """
    fix = "leave out classes that have no counterpart, and name every other once"
    with reading("the table of classes cannot be read", *_TEXT, file=file, expected=_TABLE, fix=fix):
        lines = file.read_text(encoding="utf-8-sig").splitlines()
        delimiter = "\t" if any("\t" in line for line in lines) else ","
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter) if row]
        wrong = {
            "lines without two columns": sum(len(row) != 2 or not all(row) for row in rows),
            "classes of the network repeat": len(rows) - len({_plain(row[0]) for row in rows}),
        }
        check_counts("this is no table of classes", wrong, expected=_TABLE, fix=fix, file=file)
    table, known = dict(rows), set().union(*map(_aliases, own))
    unknown = {
        "the network has no class": [name for name in table if _plain(name) not in known],
        "the study has no class": [name for name in dict.fromkeys(table.values()) if name not in wanted],
    }
    if told := "; ".join(f"{what} {listed(names, 5)}" for what, names in unknown.items() if names):
        fix = f"correct them; the network's are {listed(own, 5)}; the study's {listed(wanted)}"
        raise InputError("the table names other classes", file=file, expected=_TABLE, got=told, fix=fix)
    return table


def counterparts(own: Sequence[str], wanted: Sequence[str], table: Mapping[str, str] | None = None) -> list[list[int]]:
    """Find the classes of a network that are each class of a study.

    Parameters
    ----------
    own : sequence of str (n_own,)
        The network's classes.
    wanted : sequence of str (n_wanted,)
        The study's.
    table : mapping of str to str, optional
        Network's class → study's class; left out, classes go together that have the same name or synset, and
        ImageNet's synsets with the 16 categories of Geirhos et al. (2018) they belong to; then those that are left
        whose names differ in capitals alone.

    Returns
    -------
    list of list of int (n_wanted,)
        Places among `own`; an empty list where there is none.

    Raises
    ------
    InputError
        If a class would be several of the study's.
    """
    names = [_aliases(name) for name in own]
    if table is None:
        found = _but_for_capitals(names, wanted, [_places(names, _members(name)) for name in wanted])
    else:
        said = {_plain(name): other for name, other in table.items()}
        found = [[i for i, known in enumerate(names) if name in map(said.get, known)] for name in wanted]
    places = Counter(place for members in found for place in members)
    several = {f"classes, such as {own[place]}": 1 for place, count in places.items() if count > 1}
    fix = "say which class is which by a table: --table FILE"
    check_counts("classes would be several of the study's", several, expected="one class each", fix=fix)
    return found


def _places(names: Sequence[set[str]], of: set[str]) -> list[int]:
    return [place for place, known in enumerate(names) if known & of]


def _but_for_capitals(names: list[set[str]], wanted: Sequence[str], found: list[list[int]]) -> list[list[int]]:
    """Add, to what was found, classes whose names differ in capitals alone, where just one is left that does."""
    taken, left = {place for members in found for place in members}, defaultdict(list)
    for place, known in enumerate(names):
        for small in {name.casefold() for name in known} if place not in taken else ():
            left[small].append(place)
    alike = [left[_plain(name).casefold()] for name in wanted]
    return [members or (near if len(near) == 1 else []) for members, near in zip(found, alike, strict=True)]


def _members(name: str) -> set[str]:
    return _aliases(name).union(*map(_aliases, SIXTEEN.get(name, ())))


def _aliases(name: str) -> set[str]:
    """Return the names a class goes by, as they are compared: its own, and of ImageNet's the synset or English one."""
    plain = _plain(name)
    return {plain, _other_names().get(plain, plain)}


def _plain(name: str) -> str:
    """Return a name with blanks for _ and -; with its capitals, which tell the dog Cardigan from the garment."""
    return " ".join(name.replace("_", " ").replace("-", " ").split())


@cache
def _other_names() -> dict[str, str]:
    """Return of each synset of ImageNet's thousand the English name, and of each such name the synset."""
    named = {synset: _plain(name) for synset, name in _english().items()}
    return named | {name: synset for synset, name in named.items()}


@cache
def _english() -> dict[str, str]:
    """Return the English names of ImageNet's thousand, by synset, as torchvision's weights bring them along."""
    from torchvision.models import ResNet18_Weights  # imports slowly

    return dict(zip(ILSVRC, ResNet18_Weights.IMAGENET1K_V1.meta["categories"], strict=True))
