"""The study's steps: which file is made of what. Finished files are left alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from threadpoolctl import threadpool_limits

from nbtools.conditions import HIERARCHY
from nbtools.data.study import STIMULI as IN_NSD, as_toml
from nbtools.data.synthetic.anatomy import Anatomy, build_anatomy
from nbtools.data.synthetic.corruptions import STRENGTHS, corrupt
from nbtools.data.synthetic.dorsal import Dorsal, plant_dorsal
from nbtools.data.synthetic.features import Matrix, feature_blocks
from nbtools.data.synthetic.files import as_hdf5, as_json, as_mat, as_nifti, as_parquet, as_png, as_tensors, write_bytes
from nbtools.data.synthetic.recipe import DORSAL_REGIONS, NOTE, RECIPE, Settings, dorsal_regions, regions
from nbtools.data.synthetic.scenes import (
    CLASSES,
    FURTHER,
    balanced,
    chunk_size,
    draw_latents,
    render,
    render_silhouettes,
)
from nbtools.data.synthetic.subject import (
    Design,
    RegionTruth,
    Responses,
    draw_design,
    gather_responses,
    plant_region,
    session_betas,
)
from nbtools.data.synthetic.verdicts import VERDICTS, verdicts_in
from nbtools.files import opened_hdf5

Step = tuple[str, Callable[[], None]]  # what the progress bar says, and what is done
Content = Callable[[], bytes]
STIMULI = f"nsd/{IN_NSD}"
OTHERS = "others"  # folder of what is drawn only when it is asked for
README = f"""{NOTE}

nsd/             a small tree in the layout of the Natural Scenes Dataset, of one subject
classification/  train/<class>/ and val/<class>/: the object's texture always is that of its class
cue_conflict/    <shape class>/<shape class>-<texture class>-<number>.png: texture of another class
corruptions/     <corruption>/<severity>/<class>/: a fifth of the classification images, in ImageNet-C's layout
scanner_labels.parquet  the category of each scanner image: image_id (row of the stimuli), label (class name)
truth/           what was planted: noise ceilings, tuning, noise-free signals, latent variables of the scenes;
                 and what each analysis should therefore find: verdicts.json
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

    def steps(self) -> list[Step]:
        """Return all steps in order; each skips the files that are there."""
        return [
            *self.scene_steps("classification", self.classification),
            *self.scene_steps("cue_conflict", self.cue_conflict),
            *self.corruption_steps(),
            *((Path(name).name, partial(self.make, name, content)) for name, content in self.files().items()),
        ]

    def make(self, name: str, content: Content) -> None:
        """Write one file unless it is there."""
        path = self.folder / name
        if not path.exists():
            write_bytes(path, content())

    def files(self) -> dict[str, Content]:
        """What each file but the pictures in folders holds; `study.toml`, the last, says that all are there."""
        space, n_sessions = f"ppdata/subj{self.settings.subject:02d}/func1pt8mm", self.settings.sizes.sessions
        betas = f"nsd/nsddata_betas/{space}/betas_fithrf_GLMdenoise_RR/betas_session"
        return {
            STIMULI: lambda: as_hdf5("imgBrick", self.stimuli),
            "truth/scanner.parquet": lambda: as_parquet(self.scanner_truth()),
            "scanner_labels.parquet": lambda: as_parquet(self.scanner_labels()),
            "nsd/nsddata/experiments/nsd/nsd_expdesign.mat": lambda: as_mat(vars(self.design)),
            f"nsd/nsddata/{space}/roi/Kastner2015.nii.gz": lambda: as_nifti(self.labelled("kastner")),
            f"nsd/nsddata/{space}/roi/nsdgeneral.nii.gz": lambda: as_nifti(self.labelled("nsdgeneral")),
            "truth/features.safetensors": lambda: as_tensors(self.features),
            **{f"truth/{name}.safetensors": partial(self.region_truth, name) for name in HIERARCHY},
            **self.dorsal_files(),
            "truth/subject.json": lambda: as_json(self.subject_facts()),
            VERDICTS: lambda: as_json(verdicts_in(self.settings.truth)),
            **{f"{betas}{number:02d}.nii.gz": partial(self.volume, number) for number in range(1, n_sessions)},
            # the last session exists as HDF5 only
            f"{betas}{n_sessions:02d}.hdf5": lambda: as_hdf5("betas", self.betas(n_sessions), compress=True),
            "README.txt": README.encode,
            "study.toml": self.description,
        }

    def dorsal_files(self) -> dict[str, Content]:
        """What the files of the dorsal regions' truth hold, where there are such regions."""
        if not self.settings.dorsal:
            return {}
        regions = {f"truth/{name}.safetensors": partial(self.region_truth, name) for name in DORSAL_REGIONS}
        return {"truth/features_dorsal.safetensors": lambda: as_tensors(self.dorsal.features), **regions}

    # Pictures in folders

    @cached_property
    def classification(self) -> pd.DataFrame:
        """Latents of the classification images: texture follows shape."""
        return self._classified("classification", CLASSES, 0)

    def _classified(self, part: str, classes: tuple[str, ...], first: int) -> pd.DataFrame:
        """Latents of images to train on and to validate with, of classes whose shapes begin with the first."""
        sizes, parts, n = self.settings.sizes, [], len(classes)
        for split, per_class in (("train", sizes.train_per_class), ("val", sizes.val_per_class)):
            kind = np.arange(per_class * n) % n
            latents = self._latents(f"{part}-{split}", first + kind, kind)
            names = [f"{split}/{classes[k]}/{classes[k]}-{i // n:04d}.png" for i, k in enumerate(kind)]
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

    def scene_steps(self, part: str, latents: pd.DataFrame) -> Iterator[Step]:
        """Give the steps that draw a folder of pictures, and the table of their latents."""
        chunk = chunk_size(self.settings.image_size)
        for start in range(0, len(latents), chunk):
            drawn = latents.iloc[start : start + chunk]
            yield part, partial(self.draw, part, list(drawn["file"]), partial(self._render, part, drawn, start))
        yield f"{part} latents", partial(self.make, f"truth/{part}.parquet", lambda: as_parquet(latents))

    def corruption_steps(self) -> Iterator[Step]:
        """Give the steps that corrupt the first fifth of the validation images of each class, at every severity."""
        n = self.settings.sizes.val_per_class // 5
        names = [f"{name}/{name}-{i:04d}.png" for name in CLASSES for i in range(n)]
        for kind in STRENGTHS:
            for severity in range(1, 6):
                corrupted = partial(self._corrupted, names, kind, severity)
                yield kind, partial(self.draw, f"corruptions/{kind}/{severity}", names, corrupted)

    def draw(self, part: str, names: list[str], pictures: Callable[[], NDArray[np.uint8]]) -> None:
        """Draw some pictures of a folder, if one of them is not there, and write those that are not."""
        paths = [self.folder / part / name for name in names]
        if all(path.exists() for path in paths):
            return
        for path, pixels in zip(paths, pictures(), strict=True):
            if not path.exists():
                write_bytes(path, as_png(pixels))

    def _latents(self, part: str, shape: NDArray[np.integer], texture: NDArray[np.integer]) -> pd.DataFrame:
        return draw_latents(self.settings.generator("latents", part), shape, texture, self.settings.image_size)

    def _render(self, part: str, latents: pd.DataFrame, start: int) -> NDArray[np.uint8]:
        return render(latents, self.settings.image_size, self.settings.generator("render", part, start))

    # Other images: no part of the study, and drawn without changing it

    def other_steps(self) -> Iterator[Step]:
        """Give the steps that draw silhouettes of the validation images, and images of further categories."""
        chunk = chunk_size(self.settings.image_size)
        tested = self.classification[self.classification["file"].str.startswith("val/")]
        for start in range(0, len(tested), chunk):
            drawn = tested.iloc[start : start + chunk]
            pictures = partial(render_silhouettes, drawn, self.settings.image_size)
            names = list(drawn["file"].str.removeprefix("val/"))
            yield "silhouettes", partial(self.draw, f"{OTHERS}/silhouettes", names, pictures)
        yield from self.scene_steps(f"{OTHERS}/categories", self.categories)

    @cached_property
    def categories(self) -> pd.DataFrame:
        """Latents of images of categories that are not the study's; as in its own, texture follows shape."""
        return self._classified("categories", FURTHER, len(CLASSES))

    def _corrupted(self, names: list[str], kind: str, severity: int) -> NDArray[np.uint8]:
        folder = self.folder / "classification" / "val"
        clean = np.stack([np.asarray(Image.open(folder / name, formats=["PNG"])) for name in names])
        return corrupt(clean, kind, severity, self.settings.generator("corruptions", kind, severity))

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
            again = {"expected": "the images that were drawn for this study", "fix": "delete it: it is drawn again"}
            with opened_hdf5(path, "the stimuli cannot be read", **again) as file:
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
            return {
                name: plant_region(name, region, features, self.settings)
                for name, region in regions(self.settings.truth).items()
            }

    @cached_property
    def dorsal(self) -> Dorsal:
        """The dorsal regions."""
        return plant_dorsal(self.anatomy, self.features, self.scanner, self.settings)

    def labelled(self, volume: str) -> NDArray[np.int16]:
        """Return a label volume, by its name in `Anatomy`, with all regions there are."""
        labels: NDArray[np.int16] = getattr(self.anatomy, volume)
        if not self.settings.dorsal:
            return labels
        more: NDArray[np.int16] = getattr(self.dorsal.anatomy, volume)
        return np.where(more > 0, more, labels)

    @cached_property
    def responses(self) -> Responses:
        """What all scanned voxels do."""
        return gather_responses(self.anatomy, self.regions, self.settings)

    def region_truth(self, name: str) -> bytes:
        """What is planted in a region, as safetensors."""
        part = self.dorsal if name in DORSAL_REGIONS else self
        truth = part.regions[name]
        return as_tensors(
            {
                "ijk": part.anatomy.live[name],
                "dead_ijk": part.anatomy.dead[name],
                "noise_ceiling": truth.noise_ceiling,
                "signal": truth.signal,
                "image_id": np.arange(len(truth.signal)),
                **{f"tuning.{block}": weights for block, weights in truth.tuning.items()},
            }
        )

    def subject_facts(self) -> dict[str, object]:
        """What is planted, in words and small numbers."""
        planted = regions(self.settings.truth)
        if self.settings.dorsal:
            planted |= dorsal_regions(self.settings.truth)
        return {
            "note": NOTE,
            "truth": self.settings.truth,
            "weights": {name: region.weights for name, region in planted.items()},
            "noise_ceiling": {name: region.ceiling for name, region in planted.items()},
            "dead_voxels": {name: voxels.tolist() for name, voxels in self.anatomy.dead.items() if len(voxels)},
        }

    def betas(self, session: int) -> NDArray[np.int16]:
        """One session's betas: (750, z, y, x)."""
        betas = session_betas(session, self.anatomy, self.responses, self.design, self.settings)
        return betas + self.dorsal.betas(session, self.design) if self.settings.dorsal else betas

    def volume(self, session: int) -> bytes:
        """One session's betas as NIfTI."""
        return as_nifti(self.betas(session).T)  # trials × z × y × x reversed: the NIfTI's x × y × z × trials

    def description(self) -> bytes:
        """The contents of study.toml."""
        settings = self.settings
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
            "truth": settings.truth,
        }
        if settings.dorsal:
            entries["dorsal"] = list(DORSAL_REGIONS)
        return as_toml(entries).encode()

    def identity(self) -> bytes:
        """The contents of settings.json, which tells whether a folder holds this study."""
        settings = asdict(self.settings)
        if not self.settings.dorsal:  # as it was before there were such regions
            del settings["dorsal"]
        return as_json({"recipe": RECIPE, **settings})
