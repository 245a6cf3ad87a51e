"""Figures of regions in the brain: three slices with one region's scores below them, and inflated surfaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.colors import hex_to_rgb

from nbtools.checks import as_names
from nbtools.conditions import HIERARCHY
from nbtools.data.brains.anatomy import PLANES, Slice, Surface
from nbtools.errors import InputError
from nbtools.plots.brain.responses import add_control, add_voxels
from nbtools.plots.looks import color
from nbtools.plots.style import BARE, DOTTED, TEMPLATE, Panel, faded, panels, tall, wrapped
from nbtools.plots.tables import check_drawable

_AXES = {"sagittal": ("back → front", "down → up"), "coronal": ("left → right", "down → up")}
_AXES["axial"] = ("left → right", "back → front")
_NAMED = "%{text}<extra></extra>"
_UNDER = [[0, "white"], [1, "#b5b5b5"]]
TRACES_PER_SLICE = 4  # what is below, the regions, the cross, the names
_SMALLEST_NAMED = 5  # voxels of a patch in a slice that has room for its region's name


def region_view(
    slices: Mapping[str, Slice],
    names: Sequence[str],
    roi: str,
    ceilings: pd.DataFrame,
    voxels: pd.DataFrame,
    pattern: pd.DataFrame,
    *,
    order: Sequence[str] = HIERARCHY,
    title: str,
) -> go.Figure:
    """Show three slices through the regions, and below them one region's noise ceilings and predictor's scores.

    The slices' traces come first, `TRACES_PER_SLICE` of each: by its place `widgets.brain_view` knows what is clicked.

    Parameters
    ----------
    slices : mapping of plane → Slice
        From `nbtools.data.brains.anatomy.slices`.
    names : sequence of str
        The regions, in the order of their labels.
    roi : str
        The region whose scores are shown.
    ceilings : DataFrame
        ``roi``, ``voxel``, ``noise_ceiling`` (percent of variance).
    voxels : DataFrame
        ``roi``, ``voxel``, ``r``, ``noise_ceiling``: the predictor's score in each voxel.
    pattern : DataFrame
        ``roi``, ``pattern_r``, ``control`` (``trained`` or ``shuffled``): the predictor's score for each image.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If a table lacks a column or the region.
    """
    names, of_region = as_names(names), []
    wanted = (("noise_ceiling",), ("r", "noise_ceiling"), ("pattern_r", "control"))
    for table, columns in zip((ceilings, voxels, pattern), wanted, strict=True):
        check_drawable(table, ("roi", *columns))
        of_region.append(table[table["roi"] == roi])
        check_drawable(of_region[-1], columns)
    heads = ["sagittal", "coronal", "axial", "noise ceilings", "prediction by voxel", "prediction by image"]
    fig, places = panels(
        title, len(heads), 3, heads=heads, row=240, gap=45, row_heights=[0.56, 0.44], horizontal_spacing=0.11
    )
    for plane, place in zip(PLANES, places, strict=False):
        _slice(fig, slices[plane], names, order, place)
        across, up = _AXES[plane]
        rows, columns = slices[plane].labels.shape
        square = {"scaleanchor": fig.data[-1].xaxis}
        fig.update_xaxes(title_text=across, range=[-0.5, columns - 0.5], constrain="domain", **BARE, **place)
        fig.update_yaxes(
            title_text=up,
            range=[-0.5, rows - 0.5],
            constrain="domain",
            constraintoward="top",
            **square,
            **BARE,
            **place,
        )
    for draw, part, place in zip((_ceilings, _voxels, _images), of_region, places[len(PLANES) :], strict=True):
        draw(fig, part, roi, order, place)
    return fig.update_layout(showlegend=False, bargap=0.05)


def surface_view(surface: Surface, *, order: Sequence[str] = HIERARCHY, title: str) -> go.Figure:
    """Show one hemisphere's inflated surface with its regions in their colours; it can be turned.

    Parameters
    ----------
    surface : Surface
        From `nbtools.data.brains.anatomy.load_surfaces`.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If no vertex belongs to a region.
    """
    from matplotlib.colors import ListedColormap  # these two take a second to import
    from nilearn import plotting

    if not (surface.labels > 0).any():
        raise InputError(
            "the surface has none of the regions",
            expected=f"a vertex in {', '.join(surface.names)}",
            got="none",
            fix="check that atlas and mesh belong together",
        )
    palette = ListedColormap([color(roi, order) for roi in surface.names])
    roi_map = np.where(surface.labels > 0, surface.labels, np.nan).astype(float)
    drawn = plotting.plot_surf_roi(
        [surface.coordinates, surface.faces],
        roi_map,
        bg_map=surface.sulc,
        hemi=surface.hemisphere,
        view="ventral",
        engine="plotly",
        cmap=palette,
        vmin=0.5,
        vmax=len(surface.names) + 0.5,
        colorbar=False,
    )
    fig = go.Figure(drawn.figure)
    named = [surface.names[label - 1] if label else "" for label in surface.labels]
    fig.data[0].update(text=named, hovertemplate=_NAMED)
    for roi in surface.names:
        marker = {"symbol": "square", "size": 12, "color": color(roi, order)}
        fig.add_scatter3d(x=[None], y=[None], z=[None], mode="markers", name=roi, marker=marker, showlegend=True)
    said = wrapped(f"{title}:<br>{surface.hemisphere} hemisphere, from below", 42)  # two of them stand side by side
    fig.update_layout(template=TEMPLATE, title_text=said, width=None)
    return tall(fig, 340).update_layout(margin={"l": 10, "r": 10})


def _slice(fig: go.Figure, cut: Slice, names: Sequence[str], order: Sequence[str], panel: Panel) -> None:
    fig.add_heatmap(z=cut.underlay, colorscale=_UNDER, zmin=0, zmax=1, showscale=False, hoverinfo="skip", **panel)
    n = len(names)
    steps = [[(i + end) / n, color(roi, order)] for i, roi in enumerate(names) for end in (0, 1)]
    shown = cut.labels.astype(object)
    shown[cut.labels == 0] = None  # widgets cannot send NaN
    said = np.array(["", *names], object)[cut.labels]
    look = {"colorscale": steps, "zmin": 0.5, "zmax": n + 0.5, "showscale": False, "hovertemplate": _NAMED}
    fig.add_heatmap(z=shown, text=said, **look, **panel)
    rows, columns = cut.labels.shape
    h, v = cut.cross
    cross = {"x": [h, h, None, -0.5, columns - 0.5], "y": [-0.5, rows - 0.5, None, v, v]}
    fig.add_scatter(**cross, mode="lines", line=DOTTED, hoverinfo="skip", **panel)
    x, y, text = _patches(cut.labels, names)
    # a name on every patch, so that no one needs the colours
    inks = [_readable(color(roi, order)) for roi in text]
    fig.add_scatter(x=x, y=y, text=text, mode="text", textfont={"size": 10, "color": inks}, hoverinfo="skip", **panel)


def _patches(labels: np.ndarray, names: Sequence[str]) -> tuple[list[float], list[float], list[str]]:
    """Return the middle (x, y) and region of every connected patch that has room for a name."""
    from scipy import ndimage  # imports slowly, and most figures do without

    x, y, text = [], [], []
    for number, roi in enumerate(names, start=1):
        patches, _ = ndimage.label(labels == number)
        sizes = np.bincount(patches.ravel())[1:]
        large = np.flatnonzero(sizes >= _SMALLEST_NAMED) + 1
        for row, column in ndimage.center_of_mass(patches > 0, patches, large):
            x.append(float(column))
            y.append(float(row))
            text.append(roi)
    return x, y, text


def _readable(fill: str) -> str:
    """Return black or white, whichever stands out on a hex colour."""
    red, green, blue = hex_to_rgb(fill)
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 140 else "black"


def _ceilings(fig: go.Figure, table: pd.DataFrame, roi: str, order: Sequence[str], panel: Panel) -> None:
    bins = {"start": 0, "end": 100, "size": 5}
    marker = {"color": faded(color(roi, order), 0.6), "line": {"width": 1, "color": color(roi, order)}}
    fig.add_histogram(x=table["noise_ceiling"], xbins=bins, name=roi, marker=marker, **panel)
    fig.update_xaxes(title_text="noise ceiling (% of variance)", range=[0, 100], **panel)
    fig.update_yaxes(title_text="voxels", **panel)


def _voxels(fig: go.Figure, table: pd.DataFrame, roi: str, order: Sequence[str], panel: Panel) -> None:
    add_voxels(fig, table, roi, order, **panel)
    fig.update_xaxes(title_text="ceiling of r, √(NC/100)", range=[-0.03, 1.03], **panel)
    fig.update_yaxes(title_text="r over images", range=[-0.4, 1.05], **panel)


def _images(fig: go.Figure, table: pd.DataFrame, roi: str, order: Sequence[str], panel: Panel) -> None:
    for control in ("trained", "shuffled"):
        add_control(fig, table, roi, control, order, name=control, **panel)
    fig.update_yaxes(title_text="pattern r", range=[-0.6, 1.05], **panel)
