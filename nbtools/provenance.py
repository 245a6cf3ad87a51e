"""What a run came from: digests of files and code, versions, commit, device, memory."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from nbtools.data.study import home

PROJECT = Path(__file__).parents[1]
# Changing how results are shown or where they are kept does not change them.
_PRESENTATION = ("files", "plots", "widgets", "provenance", "runs", "batch", "bench", "__main__")
_PACKAGES = (
    *("foolbox", "h5py", "lightning-fabric", "nibabel", "nilearn", "numpy", "pandas", "papermill", "plotly"),
    *("safetensors", "scikit-learn", "scipy", "torch", "torchvision"),
)


def surroundings() -> dict[str, Any]:
    """Return what else a number may depend on: versions, commit, device; and this process's highest memory use."""
    return {
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "git": _git(),
        "device": _device(),
        "peak_memory_mb": _peak_memory(),
    }


def short(path: Path) -> str:
    """Name a path relative to the project or its home where it lies inside."""
    for root in (home(), PROJECT):
        if path.is_relative_to(root):
            return path.relative_to(root).as_posix()
    return str(path)


def code_files() -> list[Path]:
    """Return the package's modules in use that shape results."""
    names = [name for name in sys.modules if name.startswith("nbtools.") and name.split(".")[1] not in _PRESENTATION]
    files = [sys.modules[name].__file__ for name in names]
    return sorted(Path(file) for file in files if file)


def code_digest(file: Path) -> str:
    """Digest a notebook's code: saving it with its outputs, new values of parameters or better prose change nothing."""
    cells = [cell for cell in json.loads(file.read_text())["cells"] if cell["cell_type"] == "code"]
    code = ["".join(cell["source"]) for cell in cells if "parameters" not in cell["metadata"].get("tags", [])]
    return hashlib.sha256(json.dumps(code).encode()).hexdigest()


def stamp(path: Path) -> dict[str, Any]:
    """Digest a file's bytes, a notebook's code, or a folder's names and sizes."""
    if path.suffix == ".ipynb":
        return {"code_sha256": code_digest(path)}
    digest = hashlib.sha256()
    if path.is_dir():
        for file in sorted(f for f in path.rglob("*") if f.is_file()):
            digest.update(f"{file.relative_to(path).as_posix()} {file.stat().st_size}\n".encode())
        return {"listing_sha256": digest.hexdigest()}
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return {"sha256": digest.hexdigest(), "size": path.stat().st_size, "modified": path.stat().st_mtime_ns}


def unchanged(name: str, then: dict[str, Any]) -> bool:
    """Compare size and time first: a large file whose time has not changed is not read again."""
    places = [root / name for root in (home(), PROJECT) if (root / name).exists()]
    if not places:
        return False
    if "sha256" in then:
        now = places[0].stat()
        if (now.st_size, now.st_mtime_ns) == (then["size"], then["modified"]):
            return True
        return stamp(places[0])["sha256"] == then["sha256"]
    return stamp(places[0]) == then


def _git() -> dict[str, Any] | None:
    """Return the project's commit and whether files differ from it; None outside a repository."""
    try:
        commit = _ask("git", "rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_ask("git", "status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return None


def _ask(*command: str) -> str:
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout.strip()


def _peak_memory() -> int | None:
    """Return this process's highest memory use in MB; None where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)


def _device() -> str:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
