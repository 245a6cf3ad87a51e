"""Kills at random moments: trainings, tables and weights, notebooks. What is taken up again ends as if undisturbed.

Killed Snakemake: end_to_end/test_workflow.py, on this machine and on a cluster.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from test_batch import make_home, write_notebook
from test_training import CONFIG, SPLITS, a_guide, a_network, some_images

from nbtools.errors import Interrupted
from nbtools.models.networks import save_model
from nbtools.runs import folders
from nbtools.training import checkpoints
from nbtools.training.guided import train_guided

pytestmark = pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
MOMENTS = random.Random()  # other ones each time
TIMES = int(os.environ.get("NBTOOLS_KILLS", "1"))  # 3 is a campaign of 39 kills, and takes some minutes


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home of its own with a study, and notebooks of its own."""
    make_home(tmp_path / "home", tmp_path / "notebooks", monkeypatch)


def digests(folder: Path) -> dict[str, str]:
    """Of all weights and tables in a folder, by name; clocks are left out."""
    found = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors = load_file(file)
        found[file.name] = hashlib.sha256(b"".join(tensors[n].numpy().tobytes() for n in sorted(tensors))).hexdigest()
    for file in sorted(folder.glob("*.parquet")):
        table = pd.read_parquet(file).drop(columns="seconds", errors="ignore")
        found[file.name] = hashlib.sha256(table.to_csv(index=False, float_format="%.17g").encode()).hexdigest()
    return found


def killed(process: Any, within: float, started: Path) -> bool:
    """Kill a process at some moment after it began to work; say whether it was still at it."""
    deadline = time.monotonic() + 120
    while not started.exists() and process.is_alive():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.join(MOMENTS.uniform(0, within))
    process.kill()
    process.join()
    started.unlink(missing_ok=True)
    return process.exitcode == -signal.SIGKILL


# --- training -----------------------------------------------------------------------------------------------


def train(folder: Path, minutes: float, pause: float = 0.0) -> None:
    """Train a guided network into a folder; `pause` slows every batch down, so that a kill finds it at work."""
    from nbtools.training import loop

    torch.set_num_threads(1)
    checkpoints.MINUTES = minutes  # type: ignore[assignment]
    rate = loop.learning_rate
    loop.learning_rate = lambda *at: time.sleep(pause) or rate(*at)  # type: ignore[assignment,func-returns-value]
    folder.mkdir(exist_ok=True)
    (folder / "started").touch()
    network, config = a_network(), replace(CONFIG, epochs=6, augmentation="crop-flip")
    history = train_guided(network, some_images(), a_guide(), 0.5, SPLITS, config, folder / "checkpoint")
    history.to_parquet(folder / "history.parquet")
    save_model(network, folder)
    loop.learning_rate = rate


@pytest.mark.slow
@pytest.mark.parametrize(
    ("minutes", "n_kills"), [(5, 3 * TIMES), (0, 3 * TIMES)], ids=["kept each epoch", "kept each step"]
)
def test_a_training_killed_again_and_again(tmp_path: Path, processes: Any, minutes: float, n_kills: int) -> None:
    threads = torch.get_num_threads()
    train(tmp_path / "whole", 5)
    torch.set_num_threads(threads)
    checkpoints.MINUTES = 5
    hits = 0
    for _ in range(n_kills):
        process = processes.Process(target=train, args=(tmp_path / "killed", minutes, 0.03))
        process.start()
        hits += killed(process, 0.8, tmp_path / "killed/started")
    process = processes.Process(target=train, args=(tmp_path / "killed", minutes))
    process.start()
    process.join(120)
    assert process.exitcode == 0
    assert hits, "kills that came in time"
    assert digests(tmp_path / "killed") == digests(tmp_path / "whole")


# --- tables and weights -------------------------------------------------------------------------------------

PARAMETERS = 'study: str = "tiny"\nroi: str = "TO"'


def begin(place: Path) -> folders.Run:
    """Start a run in another process, which knows nothing of the test's settings."""
    os.environ["NBTOOLS_HOME"], folders.NOTEBOOKS = str(place / "home"), place / "notebooks"
    return folders.start("write", {"study": "tiny", "roi": "TO"})


def write(place: Path, last: int) -> None:
    """Write one version of a run's table and weights after the other, and finish."""
    run = begin(place)
    for version in range(last + 1):
        run.save_table("decisions", pd.DataFrame({"version": np.full(20_000, version), "row": np.arange(20_000)}))
        network = a_network(seed=version)
        torch.nn.init.constant_(network.class_head.bias, version)
        save_model(network, run.folder)
        (run.folder / "started").touch()
    run.finish()


def test_tables_and_weights_are_whole_whenever_the_writer_is_killed(tmp_path: Path, processes: Any) -> None:
    write_notebook("1", name="write", parameters=PARAMETERS)
    folder, hits = folders.run_folder("write", {}), 0
    for _ in range(6 * TIMES):
        process = processes.Process(target=write, args=(tmp_path, 100_000))
        process.start()
        hits += killed(process, 0.3, folder / "started")
        table = pd.read_parquet(folder / "decisions.parquet")
        assert table["version"].nunique() == 1
        assert table["row"].tolist() == list(range(20_000))
        assert load_file(folder / "weights.safetensors")["class_head.bias"].unique().numel() == 1
        assert folders.collect("write", "tiny").empty, "what is not finished is not collected"
    assert hits == 6 * TIMES
    process = processes.Process(target=write, args=(tmp_path, 3))
    process.start()
    process.join(120)
    after_kills = digests(folder)
    write(tmp_path, 3)  # finished: only read
    assert len(folders.collect("write", "tiny")) == 1
    (folder / folders.RECORD).unlink()
    for file in after_kills:
        (folder / file).unlink()
    write(tmp_path, 3)
    assert digests(folder) == after_kills


# --- notebooks ----------------------------------------------------------------------------------------------

TRAIN = """
import sys, time
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, tests)
import torch
from nbtools.runs import folders
from nbtools.training import checkpoints, loop
from nbtools.models.networks import save_model
from nbtools.training.guided import train_guided
from test_training import CONFIG, SPLITS, a_guide, a_network, some_images
torch.set_num_threads(1)
checkpoints.MINUTES = 0
rate = loop.learning_rate
loop.learning_rate = lambda *at: time.sleep(pause) or rate(*at)
folders.NOTEBOOKS = Path.cwd()
run = folders.start("train", globals())
if not run.finished:
    Path("started").touch()
    network, config = a_network(), replace(CONFIG, epochs=10)
    history = train_guided(network, some_images(), a_guide(), 0.5, SPLITS, config, run.checkpoint)
    run.save_table("history", history)
    save_model(network, run.folder)
"""
STUDY = """
from pathlib import Path
from nbtools.runs import folders
folders.NOTEBOOKS = Path.cwd()
run = folders.start("train", globals())
"""
COMMAND = "import sys; from pathlib import Path; from nbtools import cli; from nbtools.runs import folders; "
COMMAND += "folders.NOTEBOOKS = Path(sys.argv[1]); sys.exit(cli.main(['run', 'train', *sys.argv[2:]]))"


def training_notebook(pause: float) -> Path:
    parameters = (
        f'study: str = "tiny"\nroi: str = "TO"\ntests: str = {str(Path(__file__).parent)!r}\npause: float = 0.0'
    )
    write_notebook(TRAIN, "run.finish()", parameters=parameters)
    return folders.run_folder("train", {"pause": pause})


def start(pause: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", COMMAND, str(folders.NOTEBOOKS), "-p", "pause", str(pause)]
    return subprocess.Popen(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )


def wait_for(file: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not file.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.notebook
def test_a_notebook_killed_and_told_to_stop() -> None:
    """Killed by papermill's process, whose kernel then ends by itself: the next one waits until it has."""
    folder, started = training_notebook(0.1), folders.NOTEBOOKS / "started"
    for _ in range(TIMES):
        process = start(0.1)
        wait_for(started, process)
        started.unlink()
        time.sleep(MOMENTS.uniform(0, 0.4))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert folders.collect("train", "tiny").empty
    begun, process = time.time(), start(0.1)
    wait_for(started, process)
    while not (checkpoint := folder / folders.CHECKPOINT).exists() or checkpoint.stat().st_mtime < begun:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    process.terminate()
    said = process.communicate(timeout=60)[0]
    assert process.returncode == Interrupted.STATUS == 75, said
    assert "the checkpoint is kept" in said
    assert checkpoint.exists()
    assert folders.collect("train", "tiny").empty
    process = start(0.1)
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 0, said
    whole = training_notebook(0.0)
    process = start(0.0)
    assert process.wait(120) == 0
    assert digests(folder) == digests(whole)
    assert len(folders.find("train", "tiny", pause=0.1).table("history")) == 20
    assert not (folder / folders.CHECKPOINT).exists()


@pytest.mark.notebook
def test_a_second_process_at_a_run_waits_and_finds_it_finished() -> None:
    slow = f"{STUDY}\nPath('started').touch()\nimport time\ntime.sleep(8)"
    write_notebook(slow, "run.finish()", parameters=f"{PARAMETERS}\npause: float = 0.0")
    first = start(0.0)
    wait_for(folders.NOTEBOOKS / "started", first)
    second = start(0.0)
    said = second.communicate(timeout=120)[0]
    assert first.wait(120) == 0
    assert second.returncode == 0, said
    assert f"waiting for process {first.pid} on " in said
    assert "finished before" in said


def hold(place: Path, seconds: float) -> None:
    run = begin(place)
    (run.folder / "started").touch()
    time.sleep(seconds)


def test_a_run_that_another_kernel_holds_is_refused(
    tmp_path: Path, processes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_notebook("1", name="write", parameters=PARAMETERS)
    monkeypatch.setattr(folders, "PATIENCE", 0.3)
    process = processes.Process(target=hold, args=(tmp_path, 60))
    process.start()
    started = folders.run_folder("write", {}) / "started"
    while not started.exists():
        time.sleep(0.01)
    with pytest.raises(folders.InputError, match=rf"another process is at work(.*\n)+.*process {process.pid} on"):
        folders.start("write", {"study": "tiny", "roi": "TO"})
    process.kill()
    process.join()
    run = folders.start("write", {"study": "tiny", "roi": "TO"})  # a lock dies with its process
    assert folders.start("write", {"study": "tiny", "roi": "TO"}).folder == run.folder, "one's own is no hindrance"
    run.finish()
    assert not list(run.folder.parent.glob(".tmp-*")), "no lock is left behind"
