"""The package's shape: imports flow one way, nothing is pickled, modules stay short, everything says what it is."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import nbtools

PACKAGE = Path(nbtools.__file__).parent
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
NOTEBOOKS = sorted((PACKAGE.parent / "notebooks").glob("*.ipynb"))
# What a room may import stands on a line above its own. Rooms on one line know nothing of each other, but for those of
# the ground floor. What is inside some rooms likewise.
FLOORS = (
    "conditions guides errors checks classifiers files devices processes places",
    "metrics",  # tensors and tables in, tables out: they know nothing of what stands below
    "data",
    "models",
    "training",
    "attacks probes",
    "runs",
    "workflow",
    "plots",
    "widgets",
    "bench site",
    "cli",
    "__main__",
)
INSIDE = {
    "data": ("names kinds zips", "archives study", "images synthetic", "brains", "fetch"),
    "metrics": ("inputs stats", "samples", "brain decisions pixels", "geometry", "studies"),
    "plots": ("style looks", "guesses images labels report tables", "marks", "brain geometry robustness", "studies"),
}
# Metrics turn tables and tensors into tables: they know the names of conditions, and nothing of files or models.
METRICS_MAY_USE = {"errors", "checks", "classifiers", "conditions", "guides", "processes", "metrics"}


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


def rooms_imported(source: str, within: str = "nbtools") -> set[str]:
    """Which rooms (``data``, ``models``, …) of the package, or of a room of it, a source imports."""
    inside = [name.removeprefix(f"{within}.") for name in imported_by(source) if name.startswith(f"{within}.")]
    return {name.split(".")[0] for name in inside}


def upward(room: str, source: str, floors: tuple[str, ...] = FLOORS, within: str = "nbtools") -> set[str]:
    """Which rooms above it, or beside it, a room's source imports."""
    level = {name: height for height, line in enumerate(floors) for name in line.split()}
    ground = floors is FLOORS and level[room] == 0
    known = rooms_imported(source, within) & level.keys() - {room}
    return {other for other in known if level[other] + (not ground) > level[room]}


def modules_of(source: str) -> set[str]:
    """The modules of the package that a source's import statements name."""
    nodes = list(ast.walk(ast.parse(source)))
    named = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    named |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return {name for name in named if name.split(".")[0] == "nbtools"}


def code_of(notebook: Path) -> str:
    cells = json.loads(notebook.read_text())["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


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
    tensors_alone = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call) and _of_tensors(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            found += [name for name in names if name.split(".")[0] in PICKLERS]
        elif isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            runs = name in RUNNING and node not in tensors_alone
            found += [name] * (runs or name.endswith((".read_pickle", ".to_pickle", ".read_hdf")))
        elif isinstance(node, ast.Call):
            name, given = ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
            found += [name] * (name in ("eval", "exec", "compile", "__import__"))
            found += [word for word in ("allow_pickle", "shell") if given.get(word, "False") != "False"]
            found += [name] * (name.endswith(".get_state_dict") and given.get("weights_only") != "True")
            found += [name] * (name == "Image.open" and "formats" not in given)
    return found


def _of_tensors(call: ast.Call) -> bool:
    return any(word.arg == "weights_only" and ast.unparse(word.value) == "True" for word in call.keywords)


def of_the_locale(source: str) -> list[str]:
    """Calls of a source that read or write text as the locale has it: on Windows, not as UTF-8."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        given = {word.arg: ast.unparse(word.value) for word in node.keywords}
        match node.func:
            case ast.Attribute(attr="read_text" | "write_text"):
                textual = True
            case ast.Attribute(attr="open"):
                words = [str(word.value) for word in node.args if isinstance(word, ast.Constant)]
                textual = not (node.args or given) or any(re.fullmatch(r"[rwax]\+?t?", word) for word in words)
            case _:
                textual = given.get("text") == "True"
        if textual and "encoding" not in given:
            found.append(ast.unparse(node))
    return found


def room_of(module: str, within: str = "nbtools") -> str:
    return module.removeprefix(f"{within}.").split(".")[0]


def test_every_module_has_a_place() -> None:
    assert {room_of(module) for module in MODULES if module != "nbtools"} == set(" ".join(FLOORS).split())
    for room, floors in INSIDE.items():
        within = f"nbtools.{room}"
        inside = {room_of(module, within) for module in MODULES if module.startswith(f"{within}.")}
        assert inside == set(" ".join(floors).split())


@pytest.mark.parametrize("stub", sorted(PACKAGE.glob("*/__init__.pyi")), ids=lambda stub: stub.parent.name)
def test_no_name_a_room_offers_is_that_of_another_of_its_modules(stub: Path) -> None:
    """Once that module is imported, the room would give it in place of the function."""
    own = {file.stem for file in stub.parent.iterdir()}
    imports = [node for node in ast.walk(ast.parse(stub.read_text())) if isinstance(node, ast.ImportFrom)]
    offered = {(str(node.module), alias.asname or alias.name) for node in imports for alias in node.names}
    assert not {(module, name) for module, name in offered if name in own and module != name}


@pytest.mark.parametrize("module", [module for module in MODULES if module != "nbtools"])
def test_imports_flow_downwards(module: str) -> None:
    source, room = MODULES[module].read_text(), room_of(module)
    assert not upward(room, source)
    within = f"nbtools.{room}"
    if room in INSIDE and module != within:
        assert not upward(room_of(module, within), source, INSIDE[room], within)
    if room == "metrics":
        assert rooms_imported(source) <= METRICS_MAY_USE


def test_no_module_imports_itself_by_way_of_others() -> None:
    sources = {module: imported_by(file.read_text()) & MODULES.keys() - {module} for module, file in MODULES.items()}
    assert len(list(TopologicalSorter(sources).static_order())) == len(MODULES)


@pytest.mark.parametrize("room", [room for line in FLOORS[1:-2] for room in line.split()])
def test_a_room_offers_what_its_stub_says_and_says_what_it_is(room: str) -> None:
    door = importlib.import_module(f"nbtools.{room}")
    assert "out" in (door.__doc__ or ""), "what comes in, what goes out"
    assert all(getattr(door, name, None) is not None for name in door.__all__)


def test_the_front_door_opens_at_once() -> None:
    """Nothing but the standard library and the door itself is loaded with it."""
    code = "import sys; before = {*sys.modules}; import nbtools; print(*{*sys.modules} - before)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert {name.split(".")[0] for name in loaded} - sys.stdlib_module_names <= {"nbtools", "lazy_loader"}


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda file: file.stem)
def test_notebooks_import_from_rooms_only(notebook: Path) -> None:
    depth = {name.count(".") for name in modules_of(code_of(notebook))}
    assert depth <= {0, 1}, "a room offers what a notebook needs: add it to the room's __init__.pyi"


@pytest.mark.parametrize("module", MODULES)
def test_nothing_that_is_read_is_run(module: str) -> None:
    assert not running(MODULES[module].read_text())


@pytest.mark.parametrize("module", MODULES)
def test_text_is_utf8_wherever_it_is_read_or_written(module: str) -> None:
    assert of_the_locale(MODULES[module].read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        *("file.read_text()", "file.write_text(text)", "file.open()", "file.open('a+')"),
        *("gzip.open(file, 'rt')", "subprocess.run(command, text=True)"),
    ],
)
def test_text_as_the_locale_has_it_would_be_seen(source: str) -> None:
    assert of_the_locale(source)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_a_command_says_what_it_can_in_any_alphabet(encoding: str) -> None:
    code = "import runpy; from nbtools import cli; cli.main = lambda: print('ε – ρ'); "
    code += "runpy.run_module('nbtools', run_name='__main__')"
    given = {**os.environ, "PYTHONIOENCODING": encoding}
    told = subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, check=True)
    assert told.stdout.decode(encoding).split() == ["?", {"cp1252": "–", "ascii": "?"}[encoding], "?"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda file: file.stem)
def test_no_notebook_runs_what_it_reads(notebook: Path) -> None:
    assert not running(code_of(notebook))


@pytest.mark.parametrize("module", MODULES)
def test_modules_are_short(module: str) -> None:
    assert len(MODULES[module].read_text().splitlines()) <= 400


@pytest.mark.parametrize("module", MODULES)
def test_everything_public_says_what_it_is(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text())
    assert ast.get_docstring(tree), "a module begins with one sentence"
    assert [node.name for node in public_names(tree) if not ast.get_docstring(node)] == []


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("data", "from nbtools.models.networks import freeze"),
        ("data", "import nbtools.training"),
        ("metrics", "def f():\n    from nbtools.runs.folders import collect"),
        ("models", "from nbtools import attacks"),
        ("errors", "from nbtools.data import study"),
        ("attacks", "from nbtools.probes import corruptions"),
    ],
)
def test_an_upward_import_would_be_seen(room: str, source: str) -> None:
    assert upward(room, source)


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import load",
        "import torch\ntorch.load(file)",
        "torch.load(file, weights_only=False)",
        "read = torch.load",
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        (
            "nbtools.conditions, nbtools.data.study, nbtools.data.brains.nsd",
            "torch torchvision pandas plotly foolbox sklearn",
        ),
        ("nbtools.data.synthetic", "torch torchvision plotly foolbox"),
        ("nbtools.metrics.brain.noise_ceiling, nbtools.metrics.stats", "torch torchvision plotly foolbox"),
        ("nbtools.training.guided", "foolbox plotly ipywidgets"),
        ("nbtools.attacks.interface", "lightning_fabric scipy.stats plotly"),
        ("nbtools.plots.robustness.networks, nbtools.plots.brain.rsa", "torch scipy.stats scipy.ndimage sklearn"),
        ("nbtools.cli", "torch scipy sklearn plotly papermill"),  # what every job of a workflow begins with
    ],
)
def test_imports_are_light(modules: str, heavy: str) -> None:
    code = f"import sys, {modules}; print(*sorted(set({heavy.split()!r}) & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == []


PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "data/README.md",
    "docs/methods.md",
    "notebooks/glossary.md",
    "docs/teaching.md",
    "docs/encoders.md",
)


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_is_there(page: str) -> None:
    """Names such as ``metrics.rdm`` or ``data.brains.nsd.roi_masks``, in any page for readers."""
    rooms = " ".join(FLOORS[:-2]).split()
    text = (PACKAGE.parent / page).read_text(encoding="utf-8")
    named = {name for name in re.findall(r"`((?:\w+\.)+\w+)[^`]*`", text) if name.split(".")[0] in rooms}
    files = {name for name in named if name.rsplit(".", 1)[1] in ("py", "pyi")}
    assert [name for name in sorted(named - files) if not exists(f"nbtools.{name}")] == []
    assert [name for name in sorted(files) if not (PACKAGE / name).exists()] == []


def exists(name: str) -> bool:
    """Whether a name leads somewhere: to a module, what it holds, or what a class of it holds."""
    first, *rest = name.split(".")
    found = importlib.import_module(first)
    for part in rest:
        if not hasattr(found, part):
            try:
                importlib.import_module(f"{found.__name__}.{part}")
            except ImportError:
                return False
        found = getattr(found, part)
    return True
