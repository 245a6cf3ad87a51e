"""Critical-band masking: noise in its band, filters that add up, planted channels found, by networks and by tables."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import least_squares
from torch import Tensor, nn

from nbtools import plots
from nbtools.attacks import sweep
from nbtools.data.images.bands import (
    GREY,
    PASSES,
    band_masks,
    band_noise,
    filtered,
    low_contrast,
    octave_centres,
    pass_gain,
)
from nbtools.data.images.sets import ImageSet, to_float
from nbtools.errors import InputError
from nbtools.metrics.decisions import channels
from nbtools.metrics.decisions.channels import (
    filtered_accuracy,
    masked_accuracy,
    mean_sensitivity,
    noise_channel,
    noise_thresholds,
)
from nbtools.metrics.pixels.spectrum import frequencies, spectral_energy
from nbtools.probes.bands import blurred, decide_filtered, decide_masked
from nbtools.training.hardening import Asked, hardening

SIDE = 64
SDS = np.geomspace(0.01, 0.32, 11).tolist()
CLASSES = ("bar", "cup", "dog", "egg")


class Template(nn.Module):
    """A linear classifier of four classes that reads frequencies with a given power gain, and no others.

    A class's template has the gain's square root for its spectrum, and random phases. Half of a decision's noise is
    then the sum over bands of the noise's energy times the band's mean gain: what masking should find.
    """

    classes = CLASSES

    def __init__(self, gain: Callable[[Tensor], Tensor], side: int = SIDE, seed: int = 0):
        super().__init__()
        white = torch.randn(4, side, side, generator=torch.Generator().manual_seed(seed))
        flat = torch.fft.rfft2(white)
        flat = flat / flat.abs()
        self.gain = gain(frequencies(side)[:, : side // 2 + 1])
        self.templates = nn.Buffer(torch.fft.irfft2(flat * self.gain.sqrt().float(), s=(side, side)))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("nhw,khw->nk", x.mean(1) - GREY, self.templates)


def gaussian(centre: float, bandwidth: float) -> Callable[[Tensor], Tensor]:
    """Power gain over log frequency, of 1 at the centre and a half at half the bandwidth (octaves) from it."""

    def gain(f: Tensor) -> Tensor:
        return torch.where(f > 0, 2.0 ** -((2 * (f.clamp(min=1e-9) / centre).log2() / bandwidth) ** 2), 0.0)

    return gain


def images_of(network: Template, n: int = 400, amplitude: float = 0.3) -> ImageSet:
    """Each class's template as a grey picture, of which a tenth of the pixels' energy is other images' own."""
    labels = torch.arange(n) % 4
    shapes = network.templates / network.templates.std((1, 2), keepdim=True)
    own = torch.randn(n, *shapes.shape[1:], generator=torch.Generator().manual_seed(1))
    pixels = (0.5 + amplitude * (0.9 * shapes[labels] + 0.3 * own) / 3).clamp(0, 1)
    stored = (pixels * 255).round().to(torch.uint8)[:, None].expand(-1, 3, -1, -1).contiguous()
    return ImageSet(stored, labels, np.array([f"i{k:03d}" for k in range(n)]), CLASSES)


@pytest.mark.parametrize("side", [8, 32, 48, 33])
def test_noise_lies_in_its_band_and_has_its_sd(side: int) -> None:
    ids = ["a", "b", 7]
    noise = band_noise(ids, side)
    centres = octave_centres(side)
    assert noise.shape == (3, len(centres), side, side)
    torch.testing.assert_close(noise.square().mean((2, 3)).sqrt(), torch.ones(3, len(centres)))
    assert noise.mean((2, 3)).abs().max() < 1e-5
    energy, radius = spectral_energy(noise.reshape(-1, 1, side, side)), frequencies(side)
    for band, centre in enumerate(centres):
        inside = (radius > centre / 2**0.5 * (1 - 1e-9)) & (radius < centre * 2**0.5 * (1 + 1e-9))
        of_band = energy.reshape(3, len(centres), side, side)[:, band]
        torch.testing.assert_close((of_band * inside).sum((1, 2)), of_band.sum((1, 2)))


def test_bands_are_those_of_the_paper_and_share_all_frequencies_but_the_lowest() -> None:
    assert octave_centres(224).tolist() == [112, 56, 28, 14, 7, 3.5, 1.75]
    for side in (32, 224):
        times = band_masks(side).long().sum(0)
        assert times.max() == 1
        low = frequencies(side)[:, : side // 2 + 1] <= octave_centres(side)[-1] / 2**0.5
        assert torch.equal(times == 0, low)


def test_noise_is_gaussian_and_an_image_s_own() -> None:
    together, alone = band_noise(["x", "y", "z"], 32, 1), band_noise(["z"], 32, 1)
    assert torch.equal(together[2], alone[0])
    assert not torch.equal(alone, band_noise(["z"], 32, 2))
    top = band_noise(range(40), 32)[:, 0].flatten()
    assert abs(float(top.pow(4).mean()) - 3) < 0.1  # a Gaussian's kurtosis
    first, second = band_noise(range(40), 32)[:, 1].flatten(1)[:2]
    assert abs(float((first * second).mean())) < 0.3


def test_filters_add_up_to_the_image() -> None:
    x = torch.rand(2, 3, SIDE, SIDE)
    mean = x.mean((2, 3), keepdim=True)
    low, high = (filtered(x, pass_gain(kind, 6, SIDE)) for kind in ("low", "high"))
    torch.testing.assert_close(low + high - mean, x)
    cuts = [4, 8, 16]
    parts = [filtered(x, pass_gain("band", cut, SIDE)) - mean for cut in cuts]
    ends = [filtered(x, pass_gain(*end, SIDE)) - mean for end in (("low", 4 / 2**0.5), ("high", 16 * 2**0.5))]
    torch.testing.assert_close(mean + sum(parts) + sum(ends), x)
    gains = {kind: pass_gain(kind, 8, SIDE)[0, [0, 2, 8, 32]].tolist() for kind in PASSES}  # at 0, 2, 8, 32 cycles
    assert gains["low"] == pytest.approx([1, 1, 0.5, 0], abs=1e-4)
    assert gains["high"] == pytest.approx([0, 0, 0.5, 1], abs=1e-4)
    assert gains["band"] == pytest.approx([0, 0.0002, 16 / 17 - 1 / 17, 0.0002], abs=1e-3)


def test_low_contrast_is_grey_about_one_mean() -> None:
    x = torch.rand(3, 3, 16, 16)
    grey = low_contrast(x, 0.2)
    assert torch.equal(grey[:, 0], grey[:, 2])
    torch.testing.assert_close(grey.mean((1, 2, 3)), torch.full((3,), GREY))
    luminance = (x * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1)
    torch.testing.assert_close(grey[:, 0].std((1, 2)), 0.2 * luminance.std((1, 2)), rtol=1e-3, atol=0)


@pytest.mark.parametrize(("centre", "bandwidth"), [(8, 1.5), (5, 2.5), (16, 1.5), (8, 0.8)])
def test_masking_finds_the_channel_of_a_network(centre: float, bandwidth: float) -> None:
    """The planted Gaussian, its gain averaged over each octave of noise: by so much masking blurs a channel."""
    network = Template(gaussian(centre, bandwidth))
    decisions = decide_masked({("none", 0): network}, images_of(network), SDS, contrast=0.02)
    assert masked_accuracy(decisions).set_index("sd").loc[0.0, "accuracy"] == 1
    means = np.array([float(network.gain[mask].mean()) for mask in band_masks(SIDE)])[::-1]  # ascending, as tables
    table = noise_thresholds(decisions, n_boot=100)
    both = (table["found"] == "threshold").to_numpy()
    offset = np.log2(table["sensitivity"][both] / means[both])
    assert offset.std() < 0.35  # sensitivity is proportional to the mean gain, over up to 6 octaves of it
    assert (means[~both] < 0.03).all()
    assert set(table["found"][~both]) <= {"no threshold within the range: above SD 0.32"}
    found = noise_channel(decisions, n_boot=100).set_index("measure")
    bend, rise, _ = np.polyfit(np.log2(table["band"][both]), np.log2(means[both]), 2)
    assert np.log2(found.loc["centre", "value"]) == pytest.approx(-rise / 2 / bend, abs=0.25)
    assert found.loc["bandwidth", "value"] == pytest.approx(2 / np.sqrt(-bend), rel=0.2)
    assert abs(np.log2(found.loc["centre", "value"] / centre)) < 0.25
    assert -0.05 < found.loc["bandwidth", "value"] - bandwidth < 0.35
    assert (found["ci_low"] <= found["value"]).all()
    assert (found["value"] <= found["ci_high"]).all()


class Coarse(Template):
    """A template classifier that does not see what is below about a third of its images' own evidence."""

    def forward(self, x: Tensor) -> Tensor:
        return (super().forward(x) / 0.02).round()


def test_low_and_high_passes_tell_where_a_network_reads() -> None:
    network = Coarse(gaussian(8, 0.8))
    table = filtered_accuracy(decide_filtered({("none", 0): network}, images_of(network, 100), contrast=0.02))
    accuracy = table.set_index(["passes", "cut"])["accuracy"]
    whole = table.loc[table["passes"] == "all", "accuracy"].item()
    assert whole == 1
    assert accuracy["low", 32.0] == accuracy["high", 1.0] == accuracy["band", 8.0] == 1
    assert max(accuracy["low", 1.0], accuracy["high", 32.0], accuracy["band", 1.0]) < 0.6  # chance is .25
    assert len(table) == 1 + 3 * 6


def test_decisions_depend_neither_on_the_batch_nor_on_the_order() -> None:
    network = Template(gaussian(8, 1.5))
    images = images_of(network, 40)
    keys = ["image_id", "band", "sd"]
    one, other = (
        decide_masked({("none", 0): network}, part, [0.04, 0.16], contrast=0.02, batch_size=size).sort_values(keys)
        for part, size in ((images, 40), (images[np.arange(40)[::-1]], 7))
    )
    assert (one["prediction"].to_numpy() == other["prediction"].to_numpy()).mean() > 0.999
    np.testing.assert_allclose(one["margin"], other["margin"], rtol=1e-3, atol=1e-3)
    assert len(one) == 40 * (1 + 6 * 2)


def test_networks_see_the_same_noise_and_keep_their_names() -> None:
    low, high = Template(gaussian(4, 1)), Template(gaussian(16, 1))
    images = images_of(low, 20)
    both = decide_masked({("V1", 0): low, ("V1", 1): high}, images, [0.08], contrast=0.02)
    for seed, network in enumerate((low, high)):
        alone = decide_masked({("V1", seed): network}, images, [0.08], contrast=0.02)
        pd.testing.assert_frame_equal(both[both["seed"] == seed].reset_index(drop=True), alone)


def table_of(accuracy: np.ndarray, sds: list[float], clean: float = 1.0, n: int = 1000) -> pd.DataFrame:
    """Decisions of a network right on the first share of the images; accuracies (n_bands, n_sds), centres 1, 2, 4, …"""
    ids, labels = np.arange(n).astype(str), np.arange(n) % 4
    cells = [(np.nan, 0.0, clean)]
    cells += [(2.0**b, sd, share) for b, row in enumerate(accuracy) for sd, share in zip(sds, row, strict=True)]
    parts = [
        pd.DataFrame({"image_id": ids, "label": labels, "prediction": np.where(np.arange(n) < share * n, labels, 9)})
        for _, _, share in cells
    ]
    named = [part.assign(band=b, sd=sd) for part, (b, sd, _) in zip(parts, cells, strict=True)]
    return pd.concat(named, ignore_index=True).assign(condition="none", seed=0)


def test_a_threshold_is_where_accuracy_is_half_way_to_chance() -> None:
    accuracy = np.array([[0.9, 0.725, 0.525, 0.3], [0.95, 0.9, 0.8, 0.7], [0.4, 0.3, 0.3, 0.25], [1, 0.5, 0.7, 0.25]])
    table = noise_thresholds(table_of(accuracy, [0.02, 0.04, 0.08, 0.16])).set_index("band")  # half way: .625
    assert table.loc[1.0, "threshold"] == pytest.approx(0.04 * 2**0.5, rel=1e-6)
    assert table.loc[1.0, "sensitivity"] == pytest.approx(1 / (0.04**2 * 2), rel=1e-6)
    assert (
        1 / 0.08**2 < table.loc[1.0, "ci_low"] < table.loc[1.0, "sensitivity"] < table.loc[1.0, "ci_high"] < 1 / 0.04**2
    )
    assert table.loc[2.0, "found"] == "no threshold within the range: above SD 0.16"
    assert table.loc[4.0, "found"] == "no threshold within the range: below SD 0.02"
    assert table.loc[[2.0, 4.0], ["threshold", "sensitivity"]].isna().all(axis=None)
    assert (table.loc[2.0, "ci_low"], table.loc[4.0, "ci_high"]) == (0, np.inf)
    assert table.loc[8.0, "threshold"] > 0.08  # a dip before does not count: the largest SD with more than half


def test_without_thresholds_there_is_no_channel() -> None:
    sds = [0.02, 0.04, 0.08, 0.16]
    kept = noise_channel(table_of(np.full((5, 4), 0.9), sds), n_boot=50)
    assert kept[["value", "ci_low", "ci_high"]].isna().all(axis=None)
    assert kept["measure"].tolist() == ["centre", "bandwidth", "peak"]
    assert (kept["n_bands"] == 0).all()
    blind = noise_thresholds(table_of(np.full((5, 4), 0.2), sds, clean=0.25), n_boot=50)
    assert set(blind["found"]) == {"no better than chance without noise"}
    rising = np.array([[1, 1, 1, 0.5], [1, 1, 0.5, 0.3], [1, 0.5, 0.3, 0.3], [0.9, 0.3, 0.3, 0.3]])
    assert noise_channel(table_of(rising, sds), n_boot=50)["value"].isna().all()


def by_luck(clean: float, noisy: float, n: int, seed: int) -> pd.DataFrame:
    """Decisions of a network that is right by chance alone, with and without noise, or without it alone."""
    table, rng = table_of(np.full((5, 4), 0.5), [0.02, 0.04, 0.08, 0.16], n=n), np.random.default_rng(seed)
    right = rng.random(len(table)) < np.where(table["sd"] == 0, clean, noisy)
    return table.assign(prediction=np.where(right, table["label"], 9))


def test_luck_has_no_channel() -> None:
    """Networks at chance, of few images and of many, and networks of whose thresholds nothing is known."""
    for n in (40, 400):
        tables = [noise_channel(by_luck(0.25, 0.25, n, seed), n_boot=100) for seed in range(6)]
        assert all(table["value"].isna().all() for table in tables)
        assert sum(table["found"].str.contains("not surely better than chance").all() for table in tables) >= 5
    unknown = noise_channel(by_luck(1.0, 0.625, 40, 0), n_boot=100)  # half way in all noise
    assert unknown[["value", "ci_low", "ci_high"]].isna().all(axis=None)
    assert set(unknown["found"]) == {"no channel: nothing is known of a band"}


@pytest.mark.parametrize("seed", range(6))
def test_the_fit_is_the_least_squares_parabola_within_what_is_known(seed: int) -> None:
    rng, x = np.random.default_rng(seed), np.arange(7.0)
    truth = rng.uniform(8, 11) - rng.uniform(0.3, 1.5) * (x - rng.uniform(2, 4)) ** 2 + rng.normal(0, 0.2, 7)
    low, high = np.where(truth > 6, truth, -np.inf), np.where(truth > 6, truth, 6.0)

    def outside(p: np.ndarray) -> np.ndarray:
        fit = np.polyval(p, x)
        return fit - np.clip(fit, low, high)

    start = np.polyfit(x[truth > 6], truth[truth > 6], 2)
    bend, rise, level = least_squares(outside, start, xtol=1e-14, ftol=1e-14, gtol=1e-14).x
    found = channels._fitted(x, low[None], high[None])[0]
    assert found == pytest.approx(
        [2 ** (-rise / 2 / bend), 2 / np.sqrt(-bend), 2 ** (level - rise**2 / 4 / bend)], rel=1e-4
    )


def test_too_few_thresholds_give_the_largest_bandwidth_there_can_be() -> None:
    """Thresholds in two octaves, as those of people: 2⁻ᵏ at 1.5 octaves must not exceed the bound."""
    octaves = np.log2([1.75, 3.5, 7, 14, 28, 56, 112])
    y, bound = np.log2(1 / 0.057**2), np.log2(1 / 0.16**2)
    low = np.where(np.isin(np.arange(7), [4, 5]), y, -np.inf)[None]
    centre, bandwidth, _ = channels._fitted(octaves, low, np.where(np.isfinite(low), low, bound))[0]
    assert centre == pytest.approx(channels.HUMAN_CHANNEL["centre"], rel=0.01)
    assert bandwidth == pytest.approx(2 / np.sqrt((y - bound) / 2), rel=0.05)


def test_a_figure_shows_points_curves_and_people() -> None:
    accuracy = np.array([[1, 1, 0.9, 0.8], [1, 0.9, 0.5, 0.3], [0.9, 0.5, 0.3, 0.25], [0.9, 0.8, 0.5, 0.3]])
    table = table_of(accuracy, [0.02, 0.04, 0.08, 0.16], n=200)
    table = pd.concat([table, table.assign(condition="TO")])
    thresholds, channel = noise_thresholds(table, n_boot=50), noise_channel(table, n_boot=50)
    fig = plots.noise_channels(thresholds, channel, title="Noise (tiny study, simulated)")
    assert [trace.name for trace in fig.data if trace.showlegend is not False] == ["none", "TO"]
    points, down, up, curve = (fig.data[k] for k in range(4))
    assert np.isnan(points.y[0])
    assert down.y[0] == pytest.approx(1 / 0.16**2)
    assert np.isnan(np.array(down.y[1:])).all()
    assert np.isnan(np.array(up.y)).all()
    peak = channel.set_index(["condition", "measure"])["value"]["none"]
    assert max(curve.y) == pytest.approx(peak["peak"], rel=1e-3)
    assert curve.x[np.argmax(curve.y)] == pytest.approx(peak["centre"], rel=0.02)
    (people,) = fig.layout.shapes
    assert (people.x0 * 2, people.x1) == pytest.approx((39.6 * 2**0.5, 39.6 * 2**0.5))
    assert "human channel" in fig.layout.annotations[0].text
    with pytest.raises(InputError, match="twice"):
        plots.noise_channels(pd.concat([thresholds] * 2), channel, title="")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.drop(columns="band"), "without band"),
        (lambda t: pd.concat([t, t.tail(2)]), "2 of them twice"),
        (lambda t: t[t["sd"] > 0], "without noise alone"),
        (lambda t: t[(t["band"] != 2) | (t["sd"] != 0.04)], "bands × SDs that are missing"),
        (lambda t: t.drop(index=t.index[-1]), "decisions that are missing"),
        (lambda t: t.assign(prediction=t["prediction"].astype(str)), "all integer or all text"),
        (lambda t: t.assign(sd=t["sd"].astype(str)), "numbers"),
        (lambda t: t[~(t["band"] > 2)], "three parameters"),
        (lambda t: t.assign(band=t["band"].where(t["band"] != 2, 0.0)), "40 rows of noise without a band"),
        (lambda t: t.assign(band=-t["band"]), "120 rows of noise without a band"),
        (lambda t: t.assign(band=t["band"].where(t["band"] != 2)), "40 rows of noise without a band"),
        (lambda t: t.assign(sd=t["sd"].where(t["sd"] != 0.04)), "60 rows whose SD"),
        (lambda t: t.assign(sd=-t["sd"]), "120 rows whose SD"),
        (lambda t: t.assign(band=t["band"].fillna(1.0)), "20 rows of a band without noise"),
    ],
)
def test_tables_that_are_none(change: Callable[[pd.DataFrame], pd.DataFrame], says: str) -> None:
    table = table_of(np.full((3, 2), 0.5), [0.02, 0.04], n=20)
    with pytest.raises(InputError, match=says):
        noise_channel(change(table), n_boot=10)


def test_questions_that_cannot_be_asked() -> None:
    network = Template(gaussian(8, 1.5), side=16)
    images = images_of(network, 8)
    asked = {("none", 0): network}
    for sds, says in (
        ([25.5], "noise SD cannot be 25.5"),
        ([0.0, 0.1], "noise SD cannot be 0"),
        ([0.2, 0.1], "ascending"),
        ([], "no noise"),
    ):
        with pytest.raises(InputError, match=says):
            decide_masked(asked, images, sds)
    with pytest.raises(InputError, match="no network"):
        decide_masked({}, images)
    with pytest.raises(InputError, match="contrast cannot be 2"):
        decide_masked(asked, images, contrast=2)
    oblong = ImageSet(images.pixels[..., :12], images.labels, images.ids, CLASSES)
    with pytest.raises(InputError, match="square"):
        decide_filtered(asked, oblong)
    with pytest.raises(InputError, match="labels do not fit"):
        decide_masked(asked, ImageSet(images.pixels, torch.full((8,), -1), images.ids, CLASSES))
    with pytest.raises(InputError, match="training mode"):
        decide_masked({("none", 0): Template(gaussian(8, 1.5), side=16).train()}, images)
    with pytest.raises(InputError, match="unknown filter"):
        pass_gain("notch", 4, 16)
    for kind, cut in product(PASSES, (12.0, 1e5, 0.5)):  # 16 pixels have frequencies from 1 to 11.3
        with pytest.raises(InputError, match=r"from 1 to 11\.3"):
            pass_gain(kind, cut, 16)
    for word in ("lowpass", "channel"):
        with pytest.raises(InputError, match="16 pixels"):
            hardening((word, 40.0))[0](Asked(network, to_float(images.pixels), images.labels, None))
    with pytest.raises(InputError, match="16 pixels"):
        sweep(blurred(asked, [40])["none blur 40", 0], images, [0.1], steps=1)
    with pytest.raises(InputError, match="cannot be told apart"):
        blurred(asked, [8, 8.00000001])
    with pytest.raises(InputError, match="does not fit"):
        filtered(torch.rand(1, 3, 16, 16), pass_gain("low", 4, 32))


def test_sensitivities_are_averaged_by_their_logarithms() -> None:
    each = pd.DataFrame({"condition": "a", "seed": [0, 1], "band": 4.0, "sensitivity": [2.0, 32.0]})
    mean = mean_sensitivity(each.assign(ci_low=[0.0, 1.0], ci_high=[np.inf, 64.0]))
    assert mean["sensitivity"].item() == pytest.approx(8.0)
    assert mean["ci_low"].item() * mean["ci_high"].item() == pytest.approx(64.0)
    alone = mean_sensitivity(each.head(1).assign(ci_low=0.0, ci_high=np.inf))
    assert alone[["ci_low", "ci_high"]].to_numpy().tolist() == [[0.0, np.inf]]
