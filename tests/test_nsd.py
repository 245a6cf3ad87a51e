"""Loading NSD: exact numbers from both formats, ids that join, and one error for each kind of bad input."""

from __future__ import annotations

import gzip
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import scipy.io
from hypothesis import given, settings, strategies as st
from isal import igzip

from nbtools.conditions import ROI_LABELS
from nbtools.data.brains import nsd
from nbtools.data.brains.measured import load_trials
from nbtools.data.brains.responses import (
    RoiResponses,
    RoiTrials,
    average_repeats,
    equal_repeats,
    fit_basis,
    project,
    reconstruct,
    split_images,
)
from nbtools.data.brains.volumes import read_labels, same_grid
from nbtools.data.study import Study
from nbtools.errors import InputError, Note

SHAPE = (6, 7, 5)
N = nsd.TRIALS_PER_SESSION
ROIS = ["V1", "V4", "TO"]
SUBJECT = 2


def betas_file(root: Path, session: int, ending: str = ".nii.gz") -> Path:
    folder = root / "nsddata_betas/ppdata/subj02/func1pt8mm" / nsd.BETA_VERSION
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"betas_session{session:02d}{ending}"


def roi_file(root: Path, name: str) -> Path:
    folder = root / "nsddata/ppdata/subj02/func1pt8mm/roi"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.nii.gz"


def mat_file(root: Path) -> Path:
    folder = root / "nsddata/experiments/nsd"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "nsd_expdesign.mat"


def nifti_bytes(betas: np.ndarray, **header_fields: float) -> bytes:
    """A NIfTI-1 file of betas (x, y, z, trials); header fields are set last, so they may lie."""
    header = nib.Nifti1Header(endianness=">" if betas.dtype.byteorder == ">" else "<")
    header.set_data_dtype(betas.dtype)
    header.set_data_shape(betas.shape)
    header["vox_offset"] = 352
    for field, value in header_fields.items():
        header[field] = value
    return header.binaryblock + b"\0" * 4 + betas.tobytes(order="F")


def write_nifti(file: Path, betas: np.ndarray, **header_fields: float) -> None:
    file.write_bytes(gzip.compress(nifti_bytes(betas, **header_fields), compresslevel=1))


def write_hdf5(file: Path, betas: np.ndarray, chunks: tuple[int, ...] | None = None, name: str = "betas") -> None:
    with h5py.File(file, "w") as tree:
        tree.create_dataset(name, data=betas.T, chunks=chunks)


def write_design(root: Path, n_sessions: int = 3, **replaced: np.ndarray | None) -> dict[str, np.ndarray]:
    """A scrambled design: neither the order of images nor their ids are those of the trials."""
    rng = np.random.default_rng(7)
    n_images = n_sessions * N // 3
    design: dict[str, np.ndarray | None] = {
        "masterordering": rng.permutation(np.tile(np.arange(n_images), 3))[None] + 1.0,
        "subjectim": np.stack([rng.permutation(73_000)[:n_images] for _ in range(8)]) + 1.0,
    }
    subjectim = design["subjectim"]
    assert subjectim is not None
    design["sharedix"] = np.sort(subjectim[SUBJECT - 1, :100])[None]
    design |= replaced
    kept = {name: array for name, array in design.items() if array is not None}
    scipy.io.savemat(mat_file(root), kept)
    return kept


def make_betas(session: int) -> np.ndarray:
    """Random int16 betas, x × y × z × trials."""
    rng = np.random.default_rng(session)
    return rng.normal(50 * session, 400, (*SHAPE, N)).astype(np.int16)


def write_rois(root: Path) -> np.ndarray:
    rng = np.random.default_rng(0)
    atlas = rng.choice([0, 1, 2, 7, 12, 13, 25], size=SHAPE).astype(np.float32)
    general = (rng.random(SHAPE) < 0.7).astype(np.int16)
    for name, volume in {"Kastner2015": atlas, "nsdgeneral": general}.items():
        nib.save(nib.Nifti1Image(volume, np.eye(4)), roi_file(root, name))
    return np.where(general == 1, atlas, 0)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """An NSD tree of one session for subject 2."""
    write_rois(tmp_path)
    write_design(tmp_path)
    write_nifti(betas_file(tmp_path, 1), make_betas(1))
    return tmp_path


def study_of(root: Path, subject: int = SUBJECT) -> Study:
    """A study of one subject of the tree, none of its sessions prepared."""
    return Study("bad", False, root, root / "none", root / "stimuli.hdf5", subject, None, None, None, 32, None)


def load(root: Path, **options: object) -> dict[str, RoiTrials]:
    return load_trials(study_of(root), ROIS, progress=False, **options)  # type: ignore[arg-type]


# --- right numbers ------------------------------------------------------------------------------------------


def test_responses_are_those_nibabel_reads(tree: Path) -> None:
    image = nib.load(betas_file(tree, 1)).get_fdata()
    masks = nsd.roi_masks(tree, SUBJECT, ROIS)
    for roi, trials in load(tree, zscore=False).items():
        np.testing.assert_allclose(trials.responses, image[masks[roi]].T / 300, rtol=1e-6)
        np.testing.assert_array_equal(trials.voxels, np.argwhere(masks[roi]))
        assert trials.responses.dtype == np.float32
        assert trials.image_ids.dtype == np.int64
        assert len(trials.dropped) == 0


def test_masks_are_atlas_labels_inside_nsdgeneral(tmp_path: Path) -> None:
    labels = write_rois(tmp_path)
    for roi, mask in nsd.roi_masks(tmp_path, SUBJECT, ROIS).items():
        np.testing.assert_array_equal(mask, np.isin(labels, ROI_LABELS[roi]))


@pytest.mark.parametrize("chunks", [None, (1, 5, 7, 6), (N, 1, 1, 1), (100, 2, 3, 4), (N, 5, 7, 6)])
def test_hdf5_gives_the_same_numbers(tree: Path, chunks: tuple[int, ...] | None) -> None:
    from_nifti = load(tree)
    write_hdf5(betas_file(tree, 1, ".hdf5"), make_betas(1), chunks)
    betas_file(tree, 1).unlink()
    for roi, trials in load(tree).items():
        np.testing.assert_array_equal(trials.responses, from_nifti[roi].responses)


@pytest.mark.parametrize("dtype", [">i2", "<i2"])
@pytest.mark.parametrize("fields", [{}, {"scl_slope": 1, "scl_inter": 0}, {"scl_slope": 0}, {"vox_offset": 364}])
def test_headers_of_all_kinds(tree: Path, dtype: str, fields: dict[str, float]) -> None:
    expected = load(tree)
    raw = nifti_bytes(make_betas(1).astype(dtype), **fields)
    extension = b"\0" * (int(fields.get("vox_offset", 352)) - 352)
    betas_file(tree, 1).write_bytes(gzip.compress(raw[:352] + extension + raw[352:], 1))
    for roi, trials in load(tree).items():
        np.testing.assert_array_equal(trials.responses, expected[roi].responses)


def test_hdf5_is_preferred(tree: Path) -> None:
    write_hdf5(betas_file(tree, 1, ".hdf5"), make_betas(1))
    assert nsd.find_sessions(tree, SUBJECT) == {1: betas_file(tree, 1, ".hdf5")}


@pytest.mark.parametrize("chosen", [(1, 3), (2, 3)])
def test_trials_join_images_by_the_design(tmp_path: Path, chosen: tuple[int, int]) -> None:
    write_rois(tmp_path)
    design = write_design(tmp_path)
    for session in chosen:
        write_nifti(betas_file(tmp_path, session), make_betas(session))
    first, second = chosen
    trials = load(tmp_path, sessions=[second, first], zscore=False)["V1"]
    position = np.concatenate([np.arange((session - 1) * N, session * N) for session in chosen])
    seen: dict[int, int] = {}
    for trial in range(3 * N):  # the plainest reading of the design: one trial after another
        image = int(design["subjectim"][SUBJECT - 1, int(design["masterordering"][0, trial]) - 1]) - 1
        seen[image] = seen.get(image, 0) + 1
        for row in np.flatnonzero(position == trial):
            assert (trials.image_ids[row], trials.repeats[row]) == (image, seen[image])
    np.testing.assert_array_equal(trials.sessions, np.repeat(chosen, N))
    i, j, k = trials.voxels[4]
    np.testing.assert_allclose(trials.responses[N:, 4], make_betas(second)[i, j, k] / 300, rtol=1e-6)


def test_all_sessions_in_order(tree: Path) -> None:
    write_nifti(betas_file(tree, 2), make_betas(2))
    np.testing.assert_array_equal(load(tree)["TO"].sessions, np.repeat([1, 2], N))


def test_zscoring_is_within_session(tree: Path) -> None:
    write_nifti(betas_file(tree, 2), make_betas(2))
    plain, scored = load(tree, zscore=False), load(tree)
    for roi in ROIS:
        for rows in (slice(0, N), slice(N, 2 * N)):
            expected = scipy.stats.zscore(plain[roi].responses[rows].astype(np.float64))
            np.testing.assert_allclose(scored[roi].responses[rows], expected, atol=1e-5)


@pytest.mark.parametrize("session", [1, 2])
def test_voxels_constant_in_a_session_are_dropped_and_reported(tree: Path, session: int) -> None:
    write_nifti(betas_file(tree, 2), make_betas(2))
    whole = load(tree)["V4"]
    betas = make_betas(session)
    betas[tuple(whole.voxels[1])] = 77
    write_nifti(betas_file(tree, session), betas)
    for zscore in (True, False):
        with pytest.warns(Note, match="V4: 1 of"):
            trials = load(tree, zscore=zscore)["V4"]
        np.testing.assert_array_equal(trials.dropped, whole.voxels[[1]])
        np.testing.assert_array_equal(trials.voxels, np.delete(whole.voxels, 1, axis=0))
    np.testing.assert_array_equal(load_quietly(tree)["V4"].responses, np.delete(whole.responses, 1, axis=1))


def load_quietly(root: Path) -> dict[str, RoiTrials]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load(root)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory Linux reports")
def test_memory_does_not_hold_the_session(tmp_path: Path) -> None:
    """A session of 300 MB is read by a fresh process, whose peak grows by a few volumes."""
    shape = (60, 60, 56)
    file = tmp_path / "betas_session01.nii.gz"
    header = nifti_bytes(np.empty((*SHAPE, N), np.int16), dim=[4, *shape, N, 1, 1, 1])[:352]
    volume = np.arange(np.prod(shape), dtype=np.int16).tobytes()
    with igzip.open(file, "wb", compresslevel=1) as stream:
        stream.write(header)
        for _ in range(N):
            stream.write(volume)
    code = f"""
import sys
from pathlib import Path
import numpy as np
from nbtools.data.brains import betas, nsd
peak = lambda: next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
before = peak()
read = betas.read_betas(Path({str(file)!r}), np.argwhere(np.ones((9, 9, 9))), {shape})
assert read.shape == ({N}, 729)
assert not {{"torch", "sklearn", "pandas"}} & set(sys.modules)
print(before, peak())
"""
    before, after = map(int, subprocess.check_output([sys.executable, "-c", code], text=True).split())
    assert after < 300 * 1024
    assert after - before < 30 * 1024


def test_one_region_is_named_alone(tree: Path) -> None:
    np.testing.assert_array_equal(nsd.roi_masks(tree, SUBJECT, "TO")["TO"], nsd.roi_masks(tree, SUBJECT, ROIS)["TO"])
    labels = nsd.roi_volume(tree, SUBJECT, "TO").get_fdata()
    np.testing.assert_array_equal(labels, nsd.roi_volume(tree, SUBJECT, ["TO"]).get_fdata())


# --- where voxels lie, and what labels are -------------------------------------------------------------------

PLACE = np.array([[1.8, 0, 0, -40], [0, 1.8, 0, -60], [0, 0, 1.8, -30], [0, 0, 0, 1]])


def rewrite_volume(file: Path, values: np.ndarray, affine: np.ndarray | None = None, slope: float = 1) -> None:
    """Write a volume again; with an affine it says where it lies, with a slope it is stored scaled, in 16 bits."""
    image = nib.Nifti1Image(values, affine, dtype=values.dtype)
    if slope != 1:
        image = nib.Nifti1Image(np.zeros(values.shape, np.int16), affine)
        image.header.set_slope_inter(slope, 0)
        image = nib.Nifti1Image(values, affine, image.header)
    nib.save(image, file)


@pytest.fixture
def placed(tree: Path) -> Path:
    """The tree, all of its volumes lying at `PLACE`."""
    for name in ("Kastner2015", "nsdgeneral"):
        rewrite_volume(roi_file(tree, name), np.asarray(nib.load(roi_file(tree, name)).dataobj), PLACE)
    lie(betas_file(tree, 1), PLACE)
    return tree


def lie(file: Path, affine: np.ndarray) -> None:
    """Have a file of betas say where it lies."""
    rows = {f"srow_{axis}": row for axis, row in zip("xyz", affine, strict=False)}
    write_nifti(file, make_betas(1), sform_code=1, **rows)


def turned(file: Path) -> None:
    """Save a volume with its first axis reversed: the same labels at the same millimetres."""
    nib.save(nib.load(file).as_reoriented(np.array([[0, -1], [1, 1], [2, 1]])), file)


def shifted(file: Path, millimetres: float) -> None:
    moved = PLACE.copy()
    moved[1, 3] += millimetres
    rewrite_volume(file, np.asarray(nib.load(file).dataobj), moved)


@pytest.mark.parametrize(
    ("move", "says"),
    [
        (lambda r: turned(roi_file(r, "Kastner2015")), "nsdgeneral.nii.gz lies elsewhere than Kastner2015.nii.gz"),
        (lambda r: turned(roi_file(r, "nsdgeneral")), "nsdgeneral.nii.gz lies elsewhere than Kastner2015.nii.gz"),
        (lambda r: shifted(roi_file(r, "Kastner2015"), 1.8), "lies elsewhere than Kastner2015.nii.gz"),
        (lambda r: shifted(roi_file(r, "nsdgeneral"), 0.5), "lies elsewhere than Kastner2015.nii.gz"),
        (
            lambda r: lie(betas_file(r, 1), PLACE * [-1, 1, 1, 1]),
            "betas_session01.nii.gz lies elsewhere than the masks",
        ),
        (lambda r: lie(betas_file(r, 1), np.diag([1.0, 1, 1, 1])), "betas_session01.nii.gz lies elsewhere than the"),
    ],
)
def test_volumes_that_lie_elsewhere_are_refused(placed: Path, move: Callable[[Path], None], says: str) -> None:
    load(placed)
    move(placed)
    with pytest.raises(InputError, match=says):
        load(placed)


@pytest.mark.parametrize(
    "move",
    [
        lambda r: shifted(roi_file(r, "Kastner2015"), 1e-4),  # of single precision
        lambda r: lie(betas_file(r, 1), PLACE.astype(np.float32)),
        lambda r: write_nifti(betas_file(r, 1), make_betas(1)),  # does not say where it lies
    ],
)
def test_volumes_that_lie_in_one_place_are_read(placed: Path, move: Callable[[Path], None]) -> None:
    expected = load(placed)
    move(placed)
    for roi, trials in load(placed).items():
        np.testing.assert_array_equal(trials.responses, expected[roi].responses)


@pytest.mark.parametrize("name", ["Kastner2015", "nsdgeneral"])
@pytest.mark.parametrize(
    "stored",
    [
        lambda values: {"values": values.astype(np.float32)},
        lambda values: {"values": values.astype(np.float64) - 2e-10},
        lambda values: {"values": values.astype(np.float64), "slope": 0.01},
        lambda values: {"values": np.where(values == 0, np.nan, values.astype(np.float32))},
    ],
    ids=["single", "a little less", "slope", "NaN outside"],
)
def test_labels_are_whole_however_they_are_stored(tree: Path, name: str, stored: Callable[..., dict]) -> None:
    expected = nsd.roi_masks(tree, SUBJECT, ROIS)
    values = np.asarray(nib.load(roi_file(tree, name)).dataobj)
    rewrite_volume(roi_file(tree, name), affine=np.eye(4), **stored(values))
    for roi, mask in nsd.roi_masks(tree, SUBJECT, ROIS).items():
        np.testing.assert_array_equal(mask, expected[roi])


@pytest.mark.parametrize("label", [2.4, np.inf, -0.5])
def test_labels_between_whole_numbers_are_refused(tree: Path, label: float) -> None:
    values = np.asarray(nib.load(roi_file(tree, "Kastner2015")).dataobj).astype(np.float64)
    values[0, 0, 0] = label
    rewrite_volume(roi_file(tree, "Kastner2015"), values, np.eye(4))
    with pytest.raises(InputError, match=rf"not whole numbers(.|\n)*others in 1 of 210 voxels, e\.g\. {label:.4g}"):
        nsd.roi_masks(tree, SUBJECT, ROIS)


@settings(max_examples=100, deadline=None)
@given(changes=st.dictionaries(st.integers(0, 351), st.integers(0, 255), min_size=1, max_size=6))
def test_whatever_a_header_says_it_is_read_or_refused(changes: dict[int, int]) -> None:
    raw = bytearray(nifti_bytes(np.arange(210, dtype=np.int16).reshape(SHAPE), sform_code=1, srow_x=[1, 0, 0, 0]))
    for place, byte in changes.items():
        raw[place] = byte
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = Path(folder) / "atlas.nii"
        file.write_bytes(raw)
        with suppress(InputError):
            labels, grid = read_labels(file)
            assert labels.shape == grid.shape
            assert same_grid(grid, grid) or not np.isfinite(grid.affine).all()


# --- bad input ----------------------------------------------------------------------------------------------


def rewrite(file: Path, change: object) -> None:
    file.write_bytes(change(file.read_bytes()))  # type: ignore[operator]


def recompress(file: Path, change: object) -> None:
    """Change a gzip file's content, leaving the gzip itself intact."""
    file.write_bytes(gzip.compress(change(gzip.decompress(file.read_bytes())), 1))  # type: ignore[operator]


def as_hdf5(root: Path, betas: np.ndarray, name: str = "betas") -> None:
    betas_file(root, 1).unlink()
    write_hdf5(betas_file(root, 1, ".hdf5"), betas, name=name)


def flip_a_byte(raw: bytes) -> bytes:
    """Damage the checksum, which is the last but one field of a gzip file."""
    return raw[:-6] + bytes([raw[-6] ^ 0xFF]) + raw[-5:]


def garble(raw: bytes) -> bytes:
    return raw[:20_000] + b"\xff" * 5_000 + raw[25_000:]


def with_nan(root: Path) -> None:
    betas = make_betas(1).astype(np.float32)
    betas[0, 0, 0, 0] = np.nan
    write_nifti(betas_file(root, 1), betas)


def gap(root: Path) -> None:
    for session in (2, 4):
        write_nifti(betas_file(root, session), make_betas(session))


def mask_of(root: Path, name: str, volume: np.ndarray) -> None:
    nib.save(nib.Nifti1Image(volume.astype(np.int16), np.eye(4)), roi_file(root, name))


def both_masks(root: Path, shape: tuple[int, ...]) -> None:
    mask_of(root, "Kastner2015", np.resize([1, 7, 12], shape))
    mask_of(root, "nsdgeneral", np.ones(shape))


def remove_betas(root: Path) -> None:
    betas_file(root, 1).unlink()
    betas_file(root, 1).parent.rmdir()


def b1(root: Path) -> Path:
    return betas_file(root, 1)


MASTER = np.arange(1.0, N + 1)[None]
# what is broken: (how, which file the error names, what it says)
BAD: dict[str, tuple] = {
    "no betas folder": (remove_betas, nsd.BETA_VERSION, "no such folder"),
    "no session in the folder": (lambda r: b1(r).unlink(), nsd.BETA_VERSION, "got:      none"),
    "a gap between sessions": (gap, nsd.BETA_VERSION, "got:      sessions 1, 2, 4"),
    "truncated inside the stream": (lambda r: rewrite(b1(r), lambda x: x[:-9000]), "session01", "inflated"),
    "truncated in the header": (lambda r: rewrite(b1(r), lambda x: x[:40]), "session01", "download"),
    "empty file": (lambda r: rewrite(b1(r), lambda x: b""), "session01", "download"),
    "fewer volumes than the header says": (
        lambda r: recompress(b1(r), lambda x: x[: -420 * 5 - 3]),
        "session01",
        "744 whole volumes",
    ),
    "trailing data": (lambda r: recompress(b1(r), lambda x: x + b"\0\0"), "session01", "go on after"),
    "corrupt checksum": (lambda r: rewrite(b1(r), flip_a_byte), "session01", "inflated"),
    "garbled stream": (lambda r: rewrite(b1(r), garble), "session01", "inflated"),
    "not gzip": (lambda r: rewrite(b1(r), gzip.decompress), "session01", "inflated"),
    "not a NIfTI header": (lambda r: recompress(b1(r), lambda x: b"\7" * len(x)), "session01", "NIfTI"),
    "unknown dtype code": (lambda r: write_nifti(b1(r), make_betas(1), datatype=999), "session01", "NIfTI"),
    "740 trials": (lambda r: write_nifti(b1(r), make_betas(1)[..., :740]), "session01", "750 trials"),
    "740 trials, hdf5": (lambda r: as_hdf5(r, make_betas(1)[..., :740]), "session01", "750 trials"),
    "one volume": (lambda r: write_nifti(b1(r), make_betas(1)[..., 0]), "session01", "another shape"),
    "masks of another shape": (lambda r: both_masks(r, (7, 7, 5)), "session01", "(7, 7, 5, 750)"),
    "masks differ in shape": (
        lambda r: mask_of(r, "nsdgeneral", np.ones((7, 7, 5))),
        "nsdgeneral",
        "differ in shape",
    ),
    "mask with four axes": (
        lambda r: mask_of(r, "nsdgeneral", np.ones((6, 7, 5, 2))),
        "nsdgeneral",
        "three-dim",
    ),
    "mask missing": (lambda r: roi_file(r, "nsdgeneral").unlink(), "nsdgeneral", "cannot be read"),
    "mask truncated": (
        lambda r: rewrite(roi_file(r, "Kastner2015"), lambda x: x[:-20]),
        "Kastner2015",
        "cannot be read",
    ),
    "mask not NIfTI": (
        lambda r: roi_file(r, "Kastner2015").write_text("<html>no</html>"),
        "Kastner2015",
        "cannot be read",
    ),
    "region empty": (
        lambda r: mask_of(r, "Kastner2015", np.ones(SHAPE)),
        "Kastner2015",
        "no voxel in V4, TO",
    ),
    "float32 betas": (
        lambda r: write_nifti(b1(r), make_betas(1).astype(np.float32) / 300),
        "session01",
        "float32",
    ),
    "float32 betas, hdf5": (
        lambda r: as_hdf5(r, make_betas(1).astype(np.float32) / 300),
        "session01",
        "float32",
    ),
    "NaN betas": (with_nan, "session01", "float32"),
    "unsigned betas": (lambda r: write_nifti(b1(r), make_betas(1).astype(np.uint16)), "session01", "uint16"),
    "a slope": (
        lambda r: write_nifti(b1(r), make_betas(1), scl_slope=1 / 300),
        "session01",
        "scl_slope 0.003",
    ),
    "an intercept": (
        lambda r: write_nifti(b1(r), make_betas(1), scl_slope=1, scl_inter=5),
        "session01",
        "scl_inter 5",
    ),
    "all voxels constant": (lambda r: write_nifti(b1(r), make_betas(1) * 0 + 3), None, "no voxel varies"),
    "hdf5 without betas": (
        lambda r: as_hdf5(r, make_betas(1), name="data"),
        "session01.hdf5",
        "got:      data",
    ),
    "hdf5 axes not reversed": (lambda r: as_hdf5(r, make_betas(1).T), "session01.hdf5", "axes are reversed"),
    "nifti axes reversed": (lambda r: write_nifti(b1(r), make_betas(1).T), "session01", "axes are reversed"),
    "hdf5 damaged": (
        lambda r: (
            as_hdf5(r, make_betas(1)),
            rewrite(betas_file(r, 1, ".hdf5"), lambda x: x[: len(x) // 2]),
        ),
        "session01.hdf5",
        "intact HDF5",
    ),
    "design missing": (lambda r: mat_file(r).unlink(), "nsd_expdesign.mat", "No such file"),
    "design not a mat": (
        lambda r: mat_file(r).write_text("<html>not found</html>" * 50),
        "nsd_expdesign.mat",
        "cannot be",
    ),
    "design empty": (lambda r: mat_file(r).write_bytes(b""), "nsd_expdesign.mat", "cannot be read"),
    "design truncated": (
        lambda r: rewrite(mat_file(r), lambda x: x[:-500]),
        "nsd_expdesign.mat",
        "cannot be read",
    ),
    "design without a key": (lambda r: write_design(r, sharedix=None), "nsd_expdesign.mat", "no sharedix"),
    "image id 0": (
        lambda r: write_design(r, subjectim=np.zeros((8, N))),
        "nsd_expdesign.mat",
        "1 to 73000",
    ),
    "image id beyond the stimuli": (
        lambda r: write_design(r, subjectim=np.full((8, N), 73_001.0)),
        "nsd_expdesign.mat",
        "73001.0",
    ),
    "shared id beyond": (
        lambda r: write_design(r, sharedix=np.array([[1.0, 80_000]])),
        "nsd_expdesign.mat",
        "sharedix holds",
    ),
    "master index 0": (
        lambda r: write_design(r, masterordering=MASTER - 1),
        "nsd_expdesign.mat",
        "1 to 750",
    ),
    "master index beyond the columns": (
        lambda r: write_design(r, masterordering=MASTER + 1),
        "nsd_expdesign.mat",
        "751.0",
    ),
    "master index not whole": (
        lambda r: write_design(r, masterordering=MASTER + 0.5 * (MASTER < 9)),
        "nsd_expdesign.mat",
        "whole",
    ),
    "NaN in the design": (
        lambda r: write_design(r, masterordering=MASTER * np.nan),
        "nsd_expdesign.mat",
        "masterordering",
    ),
    "subject not in the design": (
        lambda r: write_design(r, subjectim=np.ones((1, N))),
        "nsd_expdesign.mat",
        "subject 2",
    ),
    "fewer design trials than betas": (
        lambda r: write_design(r, masterordering=MASTER[:, :700]),
        "nsd_expdesign.mat",
        "700 trials",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files(tree: Path, case: str) -> None:
    break_it, file, says = BAD[case]
    break_it(tree)
    with pytest.raises(InputError) as caught:
        load(tree)
    message = str(caught.value)
    assert says in message
    for part in ("expected:", "got:", "to do:"):
        assert part in message
    where = next((line for line in message.splitlines() if line.startswith("  file:")), "")
    assert (file or "") in where


@pytest.mark.parametrize(
    ("subject", "rois", "options", "says"),
    [
        (0, ROIS, {}, "no such subject"),
        (9, ROIS, {}, "no such subject"),
        (SUBJECT, ["V9"], {}, "NSD has no region V9"),
        (SUBJECT, [], {}, "no region"),
        (SUBJECT, ROIS, {"sessions": [2]}, "sessions are missing"),
        (SUBJECT, ROIS, {"sessions": [0, 1]}, "sessions are missing"),
        (SUBJECT, ROIS, {"sessions": []}, "no session was asked for"),
    ],
)
def test_bad_requests(tree: Path, subject: int, rois: list[str], options: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        load_trials(study_of(tree, subject), rois, progress=False, **options)


# --- from trials to images to components --------------------------------------------------------------------


def make_trials(image_ids: np.ndarray, n_voxels: int = 4, seed: int = 0) -> RoiTrials:
    n = len(image_ids)
    return RoiTrials(
        roi="V1",
        responses=np.random.default_rng(seed).normal(size=(n, n_voxels)).astype(np.float32),
        image_ids=image_ids,
        sessions=np.ones(n, np.int64),
        repeats=np.ones(n, np.int64),
        voxels=np.zeros((n_voxels, 3), np.int64),
        dropped=np.zeros((0, 3), np.int64),
    )


ids = st.lists(st.integers(0, 72_999), min_size=1, max_size=30, unique=True)


@settings(max_examples=25, deadline=None)
@given(ids=ids, counts=st.lists(st.integers(1, 3), min_size=30, max_size=30), seed=st.integers(0, 99))
def test_averaging_equals_a_groupby(ids: list[int], counts: list[int], seed: int) -> None:
    image_ids = np.random.default_rng(seed).permutation(np.repeat(ids, counts[: len(ids)]))
    trials = make_trials(image_ids, seed=seed)
    images = average_repeats(trials, np.array(ids[::2]))
    reference = pd.DataFrame(trials.responses.astype(np.float64)).groupby(image_ids)
    np.testing.assert_allclose(images.responses, reference.mean(), atol=1e-6)
    np.testing.assert_array_equal(images.image_ids, list(reference.groups))
    np.testing.assert_array_equal(images.n_repeats, reference.size())
    assert set(images.image_ids[images.shared]) == set(ids[::2])
    assert images.responses.dtype == np.float32


@settings(max_examples=25, deadline=None)
@given(counts=st.lists(st.integers(1, 6), min_size=1, max_size=12), seed=st.integers(0, 99))
def test_repeats_are_made_equal_and_most_trials_are_kept(counts: list[int], seed: int) -> None:
    """As many trials of each image, whatever the counts; no other number of repeats would keep more."""
    image_ids = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)) * 3, counts))
    trials = make_trials(np.append(image_ids, 100), seed=seed)  # one image that nobody asks for
    equal = equal_repeats(trials, np.arange(len(counts)) * 3)
    k = equal.repeats.max()
    assert set(np.unique(equal.image_ids, return_counts=True)[1]) == {k}
    kept = {n: n * sum(count >= n for count in counts) for n in range(2, max(counts) + 1)} or {1: len(counts)}
    assert len(equal.image_ids) == kept[k] == max(kept.values())
    for image in np.unique(equal.image_ids):
        rows, first = equal.image_ids == image, np.flatnonzero(trials.image_ids == image)[:k]
        np.testing.assert_array_equal(equal.responses[rows], trials.responses[first])
        np.testing.assert_array_equal(equal.repeats[rows], np.arange(1, k + 1))
    with pytest.raises(InputError, match="no trial shows these images"):
        equal_repeats(trials, np.array([999]))


def make_images(n: int = 100, n_voxels: int = 4, n_shared: int = 10) -> RoiResponses:
    return average_repeats(make_trials(np.arange(n) * 7, n_voxels), np.arange(n_shared) * 7)


@settings(max_examples=25, deadline=None)
@given(n=st.integers(20, 200), n_shared=st.integers(1, 10), seed=st.integers(0, 9))
def test_split_is_a_partition_with_shared_images_as_test(n: int, n_shared: int, seed: int) -> None:
    images = make_images(n, n_shared=n_shared)
    split = split_images(images, validation_fraction=0.2, seed=seed)
    np.testing.assert_array_equal(np.sort(np.concatenate(list(split.values()))), np.arange(n))
    np.testing.assert_array_equal(split["test"], np.flatnonzero(images.shared))
    assert len(split["validation"]) == round(0.2 * (n - n_shared))
    again = split_images(images, validation_fraction=0.2, seed=seed)
    assert all(np.array_equal(split[part], again[part]) for part in split)


def test_split_depends_on_the_seed() -> None:
    first, second = (split_images(make_images(), seed=seed)["validation"] for seed in (0, 1))
    assert not np.array_equal(first, second)


def test_a_share_of_the_training_images_is_part_of_any_larger_one_and_changes_nothing_else() -> None:
    whole, *parts = (split_images(make_images(), share=share) for share in (1.0, 0.5, 0.1))
    for larger, smaller, size in zip([whole, *parts], parts, (40, 8), strict=False):
        assert set(smaller["train"]) < set(larger["train"])
        assert len(smaller["train"]) == size == len(set(smaller["train"]))
        for part in ("validation", "test"):
            np.testing.assert_array_equal(smaller[part], whole[part])
    for share in (0.0, -0.5, 1.5, 0.001, np.nan):
        with pytest.raises(InputError, match="share"):
            split_images(make_images(), share=share)


@pytest.mark.parametrize(("n_shared", "fraction"), [(0, 0.1), (10, 0.0), (10, 1.0), (10, -0.5), (100, 0.1)])
def test_split_refuses_empty_parts(n_shared: int, fraction: float) -> None:
    with pytest.raises(InputError, match="cannot be split"):
        split_images(make_images(n_shared=n_shared), validation_fraction=fraction)


@pytest.mark.parametrize("variance", [0.5, 0.95])
def test_basis_keeps_the_variance_asked_for_and_no_more(variance: float) -> None:
    rng = np.random.default_rng(0)
    planted = rng.normal(size=(300, 5)) @ rng.normal(size=(5, 40)) + 0.7 * rng.normal(size=(300, 40))
    train = (planted * rng.uniform(0.1, 9, 40) + rng.normal(size=40)).astype(np.float32)
    basis = fit_basis(train, variance)
    z = scipy.stats.zscore(train.astype(np.float64))
    shares = np.linalg.svd(z, compute_uv=False) ** 2 / np.sum(z**2)  # independent of scikit-learn
    k = int(np.searchsorted(np.cumsum(shares), variance) + 1)
    assert basis.components.shape == (k, 40)
    np.testing.assert_allclose(basis.explained_variance_ratio, shares[:k], atol=1e-4)
    np.testing.assert_allclose(basis.components @ basis.components.T, np.eye(k), atol=1e-5)
    scores = project(basis, train)
    assert scores.shape == (300, k)
    assert scores.dtype == np.float32
    residual = np.sum((z - reconstruct(basis, scores)) ** 2) / np.sum(z**2)
    np.testing.assert_allclose(residual, 1 - shares[:k].sum(), atol=1e-4)


def test_basis_knows_the_training_images_only() -> None:
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(80, 6)), rng.normal(5, 3, size=(20, 6))
    basis = fit_basis(train)
    np.testing.assert_allclose(basis.mean, train.mean(0), atol=1e-6)
    np.testing.assert_allclose(basis.scale, train.std(0), atol=1e-6)
    scores = project(basis, test)
    np.testing.assert_allclose(scores, (test - train.mean(0)) / train.std(0) @ basis.components.T, atol=1e-4)
    assert abs(scores.mean()) > 0.1  # test images are not centred on themselves


@pytest.mark.parametrize(
    ("responses", "variance", "says"),
    [
        (np.ones((9, 3)), 0.95, "3 of 3 voxels"),
        (np.where(np.eye(9, 3) > 0, np.nan, np.arange(27).reshape(9, 3)), 0.95, "3 of 3 voxels"),
        (np.zeros((1, 3)), 0.95, "shape"),
        (np.zeros(9), 0.95, "shape"),
        (np.eye(9, 3), 1.5, "variance=1.5"),
    ],
)
def test_basis_refuses(responses: np.ndarray, variance: float, says: str) -> None:
    with pytest.raises(InputError, match=says):
        fit_basis(responses, variance)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("responses", np.full((6, 4), np.nan, np.float32), "not finite"),
        ("responses", np.full((6, 4), np.inf, np.float32), "not finite"),
        ("responses", np.zeros(6, np.float32), "not a table"),
        ("responses", np.zeros((6, 0), np.float32), "not a table"),
        ("image_ids", np.arange(5), "labels do not fit"),
        ("sessions", np.arange(7), "labels do not fit"),
        ("repeats", np.arange(7), "labels do not fit"),
        ("voxels", np.zeros((3, 3)), "labels do not fit"),
        ("dropped", np.zeros((2, 2)), "labels do not fit"),
    ],
)
def test_trials_check_themselves(field: str, value: np.ndarray, says: str) -> None:
    good = vars(make_trials(np.arange(6)))
    with pytest.raises(InputError, match=says):
        RoiTrials(**{**good, field: value})


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("responses", np.full((100, 4), np.nan, np.float32), "not finite"),
        ("image_ids", np.zeros(100, int), "more than once"),
        ("shared", np.ones(99, bool), "labels do not fit"),
        ("n_repeats", np.ones(101), "labels do not fit"),
        ("voxels", np.zeros((4, 2)), "labels do not fit"),
    ],
)
def test_images_check_themselves(field: str, value: np.ndarray, says: str) -> None:
    with pytest.raises(InputError, match=says):
        RoiResponses(**{**vars(make_images()), field: value})
