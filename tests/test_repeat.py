"""A finished run can be repeated, and says in what it differs; two runs can be compared."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from test_batch import START, make_home, write_notebook

from nbtools.cli import main
from nbtools.errors import InputError
from nbtools.runs import folders
from nbtools.runs.repeat import TOLERANCE, differences, environment

TABLE = pd.DataFrame({"image_id": [3, 1, 2], "r": [0.25, -1.0, np.nan], "roi": ["V1", "TO", None]})
WEIGHTS = {"head": torch.tensor([[1.0, -2.0], [0.5, 4.0]]), "steps": torch.tensor(7)}
# What the notebook saves depends on its parameter, the number of threads, an earlier run, and on nothing else.
DRAWN = """
import os
import time
earlier = run.upstream("train").table("scores")
threads = os.environ["OMP_NUM_THREADS"]
run.save_table("drawn", pd.DataFrame({"r": earlier.r * seed, "threads": threads, "seconds": time.time()}))
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own with a study and two notebooks, the second of which reads the first's run."""
    home = tmp_path / "one home/of its own"
    make_home(home, tmp_path / "notebooks", monkeypatch)
    write_notebook(START, "run.finish()")
    write_notebook(START.replace('"train"', '"attack"'), DRAWN, "run.finish()", name="attack")
    return home


def contents(home: Path) -> dict[Path, tuple[bytes, int]]:
    return {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in home.rglob("*") if file.is_file()}


def scratch_homes(home: Path) -> list[Path]:
    return list(home.parent.glob("nbtools_repeat_*"))


# --- repeating ----------------------------------------------------------------------------------------------


@pytest.mark.notebook
def test_a_run_repeats_to_the_bit(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Also one that reads another run, with as many threads as it had then; clocks do not count."""
    with environment({"OMP_NUM_THREADS": "2"}):
        assert main(["run", "train"]) == 0
        assert main(["run", "attack", "-p", "seed", "3"]) == 0
    before = contents(home)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    capfd.readouterr()
    assert main(["repeat", str(folders.find("attack", "tiny").folder)]) == 0
    out = capfd.readouterr().out
    assert "drawn.parquet: the same to the bit" in out
    assert "THE SAME to the bit: files compared: 2; columns that are clocks (seconds, finished) are left out" in out
    assert "inputs: the same" in out
    assert "surroundings: the same" in out
    assert contents(home) == before, "the run itself, and all others, are only read"
    assert not scratch_homes(home)


@pytest.mark.notebook
def test_a_run_that_draws_from_the_clock_is_found_out(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """And what has changed since then is named."""
    clock = "import time\nimport numpy as np\ndrawn = np.random.default_rng(time.time_ns()).normal(size=4)\n"
    save = "run.save_table('extra', pd.DataFrame({'drawn': drawn}))"
    write_notebook(START + clock + save, "run.finish()")
    assert main(["run", "train"]) == 0
    folder = folders.find("train", "tiny").folder
    study = home / "data/derived/tiny/study.toml"
    study.write_text(study.read_text() + "# a note\n")
    before = contents(home)
    capfd.readouterr()
    assert main(["repeat", str(folder)]) == 1
    out = capfd.readouterr().out
    assert "scores.parquet: the same to the bit" in out
    assert "extra.parquet: drawn differs: by" in out
    assert "DIFFERENT" in out
    (changed,) = [line for line in out.partition("inputs:")[2].splitlines() if "study.toml" in line]
    assert changed.strip().startswith("data/derived/tiny/study.toml: ")
    (scratch,) = scratch_homes(home)
    kept = Path(out.rpartition("what was made now is kept: ")[2].strip())
    assert kept.is_relative_to(scratch)
    assert (kept / "extra.parquet").exists()
    assert contents(home) == before


@pytest.mark.notebook
def test_a_notebook_that_fails_now_is_not_the_same(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "train"]) == 0
    write_notebook(START, "1 / 0", "run.finish()")
    assert main(["repeat", str(folders.find("train", "tiny").folder)]) == 1
    shown = capfd.readouterr()
    assert "ZeroDivisionError" in shown.err
    assert "what was made now is kept" in shown.out


def test_what_is_no_finished_run_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = finished("train").folder
    (folder / "run.json").unlink()
    assert main(["repeat", str(folder)]) == 1
    assert main(["compare", str(folder), str(home)]) == 1
    assert capsys.readouterr().err.count("this is no finished run") == 2


def test_a_run_whose_notebook_takes_other_parameters_now_leaves_nothing_behind(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = finished("train").folder
    write_notebook(START, "run.finish()", parameters='study: str = "tiny"')
    assert main(["repeat", str(folder)]) == 1
    assert "train has no parameter" in capsys.readouterr().err
    assert not scratch_homes(home)


def test_the_environment_is_as_it_was_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    before = dict(os.environ)
    with environment({"MKL_NUM_THREADS": "2", "NBTOOLS_HOME": "elsewhere"}):
        assert "OMP_NUM_THREADS" not in os.environ
        assert os.environ["MKL_NUM_THREADS"] == "2"
    assert dict(os.environ) == before


@pytest.mark.long  # end_to_end repeats one that was killed
@pytest.mark.notebook
def test_a_real_training_repeats_to_the_bit(
    tiny_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "home").mkdir()
    chosen = {"study": str(tiny_study), "roi": "V1", "epochs": "1"}
    assert main(["run", "02_neural_predictors", *(word for pair in chosen.items() for word in ("-p", *pair))]) == 0
    (record,) = (tmp_path / "home/runs").rglob("run.json")
    assert main(["repeat", str(record.parent)]) == 0
    out = capfd.readouterr().out
    for name in ("history.parquet", "pattern_r.parquet", "voxels.parquet", "weights.safetensors"):
        assert f"{name}: the same to the bit" in out


# --- comparing ----------------------------------------------------------------------------------------------


def finished(
    notebook: str, table: pd.DataFrame = TABLE, weights: dict[str, torch.Tensor] = WEIGHTS, seed: int = 0
) -> folders.Run:
    run = folders.start(notebook, {**folders.defaults(notebook), "seed": seed})
    run.save_table("scores", table)
    save_file(weights, run.folder / "weights.safetensors")
    run.finish()
    return run


def test_two_runs_are_compared(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = finished("train"), finished("train", TABLE.assign(r=[0.25, -1.0, 0.0]), seed=1)
    assert main(["compare", str(one.folder), str(other.folder)]) == 1
    out = capsys.readouterr().out
    assert "parameters: \n  seed: 0 → 1" in out
    assert "inputs: the same" in out
    assert "scores.parquet: r differs: other values are not finite" in out
    assert "weights.safetensors: the same to the bit" in out
    assert "DIFFERENT" in out
    assert main(["compare", str(one.folder), str(one.folder)]) == 0


def test_another_version_is_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = finished("train"), finished("train", seed=1)
    file = other.folder / "run.json"
    record = json.loads(file.read_text())
    record["packages"]["torch"], record["threads"] = "1.0", {"torch": 64}
    file.write_text(json.dumps(record))
    assert main(["compare", str(one.folder), str(other.folder)]) == 0
    out = capsys.readouterr().out
    assert "packages.torch: " in out
    assert " → 1.0\n" in out
    assert " → 64\n" in out


def test_rounding_is_told_from_another_result(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = finished("train")
    for seed, factor, status in ((1, 1 + TOLERANCE / 10, 0), (2, 1 + TOLERANCE * 10, 1)):
        weights = {**WEIGHTS, "head": WEIGHTS["head"].double().mul(factor).float()}
        other = finished("train", weights=weights, seed=seed)
        assert main(["compare", str(one.folder), str(other.folder)]) == status
        out = capsys.readouterr().out
        assert "weights.safetensors: head differs: by" in out
        assert ("THE SAME within 1e-05" in out) == (status == 0)


CHANGES: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], str]] = {
    "a value": (lambda t: t.assign(r=[0.25, -0.5, np.nan]), "by 0.5 of the largest value"),
    "an integer": (lambda t: t.assign(image_id=[3, 1, 9]), "1 of 3 values"),
    "a word": (lambda t: t.assign(roi=["V1", "LO", None]), "1 of 3 values"),
    "a gap": (lambda t: t.assign(roi=["V1", "TO", "TO"]), "1 of 3 values"),
    "an order": (lambda t: t.iloc[[1, 0, 2]], "2 of 3 values"),
    "a type": (lambda t: t.astype({"image_id": float}), "int64 (3,) and float64 (3,)"),
    "a row": (lambda t: t.head(2), "(3,) and int64 (2,)"),
    "a column": (lambda t: t.drop(columns="r"), "only in the first"),
    "infinity": (lambda t: t.assign(r=[np.inf, -1.0, np.nan]), "other values are not finite"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen(change: str, tmp_path: Path) -> None:
    make, said = CHANGES[change]
    TABLE.to_parquet(tmp_path / "a.parquet")
    make(TABLE).to_parquet(tmp_path / "b.parquet", index=False)
    found = differences(tmp_path / "a.parquet", tmp_path / "b.parquet")
    assert any(said in difference.what for difference in found)
    assert all(difference.size > TOLERANCE for difference in found)


def test_a_clock_is_no_difference_and_a_sign_of_zero_is_one_of_bits(tmp_path: Path) -> None:
    for name, seconds, zero in (("a", 1.5, 0.0), ("b", 2.5, -0.0)):
        pd.DataFrame({"seconds": [seconds], "r": [zero]}).to_parquet(tmp_path / f"{name}.parquet")
    (found,) = differences(tmp_path / "a.parquet", tmp_path / "b.parquet")
    assert (found.part, found.size) == ("r", 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.bool, torch.uint8])
def test_weights_of_every_type_are_compared(dtype: torch.dtype, tmp_path: Path) -> None:
    one, other = torch.tensor([0, 1, 1]).to(dtype), torch.tensor([0, 1, 0]).to(dtype)
    for name, tensor in (("a", one), ("same", one.clone()), ("b", other)):
        save_file({"w": tensor}, tmp_path / f"{name}.safetensors")
    assert differences(tmp_path / "a.safetensors", tmp_path / "same.safetensors") == []
    (found,) = differences(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert found.part == "w"
    assert found.size >= 1


def test_a_file_that_only_one_run_has_is_a_difference(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = finished("train"), finished("train", seed=1)
    (other.folder / "weights.safetensors").unlink()
    assert main(["compare", str(one.folder), str(other.folder)]) == 1
    assert "weights.safetensors: the file differs: not in" in capsys.readouterr().out


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "a.safetensors")
    shutil.copy(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    (tmp_path / "b.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes()[:-1])
    with pytest.raises(InputError, match=r"weights cannot be read[\s\S]*b\.safetensors"):
        differences(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
