"""Bad data at the doors a user opens: every case ends in words, none in a number, a bare traceback or a lost file.

More cases, door by door, are in test_nsd, test_measured, test_images, test_image_sets, test_packed, test_download,
test_haxby, test_doctor and test_mutations.
"""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image
from test_nsd import (
    SHAPE,
    SUBJECT,
    N,
    betas_file,
    make_betas,
    mat_file,
    roi_file,
    study_of,
    write_design,
    write_nifti,
    write_rois,
)

from nbtools.cli import main
from nbtools.data.brains.measured import load_trials
from nbtools.data.brains.nsd import roi_masks
from nbtools.data.brains.prepare_nsd import prepare_nsd
from nbtools.data.images.cifar100 import unpack_cifar100
from nbtools.data.images.labels import label_stimuli
from nbtools.data.images.sets import ImageSet, load_folder
from nbtools.data.study import Study, VoxelChoices
from nbtools.errors import InputError

ROIS = ["V1", "TO"]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """A small NSD tree of two sessions in a folder with a space and letters beyond ASCII."""
    root = tmp_path / "läb dàta/nsd"
    root.mkdir(parents=True)
    write_rois(root)
    write_design(root)
    for session in (1, 2):
        write_nifti(betas_file(root, session), make_betas(session))
    return replace(study_of(root), responses=tmp_path / "responses")


def test_a_path_with_spaces_and_umlauts_is_no_fault(study: Study) -> None:
    trials = load_trials(study, ROIS, progress=False)
    assert trials["V1"].responses.shape[0] == 2 * N


def change(file: Path, how: Callable[[bytes], bytes]) -> None:
    file.write_bytes(how(file.read_bytes()))


def cut(share: float) -> Callable[[Path], None]:
    return lambda root: change(betas_file(root, 2), lambda raw: raw[: int(len(raw) * share)])


def inflated(how: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Change what a gzip file holds; the gzip itself is sound."""
    return lambda root: change(betas_file(root, 2), lambda raw: gzip.compress(how(gzip.decompress(raw)), 1))


def flip(at: int) -> Callable[[Path], None]:
    return lambda root: change(betas_file(root, 2), lambda raw: raw[:at] + bytes([raw[at] ^ 0xFF]) + raw[at:][1:])


def header(**fields: object) -> Callable[[Path], None]:
    return lambda root: write_nifti(betas_file(root, 2), make_betas(2), **fields)  # type: ignore[arg-type]


def swap(first: Callable[[Path], Path], second: Callable[[Path], Path]) -> Callable[[Path], None]:
    def exchange(root: Path) -> None:
        one, other = first(root).read_bytes(), second(root).read_bytes()
        first(root).write_bytes(other)
        second(root).write_bytes(one)

    return exchange


def design(how: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]) -> Callable[[Path], None]:
    def rewrite(root: Path) -> None:
        entries = {k: v for k, v in scipy.io.loadmat(mat_file(root)).items() if not k.startswith("_")}
        scipy.io.savemat(mat_file(root), {**entries, **how(entries)})

    return rewrite


def in_place_of_a_file(path: Callable[[Path], Path]) -> Callable[[Path], None]:
    return lambda root: (path(root).unlink(), path(root).mkdir(), None)[2]


def link_to_nothing(path: Callable[[Path], Path]) -> Callable[[Path], None]:
    return lambda root: (path(root).unlink(), path(root).symlink_to("nowhere"), None)[2]


def link_in_a_circle(path: Callable[[Path], Path]) -> Callable[[Path], None]:
    def circle(root: Path) -> None:
        path(root).unlink()
        path(root).symlink_to(path(root).name + ".2")
        path(root).with_name(path(root).name + ".2").symlink_to(path(root).name)

    return circle


def second(root: Path) -> Path:
    return betas_file(root, 2)


def atlas(root: Path) -> Path:
    return roi_file(root, "Kastner2015")


def general(root: Path) -> Path:
    return roi_file(root, "nsdgeneral")


RNG = np.random.default_rng(5)
# what is broken: (how, words of the error)
NSD_CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "gzip cut after 0 %": (cut(0), "the betas"),
    "gzip cut after 0.01 %": (cut(0.0001), "the betas"),
    "gzip cut after 1 %": (cut(0.01), "the betas"),
    "gzip cut after 10 %": (cut(0.1), "the betas"),
    "gzip cut after 50 %": (cut(0.5), "the betas"),
    "gzip cut after 90 %": (cut(0.9), "the betas"),
    "gzip cut after 99.99 %": (cut(0.9999), "the betas"),
    "a bit of gzip's magic number": (flip(0), "cannot be inflated"),
    "a bit of gzip's header": (flip(2), "the betas"),
    "a bit of the checksum": (flip(-7), "cannot be inflated"),
    "a bit of the length": (flip(-2), "cannot be inflated"),
    "HTML for a volume": (lambda root: second(root).write_text("<html>403</html>"), "cannot be inflated"),
    "gzipped HTML": (lambda root: second(root).write_bytes(gzip.compress(b"<html>" * 99)), "NIfTI"),
    "a PNG for a volume": (lambda root: Image.new("L", (9, 9)).save(second(root), "png"), "cannot be inflated"),
    "zeros for a volume": (lambda root: second(root).write_bytes(bytes(10_000)), "cannot be inflated"),
    "the last volume missing": (inflated(lambda raw: raw[: -2 * int(np.prod(SHAPE))]), "749 whole volumes"),
    "one byte missing": (inflated(lambda raw: raw[:-1]), "749 whole volumes"),
    "one volume too many": (inflated(lambda raw: raw + bytes(2 * int(np.prod(SHAPE)))), "go on after"),
    "header only": (inflated(lambda raw: raw[:352]), "0 whole volumes"),
    "float64": (lambda root: write_nifti(second(root), make_betas(2).astype(float)), "float64"),
    "float32 with NaN": (
        lambda root: write_nifti(second(root), np.full((*SHAPE, N), np.nan, np.float32)),
        "float32",
    ),
    "int32": (lambda root: write_nifti(second(root), make_betas(2).astype(np.int32)), "int32"),
    "uint16": (lambda root: write_nifti(second(root), make_betas(2).astype(np.uint16)), "uint16"),
    "751 trials": (lambda root: write_nifti(second(root), RNG.integers(0, 9, (*SHAPE, 751), np.int16)), "shape"),
    "a slope of 1/300": (header(scl_slope=1 / 300), "rescales"),
    "an intercept": (header(scl_slope=1, scl_inter=1), "rescales"),
    "another subject's volume": (
        lambda root: write_nifti(second(root), RNG.integers(0, 9, (7, 7, 5, N), np.int16)),
        "another shape",
    ),
    "a volume with its axes reversed": (lambda root: write_nifti(second(root), make_betas(2).T), "axes are reversed"),
    "a session twice": (
        lambda root: shutil.copy(second(root), second(root).with_name("betas_session2.nii.gz")),
        "stands there twice",
    ),
    "session 1 missing": (lambda root: betas_file(root, 1).unlink(), "are missing"),
    "session 2 of 3 missing": (
        lambda root: second(root).rename(betas_file(root, 3)),
        "are missing",
    ),
    "a folder for a session": (in_place_of_a_file(second), "cannot be opened"),
    "a link to nothing for a session": (link_to_nothing(second), "cannot be opened"),
    "a link in a circle for a session": (link_in_a_circle(second), "the betas"),
    "a link in a circle for the atlas": (link_in_a_circle(atlas), "region volume cannot be read"),
    "a folder for the atlas": (in_place_of_a_file(atlas), "region volume cannot be read"),
    "masks swapped": (swap(atlas, general), "this is not nsdgeneral"),
    "atlas and volume swapped": (swap(atlas, second), "region volume"),
    "an atlas of floats between labels": (
        lambda root: nib.save(nib.Nifti1Image(np.full(SHAPE, 1.5), np.eye(4)), atlas(root)),
        "labels of regions are not whole numbers",
    ),
    "an atlas of NaN": (
        lambda root: nib.save(nib.Nifti1Image(np.full(SHAPE, np.nan), np.eye(4)), atlas(root)),
        "no voxel in V1, TO",
    ),
    "an nsdgeneral of NaN": (
        lambda root: nib.save(nib.Nifti1Image(np.full(SHAPE, np.nan), np.eye(4)), general(root)),
        "no voxel in V1, TO",
    ),
    "an empty atlas": (lambda root: nib.save(nib.Nifti1Image(np.zeros(SHAPE), np.eye(4)), atlas(root)), "no voxel"),
    "subjects' images shuffled": (
        design(lambda d: {"subjectim": RNG.permuted(d["subjectim"], axis=1)}),
        "contradicts itself",
    ),
    "shared images of another design": (
        design(lambda d: {"sharedix": d["sharedix"] % 70_000 + 7}),
        "contradicts itself",
    ),
    "an image shown four times": (
        design(lambda d: {"masterordering": np.concatenate([d["masterordering"], [[1]]], axis=1)}),
        "more than 3 times",
    ),
    "an image twice among a subject's": (
        design(lambda d: {"subjectim": np.concatenate([d["subjectim"], d["subjectim"][:, -1:]], axis=1)}),
        "twice in subjectim",
    ),
    "subjects in columns": (design(lambda d: {"subjectim": d["subjectim"].T}), "masterordering|contradicts"),
    "0-based indices": (design(lambda d: {"masterordering": d["masterordering"] - 1.0}), "1-based"),
    "text for indices": (design(lambda d: {"masterordering": np.array(["a", "b"])}), "masterordering|cannot be read"),
    "a design that ends after one session": (
        design(lambda d: {"masterordering": d["masterordering"][:, :N]}),
        "fewer trials",
    ),
    "all voxels constant": (lambda root: write_nifti(second(root), make_betas(2) * 0), "no voxel varies"),
}


def load(study: Study) -> object:
    return load_trials(study, ROIS, progress=False)


def prepare_and_load(study: Study) -> object:
    """Preparing looks at each session by itself; what only all of them together show comes out on loading."""
    prepare_nsd(study, ROIS, progress=False)
    return load(study)


@pytest.mark.parametrize("case", NSD_CASES)
def test_nsd(study: Study, case: str) -> None:
    damage, says = NSD_CASES[case]
    damage(study.need("nsd"))
    before = {file: file.stat().st_mtime_ns for file in study.need("nsd").rglob("*") if file.is_file()}
    for door in (load, prepare_and_load):
        with pytest.raises(InputError, match=rf"(?s){says}") as caught:
            door(study)
        for part in ("expected:", "got:", "to do:"):
            assert part in str(caught.value)
    after = {file: file.stat().st_mtime_ns for file in before}
    assert after == before, "no file of the user's is touched"


def test_voxels_that_do_not_vary_are_left_out_and_counted(study: Study) -> None:
    betas = make_betas(2)
    dead = np.argwhere(roi_masks(study.need("nsd"), SUBJECT, ["V1"])["V1"])[:3]
    betas[tuple(dead.T)] = 7
    write_nifti(second(study.need("nsd")), betas)
    with pytest.warns(UserWarning, match="V1: 3 of"):
        trials = load_trials(study, ROIS, progress=False)
    np.testing.assert_array_equal(trials["V1"].dropped, dead)
    assert np.isfinite(trials["V1"].responses).all()


def test_a_volume_that_lies_elsewhere_is_refused(study: Study) -> None:
    moved = np.array([1, 0, 0, 30.0]), np.array([0, 1, 0, 0.0]), np.array([0, 0, 1, 0.0])
    fields = {"sform_code": 1, "srow_x": moved[0], "srow_y": moved[1], "srow_z": moved[2]}
    header(**fields)(study.need("nsd"))
    with pytest.raises(InputError, match=r"betas_session02\.nii\.gz lies elsewhere than the masks"):
        load_trials(study, ROIS, progress=False)


@pytest.mark.parametrize("case", ["a file for the folder", "a full disk"])
def test_prepared_sessions_that_cannot_be_written(study: Study, case: str) -> None:
    """As on a read-only or a full disk: words, no half session, and afterwards the same command goes on."""
    if case == "a file for the folder":
        study.responses.write_text("")
        with pytest.raises(InputError, match=r"(?s)a file cannot be written.*rights"):
            prepare_nsd(study, ROIS, progress=False)
        study.responses.unlink()
    else:
        code = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        code += "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        told = in_another_process(code, study)
        assert "a file cannot be written" in told
        assert "make room" in told
        assert not [file for file in study.responses.rglob("*") if file.is_file()]
    prepare_nsd(study, ROIS, progress=False)
    assert len(list(study.responses.iterdir())) == 2


def in_another_process(before: str, study: Study) -> str:
    code = f"""{before}
from pathlib import Path
PosixPath = Path
from nbtools.data.brains.prepare_nsd import reduce_session
from nbtools.data.study import Study, VoxelChoices
from nbtools.errors import InputError
try:
    reduce_session({study!r}, 1, Path({str(betas_file(study.need("nsd"), 1))!r}), {ROIS!r})
except InputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_threshold_no_voxel_reaches(study: Study) -> None:
    with pytest.raises(InputError, match=r"no image has|no voxel reaches"):
        load_trials(replace(study, voxels=VoxelChoices(noise_ceiling=99)), ROIS, progress=False)


# --- images -------------------------------------------------------------------------------------------------


def picture(mode: str = "RGB", size: tuple[int, int] = (40, 50)) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(RNG.integers(0, 60_000, size).astype(np.uint16))
    return Image.fromarray(RNG.integers(0, 255, (*size, 3), np.uint8)).convert(mode)


def saved(image: Image.Image, kind: str) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


SOUND = {
    "grey-scale": saved(picture("L"), "jpeg"),
    "CMYK": saved(picture("CMYK"), "jpeg"),
    "with transparency": saved(picture("RGBA"), "png"),
    "a palette": saved(picture("P"), "png"),
    "a PNG named JPEG": saved(picture(), "png"),
    "one pixel": saved(picture(size=(1, 1)), "png"),
    "one row": saved(picture(size=(1, 90)), "png"),
}
UNSOUND = {
    "16-bit": saved(picture("I;16"), "png"),
    "floats": saved(Image.fromarray(np.zeros((9, 9), np.float32)), "tiff"),
    "zero bytes": b"",
    "HTML": b"<!doctype html><title>404</title>",
    "half a JPEG": saved(picture(), "jpeg")[:900],
    "half a PNG": saved(picture(), "png")[:900],
    "a damaged PNG": saved(picture(), "png").replace(b"IDAT", b"IDIT"),
    "text": b"a picture of a cat",
    "zeros": bytes(5000),
}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for name in ("cat", "dög and cat"):
        for i in range(3):
            file = tmp_path / "bilder süß" / name / f"{i}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            picture().save(file)
    return tmp_path / "bilder süß"


@pytest.mark.parametrize("case", SOUND)
def test_odd_but_sound_images_are_read(pictures: Path, case: str) -> None:
    (pictures / "cat/3.JPEG").write_bytes(SOUND[case])
    assert load_folder(pictures, 16).pixels.shape == (7, 3, 16, 16)


@pytest.mark.parametrize("case", UNSOUND)
def test_an_unsound_image_is_named(pictures: Path, case: str) -> None:
    (pictures / "cat/3.JPEG").write_bytes(UNSOUND[case])
    with pytest.raises(InputError, match=r"(?s)image cannot be read.*cat/3\.JPEG"):
        load_folder(pictures, 16)


@pytest.mark.parametrize("case", UNSOUND)
def test_preparing_leaves_an_unsound_image_out_and_says_so(
    pictures: Path, tmp_path: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "cat/3.JPEG").write_bytes(UNSOUND[case])
    target = tmp_path / "prepared"
    assert main(["prepare", "images", str(pictures), "--to", str(target), "--validation", "0.4"]) == 0
    told = capsys.readouterr().out
    assert "left out: 1" in told
    assert "3.JPEG: " in told
    assert (pictures / "cat/3.JPEG").read_bytes() == UNSOUND[case], "the source is left alone"
    assert len(load_folder(target / "train", 16)) + len(load_folder(target / "val", 16)) == 6


def circle(pictures: Path) -> None:
    (pictures / "cat/again").symlink_to(pictures)


def only_bad(pictures: Path) -> None:
    for file in (pictures / "cat").iterdir():
        file.write_bytes(b"")


BAD_FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "not there": (shutil.rmtree, "expected"),
    "a file": (lambda f: (shutil.rmtree(f), f.write_text("")), "expected"),
    "empty": (lambda f: (shutil.rmtree(f), f.mkdir()), "expected"),
    "one class": (lambda f: shutil.rmtree(f / "cat"), "classes"),
    "a class without an image": (lambda f: [file.unlink() for file in (f / "cat").iterdir()], "class"),
    "a class of damaged images": (only_bad, "classes without an image"),
    "one image in a class": (lambda f: [(f / f"cat/{i}.jpg").unlink() for i in (0, 1)], "class"),
}


@pytest.mark.parametrize("case", BAD_FOLDERS)
def test_folders_that_cannot_be_prepared(
    pictures: Path, tmp_path: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damage, says = BAD_FOLDERS[case]
    damage(pictures)
    assert main(["prepare", "images", str(pictures), "--to", str(tmp_path / "prepared")]) == 1
    assert says in capsys.readouterr().err
    assert not (tmp_path / "prepared").exists()


@pytest.mark.parametrize("name", ["../../outside.JPEG", "/outside.JPEG", "train/../../outside.JPEG"])
def test_an_archive_does_not_write_outside(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    archive = tmp_path / "cifar-100-binary.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        member = tarfile.TarInfo(name)
        member.size = 3
        tar.addfile(member, io.BytesIO(b"bad"))
    with pytest.raises(InputError, match="archive"):
        unpack_cifar100(archive, tmp_path / "in/cifar100")
    assert not list(tmp_path.rglob("outside*"))
    assert not Path("/outside.JPEG").exists()


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"<html>", saved(picture(), "png")], ids=["empty", "cut", "HTML", "a PNG"]
)
def test_labels_that_are_no_table(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "labels.parquet").write_bytes(content)
    images = ImageSet(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), torch.tensor([-1]), np.array([0]), ())
    with pytest.raises(InputError, match=r"table cannot be read[\s\S]*labels\.parquet[\s\S]*image_id, label"):
        label_stimuli(images, tmp_path / "labels.parquet", ("cat",))
