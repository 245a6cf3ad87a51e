"""What a run came from: digests of files and code, versions, commit, device, memory."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import nbtools
from nbtools.data.study import home, study_name
from nbtools.files import sha256_of
from nbtools.places import INSTALLED, PACKAGE, PROJECT
from nbtools.processes import peak_memory
from nbtools.runs.copies import own_folder

# Changing how results are shown or where they are kept does not change them.
_PRESENTATION = ("files", "places", "runs", "workflow", "plots", "widgets", "bench", "cli", "__main__")
_PACKAGES = (  # that read data or compute
    *("foolbox", "h5py", "himalaya", "isal", "lightning-fabric", "nibabel", "nilearn", "numba", "numpy", "pandas"),
    *("papermill", "pillow", "plotly", "pyarrow", "pyautoattack", "rsatoolbox", "safetensors", "scikit-image"),
    *("scikit-learn", "scipy", "torch", "torchvision"),
)
# Variables of these names change sums: how many threads share one, by which instructions.
SUMMING = ("OMP_", "MKL_", "OPENBLAS_", "KMP_", "GOMP_", "DNNL_", "ONEDNN_", "ATEN_", "CUBLAS_", "NVIDIA_TF32")


def surroundings() -> dict[str, Any]:
    """Return what else a number may depend on: versions, commit, device, threads; and what finds a job's log again.

    Names of hosts and users are left out: run folders are shared.
    """
    memory = peak_memory()
    return {
        "nbtools": nbtools.__version__,
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "git": _git(),
        "device": _device(),
        "arithmetic": _arithmetic(),
        "threads": _threads(),
        "environment": summing_variables(),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
        "peak_memory_mb": None if memory is None else round(memory),
    }


def summing_variables() -> dict[str, str]:
    """Return the environment's variables that change how sums are computed."""
    return {name: value for name, value in sorted(os.environ.items()) if name.startswith(SUMMING)}


def short(path: Path) -> str:
    """Name a path relative to the project or its home where it lies inside, the inner one if it lies in both."""
    roots = [root for root in (home(), PROJECT, PACKAGE.parent) if path.is_relative_to(root)]
    return path.relative_to(max(roots, key=lambda root: len(root.parts))).as_posix() if roots else str(path)


def _located(name: str) -> Path | None:
    """Return the file that `short` has named, None if there is none: modules and notebooks are those that run here."""
    code = {PACKAGE.name: PACKAGE.parent, "notebooks": own_folder()}
    roots = (code.get(name.partition("/")[0], home()), home(), PROJECT, PACKAGE.parent)
    return next((root / name for root in roots if (root / name).exists()), None)


def registrations(study: str) -> Path:
    """Return the folder of a study's preregistrations (`workflow.preregister`), which may not be there."""
    return home() / "runs" / study_name(study) / "preregistration"


def registered(study: str) -> list[Path]:
    """Return the files of a study's preregistrations, by date."""
    return sorted(registrations(study).glob("[0-9]*.json"))


def registered_names(study: str) -> list[str]:
    """Name a study's preregistrations, by date: what a run notes of them."""
    return [file.stem for file in registered(study)]


def sources(notebook: Path) -> list[Path]:
    """Return the package's modules that shape a notebook's results: those it imports, and all that they import."""
    found: dict[str, Path] = {}
    waiting = set(_imports("\n".join(code_cells(notebook))))
    while waiting:
        name = waiting.pop()
        file = _module_file(name)
        if file and name not in found:
            found[name] = file
            waiting |= _imports(file.read_text(encoding="utf-8"))
    return sorted(found.values())


def _imports(code: str) -> set[str]:
    """Name the modules that a source imports from the package, anywhere in it; a room's name leads to its module."""
    parts = [_behind_the_door(name).split(".") for name in _named(code) if name.startswith("nbtools.")]
    # a module's packages run too: nbtools.data.brains.nsd runs nbtools.data.brains
    return {".".join(part[:n]) for part in parts if part[1] not in _PRESENTATION for n in range(2, len(part) + 1)}


@cache  # by the text itself: what changes on disk is read anew
def _named(code: str) -> frozenset[str]:
    """Return what a source imports, and what it takes of imported modules (``metrics.rdm``), by whole names."""
    tree = ast.parse(code)
    bound: dict[str, str] = {}
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
            first = {alias.asname or alias.name.partition(".")[0]: alias for alias in node.names}
            bound |= {name: alias.name if alias.asname else name for name, alias in first.items()}
        elif isinstance(node, ast.ImportFrom) and node.module:
            bound |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}

    def whole(node: ast.expr) -> str:
        if isinstance(node, ast.Attribute):
            base = whole(node.value)
            return base and f"{base}.{node.attr}"
        return bound.get(node.id, "") if isinstance(node, ast.Name) else ""

    return frozenset(names | {whole(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)})


def _behind_the_door(name: str) -> str:
    """Return where a room takes a name from: ``nbtools.data.images.sets`` for ``nbtools.data.load_folder``."""
    package, room, *rest = name.split(".")
    stub = PACKAGE / room / "__init__.pyi"
    offered = _offered(stub.read_text(encoding="utf-8")) if rest and stub.is_file() else {}
    return f"{package}.{room}.{offered[rest[0]]}" if rest and rest[0] in offered else name


@cache
def _offered(stub: str) -> dict[str, str]:
    """Return the names that a room's stub offers, and the module of each."""
    lines = [node for node in ast.parse(stub).body if isinstance(node, ast.ImportFrom) and node.module]
    return {alias.name: str(node.module) for node in lines for alias in node.names}


def _module_file(name: str) -> Path | None:
    path = PACKAGE.parent.joinpath(*name.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def code_digest(file: Path) -> str:
    """Digest a notebook's code: saving it with its outputs, new values of parameters or better prose change nothing."""
    return _sha256(json.dumps(code_cells(file)))


def ran_stamp(notebook: Path, ran: list[str]) -> dict[str, Any]:
    """Stamp a notebook by the cells that ran: as `stamp` does if its own did, up to the one that finishes the run.

    A copy with other code, or a cell that is not saved, gives another stamp: what came out is not the file's.
    """
    own = code_cells(notebook)
    last = next((i for i, cell in enumerate(own) if "run.finish()" in cell), len(own))
    if {cell.strip() for cell in own[: last + 1]} <= {cell.strip() for cell in ran}:
        return stamp(notebook)
    return {"code_sha256": _sha256(json.dumps(ran))}


def code_cells(file: Path) -> list[str]:
    """Return the code cells of a notebook, but for its parameters and the one that installs the project."""
    cells = [cell for cell in json.loads(file.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    others = {"parameters", "install"}
    return ["".join(cell["source"]) for cell in cells if others.isdisjoint(cell["metadata"].get("tags", []))]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def stamp(path: Path) -> dict[str, Any]:
    """Digest a file's bytes, a notebook's code, or a folder's names and sizes."""
    if path.suffix == ".ipynb":
        return {"code_sha256": code_digest(path)}
    if path.is_dir():
        files = sorted(f for f in path.rglob("*") if f.is_file())
        listing = "".join(f"{file.relative_to(path).as_posix()} {file.stat().st_size}\n" for file in files)
        return {"listing_sha256": _sha256(listing)}
    return {"sha256": sha256_of(path), "size": path.stat().st_size, "modified": path.stat().st_mtime_ns}


def unchanged(name: str, then: dict[str, Any]) -> bool:
    """Compare size and time first: a large file whose time has not changed is not read again."""
    file = _located(name)
    if file is None:
        return False
    if "sha256" in then:
        now = file.stat()
        if (now.st_size, now.st_mtime_ns) == (then.get("size"), then.get("modified")):
            return True
        return stamp(file).get("sha256") == then["sha256"]
    return stamp(file) == then


def _git() -> dict[str, Any] | None:
    """Return the project's commit and whether files differ from it; None outside a repository of its own."""
    if INSTALLED:  # whatever repository is around, it is another's
        return None
    try:
        commit = _ask("git", "rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_ask("git", "status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return None


def _ask(*command: str) -> str:
    asked = subprocess.run(command, cwd=PROJECT, capture_output=True, encoding="utf-8", check=True)
    return asked.stdout.strip()


def _device() -> str:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{_processor()}, {os.cpu_count()} cores"


def _processor() -> str:
    """Name the processor: on Linux, `platform` knows its family alone."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), platform.processor() or platform.machine())


def _arithmetic() -> dict[str, Any]:
    """Return by which instructions and libraries numbers are computed; torch is asked where it is in use."""
    blas = {
        f"{pool['version']} {pool.get('architecture', '')}".strip() for pool in _pools() if pool["user_api"] == "blas"
    }
    found: dict[str, Any] = {"blas": ", ".join(sorted(blas))}
    torch = sys.modules.get("torch")
    if torch is None:
        return found
    found["cpu"] = torch.backends.cpu.get_cpu_capability()
    found["float32_matmul"] = torch.get_float32_matmul_precision()
    found["deterministic"] = torch.are_deterministic_algorithms_enabled()
    if torch.cuda.is_available():
        found["cuda"] = torch.version.cuda
        found["cudnn"] = torch.backends.cudnn.version()
        found["cudnn_benchmark"] = torch.backends.cudnn.benchmark
        found["gpus"] = torch.cuda.device_count()
    return found


def _threads() -> dict[str, int]:
    """Return how many threads share a sum, by library: another number is another order of adding."""
    counts = {pool["internal_api"]: pool["num_threads"] for pool in _pools()}
    torch = sys.modules.get("torch")
    return counts if torch is None else {**counts, "torch": torch.get_num_threads()}


def _pools() -> list[dict[str, Any]]:
    from threadpoolctl import threadpool_info  # looks for NumPy when it is imported: help should not wait for it

    return threadpool_info()
