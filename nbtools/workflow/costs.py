"""What a run costs: images that pass networks, counted from a notebook's parameters and the size of the study."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbtools.conditions import REGIONS, parse_condition
from nbtools.data.study import Study
from nbtools.data.synthetic.recipe import PROFILES
from nbtools.runs import folders
from nbtools.runs.several import taken_over
from nbtools.workflow.config import Config, is_simulated
from nbtools.workflow.graph import CLOUDS, NETWORKS, PREDICTORS, Job

Work = Mapping[str, float]  # kind of pass → images; the kinds are those of `Rates`, and `ARITHMETIC`: seconds
Rates = Mapping[str, float]  # kind of pass → seconds an image

ARITHMETIC, START = "arithmetic", "start"  # seconds of a core beside networks; of a notebook's kernel and imports
TRAINERS = (PREDICTORS, NETWORKS, CLOUDS)
ON_GPU = (*TRAINERS, "04_adversarial_attacks", "06_smoothness_and_transfer", "11_attacks_and_audit")


@dataclass(frozen=True)
class Sizes:
    """How much of everything a study has.

    Attributes
    ----------
    image_size : int
        Side in pixels.
    train, val, conflict, corrupted : int
        Images to train on, to test with, cue-conflict images, corrupted images of all kinds and severities.
    scanner, shared : int
        Images of the scanner, and those among them that all subjects saw.
    voxels : int
        Of a region.
    """

    image_size: int
    train: int
    val: int
    conflict: int
    corrupted: int
    scanner: int
    shared: int
    voxels: int


# Assumed of what is not there yet: ImageNet-50 and a subject of NSD with all 40 sessions.
ASSUMED = Sizes(
    image_size=224,
    train=64_000,
    val=2_500,
    conflict=1_280,
    corrupted=0,
    scanner=10_000,
    shared=1_000,
    voxels=1_500,
)
_FEW_VOXELS = 200  # of a simulated region
# Seconds of one core for an image, per pixel, where nothing was measured: slow machines, so that no job is cut short.
SLOW = {"resnet18": 2.5e-6, "small_resnet": 6e-7}
GPU_SPEEDUP = 50  # of a GPU over one such core, an old one
# A climb that succeeds ends, and who stands at a large ε is not attacked at a smaller one: share of all steps.
CLIMBED = 0.45
# Gradients and passes that one step of an attack takes, and whether it starts anew at every ε.
_ATTACKS: dict[str, tuple[float, float, bool]] = {
    "PGD": (1, 1, True),
    "FMN": (1, 1, False),
    "DeepFool": (10, 1, False),
    "CarliniWagner": (9, 9, False),
    "BrendelBethge": (1, 20, False),
    "AutoAttack": (20, 60, True),
    "Square": (0, 50, True),
    "Noise": (0, 1, True),
}


def sizes_of(source: Study | None, config: Config) -> Sizes:
    """Return a study's size: counted where its data are, of its profile where it is to be made, else assumed."""
    if source is None and not is_simulated(str(config.get("study", "demo"))):
        return ASSUMED
    if source is None:
        made = PROFILES[str(config.get("profile", "demo"))]
        val = 10 * made.val_per_class
        return Sizes(
            32, 10 * made.train_per_class, val, made.cue_conflict, 25 * val, made.images, made.shared, _FEW_VOXELS
        )
    images, known = source.classification, ASSUMED
    scanner = _scanner_images(source)
    val = _count(images and images / "val", known.val)
    kinds = len(_folders(source.corruptions))
    return Sizes(
        image_size=source.image_size,
        train=_count(images and images / "train", known.train),
        val=val,
        conflict=_count(source.cue_conflict, known.conflict),
        corrupted=5 * kinds * val,
        scanner=scanner,
        shared=min(known.shared, scanner // 10),
        voxels=_FEW_VOXELS if source.simulated else known.voxels,
    )


def _scanner_images(source: Study) -> int:
    if source.nsd is not None and not source.simulated:  # its stimuli are those of all subjects
        from nbtools.data.fetch.catalogue import N_SESSIONS

        return 250 * N_SESSIONS[source.subject - 1]
    if not source.stimuli.is_file():
        return ASSUMED.scanner
    import h5py

    with h5py.File(source.stimuli, "r") as store:
        return len(store["imgBrick"])


def _folders(folder: Path | None) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir()] if folder and folder.is_dir() else []


def _count(folder: Path | None, assumed: int) -> int:
    """Count the images of a folder, by names alone."""
    classes = _folders(folder)
    return sum(len(os.listdir(part)) for part in classes) if classes else assumed


def parameters_of(job: Job) -> dict[str, Any]:
    """Return all of a run's parameters, those left at their defaults too, and those it takes over from another run."""
    own = {**folders.defaults(job.notebook), **folders.typed(job.notebook, job.parameters)}
    if job.notebook != CLOUDS:
        return own
    trained_as = {**folders.defaults(NETWORKS), **folders.typed(NETWORKS, job.trained_as)}
    return {**taken_over(NETWORKS, trained_as, own["changes"]), **own}


# --- work ---------------------------------------------------------------------------------------------------


def training_kind(parameters: Mapping[str, Any]) -> str:
    """Name the kind of pass that a training step is: its rate depends on all of these."""
    return f"trained {parameters['architecture']} {parameters['precision']} {parameters['batch_size']}"


def work_of(job: Job, sizes: Sizes, architecture: str) -> Work:
    """Count the work of a run.

    Parameters
    ----------
    job : Job
        The run.
    sizes : Sizes
        Of its study.
    architecture : str
        Of the study's networks.

    Returns
    -------
    mapping
        Images that are trained on, that pass, whose pixels' gradient is taken (``"trained <architecture> <precision>
        <batch size>"``, ``"passed <architecture>"``, ``"gradient <architecture>"``), and seconds of arithmetic.
    """
    values = parameters_of(job)
    count = _COUNTS.get(job.notebook, _nothing)(values, sizes)
    names = {
        "trained": training_kind(values) if job.notebook in TRAINERS else "",
        "passed": f"passed {values.get('architecture', architecture)}",
        "gradient": f"gradient {architecture}",
        ARITHMETIC: ARITHMETIC,
    }
    return {names[kind]: float(n) for kind, n in count.items() if n}


class Counts(dict[str, float]):
    """How many images are trained on, passed, or have their pixels' gradient taken; seconds of arithmetic. They add."""

    def __add__(self, other: Mapping[str, float]) -> Counts:
        return Counts({kind: self.get(kind, 0.0) + other.get(kind, 0.0) for kind in {*self, *other}})

    def __mul__(self, times: float) -> Counts:
        return Counts({kind: n * times for kind, n in self.items()})


def _nothing(values: Mapping[str, Any], sizes: Sizes) -> Counts:
    return Counts(arithmetic=5)


def _predictor(values: Mapping[str, Any], sizes: Sizes) -> Counts:
    own = sizes.scanner - sizes.shared
    passed = values["epochs"] * 0.1 * own + sizes.shared
    return Counts(trained=values["epochs"] * 0.9 * own, passed=passed, arithmetic=3)


def _network(values: Mapping[str, Any], sizes: Sizes) -> Counts:
    condition = parse_condition(values["roi"])
    validated = values["validation_fraction"] * sizes.train
    n_train = sizes.train - validated + (sizes.scanner - sizes.shared if condition.kind == "labels" else 0)
    guided = condition.roi is not None
    passed = values["epochs"] * (validated * (1 + guided) + n_train * guided) + sizes.train * guided
    return Counts(trained=values["epochs"] * n_train, passed=passed, arithmetic=3)


def _attacked(names: str, steps: int, n_epsilons: int, n_images: float) -> Counts:
    total = Counts()
    for name in names.split():
        kind = name.removeprefix("Linf").removeprefix("L2")
        if kind in ("FGSM", "FGM"):  # one step at every ε
            total += Counts(gradient=n_images * n_epsilons, passed=n_images * (2 * n_epsilons + 1))
            continue
        gradients, passes, anew = _ATTACKS[kind]
        n = n_images * steps * (n_epsilons * CLIMBED if anew else 1)
        total += Counts(gradient=n * gradients, passed=n * passes + n_images * (n_epsilons + 1))
    return total


def _attack(values: Mapping[str, Any], sizes: Sizes) -> Counts:
    n = min(values["n_images"], sizes.val)
    n_epsilons = len(values["epsilons"].split())
    shown = _attacked(values["attacks"].split()[0], values["steps"], 1, 5)
    return _attacked(values["attacks"], values["steps"], n_epsilons, n) + shown + Counts(arithmetic=3)


def _explorer(values: Mapping[str, Any], sizes: Sizes) -> Counts:
    n_networks, levels = len(values["rois"].split()), len(values["epsilons"].split())
    return _attacked(values["attack"], values["steps"], levels, 2 * n_networks) + Counts(arithmetic=5)


def _smoothness(values: Mapping[str, Any], sizes: Sizes) -> Counts:
    n, n_networks = min(values["n_images"], sizes.val), _n_networks(values)
    budgets = [level for level in map(float, values["epsilons"].split()) if level > 0]
    climbed = _attacked("LinfPGD", values["steps"], len(budgets) + 1, n * n_networks)
    measured = Counts(gradient=n * n_networks * (len(budgets) + 1), passed=n * n_networks**2 + 3 * 20 * 15**2)
    return climbed + measured + Counts(arithmetic=10)


def _shape(values: Mapping[str, Any], sizes: Sizes) -> Counts:
    return Counts(passed=_n_networks(values) * sizes.conflict, arithmetic=10)


def _rsa(values: Mapping[str, Any], sizes: Sizes) -> Counts:
    names = values["rois"].split()
    n_rdms = 2 * len(names) + 2 * sum(name in REGIONS for name in names)
    n_images = min(values["n_images"] or sizes.shared, sizes.shared)
    compared = values["n_boot"] * n_rdms**2 * n_images**2 / 2
    return Counts(passed=n_rdms * n_images, arithmetic=15 + compared * 4e-9)


def _manifolds(values: Mapping[str, Any], sizes: Sizes) -> Counts:
    spaces = _n_networks(values) * (1 + len(values["readouts"].split()))
    drawn = values["n_draws"] * values["n_samples"] * values["n_points"]
    n_images = sizes.shared + 0.1 * (sizes.scanner - sizes.shared)
    return Counts(passed=2 * _n_networks(values) * n_images, arithmetic=15 + spaces * (1 + drawn * 1e-4))


def _audit(values: Mapping[str, Any], sizes: Sizes) -> Counts:
    n, steps, names = min(values["n_images"], sizes.val), values["steps"], values["attacks"].split()
    total = Counts(arithmetic=10)
    for name in names:
        n_epsilons = len((values["lengths"] if name.startswith("L2") else values["epsilons"]).split())
        total += _attacked(name, steps, n_epsilons, n)
    # nbtools.attacks.audit: each ε apart, without bound, four times the steps, four starts; Square; noise
    n_epsilons = len(values["epsilons"].split())
    audited = _attacked("LinfPGD", steps, 9 * n_epsilons + 1, n) + _attacked(
        "LinfSquare LinfNoise", steps, n_epsilons, n
    )
    n_networks = len(values["rois"].split())
    return (total + audited) * n_networks


def _clouds(values: Mapping[str, Any], sizes: Sizes) -> Counts:
    validated = values["validation_fraction"] * sizes.train
    trained = values["epochs"] * (sizes.train - validated)
    passed = values["epochs"] * validated + 2 * sizes.train + 4 * validated
    n = 3 * min(values["n_images"], sizes.val)
    climbed = _attacked("LinfPGD", values["steps"], len(values["epsilons"].split()), n)
    return Counts(trained=trained, passed=passed, arithmetic=10) + climbed


def _geometry(values: Mapping[str, Any], sizes: Sizes) -> Counts:
    n_networks = len(values["rois"].split()) + len(values["controls"].split())
    return Counts(passed=n_networks * (sizes.shared + sizes.val), arithmetic=30 + 4 * n_networks)


def _corruptions(values: Mapping[str, Any], sizes: Sizes) -> Counts:
    return Counts(passed=_n_networks(values) * (sizes.corrupted + sizes.val), arithmetic=10)


def _n_networks(values: Mapping[str, Any]) -> int:
    return len(values["rois"].split()) * len(values["seeds"].split())


_COUNTS = {
    "02_neural_predictors": _predictor,
    "03_guided_training": _network,
    "04_adversarial_attacks": _attack,
    "05_attack_explorer": _explorer,
    "06_smoothness_and_transfer": _smoothness,
    "07_shape_bias": _shape,
    "08_rsa": _rsa,
    "09_manifolds": _manifolds,
    "11_attacks_and_audit": _audit,
    "13_manifold_guidance": _clouds,
    "14_brain_and_geometry": _geometry,
    "17_natural_corruptions": _corruptions,
}


# --- time -------------------------------------------------------------------------------------


def seconds_of(work: Work, rates: Rates) -> float:
    """Return how long a run takes, its kernel's start included."""
    return rates[START] + sum(n * (1 if kind == ARITHMETIC else rates[kind]) for kind, n in work.items())


def slow_rates(works: list[Work], image_size: int, gpu: bool) -> Rates:
    """Return rates for all kinds of pass where nothing was measured, on the slow side."""
    shares = {"trained": 1.0, "gradient": 1.0, "passed": 0.4}
    kinds = {kind for work in works for kind in work if kind != ARITHMETIC}
    found = {}
    for kind in kinds:
        how, architecture = kind.split()[:2]
        found[kind] = shares[how] * SLOW[architecture] * image_size**2 / (GPU_SPEEDUP if gpu else 1)
    return {**found, START: 30.0}
