"""A process knows its place among those that a cluster started, and does not wait for any that will not come."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from nbtools import devices
from nbtools.errors import InputError
from nbtools.processes import Place, place

STEP = {"STEP_NUM_TASKS": "6", "STEP_TASKS_PER_NODE": "2(x3)", "STEP_NODELIST": "n[1-3]", "STEP_ID": "1"}


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is the third of six that `srun` started on three nodes."""
    own = {"PROCID": "2", "LOCALID": "0", "NODEID": "1", "JOB_ID": "7", "TASK_PID": "0"}
    for name, value in {**STEP, **own}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)


@pytest.fixture
def terminal() -> Iterator[int]:
    """The id of a process that sits at a terminal."""
    pty = pytest.importorskip("pty", reason="no terminals of this kind")
    main, other = pty.openpty()
    code = "import fcntl, os, termios, time; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0)"
    code += "; print('ready', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdin=other, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()
    os.close(main), os.close(other)


def test_a_process_alone_is_the_first_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("SLURM_", "TORCHELASTIC_"))]:
        monkeypatch.delenv(name)
    assert place() == Place(rank=0, n_processes=1, each=1)


@pytest.mark.usefixtures("task")
def test_slurm_says_where_a_task_is() -> None:
    assert place() == Place(2, 6, 0, 1, "n1", 15_071, 2)


@pytest.mark.usefixtures("task")
def test_a_terminal_of_several_tasks_waits_for_nobody(terminal: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """``srun --pty --ntasks=6 bash``: a shell at the first task alone; in it `run` would wait for five others."""
    monkeypatch.setenv("SLURM_TASK_PID", str(terminal))
    with pytest.raises(InputError, match=r"terminal is one of several tasks[\s\S]*a terminal of 6 tasks[\s\S]*--pty"):
        place()


@pytest.mark.usefixtures("task")
@pytest.mark.parametrize("local", [0, 1])
def test_every_task_sees_that_there_are_more_than_devices(local: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that alone is left over would end, and the others wait for it for ever."""
    monkeypatch.setenv("SLURM_LOCALID", str(local))
    with pytest.raises(InputError, match=r"do not fit\n  expected: a multiple of devices = 1[\s\S]*2 on a node"):
        devices._meeting(1)
    options, _ = devices._meeting(2)
    assert options["num_nodes"] == 3
