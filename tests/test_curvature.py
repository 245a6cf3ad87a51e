"""Curvature of known paths: lines, circles, noise; transformed images; what a planted network makes of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torchvision.transforms.v2 import functional as v2

from nbtools import data, metrics, models, probes
from nbtools.data.images.sets import ImageSet
from nbtools.data.images.transformations import PATHS, transformed
from nbtools.errors import InputError
from nbtools.metrics.geometry import curvature
from nbtools.metrics.geometry.curvature import mean_curvature, step_angles, tangent_angles


def embedded(path: np.ndarray, n_features: int, seed: int = 0) -> np.ndarray:
    """A path of few dimensions in a space of many: turned at random, and moved."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((n_features, path.shape[-1])))[0]
    return path @ basis.T + rng.standard_normal(n_features)


@pytest.mark.parametrize(("radius", "angle"), [(0.1, 5.0), (1.0, 20.0), (300.0, 40.0)])
def test_a_circle_bends_by_what_its_radius_and_its_steps_say(radius: float, angle: float) -> None:
    turn = np.radians(angle) * np.arange(12)
    path = embedded(radius * np.column_stack([np.cos(turn), np.sin(turn)]), 30)
    step = np.linalg.norm(np.diff(path, axis=0), axis=1).mean()
    assert step_angles(path) == pytest.approx(np.degrees(2 * np.arcsin(step / (2 * radius))))
    for reach in (1, 2):
        assert tangent_angles(path, reach) == pytest.approx(angle)


def test_a_straight_line_does_not_bend_however_unevenly_it_is_walked() -> None:
    line = embedded(np.cumsum([0, 1, 0.1, 3, 2, 0.5])[:, None], 50)
    assert step_angles(line) == pytest.approx(0, abs=1e-9)
    assert tangent_angles(line) == pytest.approx(0, abs=1e-9)


def test_noise_bends_as_much_as_independent_points_do() -> None:
    noise = np.random.default_rng(0).standard_normal((50, 9, 2000))
    assert step_angles(noise).mean() == pytest.approx(120, abs=0.5)  # successive differences share a point: cos = −1/2
    assert tangent_angles(noise).mean() > 45
    assert step_angles(noise).shape == (50, 7)
    assert tangent_angles(noise).shape == (50, 6)


def test_tangents_feel_noise_less_than_steps_do() -> None:
    rng = np.random.default_rng(1)
    line = np.arange(30)[:, None] * np.ones(100) / 10
    noisy = line + 0.05 * rng.standard_normal((20, 30, 100))
    assert tangent_angles(noisy, 3).mean() < tangent_angles(noisy).mean() < step_angles(noisy).mean()


def test_units_and_rotations_change_no_angle() -> None:
    path = np.random.default_rng(2).standard_normal((4, 9, 6))
    other = embedded(7 * path, 20)
    for angles in (step_angles, tangent_angles):
        assert angles(other) == pytest.approx(angles(path))


def test_what_is_no_path_is_refused() -> None:
    for wrong in (np.zeros(5), np.zeros((2, 4)), np.full((5, 3), np.nan)):
        with pytest.raises(InputError, match="no paths"):
            step_angles(wrong)
    with pytest.raises(InputError, match="stands still"):
        step_angles(np.array([[0.0], [1.0], [1.0], [2.0]]))
    rng = np.random.default_rng(0)
    point, wander = rng.standard_normal((1, 300)), np.cumsum(rng.standard_normal((9, 300)), axis=0)
    wander[4] = wander[3]
    rounding = point * (1 + 1e-7 * rng.standard_normal((9, 300)))
    for still in (np.zeros((9, 300)), np.repeat(point, 9, axis=0), rounding, wander):
        for angles in (step_angles, tangent_angles):
            with pytest.raises(InputError, match="stands still"):
                angles(still)
    with pytest.raises(InputError, match="4 points or more"):
        tangent_angles(np.zeros((3, 2)))


# --- images -------------------------------------------------------------------------------------------------


def pictures(n: int = 6, side: int = 32) -> torch.Tensor:
    """Smooth pictures, an object in their middle."""
    noise = torch.rand((n, 3, side, side), generator=torch.Generator().manual_seed(0))
    return v2.gaussian_blur(noise, [9, 9], [2.0, 2.0]).sub(0.5).mul(3).add(0.5).clamp(0, 1)


def test_images_go_where_they_are_sent() -> None:
    x, inside = pictures(), slice(8, 24)
    moved = transformed(x, "translation", 3 / 32)
    torch.testing.assert_close(moved[..., 4:28], x[..., 1:25], atol=1e-4, rtol=0)
    turned = transformed(x, "rotation", 10.0)
    expected = v2.rotate(x, 10.0, interpolation=v2.InterpolationMode.BILINEAR)
    assert (turned - expected)[..., inside, inside].abs().mean() < 0.01
    assert (turned - x)[..., inside, inside].abs().mean() > 0.02
    larger = transformed(x, "scale", 2.0)
    expected = v2.resize(x[..., 8:24, 8:24], [32, 32], interpolation=v2.InterpolationMode.BICUBIC)
    assert (larger - expected)[..., inside, inside].abs().mean() < 0.01
    faded = transformed(x, "contrast", 0.5)
    torch.testing.assert_close(faded.std((1, 2, 3)), x.std((1, 2, 3)) / 2)
    for kind, amounts in PATHS.items():
        assert len(amounts) == 9
        nothing = 0.0 if kind in ("translation", "rotation") else 1.0
        assert min(abs(amount - nothing) for amount in amounts) < 1e-9
        torch.testing.assert_close(transformed(x, kind, nothing), x, atol=1e-4, rtol=0)


def test_other_transformations_and_pixels_are_refused() -> None:
    with pytest.raises(InputError, match="unknown transformation"):
        transformed(pictures(), "shear", 1.0)
    with pytest.raises(InputError, match="square"):
        transformed(pictures()[..., :20], "rotation", 1.0)


# --- networks -----------------------------------------------------------------------------------------------


class Linear(models.GuidedNet):
    """Reads every seventh pixel, and a point that an image's contrast moves along half a circle."""

    whole: torch.Tensor  # standard deviation of the image's pixels before it fades

    def features(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return a linear map of the pixels, and a circle along their contrast."""
        spread = x.flatten(1).std(1) / self.whole
        turn = torch.pi * spread[:, None]
        return {"pooled": x.flatten(1)[:, ::7], "logits": torch.cat([turn.cos(), turn.sin()], dim=1)}


def images() -> ImageSet:
    pixels = pictures(8).mul(255).round().to(torch.uint8)
    return ImageSet(pixels, torch.arange(8) % 2, np.array([f"i{i}" for i in range(8)]), ("a", "b"))


def test_a_planted_network_bends_paths_as_planted() -> None:
    network = models.freeze(Linear("small_resnet", ("a", "b"), 0))
    shown = images()
    parts = []
    for row in range(8):
        network.whole = data.to_float(shown.pixels[[row]]).flatten(1).std(1)
        parts.append(probes.measure_curvature({("TO", 0): network}, shown[[row]], ["pooled", "logits", "neural"]))
    table = pd.concat(parts)
    at = table.groupby(["transformation", "readout", "measure"])["value"].mean()
    assert set(table["readout"]) == {"pixels", "pooled", "logits"}
    for measure in probes.curvature.MEASURES:
        assert at["contrast", "pixels", measure] == pytest.approx(0, abs=0.05), "fading is a straight line of pixels"
        assert at["contrast", "pooled", measure] == pytest.approx(0, abs=0.05)
        assert at["contrast", "logits", measure] == pytest.approx(18, abs=0.05), "a tenth of 180° a step"
    assert at["rotation", "pixels", "step angle"] > 10
    mean = mean_curvature(table)
    assert (mean["n_categories"] == 2).all()
    row = mean.set_index(["transformation", "readout", "measure"]).loc[("rotation", "pixels", "step angle")]
    each = table.query("transformation == 'rotation' and readout == 'pixels' and measure == 'step angle'")
    assert row["value"] == pytest.approx(each.groupby("label")["value"].mean().mean())
    assert row["ci_low"] < row["value"] < row["ci_high"]


def test_angles_do_not_depend_on_the_batch() -> None:
    network = models.freeze(models.build(models.GuidedNet, 0, "small_resnet", ("a", "b"), 3))
    tables = [probes.measure_curvature({("V1", 0): network}, images(), ["layer1", "neural"], n) for n in (3, 64)]
    keys = ["image_id", "transformation", "readout", "measure"]
    one, other = (table.set_index(keys)["value"].sort_index() for table in tables)
    np.testing.assert_allclose(one, other, rtol=1e-3)
    assert len(one) == 8 * 4 * 3 * 2


def test_what_does_not_move_has_no_curvature() -> None:
    shown, network = images(), models.freeze(models.build(models.GuidedNet, 0, "small_resnet", ("a", "b"), 3))
    constant = models.build(models.GuidedNet, 0, "small_resnet", ("a", "b"), 3)
    with torch.no_grad():
        for weights in constant.parameters():
            weights.copy_(torch.zeros_like(weights) if weights.ndim > 1 else torch.rand_like(weights) + 0.1)
    stripes = torch.randint(0, 255, (8, 3, 32, 1), dtype=torch.uint8).expand(-1, -1, -1, 32)
    for asked, pixels in (
        (models.freeze(constant), shown.pixels),
        (network, torch.full_like(shown.pixels, 128)),
        (network, stripes.contiguous()),
    ):
        still = ImageSet(pixels, shown.labels, shown.ids, shown.classes)
        with pytest.raises(InputError, match="stands still"):
            probes.measure_curvature({("V1", 0): asked}, still, ["pooled"])


@pytest.mark.parametrize("column", ["label", "value"])
def test_images_without_a_curvature_or_a_label_are_not_left_out(column: str) -> None:
    rows = [("V1", 0, "rotation", "pooled", "step angle", str(i), float(i % 2), 3.0 + i) for i in range(6)]
    table = pd.DataFrame(rows, columns=[*curvature._OF_AN_IMAGE, "label", "value"])
    assert mean_curvature(table)["value"].item() == 5.5
    with pytest.raises(InputError, match=f"1 images without a {column}"):
        mean_curvature(table.assign(**{column: table[column].where(table.index > 0)}))


def test_a_table_of_one_category_has_no_interval() -> None:
    network = models.freeze(models.build(models.GuidedNet, 0, "small_resnet", ("a", "b"), 0))
    table = probes.measure_curvature({("none", 0): network}, images()[[0, 2]], ["pooled"])
    with pytest.raises(InputError, match="one category"):
        metrics.mean_curvature(table)
    with pytest.raises(InputError, match="cannot be averaged"):
        metrics.mean_curvature(pd.concat([table, table]))
