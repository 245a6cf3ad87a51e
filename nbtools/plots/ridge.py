"""How a ridge predictor's penalties were chosen."""

from __future__ import annotations

from itertools import cycle

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from nbtools.plots.marks import Look, add_curve
from nbtools.plots.style import DOTTED, INK, PALE, panels
from nbtools.plots.tables import check_drawable, check_points

_MARKS = (("#2d6cc0", "square"), (PALE, "diamond"), (INK, "x"))  # of read-outs, in turn


def ridge_penalties(tried: pd.DataFrame, *, title: str) -> go.Figure:
    """Show what each penalty explains of held-out training images and, of several read-outs, how each is weighed.

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
    readouts = list(dict.fromkeys(tried["readout"]))
    fig, (left, *right) = panels(title, 1 + (len(readouts) > 1), horizontal_spacing=0.12)
    each = tried[tried["readout"] == readouts[0]]
    explained = each.assign(r2=each["r2"] * each["variance"]).groupby("alpha")[["r2", "variance"]].sum()
    explained["r2"] /= explained["variance"]
    add_curve(fig, explained.index, explained, "r2", "one α for all components", look=Look(INK), **left)
    best, chosen = each[each["chosen"]], tried[tried["chosen"]]
    own = {"annotation_text": "each component at its own", "annotation_position": "top right"}
    fig.add_hline(y=np.average(best["r2"], weights=best["variance"]), line=DOTTED, **own, **left)
    fig.update_xaxes(type="log", dtick=1, title_text="penalty α", exponentformat="power", **left)
    fig.update_yaxes(title_text="R² on held-out training images", **left)
    for place in right:
        for (color, symbol), name in zip(cycle(_MARKS), readouts, strict=False):
            part, marker = chosen[chosen["readout"] == name], {"color": color, "symbol": symbol, "size": 8}
            fig.add_scatter(x=part["component"], y=part["weight"], mode="markers", name=name, marker=marker, **place)
        fig.update_xaxes(title_text="component (1: most variance)", tickformat="d", **place)
        fig.update_yaxes(title_text="weight of the read-out", range=[-0.03, 1.03], **place)
    return fig
