"""Figures hold the right numbers, colours and words; the report needs no network."""

import ast
import base64
import io
from html.parser import HTMLParser
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from nbtools import plots
from nbtools.conditions import BASELINES, CONDITIONS, DORSAL, HIERARCHY
from nbtools.errors import InputError
from nbtools.plots.labels import place_labels, spread, thinned
from nbtools.plots.looks import color, dash, symbol
from nbtools.plots.marks import interval_text
from nbtools.plots.style import balanced, new_figure, panels, wrapped

TITLE = "Figure: demo study, simulated"
EPSILONS = (0.0, 1 / 255, 2 / 255)


def accuracy(conditions=CONDITIONS, seeds=None):
    rows = []
    for i, name in enumerate(conditions):
        for seed in seeds or (0,):
            for k, epsilon in enumerate(EPSILONS):
                value = (0.8 - 0.02 * i + 0.01 * seed) * 0.6**k
                row = {"condition": name, "epsilon": epsilon, "accuracy": value}
                row |= {"ci_low": value - 0.03, "ci_high": value + 0.05, "n": 100}
                rows.append({**row, "seed": seed} if seeds else row)
    return pd.DataFrame(rows).sample(frac=1, random_state=0)


def per_voxel(rois=("V1", "TO"), n=30):
    rng = np.random.default_rng(0)
    return pd.concat(
        pd.DataFrame({"roi": roi, "voxel": range(n), "noise_ceiling": 60 * rng.random(n), "r": rng.random(n)})
        for roi in rois
    )


def per_image(rois=("V1", "TO"), n=20):
    rng = np.random.default_rng(0)
    return pd.concat(
        pd.DataFrame({"roi": roi, "image_id": range(n), "pattern_r": rng.random(n) / 2, "control": control})
        for roi in rois
        for control in ("trained", "shuffled")
    )


def history(epochs=4):
    return pd.DataFrame(
        [
            {"epoch": e, "split": split, "loss": 1 / e, "neural_r": e / 10, "lr": 0.1 if split == "train" else np.nan}
            for e in range(1, epochs + 1)
            for split in ("train", "validation")
        ]
    )


def pixels(n=3, size=8):
    return np.random.default_rng(0).random((n, size, size, 3))


def of_hierarchy(table, **options):
    return plots.hierarchy(table, {EPSILONS[1]: "+0.1 per region, p = 0.01"}, EPSILONS[:2], **options)


DRAW = {
    "noise_ceilings": (plots.noise_ceilings, per_voxel),
    "predictor_scores": (plots.predictor_scores, per_image),
    "voxel_scores": (plots.voxel_scores, per_voxel),
    "training_curves": (plots.training_curves, history),
    "robustness_curves": (plots.robustness_curves, accuracy),
    "hierarchy": (of_hierarchy, accuracy),
    "trade_off": (lambda table, **options: plots.trade_off(table, EPSILONS[2], **options), accuracy),
}


def words(fig):
    """Collect all text of a figure: titles, axes, annotations."""
    layout = fig.layout
    axes = [axis.title.text for axis in (*fig.select_xaxes(), *fig.select_yaxes())]
    return " ".join(filter(None, [layout.title.text, *axes, *(note.text for note in layout.annotations)]))


def trace(fig, name):
    return next(t for t in fig.data if t.name == name)


# All figures


@pytest.mark.parametrize("name", DRAW)
def test_figure_has_title_axis_titles_and_its_own_paper(name):
    draw, table = DRAW[name]
    fig = draw(table(), title=TITLE)
    assert isinstance(fig, go.Figure)
    assert fig.layout.title.text == TITLE
    assert (fig.layout.template.layout.paper_bgcolor, fig.layout.template.layout.plot_bgcolor) == ("white", "white")
    assert fig.layout.template.layout.font.size >= 14
    assert fig.layout.template.layout.modebar.remove == ("sendChartToCloud",), "no button that uploads the data"
    assert fig.layout.width is None, "it fits its place"
    if name == "training_curves":  # heads in place of titles: they would be longer than a panel is high
        assert "neural correlation r" in words(fig)
    elif name == "voxel_scores":  # one title for all panels
        assert "√(NC/100)" in words(fig)
        assert "prediction r" in words(fig)
    else:
        assert any(axis.title.text for axis in fig.select_xaxes())
        assert all(axis.title.text for axis in fig.select_yaxes())


@pytest.mark.parametrize("name", DRAW)
def test_empty_and_incomplete_tables_are_refused(name):
    draw, table = DRAW[name]
    for bad in (table().iloc[:0], table().drop(columns=table().columns[0])):
        with pytest.raises(InputError, match="cannot be drawn"):
            draw(bad, title=TITLE)


@pytest.mark.parametrize("name", ["robustness_curves", "hierarchy", "trade_off"])
def test_conditions_keep_their_colours_and_markers(name):
    draw, table = DRAW[name]
    fig = draw(table(), title=TITLE)
    for condition in CONDITIONS:
        assert trace(fig, condition).marker.symbol == symbol(condition)
        assert color(condition) in (trace(fig, condition).marker.color, trace(fig, condition).line.color)
        assert condition in words(fig).replace("-<br>", "-") or name == "hierarchy"


def test_panels_are_filled_row_by_row_and_none_is_empty():
    fig, places = panels(TITLE, 5, 3)
    assert places[2:4] == [{"row": 1, "col": 3}, {"row": 2, "col": 1}]
    assert len(list(fig.select_xaxes())) == len(places) == 5


# The numbers


def test_regions_are_drawn_in_their_colours():
    labels = np.zeros((10, 10, 10), dtype=np.int16)
    labels[2:5, 2:8, 2:8], labels[6:9, 2:8, 2:8] = 1, 2
    figure = plots.regions(nib.Nifti1Image(labels, np.eye(4)), ["V1", "TO"], title=TITLE)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["V1", "TO"]
    assert "simulated" in figure.get_suptitle()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    drawn = {tuple(pixel) for pixel in np.asarray(canvas.buffer_rgba())[..., :3].reshape(-1, 3)}
    for roi in ("V1", "TO"):
        assert tuple(int(color(roi)[i : i + 2], 16) for i in (1, 3, 5)) in drawn


def test_noise_ceilings_show_mean_sd_and_published_values():
    table = per_voxel()
    fig = plots.noise_ceilings(table, {"TO": (43.0, 20.4), "V2": (1, 1)}, title=TITLE)
    expected = table.groupby("roi")["noise_ceiling"].agg(["mean", "std"]).loc[["V1", "TO"]]
    shown = trace(fig, "mean ± SD of voxels")
    np.testing.assert_allclose(shown.y, expected["mean"])
    np.testing.assert_allclose(shown.error_y.array, expected["std"])
    assert trace(fig, "published").y == (43.0,)
    assert trace(fig, "V1").line.color == color("V1")
    assert "n = 30" in fig.layout.xaxis.ticktext[0]


def test_predictor_scores_put_trained_beside_shuffled():
    table = per_image()
    fig = plots.predictor_scores(table, title=TITLE)
    part = table[(table["roi"] == "TO") & (table["control"] == "shuffled")]
    np.testing.assert_allclose(trace(fig, "TO, shuffled").y, part["pattern_r"])
    assert trace(fig, "TO, trained").line.color == color("TO")
    with pytest.raises(InputError, match="control"):
        plots.predictor_scores(table.assign(control="other"), title=TITLE)


@pytest.mark.parametrize("known", [True, False])
def test_figures_say_that_there_is_no_ceiling(known):
    table = pd.DataFrame({"roi": "TO", "voxel": range(4), "noise_ceiling": 40.0 if known else np.nan, "r": 0.3})
    similar = pd.DataFrame([{"a": "none", "a_source": "pooled", "b": "TO", "similarity": 0.2}])
    bounds = pd.DataFrame({"region": ["TO"], "lower": 0.4 if known else np.nan, "upper": 0.5 if known else np.nan})
    figures = (
        plots.noise_ceilings(table, title=TITLE),
        plots.voxel_scores(table, title=TITLE),
        plots.network_region(similar.assign(ci_low=0.1, ci_high=0.3), bounds, title=TITLE),
    )
    for figure in figures:
        assert ("no ceiling" in figure.to_json()) == (not known)


def test_voxel_scores_compare_r_with_the_root_of_the_ceiling():
    table = per_voxel()
    fig = plots.voxel_scores(table, title=TITLE)
    part = table[table["roi"] == "V1"]
    np.testing.assert_allclose(trace(fig, "V1").x, np.sqrt(part["noise_ceiling"] / 100))
    np.testing.assert_allclose(trace(fig, "V1").y, part["r"])
    assert f"{part['r'].median():.2f}" in words(fig)


def test_training_curves_show_each_metric_by_split():
    fig = plots.training_curves(history(), title=TITLE)
    assert [t.name for t in fig.data] == ["train", "validation", "train", "validation", "train"]
    np.testing.assert_allclose(fig.data[1].y, [1, 1 / 2, 1 / 3, 1 / 4])
    assert sum(t.showlegend is not False for t in fig.data) == 2
    with pytest.raises(InputError, match="metric"):
        plots.training_curves(history()[["epoch", "split"]], title=TITLE)
    with pytest.raises(InputError, match="split"):
        plots.training_curves(history().assign(split="test"), title=TITLE)


def test_robustness_curves_run_over_budgets_with_their_bands():
    fig = plots.robustness_curves(accuracy(("none", "TO-shuffle")), title=TITLE)
    curve = trace(fig, "TO-shuffle")
    np.testing.assert_allclose(curve.x, [0, 1, 2])
    np.testing.assert_allclose(curve.y, 0.78 * 0.6 ** np.arange(3))
    assert curve.line.dash == dash("TO-shuffle") == "dash"
    assert fig.layout.xaxis.ticktext == ("clean", "1/255", "2/255")
    bands = [t for t in fig.data if t.fill == "toself"]
    np.testing.assert_allclose(bands[0].y[:3], 0.8 * 0.6 ** np.arange(3) + 0.05)


def test_curves_of_several_seeds_must_be_averaged_first():
    with pytest.raises(InputError, match="over_networks"):
        plots.robustness_curves(accuracy(seeds=(0, 1)), title=TITLE)


def test_hierarchy_stands_in_order_and_says_what_the_test_says():
    fig = of_hierarchy(accuracy(), seeds=accuracy(seeds=(0, 1)), title=TITLE)
    x = [trace(fig, name).x[0] for name in CONDITIONS]
    assert x == sorted(x)
    assert x[len(BASELINES)] - x[len(BASELINES) - 1] > 1.5
    assert trace(fig, "TO").y[0] == pytest.approx(0.8 - 0.02 * CONDITIONS.index("TO"))
    assert trace(fig, "TO").error_y.array[0] == pytest.approx(0.05)
    assert trace(fig, "TO").error_y.arrayminus[0] == pytest.approx(0.03)
    assert len(trace(fig, "one seed").x) == 2 * len(CONDITIONS)
    assert "+0.1 per region, p = 0.01" in words(fig)
    assert "<b>clean images</b>" in words(fig)


def test_hierarchy_of_few_conditions_and_other_regions():
    fig = plots.hierarchy(accuracy(("V1", "TO", "IPS0")), {}, [EPSILONS[1]], title=TITLE)
    assert trace(fig, "IPS0").x[0] > trace(fig, "TO").x[0] + 1


def test_a_budget_that_was_not_run_is_refused():
    with pytest.raises(InputError, match="2/255"):
        plots.hierarchy(accuracy(), {}, [3 / 255], title=TITLE)


def test_trade_off_has_a_marker_per_network_and_a_label_per_condition():
    fig = plots.trade_off(accuracy(("none", "TO"), seeds=(0, 1)), EPSILONS[2], title=TITLE)
    assert len(fig.data) == 4
    assert sorted(note.text for note in fig.layout.annotations) == ["TO", "none"]
    assert trace(fig, "none").y[0] == pytest.approx(trace(fig, "none").x[0] * 0.36)


def test_trade_off_leaves_no_network_out_silently():
    table = accuracy()
    with pytest.raises(InputError, match="lack one"):
        plots.trade_off(table[(table["condition"] != "V4") | (table["epsilon"] > 0)], EPSILONS[2], title=TITLE)


# Images


def decoded(source):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))))


def test_image_grid_shows_the_pixels_crisp_and_labelled():
    images = (255 * pixels(5)).astype(np.uint8)
    fig = plots.image_grid(images, list("abcde"), 3, title=TITLE)
    np.testing.assert_array_equal(decoded(fig.data[3].source), images[3])
    assert all(t.zsmooth is False for t in fig.data)
    assert fig.layout.yaxis4.domain[1] < fig.layout.yaxis.domain[0], "the fourth is below the first"
    assert (fig.data[3].xaxis, fig.data[3].yaxis) == ("x4", "y4")
    assert [note.text for note in fig.layout.annotations] == list("abcde")


def test_perturbations_show_unchanged_pixels_grey():
    original = 0.2 + 0.6 * pixels(2)
    adversarial = original.copy()
    adversarial[0, 0, 0] += 0.02
    fig = plots.perturbations(original, adversarial, 10, ["a → b", "c"], title=TITLE)
    difference = decoded(fig.data[4].source)
    assert difference[0, 0].tolist() == pytest.approx([178.5] * 3, abs=0.6)
    assert (difference[1:] == 128).all()
    for text in ("original", "attacked", "difference<br>× 10", "a → b"):
        assert text in words(fig)


@pytest.mark.parametrize("images", [pixels(), np.zeros((2, 3, 8, 8), np.uint8), np.zeros((0, 8, 8, 3), np.uint8)])
def test_grid_wants_bytes_channels_last(images):
    with pytest.raises(InputError, match="channels last"):
        plots.image_grid(images, ["a"] * len(images), title=TITLE)


def test_images_that_do_not_match_are_refused():
    for other, captions in ((pixels(2), []), (pixels(), ["one"]), (2 * pixels(), [])):
        with pytest.raises(InputError):
            plots.perturbations(pixels(), other, captions=captions, title=TITLE)
    with pytest.raises(InputError, match="label"):
        plots.image_grid((255 * pixels()).astype(np.uint8), ["a"], title=TITLE)


# Placing


def test_labels_are_spread_in_order():
    wanted = np.array([5.0, 300, 4, 4, 299])
    places = spread(wanted, 19, 310)
    assert np.diff(np.sort(places)).min() >= 19 - 1e-9
    assert places.max() <= 310
    assert (places[wanted > 100] > places[wanted < 100].max()).all()


def test_tick_labels_are_thinned_but_keep_the_ends():
    kept = thinned(np.array([0, 0.25, 0.5, 1, 2, 4, 8]))
    assert (kept[0], kept[-1]) == (0, 8)
    assert np.diff(kept).min() >= 0.075 * 8


@pytest.mark.parametrize(("n", "columns"), [(1, 1), (3, 3), (4, 2), (5, 3), (7, 3)])
def test_rows_of_panels_are_as_alike_as_can_be(n, columns):
    assert balanced(n, 3) == columns


def test_titles_and_heads_break_between_words_and_keep_their_own_breaks():
    lines = wrapped("one of many words<br><sup>and another</sup>", 12).split("<br>")
    assert lines == ["one of many", "words", "<sup>and", "another</sup>"]
    long = " ".join(["word"] * 60)
    short, tall = (new_figure(title).layout for title in ("word", long))
    assert tall.height - short.height == tall.margin.t - short.margin.t > 0, "lines of a title take nothing of the plot"
    assert max(map(len, tall.title.text.split("<br>"))) < 80
    assert tall.title.text.replace("<br>", " ") == long


def test_labels_of_close_points_do_not_fall_on_each_other():
    fig, points = new_figure(""), np.array([[0.5, 0.5], [0.51, 0.5], [0.5, 0.51]])
    fig.update_xaxes(range=[0, 1]).update_yaxes(range=[0, 1])
    place_labels(fig, points, points, ["V1", "V2", "V4"])
    assert len({(note.xshift, note.yshift) for note in fig.layout.annotations}) == 3


# Colours: Machado et al. 2009, full dichromacy, on linear RGB; distances in CIELAB

SIGHT = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


def lab(hex_color, sight="normal"):
    rgb = np.array([int(hex_color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.asarray(SIGHT[sight]) @ np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(linear, 0, 1) / [0.9505, 1, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("sight", SIGHT)
def test_regions_can_be_told_apart_and_grow_lighter(sight):
    colors = np.array([lab(color(roi), sight) for roi in HIERARCHY])
    assert (np.diff(colors[:, 0]) > 3.5).all()  # ordered in grey print too
    distances = np.linalg.norm(colors[:, None] - colors[None], axis=-1)
    assert distances[np.triu_indices(7, 1)].min() > 9  # 2.3 is just noticeable
    assert colors[-1, 0] < 80  # visible on white


def test_every_region_of_the_hierarchy_has_its_own_marker():
    assert len({symbol(name) for name in CONDITIONS}) == len(CONDITIONS)
    assert symbol("TO-shuffle") == f"{symbol('TO')}-open"
    assert {symbol(roi) for roi in DORSAL} == {"hexagon"}


# Report


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.links = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for key, value in attrs if key in ("src", "href")]


def test_report_is_one_offline_page():
    fig = plots.training_curves(history(), title=TITLE)
    table = pd.DataFrame({"region": ["V1 & <V2>"], "r": [0.123456], "p": [np.nan], "epsilon": [2 / 255]})
    table = table.rename_axis(columns="what a pivot leaves")
    page = plots.report("ε < 2", [("Training", "One.\n\nTwo & three.", fig), ("Again", "", fig), ("Table", "T", table)])
    tags = Tags()
    tags.feed(page)
    assert tags.links == []
    assert page.count("* plotly.js v") == 1
    assert page.count("Plotly.newPlot(") - page.split("</head>")[0].count("Plotly.newPlot(") == 2
    assert tags.tags.count("table") == 1
    assert '<meta charset="utf-8">' in page
    for text in (
        "<h1>ε &lt; 2</h1>",
        "<p>One.</p><p>Two &amp; three.</p>",
        "V1 &amp; &lt;V2&gt;",
        "<td>0.123</td>",
        "<td>–</td>",
        "<td>2/255</td>",
        "p { white-space: pre-line; }",  # several verdicts, a line each
    ):
        assert text in page
    assert "what a pivot leaves" not in page


def test_no_axis_of_the_differences_matches_itself():
    table = pd.DataFrame([{"condition": "V1", "control": c, "difference": 0.1, "ci_low": 0, "ci_high": 0.2, "p_holm": 1}
                          for c in ("none", "random")])  # fmt: skip
    figure = plots.differences(table, title=TITLE)
    assert (figure.layout.xaxis.matches, figure.layout.xaxis2.matches) in ((None, "x"), ("x2", None))


def test_a_reports_text_may_name_commands_and_nothing_else():
    page = plots.report("r", [("h", "say `make study` <b>now</b>", None)])
    assert "say <code>make study</code> &lt;b&gt;now&lt;/b&gt;" in page


def test_report_refuses_nothing_and_unknown_contents():
    with pytest.raises(InputError, match="section"):
        plots.report("t", [])
    with pytest.raises(InputError, match="dict"):
        plots.report("t", [("h", "x", {"a": 1})])


def test_every_mark_is_of_the_order_that_a_figure_is_given() -> None:
    """A call that forgets it would draw a study's own regions as strangers to its hierarchy."""
    takes = {"color", "symbol", "look_of", "marker", "ring", "ordered", "axis_places"}
    forgotten = []
    for file in Path(plots.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in takes:
                forgotten += [f"{file.name}:{node.lineno}"] if len(node.args) < 2 else []
    assert forgotten == []


@pytest.mark.parametrize("value", [-0.001, -0.0, 0.004])
def test_no_number_is_minus_nothing(value):
    assert interval_text(value, -0.004, 0.2) == "0.00 [0.00, 0.20]"
