"""A notebook's parameters: which there are, and what a value is, whoever wrote it: a cell, a shell, YAML, papermill."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import cache
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any

from nbtools.checks import check_counts, check_enough, check_range, reading

Parameters = dict[str, Any]

MAX_SEED = 2**31 - 1  # scikit-learn's generators take no larger one
_SEED = int, 0, MAX_SEED
# Kind and range of the numbers in a parameter, by its name: the same in every notebook, as a number or in a text.
RANGES: dict[str, tuple[type, float, float]] = {
    **dict.fromkeys(("seed", "seeds", "other_seed", "predictor_seed", "world_seed"), _SEED),
    **dict.fromkeys(
        ("alpha", "alphas", "clean", "margin", "variance", "validation_fraction", "contrast"), (float, 0, 1)
    ),
    **dict.fromkeys(("share", "voxels"), (float, 0.01, 1)),  # from no images, or voxels, nothing is learnt
    **dict.fromkeys(("noise", "doses"), (float, 0, inf)),
    **dict.fromkeys(("class_weight", "distance_weight", "variance_weight"), (float, 0, inf)),
    **dict.fromkeys(("learning_rate", "start_learning_rate", "weight_decay", "lengths", "blurs"), (float, 0, inf)),
    **dict.fromkeys(("epsilon", "epsilons"), (float, 0, 255)),
    **dict.fromkeys(("epochs", "start_epochs", "batch_size", "devices", "accumulate", "steps"), (int, 1, inf)),
    **dict.fromkeys(("n_points", "n_samples", "n_draws", "n_boot", "passes", "k"), (int, 1, inf)),
    "sigmas": (float, 0.001, 1),
    "severity": (int, 1, 5),
    "n_images": (int, 0, inf),  # notebook 08 takes 0 for all; the others need one, as `data.load_test_images` says
}
BUDGETS = ("epsilons", "lengths", "sigmas", "blurs")  # texts of numbers that ascend: the last one is the largest
NAMES = (
    *("rois", "regions", "conditions", "controls", "others", "networks", "subjects"),
    *("attacks", "kinds", "folders", "readouts", "analyses", "questions", "changes"),
)
SEVERAL = {"seeds", "alphas", "doses", *BUDGETS, *NAMES}  # texts of several words


def reading_notebook(file: Path) -> AbstractContextManager[None]:
    """Tell what is raised of a file that is no notebook as an `InputError` that names it."""
    return reading(
        "a notebook cannot be read",
        *(OSError, ValueError, LookupError, TypeError, AttributeError, SyntaxError),
        file=file,
        expected="JSON of Jupyter's format 4",
        fix="mend it, or move it out of this folder; one in a run's folder: delete that, and run it again",
    )


def defaults_in(file: Path) -> Parameters | None:
    """Return the parameters in a notebook's cell tagged ``parameters``; None where there is no such cell.

    Raises
    ------
    InputError
        If it is no notebook, or that cell no Python.
    """
    with reading_notebook(file):
        found = _parameters_in(file.read_text(encoding="utf-8"))
    return None if found is None else {**found}


@cache  # by the text itself: a study's graph asks thousands of times, and what changes on disk is read anew
def _parameters_in(notebook: str) -> Parameters | None:
    for cell in json.loads(notebook)["cells"]:
        if "parameters" in cell["metadata"].get("tags", []):
            return {
                node.target.id: ast.literal_eval(node.value)
                for node in ast.parse("".join(cell["source"])).body
                if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value
            }
    return None


def as_defaults(default: Parameters, values: Mapping[str, Any]) -> Parameters:
    """Read values as the types of their defaults: ``1``, ``1.0`` and ``"1"`` are one α; ``"2, 4"`` is ``"2 4"``.

    Raises
    ------
    InputError
        If a value is of another type, outside its range, or empty where the default is not.
    """
    return {name: _read(name, value, default[name]) for name, value in values.items()}


def words_of(text: str) -> list[str]:
    """Return the words of a text, separated by blanks or commas."""
    return text.replace(",", " ").split()


def _read(name: str, value: object, default: Any) -> Any:
    kind = type(default)
    expected, fix = f"{kind.__name__}, such as {default!r}", "correct the value"
    with reading(f"{name} cannot be {value!r}", ValueError, KeyError, TypeError, expected=expected, fix=fix):
        if kind is bool:
            return {"True": True, "False": False}[str(value)]
        if kind is not str:
            return _number(name, str(value), kind)
        if not isinstance(value, str | int | float):
            raise TypeError(f"{type(value).__name__} is no text")
        return _text(name, str(value), default)


def _number(name: str, word: str, kind: type) -> float:
    """Read a number in the range of its name; one of another name has none."""
    kind, least, most = RANGES.get(name, (kind, -inf, inf))
    number: float = kind(word)
    check_range(name, number, least, most)
    return number


def _text(name: str, text: str, default: str) -> str:
    """Read words, each once, and budgets in their order; nothing, where the default is nothing.

    Numbers come back as they are usually written: ``4.0`` and ``4`` name one run.
    """
    words = words_of(text) if name in SEVERAL else [text] * bool(text.strip())
    each: list[Any] = [_number(name, word, float) for word in words] if name in RANGES else words
    check_enough(f"{name} is empty", len(words), min(1, len(default)), fix=f"give some, such as {default!r}")
    wrong = {"of the words repeated": len(each) - len(set(each))}
    if name in BUDGETS:
        wrong["below the one before"] = sum(second < first for first, second in pairwise(each))
    expected, fix = f"each word once, ε ascending, such as {default!r}", "correct the value"
    check_counts(f"{name} cannot be {text!r}", wrong, expected=expected, fix=fix)
    return " ".join(f"{number:.15g}" for number in each) if name in RANGES else " ".join(words)
