"""Transfer: planted decisions give exact scores, and linear networks transfer as their weights say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from nbtools import plots
from nbtools.attacks.transfer import transfer
from nbtools.conditions import DECAYS
from nbtools.data.images.sets import ImageSet, to_float
from nbtools.errors import InputError
from nbtools.metrics.decisions.transfer import at_equal_smoothness, transfer_matrix, transfer_robustness


class Linear(nn.Module):
    """Two classes, told apart by the sign of a weighted sum."""

    def __init__(self, weights: list[float]):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weights).repeat(16))

    def forward(self, x: Tensor) -> Tensor:
        score = (x - 0.5).permute(0, 2, 3, 1).flatten(1) @ self.weight
        return torch.stack([score, -score], 1)


def images(n: int = 40) -> ImageSet:
    pixels = torch.randint(100, 156, (n, 3, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    labels = Linear([1.0, 0.5, 0.0])(to_float(pixels)).argmax(1)
    return ImageSet(pixels, labels, np.arange(n), ("plus", "minus"))


MODELS = {
    ("V1", 0): Linear([1.0, 0.5, 0.0]).eval(),
    ("V2", 0): Linear([2.0, 1.0, 0.0]).eval(),
    ("TO", 0): Linear([0.0, 0.0, 1.0]).eval(),
}


def test_networks_of_one_direction_share_their_adversarial_images():
    decisions = transfer(MODELS, images(), 20 / 255, steps=5)
    assert len(decisions) == 3 * 3 * 40
    matrix = transfer_matrix(decisions).set_index(["source", "target"])["accuracy"]
    assert matrix["V1", "V1"] == matrix["V1", "V2"] == matrix["V2", "V1"] == 0
    assert matrix["V1", "TO"] > 0.7, "orthogonal weights are moved by the random start alone"
    same = decisions[(decisions.source == "V1") & (decisions.target == "V1")]
    assert same.target_clean.all()
    assert same.fooled_source.all()


def test_the_clean_columns_say_who_was_right():
    n = 40
    decisions = transfer(MODELS, images(n), 1 / 255, steps=2)
    right = MODELS["TO", 0](to_float(images(n).pixels)).argmax(1) == images(n).labels
    row = decisions[(decisions.source == "V1") & (decisions.target == "TO")]
    assert row.target_clean.tolist() == right.tolist()
    assert decisions[(decisions.source == "TO")].source_clean.tolist() == right.tolist() * 3


def test_it_needs_two_networks_in_eval_mode():
    with pytest.raises(InputError, match="nothing to transfer"):
        transfer({("V1", 0): MODELS["V1", 0]}, images(), 0.01)
    with pytest.raises(InputError, match="training mode"):
        transfer({("V1", 0): MODELS["V1", 0], ("TO", 0): Linear([0.0, 0.0, 1.0]).train()}, images(), 0.01)


def test_every_network_meets_every_other_of_any_seed():
    networks = {(name, seed): MODELS[name, 0] for name in ("V1", "TO") for seed in (0, 1)}
    decisions = transfer(networks, images(), 20 / 255, steps=5)
    assert len(decisions.groupby(["source", "source_seed", "target", "seed"])) == 16
    assert set(transfer_robustness(decisions)[["condition", "seed"]].itertuples(index=False, name=None)) == {*networks}


# Scores of planted decisions


def planted(right: dict[tuple[str, str], np.ndarray], wrong_clean: dict[str, int] | None = None) -> pd.DataFrame:
    """Decisions from which images (bool) each target withstands of each source."""
    wrong_clean = wrong_clean or {}
    rows = [
        {"source": source, "target": target, "image_id": str(i), "label": 0, "prediction": int(not ok)}
        | {"source_clean": i >= wrong_clean.get(source, 0), "target_clean": i >= wrong_clean.get(target, 0)}
        for (source, target), answers in right.items()
        for i, ok in enumerate(answers)
    ]
    return pd.DataFrame(rows)


def stands(share: float, n: int = 100) -> np.ndarray:
    return np.arange(n) >= n * (1 - share)


def test_only_images_both_classify_count():
    table = planted({("V1", "TO"): stands(0.6), ("TO", "V1"): stands(0.6)}, {"V1": 10, "TO": 20})
    row = transfer_matrix(table).iloc[0]
    assert row["n"] == 80
    assert row["accuracy"] == pytest.approx(60 / 80)
    assert row["ci_low"] < 0.75 < row["ci_high"]


def test_robustness_leaves_the_white_box_out():
    names = ("V1", "V2", "TO")
    share = {(s, t): 0.0 if s == t else 0.8 if t == "TO" else 0.5 for s in names for t in names}
    table = planted({pair: stands(value) for pair, value in share.items()})
    targets = transfer_robustness(table).set_index("condition")["accuracy"]
    assert targets.to_dict() == pytest.approx({"V1": 0.5, "V2": 0.5, "TO": 0.8})
    sources = transfer_robustness(table, role="source").set_index("condition")["accuracy"]
    assert sources.to_dict() == pytest.approx({"V1": 0.65, "V2": 0.65, "TO": 0.5})


def test_transfer_is_read_across_seeds():
    """What networks of one seed take from each other says who trained beside whom."""
    share = {(0, 0): 0.25, (0, 1): 0.75, (1, 0): 0.5, (1, 1): 0.25}  # (seed of V1, which attacks, seed of TO)
    parts = [planted({("V1", "TO"): stands(value)}).assign(source_seed=s, seed=t) for (s, t), value in share.items()]
    white = [planted({("V1", "V1"): stands(0.0)}).assign(source_seed=s, seed=t) for s in (0, 1) for t in (0, 1)]
    table = pd.concat([*parts, *white])
    matrix = transfer_matrix(table).set_index(["source", "target"])["accuracy"]
    assert matrix["V1", "TO"] == pytest.approx(0.625)
    targets = transfer_robustness(table).set_index("seed")["accuracy"]
    assert targets.to_dict() == pytest.approx({1: 0.75, 0: 0.5})
    sources = transfer_robustness(table, role="source").set_index("seed")["accuracy"]
    assert sources.to_dict() == pytest.approx({0: 0.75, 1: 0.5})
    beside = table[(table["source_seed"] == 0) & (table["seed"] == 0)]  # all there is with one seed
    assert transfer_robustness(beside)["accuracy"].tolist() == pytest.approx([0.25])


def test_a_pair_without_common_images_has_no_number():
    table = planted({("V1", "TO"): stands(0.5)}, {"V1": 100})
    row = transfer_matrix(table).iloc[0]
    assert row["n"] == 0
    assert np.isnan(row["accuracy"])


def test_one_network_has_no_others():
    with pytest.raises(InputError, match="no other network"):
        transfer_robustness(planted({("V1", "V1"): stands(0.5)}))


FAMILY = (DECAYS[0], DECAYS[1])


def gradients(smoothness: dict[str, float], n: int = 100) -> pd.DataFrame:
    """The same squared gradient on every image."""
    rows = [{"condition": c, "image_id": str(i), "gradient": g} for c, g in smoothness.items() for i in range(n)]
    return pd.DataFrame(rows)


def of_family() -> tuple[pd.DataFrame, dict[str, float]]:
    """Family of smoothness 1 and 100 that stand .8 and .4; TO at 10 stands .9; V1 lies beyond the family."""
    level = {FAMILY[0]: 0.8, FAMILY[1]: 0.4, "TO": 0.9, "V1": 0.5}
    table = planted({(s, t): stands(level[t]) for s in level for t in level})
    return table, {FAMILY[0]: 1.0, FAMILY[1]: 100.0, "TO": 10.0, "V1": 500.0}


def measured(n: int, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Networks that stand .9 − .3 × their log smoothness, TO .1 more; few images carry most of a mean gradient."""
    smoothness = {FAMILY[0]: 0.0, "TO": 1.0, FAMILY[1]: 2.0}
    level = {name: 0.9 - 0.3 * log + 0.1 * (name == "TO") for name, log in smoothness.items()}
    rough = [np.exp(log - 0.7 + rng.normal(0, np.sqrt(1.4), n)) for log in smoothness.values()]  # of mean exp(log)
    rows = gradients(smoothness, n).assign(gradient=np.concatenate(rough))
    return planted({(s, t): rng.random(n) < level[t] for s in level for t in level}), rows


def test_the_interval_knows_that_smoothness_is_measured_too():
    rng = np.random.default_rng(0)
    found = pd.concat([at_equal_smoothness(*measured(100, rng), FAMILY) for _ in range(20)])
    covered = (found["ci_low"] <= 0.1) & (found["ci_high"] >= 0.1)
    assert covered.mean() > 0.8, "with smoothness taken as known, two thirds"


def test_with_several_seeds_they_are_the_sample():
    """Each seed's TO is matched with the family of its seed."""
    level = {(name, seed): one for name, one in ((FAMILY[0], 0.8), (FAMILY[1], 0.4)) for seed in range(3)}
    level |= {("TO", 0): 0.9, ("TO", 1): 0.75, ("TO", 2): 0.8}
    parts = [
        planted({(source, target): stands(one)}).assign(source_seed=of, seed=seed)
        for (source, of), (target, seed), one in ((source, *pair) for source in level for pair in level.items())
    ]
    rough = gradients({FAMILY[0]: 1.0, FAMILY[1]: 100.0, "TO": 10.0})
    rows = pd.concat([rough.assign(seed=seed) for seed in range(3)])
    (found,) = at_equal_smoothness(pd.concat(parts), rows, FAMILY).to_dict("records")
    gaps = np.array([0.9, 0.75, 0.8]) - 0.6
    low, high = stats.t.interval(0.95, 2, gaps.mean(), stats.sem(gaps))
    assert [found[name] for name in ("difference", "ci_low", "ci_high")] == pytest.approx([gaps.mean(), low, high])
    some = rows[~((rows["seed"] == 2) & (rows["condition"] == FAMILY[0]))]
    with pytest.raises(InputError, match=f"none of {FAMILY[0]}, seed 2"):
        at_equal_smoothness(pd.concat(parts), some, FAMILY)


def test_networks_are_compared_at_their_smoothness():
    decisions, smoothness = of_family()
    table = at_equal_smoothness(decisions, gradients(smoothness), FAMILY).set_index("condition")
    assert table.loc["TO", ["family_accuracy", "difference"]].tolist() == pytest.approx([0.6, 0.3])
    assert table.loc["TO", "ci_low"] < 0.3 < table.loc["TO", "ci_high"]
    assert not table.loc["V1", "matched"]
    assert table.loc["V1", ["family_accuracy", "difference", "ci_low", "ci_high"]].isna().all()


@pytest.mark.parametrize("rare", ["TO", FAMILY[0]])
def test_resamples_without_an_image_that_counts_leave_an_interval(rare: str):
    """Three images that both get right: every twentieth resample of a hundred has none of them."""
    decisions, smoothness = of_family()
    decisions[["source_clean", "target_clean"]] = True
    known = ~((decisions["target"] == rare) & decisions["image_id"].astype(int).between(3, 96))
    decisions["target_clean"] = known
    row = at_equal_smoothness(decisions, gradients(smoothness), FAMILY).set_index("condition").loc["TO"]
    assert row["ci_low"] < row["difference"] < row["ci_high"]
    matrix = transfer_matrix(decisions)
    assert matrix[["ci_low", "ci_high"]].notna().all(axis=None)


def test_a_family_member_without_a_number_does_not_spoil_its_neighbours():
    decisions, smoothness = of_family()
    third = DECAYS[2]
    more = decisions[decisions["target"] == FAMILY[1]].assign(target=third, target_clean=False)
    both = pd.concat([decisions, more[more["source"] != third]])
    found, expected = (
        at_equal_smoothness(table, gradients({**smoothness, third: 1000.0}), family).set_index("condition").loc["TO"]
        for table, family in ((both, (*FAMILY, third)), (decisions, FAMILY))
    )
    pd.testing.assert_series_equal(found, expected)


@pytest.mark.parametrize(
    ("smoothness", "family"), [({}, FAMILY), ({FAMILY[0]: 0.0}, FAMILY), ({}, FAMILY[:1]), ({}, ("none", "random"))]
)
def test_what_cannot_be_matched_is_refused(smoothness, family):
    decisions, known = of_family()
    known = {**known, **smoothness} if smoothness or family != FAMILY else {"TO": 1.0}
    with pytest.raises(InputError, match="matched in smoothness"):
        at_equal_smoothness(decisions, gradients(known), family)


def test_other_tables_are_refused():
    table = planted({("V1", "TO"): stands(0.5)})
    with pytest.raises(InputError, match="without prediction"):
        transfer_matrix(table.drop(columns="prediction"))
    with pytest.raises(InputError, match="100 of them twice"):
        transfer_robustness(pd.concat([table, table]))
    with pytest.raises(InputError, match="unknown role"):
        transfer_robustness(table, role="victim")


# Figures


def test_the_heatmap_holds_the_matrix_in_the_conditions_order():
    table = planted({(s, t): stands(0.3 if s == "TO" else 0.6) for s in ("TO", "none") for t in ("TO", "none")})
    (heat,) = plots.transfer_heatmap(transfer_matrix(table), title="t").data
    assert list(heat.x) == list(heat.y) == ["none", "TO"]
    assert heat.z.tolist() == [[0.6, 0.6], [0.3, 0.3]]
    assert heat.text.tolist() == [[".60", ".60"], [".30", ".30"]]


def test_the_matched_figure_shows_family_and_networks():
    decisions, smoothness = of_family()
    table = at_equal_smoothness(decisions, gradients(smoothness), FAMILY)
    family = transfer_robustness(decisions).query("condition in @FAMILY").sort_values("condition")
    family = family.assign(smoothness=[1.0, 100.0])
    fig = plots.equal_smoothness(table, family, title="t")
    assert [trace.name for trace in fig.data] == ["weight decay", "TO", "V1"]
    assert list(fig.data[0].y) == pytest.approx([0.8, 0.4])
    assert fig.data[1].error_y.array is not None
    assert fig.data[2].error_y.array is None, "no comparison, no interval"


def test_smoothness_and_surfaces_are_drawn():
    table = pd.DataFrame(
        [
            {"condition": c, "epsilon": e, "mean": m, "ci_low": m / 2, "ci_high": m * 2}
            for c, m in (("TO", 2.0), ("none", 9.0))
            for e in (0.0, 4 / 255)
        ]
    )
    fig = plots.smoothness_curves(table, title="t")
    assert {trace.name: list(trace.y) for trace in fig.data} == {"none": [9.0, 9.0], "TO": [2.0, 2.0]}
    steps = [-0.01, 0.0, 0.01]
    surface = pd.DataFrame(
        [{"along_gradient": a, "along_random": b, "loss": 1 + a + 10 * b} for a in steps for b in steps]
    )
    fig = plots.loss_surfaces({"none": surface, "TO": surface}, title="t")
    assert fig.data[1].z[2].tolist() == pytest.approx([1.09, 1.1, 1.11]), "rows run along the random direction"
    with pytest.raises(InputError):
        plots.loss_surfaces({"none": surface.iloc[:0]}, title="t")
