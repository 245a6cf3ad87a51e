"""Images: right pixels under right ids, packed or not; views against torchvision; bad files named."""

from __future__ import annotations

import errno
import io
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from PIL import Image
from torch.nn import functional as F
from torchvision.datasets.folder import IMG_EXTENSIONS, ImageFolder, pil_loader
from torchvision.transforms import v2

from nbtools.data.images import own, sets as image_module, views as views_module
from nbtools.data.images.corruptions import load_corruption
from nbtools.data.images.folders import EXTENSIONS
from nbtools.data.images.prepare import prepare_folder
from nbtools.data.images.sets import ImageSet, load_folder, load_stimuli, to_float
from nbtools.data.images.views import augment, draw_boxes
from nbtools.data.study import STIMULI, open_study
from nbtools.errors import InputError
from nbtools.workflow.sizes import count_images

SIZE = 32


def some_images(n: int = 6, side: int = SIZE, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def smooth_images(n: int, side: int) -> torch.Tensor:
    """Images without detail finer than a pixel, so that ways of sampling them agree."""
    coarse = torch.rand((n, 3, 5, 5), generator=torch.Generator().manual_seed(0))
    return (F.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1) * 255).to(torch.uint8)


def numbered(ids: np.ndarray) -> ImageSet:
    """One image per id; its pixels tell the id."""
    pixels = torch.as_tensor(ids % 256, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 2, 2)
    return ImageSet(pixels, torch.full((len(ids),), -1), ids, ())


# --- the set ------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 72_999), min_size=1, max_size=40, unique=True), st.data())
def test_rows_join_by_id(ids: list[int], data: st.DataObject) -> None:
    images = numbered(np.array(ids))
    wanted = np.array(data.draw(st.lists(st.sampled_from(ids), max_size=60)), dtype=np.int64)
    rows = images.rows(wanted)
    np.testing.assert_array_equal(images.ids[rows], wanted)
    np.testing.assert_array_equal(images.pixels[rows][:, 0, 0, 0], wanted % 256)


@pytest.mark.parametrize("missing", [4, 0, 99])  # between, before and after the ids there are
def test_a_missing_id_is_named(missing: int) -> None:
    with pytest.raises(InputError, match=rf"1 image ids .*\n.*\n.*{missing}"):
        numbered(np.array([5, 3, 8])).rows(np.array([3, missing, 5]))


def test_ids_of_another_kind_are_missing() -> None:
    with pytest.raises(InputError, match="not in this set"):
        numbered(np.array([5, 3, 8])).rows(np.array(["ring/ring-0000.png"]))


@pytest.mark.parametrize("rows", [[3, 0], np.array([2, 1, 4]), slice(1, 4), np.array([True, False, True, False, True])])
def test_a_choice_keeps_order_and_belongings(rows: object) -> None:
    images = ImageSet(some_images(5), torch.arange(5), np.array(list("edcba")), tuple("vwxyz"))
    chosen, index = images[rows], np.arange(5)[rows]  # type: ignore[index]
    assert list(chosen.ids) == [images.ids[i] for i in index]
    assert chosen.labels.tolist() == index.tolist()
    assert torch.equal(chosen.pixels, images.pixels[index])


BAD_SETS: dict[str, tuple[dict[str, object], str]] = {
    "floats": ({"pixels": some_images(3).float()}, "belong together"),
    "channels last": ({"pixels": some_images(3).permute(0, 2, 3, 1)}, "belong together"),
    "one image too few": ({"pixels": some_images(2)}, "belong together"),
    "one label too many": ({"labels": torch.zeros(4, dtype=torch.int64)}, "belong together"),
    "labels as floats": ({"labels": torch.zeros(3)}, "belong together"),
    "an id twice": ({"ids": np.array([1, 2, 1])}, "ids repeat"),
    "a label beyond the classes": ({"labels": torch.tensor([0, 1, 2])}, "labels and classes"),
    "a label of -2": ({"labels": torch.tensor([0, 1, -2])}, "labels and classes"),
}


@pytest.mark.parametrize("case", BAD_SETS)
def test_a_set_that_does_not_fit_together(case: str) -> None:
    sound = {
        "pixels": some_images(3),
        "labels": torch.tensor([0, 1, -1]),
        "ids": np.array([7, 3, 5]),
        "classes": ("a", "b"),
    }
    ImageSet(**sound)  # type: ignore[arg-type]
    changed, message = BAD_SETS[case]
    with pytest.raises(InputError, match=message):
        ImageSet(**{**sound, **changed})  # type: ignore[arg-type]


def test_no_image() -> None:
    with pytest.raises(InputError, match="belong together"):
        numbered(np.array([3, 4]))[[]]


def test_bytes_become_fractions() -> None:
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_float(every), torch.arange(256) / 255)
    assert torch.equal((to_float(every) * 255).round().to(torch.uint8), every)


# --- scanner images -----------------------------------------------------------------------------------------


def test_stimuli_are_those_h5py_reads(tiny_study: Path) -> None:
    study = open_study(str(tiny_study))
    ids = np.random.default_rng(0).permutation(700)[:40]
    images = load_stimuli(study.stimuli, ids, study.image_size)
    with h5py.File(study.stimuli) as store:
        expected = np.stack([store["imgBrick"][row] for row in ids])
    np.testing.assert_array_equal(images.pixels.permute(0, 2, 3, 1), expected)
    np.testing.assert_array_equal(images.ids, ids)
    assert images.labels.unique().tolist() == [-1]
    resized = load_stimuli(study.stimuli, ids, 20)
    assert torch.equal(resized.pixels, v2.Resize([20, 20], antialias=True)(images.pixels))


def test_many_stimuli_are_packed_once(tiny_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, ids = open_study(str(tiny_study)), np.array([5, 3, 11])
    plain = load_stimuli(study.stimuli, ids, 20)
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))
    monkeypatch.setattr(image_module, "LARGE", 0)
    for _ in range(2):
        assert torch.equal(load_stimuli(study.stimuli, ids, 20).pixels, plain.pixels)
    assert len(list((tmp_path / "data/derived/packed").glob("*.uint8"))) == 1


def write_brick(root: Path, array: np.ndarray, name: str = "imgBrick") -> Path:
    (root / STIMULI).parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(root / STIMULI, "w") as store:
        store[name] = array
    return root


BRICK = np.zeros((9, 8, 8, 3), np.uint8)
BAD_BRICKS: dict[str, tuple[Callable[[Path], object], list[int], str]] = {
    "no file": (lambda root: None, [0], "cannot be read"),
    "not HDF5": (lambda root: (write_brick(root, BRICK) / STIMULI).write_text("<html>"), [0], "cannot be read"),
    "truncated": (
        lambda root: os.truncate(write_brick(root, BRICK) / STIMULI, 1000),
        [0],
        "cannot be read",
    ),
    "no imgBrick": (lambda root: write_brick(root, BRICK, "images"), [0], "another form"),
    "floats": (lambda root: write_brick(root, BRICK / 2), [0], "another form"),
    "channels first": (lambda root: write_brick(root, BRICK.transpose(0, 3, 1, 2)), [0], "another form"),
    "an id too high": (lambda root: write_brick(root, BRICK), [0, 9], "out of range"),
    "an id below 0": (lambda root: write_brick(root, BRICK), [-1, 3], "out of range"),
    "no id": (lambda root: write_brick(root, BRICK), [], "out of range"),
    "an id twice": (lambda root: write_brick(root, BRICK), [3, 3], "ids repeat"),
}


@pytest.mark.parametrize("case", BAD_BRICKS)
def test_bad_stimuli(tmp_path: Path, case: str) -> None:
    spoil, ids, message = BAD_BRICKS[case]
    spoil(tmp_path)
    with pytest.raises(InputError, match=message):
        load_stimuli(tmp_path / STIMULI, np.array(ids, dtype=np.int64), 8)


# --- folders ------------------------------------------------------------------------------------------------


def write_folder(root: Path, side: int = SIZE, per_class: int = 3) -> Path:
    """Classes and files made out of order, with what is no image among them."""
    for row, name in enumerate(("ring", "bar", "disk")):
        (root / name).mkdir(parents=True)
        for number in reversed(range(per_class)):
            pixels = some_images(1, side, 10 * row + number)[0].permute(1, 2, 0).numpy()
            Image.fromarray(pixels).save(root / name / f"{number}.png")
        (root / name / "notes.txt").write_text("no image")
    return root


def test_folder_is_sorted_and_labelled(tmp_path: Path) -> None:
    images = load_folder(write_folder(tmp_path), SIZE)
    assert images.classes == ("bar", "disk", "ring")
    assert list(images.ids) == [f"{name}/{number}.png" for name in images.classes for number in range(3)]
    assert [images.classes[label] for label in images.labels] == [name.split("/")[0] for name in images.ids]
    for row, name in enumerate(images.ids):
        np.testing.assert_array_equal(images.pixels[row].permute(1, 2, 0), np.asarray(Image.open(tmp_path / name)))


@pytest.mark.parametrize(("width", "height"), [(50, 40), (40, 70), (16, 20), (33, 32)])
def test_other_sizes_are_resized_and_cropped_as_imagenet_validation(tmp_path: Path, width: int, height: int) -> None:
    (tmp_path / "a").mkdir()
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
    picture.save(tmp_path / "a/0.png")
    for size, shorter in ((28, 32), (224, 256)):  # 8/7: for 224 px the paper's Resize(256), CenterCrop(224)
        protocol = v2.Compose([v2.PILToTensor(), v2.Resize(shorter, antialias=True), v2.CenterCrop(size)])
        assert torch.equal(load_folder(tmp_path, size).pixels[0], protocol(picture))


def test_modes_with_eight_bits_are_converted(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    rgb = Image.fromarray(some_images(1)[0].permute(1, 2, 0).numpy())
    saved = {mode: rgb.convert(mode) for mode in ("L", "1", "P", "RGBA", "CMYK")}
    for mode, picture in saved.items():
        picture.save(tmp_path / "a" / f"{mode}.{'tiff' if mode == 'CMYK' else 'png'}")
    images = load_folder(tmp_path, SIZE)
    assert len(images) == 5
    for pixels, name in zip(images.pixels, images.ids, strict=True):
        expected = np.asarray(saved[Path(name).stem].convert("RGB"))
        np.testing.assert_array_equal(pixels.permute(1, 2, 0), expected, err_msg=name)


def sixteen_bits(file: Path) -> None:
    Image.fromarray(np.arange(SIZE**2, dtype=np.uint16).reshape(SIZE, SIZE) * 60).save(file)


def floats(file: Path) -> None:
    Image.fromarray(np.ones((SIZE, SIZE), np.float32)).save(file.with_suffix(".tiff"))
    file.unlink()


BAD_FILES: dict[str, Callable[[Path], object]] = {
    "empty": lambda file: file.write_bytes(b""),
    "HTML": lambda file: file.write_text("<!doctype html><title>404</title>"),
    "truncated": lambda file: os.truncate(file, 900),
    "a bit wrong": lambda file: file.write_bytes(file.read_bytes()[:500] + b"\0\0\0\0" + file.read_bytes()[504:]),
    "16 bits": sixteen_bits,
    "floats": floats,
}


@pytest.mark.parametrize("memory_limit", [10**9, 0])
@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, memory_limit: int) -> None:
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path / "home"))
    BAD_FILES[case](write_folder(tmp_path / "images") / "disk/1.png")
    with pytest.raises(InputError, match=r"cannot be read\n +file: +.*disk/1\.(png|tiff)\n"):
        load_folder(tmp_path / "images", SIZE, memory_limit=memory_limit)
    left = [path.name for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert all(name.startswith(".tmp-") for name in left), "nobody takes what is packed so far for a pack"


def test_a_jpeg_that_is_html(tmp_path: Path) -> None:
    (write_folder(tmp_path) / "bar/new.JPEG").write_text("<html>not found</html>")
    with pytest.raises(InputError, match=r"bar/new\.JPEG"):
        load_folder(tmp_path, SIZE)


@pytest.mark.filterwarnings("ignore")  # Pillow's, about the damage
@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(["PNG", "JPEG", "TIFF"]), data=st.data())
def test_damage_is_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject
) -> None:
    """Whatever bytes a file holds, loading it gives an image or an `InputError`, never another exception."""
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "a").mkdir()
    file = folder / "a" / f"0.{kind.lower()}"
    Image.fromarray(some_images(1, 12)[0].permute(1, 2, 0).numpy()).save(file, kind)
    raw = bytearray(file.read_bytes())
    for position in data.draw(st.lists(st.integers(0, len(raw) - 1), min_size=1, max_size=4)):
        raw[position] = data.draw(st.integers(0, 255))
    file.write_bytes(bytes(raw[: data.draw(st.integers(1, len(raw)))]))
    with suppress(InputError):
        assert load_folder(folder, 12).pixels.shape == (1, 3, 12, 12)


def in_format(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def upside_down() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 3
    return exif


def with_hidden_colour(mode: str) -> Image.Image:
    """An image of which one half is transparent, with a colour below."""
    layered = COLOURS.convert(mode)
    layered.putalpha(Image.fromarray(np.repeat(np.uint8([[0], [255]]), SIZE // 2, 0).repeat(SIZE, 1)))
    return layered


COLOURS = Image.fromarray(some_images(1)[0].permute(1, 2, 0).numpy())
PICTURES = {
    "turned by its EXIF": in_format(COLOURS, "JPEG", exif=upside_down()),
    "transparent": in_format(with_hidden_colour("RGB"), "PNG"),
    "transparent grey": in_format(with_hidden_colour("L"), "PNG"),
    "transparent palette": in_format(COLOURS.quantize(16), "PNG", transparency=3),
    "transparent WebP": in_format(with_hidden_colour("RGB"), "WEBP", lossless=True, exact=True),
    "palette": in_format(COLOURS.quantize(16), "BMP"),
    "grey": in_format(COLOURS.convert("L"), "JPEG"),
    "black and white": in_format(COLOURS.convert("1"), "PNG"),
    "CMYK": in_format(COLOURS.convert("CMYK"), "JPEG"),
    "CMYK TIFF": in_format(COLOURS.convert("CMYK"), "TIFF"),
    "animated": in_format(COLOURS, "GIF", save_all=True, append_images=[Image.new("RGB", (SIZE, SIZE))]),
}


@pytest.mark.parametrize("case", PICTURES)
def test_every_door_gives_the_pixels_of_imagefolder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path / "home"))
    root = tmp_path / "in"
    for place in ("val/a", "val/b", "train/a", "train/b", "C/fog/3/a"):
        (root / place).mkdir(parents=True)
        (root / place / "0.png").write_bytes(PICTURES[case] + place.encode())  # no two files are the same
    prepare_folder(root, tmp_path / "out")
    seen = {
        "folder": load_folder(root / "val", SIZE).pixels[0],
        "packed": load_folder(root / "val", SIZE, memory_limit=0).pixels[0],
        "prepared": load_folder(tmp_path / "out/val", SIZE).pixels[0],
        "corruption": load_corruption(root / "C", "fog", 3, SIZE, ["a"]).pixels[0],
        "own": own.read_image(PICTURES[case], "0.png", SIZE),
    }
    expected = np.asarray(pil_loader(root / "val/a/0.png"))
    for door, pixels in seen.items():
        np.testing.assert_array_equal(pixels.permute(1, 2, 0), expected, err_msg=door)


def png_of(color: int, channels: int) -> bytes:
    """A PNG of one pixel, 16 bits per channel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 1, 1, 16, color, 0, 0, 0)
    rows = zlib.compress(b"\0" + b"\1\2" * channels)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def tiff_of(order: str, name: bytes) -> bytes:
    """A TIFF of one RGB pixel, 16 bits per channel."""
    bits, pixels = 8 + 2 + 9 * 12 + 4, 8 + 2 + 9 * 12 + 4 + 6
    tags = {256: 1, 257: 1, 258: bits, 259: 1, 262: 2, 273: pixels, 277: 3, 278: 1, 279: 6}
    rows = [struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags.items()]
    rows[2] = struct.pack(f"{order}HHII", 258, 3, 3, bits)  # three shorts
    start = name + struct.pack(f"{order}HIH", 42, 8, len(tags))
    return start + b"".join(rows) + struct.pack(f"{order}IHHHHHH", 0, 16, 16, 16, 1, 2, 3)


DEEP = {
    "PNG grey": png_of(0, 1),
    "PNG colour": png_of(2, 3),
    "PNG grey, transparent": png_of(4, 2),
    "PNG colour, transparent": png_of(6, 4),
    "PPM": b"P6 1 1 65535\n" + b"\1\2" * 3,
    "PPM in words": b"P3 1 1 4095\n1 2 3 ",
    "PGM": b"P5 1 1 1023\n\1\2",
    "TIFF": tiff_of("<", b"II"),
    "TIFF, big-endian": tiff_of(">", b"MM"),
    "TIFF of floats": in_format(Image.new("F", (4, 4)), "TIFF"),
}


@pytest.mark.parametrize("case", DEEP)
def test_more_than_eight_bits_are_refused_at_every_door(tmp_path: Path, case: str) -> None:
    write_folder(tmp_path)
    (tmp_path / "bar/0.png").write_bytes(DEEP[case])
    for read in (lambda: load_folder(tmp_path, SIZE), lambda: own.read_image(DEEP[case], "bar/0.png", SIZE)):
        with pytest.raises(InputError, match=r"bar/0\.png[\s\S]*more than 8 bits per channel"):
            read()


def test_five_six_and_five_bits_are_no_sixteen() -> None:
    masks = struct.pack("<III", 0xF800, 0x07E0, 0x001F)
    head = struct.pack("<IiiHHIIiiII", 40, 1, 1, 1, 16, 3, 4, 0, 0, 0, 0)
    raw = b"BM" + struct.pack("<IHHI", 70, 0, 0, 66) + head + masks + b"\x1f\xf8\0\0"
    assert own.read_image(raw, "magenta.bmp", 1).flatten().tolist() == [255, 0, 255]


SYSTEMS = {
    "Jupyter": "ring/.ipynb_checkpoints/0-checkpoint.png",
    "Jupyter, beside the classes": ".ipynb_checkpoints/0.png",
    "Synology": "ring/@eaDir/0.png/SYNOPHOTO_THUMB_M.png",
    "Synology, beside the classes": "@eaDir/0.png",
    "macOS, zipped": "__MACOSX/ring/._0.png",
    "macOS": "ring/._0.png",
    "Windows": "$RECYCLE.BIN/0.png",
    "a hidden folder": "ring/.trash/more/0.png",
}


@pytest.mark.parametrize("case", SYSTEMS)
def test_what_systems_leave_behind_is_no_image(tmp_path: Path, case: str) -> None:
    clean = load_folder(write_folder(tmp_path / "in"), SIZE)
    left = tmp_path / "in" / SYSTEMS[case]
    left.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(tmp_path / "in/ring/0.png", left)
    (tmp_path / "in/Thumbs.db").touch()
    (tmp_path / "in/ring/.DS_Store").touch()
    found = load_folder(tmp_path / "in", SIZE)
    assert found.classes == clean.classes
    assert list(found.ids) == list(clean.ids)
    assert count_images(tmp_path / "in") == 9
    report = prepare_folder(tmp_path / "in", tmp_path / "out", validation=0.4)
    assert report["images"].tolist() == [2, 2, 2, 1, 1, 1]
    assert report["left_out"].str.len().sum() == 0


def test_images_in_sub_folders_are_listed_and_counted_alike(tmp_path: Path) -> None:
    root, elsewhere = write_folder(tmp_path / "in"), write_folder(tmp_path / "elsewhere")
    (root / "ring/more").mkdir()
    (root / "ring/1.png").rename(root / "ring/more/1.png")
    (root / "ring/linked").symlink_to(elsewhere / "ring")
    found = load_folder(root, SIZE)
    names = ["0.png", "2.png", "linked/0.png", "linked/1.png", "linked/2.png", "more/1.png"]
    assert list(found.ids[-6:]) == [f"ring/{name}" for name in names]
    assert count_images(root) == 12
    assert list(found.ids) == [Path(name).relative_to(root).as_posix() for name, _ in ImageFolder(root).samples]


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_folder(tmp_path)
    (root / "ring/more").mkdir()
    scan = os.scandir

    def denied(place: str) -> object:
        if str(place).endswith("more"):
            raise PermissionError(errno.EACCES, "Permission denied", str(place))
        return scan(place)

    monkeypatch.setattr(os, "scandir", denied)
    for read in (lambda: load_folder(root, SIZE), lambda: prepare_folder(root, tmp_path.with_name("out"))):
        with pytest.raises(InputError, match=r"cannot be listed\n.*ring/more\n[\s\S]*Permission denied"):
            read()


def test_the_kinds_of_image_files_are_torchvisions() -> None:
    assert EXTENSIONS == IMG_EXTENSIONS


@pytest.mark.parametrize("size", [0, -32, 2.5, "x", 10**6])
def test_a_size_that_cannot_be(tmp_path: Path, tiny_study: Path, size: Any) -> None:
    picture, folder = in_format(COLOURS, "PNG"), write_folder(tmp_path)
    stimuli = open_study(str(tiny_study)).stimuli
    doors = (
        lambda: load_folder(folder, size),
        lambda: load_stimuli(stimuli, np.arange(3), size),
        lambda: load_corruption(folder, "fog", 3, size, ["bar"]),
        lambda: own.read_image(picture, "0.png", size),
    )
    for read in doors:
        with pytest.raises(InputError, match=rf"side of images cannot be[\s\S]*from 1 to 4096[\s\S]*{size}"):
            read()


def test_an_empty_class_folder_is_named(tmp_path: Path) -> None:
    (write_folder(tmp_path) / "empty").mkdir()
    with pytest.raises(InputError, match="empty"):
        load_folder(tmp_path, SIZE)


def test_no_class_folder(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match="ImageFolder layout"):
            load_folder(folder, SIZE)


# --- views --------------------------------------------------------------------------------------------------


def boxes_of(*rows: tuple[float, float, float, float, float]) -> torch.Tensor:
    return torch.tensor(rows)


def test_none_is_identity() -> None:
    pixels = some_images()
    views = augment(pixels, draw_boxes("none", len(pixels), torch.Generator()), SIZE)
    assert torch.equal(views, to_float(pixels))


def test_a_shift_is_exact_and_mirrors_the_border() -> None:
    pixels, far = some_images(8), SIZE // 16
    shifts = [(0, 0), (far, 0), (-far, 0), (0, far), (0, -far), (far, -far), (-1, 1), (1, -2)]
    boxes = boxes_of(*((x / SIZE, y / SIZE, 1 + x / SIZE, 1 + y / SIZE, 0) for x, y in shifts))
    padded = F.pad(to_float(pixels), [far] * 4, mode="reflect")
    for view, image, (x, y) in zip(augment(pixels, boxes, SIZE), padded, shifts, strict=True):
        assert torch.equal(view, image[:, far + y : far + y + SIZE, far + x : far + x + SIZE])


def test_a_shift_mirrors_the_border_at_another_size_too() -> None:
    pixels = torch.full((2, 3, 64, 64), 200, dtype=torch.uint8)
    boxes = boxes_of((1 / 16, 1 / 16, 17 / 16, 17 / 16, 0), (-1 / 16, -1 / 16, 15 / 16, 15 / 16, 0))
    torch.testing.assert_close(augment(pixels, boxes, SIZE), torch.full((2, 3, SIZE, SIZE), 200 / 255))


def test_a_flip_of_the_whole_image() -> None:
    pixels = some_images(2)
    views = augment(pixels, boxes_of((0, 0, 1, 1, 1), (0, 0, 1, 1, 0)), SIZE)
    assert torch.equal(views[0], to_float(pixels)[0].flip(-1))
    assert torch.equal(views[1], to_float(pixels)[1])


@pytest.mark.parametrize("on_gpu", [False, True])
@pytest.mark.parametrize("size", [16, 32, 48])
def test_a_crop_is_torchvisions_resized_crop(size: int, on_gpu: bool) -> None:
    """To the bit on a CPU; nearly so, and without antialiasing, by the way a GPU takes (which runs on CPUs too)."""
    side, crops = 64, [(0, 0, 32, 32), (8, 4, 48, 40), (20, 30, 44, 34), (0, 16, 64, 48), (32, 0, 20, 60)]
    pixels = smooth_images(2 * len(crops), side)
    boxes = boxes_of(
        *(
            (left / side, top / side, (left + width) / side, (top + height) / side, flip)
            for flip in (0, 1)
            for left, top, width, height in crops
        )
    )
    views = views_module._cut_on_gpu(pixels, boxes[:, :4], size) if on_gpu else augment(pixels, boxes, size)
    assert (views.min() >= 0, views.max() <= 1) == (True, True)
    for row, (left, top, width, height) in enumerate(crops * 2):
        crop = (top, left, height, width)
        if not on_gpu:
            expected = v2.functional.resized_crop(pixels[row], *crop, [size, size], antialias=True)
            assert torch.equal(views[row], to_float(expected.flip(-1) if boxes[row, 4] else expected))
            continue
        expected = v2.functional.resized_crop(to_float(pixels[row]), *crop, [size, size], antialias=False)
        inner = (slice(None), slice(2, -2), slice(2, -2))  # torchvision does not look beyond the crop's border
        torch.testing.assert_close(views[row][inner], expected[inner], atol=0.03, rtol=0)
        assert (views[row] - expected).abs().mean() < 0.01
        assert (views[row] - expected.flip(-1)).abs().mean() > 0.05


def test_a_small_view_averages_four_samples_per_pixel() -> None:
    """At a quarter of the size the samples lie where their bilinear means make up the whole block of 4 × 4."""
    pixels = some_images(2, 64)
    views = views_module._cut_on_gpu(pixels, draw_boxes("none", 2, torch.Generator())[:, :4], 16)
    torch.testing.assert_close(views, F.avg_pool2d(to_float(pixels), 4))


def test_crops_are_distributed_as_torchvisions() -> None:
    n = 4000
    boxes = draw_boxes("crop-flip", n, torch.Generator().manual_seed(0))
    left, top, right, bottom, flip = boxes.T
    assert min(left.min(), top.min()) >= 0
    assert max(right.max(), bottom.max()) <= 1 + 1e-6
    width, height = right - left, bottom - top
    area, aspect = width * height, width / height
    assert area.min() >= 0.08 - 1e-4
    assert 3 / 4 - 1e-4 <= aspect.min() < 0.77 < 1.3 < aspect.max() <= 4 / 3 + 1e-4
    assert flip.mean() == pytest.approx(0.5, abs=0.03)
    assert set(flip.tolist()) == {0.0, 1.0}
    image = torch.zeros(3, 500, 500)
    torch.manual_seed(0)
    drawn = torch.tensor([v2.RandomResizedCrop(8).make_params([image])["height"] for _ in range(n)]) / 500
    for quantile in (0.1, 0.5, 0.9):
        assert height.quantile(quantile).item() == pytest.approx(drawn.quantile(quantile).item(), abs=0.025)
    free = width < 0.9
    place = (left / (1 - width))[free]  # anywhere in the room that is left
    assert place.mean().item() == pytest.approx(0.5, abs=0.02)
    assert place.std().item() == pytest.approx(12**-0.5, abs=0.02)


def test_shifts_reach_a_sixteenth_both_ways() -> None:
    boxes = draw_boxes("shift", 4000, torch.Generator().manual_seed(0))
    for axis in (0, 1):
        assert boxes[:, axis].min().item() == pytest.approx(-1 / 16, abs=1e-3)
        assert boxes[:, axis].max().item() == pytest.approx(1 / 16, abs=1e-3)
    assert torch.corrcoef(boxes[:, :2].T)[0, 1].abs() < 0.05
    torch.testing.assert_close(boxes[:, 2:4] - boxes[:, :2], torch.ones(4000, 2))
    assert not boxes[:, 4].any()


@pytest.mark.parametrize("augmentation", ["shift", "crop-flip"])
def test_a_seed_gives_the_same_views(augmentation: str) -> None:
    def views(seed: int) -> torch.Tensor:
        boxes = draw_boxes(augmentation, 6, torch.Generator().manual_seed(seed))  # type: ignore[arg-type]
        return augment(some_images(), boxes, SIZE)

    assert torch.equal(views(1), views(1))
    assert not torch.equal(views(1), views(2))


def test_unknown_augmentation() -> None:
    with pytest.raises(InputError, match="unknown augmentation"):
        draw_boxes("flip", 3, torch.Generator())  # type: ignore[arg-type]
