"""Reading brains: NSD's volumes, noise ceilings."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import scipy.io
from numpy.typing import NDArray

from nbtools.bench.measure import Row, in_new_process, row, scratch, timed
from nbtools.conditions import HIERARCHY, ROI_LABELS
from nbtools.data.brains import nsd
from nbtools.data.brains.measured import load_trials
from nbtools.data.brains.prepare_nsd import prepare_nsd, prepared_file
from nbtools.data.study import Study
from nbtools.metrics.brain.noise_ceiling import ncsnr
from nbtools.processes import Bar

# Subject 1's volume; the sizes of its regions are rounded guesses, about 9,000 voxels together.
_SHAPE = (81, 104, 83)
_N_VOXELS = {"V1": 1600, "V2": 1600, "V4": 700, "VO": 900, "PHC": 1100, "LO": 1900, "TO": 1200}


def compare_nsd() -> Row:
    """All seven regions of one session of real size: streamed once, against loaded whole once per region."""
    with scratch() as root:
        write_session(root)
        baseline_s, whole_mb, whole = in_new_process(load_whole, root)
        ours_s, streamed_mb, streamed = in_new_process(load_streamed, root)
    for roi in HIERARCHY:
        z = (whole[roi] - whole[roi].mean(axis=0)) / whole[roi].std(axis=0)
        np.testing.assert_allclose(streamed[roi], z, atol=1e-4)
    notes = f"7 regions, 1 session; baseline's peak {whole_mb:.0f} MB; same values"
    return row(baseline_s, ours_s, goal="20x, 300 MB", notes=notes, peak_mb=streamed_mb)


def compare_noise_ceiling() -> Row:
    """The noise ceiling of all voxels at once, against a loop over voxels and images."""
    rng = np.random.default_rng(0)
    image_ids = rng.permutation(np.repeat(np.arange(1000), 3))
    signal = rng.normal(size=(1000, 500)) * np.sqrt(rng.uniform(0, 0.6, 500))
    responses = signal[image_ids] + rng.normal(size=(3000, 500))
    responses = ((responses - responses.mean(axis=0)) / responses.std(axis=0)).astype(np.float32)
    loop_seconds, expected = timed(lambda: ncsnr_loop(responses, image_ids))
    seconds, found = timed(lambda: ncsnr(responses, image_ids))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    return row(loop_seconds, seconds, goal="20x", notes="1000 images × 3, 500 voxels; same values")


def compare_prepare() -> Row:
    """Two sessions of real size reduced to the seven regions' voxels: by one process, against by two."""
    with scratch() as root:
        write_session(root, n_sessions=2)
        one, two = (replace(_study(root), responses=root / f"jobs{jobs}") for jobs in (1, 2))
        baseline_s, _ = timed(lambda: prepare_nsd(one, progress=False))
        ours_s, _ = timed(lambda: prepare_nsd(two, jobs=2, progress=False))
        for number in (1, 2):
            assert prepared_file(one, number).read_bytes() == prepared_file(two, number).read_bytes()
        size = prepared_file(two, 1).stat().st_size / 1e6
    notes = f"2 sessions by 2 processes against 1, their start included; {size:.0f} MB a session; same bytes"
    return row(baseline_s, ours_s, goal="scales", notes=notes)


def load_whole(root: Path) -> dict[str, NDArray]:
    """Load the session whole, once for each region; return responses (750, n_voxels) by region."""
    file = nsd.find_sessions(root, 1)[1]
    masks = nsd.roi_masks(root, 1, HIERARCHY)
    return {roi: nib.nifti1.load(file).get_fdata()[mask].T / nsd.BETA_SCALE for roi, mask in masks.items()}


def load_streamed(root: Path) -> dict[str, NDArray]:
    """Load the session as this package does; it z-scores too."""
    trials = load_trials(_study(root), HIERARCHY, progress=False)
    return {roi: trials[roi].responses for roi in HIERARCHY}


def _study(root: Path) -> Study:
    return Study("bench", False, root, root, root, 1, None, None, None, 224, None)


def ncsnr_loop(responses: NDArray, image_ids: NDArray) -> NDArray:
    """Signal-to-noise ratios (n_voxels,) by a loop over voxels and images."""
    trials_of = [np.flatnonzero(image_ids == image) for image in np.unique(image_ids)]
    ratios = []
    for voxel in responses.T:
        noise = np.mean([np.var(voxel[trials], ddof=1) for trials in trials_of])
        ratios.append(np.sqrt(max(1 - noise, 0) / noise))
    return np.array(ratios)


def write_session(root: Path, n_sessions: int = 1) -> None:
    """Write an NSD tree with sessions of real size for subject 1: noise in an ellipsoid, 0 around it."""
    rng = np.random.default_rng(0)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in _SHAPE), indexing="ij")
    # A third of the volume, in the order of the file: x runs fastest.
    brain = np.flatnonzero((x**2 + y**2 + z**2 < 0.88**2).ravel(order="F"))
    sd = rng.uniform(300, 600, len(brain)).astype(np.float32)

    space = root / "nsddata" / "ppdata" / "subj01" / "func1pt8mm" / "roi"
    folder = root / "nsddata_betas" / "ppdata" / "subj01" / "func1pt8mm" / nsd.BETA_VERSION
    design = root / "nsddata" / "experiments" / "nsd"
    for path in (space, folder, design):
        path.mkdir(parents=True)
    atlas = np.zeros(np.prod(_SHAPE), np.int16)
    labels = np.repeat([ROI_LABELS[roi][0] for roi in HIERARCHY], [_N_VOXELS[roi] for roi in HIERARCHY])
    atlas[rng.choice(brain, len(labels), replace=False)] = labels
    for name, volume in {"Kastner2015": atlas, "nsdgeneral": (atlas > 0).astype(np.int16)}.items():
        image = nib.nifti1.Nifti1Image(volume.reshape(_SHAPE, order="F"), np.eye(4))
        image.to_filename(space / f"{name}.nii.gz")
    ids = np.arange(1.0, n_sessions * nsd.TRIALS_PER_SESSION + 1)[None]
    entries = {"masterordering": ids, "subjectim": np.repeat(ids, 8, axis=0), "sharedix": ids[:, :100]}
    scipy.io.savemat(design / "nsd_expdesign.mat", entries)

    header = nib.nifti1.Nifti1Header(endianness="<")
    header.set_data_dtype(np.int16)
    header.set_data_shape((*_SHAPE, nsd.TRIALS_PER_SESSION))
    header["vox_offset"] = 352
    volume = np.zeros(np.prod(_SHAPE), "<i2")
    for number in range(1, n_sessions + 1):
        with gzip.open(folder / f"betas_session{number:02d}.nii.gz", "wb", compresslevel=6) as stream:
            stream.write(header.binaryblock + b"\0" * 4)
            for _ in Bar(range(nsd.TRIALS_PER_SESSION), "writing a session"):
                volume[brain] = rng.standard_normal(len(brain), dtype=np.float32) * sd
                stream.write(volume.tobytes())
