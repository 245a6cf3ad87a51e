"""Figures of dimensions, curvature and lesions show the numbers they are given."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest

from nbtools import plots
from nbtools.errors import InputError
from nbtools.metrics.decisions.lesions import INTACT, LESIONS
from nbtools.plots.looks import color

NAMES, READOUTS = ("TO", "none", "random"), ("pooled", "fc1", "pixels", "layer2")


def rows(**axes: tuple) -> pd.DataFrame:
    table = pd.DataFrame(list(product(NAMES, *axes.values())), columns=["condition", *axes])
    value = np.random.default_rng(0).uniform(0.1, 0.9, len(table))
    return table.assign(value=value, ci_low=value - 0.05, ci_high=value + 0.08)


DIMENSIONS = rows(measure=("two-NN", "participation ratio"), readout=READOUTS)
CURVATURE = rows(measure=("step angle", "tangent angle"), transformation=("rotation", "scale"), readout=READOUTS)
ASKED = [("clean", 0.0), ("intact", 2 / 255), ("lesioned", 2 / 255)]
KINDS = (INTACT, *LESIONS, *(control for controls in LESIONS.values() for control in controls))


def asked(column: str, name: str, kinds: tuple[str, ...]) -> pd.DataFrame:
    table = rows(asked=tuple(range(3)), **{name: kinds}).rename(columns={"value": column})
    pairs = pd.DataFrame(ASKED, columns=["attacked", "epsilon"]).loc[table["asked"]].reset_index(drop=True)
    return pd.concat([table.drop(columns="asked"), pairs], axis=1)


ACCURACY = asked("accuracy", "lesion", KINDS)
COST = asked("cost", "control", LESIONS["neural directions"])
FIGURES = {
    "dimensions": (plots.dimensions_by_readout, DIMENSIONS, 2),
    "curvature": (plots.curvature_by_readout, CURVATURE, 4),
    "accuracy": (plots.lesion_accuracies, ACCURACY, 6),
    "cost": (plots.lesion_costs, COST, 6),
}


def panel_of(trace: object) -> int:
    return int(trace.xaxis.removeprefix("x") or 1)


@pytest.mark.parametrize("name", FIGURES)
def test_it_has_its_panels_and_refuses_what_it_cannot_draw(name: str) -> None:
    draw, table, n_panels = FIGURES[name]
    figure = draw(table, title="a title")
    assert figure.layout.title.text == "a title"
    assert {panel_of(trace) for trace in figure.data} == set(range(1, n_panels + 1))
    assert figure.layout.yaxis.title.text
    for wrong in (table.head(0), table.drop(columns="ci_low"), pd.concat([table, table])):
        with pytest.raises(InputError, match=r"drawn|twice"):
            draw(wrong, title="a title")


def test_lines_run_from_pixels_to_other_nodes() -> None:
    figure = plots.dimensions_by_readout(DIMENSIONS, title="")
    assert [note.text for note in figure.layout.annotations] == ["participation ratio", "two-NN"]
    assert list(figure.layout.xaxis.ticktext) == ["pixels", "layer2", "pooled", "fc1"]
    line = next(trace for trace in figure.data if trace.name == "TO" and panel_of(trace) == 1)
    rows = DIMENSIONS.query("condition == 'TO' and measure == 'participation ratio'").set_index("readout")["value"]
    assert list(line.y) == pytest.approx(rows[["pixels", "layer2", "pooled", "fc1"]].tolist())
    assert line.line.color == color("TO")


def test_a_panel_of_curvature_is_one_transformation_and_measure() -> None:
    figure = plots.curvature_by_readout(CURVATURE, title="")
    heads = [note.text for note in figure.layout.annotations]
    assert heads == [f"{m}, {t}" for m in ("step angle", "tangent angle") for t in ("rotation", "scale")]
    line = next(trace for trace in figure.data if trace.name == "none" and panel_of(trace) == 3)
    found = CURVATURE.query("condition == 'none' and measure == 'tangent angle' and transformation == 'rotation'")
    assert sorted(line.y) == pytest.approx(sorted(found["value"]))


def test_markers_stand_where_lesions_left_accuracy() -> None:
    figure = plots.lesion_accuracies(ACCURACY, title="")
    heads = [note.text for note in figure.layout.annotations]
    assert heads == ["clean images", *(f"ε = 2/255, against<br>the {kind} network" for kind in ("intact", "lesioned"))]
    assert figure.layout.yaxis4.title.text == "accuracy without<br>neural units"
    drawn = {trace.name: trace.y[0] for trace in figure.data if panel_of(trace) == 3}
    found = ACCURACY.query("attacked == 'lesioned' and epsilon > 0").set_index(["condition", "lesion"])["accuracy"]
    kinds = [INTACT, "neural directions", *LESIONS["neural directions"]]
    assert drawn == {f"{name}, {kind}": found[name, kind] for name in NAMES for kind in kinds}
    units = {trace.name.split(", ")[1] for trace in figure.data if panel_of(trace) == 4 and ", " in trace.name}
    assert units == {INTACT, "neural units", "random units"}


def test_a_cost_stands_over_its_control() -> None:
    figure = plots.lesion_costs(COST, title="")
    drawn = {trace.name: trace.y[0] for trace in figure.data if panel_of(trace) == 5 and trace.name in NAMES}
    at = COST.query("control == 'random directions' and attacked == 'intact' and epsilon > 0")
    assert drawn == at.set_index("condition")["cost"].to_dict()
