"""Packed images: decoded and resized once into one file of bytes, checked against its sources, read by memory map.

    <folder>_<size>px_<digest>.uint8      the pixels (n, 3, size, size)
    <folder>_<size>px_<digest>.parquet    what they were decoded from: path, size, mtime_ns, sha256 of each image
    .tmp-….uint8, .tmp-….rows             while it is made: the rows so far, and what each was decoded from

A kill costs a block of images or two. The table is written before the pixels come to their place and holds their
time stamp, so that a table and pixels of two different moments are never taken for a pair.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import h5py
import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as v2

from nbtools.checks import listed, reading
from nbtools.data.images.files import on_all_cores, readable
from nbtools.data.images.stimuli import EXPECTED, UNREADABLE
from nbtools.data.study import home
from nbtools.errors import InputError
from nbtools.files import HDF5_ERRORS, PREFIX, locked, read_table, require_space, sha256_of, writable, written
from nbtools.processes import Bar

BLOCK = 256  # images between two marks on the disk
VERSION = 1  # to be raised when the same image would give other pixels
_COLUMNS = ["path", "size", "mtime_ns", "sha256"]
Record = tuple[str, int, int, str]  # a row of the table


@dataclass(frozen=True)
class Source:
    """Images that can be loaded or packed.

    Attributes
    ----------
    place : Path
        Folder or file that holds them.
    names : sequence of str
        One name per image, in order.
    stamp : callable
        Takes a name; returns bytes and time of the last change (ns), without reading the image.
    read : callable
        Takes a name; returns the bytes to decode.
    decode : callable
        Takes these bytes and the image's path; returns uint8 pixels (3, size, size).
    key : str
        Tells this choice of images from others of the same place.
    order : array of int (n_images,), optional
        Rows as they lie in the place, for one pass over it; left out, as they are named.
    """

    place: Path
    names: Sequence[str]
    stamp: Callable[[str], tuple[int, int]]
    read: Callable[[str], bytes]
    decode: Callable[[bytes, Path], Tensor]
    key: str = ""
    order: np.ndarray | None = None

    def content(self, name: str) -> bytes:
        """Read the bytes of an image; one that cannot be read is an `InputError` that names it."""
        with readable(self.place / name):
            return self.read(name)


def folder_source(folder: Path, names: Sequence[str], decode: Callable[[bytes, Path], Tensor]) -> Source:
    """Take images from files below a folder, named by their paths relative to it.

    `decode` takes a file's bytes and path, and gives uint8 pixels (3, size, size).
    """

    def stamp(name: str) -> tuple[int, int]:
        status = (folder / name).stat()
        return status.st_size, status.st_mtime_ns

    return Source(folder, names, stamp, lambda name: (folder / name).read_bytes(), decode)


def stimuli_source(brick: h5py.Dataset, image_ids: np.ndarray, size: int) -> Source:
    """Take scanner images from an open HDF5 file, resized to ``size × size``.

    Parameters
    ----------
    brick : h5py.Dataset, uint8 (n_stimuli, height, width, 3)
        All that the scanner showed.
    image_ids : int array (n_images,)
        Rows of `brick`.
    size : int
        Side in pixels.
    """
    height, width, _ = brick.shape[1:]

    def decode(raw: bytes, _: Path) -> Tensor:
        pixels = torch.frombuffer(bytearray(raw), dtype=torch.uint8).view(height, width, 3).permute(2, 0, 1)
        return v2.resize(pixels, [size, size], antialias=True)

    def read(name: str) -> bytes:
        with reading(UNREADABLE, *HDF5_ERRORS, file=file, **EXPECTED):
            return brick[int(name)].tobytes()

    file, ids = Path(brick.file.filename), np.asarray(image_ids, np.int64)
    stamp = (3 * height * width, file.stat().st_mtime_ns)
    return Source(
        place=file,
        names=[str(row) for row in ids],
        stamp=lambda _: stamp,
        read=read,
        decode=decode,
        key=hashlib.sha256(ids.tobytes()).hexdigest(),
        order=np.argsort(ids),
    )


def packed(source: Source, size: int) -> Tensor:
    """Map images, decoding them first where there is no pack of theirs.

    A pack is current if names, sizes and times of all its images are those of the source; an image of which the
    time alone has changed is compared by its sha256. Of two processes, the second waits for the first one's pack.

    Parameters
    ----------
    source : Source
        The images.
    size : int
        Side in pixels.

    Returns
    -------
    Tensor
        uint8, shape (n_images, 3, size, size). Writing to it does not change the file.

    Raises
    ------
    InputError
        If an image cannot be read, or the disk has no room. What was decoded is kept for the next call.
    """
    target = pack_file(source.place, size, source.key)
    shape = (len(source.names), 3, size, size)
    if not _is_current(source, target, math.prod(shape)):
        with writable(target), locked(target):
            if not _is_current(source, target, math.prod(shape)):
                _pack(source, target, math.prod(shape[1:]))
    return torch.from_file(str(target), shared=False, size=math.prod(shape), dtype=torch.uint8).view(shape)


def verify_packed(folder: Path, size: int) -> int:
    """Read the images of a packed folder again, and the pack itself, and compare their checksums.

    Parameters
    ----------
    folder : Path
        As `load_folder` took it.
    size : int
        Side in pixels.

    Returns
    -------
    int
        How many images were compared.

    Raises
    ------
    InputError
        If the folder is not packed at this size, the pack is damaged, or an image is gone or another one.
    """
    target = pack_file(folder, size)
    table = _table(target)
    if table is None or not target.is_file():
        raise InputError("no pack", file=target, expected=f"a pack of {folder}", got="none", fix="load the folder")
    if (digest := _sha256(target)) != table.attrs["sha256"]:
        expected, fix = f"sha256 {table.attrs['sha256']}", "remove it: it is made anew when the folder is loaded"
        raise InputError("the pack is damaged", file=target, expected=expected, got=digest, fix=fix)
    digests = on_all_cores(_sha256, [folder / name for name in table["path"]], "comparing")
    differing = [name for name, old, new in zip(table["path"], table["sha256"], digests, strict=True) if old != new]
    if differing:
        raise InputError(
            "the images are not those that were packed",
            file=folder,
            expected=f"{len(table)} images as they were",
            got=f"{len(differing)} others, or gone: {listed(differing, 5)}",
            fix=f"put them back, or remove {target.name} to have it made anew",
        )
    return len(table)


def pack_file(place: Path, size: int, key: str = "") -> Path:
    """Return where the pack of a folder or file lies."""
    identity = f"{VERSION} {place.resolve()} {key} {size}".encode(errors="surrogateescape")
    # The name is cut: a system allows 255 bytes, of which a letter may take four.
    name = f"{place.resolve().name[:40]}_{size}px_{hashlib.sha256(identity).hexdigest()[:8]}.uint8"
    return home() / "data" / "derived" / "packed" / name


def packed_sizes(place: Path) -> list[int]:
    """Return the sides in pixels at which all images of a folder are packed, ascending."""
    packs = pack_file(place, 0).parent.glob("*px_*.uint8")
    sizes = {int(pack.name.rpartition("px_")[0].rpartition("_")[2]) for pack in packs}
    return sorted(size for size in sizes if pack_file(place, size).exists())


# --- is a pack current? -------------------------------------------------------------------------------------


def _is_current(source: Source, target: Path, n_bytes: int) -> bool:
    table = _table(target)
    if table is None or not target.is_file() or target.stat().st_size != n_bytes:
        return False
    if list(table["path"]) != list(source.names):
        return False
    stamps = np.array([source.stamp(name) for name in source.names])
    touched = stamps[:, 1] != table["mtime_ns"].to_numpy()
    changed = target.stat().st_mtime_ns
    copied = changed != table.attrs["mtime_ns"]  # or left behind by a kill, and not the one the table describes
    if (stamps[:, 0] != table["size"]).any() or (copied and _sha256(target) != table.attrs["sha256"]):
        return False
    if not _same_bytes(source, table[touched]):
        return False
    if copied or touched.any():
        _write_table(target, table.assign(mtime_ns=stamps[:, 1]), table.attrs["sha256"], changed)
    return True


def _same_bytes(source: Source, rows: pd.DataFrame) -> bool:
    def same(name: str, digest: str) -> bool:
        return hashlib.sha256(source.content(name)).hexdigest() == digest

    with ThreadPoolExecutor() as pool:
        return all(pool.map(same, rows["path"], rows["sha256"]))


def _table(target: Path) -> pd.DataFrame | None:
    try:
        table = read_table(target.with_suffix(".parquet"))
    except InputError:  # none, or none that can be read: then the pack counts for nothing
        return None
    return table if list(table) == _COLUMNS and {"sha256", "mtime_ns"} <= table.attrs.keys() else None


def _write_table(target: Path, table: pd.DataFrame, digest: str, mtime_ns: int) -> None:
    table.attrs = {"sha256": digest, "mtime_ns": mtime_ns}
    with written(target.with_suffix(".parquet")) as beside:
        table.to_parquet(beside)


def _sha256(file: Path) -> str:
    try:
        return sha256_of(file)
    except OSError as error:
        return f"unreadable: {error.strerror}"


# --- packing ------------------------------------------------------------------------------------------------


def _pack(source: Source, target: Path, row: int) -> None:
    part, marks = (target.with_name(f"{PREFIX}{target.stem}{suffix}") for suffix in (".uint8", ".rows"))
    records = _kept(source, part, marks, row)
    require_space(target.parent, (len(source.names) - len(records)) * row)
    digest = _append(source, part, marks, records)
    _write_table(target, pd.DataFrame(records, columns=_COLUMNS), digest, part.stat().st_mtime_ns)
    part.replace(target)
    marks.unlink()


def _kept(source: Source, part: Path, marks: Path, row: int) -> list[Record]:
    """Cut what a kill left to the rows of images that are as they were; return what those came from."""
    part.touch()
    marks.touch()
    records: list[Record] = []
    lines = marks.read_bytes().split(b"\n")[:-1]  # a line without an end is not whole
    with suppress(ValueError, TypeError):  # a line that is none
        for line, name in zip(lines[: part.stat().st_size // row], source.names, strict=False):
            *image, digest = json.loads(line)
            if image != [name, *source.stamp(name)]:
                break
            records.append((*image, digest))
    os.truncate(part, len(records) * row)
    os.truncate(marks, sum(len(line) + 1 for line in lines[: len(records)]))
    return records


def _append(source: Source, part: Path, marks: Path, records: list[Record]) -> str:
    """Decode the images that are missing, add what they came from to `records`, return the sha256 of all pixels."""
    with part.open("rb") as before:
        digest = hashlib.file_digest(before, "sha256")
    what, n = f"packing {source.place.name}", len(source.names)
    with part.open("ab") as pixels, marks.open("ab") as lines, Bar(None, what, n, unit="image") as bar:
        bar.update(len(records))
        for block in decoded(source, len(records)):
            rows = torch.stack([image for _, image in block]).numpy().tobytes()
            digest.update(rows)
            pixels.write(rows)
            _to_disk(pixels)
            # A line says that its row is on the disk.
            lines.writelines(json.dumps(record).encode() + b"\n" for record, _ in block)
            _to_disk(lines)
            records += [record for record, _ in block]
            bar.update(len(block))
    return digest.hexdigest()


def _to_disk(handle: IO[bytes]) -> None:
    handle.flush()
    os.fsync(handle.fileno())


def decoded(source: Source, start: int = 0) -> Iterator[list[tuple[Record, Tensor]]]:
    """Give blocks of images from one on, each with what it was decoded from; all cores are one block ahead."""
    blocks = [source.names[first : first + BLOCK] for first in range(start, len(source.names), BLOCK)]
    pool = ThreadPoolExecutor()
    try:
        ahead = [pool.map(partial(_decode, source), block) for block in blocks[:1]]
        for block in blocks[1:]:
            ahead.append(pool.map(partial(_decode, source), block))
            yield list(ahead.pop(0))
        yield from map(list, ahead)
    finally:
        pool.shutdown(cancel_futures=True)


def _decode(source: Source, name: str) -> tuple[Record, Tensor]:
    size, changed = source.stamp(name)
    raw = source.content(name)
    return (name, size, changed, hashlib.sha256(raw).hexdigest()), source.decode(raw, source.place / name)
