"""The study's steps: which file is made of what. Finished files are left alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from threadpoolctl import threadpool_limits

from nbtools.data.synthetic.anatomy import Anatomy, build_anatomy
from nbtools.data.synthetic.corruptions import STRENGTHS, corrupt
from nbtools.data.synthetic.features import Matrix, feature_blocks
from nbtools.data.synthetic.files import (
    write_bytes,
    write_hdf5,
    write_mat,
    write_nifti,
    write_png,
    write_table,
    write_tensors,
)
from nbtools.data.synthetic.recipe import NOTE, RECIPE, REGIONS, Settings
from nbtools.data.synthetic.scenes import CLASSES, balanced, chunk_size, draw_latents, render
from nbtools.data.synthetic.subject import (
    Design,
    RegionTruth,
    Responses,
    draw_design,
    gather_responses,
    plant_region,
    session_betas,
)

Step = tuple[str, Callable[[], None]]  # what the progress bar says, and what is done
DESIGN = "nsd/nsddata/experiments/nsd/nsd_expdesign.mat"
STIMULI = "nsd/nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
README = f"""{NOTE}

nsd/             a small tree in the layout of the Natural Scenes Dataset, of one subject
classification/  train/<class>/ and val/<class>/: the object's texture always is that of its class
cue_conflict/    <shape class>/<shape class>-<texture class>-<number>.png: texture of another class
corruptions/     <corruption>/<severity>/<class>/: a fifth of the classification images, in ImageNet-C's layout
scanner_labels.parquet  the category of each scanner image: image_id (row of the stimuli), label (class name)
truth/           what was planted: noise ceilings, tuning, noise-free signals, latent variables of the scenes
study.toml       describes the study to nbtools

Betas are zero outside visual cortex. Some voxels of V1 and TO are dead (always zero): truth/subject.json.
"""


@dataclass(frozen=True)
class World:
    """A simulated study in the making.

    Attributes
    ----------
    folder : Path
        Where its files go.
    settings : Settings
        What decides their bytes.
    """

    folder: Path
    settings: Settings

    @property
    def space(self) -> str:
        """The subject's part of NSD's paths."""
        return f"ppdata/subj{self.settings.subject:02d}/func1pt8mm"

    def steps(self) -> list[Step]:
        """Return all steps in order; each skips the files that are there."""
        roi = f"nsd/nsddata/{self.space}/roi"
        files: list[tuple[str, Callable[[Path], None]]] = [
            (STIMULI, lambda path: write_hdf5(path, "imgBrick", self.stimuli)),
            ("truth/scanner.parquet", lambda path: write_table(path, self.scanner_truth())),
            ("scanner_labels.parquet", lambda path: write_table(path, self.scanner_labels())),
            (DESIGN, lambda path: write_mat(path, self.design_variables())),
            (f"{roi}/Kastner2015.nii.gz", lambda path: write_nifti(path, self.anatomy.kastner)),
            (f"{roi}/nsdgeneral.nii.gz", lambda path: write_nifti(path, self.anatomy.nsdgeneral)),
            ("truth/features.safetensors", lambda path: write_tensors(path, self.features)),
            *((f"truth/{name}.safetensors", partial(self.write_region, name)) for name in REGIONS),
            ("truth/subject.json", lambda path: write_bytes(path, _json(self.subject_facts()))),
        ]
        last: list[tuple[str, Callable[[Path], None]]] = [
            ("README.txt", lambda path: write_bytes(path, README.encode())),
            ("study.toml", lambda path: write_bytes(path, self.description())),
        ]
        sessions = range(1, self.settings.sizes.sessions + 1)
        return [
            *self.picture_steps("classification", self.classification),
            *self.picture_steps("cue_conflict", self.cue_conflict),
            *((kind, partial(self.make_corrupted, kind)) for kind in STRENGTHS),
            *((Path(name).name, partial(self.make, name, write)) for name, write in files),
            *((f"session {session}", partial(self.make_session, session)) for session in sessions),
            *((name, partial(self.make, name, write)) for name, write in last),
        ]

    def make(self, name: str, write: Callable[[Path], None]) -> None:
        """Write one file unless it is there."""
        path = self.folder / name
        if not path.exists():
            write(path)

    # Pictures in folders

    @cached_property
    def classification(self) -> pd.DataFrame:
        """Latents of the classification images: texture follows shape."""
        sizes, parts = self.settings.sizes, []
        for split, per_class in (("train", sizes.train_per_class), ("val", sizes.val_per_class)):
            shape = np.arange(per_class * len(CLASSES)) % len(CLASSES)
            latents = self._latents(f"classification-{split}", shape, shape)
            names = [f"{split}/{CLASSES[k]}/{CLASSES[k]}-{i // len(CLASSES):04d}.png" for i, k in enumerate(shape)]
            latents.insert(0, "file", names)
            parts.append(latents)
        return pd.concat(parts, ignore_index=True)

    @cached_property
    def cue_conflict(self) -> pd.DataFrame:
        """Latents of the cue-conflict images: shape and texture of different classes, both balanced."""
        index = np.arange(self.settings.sizes.cue_conflict)
        shape = index % len(CLASSES)
        texture = (shape + 1 + index // len(CLASSES) % (len(CLASSES) - 1)) % len(CLASSES)
        latents = self._latents("cue_conflict", shape, texture)
        pairs = [(CLASSES[s], CLASSES[t]) for s, t in zip(shape, texture, strict=True)]
        latents.insert(0, "file", [f"{s}/{s}-{t}-{i:03d}.png" for i, (s, t) in enumerate(pairs)])
        return latents

    def picture_steps(self, part: str, latents: pd.DataFrame) -> list[Step]:
        """Return the steps that draw a folder of pictures, and the table of their latents."""
        chunk = chunk_size(self.settings.image_size)
        starts = range(0, len(latents), chunk)
        draw = [(part, partial(self.make_pictures, part, latents.iloc[i : i + chunk], i)) for i in starts]
        table = partial(self.make, f"truth/{part}.parquet", lambda path: write_table(path, latents))
        return [*draw, (f"{part} latents", table)]

    def make_pictures(self, part: str, latents: pd.DataFrame, start: int) -> None:
        """Render a chunk of pictures and write those that are not there."""
        paths = [self.folder / part / name for name in latents["file"]]
        if all(path.exists() for path in paths):
            return
        for path, pixels in zip(paths, self._render(part, latents, start), strict=True):
            if not path.exists():
                write_png(path, pixels)

    def make_corrupted(self, kind: str) -> None:
        """Corrupt the first fifth of the classification images of each class, at every severity."""
        n = self.settings.sizes.val_per_class // 5
        names = [f"{name}/{name}-{i:04d}.png" for name in CLASSES for i in range(n)]
        clean: NDArray[np.uint8] | None = None
        for severity in range(1, 6):
            paths = [self.folder / "corruptions" / kind / str(severity) / name for name in names]
            if all(path.exists() for path in paths):
                continue
            if clean is None:
                folder = self.folder / "classification" / "val"
                clean = np.stack([np.asarray(Image.open(folder / name, formats=["PNG"])) for name in names])
            rng = self.settings.generator("corruptions", kind, severity)
            for path, pixels in zip(paths, corrupt(clean, kind, severity, rng), strict=True):
                if not path.exists():
                    write_png(path, pixels)

    def _latents(self, part: str, shape: NDArray[np.integer], texture: NDArray[np.integer]) -> pd.DataFrame:
        return draw_latents(self.settings.generator("latents", part), shape, texture, self.settings.image_size)

    def _render(self, part: str, latents: pd.DataFrame, start: int) -> NDArray[np.uint8]:
        return render(latents, self.settings.image_size, self.settings.generator("render", part, start))

    # The scanner

    @cached_property
    def scanner(self) -> pd.DataFrame:
        """Latents of the scanner's images in the order of ``imgBrick``: texture independent of shape."""
        n = self.settings.sizes.images
        shape = balanced(self.settings.generator("shape", "scanner"), n)
        return self._latents("scanner", shape, balanced(self.settings.generator("texture", "scanner"), n))

    @cached_property
    def stimuli(self) -> NDArray[np.uint8]:
        """The scanner's images, (n, size, size, 3)."""
        path = self.folder / STIMULI
        if path.exists():
            with h5py.File(path) as file:
                return file["imgBrick"][:]
        chunk = chunk_size(self.settings.image_size)
        starts = range(0, len(self.scanner), chunk)
        return np.concatenate([self._render("scanner", self.scanner.iloc[i : i + chunk], i) for i in starts])

    def scanner_truth(self) -> pd.DataFrame:
        """Latents of the scanner's images, with their ids (0-based rows of ``imgBrick``)."""
        image_id = np.arange(len(self.scanner))
        ids = {"image_id": image_id, "shared": np.isin(image_id, self.design.sharedix - 1)}
        return pd.concat([pd.DataFrame(ids), self.scanner], axis=1)

    def scanner_labels(self) -> pd.DataFrame:
        """The object category of each scanner image, which an experimenter would know."""
        return pd.DataFrame(
            {"image_id": np.arange(len(self.scanner)), "label": np.take(CLASSES, self.scanner["shape"])}
        )

    @cached_property
    def design(self) -> Design:
        """Which image each trial shows."""
        return draw_design(self.settings)

    def design_variables(self) -> dict[str, NDArray[np.integer]]:
        """The design as the MATLAB file names it, row vectors."""
        design = self.design
        return {
            "masterordering": design.masterordering[None],
            "subjectim": design.subjectim,
            "sharedix": design.sharedix[None],
        }

    # The subject

    @cached_property
    def anatomy(self) -> Anatomy:
        """Label volumes and planted voxels."""
        return build_anatomy(self.settings)

    @cached_property
    def features(self) -> dict[str, Matrix]:
        """Feature blocks of the scanner's images."""
        with threadpool_limits(1):  # the number of threads changes the last bits of a matrix product
            return feature_blocks(self.stimuli, self.scanner)

    @cached_property
    def regions(self) -> dict[str, RegionTruth]:
        """What is planted in each region."""
        features = self.features
        with threadpool_limits(1):
            return {name: plant_region(name, features, self.settings) for name in REGIONS}

    @cached_property
    def responses(self) -> Responses:
        """What all scanned voxels do."""
        return gather_responses(self.anatomy, self.regions, self.settings)

    def write_region(self, name: str, path: Path) -> None:
        """Write down what is planted in a region."""
        truth = self.regions[name]
        tensors: dict[str, NDArray[np.generic]] = {
            "ijk": self.anatomy.live[name],
            "dead_ijk": self.anatomy.dead[name],
            "noise_ceiling": truth.noise_ceiling,
            "signal": truth.signal,
            "image_id": np.arange(len(truth.signal)),
            **{f"tuning.{block}": weights for block, weights in truth.tuning.items()},
        }
        write_tensors(path, tensors)

    def subject_facts(self) -> dict[str, object]:
        """What is planted, in words and small numbers."""
        labels = self.settings.category_labels
        return {
            "note": NOTE,
            "weights": {name: region.shares(labels) for name, region in REGIONS.items()},
            "voxels": {name: region.voxels for name, region in REGIONS.items()},
            "dead_voxels": {name: voxels.tolist() for name, voxels in self.anatomy.dead.items() if len(voxels)},
        }

    def make_session(self, session: int) -> None:
        """Write one session of betas; the last one exists as HDF5 only."""
        last = session == self.settings.sizes.sessions
        betas_folder = self.folder / "nsd/nsddata_betas" / self.space / "betas_fithrf_GLMdenoise_RR"
        path = betas_folder / f"betas_session{session:02d}.{'hdf5' if last else 'nii.gz'}"
        if path.exists():
            return
        betas = session_betas(session, self.anatomy, self.responses, self.design, self.settings)
        if last:
            write_hdf5(path, "betas", betas, compress=True)
        else:
            write_nifti(path, betas.T)  # trials × z × y × x reversed: the NIfTI's x × y × z × trials

    def description(self) -> bytes:
        """The contents of study.toml."""
        settings = self.settings
        weights = {f"{name}_category_weight": r.category for name, r in REGIONS.items() if r.category}
        entries = {
            "name": settings.name,
            "simulated": True,
            "note": NOTE,
            "nsd": "nsd",
            "subject": settings.subject,
            "classification": "classification",
            "cue_conflict": "cue_conflict",
            "corruptions": "corruptions",
            "scanner_labels": "scanner_labels.parquet",
            "image_size": settings.image_size,
            "seed": settings.seed,
            "profile": settings.profile,
            "category_labels": settings.category_labels,
            **(weights if settings.category_labels else {}),
        }
        # JSON's strings, numbers and booleans are TOML's too.
        return "".join(f"{key} = {json.dumps(value)}\n" for key, value in entries.items()).encode()

    def identity(self) -> bytes:
        """The contents of settings.json, which tells whether a folder holds this study."""
        return _json({"recipe": RECIPE, **asdict(self.settings)})


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()
