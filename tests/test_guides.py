"""Guides from parts: what each asks is what is trained for, wherever it is asked; controls look elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, strategies as st
from rsatoolbox.rdm import calc_rdm
from torch import Tensor

from nbtools import training
from nbtools.conditions import parse_condition
from nbtools.data.images.scrambled import scramble_phases
from nbtools.data.images.sets import ImageSet, to_float
from nbtools.data.images.views import draw_boxes
from nbtools.errors import InputError
from nbtools.guides import MODIFIERS
from nbtools.metrics.brain.rsa import Dataset
from nbtools.models.networks import GuidedNet, RoiPredictor, build, load_model, save_model
from nbtools.training import checkpoints
from nbtools.training.guided import GuidedObjective, train_guided
from nbtools.training.loop import TrainConfig
from nbtools.training.matching import MATCHED, linear_cka, rdm, row_r
from nbtools.training.targets import Guide, Match, share_of

pytestmark = pytest.mark.usefixtures("one_thread")

SIDE, N, V = 16, 60, 20
SPLITS = {"train": np.arange(40), "validation": np.arange(40, N)}
CONFIG = TrainConfig(epochs=2, batch_size=10, lr=2e-3)


def some_images(n: int = N) -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    tint = torch.rand((n, 3, 1, 1), generator=generator) * 180
    pixels = (tint + torch.rand((n, 3, SIDE, SIDE), generator=generator) * 75).to(torch.uint8)
    return ImageSet(pixels, torch.arange(n) % 4, np.arange(n), tuple("abcd"))


def a_predictor(seed: int = 1, n_components: int = 4) -> RoiPredictor:
    """One whose responses are 0 in the mean over pictures, as measured ones are, with an orthonormal basis."""
    predictor: RoiPredictor = build(RoiPredictor, seed, "small_resnet", n_components, V)
    predictor(to_float(some_images().pixels))  # running statistics that are not their initial values
    with torch.no_grad():
        predictor.head.bias -= predictor.eval()(to_float(some_images().pixels)).mean(0)
    generator = torch.Generator().manual_seed(seed)
    predictor.components.copy_(torch.linalg.qr(torch.randn((V, n_components), generator=generator))[0].T)
    return predictor


def predictors_of(condition: str) -> list[RoiPredictor]:
    return [a_predictor(place + 1, place + 3) for place, _ in enumerate(parse_condition(condition).parts)]


def a_guide(condition: str, predictors: Sequence[RoiPredictor] | None = None, scale: str = "global") -> Guide:
    guiding = predictors_of(condition) if predictors is None else predictors
    return training.make_guide(parse_condition(condition), guiding, some_images(), scale, 0)  # type: ignore[arg-type]


def trained(condition: str, config: TrainConfig = CONFIG, **options: Any) -> tuple[GuidedNet, pd.DataFrame]:
    network, history = training.train_network(
        some_images(), condition, predictors_of(condition), config, validation_fraction=0.34, **options
    )
    return network, history.drop(columns="seconds")


def digest(model: torch.nn.Module) -> str:
    state = model.state_dict()
    return hashlib.sha256(b"".join(state[name].numpy().tobytes() for name in sorted(state))).hexdigest()


# --- every kind trains --------------------------------------------------------------------------------------

KINDS = [f"TO-{word}" + "-0.5" * bool(changed.number) for word, changed in MODIFIERS.items() if word != "manifold"]
KINDS += ["random", "labels-guide-shuffle", "TO@layer2", "V1~2+TO", "V1@layer1+V4-rdm@layer3+TO-cka-scrambled"]
KINDS += ["none-at-4", "V1+TO-atboth-4"]


@pytest.mark.parametrize("condition", KINDS)
def test_every_kind_of_guide_trains_resumes_bit_for_bit_and_repeats(
    condition: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, expected = trained(condition)
    everywhere = expected.drop(columns="robust_accuracy", errors="ignore")  # which validation rows alone have
    assert np.isfinite(everywhere.select_dtypes("number").to_numpy()).all()
    forward, steps = GuidedObjective.forward, iter(range(5))

    def killed(self: GuidedObjective, *batch: Tensor) -> dict[str, Tensor]:
        if next(steps, None) is None:
            raise KeyboardInterrupt
        return forward(self, *batch)

    with monkeypatch.context() as context:
        context.setattr(GuidedObjective, "forward", killed)
        context.setattr(checkpoints, "MINUTES", 0)  # every step is kept
        with pytest.raises(KeyboardInterrupt):
            trained(condition, checkpoint=tmp_path / "checkpoint")
    resumed, history = trained(condition, checkpoint=tmp_path / "checkpoint")
    assert digest(resumed) == digest(whole)
    pd.testing.assert_frame_equal(history, expected, check_exact=True)
    save_model(resumed, tmp_path)
    assert digest(load_model(tmp_path)) == digest(whole)


@pytest.mark.parametrize(
    "other", ["V1~2+TO", "V1+TO-shuffle", "V1+TO-scrambled", "another α", "other predictors", "raw"]
)
def test_a_checkpoint_is_of_one_guide(other: str, tmp_path: Path) -> None:
    """The same file for another guide is no training that is done: its network would be taken for the other's."""
    config, file = replace(CONFIG, epochs=1), tmp_path / "checkpoint"
    changes: dict[str, dict[str, Any]] = {"another α": {"alpha": 0.5}, "raw": {"target_scale": "raw"}}

    def train(condition: str, first: int, **options: Any) -> GuidedNet:
        guiding = [a_predictor(first, 3), a_predictor(first + 1, 4)]
        return training.train_network(some_images(), condition, guiding, config, checkpoint=file, **options)[0]

    once = train("V1+TO", 1)
    assert digest(train("V1+TO", 1)) == digest(once), "done"
    with pytest.raises(InputError, match="made with another configuration"):
        train(other if "TO" in other else "V1+TO", 1 + 5 * (other == "other predictors"), **changes.get(other, {}))


def test_two_regions_are_both_matched() -> None:
    """Each part is matched by a head of its own; r is the weighted mean of theirs."""
    network, history = trained("V1+TO", replace(CONFIG, epochs=12), alpha=0.9)
    rs = history.loc[history["split"] == "train", ["neural_r V1", "neural_r TO"]]
    assert (rs.tail(3).mean() > np.maximum(rs.iloc[0] + 0.2, 0.5)).all()
    np.testing.assert_allclose(history["neural_r"], history[["neural_r V1", "neural_r TO"]].mean(axis=1), rtol=1e-5)
    assert "neural_r V1" not in trained("V1")[1]
    whole = network.heads(to_float(some_images().pixels))[1]
    assert whole is not None
    assert whole.shape == (N, 3 + 4)


# --- heads and places ---------------------------------------------------------------------------------------


def heads_of(condition: str, guided_readout: str = "pooled") -> GuidedNet:
    guide = a_guide(condition)
    parameters = {"seed": 0, "architecture": "small_resnet", "start": "scratch", "guided_readout": guided_readout}
    return training.new_network(parameters, tuple("abcd"), guide.n_components, readouts=guide.readouts)


def test_one_region_is_the_network_of_before() -> None:
    before = build(GuidedNet, 0, "small_resnet", list("abcd"), 3)
    network = heads_of("TO")
    assert digest(network) == digest(before)
    assert network.config == before.config
    assert network.config["n_components"] == 3
    assert [name for name in before.state_dict() if "head" in name][-2:] == ["neural_head.weight", "neural_head.bias"]


def test_heads_are_drawn_last_and_in_their_order() -> None:
    one, two = heads_of("V1").state_dict(), heads_of("V1+TO").state_dict()
    assert {name for name in two if name not in one} == {"further_heads.0.weight", "further_heads.0.bias"}
    assert all(torch.equal(two[name], values) for name, values in one.items())
    assert digest(heads_of("TO-rdm")) == digest(build(GuidedNet, 0, "small_resnet", list("abcd"), 0)), (
        "the read-out itself is matched"
    )


@pytest.mark.parametrize(
    ("place", "reached"), [("layer1", {"stem", "layer1"}), ("layer3", {"stem", "layer1", "layer2", "layer3"})]
)
@pytest.mark.parametrize("word", ["", "-rdm", "-cka"])
def test_a_part_pulls_at_its_read_out_and_at_nothing_later(place: str, reached: set[str], word: str) -> None:
    condition = f"V1{word}@{place}"
    network, guide, images = heads_of(condition), a_guide(condition), some_images()
    objective = GuidedObjective(network, 0.5, [aim.asked for aim in guide.aims])
    x = to_float(images.pixels)
    objective(x, images.labels, *guide.targets(x, torch.arange(N)))["neural_loss"].backward()
    pulled = {name.split(".")[1] for name, weight in network.backbone.named_parameters() if weight.grad is not None}
    assert pulled == reached
    assert network.class_head.weight.grad is None


def test_parts_without_a_place_are_where_the_run_says() -> None:
    network = heads_of("V1@layer1+V4@layer3+TO", "layer4")
    assert network.guided_readouts == ("layer1", "layer3", "layer4")
    assert network.config["guided_readout"] == ["layer1", "layer3", "layer4"]
    widths = [head.in_features for head in (network.neural_head, *network.further_heads)]
    assert widths == list(map(network.backbone.readout_width, network.guided_readouts))
    with pytest.raises(InputError, match=r"one name: without @layer4"):
        heads_of("V1+TO@layer4", "layer4")


@pytest.mark.parametrize("condition", ["V1+TO", "V1@layer1", "TO-rdm"])
def test_heads_that_do_not_fit_are_refused(condition: str) -> None:
    network = heads_of("V1")
    with pytest.raises(InputError, match="do not fit the guide"):
        train_guided(network, some_images(), a_guide(condition), 0.5, SPLITS, CONFIG)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_each_part_needs_a_predictor(n: int) -> None:
    with pytest.raises(InputError, match=r"V1\+TO cannot be trained without its predictors\n.*2, of V1, TO"):
        a_guide("V1+TO", [a_predictor()] * n)


# --- targets ------------------------------------------------------------------------------------------------


def test_each_region_has_its_own_scale_and_weights_sum() -> None:
    one, other = predictors_of("V1+TO")
    guide, rows = a_guide("V1~3+TO", [one, other]), torch.arange(N)
    network, x = heads_of("V1~3+TO"), to_float(some_images().pixels)
    targets = guide.targets(x, rows)
    for place, (roi, predictor) in enumerate({"V1": one, "TO": other}.items()):
        (alone,) = a_guide(roi, [predictor]).targets(x, rows)
        assert alone.var(0).mean().item() == pytest.approx(1, abs=1e-4)
        torch.testing.assert_close(targets[place], alone[place::2], rtol=1e-4, atol=1e-5)
    terms = GuidedObjective(network, 0.5, [aim.asked for aim in guide.aims])(x, some_images().labels, *targets)
    matched = network.matched(x)[1]
    each = [((own[place::2] - targets[place]) ** 2).mean() for place, own in enumerate(matched)]
    torch.testing.assert_close(terms["neural_loss"], 0.75 * each[0] + 0.25 * each[1])


@pytest.mark.parametrize(("n", "asked"), [(9, [3, 3, 3]), (10, [4, 3, 3]), (3, [1, 1, 1]), (2, [2, 2, 2])])
def test_three_parts_ask_about_each_image_once_between_them(n: int, asked: list[int]) -> None:
    images = torch.arange(n)
    shares = [share_of(images, place, 3) for place in range(3)]
    assert list(map(len, shares)) == asked
    assert n < 3 or torch.equal(torch.cat(shares).sort().values, images)
    guide = a_guide("V1+V4+TO")
    assert [len(part) for part in guide.targets(to_float(some_images().pixels[:n]), images)] == asked
    assert torch.equal(share_of(images, 0, 1), images)


def test_all_parts_of_a_shuffled_guide_see_the_same_other_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    caught: list[Any] = []
    monkeypatch.setattr("nbtools.training.guided.fit", lambda objective, batches, *rest: caught.append(batches))
    rows = torch.tensor([7, 3, 30])
    seen = {}
    for condition in ("V1+TO", "V1+TO-shuffle", "V1+TO-scrambled"):
        train_guided(heads_of(condition), some_images(), a_guide(condition), 0.9, SPLITS, CONFIG)
        seen[condition] = caught[-1](torch.device("cpu"))(rows, draw_boxes("none", 3, torch.Generator()))
    partner = a_guide("V1+TO-shuffle").partner
    assert partner is not None
    x = to_float(some_images().pixels)
    shown = {"V1+TO": x[rows], "V1+TO-shuffle": x[partner[rows]], "V1+TO-scrambled": scramble_phases(x[rows], rows, 0)}
    for condition, pictures in shown.items():
        for place, predictor in enumerate(predictors_of("V1+TO")):
            (alone,) = a_guide("TO", [predictor]).targets(pictures, rows)
            torch.testing.assert_close(seen[condition][2 + place], alone[place::2], rtol=1e-4, atol=1e-5)
    assert all(torch.equal(batch[0], x[rows]) for batch in seen.values()), "the network sees the picture itself"


def test_clouds_of_a_scrambled_guide_are_of_scrambled_pictures() -> None:
    images = some_images()
    found = training.cloud_responses(a_guide("TO-scrambled"), images, SIDE, batch_size=7)
    x, rows = to_float(images.pixels), torch.arange(N)
    (expected,) = a_guide("TO").targets(scramble_phases(x, rows, 0), rows)
    torch.testing.assert_close(found, expected)


# --- similarities -------------------------------------------------------------------------------------------


def patterns(n: int, k: int, seed: int) -> Tensor:
    return torch.randn((n, k), generator=torch.Generator().manual_seed(seed))


def test_an_rdm_is_rsatoolboxs() -> None:
    x = patterns(7, 12, 0).double()
    theirs = calc_rdm(Dataset(x.numpy()), method="correlation").get_matrices()[0]
    np.testing.assert_allclose(rdm(x), theirs, atol=1e-12)


def test_linear_cka_is_that_of_the_paper() -> None:
    a, b = patterns(9, 5, 0).double(), patterns(9, 7, 1).double()
    x, y = ((z - z.mean(0)).numpy() for z in (a, b))
    norms = [np.linalg.norm(left.T @ right) for left, right in ((y, x), (x, x), (y, y))]
    assert linear_cka(a, b).item() == pytest.approx(norms[0] ** 2 / (norms[1] * norms[2]))
    assert linear_cka(a, 3 * a + 1).item() == pytest.approx(1)


@given(st.integers(0, 1000))
def test_similarities_do_not_know_the_responses_axes(seed: int) -> None:
    """CKA no rotation at all, RDMs none about the mean pattern; a rotated basis of components neither."""
    own, responses = patterns(8, 6, seed), patterns(8, 5, seed + 1)
    turn = torch.linalg.qr(patterns(5, 5, seed + 2))[0]
    torch.testing.assert_close(MATCHED["cka"](own, 2 * responses @ turn + 3), MATCHED["cka"](own, responses))
    axes = torch.linalg.qr(torch.cat([torch.ones(5, 1), patterns(5, 4, seed + 3)], dim=1))[0][:, 1:]
    about = axes @ torch.linalg.qr(patterns(4, 4, seed + 4))[0] @ axes.T + 0.2  # keeps the mean over voxels
    torch.testing.assert_close(MATCHED["rdm"](own, 2 * responses @ about + 3), MATCHED["rdm"](own, responses))


@pytest.mark.parametrize("word", ["rdm", "cka"])
def test_the_basis_of_a_predictors_components_does_not_matter(word: str) -> None:
    predictor, turned = a_predictor(), a_predictor()
    turn = torch.linalg.qr(patterns(4, 4, 5))[0]
    with torch.no_grad():
        turned.head.weight.copy_(turn @ predictor.head.weight)
        turned.head.bias.copy_(turn @ predictor.head.bias)
        turned.components.copy_(turn @ predictor.components)
    x, rows = to_float(some_images().pixels), torch.arange(N)
    own = patterns(N, 6, 0)
    found = [MATCHED[word](own, a_guide(f"TO-{word}", [p], scale).targets(x, rows)[0])  # type: ignore[index]
             for p, scale in ((predictor, "raw"), (turned, "global"))]  # fmt: skip
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("word", ["responses", "rdm", "cka"])
def test_the_best_match_is_no_loss_and_one_image_says_little(word: str) -> None:
    x = patterns(8, 6, 0)
    loss, r = MATCHED[word](x, x)  # type: ignore[index]
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert r.item() == pytest.approx(1, abs=1e-6)
    assert all(torch.isfinite(value) for value in MATCHED[word](x[:1], x[:1]))  # type: ignore[index]


@pytest.mark.parametrize("word", ["rdm", "cka"])
def test_a_network_takes_over_the_similarities(word: str) -> None:
    _, history = trained(f"TO-{word}", replace(CONFIG, epochs=12, batch_size=20))
    r = history.loc[history["split"] == "train", "neural_r"]
    assert r.tail(3).mean() > max(r.iloc[0] + 0.2, 0.5)


def test_half_precision_leaves_similarities_their_digits() -> None:
    network, guide, images = heads_of("TO-rdm"), a_guide("TO-rdm"), some_images()
    objective, x = GuidedObjective(network, 0.5, [Match(target="rdm")]), to_float(images.pixels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        targets = guide.targets(x, torch.arange(N))
        found = objective(x, images.labels, *targets)["neural_loss"]
        features = network.matched(x)[1][0].float()
    assert targets[0].dtype == found.dtype == torch.float32
    torch.testing.assert_close(found, MATCHED["rdm"](features, targets[0])[0], rtol=1e-2, atol=0)


# --- scrambled pictures -------------------------------------------------------------------------------------


@given(st.integers(0, 2**20), st.sampled_from([15, 16]))
def test_scrambled_pictures_keep_amplitudes_and_means_and_nothing_else(seed: int, side: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    pixels = 0.5 + 0.01 * torch.randn((2, 3, side, side), generator=generator).double()  # so that nothing is clipped
    found = scramble_phases(pixels, torch.tensor([4, 9]), seed)
    own, theirs = torch.fft.fft2(pixels), torch.fft.fft2(found)
    torch.testing.assert_close(own.abs(), theirs.abs())
    torch.testing.assert_close(found.mean((2, 3)), pixels.mean((2, 3)))
    torch.testing.assert_close(own[:, 0] * own[:, 1].conj(), theirs[:, 0] * theirs[:, 1].conj())  # colours' phases
    assert row_r(pixels.flatten(1), found.flatten(1)).abs().max() < 0.5


def test_a_picture_is_scrambled_alike_in_every_batch_and_differently_from_others() -> None:
    x, rows = to_float(some_images().pixels), torch.arange(N)
    whole = scramble_phases(x, rows, 0)
    assert torch.equal(scramble_phases(x[[5, 2]], torch.tensor([5, 2]), 0), whole[[5, 2]])
    assert (whole.amin(), whole.amax()) >= (0, 0)
    assert whole.max() <= 1
    same = x[:1].expand(2, -1, -1, -1)
    first, second = scramble_phases(same, torch.tensor([0, 1]), 0)
    assert not torch.allclose(first, second, atol=0.01)
    assert not torch.equal(scramble_phases(x, rows, 1), whole)


def test_edges_are_gone() -> None:
    """A square's outline is in its phases: scrambled, no pixel is far from the mean any more."""
    square = torch.full((1, 3, 32, 32), 0.4)
    square[..., 14:18, 14:18] = 0.6
    found = scramble_phases(square, torch.tensor([0]), 0)
    assert (found - found.mean()).abs().max() < 0.7 * (square - square.mean()).abs().max()
