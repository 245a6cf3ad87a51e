"""Decisions of others: the door reads what others write, under our names, and refuses what would give wrong numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from nbtools import data, metrics
from nbtools.errors import InputError

HEAD = "subj,session,trial,rt,object_response,category,condition,imagename"
COLUMNS = {"condition": "subj", "image_id": "imagename", "prediction": "object_response", "label": "category"}
CONFLICT = r"(?P<image_id>(?P<shape>[a-z]+)\d+-(?P<texture>[a-z]+)\d+)\.png"
ANSWERS = {
    "subject-01": {"airplane1-bicycle2": "airplane", "cat7-dog3": "cat", "cat2-cat4": "cat", "oven1-car1": "na"},
    "subject-02": {"airplane1-bicycle2": "bicycle", "cat7-dog3": "cat", "cat2-cat4": "cat", "oven1-car1": "oven"},
    "none": {"airplane1-bicycle2": "bicycle", "cat7-dog3": "dog", "cat2-cat4": "cat", "oven1-car1": "oven"},
}


def raw(folder: Path, head: str = HEAD) -> list[Path]:
    """A file per subject, as texture-vs-shape has them: each saw the images in another order."""
    files = []
    for code, (subject, answers) in enumerate(ANSWERS.items()):
        lines = [head]
        for trial, (image, answer) in enumerate(sorted(answers.items(), reverse=bool(code % 2)), start=1):
            category = image.rstrip("0123456789").split("-")[0].rstrip("0123456789")
            name = f"{trial:04d}_cue_s{code:02d}_0_{category}_00_{image}.png"
            lines.append(f"{subject},1,{trial},0.{trial}5,{answer},{category},0,{name}")
        files.append(folder / f"cue-conflict_{subject}_session_1.csv")
        files[-1].write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    return files


def test_raw_decisions_of_people_give_their_shape_bias_and_consistency(tmp_path: Path) -> None:
    decisions = data.read_decisions(raw(tmp_path), COLUMNS, parts=CONFLICT)
    assert set(decisions) == {"condition", "image_id", "prediction", "label", "shape", "texture"}
    assert list(decisions["condition"].unique()) == list(ANSWERS), "the subject, not the image's condition"
    bias = metrics.shape_bias(decisions).set_index("condition")
    assert bias["shape_bias"].to_dict() == pytest.approx({"subject-01": 1, "subject-02": 2 / 3, "none": 1 / 3})
    assert bias["n"].tolist() == [3, 3, 3], "the image without conflict does not count"
    kappa = metrics.consistency_matrix(decisions, label="shape").set_index(["a", "b"])
    assert kappa.loc[("subject-01", "subject-02"), "observed"] == 0.5
    accuracy = metrics.robust_accuracy(decisions.assign(epsilon=0.0), by=("condition",)).set_index("condition")
    assert accuracy["accuracy"].to_dict() == {"subject-01": 0.75, "subject-02": 0.75, "none": 0.5}


def test_parquet_with_categorical_columns_is_read_alike(tmp_path: Path) -> None:
    expected = data.read_decisions(raw(tmp_path), COLUMNS, parts=CONFLICT)
    table = pd.concat([pd.read_csv(file, encoding="utf-8-sig") for file in raw(tmp_path)])
    table.astype(dict.fromkeys(("subj", "object_response", "category"), "category")).to_parquet(
        tmp_path / "all.parquet"
    )
    found = data.read_decisions(tmp_path / "all.parquet", COLUMNS, parts=CONFLICT)
    pd.testing.assert_frame_equal(found, expected)


@pytest.mark.parametrize(
    ("values", "expected"),
    [("3,3\n4,3\n", [3, 4]), ("3,3\nna,3\n", ["3", "na"]), ("NA,NA\nnone,NA\n", ["NA", "none"])],
)
def test_answers_are_numbers_where_all_are_and_ids_are_text(tmp_path: Path, values: str, expected: list) -> None:
    rows = [f"0{n},{row}" for n, row in enumerate(values.split())]
    (tmp_path / "x.csv").write_text("\n".join(["image,said,right", *rows]))
    columns = {"image_id": "image", "prediction": "said", "label": "right"}
    table = data.read_decisions(tmp_path / "x.csv", columns)
    assert table["prediction"].tolist() == expected
    assert table["label"].map(type).tolist() == table["prediction"].map(type).tolist()
    assert table["image_id"].tolist() == ["00", "01"], "an id's zeros stay"


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "another column": ({"columns": {**COLUMNS, "epsilon": "eps"}}, "without eps"),
    "no image": ({"columns": {"prediction": "object_response"}}, "without image_id"),
    "their condition for the subject": ({"columns": {**COLUMNS, "condition": "condition"}}, "of them twice"),
    "other parts": ({"parts": r"(?P<texture>tile)"}, "without it, such as 0001_cue"),
    "parts without a name": ({"parts": r"([a-z]+)\d+-"}, "groups without a name"),
    "no expression": ({"parts": "("}, "regular expression"),
    "no file": ({"files": []}, "one file or more"),
    "a file that is not there": ({"files": "nowhere.csv"}, "FileNotFoundError"),
    "classes by another name": ({"columns": {**COLUMNS, "label": "trial"}}, "by the names that label has: 1, 2"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_would_give_a_wrong_number_is_refused(tmp_path: Path, case: str) -> None:
    options, said = BAD[case]
    with pytest.raises(InputError, match=said):
        data.read_decisions(**{"files": raw(tmp_path), "columns": COLUMNS, "parts": CONFLICT, **options})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "EmptyDataError"),
        (b"<?xml version='1.0'?><Error/>", "without subj"),
        (b"\xff\xfe\x00\x01", "UnicodeDecodeError"),
        (f"{HEAD}\n".encode(), "0 rows"),
        (f"{HEAD}\ns,1,1,.5,,cat,0,cat1-dog2.png\n".encode(), "1 values of prediction are missing"),
        (f"{HEAD}\n{'s,1,1,.5,cat,cat,0,cat1-dog2.png' + chr(10)}".encode() * 2, "imagename"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(InputError, match=said):
        data.read_decisions(tmp_path / "x.csv", COLUMNS, parts=CONFLICT)
    (tmp_path / "x.parquet").write_bytes(content)
    with pytest.raises(InputError, match="cannot be read"):
        data.read_decisions(tmp_path / "x.parquet", COLUMNS)
