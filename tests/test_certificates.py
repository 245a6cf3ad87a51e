"""Certificates: radii in closed form, their coverage, as many decisions from fewer passes; tables and figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings, strategies as st
from scipy.stats import binomtest, norm
from torch import Tensor, nn

from nbtools import plots
from nbtools.attacks import certify, reach
from nbtools.attacks.certified import Bounded, bound
from nbtools.data.images.sets import ImageSet, to_float
from nbtools.errors import InputError
from nbtools.metrics import ABSTAINED, certified_accuracy, certified_decisions, over_networks
from nbtools.metrics.stats import clopper_pearson

SIDE, SIGMA = 3, 0.25
TITLE = "t (demo study, simulated)"


class Linear(nn.Module):
    """Two classes, whose boundary is a plane: the smoothed network has the same one, and a radius in closed form."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3 * SIDE * SIDE, generator=torch.Generator().manual_seed(seed)))
        self.seen: list[float] = []

    def margin(self, x: Tensor) -> Tensor:
        return (x.flatten(1) - 0.5) @ self.weight

    def forward(self, x: Tensor) -> Tensor:
        self.seen += [float(x.min()), float(x.max())]
        return torch.stack([torch.zeros(len(x)), self.margin(x)], 1)

    def distances(self, images: ImageSet) -> np.ndarray:
        """|w·x + b| / ‖w‖ of each image."""
        with torch.no_grad():
            return (self.margin(to_float(images.pixels)).abs() / self.weight.norm()).numpy()


class Always(nn.Module):
    """Says the first class to all."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tensor([1.0, 0.0]).expand(len(x), 2)


class CoinFlip(nn.Module):
    """Says what the noise of the first pixel says, whatever the image."""

    def forward(self, x: Tensor) -> Tensor:
        first = x[:, 0, 0, 0] * 255
        return torch.stack([torch.zeros(len(x)), first - 128], 1)


def pictures(n: int = 8, model: Linear | None = None) -> ImageSet:
    """Grey noise; labels as a linear network has them."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(60, 196, (n, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    pixels[:, 0, 0, 0] = 128
    with torch.no_grad():
        labels = (model or linear()).forward(to_float(pixels)).argmax(1)
    return ImageSet(pixels, labels, np.array([f"i{k}" for k in range(n)]), ("a", "b"))


def linear() -> Linear:
    return Linear().eval()


# --- a network and pictures ---------------------------------------------------------------------------------


def test_radii_are_those_of_a_linear_network_in_closed_form() -> None:
    images = pictures(20)
    truth = linear().distances(images)
    table = certify(linear(), images, SIGMA, n=4000)
    share = norm.cdf(truth / SIGMA)
    # Four standard errors, and the distance of a bound at .001 from its estimate, three of them.
    least = SIGMA * norm.ppf(np.maximum(share - 7.1 * np.sqrt(share * (1 - share) / 4000) - 0.002, 1e-9))
    sure = table["prediction"] != ABSTAINED
    assert sure.mean() > 0.7
    assert (table["radius"] <= truth).all()
    assert (table["radius"] >= np.maximum(least, 0))[sure].all()
    assert (table["prediction"] == table["label"])[sure].all()
    assert (table["passes"] == 4100).all()
    assert (table["p_low"] == clopper_pearson(table["votes"], 4000, 0.001)[0]).all()


def test_asked_radii_are_decided_as_the_plane_lies_in_few_passes() -> None:
    images = pictures(12)
    truth = linear().distances(images)
    ranked = np.sort(truth)
    gap = np.diff(ranked[3:-3]).argmax() + 3
    middle = ranked[gap : gap + 2].mean()
    table = certify(linear(), images, SIGMA, radii=[middle], n=20_000)
    certified = certified_decisions(table, [middle], by=())["prediction"] != ABSTAINED
    assert (certified == (truth > middle)).all()
    assert table["passes"].mean() < 20_100 / 4
    assert (table["radius"] <= truth).all()


@pytest.mark.parametrize("radii", [None, np.linspace(0, 0.6, 13).tolist()])
def test_certificates_are_too_large_as_rarely_as_promised(radii: list[float] | None) -> None:
    """From pictures to radii, the choice of the class included; also if many radii ask for more and more noise."""
    images, alpha = pictures(400), 0.1
    table = certify(linear(), images, SIGMA, radii=radii, n=300, n0=10, alpha=alpha)
    right = table["prediction"] == table["label"]
    wrong = table["radius"].where(right, np.inf) > linear().distances(images)
    wrong &= table["prediction"] != ABSTAINED
    assert binomtest(int(wrong.sum()), len(images), alpha, alternative="greater").pvalue > 1e-3
    assert 0 < right.mean() < 1


def test_noise_leaves_the_pixels_range_and_is_not_clipped() -> None:
    model = linear()
    certify(model, pictures(2), 0.5, n=100)
    assert min(model.seen) < -0.5
    assert max(model.seen) > 1.5


def test_a_network_that_flips_a_coin_abstains() -> None:
    images = pictures(4)
    fixed = certify(CoinFlip().eval(), images, SIGMA, n=2000)
    asked = certify(CoinFlip().eval(), images, SIGMA, radii=[0], n=2000)
    for table in (fixed, asked):
        assert (table["prediction"] == ABSTAINED).all()
        assert (table["radius"] == 0).all()
        assert (table["passes"] == 2100).all(), "a coin is undecided to the end"
        assert certified_accuracy(table, [0], by=())["accuracy"].item() == 0


@pytest.mark.parametrize("batch_size", [7, 130, 1000])
@pytest.mark.parametrize("radii", [None, [0.0, 0.2]])
def test_neither_batches_nor_other_images_change_a_certificate(batch_size: int, radii: list[float] | None) -> None:
    images = pictures(6)
    rows = np.array([4, 0, 2])
    whole = certify(linear(), images, SIGMA, radii=radii, n=450, seed=3)
    part = certify(linear(), images[rows], SIGMA, radii=radii, n=450, seed=3, batch_size=batch_size)
    pd.testing.assert_frame_equal(part, whole.loc[rows].reset_index(drop=True))
    other = certify(linear(), images, SIGMA, radii=radii, n=450, seed=4)
    assert (other["votes"] != whole["votes"]).any()


def test_who_is_asked_to_the_end_has_seen_the_same_noise() -> None:
    images = pictures(6)
    fixed = certify(linear(), images, SIGMA, n=700)
    asked = certify(linear(), images, SIGMA, n=700, radii=np.linspace(0, 0.6, 40).tolist())
    last = asked["passes"] == 800
    assert last.any()
    assert (fixed["votes"] == asked["votes"])[last].all()


@pytest.mark.parametrize(
    "changed",
    [
        {"sigma": 0.0},
        {"sigma": 64.0},
        {"n": 0},
        {"n": True},
        {"n0": 0},
        {"alpha": 0.0},
        {"alpha": 0.9},
        {"batch_size": 0},
        {"radii": []},
        {"radii": [-0.1]},
        {"radii": [float("nan")]},
        {"radii": ["0.5"]},
        {"radii": 0.5},
        {"model": Linear().train()},
        {"model": "network"},
        {"model": nn.Sequential(nn.Flatten(), nn.Linear(27, 3)).eval()},
        {
            "images": ImageSet(
                torch.zeros(2, 3, SIDE, SIDE, dtype=torch.uint8), torch.tensor([0, -1]), np.arange(2), ("a", "b")
            )
        },
    ],
    ids=str,
)
def test_what_cannot_be_certified_is_refused(changed: dict[str, Any]) -> None:
    given_ = {"model": linear(), "images": pictures(2), "sigma": SIGMA, "n": 100, **changed}
    with pytest.raises(InputError):
        certify(given_.pop("model"), given_.pop("images"), given_.pop("sigma"), **given_)


def test_a_network_that_gives_no_number_under_noise_is_refused() -> None:
    class Logarithm(Linear):
        def margin(self, x: Tensor) -> Tensor:
            return super().margin(x.log())

    with pytest.raises(InputError, match="not finite"):
        certify(Logarithm().eval(), pictures(2), SIGMA, n=100)


# --- votes without a network --------------------------------------------------------------------------------


def flipped(shares: np.ndarray, seed: int = 0) -> Callable[[np.ndarray, int, int], np.ndarray]:
    """Votes of images whose chosen class has these shares."""
    rng = np.random.default_rng(seed)
    return lambda rows, first, last: rng.binomial(last - first, shares[rows])


def bounded(share: float, asked: list[float], n: int, alpha: float, times: int = 4000) -> Bounded:
    return bound(flipped(np.full(times, share)), times, n, alpha, np.array(asked))


@pytest.mark.parametrize("share", [0.5, 0.7, 0.93, 0.995])
@pytest.mark.parametrize("asked", [[], [0.0], [0.01, 0.02], [0.001, 0.003]])
def test_a_bound_is_too_high_as_rarely_as_promised(share: float, asked: list[float]) -> None:
    """Also where sampling goes on until luck certifies what is just out of reach."""
    alpha, times = 0.05, 4000
    found = bounded(share, [min(share + above, 0.9999) for above in asked], 3000, alpha, times)
    wrong = int((found.low > share).sum())
    assert binomtest(wrong, times, alpha, alternative="greater").pvalue > 1e-3


def test_without_a_schedule_the_same_looks_would_be_wrong_too_often() -> None:
    """What the shares of α are for: the largest of all looks' bounds, each at the whole α."""
    alpha, times, share = 0.05, 4000, 0.7
    rng = np.random.default_rng(0)
    votes = rng.binomial(1, share, (times, 3000)).cumsum(1)
    looks = [100, 200, 300, 400, 600, 800, 1200, 1800, 2600, 3000]
    low = np.max([clopper_pearson(votes[:, look - 1], look, alpha)[0] for look in looks], axis=0)
    assert (low > share).mean() > 2 * alpha


@pytest.mark.parametrize("radius", [0.0, 0.5, 1.0, 2.0])  # in σ
def test_one_question_takes_a_tenth_of_the_passes_and_has_the_same_answer(radius: float) -> None:
    n, alpha, times = 100_000, 0.001, 20_000
    shares = norm.cdf(np.random.default_rng(1).normal(1, 1.5, times))  # as margins in σ
    asked = norm.cdf([radius])
    fixed, again = (bound(flipped(shares, seed), times, n, alpha, np.empty(0)).low >= asked for seed in (2, 3))
    found = bound(flipped(shares, 4), times, n, alpha, asked)
    assert (100 + n) / (100 + found.draws).mean() > 10
    differ = (found.low >= asked) != fixed
    assert differ.mean() <= 1.5 * (again != fixed).mean() + 0.0005, "as two fixed runs of other noise do"
    assert not differ[np.abs(norm.ppf(shares) - radius) > 0.1].any()


def test_a_radius_beyond_all_votes_costs_nothing() -> None:
    found = bound(flipped(np.ones(5)), 5, 10_000, 0.001, norm.cdf([6.0]))
    assert (found.draws == 100).all()


@pytest.mark.parametrize("n", [1, 50, 100, 101, 250])
def test_the_last_look_is_at_all_draws(n: int) -> None:
    halves = bound(lambda rows, first, last: np.full(len(rows), (last - first) // 2), 3, n, 0.001, np.array([0.5]))
    assert (halves.draws == n).all()


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 300), st.floats(1e-6, 0.4), st.data())
def test_bounds_are_those_of_clopper_and_pearson(of: int, alpha: float, data: st.DataObject) -> None:
    n = data.draw(st.integers(0, of))
    theirs = binomtest(n, of).proportion_ci(1 - 2 * alpha)
    assert clopper_pearson(n, of, alpha) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


# --- tables -------------------------------------------------------------------------------------------------


def certificates() -> pd.DataFrame:
    """Two conditions, two seeds, four images: radii from 0 on, an abstention, a certified error."""
    rows = [
        (condition, seed, f"i{k}", 0, prediction, radius + (condition == "TO") * 0.1 * (radius > 0) + seed * 0.01)
        for condition in ("none", "TO")
        for seed in (0, 1)
        for k, (prediction, radius) in enumerate([(0, 0.5), (0, 0.2), (1, 0.9), (ABSTAINED, 0.0)])
    ]
    table = pd.DataFrame(rows, columns=["condition", "seed", "image_id", "label", "prediction", "radius"])
    return table.assign(sigma=SIGMA)


def test_accuracy_counts_right_classes_whose_radius_reaches() -> None:
    table, radii = certificates(), [0.4, 0.0, 0.25]
    found = certified_accuracy(table, radii)
    assert len(found) == 4 * 3
    for row in found.to_dict("records"):
        mine = table[(table["condition"] == row["condition"]) & (table["seed"] == row["seed"])]
        right = (mine["prediction"] == mine["label"]) & (mine["radius"] >= row["epsilon"])
        assert row["accuracy"] == right.mean()
        assert row["ci_low"] <= row["accuracy"] <= row["ci_high"]
        assert row["n"] == 4
    assert list(found["epsilon"][:3]) == sorted(radii)


def test_seeds_are_averaged_as_those_of_attacks() -> None:
    found = over_networks(certified_accuracy(certificates(), [0.0, 0.25]), "accuracy", by=("condition", "epsilon"))
    assert list(found["n_seeds"]) == [2] * 4
    assert list(found["accuracy"]) == [0.5, 0.25, 0.5, 0.5]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda table: table.drop(columns="radius"),
        lambda table: table.iloc[:0],
        lambda table: pd.concat([table, table]),
        lambda table: table.assign(radius=-0.1),
        lambda table: table.assign(radius=np.inf),
        lambda table: table.assign(radius="far"),
        lambda table: table.assign(prediction=None),
        lambda table: table.assign(label=-1),
        lambda table: table[~((table["seed"] == 1) & (table["image_id"] == "i0"))],
    ],
)
def test_a_table_that_is_none_of_certificates_is_refused(spoil: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    with pytest.raises(InputError):
        certified_accuracy(spoil(certificates()), [0.0, 0.25])


@pytest.mark.parametrize("early", [False, True])
def test_the_reach_is_the_radius_of_an_image_on_which_all_votes_agree(early: bool) -> None:
    radii = [reach(0.02, 300, radii=[0.0]) * (1 - 1e-9)] if early else None
    at_most = reach(0.02, 300, radii=radii)
    sure = certify(Always().eval(), pictures(3), 0.02, radii=radii, n=300)
    assert (sure["votes"] == 300).all()
    assert sure["radius"].to_numpy() == pytest.approx(at_most, rel=1e-12)
    assert reach(0.04, 300) == pytest.approx(2 * reach(0.02, 300))
    assert reach(0.02, 9) == 0 < reach(0.02, 10) < reach(0.02, 20), "of nine votes .001 ** (1 / 9) < .5 is sure"


def test_certificates_are_read_at_the_radii_they_were_made_for() -> None:
    near = certify(linear(), pictures(5), 0.02, radii=[0.0, 0.01], n=300).assign(condition="none", seed=0)
    assert set(certified_accuracy(near, [0.01, 0.0])["epsilon"]) == {0.0, 0.01}
    with pytest.raises(InputError, match=r"not made for these radii\n +expected: radii of 0.0 0.01\n +got: +0.2\n"):
        certified_accuracy(near, [0.01, 0.2])
    every = certify(linear(), pictures(5), 0.02, n=300).assign(condition="none", seed=0)
    assert len(certified_accuracy(every, [0.013, 0.2])) == 2


# --- figures ------------------------------------------------------------------------------------------------


def drawn() -> pd.DataFrame:
    table = pd.concat([certificates(), certificates().assign(sigma=0.5)])
    accuracy = certified_accuracy(table, [0.0, 0.2, 0.4], by=("condition", "seed", "sigma"))
    return over_networks(accuracy, "accuracy", by=("condition", "sigma", "epsilon"))


def test_each_noise_has_its_panel_and_each_condition_its_line_and_band() -> None:
    fig = plots.certified_curves(drawn(), {SIGMA: 0.5, 0.5: 0.3}, title=TITLE)
    lines = [trace for trace in fig.data if trace.mode == "lines+markers"]
    assert [trace.name for trace in lines] == ["none", "TO"] * 2
    assert len(fig.data) == 2 * len(lines) + 2
    assert [list(line.x) for line in lines] == [[0, 0.2, 0.4]] * 2 + [[0, 0.2]] * 2, "they end where no vote reaches"
    assert [shape.x0 for shape in fig.layout.shapes] == [0.5, 0.3]
    assert fig.layout.yaxis.title.text == "certified accuracy"
    assert sum(bool(trace.showlegend) for trace in fig.data) == 2
    heads = [head.text for head in fig.layout.annotations]
    assert heads == ["noise σ = 0.25", "noise σ = 0.5", *["reach of<br>all votes"] * 2]


def test_certified_and_attacked_accuracy_stand_in_one_panel() -> None:
    one = drawn().query("sigma == 0.5")
    fig = plots.certified_and_attacked(one, one[one["condition"] == "TO"], 0.3, title=TITLE)
    lines = [trace for trace in fig.data if trace.mode == "lines+markers"]
    assert [trace.line.dash for trace in lines] == ["solid", "solid", "dot"]
    assert lines[1].line.color == lines[2].line.color != lines[0].line.color
    assert [head.text for head in fig.layout.annotations][:2] == ["none", "TO"]
    assert [max(line.x) for line in lines] == [0.2, 0.2, 0.4], "attacks go on"


def test_tables_that_hold_a_point_twice_are_not_drawn() -> None:
    with pytest.raises(InputError, match="twice"):
        plots.certified_and_attacked(drawn(), drawn(), 0.5, title=TITLE)
    with pytest.raises(InputError, match="twice"):
        plots.certified_curves(pd.concat([drawn(), drawn()]), {SIGMA: 0.5, 0.5: 0.5}, title=TITLE)
