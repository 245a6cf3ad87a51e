"""What a notebook needs of a study: said by its own code, where it asks for it."""

from __future__ import annotations

import ast
import json
from functools import cache

from nbtools.runs import folders

_LOADERS = {
    "load_trials": "responses",
    "load_stimuli": "stimuli",
    "load_training_images": "classification",
    "load_test_images": "classification",
}


@cache
def needs_of(notebook: str) -> tuple[str, ...]:
    """Return the parts of a study that a notebook cannot do without.

    Asked for at a cell's outermost level, or where the run is not finished, a part is needed. Under any other condition
    it is not: what one control alone takes, what is shown where it is there.

    Parameters
    ----------
    notebook : str
        Without ``.ipynb``.

    Returns
    -------
    tuple of str
        ``"responses"``, ``"stimuli"``, and entries of `Study` that not every study has, such as ``"cue_conflict"``.
    """
    cells = json.loads((folders.NOTEBOOKS / f"{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    found: dict[str, None] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            found |= dict.fromkeys(_asked_for("".join(cell["source"])))
    return tuple(found)


def _asked_for(code: str) -> list[str]:
    found = []
    for statement in ast.parse(code).body:
        if isinstance(statement, ast.If) and ast.unparse(statement.test) != "not run.finished":
            continue
        for node in ast.walk(statement):
            match node:
                case ast.Call(func=ast.Attribute(attr="need"), args=[ast.Constant(value=str(part))]):
                    found.append(part)
                case ast.Attribute(attr=name) if name in _LOADERS:
                    found.append(_LOADERS[name])
    return found
