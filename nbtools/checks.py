"""Checks that many rooms make: of choices, tables and files, and of a model and its images before it is run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from math import inf
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbtools.errors import InputError

if TYPE_CHECKING:  # those who check no tensor should not wait for torch
    from pandas import DataFrame
    from torch import Tensor, nn


OTHER_CLASSES = "notebooks 07, 08, 09, 14 and 18"  # where a network serves that has other classes than the study


def check_choice(problem: str, got: object, choices: Iterable[object], *, fix: str = "use one of these") -> None:
    """Raise `InputError` unless a value is among the choices; the error lists them."""
    choices = list(choices)
    if got not in choices:
        raise InputError(problem, expected=", ".join(map(str, choices)), got=repr(got), fix=fix)


def check_range(
    name: str, value: Any, least: float, most: float = inf, *, whole: bool = False, fix: str = "correct the value"
) -> None:
    """Raise `InputError` unless a value is a finite number from `least` to `most`: NaN is nowhere, text no number."""
    kind: Any = Integral if whole else Real
    if isinstance(value, bool) or not (isinstance(value, kind) and least <= value <= most and value < inf):
        number = "whole number" if whole or {type(least), type(value)} == {int} else "number"
        span = f"from {least:g}" + (f" to {most:g}" if most < inf else " on")
        raise InputError(f"{name} cannot be {value!r}", expected=f"a {number} {span}", got=repr(value), fix=fix)


def check_names(
    problem: str, got: Sequence[str], wanted: Sequence[str], *, fix: str, file: str | Path | None = None
) -> None:
    """Raise `InputError` unless classes have the names that are wanted, in that order; the error says which differ."""
    if list(got) != list(wanted):
        raise InputError(problem, file=file, expected=_apart(wanted, got), got=_apart(got, wanted), fix=fix)


def _apart(names: Sequence[str], others: Sequence[str]) -> str:
    """Say which names are not among others; where there are none, all in their order."""
    only = [name for name in names if name not in others]
    return f"{len(names)} classes" + (f", among them {listed(only)}" if only else f": {listed(names)}")


def listed(names: Iterable[object], most: int = 20) -> str:
    """Name the first few, and show by a … that there are more."""
    first = [str(name) for name in islice(names, most + 1)]
    return ", ".join([*first[:most], *["…"] * (len(first) > most)])


def check_table(problem: str, table: DataFrame, columns: Iterable[str], *, fix: str) -> None:
    """Raise `InputError` unless a table has at least one row, and all these columns."""
    columns = list(columns)
    missing = [name for name in columns if name not in table]
    if missing or not len(table):
        raise InputError(
            problem,
            expected=f"at least one row with {', '.join(columns)}",
            got=f"{len(table)} rows" + (f", without {', '.join(missing)}" if missing else ""),
            fix=fix,
        )


def check_numbers(problem: str, table: DataFrame, columns: Iterable[str], *, fix: str) -> None:
    """Raise `InputError` unless columns of a table hold numbers, and nothing else."""
    other = [f"{name}: {table[name].dtype}" for name in columns if table[name].dtype.kind not in "biuf"]
    if other:
        raise InputError(problem, expected="numbers", got=", ".join(other), fix=fix)


def check_enough(problem: str, n: int, least: int, *, fix: str) -> None:
    """Raise `InputError` if there are fewer than the least number."""
    if n < least:
        raise InputError(problem, expected=f"at least {least}", got=n, fix=fix)


def check_once(problem: str, table: DataFrame, keys: Iterable[str], *, fix: str) -> None:
    """Raise `InputError` if two rows of a table have the same keys."""
    keys = list(keys)
    doubled = int(table.duplicated(keys).sum())
    if doubled:
        got = f"{len(table)} rows, {doubled} of them twice"
        raise InputError(problem, expected=f"one row per {' × '.join(keys)}", got=got, fix=fix)


def check_counts(
    problem: str, wrong: Mapping[str, int], *, expected: object, fix: str, file: str | Path | None = None
) -> None:
    """Raise `InputError` unless nothing is wrong; `wrong` says how many there are of what may be."""
    found = "; ".join(f"{count} {what}" for what, count in wrong.items() if count)
    if found:
        raise InputError(problem, file=file, expected=expected, got=found, fix=fix)


def as_names(names: str | Iterable[str]) -> list[str]:
    """Return names as a list: a single text is one name, not its letters."""
    return [names] if isinstance(names, str) else list(names)


def plain(table: DataFrame) -> DataFrame:
    """Return a table whose columns of categories or of objects are what is in them: numbers, text, true or false."""
    return table.astype(dict.fromkeys(table.select_dtypes("category"), object)).infer_objects()


@contextmanager
def reading(
    problem: str, *kinds: type[Exception], expected: object, fix: str, file: str | Path | None = None
) -> Iterator[None]:
    """Tell errors of these kinds, as libraries raise them for a file that they cannot read, as an `InputError`."""
    try:
        yield
    except InputError:  # says more already
        raise
    except kinds as error:
        got = f"{type(error).__name__}: {error}"
        raise InputError(problem, file=file, expected=expected, got=got, fix=fix) from error


def check_eval(model: nn.Module) -> None:
    """Raise `InputError` unless the model is a torch module in eval mode."""
    if not hasattr(model, "training"):
        raise InputError(
            "this is not a network",
            expected="a torch.nn.Module",
            got=f"a {type(model).__name__}",
            fix="give the network itself, or a module whose forward calls it",
        )
    if model.training:
        raise InputError(
            "the model is in training mode",
            expected="model.eval(): batch statistics would leak between images",
            got="model.training is True",
            fix="call nbtools.models.freeze(model)",
        )


def check_same_classes(classes: Sequence[str], *models: object) -> None:
    """Raise `InputError` unless images have the classes that networks were trained on: the same names, in their order.

    A model that names no ``classes``, as of another library, passes: of that one no more than a number is known.
    """
    for model in models:
        check_names(
            "the images are not of the network's classes",
            classes,
            getattr(model, "classes", classes),
            fix="name the images' folders as those of the images it was trained on, or train it on these; a "
            "network from outside that has them all by other names: adopt it with --table FILE, which says which they "
            f"are here; one that has some: {OTHER_CLASSES} take it",
        )


def has_classes(model: object, classes: Sequence[str]) -> bool:
    """Say whether a network has these classes, as `check_same_classes` asks it."""
    return list(getattr(model, "classes", classes)) == list(classes)


def check_pixels(x: Tensor) -> None:
    """Raise `InputError` unless pixels are floats (n, channels, height, width) in [0, 1]."""
    if x.ndim != 4 or not len(x) or not x.is_floating_point():
        raise InputError(
            "these are not images",
            expected="float pixels (n, 3, height, width), n > 0",
            got=f"{tuple(x.shape)} {x.dtype}",
            fix="turn uint8 pixels into floats with nbtools.data.to_float",
        )
    if not (x.min() >= 0 and x.max() <= 1):  # written so that NaN fails too
        raise InputError(
            "pixels outside [0, 1]",
            expected="floats from 0 to 1",
            got=f"{float(x.min()):.3g} to {float(x.max()):.3g}",
            fix="divide uint8 pixels by 255; normalisation belongs to the model",
        )


def check_labels(logits: Tensor, labels: Tensor) -> None:
    """Raise `InputError` unless there is a finite logit vector and one of its classes for every image."""
    fits = labels.shape == logits.shape[:1] and str(labels.dtype) == "torch.int64"
    if not fits or not ((labels >= 0) & (labels < logits.shape[1])).all():
        raise InputError(
            "labels do not fit the model's classes",
            expected=f"int64 labels ({len(logits)},) from 0 to {logits.shape[1] - 1}",
            got=f"{tuple(labels.shape)} {labels.dtype}"
            + (f" from {int(labels.min())} to {int(labels.max())}" if labels.numel() else ""),
            fix="use labelled images of the classes the model was trained on",
        )
    check_finite(logits)


def check_finite(values: Tensor, what: str = "logits") -> None:
    """Raise `InputError` where one of an image's values (n, …) is not a number: it is no decision, and no gradient."""
    if not values.isfinite().all():
        broken = int((~values.isfinite().flatten(1).all(1)).sum())
        raise InputError(
            f"the model's {what} are not finite",
            expected=f"finite {what} for every image",
            got=f"NaN or infinite for {broken} of {len(values)} images",
            fix="look for a diverged training or a model in low precision",
        )
