"""Files of strangers: none runs a program when it is read, each is refused in words that name it."""

from __future__ import annotations

import base64
import io
import json
import os
import pickle
import re
import struct
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import EpsImagePlugin
from safetensors.torch import save_file
from test_batch import PARAMETERS, START, write_notebook

from nbtools.cli import main
from nbtools.data.brains.betas import read_betas
from nbtools.data.brains.design import design_file
from nbtools.data.brains.measured import load_design
from nbtools.data.brains.sessions import FORMAT, read_session, regions_of
from nbtools.data.images.files import decode_image
from nbtools.data.images.own import read_image
from nbtools.data.images.sets import load_stimuli
from nbtools.data.study import Study, open_study
from nbtools.errors import InputError
from nbtools.files import read_table
from nbtools.models.networks import Backbone, load_imagenet_weights, load_model
from nbtools.probes.style_transfer import vgg19_features
from nbtools.runs import folders, provenance
from nbtools.runs.repeat import differences
from nbtools.training.checkpoints import load_checkpoint
from nbtools.widgets import serve
from nbtools.widgets.attack_saved import FORMAT as SAVED, load_state
from nbtools.workflow.config import check_config, read_config

MODEL = {"model": "GuidedNet", "architecture": "small_resnet", "classes": ["a", "b", "c"], "n_components": 0}
RECORD = {"notebook": "train", "parameters": {}, "inputs": {}, "seconds": 1.0, "finished": "2026-11-01"}
STUDY = 'name = "x"\nsimulated = false\nnsd = "nsd"\nsubject = 1\nimage_size = 32\n'
DEEP = "[" * 100_000


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """The file that a bomb would make."""
    return tmp_path / "planted"


class Bomb:
    """Unpickling it runs a program."""

    def __init__(self, planted: Path):
        self.planted = planted

    def __reduce__(self) -> tuple:
        return os.system, (f"touch '{self.planted}'",)


def as_torch_saves(planted: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb(planted)))
        archive.writestr("archive/version", "3\n")
    return buffer.getvalue()


def as_numpy_saves(planted: Path) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=True, weights=np.array([Bomb(planted)], object))
    return buffer.getvalue()


def with_absurd_lengths(planted: Path) -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 2**62]}}).encode()
    return struct.pack("<Q", len(header)) + header


BOMBS: dict[str, Callable[[Path], bytes]] = {
    "a pickle": lambda planted: pickle.dumps(Bomb(planted)),
    "an old pickle": lambda planted: pickle.dumps(Bomb(planted), protocol=0),
    "torch.save": as_torch_saves,
    "npz of objects": as_numpy_saves,
    "a header longer than any file": lambda planted: struct.pack("<Q", 2**63 - 1) + b"{}",
    "a tensor larger than any memory": with_absurd_lengths,
}


def model_of(folder: Path, **files: bytes) -> Any:
    (folder / "model.json").write_text(json.dumps(MODEL))
    save_file({"w": torch.zeros(1)}, folder / "weights.safetensors")
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_bytes(content)
    return load_model(folder)


def put(file: Path, content: bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def study_of(root: Path) -> Study:
    return Study("x", False, root, root, root, 1, None, None, None, 32, None)


READERS: dict[str, Callable[[Path, bytes], Any]] = {
    "weights": lambda folder, raw: model_of(folder, weights_safetensors=raw),
    "model.json": lambda folder, raw: model_of(folder, model_json=raw),
    "checkpoint": lambda folder, raw: load_checkpoint(put(folder / folders.CHECKPOINT, raw), {}),
    "weights to compare": lambda folder, raw: differences(*[put(folder / "a.safetensors", raw)] * 2),
    "table": lambda folder, raw: read_table(put(folder / "scores.parquet", raw)),
    "record": lambda folder, raw: folders.read_record(put(folder / folders.RECORD, raw).parent),
    "study": lambda folder, raw: open_study(str(put(folder / "study.toml", raw))),
    "study's file": lambda folder, raw: check_config(read_config(put(folder / "study.yaml", raw))),
    "session": lambda folder, raw: read_session(put(folder / "session01.hdf5", raw), ["V1"]),
    "session's regions": lambda folder, raw: regions_of(put(folder / "session01.hdf5", raw)),
    "stimuli": lambda folder, raw: load_stimuli(put(folder / "stimuli.hdf5", raw), np.array([0]), 32),
    "volume": lambda folder, raw: read_betas(put(folder / "betas.nii.gz", raw), np.zeros((1, 3), int), (2, 2, 2)),
    "volume in HDF5": lambda folder, raw: read_betas(put(folder / "betas.hdf5", raw), np.zeros((1, 3), int), (2, 2, 2)),
    "design": lambda folder, raw: (put(design_file(folder), raw), load_design(study_of(folder))),
    "image": lambda folder, raw: decode_image(raw, folder / "a.JPEG"),
    "own image": lambda folder, raw: read_image(raw, "a.png", 32),
    "style's weights": lambda folder, raw: vgg19_features(put(folder / "vgg19.safetensors", raw)),
    "explorer's state": lambda folder, raw: load_state(None, raw.decode("latin-1")),  # type: ignore[arg-type]
}


@pytest.mark.slow
@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("reader", READERS)
def test_a_bomb_is_refused(reader: str, bomb: str, tmp_path: Path, planted: Path) -> None:
    folder = tmp_path / "of a stranger"
    folder.mkdir()
    with pytest.raises(InputError) as refused:
        READERS[reader](folder, BOMBS[bomb](planted))
    assert not planted.exists()
    assert str(folder) in str(refused.value) or reader in ("own image", "explorer's state", "study's file")


def test_the_bombs_are_live(planted: Path) -> None:
    """Or the tests above would show nothing."""
    pickle.loads(BOMBS["a pickle"](planted))
    assert planted.exists()
    planted.unlink()
    np.load(io.BytesIO(BOMBS["npz of objects"](planted)), allow_pickle=True)["weights"]
    assert planted.exists()


# --- one reader at a time -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"model": "os.system"},
        {"model": "../../evil"},
        {"model": ["GuidedNet"]},
        {"architecture": "os.system"},
        {"n_components": "__import__('os').system('true')"},
        {"n_components": 10**13},
        {"n_components": 10**400},
        {"classes": "__import__('os').system('true')"},
        {"__class__": "os"},
    ],
    ids=str,
)
def test_a_model_is_one_of_ours(change: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the model cannot be rebuilt"):
        model_of(tmp_path, model_json=json.dumps({**MODEL, **change}).encode())


def test_a_table_brings_no_objects_along(tmp_path: Path, planted: Path) -> None:
    """Such a column's metadata is a pickle, which older versions of pyarrow loaded."""
    for name, made_by in {"old": b"arrow.py_extension_type", "other": b"a.strangers"}.items():
        metadata = {b"ARROW:extension:name": made_by, b"ARROW:extension:metadata": pickle.dumps(Bomb(planted))}
        field = pa.field("r", pa.int64(), metadata=metadata)
        pq.write_table(pa.table([[1]], schema=pa.schema([field])), tmp_path / f"{name}.parquet")
        with pytest.raises(InputError, match=rf"table cannot be read[\s\S]*{name}\.parquet[\s\S]*objects in r"):
            read_table(tmp_path / f"{name}.parquet")
    pd.DataFrame({"p": pd.period_range("2020", periods=2, freq="D")}).to_parquet(tmp_path / "period.parquet")
    with pytest.raises(InputError, match="objects in p"):
        read_table(tmp_path / "period.parquet")
    assert not planted.exists()


def test_any_byte_of_a_table_may_be_wrong(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}).to_parquet(tmp_path / "good.parquet")
    raw = (tmp_path / "good.parquet").read_bytes()
    random = np.random.default_rng(0)
    refused: list[str] = []
    for _ in range(300):
        changed = bytearray(raw)
        for place in random.integers(len(raw), size=3):
            changed[place] = random.integers(256)
        (tmp_path / "bad.parquet").write_bytes(changed)
        try:
            read_table(tmp_path / "bad.parquet")
        except InputError as error:
            refused.append(str(error))
    assert len(refused) > 30
    assert all("bad.parquet" in text for text in refused)


@pytest.mark.parametrize("note", [DEEP, '{"config": 3}', '{"config": null}', "[]", "none"])
def test_a_checkpoint_with_an_odd_note_is_refused(note: str, tmp_path: Path) -> None:
    save_file({"last/w": torch.zeros(1)}, tmp_path / "checkpoint.safetensors", {"note": note})
    with pytest.raises(InputError, match=r"checkpoint cannot be read[\s\S]*checkpoint\.safetensors"):
        load_checkpoint(tmp_path / "checkpoint.safetensors", {})


@pytest.mark.parametrize(
    "change", [{"inputs": {"a": 3}}, {"inputs": []}, {"parameters": "x"}, {"seconds": "x"}, {"finished": None}], ids=str
)
def test_a_record_of_another_kind_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / folders.RECORD).write_text(json.dumps({**RECORD, **change}))
    with pytest.raises(InputError, match=r"record is damaged[\s\S]*run\.json"):
        folders.read_record(tmp_path)


@pytest.mark.parametrize("name", ["/etc", "/etc/hostname", "a\0b", "../../x", "x.ipynb"])
@pytest.mark.parametrize("stamp", [{}, {"sha256": "x"}, {"listing_sha256": 3}])
def test_a_record_that_names_odd_inputs_is_stale(name: str, stamp: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / folders.RECORD).write_text(json.dumps({**RECORD, "inputs": {name: stamp}}))
    assert folders.stale(tmp_path) == [name]


@pytest.mark.parametrize(
    "text", [f"a = {DEEP}", 'name = "../../evil"', 'name = ".hidden"', 'name = ""', 'name = "C:x"']
)
def test_a_study_names_no_place_of_its_own(text: str, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(STUDY.replace('name = "x"', text) if "name" in text else STUDY + text)
    with pytest.raises(InputError, match=r"study\.toml"):
        open_study(str(tmp_path / "study.toml"))


@pytest.mark.parametrize("study", ["../../../evil", "/evil", "..", "a/../../b", "", "a\\b", "a\nb"])
def test_runs_of_a_study_go_below_the_runs_folder(study: str) -> None:
    with pytest.raises(InputError, match=r"a study cannot have this name|study is empty"):
        folders.run_folder("03_guided_training", {"study": study})
    with pytest.raises(InputError, match="a study cannot have this name"):
        open_study(study)


@pytest.mark.parametrize(
    "text",
    [
        "study: !!python/object/apply:os.system ['touch planted']",
        "study: !!python/name:os.system",
        "__use_yte__: true\nstudy: ?__import__('os').system('touch planted')",  # what Snakemake itself evaluates
    ],
)
def test_a_study_file_is_keys_and_values(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(text)
    with pytest.raises(InputError, match=r"study\.yaml|__use_yte__"):
        check_config(read_config(tmp_path / "study.yaml"))
    assert not planted.exists()


@pytest.mark.parametrize("part", ["image_id", "shared", "responses", "format", "source"])
def test_a_session_of_other_types_is_refused(part: str, tmp_path: Path) -> None:
    parts: dict[str, Any] = {"image_id": np.arange(3), "shared": np.zeros(3, bool), "responses": np.zeros((3, 2))}
    attributes: dict[str, Any] = {"format": FORMAT, "source": "{}"}
    if part in attributes:
        attributes[part] = np.void(b"\x80\x04.") if part == "format" else DEEP[:60_000]
    else:
        parts[part] = np.full(parts[part].shape, "x", object)
    if part == "shared":
        parts[part] = np.zeros((3, 2), bool)
    with h5py.File(tmp_path / "session01.hdf5", "w") as tree:
        tree.attrs.update(attributes)
        for name, values in parts.items():
            tree["regions/V1/responses" if name == "responses" else name] = values
    with pytest.raises(InputError, match=r"session01\.hdf5"):
        read_session(tmp_path / "session01.hdf5", ["V1"])


def test_postscript_is_no_image_whatever_it_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow would hand it to Ghostscript, which runs it."""
    ran: list[object] = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_: ran.append("ran"))
    raw = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    for read in (lambda: decode_image(raw, tmp_path / "a.JPEG"), lambda: read_image(raw, "a.png", 32)):
        with pytest.raises(InputError):
            read()
    assert ran == []


def test_published_weights_hold_tensors_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: Path) -> None:
    """A file that lies where torchvision keeps its downloads is not compared with their hash again."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = put(tmp_path / "hub/checkpoints/resnet18-f37072fd.pth", as_torch_saves(planted))
    with pytest.raises(InputError, match=rf"weights cannot be had[\s\S]*{re.escape(str(file))}"):
        load_imagenet_weights(Backbone("resnet18"))
    assert not planted.exists()


@pytest.mark.parametrize("own", [b"\x80\x04.", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_a_state_of_the_explorer_is_values(own: bytes) -> None:
    for choice in ({"networks": ["__import__('os')"]}, [], {"networks": 3}):
        state = {"format": SAVED, "choice": choice, "own_image": base64.b64encode(own).decode()}
        with pytest.raises(InputError, match="not a saved state"):
            load_state(None, json.dumps(state))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="not a saved state"):
        load_state(None, DEEP)  # type: ignore[arg-type]


# --- parameters ---------------------------------------------------------------------------------------------

TEXT = (
    "it's \"\"\" ''' \\ \\n {label} %s ../../x $(touch planted) `touch planted`\n\r\t\u2028\x0c"
    " __import__('os').system('touch planted') #"
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(folders, "NOTEBOOKS", tmp_path)
    monkeypatch.chdir(tmp_path)
    for part in ("nsd", "pictures"):
        (tmp_path / "home/data/derived/tiny" / part).mkdir(parents=True)
    (tmp_path / "home/data/derived/tiny/study.toml").write_text(STUDY.replace('"x"', '"tiny"'))
    parameters = f'{PARAMETERS}\nlabel: str = "none"'
    write_notebook(START + "\nrun.save_text('label.txt', repr(label))\nrun.finish()", parameters=parameters)
    return tmp_path


@pytest.mark.notebook
def test_a_parameter_is_text_whatever_it_holds(home: Path, planted: Path) -> None:
    """Through the command line, papermill and the kernel, and back from the record."""
    assert main(["run", "train", "-p", "label", TEXT]) == 0
    run = folders.find("train", "tiny")
    assert run.parameters["label"] == TEXT
    assert (run.folder / "label.txt").read_text() == repr(TEXT)
    assert run.folder.parent == home / "home/runs/tiny/train"
    assert not list(home.rglob("planted"))
    assert not planted.exists()


@pytest.mark.parametrize("name", ["seed", "alpha", "flip"])
def test_a_number_is_not_computed(name: str, home: Path, planted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "train", "-p", name, f"__import__('os').system('touch {planted}')"]) == 1
    assert f"{name} cannot be" in capsys.readouterr().err
    assert not planted.exists()


def test_reading_a_notebooks_defaults_runs_nothing(home: Path, planted: Path) -> None:
    write_notebook(START, parameters=f"{PARAMETERS}\nsteps: int = __import__('os').system('touch {planted}')")
    with pytest.raises(ValueError, match="malformed node"):
        folders.defaults("train")
    assert not planted.exists()


# --- servers ------------------------------------------------------------------------------------------------

OPEN = re.compile(
    r"0\.0\.0\.0|--(?:\w+\.)?ip[= ](?!127\.0\.0\.1)|(?:token|password)=(?:''|\"\"|\s|$)|disable_check_xsrf|allow_origin"
)


@pytest.mark.parametrize(
    "line",
    [
        "jupyter lab --ip=0.0.0.0",
        "jupyter lab --ip=* --port=1",
        '"--Voila.ip=::",',
        "jupyter lab --IdentityProvider.token=''",
        "voila --token= --no-browser",
        "jupyter lab --ServerApp.allow_origin='*'",
    ],
)
def test_an_open_server_would_be_seen(line: str) -> None:
    assert OPEN.search(line)


def test_no_command_opens_a_server_to_others() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=provenance.PROJECT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("no git repository")
    files = [Path(name) for name in listed.stdout.split() if not name.startswith("tests/")]
    told = [file for file in files if file.suffix in (".md", ".py", ".ipynb", ".yml", ".yaml", ".toml", ".sh", "")]
    texts = {file: (provenance.PROJECT / file).read_text(encoding="utf-8") for file in told}
    assert {Path("Makefile"), Path("README.md"), Path("nbtools/widgets/serve.py")} <= texts.keys()
    vote = Path("nbtools/widgets/vote.py")  # which gives a question and takes votes; to others only where it is told to
    assert '"0.0.0.0" if room else "127.0.0.1"' in texts[vote]
    texts[vote] = texts[vote].replace('"0.0.0.0" if room else', "")
    assert {file: found[0] for file, text in texts.items() if (found := OPEN.search(text))} == {}
    starts = re.compile(r"/jupyter[ -]lab |LabApp\.launch_instance\(")
    started = [line for text in texts.values() for line in text.splitlines() if starts.search(line)]
    assert started
    assert [line for line in started if "--ip=127.0.0.1" not in line] == []


def test_the_explorers_are_served_to_this_machine_behind_a_token() -> None:
    """As Voila itself reads the arguments."""
    from voila.app import Voila

    app = Voila()
    app.parse_command_line(
        [
            word
            for word in serve.arguments(folders.NOTEBOOKS / "05_attack_explorer.ipynb", 8866)
            if word.startswith("--")
        ]
    )
    assert app.ip == "127.0.0.1"
    assert app.auto_token


def test_jupyterlab_makes_a_token_of_its_own() -> None:
    from jupyter_server.auth.identity import IdentityProvider
    from jupyter_server.serverapp import ServerApp

    assert ServerApp.ip.default_value in ("localhost", "127.0.0.1")  # type: ignore[attr-defined]
    assert len(IdentityProvider().token) >= 32
