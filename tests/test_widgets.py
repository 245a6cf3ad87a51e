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
from nbtools.attacks.targeted import Towards, perturb_towards
from nbtools.data.images.own import LARGE, MAX_BYTES, photographs, read_image, with_photographs
from nbtools.data.images.sets import ImageSet, choose_rows, load_folder, to_float
from nbtools.data.study import open_study
from nbtools.errors import InputError
from nbtools.models.networks import GuidedNet, build, freeze, save_model
from nbtools.plots import class_bars, decision_path
from nbtools.runs import folders
from nbtools.widgets import attack_html
from nbtools.widgets.attack_explorer import AttackExplorer
from nbtools.widgets.attack_saved import Origin, as_code, load_state, save_state
from nbtools.widgets.attack_state import LEVELS, PATHS_KEPT, Bench, Choice, attack_path, radius
from nbtools.widgets.attack_view import budget, decision_table, view
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
    assert seen.panels[0].verdict.endswith("but the attack did not converge")
    enough = replace(choice, attack="LinfPGD", steps=10)
    bench.compute(enough, "cat")
    assert "converge" not in view(bench, enough).panels[0].verdict
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
        {"target": "cow"},
        {"level": 3.0},
    ],
)
def test_what_is_not_there_cannot_be_chosen(wrong: dict) -> None:
    with pytest.raises(InputError, match="not among what there is"):
        bench().check(replace(CHOICE, **wrong))


# --- what is shown ------------------------------------------------------------------------------------------


def test_pictures_and_sentences_are_those_of_epsilon() -> None:
    there = computed(bench(), CHOICE)
    clean, small, large = (view(there, replace(CHOICE, level=level)) for level in (0.0, 4.0, 8.0))
    assert [seen.budget for seen in (clean, small, large)] == ["clean", "4/255", "8/255"]
    before = images().to_numpy()[0]
    for seen in (clean, small, large):
        assert np.array_equal(seen.panels[0].before, before)
        assert np.abs(seen.panels[0].after.astype(int) - before).max() <= seen.level
    assert np.array_equal(clean.panels[0].after, before)
    assert (clean.panels[0].difference == 128).all(), "grey where nothing changed"
    assert {int(small.panels[0].difference.max()), int(small.panels[0].difference.min())} == {255, 0}
    assert small.panels[0].verdict.startswith("still cat")
    assert large.panels[0].verdict.startswith("cat → dog")
    assert large.panels[0].flip == "turns to dog at ε = 5.7/255"
    assert large.label == "cat"


def test_bars_are_the_networks_probabilities() -> None:
    there = computed(bench(), CHOICE)
    seen = view(there, replace(CHOICE, level=8.0))
    point = there.path(CHOICE, "TO").pixels[(0.0, *LEVELS).index(8.0)]
    own = seen.bars[seen.bars.condition == "TO"]
    assert own.class_name.tolist() == list(CLASSES)
    assert own.probability.to_numpy() == pytest.approx(there.networks["TO"](point[None]).softmax(1)[0].numpy())
    first = there.path(CHOICE, "TO").probabilities[0].numpy()
    assert own.clean.to_numpy() == pytest.approx(first)


def test_l2_says_its_unit() -> None:
    euclidean = [name for name, attack in ATTACKS.items() if attack.norm == 2]
    assert budget(2.0, "LinfPGD") == "2/255"
    assert [budget(2.0, name) for name in euclidean] == ["2/255 RMS"] * len(euclidean)


def test_the_table_has_a_row_per_network_and_epsilon() -> None:
    there = computed(bench(), CHOICE)
    paths = {name: there.path(CHOICE, name) for name in CHOICE.networks}
    table = decision_table(paths, CLASSES, image="cat/0.png")
    assert len(table) == 2 * (len(LEVELS) + 1)
    assert set(table.rival) == {"dog"}
    assert (table.prediction != "cat").equals(table.reached)
    assert table.epsilon.tolist() == [level / 255 for level in table.level]


def test_what_comes_from_outside_is_escaped() -> None:
    there = bench()
    own = there.add_image(images().pixels[0], "<script>alert(1)</script>")
    assert "<script" not in attack_html.message(f"<script>{own}")
    wicked = replace(there.images, classes=("<img src=x onerror=alert(1)>", "dog", "fox"))
    there.images = wicked
    seen = view(computed(there, CHOICE), CHOICE)
    assert "<img src=x" not in attack_html.pictures(seen)
    assert attack_html.pictures(seen).count("alt=") == 6


# --- figures ------------------------------------------------------------------------------------------------


def bars_of(choice: Choice) -> go.Figure:
    seen = view(computed(bench(), choice), choice)
    return class_bars(seen.bars, seen.path, seen.level, title="a (b study, simulated)")


def test_bars_have_the_same_traces_whatever_they_show() -> None:
    one, two = bars_of(replace(CHOICE, networks=("TO",))), bars_of(CHOICE)
    assert [trace.type for trace in one.data] == [trace.type for trace in two.data]
    assert "says cat" in two.layout.annotations[0].text
    assert "dog (fooled)" in bars_of(replace(CHOICE, level=8.0)).layout.annotations[1].text


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


@pytest.mark.parametrize("change", [{}, {"networks": ("TO",), "target": "fox", "level": 0.0, "seed": 4}])
def test_a_state_comes_back(change: dict) -> None:
    choice = replace(CHOICE, **change)
    assert load_state(bench(), save_state(bench(), choice)) == choice


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
        path = there.path(choice, name)
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


def heading(explorer: AttackExplorer) -> str:
    return explorer.bars.children[0].drawn.layout.title.text


def test_it_opens_on_a_finished_attack(explorer: AttackExplorer) -> None:
    assert heading(explorer) == "LinfPGD on cat/0.png, ε = 2/255 (tiny study, simulated)"
    assert explorer.pictures.value.count("<img") == 6


def test_controls_change_what_is_shown(explorer: AttackExplorer) -> None:
    explorer.controls["level"].value = 8.0
    assert "cat → dog" in explorer.pictures.value
    explorer.controls["second"].value = ""
    assert explorer.pictures.value.count("<img") == 3
    explorer.controls["target"].value = "fox"
    explorer.controls["image"].value = "cat/1.png"
    explorer.controls["attack"].value = "LinfFGSM"
    assert heading(explorer) == "LinfFGSM on cat/1.png, ε = 8/255 (tiny study, simulated)"
    assert explorer.choice == Choice("cat/1.png", ("none",), "LinfFGSM", 20, "fox", 8.0)
    assert json.loads(explorer.outbox.state)["choice"]["target"] == "fox"
    assert "perturb_towards(network, x, 2, radii" in explorer.outbox.code


def test_figures_are_those_of_the_choice(explorer: AttackExplorer) -> None:
    """Moved, switched and switched back, it equals one drawn from nothing."""
    explorer.controls["level"].value = 8.0
    explorer.controls["second"].value = ""
    explorer.controls["first"].value = "TO"
    explorer.controls["level"].value = 4.0
    fresh = view(explorer.bench, explorer.choice)
    bars = class_bars(fresh.bars, fresh.path, fresh.level, title="t")
    path = decision_path(fresh.path, fresh.level, title="t")
    for shown, figure in ((explorer.bars.children[0].drawn, bars), (explorer.path.children[0].drawn, path)):
        for there, wanted in zip(shown.data, figure.data, strict=True):
            for part in ("x", "y", "text"):
                assert list(there[part] if there[part] is not None else []) == list(
                    wanted[part] if wanted[part] is not None else []
                )
        assert [note.text for note in shown.layout.annotations] == [note.text for note in figure.layout.annotations]
        assert [line.x0 for line in shown.layout.shapes] == [line.x0 for line in figure.layout.shapes]


def test_what_is_dropped_is_taken_or_refused(explorer: AttackExplorer) -> None:
    state = explorer.outbox.state
    data = encoded(Image.effect_noise((20, 20), 50))
    explorer._received(None, {"name": "C:\\photos\\mine.png", "size": len(data)}, [memoryview(data)])
    assert explorer.choice.image == "own/mine.png"
    assert explorer.controls["image"].thumbnails[-1]["id"] == "own/mine.png"
    for name, buffers in (("broken.png", [b"no"]), ("big.png", []), ("bad.json", [b"{}"])):
        explorer._received(None, {"name": name, "size": 10**9}, buffers)
        assert 'role="alert"' in explorer.message.value
        assert explorer.choice.image == "own/mine.png", "what was shown stays"
    explorer._received(None, {"name": "state.json", "size": len(state)}, [state.encode()])
    assert explorer.choice == replace(CHOICE, steps=20)
    assert explorer.message.value == ""


def test_a_page_that_asks_for_what_is_not_there_is_told_so(explorer: AttackExplorer) -> None:
    explorer.controls["image"].value = "../../secret.png"
    assert 'role="alert"' in explorer.message.value
    assert explorer.controls["image"].value == "cat/0.png"


def test_a_running_attack_can_be_cancelled() -> None:
    async def main() -> None:
        slow, gate = linear(), threading.Event()
        explorer = AttackExplorer({"none": slow}, images(), origin=ORIGIN, title="t, simulated")
        original = slow.forward
        slow.forward = lambda x: (gate.wait(5), original(x))[1]  # type: ignore[method-assign]
        explorer.controls["image"].value = "cat/1.png"
        assert not explorer.stop.disabled
        explorer.controls["level"].value = 4.0  # of the same attack: it goes on
        assert explorer._working is not None
        explorer.stop.click()
        gate.set()
        await asyncio.sleep(0.2)
        assert explorer.choice.image == "cat/0.png"
        assert explorer.controls["image"].value == "cat/0.png"
        assert explorer.stop.disabled
        assert "Cancelled" in explorer.message.value
        assert explorer.bench.missing(replace(explorer.choice, image="cat/1.png")) == ["none"]

    asyncio.run(main())
