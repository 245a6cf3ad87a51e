"""What a process knows of itself: which of those a cluster started together, told to end or not, watched or not."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import asyncio, auto

from nbtools.errors import InputError

LOG = "NBTOOLS_LOG"  # variable with the file, or terminal, that the bars of a run write to, in place of its notebook
SILENCE = 60.0  # seconds between the lines of a log, and without a line until `study` says what is at work
_LINE = "{desc}: {n_fmt} of {total_fmt} · {elapsed} gone, {remaining} left · {rate_fmt}{postfix}"
# A notebook's bars are widgets, but for those of a run in batch: nobody watches it.
_Shown: Any = asyncio.tqdm if LOG in os.environ else auto.tqdm


class Bar(_Shown):
    """tqdm's bar: one at a time on a terminal and in a notebook; in a log, a line a minute of all of them.

    It is iterated over, or opened by ``with``: either closes it when something breaks off. While another one of its
    thread is open it shows nothing, and what it counts stands behind that one. ``TQDM_DISABLE`` silences all.
    """

    def __init__(self, iterable: Any = None, desc: str = "", total: float | None = None, **options: Any):
        self.thread = threading.get_ident()
        others = [bar for bar in list(self._instances) if bar is not self and isinstance(bar, Bar)]
        self.around = next((bar for bar in others if getattr(bar, "thread", None) == self.thread), None)
        options["disable"] = options.get("disable") or "TQDM_DISABLE" in os.environ or self.around is not None
        on_line = LOG in os.environ and Path(os.environ[LOG]).is_char_device()
        self.logged = not on_line and (LOG in os.environ or (_Shown is asyncio.tqdm and not sys.stderr.isatty()))
        if on_line:
            options |= {"file": _Line(), "leave": False}
        if self.logged:
            options |= {"file": _Lines(), "mininterval": 1, "delay": 3, "bar_format": _LINE}
        # What is left goes by the mean until now: tqdm's own weights forget how long a step took that told of itself.
        super().__init__(iterable, desc, total, **{"miniters": 0, "smoothing": 0, **options})
        self.desc, self.postfix = desc, None  # one that is disabled has none

    def __iter__(self) -> Iterator[Any]:
        """Iterate over what it was made of."""
        return super().__iter__() if self.around is None else self._behind()

    def update(self, n: float | None = 1) -> bool | None:
        """Count on."""
        if self.around is None:
            return super().update(n)
        self.n += n or 0
        told = self.format_sizeof if getattr(self, "unit_scale", False) else str
        counted = f"{self.desc} {told(self.n)} of {told(self.total) if self.total else '?'} {self.postfix or ''}"
        self.around.set_postfix_str(counted.strip(), refresh=False)
        return self.around.update(0)

    def set_postfix_str(self, s: str = "", refresh: bool = True) -> None:
        """Set what stands behind it; in a log that is no reason for a line."""
        super().set_postfix_str(s, refresh and not self.logged)

    def close(self) -> None:
        """Show it no longer."""
        if self.around is not None:
            self.around.set_postfix_str("", refresh=False)
        super().close()

    def _behind(self) -> Iterator[Any]:
        try:
            for item in self.iterable:
                yield item
                self.update()
        finally:
            self.close()


class _Lines:
    """A stream into a log, the file that `LOG` names or stderr: all bars together write a line a minute."""

    told = time.monotonic()

    def write(self, text: str) -> None:
        """Write the state of a bar, if it is time."""
        line, now = " ".join(text.split()), time.monotonic()
        if not line or now - _Lines.told < SILENCE:
            return
        _Lines.told = now
        if LOG not in os.environ:
            sys.stderr.write(line + "\n")
            return
        with Path(os.environ[LOG]).open("a", encoding="utf-8") as log:
            log.write(line + "\n")

    def flush(self) -> None:
        """Do nothing: lines are written at once."""

    def isatty(self) -> bool:
        """Tell that it is no terminal."""
        return False


class _Line(_Lines):
    """The line of a terminal on which the process that runs this notebook shows which cell is at work."""

    def write(self, text: str) -> None:
        """Write over what stands there; nobody needs to be there any more."""
        with suppress(OSError), Path(os.environ[LOG]).open("w", encoding="utf-8") as terminal:
            terminal.write(text.replace("\r", "\r\x1b[K"))


@contextmanager
def exported(variables: Mapping[str, str | None]) -> Iterator[None]:
    """Give processes that start meanwhile these variables; one that is None they do not have."""
    before = {name: os.environ.get(name) for name in variables}
    _export(variables)
    try:
        yield
    finally:
        _export(before)


def _export(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


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
