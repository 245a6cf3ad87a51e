"""Figures of manifold geometry show the numbers they are given."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest

from nbtools import plots
from nbtools.errors import InputError
from nbtools.plots.geometry.manifolds import PANELS
from nbtools.plots.looks import color, symbol

TITLE = "t (demo study, simulated)"
STATISTICS = pd.DataFrame({"measure": list(PANELS), "rho": -0.5, "ci_low": -0.9, "ci_high": 0.4, "p_holm": 0.2})


def scores(column: str, values: tuple[str, ...]) -> pd.DataFrame:
    rows = [
        {"condition": c, column: s, "measure": m, "value": v, "ci_low": v - 0.1, "ci_high": v + 0.2}
        for c, v in (("TO", 2.0), ("V1", 1.0), ("none", 0.5))
        for s in values
        for m in PANELS
    ]
    return pd.DataFrame(rows)


def gains() -> pd.DataFrame:
    table = scores("space", ("pooled",)).drop(columns="space")
    return table.assign(gain=table.value / 10, gain_low=table.value / 10 - 0.02, gain_high=table.value / 10 + 0.03)


DRAW: dict[str, tuple[Callable, pd.DataFrame]] = {
    "by_condition": (plots.manifolds_by_condition, scores("space", ("measured", "predicted"))),
    "by_readout": (plots.manifolds_by_readout, scores("readout", ("pooled", "layer2"))),
    "and_gain": (lambda table, **o: plots.manifolds_and_gain(table, STATISTICS, **o), gains()),
}


@pytest.mark.parametrize("name", DRAW)
def test_figures_have_titles_and_refuse_what_they_cannot_draw(name: str) -> None:
    draw, table = DRAW[name]
    fig = draw(table, title=TITLE)
    assert fig.layout.title.text == TITLE
    assert all(axis.title.text for axis in fig.select_xaxes())
    assert len(fig.layout.annotations) == len(PANELS)
    for column in table.columns:
        with pytest.raises(InputError, match="cannot be drawn"):
            draw(table.drop(columns=column), title=TITLE)
    with pytest.raises(InputError, match="cannot be drawn"):
        draw(table.iloc[:0], title=TITLE)
    with pytest.raises(InputError, match="unknown names"):
        draw(table.assign(measure="volume"), title=TITLE)


def test_the_first_space_is_filled_and_the_second_open() -> None:
    draw, table = DRAW["by_condition"]
    marks = {trace.name: trace for trace in draw(table, title=TITLE).data if trace.name and trace.xaxis == "x"}
    assert marks["TO, measured"].y == (2.0,)
    assert marks["TO, measured"].marker.color == color("TO")
    assert marks["TO, predicted"].marker.color == "white"
    assert marks["TO, predicted"].marker.symbol == symbol("TO")
    assert marks["TO, measured"].error_y.array[0] == pytest.approx(0.2)
    assert marks["TO, measured"].error_y.arrayminus[0] == pytest.approx(0.1)


def test_lines_run_through_the_readouts_from_early_to_late() -> None:
    draw, table = DRAW["by_readout"]
    table.loc[(table.condition == "TO") & (table.readout == "layer2"), "value"] = 1.5
    fig = draw(table, title=TITLE)
    assert fig.layout.xaxis.ticktext == ("layer2", "pooled")
    line = next(trace for trace in fig.data if trace.name == "TO")
    assert list(line.y) == [1.5, 2.0]
    assert [trace.name for trace in fig.data if trace.showlegend] == ["none", "V1", "TO"]
    node = table.assign(readout=table.readout.where(table.readout == "pooled", "layer2.0.relu"))
    assert draw(node, title=TITLE).layout.xaxis.ticktext == ("pooled", "layer2.0.relu")


def test_the_correlation_stands_above_its_panel() -> None:
    draw, table = DRAW["and_gain"]
    fig = draw(table, title=TITLE)
    assert fig.layout.annotations[0].text.replace("<br>", " ") == "ρ = −0.50 [−0.90, 0.40], p = 0.2"
    point = next(trace for trace in fig.data if trace.name == "V1")
    assert (point.x, point.y) == ((1.0,), (0.1,))
    assert point.error_y.array[0] == pytest.approx(0.03)
