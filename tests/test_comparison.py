"""Networks of any kind in one table: each score is the measure's own, what is missing is said, runs are found."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy import stats
from torch import Tensor, nn

from nbtools import metrics, models, plots, probes
from nbtools.attacks import attacked_gradients, examine, sweep
from nbtools.checks import has_classes
from nbtools.data.images.sets import ImageSet, to_float
from nbtools.errors import InputError
from nbtools.metrics.studies.comparison import SCALES, scale_of
from nbtools.plots.looks import color, symbol
from nbtools.runs import compared, folders
from nbtools.widgets import NetworkComparison, describe_missing, describe_pair, first_axes

TITLE = "Compared (tiny study, simulated)"
SIDE, CLASSES, RADII = 8, ("bar", "disk", "star"), [1 / 255, 4 / 255]
ROI, NETWORKS, CLOUDS = "TO", "03_guided_training", "13_manifold_guidance"


def some_images(n: int = 10) -> ImageSet:
    pixels = torch.randint(0, 256, (n, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return ImageSet(pixels, torch.arange(n) % 3, np.array([f"bar/{i}.png" for i in range(n)]), CLASSES)


def network(seed: int, classes: tuple[str, ...] = CLASSES, n_components: int = 0) -> nn.Module:
    made = models.build(models.GuidedNet, seed, "small_resnet", classes, n_components)
    return models.freeze(made)


# --- what labelled images tell ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def examined() -> tuple[dict[tuple[str, int], nn.Module], ImageSet, object]:
    networks = {("none", 0): network(0), ("TO", 1): network(1)}
    images = some_images()
    return networks, images, examine(networks, images, RADII, steps=3)


def of_network(table: pd.DataFrame, key: tuple[str, int]) -> pd.DataFrame:
    return table[(table["condition"] == key[0]) & (table["seed"] == key[1])].reset_index(drop=True)


def test_decisions_are_the_worst_case_of_all_attacks(examined) -> None:
    networks, images, found = examined
    for key, judge in networks.items():
        before = None
        for attack in ("LinfPGD", "LinfTargetedPGD"):
            before = sweep(judge, images, RADII, attack=attack, steps=3, seed=key[1], after=before)
        own = of_network(found.decisions, key)
        pd.testing.assert_frame_equal(own[list(before)], before)
        assert set(own["attack"]) == {metrics.WORST_CASE}


def test_gradients_are_those_of_notebook_06(examined) -> None:
    networks, images, found = examined
    expected = attacked_gradients(networks, images, [0.0, RADII[-1]], steps=3)
    for column, epsilon in {"gradient": 0.0, "gradient_attacked": RADII[-1]}.items():
        there = expected[expected["epsilon"] == epsilon]
        np.testing.assert_array_equal(found.inputs["image_id"], there["image_id"])
        np.testing.assert_allclose(found.inputs[column], there["gradient"], rtol=1e-9)


def test_spectra_are_those_of_gradient_and_change(examined) -> None:
    networks, images, found = examined
    x = to_float(images.pixels)
    for key, judge in networks.items():
        energy = metrics.spectral_energy(metrics.input_gradient(judge, x, images.labels))
        own = of_network(found.inputs, key)
        scores = metrics.frequency_scores(energy).add_prefix("gradient_")
        pd.testing.assert_frame_equal(own[list(scores)], scores)
        line = found.spectra.query("condition == @key[0] and of == 'gradient'")
        np.testing.assert_allclose(line["share"], metrics.radial_spectrum(energy).mean(0))
        np.testing.assert_allclose(own["gradient"], energy.sum((1, 2)), rtol=1e-9, err_msg="Parseval")
    np.testing.assert_allclose(found.spectra.groupby(["condition", "of"])["share"].sum(), 1)


def test_batches_change_no_gradient(examined) -> None:
    networks, images, found = examined
    again = examine(networks, images, RADII, steps=3, batch_size=4)
    columns = ["gradient", "gradient_centroid", "gradient_below"]
    np.testing.assert_allclose(again.inputs[columns], found.inputs[columns], rtol=1e-4)
    assert len(again.inputs) == len(found.inputs)


def test_a_network_of_other_classes_is_refused_and_none_gives_empty_tables(examined) -> None:
    _, images, found = examined
    foreign = network(0, ("cat", "dog", "fox"))
    assert not has_classes(foreign, CLASSES)
    assert has_classes(nn.Identity(), CLASSES), "one that names no classes is taken at its word"
    with pytest.raises(InputError, match="not of the network's classes"):
        examine({("net-x", 0): foreign}, images, RADII)
    for empty, full in zip(examine({}, images, RADII), found, strict=True):
        assert len(empty) == 0
        assert set(empty) == set(full)
    with pytest.raises(InputError, match="unknown attack"):
        examine({("none", 0): network(0)}, images, RADII, attacks=["LinfBGD"])


# --- shape or texture, and a region -------------------------------------------------------------------------


class Colours(nn.Module):
    """Says the class of an image's brightest channel; its read-out is the mean colour."""

    def __init__(self, classes: tuple[str, ...]):
        super().__init__()
        self.classes = classes

    def forward(self, x: Tensor) -> Tensor:
        return 50 * x.mean((2, 3))


def paint(folder: Path, shape: str, texture: str, channel: int) -> None:
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[..., channel] = 200
    (folder / shape).mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(folder / shape / f"{shape}_1-{texture}_1.png")


def test_each_network_decides_what_it_knows(tmp_path: Path) -> None:
    """Red is said for the first class, green for the second; who knows neither shape nor texture is not asked."""
    paint(tmp_path, "disk", "star", 0)
    paint(tmp_path, "star", "disk", 0)
    paint(tmp_path, "bar", "star", 1)
    asked = {
        ("V1", 0): Colours(("disk", "star", "other")).eval(),
        ("TO", 1): Colours(("bar", "star", "disk")).eval(),
        ("net-x", 0): Colours(("cat", "dog", "disk")).eval(),
    }
    found = probes.decide_conflicts(asked, tmp_path, SIDE)
    said = {name: part.set_index("image_id")["prediction"].to_dict() for name, part in found.groupby("condition")}
    assert said == {
        "V1": {"disk/disk_1-star_1.png": "disk", "star/star_1-disk_1.png": "disk"},
        "TO": {"disk/disk_1-star_1.png": "bar", "star/star_1-disk_1.png": "bar", "bar/bar_1-star_1.png": "star"},
    }
    assert metrics.shape_bias(found, by=("condition", "seed"))["shape_bias"].tolist() == [0.5, 0.0]
    nobody = probes.decide_conflicts({("net-x", 0): asked["net-x", 0]}, tmp_path, SIDE)
    for empty in (nobody, probes.decide_conflicts(asked, None, SIDE)):
        assert len(empty) == 0
        assert set(empty) == set(found)


def test_likeness_to_a_region_is_that_of_notebook_08() -> None:
    networks = {("TO", 0): network(0, n_components=4), ("TO", 1): network(1, n_components=4), ("none", 0): network(2)}
    images, ids = some_images(12), np.arange(12)
    rng = np.random.default_rng(0)
    like = models.read_out(networks["TO", 1], images.pixels, ["neural"])["neural"].numpy()
    trials = np.concatenate([like + 0.01 * like.std() * rng.standard_normal(like.shape) for _ in range(2)])
    measured = metrics.repeat_rdms(trials, np.tile(ids, 2), np.repeat([1, 2], 12), ROI)
    pooled = probes.region_similarity(networks, images.pixels, ids, measured)
    features = {(str(i), "pooled"): f for i, f in enumerate(models.read_each(networks, images.pixels).values())}
    expected = metrics.similarities(metrics.rdms(features, ids), measured, n_boot=0)
    assert list(pooled[["condition", "seed"]].itertuples(index=False, name=None)) == list(networks)
    assert set(pooled["region"]) == {ROI}
    np.testing.assert_allclose(pooled["similarity"], expected["similarity"])
    neural = probes.region_similarity(networks, images.pixels, ids, measured, "neural").set_index("seed")["similarity"]
    assert list(neural.index) == [0, 1], "an unguided network has no neural head"
    assert neural[1] > 0.95 > neural[0]
    with pytest.raises(InputError, match=r"read-out[\s\S]*layer1"):
        probes.region_similarity(networks, images.pixels, ids, measured, "layer9")


# --- scores -------------------------------------------------------------------------------------------------

KEYS = [("none", 0), ("none", 1), ("none", 2), ("TO", 0), ("TO", 1), ("TO", 2), ("net-x", 0)]


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    """Planted: seed s of `none` is right about 2 + s of 10 images, of `TO` about 3 more; net-x has other classes."""
    known = [key for key in KEYS if key[0] != "net-x"]
    rng, rows = np.random.default_rng(0), {"decisions": [], "inputs": [], "conflicts": []}
    for condition, seed in known:
        own = {"condition": condition, "seed": seed}
        right = {0.0: 5 + seed + 3 * (condition == "TO") * (seed < 2), RADII[0]: 2 + seed + 3 * (condition == "TO")}
        for epsilon, n in {**right, RADII[1]: 1}.items():
            decided = [{"image_id": str(i), "label": 1, "prediction": int(i < n)} for i in range(10)]
            rows["decisions"] += [{**one, "epsilon": epsilon, **own} for one in decided]
        for i in range(10):
            size = 1 if condition == "TO" else 100
            numbers = {"gradient": size * rng.random(), "gradient_attacked": size * rng.random()}
            numbers |= {f"{of}_{name}": rng.random() for of in ("gradient", "attack") for name in ("centroid", "below")}
            rows["inputs"].append({"image_id": str(i), **numbers, **own})
            cue = {"image_id": str(i), "shape": "disk", "texture": "star", "prediction": "disk" if i < 4 else "star"}
            rows["conflicts"].append({**cue, **own})
    similarity = [{"condition": c, "seed": s, "region": ROI, "similarity": 0.1 * s - 0.05 * len(c)} for c, s in KEYS]
    return {name: pd.DataFrame(part) for name, part in {**rows, "similarity": similarity}.items()}


def scored(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    return metrics.score_networks(KEYS, RADII, **tables)


@pytest.fixture(scope="module")
def table(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    return metrics.score_conditions(scored(tables))


def test_a_network_has_every_score_or_none(tables: dict[str, pd.DataFrame]) -> None:
    scores = scored(tables)
    assert list(scores) == ["measure", "condition", "subject", "seed", "score", "direction"]
    assert (scores.groupby("measure").size() == len(KEYS)).all()
    wide = scores.pivot(index=["condition", "seed"], columns="measure", values="score")
    assert wide["accuracy at 1/255"].to_dict() == pytest.approx(
        {("none", 0): 0.2, ("none", 1): 0.3, ("none", 2): 0.4, ("TO", 0): 0.5, ("TO", 1): 0.6, ("TO", 2): 0.7}
        | {("net-x", 0): np.nan},
        nan_ok=True,
    )
    by = metrics.smoothness(tables["inputs"].assign(epsilon=0.0)).set_index(["condition", "seed"])["mean"]
    pd.testing.assert_series_equal(wide["gradient, clean"].dropna().sort_index(), by.sort_index(), check_names=False)
    assert wide["shape bias"].dropna().unique() == pytest.approx([0.4])
    assert wide.loc["net-x"].dropna(axis=1).columns.tolist() == [f"similarity to {ROI}"]
    directions = scores.drop_duplicates("measure").set_index("measure")["direction"]
    falling = directions[directions < 0].index
    assert {name.split()[0] for name in falling} == {"gradient,", "frequency"}


def test_scores_can_be_tested_as_others_are(tables: dict[str, pd.DataFrame]) -> None:
    part = scored(tables).query("condition != 'net-x'")
    assert metrics.compare(part[part.measure == "accuracy at 1/255"], "score", "TO", "none")["difference"][0] > 0.29


def test_a_study_without_cue_conflict_images_keeps_the_column(tables: dict[str, pd.DataFrame]) -> None:
    found = metrics.score_conditions(scored({**tables, "conflicts": tables["conflicts"].iloc[:0]}))
    biased = found[found["measure"] == "shape bias"]
    assert len(biased) == 3
    assert biased["score"].isna().all()
    absent = metrics.missing_scores(found).set_index("measure")
    assert absent.loc["shape bias", "missing"] == "none, TO, net-x"
    assert "cue-conflict images" in absent.loc["shape bias", "takes"]
    assert absent.loc["accuracy at clean"].to_list() == ["net-x", "a network of the study's classes"]
    assert f"similarity to {ROI}" not in absent.index


def test_networks_that_share_no_class_are_compared_by_what_is_left(tables: dict[str, pd.DataFrame]) -> None:
    empty = {name: part.iloc[:0] for name, part in tables.items() if name != "similarity"}
    typed = {name: pd.DataFrame(columns=part.columns) for name, part in empty.items()}  # as they are saved: of no type
    for nothing in (empty, typed):
        found = metrics.score_conditions(scored({**tables, **nothing}))
        assert found.dropna(subset="score")["measure"].unique().tolist() == [f"similarity to {ROI}"]
        assert first_axes(found) == (f"similarity to {ROI}", f"similarity to {ROI}")


def test_the_interval_is_students_over_seeds_and_one_network_has_none(table: pd.DataFrame) -> None:
    rows = table[table["measure"] == "accuracy at 1/255"].set_index("condition")
    low, high = stats.t.interval(0.95, 2, 0.3, np.std([0.2, 0.3, 0.4], ddof=1) / np.sqrt(3))
    assert rows.loc["none", ["score", "ci_low", "ci_high"]].tolist() == pytest.approx([0.3, low, high])
    alone = table[table["condition"] == "net-x"].set_index("measure")
    assert alone.loc[f"similarity to {ROI}", "score"] == pytest.approx(-0.25)
    assert alone[["ci_low", "ci_high"]].isna().all(axis=None)
    assert set(alone["n_seeds"]) == {1}
    clean = table[table["measure"] == "accuracy at clean"].set_index("condition")
    assert clean["ci_high"].max() == 1, "no share is above 1"


def test_measures_are_correlated_over_conditions_that_have_both() -> None:
    names, rng = [f"decay-0.{k}" for k in range(1, 8)], np.random.default_rng(0)
    x, y = rng.random(7), rng.random(7)
    parts = {"accuracy at clean": x, "shape bias": np.r_[y[:6], np.nan], "frequency of the attack": np.ones(7)}
    made = pd.concat(pd.DataFrame({"measure": m, "condition": names, "score": v}) for m, v in parts.items())
    rho, n = metrics.correlate_conditions(made, "accuracy at clean", "shape bias")
    assert (rho, n) == (pytest.approx(stats.spearmanr(x[:6], y[:6]).statistic), 6)
    assert metrics.correlate_conditions(made, "shape bias", "shape bias") == (pytest.approx(1), 6)
    assert np.isnan(metrics.correlate_conditions(made, "shape bias", "frequency of the attack")[0]), "all alike"
    two = made[made["condition"].isin(names[:2])]
    assert np.isnan(metrics.correlate_conditions(two, "accuracy at clean", "shape bias")[0]), "any two lie on a line"
    said = describe_pair(made, "accuracy at clean", "shape bias")
    assert f"ρ = {rho:z.2f} over n = 6 conditions" in said
    assert "share images" in said
    assert "there is no p" in said
    assert "no correlation over n = 2" in describe_pair(two, "accuracy at clean", "shape bias")


def test_a_measure_that_is_unknown_is_named() -> None:
    with pytest.raises(InputError, match="unknown measure"):
        scale_of("beauty")
    assert {scale_of(name) for name in SCALES} == set(SCALES.values())


# --- figures ------------------------------------------------------------------------------------------------

X, Y = f"similarity to {ROI}", "accuracy at 1/255"


def cells_of(shown: str) -> list[list[str]]:
    rows = re.findall(r"<tr.*?</tr>", shown, re.DOTALL)
    return [[re.sub("<.+?>", " ", cell).strip() for cell in re.findall(r"<t[hd].*?</t[hd]>", row)] for row in rows]


def test_the_table_is_sorted_and_says_what_is_missing(table: pd.DataFrame) -> None:
    shown, by_gradient = plots.score_table(table, Y, {X: (0.3, 0.4)}), plots.score_table(table, "gradient, clean")
    rows, smooth = cells_of(shown), cells_of(by_gradient)
    assert [row[0].split()[1] for row in rows[1:]] == ["TO", "none", "net-x"]
    assert [row[0].split()[1] for row in smooth[1:]] == ["none", "TO", "net-x"]
    (place,) = (k for k, head in enumerate(rows[0]) if head.startswith(Y))
    assert rows[0][place].endswith("▾")
    assert [row[place].split()[0] for row in rows[1:]] == ["60.0%", "30.0%", "–"]
    assert any("noise ceiling 0.300 – 0.400" in head for head in rows[0])
    assert "1 seed" in rows[-1][0]
    assert color("TO") in shown
    assert shown.count("nowrap") == 1, "names alone: numbers wrap, so that twelve columns fit into a page"
    hostile = plots.score_table(table.replace("net-x", "net-x <img>"), Y)
    assert "<img>" not in hostile


def test_the_scatter_has_each_conditions_look_and_bars_both_ways(table: pd.DataFrame) -> None:
    fig = plots.score_scatter(table, X, Y, {X: (0.3, 0.4)}, title=TITLE)
    points = {trace.name: trace for trace in fig.data}
    assert list(points) == ["none", "TO"], "net-x has no accuracy"
    rows = table.set_index(["measure", "condition"])
    for name, point in points.items():
        assert (point.x[0], point.y[0]) == (rows.loc[(X, name), "score"], rows.loc[(Y, name), "score"])
        assert (point.marker.color, point.marker.symbol) == (color(name), symbol(name))
        for bars, measure in ((point.error_x, X), (point.error_y, Y)):
            row = rows.loc[(measure, name)]
            assert bars.array[0] == pytest.approx(row["ci_high"] - row["score"])
            assert bars.arrayminus[0] == pytest.approx(row["score"] - row["ci_low"])
    assert fig.layout.xaxis.title.text == f"{X} (Spearman ρ of RDMs)"
    assert fig.layout.yaxis.title.text == f"{Y}<br>(share of images)"
    (band,) = fig.layout.shapes
    assert (band.x0, band.x1) == (0.3, 0.4)
    assert fig.layout.xaxis.range[1] > 0.4, "the whole ceiling is in sight"
    assert {note.text for note in fig.layout.annotations} == {"noise<br>ceiling", "none", "TO"}


def test_no_axis_goes_where_no_score_can_be(table: pd.DataFrame) -> None:
    for value, (low, high) in {0.0: (0, 0.05), 1.0: (0.95, 1)}.items():
        alike = table.assign(score=table["score"].where(table["measure"] != Y, value))
        alike = alike.assign(ci_low=alike["score"], ci_high=alike["score"])
        fig = plots.score_scatter(alike, X, Y, title=TITLE)
        start, end = fig.layout.yaxis.range
        assert low <= start < end <= high
        assert not any(trace.cliponaxis for trace in fig.data), "markers on the axis are whole"
        assert fig.layout.xaxis.range[0] < 0, "a correlation can be negative"


def test_gradients_are_on_a_logarithmic_axis_and_labels_beside_their_points(table: pd.DataFrame) -> None:
    wide = table.assign(ci_low=table["ci_low"].where(table["measure"] != "gradient, clean", -1.0))
    fig = plots.score_scatter(wide, "gradient, clean", Y, title=TITLE)
    assert fig.layout.xaxis.type == "log"
    rows = table[table["measure"] == "gradient, clean"].set_index("condition")["score"]
    places = {note.text: note.x for note in fig.layout.annotations}
    assert places == pytest.approx({name: np.log10(rows[name]) for name in ("none", "TO")}), "as plotly takes them"
    low, high = fig.layout.xaxis.range
    assert low < min(places.values()) < max(places.values()) < high
    near = wide.assign(score=wide["score"].where(wide["measure"] != "gradient, clean", 0.65))
    near = near.assign(ci_low=near["score"], ci_high=near["score"])
    assert plots.score_scatter(near, "gradient, clean", Y, title=TITLE).layout.xaxis.tickvals is None, "plotly's own"


def test_a_pair_that_no_network_has_is_said_in_the_figure(table: pd.DataFrame) -> None:
    alone = table[(table["condition"] == "net-x") | (table["measure"] != Y)]
    fig = plots.score_scatter(alone, X, Y, title=TITLE)
    assert not fig.data
    assert fig.layout.annotations[0].text == "no network has both"


def test_a_network_of_another_alpha_has_its_conditions_look(table: pd.DataFrame) -> None:
    fig = plots.score_scatter(table.replace("none", "TO alpha=0.35"), X, Y, title=TITLE)
    assert {trace.marker.color for trace in fig.data} == {color("TO")}
    assert {trace.name for trace in fig.data} == {"TO", "TO alpha=0.35"}


@pytest.mark.parametrize(
    "draw", [lambda t: plots.score_scatter(t, X, Y, title=TITLE), lambda t: plots.score_table(t, Y)]
)
def test_tables_that_cannot_be_drawn_are_refused(table: pd.DataFrame, draw: Callable[[pd.DataFrame], object]) -> None:
    for wrong, said in ((table.iloc[:0], "0 rows"), (pd.concat([table, table]), "twice")):
        with pytest.raises(InputError, match=said):
            draw(wrong)


def test_spectra_are_a_curve_each_beside_white_noise(examined) -> None:
    rough = examined[2].spectra.assign(seed=5, share=0.0)  # a second seed, far apart: an interval that would pass 0
    both = pd.concat([examined[2].spectra, rough])
    mean = metrics.over_networks(both, "share", by=("condition", "of", "frequency"))
    fig = plots.spectra(mean, metrics.white_spectrum(SIDE), title=TITLE)
    curves = [trace for trace in fig.data if trace.fill is None]
    assert [curve.name for curve in curves] == 2 * ["white noise", "none", "TO"]
    assert [curve.showlegend for curve in curves] == 3 * [True] + 3 * [False]
    assert len(fig.data) - len(curves) == 4, "a band for each network and panel"
    assert mean[["ci_low", "ci_high"]].stack().between(0, 1).all(), "no share is below 0"
    part = mean.query("condition == 'TO' and of == 'attack'")
    np.testing.assert_allclose(fig.data[-1].y, part["share"])
    assert fig.layout.xaxis.title.text == "spatial frequency<br>(cycles/image)"


# --- the explorer -------------------------------------------------------------------------------------------


def test_lists_choose_the_axes_and_the_order(table: pd.DataFrame) -> None:
    view = NetworkComparison(table, {X: (0.3, 0.4)}, title=TITLE)
    figure = view.figure.children[0]
    assert (view.axes["x"].value, view.axes["y"].value) == first_axes(table) == (X, "accuracy at 4/255")
    view.axes["y"].value = "gradient, clean"
    assert figure.drawn.layout.yaxis.type == "log"
    assert f"{X} and gradient, clean" in view.words.value
    view.axes["x"].value = "gradient, clean"
    assert figure.drawn.layout.xaxis.title.text == figure.drawn.layout.yaxis.title.text.replace("<br>", " ")
    before = view.table.value
    view.sorting["by"].value = "gradient, clean"
    assert view.table.value != before
    assert view.table.value == plots.score_table(table, "gradient, clean", {X: (0.3, 0.4)})
    said = describe_missing(table)
    assert "of net-x (takes a network of the study's classes)" in said
    assert any("of net-x" in getattr(part, "value", "") for part in view.children)
    assert describe_missing(table[table["condition"] != "net-x"]) == ""


# --- which runs ---------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))
    return tmp_path


def finish(notebook: str = NETWORKS, **parameters: object) -> Path:
    full = {**folders.defaults(notebook), "study": "mine", **parameters}
    record = {"notebook": notebook, "parameters": full, "inputs": {}, "seconds": 1.0, "finished": "2026-01-01"}
    folder = folders.run_folder(notebook, full)
    folders.write_text(folder / folders.RECORD, json.dumps(record))
    (folder / "weights.safetensors").touch()
    return folder


def found(*names: str, inputs: list[Path] | None = None, **asked: object) -> dict[tuple[str, int], Path]:
    asked = {"alpha": 0.9, "seeds": [0, 1], **asked}
    run = folders.Run("x", {"study": "mine"}, folders.home() / "runs/mine/x", finished=inputs is not None)
    if run.finished:
        read = {folders.short(folder / "weights.safetensors"): {} for folder in inputs or []}
        record = {"notebook": "x", "parameters": {}, "inputs": read, "seconds": 1.0, "finished": "2026-01-01"}
        folders.write_text(run.folder / folders.RECORD, json.dumps(record))
    there = compared(run, NETWORKS, names=names, **asked)
    assert {file.parent for file in run.inputs} == {one.folder for one in there.values()}, "noted as inputs"
    return {key: one.folder for key, one in there.items()}


def test_a_condition_counts_with_the_seeds_that_there_are(home: Path) -> None:
    to = [finish(roi="TO", seed=seed) for seed in (1, 0)]
    finish(roi="TO", seed=5)
    adopted = finish(roi="net-x", seed=0)
    assert found("net-x", "TO") == {("net-x", 0): adopted, ("TO", 0): to[1], ("TO", 1): to[0]}
    with pytest.raises(InputError, match=r"no finished runs[\s\S]*V1[\s\S]*python -m nbtools run 03_guided_training"):
        found("TO", "V1")


def test_alpha_is_asked_for_where_it_says_something(home: Path) -> None:
    none, to, other = finish(roi="none", alpha=0.5), finish(roi="TO"), finish(roi="TO", alpha=0.35)
    assert found("none", "TO") == {("none", 0): none, ("TO", 0): to}
    assert found("none", "TO", alpha=0.35) == {("none", 0): none, ("TO", 0): other}
    with pytest.raises(InputError, match="no finished runs"):
        found("TO", alpha=0.1)


def test_a_path_is_a_network_whatever_its_settings(home: Path) -> None:
    to, other = finish(roi="TO"), finish(roi="TO", alpha=0.35)
    clouds, elsewhere = finish(CLOUDS, roi="TO"), finish(roi="V1", study="other")
    relative = other.relative_to(home).as_posix()
    assert found("TO", relative) == {("TO alpha=0.9", 0): to, ("TO alpha=0.35", 0): other}
    assert found(relative) == {("TO", 0): other}, "its condition alone, where nothing is to be told apart"
    assert found(str(clouds), "TO") == {("TO-manifold", 0): clouds, ("TO", 0): to}
    assert found(str(elsewhere)) == {("V1", 0): elsewhere}
    assert found(str(elsewhere), "TO", relative)["V1", 0] == elsewhere


def test_what_is_no_network_or_named_twice_is_refused(home: Path) -> None:
    to, predictor = finish(roi="TO"), finish("02_neural_predictors", roi="TO")
    with pytest.raises(InputError, match="holds no network to compare"):
        found(str(predictor))
    with pytest.raises(InputError, match="named twice"):
        found("TO", str(to))
    with pytest.raises(InputError, match="no finished run"):
        found("runs/mine/nowhere")
    finish(roi="V1", epochs=98)
    finish(roi="V1", epochs=99)
    with pytest.raises(InputError, match="several networks"):
        found("V1")


def test_a_finished_comparison_keeps_its_networks_and_names_later_ones(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = finish(roi="TO", seed=0), finish(roi="TO", seed=1)
    assert found("TO", inputs=[first]) == {("TO", 0): first}
    assert f"{folders.short(second)} came later: delete runs/mine/x" in capsys.readouterr().out
    assert found("TO", inputs=[first, second]) == {("TO", 0): first, ("TO", 1): second}
