from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from nbtools.data.synthetic import make_study
from nbtools.runs.figures import LATER

os.environ[LATER] = "yes"  # a browser takes longer than most runs of tests; those that look at pictures draw them
signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background ignores it, and so would children


@pytest.hookimpl(tryfirst=True)  # before pytest leaves out what is marked
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "BrendelBethge" in item.name:  # numba compiles it for a minute, anew in every process
            item.add_marker(pytest.mark.long)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums are the same in every process, and small batches are not slowed down by waiting threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `study.toml` of a tiny simulated study, made once for all of pytest-xdist's workers. Read only."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # the workers' common folder
    folder, lock = base / "tiny-study", base / "tiny-study.lock"
    try:
        lock.mkdir()
    except FileExistsError:
        return _wait_for(folder / "study.toml")
    return make_study(folder, profile="tiny", progress=False)


@pytest.fixture(scope="session")
def processes() -> Any:
    """Makes processes by forking one that has the package loaded, and what tests import; they are not found there."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["nbtools.training.guided", "nbtools.data.brains.nsd", "nbtools.runs.folders", "hypothesis", "pytest"]
    )
    return context


def _wait_for(file: Path, seconds: float = 120) -> Path:
    deadline = time.monotonic() + seconds
    while not file.exists():
        if time.monotonic() > deadline:
            pytest.fail(f"another worker did not finish {file}")
        time.sleep(0.1)
    return file
