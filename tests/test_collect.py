"""Thousands of runs become one table: whole ones only, each once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nbtools.bench import study
from nbtools.errors import InputError
from nbtools.runs import folders
from nbtools.widgets.study_state import table_of

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


def test_the_newest_run_is_the_one_that_finished_last_wherever_it_ran(many: Path) -> None:
    """10:30 in Berlin is before 09:45 in London: as texts they stand the other way round."""
    record = json.loads((many / "runs/demo" / NETWORKS / "TO_seed=0_00000000/run.json").read_text())
    for place, finished in {"Berlin": "2026-07-01T10:30:00+0200", "London": "2026-07-01T09:45:00+0100"}.items():
        folder = many / "runs/other" / NETWORKS / place
        folders.write_text(folder / folders.RECORD, json.dumps({**record, "finished": finished}))
    found = folders.collect(NETWORKS, "other").assign(notebook=NETWORKS)
    assert Path(found.loc[found["finished"].idxmax(), "folder"]).name == "London"
    assert Path(found.loc[found["finished"].idxmin(), "folder"]).name == "Berlin"
    shown = table_of(found, [])["finished"]
    assert list(shown.sort_values().index) == list(found["finished"].sort_values().index)
    assert {text[-3:] for text in shown} == {":30", ":45"}


def test_a_time_that_is_none_is_a_damaged_record(many: Path) -> None:
    file = many / "runs/damaged" / NETWORKS / "TO_seed=0_00000000" / folders.RECORD
    record = json.loads((many / "runs/demo" / NETWORKS / "TO_seed=0_00000000/run.json").read_text())
    folders.write_text(file, json.dumps({**record, "finished": "yesterday"}))
    with pytest.raises(InputError, match="record is damaged"):
        folders.collect(NETWORKS, "damaged")
