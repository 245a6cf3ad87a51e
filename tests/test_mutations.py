"""Sound files, mutated at random: each reader gives what the sound one holds, or says in words what is wrong.

A generator cuts, flips, swaps and exchanges bytes (`BYTES`), another what is inside a file of its format (`INSIDE`).
Formats with a checksum must give the same or be refused; without one, other numbers may come, but none of another form.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import math
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import scipy.io
import torch
from PIL import Image
from safetensors.torch import load as load_tensors, save as save_tensors
from things_archives import encrypted_zip, plain_zip, voxel_table, write_responses

from nbtools.cli.preparing import _lines
from nbtools.conditions import ROI_LABELS
from nbtools.data.archives import contents, read_files, unpack
from nbtools.data.brains.anatomy import load_surfaces
from nbtools.data.brains.betas import TRIALS_PER_SESSION, read_betas
from nbtools.data.brains.design import design_file, load_design
from nbtools.data.brains.haxby import CATEGORIES, _labels
from nbtools.data.brains.nsd import roi_folder, roi_masks
from nbtools.data.brains.sessions import FORMAT, read_session
from nbtools.data.brains.things_fmri import read_voxels, reduce_responses
from nbtools.data.fetch.checksums import CHECKSUMS, verify
from nbtools.data.images import own
from nbtools.data.images.files import read_image
from nbtools.data.images.labels import label_stimuli
from nbtools.data.images.sets import ImageSet, load_stimuli
from nbtools.data.study import open_study
from nbtools.errors import InputError
from nbtools.files import read_table
from nbtools.models.networks import Backbone, GuidedNet, build, load_imagenet_weights, load_model, save_model
from nbtools.runs import folders
from nbtools.training.checkpoints import load_checkpoint
from nbtools.workflow.calibration import read_calibration
from nbtools.workflow.config import check_config, read_config
from nbtools.workflow.graph import make_graph

Bytes = Callable[[bytes, np.random.Generator], bytes]
pytestmark = pytest.mark.filterwarnings("ignore")
RNG = np.random.default_rng(8)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))


# --- sound files ----------------------------------------------------------------------------------------------


class Door(NamedTuple):
    """A public reader, and a sound file for it.

    Attributes
    ----------
    file : str
        Its path below a folder.
    content : bytes
        Of the sound file.
    read : function
        Takes the file; returns arrays, text and numbers.
    checked : bool
        Whether any change of a byte shows: the format has a checksum.
    others : dict of str to bytes
        What lies beside it.
    """

    file: str
    content: bytes
    read: Callable[[Path], object]
    checked: bool = False
    others: Mapping[str, bytes] = {}


def hdf5(**parts: Any) -> bytes:
    """Datasets by their paths, slashes written as two underscores; what begins with ``_`` is an attribute."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as tree:
        for name, value in parts.items():
            if name.startswith("_"):
                tree.attrs[name[1:]] = value
            else:
                tree[name.replace("__", "/")] = value
    return buffer.getvalue()


def parquet(table: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.to_parquet(buffer)
    return buffer.getvalue()


def nifti(values: np.ndarray, **fields: object) -> bytes:
    header = nib.Nifti1Header()
    header.set_data_dtype(values.dtype)
    header.set_data_shape(values.shape)
    header["vox_offset"] = 352
    for name, value in fields.items():
        header[name] = value
    return gzip.compress(header.binaryblock + bytes(4) + values.tobytes(order="F"), 1)


def picture(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(255, size=(9, 9, 3), dtype=np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def tar(mode: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name in ("a.txt", "b.txt"):
            member = tarfile.TarInfo(name)
            member.size = 700
            archive.addfile(member, io.BytesIO(name.encode() * 140))
    return buffer.getvalue()


SESSION: dict[str, Any] = {
    "image_id": np.array([3, 1, 3, 2]),
    "shared": np.array([True, False, True, False]),
    "repeat": np.array([1, 1, 2, 1]),
    "regions__V1__responses": RNG.normal(size=(4, 5)).astype(np.float32),
    "regions__V1__voxels": np.arange(15).reshape(5, 3),
    "_format": FORMAT,
    "_scale": 1.0,
    "_shape": (15, 15, 15),
    "_affine": np.eye(4),
    "_source": "{}",
}
STIMULI = {"imgBrick": RNG.integers(255, size=(4, 8, 8, 3), dtype=np.uint8)}
LABELS = pd.DataFrame({"image_id": [0, 1, 2, 3], "label": ["disk", "cross", "disk", "cross"]})
VOXELS = (3, 4, 2)
BETAS = RNG.integers(-900, 900, size=(*VOXELS, TRIALS_PER_SESSION), dtype=np.int16)
ATLAS = RNG.choice([0, *ROI_LABELS["V1"]], size=VOXELS).astype(np.int16)
GENERAL = np.ones(VOXELS, np.int16)
MATLAB: dict[str, Any] = {
    "masterordering": np.tile(np.arange(60), 3)[None] + 1.0,
    "subjectim": np.tile(RNG.permutation(73_000)[:60], (8, 1)) + 1.0,
}
MATLAB["sharedix"] = np.sort(MATLAB["subjectim"][:1, :10])
TOML = {
    "name": "mine",
    "simulated": False,
    "nsd": "nsd",
    "subject": 1,
    "image_size": 32,
    "responses": "subj01",
    "stimuli": "stimuli.hdf5",
    "scanner_labels": "labels.parquet",
    "voxels": {"betas": "b3", "zscore": True, "noise_ceiling": 10, "subjects": [1, 2]},
}
YAML: dict[str, Any] = {
    "study": "tiny",
    "profile": "tiny",
    "rois": "V1",
    "controls": "none",
    "further": "",
    "seeds": "0",
    "alphas": "0.65",
    "dose": "voxels",
    "doses": "0.5",
    "table": [{"rois": "V1", "seeds": 0, "attacks": "L2PGD"}],
    "settings": {"03_guided_training": {"epochs": 2}},
    "gpus": 0,
}
RECORD = {
    "notebook": "03_guided_training",
    "parameters": {"study": "tiny", "roi": "V1"},
    "inputs": {"data/x": {"sha256": "0"}},
    "seconds": 1.5,
    "finished": "2026-11-28T00:00:00+0000",
}
LEDGER = {"nsddata/x.bin": {"sha256": "0" * 64, "size": 3, "etag": "", "url": "https://x"}}
CALIBRATION = {"device": "CPU: 2 cores", "seconds": {"small_resnet 32": 0.1}}
LISTED = "\n".join(["labels chunks", *(f"{name} {run}" for run in (0, 1) for name in ["rest", *CATEGORIES])]) + "\n"


def toml(entries: Mapping[str, Any]) -> bytes:
    def line(key: str, value: Any) -> str:
        if isinstance(value, float) and not math.isfinite(value):
            return f"{key} = {value}\n"
        inline = json.dumps(value).replace(": ", " = ") if isinstance(value, dict) else json.dumps(value)
        return f"{key} = {inline.replace('null', '[]')}\n"

    return "".join(line(key, value) for key, value in entries.items()).encode()


def as_json(entries: object) -> bytes:
    return json.dumps(entries).encode()  # YAML too


def matlab(entries: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, dict(entries))
    return buffer.getvalue()


def read_labels(file: Path) -> object:
    images = ImageSet(torch.zeros(4, 3, 2, 2, dtype=torch.uint8), torch.full((4,), -1), np.arange(4), ())
    return label_stimuli(images, file, ("disk", "cross")).labels.numpy()


def read_record(file: Path) -> object:
    """As `collect` and `stale` take it, which every notebook asks."""
    folders.collect("03_guided_training", "tiny")
    folders.stale(file.parent)
    record = folders.read_record(file.parent) or {}
    return {**record, "seconds": float(record["seconds"])}  # a whole number is one too


def read_plan(file: Path) -> object:
    config = read_config(file)
    check_config(config)
    return [job.name for job in make_graph(config).jobs]


def read_masks(file: Path) -> object:
    return roi_masks(file.parents[5], 1, ["V1"])["V1"]


@cache
def network() -> tuple[bytes, bytes]:
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        save_model(build(GuidedNet, 0, "small_resnet", ["a", "b", "c"], 0), Path(place))
        return (Path(place) / "model.json").read_bytes(), (Path(place) / "weights.safetensors").read_bytes()


def weights_of(file: Path) -> object:
    return {name: value.numpy() for name, value in load_model(file.parent).state_dict().items()}


@cache
def checkpoint() -> bytes:
    note = json.dumps({"config": {"epochs": 2}, "epoch": 1})
    return save_tensors({"last/w": torch.arange(6.0), "best/w": torch.ones(2)}, {"note": note})


def surface() -> dict[str, bytes]:
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        files = {}
        for side in ("lh", "rh"):
            mesh = Path(place) / "mesh"
            nib.freesurfer.write_geometry(mesh, np.eye(3, dtype=np.float32), np.array([[0, 1, 2]]))
            files[f"surf/{side}.inflated"] = mesh.read_bytes()
            nib.freesurfer.write_morph_data(mesh, np.ones(3, np.float32))
            files[f"surf/{side}.sulc"] = mesh.read_bytes()
            labels = nib.MGHImage(np.array([1, 2, 0], np.int32).reshape(3, 1, 1), np.eye(4))
            files[f"label/{side}.Kastner2015.mgz"] = gzip.compress(labels.to_bytes(), 1)
        return {f"nsddata/freesurfer/subj01/{name}": raw for name, raw in files.items()}


def read_surface(file: Path) -> object:
    found = load_surfaces(file.parents[4], 1, ["V1"])
    return [(part.coordinates, part.labels, part.sulc) for part in found]


VOLUMES = Path(roi_folder(Path(), 1))
SURFACE = surface()
MESH, DEPTHS, LABELLED = list(SURFACE)[:3]


def response_table() -> bytes:
    with TemporaryDirectory() as folder:
        write_responses(Path(folder, "t.h5"), np.arange(6), RNG.normal(size=(6, 5)))
        return Path(folder, "t.h5").read_bytes()


def decrypted(file: Path) -> dict[str, bytes]:
    with TemporaryDirectory() as folder:
        found = unpack(file, Path(folder), str, password=b"things4all")
        return {place: file.read_bytes() for place, file in found.items()}


def reduced(file: Path) -> list[np.ndarray]:
    reduce_responses(file, np.array([1, 4]), file.with_name("r.h5"))
    with h5py.File(file.with_name("r.h5")) as tree:
        return [tree["voxel_id"][:], tree["responses"][:]]


DOORS: dict[str, Door] = {
    **{
        f"{kind} image": Door(f"a.{kind}", picture(kind), lambda file: read_image(file).numpy())
        for kind in ("png", "jpeg", "gif", "bmp", "tiff", "webp", "ppm")
    },
    "own image": Door("a.png", picture("png"), lambda file: own.read_image(file.read_bytes(), str(file), 16).numpy()),
    "stimuli": Door("stimuli.hdf5", hdf5(**STIMULI), lambda file: load_stimuli(file, np.arange(4), 8).pixels.numpy()),
    "session": Door("session01.hdf5", hdf5(**SESSION), lambda file: vars(read_session(file, ["V1"]))),
    "betas": Door(
        "betas.nii.gz", nifti(BETAS), lambda file: read_betas(file, np.argwhere(np.ones(VOXELS)), VOXELS), True
    ),
    "betas in HDF5": Door(
        "betas.hdf5", hdf5(betas=BETAS.T), lambda file: read_betas(file, np.argwhere(np.ones(VOXELS)), VOXELS)
    ),
    "atlas": Door(
        str(VOLUMES / "Kastner2015.nii.gz"),
        nifti(ATLAS),
        read_masks,
        True,
        {str(VOLUMES / "nsdgeneral.nii.gz"): nifti(GENERAL)},
    ),
    "nsdgeneral": Door(
        str(VOLUMES / "nsdgeneral.nii.gz"),
        nifti(GENERAL),
        read_masks,
        True,
        {str(VOLUMES / "Kastner2015.nii.gz"): nifti(ATLAS)},
    ),
    "design": Door(str(design_file(Path())), matlab(MATLAB), lambda file: vars(load_design(file.parents[3], 1))),
    "surface": Door(MESH, SURFACE[MESH], read_surface, False, SURFACE),
    "surface's labels": Door(LABELLED, SURFACE[LABELLED], read_surface, True, SURFACE),
    "surface's depths": Door(DEPTHS, SURFACE[DEPTHS], read_surface, False, SURFACE),
    "table": Door("scores.parquet", parquet(LABELS), read_table),
    "scanner labels": Door("labels.parquet", parquet(LABELS), read_labels),
    "Haxby's labels": Door("labels.txt", LISTED.encode(), lambda file: _labels(file).to_dict("list")),
    "classes": Door("classes.txt", b"disk\ncross\n", _lines),
    "study": Door("study.toml", toml(TOML), lambda file: vars(open_study(file))),
    "study's file": Door("study.yaml", as_json(YAML), read_plan),
    "record": Door("runs/tiny/03_guided_training/a/run.json", as_json(RECORD), read_record),
    "ledger": Door(f"nsd/{CHECKSUMS}", as_json(LEDGER), lambda file: str(verify(file.parent))),
    "calibration": Door(
        "runs/tiny/calibration.json", as_json(CALIBRATION), lambda file: vars(read_calibration("tiny"))
    ),
    "model": Door("m/model.json", network()[0], weights_of, False, {"m/weights.safetensors": network()[1]}),
    "weights": Door("m/weights.safetensors", network()[1], weights_of, False, {"m/model.json": network()[0]}),
    "checkpoint": Door("checkpoint.safetensors", checkpoint(), lambda file: load_checkpoint(file, {"epochs": 2})),
    "archive": Door("a.tar", tar("w"), lambda file: [(name, part.read()) for name, _, part in contents(file)]),
    "voxels": Door("v.csv", voxel_table(np.arange(9), {"V1": [2]}).to_csv().encode(), read_voxels),
    "responses": Door("t.h5", response_table(), reduced),
    "zip archive": Door(
        "a.zip",
        plain_zip({f"{name}/{name}.png": name.encode() * 700 for name in "abc"}),
        read_files,
    ),
    "encrypted archive": Door(
        "b.zip",
        encrypted_zip({f"{name}/{name}.png": name.encode() * 70 for name in "abc"}),
        decrypted,
    ),
    "gzipped archive": Door(
        "a.tar.gz", tar("w:gz"), lambda file: [(name, part.read()) for name, _, part in contents(file)], True
    ),
}


# --- mutations of bytes ---------------------------------------------------------------------------------------


def flipped(raw: bytes, rng: np.random.Generator, within: int | None = None) -> bytes:
    changed = bytearray(raw)
    for place in rng.integers(min(len(raw), within or len(raw)), size=rng.integers(1, 5)):
        changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def absurd(raw: bytes, rng: np.random.Generator) -> bytes:
    """A length, as a format may have it, of billions."""
    place, size = int(rng.integers(len(raw))), int(rng.choice([2, 4, 8]))
    return raw[:place] + b"\xff" * (size - 1) + b"\x7f" + raw[place + size :]


def rewritten(raw: bytes, rng: np.random.Generator) -> bytes:
    """Text in another encoding, as far as it is text."""
    encoding = str(rng.choice(["utf-16", "utf-16-le", "utf-32", "cp1252", "utf-8-sig"]))
    return raw.decode("latin-1").encode(encoding, errors="replace")


def zeroed(raw: bytes, rng: np.random.Generator) -> bytes:
    start = int(rng.integers(len(raw)))
    length = min(int(rng.integers(1, 64)), len(raw) - start)
    return raw[:start] + bytes(length) + raw[start + length :]


def another(raw: bytes, rng: np.random.Generator) -> bytes:
    return DOORS[str(rng.choice(list(DOORS)))].content


def swapped(raw: bytes, rng: np.random.Generator) -> bytes:
    """Two neighbours exchanged from some place on, as in numbers of the other endianness."""
    start = int(rng.integers(len(raw))) // 2 * 2
    block = np.frombuffer(raw[start : start + 2 * ((len(raw) - start) // 2)], np.uint16).byteswap().tobytes()
    return raw[:start] + block + raw[start + len(block) :]


BYTES: dict[str, Bytes] = {
    "empty": lambda raw, rng: b"",
    "cut": lambda raw, rng: raw[: rng.integers(len(raw))],
    "cut at its end": lambda raw, rng: raw[: -int(rng.integers(1, 9))],
    "bits flipped": flipped,
    "bits of the header flipped": lambda raw, rng: flipped(raw, rng, 128),
    "a block of zeros": zeroed,
    "an absurd size": absurd,
    "an absurd size in the header": lambda raw, rng: absurd(raw[:128], rng) + raw[128:],
    "bytes swapped": swapped,
    "another encoding": rewritten,
    "another format": another,
    "a byte order mark": lambda raw, rng: codecs.BOM_UTF8 + raw,
    "HTML": lambda raw, rng: b"<!doctype html><title>403 Forbidden</title>",
    "gzipped": lambda raw, rng: gzip.compress(raw),
    "more at its end": lambda raw, rng: raw + rng.bytes(9),
    "a line of it gone": lambda raw, rng: b"\n".join(raw.split(b"\n")[1:]),
}


def within_gzip(raw: bytes, rng: np.random.Generator) -> bytes:
    """A sound gzip file of something that was changed."""
    name = str(rng.choice(["cut", "bits of the header flipped", "an absurd size in the header", "another format"]))
    return gzip.compress(BYTES[name](gzip.decompress(raw), rng), 1)


# --- what must hold -------------------------------------------------------------------------------------------


def put(door: Door, folder: Path, content: bytes) -> Path:
    for name, raw in {**door.others, door.file: content}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(raw)
    return folder / door.file


def alike(first: Any, second: Any) -> bool:
    """Whether two results are equal."""
    if isinstance(first, Mapping):
        return first.keys() == second.keys() and all(alike(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(alike, first, second))
    same = np.asarray(first) == np.asarray(second)
    return type(first) is type(second) and bool(np.all(same))


def of_one_form(first: Any, second: Any) -> bool:
    """Whether two results have the same parts, each of the same type or missing."""
    if isinstance(first, Mapping):
        pairs = [(value, second.get(key)) for key, value in first.items()]
        return all(type(one) is type(other) or one is None or other is None for one, other in pairs)
    return type(first) is type(second) and getattr(first, "dtype", None) == getattr(second, "dtype", None)


def check(door: Door, folder: Path, contents: Iterable[bytes], *, same: bool) -> None:
    """Read mutated files: what is not refused in words is what the sound file holds, or of its form."""
    sound = door.read(put(door, folder, door.content))
    for content in contents:
        _check(door, sound, put(door, folder, content), same)


def _check(door: Door, sound: object, file: Path, same: bool) -> None:
    try:
        result = door.read(file)
    except InputError as error:
        text = str(error)
        assert file.name.removesuffix(".nii.gz") in text or door.file == "study.yaml", "its name"
        assert all(part in text for part in ("expected:", "got:", "to do:"))
        return
    assert (alike if same else of_one_form)(sound, result)


def changed(name: str, raw: bytes) -> Iterator[bytes]:
    """Every change of bytes once, of a small file twice."""
    for number in range(2 if len(raw) < 5000 else 1):
        for what, change in BYTES.items():
            yield change(raw, np.random.default_rng([zlib.crc32(f"{name} {what}".encode()), number]))


@pytest.mark.parametrize("name", DOORS)
def test_any_bytes_are_read_right_or_refused_in_words(name: str, tmp_path: Path) -> None:
    door = DOORS[name]
    check(door, tmp_path, changed(name, door.content), same=door.checked)
    if door.content[:2] == b"\x1f\x8b":
        within = (within_gzip(door.content, np.random.default_rng(number)) for number in range(12))
        check(door, tmp_path, within, same=False)


# --- mutations of what a file holds ---------------------------------------------------------------------------


def arrays(value: Any) -> Iterator[Any]:
    """What somebody may write in place of an array: of another type, shape or range."""
    array = np.atleast_1d(value)
    yield from (array.astype(str).astype("S"), array.T, array[:0], array[:1], array.ravel(), array[None])
    yield from (np.full(array.shape, fill) for fill in (np.nan, np.inf, -1.0, 2.0**62, 0.5, 0))
    yield from (array.astype(kind) for kind in (">f8", ">i4", "<f2", complex, bool))
    yield from (b"text", 3, np.float64("nan"))


def of_hdf5(parts: Mapping[str, Any]) -> Iterator[bytes]:
    for name, value in parts.items():
        without = {key: other for key, other in parts.items() if key != name}
        yield hdf5(**without)
        others = ["", "x", b"x", 3, np.nan, np.zeros(3)] if isinstance(value, str) else arrays(value)
        yield from (hdf5(**without, **{name: other}) for other in others)
        if not name.startswith("_"):
            yield hdf5(**without, **{f"{name}__below": 1})


VALUES = [True, None, 0, -1, 2**70, 1e308, 0.5, math.nan, math.inf, "", " ", "x", "\u0000", "ä", [], {}, [[]]]


def of_entries(entries: Mapping[str, Any], write: Callable[[Mapping[str, Any]], bytes]) -> Iterator[bytes]:
    for name, value in entries.items():
        yield write({key: other for key, other in entries.items() if key != name})
        yield write({**entries, "unheard of": 1})
        for other in VALUES:
            yield write({**entries, name: other})
        if isinstance(value, dict):
            yield from (write({**entries, name: {**value, key: other}}) for key in value for other in VALUES)


def of_tables() -> Iterator[bytes]:
    ids, labels = LABELS["image_id"], LABELS["label"]
    for kind in (float, str, "Int64", "category", "datetime64[s]", bool, "int8"):
        yield parquet(LABELS.assign(image_id=ids.astype(kind)))  # type: ignore[call-overload]
    yield from (parquet(LABELS.assign(image_id=other)) for other in (ids + 0.5, ids * 0, -ids, ids * 2**60))
    for other in (labels.astype("category"), ids, [None] * 4, [["disk"]] * 4, labels.str.encode("utf-8"), labels + " "):
        yield parquet(LABELS.assign(label=other))
    for table in (
        LABELS[["label"]],
        LABELS[:0],
        LABELS[:3],
        LABELS[::-1],
        pd.concat([LABELS, LABELS]),
        LABELS.T.astype(str),
    ):
        yield parquet(table.set_axis(table.columns.astype(str), axis=1))
    yield from (parquet(LABELS.set_index("image_id")), LABELS.to_csv().encode(), LABELS.to_json().encode())


def of_nifti(values: np.ndarray) -> Iterator[bytes]:
    whole = ("dim", "datatype", "bitpix", "sform_code", "qform_code", "sizeof_hdr", "intent_code")
    real = ("pixdim", "vox_offset", "scl_slope", "scl_inter", "srow_x")
    yield from (nifti(values, **{name: other}) for name in whole for other in (0, 1, -1, 2, 64, 32_767))
    yield from (nifti(values, **{name: other}) for name in real for other in (0, 1, -1, 0.5, 3.3e38, np.nan, np.inf))
    yield from (nifti(values.astype(kind)) for kind in (np.float32, np.float64, np.uint8, np.int32, np.complex64))
    yield from (nifti(values, magic=b"ni1"), nifti(values.T), nifti(values[..., :1]), nifti(values[:0]))
    yield nifti(np.full(values.shape, np.nan, np.float32))


def of_tensors() -> Iterator[bytes]:
    tensors = load_tensors(network()[1])
    name, first = next(iter(tensors.items()))
    others = (
        torch.zeros(0),
        torch.zeros(1),
        first.double(),
        first.to(torch.int8),
        first.T.contiguous(),
        first * np.nan,
    )
    yield from (save_tensors({**tensors, name: other}) for other in others)
    yield from (save_tensors({}), save_tensors({**tensors, "another": torch.zeros(2)}))


INSIDE: dict[str, Callable[[], Iterator[bytes]]] = {
    "session": lambda: of_hdf5(SESSION),
    "stimuli": lambda: of_hdf5(STIMULI),
    "betas in HDF5": lambda: of_hdf5({"betas": BETAS.T}),
    "betas": lambda: of_nifti(BETAS),
    "atlas": lambda: of_nifti(ATLAS),
    "nsdgeneral": lambda: of_nifti(GENERAL),
    "design": lambda: (matlab({**MATLAB, name: other}) for name in MATLAB for other in arrays(MATLAB[name])),
    "scanner labels": of_tables,
    "table": of_tables,
    "study": lambda: of_entries(TOML, toml),
    "study's file": lambda: islice(of_entries(YAML, as_json), 0, None, 5),  # to plan takes a while
    "record": lambda: of_entries(RECORD, as_json),
    "ledger": lambda: of_entries(LEDGER, as_json),
    "calibration": lambda: of_entries(CALIBRATION, as_json),
    "model": lambda: islice(of_entries(json.loads(network()[0]), as_json), 0, None, 3),
    "weights": of_tensors,
}


@pytest.mark.parametrize("name", INSIDE)
def test_whatever_a_file_of_the_format_holds_is_read_right_or_refused_in_words(name: str, tmp_path: Path) -> None:
    check(DOORS[name], tmp_path, INSIDE[name](), same=False)


def test_there_are_enough_cases() -> None:
    bytewise = sum(len(list(changed(name, door.content))) for name, door in DOORS.items())
    assert bytewise + sum(len(list(inside())) for inside in INSIDE.values()) > 1500


@pytest.mark.parametrize(
    "held",
    [{}, [], 3, {"conv1.weight": torch.zeros(1)}, {"conv1.weight": "x"}, {1: torch.zeros(1)}, torch.zeros(2)],
    ids=lambda held: str(held)[:20],
)
def test_a_pytorch_file_of_other_weights_is_refused(
    held: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that lies where torchvision keeps its downloads is not compared with their hash again."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = tmp_path / "hub/checkpoints/resnet18-f37072fd.pth"
    file.parent.mkdir(parents=True)
    torch.save(held, file)
    with pytest.raises(InputError, match=rf"weights[\s\S]*{file.name}"):
        load_imagenet_weights(Backbone("resnet18"))
