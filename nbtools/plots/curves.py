"""Training curves of several runs in one figure."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nbtools.conditions import color, dash, symbol
from nbtools.plots.networks import METRIC_LABELS
from nbtools.plots.style import BOTTOM, TEMPLATE, TOP, check_names, check_table


def compared_curves(histories: pd.DataFrame, metrics: Sequence[str], *, title: str) -> go.Figure:
    """Show how several trainings went on validation images: one panel per metric, one line per run.

    Parameters
    ----------
    histories : DataFrame
        One row per run, epoch and split: ``run`` (words), ``condition``, ``folder``, ``epoch``, ``split`` and the
        metrics.
    metrics : sequence of str
        Keys of `METRIC_LABELS`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty or lacks a column, or a metric is unknown or none was chosen.
    """
    check_table(histories, ("run", "condition", "folder", "epoch", "split", *metrics))
    check_names(pd.Series(list(metrics) or [""]), tuple(METRIC_LABELS), "metrics")
    validation = histories[histories["split"] == "validation"]
    heads = [METRIC_LABELS[metric] for metric in metrics]
    fig = make_subplots(1, len(metrics), subplot_titles=heads, horizontal_spacing=0.2 / (len(metrics) + 1))
    named: set[str] = set()
    for column, metric in enumerate(metrics, start=1):
        for _, part in validation[validation[metric].notna()].groupby("folder", sort=False):
            run, condition = part["run"].iloc[0], part["condition"].iloc[0]
            fig.add_scatter(
                x=part["epoch"],
                y=part[metric],
                name=run,
                legendgroup=run,
                showlegend=run not in named,
                mode="lines+markers",
                line={"color": color(condition), "dash": dash(condition), "width": 2},
                marker={"symbol": symbol(condition), "size": 7},
                hovertemplate=run + "<br>epoch %{x}: %{y:.3f}<extra></extra>",
                row=1,
                col=column,
            )
            named.add(run)
        fig.update_xaxes(title_text="epoch", row=1, col=column)
    fig.update_yaxes(title_text="on validation images", row=1, col=1)
    legend = {"orientation": "v", "x": 1.02, "xanchor": "left", "y": 1, "yanchor": "top", "font": {"size": 12}}
    fig.update_layout(template=TEMPLATE, title_text=title, legend=legend, margin={"r": 10})
    return fig.update_layout(height=TOP + BOTTOM + max(250, 25 * len(named)))
