"""Parameters are what they are, whoever wrote them, and no number outside its range comes through."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from nbtools.errors import InputError
from nbtools.runs import folders
from nbtools.runs.parameters import BUDGETS, RANGES, SEVERAL, as_defaults, defaults_in

FILES = sorted(folders.NOTEBOOKS.glob("*.ipynb"))
DEFAULTS = {
    "study": "demo",
    "attacks": "LinfPGD",
    "epsilons": "2 4",
    "seeds": "0",
    "alphas": "0.5",
    "kinds": "",
    "epsilon": "4",
    "alpha": 0.65,
    "steps": 20,
    "n_images": 300,
    "learning_rate": 0.1,
    "flip": False,
}


def cells_of(file: Path) -> list[str]:
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("epsilons", 4, "4"),
        ("epsilons", 0.5, "0.5"),
        ("epsilons", "2, 4", "2 4"),
        ("epsilons", "2,4,  8", "2 4 8"),
        ("epsilon", 4, "4"),
        ("seeds", 0, "0"),
        ("seeds", "2,0 1", "2 0 1"),
        ("alphas", 1, "1"),
        ("epsilons", 4.0, "4"),
        ("epsilons", "0.50 1e1", "0.5 10"),
        ("seeds", "00 2147483647", "0 2147483647"),
        ("study", 2024, "2024"),
        ("study", "of, my/study.toml", "of, my/study.toml"),
        ("attacks", "LinfPGD,L2PGD", "LinfPGD L2PGD"),
        ("kinds", "", ""),
        ("alpha", 1, 1.0),
        ("alpha", "0", 0.0),
        ("steps", "1", 1),
        ("flip", True, True),
        ("flip", "False", False),
    ],
)
def test_a_value_is_what_it_means_whoever_wrote_it(name: str, value: object, read: object) -> None:
    """papermill makes numbers of texts that look like some: ``-p epsilons 4``, ``-p study 2024``."""
    found = as_defaults(DEFAULTS, {name: value})[name]
    assert (found, type(found)) == (read, type(read))


OUTSIDE: dict[str, tuple[Any, ...]] = {
    "alpha": (-0.1, 1.01, "nan", "inf"),
    "learning_rate": (-1, "nan", "inf"),
    "steps": (-1, 0),
    "n_images": (-5, "1.5"),
    "epsilon": ("-4", "nan", 256),
    "epsilons": ("-2 4", "2 nan", "4 256", "4 2", "2 2.0", "two", "", " ", ",", None, [2, 4]),
    "seeds": ("-1", "0 0", "0 00", "1.5", str(2**31), ""),
    "alphas": ("0.5 1.5", "nan", "0.5 0.50"),
    "attacks": ("", "LinfPGD LinfPGD"),
    "study": ("", " ", None),
    "flip": (0, "yes", ""),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in OUTSIDE.items() for value in values])
def test_what_cannot_be_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(InputError, match=rf"^{name} (cannot be|is empty)"):
        as_defaults(DEFAULTS, {name: value})


def test_a_number_that_a_reader_wrote_into_the_cell_is_read_as_strictly() -> None:
    with pytest.raises(InputError, match=r"n_images cannot be -5\n  expected: a whole number from 0 on"):
        as_defaults({"n_images": -5}, {"n_images": -5})


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_number_of_a_notebook_has_a_range_and_every_list_of_words_a_name(file: Path) -> None:
    default = defaults_in(file) or {}
    numbers = {name for name, value in default.items() if type(value) in (int, float)}
    assert numbers <= RANGES.keys()
    assert all(RANGES[name][0] is type(default[name]) for name in numbers)
    assert folders.typed(file.stem, default) == default, "defaults are in their ranges and as they are kept"
    code = ast.walk(ast.parse("\n".join(cells_of(file))))
    split = {ast.unparse(node.value) for node in code if isinstance(node, ast.Attribute) and node.attr == "split"}
    several = {name for name, value in default.items() if isinstance(value, str) and name in SEVERAL}
    assert split & default.keys() <= several
    assert {name for name in several if name in RANGES} <= {"seeds", "alphas", "doses", *BUDGETS}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_notebook_uses_a_parameter_before_the_run_has_read_it(file: Path) -> None:
    cells = cells_of(file)
    first = next(i for i, cell in enumerate(cells) if cell.startswith("run = runs.start("))
    before = [cell for cell in cells[:first] if "study: str" not in cell]
    used = {node.id for node in ast.walk(ast.parse("\n".join(before))) if isinstance(node, ast.Name)}
    assert not used & (defaults_in(file) or {}).keys()
