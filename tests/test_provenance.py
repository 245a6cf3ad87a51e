"""Where results come from: the modules that a notebook's numbers depend on are found from its text alone."""

from __future__ import annotations

import json
import os
import platform
import re
import socket
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

from nbtools.runs import folders, provenance

NOTEBOOKS = sorted(file.stem for file in folders.NOTEBOOKS.glob("*.ipynb"))


def write(file: Path, *cells: str) -> Path:
    code = [{"cell_type": "code", "metadata": {}, "source": [text]} for text in cells]
    file.write_text(json.dumps({"cells": code}))
    return file


def names(notebook: Path) -> set[str]:
    return {file.relative_to(provenance.PACKAGE).as_posix() for file in provenance.sources(notebook)}


def test_what_is_imported_is_followed_to_its_end(tmp_path: Path) -> None:
    found = names(write(tmp_path / "x.ipynb", "if True:\n    from nbtools.metrics.brain.noise_ceiling import ncsnr"))
    assert {"metrics/__init__.py", "metrics/brain/noise_ceiling.py", "errors.py"} <= found
    assert "models/networks.py" not in found


@pytest.mark.parametrize(
    "code",
    [
        "from nbtools.metrics import ncsnr",
        "from nbtools import metrics\nmetrics.ncsnr(x)",
        "from nbtools import metrics as m\nm.ncsnr",
        "import nbtools\nnbtools.metrics.ncsnr(x)",
        "import nbtools.metrics as scores\nprint(scores.ncsnr(x).mean())",
    ],
)
def test_what_a_room_offers_leads_to_its_module(tmp_path: Path, code: str) -> None:
    found = names(write(tmp_path / "x.ipynb", code))
    assert {"metrics/__init__.py", "metrics/brain/noise_ceiling.py", "errors.py"} <= found
    assert "metrics/brain/rsa.py" not in found, "nor anything else of that room"


def test_how_results_are_shown_does_not_shape_them(tmp_path: Path) -> None:
    assert names(write(tmp_path / "x.ipynb", "from nbtools import plots, runs", "import nbtools.widgets")) == set()


@pytest.mark.slow
@pytest.mark.parametrize("notebook", ["01_brain_responses", "04_adversarial_attacks"])
def test_python_imports_nothing_else(notebook: str) -> None:
    """The reference: what importing those modules does load."""
    file = folders.NOTEBOOKS / f"{notebook}.ipynb"
    found = {name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in names(file)}
    code = f"import sys, {', '.join(f'nbtools.{name}' for name in sorted(found))}; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    beside = {name.removeprefix("nbtools.") for name in loaded if name.startswith("nbtools.")} - found
    kept = {"files", "checks", "places"}
    assert beside <= kept, "how files are written and where they lie, and what is said of one that cannot be read"


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_every_notebook_has_sources(notebook: str) -> None:
    assert {"data/study.py", "errors.py"} <= names(folders.NOTEBOOKS / f"{notebook}.ipynb")


# --- surroundings -------------------------------------------------------------------------------------------


def surroundings(code: str = "", **environment: str) -> dict[str, Any]:
    """What a process of its own notes, after it ran some code."""
    code = f"import json; {code}\nfrom nbtools.runs import provenance\nprint(json.dumps(provenance.surroundings()))"
    command, own = [sys.executable, "-c", code], {**os.environ, **environment}
    return json.loads(subprocess.check_output(command, text=True, env=own))


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 2])
def test_the_number_of_threads_is_noted(n: int) -> None:
    """Sums depend on it."""
    noted = surroundings("import numpy, torch", OMP_NUM_THREADS=str(n), MKL_NUM_THREADS=str(n), KMP_BLOCKTIME="7")
    assert noted["threads"]["torch"] == n
    assert noted["environment"]["OMP_NUM_THREADS"] == str(n)
    assert noted["environment"]["KMP_BLOCKTIME"] == "7"
    assert noted["arithmetic"]["cpu"] == torch.backends.cpu.get_cpu_capability()
    assert noted["arithmetic"]["blas"]
    assert noted["arithmetic"]["float32_matmul"] == "highest"
    assert noted["platform"] == platform.platform()


def test_torch_is_asked_only_where_it_is_in_use() -> None:
    noted = surroundings("import sys; sys.modules['torch'] = None")  # importing it would fail
    assert "torch" not in noted["threads"]
    assert "cpu" not in noted["arithmetic"]


def test_a_job_is_named_and_no_person_or_machine() -> None:
    """Run folders are shared; the job's number finds its log."""
    private = {"USER": "ada-l", "HOME": "/mnt/ada-l", "TORCH_HOME": "/mnt/ada-l/torch", "SLURMD_NODENAME": "node-417"}
    noted = surroundings(SLURM_JOB_ID="4711", **private)
    assert noted["slurm_job"] == "4711"
    text = json.dumps(noted)
    assert not [word for word in ("ada-l", "node-417", socket.gethostname()) if word in text]


def test_every_package_that_computes_is_noted() -> None:
    project = tomllib.loads((provenance.PROJECT / "pyproject.toml").read_text())["project"]
    declared = {re.match(r"[\w-]+", line)[0] for line in project["dependencies"]}  # type: ignore[index]
    about_notebooks = {
        "anywidget",
        "ipykernel",
        "ipywidgets",
        "jupyter-client",
        "jupyterlab",
        "matplotlib",
        "nbconvert",
        "nbformat",
        "voila",
    }
    beside = {"kaleido", "lazy-loader", "psutil", "pyyaml", "requests", "snakemake", "threadpoolctl", "tqdm", "urllib3"}
    assert set(surroundings()["packages"]) == declared - about_notebooks - beside


def test_a_graphics_card_is_noted_with_its_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Card 100")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91_000)
    noted = provenance.surroundings()
    assert noted["device"] == "Card 100"
    assert (noted["arithmetic"]["cuda"], noted["arithmetic"]["gpus"]) == (torch.version.cuda, 2)
    assert noted["arithmetic"]["cudnn"] == 91_000
