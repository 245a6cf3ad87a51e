"""Preregistration: one plan, one file that no one changes; reports tell what was fixed from what was seen later."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from nbtools.cli import main
from nbtools.data.study import home
from nbtools.errors import InputError
from nbtools.runs import folders
from nbtools.runs.provenance import code_cells, registrations, sources
from nbtools.runs.repeat import differing
from nbtools.workflow import preregistration
from nbtools.workflow.beforehand import LATER, Beforehand, beforehand
from nbtools.workflow.preregistration import Preregistration, in_force, plan_of, preregister, read, read_all

CONDITIONS = "none V1 V2 TO"
CONFIG: dict[str, Any] = {
    "study": "tiny",
    "profile": "tiny",
    "rois": "V1 V2 TO",
    "controls": "none",
    "further": "",
    "alphas": "",
    "seeds": "0 1 2",
    "settings": {
        "03_guided_training": {"epochs": 3},
        "04_adversarial_attacks": {"epsilons": "2 4 8", "n_images": 20},
        "10_summary": {"epsilons": "2 4", "attack": "LinfPGD"},
    },
}
SEEDS = (0, 1, 2)
PLAN = plan_of(CONFIG)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))
    monkeypatch.setattr(preregistration, "sources", lambda _: [])  # digesting all code takes half a second
    study, folders_of = home() / "data/derived/tiny", {"classification": "c", "cue_conflict": "q", "corruptions": "n"}
    folders_of["scanner_labels"] = "l"
    for folder in ("nsd", "c/train", "c/val", "q", "n", "l"):
        (study / folder).mkdir(parents=True)
    entries = {"name": "tiny", "simulated": True, "nsd": "nsd", "subject": 1, "image_size": 32, **folders_of}
    (study / "study.toml").write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in entries.items()))


def decided(right: float, name: str, seed: int, epsilons: tuple[float, ...] = (0, 2, 4, 8)) -> pd.DataFrame:
    """Decisions about 20 images of which a share is right, fewer at larger ε."""
    parts = []
    for epsilon in epsilons:
        stands = np.arange(20) < round(20 * right) - epsilon
        said = {"image_id": [f"i{i}" for i in range(20)], "label": 0, "prediction": np.where(stands, 0, 1)}
        parts.append(pd.DataFrame({**said, "epsilon": epsilon / 255, "margin": np.where(stands, 1.0, -1.0)}))
    return pd.concat(parts, ignore_index=True).assign(condition=name, seed=seed, attack="LinfPGD")


def planted(notebook: str, inputs: tuple[Path, ...] = (), **parameters: Any) -> Path:
    """A finished run that came from others, with a table; its path."""
    full = folders.typed(notebook, {**folders.defaults(notebook), "study": "tiny", **parameters})
    folder = folders.run_folder(notebook, full)
    folder.mkdir(parents=True)
    decided(0.9, str(full.get("roi")), int(full.get("seed", 0))).to_parquet(folder / "decisions.parquet")
    named = {file.relative_to(home()).as_posix(): {} for file in inputs}
    record = {"notebook": notebook, "parameters": full, "inputs": named, "seconds": 1.0}
    (folder / folders.RECORD).write_text(json.dumps({**record, "finished": "2026-01-01T00:00:00+0000"}))
    return folder / "decisions.parquet"


def attacked(roi: str, seed: int, trained: dict[str, Any] | None = None, **parameters: Any) -> Path:
    """A planted network and its attack, as planned but for what is given."""
    network = planted("03_guided_training", roi=roi, seed=seed, **{"epochs": 3, **(trained or {})})
    how = {"epsilons": "2 4 8", "n_images": 20, **parameters}
    return planted("04_adversarial_attacks", (network,), roi=roi, seed=seed, **how)


def networks(least: float = 0.9) -> pd.DataFrame:
    """Accuracies of three seeds; the V2 network of seed 1 has the least on clean images."""
    rows = [(name, seed, epsilon / 255) for name in CONDITIONS.split() for seed in SEEDS for epsilon in (0, 2, 4)]
    table = pd.DataFrame(rows, columns=["condition", "seed", "epsilon"]).assign(subject="tiny", accuracy=0.9)
    table.loc[(table.condition == "V2") & (table.seed == 1), "accuracy"] = least
    return table


def summary(inputs: tuple[Path, ...] = (), table: pd.DataFrame | None = None, **parameters: Any) -> Beforehand:
    """A run of notebook 10 on the plan's networks, or otherwise, beside what was fixed."""
    asked = {
        "study": "tiny",
        "rois": CONDITIONS,
        "seeds": "0 1 2",
        "epsilons": "2 4",
        "attack": "LinfPGD",
        **parameters,
    }
    full = folders.typed("10_summary", {**folders.defaults("10_summary"), **asked})
    run = folders.Run("10_summary", full, home() / "runs/tiny/10_summary/one", finished=False)
    run.reads(*inputs)
    return beforehand(run, networks() if table is None else table)


def leaves(entries: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places in nested dicts where something stands that is no dict."""
    for name, value in entries.items():
        yield from leaves(value, (*at, name)) if isinstance(value, dict) else [(*at, name)]


def altered(entries: dict[str, Any], place: tuple[Any, ...]) -> dict[str, Any]:
    """A copy in which another thing stands at a place."""
    copy = inner = deepcopy(entries)
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = [*inner[place[-1]], "more"] if isinstance(inner[place[-1]], list) else "other"
    return copy


def shuffled(entries: Any, order: random.Random) -> Any:
    if not isinstance(entries, dict):
        return entries
    names = order.sample(list(entries), len(entries))
    return {name: shuffled(entries[name], order) for name in names}


# --- what is fixed ------------------------------------------------------------------------------------------


@given(st.randoms())
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_same_plan_has_the_same_digest_in_whatever_order_its_keys_stand(order: random.Random) -> None:
    assert preregistration._digest(plan_of(shuffled(CONFIG, order))) == preregistration._digest(PLAN)
    assert preregistration._digest(shuffled(PLAN, order)) == preregistration._digest(PLAN)


@given(st.sampled_from(list(leaves(PLAN))))
@settings(max_examples=50, deadline=None)
def test_whatever_is_changed_is_reported_by_its_name_alone(place: tuple[Any, ...]) -> None:
    other = altered(PLAN, place)
    assert [line.partition(": ")[0] for line in differing(PLAN, other)] == [".".join(place)]
    assert preregistration._digest(other) != preregistration._digest(PLAN)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"seeds": "0 1"}, "settings.10_summary.seeds"),
        ({"rois": "V1 V2 V4 TO"}, "regions"),
        ({"controls": "none random"}, "settings.10_summary.rois"),
        ({"world_seed": 1}, "world"),
        ({"settings": {"03_guided_training": {"alpha": 0.5}}}, "settings.10_summary.alpha"),
        ({"settings": {"03_guided_training": {"target_scale": "raw"}}}, "settings.03_guided_training.target_scale"),
        ({"settings": {"04_adversarial_attacks": {"steps": 7}}}, "settings.04_adversarial_attacks.steps"),
        ({"settings": {"10_summary": {"subjects": "tiny-2"}}}, "settings.10_summary.subjects"),
    ],
)
def test_what_a_study_s_file_fixes_is_in_its_plan(change: dict[str, Any], name: str) -> None:
    found = [line.partition(": ")[0] for line in differing(plan_of(CONFIG), plan_of({**CONFIG, **change}))]
    assert name in found


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ({"endpoint": "accuracy at 2/255"}, "endpoint"),
        ({"least_clean": 0.5}, "exclusion.least clean accuracy"),
        ({"note": "one-sided"}, "note"),
    ],
)
def test_what_is_said_beside_the_file_is_in_the_plan_too(said: dict[str, Any], name: str) -> None:
    assert [line.partition(": ")[0] for line in differing(PLAN, plan_of(CONFIG, **said))] == [name]


def test_the_primary_endpoint_is_one_that_notebook_10_can_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert PLAN["endpoint"] == "accuracy at 4/255"
    attacked_so = {name: {"epsilons": "0.5 2 4 16"} for name in ("04_adversarial_attacks", "10_summary")}
    assert plan_of({**CONFIG, "settings": attacked_so})["endpoint"] == "accuracy at 16/255"
    with pytest.raises(InputError, match="accuracy at 2/255, accuracy at 4/255"):
        plan_of(CONFIG, endpoint="accuracy at 8/255")
    assert main(["preregister", "--endpoint", "accuracy"]) == 1
    assert main(["preregister", "--least-clean", "60"]) == 1
    assert not registrations("demo").exists()
    assert main(["preregister", "--seeds", "0 1 2", "--note", "in class"]) == 0
    assert "before any of its attacked networks was there" in capsys.readouterr().out
    assert read_all("demo")[0].plan["settings"]["10_summary"]["seeds"] == ["0", "1", "2"]


# --- files --------------------------------------------------------------------------------------------------


def test_a_plan_is_written_once_and_another_beside_it() -> None:
    told = preregister(CONFIG)
    (one,) = read_all("tiny")
    assert one.plan == PLAN
    assert str(one) in told
    before = one.file.read_bytes(), one.file.stat().st_mtime_ns
    again = preregister(shuffled(CONFIG, random.Random(0)))
    assert "nothing is written" in again
    assert str(one) in again
    told = preregister({**CONFIG, "seeds": "0 1"}, least_clean=0.5)
    assert f"the first was fixed on {one}" in told
    assert "exclusion.least clean accuracy: 0.0 → 0.5" in told
    assert "settings.10_summary.seeds: 0 1 2 → 0 1" in told
    assert (one.file.read_bytes(), one.file.stat().st_mtime_ns) == before
    assert [found.plan for found in read_all("tiny")] == [PLAN, plan_of({**CONFIG, "seeds": "0 1"}, least_clean=0.5)]
    assert {file.suffix for file in one.file.parent.iterdir()} == {".json"}


def test_a_file_that_was_changed_is_refused(tmp_path: Path) -> None:
    preregister(CONFIG)
    file = read_all("tiny")[0].file
    text, record = file.read_text(), json.loads(file.read_text())
    for place in leaves(record):
        file.write_text(json.dumps(altered(record, place)))
        with pytest.raises(InputError, match=r"changed after|damaged"):
            read(file)
    for end in range(0, len(text) - 2, len(text) // 40):
        file.write_text(text[:end])
        with pytest.raises(InputError, match="damaged"):
            read(file)
    for other in ("[]", '"text"', "{}", "NaN"):
        file.write_text(other)
        with pytest.raises(InputError, match="damaged"):
            read(file)
    file.write_text(text)
    assert read(file).plan == PLAN
    later = file.rename(file.with_name(file.name.replace("20", "21", 1)))
    with pytest.raises(InputError, match="changed after"):
        read_all("tiny")
    with pytest.raises(InputError, match="changed after"):
        preregister(CONFIG)
    assert later.read_text() == text


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_kill_leaves_no_half_of_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    if (process := os.fork()) == 0:  # written, and not yet in its place
        monkeypatch.setattr(Path, "replace", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        preregister(CONFIG)
    assert os.waitpid(process, 0)[1] == signal.SIGKILL
    assert read_all("tiny") == []
    assert "fixed on" in preregister(CONFIG)
    assert len(read_all("tiny")) == 1


# --- before and after data ----------------------------------------------------------------------------------


def test_it_says_which_data_were_there() -> None:
    preregister(CONFIG)
    attacked("none", 7)  # a pilot's
    preregister(CONFIG, note="with pilots")
    attacked("TO", 0, n_images=5)  # the network is the plan's, however it was attacked
    preregister(CONFIG, note="too late")
    assert [(one.planned_there, one.others_there) for one in read_all("tiny")] == [(0, 0), (0, 1), (1, 1)]
    assert read_all("tiny")[2].seen.startswith("after data were seen: 1 of its attacked networks")


def test_the_last_before_data_were_seen_is_in_force_or_the_first() -> None:
    def fixed(note: str, there: int) -> Preregistration:
        return Preregistration(Path(note), {}, "2026-01-01", there, 0, {})

    assert in_force([]) is None
    assert in_force([fixed("a", 0), fixed("b", 0), fixed("c", 3)]) == fixed("b", 0)
    assert in_force([fixed("a", 2), fixed("b", 3)]) == fixed("a", 2)


def test_a_finished_summary_is_old_once_there_is_more_that_was_fixed() -> None:
    def finished(name: str) -> folders.Run:
        run = folders.start("10_summary", {**folders.defaults("10_summary"), "study": "tiny", "rois": name})
        beforehand(run, networks())
        run.finish()
        assert folders.stale(run.folder) == []
        return run

    run = finished("none V1")
    preregister(CONFIG)
    assert folders.stale(run.folder) == ["runs/tiny/preregistration"]
    run = finished("none V2")
    record = json.loads((run.folder / folders.RECORD).read_text())
    assert record["preregistered"] == [read_all("tiny")[0].file.stem]
    assert f"runs/tiny/preregistration/{record['preregistered'][0]}.json" in record["inputs"]


# --- what a report says -------------------------------------------------------------------------------------


def test_nothing_fixed_marks_nothing() -> None:
    found = summary()
    assert found.mark([4 / 255], ["V1"]) == ""
    assert found.said({0.0: "rises"}) == {0.0: "rises"}
    assert found.titled("title", [4 / 255], ["V1"]) == "title"
    assert list(found.marked(pd.DataFrame({"measure": ["noise"]}), [])) == ["measure"]
    assert found.kept(networks(0.01)).equals(networks(0.01))
    assert "Nothing was fixed beforehand" in found.words


def test_what_was_fixed_and_what_was_added_are_told_apart() -> None:
    preregister(CONFIG)
    found = summary((attacked("V1", 0),), rois=f"{CONDITIONS} random", epsilons="2 4 8", analyses="07_shape_bias")
    date = str(read_all("tiny")[0])
    assert found.departures == {}
    assert found.mark([4 / 255]) == f"primary endpoint, fixed beforehand on {date}"
    assert found.mark(["accuracy at 2/255"]) == f"fixed beforehand on {date}"
    assert found.mark([8 / 255]) == found.mark([8 / 255], ["V1"]) == LATER
    assert (
        found.mark([2 / 255, 8 / 255], ["V1", "random"])
        == f"fixed beforehand on {date}; {LATER}: accuracy at 8/255, random"
    )
    assert found.mark(["shape bias"], analysis="07_shape_bias") == f"fixed beforehand on {date}"  # `study` runs it
    assert found.mark(["noise"], analysis="17_natural_corruptions") == LATER
    assert found.said({2 / 255: "rises", 8 / 255: "falls"})[8 / 255] == f"falls [{LATER}]"
    assert "before any of its attacked networks was there" in found.words


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seeds": "0 1"}, "seeds: planned 0 1 2, here 0 1"),
        ({"seeds": "0 1 2 3"}, "seeds: planned 0 1 2, here 0 1 2 3"),
        ({"subjects": "tiny-2"}, "subjects: planned none, here tiny-2"),
        ({"alpha": 0.5}, "alpha: planned 0.9, here 0.5"),
        ({"attack": "L2PGD"}, "attack: planned LinfPGD, here L2PGD"),
        ({"rois": "none V1 TO"}, "regions: planned V1 V2 TO, here V1 TO"),
        ({"rois": f"{CONDITIONS} V4"}, "regions: planned V1 V2 TO, here V1 V2 V4 TO"),
    ],
)
def test_another_sample_was_not_fixed(change: dict[str, Any], told: str) -> None:
    preregister(CONFIG)
    found = summary(**change)
    assert found.departures == {"10_summary": [told]}
    assert found.mark([4 / 255]) == LATER
    assert f"Not as fixed: {told}" in found.words


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"trained": {"epochs": 19}}, "03_guided_training epochs: planned 3, here 19"),
        ({"trained": {"target_scale": "raw"}}, "03_guided_training target_scale: planned global, here raw"),
        ({"n_images": 60}, "04_adversarial_attacks n_images: planned 20, here 60"),
        ({"steps": 1}, "04_adversarial_attacks steps: planned 20, here 1"),
    ],
)
def test_networks_trained_or_attacked_otherwise_are_found_out(given: dict[str, Any], told: str) -> None:
    preregister(CONFIG)
    found = summary((attacked("V1", 0), attacked("TO", 1, **given)))
    assert f"Not as fixed: {told}" in found.words
    assert found.mark([4 / 255], ["V1"]) == LATER


def test_an_analysis_with_other_settings_spoils_itself_alone() -> None:
    preregister(CONFIG)
    run = planted("06_smoothness_and_transfer", (attacked("V1", 0),), rois=CONDITIONS, n_images=7)
    found = summary((run,), analyses="06_smoothness_and_transfer 07_shape_bias")
    assert found.mark(["smoothness"], analysis="06_smoothness_and_transfer") == LATER
    scores = [
        pd.DataFrame({"measure": ["accuracy at 4/255"]}),
        *(pd.DataFrame({"measure": [n], "analysis": n}) for n in found.departures),
    ]
    measures = pd.DataFrame({"measure": ["accuracy at 4/255", "06_smoothness_and_transfer"]})
    first, second = found.marked(measures, scores)["mark"]
    assert first.startswith("primary endpoint")
    assert second == LATER


def test_what_was_fixed_after_data_were_seen_says_so() -> None:
    attacked("V1", 0)
    preregister(CONFIG)
    assert summary().mark([4 / 255]).startswith("primary endpoint, fixed after data were seen on")
    assert "after data were seen: 1 of its attacked networks" in summary().words


def test_a_later_one_is_named_and_not_gone_by() -> None:
    preregister(CONFIG)
    attacked("V1", 0)
    preregister(CONFIG, endpoint="accuracy at 2/255")
    found = summary()
    assert found.mark([4 / 255]).startswith("primary endpoint")
    assert "endpoint: accuracy at 4/255 → accuracy at 2/255" in found.words


def test_a_network_that_cannot_classify_takes_its_seed_along() -> None:
    preregister(CONFIG, least_clean=0.5)
    found = summary(table=networks(0.3))
    assert set(found.kept(networks(0.3))["seed"]) == {0, 2}
    assert set(found.kept(networks(0.3))["condition"]) == set(CONDITIONS.split())
    assert "V2 of seed 1 (0.30)" in found.words
    assert summary().excluded.empty
    none_left = summary(table=networks().assign(accuracy=0.1))
    assert len(none_left.kept(networks())) == len(networks()), "a first look does not stop the study"
    assert none_left.mark([4 / 255]) == LATER
    assert "every seed has a network to exclude" in none_left.words


@pytest.mark.parametrize(("lacking", "words"), [({"rois": "V1 TO"}, "regions"), ({"seeds": "0"}, "networks")])
def test_what_has_no_test_is_not_fixed(lacking: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=f"no test to fix: {words}"):
        plan_of({**CONFIG, **lacking})


def test_code_and_packages_that_changed_since_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preregistration, "sources", sources)
    now = preregistration.surroundings()
    monkeypatch.setattr(preregistration, "surroundings", lambda: {**now, "packages": {**now["packages"], "torch": "1"}})
    preregister(CONFIG)
    monkeypatch.setitem(beforehand.__globals__, "unchanged", lambda name, _: not name.endswith("metrics/stats.py"))
    assert f"Changed since then: nbtools/metrics/stats.py, torch: 1 → {now['packages']['torch']}" in summary().words


@pytest.mark.notebook
def test_notebook_10_goes_by_it() -> None:
    preregister(CONFIG, least_clean=0.5)
    for name, seed in ((name, seed) for name in CONDITIONS.split() for seed in SEEDS):
        file = attacked(name, seed)
        decided(0.2 if (name, seed) == ("V2", 1) else 0.9, name, seed).to_parquet(file)
    asked = {"study": "tiny", "rois": CONDITIONS, "seeds": "0 1 2", "epsilons": "2 4 8", "attack": "LinfPGD"}
    exec("\n".join(code_cells(folders.NOTEBOOKS / "10_summary.ipynb")), {**folders.defaults("10_summary"), **asked})
    run = folders.find("10_summary", **asked)
    assert set(run.table("accuracy")["n_seeds"]) == {2}
    assert list(run.table("claims")["mark"].str.split(" on ").str[0]) == [
        *("fixed beforehand", "primary endpoint, fixed beforehand", LATER)
    ]
    report, verdict = ((run.folder / name).read_text() for name in ("report.html", "verdict.txt"))
    date = str(read_all("tiny")[0])
    assert "V2 of seed 1 (0.20)" in report
    assert date in report
    assert f"[primary endpoint, fixed beforehand on {date}]" in verdict
    assert f"[{LATER}]" in verdict
