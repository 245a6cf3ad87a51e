from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from nbtools import data, metrics, models, plots
from nbtools.checks import (
    as_names,
    check_choice,
    check_counts,
    check_enough,
    check_names,
    check_once,
    check_range,
    check_table,
    listed,
    plain,
    reading,
)
from nbtools.errors import InputError, Note


def test_a_choice_is_refused_with_the_list_of_what_there_is() -> None:
    check_choice("unknown norm", "L2", ["Linf", "L2"])
    with pytest.raises(InputError, match=r"unknown norm\n  expected: Linf, L2\n  got:      'L1'\n  to do:    use one"):
        check_choice("unknown norm", "L1", (name for name in ("Linf", "L2")))


@pytest.mark.parametrize(
    ("value", "limits", "expected"),
    [
        (0, {"least": 1, "whole": True}, "a whole number from 1 on"),
        (1.5, {"least": 1, "whole": True}, "a whole number from 1 on"),
        ("5", {"least": 1, "whole": True}, "a whole number from 1 on"),
        (float("inf"), {"least": 0}, "a number from 0 on"),
        (None, {"least": 0}, "a number from 0 on"),
        (float("nan"), {"least": 0, "most": 1}, "a number from 0 to 1"),
        (1.01, {"least": 0, "most": 1}, "a number from 0 to 1"),
    ],
)
def test_a_number_out_of_its_range_is_refused(value: object, limits: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError, match=rf"alpha cannot be {value!r}\n  expected: {expected}\n  got:      {value!r}"):
        check_range("alpha", value, **limits)
    check_range("alpha", np.int64(1), 1, 1, whole=True)
    check_range("alpha", np.float32(0.5), 0, 1)


@pytest.mark.parametrize(
    ("table", "got"),
    [(pd.DataFrame({"a": [1]}), "1 rows, without b, c"), (pd.DataFrame(columns=["a", "b", "c"]), "0 rows")],
)
def test_a_table_is_refused_with_what_it_lacks(table: pd.DataFrame, got: str) -> None:
    with pytest.raises(InputError, match=rf"(?m)one row with a, b, c\n  got:      {got}$"):
        check_table("no scores", table, ["a", "b", "c"], fix="make one")
    check_table("no scores", pd.DataFrame({"a": [1], "b": [2], "c": [3]}), "abc", fix="make one")


def test_too_few_are_refused() -> None:
    check_enough("no draw", 2, 2, fix="ask for more")
    with pytest.raises(InputError, match=r"no draw\n  expected: at least 2\n  got:      1\n  to do:    ask for more"):
        check_enough("no draw", 1, 2, fix="ask for more")


CHOSEN: dict[str, Callable[[int], object]] = {
    "rows": lambda n: data.choose_rows(10, n - 1),
    "the share to validate on": lambda n: data.split_rows(10, n - 0.5),
    "batch_size": lambda n: models.predict(nn.Conv2d(3, 1, 1).eval(), torch.zeros(1, 3, 2, 2, dtype=torch.uint8), n),
    "columns": lambda n: plots.image_grid(np.zeros((2, 3, 3, 3), np.uint8), ["a", "b"], n, title="x"),
    "n_boot": lambda n: metrics.bootstrap_ci(np.arange(5.0), n_boot=n),
}


@pytest.mark.parametrize("n", [0, -5])
@pytest.mark.parametrize("name", CHOSEN)
def test_no_function_counts_from_the_end(name: str, n: int) -> None:
    """A negative number that slices takes all but the last: 95 of 100 images, where -5 were asked for."""
    with pytest.raises(InputError, match=f"{name} cannot be"):
        CHOSEN[name](n)


def test_rows_that_stand_twice_are_counted() -> None:
    table = pd.DataFrame({"a": [1, 1, 1, 2], "b": [1, 1, 1, 1], "c": [1, 2, 3, 4]})
    check_once("decided twice", table, ["a", "c"], fix="drop one")
    with pytest.raises(
        InputError, match=r"one row per a × b\n  got:      4 rows, 2 of them twice\n  to do:    drop one"
    ):
        check_once("decided twice", table, ["a", "b"], fix="drop one")


def test_all_that_is_wrong_is_told_at_once() -> None:
    check_counts("bad numbers", {"missing": 0, "infinite": 0}, expected="numbers", fix="look")
    with pytest.raises(InputError, match=r"expected: numbers\n  got:      3 missing; 1 infinite\n  to do:    look"):
        check_counts("bad numbers", {"missing": 3, "negative": 0, "infinite": 1}, expected="numbers", fix="look")


def test_what_a_library_says_of_a_file_is_told_with_the_file() -> None:
    with pytest.raises(InputError, match=r"file:     x.h5\n  expected: HDF5\n  got:      OSError: cut") as told:  # noqa: SIM117
        with reading("cannot be read", OSError, ValueError, file=Path("x.h5"), expected="HDF5", fix="again"):
            raise OSError("cut")
    assert isinstance(told.value.__cause__, OSError)


def test_other_errors_and_those_that_say_more_pass() -> None:
    for error in (KeyError("x"), InputError("more", expected=1, got=2, fix="x")):
        with pytest.raises(type(error)) as raised, reading("p", OSError, InputError, expected="", fix=""):
            raise error
        assert raised.value is error


@pytest.mark.parametrize(("given", "names"), [("TO", ["TO"]), (("V1", "TO"), ["V1", "TO"]), ([], []), ("", [""])])
def test_a_single_text_is_one_name(given: str | tuple[str, ...], names: list[str]) -> None:
    assert as_names(given) == names


def test_categories_come_back_as_what_they_are() -> None:
    table = pd.DataFrame({"id": [3, 1], "label": ["b", "a"], "score": [0.5, None]})
    categorical = table.astype({"id": "category", "label": "category"})
    pd.testing.assert_frame_equal(plain(categorical), table)
    assert plain(categorical[:0]).columns.tolist() == list(table)
    missing = pd.DataFrame({"id": pd.Categorical([3, None])})
    assert plain(missing)["id"].isna().tolist() == [False, True]


def test_a_note_is_a_sentence_and_other_warnings_stay_as_they_are() -> None:
    assert (
        warnings.formatwarning("TO: 2 voxels were dropped", Note, "cell.py", 3) == "note: TO: 2 voxels were dropped\n"
    )
    assert "cell.py:3: UserWarning: of a library" in warnings.formatwarning("of a library", UserWarning, "cell.py", 3)


def test_a_list_that_is_cut_ends_in_an_ellipsis() -> None:
    assert listed("abc", 3) == "a, b, c"
    assert listed("abcd", 3) == "a, b, c, …"
    assert listed([]) == ""
    ours, theirs = [f"c{n}" for n in range(21)], [f"d{n}" for n in range(20)]
    with pytest.raises(InputError, match=r"expected: 21 classes, .*c19, …\n.*20 classes, .*d19\n"):
        check_names("other", theirs, ours, fix="see")
