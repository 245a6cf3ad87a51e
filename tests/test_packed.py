"""Packed images: the same pixels however often packing was killed, and never those of other images."""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image

from nbtools.data import archives
from nbtools.data.images import packed, sets as images
from nbtools.data.images.packed import stimuli_source, verify_packed
from nbtools.data.images.sets import load_folder, load_stimuli
from nbtools.errors import InputError

SIZE = 16
N = 20  # images of a folder, in two classes


def write_folder(root: Path) -> Path:
    for row in range(N):
        file = root / ("bar" if row < N // 2 else "disk of straße") / f"{row:02d} å.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(row).integers(0, 256, (SIZE + 4, SIZE + 9, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file)
    return root


def load(folder: Path) -> torch.Tensor:
    return load_folder(folder, SIZE, memory_limit=0).pixels


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(packed, "BLOCK", 4)
    return tmp_path / "home"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "images of mine")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the images that were decoded for a pack, in whatever order."""
    paths: list[str] = []
    whole = packed._decode

    def counted(source: packed.Source, name: str) -> tuple[packed.Record, torch.Tensor]:
        paths.append(str(source.place / name))
        return whole(source, name)

    monkeypatch.setattr(packed, "_decode", counted)
    return paths


def packs(home: Path, suffix: str = ".uint8") -> list[Path]:
    return sorted(file for file in (home / "data/derived/packed").iterdir() if file.suffix == suffix)


def pack(home: Path) -> Path:
    (file,) = (file for file in packs(home) if not file.name.startswith("."))
    return file


def rewrite(file: Path, seed: int = 99) -> None:
    """Another image of the same number of bytes: it is not compressed."""
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)).save(file, "BMP")


# --- what a pack is -----------------------------------------------------------------------------------------


def test_a_pack_holds_what_loading_gives(home: Path, folder: Path) -> None:
    loaded, mapped = load_folder(folder, SIZE), load_folder(folder, SIZE, memory_limit=0)
    assert torch.equal(mapped.pixels, loaded.pixels)
    assert torch.equal(mapped.labels, loaded.labels)
    assert list(mapped.ids) == list(loaded.ids)
    assert re.fullmatch(rf"images of mine_{SIZE}px_[0-9a-f]{{8}}\.uint8", pack(home).name)
    assert pack(home).read_bytes() == loaded.pixels.numpy().tobytes()
    assert len(list(pack(home).parent.iterdir())) == 2, "nothing is left beside the pack and its table"


def test_the_table_tells_what_was_decoded(home: Path, folder: Path) -> None:
    ids = load_folder(folder, SIZE, memory_limit=0).ids
    table = pd.read_parquet(pack(home).with_suffix(".parquet"))
    assert list(table) == ["path", "size", "mtime_ns", "sha256"]
    assert list(table["path"]) == list(ids)
    for row in table.itertuples():
        raw, status = (folder / row.path).read_bytes(), (folder / row.path).stat()
        assert (row.size, row.mtime_ns) == (status.st_size, status.st_mtime_ns)
        assert row.sha256 == hashlib.sha256(raw).hexdigest()
    assert table.attrs["sha256"] == hashlib.sha256(pack(home).read_bytes()).hexdigest()


def test_each_image_is_read_once(home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    whole = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: read.append(self) or whole(self))
    load(folder)
    assert sorted(file for file in read if file.suffix == ".png") == sorted(folder.rglob("*.png"))


def test_writing_to_the_pixels_leaves_the_file(home: Path, folder: Path) -> None:
    load(folder).zero_()
    assert verify_packed(folder, SIZE) == N
    assert load(folder).any()


def test_sizes_and_folders_have_their_own_packs(home: Path, folder: Path, tmp_path: Path) -> None:
    other = write_folder(tmp_path / "elsewhere" / folder.name)
    load(folder)
    load(other)
    assert load_folder(folder, 8, memory_limit=0).pixels.shape == (N, 3, 8, 8)
    assert len(packs(home)) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere such a name cannot be made")
def test_a_name_that_is_no_text(home: Path, folder: Path) -> None:
    shutil.copy(next(folder.rglob("*.png")), os.fsencode(folder / "bar") + b"/\xff.png")
    with pytest.raises(InputError, match="UTF-8"):
        load(folder)


@pytest.mark.parametrize("above", [".", ".."])
def test_a_link_upwards_is_not_followed(home: Path, folder: Path, above: str) -> None:
    before = load(folder)
    (folder / "bar" / "loop").symlink_to(above)
    assert torch.equal(load(folder), before)


def test_a_link_to_another_class(home: Path, folder: Path) -> None:
    (folder / "bar" / "loop").symlink_to("../disk of straße")
    with pytest.raises(InputError, match="a link to a folder"):
        load(folder)


def test_stimuli_are_packed_as_they_are_loaded(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, ids = tmp_path / "stimuli.hdf5", np.array([5, 0, 7, 2, 3])
    brick = np.random.default_rng(0).integers(0, 256, (9, 25, 25, 3), dtype=np.uint8)
    with h5py.File(file, "w") as store:
        store["imgBrick"] = brick
    with h5py.File(file) as store:
        for size in (25, SIZE):
            first = packed.packed(stimuli_source(store["imgBrick"], ids, size), size)
            assert torch.equal(first, load_stimuli(file, ids, size).pixels)
        monkeypatch.setattr(packed, "_pack", None)  # from here on, nothing is packed
        assert torch.equal(packed.packed(stimuli_source(store["imgBrick"], ids, SIZE), SIZE), first)
    assert len(packs(home)) == 2


# --- is it current? -----------------------------------------------------------------------------------------


def test_images_are_decoded_once(home: Path, folder: Path, decoded: list[str]) -> None:
    load(folder)
    load(folder)
    assert sorted(decoded) == sorted(map(str, folder.rglob("*.png")))


def test_an_image_that_was_only_touched(home: Path, folder: Path, decoded: list[str]) -> None:
    before = load(folder)
    for file in sorted(folder.rglob("*.png"))[3:6]:
        os.utime(file, ns=(1, 10**18))
    decoded.clear()
    assert torch.equal(load(folder), before)
    assert decoded == []
    times = pd.read_parquet(pack(home).with_suffix(".parquet"))["mtime_ns"]
    assert list(times[3:6]) == [10**18] * 3, "the next call need not compare them again"


def test_a_copied_pack_counts(home: Path, folder: Path, decoded: list[str]) -> None:
    before = load(folder)
    os.utime(pack(home), ns=(1, 10**18))
    decoded.clear()
    assert torch.equal(load(folder), before)
    assert decoded == []


CHANGES: dict[str, Callable[[Path], object]] = {
    "another image": lambda folder: rewrite(folder / "bar" / "03 å.png"),
    "one more": lambda folder: shutil.copy(folder / "bar/03 å.png", folder / "bar/03 b.png"),
    "one less": lambda folder: (folder / "bar/03 å.png").unlink(),
    "renamed": lambda folder: (folder / "bar/03 å.png").rename(folder / "bar/99.png"),
    "two exchanged": lambda folder: [
        (folder / "bar/03 å.png").rename(folder / "x"),
        (folder / "bar/04 å.png").rename(folder / "bar/03 å.png"),
        (folder / "x").rename(folder / "bar/04 å.png"),
    ],
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_change_is_seen(home: Path, folder: Path, case: str) -> None:
    before = load(folder)
    CHANGES[case](folder)
    after = load(folder)
    assert torch.equal(after, load_folder(folder, SIZE).pixels)
    assert after.shape != before.shape or not torch.equal(after, before) or case == "renamed"
    assert verify_packed(folder, SIZE) == len(after)


def test_an_image_of_the_same_length(home: Path, folder: Path) -> None:
    """Same name, same size, later: only its bytes tell."""
    rewrite(folder / "bar/03 å.png", 1)
    before = load(folder)[3].clone()
    rewrite(folder / "bar/03 å.png", 2)
    os.utime(folder / "bar/03 å.png", ns=(1, 10**18))
    assert not torch.equal(load(folder)[3], before)


SPOILT: dict[str, Callable[[Path], object]] = {
    "pack cut": lambda file: os.truncate(file, file.stat().st_size - 1),
    "pack longer": lambda file: file.write_bytes(file.read_bytes() + b"\0"),
    "pack empty": lambda file: file.write_bytes(b""),
    "pack gone": lambda file: file.unlink(),
    "table gone": lambda file: file.with_suffix(".parquet").unlink(),
    "table cut": lambda file: os.truncate(file.with_suffix(".parquet"), 500),
    "table is HTML": lambda file: file.with_suffix(".parquet").write_text("<html>"),
    "another table": lambda file: pd.DataFrame({"path": ["a"]}).to_parquet(file.with_suffix(".parquet")),
}


@pytest.mark.parametrize("case", SPOILT)
def test_a_spoilt_pack_counts_for_nothing(home: Path, folder: Path, case: str, decoded: list[str]) -> None:
    before = load(folder).clone()
    SPOILT[case](pack(home))
    decoded.clear()
    assert torch.equal(load(folder), before)
    assert len(decoded) == N
    assert verify_packed(folder, SIZE) == N


# --- verify -------------------------------------------------------------------------------------------------


def test_verify_finds_a_flipped_byte_in_the_pack(home: Path, folder: Path) -> None:
    load(folder)
    raw, status = bytearray(pack(home).read_bytes()), pack(home).stat()
    raw[777] ^= 1
    pack(home).write_bytes(raw)
    os.utime(pack(home), ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(InputError, match="pack is damaged"):
        verify_packed(folder, SIZE)


def test_verify_finds_what_names_sizes_and_times_do_not_tell(home: Path, folder: Path) -> None:
    load(folder)
    file = folder / "bar/07 å.png"
    raw, status = bytearray(file.read_bytes()), file.stat()
    raw[-20] ^= 1
    file.write_bytes(raw)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(InputError, match=r"1 others, or gone: bar/07 å\.png"):
        verify_packed(folder, SIZE)


def test_verify_misses_what_is_gone(home: Path, folder: Path) -> None:
    with pytest.raises(InputError, match="no pack"):
        verify_packed(folder, SIZE)
    load(folder)
    with pytest.raises(InputError, match="no pack"):
        verify_packed(folder, SIZE + 1)
    shutil.rmtree(folder / "bar")
    with pytest.raises(InputError, match=f"{N // 2} others, or gone"):
        verify_packed(folder, SIZE)


# --- interrupted --------------------------------------------------------------------------------------------


class Stop(Exception):
    """What a test raises in place of a kill."""


def stopping(
    function: Callable[..., object], after: int, error: Callable[[], Exception] = Stop
) -> Callable[..., object]:
    """The same function, which fails after so many calls."""
    calls = iter(range(after))

    def stopped(*args: object, **named: object) -> object:
        if next(calls, None) is None:
            raise error()
        return function(*args, **named)

    return stopped


def interrupt(folder: Path, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, after: int) -> None:
    """Pack until a function was called so often."""
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, stopping(getattr(owner, name), after))
        with pytest.raises(Stop):
            load(folder)


@pytest.mark.parametrize("blocks", range(5))
def test_packing_goes_on_after_the_last_whole_block(
    home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[str], blocks: int
) -> None:
    interrupt(folder, monkeypatch, packed, "_to_disk", 2 * blocks)  # pixels and lines of each block
    assert not [file for file in packs(home) if not file.name.startswith(".")]
    decoded.clear()
    assert torch.equal(load(folder), load_folder(folder, SIZE).pixels)
    assert sorted(decoded) == sorted(map(str, folder.rglob("*.png")))[4 * blocks :]
    assert verify_packed(folder, SIZE) == N
    assert len(list(pack(home).parent.iterdir())) == 2


@pytest.mark.parametrize("written", [0, 1])
def test_a_kill_after_the_last_image_costs_no_image(
    home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[str], written: int
) -> None:
    """Killed before the table is written, or before the pixels are put into their place."""
    interrupt(folder, monkeypatch, Path, "replace", written)
    decoded.clear()
    assert torch.equal(load(folder), load_folder(folder, SIZE).pixels)
    assert decoded == []
    assert verify_packed(folder, SIZE) == N


def test_a_new_table_never_describes_old_pixels(home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same names and sizes, other images; killed between the new table and the new pixels."""
    rewrite(folder / "bar/03 å.png", 1)
    load(folder)
    rewrite(folder / "bar/03 å.png", 2)
    os.utime(folder / "bar/03 å.png", ns=(1, 10**18))
    interrupt(folder, monkeypatch, Path, "replace", 1)
    assert 10**18 in set(pd.read_parquet(pack(home).with_suffix(".parquet"))["mtime_ns"])
    assert torch.equal(load(folder), load_folder(folder, SIZE).pixels)


def test_images_that_changed_in_between_are_decoded_again(
    home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[str]
) -> None:
    interrupt(folder, monkeypatch, packed, "_to_disk", 8)
    rewrite(folder / "bar/06 å.png")
    decoded.clear()
    assert torch.equal(load(folder), load_folder(folder, SIZE).pixels)
    assert len(decoded) == N - 6
    assert verify_packed(folder, SIZE) == N


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_a_kill_leaves(home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, data: st.DataObject) -> None:
    """Pixels and lines cut anywhere, or holding other bytes, give the same pack."""
    shutil.rmtree(home, ignore_errors=True)
    interrupt(folder, monkeypatch, packed, "_to_disk", data.draw(st.integers(0, 9)))
    (part,), (marks,) = packs(home), packs(home, ".rows")
    os.truncate(part, data.draw(st.integers(0, part.stat().st_size + 50)))
    os.truncate(marks, data.draw(st.integers(0, marks.stat().st_size)))
    if data.draw(st.booleans()):
        marks.write_bytes(marks.read_bytes() + data.draw(st.binary(max_size=20)))
    assert torch.equal(load(folder), load_folder(folder, SIZE).pixels)
    assert verify_packed(folder, SIZE) == N


def test_a_bad_image_costs_none_of_the_others(home: Path, folder: Path, decoded: list[str]) -> None:
    bad = folder / "disk of straße/15 å.png"
    sound = bad.read_bytes()
    bad.write_bytes(sound[:300])
    with pytest.raises(InputError, match=re.escape(str(bad))):
        load(folder)
    bad.write_bytes(sound)
    decoded.clear()
    load(folder)
    assert len(decoded) == N - 12, "three blocks were there"


@pytest.fixture
def packing(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[float], BaseProcess]:
    """Start another process that packs the folder, with so many seconds for each image of the second half."""

    def work(seconds: float) -> None:
        torch.set_num_threads(1)  # a forked process does not have the threads that torch believes in
        whole = images.decode_image

        def slow(raw: bytes, file: Path) -> torch.Tensor:
            time.sleep(seconds * ("disk" in str(file)))
            with (tmp_path / "log").open("a") as log:
                log.write(f"{file}\n")
            return whole(raw, file)

        images.decode_image = slow  # type: ignore[assignment]
        load(folder)

    def start(seconds: float) -> BaseProcess:
        process = multiprocessing.get_context("fork").Process(target=work, args=(seconds,))
        process.start()
        return process

    return start


needs_fork = pytest.mark.skipif(sys.platform != "linux", reason="forks a process that has torch loaded")


@needs_fork
def test_kill_9(home: Path, folder: Path, packing: Callable[[float], BaseProcess], decoded: list[str]) -> None:
    process, rows = packing(0.5), 0
    deadline = time.monotonic() + 60
    while rows < 8:
        assert time.monotonic() < deadline
        assert process.is_alive()
        time.sleep(0.01)
        rows = b"".join(file.read_bytes() for file in home.rglob("*.rows")).count(b"\n")
    process.kill()
    process.join()
    assert torch.equal(load(folder), load_folder(folder, SIZE).pixels)
    assert len(decoded) <= N - rows
    assert verify_packed(folder, SIZE) == N


@needs_fork
def test_of_two_processes_one_waits_and_decodes_nothing(
    home: Path, folder: Path, packing: Callable[[float], BaseProcess], decoded: list[str], tmp_path: Path
) -> None:
    first = packing(0.02)
    while not any(home.rglob("*.lock")):
        time.sleep(0.001)
    assert torch.equal(load(folder), load_folder(folder, SIZE).pixels)
    first.join()
    log = tmp_path / "log"
    assert {len(decoded), len(log.read_text().splitlines()) if log.exists() else 0} == {0, N}


# --- no room ------------------------------------------------------------------------------------------------


def test_room_is_looked_for_first(
    home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[str]
) -> None:
    n_bytes = N * 3 * SIZE**2
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(1, 1, n_bytes - 1))
    with pytest.raises(InputError, match=r"not enough room(.|\n)*GB free"):
        load(folder)
    assert decoded == []
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(1, 1, n_bytes))
    load(folder)


@pytest.mark.parametrize("calls", [0, 1, 4, 5])
def test_a_disk_that_fills_up(
    home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[str], calls: int
) -> None:
    def full() -> OSError:
        return OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(packed, "_to_disk", stopping(packed._to_disk, calls, full))
        with pytest.raises(InputError, match=r"cannot be written\n(.|\n)*No space left"):
            load(folder)
    decoded.clear()
    assert torch.equal(load(folder), load_folder(folder, SIZE).pixels)
    assert len(decoded) <= N - 4 * (calls // 2)
