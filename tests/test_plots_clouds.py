"""The figure of category clouds shows the numbers it is given."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nbtools import plots
from nbtools.errors import InputError
from nbtools.metrics.stats import bootstrap_ci

TITLE = "t (demo study, simulated)"


def geometry() -> pd.DataFrame:
    numbers = {"distance": [3.0, 5.0], "radius": [1.0, 4.0], "neural_radius": [2.0, 4.0], "variance_inside": [0.4, 0.8]}
    one = pd.DataFrame({"category": [0, 1], **numbers, "variance_expected": [0.1, 0.3]})
    return pd.concat([one.assign(clouds=name) for name in ("before training", "by clouds")])


def test_each_panel_has_a_dot_per_category_and_their_mean() -> None:
    fig = plots.category_clouds(geometry(), title=TITLE)
    assert fig.layout.title.text == TITLE
    dots, mean = [trace for trace in fig.data if trace.xaxis == "x" and trace.name == "by clouds"]
    np.testing.assert_allclose(dots.y, [1.5, 1.25])
    assert mean.y == (1.375,)
    np.testing.assert_allclose(
        [mean.y[0] - mean.error_y.arrayminus[0], mean.y[0] + mean.error_y.array[0]], bootstrap_ci(np.array([1.5, 1.25]))
    )
    shares = next(trace for trace in fig.data if trace.xaxis == "x3")
    assert shares.y.tolist() == [0.4, 0.8]
    assert [line.y0 for line in fig.layout.shapes] == pytest.approx([1, 1, 0.2])
    assert fig.layout.xaxis.ticktext == ("before<br>training", "by<br>clouds")


def test_tables_that_cannot_be_drawn() -> None:
    for bad in (geometry().iloc[:0], geometry().drop(columns="radius")):
        with pytest.raises(InputError, match="cannot be drawn"):
            plots.category_clouds(bad, title=TITLE)
