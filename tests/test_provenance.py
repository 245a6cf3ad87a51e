"""Where results come from: the modules that a notebook's numbers depend on are found from its text alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nbtools import provenance, runs

NOTEBOOKS = sorted(file.stem for file in runs.NOTEBOOKS.glob("*.ipynb"))


def write(file: Path, *cells: str) -> Path:
    code = [{"cell_type": "code", "metadata": {}, "source": [text]} for text in cells]
    file.write_text(json.dumps({"cells": code}))
    return file


def names(notebook: Path) -> set[str]:
    return {file.relative_to(provenance.PACKAGE).as_posix() for file in provenance.sources(notebook)}


def test_what_is_imported_is_followed_to_its_end(tmp_path: Path) -> None:
    found = names(write(tmp_path / "x.ipynb", "if True:\n    from nbtools.metrics.noise_ceiling import ncsnr"))
    assert {"metrics/__init__.py", "metrics/noise_ceiling.py", "errors.py"} <= found
    assert "models.py" not in found


def test_how_results_are_shown_does_not_shape_them(tmp_path: Path) -> None:
    assert names(write(tmp_path / "x.ipynb", "from nbtools import plots, runs", "import nbtools.widgets")) == set()


@pytest.mark.parametrize("notebook", ["01_brain_responses", "04_adversarial_attacks"])
def test_python_imports_nothing_else(notebook: str) -> None:
    """The reference: what importing those modules does load."""
    file = runs.NOTEBOOKS / f"{notebook}.ipynb"
    found = {name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in names(file)}
    code = f"import sys, {', '.join(f'nbtools.{name}' for name in sorted(found))}; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    beside = {name.removeprefix("nbtools.") for name in loaded if name.startswith("nbtools.")} - found
    assert beside <= {"files"}, "how files are written"


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_every_notebook_has_sources(notebook: str) -> None:
    assert {"data/study.py", "errors.py"} <= names(runs.NOTEBOOKS / f"{notebook}.ipynb")
