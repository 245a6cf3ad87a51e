"""Training curves of several runs in one figure."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from nbtools.checks import as_names
from nbtools.conditions import HIERARCHY
from nbtools.plots.marks import add_curve, look_of
from nbtools.plots.robustness.networks import METRIC_LABELS
from nbtools.plots.style import legend_beside, panels
from nbtools.plots.tables import check_drawable, check_names


def compared_curves(
    histories: pd.DataFrame, metrics: Sequence[str], *, order: Sequence[str] = HIERARCHY, title: str
) -> go.Figure:
    """Show how several trainings went on validation images: one panel per metric, one line per run.

    Parameters
    ----------
    histories : DataFrame
        One row per run, epoch and split: ``run`` (words), ``condition``, ``folder``, ``epoch``, ``split`` and the
        metrics.
    metrics : sequence of str
        Keys of `METRIC_LABELS`.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty or lacks a column, or a metric is unknown or none was chosen.
    """
    metrics = as_names(metrics)
    check_drawable(histories, ("run", "condition", "folder", "epoch", "split", *metrics))
    check_names(metrics or [""], METRIC_LABELS, "metrics")
    validation = histories[histories["split"] == "validation"]
    heads = [METRIC_LABELS[metric] for metric in metrics]
    fig, places = panels(title, len(metrics), heads=heads, row=250, horizontal_spacing=0.2 / (len(metrics) + 1))
    for metric, place in zip(metrics, places, strict=True):
        for _, part in validation[validation[metric].notna()].groupby("folder", sort=False):
            run, look = part["run"].iloc[0], look_of(part["condition"].iloc[0], order)
            hover = run + "<br>epoch %{x}: %{y:.3f}<extra></extra>"
            add_curve(fig, part["epoch"], part, metric, run, look=look, size=7, hovertemplate=hover, **place)
    fig.update_xaxes(title_text="epoch")
    fig.update_yaxes(title_text="on validation images", **places[0])
    return legend_beside(fig, len({trace.name for trace in fig.data})).update_layout(legend_font_size=12)
