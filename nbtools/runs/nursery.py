"""The process that warm kernels are forked from: it loads the libraries once, each kernel this package for itself.

It has no thread that a fork would lose, and has touched no GPU; where a library brings either, it refuses. It ends when
it has had no kernel for a while. `warm` asks it, and says whose kernels it may fork.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

# What every notebook with a network loads. Not matplotlib, which asks for the kernel's backend; nor SciPy and what
# needs it, which bring a BLAS and variables of their own: a run's record names those that the run has loaded.
LIBRARIES = (
    *("ipykernel.kernelapp", "ipywidgets", "anywidget", "pandas", "pyarrow.parquet", "h5py", "torch", "torchvision"),
    "plotly.graph_objects",
)
IDLE = 120.0  # seconds without a kernel after which it ends
FORK_WELL = {"jemalloc_bg_thd"}  # pyarrow's thread: its library prepares for a fork, as OpenBLAS does
DIGITS = 4  # bytes of a number that is told


def main(meeting: Path) -> None:
    """Be the nursery that is met there, unless there is one; then, in a process for each request, its kernel."""
    import fcntl  # not on Windows

    with socket.socket(socket.AF_UNIX) as other, meeting.with_name("lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two may start at once
        if other.connect_ex(str(meeting)) == 0:
            return
        meeting.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(meeting))
        listener.listen()
    if os.fork():  # whoever started it waits no longer, and has no child that is not a kernel
        os._exit(0)
    os.setsid()
    for library in LIBRARIES:
        importlib.import_module(library)
    if forks_safely():
        gc.collect()
        gc.freeze()  # a kernel's collector would write to pages that all share
        become_kernel(*_nurse(listener, meeting))


def forks_safely() -> bool:
    """Tell whether this process has no thread that a fork would lose, and no GPU, which a forked process cannot use."""
    if not (child := os.fork()):
        os._exit(0)
    os.close(os.pidfd_open(child))  # Linux before 5.3 has none, and refuses here
    os.waitpid(child, 0)  # what prepares for forks, has done so
    process = Path("/proc/self")
    others = [task for task in (process / "task").iterdir() if task.name != str(os.getpid())]
    threads = {(task / "comm").read_text(encoding="utf-8").strip() for task in others}
    opened = [str(file.readlink()) for file in (process / "fd").iterdir() if file.is_symlink()]
    return threads <= FORK_WELL and not any(file.startswith("/dev/nvidia") for file in opened)


def _nurse(listener: socket.socket, meeting: Path) -> tuple[socket.socket, list[int], dict[str, Any]]:
    """Fork a kernel for each request, and tell who asked how it ended; return in the kernel, with what was asked."""
    kernels: dict[int, tuple[int, socket.socket]] = {}  # by the file that can be read when the kernel has ended
    while (ready := select.select([listener.fileno(), *kernels], [], [], IDLE)[0]) or kernels:
        for file in ready:
            if file in kernels:
                kernel, connection = kernels.pop(file)
                os.close(file)
                _tell(connection, os.waitstatus_to_exitcode(os.waitpid(kernel, 0)[1]))
                connection.close()
                continue
            connection, _ = listener.accept()
            if (asked := _asked(connection)) is None:
                connection.close()
                continue
            if not (kernel := os.fork()):
                listener.close()
                for end, (_, other) in kernels.items():
                    os.close(end)
                    other.close()
                return connection, *asked
            for output in asked[0]:
                os.close(output)
            kernels[os.pidfd_open(kernel)] = kernel, connection
            _tell(connection, kernel)
    meeting.unlink(missing_ok=True)
    sys.exit()


def _asked(connection: socket.socket) -> tuple[list[int], dict[str, Any]] | None:
    """Return the open outputs of a new kernel and its command; None if nothing was asked."""
    connection.settimeout(10)
    with suppress(OSError, ValueError):
        size, outputs, _, _ = socket.recv_fds(connection, DIGITS, 2)
        with connection.makefile("rb") as text:
            return outputs, json.loads(text.read(int.from_bytes(size, "big")))
    return None


def _tell(connection: socket.socket, number: int) -> None:
    with suppress(OSError):  # who asked may have ended
        connection.send(number.to_bytes(DIGITS, "big", signed=True))


def become_kernel(connection: socket.socket, outputs: list[int], asked: dict[str, Any]) -> None:
    """Run the kernel that was asked for, in what a process of its own would have found."""
    os.setsid()
    for output, place in zip(outputs, (1, 2), strict=True):
        os.dup2(output, place)
        os.close(output)
    os.chdir(asked["cwd"])
    shared = _resident(os.getppid()) - _resident(os.getpid())
    os.environ.update(asked["env"], NBTOOLS_SHARED_MB=str(shared))  # what loading the libraries has set stays
    sys.modules["numpy"].random.seed()  # else all draw the same; Python sees to its own
    sys.modules["torch"].default_generator.seed()
    importlib.invalidate_caches()
    connection.settimeout(None)
    threading.Thread(target=_end_with, args=(connection,), daemon=True).start()
    kernelapp = sys.modules["ipykernel.kernelapp"]
    sys.argv = [str(Path(kernelapp.__file__ or "").parents[1] / "ipykernel_launcher.py"), *asked["arguments"]]
    # Its own watch on its parent's life would be a watch on the nursery's.
    kernelapp.launch_new_instance([*asked["arguments"], "--IPKernelApp.parent_handle=1"])


def _resident(pid: int) -> int:
    """Return what a process has of its memory in the machine's, in MB."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20


def _end_with(connection: socket.socket) -> None:
    """End the kernel when whoever asked for it has ended, as ipykernel does."""
    with suppress(OSError):
        connection.recv(1)
    os._exit(1)


if __name__ == "__main__":
    del sys.path[0]  # this file's folder
    main(Path(sys.argv[1]))
