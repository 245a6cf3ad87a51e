"""How a ridge predictor's penalties were chosen."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from nbtools.plots.marks import Look, add_curve
from nbtools.plots.style import DOTTED, INK, PALE, panels
from nbtools.plots.tables import check_drawable, check_points

_LOOKS = (Look(INK), Look("#2d6cc0", symbol="square"), Look(PALE, symbol="diamond"))  # of read-outs, in turn


def ridge_penalties(tried: pd.DataFrame, *, title: str) -> go.Figure:
    """Show what each penalty explains of held-out training images, and which one each component has in the end.

    Parameters
    ----------
    tried : DataFrame
        From `training.fit_ridge`: ``component``, ``alpha``, ``readout``, ``weight``, ``r2``, ``variance``, ``chosen``.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty, lacks a column, or holds a component × α × read-out twice.
    """
    check_drawable(tried, ("component", "alpha", "readout", "weight", "r2", "variance", "chosen"))
    check_points(tried, ["component", "alpha", "readout"], fix="give the table of one predictor")
    fig, (left, right) = panels(title, 2, horizontal_spacing=0.12)
    readouts = list(dict.fromkeys(tried["readout"]))
    each = tried[tried["readout"] == readouts[0]]
    explained = each.assign(r2=each["r2"] * each["variance"]).groupby("alpha")[["r2", "variance"]].sum()
    explained["r2"] /= explained["variance"]
    add_curve(fig, explained.index, explained, "r2", "one α for all components", look=Look(INK), **left)
    best = each[each["chosen"]]
    fig.add_hline(
        y=np.average(best["r2"], weights=best["variance"]),
        line=DOTTED,
        annotation_text="each component at its own",
        annotation_position="top left",
        **left,
    )
    chosen = tried.assign(own=tried["alpha"] / tried["weight"])[tried["chosen"]]
    for index, name in enumerate(readouts):
        look, part = _LOOKS[index % len(_LOOKS)], chosen[chosen["readout"] == name]
        marker = {"color": look.color, "symbol": look.symbol, "size": 8}
        fig.add_scatter(x=part["component"], y=part["own"], mode="markers", name=name, marker=marker, **right)
    fig.update_xaxes(type="log", title_text="penalty α", exponentformat="power", **left)
    fig.update_yaxes(title_text="R² on held-out training images", **left)
    fig.update_xaxes(title_text="component (1: most variance)", **right)
    return fig.update_yaxes(type="log", title_text="α of the read-out", exponentformat="power", **right)
