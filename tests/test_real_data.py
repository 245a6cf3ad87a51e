"""The real data's road at real size: a bucket and an ImageNet of made-up numbers, fetched, prepared and run.

Nothing here is NSD or ImageNet: the files have their formats, names and dimensions, and numbers of this test's own.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
import scipy.io
from isal import igzip
from PIL import Image

from nbtools.cli import main
from nbtools.conditions import HIERARCHY, ROI_LABELS
from nbtools.data.brains import nsd
from nbtools.data.brains.measured import load_design, load_trials
from nbtools.data.fetch.catalogue import ATLASES
from nbtools.data.images.imagenet import SYNSETS
from nbtools.data.study import Study, open_study
from nbtools.runs import folders

SHAPE = (81, 104, 83)  # subject 1's volume
N_VOXELS = {"V1": 1350, "V2": 1433, "V4": 687, "VO": 500, "PHC": 600, "LO": 900, "TO": 700}
SPACE = "ppdata/subj01/func1pt8mm"
TRIALS = nsd.TRIALS_PER_SESSION


def write_design(root: Path, rng: np.random.Generator) -> np.ndarray:
    """The whole experiment's design; the first session shows 250 images thrice, 100 of them shared. Its image ids."""
    shared = np.sort(rng.choice(73_000, 1000, replace=False))
    others = rng.permutation(np.setdiff1d(np.arange(73_000), shared))
    subjectim = np.stack([np.concatenate([shared, others[n * 9000 : (n + 1) * 9000]]) for n in range(8)])
    first = rng.permutation(np.repeat(np.concatenate([np.arange(100), 1000 + np.arange(150)]), 3))
    rest = rng.permutation(np.repeat(np.setdiff1d(np.arange(10_000), first), 3))
    ordering = np.concatenate([first, rest])
    file = root / "nsddata/experiments/nsd/nsd_expdesign.mat"
    file.parent.mkdir(parents=True)
    design = {"masterordering": ordering[None] + 1.0, "subjectim": subjectim + 1.0, "sharedix": shared[None] + 1.0}
    scipy.io.savemat(file, design)
    return subjectim[0, first]


def write_regions(root: Path, rng: np.random.Generator) -> np.ndarray:
    """All of NSD's volumes of regions; return the flat places of the seven regions' voxels, in the file's order."""
    folder = root / "nsddata" / SPACE / "roi"
    folder.mkdir(parents=True)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    brain = np.flatnonzero((x**2 + y**2 + z**2 < 0.6).ravel(order="F"))
    places = rng.choice(brain, sum(N_VOXELS.values()), replace=False)
    atlas = np.full(np.prod(SHAPE), -1, np.int16)
    atlas[brain] = 0
    atlas[places] = np.repeat([ROI_LABELS[roi][0] for roi in HIERARCHY], list(N_VOXELS.values()))
    for name in ATLASES:
        values = (atlas > 0).astype(np.int16) if name == "nsdgeneral" else atlas
        image = nib.Nifti1Image(values.reshape(SHAPE, order="F"), np.diag([1.8, 1.8, 1.8, 1]))
        nib.save(image, folder / f"{name}.nii.gz")
    return places


def write_session(root: Path, places: np.ndarray, ids: np.ndarray, rng: np.random.Generator) -> None:
    """One session in both formats: 1 GB of int16, a signal of the image plus noise in the regions, noise elsewhere."""
    folder = root / "nsddata_betas" / SPACE / nsd.BETA_VERSION
    folder.mkdir(parents=True)
    _, image = np.unique(ids, return_inverse=True)
    signal = rng.normal(0, 400, (image.max() + 1, len(places))).astype(np.float32)
    elsewhere = rng.integers(0, np.prod(SHAPE), 60_000)
    header = nib.Nifti1Header(endianness="<")
    header.set_data_dtype(np.int16)
    header.set_data_shape((*SHAPE, TRIALS))
    header["vox_offset"] = 352
    volume = np.zeros(np.prod(SHAPE), "<i2")
    with (
        igzip.open(folder / "betas_session01.nii.gz", "wb", compresslevel=1) as stream,
        h5py.File(folder / "betas_session01.hdf5", "w") as tree,
    ):
        betas = tree.create_dataset("betas", (TRIALS, *SHAPE[::-1]), np.int16)
        stream.write(header.binaryblock + b"\0" * 4)
        for trial in range(TRIALS):
            volume[elsewhere] = rng.integers(-900, 900, len(elsewhere))
            volume[places] = signal[image[trial]] + rng.normal(0, 500, len(places))
            stream.write(volume.tobytes())
            betas[trial] = volume.reshape(SHAPE[::-1])


def write_stimuli(root: Path, ids: np.ndarray, rng: np.random.Generator) -> None:
    """All 73,000 images of 425 pixels, of which only those shown are stored: HDF5 gives 0 for the others."""
    file = root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
    file.parent.mkdir(parents=True)
    with h5py.File(file, "w") as tree:
        options = {"chunks": (1, 425, 425, 3), "compression": "lzf"}
        brick = tree.create_dataset("imgBrick", (73_000, 425, 425, 3), np.uint8, **options)
        for image in np.unique(ids):
            brick[image] = rng.integers(0, 255, (17, 17, 3), np.uint8).repeat(25, 0).repeat(25, 1)


def write_imagenet(root: Path, rng: np.random.Generator) -> None:
    """ILSVRC 2012 in folders, five classes too many, with JPEGs of several sizes."""
    synsets = [*SYNSETS, "n01440764", "n01443537", "n01484850", "n01491361", "n01494475"]
    for number, synset in enumerate(synsets):
        for part, n in (("train", 4), ("val", 2)):
            folder = root / part / synset
            folder.mkdir(parents=True)
            for i in range(n):
                small = rng.integers(0, 120, (12, 16, 3)) + 2 * number
                image = Image.fromarray(small.astype(np.uint8)).resize((500 - 30 * i, 375 - 20 * i))
                image.save(folder / f"{synset}_{i}.JPEG", quality=90)


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, rng = tmp_path_factory.mktemp("bucket"), np.random.default_rng(0)
    ids = write_design(root, rng)
    write_session(root, write_regions(root, rng), ids, rng)
    write_stimuli(root, ids, rng)
    return root


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def mirror(bucket: Path) -> Iterator[str]:
    """The address of a server of the bucket, on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(bucket))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("a home with spaces and ünicode")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NBTOOLS_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def fetched(home: Path, mirror: str) -> Study:
    """The study after the commands of data/README.md, up to the notebooks."""
    line = ["--mirror", mirror, "--agreed"]
    assert main(["fetch", "nsd", "--sessions", "1", "--rois", *HIERARCHY, *line]) == 0
    assert main(["fetch", "stimuli", *line]) == 0
    write_imagenet(home / "ILSVRC2012", np.random.default_rng(1))
    assert main(["prepare", "imagenet50", str(home / "ILSVRC2012")]) == 0
    return open_study("nsd")


def test_volumes_are_reduced_on_arrival(fetched: Study, bucket: Path) -> None:
    assert not list(fetched.need("nsd").rglob("betas_session*")), "1 GB became a few MB"
    prepared = list(fetched.responses.iterdir())
    assert [file.name for file in prepared] == ["session01.hdf5"]
    assert prepared[0].stat().st_size < 750 * sum(N_VOXELS.values()) * 2 + 1e6
    trials = load_trials(fetched, HIERARCHY, zscore=False, progress=False)
    volume = nib.load(bucket / f"nsddata_betas/{SPACE}/{nsd.BETA_VERSION}/betas_session01.nii.gz")
    sixth = np.asarray(volume.dataobj[..., 5])  # one of 750: the whole is 1 GB
    for roi, mask in nsd.roi_masks(fetched.need("nsd"), 1, HIERARCHY).items():
        assert trials[roi].responses.shape == (750, N_VOXELS[roi])
        np.testing.assert_allclose(trials[roi].responses[5], sixth[mask] / 300, rtol=1e-6)


def test_both_formats_give_the_same_numbers(fetched: Study, bucket: Path, tmp_path: Path) -> None:
    file = bucket / f"nsddata_betas/{SPACE}/{nsd.BETA_VERSION}/betas_session01.hdf5"
    masks = nsd.roi_masks(fetched.need("nsd"), 1, HIERARCHY)
    session = nsd.session_of(file, 1, masks, load_design(fetched), nsd.mask_grid(fetched.need("nsd"), 1))
    for roi, trials in load_trials(fetched, HIERARCHY, zscore=False, progress=False).items():
        np.testing.assert_allclose(session.responses[roi] / 300, trials.responses, rtol=1e-6)


def test_fetching_again_fetches_nothing(fetched: Study, mirror: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = {file: file.stat().st_mtime_ns for file in fetched.need("nsd").parent.rglob("*") if file.is_file()}
    assert main(["fetch", "nsd", "--sessions", "1", "--rois", "V1", "TO", "--mirror", mirror, "--agreed"]) == 0
    after = {file: file.stat().st_mtime_ns for file in before}
    assert after == before


@pytest.mark.slow
def test_the_doctor_knows_what_there_is(fetched: Study, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "nsd", "--deep"]) == 0
    told = capsys.readouterr().out
    assert "30000 trials of 10000 images, 1000 shared" in told
    assert "73000 images, 425 × 425 pixels" in told
    assert "50 classes, 200 images" in told
    assert "50 classes, 100 images; 0 of them are, byte by byte, in train too" in told
    assert "every file is as it was fetched" in told
    assert "fetch sessions 2–40: about 39 GB" in told


def run(notebook: str, **parameters: object) -> folders.Run:
    options = [word for name, value in parameters.items() for word in ("-p", name, str(value))]
    assert main(["run", notebook, "-p", "study", "nsd", *options]) == 0
    return folders.find(notebook, "nsd", **parameters)


@pytest.mark.notebook
def test_notebooks_run_on_it(fetched: Study) -> None:
    """One epoch each: what is shown is that the road is open, not that anything was learned."""
    file = folders.study_file("nsd")
    file.write_text(file.read_text().replace("image_size = 224", "image_size = 32"))  # minutes less on two cores
    ceilings = run("01_brain_responses").table("noise_ceilings").groupby("roi")["noise_ceiling"].mean()
    planted = 100 * 400**2 / (400**2 + 500**2 / 3)
    np.testing.assert_allclose(ceilings[list(HIERARCHY)], planted, atol=4)
    run("02_neural_predictors", roi="TO", epochs=1)
    network = run("03_guided_training", roi="TO", start="scratch", epochs=1, batch_size=50, augmentation="crop-flip")
    assert len(network.table("history")) > 0
    decisions = run("04_adversarial_attacks", roi="TO", steps=2, epsilons="1", n_images=20).table("decisions")
    assert decisions["image_id"].str.fullmatch(r"n\d{8}/n\d{8}_\d\.JPEG").all()
    record = folders.read_record(network.folder)
    assert record is not None
    assert record["voxels"]["betas"] == "b3"


def test_a_damaged_volume_is_named(home: Path, bucket: Path, mirror: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A whole transfer of a file that is broken on the server."""
    whole = bucket / f"nsddata_betas/{SPACE}/{nsd.BETA_VERSION}/betas_session01.nii.gz"
    broken = whole.with_name("betas_session02.nii.gz")
    broken.write_bytes(whole.read_bytes()[: 10**7])
    assert main(["fetch", "nsd", "--sessions", "2", "--rois", "TO", "--mirror", mirror, "--agreed"]) == 1
    told = capsys.readouterr().err
    assert "betas_session02.nii.gz" in told
    assert "the betas" in told
    assert not (open_study("nsd").responses / "session02.hdf5").exists()


def test_without_agreement_nothing_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mirror: str) -> None:
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))
    assert main(["fetch", "nsd", "--mirror", mirror]) == 1
    assert main(["fetch", "nsd", "--mirror", mirror, "--sessions", "1", "--dry-run"]) == 0
    assert not list(tmp_path.rglob("*"))


@pytest.mark.parametrize("text", ["x", "1-", "1--3", "1;2"])
def test_sessions_that_make_no_sense(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", "nsd", "--sessions", text, "--dry-run"]) == 1
    assert "these are no sessions" in capsys.readouterr().err


@pytest.mark.slow
def test_one_session_reduces_within_300_mb(fetched: Study, bucket: Path, tmp_path: Path) -> None:
    """In a process of its own, seven regions of a real-size session."""
    file = bucket / f"nsddata_betas/{SPACE}/{nsd.BETA_VERSION}/betas_session01.nii.gz"
    code = f"""
from dataclasses import replace
from pathlib import Path
from nbtools.data.brains.prepare_nsd import reduce_session
from nbtools.data.study import open_study
study = replace(open_study("nsd"), responses=Path({str(tmp_path)!r}))
reduce_session(study, 1, Path({str(file)!r}), {HIERARCHY!r})
print(next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
    peak = int(subprocess.check_output([sys.executable, "-c", code], text=True))
    assert peak < 300 * 1024
