"""Fetching THINGS, TVSD and THINGS-fMRI, simulated, from a server on loopback that drops, lies and sends other things.

That every transfer goes on where it broke off is shown in test_download; here, what is made of what comes.
"""

from __future__ import annotations

import io
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from test_download import Page, Server
from things_archives import encrypted_zip, pickled_names, plain_zip, tar, voxel_table, write_responses
from things_files import CATEGORIES as SORTED, names_of, write_monkey, write_person
from things_pictures import picture, write_categories

from nbtools.cli import main
from nbtools.data import archives
from nbtools.data.archives import contents, unpack
from nbtools.data.brains import things_fmri
from nbtools.data.brains.measured import load_responses
from nbtools.data.brains.things_fmri import (
    HIERARCHY,
    REGIONS,
    read_voxels,
    reduce_archive,
    reduce_responses,
    region_voxels,
)
from nbtools.data.fetch import catalogue, download
from nbtools.data.images.sets import load_stimuli
from nbtools.data.images.things_pictures import unpack_things
from nbtools.data.kinds import check_kind, kind_of, kinds_by_name
from nbtools.data.study import open_study
from nbtools.data.zips import zip_members
from nbtools.errors import InputError

HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(3000)
MATLAB = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512, b"\0") + HDF5
POINTER = b"/annex/objects/MD5E-s194133760--0123456789abcdef0123456789abcdef.mat\n"
PAGE = b"\n<!DOCTYPE html><html><title>Log in</title></html>" * 20
PICTURES = {
    f"object_images/{concept}/{concept}_{n:02d}b.jpg": f"{concept}{n}".encode() * 700
    for concept in ("dog", "dog_2", "aardvark")
    for n in (1, 2)
}
CATEGORIES = b"category\tuniqueID\tWord\nanimal\tdog\tdog\n"


# --- what a file is -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (HDF5, "an HDF5 file"),
        (MATLAB, "an HDF5 file"),
        (b"MATLAB 5.0 MAT-file, Platform", "a MATLAB file"),
        (plain_zip({"a": b"1"}), "a zip archive"),
        (plain_zip({}), "a zip archive"),
        (encrypted_zip({"a": b"1"}), "a zip archive"),
        (tar({"a": b"1"}), "a gzip file"),
        (tar({"a": b"1"}, "w"), "a tar archive"),
        (PAGE, "a web page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "a message in XML"),
        (POINTER, "a git-annex pointer"),
        (b"../../.git/annex/objects/xx/yy/MD5E-s1--0.mat", "a git-annex pointer"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer"),
        (CATEGORIES, "text"),
        (b"", "text"),
        (bytes(range(200)), "unknown data"),
    ],
)
def test_first_bytes_tell_what_a_file_is(head: bytes, kind: str) -> None:
    assert kind_of(head) == kind


def test_names_tell_what_a_file_should_be() -> None:
    assert set(kinds_by_name("a/b.tar.gz")) == set(kinds_by_name("b.zip")) >= {"a zip archive", "a gzip file"}
    assert kinds_by_name("roi/V1.nii.gz") == ("a gzip file",)
    assert kinds_by_name("LICENSE") == ()
    check_kind(PAGE, (), Path("x"))  # nothing was asked
    with pytest.raises(InputError, match="not the file, but text"):
        check_kind(b"502 Bad Gateway", kinds_by_name("x.mat"), Path("x.mat"))


def test_every_file_of_the_catalogue_is_looked_at(tmp_path: Path) -> None:
    remotes = [
        *catalogue.nsd_files(tmp_path, 1),
        *catalogue.nsd_sessions(tmp_path, 1, [1]),
        catalogue.stimuli_file(tmp_path),
        *(catalogue.archive_file(source, tmp_path) for source in catalogue.ARCHIVES),
        *catalogue.tvsd_files(tmp_path, "F"),
        *catalogue.things_files(tmp_path),
        catalogue.things_fmri_file(tmp_path),
    ]
    assert all(remote.kinds for remote in remotes)


# --- archives -------------------------------------------------------------------------------------------------


def read_all(file: Path, password: bytes | None = b"things4all") -> dict[str, bytes]:
    return {name: stream.read() for name, _, stream in contents(file, password=password)}


@settings(max_examples=20, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["a", "b/c", "ü/d.jpg"]), st.binary(max_size=600)),
    st.binary(min_size=1, max_size=20),
    st.booleans(),
    st.booleans(),
)
def test_an_encrypted_zip_is_read_as_python_reads_it(
    files: dict[str, bytes], password: bytes, deflate: bool, streamed: bool
) -> None:
    raw = encrypted_zip(files, password, deflate=deflate, streamed=streamed)
    members = {m.name: stream.read() for m, stream in zip_members(io.BytesIO(raw), password, Path("x.zip"))}
    with zipfile.ZipFile(io.BytesIO(raw)) as tree:
        assert members == files == {name: tree.read(name, password) for name in files}


@pytest.mark.parametrize("make", [plain_zip, lambda files: plain_zip(files, zipfile.ZIP_STORED), tar, encrypted_zip])
def test_an_archive_is_what_its_bytes_say(tmp_path: Path, make: Callable[[dict[str, bytes]], bytes]) -> None:
    (tmp_path / "x.tar.gz").write_bytes(make(PICTURES))
    assert read_all(tmp_path / "x.tar.gz") == PICTURES


def linked() -> bytes:
    out, entry = io.BytesIO(), zipfile.ZipInfo("x.png")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(out, "w") as tree:
        tree.writestr(entry, "/etc/passwd")
    return out.getvalue()


def twice() -> bytes:
    return plain_zip({"x.png": b"1", "y.png": b"2"}).replace(b"y.png", b"x.png")


@pytest.mark.parametrize(
    "raw",
    [
        *(plain_zip({name: b"x"}) for name in ("../x.png", "a/../../x.png", "/etc/x.png", "C:/x.png", "..\\x.png")),
        *(encrypted_zip({"../x.png": b"x"}), linked(), twice()),
        plain_zip({"x.png": b"x" * 99}, zipfile.ZIP_LZMA),
    ],
)
def test_a_hostile_zip_is_refused(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "x.zip").write_bytes(raw)
    with pytest.raises(InputError, match=r"is not unpacked\n +file: .*x\.zip"):
        unpack(tmp_path / "x.zip", tmp_path / "out" / "part", str, password=b"things4all")
    assert {place.name for place in tmp_path.rglob("*.png")} <= {"x.png"}


@pytest.mark.parametrize("make", [plain_zip, encrypted_zip])
def test_a_damaged_file_is_named(tmp_path: Path, make: Callable[[dict[str, bytes]], bytes]) -> None:
    noise = np.random.default_rng(0).bytes(5000)
    raw = bytearray(make({"a/fine.jpg": b"fine", "a/broken.jpg": noise}))
    raw[raw.index(b"broken.jpg") + 2000] ^= 1
    (tmp_path / "x.zip").write_bytes(raw)
    with pytest.raises(InputError, match=r"broken\.jpg cannot be read\n +file: .*x\.zip(.|\n)*download it again"):
        unpack(tmp_path / "x.zip", tmp_path / "part", str, password=b"things4all")


@pytest.mark.parametrize("password", [b"things4me", b"", b"Things4all"])
def test_another_password(tmp_path: Path, password: bytes) -> None:
    file = tmp_path / "images_THINGS.zip"
    file.write_bytes(encrypted_zip(PICTURES, password or b"x"))
    with pytest.raises(InputError, match=r"another password(.|\n)*original source"):
        unpack_things(file, tmp_path / "object_images")
    with pytest.raises(InputError, match="encrypted"):
        read_all(file, None)
    assert not (tmp_path / "object_images").exists()


# --- from the server ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@dataclass
class Line:
    """A mirror on loopback and a home to fetch into."""

    server: Server
    home: Path

    def put(self, name: str, page: Page | bytes) -> Page:
        page = page if isinstance(page, Page) else Page(page)
        self.server.pages[f"/{self.home.name}/{name}"] = page
        return page

    def fetch(self, *words: str) -> int:
        return main(["fetch", *words, "--mirror", f"{self.server.url}/{self.home.name}"])


@pytest.fixture
def line(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Line:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))
    monkeypatch.setitem(download.fetch.__kwdefaults__, "pause", 0.0)
    return Line(server, tmp_path)


def files_below(folder: Path) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())


def test_addresses_are_those_published(tmp_path: Path) -> None:
    remotes = [
        *catalogue.tvsd_files(tmp_path, "N"),
        *catalogue.things_files(tmp_path),
        catalogue.things_fmri_file(tmp_path),
    ]
    assert {remote.file.relative_to(tmp_path).as_posix(): remote.url for remote in remotes} == {
        "monkeyN/THINGS_normMUA.mat": "https://gin.g-node.org/paolo_papale/TVSD/raw/master/monkeyN/THINGS_normMUA.mat",
        "monkeyN/_logs/things_imgs.mat": (
            "https://gin.g-node.org/paolo_papale/TVSD/raw/master/monkeyN/_logs/things_imgs.mat"
        ),
        "images_THINGS.zip": "https://osf.io/download/rdxy2",
        "category53_long-format.tsv": "https://osf.io/download/vehr3",
        "betas_csv.zip": "https://plus.figshare.com/ndownloader/files/36789690",
    }
    with pytest.raises(InputError, match="no such monkey"):
        catalogue.tvsd_files(tmp_path, "G")


def test_monkeys_come_into_their_folders(line: Line, capsys: pytest.CaptureFixture[str]) -> None:
    for monkey in "FN":
        line.put(f"monkey{monkey}/THINGS_normMUA.mat", Page(MATLAB, cuts=[100, 700]))
        line.put(f"monkey{monkey}/_logs/things_imgs.mat", MATLAB)
    assert line.fetch("tvsd", "--dry-run") == 0
    assert not (line.home / "data").exists()
    assert line.fetch("tvsd", "--monkeys", "F") == 0
    assert line.fetch("tvsd") == 0
    told = capsys.readouterr().out
    assert "Neuron 113" in told
    assert told.index("Cite") < told.index("free disk")
    root = line.home / "data/raw/tvsd"
    assert files_below(root) == [
        "checksums.json",
        *(f"monkey{monkey}/{name}" for monkey in "FN" for name in ("THINGS_normMUA.mat", "_logs/things_imgs.mat")),
    ]
    assert (root / "monkeyN/THINGS_normMUA.mat").read_bytes() == MATLAB


@pytest.mark.parametrize(
    ("sent", "kind", "fix"),
    [
        (POINTER, "a git-annex pointer", "by --mirror"),
        (PAGE, "a web page", "log-in page"),
        (plain_zip({"a": b"1"}), "a zip archive", "another address or mirror"),
    ],
)
def test_what_is_not_the_file_is_told_and_not_kept(
    line: Line, capsys: pytest.CaptureFixture[str], sent: bytes, kind: str, fix: str
) -> None:
    page = line.put("monkeyF/THINGS_normMUA.mat", sent)
    line.put("monkeyF/_logs/things_imgs.mat", MATLAB)
    root = line.home / "data/raw/tvsd"
    assert line.fetch("tvsd", "--monkeys", "F") != 0
    told = " ".join("".join(capsys.readouterr()).split())
    assert f"not the file, but {kind}" in told
    assert fix in told
    assert files_below(root) == ["checksums.json", "monkeyF/_logs/things_imgs.mat"]
    assert "normMUA" not in (root / "checksums.json").read_text()
    (root / "monkeyF/THINGS_normMUA.mat").write_bytes(sent)  # by other hands
    assert line.fetch("tvsd", "--monkeys", "F") != 0
    (root / "monkeyF/THINGS_normMUA.mat").unlink()
    page.content = MATLAB
    assert line.fetch("tvsd", "--monkeys", "F") == 0


def test_pictures_need_an_agreement(line: Line, capsys: pytest.CaptureFixture[str]) -> None:
    page = line.put("images_THINGS.zip", b"")
    assert line.fetch("things") != 0
    told = "".join(capsys.readouterr())
    assert told.index("Research only") < told.index("no --agreed")
    assert page.methods == []


@pytest.mark.parametrize("make", [encrypted_zip, tar])
def test_pictures_and_categories(
    line: Line, capsys: pytest.CaptureFixture[str], make: Callable[[dict[str, bytes]], bytes]
) -> None:
    extra = {"object_images/dog/.DS_Store": b"x", "__MACOSX/object_images/dog/._dog_01b.jpg": b"x", "note.txt": b"x"}
    page = line.put("images_THINGS.zip", Page(make(extra | PICTURES), cuts=[900]))
    line.put("category53_long-format.tsv", CATEGORIES)
    assert line.fetch("things", "--agreed") == 0
    assert "6 of 3 concepts (published: 26107 of 1854)" in capsys.readouterr().out
    root = line.home / "data/raw/things"
    found = {name: (root / name).read_bytes() for name in files_below(root) if name.endswith(".jpg")}
    assert found == PICTURES
    assert (root / "category53_long-format.tsv").read_bytes() == CATEGORIES
    assert not [name for name in files_below(root) if ".tmp" in name]
    (root / "images_THINGS.zip").unlink()  # no longer needed, and not asked for again
    methods = list(page.methods)
    assert line.fetch("things", "--agreed") == 0
    assert page.methods == methods


def test_no_pictures_in_the_archive(line: Line, capsys: pytest.CaptureFixture[str]) -> None:
    line.put("images_THINGS.zip", plain_zip({"cats/cat.jpg": b"x"}))
    line.put("category53_long-format.tsv", CATEGORIES)
    assert line.fetch("things", "--agreed") != 0
    assert "not THINGS' pictures" in "".join(capsys.readouterr())


class Stop(BaseException):
    """What a test raises in place of a kill."""


def test_pictures_go_on_where_they_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, whole, saved = tmp_path / "images_THINGS.zip", archives.save, []
    file.write_bytes(encrypted_zip(PICTURES))

    def save(*given: object) -> None:
        saved.append(given[2])
        if len(saved) == 4:
            raise Stop
        whole(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(archives, "save", save)
    with pytest.raises(Stop):
        unpack_things(file, tmp_path / "object_images")
    assert not (tmp_path / "object_images").exists()
    unpack_things(file, tmp_path / "object_images")
    assert len(saved) == len(PICTURES) + 1
    assert {f"object_images/{name}" for name in files_below(tmp_path / "object_images")} - PICTURES.keys() == {
        "object_images/report.parquet"
    }


def test_a_disk_too_small_is_told_before(
    line: Line, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).bytes(3000)  # shrinks as little as photographs
    raw = encrypted_zip({name: name.encode() + noise for name in PICTURES})
    page = line.put("images_THINGS.zip", raw)
    line.put("category53_long-format.tsv", CATEGORIES)
    usage, room = shutil.disk_usage(line.home), 2 * (len(raw) + len(CATEGORIES))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=room - 1))
    assert line.fetch("things", "--agreed") != 0
    assert "not enough room" in "".join(capsys.readouterr())
    assert "GET" not in page.methods
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=room))
    assert line.fetch("things", "--agreed") == 0
    assert "to unpack" in capsys.readouterr().out


# --- THINGS-fMRI ----------------------------------------------------------------------------------------------

N_VOXELS, N_TRIALS = 60, 23
# Rows of the table of voxels by its columns; 7 is in two regions, 20 in both hemispheres of one, V3 in none asked for.
PLANTED = {
    "V1": [3, 7, 8],
    "V2": [7, 9],
    "hV4": [30],
    "V3": [50],
    "VO1": [31],
    "VO2": [1],
    "LO1 (prf)": [40],
    "LO2 (prf)": [59],
    "TO1": [0],
    "TO2": [41],
    "lPPA": [20],
    "rPPA": [20, 21],
    "lFFA": [22],
    "glasser-V1": [2],
}
BY_REGION = {
    "V1": [3, 7, 8],
    "V2": [7, 9],
    "V4": [30],
    "VO": [1, 31],
    "PPA": [20, 21],
    "LO": [40, 59],
    "TO": [0, 41],
}
IDS = np.random.default_rng(0).permutation(500)[:N_VOXELS]


def responses(subject: int) -> np.ndarray:
    return np.random.default_rng(subject).normal(size=(N_VOXELS, N_TRIALS))


def subject_files(folder: Path, subject: int, *, spelled: str = "LO1 (prf)", **options: object) -> dict[str, bytes]:
    planted = {name if "(prf)" in spelled else name.removesuffix(" (prf)"): rows for name, rows in PLANTED.items()}
    write_responses(folder / "table.h5", IDS, responses(subject), **options)  # type: ignore[arg-type]
    return {
        f"betas_csv/sub-{subject:02d}_ResponseData.h5": (folder / "table.h5").read_bytes(),
        f"betas_csv/sub-{subject:02d}_StimulusMetadata.csv": b"trial_type,trial_id,stimulus\ntrain,0,dog_12s.jpg\n",
        f"betas_csv/sub-{subject:02d}_VoxelMetadata.csv": voxel_table(IDS, planted, spelled=spelled)
        .to_csv(index=False)
        .encode(),
    }


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("published")
    first = {"betas_csv/": b"", "__MACOSX/betas_csv/._sub-01_ResponseData.h5": b"x"}
    options = {2: {"spelled": "LO1", "chunks": (7, 5)}}
    return first | {k: v for s in (1, 2, 3) for k, v in subject_files(folder, s, **options.get(s, {})).items()}


def put(tmp_path: Path, files: dict[str, bytes]) -> Path:
    (tmp_path / "betas_csv.zip").write_bytes(tar({k: v for k, v in files.items() if not k.endswith("/")}))
    return tmp_path / "betas_csv.zip"


def assert_reduced(root: Path, subject: int, regions: dict[str, list[int]] = BY_REGION) -> None:
    rows = sorted({row for rows in regions.values() for row in rows})
    with h5py.File(root / f"sub-{subject:02d}/responses.h5") as tree:
        np.testing.assert_array_equal(tree["voxel_id"], IDS[rows])
        np.testing.assert_array_equal(tree["responses"], responses(subject)[rows].astype(np.float32))
        assert tree["responses"].dtype == np.float32
    assert files_below(root / f"sub-{subject:02d}") == ["StimulusMetadata.csv", "VoxelMetadata.csv", "responses.h5"]


@pytest.mark.parametrize("make", [plain_zip, tar], ids=["zip", "tar.gz"])
def test_subjects_are_reduced_to_their_regions(
    line: Line,
    capsys: pytest.CaptureFixture[str],
    published: dict[str, bytes],
    make: Callable[[dict[str, bytes]], bytes],
) -> None:
    published = {name: raw for name, raw in published.items() if name[-1] != "/" or make is plain_zip}
    page = line.put("betas_csv.zip", Page(make(published), cuts=[5000]))
    assert line.fetch("things-fmri", "--subjects", "2", "--dry-run") == 0
    assert not (line.home / "data").exists()
    assert line.fetch("things-fmri", "--subjects", "2") == 0
    root = line.home / "data/raw/things-fmri"
    assert "no longer needed" in capsys.readouterr().out
    assert_reduced(root, 2)
    assert not (root / "sub-01").exists()
    assert line.fetch("things-fmri") == 0
    for subject in (1, 2, 3):
        assert_reduced(root, subject)
    assert files_below(root)[:2] == ["betas_csv.zip", "checksums.json"]
    (root / "betas_csv.zip").unlink()
    methods = list(page.methods)
    assert line.fetch("things-fmri", "--rois", "V1", "LO") == 0
    assert page.methods == methods


@pytest.mark.parametrize(
    "page",
    [
        Page(said=lambda method, length: length - 10 * (method == "GET")),
        Page(said=lambda method, length: length + 10),
        Page(cuts=[2000] + [0] * 20),
    ],
    ids=["another length", "a length that never comes", "truncated for good"],
)
def test_an_archive_that_does_not_come_whole_is_not_reduced(
    line: Line, published: dict[str, bytes], page: Page
) -> None:
    page.content = tar({name: raw for name, raw in published.items() if name[-1] != "/"})
    line.put("betas_csv.zip", page)
    assert line.fetch("things-fmri") != 0
    root = line.home / "data/raw/things-fmri"
    assert not list(root.glob("sub-*"))
    assert not (root / "betas_csv.zip").exists()
    page.said, page.cuts = lambda method, length: length, []
    assert line.fetch("things-fmri") == 0
    assert_reduced(root, 3)


def test_other_regions_are_added(tmp_path: Path, published: dict[str, bytes]) -> None:
    archive = put(tmp_path, published)
    reduce_archive(archive, tmp_path, [1], ["V2"])
    assert_reduced(tmp_path, 1, {"V2": [7, 9]})
    reduce_archive(archive, tmp_path, [1], ["V3"])
    assert_reduced(tmp_path, 1, {"V2": [7, 9], "V3": [50]})


def test_one_table_lies_on_the_disk_at_a_time(
    tmp_path: Path, published: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, seen = things_fmri.reduce_responses, []

    def spied(*given: object) -> None:
        seen.append([file.name for file in tmp_path.rglob("*ResponseData.h5*")])
        whole(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(things_fmri, "reduce_responses", spied)
    reduce_archive(put(tmp_path, published), tmp_path, [3, 1], HIERARCHY)
    assert seen == [["ResponseData.h5"]] * 2
    assert not list(tmp_path.rglob("*ResponseData.h5*"))


def test_a_kill_while_reducing(line: Line, published: dict[str, bytes]) -> None:
    """Killed half way through the second subject: the first is not reduced again, and nothing is left behind."""
    root = line.home / "data/raw/things-fmri"
    root.mkdir(parents=True)
    put(root, published)
    code = (
        "import os, sys; from pathlib import Path; from nbtools.data.brains import things_fmri as t; whole = t._rows\n"
        "def rows(responses, chosen):\n"
        "    blocks = whole(responses, chosen)\n"
        "    yield next(blocks)\n"
        "    if Path(sys.argv[1], 'sub-01/responses.h5').exists(): os.kill(os.getpid(), 9)\n"
        "    yield from blocks\n"
        "t._rows = rows\n"
        "t.reduce_archive(Path(sys.argv[1], 'betas_csv.zip'), Path(sys.argv[1]), [1, 2], t.HIERARCHY)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(root)], check=False).returncode != 0
    assert_reduced(root, 1)
    assert [name for name in files_below(root) if ".tmp" in name], "the kill came too late"
    before = (root / "sub-01/responses.h5").stat().st_mtime_ns
    page = line.put("betas_csv.zip", (root / "betas_csv.zip").read_bytes())
    assert line.fetch("things-fmri", "--subjects", "1", "2") == 0
    assert "GET" not in page.methods
    assert (root / "sub-01/responses.h5").stat().st_mtime_ns == before
    assert_reduced(root, 2)
    assert [name for name in files_below(root) if ".tmp" in name] == []


def test_regions_overlap_and_are_spelled_in_two_ways(tmp_path: Path) -> None:
    for spelled in ("LO1 (prf)", "LO1"):
        files = subject_files(tmp_path, 1, spelled=spelled)
        (tmp_path / "v.csv").write_bytes(files["betas_csv/sub-01_VoxelMetadata.csv"])
        voxels = read_voxels(tmp_path / "v.csv")
        found = {roi: np.flatnonzero(region_voxels(voxels, roi, tmp_path / "v.csv")).tolist() for roi in BY_REGION}
        assert found == BY_REGION


def test_a_region_that_is_not_there(line: Line, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    page = line.put("betas_csv.zip", b"")
    assert line.fetch("things-fmri", "--rois", "V1", "PHC") != 0
    assert line.fetch("things-fmri", "--subjects", "4") != 0
    told = "".join(capsys.readouterr())
    assert "'PHC'" in told
    assert ", ".join(REGIONS) in told
    assert "no such subject" in told
    assert page.methods == []
    voxels = voxel_table(IDS, PLANTED).drop(columns="rPPA")
    with pytest.raises(InputError, match=r"does not mark(.|\n)*expected: V1, V2, V3, V4, VO, LO, TO, (?!PPA)"):
        region_voxels(voxels.rename(columns={"LO1 (prf)": "LO1", "LO2 (prf)": "LO2"}), "PPA", Path("v.csv"))
    with pytest.raises(InputError, match="does not mark this region"):
        region_voxels(voxels, "EBA", Path("v.csv"))
    with pytest.raises(InputError, match="cannot be told"):
        region_voxels(voxels.assign(V1=0.5), "V1", Path("v.csv"))


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"voxel_id,V1\n1,0\n1,1\n", b"voxel_id,V1\nx,0\n", b"V1\n0\n", b"\xff\xfe\x00"]
)
def test_a_table_of_voxels_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "v.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"table of voxels cannot be read\n +file: .*v\.csv"):
        read_voxels(tmp_path / "v.csv")


@pytest.mark.parametrize("missing", ["ResponseData.h5", "StimulusMetadata.csv", "VoxelMetadata.csv"])
def test_an_archive_without_a_subjects_file(tmp_path: Path, published: dict[str, bytes], missing: str) -> None:
    archive = put(tmp_path, {name: raw for name, raw in published.items() if not name.endswith(f"02_{missing}")})
    with pytest.raises(InputError, match=rf"lacks files(.|\n)*no sub-02_{missing}"):
        reduce_archive(archive, tmp_path, [1, 2], HIERARCHY)


@pytest.mark.slow
def test_from_the_server_to_studies(line: Line, tmp_path: Path) -> None:
    """What is fetched is what `prepare` takes: the whole way, with a monkey and a person simulated."""
    source, pool = tmp_path / "public", names_of(400)
    test = [name for name in pool if name.startswith(("dog_2", "axe"))][:12]
    train = [name for name in pool[:80] if name not in test][:60]
    write_monkey(source / "monkeyF", "F", train, test)
    write_person(source / "person", train, test, n_voxels=140)
    with h5py.File(source / "person/responses.h5") as tree:
        write_responses(source / "person/ResponseData.h5", tree["voxel_id"][:], tree["responses"][:].astype(float))
    tables = ("ResponseData.h5", "VoxelMetadata.csv", "StimulusMetadata.csv")
    line.put("betas_csv.zip", tar({f"b/sub-01_{name}": (source / "person" / name).read_bytes() for name in tables}))
    for name in ("THINGS_normMUA.mat", "_logs/things_imgs.mat"):
        line.put(f"monkeyF/{name}", (source / "monkeyF" / name).read_bytes())
    places = [f"object_images/{name.rpartition('_')[0]}/{name}" for name in pool]
    line.put("images_THINGS.zip", encrypted_zip({place: picture(place) for place in places}))
    line.put("category53_long-format.tsv", write_categories(source / "c.tsv", SORTED).read_bytes())
    for words in ("things --agreed", "tvsd --monkeys F", "things-fmri --subjects 1"):
        assert line.fetch(*words.split()) == 0
    assert main(["prepare", "tvsd", "--monkeys", "F", "--size", "16"]) == 0
    assert main(["prepare", "things-fmri", "--subjects", "1", "--size", "16"]) == 0
    for name, rois in (("tvsd-F-16px", ("V1", "V4", "IT")), ("things-subj01-16px", HIERARCHY)):
        study = open_study(name)
        assert study.hierarchy == rois
        assert study.simulated, "the published files say so"
        assert load_stimuli(study.need("stimuli"), np.arange(72), 16).pixels.shape == (72, 3, 16, 16)
        assert {len(load_responses(study, roi).image_ids) for roi in rois} == {72}


# --- rows out of a table --------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(
    st.sets(st.integers(0, N_VOXELS - 1), min_size=1),
    st.sampled_from([None, (1, 23), (7, 5), (60, 3)]),
    st.sampled_from([1, 400, 2**26]),
)
def test_rows_are_those_of_the_table(rows: set[int], chunks: tuple[int, int] | None, span: int) -> None:
    wanted, table = np.array(sorted(rows)), responses(1)
    with h5py.File(io.BytesIO(), "w") as tree, pytest.MonkeyPatch.context() as patch:
        patch.setattr(things_fmri, "_SPAN", span)
        dataset = tree.create_dataset("x", data=table, chunks=chunks)
        blocks = list(things_fmri._rows(dataset, wanted))
    np.testing.assert_array_equal(np.concatenate(blocks), table[wanted].astype(np.float32))
    assert max(map(len, blocks)) <= max(span // (23 * 8), chunks[0] if chunks else 1)


def test_names_that_are_a_pickle_stay_unread(tmp_path: Path) -> None:
    write_responses(tmp_path / "t.h5", IDS, responses(1))
    pickled_names(tmp_path / "t.h5")
    reduce_responses(tmp_path / "t.h5", IDS[[4]], tmp_path / "r.h5")
    with h5py.File(tmp_path / "r.h5") as tree:
        np.testing.assert_array_equal(tree["responses"], responses(1)[[4]].astype(np.float32))


def spoiled(file: Path, case: str) -> None:
    names = np.arange(N_TRIALS).astype("S")
    values = responses(1).astype(int) if case == "integers" else responses(1)
    ids = np.where(IDS[4] == IDS, IDS[5], IDS) if case == "a voxel twice" else IDS
    write_responses(file, ids, values, names=names[::-1] if case == "another order" else names)
    with h5py.File(file, "r+") as tree:
        if case == "no ids":
            del tree["ResponseData/block1_values"]
        elif case == "fewer ids":
            del tree["ResponseData/block1_values"]
            tree["ResponseData/block1_values"] = IDS[:-1, None]
        elif case == "another group":
            tree.move("ResponseData", "data")
    if case == "cut":
        os.truncate(file, file.stat().st_size - 100)
    elif case == "no HDF5":
        file.write_bytes(PAGE)


CASES = ("no ids", "fewer ids", "integers", "a voxel twice", "another order", "another group", "cut", "no HDF5")


@pytest.mark.parametrize("case", CASES)
def test_a_table_of_another_form_is_refused(tmp_path: Path, case: str) -> None:
    spoiled(tmp_path / "t.h5", case)
    with pytest.raises(InputError, match=r"the table of responses (.|\n)*file: .*t\.h5"):
        reduce_responses(tmp_path / "t.h5", IDS[[4]], tmp_path / "r.h5")
    assert [file.name for file in tmp_path.iterdir()] == ["t.h5"]


def test_a_voxel_that_is_not_in_the_table(tmp_path: Path) -> None:
    write_responses(tmp_path / "t.h5", IDS, responses(1))
    with pytest.raises(InputError, match=r"other voxels than(.|\n)*without 500, 501"):
        reduce_responses(tmp_path / "t.h5", np.array([IDS[0], 500, 501]), tmp_path / "r.h5")
