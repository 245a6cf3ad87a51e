"""Thousands of runs become one table: whole ones only, each once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nbtools.bench import study
from nbtools.errors import InputError
from nbtools.runs import folders

N = 2000
NETWORKS = "03_guided_training"


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with 2,000 finished runs of one notebook, among others of which nothing may be read."""
    home = tmp_path_factory.mktemp("many")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NBTOOLS_HOME", str(home))
        study.write_runs(N)
    folder = home / "runs/demo" / NETWORKS
    whole = (folder / "TO_seed=7_00000007/run.json").read_text()
    for name, files in {
        "TO_seed=0_killed": {"notebook.ipynb": "{}"},
        "TO_seed=0_torn": {".tmp-run.json.4711": whole, "history.parquet": "PAR1"},
        "TO_seed=0_empty": {},
        ".tmp-TO_seed=0_beside": {"notebook.ipynb": "{}"},
    }.items():
        (folder / name).mkdir()
        for file, text in files.items():
            (folder / name / file).write_text(text)
    (folder / "notes.txt").write_text("no run")
    return home


@pytest.fixture(autouse=True)
def at_home(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBTOOLS_HOME", str(many))


def test_every_finished_run_is_a_row_and_nothing_else_is(many: Path) -> None:
    found = folders.collect(NETWORKS, "demo")
    assert sorted(found["seed"]) == list(range(N))
    assert found["folder"].is_unique
    assert all(
        int(folder.rpartition("_")[2], 16) == seed for folder, seed in zip(found.folder, found.seed, strict=True)
    )
    assert list(found.columns) == [*folders.defaults(NETWORKS), "seconds", "finished", "folder"]
    assert folders.find(NETWORKS, "demo", seed=1234).parameters["seed"] == 1234


def test_a_damaged_record_among_them_is_named(many: Path) -> None:
    file = many / "runs/demo" / NETWORKS / "TO_seed=999_000003e7/run.json"
    whole = file.read_text()
    try:
        file.write_text(whole[: len(whole) // 2])
        with pytest.raises(InputError, match=r"record is damaged[\s\S]*TO_seed=999_000003e7/run\.json"):
            folders.collect(NETWORKS, "demo")
    finally:
        file.write_text(whole)


def test_a_run_with_the_defaults_is_found_without_reading_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook asks for the run of each condition and seed: two thousand records each time would take minutes."""
    folder = folders.run_folder(NETWORKS, {"roi": "V4", "seed": 5})
    record = json.loads((folder.parent / "TO_seed=5_00000005/run.json").read_text())
    record["parameters"]["roi"] = "V4"
    folders.write_text(folder / folders.RECORD, json.dumps(record))
    by_reading_all = folders.collect(NETWORKS, "demo").query("roi == 'V4' and seed == 5")
    monkeypatch.setattr(folders, "collect", None)
    found = folders.find(NETWORKS, "demo", roi="V4", seed=5)
    assert [str(found.folder)] == list(by_reading_all.folder)
    assert found.parameters == record["parameters"]
    (folder / folders.RECORD).unlink()
    folder.rmdir()
