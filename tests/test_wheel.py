"""The wheel, built, installed and run: in an empty folder it does what a checkout does, and brings no tests along."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packaging.metadata import Metadata
from packaging.specifiers import SpecifierSet
from test_packaging import PROJECT, git
from uv import find_uv_bin

import nbtools
from nbtools.places import PROJECT as ROOT

pytestmark = pytest.mark.slow
TOKEN = "open"
Command = Callable[..., str]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (file,) = folder.iterdir()
    return file


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel; for all else it looks into the one that runs these tests."""
    place = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(place)
    programs = place / ("Scripts" if os.name == "nt" else "bin")
    (packages,) = place.glob("[Ll]ib/**/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    command = [find_uv_bin(), "pip", "install", "--quiet", "--offline", "--no-deps", "--python", programs / "python"]
    subprocess.run([*command, wheel], check=True, capture_output=True)
    return programs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "anywhere").mkdir()
    return tmp_path / "anywhere"


def surroundings(**own: str) -> dict[str, str]:
    """As a reader has them: nothing leads to the checkout."""
    ours = {"PYTHONPATH", "NBTOOLS_HOME", "VIRTUAL_ENV"}
    return {**{name: value for name, value in os.environ.items() if name not in ours}, **own}


@pytest.fixture
def nbtools_command(environment: Path, folder: Path) -> Command:
    """Runs ``nbtools …`` in an empty folder, and returns what it says."""

    def run(*arguments: str, program: str = "nbtools", cwd: Path = folder) -> str:
        command = [str(environment / program), *arguments]
        done = subprocess.run(command, cwd=cwd, env=surroundings(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


# --- what is in it ------------------------------------------------------------------------------------------


def test_it_holds_the_package_and_what_its_commands_need_and_nothing_else(wheel: Path) -> None:
    tracked = git("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    files = {name for name in tracked if (ROOT / name).is_file()}
    shipped = {name for name in files if name.startswith(("notebooks/", "config/")) and name != "config/jupyter.json"}
    shipped |= {"Snakefile", "data/README.md"}
    expected = {name for name in files if name.startswith("nbtools/")} | {f"nbtools/shipped/{name}" for name in shipped}
    with zipfile.ZipFile(wheel) as archive:
        there = {name for name in archive.namelist() if ".dist-info/" not in name}
        (settings,) = [name for name in there if ".data/data/" in name]
        assert there - {settings} == expected
        assert settings.endswith("etc/jupyter/jupyter_server_config.d/nbtools.json")
        assert archive.read(settings) == (ROOT / "config/jupyter.json").read_bytes()
    assert {"nbtools/shipped/notebooks/00_start_here.ipynb", "nbtools/shipped/notebooks/glossary.md"} <= expected
    assert not [name for name in there if "test" in name.casefold().split("/")[0] or "/tests/" in name]
    assert wheel.stat().st_size < 2_000_000


def test_it_says_what_pyproject_says(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (file,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        said = Metadata.from_email(archive.read(file), validate=False)
    assert (said.name, str(said.version), said.summary) == (
        PROJECT["name"],
        nbtools.__version__,
        PROJECT["description"],
    )
    assert said.license_expression == "MIT"
    assert said.requires_python == SpecifierSet(PROJECT["requires-python"])
    assert len([each for each in said.requires_dist or [] if each.marker is None]) == len(PROJECT["dependencies"])


# --- what it does -------------------------------------------------------------------------------------------


def test_both_ways_to_call_it_say_its_version(nbtools_command: Command, folder: Path) -> None:
    said = {nbtools_command("--version"), nbtools_command("-m", "nbtools", "--version", program="python")}
    assert said == {f"nbtools {nbtools.__version__}\n"}
    where = nbtools_command("-c", "import nbtools; print(nbtools.__file__)", program="python")
    assert str(ROOT) not in where
    assert list(folder.iterdir()) == []


@pytest.mark.notebook
def test_a_study_in_an_empty_folder(nbtools_command: Command, folder: Path) -> None:
    nbtools_command("world", "tiny")
    asked = ("run", "notebooks/01_brain_responses.ipynb", "-p", "study", "tiny", "-p", "rois", "V1 TO")
    assert f"running 01_brain_responses into {folder / 'runs/tiny/01_brain_responses'}" in nbtools_command(*asked)
    assert {each.name for each in folder.iterdir()} == {"data", "runs"}
    (file,) = folder.glob("runs/tiny/01_brain_responses/*/run.json")
    record = json.loads(file.read_text())
    assert (record["nbtools"], record["git"]) == (nbtools.__version__, None)
    assert {"nbtools/data/study.py", "notebooks/01_brain_responses.ipynb"} <= record["inputs"].keys()
    assert not [name for name in record["inputs"] if Path(name).is_absolute()]
    assert "finished before" in nbtools_command(*asked)
    (row,) = [line for line in nbtools_command("plan", "config/tiny.yaml").splitlines() if line.startswith("01_")]
    assert row.split()[1:3] == ["1", "0"], "it has all regions: another run"


@pytest.mark.notebook
def test_its_workflow_finds_its_notebooks(nbtools_command: Command, environment: Path, folder: Path) -> None:
    """As `nbtools demo` and `nbtools study` call Snakemake; here it plans alone."""
    (snakefile,) = environment.parent.rglob("nbtools/shipped/Snakefile")
    plan = [
        "--dry-run",
        "--configfile",
        str(snakefile.parent / "config/tiny.yaml"),
        "--config",
        "rois=V1 TO",
        "seeds=0",
    ]
    said = nbtools_command("-m", "snakemake", "--snakefile", str(snakefile), *plan, program="python")
    assert "network_TO_seed0" in said
    assert str(folder / "runs/tiny/03_guided_training") in said
    assert str(ROOT) not in said


@pytest.mark.notebook
def test_jupyterlab_opens_on_copies_of_the_notebooks(environment: Path, folder: Path, tmp_path: Path) -> None:
    """With the kernels that start at once; what runs there lands beside the copies."""
    settings = {"IdentityProvider": {"token": TOKEN}, "ServerApp": {"allow_root": True}}
    (tmp_path / "jupyter").mkdir()
    (tmp_path / "jupyter/jupyter_server_config.json").write_text(json.dumps(settings))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = surroundings(JUPYTER_CONFIG_DIR=str(tmp_path / "jupyter"))
    command = [str(environment / "nbtools"), "lab", "--no-browser", "--port", str(port)]
    log = tmp_path / "log"
    with log.open("w") as told, subprocess.Popen(command, cwd=folder, env=own, stdout=told, stderr=told) as server:
        try:
            names = {each["name"] for each in _asked(port, "contents", server, log)["content"]}
        finally:
            server.terminate()
    assert {"00_start_here.ipynb", "22_other_images.ipynb", "glossary.md"} <= names
    assert f"notebooks: {folder / 'notebooks'}" in log.read_text()
    assert "nbtools.runs.warm | extension was successfully loaded" in log.read_text()
    assert (folder / "config/nsd.yaml").exists()


def _asked(port: int, what: str, server: subprocess.Popen[bytes], log: Path, seconds: float = 120) -> Any:
    """Ask a server that is starting."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/{what}", headers={"Authorization": f"token {TOKEN}"})
    end = time.monotonic() + seconds
    while server.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)
        except OSError:
            time.sleep(0.3)
    raise AssertionError(log.read_text())
