"""A Slurm of one node, on loopback, for as long as a test takes.

    python tests/end_to_end/one_node.py make study PROFILE=slurm        runs a command on such a cluster

Everything lies in one folder but `/etc/slurm/slurm.conf`, the one place where jobs look for it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

CONF = Path("/etc/slurm/slurm.conf")
MARK = "# of one_node.py: a cluster for the time of a test. If none runs, this file may be deleted.\n"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "sinfo", "setpriv")
CPUS = 2
PATIENCE = 60  # seconds that a daemon may take to come up, or to go
BACK = 30  # seconds that a job put back into the queue waits there; two minutes, if Slurm is not told


class Unavailable(Exception):
    """No cluster can be started on this machine; says why."""


@contextmanager
def cluster(folder: Path) -> Iterator[Path]:
    """Start the daemons, wait until the node is idle, give the folder of their logs, and leave nothing behind.

    Raises
    ------
    Unavailable
        If the machine is no Linux, the user not root, a program is missing, there is a Slurm of its own, or a daemon
        does not come up: with the end of its log.
    """
    _demand_the_means()
    with ExitStack() as stack:
        conf = stack.enter_context(_own_conf())
        for name in ("state", "spool"):
            (folder / name).mkdir(parents=True)
        key, munge = folder / "munge.key", folder / "munge.socket"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        conf.write(MARK + _settings(folder, munge))
        conf.flush()
        # `--force`: it dislikes a test's folder, which is closed to other users
        owns = [f"--{name}-file={folder / f'munge.{name}'}" for name in ("key", "pid", "seed", "log")]
        stack.enter_context(_daemon(folder, "munged", "--foreground", "--force", f"--socket={munge}", *owns))
        _wait("munged", munge.exists, folder)
        stack.enter_context(_daemon(folder, "slurmctld", "-D", "-c"))
        stack.enter_context(_daemon(folder, "slurmd", "-D"))
        _wait("slurmd", _idle, folder)
        stack.callback(_cancel_all)
        yield folder


def _demand_the_means() -> None:
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        raise Unavailable("a Slurm can only be started by root, on Linux")
    if missing:
        raise Unavailable(f"{', '.join(missing)} not installed (Debian: slurm-wlm, munge)")


@contextmanager
def _own_conf() -> Iterator[TextIO]:
    """Claim the machine's configuration: never one that somebody else wrote, and by one cluster at a time."""
    if CONF.exists() and not CONF.read_text().startswith(MARK):
        raise Unavailable(f"this machine has a Slurm of its own: {CONF}")
    with CONF.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable("another cluster of this kind runs here") from None
        file.truncate(0)  # a killed test's
        try:
            yield file
        finally:
            CONF.unlink()


def _settings(folder: Path, munge: Path) -> str:
    host = socket.gethostname().split(".")[0]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    return f"""\
ClusterName=onenode
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={_free_port()}
SlurmdPort={_free_port()}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={munge},cred_expire={BACK}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=5
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=10
MinJobAge=3600
NodeName={host} NodeAddr=127.0.0.1 CPUs={CPUS} RealMemory={memory} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def _free_port() -> int:
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        return any_port.getsockname()[1]


@contextmanager
def _daemon(folder: Path, *command: str) -> Iterator[None]:
    with (folder / f"{command[0]}.log").open("w") as log:
        # a killed test takes its daemons along
        tied = ["setpriv", "--pdeathsig", "KILL", *command]
        process = subprocess.Popen(tied, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(daemon: str, ready: Callable[[], bool], folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not ready():
        if time.monotonic() > deadline:
            logs = "\n".join(f"{log.name}:\n{log.read_text()[-2000:]}" for log in sorted(folder.glob("*.log")))
            raise Unavailable(f"{daemon} did not come up in {PATIENCE} s\n{logs}")
        time.sleep(0.2)


def slurm(*command: str) -> str:
    """Ask one of Slurm's programs; what it says, or nothing if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _idle() -> bool:
    return slurm("sinfo", "--noheader", "--format=%T") == "idle"


def _cancel_all() -> None:
    """End every job, so that slurmd leaves no process behind."""
    slurm("scancel", "--user=root")
    deadline = time.monotonic() + PATIENCE
    while slurm("squeue", "--noheader") and time.monotonic() < deadline:
        time.sleep(0.2)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that it, too, stops the daemons
    with tempfile.TemporaryDirectory() as place, cluster(Path(place)):
        sys.exit(subprocess.run(sys.argv[1:], check=False).returncode)
