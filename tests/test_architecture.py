"""The package's shape: imports flow one way, nothing is pickled, modules stay short, everything says what it is."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import nbtools

PACKAGE = Path(nbtools.__file__).parent
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
# What a module may import stands on its own line or above; lines are layers, top to bottom.
LAYERS = (
    "errors files checks processes",
    "conditions",
    "metrics",  # tensors and tables in, tables out: they know nothing of what stands below
    "data",
    "models checkpoints devices",
    "loop",
    "training",
    "features style_transfer clouds manifold_guidance",
    "attacks transfer targeted corrupted",
    "audit",
    "provenance",
    "runs",
    "study_config",
    "graph",
    "costs",
    "calibration",
    "needs",
    "plan",
    "plots",
    "widgets",
    "teaching",
    "batch repeat bench doctor",
    "cli",
    "__main__",
)
LEVEL = {name: level for level, line in enumerate(LAYERS) for name in line.split()}
# Metrics turn tables and tensors into tables: they know the names of conditions, and nothing of files or models.
METRICS_MAY_USE = {"errors", "checks", "conditions", "metrics"}


def imported_by(source: str, module: str = "nbtools.x") -> set[str]:
    """The package's modules that a source imports anywhere in it, functions included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")[: -node.level] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            found |= {origin} | {f"{origin}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] == "nbtools"}


def parts_imported(source: str) -> set[str]:
    """Which of the package's parts (``data``, ``models``, …) a source imports."""
    return {name.split(".")[1] for name in imported_by(source) if "." in name} & LEVEL.keys()


def upward(part: str, source: str) -> set[str]:
    return {other for other in parts_imported(source) if LEVEL[other] > LEVEL[part]}


def public_names(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    """Functions and classes of a module, and methods of its classes, without a leading underscore."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                inside = [method for method in node.body if isinstance(method, ast.FunctionDef)]
                yield from (method for method in inside if not method.name.startswith("_"))


PICKLERS = ("pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve")
# Readers that run what they read, or write what only such can read.
RUNNING = {"torch.load", "torch.save", "torch.hub.load", "torch.jit.load", "yaml.load", "yaml.full_load"}
RUNNING |= {"yaml.unsafe_load", "yaml.Loader", "yaml.UnsafeLoader", "os.system", "os.popen"}


def running(source: str) -> list[str]:
    """Ways of a source to run what it reads: pickles, text taken for code, text given to a shell."""
    tree, found = ast.parse(source), []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            found += [name for name in names if name.split(".")[0] in PICKLERS]
        elif isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            found += [name] * (name in RUNNING or name.endswith((".read_pickle", ".to_pickle", ".read_hdf")))
        elif isinstance(node, ast.Call):
            name, given = ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
            found += [name] * (name in ("eval", "exec", "compile", "__import__"))
            found += [word for word in ("allow_pickle", "shell") if given.get(word, "False") != "False"]
            found += [name] * (name.endswith(".get_state_dict") and given.get("weights_only") != "True")
            found += [name] * (name == "Image.open" and "formats" not in given)
    return found


def test_every_module_has_a_place() -> None:
    parts = {name.split(".")[1] for name in MODULES if "." in name}
    assert parts <= LEVEL.keys(), "say in LAYERS where the new module stands"


@pytest.mark.parametrize("module", MODULES)
def test_imports_flow_downwards(module: str) -> None:
    source, part = MODULES[module].read_text(), module.partition(".")[2].split(".")[0]
    assert not upward(part or "errors", source)
    if part == "metrics":
        assert parts_imported(source) <= METRICS_MAY_USE


@pytest.mark.parametrize("module", MODULES)
def test_nothing_that_is_read_is_run(module: str) -> None:
    assert not running(MODULES[module].read_text())


@pytest.mark.parametrize("notebook", sorted((PACKAGE.parent / "notebooks").glob("*.ipynb")), ids=lambda file: file.stem)
def test_no_notebook_runs_what_it_reads(notebook: Path) -> None:
    cells = json.loads(notebook.read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert not running("\n".join(code))


@pytest.mark.parametrize("module", MODULES)
def test_modules_are_short(module: str) -> None:
    assert len(MODULES[module].read_text().splitlines()) <= 400


@pytest.mark.parametrize("module", MODULES)
def test_everything_public_says_what_it_is(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text())
    assert ast.get_docstring(tree), "a module begins with one sentence"
    assert [node.name for node in public_names(tree) if not ast.get_docstring(node)] == []


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("data", "from nbtools.models import freeze"),
        ("data", "import nbtools.training"),
        ("metrics", "def f():\n    from nbtools.runs import collect"),
        ("models", "from nbtools import attacks"),
        ("errors", "from nbtools.conditions import HIERARCHY"),
    ],
)
def test_an_upward_import_would_be_seen(part: str, source: str) -> None:
    assert upward(part, source)


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import load",
        "import torch\ntorch.load(file)",
        "np.load(file, allow_pickle=True)",
        "table.to_pickle(file)",
        "from joblib import load",
        "import yaml\nyaml.load(text, yaml.Loader)",
        "x = eval(text)",
        "exec(text)",
        "subprocess.run(text, shell=True)",
        "os.system(text)",
        "weights.get_state_dict(progress=True)",
        "Image.open(file)",
    ],
)
def test_running_what_is_read_would_be_seen(source: str) -> None:
    assert running(source)


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        ("nbtools.conditions, nbtools.data.study, nbtools.data.nsd", "torch torchvision pandas plotly foolbox sklearn"),
        ("nbtools.data.synthetic", "torch torchvision plotly foolbox"),
        ("nbtools.metrics.noise_ceiling, nbtools.metrics.stats", "torch torchvision plotly foolbox"),
        ("nbtools.training", "foolbox plotly ipywidgets"),
        ("nbtools.attacks", "lightning_fabric scipy.stats plotly"),
        ("nbtools.plots", "torch scipy.stats scipy.ndimage sklearn"),
        ("nbtools.cli", "torch scipy sklearn plotly papermill"),  # what every job of a workflow begins with
    ],
)
def test_imports_are_light(modules: str, heavy: str) -> None:
    code = f"import sys, {modules}; print(*sorted(set({heavy.split()!r}) & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == []
