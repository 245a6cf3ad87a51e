"""How a ridge predictor's penalties were chosen."""

from __future__ import annotations

from itertools import cycle

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from nbtools.plots.marks import Look, add_curve
from nbtools.plots.style import DOTTED, INK, PALE, padded, panels
from nbtools.plots.tables import check_drawable, check_points

_LARGEST = 18  # of a marker, pixels
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
    top = np.average(best["r2"], weights=best["variance"])
    own = {"annotation_text": "each component at its own", "annotation_position": "top right"}
    fig.add_hline(y=top, line=DOTTED, **own, **left)
    seen = explained["r2"].clip(lower=-abs(top))  # small penalties can be as wrong as they like
    fig.update_xaxes(type="log", dtick=1, title_text="penalty α", exponentformat="power", **left)
    fig.update_yaxes(title_text="R² on held-out training images", range=padded(pd.DataFrame([*seen, top])), **left)
    for place in right:
        area = (chosen["r2"] * chosen["variance"]).clip(lower=0)
        chosen = chosen.assign(size=_LARGEST * np.sqrt(area / max(area.max(), 1e-12)))
        for (color, symbol), name in zip(cycle(_MARKS), readouts, strict=False):
            part = chosen[chosen["readout"] == name]
            marker = {"color": color, "symbol": symbol, "size": part["size"], "line": {"width": 0}}
            fig.add_scatter(x=part["component"], y=part["weight"], mode="markers", name=name, marker=marker, **place)
        fig.update_xaxes(type="log", dtick=1, title_text="component (1: most variance)", **place)
        fig.update_yaxes(title_text="weight of the read-out (area: explained)", range=[-0.08, 1.08], **place)
    return fig.update_layout(legend_itemsizing="constant")
