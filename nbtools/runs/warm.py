"""Warm kernels: forked from a process that has loaded the libraries, where each would load them for seconds.

That process is a `nursery`. It serves kernels of its own surroundings only: program, environment, limits. Whoever asks
first starts it. Where forking could change anything, or fails, Jupyter starts the kernel as it always does.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
from contextlib import suppress
from importlib.metadata import EntryPoint
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar
from weakref import WeakSet

from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner

from nbtools.runs import nursery
from nbtools.runs.nursery import DIGITS

NAME = "nbtools-warm"  # of the provisioner
PATIENCE = 60.0  # seconds in which a nursery has loaded its libraries
# Variables that no library reads while it is loaded.
FREE, ALSO_FREE = ("JPY_", "NBTOOLS_", "PYTEST_", "VOILA_"), {"_", "OLDPWD", "PWD", "SHLVL"}
ALSO_FREE |= {"SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL", "SERVER_SOFTWARE"}  # with which Voila tells a kernel
ALSO_FREE |= {"SCRIPT_NAME", "PATH_INFO", "QUERY_STRING"}  # of the page that it serves
CLUSTERS = {"SLURM_JOB_ID", "TORCHELASTIC_RUN_ID"}  # set in jobs, where a nursery would serve one kernel, and stay
# Lines of /proc/self/status: what a process takes over from the one that starts it.
INHERITED = ("Umask", "Uid", "Gid", "Groups", "CapBnd", "NoNewPrivs", "Cpus_allowed", "Mems_allowed")


class Provisioner(LocalProvisioner):
    """Starts kernels for Jupyter: by forking where that gives the same kernel, else as Jupyter does."""

    started: ClassVar[WeakSet[Provisioner]] = WeakSet()
    told_to_end: ClassVar[bool] = False
    process: Any = None

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        """Start a kernel from its command; a nursery that fails is told in a line."""
        self.started.add(self)
        information = await self._launch(cmd, **kwargs)
        if self.told_to_end:
            self.process.terminate()
        return information

    async def _launch(self, cmd: list[str], **kwargs: Any) -> Any:
        if not _suits(cmd, kwargs):
            return await super().launch_kernel(cmd, **kwargs)
        cwd = os.path.abspath(kwargs.get("cwd") or "")
        try:
            self.process = await asyncio.to_thread(fork, cmd[3:], kwargs["env"], cwd)
        except (OSError, subprocess.SubprocessError) as error:
            self.log.warning("this kernel loads its libraries itself: %s", error)
            return await super().launch_kernel(cmd, **kwargs)
        self.pid = self.pgid = self.process.pid
        self.cwd = cwd
        return self.connection_info


def use() -> None:
    """Let the kernels that this process starts be warm."""
    factory = KernelProvisionerFactory.instance()
    factory.provisioners[NAME] = EntryPoint(NAME, f"{__name__}:{Provisioner.__name__}", factory.GROUP_NAME)
    factory.default_provisioner_name = NAME
    Provisioner.told_to_end = False


def use_soon() -> None:
    """Let the kernels that this process starts be warm, and load their libraries before the first is asked for."""
    use()
    if sys.platform == "linux" and CLUSTERS.isdisjoint(os.environ):
        Thread(target=_load_ahead, args=(dict(os.environ), os.getcwd()), daemon=True).start()


def _load_ahead(env: dict[str, str], cwd: str) -> None:
    with suppress(OSError, subprocess.SubprocessError):  # the first kernel will say so
        _meet(_fixed(env, cwd)).close()


def _load_jupyter_server_extension(server: Any) -> None:
    """Let the kernels of a Jupyter server be warm: it calls this where the extension is enabled."""
    use_soon()


def terminate() -> None:
    """Send SIGTERM to the kernels that this process started, and to those that it is about to."""
    Provisioner.told_to_end = True
    for process in [provisioner.process for provisioner in Provisioner.started if provisioner.process]:
        process.terminate()


def _suits(cmd: list[str], kwargs: dict[str, Any]) -> bool:
    """Tell whether forking gives the kernel that a command would start."""
    ours = cmd[:3] == [sys.executable, "-m", "ipykernel_launcher"] and kwargs.keys() <= {"env", "cwd"}
    return ours and sys.platform == "linux" and CLUSTERS.isdisjoint(kwargs["env"])


class Forked:
    """A forked kernel, with what Jupyter uses of a `subprocess.Popen`.

    Parameters
    ----------
    connection : socket.socket
        To the nursery, which tells the kernel's process, then how it ended. The kernel ends with it.

    Raises
    ------
    OSError
        If the nursery does not answer.
    """

    stdin = stdout = stderr = None

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.returncode: int | None = None
        self.pid = _told(connection)

    def poll(self) -> int | None:
        """Return how the kernel ended, None while it runs."""
        if self.returncode is None and select.select([self.connection], [], [], 0)[0]:
            try:
                self.returncode = _told(self.connection)
            except OSError:  # the nursery was killed before its kernel: nobody knows
                self.returncode = -signal.SIGKILL
        return self.returncode

    def wait(self) -> int | None:
        """Wait until the kernel has ended, and return how."""
        select.select([self.connection], [], [])
        return self.poll()

    def send_signal(self, number: int) -> None:
        """Send a signal to the kernel if it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask the kernel to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the kernel."""
        self.send_signal(signal.SIGKILL)


def fork(arguments: list[str], env: dict[str, str], cwd: str) -> Forked:
    """Have a kernel forked by the nursery of these surroundings, which is started if there is none.

    Parameters
    ----------
    arguments : list of str
        Of the kernel, its connection file among them.
    env, cwd
        Its environment and working folder.

    Raises
    ------
    OSError
        If there is no private place to meet, or the nursery may not fork, or does not answer.
    subprocess.SubprocessError
        If it cannot be started.
    """
    fixed = _fixed(env, cwd)
    connection = _meet(fixed)
    own = {name: value for name, value in env.items() if fixed.get(name) != value}
    asked = json.dumps({"arguments": arguments, "env": own, "cwd": cwd}).encode()
    socket.send_fds(connection, [len(asked).to_bytes(DIGITS, "big")], [1, 2])
    connection.sendall(asked)
    return Forked(connection)


def _fixed(env: dict[str, str], cwd: str) -> dict[str, str]:
    """Return what of a kernel's environment its libraries may read while they are loaded."""
    env = {"THP_MEM_ALLOC_ENABLE": "1", **env}  # importing the package sets it
    fixed = {name: env[name] for name in sorted(env) if not name.startswith(FREE) and name not in ALSO_FREE}
    if paths := fixed.get("PYTHONPATH"):
        fixed["PYTHONPATH"] = os.pathsep.join(os.path.join(cwd, path) for path in paths.split(os.pathsep))
    return fixed


def _meet(fixed: dict[str, str]) -> socket.socket:
    """Connect to the nursery of these surroundings, started if there is none."""
    meeting = _private_folder() / f"{_digest(fixed)}.socket"
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PATIENCE)
    try:
        connection.connect(str(meeting))
    except (FileNotFoundError, ConnectionRefusedError):
        _start_nursery(meeting, fixed)
        connection.connect(str(meeting))
    return connection


def _start_nursery(meeting: Path, env: dict[str, str]) -> None:
    """Start a process that answers there at once; it must not hold on to this one's outputs and folder."""
    subprocess.run(
        [sys.executable, nursery.__file__, str(meeting)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=env,
        cwd="/",
        timeout=PATIENCE,
        check=True,
    )


def _private_folder() -> Path:
    folder = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"nbtools-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if (found.st_uid, found.st_mode) != (os.getuid(), 0o40700):
        raise PermissionError(f"{folder} is not this user's alone")
    return folder


def _digest(env: dict[str, str]) -> str:
    """Of all that a kernel takes over from the process that starts it: what is installed, and its surroundings."""
    process = Path("/proc/self")
    status = [
        line
        for line in (process / "status").read_text(encoding="utf-8").splitlines()
        if line.split(":")[0] in INHERITED
    ]
    surroundings = [
        (
            sys.executable,
            Path(sysconfig.get_path("purelib")).stat().st_mtime_ns,
            Path(nursery.__file__).read_text(encoding="utf-8"),
        ),
        (env, os.uname().nodename, os.getpriority(os.PRIO_PROCESS, 0), status),
        ((process / "limits").read_text(encoding="utf-8"), (process / "cgroup").read_text(encoding="utf-8")),
        sorted(str(name.readlink()) for name in (process / "ns").iterdir()),
    ]
    return hashlib.sha256(json.dumps(surroundings).encode()).hexdigest()[:16]


def _told(connection: socket.socket) -> int:
    told = connection.recv(DIGITS)
    if not told:
        raise ConnectionAbortedError("the process that forks kernels has ended")
    return int.from_bytes(told, "big", signed=True)
