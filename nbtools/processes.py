"""What a process knows of itself: which of those a cluster started together, told to end or not, watched or not."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from tqdm import asyncio, auto

from nbtools.errors import InputError

# For tqdm's `disable`: nobody watches a bar where this says so, or (None) without a terminal.
QUIET = "TQDM_DISABLE" in os.environ or None


class Bar(auto.tqdm):
    """tqdm's bar; in a log, which is neither a terminal nor a notebook, a line a minute if it takes that long."""

    def __init__(self, *args: Any, **options: Any):
        in_notebook = auto.tqdm is not asyncio.tqdm
        log = {"file": _Lines(sys.stderr), "delay": 60, "mininterval": 60, "maxinterval": 60}
        self._logged = not in_notebook and not sys.stderr.isatty()
        super().__init__(*args, **(log if self._logged else {}), **options)

    def set_postfix_str(self, s: str = "", refresh: bool = True) -> None:
        """Set what stands after the bar; in a log, nothing is written before the minute is over."""
        super().set_postfix_str(s, refresh and not self._logged)


class _Lines:
    """A stream on which a state of a bar is a line of its own, where it would go over the one before."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> None:
        if line := text.strip():
            self._stream.write(line + "\n")

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return False


@dataclass(frozen=True)
class Place:
    """A process among those that ``torchrun`` or ``srun`` started together, all with the same notebook.

    Attributes
    ----------
    rank, n_processes : int
        Number of the process, and how many there are on all nodes.
    local, node : int
        Number of the process on its node, and of the node.
    address, port
        Where the first process can be met.
    each : int
        How many there are on a node.
    """

    rank: int = 0
    n_processes: int = 1
    local: int = 0
    node: int = 0
    address: str = "127.0.0.1"
    port: int = 0
    each: int = 1


def place() -> Place:
    """Return this process's place: number 0 of 1 unless ``torchrun`` or ``srun`` started several.

    Raises
    ------
    InputError
        If it sits at the terminal of a step of several tasks: the others run another command, and would never come.
    """
    given = os.environ
    if "TORCHELASTIC_RUN_ID" in given:
        rank, n_processes, local, node = (
            int(given[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "GROUP_RANK")
        )
        each = int(given.get("LOCAL_WORLD_SIZE", 1))
        return Place(rank, n_processes, local, node, given["MASTER_ADDR"], int(given["MASTER_PORT"]), each)
    if int(given.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        rank, n_processes, local, node = (
            int(given[f"SLURM_{name}"]) for name in ("PROCID", "STEP_NUM_TASKS", "LOCALID", "NODEID")
        )
        if _has_terminal(int(given.get("SLURM_TASK_PID", 0))):
            raise InputError(
                "this terminal is one of several tasks of a Slurm step: the others would not come to train with it",
                expected="a terminal of one task, or a step without one, whose tasks all run the same command",
                got=f"a terminal of {n_processes} tasks",
                fix="srun --ntasks=1 --pty bash for a terminal; srun python -m nbtools run … for several processes",
            )
        from lightning_fabric.plugins.environments import SLURMEnvironment  # slow, and seldom needed

        first = SLURMEnvironment.resolve_root_node_address(given["SLURM_STEP_NODELIST"])
        # every process knows this number, and steps of other jobs on the same node have another one
        port = 15_000 + (10 * int(given["SLURM_JOB_ID"]) + int(given["SLURM_STEP_ID"])) % 10_000
        each = int(re.split(r"\D", given["SLURM_STEP_TASKS_PER_NODE"])[0])  # such as 2(x3): two on each of three
        return Place(rank, n_processes, local, node, first, port, each)
    return Place()


def _has_terminal(process: int) -> bool:
    import psutil  # seldom needed

    return psutil.pid_exists(process) and psutil.Process(process).terminal() is not None


@contextmanager
def on_sigterm(react: Callable[[], Any]) -> Iterator[None]:
    """Call `react` when the system asks this process to end; only a main thread can be asked."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: react())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def peak_memory() -> float | None:
    """Return this process's highest memory use (MB); None where the system does not tell (Windows).

    With that of the libraries that a warm kernel shares, which the next run may have to load for itself.
    """
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    highest = [int(line.split()[1]) / 2**10 for line in lines if line.startswith("VmHWM:")]
    if highest:  # better than getrusage, by which a new process starts out with its parent's peak
        return highest[0] + int(os.environ.get("NBTOOLS_SHARED_MB", 0))
    try:
        import resource
    except ImportError:
        return None
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
