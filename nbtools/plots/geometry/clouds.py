"""Figure of category clouds: how near several networks' clouds are to a region's, in place, size and directions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from nbtools.metrics.stats import bootstrap_ci
from nbtools.plots.marks import add_point, error_bars
from nbtools.plots.style import DOTTED, INK, PALE, Panel, panels
from nbtools.plots.tables import check_drawable

_PANELS = {
    "distance": "distance to the<br>region's centre",
    "radius": "radius about the<br>cloud's own centre",
    "variance_inside": "variance inside<br>the region's basis",
}


def category_clouds(table: pd.DataFrame, *, title: str) -> go.Figure:
    """Show distance, radius and directions of category clouds: one panel each, a dot per category.

    Parameters
    ----------
    table : DataFrame
        From `training.cloud_geometry`, one row per ``clouds`` (whose they are, in the order to show) and category:
        ``distance``, ``radius``, ``neural_radius``, ``variance_inside``, ``variance_expected``. The first two are
        shown as multiples of the region's radius. Dotted lines: that radius, and the mean variance inside that
        clouds without any direction of their own would have.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty or lacks a column, or there is but one category.
    """
    check_drawable(
        table, ("clouds", "category", "distance", "radius", "neural_radius", "variance_inside", "variance_expected")
    )
    names = list(dict.fromkeys(table["clouds"]))
    fig, panel_of = panels(title, len(_PANELS), heads=list(_PANELS.values()), horizontal_spacing=0.1)
    for measure, panel in zip(_PANELS, panel_of, strict=True):
        share = measure == "variance_inside"
        for place, name in enumerate(names):
            part = table[table["clouds"] == name].sort_values("category")
            values = part[measure].to_numpy() / (1 if share else part["neural_radius"].to_numpy())
            _strip(fig, place, values, name, panel)
        fig.add_hline(y=table["variance_expected"].mean() if share else 1, line=DOTTED, **panel)
        fig.update_yaxes(rangemode="tozero", tickformat=".0%" if share else None, **panel)
    fig.update_yaxes(title_text="in units of the region's radius", **panel_of[0])
    fig.update_yaxes(range=[0, 1.03], **panel_of[-1])
    wrapped = [name.replace(" ", "<br>") for name in names]
    fig.update_xaxes(tickvals=list(range(len(names))), ticktext=wrapped, range=[-0.6, len(names) - 0.4])
    fig.update_xaxes(title_text="whose clouds", tickfont={"size": 12})
    return fig.update_layout(showlegend=False)


def _strip(fig: go.Figure, place: int, values: np.ndarray, name: str, panel: Panel) -> None:
    """Draw a dot per category, and beside them the mean with its 95 % interval over categories."""
    dots = {"size": 6, "color": PALE, "opacity": 0.7}
    fig.add_scatter(x=np.full(len(values), place - 0.12), y=values, name=name, mode="markers", marker=dots, **panel)
    mean, (low, high) = values.mean(), bootstrap_ci(values)
    bars = error_bars({"mean": mean, "ci_low": low, "ci_high": high}, "mean", INK)
    look = {"size": 10, "color": INK, "symbol": "diamond"}
    add_point(fig, name, place + 0.15, mean, marker=look, error_y=bars, **panel)
