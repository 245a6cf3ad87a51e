"""Following a study: events in, lines out; how long the rest takes is learned from what is finished."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from nbtools.cli import main
from nbtools.data.study import home, study_file
from nbtools.errors import InputError
from nbtools.runs import folders
from nbtools.workflow import follow
from nbtools.workflow.config import read_config
from nbtools.workflow.follow import SILENCE, Progress, about, how_far, label
from nbtools.workflow.graph import make_graph
from nbtools.workflow.jobs import SUMMARY, Job

TINY = read_config(folders.PROJECT / "config/tiny.yaml")


class Clock:
    """Time as a test has it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))
    monkeypatch.setattr("time.monotonic", clock)
    return clock


@pytest.fixture
def progress(clock: Clock) -> Progress:
    made = Progress(make_graph(TINY), ["all"])
    made.hear(event(LogEvent.RESOURCES_INFO, cores=2))
    return made


def event(kind: LogEvent | None, level: int = logging.INFO, text: str = "", **values: Any) -> logging.LogRecord:
    record = logging.LogRecord("snakemake", level, "", 0, text, None, None)
    vars(record).update(values, event=kind)
    return record


def make(progress: Progress, clock: Clock, name: str, seconds: float) -> None:
    """Let a run be made in that time."""
    number = len(progress.finished)
    progress.hear(event(LogEvent.JOB_INFO, jobid=number, rule_name=name))
    clock.now += seconds
    progress.hear(event(LogEvent.JOB_FINISHED, job_id=number))


def fail(progress: Progress, name: str, *further_logs: str) -> None:
    logs = [str(progress.jobs[name].log), *further_logs]
    progress.hear(event(LogEvent.JOB_ERROR, logging.ERROR, "Error in rule", rule_name=name, log=logs))


def plant_summary(job: Job) -> None:
    """Leave what a finished summary leaves."""
    job.record.parent.mkdir(parents=True)
    values = {"notebook": job.notebook, "parameters": dict(job.parameters), "inputs": {}, "seconds": 1}
    job.record.write_text(json.dumps({**values, "finished": "2026-01-01T00:00:00+0000"}))
    rows = [{"condition": name, "epsilon": 0.0, "accuracy": 0.5} for name in job.parameters.get("rois", "TO").split()]
    pd.DataFrame(rows).to_parquet(job.record.with_name("accuracy.parquet"))
    job.record.with_name("verdict.txt").write_text("the verdict")
    job.record.with_name("report.html").write_text(f"the report of {job.name}")


def plant_study() -> None:
    """Leave a study's description, and the folders it needs."""
    for part in ("train", "val"):
        (study_file("tiny").parent / part).mkdir(parents=True)
    study_file("tiny").write_text(
        'name = "tiny"\nsimulated = true\nimage_size = 32\nsubject = 1\nnsd = "."\nclassification = "."\n'
    )


# --- lines --------------------------------------------------------------------------------------------------


def test_a_smaller_report_that_ends_later_does_not_take_the_larger_ones_place(
    progress: Progress, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = sorted(
        (job for job in progress.jobs.values() if job.notebook == SUMMARY), key=lambda job: len(job.after)
    )
    for job in (second, first):
        plant_summary(job)
        make(progress, clock, job.name, 3)
    assert (home() / "runs/tiny/report.html").read_text() == f"the report of {second.name}"
    assert capsys.readouterr().out.count("report of ") == 1


def test_a_run_is_a_line_with_its_number_name_time_and_what_is_left(
    progress: Progress, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    n_jobs = len(progress.jobs)
    progress.hear(event(LogEvent.RUN_INFO))
    first, report = capsys.readouterr().out.splitlines()
    assert first.startswith(f"tiny: {n_jobs} runs, {n_jobs} to make · ")
    assert first.endswith(" left")
    assert report.endswith("/runs/tiny/report.html")
    make(progress, clock, "world", 9)
    make(progress, clock, "predictor_V1_seed0", 14)
    world, line = capsys.readouterr().out.splitlines()
    assert world.startswith("world · 9 s · ")
    assert line.startswith(f"1 of {n_jobs} · predictor V1, seed 0 · 14 s · ")
    assert line.endswith(" left")
    progress.end(1)


def test_all_runs_are_counted_and_the_report_grows(
    progress: Progress, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    summaries = sorted(
        (job for job in progress.jobs.values() if job.notebook == SUMMARY), key=lambda job: len(job.after)
    )
    for job in summaries:
        plant_summary(job)
    for name in [*(progress.jobs.keys() - {job.name for job in summaries}), *(job.name for job in summaries)]:
        make(progress, clock, name, 1)
        if (job := progress.jobs[name]) in summaries:
            assert (home() / "runs/tiny/report.html").read_text() == f"the report of {name}"
            assert f"report of {job.parameters['rois']}, seeds 0: " in capsys.readouterr().out
    make(progress, clock, "all", 1)
    plant_study()
    progress.end(0)
    shown = capsys.readouterr().out
    assert progress.minutes_left() == 0
    assert "the verdict" in shown
    assert "TO-shuffle" in shown, "the table is that of the largest summary"
    assert (home() / "runs/tiny/report.html").read_text() == "the report of summary"


def test_what_was_finished_before_is_counted_and_not_told_again(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    planned = make_graph(TINY)
    job = next(job for job in planned.jobs if job.name == "predictor_V1_seed0")
    job.record.parent.mkdir(parents=True)
    values = {"notebook": job.notebook, "parameters": dict(job.parameters), "inputs": {}, "seconds": 1}
    job.record.write_text(json.dumps({**values, "finished": "2026-01-01T00:00:00+0000"}))
    progress = Progress(planned, ["all"])
    make(progress, clock, job.name, 1)  # Snakemake looks at it again: its file may be older than a source
    assert capsys.readouterr().out == ""
    make(progress, clock, "predictor_TO_seed0", 1)
    assert capsys.readouterr().out.startswith(f"2 of {len(progress.jobs)} · ")


def test_a_finished_study_is_told_without_snakemake(
    clock: Clock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = make_graph(TINY)
    for job in planned.of("all"):
        plant_summary(job)
    plant_study()
    monkeypatch.setitem(sys.modules, "snakemake.cli", None)  # to import it is an error now
    assert follow(planned, ["all"], []) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("\nRobust accuracy"), "the summary, and nothing else"
    assert "the verdict" in shown
    with pytest.raises(ImportError):
        follow(planned, ["study"], [])


def test_silence_is_broken_once_a_minute(
    progress: Progress, clock: Clock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    class Over:
        """Said to be over after ten waits, each as long as asked for."""

        def wait(self, seconds: float) -> bool:
            waits.append(seconds)
            clock.now += seconds
            return len(waits) > 10

    progress._planned.loc[progress.jobs["network_V1_seed0"].record, "seconds"] = 3000.0
    progress.hear(event(LogEvent.JOB_INFO, jobid=1, rule_name="network_V1_seed0"))
    progress._over = Over()  # type: ignore[assignment]
    progress._watch()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert waits == [SILENCE] * 11
    assert all(" · at work: network V1, seed 0 · about " in line for line in lines)
    left = [int(line.split()[-3]) for line in lines]
    assert left == list(range(left[0], left[0] - 10, -1)), "minutes go by"


def test_a_terminal_has_one_bar_below_the_lines(
    progress: Progress, clock: Clock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", terminal)
    make(progress, clock, "predictor_V1_seed0", 14)
    progress.hear(event(LogEvent.JOB_INFO, jobid=1, rule_name="network_V1_seed0"))
    progress._over = Glances(clock, 3 * SILENCE)  # type: ignore[assignment]
    with progress.bar():
        progress._watch()
        assert len(capsys.readouterr().out.splitlines()) == 1, "of the run that is finished"
        shown = terminal.getvalue()
        assert re.search(rf"\| 1 of {len(progress.jobs)} · .* left · at work: network V1, seed 0", shown)
        assert "\n" not in shown
        progress._say("a line")
    assert capsys.readouterr().out == "a line\n"
    assert terminal.getvalue().split("\r")[-2].strip() == "", "it is gone in the end"
    progress._over = Glances(clock, 2 * SILENCE)  # type: ignore[assignment]
    progress._watch()
    assert len(capsys.readouterr().out.splitlines()) == 2, "lines again"


class Glances:
    """Said to be over after some seconds, of waits each as long as asked for."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self.clock, self.end = clock, clock.now + seconds

    def wait(self, seconds: float) -> bool:
        self.clock.now += seconds
        return self.clock.now > self.end


def test_a_run_at_work_says_how_far_it_is(progress: Progress, monkeypatch: pytest.MonkeyPatch) -> None:
    job = progress.jobs["network_V1_seed0"]
    assert how_far(None) == how_far(job) == ""
    job.record.parent.mkdir(parents=True)
    log = job.record.with_name("log.txt")
    log.write_text("images: 3 of 4 · …\ntraining: 7 of 400 · 01:00 gone, 09:00 left · 2.1batch/s, loss=0.3\n")
    assert how_far(job) == " (training: 7 of 400 · 01:00 gone, 09:00 left)"
    os.utime(log, (0, 0))
    assert how_far(job) == "", "that was long ago"


def test_a_run_that_is_late_says_that_the_rest_will_be(progress: Progress, clock: Clock) -> None:
    before = progress.minutes_left()
    progress.hear(event(LogEvent.JOB_INFO, jobid=1, rule_name="predictor_V1_seed0"))
    clock.now += 10 * progress._planned.seconds[progress.jobs["predictor_V1_seed0"].record]
    assert progress.minutes_left() > 5 * before


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("network_V1_seed0", "network V1, seed 0"),
        ("attack_TO-shuffle_alpha0.35_seed12", "attack TO-shuffle, alpha 0.35, seed 12"),
        ("attack_demo-2_V1_seed0_L2PGD-L2FMN", "attack demo-2 V1, seed 0 L2PGD-L2FMN"),
        ("summary_seeds_0_1", "summary seeds 0 1"),
        ("first_look", "first look"),
    ],
)
def test_a_rule_is_named_in_words(name: str, words: str) -> None:
    assert label(name) == words


@pytest.mark.parametrize(
    ("minutes", "words"),
    [(0, "less than a minute"), (1, "about 1 minute"), (6.4, "about 6 minutes"), (600, "about 10.0 hours")],
)
def test_what_is_left_is_told_roughly(minutes: float, words: str) -> None:
    assert about(minutes) == f"{words} left"


# --- how long the rest takes --------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.2, 1, 5])
def test_the_rest_takes_as_its_like_did(progress: Progress, clock: Clock, factor: float) -> None:
    """On a machine that needs `factor` times what was counted, one run is enough to know it."""
    before = Progress(progress.graph, ["all"])
    before.cores, before.finished = 2, {progress.jobs["network_start_seed0"].record}
    planned = progress._planned.seconds[progress.jobs["network_start_seed0"].record]
    make(progress, clock, "network_start_seed0", factor * planned)
    assert progress.minutes_left() == pytest.approx(factor * before.minutes_left())


def test_kinds_are_told_apart(progress: Progress, clock: Clock) -> None:
    """Each kind of run has its own pace: after one of each, the rest is known."""
    seconds = {"02": 40.0, "03": 12.0, "04": 5.0}
    for job in progress.jobs.values():  # the paces are planted
        progress._planned.loc[job.record, "seconds"] = 7.0
    done = {"predictor_V1_seed0": "02", "network_start_seed0": "03", "network_V1_seed0": "03", "attack_V1_seed0": "04"}
    for name, kind in done.items():
        make(progress, clock, name, seconds[kind])
    rest = [job for name, job in progress.jobs.items() if name not in done]
    progress.finished |= {job.record for job in rest if job.notebook[:2] not in seconds}  # of paces unknown yet
    left = [seconds[job.notebook[:2]] for job in rest if job.notebook[:2] in seconds]
    assert 60 * progress.minutes_left() == pytest.approx(max(sum(left) / 2, 40 + 12 + 5)), "two cores, or one chain"


def test_a_cluster_makes_many_at_once(progress: Progress) -> None:
    here = progress.minutes_left()
    progress.hear(event(LogEvent.RESOURCES_INFO, nodes=100))
    assert progress.minutes_left() < here / 1.5, "the longest chain alone"


# --- failures -----------------------------------------------------------------------------------------------


def test_a_failure_is_told_once_and_says_what_to_do(progress: Progress, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):  # Snakemake tells it at once, and in the end
        fail(progress, "attack_V1_seed0")
    progress.hear(event(LogEvent.ERROR, logging.ERROR, "At least one job did not complete successfully."))
    progress.end(1)
    told = capsys.readouterr().out
    assert told.count("failed: attack V1, seed 0") == 1
    assert told.splitlines()[-1].startswith(f"1 failed, {len(progress.jobs)} not made: mend")
    assert "At least one job" not in told


def test_a_failure_on_a_cluster_is_told_with_its_words_and_logs(
    progress: Progress, capsys: pytest.CaptureFixture[str]
) -> None:
    log = progress.jobs["attack_V1_seed0"].log
    fail(progress, "attack_V1_seed0", "slurm_logs/7.log")
    assert "it ended before its notebook said why\n  log:      slurm_logs/7.log\nfailed: " in capsys.readouterr().out
    log.parent.mkdir(parents=True)
    error = {"output_type": "error", "ename": "InputError", "evalue": "no such file\n  to do: look"}
    log.write_text(json.dumps({"cells": [{"outputs": [{"output_type": "stream"}, error]}, {}]}))
    progress.failed.clear()
    fail(progress, "attack_V1_seed0", "slurm_logs/7.log")
    assert "error: no such file\n  to do: look\n" in capsys.readouterr().out


def test_a_job_that_is_tried_again_has_not_failed(
    progress: Progress, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    fail(progress, "predictor_V1_seed0", "slurm_logs/7.log")
    make(progress, clock, "predictor_V1_seed0", 5)
    assert progress.failed == []


def stop(progress: Progress) -> None:
    progress.stopped = True
    fail(progress, "attack_V1_seed0")  # which the same Ctrl-C ended


def refuse(progress: Progress) -> None:
    progress.hear(event(LogEvent.ERROR, logging.ERROR, "Directory cannot be locked."))


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        (stop, "stopped: the same command goes on from here\n"),
        (refuse, "Directory cannot be locked.\n"),
        (lambda progress: None, "stopped: the same command goes on from here\n"),  # told to end by the system
    ],
)
def test_whatever_ends_it_is_told(
    happens: Callable[[Progress], None], said: str, progress: Progress, capsys: pytest.CaptureFixture[str]
) -> None:
    happens(progress)
    progress.end(1)
    assert capsys.readouterr().out == said


def test_an_unknown_target_is_refused(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="there is no such target"):
        follow(make_graph(TINY), ["everything"], [])
    assert main(["study", "--targets", "demo"]) == 1
    assert "expected: all, attacks, study, explorers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("named", "given"),
    [
        ("tiny", ["--configfile", str(folders.PROJECT / "config/tiny.yaml")]),
        ("config/tiny.yaml", ["--configfile", "config/tiny.yaml"]),
        ("tiny-2", ["--config", "study=tiny-2"]),
        ("tiny-2 --seeds 1", ["--config", "study=tiny-2", "seeds=1"]),
        ("config/null.yaml --rois TO", ["--configfile", "config/null.yaml", "--config", "rois=TO"]),
        ("--rois TO", ["--config", "study=demo", "rois=TO"]),
    ],
)
def test_snakemake_plans_from_what_the_study_is_named_by(
    named: str, given: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folders.PROJECT)
    asked: list[Any] = []
    monkeypatch.setattr("nbtools.workflow.follow", lambda *all_of_it: asked.append(all_of_it))
    main(["study", *named.split(), "--cores", "1"])
    ((planned, _, arguments),) = asked
    assert arguments == ["--cores", "1", *given]
    config = dict(word.split("=") for word in given if "=" in word)
    file = [read_config(Path(word)) for word in given if word.endswith(".yaml")]
    assert planned == make_graph({**(file[0] if file else {}), **config})


@pytest.mark.parametrize("study", ["mine", "nsd"])
def test_a_study_that_is_neither_there_nor_simulated_is_refused_in_words(
    study: str, clock: Clock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(f"study: {study}\n")
    assert main(["study", str(file)]) == 1
    out, err = capsys.readouterr()
    assert err.startswith(f"error: there is no study '{study}'")
    assert "stopped" not in out


@pytest.mark.parametrize("command", [["study"], ["calibrate", "--profile", "tiny"]])
@pytest.mark.parametrize("cores", ["0", "-2"])
def test_without_a_core_nothing_waits_for_one(
    command: list[str], cores: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--cores", cores]) == 1
    assert "--cores cannot be" in capsys.readouterr().err
