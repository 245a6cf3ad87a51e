"""Warm kernels: they see and compute what plain ones do, obey, end; where none can be, there is a plain one."""

from __future__ import annotations

import importlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager
from jupyter_client.provisioning import KernelProvisionerFactory
from test_kills import digests

from nbtools.errors import Interrupted
from nbtools.runs import nursery, warm

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="plain kernels only"), pytest.mark.slow]
QUIET = ["--IPKernelApp.log_level=CRITICAL"]


@pytest.fixture(autouse=True)
def provisioner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Warm kernels in each test, and after it what was there before."""
    monkeypatch.setattr(KernelProvisionerFactory.instance(), "default_provisioner_name", "local-provisioner")
    warm.use()


class Kernel:
    """A kernel, warm or not, and what it says."""

    def __init__(self, manager: KernelManager) -> None:
        self.manager, self.client = manager, manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(60)

    @property
    def process(self) -> Any:
        assert self.manager.provisioner is not None
        return self.manager.provisioner.process  # type: ignore[attr-defined]

    @property
    def warm(self) -> bool:
        return isinstance(self.process, warm.Forked)

    def says(self, code: str) -> str:
        said: list[str] = []

        def hear(told: dict[str, Any]) -> None:
            if told["msg_type"] in ("stream", "error"):
                said.append(told["content"].get("text") or str(told["content"]))

        self.client.execute_interactive(code, timeout=60, output_hook=hear)
        return "".join(said).strip()


@contextmanager
def kernel(cwd: Path | None = None, **environment: str) -> Iterator[Kernel]:
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(extra_arguments=QUIET, env={**os.environ, **environment}, cwd=str(cwd or Path.cwd()))
    started = Kernel(manager)
    try:
        yield started
    finally:
        started.client.stop_channels()
        manager.shutdown_kernel(now=True)


def within(seconds: float, true: Callable[[], Any]) -> bool:
    deadline = time.monotonic() + seconds
    while not (came := true()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(came)


def runs(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists() and "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()


# --- the same kernel ----------------------------------------------------------------------------------------

SEEN = f"import {', '.join(nursery.LIBRARIES)}"
SEEN += """
OWN = ("JPY_PARENT_PID", "NBTOOLS_SHARED_MB")
KEPT = ("SigBlk", "SigIgn", "SigCgt", "Umask", "Cpus_allowed", "NoNewPrivs")
import json, locale, multiprocessing, os, resource, signal, sys
from pathlib import Path
import matplotlib, numpy, threadpoolctl
threads = {(pool["internal_api"], pool["num_threads"]) for pool in threadpoolctl.threadpool_info()}
status = Path("/proc/self/status").read_text().splitlines()
print(json.dumps({
    "environment": {name: value for name, value in os.environ.items() if name not in OWN},
    "place": [os.getcwd(), sys.path, sys.executable, sys.argv[0], sys.argv[3:], os.getsid(0) == os.getpid()],
    "python": [str(sys.flags), multiprocessing.get_start_method(), locale.setlocale(locale.LC_ALL)],
    "main": sorted(vars(sys.modules["__main__"])),
    "threads": [sorted(threads), torch.get_num_threads(), torch.__config__.parallel_info()],
    "signals": [str(signal.getsignal(number)).split(" at ")[0] for number in sorted(signal.valid_signals())],
    "system": [line for line in status if line.startswith(KEPT)],
    "limits": [resource.getrlimit(number) for number in range(15)],
    "settings": [matplotlib.get_backend(), str(torch.get_default_dtype()), str(numpy.geterr())],
    "package": [name for name in sys.modules if name.startswith("nbtools")],
}))
"""


def test_a_warm_kernel_sees_what_a_plain_one_sees(tmp_path: Path) -> None:
    seen = []
    for name in ("local-provisioner", warm.NAME):
        KernelProvisionerFactory.instance().default_provisioner_name = name
        with kernel(tmp_path, NBTOOLS_HOME=name, OMP_NUM_THREADS="2", PYTHONPATH="relative") as started:
            assert started.warm == (name == warm.NAME)
            seen.append(json.loads(started.says(SEEN)))
    assert [each["environment"].pop("NBTOOLS_HOME") for each in seen] == ["local-provisioner", warm.NAME]
    for what, plain in seen[0].items():
        assert seen[1][what] == plain, what


def test_kernels_of_one_nursery_draw_different_numbers() -> None:
    code = "import os, random, numpy, torch; print(os.getppid(), random.random(), numpy.random.rand(), torch.rand(1))"
    said = []
    for home in ("one", "another"):
        with kernel(NBTOOLS_HOME=home) as started:
            said.append(started.says(f"{code}; print(os.environ['NBTOOLS_HOME'])").split())
    same = [a == b for a, b in zip(*said, strict=True)]
    assert same == [True, False, False, False, False]


RESULTS = ("run", "02_neural_predictors", "-p", "study", "tiny", "-p", "epochs", "2")


@pytest.mark.notebook
def test_a_network_and_its_tables_are_equal_to_the_bit(tiny_study: Path, tmp_path: Path) -> None:
    made = []
    for name, environment in (("warm", {}), ("plain", {"SLURM_JOB_ID": "1"})):
        (tmp_path / name / "data/derived").mkdir(parents=True)
        (tmp_path / name / "data/derived/tiny").symlink_to(tiny_study.parent)
        own = {**os.environ, "NBTOOLS_HOME": str(tmp_path / name), **environment}
        subprocess.run([sys.executable, "-m", "nbtools", *RESULTS], env=own, check=True)
        (record,) = (tmp_path / name / "runs").rglob("run.json")
        made.append(digests(record.parent))
    assert made[0] == made[1]
    assert {"weights.safetensors", "history.parquet"} < made[0].keys()


# --- its life -----------------------------------------------------------------------------------------------


def test_a_warm_kernel_is_interrupted_told_and_killed() -> None:
    with kernel() as started:
        assert started.warm
        started.client.execute("import time; time.sleep(60)")
        assert within(10, lambda: started.client.get_iopub_msg(timeout=10)["msg_type"] == "execute_input")
        started.manager.interrupt_kernel()
        assert started.client.get_shell_msg(timeout=10)["content"]["ename"] == "KeyboardInterrupt"
        assert started.manager.is_alive()
        warm.terminate()
        assert within(10, lambda: not started.manager.is_alive())
        assert started.process.returncode == -signal.SIGTERM


@pytest.mark.parametrize(("end", "status"), [("os._exit(3)", 3), ("os.kill(os.getpid(), 9)", -signal.SIGKILL)])
def test_how_a_warm_kernel_ended_is_known(end: str, status: int) -> None:
    with kernel() as started:
        started.client.execute(f"import os; {end}")
        assert within(10, lambda: not started.manager.is_alive())
        assert started.process.wait() == status


@pytest.mark.notebook
def test_a_run_told_to_end_before_its_kernel_is_there_ends(tiny_study: Path, tmp_path: Path) -> None:
    (tmp_path / "data/derived").mkdir(parents=True)
    (tmp_path / "data/derived/tiny").symlink_to(tiny_study.parent)
    own = {**os.environ, "NBTOOLS_HOME": str(tmp_path), "ONLY": "slow"}  # its nursery has yet to load
    place = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"nbtools-{os.getuid()}"
    before = {*place.glob("*.socket")}
    command = [sys.executable, "-m", "nbtools", *RESULTS]
    process = subprocess.Popen(command, env=own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert within(60, lambda: {*place.glob("*.socket")} - before)
    process.terminate()
    said, _ = process.communicate(timeout=60)
    assert process.returncode == Interrupted.STATUS, said


def test_a_warm_kernel_ends_with_whoever_asked_for_it() -> None:
    code = "import time; from pathlib import Path; from nbtools.runs import warm; import os; "
    code += "print(warm.fork(['-f', 'kernel.json'], dict(os.environ), '/tmp').pid, flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    pid = int(process.stdout.readline())
    assert runs(pid)
    process.kill()
    assert within(10, lambda: not runs(pid))
    process.communicate()


def test_a_kernel_outlives_its_nursery_and_its_end_is_seen() -> None:
    with kernel(ONLY="here") as started:
        os.kill(int(started.says("import os; print(os.getppid())")), signal.SIGKILL)
        assert started.says("print(6 * 7)") == "42"
        started.client.execute("import os; os._exit(0)")
        assert within(10, lambda: not started.manager.is_alive())
    with kernel(ONLY="here") as started:
        assert started.warm, "another nursery takes the dead one's place"


def test_of_two_that_start_at_once_one_serves() -> None:
    with ExitStack() as stack, ThreadPoolExecutor(3) as threads:
        both = list(threads.map(lambda _: stack.enter_context(kernel(ONLY="at once")), range(3)))
        parents = {started.says("import os; print(os.getppid())") for started in both}
        assert all(started.warm for started in both)
    assert len(parents) == 1


def test_a_server_has_libraries_loaded_before_a_page_asks_and_pages_share_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    warm.use_soon()
    loaded = tmp_path / f"nbtools-{os.getuid()}"
    assert within(60, lambda: list(loaded.glob("*.socket")))
    page = {"VOILA_REQUEST_URL": "http://127.0.0.1/one", "QUERY_STRING": "token=1", "SERVER_NAME": "127.0.0.1"}
    with kernel(**page) as one, kernel(**{**page, "QUERY_STRING": "token=2"}) as other:
        assert one.warm
        assert other.warm
        assert one.says("import os; print(os.environ['QUERY_STRING'])") == "token=1"
        assert other.says("import os; print(os.environ['QUERY_STRING'])") == "token=2"
        assert len(list(loaded.glob("*.socket"))) == 1, "the one that was loaded before the first was asked for"


def test_a_nursery_without_kernels_ends(tmp_path: Path) -> None:
    meeting = tmp_path / "here"
    code = "from pathlib import Path; from nbtools.runs import nursery; nursery.IDLE, nursery.LIBRARIES = 0.5, (); "
    code += f"nursery.main(Path({str(meeting)!r}))"
    subprocess.run([sys.executable, "-c", code], check=True)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(meeting))
    assert within(10, lambda: not meeting.exists())


def test_jupyterlabs_kernels_are_warm() -> None:
    enabled = json.loads((Path(nursery.__file__).parents[2] / "config/jupyter.json").read_text())
    (module,) = enabled["ServerApp"]["jpserver_extensions"]
    KernelProvisionerFactory.instance().default_provisioner_name = "local-provisioner"
    importlib.import_module(module)._load_jupyter_server_extension(None)
    with kernel() as started:
        assert started.warm


# --- where a kernel is plain --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("harm", "safe"),
    [
        ("", True),
        ("import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()", False),
        ("import torch; torch.rand(2000, 2000) @ torch.rand(2000, 2000)", False),
    ],
    ids=["no thread", "a thread", "torch's threads"],
)
def test_a_process_with_threads_of_its_own_is_not_forked(harm: str, safe: bool) -> None:
    code = (
        f"import os; from nbtools.runs import nursery\n{harm}\nprint(nursery.forks_safely(), flush=True); os._exit(0)"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "4"}
    assert subprocess.check_output([sys.executable, "-c", code], text=True, env=environment) == f"{safe}\n"


@pytest.mark.parametrize("environment", [{"SLURM_JOB_ID": "4711"}, {"TORCHELASTIC_RUN_ID": "none"}])
def test_a_clusters_job_has_a_plain_kernel(environment: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    with kernel(**environment) as started:
        assert not started.warm
    assert not caplog.records


def test_a_failure_is_told_in_a_line_and_the_kernel_is_plain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / f"nbtools-{os.getuid()}").mkdir(mode=0o755)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with caplog.at_level(logging.WARNING), kernel() as started:
        assert not started.warm
        assert started.says("print(6 * 7)") == "42"
    (told,) = [record.getMessage() for record in caplog.records]
    assert told == f"this kernel loads its libraries itself: {tmp_path}/nbtools-{os.getuid()} is not this user's alone"


def test_a_nursery_that_cannot_load_is_no_kernel(tmp_path: Path) -> None:
    (tmp_path / "pandas.py").write_text("raise ImportError")
    with pytest.raises(OSError, match=r"has ended|reset"):
        warm.fork([], {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}, "/")
