"""Networks compared by many measures: a table of all, two measures against each other, spectra."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from nbtools.conditions import HIERARCHY
from nbtools.metrics.studies.comparison import scale_of
from nbtools.plots.labels import place_labels
from nbtools.plots.looks import color
from nbtools.plots.marks import Look, add_band, add_curve, add_point, error_bars, look_of, marker
from nbtools.plots.style import INK, legend_beside, new_figure, padded, panels
from nbtools.plots.tables import check_drawable, check_points, ordered

Bands = Mapping[str, tuple[float, float]]
_COLUMNS = ("measure", "condition", "score", "ci_low", "ci_high")
_TICKS = [digit * 10.0**power for power in range(-9, 10) for digit in (1, 2, 5)]  # of a logarithmic axis
_STYLE = (
    ".nbtools-scores{overflow-x:auto}"
    ".nbtools-scores table{border-collapse:collapse;font-size:12px;font-variant-numeric:tabular-nums}"
    ".nbtools-scores td,.nbtools-scores th{padding:3px 5px;text-align:right;vertical-align:top;line-height:1.25;"
    "border-bottom:1px solid #8884;font-weight:normal}"
    ".nbtools-scores th:first-child{text-align:left;white-space:nowrap}"
    ".nbtools-scores thead th{vertical-align:bottom;max-width:9em}"
    ".nbtools-scores small{opacity:.75}"
)


def base_condition(network: str) -> str:
    """Return the condition whose colour and shape a network has, of a name such as ``"TO alpha=0.35"``."""
    return network.split()[0]


def score_table(table: pd.DataFrame, by: str, bands: Bands | None = None, *, order: Sequence[str] = HIERARCHY) -> str:
    """Return HTML for a table of all measures, a row per condition: mean over seeds, below it the 95 % interval.

    Parameters
    ----------
    table : DataFrame
        From `metrics.score_conditions`.
    by : str
        The measure to sort by, from high to low; conditions without a score come last.
    bands : mapping of measure → (lower, upper), optional
        Noise ceilings, said in the heads.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.

    Raises
    ------
    InputError
        If the table is empty, lacks a column, or has a condition × measure twice.
    """
    check_drawable(table, (*_COLUMNS, "n_seeds"))
    check_points(table, ("measure", "condition"), fix="average seeds first: metrics.score_conditions")
    rows = table.assign(cell=[_cell(row) for row in table.to_dict("records")])
    cells = rows.pivot(index="condition", columns="measure", values="cell")[list(dict.fromkeys(table["measure"]))]
    scores = table[table["measure"] == by].set_index("condition")["score"]
    sorted_names = scores.sort_values(ascending=False, kind="stable", na_position="last").index
    seeds = table.groupby("condition")["n_seeds"].max()
    shown = cells.loc[sorted_names].rename(index=lambda name: _head(name, seeds[name], order))
    shown.columns = [_title(measure, (bands or {}).get(measure)) + " ▾" * (measure == by) for measure in cells]
    body = shown.rename_axis(None).to_html(escape=False, border=0)
    return f'<style>{_STYLE}</style><div class="nbtools-scores">{body}</div>'


def _cell(row: Mapping[str, float | str]) -> str:
    form = scale_of(str(row["measure"])).form
    value, low, high = ("–" if np.isnan(row[name]) else f"{row[name]:{form}}" for name in _COLUMNS[2:])
    return value if low == "–" else f"{value}<br><small>{low} – {high}</small>"


def _head(name: str, n_seeds: int, order: Sequence[str]) -> str:
    ink = color(base_condition(name), order)
    seeds = "1 seed" if n_seeds == 1 else f"{n_seeds} seeds"
    return f'<span style="color:{ink}">●</span> {html.escape(name)}<br><small>{seeds}</small>'


def _title(measure: str, band: tuple[float, float] | None) -> str:
    scale = scale_of(measure)
    ceiling = f"; noise ceiling {band[0]:{scale.form}} – {band[1]:{scale.form}}" if band else ""
    return f"{html.escape(measure)}<br><small>{html.escape(scale.unit + ceiling)}</small>"


def score_scatter(
    table: pd.DataFrame,
    x: str,
    y: str,
    bands: Bands | None = None,
    *,
    order: Sequence[str] = HIERARCHY,
    title: str,
) -> go.Figure:
    """Show two measures against each other: a marker per condition that has both, bars in both directions.

    Parameters
    ----------
    table : DataFrame
        From `metrics.score_conditions`.
    x, y : str
        Measures.
    bands : mapping of measure → (lower, upper), optional
        Noise ceilings, shown as grey bands.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty, lacks a column, or has a condition × measure twice.
    """
    check_drawable(table, _COLUMNS)
    check_points(table, ("measure", "condition"), fix="average seeds first: metrics.score_conditions")
    fig = new_figure(title, f"{x} ({scale_of(x).unit})", f"{y}<br>({scale_of(y).unit})")
    along, up = (table[table["measure"] == measure].set_index("condition").dropna(subset="score") for measure in (x, y))
    names = ordered(along.index[along.index.isin(up.index)].to_series(), order)
    for name in names:
        look, rows = marker(base_condition(name), order), (along.loc[name], up.loc[name])
        bars = [error_bars(row, "score", look["color"], "cross") for row in rows]
        said = "<br>".join([f"<b>{name}</b>", *(f"{row['measure']}: {_said(row)}" for row in rows)])
        how = {"error_x": bars[0], "error_y": bars[1], "hovertemplate": said + "<extra></extra>", "cliponaxis": False}
        add_point(fig, name, *(row["score"] for row in rows), marker=look, **how)
    if not names:
        fig.add_annotation(text="no network has both", xref="paper", yref="paper", x=0.5, y=0.5, showarrow=False)
        return fig
    ends = [_axis(fig, axis, part.loc[names], bands or {}) for axis, part in (("x", along), ("y", up))]
    points = np.stack(ends, axis=1)
    place_labels(fig, points, points, names)
    return fig.update_layout(showlegend=False)


def _said(row: pd.Series) -> str:
    form = scale_of(row["measure"]).form
    interval = "" if np.isnan(row["ci_low"]) else f" [{row['ci_low']:{form}}, {row['ci_high']:{form}}]"
    return f"{row['score']:{form}}{interval}"


def _axis(fig: go.Figure, axis: str, part: pd.DataFrame, bands: Bands) -> np.ndarray:
    """Set up an axis around a measure's rows, with its noise ceiling; return where scores lie on it, (n,)."""
    measure = part["measure"].iloc[0]
    scale, band = scale_of(measure), bands.get(measure)
    bounds = part[["ci_low", "score", "ci_high"]].T.fillna(part["score"]).T
    if scale.log:  # a bar that begins below 0 has no end there
        bounds = np.log10(bounds.where(bounds > 0, part["score"], axis=0))
    reach = pd.concat([bounds.stack(), pd.Series(band or (), dtype=float)]).to_frame()
    ends = np.clip(padded(reach), -np.inf if scale.log else scale.low, scale.high)  # no tick where no score can be
    look = {"range": ends.tolist(), "tickformat": ".3~p" if "%" in scale.form else ""}
    if scale.log:
        ticks = [tick for tick in _TICKS if ends[0] <= np.log10(tick) <= ends[1]]
        look |= {"type": "log", "tickformat": ",~r", "tickvals": ticks if len(ticks) > 1 else None}
    fig.update_layout({f"{axis}axis": look})
    if band:
        draw = fig.add_vrect if axis == "x" else fig.add_hrect
        words = {"annotation_text": "noise<br>ceiling", "annotation_position": "bottom left"}
        draw(*band, fillcolor="#dcdcdc", line_width=0, layer="below", **words)
    return bounds["score"].to_numpy()


def spectra(table: pd.DataFrame, white: np.ndarray, *, order: Sequence[str] = HIERARCHY, title: str) -> go.Figure:
    """Show over which spatial frequencies gradients and attacks spread their energy: a panel each.

    Parameters
    ----------
    table : DataFrame
        ``condition``, ``of`` (``"gradient"`` or ``"attack"``), ``frequency`` (cycles/image), ``share`` of the energy,
        ``ci_low``, ``ci_high``: `attacks.Examined.spectra`, averaged by `metrics.over_networks`.
    white : array (n_rings,)
        The spectrum of white noise (`metrics.white_spectrum`): dotted.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty or lacks a column.
    """
    check_drawable(table, ("condition", "of", "frequency", "share", "ci_low", "ci_high"))
    heads = {"gradient": "gradient of the loss, clean images", "attack": "what the attack changes"}
    fig, places = panels(title, 2, heads=list(heads.values()), shared_yaxes=True, horizontal_spacing=0.05)
    names = ordered(table["condition"], order)
    noise = pd.DataFrame({"share": white})
    for of, place in zip(heads, places, strict=True):
        add_curve(fig, noise.index, noise, "share", "white noise", look=Look(INK, "dot"), size=1, **place)
        for name in names:
            line = table[(table["condition"] == name) & (table["of"] == of)].sort_values("frequency")
            look = look_of(base_condition(name), order)
            add_band(fig, line["frequency"], line, look.color, **place)
            add_curve(fig, line["frequency"], line, "share", name, look=look, size=1, **place)
    fig.update_xaxes(title_text="spatial frequency<br>(cycles/image)")
    fig.update_yaxes(title_text="share of energy<br>in a ring of 1 cycle/image", tickformat=".0%", **places[0])
    return legend_beside(fig, len(names) + 1)
