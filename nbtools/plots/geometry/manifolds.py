"""Figures of manifold geometry: by region, along a network's read-outs, and against what guidance gained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from nbtools.conditions import HIERARCHY
from nbtools.metrics.samples.verdicts import p_text
from nbtools.plots.geometry.readouts import add_readouts, in_readout_order
from nbtools.plots.looks import color
from nbtools.plots.marks import add_key, add_point, error_bars, interval_text, ring
from nbtools.plots.style import BESIDE, DOTTED, PALE, Panel, axis_places, panels, wrapped
from nbtools.plots.tables import check_drawable, check_names, ordered

# What a panel is called; capacity and separability are better high, the others low.
PANELS: dict[str, str] = {
    "capacity": "capacity α (manifolds per feature)",
    "radius": "radius (of the centre's length)",
    "dimension": "dimension",
    "centre_correlation": "centre correlation |cos|",
    "separability": "linear separability (accuracy)",
}
_COLUMNS = ("condition", "measure", "value", "ci_low", "ci_high")


def manifolds_by_condition(table: pd.DataFrame, *, order: Sequence[str] = HIERARCHY, title: str) -> go.Figure:
    """Show every measure of every condition, a panel each: early to late, one marker per space.

    Parameters
    ----------
    table : DataFrame
        One row per condition × space × measure: ``condition``, ``space`` (as "measured" and "predicted"; the first is
        drawn filled, others open), ``measure`` (of `PANELS`), ``value``, ``ci_low``, ``ci_high``.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty, lacks a column or holds an unknown measure.
    """
    check_drawable(table, (*_COLUMNS, "space"))
    fig, places_of = _panels(table, title)
    spaces = list(dict.fromkeys(table["space"]))
    names = ordered(table["condition"], order)
    places = axis_places(names, order)
    for measure, place in places_of.items():
        for i, space in enumerate(spaces):
            rows = table[(table["measure"] == measure) & (table["space"] == space)].set_index("condition")
            shift = (i - (len(spaces) - 1) / 2) * 0.3
            line = [name for name in order if name in rows.index]
            joined = {"x": [places[name] + shift for name in line], "y": rows.loc[line, "value"]}
            style = {"color": PALE, "width": 1.5, "dash": "solid" if i == 0 else "dot"}
            fig.add_scatter(**joined, mode="lines", line=style, showlegend=False, hoverinfo="skip", **place)
            for name, row in rows.iterrows():
                ink = color(name, order)
                look = {"marker": ring(name, order, filled=i == 0), "error_y": error_bars(row, "value", ink)}
                x = places[name] + shift
                add_point(fig, f"{name}, {space}", x, row["value"], showlegend=False, **look, **place)
        fig.update_xaxes(tickvals=list(places.values()), ticktext=names, **place)
    for i, space in enumerate(spaces):  # a key in grey, since colours name the regions
        fill = {"color": PALE if i == 0 else "white", "size": 10, "line": {"width": 2, "color": PALE}}
        add_key(fig, space, fill, row=1, col=1)
    return fig.update_xaxes(title_text="region")


def manifolds_by_readout(table: pd.DataFrame, *, order: Sequence[str] = HIERARCHY, title: str) -> go.Figure:
    """Show how every measure changes from read-out to read-out, one line per condition.

    Parameters
    ----------
    table : DataFrame
        One row per condition × read-out × measure: ``condition``, ``readout``, ``measure`` (of `PANELS`), ``value``,
        ``ci_low``, ``ci_high``. Nodes of a network beside the usual read-outs come after these.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty, lacks a column or holds an unknown measure.
    """
    check_drawable(table, (*_COLUMNS, "readout"))
    fig, places_of = _panels(table, title)
    names, readouts = ordered(table["condition"], order), in_readout_order(table["readout"])
    for measure, place in places_of.items():
        add_readouts(fig, table[table["measure"] == measure], names, readouts, order, place)
    return fig.update_xaxes(title_text="read-out")


def manifolds_and_gain(
    table: pd.DataFrame, statistics: pd.DataFrame, *, order: Sequence[str] = HIERARCHY, title: str
) -> go.Figure:
    """Show what each network gained against each measure of geometry, with the correlation above each panel.

    Parameters
    ----------
    table : DataFrame
        One row per condition × measure: ``condition``, ``measure`` (of `PANELS`), ``value``, ``ci_low``, ``ci_high``,
        ``gain``, ``gain_low``, ``gain_high`` (fractions).
    statistics : DataFrame
        From `metrics.correlate_with_gain`: ``measure``, ``rho``, ``ci_low``, ``ci_high``, ``p_holm``.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If a table is empty or lacks a column, or a measure is unknown or not among the statistics.
    """
    check_drawable(table, (*_COLUMNS, "gain", "gain_low", "gain_high"))
    check_drawable(statistics, ("measure", "rho", "ci_low", "ci_high", "p_holm"))
    tested = set(statistics["measure"])
    check_names(table["measure"], [name for name in PANELS if name in tested], "measure")
    found = statistics.set_index("measure").loc[list(dict.fromkeys(table["measure"]))]
    fig, places_of = _panels(table, title, {name: _found(row) for name, row in found.iterrows()})
    for measure, place in places_of.items():
        for row in table[table["measure"] == measure].to_dict("records"):
            name, ink = row["condition"], color(row["condition"], order)
            bars = {
                "error_x": error_bars(row, "value", ink, "cross"),
                "error_y": error_bars(row, "gain", ink, "cross", ("gain_low", "gain_high")),
            }
            named = place == {"row": 1, "col": 1}
            look = {"marker": ring(name, order), "showlegend": named}
            add_point(fig, name, row["value"], row["gain"], **look, **bars, **place)
        fig.add_hline(y=0, line=DOTTED, **place)
        fig.update_xaxes(title_text=wrapped(PANELS[measure], 22), **place)
    fig.update_yaxes(tickformat="+.0%", matches="y")
    fig.update_yaxes(title_text="gain in robust accuracy", col=1)
    return fig


def _panels(
    table: pd.DataFrame, title: str, headings: Mapping[Any, str] = PANELS
) -> tuple[go.Figure, dict[str, Panel]]:
    """Return an empty figure, a panel per measure with the legend in the last place, and each measure's place."""
    check_names(table["measure"], tuple(PANELS), "measure")
    measures = [name for name in PANELS if name in set(table["measure"])]
    heads = [headings[name] for name in measures]
    row = max(220, 20 * table["condition"].nunique())
    heads += [""] * (len(PANELS) - len(heads))
    fig, places = panels(title, len(PANELS), 3, heads=heads, row=row, gap=75, horizontal_spacing=0.1)
    empty = {"x": 0.72, "y": fig.layout.yaxis4.domain[1], "tracegroupgap": 0, "font": {"size": 12}}
    return fig.update_layout(legend={**BESIDE, **empty}), dict(zip(measures, places, strict=False))


def _found(row: pd.Series) -> str:
    rho = interval_text(row["rho"], row["ci_low"], row["ci_high"])
    return f"ρ = {rho}, {p_text(row['p_holm'])}".replace("-", "−")
