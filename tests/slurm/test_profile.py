"""The workflow on a real Slurm of one node: its controller is killed and started again, a job dies and is retried."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from one_node import Unavailable, cluster, slurm

from nbtools import runs

pytestmark = [pytest.mark.slow, pytest.mark.notebook, pytest.mark.long]

# The executor asks Slurm after 20 s, then after 10 s more each time: right for hours, long for seconds.
START = """
from snakemake_executor_plugin_slurm import Executor
Executor.next_seconds_between_status_checks = property(lambda self: 2, lambda self, value: None)
from snakemake.cli import main
main()
"""
PROFILE = ("--profile", "config/slurm", "--configfile", "config/tiny.yaml", "--config", "rois=V1", "controls=none")
TARGETS = ("--", "responses", "attack_V1_seed0")
RULES = {"world", "responses", "predictor_V1_seed0", "network_V1_seed0", "attack_V1_seed0"}
DIES_ONCE = """
import os, signal
from pathlib import Path
died = Path("../died")
if roi == "V1" and not died.exists():
    died.touch()
    os.kill(os.getpid(), signal.SIGKILL)  # as when memory runs out
"""
LIMIT = 900  # seconds that any step may take on a busy machine


@dataclass(frozen=True)
class Pass:
    """One pass of the tiny study over the cluster.

    Attributes
    ----------
    project : Path
        A copy of the project; its data and runs lie inside.
    killed : dict
        Each record there was when the controller was killed: its text and when it was written.
    reported : set of str
        The rules that the controller had reported as finished by then.
    running : str
        What Slurm ran when its controller was dead.
    locked, resumed : str
        What a plain start said then, and what the next one said after `--unlock`.
    jobs : list of dict
        What Slurm remembers of every job.
    """

    project: Path
    killed: dict[Path, tuple[str, int]]
    reported: set[str]
    running: str
    locked: str
    resumed: str
    jobs: list[dict[str, str]]

    def records(self) -> dict[Path, tuple[str, int]]:
        return records(self.project)


def records(project: Path) -> dict[Path, tuple[str, int]]:
    return {file: (file.read_text(), file.stat().st_mtime_ns) for file in sorted((project / "runs").rglob("run.json"))}


def copy_project(project: Path) -> None:
    """Copy what runs; in the copy, V1's first attack dies: a job that only the second start submits."""
    for folder in ("nbtools", "notebooks", "config", "docs"):
        ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
        shutil.copytree(runs.PROJECT / folder, project / folder, ignore=ignored)
    shutil.copy(runs.PROJECT / "Snakefile", project)
    file = project / "notebooks/04_adversarial_attacks.ipynb"
    notebook = json.loads(file.read_text())
    dies = {"cell_type": "code", "id": "dies", "metadata": {}, "source": DIES_ONCE, "outputs": []}
    tags = [cell["metadata"].get("tags") for cell in notebook["cells"]]
    notebook["cells"].insert(tags.index(["parameters"]) + 1, {**dies, "execution_count": None})
    file.write_text(json.dumps(notebook))


def where(project: Path) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": str(project)}
    environment.pop("NBTOOLS_HOME", None)
    return {"cwd": project, "env": environment, "text": True}


def snakemake(project: Path, *arguments: str) -> str:
    command = [sys.executable, "-c", START, *PROFILE, *(arguments or TARGETS)]
    done = subprocess.run(command, **where(project), capture_output=True, timeout=LIMIT, check=False)
    return f"status {done.returncode}\n{done.stdout}{done.stderr}"


def finished(log: str) -> set[str]:
    return set(re.findall(r"^Finished jobid: \d+ \(Rule: (\w+)\)", log, re.MULTILINE))


def start_and_kill(project: Path, after: int) -> set[str]:
    """Kill the controller, and all it started itself, once so many jobs are finished; return which."""
    log = project / "first.log"
    with log.open("w") as file:
        command = [sys.executable, "-c", START, *PROFILE, *TARGETS]
        first = subprocess.Popen(command, **where(project), stdout=file, stderr=file, start_new_session=True)
    try:
        wait_until(lambda: len(finished(log.read_text())) >= after or first.poll() is not None, log.read_text)
        assert first.poll() is None, log.read_text()
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    return finished(log.read_text())


def wait_until(ready: Callable[[], object], what: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT
    while not ready():
        assert time.monotonic() < deadline, what()
        time.sleep(0.3)


def remembered() -> list[dict[str, str]]:
    lines = slurm("scontrol", "show", "jobs", "--oneliner").splitlines()
    return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pass]:
    base = tmp_path_factory.mktemp("slurm")
    project = base / "project"
    copy_project(project)
    try:
        with cluster(base / "cluster"):
            reported = start_and_kill(project, after=2)
            killed, running = records(project), slurm("squeue", "--noheader", "--states=RUNNING")
            locked = snakemake(project)
            snakemake(project, "--unlock")
            resumed = snakemake(project)
            yield Pass(project, killed, reported, running, locked, resumed, remembered())
    except Unavailable as reason:
        pytest.skip(str(reason))
    shutil.rmtree(project)


def test_the_study_ends_well(study: Pass) -> None:
    assert study.resumed.startswith("status 0"), study.resumed
    assert len(study.records()) == len(RULES) - 1, "every rule but the world leaves a run"


def test_every_run_was_a_job_of_slurm(study: Pass) -> None:
    completed = {job["JobId"]: job["Comment"] for job in study.jobs if job["JobState"] == "COMPLETED"}
    assert {comment.removeprefix("rule_") for comment in completed.values()} == RULES
    assert {json.loads(text)["slurm_job"] for text, _ in study.records().values()} <= completed.keys()


def test_jobs_say_what_they_need(study: Pass) -> None:
    for job in study.jobs:
        assert job["TimeLimit"] != "UNLIMITED", job
        assert job["MinMemoryNode"] != "0", job
        assert job["Requeue"] == "1", job
        assert "gres" not in job.get("TresPerJob", ""), "no GPU where none is asked for"


def test_what_was_finished_before_the_kill_is_not_done_again(study: Pass) -> None:
    assert study.running, "the controller died, its jobs did not"
    assert "lock" in study.locked
    assert study.killed
    for file, (text, _) in study.killed.items():
        assert study.records()[file][0] == text, f"{file.parent.name} was computed twice"
    done = {f"rule_{name}" for name in study.reported}
    again = [job["Comment"] for job in study.jobs if job["Comment"] in done]
    assert sorted(again) == sorted(done), "what was reported is not even submitted again"


def test_a_job_that_dies_is_tried_again(study: Pass) -> None:
    failed = [job for job in study.jobs if job["JobState"] != "COMPLETED"]
    assert [job["JobState"] for job in failed] == ["FAILED"]
    assert failed[0]["Comment"] == "rule_attack_V1_seed0"
    assert "Trying to restart job" in study.resumed
    log = study.project / f".snakemake/slurm_logs/rule_attack_V1_seed0/{failed[0]['JobId']}.log"
    assert "died" in log.read_text(), "the log of what failed is kept"


def test_a_job_that_is_told_to_end_goes_back_into_the_queue(study: Pass) -> None:
    """By docs/array.sh, without Snakemake: its training is kept, and taken up when it starts again."""
    script = study.project / "docs/array.sh"
    text = script.read_text().replace(".venv/bin/python", sys.executable)
    script.write_text(text.replace("-p roi", "-p study tiny -p alpha 0.5 -p epochs 8 -p roi"))
    options = ["--parsable", "--array=0", f"--chdir={study.project}", "--export=ALL,OMP_NUM_THREADS=1"]
    done = subprocess.run(["sbatch", *options, script], **where(study.project), capture_output=True, check=True)
    number = done.stdout.strip()

    def job() -> dict[str, str]:
        return next(job for job in remembered() if job["JobId"] == number)

    def kept() -> list[Path]:
        return list((study.project / "runs/tiny/03_guided_training").glob("V1_*alpha=0.5*/checkpoint.safetensors"))

    wait_until(kept, job)
    slurm("scancel", "--signal=TERM", number)
    wait_until(lambda: job()["Restarts"] == "1" and job()["JobState"] == "PENDING", job)
    slurm("scontrol", "update", f"JobId={number}", "StartTime=now")  # Slurm lets such a job wait for two minutes
    (checkpoint,) = kept()
    assert not (checkpoint.parent / "run.json").exists()
    wait_until(lambda: job()["JobState"] in ("COMPLETED", "FAILED"), job)
    assert job()["JobState"] == "COMPLETED", (study.project / f"slurm-{number}_0.out").read_text()
    assert (checkpoint.parent / "run.json").exists()
