"""Figures of representational similarity: RDMs, networks against regions, everything against everything, a map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from nbtools.conditions import HIERARCHY
from nbtools.errors import InputError
from nbtools.plots.labels import place_labels, plot_size
from nbtools.plots.looks import color, symbol
from nbtools.plots.marks import add_key, add_point, error_bars, interval_text
from nbtools.plots.style import (
    BARE,
    BESIDE,
    DOTTED,
    INK,
    SEQUENTIAL,
    axis_places,
    conditions_title,
    faded,
    new_figure,
    padded,
    panels,
    tall,
)
from nbtools.plots.tables import check_drawable, check_names, ordered

# What the features are, in words, in the order of legends.
SOURCES = {
    "pooled": "network, pooled features",
    "neural": "network, neural head",
    "predicted": "region's predictor",
    "measured": "region, measured",
}
# What they are shows in a marker's opening and size.
_FORMS = {"pooled": ("", 1), "neural": ("-open", 0.8), "predicted": ("-open-dot", 0.8), "measured": ("", 1.6)}
_NAMED = 10  # categories beside an RDM that is as small as in a narrow figure
_SHOWN_IMAGES = 200  # an RDM of more images is finer than a panel's pixels


def rdm_grid(
    rdms: Mapping[str, np.ndarray], categories: Sequence[str] | None = None, columns: int = 4, *, title: str
) -> go.Figure:
    """Show RDMs side by side, each as percentiles of its own distances: what a rank correlation sees.

    Parameters
    ----------
    rdms : mapping of str to array (n_images, n_images)
        Panel title → distances.
    categories : sequence of str (n_images,), optional
        Of the images, which are then sorted by it; those without one (NaN, None) come last.
    columns : int
        Panels in a row.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If there is no RDM, they differ in size, are not square, or categories do not fit.
    """
    shapes = {np.shape(matrix) for matrix in rdms.values()}
    n = len(next(iter(rdms.values()))) if rdms else 0
    if shapes != {(n, n)} or (categories is not None and len(categories) != n):
        raise InputError(
            "these RDMs cannot be drawn together",
            expected="square RDMs of the same images, and a category for each image or none",
            got=f"RDMs {', '.join(map(str, shapes))}; categories {None if categories is None else len(categories)}",
            fix="give the matrices of one RDMs object: dict(zip(names, rdms.get_matrices()))",
        )
    named = pd.Series(range(n) if categories is None else list(categories), dtype=object)
    order = named.sort_values(kind="stable", na_position="last").index.to_numpy()
    order = order[np.linspace(0, n - 1, min(n, _SHOWN_IMAGES)).round().astype(int)]
    fig, places = panels(title, len(rdms), columns, heads=list(rdms), row=210, gap=8, horizontal_spacing=0.03)
    for matrix, place in zip(rdms.values(), places, strict=True):
        z = _percentiles(np.asarray(matrix, dtype=float))[np.ix_(order, order)]
        fig.add_heatmap(z=z, coloraxis="coloraxis", hoverinfo="skip", **place)
    bar = {"title": "percentile of<br>distance", "ticksuffix": " %"}
    fig.update_layout(coloraxis={"colorscale": SEQUENTIAL, "colorbar": bar})
    fig.update_xaxes(BARE, constrain="domain")
    for place, trace in zip(places, fig.data, strict=True):
        square = {"scaleanchor": trace.xaxis, "constrain": "domain", "constraintoward": "top"}
        fig.update_yaxes(BARE, autorange="reversed", **square, **place)
    if categories is not None:
        fig.update_yaxes(_category_ticks(named.fillna("no category").to_numpy()[order]), col=1)
    shown = f"{len(order)} of {n} images" if len(order) < n else f"{n} images"
    fig.update_yaxes(title_text=shown, col=1)
    return fig.update_layout(height=fig.layout.height - 50, margin={"b": 20})


def network_region(
    table: pd.DataFrame,
    ceilings: pd.DataFrame,
    label: str = "Spearman ρ",
    *,
    order: Sequence[str] = HIERARCHY,
    title: str,
) -> go.Figure:
    """Show how like each region every network is: a panel per region, a row per condition.

    Parameters
    ----------
    table : DataFrame
        From `metrics.intervals`: ``a`` conditions, ``a_source`` among `SOURCES`, ``b`` regions.
    ceilings : DataFrame
        From `metrics.rdm_noise_ceiling`: the grey band, ``lower`` to ``upper`` (or the panel's edge); a panel without
        says so.
    label : str
        The similarity.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If a table is empty or lacks a column, a source is unknown, or a region has no ceiling.
    """
    check_drawable(table, ("a_source", "a", "b", "similarity", "ci_low", "ci_high"))
    check_drawable(ceilings, ("region", "lower", "upper"))
    check_names(table["a_source"], SOURCES, "a_source")
    regions, names = ordered(table["b"], order), ordered(table["a"], order)
    check_names(table["b"], ceilings["region"], "b")
    bands, places = ceilings.set_index("region"), axis_places(names, order)
    titles = [f"<b>{region}</b>" + ", no ceiling" * bool(bands["lower"].isna()[region]) for region in regions]
    row = 40 + 34 * max(len(names), 5)  # at least the title of the axis
    fig, panel_of = panels(title, len(regions), heads=titles, row=row, shared_yaxes=True, horizontal_spacing=0.012)
    sources = [source for source in SOURCES if source in set(table["a_source"])]
    for region, panel in zip(regions, panel_of, strict=True):
        for row in table[table["b"] == region].to_dict("records"):
            name, source = row["a"], row["a_source"]
            y = places[name] + 0.26 * (sources.index(source) - (len(sources) - 1) / 2)
            bars = error_bars(row, "similarity", color(name, order), "cross")
            look = {"marker": _marker(name, source, 8, order), "error_x": bars, "showlegend": False}
            add_point(fig, f"{SOURCES[source]}: {name}", row["similarity"], y, **look, **panel)
        fig.add_vline(x=0, line=DOTTED, **panel)
        low, high = bands.loc[region, ["lower", "upper"]]
        if low <= high:  # neither is missing
            fig.add_vrect(low, high, fillcolor="#dcdcdc", line_width=0, layer="below", **panel)
        if region in places:
            y, tint = places[region], faded(color(region, order), 0.16)
            fig.add_hrect(y - 0.5, y + 0.5, fillcolor=tint, line_width=0, layer="below", **panel)
    _source_legend(fig, sources)
    bounds = pd.concat([table["ci_low"], table["ci_high"], ceilings["lower"]])
    fig.update_xaxes(range=padded(bounds.to_frame()), nticks=3, tickfont_size=11)
    fig.update_xaxes(title_text=label, **panel_of[len(regions) // 2])  # once: a panel may be narrower than it
    fig.update_yaxes(tickvals=list(places.values()), ticktext=list(places), range=[max(places.values()) + 0.7, -0.7])
    return fig.update_yaxes(title_text=conditions_title(names), col=1)


def similarity_heatmap(
    table: pd.DataFrame, label: str = "Spearman ρ", *, order: Sequence[str] = HIERARCHY, title: str
) -> go.Figure:
    """Show the similarity of every two RDMs, grouped by what the features are.

    Parameters
    ----------
    table : DataFrame
        From `metrics.intervals`, of a list of RDMs with itself.
    label : str
        The similarity.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty or lacks a column, or a source is unknown.
    """
    check_drawable(table, ("a_source", "a", "b_source", "b", "similarity", "ci_low", "ci_high"))
    check_names(table["a_source"], SOURCES, "a_source")
    groups = {source: ordered(table.loc[table["a_source"] == source, "a"], order) for source in SOURCES}
    keys = [(source, name) for source, names in groups.items() for name in names]
    words = [f"{label} = {interval_text(r.similarity, r.ci_low, r.ci_high)}" for r in table.itertuples()]
    cells = table.assign(words=words).pivot(index=["a_source", "a"], columns=["b_source", "b"])
    similarity, said = (cells[part].reindex(index=keys, columns=keys) for part in ("similarity", "words"))
    z = similarity.to_numpy(float, copy=True)
    np.fill_diagonal(z, np.nan)  # an RDM is like itself: nothing to see
    name_of = [f"{SOURCES[source]}: {name}" for source, name in keys]
    fig = new_figure(title, "", "")
    fig.add_heatmap(
        z=z,
        colorscale=SEQUENTIAL,
        text=np.array(name_of)[:, None].repeat(len(keys), 1),
        customdata=said.to_numpy(),
        hovertemplate="%{text} with %{x}: %{customdata}<extra></extra>",
        colorbar={"title": label},
    )
    ticks = {"tickvals": np.arange(len(keys)), "ticktext": [name for _, name in keys], "tickfont": {"size": 11}}
    fig.update_xaxes(ticks, tickangle=-90, showline=False)
    fig.update_yaxes(ticks, autorange="reversed", showgrid=False, showline=False)
    _group_marks(fig, groups)
    return tall(fig, 15 * len(keys), above=25)


def rdm_map(places: pd.DataFrame, *, order: Sequence[str] = HIERARCHY, title: str) -> go.Figure:
    """Show RDMs as points of a plane; near points are like geometries. The title says how true the plane is.

    Parameters
    ----------
    places : DataFrame
        From `metrics.mds`: ``source`` (among `SOURCES`), ``name``, ``x``, ``y``, ``stress``.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty or lacks a column, or a source is unknown.
    """
    check_drawable(places, ("source", "name", "x", "y", "stress"))
    check_names(places["source"], SOURCES, "source")
    fig = new_figure(f"{title}<br><sup>stress-1 = {places['stress'].iloc[0]:.2f}; axes have no meaning</sup>", "", "")
    tall(fig, 600).update_layout(legend2=BESIDE, margin={"l": 20, "b": 45, "r": 170})
    sources = [source for source in SOURCES if source in set(places["source"])]
    for _, part in places[places["source"].isin(["pooled", "neural"])].groupby("name", sort=False):
        line = {"color": faded(color(part["name"].iloc[0], order), 0.35), "width": 1}
        fig.add_scatter(x=part["x"], y=part["y"], mode="lines", line=line, hoverinfo="skip", showlegend=False)
    for row in places.to_dict("records"):
        name, source = row["name"], row["source"]
        look = {"marker": _marker(name, source, 11, order), "showlegend": False}
        add_point(fig, f"{SOURCES[source]}: {name}", row["x"], row["y"], **look)
    _source_legend(fig, sources)
    for name in ordered(places["name"], order):
        add_key(fig, name, _marker(name, "pooled", 10, order), legend="legend2")
    x_range, y_range = _true_to_scale(places[["x", "y"]], plot_size(fig))
    blank = {"showticklabels": False, "ticks": "", "showgrid": False, "mirror": True, "linecolor": "#cfcfcf"}
    blank["constrain"] = "domain"  # a wider figure has margins: distances mean something
    fig.update_xaxes(blank, range=x_range).update_yaxes(blank, range=y_range, scaleanchor="x")
    measured = places[places["source"] == "measured"]
    points, targets = (table[["x", "y"]].to_numpy() for table in (places, measured))
    place_labels(fig, targets, points, list(measured["name"]), stretched=False)
    return fig


def _true_to_scale(points: pd.DataFrame, size: np.ndarray) -> tuple[list[float], list[float]]:
    """Ranges of x and y in which a unit is as long on either axis of a plot of this size, in pixels."""
    low, high = points.min().to_numpy(), points.max().to_numpy()
    unit = 1.15 * np.max((high - low) / size)
    x, y = ([float(m - half), float(m + half)] for m, half in zip((low + high) / 2, unit * size / 2, strict=True))
    return x, y


def _marker(name: str, source: str, size: float, order: Sequence[str], ink: str = "") -> dict[str, Any]:
    """Return a marker of the condition's colour, or of another ink, and symbol, in the source's form."""
    ink, shape = ink or color(name, order), symbol(name, order)
    opening, scale = _FORMS[source]
    if opening:
        shape = shape.removesuffix("-open") + opening
    line = {"width": 2.5, "color": INK} if source == "measured" else {"width": 1.5, "color": ink}
    return {"symbol": shape, "color": ink, "size": scale * size, "line": line}


def _source_legend(fig: go.Figure, sources: Sequence[str]) -> None:
    for source in sources:
        add_key(fig, SOURCES[source], _marker("V1", source, 10, HIERARCHY, "#777777"))


def _percentiles(matrix: np.ndarray) -> np.ndarray:
    """Replace distances by their percentile among those above the diagonal; the diagonal is 0."""
    upper = np.triu_indices(len(matrix), 1)
    shown = np.zeros_like(matrix)
    shown[upper] = 100 * pd.Series(matrix[upper]).rank(pct=True)
    return shown + shown.T


def _category_ticks(categories: np.ndarray) -> dict[str, Any]:
    """Tick in the middle of each run of sorted categories; of many, every other one, or fewer."""
    names, first, counts = np.unique(categories, return_index=True, return_counts=True)
    shown = slice(None, None, -(-len(names) // _NAMED))
    ticks = {"tickvals": (first + (counts - 1) / 2)[shown], "ticktext": names[shown]}
    return {**ticks, "showticklabels": True, "tickfont": {"size": 11}}


def _group_marks(fig: go.Figure, groups: Mapping[str, Sequence[str]]) -> None:
    """Draw lines between the sources of a heat map, and their names above."""
    start = -0.5
    for source, names in groups.items():
        end = start + len(names)
        if names:
            text = SOURCES[source].replace(", ", ",<br>").replace("'s ", "'s<br>")
            fig.add_annotation(
                x=(start + end) / 2, y=1, yref="paper", yanchor="bottom", text=text, showarrow=False, font={"size": 12}
            )
        if 0 < end < sum(map(len, groups.values())) - 0.5:
            for line in (fig.add_vline, fig.add_hline):
                line(end, line={"color": "white", "width": 3})
        start = end
