"""The reference: one page per room, with all that the room offers, from its docstrings."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

ROOMS = ["data", "models", "training", "attacks", "probes", "metrics", "runs", "workflow", "plots", "widgets"]


def reference() -> dict[str, str]:
    """Return the pages of the reference by their names: an index, and reStructuredText of each room."""
    return {"index": _index(), **{room: _page(room) for room in ROOMS}}


def _index() -> str:
    rows = "\n\n".join(f":doc:`{room}`\n   {_about(room)}" for room in ROOMS)
    listed = "\n   ".join(ROOMS)
    return (
        f"{_title('Reference')}"
        "Data flow through the rooms of the package in this order. A notebook or a script imports rooms "
        "(``from nbtools import data, training, attacks``), and a room offers what is needed of it.\n\n"
        f"{rows}\n\n.. toctree::\n   :hidden:\n\n   {listed}\n"
    )


def _about(room: str) -> str:
    return " ".join((inspect.getdoc(importlib.import_module(f"nbtools.{room}")) or "").split())


def _title(text: str) -> str:
    return f"{text}\n{'=' * len(text)}\n\n"


def _page(room: str) -> str:
    door = importlib.import_module(f"nbtools.{room}")
    names = sorted(door.__all__, key=str.lower)
    offered = {name: getattr(door, name) for name in names}
    parts = [
        ("Functions", [name for name in names if _is_function(offered[name])]),
        ("Classes", [name for name in names if inspect.isclass(offered[name])]),
        ("Values", [name for name in names if not _is_function(offered[name]) and not inspect.isclass(offered[name])]),
    ]
    written = "".join(_part(title, [(name, offered[name]) for name in part]) for title, part in parts if part)
    return f"{_title(room)}{_about(room)}\n\n.. currentmodule:: nbtools.{room}\n\n{written}"


def _is_function(value: Any) -> bool:
    return inspect.isroutine(value) and not inspect.isclass(value)


def _part(title: str, named: list[tuple[str, Any]]) -> str:
    """A heading, a table of first sentences, and the docstring of each."""
    listed = "\n   ".join(name for name, _ in named)
    head = f"{title}\n{'-' * len(title)}\n\n"
    if title == "Values":
        return head + "".join(_value(name, value) for name, value in named)
    table = f".. autosummary::\n   :nosignatures:\n\n   {listed}\n\n"
    return head + table + "".join(_entry(name, value) for name, value in named)


def _entry(name: str, value: Any) -> str:
    if not inspect.isclass(value):
        return f".. autofunction:: {name}\n\n"
    methods = ", ".join(key for key, held in vars(value).items() if key[0] != "_" and _is_method(held))
    return f".. autoclass:: {name}\n" + (f"   :members: {methods}\n" if methods else "") + "\n"


def _value(name: str, value: Any) -> str:
    """A value, with what can be told of it on any machine."""
    held = f"``{value!r}``" if isinstance(value, str | int | float | tuple) else ""
    if hasattr(value, "keys"):  # mappings, and tables by their columns
        held = ", ".join(f"``{key}``" for key in value)
    return f".. data:: {name}\n   :type: {type(value).__name__}\n\n   {held}\n\n"


def _is_method(held: Any) -> bool:
    return inspect.isfunction(held) or isinstance(held, classmethod | staticmethod | property)
