"""What a notebook needs of a study: said by its own code, where it asks for it; asked by doctor and plan."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from functools import cache

from nbtools.runs import folders
from nbtools.runs.provenance import code_cells

TRAIN, VAL = "classification/train", "classification/val"
SPLIT, TEST_SET = "responses to train and to test on", "images of the test set"
_SAID_BY = {
    "load_design": "design",
    "load_trials": "responses",
    "load_responses": "responses",
    "shared_ids": TEST_SET,
    "split_images": SPLIT,
    "load_stimuli": "stimuli",
    "load_training_images": TRAIN,
    "load_test_images": VAL,
}
_FINDERS = {"upstream", "upstreams", "collect", "chosen", "compared"}


def lacking(notebook: str, has: Callable[[str], bool], finished: Callable[[str], bool] = lambda _: False) -> list[str]:
    """Say what a study lacks for a notebook, and for the runs it builds on that are still to be made.

    Parameters
    ----------
    notebook : str
        Without ``.ipynb``.
    has : function
        Says whether the study has a part, of those that `needs_of` names.
    finished : function
        Says whether there are finished runs of a notebook, which need nothing any more.
    """
    absent = [part for part in needs_of(notebook) if not has(part)]
    for other in builds_on(notebook):
        absent += [] if finished(other) else lacking(other, has, finished)
    return list(dict.fromkeys(absent))


@cache
def needs_of(notebook: str) -> tuple[str, ...]:
    """Return the parts of a study that a notebook itself cannot do without.

    Asked for at a cell's outermost level, or where the run is not finished, a part is needed. Under any other condition
    it is not: what one control alone takes, what is shown where it is there.

    Parameters
    ----------
    notebook : str
        Without ``.ipynb``.

    Returns
    -------
    tuple of str
        ``"design"``, ``"responses"``, ``"stimuli"``, `TEST_SET`, `SPLIT`, `TRAIN`, `VAL`, and entries of `Study`
        that not every study has, such as ``"cue_conflict"``.
    """
    parts = dict.fromkeys(part for statement in _in_any_case(notebook) for part in _parts(statement))
    return tuple(part for part in parts if not any(other.startswith(f"{part}/") for other in parts))


@cache
def builds_on(notebook: str) -> tuple[str, ...]:
    """Return the notebooks whose runs in the same study a notebook cannot do without, asked for as in `needs_of`."""
    return tuple(dict.fromkeys(name for statement in _in_any_case(notebook) for name in _notebooks(statement)))


def _in_any_case(notebook: str) -> Iterator[ast.stmt]:
    """Give the statements of a notebook's code that are run in any case, or unless the run is finished."""
    for cell in code_cells(folders.NOTEBOOKS / f"{notebook}.ipynb"):
        for statement in ast.parse(cell).body:
            if not isinstance(statement, ast.If) or ast.unparse(statement.test) == "not run.finished":
                yield statement


def _parts(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.BinOp(left=ast.Call(func=ast.Attribute(attr="need"), args=[whole]), op=ast.Div(), right=part):
            yield f"{ast.literal_eval(whole)}/{ast.literal_eval(part)}"
            return
        case ast.Call(func=ast.Attribute(attr="need"), args=[ast.Constant(value=str(part))]):
            yield part
        case ast.Attribute(attr=name) if name in _SAID_BY:
            yield _SAID_BY[name]
    for below in ast.iter_child_nodes(node):
        yield from _parts(below)


def _notebooks(statement: ast.stmt) -> Iterator[str]:
    for node in ast.walk(statement):
        match node:
            case ast.Call(func=ast.Attribute(attr=name), args=args, keywords=keywords) if name in _FINDERS:
                # a study of its own may stand among keywords that are not written out, but not among a condition's
                unsaid = [ast.unparse(each.value) for each in keywords if each.arg is None]
                own = all(text.startswith("condition.") for text in unsaid)
                if own and "study" not in {each.arg for each in keywords}:
                    yield from (str(arg.value) for arg in args if isinstance(arg, ast.Constant))
