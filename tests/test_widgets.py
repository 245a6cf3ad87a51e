"""The attack explorer without a browser: what is chosen, computed, kept, shown, saved and copied."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import struct
import threading
import zlib
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from nbtools.attacks import ATTACKS, perturb
from nbtools.attacks.meaning import MEANING
from nbtools.attacks.targeted import Towards, perturb_towards
from nbtools.data.images.own import LARGE, MAX_BYTES, photographs, read_image, with_photographs
from nbtools.data.images.sets import ImageSet, choose_rows, load_folder, to_float
from nbtools.data.study import open_study
from nbtools.errors import InputError
from nbtools.models.networks import GuidedNet, build, freeze, save_model
from nbtools.plots import decision_path
from nbtools.runs import folders
from nbtools.widgets.attack_class import class_view
from nbtools.widgets.attack_explorer import AttackExplorer
from nbtools.widgets.attack_networks import TrainedNetworks, condition_of, name_of, seed_of
from nbtools.widgets.attack_paths import LEVELS, TILE, attack_path, class_path, radius
from nbtools.widgets.attack_saved import Origin, as_address, as_code, load_state, read_address, save_state
from nbtools.widgets.attack_scene import EXACT, scene, sheet
from nbtools.widgets.attack_state import CLASS, CROWD, PATHS_KEPT, Bench, Choice
from nbtools.widgets.attack_view import amplification, budget, decision_table, view
from nbtools.widgets.jobs import Background, Cancelled

SIZE = 8
CLASSES = ("cat", "dog", "fox")
ORIGIN = Origin("tiny", 0.9, 0)


class Linear(nn.Module):
    """A network whose flips are known: its logits are sums of one colour channel each."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.scale * x.mean((2, 3)) * 100


def linear(scale: float = 1.0) -> Linear:
    return freeze(Linear(scale))  # type: ignore[return-value]


def images(n: int = 4, lead: int = 10) -> ImageSet:
    """Plain images of class 0, whose red leads green by `lead` grey levels and blue by twice that."""
    pixels = torch.full((n, 3, SIZE, SIZE), 100, dtype=torch.uint8)
    pixels[:, 0] += lead
    pixels[:, 2] -= lead
    ids = np.array([f"cat/{i}.png" for i in range(n)])
    return ImageSet(pixels, torch.zeros(n, dtype=torch.int64), ids, CLASSES)


def bench(**networks: nn.Module) -> Bench:
    return Bench(networks or {"none": linear(), "TO": linear(2.0)}, images())


def computed(there: Bench, choice: Choice) -> Bench:
    for name in there.missing(choice):
        there.compute(choice, name)
    return there


CHOICE = Choice("cat/0.png", ("none", "TO"))


# --- the path -----------------------------------------------------------------------------------------------


def test_it_flips_where_it_must() -> None:
    """Red leads by 10 grey levels: an L∞ attack needs more than 5 of each."""
    there = images()
    path = attack_path(linear(), there[:1])
    assert path.levels == (0.0, *LEVELS)
    assert path.flip == 5.7
    assert path.reached.tolist() == [level > 5 for level in path.levels]
    assert path.predictions.tolist() == [int(level > 5) for level in path.levels]
    distance = (path.pixels - path.pixels[0]).abs().amax((1, 2, 3)) * 255
    assert (distance <= torch.tensor(path.levels) + 1e-4).all()
    assert torch.equal((path.pixels[0] * 255).round().to(torch.uint8), there.pixels[0])
    assert torch.allclose(path.probabilities.sum(1), torch.ones(len(path.levels)))


def test_it_is_what_the_library_computes() -> None:
    x, radii = to_float(images().pixels[:1]), [level / 255 for level in LEVELS]
    points = perturb(linear(), x, torch.tensor([0]), radii, steps=20, seed=3)
    assert torch.equal(attack_path(linear(), images()[:1], seed=3).pixels[1:], points[:, 0])


def test_a_target_is_reached_later() -> None:
    """Blue trails red by 20 grey levels: more than 10 of each."""
    path = attack_path(linear(), images()[:1], target=2)
    assert path.flip == 11
    assert path.predictions[path.levels.index(11)] == 2


def test_an_image_without_a_class_is_moved_from_what_the_network_says() -> None:
    unknown = replace(images(1), labels=torch.tensor([-1]))
    assert attack_path(linear(), unknown).label == 0


def test_a_wrong_answer_is_shown_as_it_is() -> None:
    path = attack_path(linear(), replace(images(1), labels=torch.tensor([1])))
    assert path.flip == 0
    assert torch.equal(path.pixels[-1], path.pixels[0])


@pytest.mark.parametrize("attack", ATTACKS)
def test_radii_are_in_the_attacks_norm(attack: str) -> None:
    change = torch.full((3, SIZE, SIZE), 2 / 255)
    assert radius(2.0, attack, change.numel()) == pytest.approx(
        float(torch.linalg.vector_norm(change.flatten(), ATTACKS[attack].norm))
    )


# --- targets ------------------------------------------------------------------------------------------------


def test_two_classes_decide_as_all_do() -> None:
    logits = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    two = Towards(nn.Identity(), 3)(logits)
    assert torch.equal(two.argmax(1) == 1, logits.argmax(1) == 3)


def test_the_target_is_what_the_model_says() -> None:
    model = linear()
    points = perturb_towards(model, to_float(images().pixels), 2, [8 / 255, 12 / 255], steps=20)
    assert (model(points[0]).argmax(1) != 2).all()
    assert (model(points[1]).argmax(1) == 2).all()


def test_an_attack_that_did_not_converge_is_no_answer() -> None:
    bench = Bench({"cat": linear()}, images(), (0.001, 8.0))
    choice = Choice(str(bench.images.ids[0]), ("cat",), attack="L2CarliniWagner", steps=1, level=0.001)
    bench.compute(choice, "cat")
    seen = view(bench, choice)
    assert seen.path["converged"].tolist() == [True, False, bool(seen.path["reached"].iloc[-1])]
    assert seen.panels[0].verdicts[1].endswith("but the attack did not converge")
    enough = replace(choice, attack="LinfPGD", steps=10)
    bench.compute(enough, "cat")
    assert not [verdict for verdict in view(bench, enough).panels[0].verdicts if "converge" in verdict]
    nowhere = Bench({"cat": linear()}, images(), (0.001,))
    nowhere.compute(choice, "cat")
    assert view(nowhere, choice).panels[0].flip == "no answer: the attack did not converge; give it 10 steps or more"


@pytest.mark.parametrize("target", [-1, 3])
def test_a_target_that_is_no_class(target: int) -> None:
    with pytest.raises(InputError, match="the target cannot be"):
        perturb_towards(linear(), to_float(images().pixels), target, [0.1])


# --- what is kept -------------------------------------------------------------------------------------------


def test_epsilon_moves_over_what_was_computed() -> None:
    there = computed(bench(), CHOICE)
    calls = there.networks["none"].calls
    for level in (0.0, *LEVELS):
        moved = replace(CHOICE, level=level)
        assert there.missing(moved) == []
        view(there, moved)
    assert there.networks["none"].calls == calls


@pytest.mark.parametrize(
    "change", [{"image": "cat/1.png"}, {"attack": "LinfFGSM"}, {"steps": 5}, {"target": "fox"}, {"seed": 1}]
)
def test_anything_else_is_computed_anew(change: dict) -> None:
    there = computed(bench(), CHOICE)
    assert there.missing(replace(CHOICE, **change)) == ["none", "TO"]
    assert there.missing(replace(CHOICE, networks=("TO",))) == []


def test_the_oldest_are_forgotten() -> None:
    there = bench()
    there.levels = (1.0,)
    choices = [replace(CHOICE, networks=("none",), steps=1, level=1.0, seed=seed) for seed in range(PATHS_KEPT + 1)]
    for choice in choices:
        computed(there, choice)
    assert there.missing(choices[0]) == ["none"]
    assert there.missing(choices[1]) == []


def test_an_own_image_of_the_same_name_is_another() -> None:
    there = bench()
    own = there.add_image(torch.full((3, SIZE, SIZE), 9, dtype=torch.uint8), "mine.png")
    computed(there, replace(CHOICE, image=own))
    assert there.add_image(torch.full((3, SIZE, SIZE), 200, dtype=torch.uint8), "mine.png") == own
    assert there.missing(replace(CHOICE, image=own)) == ["none", "TO"]
    assert len(there.images) == 5
    assert int(there.image(own)[0][0, 0, 0]) == 200


def test_a_cancelled_attack_leaves_nothing() -> None:
    there, ticks = bench(), iter(range(30))

    def tick() -> None:
        if next(ticks) == 20:
            raise Cancelled

    with pytest.raises(Cancelled):
        there.compute(CHOICE, "none", tick)
    assert there.missing(CHOICE) == ["none", "TO"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"image": "dog/0.png"},
        {"networks": ()},
        {"networks": ("none", "none")},
        {"networks": ("none", "V1")},
        {"attack": "LinfMagic"},
        {"steps": 0},
        {"steps": 10**6},
        {"seed": -1},
        {"seed": 10**30},
        {"target": "cow"},
        {"level": 3.0},
    ],
)
def test_what_is_not_there_cannot_be_chosen(wrong: dict) -> None:
    with pytest.raises(InputError, match="not among what there is"):
        bench().check(replace(CHOICE, **wrong))


# --- what is shown ------------------------------------------------------------------------------------------


def test_pictures_and_sentences_are_those_of_epsilon() -> None:
    seen = view(computed(bench(), CHOICE), CHOICE)
    before, panel = images().to_numpy()[0], seen.panels[0]
    assert seen.budgets[:3] == ("clean", "0.25/255", "0.35/255")
    assert seen.label == "cat"
    assert np.array_equal(panel.after[0], before)
    assert (panel.difference[0] == 128).all(), "grey where nothing changed"
    for level, after in zip(seen.levels, panel.after, strict=True):
        assert np.abs(after.astype(int) - before).max() <= level + 0.5
    small, large = seen.levels.index(4.0), seen.levels.index(8.0)
    assert panel.verdicts[0].startswith("cat (")
    assert panel.verdicts[small].startswith("still cat")
    assert panel.verdicts[large].startswith("cat → dog")
    assert [panel.fooled[small], panel.fooled[large]] == [False, True]
    assert panel.flip == "turns to dog at ε = 5.7/255"


def test_the_difference_is_amplified_alike_at_every_epsilon_so_that_it_grows() -> None:
    there = computed(bench(), CHOICE)
    seen = view(there, CHOICE)
    path = there.paths(CHOICE)["none"]
    largest = [np.abs(shown.astype(float) - 127.5).max() for shown in seen.panels[0].difference]
    wanted = [127.5 * min(1.0, 2 * seen.amplify * float((now - path.pixels[0]).abs().max())) for now in path.pixels]
    assert largest == pytest.approx(wanted, abs=1)
    assert (np.diff(largest) >= 0).all()
    assert largest[-1] > 4 * largest[5]


@pytest.mark.parametrize(("top", "times"), [(16, 8), (8, 16), (2, 64), (0.5, 256), (255, 1)])
def test_the_largest_epsilon_fills_the_scale_of_the_difference(top: float, times: int) -> None:
    assert amplification((top / 4, top)) == times
    assert 0.35 < times * top / 255 < 0.71 or times == 1


def test_bars_are_the_networks_probabilities() -> None:
    there = computed(bench(), CHOICE)
    seen = view(there, CHOICE)
    path = there.paths(CHOICE)["TO"]
    assert seen.classes == CLASSES
    expected = [there.networks["TO"](point[None]).softmax(1)[0].tolist() for point in path.pixels]
    assert seen.panels[1].probabilities == pytest.approx(np.array(expected))


def test_l2_says_its_unit() -> None:
    euclidean = [name for name, attack in ATTACKS.items() if attack.norm == 2]
    assert budget(2.0, "LinfPGD") == "2/255"
    assert [budget(2.0, name) for name in euclidean] == ["2/255 RMS"] * len(euclidean)


def test_the_table_has_a_row_per_network_and_epsilon() -> None:
    there = computed(bench(), CHOICE)
    table = decision_table(there.paths(CHOICE), CLASSES, image="cat/0.png")
    assert len(table) == 2 * (len(LEVELS) + 1)
    assert set(table.rival) == {"dog"}
    assert (table.prediction != "cat").equals(table.reached)
    assert table.epsilon.tolist() == [level / 255 for level in table.level]


@pytest.mark.parametrize("side", [SIZE, 64, 224, 300])
def test_a_sheet_holds_every_picture_in_its_place(side: int) -> None:
    colors = np.random.default_rng(0).integers(0, 255, (3, 2, 4, 3), dtype=np.uint8)
    frames = np.kron(colors, np.ones((1, side // 2, side // 2, 1), np.uint8))
    decoded = np.asarray(Image.open(io.BytesIO(sheet(frames))).convert("RGB")).reshape(frames.shape)
    off = np.abs(decoded.astype(int) - frames)
    assert off.mean() < 8
    assert (off.max() == 0) == (frames.nbytes <= EXACT)


@pytest.mark.parametrize(("side", "tab"), [(224, "image"), (64, CLASS), (224, CLASS)])
def test_a_scene_is_small_enough_for_a_server_that_drops_large_messages(side: int, tab: str) -> None:
    """Jupyter's limit is 1 MB a second over 3 s, whatever is sent; noise is what compresses least."""
    rng = torch.Generator().manual_seed(0)
    pixels = torch.randint(100, 140, (24, 3, side, side), dtype=torch.uint8, generator=rng)
    noise = ImageSet(pixels, torch.zeros(24, dtype=torch.int64), np.array([f"{i}" for i in range(24)]), CLASSES)
    there, choice = Bench({"none": linear(), "TO": linear(2.0)}, noise), Choice("0", ("none", "TO"), steps=1, tab=tab)
    drawn = scene(computed(there, choice), choice, ())
    assert sum(len(panel["sheet"]) for panel in drawn["panels"]) < 2.5e6


def test_every_attack_has_a_line_that_says_what_it_is() -> None:
    assert list(MEANING) == list(ATTACKS)
    assert len(set(MEANING.values())) == len(ATTACKS)
    assert max(map(len, MEANING.values())) < 140


# --- a class at once ----------------------------------------------------------------------------------------


def mixed() -> Bench:
    """Of six images, red leads green by 2, 6, … grey levels: an L∞ attack needs more than half of that."""
    leads = (2, 6, 10, 14, 18, 40)
    pixels = torch.cat([images(1, lead).pixels for lead in leads])
    ids = np.array([f"cat/{i}.png" for i in range(len(leads))])
    return Bench(
        {"none": linear(), "TO": linear(2.0)}, ImageSet(pixels, torch.zeros(6, dtype=torch.int64), ids, CLASSES)
    )


MANY = replace(CHOICE, tab=CLASS)


def test_a_class_falls_image_by_image_where_it_must() -> None:
    there = computed(mixed(), MANY)
    path = there.class_paths(MANY)["none"]
    for i, lead in enumerate((2, 6, 10, 14, 18, 40)):
        assert path.stands[:, i].tolist() == [level <= lead / 2 for level in path.levels]
    seen = class_view(there, MANY)
    assert seen.panels[0].counts == tuple(path.stands.sum(1).tolist())
    assert seen.panels[0].says[-1] == ("dog",) * 5 + ("cat",)
    assert seen.difference[-1] == "As many under both."


def test_one_image_of_a_class_is_what_it_is_alone() -> None:
    """Where the gradient is the same everywhere, neither a start nor the others matter to the end."""
    there = computed(mixed(), MANY)
    for i in range(6):
        alone = attack_path(linear(), there.images[i : i + 1])
        assert there.class_paths(MANY)["none"].predictions[:, i].tolist() == alone.predictions.tolist()


def test_a_class_has_images_with_a_label_and_none_of_the_target() -> None:
    there = mixed()
    there.add_image(there.images.pixels[0], "mine.png")
    assert there.images.ids[there.crowd()].tolist() == [f"cat/{i}.png" for i in range(6)]
    assert len(Bench(there.networks, images(CROWD + 5)).crowd()) == CROWD
    assert len(there.crowd("cat")) == 0
    with pytest.raises(InputError, match="whose class is known"):
        there.check(replace(MANY, target="cat"))
    towards = replace(MANY, target="fox")
    path = computed(there, towards).class_paths(towards)["none"]
    assert path.stands.sum(1)[-1] == 2, "blue trails by twice as much"


def test_a_class_does_not_ask_for_the_image() -> None:
    there = computed(mixed(), MANY)
    assert there.missing(replace(MANY, image="cat/3.png", level=8.0)) == []
    assert there.missing(replace(MANY, tab="image")) == ["none", "TO"]


def test_large_images_of_a_class_are_kept_small() -> None:
    large = replace(images(2), pixels=images(2).pixels.repeat_interleave(20, 2).repeat_interleave(20, 3))
    path = class_path(linear(), large, levels=(4.0,), steps=2)
    assert max(path.tiles.shape[-2:]) <= TILE
    assert torch.equal(path.tiles[0, :, :, 0, 0], large.pixels[:, :, 0, 0])


def test_a_count_is_said_with_its_interval() -> None:
    from scipy.stats import binomtest

    seen = class_view(computed(mixed(), MANY), MANY)
    low, high = binomtest(seen.panels[0].counts[9], 6).proportion_ci()
    assert f"interval {low:.0%} to {high:.0%}" in seen.panels[0].words[9]


def test_scenes_hold_everything_at_every_epsilon() -> None:
    for choice in (CHOICE, MANY):
        drawn = scene(computed(mixed(), choice), choice, ())
        n = len(LEVELS) + 1
        assert len(drawn["budgets"]) == n
        for panel in drawn["panels"]:
            height = Image.open(io.BytesIO(panel["sheet"])).height
            assert height == n * drawn["size"][0]
            told = [panel[name] for name in ("verdicts", "curve", "counts", "words", "stands") if name in panel]
            assert {len(values) for values in told} == {n}
    assert "no right answer" not in drawn["note"]


def test_a_foreign_picture_is_called_one() -> None:
    there = bench()
    own = there.add_image(images().pixels[0], "mine.png")
    choice = replace(CHOICE, image=own)
    note = scene(computed(there, choice), choice, ())["note"]
    assert "3 classes (cat, dog, fox)" in note
    assert "no right answer" in note
    assert scene(computed(there, CHOICE), CHOICE, ())["note"] == ""


# --- figures ------------------------------------------------------------------------------------------------


def test_the_flip_is_marked_where_it_is() -> None:
    seen = view(computed(bench(), CHOICE), CHOICE)
    fig = decision_path(seen.path, title="t")
    marks = [trace for trace in fig.data if trace.name == "flip"]
    assert [2 ** trace.x[0] for trace in marks] == pytest.approx([5.7, 5.7])
    assert [trace.text[0] for trace in marks] == ["flips to dog"] * 2


@pytest.mark.parametrize(("flip", "sides"), [(0, ["right"] * 2), (6, ["left", "right"]), (12, ["left"] * 2)])
def test_what_a_flip_says_stays_in_the_figure(flip: int, sides: list[str]) -> None:
    seen = view(computed(bench(), CHOICE), CHOICE)
    fig = decision_path(seen.path.assign(reached=seen.path["level"] >= (0, *LEVELS)[flip]), title="t")
    said = [trace.textposition[0] for trace in fig.data if trace.name == "flip"]
    assert said == [f"{height} {side}" for height, side in zip(("top", "bottom"), sides, strict=True)]


def test_an_attack_towards_the_images_own_class_is_refused() -> None:
    with pytest.raises(InputError, match="another class than cat"):
        bench().check(replace(CHOICE, target="cat"))
    there = bench()
    own = there.add_image(there.images.pixels[0], "mine.png")
    there.check(replace(CHOICE, image=own, target="cat"))


@pytest.mark.parametrize("spoil", [lambda t: t.head(0), lambda t: t.drop(columns="rival"), lambda t: pd.concat([t, t])])
def test_tables_that_cannot_be_drawn(spoil: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    seen = view(computed(bench(), CHOICE), CHOICE)
    with pytest.raises(InputError):
        decision_path(spoil(seen.path), title="t")


# --- one's own image ----------------------------------------------------------------------------------------


def encoded(image: Image.Image, kind: str = "png", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def raw_png(width: int, height: int, bits: int, rows: bytes) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)
    parts = (b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"".join(parts)


def test_an_image_is_read_as_the_study_reads_its_own(tmp_path: Path) -> None:
    colors = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    (tmp_path / "a").mkdir()
    file = tmp_path / "a" / "x.png"
    file.write_bytes(encoded(Image.fromarray(colors)))
    assert torch.equal(read_image(file.read_bytes(), "x.png", 32), load_folder(tmp_path, 32).pixels[0])


WHOLE = encoded(Image.new("RGB", (50, 50), "red"))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "cannot be read"),
        (b"hello", "cannot be read"),
        (WHOLE[: len(WHOLE) // 2], "cannot be read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "cannot be read"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "cannot be read"),
        (b"\0" * (MAX_BYTES + 1), "too large"),
        (raw_png(30_000, 30_000, 8, b""), "too large|cannot be read"),
        (raw_png(8_000, 8_000, 8, b""), "too large"),
        *((encoded(Image.new("1", side)), "too large") for side in ((1, 3_000_000), (3_000_000, 1), (3, 6_000_000))),
        (raw_png(2, 1, 16, b"\0" + b"\1\2" * 6), "more than 8 bits"),
        (encoded(Image.new("I;16", (4, 4))), "more than 8 bits"),
    ],
)
def test_a_bad_file_is_refused_kindly(data: bytes, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        read_image(data, "holiday.png", SIZE)
    for word in ("holiday.png", "expected", "to do"):
        assert word in str(caught.value)


def test_foolboxs_photographs() -> None:
    photos = photographs(LARGE, CLASSES)
    assert photos.pixels.shape == (20, 3, LARGE, LARGE)
    assert (photos.labels == -1).all()
    between = [f"n{number:08d}" for number in range(2_000_000, 2_000_998)]
    thousand = photographs(LARGE, ("n01440764", *between, "n15075141"))
    assert thousand.labels[0] == 243
    others = photographs(LARGE, tuple(map(str, range(1000))))
    assert (others.labels == -1).all(), "a thousand classes of another kind"
    with pytest.raises(InputError, match="larger images"):
        photographs(32, CLASSES)


def test_photographs_join_images_large_enough() -> None:
    assert with_photographs(images()) is not None
    assert len(with_photographs(images())) == 4
    large = replace(images(), pixels=torch.zeros((4, 3, LARGE, LARGE), dtype=torch.uint8))
    assert len(with_photographs(large)) == 24


# --- saved states -------------------------------------------------------------------------------------------


CHANGES = [{}, {"networks": ("TO",), "target": "fox", "level": 0.0, "seed": 4}, {"tab": CLASS, "level": 0.35}]


@pytest.mark.parametrize("change", CHANGES)
def test_a_state_comes_back(change: dict) -> None:
    choice = replace(CHOICE, **change)
    assert load_state(bench(), save_state(bench(), choice)) == choice


@pytest.mark.parametrize(
    "change", [*CHANGES, {"image": "a b/ü&=#%+.png", "networks": ("V1+TO", "V1~2@layer1-at-4 seed 1")}]
)
def test_an_address_comes_back_whatever_was_shown_before(change: dict) -> None:
    choice = replace(CHOICE, **change)
    address = as_address(choice)
    assert address.isascii()
    assert not set(address) & set(' #"<>')
    for before in (CHOICE, Choice("x", ("V4",), "L2PGD", 3, "dog", 1.0, 9, CLASS)):
        assert read_address(f"#{address}", before) == choice


def test_an_image_that_was_dropped_in_does_not_travel_in_an_address() -> None:
    address = as_address(replace(CHOICE, image="own/secret holiday.png"))
    assert "secret" not in address
    assert read_address(address, CHOICE).image == CHOICE.image


@pytest.mark.parametrize("text", ["nonsense", "#level=many", "#steps=1e3", "#token=1", "#" + "&".join(["a=1"] * 99)])
def test_an_address_of_something_else_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="address says nothing"):
        read_address(text, CHOICE)


def test_a_state_from_before_there_were_tabs_is_of_an_image() -> None:
    state = json.loads(save_state(bench(), CHOICE))
    del state["choice"]["tab"]
    assert load_state(bench(), json.dumps(state)) == CHOICE


def test_an_own_image_travels_with_the_state() -> None:
    there = bench()
    pixels = torch.randint(0, 255, (3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    choice = replace(CHOICE, image=there.add_image(pixels, "mine.png"))
    elsewhere = bench()
    assert load_state(elsewhere, save_state(there, choice)) == choice
    assert torch.equal(elsewhere.image(choice.image)[0], pixels)


def spoiled(**entries: object) -> str:
    state = json.loads(save_state(bench(), CHOICE))
    return json.dumps({**state, **entries})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "\x00",
        spoiled(format="another"),
        spoiled(choice=[]),
        spoiled(choice={**asdict(CHOICE), "extra": 1}),
        spoiled(choice={**asdict(CHOICE), "steps": "many"}),
        spoiled(choice={**asdict(CHOICE), "steps": True}),
        spoiled(choice={**asdict(CHOICE), "tab": "room"}),
        spoiled(choice={**asdict(CHOICE), "level": float("nan")}),
        spoiled(choice={**asdict(CHOICE), "level": 10**400}),
        spoiled(choice={**asdict(CHOICE), "networks": ["V4"]}),
        spoiled(choice={**asdict(CHOICE), "networks": 3}),
        spoiled(choice={**asdict(CHOICE), "networks": [["V4"]]}),
        spoiled(choice={key: value for key, value in asdict(CHOICE).items() if key != "seed"}),
        spoiled(choice={**asdict(CHOICE), "image": "own/mine.png"}),
        spoiled(choice={**asdict(CHOICE), "image": "own/x"}, own_image="no base64!"),
        spoiled(choice={**asdict(CHOICE), "image": "own/x"}, own_image=base64.b64encode(b"no image").decode()),
    ],
)
def test_a_bad_state_changes_nothing(text: str) -> None:
    there = bench()
    with pytest.raises(InputError):
        load_state(there, text)
    assert len(there.images) == 4


# --- copy as code -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, tiny_study: Path) -> Path:
    """A home with the tiny study and a finished run of two untrained networks."""
    home = tmp_path_factory.mktemp("home")
    (home / "data/derived").mkdir(parents=True)
    (home / "data/derived/tiny").symlink_to(tiny_study.parent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NBTOOLS_HOME", str(home))
        classes = load_folder(open_study("tiny").classification / "val", 32).classes
        for seed, name in enumerate(("none", "TO")):
            parameters = {**folders.defaults("03_guided_training"), "study": "tiny", "roi": name}
            run = folders.start("03_guided_training", parameters)
            save_model(build(GuidedNet, seed, "small_resnet", classes, 0), run.folder)
            run.finish()
    return home


@pytest.mark.slow
@pytest.mark.parametrize("change", [{}, {"level": 0.0}, {"target": "ring"}, {"image": "own", "attack": "LinfFGSM"}])
def test_the_code_makes_the_same_pictures(
    study: Path, change: dict, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NBTOOLS_HOME", str(study))
    monkeypatch.chdir(tmp_path)
    shown: list[str] = []
    monkeypatch.setattr(go.Figure, "show", lambda figure: shown.append(figure.layout.title.text))
    some = load_folder(open_study("tiny").classification / "val", 32)
    places = {name: folders.find("03_guided_training", "tiny", roi=name).folder for name in ("none", "TO")}
    from nbtools.models.networks import load_model

    there = Bench({name: load_model(folder) for name, folder in places.items()}, some[choose_rows(len(some), 4)])
    choice = Choice(str(there.images.ids[0]), ("none", "TO"), steps=3, level=4.0)
    if change.get("image") == "own":
        Path("mine.png").write_bytes(encoded(Image.effect_noise((40, 30), 60)))
        own = there.add_image(read_image(Path("mine.png").read_bytes(), "mine.png", 32), "mine.png")
        change = {**change, "image": own}
    choice = replace(choice, **change)
    code = as_code(there, choice, ORIGIN)
    assert len(code.splitlines()) <= 26
    found: dict = {}
    exec(code, found)
    computed(there, choice)
    for name in choice.networks:
        path = there.paths(choice)[name]
        assert torch.equal(found["pictures"][name][0], path.pixels[path.levels.index(choice.level)])
    assert len(shown) == 2
    assert all("simulated" in title for title in shown)


# --- in the background --------------------------------------------------------------------------------------


def test_work_leaves_the_main_thread_free_and_reports_there() -> None:
    async def main() -> None:
        here, seen, gate = threading.current_thread(), [], threading.Event()
        background = Background(asyncio.get_running_loop())
        arrived = asyncio.Event()

        def done(result: object) -> None:
            seen.append((result, threading.current_thread() is here))
            arrived.set()

        background.start(lambda tick: gate.wait(5), done=done, failed=pytest.fail)
        await asyncio.sleep(0.05)
        assert not seen, "and this line ran meanwhile"
        gate.set()
        await asyncio.wait_for(arrived.wait(), 5)
        assert seen == [(True, True)]

    asyncio.run(main())


def test_the_latest_work_wins() -> None:
    async def main() -> None:
        background, results, ended = Background(asyncio.get_running_loop()), [], []
        arrived = asyncio.Event()

        def endless(tick: Callable[[], None]) -> None:
            try:
                while True:
                    tick()
            finally:
                ended.append(True)

        background.start(endless, done=results.append, failed=results.append)
        await asyncio.sleep(0.05)
        background.start(lambda tick: "second", done=lambda r: (results.append(r), arrived.set()), failed=pytest.fail)
        await asyncio.wait_for(arrived.wait(), 5)
        assert results == ["second"]
        assert ended == [True]

    asyncio.run(main())


def test_failures_arrive_as_failures() -> None:
    failures: list[Exception] = []
    Background().start(lambda tick: 1 / 0, done=pytest.fail, failed=failures.append)
    assert isinstance(failures[0], ZeroDivisionError)


# --- the widget ---------------------------------------------------------------------------------------------


@pytest.fixture
def explorer() -> AttackExplorer:
    return AttackExplorer({"none": linear(), "TO": linear(2.0)}, images(), origin=ORIGIN, title="tiny study, simulated")


def ask(explorer: AttackExplorer, **changes: object) -> None:
    """What the page does where a reader chooses."""
    explorer.lectern.choice = {**explorer.lectern.choice, **changes}


def shown(explorer: AttackExplorer) -> Choice:
    """What the page says is chosen."""
    return Choice(**{**explorer.lectern.choice, "networks": tuple(explorer.lectern.choice["networks"])})


def test_it_opens_on_a_finished_attack(explorer: AttackExplorer) -> None:
    page = explorer.lectern
    assert page.menu["title"] == "tiny study, simulated"
    assert [panel["network"] for panel in page.scene["panels"]] == ["none", "TO"]
    assert shown(explorer) == CHOICE
    assert page.status["text"] == ""


def test_controls_change_what_is_shown(explorer: AttackExplorer) -> None:
    ask(explorer, level=8.0)
    ask(explorer, networks=["none"])
    assert [panel["network"] for panel in explorer.lectern.scene["panels"]] == ["none"]
    ask(explorer, target="fox", image="cat/1.png", attack="LinfFGSM")
    assert (explorer.lectern.scene["image"], explorer.lectern.scene["attack"]) == ("cat/1.png", "LinfFGSM")
    assert explorer.choice == shown(explorer) == Choice("cat/1.png", ("none",), "LinfFGSM", 20, "fox", 8.0)
    assert json.loads(explorer.lectern.saved["state"])["choice"]["target"] == "fox"
    assert "perturb_towards(network, x, 2, radii" in explorer.lectern.saved["code"]
    ask(explorer, tab=CLASS, target="")
    assert explorer.lectern.scene["ids"] == [f"cat/{i}.png" for i in range(4)]


def test_epsilon_alone_sends_no_scene_again(explorer: AttackExplorer) -> None:
    before = explorer.lectern.scene
    ask(explorer, level=8.0)
    assert explorer.lectern.scene is before
    assert "level=8&" in explorer.lectern.saved["address"]


def test_an_address_is_opened_and_a_wrong_one_told(explorer: AttackExplorer) -> None:
    explorer._received(None, {"address": "#image=cat/2.png&networks=TO&level=4&tab=class"}, [])
    assert explorer.choice == shown(explorer) == Choice("cat/2.png", ("TO",), level=4.0, tab=CLASS)
    for wrong in ("#image=dog/1.png", "#networks=V9", "#level=3", "#something"):
        explorer._received(None, {"address": wrong}, [])
        assert explorer.lectern.status["alert"]
        assert explorer.choice == shown(explorer) == Choice("cat/2.png", ("TO",), level=4.0, tab=CLASS)


def test_what_is_dropped_is_taken_or_refused(explorer: AttackExplorer) -> None:
    state = explorer.lectern.saved["state"]
    data = encoded(Image.effect_noise((20, 20), 50))
    explorer._received(None, {"name": "C:\\photos\\mine.png", "size": len(data)}, [memoryview(data)])
    assert explorer.choice.image == "own/mine.png"
    assert explorer.lectern.thumbnails[-1]["id"] == "own/mine.png"
    for name, buffers in (("broken.png", [b"no"]), ("big.png", []), ("bad.json", [b"{}"])):
        explorer._received(None, {"name": name, "size": 10**9}, buffers)
        assert explorer.lectern.status["alert"]
        assert explorer.choice.image == "own/mine.png", "what was shown stays"
    explorer._received(None, {"name": "state.json", "size": len(state)}, [state.encode()])
    assert explorer.choice == replace(CHOICE, steps=20)
    assert explorer.lectern.status["text"] == ""


@pytest.mark.parametrize(
    "wish",
    [{"image": "../../secret.png"}, {"networks": "none"}, {"level": None}, {"steps": "20"}, {"more": 1}, {"tab": "x"}],
)
def test_a_page_that_asks_for_what_is_not_there_is_told_so(explorer: AttackExplorer, wish: dict) -> None:
    ask(explorer, **wish)
    assert explorer.lectern.status["alert"]
    assert explorer.choice == shown(explorer) == CHOICE


def test_a_network_of_other_classes_is_told_and_not_shown() -> None:
    stranger = linear()
    stranger.classes = ("a", "b", "c")  # type: ignore[assignment]
    explorer = AttackExplorer({"none": linear(), "TO": linear(), "odd": stranger}, images(), origin=ORIGIN, title="t")
    ask(explorer, networks=["none", "odd"])
    assert "not of the network's classes" in explorer.lectern.status["text"]
    assert explorer.choice == shown(explorer) == CHOICE


def test_a_running_attack_can_be_cancelled() -> None:
    async def main() -> None:
        slow, gate = linear(), threading.Event()
        explorer = AttackExplorer({"none": slow}, images(), origin=ORIGIN, title="t, simulated")
        original = slow.forward
        slow.forward = lambda x: (gate.wait(5), original(x))[1]  # type: ignore[method-assign]
        ask(explorer, image="cat/1.png")
        assert explorer.lectern.status["most"] > 0
        ask(explorer, level=4.0)  # of the same attack: it goes on
        assert explorer._working is not None
        explorer._received(None, {"cancel": True}, [])
        gate.set()
        await asyncio.sleep(0.2)
        assert explorer.choice.image == shown(explorer).image == "cat/0.png"
        assert explorer.lectern.status["most"] == 0
        assert "Cancelled" in explorer.lectern.status["text"]
        assert explorer.bench.missing(replace(explorer.choice, image="cat/1.png")) == ["none"]

    asyncio.run(main())


# --- all trained networks -----------------------------------------------------------------------------------


def test_names_of_networks_tell_condition_and_seed() -> None:
    for condition in ("TO", "V1@layer1+V4", "TO-at-4"):
        for seed in (0, 3, 12):
            name = name_of(condition, seed, usual=3)
            assert (condition_of(name), seed_of(name, 3)) == (condition, seed)
    assert name_of("TO", 3, 3) == "TO"


@pytest.mark.slow
def test_every_finished_network_is_offered_and_loaded_when_asked(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBTOOLS_HOME", str(study))
    loaded: list[Path] = []
    from nbtools.widgets import attack_networks

    monkeypatch.setattr(attack_networks, "load_model", lambda folder: loaded.append(folder) or linear())
    own = linear()
    trained = TrainedNetworks("tiny", {"TO": own}, alpha=0.9, seed=0)
    assert list(trained) == ["TO", "none"]
    assert trained["TO"] is own
    assert not loaded
    assert trained["none"] is trained["none"]
    assert [folder.name.partition("_")[0] for folder in loaded] == ["none"]
    assert list(TrainedNetworks("tiny", {}, alpha=0.9, seed=7)) == ["none seed 0", "TO seed 0"]
