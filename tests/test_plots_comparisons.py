"""Figures of differences, the α ablation and the claims' trends show the numbers they are given."""

from __future__ import annotations

import pandas as pd
import pytest

from nbtools import plots
from nbtools.errors import InputError
from nbtools.plots.looks import color, symbol

EPSILON = 4 / 255
TITLE = "t (demo study, simulated)"


def differences() -> pd.DataFrame:
    rows = [
        {"condition": c, "control": k, "difference": d, "ci_low": d - 0.04, "ci_high": d + 0.05, "p_holm": p}
        for c, d, p in (("TO", 0.1, 0.01), ("V1", -0.02, 0.8))
        for k in ("none", "TO-shuffle")
    ]
    return pd.DataFrame(rows)


def accuracy() -> pd.DataFrame:
    rows = [
        {"condition": c, "alpha": a, "epsilon": e, "accuracy": v, "ci_low": v - 0.03, "ci_high": v + 0.02}
        for c, shift in (("V1", 0.0), ("TO", 0.1))
        for a in (0.0, 0.35, 0.9)
        for e, v in ((0.0, 0.9 - a / 10), (EPSILON, 0.2 + shift * a))
    ]
    return pd.DataFrame(rows)


def trends() -> pd.DataFrame:
    slopes = {"slope": [0.4, -0.1], "ci_low": [0.2, -0.3], "ci_high": [0.6, 0.1]}
    p = {"p": [0.002, 0.01], "p_order": [0.001, 0.3], "p_holm": [0.004, 0.6]}
    return pd.DataFrame({"measure": ["robust accuracy", "shape bias"], **slopes, **p})


def doses() -> pd.DataFrame:
    rows = {"condition": ["V1", "TO", "V1", "TO"], "dose": [1.0, 1.0, 0.1, 0.1], "r": [0.6, 0.8, 0.3, 0.5]}
    accuracy = pd.Series([0.2, 0.3, 0.1, 0.15])
    return pd.DataFrame({**rows, "accuracy": accuracy, "ci_low": accuracy - 0.02, "ci_high": accuracy + 0.02})


DRAW = {
    "differences": (plots.differences, differences),
    "alpha_ablation": (lambda table, **o: plots.alpha_ablation(table, EPSILON, **o), accuracy),
    "doses": (lambda table, **o: plots.doses(table, EPSILON, **o), doses),
    "trends": (plots.trends, trends),
}


@pytest.mark.parametrize("name", DRAW)
def test_figures_have_titles_and_refuse_what_they_cannot_draw(name: str) -> None:
    draw, table = DRAW[name]
    fig = draw(table(), title=TITLE)
    assert fig.layout.title.text == TITLE
    assert all(axis.title.text for axis in fig.select_xaxes())
    for bad in (table().iloc[:0], table().drop(columns=table().columns[0])):
        with pytest.raises(InputError, match="cannot be drawn"):
            draw(bad, title=TITLE)


def test_differences_stand_in_their_controls_panel_filled_where_clear() -> None:
    fig = plots.differences(differences(), title=TITLE)
    assert [note.text for note in fig.layout.annotations] == ["minus none", "minus TO-shuffle"]
    first = [trace for trace in fig.data if trace.xaxis == "x"]
    assert {trace.name: trace.x[0] for trace in first} == {"TO": 0.1, "V1": -0.02}
    assert {trace.name: trace.marker.color for trace in first} == {"TO": color("TO"), "V1": "white"}
    assert first[0].error_x.array[0] == pytest.approx(0.05)
    assert first[0].error_x.arrayminus[0] == pytest.approx(0.04)


def test_differences_from_many_controls_stand_in_rows_wide_enough_to_read() -> None:
    controls = ["none", "random", "V1-shuffle", "TO-shuffle", "labels", "labels-guide", "ce-weight"]
    fig = plots.differences(pd.concat([differences().assign(control=name) for name in controls]), title=TITLE)
    widths = [axis.domain[1] - axis.domain[0] for axis in fig.select_xaxes()]
    assert len(widths) == len(controls)
    assert min(widths) > 0.19
    above, below = (fig.layout[axis].domain for axis in ("yaxis", "yaxis5"))
    apart = (above[0] - below[1]) * (fig.layout.height - fig.layout.margin.t - 70)
    assert apart > 75, "an axis' title and the next head do not touch, however few conditions there are"


def test_alpha_curves_run_over_alpha_in_their_looks() -> None:
    fig = plots.alpha_ablation(accuracy().sample(frac=1, random_state=0), EPSILON, title=TITLE)
    path, against = (next(t for t in fig.data if t.name == "TO" and t.xaxis == axis) for axis in ("x", "x2"))
    assert list(path.x) == pytest.approx([0.9, 0.865, 0.81])
    assert list(against.x) == [0, 0.35, 0.9]
    assert list(path.y) == list(against.y) == pytest.approx([0.2, 0.235, 0.29])
    assert path.marker.symbol == symbol("TO")
    assert (path.legendgroup, path.showlegend, against.legendgroup, against.showlegend) == ("TO", True, "TO", False)
    assert against.error_y.array[1] == pytest.approx(0.02)


def test_alpha_curves_of_several_seeds_must_be_pooled() -> None:
    with pytest.raises(InputError, match="over_networks"):
        plots.alpha_ablation(pd.concat([accuracy(), accuracy()]), EPSILON, title=TITLE)


def test_doses_run_from_the_worst_guide_to_the_best_in_their_regions_looks() -> None:
    fig = plots.doses(doses(), EPSILON, title=TITLE)
    curves = {trace.name: trace for trace in fig.data}
    assert list(curves) == ["V1", "TO"]
    assert (list(curves["TO"].x), list(curves["TO"].y)) == ([0.5, 0.8], [0.15, 0.3])
    assert curves["TO"].marker.symbol == symbol("TO")
    assert curves["TO"].error_y.array[0] == pytest.approx(0.02)
    with pytest.raises(InputError, match="over_networks"):
        plots.doses(pd.concat([doses(), doses()]), EPSILON, title=TITLE)


def test_trends_are_filled_where_clear() -> None:
    (points,) = plots.trends(trends(), title=TITLE).data
    assert list(points.x) == [0.4, -0.1]
    assert list(points.error_x.array) == pytest.approx([0.2, 0.2])
    assert points.marker.color[1] == "white" != points.marker.color[0]
    assert list(points.text) == ["p = 0.004", "p = 0.6 (order)"]
