"""Public image sets: every layout gives the same folders; hostile, cut and interrupted ones do no harm."""

from __future__ import annotations

import errno
import gzip
import io
import multiprocessing
import os
import re
import shutil
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.io
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image
from torchvision.models._meta import _IMAGENET_CATEGORIES

from nbtools.cli import main
from nbtools.data import archives
from nbtools.data.archives import build, contents, unpack
from nbtools.data.images import cifar100, cue_conflict, imagenet, prepare
from nbtools.data.images.cifar100 import unpack_cifar100
from nbtools.data.images.corruptions import corruptions, load_corruption
from nbtools.data.images.cue_conflict import cue_conflict_names, unpack_cue_conflict
from nbtools.data.images.folders import SPLITS
from nbtools.data.images.imagenet import SYNSETS, prepare_imagenet
from nbtools.data.images.prepare import prepare_folder
from nbtools.data.images.sets import load_folder
from nbtools.errors import InputError

A, B, C = "n02391049", "n07873807", "n09999999"  # zebra, pizza, and one nobody wants


def picture(seed: int, side: int = 12, mode: str = "RGB", kind: str = "JPEG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side + 3, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, kind)
    return out.getvalue()


def write_files(root: Path, files: dict[str, bytes]) -> Path:
    for name, raw in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(raw)
    return root


def write_tar(file: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, mode) as tar:  # type: ignore[call-overload]
        for name, raw in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(raw)
            tar.addfile(member, io.BytesIO(raw))
    return file


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but the report."""
    files = (file for file in folder.rglob("*") if file.is_file() and file.name != "report.parquet")
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def stopping(function: Callable[..., Any], after: int) -> Callable[..., Any]:
    calls = iter(range(after))

    def stopped(*args: Any, **named: Any) -> Any:
        if next(calls, None) is None:
            raise Stop
        return function(*args, **named)

    return stopped


class Stop(Exception):
    """What a test raises in place of a kill."""


# --- archives -----------------------------------------------------------------------------------------------


def members(*entries: tuple[str, bytes | None, dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, raw, attributes in entries:
            member = tarfile.TarInfo(name)
            member.size = len(raw or b"")
            for key, value in attributes.items():
                setattr(member, key, value)
            tar.addfile(member, io.BytesIO(raw) if raw is not None else None)
    return out.getvalue()


HOSTILE: dict[str, bytes] = {
    "a path upwards": members(("../x.png", b"x", {})),
    "a path upwards inside": members(("a/../../x.png", b"x", {})),
    "an absolute path": members(("/etc/x.png", b"x", {})),
    "a drive": members(("C:/x.png", b"x", {})),
    "backslashes upwards": members(("..\\x.png", b"x", {})),
    "a symbolic link": members(("x.png", None, {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"})),
    "a hard link": members(("x.png", None, {"type": tarfile.LNKTYPE, "linkname": "y.png"})),
    "a pipe": members(("x.png", None, {"type": tarfile.FIFOTYPE})),
    "a device": members(("x.png", None, {"type": tarfile.CHRTYPE})),
    "a name twice": members(("x.png", b"x", {}), ("x.png", b"y", {})),
    "a name twice, written otherwise": members(("x.png", b"x", {}), ("./x.png", b"y", {})),
    "a file of": members(("x.png", None, {"size": 3 * 2**30})),
    "holes": members(("x.png", None, {"type": tarfile.GNUTYPE_SPARSE})),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_is_refused(tmp_path: Path, case: str) -> None:
    file = tmp_path / "in/x.tar"
    file.parent.mkdir()
    file.write_bytes(HOSTILE[case])
    with pytest.raises(InputError, match=r"x\.tar"):
        unpack(file, tmp_path / "out" / "part", lambda name: name)
    assert not [place for place in tmp_path.rglob("*") if place.is_symlink() or place.name == "passwd"]
    assert [place.name for place in tmp_path.iterdir() if place.name not in ("in", "out")] == []
    assert not (tmp_path / "out").exists() or "twice" in case


def test_two_files_for_one_place(tmp_path: Path) -> None:
    file = write_tar(tmp_path / "x.tar", {"a/1.png": b"1", "b/1.png": b"2"})
    with pytest.raises(InputError, match=r"two files for 1\.png"):
        unpack(file, tmp_path / "part", lambda name: name.rsplit("/", 1)[1])


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_an_archive_is_unpacked(tmp_path: Path, mode: str) -> None:
    files = {"a/1.png": b"1" * 5000, "b c/ü.png": b"", "b c/2.txt": b"22"}
    file = write_tar(tmp_path / "x", files, mode)
    found = unpack(file, tmp_path / "part", lambda name: name if name.endswith(".png") else None)
    assert {place: file.read_bytes() for place, file in found.items()} == {
        "a/1.png": files["a/1.png"],
        "b c/ü.png": b"",
    }


def test_what_is_there_with_its_size_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_tar(tmp_path / "x.tar", {name: name.encode() * 9 for name in "abcd"})
    part, saved = tmp_path / "part", []
    found = unpack(file, part, str)
    found["a"].replace(part / "a")  # it is in its place already
    os.truncate(found["c"], 3)
    whole = archives.save
    monkeypatch.setattr(archives, "save", lambda *args: saved.append(args[2].name) or whole(*args))
    assert unpack(file, part, str) == found
    assert saved == ["c"]
    assert found["c"].read_bytes() == b"c" * 9


GOOD = members(*((f"{name}/{name}.png", name.encode() * 700, {}) for name in "abc"))
DAMAGED: dict[str, bytes] = {
    "empty": b"",
    "HTML": b"<!doctype html><title>404</title>" * 50,
    "gzipped HTML": gzip.compress(b"<html>" * 500),
    "gzip cut": gzip.compress(GOOD)[:-12],
    "gzip with another checksum": gzip.compress(GOOD)[:-8] + b"abcd" + gzip.compress(GOOD)[-4:],
    "a damaged header": GOOD[:1536] + b"?" * 512 + GOOD[2048:],
    "zeros": bytes(3),
    **{f"cut after {n} bytes": GOOD[:n] for n in (1, 511, 512, 513, 1536, 1600, 2048, 4608)},
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_archive_is_named(tmp_path: Path, case: str) -> None:
    file = tmp_path / "x.tar"
    file.write_bytes(DAMAGED[case])
    with pytest.raises(InputError, match=r"cannot be read\n +file: .*x\.tar"):
        unpack(file, tmp_path / "part", str)


@pytest.mark.parametrize("place", ["nowhere.tar", "."])
def test_no_archive(tmp_path: Path, place: str) -> None:
    with pytest.raises(InputError, match="cannot be opened"):
        list(contents(tmp_path / place))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_gives_the_true_bytes_or_an_error(tmp_path: Path, data: st.DataObject) -> None:
    """Whatever bytes an archive holds, there is an `InputError` or there are files, and a cut one never passes."""
    raw = bytearray(data.draw(st.sampled_from([GOOD, gzip.compress(GOOD)])))
    cut = data.draw(st.integers(1, len(raw)))
    for position in data.draw(st.lists(st.integers(0, len(raw) - 1), max_size=4)):
        raw[position] = data.draw(st.integers(0, 255))
    file = tmp_path / "x.tar"
    file.write_bytes(raw[:cut])
    shutil.rmtree(tmp_path / "part", ignore_errors=True)
    with suppress(InputError):
        unpack(file, tmp_path / "part", str)
        assert cut >= 5120 or raw[:2] == b"\x1f\x8b", "the end mark of zeros is in it"


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_tar(tmp_path / "x.tar", {"a": b"a" * 100})
    with monkeypatch.context() as patch:
        patch.setattr(archives.shutil, "disk_usage", lambda place: SimpleNamespace(free=99))
        with pytest.raises(InputError, match="not enough room"):
            unpack(file, tmp_path / "part", str)

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(archives.shutil, "copyfileobj", full)
        with pytest.raises(InputError, match=r"cannot be written\n(.|\n)*No space left"):
            unpack(file, tmp_path / "part", str)
    assert tree(tmp_path / "part") == {}
    assert unpack(file, tmp_path / "part", str)["a"].read_bytes() == b"a" * 100


# --- a folder that is made ----------------------------------------------------------------------------------


def one(part: Path) -> pd.DataFrame:
    (part / "file").write_text("x")
    (part / ".tmp-left").mkdir()
    return pd.DataFrame({"n": [1]})


def test_a_folder_appears_whole_and_is_made_once(tmp_path: Path) -> None:
    target = tmp_path / "a b" / "ü"
    with pytest.raises(Stop):
        build(target, {"x": 1}, stopping(one, 0))
    assert not target.exists()
    report = build(target, {"x": 1}, one)
    pd.testing.assert_frame_equal(build(target, {"x": 1}, stopping(one, 0)), report)
    assert sorted(place.name for place in target.iterdir()) == ["file", "report.parquet"]
    assert [place.name for place in target.parent.iterdir()] == ["ü"]


@pytest.mark.parametrize("spoil", ["another request", "no report", "a damaged report", "a file"])
def test_something_else_is_left_alone(tmp_path: Path, spoil: str) -> None:
    target = tmp_path / "t"
    build(target, {"x": 1}, one)
    if spoil == "no report":
        (target / "report.parquet").unlink()
    elif spoil == "a damaged report":
        (target / "report.parquet").write_text("<html>")
    elif spoil == "a file":
        shutil.rmtree(target)
        target.write_text("mine")
    before = target.read_bytes() if target.is_file() else tree(target)
    with pytest.raises(InputError, match="something else lies there"):
        build(target, {"x": 2 if spoil == "another request" else 1}, one)
    assert before == (target.read_bytes() if target.is_file() else tree(target))


def test_an_empty_folder_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    assert build(tmp_path / "t", {}, one)["n"].tolist() == [1]


# --- ImageNet -----------------------------------------------------------------------------------------------


def test_the_synsets_are_torchvisions_classes() -> None:
    """Torchvision sorts its categories by synset: names must ascend with synsets, each at its own place."""
    assert len(SYNSETS) == 50
    assert list(SYNSETS)[:3] == ["n04228054", "n04039381", "n09835506"]
    index = [_IMAGENET_CATEGORIES.index(SYNSETS[synset]) for synset in sorted(SYNSETS)]
    assert index == sorted(set(index))


TRAIN = {f"{name}/{name}_{i}.JPEG": picture(100 * n + i) for n, name in enumerate((A, B, C)) for i in (1, 20, 3)}
CLASS_OF = {1: C, 2: A, 3: B, 4: A, 5: C, 6: B}  # of each validation image
VAL = {f"ILSVRC2012_val_{i:08d}.JPEG": picture(i + 500) for i in CLASS_OF}
WANTED = {f"train/{name}": raw for name, raw in TRAIN.items() if not name.startswith(C)} | {
    f"val/{name}/ILSVRC2012_val_{i:08d}.JPEG": VAL[f"ILSVRC2012_val_{i:08d}.JPEG"]
    for i, name in CLASS_OF.items()
    if name != C
}


def devkit() -> dict[str, bytes]:
    """As the true one: numbers in no order of the synsets, and parents after the classes."""
    numbers = {B: 1, C: 2, A: 3}
    rows = [*((number, name) for name, number in numbers.items()), (1001, "n00001740")]
    synsets = np.zeros((len(rows), 1), [("ILSVRC2012_ID", object), ("WNID", object), ("num_children", object)])
    for row, (number, name) in enumerate(rows):
        synsets[row, 0] = (float(number), name, float(number > 1000))
    out = io.BytesIO()
    scipy.io.savemat(out, {"synsets": synsets})
    truth = "".join(f"{numbers[CLASS_OF[i]]}\n" for i in sorted(CLASS_OF))
    folder = "ILSVRC2012_devkit_t12/data"
    return {
        f"{folder}/meta.mat": out.getvalue(),
        f"{folder}/ILSVRC2012_validation_ground_truth.txt": truth.encode(),
        "ILSVRC2012_devkit_t12/readme.txt": b"read me",
    }


def csv() -> bytes:
    lines = [f"ILSVRC2012_val_{i:08d},{name} 1 2 3 4 {name} 5 6 7 8 " for i, name in CLASS_OF.items()]
    return "\n".join(["ImageId,PredictionString", *reversed(lines), ""]).encode()


def train_tar(root: Path) -> None:
    inner = {
        f"{name}.tar": write_tar(
            root / "inner.tar", {file.split("/")[1]: raw for file, raw in TRAIN.items() if file.startswith(name)}
        ).read_bytes()
        for name in (A, B, C)
    }
    (root / "inner.tar").unlink()
    write_tar(root / "ILSVRC2012_img_train.tar", inner)


def sorted_tree(root: Path) -> None:
    write_files(root / "train", TRAIN)
    write_files(root / "val", {f"{CLASS_OF[i]}/{name}": VAL[name] for i, name in zip(CLASS_OF, VAL, strict=True)})


def flat_tree(root: Path) -> None:
    write_files(root / "train", TRAIN)
    write_files(root / "val", VAL)


LAYOUTS: dict[str, list[Callable[[Path], object]]] = {
    "sorted": [sorted_tree],
    "sorted, Kaggle's": [lambda root: sorted_tree(root / "ILSVRC/Data/CLS-LOC")],
    "flat, devkit": [flat_tree, lambda root: write_files(root, devkit())],
    "flat, devkit.tar.gz": [flat_tree, lambda root: write_tar(root / "ILSVRC2012_devkit_t12.tar.gz", devkit(), "w:gz")],
    "flat, Kaggle's": [
        lambda root: flat_tree(root / "ILSVRC/Data/CLS-LOC"),
        lambda root: write_files(root, {"LOC_val_solution.csv": csv()}),
    ],
    "archives": [
        train_tar,
        lambda root: write_tar(root / "ILSVRC2012_img_val.tar", VAL),
        lambda root: write_tar(root / "ILSVRC2012_devkit_t12.tar.gz", devkit(), "w:gz"),
    ],
    "train sorted, val an archive": [
        lambda root: write_files(root / "train", TRAIN),
        lambda root: write_tar(root / "ILSVRC2012_img_val.tar", VAL),
        lambda root: write_files(root, devkit()),
    ],
}


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(imagenet, "VALIDATION_IMAGES", len(VAL))
    return tmp_path / "ImageNet of 2012"


def lay(source: Path, layout: str) -> Path:
    for write in LAYOUTS[layout]:
        write(source)
    return source


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same(
    source: Path, tmp_path: Path, layout: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lay(source, layout)
    before = tree(source)
    report = prepare_imagenet(source, tmp_path / "out", (B, A))
    assert tree(tmp_path / "out") == WANTED
    assert tree(source) == before
    assert report["split"].tolist() == ["train"] * 2 + ["val"] * 2
    assert report["name"].tolist() == ["zebra", "pizza"] * 2
    assert report["images"].tolist() == [3, 3, 2, 2]
    assert report["expected"].tolist() == [1300, 1300, 50, 50]
    assert report["left_out"].map(len).sum() == 0
    assert "zebra" in capsys.readouterr().out
    pd.testing.assert_frame_equal(prepare_imagenet(source, tmp_path / "out", (A, B)), report)
    images = load_folder(tmp_path / "out/val", 8)
    assert images.classes == (A, B)
    assert images.labels.tolist() == [0, 0, 1, 1]


ODD: dict[str, tuple[bytes, str | None]] = {
    "zero": (b"", "0 bytes in none of the formats"),
    "html": (b"<html>404", "9 bytes in none of the formats"),
    "cut": (picture(1, 60)[:700], "truncated"),
    "grey16": (b"", "more than 8 bits"),
    "cmyk": (picture(2, mode="CMYK"), None),
    "png": (picture(3, kind="PNG"), None),  # n02105855_2933.JPEG is one
    "grey": (picture(4, mode="L"), None),
    "palette": (picture(5, mode="P", kind="PNG"), None),
    "alpha": (picture(6, mode="RGBA", kind="PNG"), None),
    "animated": (b"", None),
}


def odd_images() -> dict[str, bytes]:
    files = {name: raw for name, (raw, _) in ODD.items()}
    out = io.BytesIO()
    Image.fromarray(np.arange(144, dtype=np.uint16).reshape(12, 12) * 400).save(out, "PNG")
    files["grey16"] = out.getvalue()
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    files["animated"] = out.getvalue()
    return {f"{A}_{name}.JPEG": raw for name, raw in files.items()}


@pytest.mark.parametrize("layout", ["sorted", "archives"])
def test_damaged_images_are_left_out_and_odd_ones_kept(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    for name, raw in odd_images().items():
        monkeypatch.setitem(TRAIN, f"{A}/{name}", raw)
    report = prepare_imagenet(lay(source, layout), tmp_path / "out", (A, B))
    bad = {f"{A}_{name}.JPEG": reason for name, (_, reason) in ODD.items() if reason}
    found = dict(line.split(": ", 1) for line in report["left_out"][0])
    assert found.keys() == bad.keys()
    assert all(bad[name] in found[name] for name in bad)
    assert report["images"].tolist() == [3 + len(ODD) - len(bad), 3, 2, 2]
    assert len(list((tmp_path / f"out/train/{A}").iterdir())) == report["images"][0]
    images = load_folder(tmp_path / "out/train", 8)
    assert len(images) == report["images"][:2].sum()
    red = images.pixels[images.rows(np.array([f"{A}/{A}_animated.JPEG"]))[0]].float().mean((1, 2))
    assert (red[0] > 250, red[2] < 5) == (True, True), "of an animation, the first picture"


def test_a_class_without_a_sound_image(source: Path, tmp_path: Path) -> None:
    lay(source, "sorted")
    for file in (source / "val" / B).iterdir():
        file.write_bytes(b"")
    with pytest.raises(InputError, match=rf"val/{B} \(2 damaged\)"):
        prepare_imagenet(source, tmp_path / "out", (A, B))
    shutil.rmtree(source / "train" / A)
    with pytest.raises(InputError, match=rf"train/{A} \(0 damaged\), val/{B}"):
        prepare_imagenet(source, tmp_path / "out", (A, B))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("layout", ["sorted", "archives"])
def test_a_class_that_is_not_there(source: Path, tmp_path: Path, layout: str) -> None:
    with pytest.raises(InputError, match="train/n00000001"):
        prepare_imagenet(lay(source, layout), tmp_path / "out", (A, "n00000001"))


@pytest.mark.parametrize("classes", [(A,), (A, A), (A, "zebra"), (A, "../x"), ()])
def test_odd_choices_of_classes(source: Path, tmp_path: Path, classes: Sequence[str]) -> None:
    with pytest.raises(InputError, match=r"cannot be taken|no synsets"):
        prepare_imagenet(lay(source, "sorted"), tmp_path / "out", classes)


@pytest.mark.parametrize("there", ["nothing", "train only", "another folder"])
def test_no_imagenet(source: Path, tmp_path: Path, there: str) -> None:
    if there != "nothing":
        write_files(source, {f"{'train' if there == 'train only' else 'x'}/{name}": raw for name, raw in TRAIN.items()})
    with pytest.raises(InputError, match="no ImageNet images for"):
        prepare_imagenet(source, tmp_path / "out", (A, B))


def spoil_devkit(root: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    file = root / "ILSVRC2012_devkit_t12/data" / name
    file.write_bytes(change(file.read_bytes()))


TRUTH = "ILSVRC2012_validation_ground_truth.txt"
BAD_LABELS: dict[str, Callable[[Path], object]] = {
    "no devkit": lambda root: shutil.rmtree(root / "ILSVRC2012_devkit_t12"),
    "no meta": lambda root: (root / "ILSVRC2012_devkit_t12/data/meta.mat").unlink(),
    "meta is HTML": lambda root: spoil_devkit(root, "meta.mat", lambda raw: b"<html>" * 200),
    "meta is cut": lambda root: spoil_devkit(root, "meta.mat", lambda raw: raw[: len(raw) // 2]),
    "another mat": lambda root: scipy.io.savemat(root / "ILSVRC2012_devkit_t12/data/meta.mat", {"x": 1}),
    "a line less": lambda root: spoil_devkit(root, TRUTH, lambda raw: raw[:-2]),
    "a class too many": lambda root: spoil_devkit(root, TRUTH, lambda raw: b"7" + raw[1:]),
    "words": lambda root: spoil_devkit(root, TRUTH, lambda raw: b"x" + raw[1:]),
    "an image without a label": lambda root: (root / "val/ILSVRC2012_val_00000099.JPEG").write_bytes(picture(1)),
    "a csv of something else": lambda root: (root / "LOC_val_solution.csv").write_text("a,b\n1,2\n"),
    "an empty csv": lambda root: (root / "LOC_val_solution.csv").write_text(""),
    "a csv cut": lambda root: (root / "LOC_val_solution.csv").write_bytes(csv()[:150]),
    "a csv cut in its last word": lambda root: (root / "LOC_val_solution.csv").write_bytes(csv()[:-40]),
    "devkit.tar.gz cut": lambda root: [
        shutil.rmtree(root / "ILSVRC2012_devkit_t12"),
        os.truncate(write_tar(root / "ILSVRC2012_devkit_t12.tar.gz", devkit(), "w:gz"), 300),
    ],
}


@pytest.mark.parametrize("case", BAD_LABELS)
def test_labels_that_cannot_be_trusted(source: Path, tmp_path: Path, case: str) -> None:
    lay(source, "flat, devkit")
    BAD_LABELS[case](source)
    with pytest.raises(InputError, match=r"validation images cannot be told|archive cannot be read"):
        prepare_imagenet(source, tmp_path / "out", (A, B))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"])
@pytest.mark.parametrize("cut", [0.4, 0.9])
def test_a_cut_archive(source: Path, tmp_path: Path, name: str, cut: float) -> None:
    lay(source, "archives")
    whole = (source / name).read_bytes()
    (source / name).write_bytes(whole[: int(cut * len(whole.rstrip(b"\0")))])
    with pytest.raises(InputError, match=rf"cannot be read\n +file: .*{name}"):
        prepare_imagenet(source, tmp_path / "out", (A, B))
    (source / name).write_bytes(whole)
    prepare_imagenet(source, tmp_path / "out", (A, B))
    assert tree(tmp_path / "out") == WANTED


@pytest.mark.parametrize("refused", [[], ["link"], ["link", "symlink"]])
def test_links_or_copies(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: list[str]) -> None:
    def elsewhere(*args: object, **named: object) -> None:
        raise OSError(errno.EXDEV, "another disk")

    lay(source, "sorted")
    for folder in (source, *source.rglob("*")):
        folder.chmod(0o555 if folder.is_dir() else 0o444)
    with monkeypatch.context() as patch:
        for name in refused:
            patch.setattr(os, name, elsewhere)
        prepare_imagenet(source, tmp_path / "out", (A, B))
    assert tree(tmp_path / "out") == WANTED
    file = next((tmp_path / "out/train" / A).iterdir())
    assert file.is_symlink() == (refused == ["link"])
    assert (file.stat().st_nlink > 1) == (refused == [])
    for folder in (source, *source.rglob("*")):
        folder.chmod(0o755 if folder.is_dir() else 0o644)


@pytest.mark.parametrize("placed", [0, 3, 9])
def test_what_was_placed_is_not_decoded_again(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, placed: int
) -> None:
    lay(source, "sorted")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "hardlink_to", stopping(Path.hardlink_to, placed))
        with pytest.raises(Stop):
            prepare_imagenet(source, tmp_path / "out", (A, B))
    assert not (tmp_path / "out").exists()
    decoded: list[Path] = []
    whole = prepare.read_image
    monkeypatch.setattr(prepare, "read_image", lambda file: decoded.append(file) or whole(file))
    prepare_imagenet(source, tmp_path / "out", (A, B))
    assert tree(tmp_path / "out") == WANTED
    assert len(decoded) == len(WANTED) - placed


def count_saved(monkeypatch: pytest.MonkeyPatch, log: Path, seconds: float = 0) -> None:
    whole = archives.save

    def counted(*args: Any) -> None:
        time.sleep(seconds)
        whole(*args)
        with log.open("a") as out:
            out.write(f"{args[2].name}\n")

    monkeypatch.setattr(archives, "save", counted)


@pytest.mark.skipif(sys.platform != "linux", reason="forks a process that has torch loaded")
def test_kill_9_while_unpacking(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(source, "archives")
    log = tmp_path / "log"
    with monkeypatch.context() as patch:
        count_saved(patch, log, 0.05)
        work = (source, tmp_path / "out", (A, B))
        process = multiprocessing.get_context("fork").Process(target=prepare_imagenet, args=work)
        process.start()
    while not log.exists() or log.read_text().count("\n") < 4:
        assert process.is_alive()
        time.sleep(0.005)
    process.kill()
    process.join()
    count_saved(monkeypatch, log)
    prepare_imagenet(source, tmp_path / "out", (A, B))
    assert tree(tmp_path / "out") == WANTED
    saved = log.read_text().split()
    assert set(saved) == {Path(name).name for name in WANTED}
    assert len(saved) <= len(WANTED) + 1, "but for the file that was being written, none is unpacked again"
    assert {place.name for place in tmp_path.iterdir()} == {"ImageNet of 2012", "log", "out"}


# --- any folder ---------------------------------------------------------------------------------------------


def write_classes(root: Path, per_class: int = 10, start: int = 0) -> Path:
    classes = ("cat", "dög at home", "eel")
    return write_files(
        root,
        {
            f"{name}/{i} ü.png": picture(50 * n + i + start, kind="PNG")
            for n, name in enumerate(classes)
            for i in range(per_class)
        },
    )


def test_a_folder_is_split_within_each_class(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "a b")
    report = prepare_folder(root, tmp_path / "out", validation=0.2)
    assert report["images"].tolist() == [8] * 3 + [2] * 3
    out = tree(tmp_path / "out")
    assert sorted(name.split("/", 1)[1] for name in out) == sorted(tree(root))
    assert all(raw == (root / name.split("/", 1)[1]).read_bytes() for name, raw in out.items())
    prepare_folder(root, tmp_path / "again", validation=0.2)
    assert tree(tmp_path / "again").keys() == out.keys()
    prepare_folder(root, tmp_path / "other", validation=0.2, seed=1)
    assert tree(tmp_path / "other").keys() != out.keys()
    with pytest.raises(InputError, match="something else"):
        prepare_folder(root, tmp_path / "out", validation=0.3)


def test_a_split_folder_is_kept_as_it_is(tmp_path: Path) -> None:
    root = tmp_path / "in"
    write_classes(root / "train")
    write_classes(root / "val", 2, start=20)
    report = prepare_folder(root, tmp_path / "out", ["eel", "cat"])
    assert report["class"].tolist() == ["cat", "eel"] * 2
    assert tree(tmp_path / "out") == {name: raw for name, raw in tree(root).items() if "dög" not in name}
    assert load_folder(tmp_path / "out/val", 8).classes == ("cat", "eel")


@pytest.mark.parametrize("split", [True, False])
def test_no_training_image_is_byte_for_byte_a_validation_image(tmp_path: Path, split: bool) -> None:
    root = tmp_path / "in"
    write_classes(root / "train" if split else root, 10)
    if split:
        write_classes(root / "val", 2)  # the first two of each class again
    else:
        for place in list(root.rglob("*.png")):
            shutil.copy(place, place.with_name(f"copy of {place.name}"))
    report = prepare_folder(root, tmp_path / "out", validation=0.4).set_index(["split", "class"])
    train, val = ({file.read_bytes() for file in (tmp_path / "out" / part).rglob("*.png")} for part in SPLITS)
    assert not train & val
    assert len(train | val) == 30, "no image is lost"
    assert report.loc["val", "left_out"].str.len().sum() == 0
    told = report.loc[("train", "cat"), "left_out"]
    assert len(told) + report.loc[("train", "cat"), "images"] == (10 if split else 12)
    assert all(re.fullmatch(r".*\.png: the same bytes as val/cat/.*\.png", line) for line in told)


def test_links_that_lead_in_circles_are_not_followed(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "in")
    (root / "loop").symlink_to(".")
    (root / "up").symlink_to("..")
    (root / "cat" / "loop").symlink_to("../..")
    (root / "to itself").symlink_to("to itself")
    write_files(root, {".hidden/1.png": picture(1), "cat/.1.png": picture(1), "cat/notes.txt": b"x"})
    report = prepare_folder(root, tmp_path / "out")
    assert report["images"].sum() == 30
    assert set(report["class"]) == {"cat", "dög at home", "eel"}


def test_nested_images_keep_their_paths(tmp_path: Path) -> None:
    root = write_files(
        tmp_path / "in", {f"{c}/{sub}/1.png": picture(ord(c) * ord(sub), kind="PNG") for c in "ab" for sub in "xyz"}
    )
    prepare_folder(root, tmp_path / "out", validation=0.3)
    assert len(tree(tmp_path / "out")) == 6


@pytest.mark.parametrize("begin", ["", "\ufeff"], ids=["plain", "with a mark"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "  \n\n"], ids=["Unix", "Windows", "blanks"])
def test_a_file_of_classes(tmp_path: Path, begin: str, end: str) -> None:
    file = tmp_path / "mine.txt"
    file.write_bytes((begin + end.join(["eel", "dög at home", ""])).encode())
    source, target = write_classes(tmp_path / "in"), tmp_path / "out"
    assert main(["prepare", "images", str(source), "--to", str(target), "--classes", str(file)]) == 0
    assert load_folder(target / "val", 8).classes == ("dög at home", "eel")


def test_a_file_of_synsets_may_name_them_too(source: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text(f"{B} racket, racquet\n{A}\n")
    how = ["--to", str(tmp_path / "out"), "--classes", str(tmp_path / "mine.txt")]
    assert main(["prepare", "imagenet50", str(lay(source, "sorted")), *how]) == 0
    assert load_folder(tmp_path / "out/val", 8).classes == tuple(sorted([A, B]))


BAD_REQUESTS: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown class": ({"classes": ["cat", "lynx"]}, "unknown: lynx"),
    "a class of another case": ({"classes": ["cat", "Eel"]}, "unknown: Eel"),
    "a path": ({"classes": ["cat", "../in/eel"]}, "unknown"),
    "one class": ({"classes": ["cat"]}, "1: cat"),
    "a class twice": ({"classes": ["cat", "cat", "eel"]}, "3: cat"),
    "no validation": ({"validation": 0.0}, "between 0 and 1"),
    "all validation": ({"validation": 1.0}, "between 0 and 1"),
    "too little validation": ({"validation": 0.01}, "none in val/cat"),
}


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_requests_that_cannot_be(tmp_path: Path, case: str) -> None:
    named, message = BAD_REQUESTS[case]
    with pytest.raises(InputError, match=message):
        prepare_folder(write_classes(tmp_path / "in"), tmp_path / "out", **named)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("inside", ["in", "in/out"])
def test_a_target_in_the_source(tmp_path: Path, inside: str) -> None:
    with pytest.raises(InputError, match="outside the source"):
        prepare_folder(write_classes(tmp_path / "in"), tmp_path / inside)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be taken"):
        prepare_folder(tmp_path / "nowhere", tmp_path / "out")


# --- CIFAR-100 ----------------------------------------------------------------------------------------------

NAMES = [f"{a}_{b}" for a in "abcdefghij" for b in "klmnopqrst"]


def cifar() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    files = {"fine_label_names.txt": "\n".join([*NAMES, ""]).encode(), "coarse_label_names.txt": b"a\n"}
    for stem, n in cifar100.CIFAR_IMAGES.items():
        records = rng.integers(0, 256, (n, 3074), dtype=np.uint8)
        records[:, 0], records[:, 1] = 7, np.arange(n) % 100
        files[f"{stem}.bin"] = records.tobytes()
    return files


@pytest.fixture
def small_cifar(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    monkeypatch.setattr(cifar100, "CIFAR_IMAGES", {"train": 200, "test": 100})
    return cifar()


def cifar_tar(folder: Path, files: dict[str, bytes]) -> Path:
    return write_tar(folder / "cifar.tar.gz", {f"cifar-100-binary/{name}": raw for name, raw in files.items()}, "w:gz")


def test_cifar_round_trip(tmp_path: Path, small_cifar: dict[str, bytes]) -> None:
    report = unpack_cifar100(cifar_tar(tmp_path, small_cifar), tmp_path / "out")
    assert report["images"].tolist() == [2] * 100 + [1] * 100
    for split, stem in (("train", "train"), ("val", "test")):
        images = load_folder(tmp_path / "out" / split, 32)
        assert images.classes == tuple(sorted(NAMES))
        records = np.frombuffer(small_cifar[f"{stem}.bin"], np.uint8).reshape(-1, 3074)
        row = [int(Path(name).stem) for name in images.ids]
        np.testing.assert_array_equal(images.pixels.numpy(), records[row, 2:].reshape(-1, 3, 32, 32))
        assert [images.classes[label] for label in images.labels] == [NAMES[label] for label in records[row, 1]]


def test_cifar_goes_on(tmp_path: Path, small_cifar: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    file = cifar_tar(tmp_path, small_cifar)
    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", stopping(Image.Image.save, 120))
        with pytest.raises(Stop):
            unpack_cifar100(file, tmp_path / "out")
    monkeypatch.setattr(Image.Image, "save", stopping(Image.Image.save, 180))
    assert unpack_cifar100(file, tmp_path / "out")["images"].sum() == 300


BAD_CIFAR: dict[str, Callable[[dict[str, bytes]], object]] = {
    "a byte less": lambda files: files.update({"train.bin": files["train.bin"][:-1]}),
    "a record more": lambda files: files.update({"test.bin": files["test.bin"] + bytes(3074)}),
    "CIFAR-10's records": lambda files: files.update({"test.bin": bytes(100 * 3073)}),
    "a label of 100": lambda files: files.update({"test.bin": b"\0\x64" + files["test.bin"][2:]}),
    "no test images": lambda files: files.pop("test.bin"),
    "no names": lambda files: files.pop("fine_label_names.txt"),
    "99 names": lambda files: files.update({"fine_label_names.txt": "\n".join(NAMES[:99]).encode()}),
    "a name upwards": lambda files: files.update({"fine_label_names.txt": "\n".join([*NAMES[:99], ".."]).encode()}),
    "nothing": lambda files: files.clear(),
}


@pytest.mark.parametrize("case", BAD_CIFAR)
def test_what_is_not_cifar(tmp_path: Path, small_cifar: dict[str, bytes], case: str) -> None:
    BAD_CIFAR[case](small_cifar)
    with pytest.raises(InputError, match="not CIFAR-100's binary version"):
        unpack_cifar100(cifar_tar(tmp_path, small_cifar), tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- cue conflict -------------------------------------------------------------------------------------------

CONFLICTS = {
    f"{name.split('1')[0]}/{name}.png": picture(i, kind="PNG")
    for i, name in enumerate(("cat1-truck3", "cat10-cat1", "airplane1-bicycle2", "bottle12-knife1"))
}
STRAY = {
    "paper-figures/introduction/bear5-bottle1.png": b"no image",
    "stimuli/edges/cat/cat1.png": b"",
    "stimuli/style-transfer-preprocessed-512/cat/._cat1-truck3.png": b"AppleDouble",
    "README.md": b"read me",
}
TOP = "texture-vs-shape-master/"
CONFLICT_SOURCES: dict[str, Callable[[Path], Path]] = {
    "model-vs-human's": lambda root: write_tar(
        root / "cue-conflict.tar.gz", {f"cue-conflict/{name}": raw for name, raw in CONFLICTS.items()}, "w:gz"
    ),
    "texture-vs-shape's": lambda root: write_tar(
        root / "master.tar.gz",
        {f"{TOP}stimuli/style-transfer-preprocessed-512/{name}": raw for name, raw in CONFLICTS.items()}
        | {f"{TOP}{name}": raw for name, raw in STRAY.items()},
        "w:gz",
    ),
    "a checkout": lambda root: write_files(
        root / "texture-vs-shape",
        {f"stimuli/style-transfer-preprocessed-512/{name}": raw for name, raw in CONFLICTS.items()} | STRAY,
    ),
}


@pytest.fixture
def four_conflicts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cue_conflict, "CUE_CONFLICT_IMAGES", 4)


@pytest.mark.usefixtures("four_conflicts")
@pytest.mark.parametrize("case", CONFLICT_SOURCES)
def test_cue_conflict_images(tmp_path: Path, case: str) -> None:
    table = unpack_cue_conflict(CONFLICT_SOURCES[case](tmp_path / "in"), tmp_path / "out")
    assert tree(tmp_path / "out") == CONFLICTS
    read = cue_conflict_names(load_folder(tmp_path / "out", 8).ids)
    pd.testing.assert_frame_equal(read, table)
    assert read["texture"].tolist() == ["bicycle", "knife", "truck", "cat"]


@pytest.mark.usefixtures("four_conflicts")
@pytest.mark.parametrize("case", CONFLICT_SOURCES)
@pytest.mark.parametrize("spoil", ["one less", "damaged"])
def test_cue_conflict_images_that_are_not_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, spoil: str
) -> None:
    name = "cat/cat10-cat1.png"
    if spoil == "one less":
        monkeypatch.delitem(CONFLICTS, name)
    else:
        monkeypatch.setitem(CONFLICTS, name, CONFLICTS[name][:90])
    with pytest.raises(InputError, match="3 images" if spoil == "one less" else rf"4 images; damaged: {name}"):
        unpack_cue_conflict(CONFLICT_SOURCES[case](tmp_path / "in"), tmp_path / "out")


# --- corruptions --------------------------------------------------------------------------------------------


def write_corruptions(root: Path, nested: bool) -> Path:
    """Each image tells its corruption, severity and class."""
    for i, place in enumerate(("noise/shot_noise", "blur/defocus_blur", "blur/zoom_blur")):
        for severity in (1, 5):
            for label, name in enumerate(("ant", "bee", "cow")):
                picture = Image.new("RGB", (224, 224), (10 * i, 10 * severity, 10 * label))
                file = root / (place if nested else place.split("/")[1]) / str(severity) / name / "ILSVRC_1.JPEG"
                file.parent.mkdir(parents=True, exist_ok=True)
                picture.save(file, "PNG")
    return root


@pytest.mark.parametrize("nested", [True, False])
def test_corruptions_are_listed_and_labelled(tmp_path: Path, nested: bool) -> None:
    folder = write_corruptions(tmp_path / "C", nested)
    table = corruptions(folder)
    assert table[["corruption", "severity"]].values.tolist() == [
        [name, severity] for name in ("defocus_blur", "shot_noise", "zoom_blur") for severity in (1, 5)
    ]
    assert all((folder / path).is_dir() for path in table["path"])
    for row in table.itertuples():
        images = load_corruption(folder, row.corruption, row.severity, 32, ("cow", "ant"))
        assert images.classes == ("cow", "ant")
        assert images.labels.tolist() == [0, 1]
        assert list(images.ids) == ["cow/ILSVRC_1.JPEG", "ant/ILSVRC_1.JPEG"]
        seen = images.pixels.float().mean((2, 3))
        i = ("shot_noise", "defocus_blur", "zoom_blur").index(row.corruption)
        assert seen.tolist() == [[10 * i, 10 * row.severity, 20], [10 * i, 10 * row.severity, 0]]


def test_a_square_image_is_taken_whole(tmp_path: Path) -> None:
    """ImageNet-C's images are cropped already; a second crop would show another part than the clean image's."""
    folder = write_corruptions(tmp_path / "C", True)
    pixels = np.zeros((224, 224, 3), np.uint8)
    pixels[:7] = 255  # the border, which a crop would cut off
    Image.fromarray(pixels).save(folder / "blur/zoom_blur/1/ant/ILSVRC_1.JPEG", "PNG")
    images = load_corruption(folder, "zoom_blur", 1, 32, ("ant", "bee"))
    assert images.pixels[0, :, 0].min() > 200
    same = load_corruption(folder, "zoom_blur", 1, 224, ("ant", "bee"))
    np.testing.assert_array_equal(same.pixels[0].permute(1, 2, 0), pixels)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("fog", 1, ("ant", "bee")), "no such corruption"),
        (("zoom_blur", 2, ("ant", "bee")), "no such corruption"),
        (("zoom_blur", 1, ("ant", "emu")), "none of emu"),
        (("../C/blur/zoom_blur", 1, ("ant", "bee")), "no such corruption"),
    ],
)
def test_corruptions_that_are_not_there(tmp_path: Path, asked: tuple[str, int, tuple[str, ...]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_corruption(write_corruptions(tmp_path / "C", True), *asked[:2], 32, asked[2])


def test_no_corruptions_or_one_twice(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match="no corruptions"):
            corruptions(folder)
    write_corruptions(tmp_path, True)
    write_corruptions(tmp_path, False)
    with pytest.raises(InputError, match="one of them twice"):
        corruptions(tmp_path)
