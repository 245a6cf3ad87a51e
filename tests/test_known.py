"""The table of known worlds: kept, merged, quoted beside verdicts; damaged ones are told; the chain that makes it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from nbtools import metrics
from nbtools.cli import main
from nbtools.conditions import HIERARCHY
from nbtools.data.study import home as data_home
from nbtools.data.synthetic.verdicts import QUESTIONS
from nbtools.errors import InputError
from nbtools.metrics.studies.operating import FINDINGS
from nbtools.runs import folders
from nbtools.workflow import worlds
from nbtools.workflow.graph import make_graph
from nbtools.workflow.instructions import available, told_to_use
from nbtools.workflow.known import COLUMNS, as_text, how_often, read_known, save_known
from nbtools.workflow.worlds import Asked, calibrate, question

TREND = "accuracy at 4/255"


def row(world: str, expected: str, rises: int, **other: Any) -> dict[str, Any]:
    """A row of the table: of 50 sets, so many said “rises” and the rest could not tell."""
    counts = dict.fromkeys(FINDINGS, 0) | {"rises": rises, "unclear": 50 - rises}
    size = {"n_regions": 7, "n_seeds": 3, "n_subjects": 1, "of_seeds": 8, "of_subjects": 1}
    made = {"made": "2026-12-01", "nbtools": "0.1.0", "torch": "2.9.0", "machine": "a processor, 2 cores"}
    named = {"sets": "all", "world": world, "profile": "demo", "claim": TREND, "expected": expected}
    return {**named, **counts, "n_sets": 50, "n_apart": 2, **size, **made, **other}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(folders.PROJECT))
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    return tmp_path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rows = [
        row("beyond", "rises", 45),
        row("labels", "rises", 35),
        row("null", "none", 2),
        row("quality", "unknown", 9),
    ]
    return save_known(pd.DataFrame(rows), tmp_path / "known.json")


# --- kept ---------------------------------------------------------------------------------------------------


def test_the_table_comes_back_and_newer_rows_replace_their_like(file: Path) -> None:
    assert list(read_known(file)["rises"]) == [45, 35, 2, 9]
    save_known(pd.DataFrame([row("null", "none", 3), row("null", "none", 4, n_seeds=5)]), file)
    again = read_known(file).set_index(["world", "n_seeds"])["rises"].to_dict()
    assert again == {("beyond", 3): 45, ("labels", 3): 35, ("quality", 3): 9, ("null", 3): 3, ("null", 5): 4}
    assert len(file.read_text().splitlines()) == 2 + 5, "a row a line"


def test_no_table_says_nothing(tmp_path: Path) -> None:
    assert read_known(tmp_path / "none.json").empty
    assert how_often(7, 3, 1, tmp_path / "none.json") == {}


@pytest.mark.parametrize(
    "damage",
    [
        lambda rows: "[" + json.dumps(rows[0]),
        lambda rows: json.dumps({"rows": rows}),
        lambda rows: json.dumps([1]),
        lambda rows: json.dumps([{name: value for name, value in rows[0].items() if name != "falls"}]),
        lambda rows: json.dumps([rows[0] | {"rises": "45"}]),
        lambda rows: json.dumps([rows[0] | {"rises": 44.5}]),
        lambda rows: json.dumps([rows[0] | {"rises": 46}]),
        lambda rows: json.dumps([rows[0] | {"rises": -5, "falls": 50}]),
        lambda rows: json.dumps([rows[0] | {"expected": None}]),
        lambda rows: json.dumps([rows[0] | {"n_sets": 0, "rises": 0, "unclear": 0}]),
        lambda rows: "\udcff",
        lambda rows: "[" * 100_000,
    ],
    ids=["cut", "no list", "no rows", "column", "text", "half", "sum", "negative", "null", "empty", "bytes", "deep"],
)
def test_a_damaged_table_is_told(damage: Any, file: Path) -> None:
    file.write_bytes(damage(json.loads(file.read_text())).encode(errors="surrogateescape"))
    with pytest.raises(InputError, match="known worlds is damaged"):
        read_known(file)


def test_the_shipped_table_can_be_read() -> None:
    assert list(read_known()) == list(COLUMNS)


# --- quoted -------------------------------------------------------------------------------------------------


def test_a_verdict_is_followed_by_how_often_such_were_right(file: Path) -> None:
    said = how_often(7, 3, 1, file)[TREND]
    assert said == (
        "In simulated worlds of like size (7 regions, 3 seeds, 1 subject) this test said “rises” "
        "in 80 of 100 sets (8 seeds) where there was a rise and in 2 of 50 sets (8 seeds) where there was none"
    )


@pytest.mark.parametrize("size", [(6, 3, 1), (7, 5, 1), (7, 3, 2)])
def test_nothing_is_said_of_studies_of_another_size(size: tuple[int, int, int], file: Path) -> None:
    assert how_often(*size, file) == {}


@pytest.mark.parametrize(("n_seeds", "quoted"), [(3, True), (4, False)])
def test_the_summary_puts_it_beside_its_verdict(n_seeds: int, quoted: bool, file: Path) -> None:
    """Notebook 10's own cell."""
    cells = json.loads((folders.NOTEBOOKS / "10_summary.ipynb").read_text(encoding="utf-8"))["cells"]
    (code,) = ("".join(cell["source"]) for cell in cells if "workflow.how_often" in "".join(cell["source"]))
    values = {"said": {0.0: "falls", 4 / 255: "rises"}, "regions": HIERARCHY, "found": {"demo": {}}, "metrics": metrics}
    values |= {"networks": pd.DataFrame({"seed": range(n_seeds)}), "fixed": SimpleNamespace(words="")}
    exec(code, found := values | {"workflow": SimpleNamespace(how_often=partial(how_often, file=file))})
    clean, attacked = found["verdict"].splitlines()
    assert clean == "clean: falls"
    assert attacked.startswith("4/255: rises. In simulated worlds" if quoted else "4/255: rises")
    assert ("80 of 100" in attacked) == quoted


def test_worlds_without_an_answer_are_not_counted(tmp_path: Path) -> None:
    file = save_known(pd.DataFrame([row("quality", "unknown", 9)]), tmp_path / "known.json")
    assert how_often(7, 3, 1, file) == {}


def test_as_text_shows_each_share_and_how_sure_it_is(file: Path) -> None:
    rows = read_known(file)
    text = as_text(pd.concat([rows.assign(sets="all"), rows.assign(sets="apart", n_sets=1)]))
    _, _, head, first, *_, null, last = text.splitlines()
    assert " ".join(head.split()) == "world claim expected rises falls none unclear right wrong sets seeds subjects"
    said = "0.90 0.00 0.00 0.10 0.90 (0.11 to 1.00) 0.00 (0.00 to 0.84)"
    assert " ".join(first.split()) == f"beyond {TREND} rises {said} 50 3 of 8 1 of 1"
    assert " 0.00 (0.00 to 0.84)  0.04 (" in null, "a rise that was not there is wrong, and “cannot tell” not right"
    assert last.count(" – ") == 2, "of what is not known nothing is right or wrong"


# --- the chain ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claim", "asked"),
    [
        ("accuracy at clean", ""),
        ("accuracy at 4/255", "robustness"),
        ("accuracy at 4/255, one of 9 measures", "robustness"),
        ("accuracy on others' attacks, one of 9 measures", "transfer"),
        ("gradient, clean, one of 9 measures", "smoothness"),
        ("shape bias, one of 9 measures", "shape bias"),
        ("manifold capacity, one of 9 measures", "manifolds"),
        ("manifold radius, one of 9 measures", ""),
        ("TO − none at 4/255", "region against none"),
        ("TO − TO-shuffle at 4/255", "region against shuffle"),
        ("TO − labels-guide at 2/255", "region against labels-guide"),
    ],
)
def test_a_claim_asks_what_worlds_have_answers_to(claim: str, asked: str) -> None:
    assert question(claim) == asked
    assert asked in {"", *QUESTIONS}


def test_a_worlds_runs_are_those_of_its_study(home: Path) -> None:
    """What `make demo` and `make study` trained is not trained again."""
    demo = {job.record for job in make_graph({"seeds": "0 1 2"}).jobs}
    known = make_graph(Asked(("beyond",), seeds=(0, 1, 2)).config("beyond", 1)).of("attacks")
    assert {job.record for job in known} <= demo
    assert len(known) > 50


def test_fewer_seeds_than_a_set_has_are_refused_before_anything_is_run(home: Path) -> None:
    with pytest.raises(InputError, match="too few seeds"):
        calibrate(Asked(("null",), seeds=(0, 1)))
    assert not (home / "runs").exists()


def test_only_instructions_that_the_processor_has_can_be_asked_for(home: Path) -> None:
    with pytest.raises(InputError, match="cannot be told"), told_to_use("avx1024"):
        pass
    for name in available():
        with told_to_use(name):
            assert os.environ["ATEN_CPU_CAPABILITY"] == name
            assert data_home() == home / "runs" / "known" / name
    assert data_home() == home
    assert "ATEN_CPU_CAPABILITY" not in os.environ


def test_other_measures_count_where_all_networks_were_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = pd.DataFrame({"measure": "smoothness", "condition": "V1", "seed": [0, 1, 2], "score": [1.0, 2.0, 3.0]})
    scores.to_parquet(tmp_path / "scores.parquet")
    ran = pd.DataFrame({"rois": ["none V1 V4 TO", "V1 TO", "V1 V4 TO"], "seeds": ["0 1 2", "0 1 2", "0"]})
    ran = ran.assign(alpha=0.9, folder=[str(tmp_path), "nowhere", "nowhere"], finished=[1, 2, 3])
    monkeypatch.setattr(folders, "collect", lambda name, _: ran if name[:2] == "06" else ran.iloc[1:])
    asked = Asked(("null",), seeds=(0, 1), rois=("V1", "V4", "TO"))
    (found,) = worlds._other_scores({2: SimpleNamespace(study="tiny-null")}, asked)  # type: ignore[dict-item]
    assert found[["subject", "seed", "score"]].to_numpy().tolist() == [[2, 0, 1.0], [2, 1, 2.0]]


@pytest.mark.slow
@pytest.mark.notebook
def test_calibrate_runs_the_chain_and_goes_on_where_it_was_stopped(home: Path) -> None:
    command = [sys.executable, "-m", "nbtools", "calibrate", "--profile", "tiny", "--truths", "null"]
    command += ["--seeds", "0 1", "--size", "2", "--rois", "V1 V4 TO", "--cores", "2"]
    stopped = subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    assert any(line.startswith("2 of ") for line in stopped.stdout), "some runs are finished"
    os.killpg(stopped.pid, signal.SIGINT)
    assert stopped.wait(120)
    finished = {file: file.stat().st_mtime_ns for file in (home / "runs").rglob("run.json")}
    assert finished
    again = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    assert again.returncode == 0, again.stdout + again.stderr
    kept = [file for file, at in finished.items() if file.stat().st_mtime_ns == at]
    assert len(kept) >= 2, "what was told to be finished is not made again; Snakemake may not have heard of the last"
    (table,) = (home / "runs" / "known").glob("*.parquet")
    rows = pd.read_parquet(table)
    assert set(rows["world"]) == {"null"}
    assert {f"accuracy at {at}" for at in ("clean", "2/255", "4/255")} <= set(rows["claim"])
    null = rows[(rows["world"] == "null") & (rows["claim"] == "accuracy at 4/255")].set_index("sets")
    assert null.loc["all", "n_sets"] == 6, "one set of two seeds, three regions in any order"
    assert dict(null["expected"]) == {"all": "none", "apart": "none"}
    assert len(read_known(table.with_suffix(".json"))) == (rows["sets"] == "all").sum()
    assert f"Table: {table}" in again.stdout


def test_calibrate_counts_each_world_and_subject_once_and_asks_for_regions(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Asked] = []
    monkeypatch.setattr("nbtools.workflow.calibrate", lambda one: asked.append(one) or pd.DataFrame({"sets": []}))
    monkeypatch.setattr("nbtools.workflow.save_counts", lambda rows, one: "")
    monkeypatch.setattr("nbtools.workflow.as_text", lambda rows: "")
    assert main(["calibrate", "--truths", "null", "null", "--subjects", "2", "1", "2", "--seeds", "0 1 1"]) == 0
    assert (asked[0].truths, asked[0].subjects, asked[0].seeds) == (("null",), (2, 1), (0, 1))
    assert main(["calibrate", "--rois", ""]) == 1
    assert "no region was asked for" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["calibrate", "--subjects", "9"])
