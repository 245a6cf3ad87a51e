"""Tables and arrays of the size of a whole study, for every public figure (gallery.py)."""

from __future__ import annotations

from itertools import product
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd

from nbtools.conditions import CONDITIONS, HIERARCHY
from nbtools.data.brains.anatomy import PLANES, Slice, Surface
from nbtools.plots.brain.rsa import SOURCES
from nbtools.plots.geometry.manifolds import PANELS
from nbtools.plots.robustness.attacks import _MEASURES

RNG = np.random.default_rng(0)
NAMES = ("none", "random", "V1-shuffle", "TO-shuffle", "labels-guide", *HIERARCHY)
CLASSES = ("bear", "bicycle", "bird", "boat", "bottle", "car", "cat", "chair", "clock", "dog")
LEVELS = (0.0, 1.0, 2.0, 4.0, 8.0)
EPSILONS = tuple(level / 255 for level in LEVELS)


def rows(value: str = "accuracy", **axes: Any) -> pd.DataFrame:
    """One row per combination, with a value between .1 and .9 and an interval around it."""
    table = pd.DataFrame(list(product(*axes.values())), columns=list(axes))
    drawn = RNG.uniform(0.1, 0.9, len(table))
    return table.assign(**{value: drawn, "ci_low": drawn - 0.05, "ci_high": drawn + 0.05})


def robust(names: tuple[str, ...] = NAMES, **axes: Any) -> pd.DataFrame:
    """Accuracies that fall with ε."""
    table = rows(condition=names, **axes, epsilon=EPSILONS)
    places = table["condition"].map(list(names).index)
    value = (0.85 + 0.01 * places) * (0.25 + 0.02 * places) ** (table["epsilon"] * 80)
    value = np.clip(value + RNG.normal(0, 0.01, len(table)), 0, 1)
    return table.assign(accuracy=value, ci_low=value - 0.03, ci_high=value + 0.03)


def pixels(n: int, side: int = 32) -> np.ndarray:
    return RNG.random((n, side, side, 3))


def pictures(n: int) -> np.ndarray:
    return (255 * pixels(n)).astype(np.uint8)


def per_voxel() -> pd.DataFrame:
    table = pd.DataFrame(list(product(HIERARCHY, range(60))), columns=["roi", "voxel"])
    return table.assign(noise_ceiling=60 * RNG.random(len(table)), r=RNG.random(len(table)))


def per_image() -> pd.DataFrame:
    table = pd.DataFrame(
        list(product(HIERARCHY, range(30), ("trained", "shuffled"))), columns=["roi", "image_id", "control"]
    )
    return table.assign(pattern_r=RNG.uniform(-0.1, 0.8, len(table)))


def history() -> pd.DataFrame:
    table = pd.DataFrame(list(product(range(1, 13), ("train", "validation"))), columns=["epoch", "split"])
    names = ("loss", "class_loss", "neural_loss", "accuracy", "neural_r", "lr")
    return table.assign(**{name: RNG.random(len(table)) for name in names})


def histories() -> pd.DataFrame:
    runs = [f"{name}, seed {seed}, α = 0.9" for name in ("none", "TO-shuffle", "V1", "TO") for seed in range(2)]
    parts = [
        history().assign(run=run, condition=run.split(",")[0], folder=run).query("split == 'validation'")
        for run in runs
    ]
    return pd.concat(parts)


def square(names: tuple[str, ...], a: str, b: str, value: str) -> pd.DataFrame:
    return rows(value, **{a: names, b: names}).assign(n=200, n_seeds=3)


def similarities(sources: tuple[str, ...] = tuple(SOURCES)) -> pd.DataFrame:
    spaces = [(source, name) for source in sources for name in (NAMES if source in ("pooled", "neural") else HIERARCHY)]
    pairs = [(*a, *b) for a, b in product(spaces, spaces)]
    table = pd.DataFrame(pairs, columns=["a_source", "a", "b_source", "b"])
    value = RNG.uniform(0, 0.8, len(table))
    return table.assign(similarity=value, ci_low=value - 0.1, ci_high=value + 0.1)


def to_regions() -> pd.DataFrame:
    table = similarities().query("a_source in ['pooled', 'neural'] and b_source == 'measured'")
    return table.reset_index(drop=True)


def placed() -> pd.DataFrame:
    table = similarities()[["a_source", "a"]].drop_duplicates()
    table.columns = ["source", "name"]
    return table.assign(x=RNG.normal(size=len(table)), y=RNG.normal(size=len(table)), stress=0.12)


def slices() -> dict[str, Slice]:
    labels = np.zeros((50, 60), np.int16)
    for i in range(len(HIERARCHY)):
        labels[8 + 4 * i : 13 + 4 * i, 4 + 7 * i : 12 + 7 * i] = i + 1
    underlay = RNG.random(labels.shape).astype(np.float32)
    return {plane: Slice(labels, underlay, (30, 25)) for plane in PLANES}


def surface() -> Surface:
    angle, height = np.meshgrid(np.linspace(0, 2 * np.pi, 24), np.linspace(-40, 40, 20))
    coordinates = np.stack([30 * np.cos(angle), height, 30 * np.sin(angle)], axis=-1).reshape(-1, 3)
    corners = [24 * i + j for i in range(19) for j in range(23)]
    faces = [(k, k + 1, k + 24) for k in corners] + [(k + 1, k + 25, k + 24) for k in corners]
    labels = (np.arange(480) // 60).astype(np.int16)
    return Surface("left", coordinates, np.array(faces), labels, np.zeros(480), HIERARCHY)


def path(names: tuple[str, ...] = ("none", "TO")) -> pd.DataFrame:
    table = pd.DataFrame(list(product(names, LEVELS)), columns=["condition", "level"])
    down, reached = 0.95 * 0.6 ** table["level"], table["level"] > 1
    rival = {"rival": "bicycle", "rival_probability": 1 - down, "prediction": np.where(reached, "bicycle", "bear")}
    return table.assign(label="bear", probability=down, reached=reached, **rival)


def attacked() -> pd.DataFrame:
    attacks = ("LinfPGD", "LinfTargetedPGD", "LinfFGSM", "LinfAutoAttack", "L2PGD", "L2CarliniWagner", "L2DeepFool")
    table = rows(condition=("none", "V1", "TO-shuffle", "TO"), attack=attacks, epsilon=EPSILONS)
    return table.assign(epsilon=table["epsilon"].where(table["attack"].str.startswith("Linf"), 30 * table["epsilon"]))


def visible() -> pd.DataFrame:
    table = rows("mean", attack=("LinfPGD", "LinfFMN", "L2PGD"), epsilon=EPSILONS, measure=tuple(_MEASURES))
    return table.assign(epsilon=table["epsilon"].where(table["attack"] != "L2PGD", 30 * table["epsilon"]))


def audited() -> pd.DataFrame:
    checks = ("black box beats white box", "more steps find more", "noise finds more", "one step beats many")
    table = rows("value", condition=NAMES, check=checks)
    return table.assign(limit=0.02, passed=table["value"] < 0.7)


def claims(n: int = 9) -> pd.DataFrame:
    words = "curvature of transformed images' paths, layer4, rotation and scale"
    table = rows("slope", measure=[f"{words} {i}" if i % 3 else f"shape bias {i}" for i in range(n)])
    return table.assign(p=0.01, p_order=0.2, p_holm=RNG.random(n), mark="[fixed beforehand: 2026-11-01]")


def rival_table() -> pd.DataFrame:
    explanations = (
        "the gain: no guide",
        "labels of more images",
        "labels, through a guide",
        "less weight on the class",
        "any guide",
        "low spatial frequency",
        "smoothness",
        "clean accuracy",
    )
    controls = ("none", "labels", "labels-guide", "ce-weight", "TO-shuffle", "none-lowpass-8", "weight decay", "V1")
    findings = ("there", "does not explain it", "explains it", "cannot be told") * 2
    table = rows("difference", explanation=explanations)
    return table.assign(control=controls, finding=findings, p_holm=RNG.random(len(table)) / 8)


def fronts() -> pd.DataFrame:
    parts = [robust(("none",), seed=(0, 1, 2)).assign(network="none", dose=0.0, said="α = 0")]
    for name in ("V1", "TO", "TO-shuffle"):
        for dose in (0.35, 0.6, 0.9):
            part = robust((name,), seed=(0, 1, 2)).assign(network=name, dose=dose, said=f"α = {dose:g}")
            parts.append(part.assign(accuracy=part["accuracy"] * (1 - dose / 10)))
        parts.append(parts[0].assign(condition=name))
    return pd.concat(parts[1:])


def compared() -> pd.DataFrame:
    table = rows("score", measure=("accuracy at ε = 4/255", "shape bias", "gradient, clean"), condition=NAMES)
    return table.assign(n_seeds=3)


def tried() -> pd.DataFrame:
    table = pd.DataFrame(
        list(product(range(1, 21), 10.0 ** np.arange(-2, 7), ("layer2", "layer3", "layer4"))),
        columns=["component", "alpha", "readout"],
    )
    value = RNG.random(len(table))
    return table.assign(weight=value, r2=value / 2, variance=1 / table["component"], chosen=table["alpha"] == 100)


def lesioned(value: str, name: str, kinds: tuple[str, ...]) -> pd.DataFrame:
    asked = pd.DataFrame([("clean", 0.0), ("intact", 4 / 255), ("lesioned", 4 / 255)], columns=["attacked", "epsilon"])
    return rows(value, condition=NAMES, **{name: kinds}).merge(asked, how="cross")


def channel_tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    thresholds = rows("sensitivity", condition=NAMES, band=(1.0, 2.0, 4.0, 8.0))
    thresholds[["sensitivity", "ci_low", "ci_high"]] *= 100
    values = {"centre": 4.0, "bandwidth": 2.0, "peak": 40.0}
    table = pd.DataFrame(list(product(NAMES, values)), columns=["condition", "measure"])
    return thresholds, table.assign(value=table["measure"].map(values))


def lines_and_pairs() -> tuple[pd.DataFrame, pd.DataFrame]:
    kinds = ("fresh photographs", "stretched contrast", "sketches of lines", "other backgrounds")
    pairs = pd.DataFrame(list(product(kinds, NAMES, range(3))), columns=["images", "condition", "seed"])
    pairs = pairs.assign(
        clean=RNG.uniform(0.7, 0.9, len(pairs)), n_clean=500, accuracy=RNG.uniform(0.3, 0.8, len(pairs)), n=500
    )
    return pairs, pd.DataFrame({"images": kinds, "intercept": -1.0, "slope": 0.9})


def clouds() -> pd.DataFrame:
    names = ("the region", "before training", "by responses", "by clouds", "by shuffled clouds")
    table = pd.DataFrame(list(product(names, range(10))), columns=["clouds", "category"])
    parts = ("distance", "radius", "neural_radius", "variance_inside", "variance_expected")
    return table.assign(**{name: RNG.uniform(0.2, 0.9, len(table)) for name in parts})


def labelled_volume() -> nib.Nifti1Image:
    labels = np.zeros((20, 20, 20), np.int16)
    for i in range(len(HIERARCHY)):
        labels[2 * i : 2 * i + 4, 4:16, 2 + i : 12 + i] = i + 1
    return nib.Nifti1Image(labels, np.diag([4, 4, 4, 1]).astype(float))


def smooth() -> pd.DataFrame:
    table = rows("mean", condition=NAMES, epsilon=EPSILONS)
    return table.assign(ci_low=table["mean"] * 0.8, ci_high=table["mean"] * 1.2)


def matched() -> tuple[pd.DataFrame, pd.DataFrame]:
    decays = [name for name in CONDITIONS if name.startswith("decay")]
    family = rows(condition=decays).assign(smoothness=np.geomspace(0.01, 1, len(decays)))
    table = rows(condition=NAMES).assign(smoothness=np.geomspace(0.02, 0.8, len(NAMES)), difference=0.05)
    return table.assign(ci_low=0.01, ci_high=0.09), family


def loss_table() -> pd.DataFrame:
    steps = np.linspace(-8, 8, 17) / 255
    table = pd.DataFrame(list(product(steps, steps)), columns=["along_gradient", "along_random"])
    return table.assign(loss=1 + 4000 * (table["along_gradient"] + 0.03) ** 2)


def spaces() -> dict[str, np.ndarray]:
    return {name: np.abs(np.subtract.outer(x, x)) for name in (*HIERARCHY, "none") if len(x := RNG.random(40))}


def maps_of_images() -> tuple[Any, ...]:
    rdms = {name: rdm[:24, :24] for name, rdm in list(spaces().items())[:2]}
    maps = {name: pd.DataFrame({"x": RNG.random(24), "y": RNG.random(24), "stress": 0.1}) for name in rdms}
    return rdms, maps, pictures(24), [f"image {i}" for i in range(24)]


def manifold_tables() -> tuple[Any, ...]:
    points = {f"c{k}": RNG.normal(size=60) for k in (1, 2, 3)}
    part = pd.DataFrame({"label": np.repeat(CLASSES[:6], 10), "image_id": range(60), **points, "share": 0.3})
    of_class = pd.DataFrame({"label": CLASSES[:6], "radius": 0.8, "dimension": 7.5})
    return {"V1, measured": part, "network of TO, pooled": part}, {
        "V1, measured": of_class,
        "network of TO, pooled": of_class,
    }


def gained() -> tuple[pd.DataFrame, pd.DataFrame]:
    table = rows("value", condition=NAMES, measure=tuple(PANELS))
    statistics = pd.DataFrame({"measure": list(PANELS), "rho": -0.5, "ci_low": -0.9, "ci_high": 0.4, "p_holm": 0.2})
    return table.assign(gain=table["value"] / 10, gain_low=-0.02, gain_high=0.1), statistics


def said() -> dict[float, str]:
    words = "rises by .025 a region (95 % interval .020 to .029), p < .001 over 3 networks, p = .004 of all orders"
    return dict.fromkeys(EPSILONS, f"{words} [looked at later: fix it beforehand with python -m nbtools]")
