"""Figures of two spaces side by side: their RDMs, maps of their images, and their class manifolds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from nbtools.errors import InputError
from nbtools.plots.images import png_uri
from nbtools.plots.style import BARE, SEQUENTIAL, Panel, panels
from nbtools.plots.tables import check_drawable

# Okabe and Ito's palette, which colour-blind eyes tell apart, and a marker besides: 56 classes before a look repeats.
_COLORS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#000000")
_SYMBOLS = ("circle", "square", "diamond", "cross", "x", "circle-open", "square-open", "diamond-open")
_TILE = 0.075  # an image's side on a map, as a share of the map's


def rdms_and_maps(
    rdms: Mapping[str, np.ndarray],
    maps: Mapping[str, pd.DataFrame],
    images: np.ndarray,
    notes: Sequence[str],
    *,
    title: str,
) -> go.Figure:
    """Show spaces side by side: the RDM of each above, the map of its images below.

    Parameters
    ----------
    rdms : mapping of space → (n_images, n_images) array
        Shown as ranks among the pairs, from 0 to 1, so that colours can be compared.
    maps : mapping of space → DataFrame
        From `metrics.geometry.embedding.image_map`, rows in the order of the images.
    images : uint8 array (n_images, height, width, 3)
        RGB pixels.
    notes : sequence of str (n_images,)
        What a hover says of each image.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If RDMs, maps, images and notes do not fit.
    """
    n = len(images)
    fits = len(notes) == n and rdms.keys() == maps.keys() and all(m.shape == (n, n) for m in rdms.values())
    if not fits or not all(len(part) == n for part in maps.values()):
        raise InputError(
            "RDMs, maps and images do not fit",
            expected=f"an RDM ({n}, {n}) and a map of {n} rows for each space, {n} notes",
            got=f"RDMs {[m.shape for m in rdms.values()]}, maps {list(map(len, maps.values()))}, {len(notes)} notes",
            fix="take all of them over the same images",
        )
    heads = [f"<b>{name}</b>" for name in rdms]
    heads += [f"stress {part['stress'].iloc[0]:.2f}" for part in maps.values()]
    n_spaces = len(rdms)
    fig, places = panels(title, 2 * n_spaces, n_spaces, heads=heads, row=360, gap=10, horizontal_spacing=0.04)
    for name, place in zip(rdms, places[:n_spaces], strict=True):
        _rdm(fig, rdms[name], notes, place)
    sources = [png_uri(image) for image in images]
    for name, place in zip(rdms, places[n_spaces:], strict=True):
        _map(fig, maps[name], sources, notes, place)
    return fig.update_layout(showlegend=False, height=fig.layout.height - 50, margin={"b": 20, "l": 20})


def class_manifolds(
    components: Mapping[str, pd.DataFrame], geometry: Mapping[str, pd.DataFrame], *, title: str
) -> go.Figure:
    """Show class manifolds of spaces side by side, in their top three components; each can be turned.

    Parameters
    ----------
    components : mapping of space → DataFrame
        From `metrics.geometry.embedding.top_components`.
    geometry : mapping of space → DataFrame
        ``label``, ``radius``, ``dimension``; their means stand above.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If a table is empty or lacks a column.
    """
    heads = []
    for name in components:
        check_drawable(components[name], ("label", "c1", "c2", "c3", "share"))
        check_drawable(geometry[name], ("label", "radius", "dimension"))
        means = geometry[name][["radius", "dimension"]].mean()
        share = components[name]["share"].iloc[0]
        text = f"mean radius {means['radius']:.2f}, dimension {means['dimension']:.1f}"
        heads.append(f"<b>{name}</b>: {text}<br>these components hold {share:.0%} of the variance")
    fig, places = panels(title, len(heads), heads=heads, kind="scene", row=370, horizontal_spacing=0.02)
    labels = sorted({str(label) for part in components.values() for label in part["label"]})
    for part, place in zip(components.values(), places, strict=True):
        for i, label in enumerate(labels):
            points = part[part["label"].astype(str) == label]
            marker = {"size": 4, "color": _COLORS[i % len(_COLORS)], "symbol": _SYMBOLS[i % len(_SYMBOLS)]}
            look = {"name": label, "legendgroup": label, "showlegend": place == places[0], "marker": marker}
            said = [f"image {name}" for name in points["image_id"]]
            hover = {"text": said, "hovertemplate": "%{text}<extra>" + label + "</extra>"}
            fig.add_scatter3d(x=points["c1"], y=points["c2"], z=points["c3"], mode="markers", **hover, **look, **place)
    axis = {"showticklabels": False, "backgroundcolor": "white", "gridcolor": "#d9d9d9", "showspikes": False}
    axes = {f"{a}axis": {**axis, "title": {"text": f"component {k}"}} for k, a in enumerate("xyz", start=1)}
    fig.update_scenes(**axes, aspectmode="cube", camera={"eye": {"x": 1.7, "y": 1.7, "z": 1.1}})
    return fig.update_layout(legend_itemsizing="constant", margin={"l": 10, "r": 10})


def ranked(rdm: np.ndarray) -> np.ndarray:
    """Turn an RDM (n, n) into ranks among its pairs, from 0 (the most alike) to 1; the diagonal is NaN."""
    n = len(rdm)
    first, second = np.triu_indices(n, k=1)
    ranks = np.full((n, n), np.nan)
    order = pd.Series(rdm[first, second]).rank() - 1
    ranks[first, second] = ranks[second, first] = order / max(len(first) - 1, 1)
    return ranks


def _rdm(fig: go.Figure, rdm: np.ndarray, notes: Sequence[str], panel: Panel) -> None:
    bar = {"title": {"text": "rank of<br>dissimilarity"}, "len": 0.42, "y": 0.78, "thickness": 14}
    said = np.array([[f"{a} · {b}" for b in notes] for a in notes], object)
    hover = "%{text}<br>dissimilarity %{customdata:.2f}<extra></extra>"
    look = {"colorscale": SEQUENTIAL, "zmin": 0, "zmax": 1, "colorbar": bar, "showscale": panel["col"] == 1}
    ranks = ranked(rdm)
    shown = ranks.astype(object)
    shown[np.isnan(ranks)] = None  # widgets cannot send NaN
    fig.add_heatmap(z=shown, text=said, customdata=rdm, hovertemplate=hover, **look, **panel)
    fig.update_xaxes(**BARE, constrain="domain", **panel)
    square = {"scaleanchor": fig.data[-1].xaxis, "autorange": "reversed"}
    fig.update_yaxes(**BARE, constrain="domain", **square, **panel)


def _map(fig: go.Figure, part: pd.DataFrame, sources: Sequence[str], notes: Sequence[str], panel: Panel) -> None:
    middle = part[["x", "y"]].to_numpy().mean(axis=0)
    reach = 1.08 * float(np.abs(part[["x", "y"]].to_numpy() - middle).max())
    marker = {"size": 24, "opacity": 0}
    look = {"mode": "markers", "marker": marker, "text": notes, "hovertemplate": "%{text}<extra></extra>"}
    fig.add_scatter(x=part["x"], y=part["y"], **look, **panel)
    across, up = fig.data[-1].xaxis, fig.data[-1].yaxis
    side = {"sizex": 2 * reach * _TILE, "sizey": 2 * reach * _TILE, "xanchor": "center", "yanchor": "middle"}
    for source, x, y in zip(sources, part["x"], part["y"], strict=True):
        fig.add_layout_image(source=source, x=x, y=y, xref=across, yref=up, **side, layer="above")
    bare = {"visible": False, "constrain": "domain"}
    fig.update_xaxes(range=[middle[0] - reach, middle[0] + reach], **bare, **panel)
    square = {"range": [middle[1] - reach, middle[1] + reach], "scaleanchor": across}
    fig.update_yaxes(**square, **bare, **panel)
