"""Figures of certificates: accuracy that no attack within a radius can take away, beside what attacks took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from nbtools.conditions import HIERARCHY
from nbtools.plots.marks import Look, add_band, add_curve, look_of
from nbtools.plots.style import DOTTED, Panel, balanced, legend_beside, panels
from nbtools.plots.tables import check_accuracy, ordered

_COLUMNS = 3


def certified_curves(
    certified: pd.DataFrame, reaches: Mapping[float, float], *, order: Sequence[str] = HIERARCHY, title: str
) -> go.Figure:
    """Show certified accuracy against the radius: a panel per noise, one line and confidence band per condition.

    Parameters
    ----------
    certified : DataFrame
        One row per condition × sigma × radius, as `metrics.over_networks` gives it, or `certified_accuracy` of one
        seed: ``condition``, ``sigma``, ``epsilon`` (L2, pixel units), ``accuracy`` (fraction), ``ci_low``, ``ci_high``.
    reaches : mapping of float to float
        Of each sigma the radius that all votes together reach (`attacks.reach`): curves end there.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty, lacks a column, or has several rows for one condition, noise and radius.
    """
    check_accuracy(certified, ("condition", "sigma"))
    sigmas, conditions = sorted(certified["sigma"].unique()), ordered(certified["condition"], order)
    fig, places = _panels([f"noise σ = {sigma:g}" for sigma in sigmas], title, "certified accuracy")
    for sigma, place in zip(sigmas, places, strict=True):
        at = certified[(certified["sigma"] == sigma) & (certified["epsilon"] <= reaches[sigma])]
        for name in conditions:
            _add(fig, at[at["condition"] == name], name, look_of(name, order), place)
        _mark(fig, reaches[sigma], place)
    return legend_beside(fig, len(conditions))


def certified_and_attacked(
    certified: pd.DataFrame, attacked: pd.DataFrame, reach: float, *, order: Sequence[str] = HIERARCHY, title: str
) -> go.Figure:
    """Show certified accuracy and accuracy under L2 attacks in one figure, a panel per condition.

    Parameters
    ----------
    certified, attacked : DataFrame
        One row per condition × radius, of one noise and of one attack or the worst case of several, as
        `metrics.over_networks` gives them: ``condition``, ``epsilon`` (L2, pixel units), ``accuracy``, ``ci_low``,
        ``ci_high`` (fractions).
    reach : float
        The radius that all votes together reach (`attacks.reach`): the certificate's curve ends there.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If a table is empty, lacks a column, or has several rows for one condition and radius.

    Notes
    -----
    Two networks stand in a panel: the certificate is of the smoothed one, a lower bound of its accuracy under any
    attack; the attack is on the network without noise, an upper bound of that one's. Neither curve need be the higher.
    """
    check_accuracy(certified)
    check_accuracy(attacked)
    conditions = ordered(pd.concat([certified["condition"], attacked["condition"]]), order)
    fig, places = _panels(conditions, title, "accuracy")
    for name, place in zip(conditions, places, strict=True):
        look = look_of(name, order)
        within = certified[(certified["condition"] == name) & (certified["epsilon"] <= reach)]
        _add(fig, within, "certified,<br>under noise", Look(look.color), place)
        open_ring = Look(look.color, "dot", "circle-open")
        _add(fig, attacked[attacked["condition"] == name], "attacked,<br>without noise", open_ring, place)
        _mark(fig, reach, place)
    return legend_beside(fig, 4)


def _panels(heads: Sequence[str], title: str, said: str) -> tuple[go.Figure, list[Panel]]:
    """Return panels of accuracy, as it is said, against an L2 radius, with their heads, on common axes."""
    columns = balanced(len(heads), _COLUMNS)
    common: dict[str, Any] = {"shared_xaxes": "all", "shared_yaxes": "all", "horizontal_spacing": 0.04}
    fig, places = panels(title, len(heads), columns, heads=heads, row=240, gap=80, **common)
    fig.update_xaxes(title_text="L2 radius<br>(pixel units)", rangemode="tozero", showticklabels=True)
    fig.update_yaxes(tickformat=".0%", range=[-0.03, 1.03])
    return fig.update_yaxes(title_text=said, showticklabels=True, col=1), places


def _add(fig: go.Figure, rows: pd.DataFrame, name: str, look: Look, place: Panel) -> None:
    """Draw a curve with its band; nothing where there are no rows."""
    rows = rows.sort_values("epsilon")
    if len(rows):
        add_band(fig, rows["epsilon"], rows, look.color, **place)
        add_curve(fig, rows["epsilon"], rows, "accuracy", name, look=look, size=7, **place)


def _mark(fig: go.Figure, reach: float, place: Panel) -> None:
    """Mark beyond which radius nothing can be certified, on an axis that goes so far."""
    words = {"annotation_text": "reach of<br>all votes", "annotation_position": "top left", "annotation_font_size": 11}
    fig.add_vline(x=reach, line=DOTTED, **words, **place)
    fig.add_scatter(x=[reach * 1.02], y=[0], mode="markers", opacity=0, hoverinfo="skip", showlegend=False, **place)
