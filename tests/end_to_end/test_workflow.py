"""The whole tiny study as a workflow: begun on a Slurm of one node, gone on with here, killed in both places.

Its first part runs through the Slurm profile: the controller is killed and started again, a job dies and is retried.
The rest runs on this machine's own cores, is killed in the middle, and taken up again. Without Slurm, all of it does.
"""

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
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
import yaml
from one_node import Unavailable, cluster, slurm

from nbtools.runs import folders

pytestmark = [
    pytest.mark.slow,
    pytest.mark.notebook,
    pytest.mark.skipif(os.name != "posix", reason="kills a process group"),
]

CONFIG = yaml.safe_load((folders.PROJECT / "config/tiny.yaml").read_text())
CONDITIONS = [*CONFIG["controls"].split(), *CONFIG["rois"].split()]
EVERY = [*CONFIG["further"].split(), *CONDITIONS]
HARDENED = [f"{guide}-{word}" for guide in ("none", "TO") for word in CONFIG["hardened"].split()]
HARDENED += [
    f"none-gauss-{2 * float(word.removeprefix('gauss-')):g}" for word in CONFIG["hardened"].split()
]  # twice as hard
FILTERED = [f"none-{word}" for word in CONFIG["filtered"].split()]
TARGETS = ("all", "study", "explorers")
DECISIONS = {"image_id", "label", "epsilon", "prediction", "margin", "condition", "seed"}
SCORES = {"measure", "condition", "score", "direction"}
EXPECTED = {
    "01_brain_responses": (1, {"noise_ceilings": {"roi", "voxel", "noise_ceiling"}}),
    "02_neural_predictors": (
        2,
        {
            "history": {"epoch", "split", "loss"},
            "pattern_r": {"roi", "image_id", "pattern_r", "control"},
            "voxels": {"roi", "voxel", "r", "noise_ceiling"},
        },
    ),
    "03_guided_training": (
        len(EVERY) + len(HARDENED) + len(FILTERED) + 1,
        {"history": {"epoch", "split", "loss", "accuracy"}},
    ),
    "04_adversarial_attacks": (len(EVERY) + len(HARDENED) + len(FILTERED), {"decisions": {"attack", *DECISIONS}}),
    "05_attack_explorer": (1, {"path": {"condition", "epsilon"}}),
    "06_smoothness_and_transfer": (1, {"scores": SCORES, "matched": {"condition", "difference"}}),
    "07_shape_bias": (1, {"scores": SCORES, "consistency": {"a", "b", "kappa"}}),
    "08_rsa": (1, {"model_region": set(), "mds": set()}),
    "09_manifolds": (1, {"scores": SCORES, "regions": {"condition", "measure", "value"}}),
    "10_summary": (3, {"accuracy": {"condition", "epsilon", "accuracy", "ci_low", "ci_high", "n_seeds"}}),
    "11_attacks_and_audit": (1, {"decisions": {"attack", *DECISIONS}, "audit": {"check", "passed"}}),
    "12_alpha": (1, {"matched": {"condition", "reached", "accuracy"}}),
    "13_manifold_guidance": (1, {"decisions": DECISIONS, "clouds": {"category", "radius"}}),
    "14_brain_and_geometry": (1, {"drive": {"roi"}, "rdms": set()}),
    "15_study_explorer": (1, {"runs": {"notebook"}}),
    "17_natural_corruptions": (1, {"mean": {"condition", "accuracy"}, "decisions": {"corruption", "severity"}}),
    "19_training_and_certificates": (
        1,
        {"certificates": {"radius"}, "interactions": {"finding"}, "fronts": {"control", "difference", "low"}},
    ),
    "20_frequency": (1, {"differences": {"control", "p_holm"}, "robust": {"accuracy"}, "fronts": {"difference"}}),
    "18_compare_networks": (1, {"scores": SCORES, "inputs": {"gradient", "attack_centroid"}, "spectra": {"share"}}),
    "22_other_images": (1, {"effective": {"images", "condition", "effective"}, "attacked": DECISIONS}),
    "21_mechanism": (1, {"dimensions": {"readout", "value"}, "lesions": DECISIONS | {"lesion", "attacked"}}),
}
LIMIT = 900  # seconds that any step may take on a busy machine

# The executor asks Slurm after 20 s, then after 10 s more each time: right for hours, long for seconds.
QUICK = """
from snakemake_executor_plugin_slurm import Executor
Executor.next_seconds_between_status_checks = property(lambda self: 2, lambda self, value: None)
from snakemake.cli import main
main()
"""
HERE = ["-m", "snakemake", "--cores", "2", "--configfile", "config/tiny.yaml"]
ON_SLURM = ["-c", QUICK, "--profile", "config/slurm", "--configfile", "config/tiny.yaml"]
STUDY = ["study", "config/tiny.yaml", "--cores", "2"]
FIRST = ("--", "responses", "attack_V1_seed0")
RULES = {"world", "responses", "predictor_V1_seed0", "network_start_seed0", "network_V1_seed0", "attack_V1_seed0"}
DIES = "attack_V1_seed0"  # a job that only the second start submits

Records = dict[Path, str]


# --- one study, run in parts --------------------------------------------------------------------------------


def where(project: Path) -> dict[str, Any]:
    """Run in the copy, with the copy's package, as text; without the browser that would draw a hundred figures."""
    environment = {**os.environ, "PYTHONPATH": str(project), "OMP_NUM_THREADS": "1", "BROWSER_PATH": "nowhere"}
    environment.pop("NBTOOLS_HOME", None)
    return {"cwd": project, "env": environment, "text": True}


def python(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], **where(project), capture_output=True, timeout=1500)


def told(done: subprocess.CompletedProcess[str]) -> str:
    return f"status {done.returncode}\n{done.stdout}{done.stderr}"


def records(project: Path) -> Records:
    """Each run's record, which says when it was finished; Snakemake touches the file once more."""
    return {file: file.read_text() for file in sorted((project / "runs").rglob("run.json"))}


def finished(log: str) -> set[str]:
    """The notebooks that Snakemake reported as run."""
    return set(re.findall(r"^Finished jobid: \d+ \(Rule: (\w+)\)", log, re.MULTILINE)) - {"world"}


def start_and_kill(project: Path, command: list[str], ready: Callable[[str], object]) -> set[str]:
    """Kill Snakemake, and all it started itself, once its log says so; return which notebooks it had reported."""
    log = project / "first.log"
    with log.open("w") as file:
        first = subprocess.Popen(
            [sys.executable, *command], **where(project), stdout=file, stderr=file, start_new_session=True
        )
    try:
        wait_until(lambda: ready(log.read_text()) or first.poll() is not None, log.read_text)
        assert first.poll() is None, log.read_text()
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    return finished(log.read_text())


def wait_until(ready: Callable[[], object], what: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT
    while not ready():
        assert time.monotonic() < deadline, what()
        time.sleep(0.02)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of what runs; its data and runs will lie inside."""
    project = tmp_path_factory.mktemp("workflow") / "project"
    ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
    for folder in ("nbtools", "notebooks", "config", "docs"):
        shutil.copytree(folders.PROJECT / folder, project / folder, ignore=ignored)
    shutil.copy(folders.PROJECT / "Snakefile", project)
    yield project
    shutil.rmtree(project)


# --- on Slurm -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OnSlurm:
    """The study's first part, on a cluster.

    Attributes
    ----------
    reported : set of str
        The notebooks that the controller had reported as run when it was killed.
    killed : dict
        Each record there was then.
    running : str
        What Slurm ran when its controller was dead.
    locked, resumed : str
        What a plain start said then, and what the next one said after `--unlock`.
    ended : dict
        Each record there was after it.
    jobs : list of dict
        What Slurm remembers of every job.
    """

    reported: set[str]
    killed: Records
    running: str
    locked: str
    resumed: str
    ended: Records
    jobs: list[dict[str, str]]


def remembered() -> list[dict[str, str]]:
    lines = slurm("scontrol", "show", "jobs", "--oneliner").splitlines()
    return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines]


def at_work() -> str:
    return slurm("squeue", "--noheader", "--states=RUNNING")


def kill_kernel(project: Path, snakemake: subprocess.Popen[str]) -> None:
    """End the kernel of `DIES` once it has one, as the system does when memory runs out."""

    def kernels() -> list[psutil.Process]:
        texts = [file.read_text() for file in (project / "runs/tiny/04_adversarial_attacks").glob("V1_*/.tmp-*.lock")]
        numbers = [int(number) for text in texts for number in re.findall(r"process (\d+)", text)]
        return [child for number in numbers for child in psutil.Process(number).children()]

    wait_until(lambda: kernels() or snakemake.poll() is not None, lambda: "no kernel")
    for kernel in kernels():
        kernel.kill()


@pytest.fixture(scope="module")
def on_slurm(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnSlurm | str]:
    """What went on there, or why there is no Slurm here."""
    with ExitStack() as stack:
        try:
            stack.enter_context(cluster(tmp_path_factory.mktemp("slurm") / "cluster"))
        except Unavailable as reason:
            yield str(reason)
            return
        reported = start_and_kill(project, [*ON_SLURM, *FIRST], lambda log: finished(log) and at_work())
        killed, running = records(project), at_work()
        locked = told(python(project, *ON_SLURM, *FIRST))
        python(project, *ON_SLURM, "--unlock")
        again = subprocess.Popen(
            [sys.executable, *ON_SLURM, *FIRST], **where(project), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        kill_kernel(project, again)
        log, _ = again.communicate(timeout=LIMIT)
        resumed = f"status {again.returncode}\n{log}"
        yield OnSlurm(reported, killed, running, locked, resumed, records(project), remembered())


@pytest.fixture(scope="module")
def first_part(on_slurm: OnSlurm | str) -> OnSlurm:
    if isinstance(on_slurm, str):
        pytest.skip(on_slurm)
    return on_slurm


class TestOnSlurm:
    def test_the_study_ends_well(self, first_part: OnSlurm) -> None:
        assert first_part.resumed.startswith("status 0"), first_part.resumed
        assert len(first_part.ended) == len(RULES) - 1, "every rule but the world leaves a run"

    def test_every_run_was_a_job_of_slurm(self, first_part: OnSlurm) -> None:
        completed = {job["JobId"]: job["Comment"] for job in first_part.jobs if job["JobState"] == "COMPLETED"}
        assert {comment.removeprefix("rule_") for comment in completed.values()} == RULES
        assert {json.loads(file.read_text())["slurm_job"] for file in first_part.ended} <= completed.keys()

    def test_jobs_say_what_they_need(self, first_part: OnSlurm) -> None:
        for job in first_part.jobs:
            assert job["TimeLimit"] != "UNLIMITED", job
            assert job["MinMemoryNode"] != "0", job
            assert job["Requeue"] == "1", job
            assert "gres" not in job.get("TresPerJob", ""), "no GPU where none is asked for"

    def test_what_was_finished_before_the_kill_is_not_done_again(self, first_part: OnSlurm) -> None:
        assert first_part.running, "the controller died, its jobs did not"
        assert "lock" in first_part.locked
        assert first_part.killed
        for file, record in first_part.killed.items():
            assert first_part.ended[file] == record, f"{file.parent.name} was computed twice"
        done = {f"rule_{name}" for name in first_part.reported}
        again = [job["Comment"] for job in first_part.jobs if job["Comment"] in done]
        assert sorted(again) == sorted(done), "what was reported is not even submitted again"

    def test_a_job_that_dies_is_tried_again(self, first_part: OnSlurm, project: Path) -> None:
        failed = [job for job in first_part.jobs if job["JobState"] != "COMPLETED"]
        assert [job["JobState"] for job in failed] == ["FAILED"]
        assert failed[0]["Comment"] == f"rule_{DIES}"
        assert "Trying to restart job" in first_part.resumed
        log = project / f".snakemake/slurm_logs/rule_{DIES}/{failed[0]['JobId']}.log"
        assert "died" in log.read_text(), "the log of what failed is kept"

    def test_tasks_of_one_step_train_one_network(self, first_part: OnSlurm, project: Path, tmp_path: Path) -> None:
        shutil.copytree(project / "data", tmp_path / "data")  # into a home of its own
        srun = ["srun", "--ntasks=2", f"--export=ALL,NBTOOLS_HOME={tmp_path}", sys.executable, "-m", "nbtools", "run"]
        given = ["02_neural_predictors", "-p", "study", "tiny", "-p", "epochs", "1", "-p", "devices", "2"]
        done = subprocess.run([*srun, *given], **where(project), capture_output=True, timeout=LIMIT)
        assert done.returncode == 0, told(done)
        assert "Starting with 2 processes" in told(done)
        (run,) = (tmp_path / "runs/tiny/02_neural_predictors").iterdir()
        assert {"run.json", "history.parquet", "weights.safetensors"} <= {file.name for file in run.iterdir()}

    def test_a_job_that_is_told_to_end_goes_back_into_the_queue(
        self, first_part: OnSlurm, project: Path, tmp_path: Path
    ) -> None:
        """By docs/array.sh, without Snakemake: its training is kept, and taken up when it starts again."""
        for what in ("data", "runs/tiny/02_neural_predictors"):  # into a home of its own
            shutil.copytree(project / what, tmp_path / what)
        text = (project / "docs/array.sh").read_text().replace(".venv/bin/python", sys.executable)
        script = tmp_path / "array.sh"
        script.write_text(text.replace("-p roi", "-p study tiny -p alpha 0.5 -p epochs 8 -p start scratch -p roi"))
        options = ["--parsable", "--array=0", f"--chdir={project}", f"--export=ALL,NBTOOLS_HOME={tmp_path}"]
        done = subprocess.run(["sbatch", *options, script], **where(project), capture_output=True, check=True)
        number = done.stdout.strip()

        def job() -> dict[str, str]:
            return next(job for job in remembered() if job["JobId"] == number)

        def kept() -> list[Path]:
            return list((tmp_path / "runs/tiny/03_guided_training").glob("V1_*/checkpoint.safetensors"))

        wait_until(kept, job)
        slurm("scancel", "--signal=TERM", number)
        wait_until(lambda: job()["Restarts"] == "1" and job()["JobState"] == "PENDING", job)
        (checkpoint,) = kept()
        assert not (checkpoint.parent / "run.json").exists()
        wait_until(lambda: job()["JobState"] in ("COMPLETED", "FAILED"), job)
        log = (project / f"slurm-{number}_0.out").read_text()
        assert job()["JobState"] == "COMPLETED", log
        assert "going on from a checkpoint" in (checkpoint.parent / "notebook.ipynb").read_text()
        assert (checkpoint.parent / "run.json").exists()


# --- here ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Graph:
    """The whole of the study: killed in the middle, then taken up again.

    Attributes
    ----------
    project : Path
        Where it lies.
    killed : dict
        Each record there was when the first start was killed.
    reported : set of str
        The notebooks that Snakemake had reported as run by then.
    interrupted : list of Path
        Folders of the runs that were being trained then.
    locked : str
        What a plain start said after the kill.
    resumed : str
        What the next one said, after `--unlock`.
    """

    project: Path
    killed: Records
    reported: set[str]
    interrupted: list[Path]
    locked: str
    resumed: str

    def records(self) -> Records:
        return records(self.project)

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return python(self.project, *arguments)

    def snakemake(self, *arguments: str) -> str:
        return told(self.python(*HERE, *arguments))

    def study(self, *targets: str) -> str:
        """What is said by the command that `make study` gives, for all targets if none is named."""
        return told(self.python("-m", "nbtools", *STUDY, "--targets", *(targets or TARGETS)))

    def planned(self, *arguments: str) -> set[str]:
        """The jobs a start would run now."""
        return set(re.findall(r"^(?:local)?rule (\S+):", self.snakemake("--dry-run", *arguments), re.MULTILINE))


@pytest.fixture(scope="module")
def graph(project: Path, on_slurm: OnSlurm | str) -> Graph:
    def checkpoints() -> list[Path]:
        return list((project / "runs").rglob("checkpoint.safetensors"))

    def in_training(log: str) -> bool:
        return len(finished(log)) >= 3 and bool(checkpoints())

    reported = start_and_kill(project, [*HERE, "--", *TARGETS], in_training)
    interrupted = [file.parent for file in checkpoints() if not (file.parent / "run.json").exists()]
    graph = Graph(project, records(project), reported, interrupted, "", "")
    locked = graph.study()
    graph.snakemake("--unlock")
    resumed = graph.study()
    assert resumed.startswith("status 0"), resumed
    return replace(graph, locked=locked, resumed=resumed)


class TestGraph:
    def test_a_killed_start_is_taken_up_where_it_was(self, graph: Graph) -> None:
        assert "lock" in graph.locked
        assert len(graph.reported) <= len(graph.killed) < sum(n for n, _ in EXPECTED.values())
        kept = [file for file, record in graph.killed.items() if graph.records()[file] == record]
        assert len(kept) >= len(graph.reported), "what was finished is not computed twice"

    def test_each_run_is_a_line_and_the_report_grows(self, graph: Graph) -> None:
        n_runs, lines = len(graph.records()), graph.resumed.splitlines()
        assert f"tiny: {n_runs} runs, {n_runs - len(graph.killed)} to make · " in graph.resumed
        counts = [int(line.split()[0]) for line in lines if f" of {n_runs} · " in line and "at work" not in line]
        assert counts == list(range(len(graph.killed) + 1, n_runs + 1))
        assert "all finished" in graph.resumed
        order = [line.partition(" · ")[2].partition(" · ")[0] for line in lines]
        assert max(map(order.index, ("first look", "summary"))) < order.index("summary of all")
        assert str(graph.project / "runs/tiny/report.html") in lines[-1]
        assert not {word for word in ("rule", "Snakefile", "Select jobs") if word in graph.resumed}

    def test_an_interrupted_training_is_as_if_undisturbed(self, graph: Graph) -> None:
        """Run once more from its start to its end, it gives the same weights and tables, to the bit."""
        assert graph.interrupted
        again = graph.python("-m", "nbtools", "repeat", str(graph.interrupted[0]))
        assert again.returncode == 0, again.stdout + again.stderr
        assert "THE SAME to the bit" in again.stdout

    @pytest.mark.parametrize("notebook", EXPECTED)
    def test_every_notebook_left_its_tables(self, graph: Graph, notebook: str) -> None:
        n_runs, tables = EXPECTED[notebook]
        folders = [file.parent for file in graph.records() if file.parent.parent.name == notebook]
        assert len(folders) == n_runs
        for folder in folders:
            for name, columns in tables.items():
                table = pd.read_parquet(folder / f"{name}.parquet")
                assert columns <= set(table.columns)
                assert len(table)
            assert not list(folder.glob("*checkpoint*")), "a finished training leaves no checkpoint"

    def test_every_condition_has_its_decisions(self, graph: Graph) -> None:
        files = (graph.project / "runs/tiny/04_adversarial_attacks").glob("*/decisions.parquet")
        decisions = pd.concat(map(pd.read_parquet, files))
        attacked = {*EVERY, *HARDENED, *FILTERED}
        assert set(decisions.condition) == attacked
        counts = decisions.groupby(["condition", "attack", "epsilon"]).image_id.nunique()
        assert (counts == CONFIG["settings"]["04_adversarial_attacks"]["n_images"]).all()
        assert len(counts) == len(attacked) * 2 * 3, "two attacks, and two ε beside the clean images"

    def test_executed_notebooks_show_figures_and_no_errors(self, graph: Graph) -> None:
        files = sorted((graph.project / "runs").rglob("notebook.ipynb"))
        assert len(files) == len(graph.records())
        for file in files:
            cells = [cell for cell in json.loads(file.read_text())["cells"] if cell["cell_type"] == "code"]
            outputs = [output for cell in cells for output in cell["outputs"]]
            assert all(cell["execution_count"] for cell in cells), file
            assert not [output for output in outputs if output["output_type"] == "error"]
            complaints = "".join("".join(o["text"]) for o in outputs if o.get("name") == "stderr")
            assert not re.search(r"Traceback|\w*Error\b|(Deprecation|Future|Runtime)Warning", complaints), file
            figures = [o["data"]["application/vnd.plotly.v1+json"] for o in outputs if "plotly" in str(o.get("data"))]
            titles = [str(figure["layout"]["title"]["text"]) for figure in figures]
            assert titles, f"{file} has no figure"
            assert all("simulated" in title for title in titles), titles

    def test_the_report_opens_offline_and_says_simulated(self, graph: Graph) -> None:
        pages = [file.read_text() for file in (graph.project / "runs").rglob("report.html")]
        assert len(pages) == 4, "a first look, the demo, the whole study; and the last of them where it is looked for"
        for page in pages:
            assert "study, simulated" in page
            assert not re.search(r"<(?:script|link|img)[^>]+(?:src|href)=[\"']?https?:", page)
            assert page.count("Plotly.newPlot(") >= 4
            for condition in ("none", *CONFIG["rois"].split()):
                assert condition in page

    def test_the_summary_prints(self, graph: Graph) -> None:
        shown = graph.python("-m", "nbtools", "summary", "tiny")
        assert shown.returncode == 0, shown.stderr
        assert "tiny study, simulated" in shown.stdout
        table = [line.split() for line in shown.stdout.splitlines()]
        shown_rows = [row[0] for row in table if row and row[0] in EVERY]
        assert shown_rows in (CONDITIONS, EVERY), "of the summary that finished last"
        assert ["epsilon", "clean", "2/255", "4/255"] in table

    def test_a_second_start_does_nothing(self, graph: Graph) -> None:
        before = graph.records()
        said = graph.study()
        assert graph.records() == before
        lacking = r"note: PNG and SVG of \d+ figures of tiny are lacking, which kaleido and Chrome or Chromium draw: .*"
        assert re.match(rf"status 0\n{lacking}\n\nRobust accuracy", said), "the summary, and nothing else"

    def test_saved_notebooks_are_not_run_again(self, graph: Graph) -> None:
        """A reader runs a notebook in JupyterLab and saves it."""
        file = graph.project / "notebooks/03_guided_training.ipynb"
        original = file.read_text()
        file.write_text(original.replace('"outputs": []', '"outputs": [{"output_type": "stream"}]'))
        try:
            assert graph.planned() == set()
        finally:
            file.write_text(original)

    def test_edited_code_is_run_again_with_what_follows(self, graph: Graph) -> None:
        file = graph.project / "notebooks/04_adversarial_attacks.ipynb"
        original = file.read_text()
        file.write_text(original.replace("images.pixels.shape", "images.pixels[:].shape"))
        try:
            assert graph.planned() == {"all", "first_look", "summary", *(f"attack_{name}_seed0" for name in CONDITIONS)}
        finally:
            file.write_text(original)

    def test_a_new_region_adds_only_its_own_jobs(self, graph: Graph) -> None:
        own = {"predictor_V4_seed0", "network_V4_seed0", "attack_V4_seed0"}
        assert graph.planned("--config", "rois=V1 V4 TO") == {"all", "summary", *own}

    def test_numbers_and_dorsal_regions_may_be_written_plainly(self, graph: Graph) -> None:
        """YAML reads `alpha: 1` as a whole number; V3 is no region of the hierarchy, but has a name."""
        mine = graph.project / "config/mine.yaml"
        mine.write_text(
            yaml.safe_dump({"rois": "V3", "controls": "none", "settings": {"03_guided_training": {"alpha": 1}}})
        )
        planned = graph.planned("--configfile", "config/mine.yaml")
        assert {"predictor_V3_seed0", "network_V3_seed0", "network_none_seed0", "summary"} <= planned

    def test_a_run_that_fails_is_told_and_what_is_mended_goes_on(self, graph: Graph) -> None:
        (record,) = (graph.project / "runs/tiny/04_adversarial_attacks").glob("TO_*/run.json")
        (weights,) = (graph.project / "runs/tiny/03_guided_training").glob("TO_*/weights.safetensors")
        original = weights.read_bytes()
        record.unlink()
        weights.write_bytes(b"broken")
        failed = graph.study("all")
        assert failed.startswith("status 1")
        assert re.search(r"failed: attack TO, seed 0\n1 failed, \d+ not made: mend", failed)
        assert "error: the model cannot be rebuilt" in failed
        assert f"{record.parent}/notebook.ipynb" in failed
        assert "Traceback" not in failed
        weights.write_bytes(original)
        assert graph.study("all").startswith("status 0")
        assert record.exists()

    def test_ctrl_c_ends_all_and_the_same_command_goes_on(self, graph: Graph) -> None:
        (record,) = (graph.project / "runs/tiny/04_adversarial_attacks").glob("none_*/run.json")
        notebook = record.with_name("notebook.ipynb")
        record.unlink()
        notebook.unlink()
        with subprocess.Popen(
            [sys.executable, "-m", "nbtools", *STUDY],
            **where(graph.project),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as started:
            wait_until(lambda: notebook.exists() or started.poll() is not None, lambda: "no run")
            os.killpg(started.pid, signal.SIGINT)  # as a terminal does
            said, _ = started.communicate(timeout=60)
        assert started.returncode == 1, said
        assert said.endswith("stopped: the same command goes on from here\n")
        assert "Traceback" not in said
        assert not record.exists()
        again = graph.study("all")
        assert again.startswith("status 0"), again
        assert record.exists()

    @pytest.mark.long
    def test_the_first_notebook_makes_the_demo_study(self, graph: Graph) -> None:
        done = graph.python("-m", "nbtools", "run", "notebooks/00_start_here.ipynb")
        assert done.returncode == 0, done.stderr
        assert (graph.project / "data/derived/demo/study.toml").exists()
        (file,) = (graph.project / "runs/demo/00_start_here").glob("*/notebook.ipynb")
        titles = re.findall(r"[\w ]+\(demo study, simulated\)", file.read_text())
        assert len(set(titles)) == 3, "three sets of images"
