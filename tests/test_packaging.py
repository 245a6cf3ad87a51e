"""What a newcomer installs and types: the lock, the two commands, the environment file, the configurations."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import nbtools
from nbtools.runs import folders
from nbtools.workflow.config import read_config
from nbtools.workflow.graph import make_graph

ROOT = folders.PROJECT
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]
DECLARED = [Requirement(line) for line in (*PROJECT["dependencies"], *EXTRAS["dev"], *EXTRAS["site"], *EXTRAS["slurm"])]
LOCK = (ROOT / "requirements.lock").read_text()
PIN = re.compile(
    r"^([A-Za-z0-9._-]+)==(\S+?)(?: ; (.*?))? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE
)
PINS = [(canonicalize_name(name), version, marker) for name, version, marker, _ in PIN.findall(LOCK)]
# Systems the README promises.
SYSTEMS = [
    {
        "python_version": version,
        "python_full_version": f"{version}.5",
        "sys_platform": sys,
        "platform_system": system,
        "platform_machine": machine,
        "os_name": "nt" if sys == "win32" else "posix",
        "extra": "",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    for version in ("3.11", "3.12", "3.13")
    for sys, system, machine in (
        ("linux", "Linux", "x86_64"),
        ("darwin", "Darwin", "arm64"),
        ("win32", "Windows", "AMD64"),
    )
]


def git(*arguments: str) -> list[str]:
    """Ask git for lines; skip where this is no checkout."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return [line for line in done.stdout.split("\0") if line]


# --- the lock -----------------------------------------------------------------------------------------------


def test_every_line_of_the_lock_is_a_hashed_pin() -> None:
    rest = re.sub(r"^ *#.*\n", "", PIN.sub("", LOCK), flags=re.MULTILINE)
    assert rest.strip() == "", f"neither pins with sha256 hashes nor comments: {rest[:300]}"
    assert len(PINS) > 100


def test_the_lock_names_no_host_and_no_local_path() -> None:
    assert not re.search(r"://|--(?:extra-)?index|--find-links|file:| @ |/home|/tmp|localhost", LOCK)
    assert not re.search(r"^\s*# via .*(?:/|\\)", LOCK, re.MULTILINE)


@pytest.mark.parametrize("needed", DECLARED, ids=lambda needed: needed.name)
def test_every_dependency_is_pinned_as_declared(needed: Requirement) -> None:
    versions = [version for name, version, _ in PINS if name == canonicalize_name(needed.name)]
    assert versions, f"{needed.name} is not in requirements.lock: run `make lock`"
    for version in versions:
        assert needed.specifier.contains(version, prereleases=True), f"{needed} is locked at {version}: run `make lock`"


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda s: f"{s['sys_platform']}-{s['python_version']}")
def test_each_system_gets_one_version_of_everything(system: dict[str, str]) -> None:
    """Markers divide the lock among systems: no package twice, and none of ours missing."""
    chosen = [name for name, _, marker in PINS if not marker or Marker(marker).evaluate(system)]
    assert len(set(chosen)) == len(chosen)
    assert {canonicalize_name(needed.name) for needed in DECLARED} <= set(chosen)


def test_torch_and_torchvision_come_from_one_source() -> None:
    """A local version such as 2.9+cpu breaks torchvision's operators."""
    local = [f"{name}=={version}" for name, version, _ in PINS if Version(version).local]
    assert local == []


def test_nothing_is_installed_that_slows_every_notebook() -> None:
    """The override in pyproject.toml reaches the lock: jsonschema does without, and imports 2 s sooner."""
    assert "rfc3987-syntax" not in {name for name, *_ in PINS}


def test_the_installed_package_is_this_one() -> None:
    assert SpecifierSet(PROJECT["requires-python"]) == SpecifierSet(">=3.11,<3.14")
    for version in {system["python_version"] for system in SYSTEMS}:
        assert Version(version) in SpecifierSet(PROJECT["requires-python"])


# --- the version --------------------------------------------------------------------------------------------


def test_the_version_stands_in_one_place_and_is_cited_as_it_is(readme: str) -> None:
    assert PROJECT["dynamic"] == ["version"]
    assert "version" not in PROJECT
    assert PYPROJECT["tool"]["hatch"]["version"] == {"path": "nbtools/__init__.py"}
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == nbtools.__version__
    assert cited["title"] == f"nbtools · {PROJECT['description']}"
    assert (cited["cff-version"], cited["license"]) == ("1.2.0", PROJECT["license"])
    assert cited["message"]
    for each in [cited, *cited["references"]]:  # what the format asks of a work
        assert each["title"]
        assert all("name" in who or {"family-names", "given-names"} <= who.keys() for who in each["authors"])
    install = (ROOT / "docs/install.md").read_text(encoding="utf-8")
    named = set(re.findall(r"neuroai_nbtools-([\d.]+\w*)-py3", readme + install))
    assert named == {nbtools.__version__}


# --- conda --------------------------------------------------------------------------------------------------


def test_conda_gets_the_same_package() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, by_pip = environment["dependencies"]
    assert SpecifierSet(python.removeprefix("python")) == SpecifierSet(PROJECT["requires-python"])
    assert pip == "pip"
    assert by_pip == {"pip": ["-e .[dev,site,slurm]"]}, "everything else is declared once, in pyproject.toml"


# --- the commands -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def readme() -> str:
    return (ROOT / "README.md").read_text()


@pytest.mark.parametrize("command", ["make demo", "make test"])
def test_the_readme_gives_the_two_commands(readme: str, command: str) -> None:
    assert command in readme


def test_every_make_target_that_is_mentioned_exists(readme: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    assert {"demo", "test", "lint", "lab", "lock", "clean"} <= targets
    texts = [readme, makefile, *(file.read_text() for file in [*ROOT.glob("docs/*.md"), ROOT / "CONTRIBUTING.md"])]
    mentioned = {name for text in texts for name in re.findall(r"`make ([a-z]+)", text)}
    assert mentioned <= targets
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony
    assert set(phony[1].split()) == targets


def test_what_make_needs_is_what_it_asks_for() -> None:
    """`make -n` on a fresh checkout: it would install first, then run."""
    done = subprocess.run(
        ["make", "-n", "-W", "requirements.lock", "demo", "ROIS=V1 TO"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    steps = [
        "pip sync",
        "--require-hashes requirements.lock",
        "--no-deps --editable .",
        'nbtools demo --rois "V1 TO"',
    ]
    found = [done.stdout.find(step) for step in steps]
    assert -1 not in found
    assert found == sorted(found)


@pytest.mark.parametrize(("choice", "place"), [("CORES=2", "--cores 2"), ("PROFILE=slurm", "--profile config/slurm")])
def test_make_runs_here_or_on_a_cluster(choice: str, place: str) -> None:
    command = ["make", "-n", "study", choice]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"{place} --targets study explorers" in done.stdout
    assert yaml.safe_load((ROOT / "config/slurm/config.yaml").read_text())["executor"] == "slurm"


@pytest.mark.parametrize(("choice", "agreed"), [("AGREED=", False), ("AGREED=no", False), ("AGREED=yes", True)])
def test_make_agrees_to_no_terms_by_itself(choice: str, agreed: bool) -> None:
    command = ["make", "-n", "real", choice, "FETCH=--mirror x"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert ("--agreed" in said) == agreed
    steps = "fetch things", "fetch tvsd", "prepare tvsd", "plan config/tvsd.yaml", "study config/tvsd.yaml --cores all"
    found = [said.find(step) for step in steps]
    assert found == sorted(found)
    assert -1 not in found


@pytest.mark.skipif(os.name != "posix", reason="Windows has no executable bit")
def test_the_check_is_executable() -> None:
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    assert script.read_text().startswith("#!/usr/bin/env bash\n")
    assert {"make lint", "make test"} <= set(script.read_text().splitlines())


# --- configurations -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", sorted((ROOT / "config").glob("*.yaml")), ids=lambda file: file.stem)
def test_a_configuration_sets_what_the_notebooks_have(file: Path) -> None:
    assert make_graph(read_config(file)).jobs


# --- the tree -----------------------------------------------------------------------------------------------


def test_no_file_names_a_place_of_its_makers() -> None:
    """A reader's machine has other folders."""
    words = "|".join(("work", "home", "root", "Users", "tmp"))
    place = re.compile(rf"(?<![\w.~/}}*$-])/(?:{words})/\w")
    found = []
    for name in git("ls-files", "-z"):
        file = ROOT / name
        if file.suffix in (".png", ".parquet", ".gz", ".svg") or not file.is_file():
            continue
        lines = file.read_text(encoding="utf-8").splitlines()
        found += [f"{name}:{i}: {line.strip()[:100]}" for i, line in enumerate(lines, 1) if place.search(line)]
    assert found == []


def test_results_and_data_are_not_in_git() -> None:
    tracked = git("ls-files", "-z")
    assert [name for name in tracked if name.startswith(("data/", "runs/"))] in ([], ["data/README.md"])
    large = [name for name in tracked if (ROOT / name).is_file() and (ROOT / name).stat().st_size > 2_000_000]
    assert large == []


def test_what_a_run_makes_is_ignored() -> None:
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {".venv/", "/runs/", "/site/", "/data/*", ".snakemake/", ".ipynb_checkpoints/"} <= set(ignored)
    assert not {"runs/", "data/", "data/*"} & set(ignored), "the package has rooms of these names"
