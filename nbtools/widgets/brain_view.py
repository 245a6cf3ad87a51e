"""The brain view: click a region, see its noise ceilings, its predictor's scores and the images that drive it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import ipywidgets as widgets
import plotly.graph_objects as go

from nbtools.conditions import HIERARCHY
from nbtools.data.brains.anatomy import PLANES, RegionVolume, Surface, slices
from nbtools.data.images.sets import ImageSet
from nbtools.plots.brain.anatomy import TRACES_PER_SLICE, region_view, surface_view
from nbtools.widgets import brain_state, parts
from nbtools.widgets.brain_state import BrainState, BrainTables
from nbtools.widgets.parts import Pointed

_HALF = 560  # pixels: two surfaces stand side by side
_NO_SURFACE = "This study has no cortical surface (nsddata/freesurfer): the slices are all there is."
_NAME = "Brain view"
_HINT = (
    "Click a region in a slice, or choose it in the list; the sliders move the slices. Below: how well its voxels were "
    "measured and predicted, and which images drive it most and least."
)
_AXES = {"x": "left → right", "y": "back → front", "z": "down → up"}


class BrainView(parts.Explorer):
    """Show the regions on three slices (and surfaces), and what is known about the one chosen.

    A click on a slice or a surface chooses a voxel and its region; so do, from the keyboard, the list of regions
    and the sliders of the three slices.

    Parameters
    ----------
    volume : RegionVolume
        From `nbtools.data.brains.anatomy.load_volume`.
    tables : BrainTables
        What the notebooks found out about its regions.
    images : ImageSet
        The images of ``tables.drive``.
    surfaces : sequence of Surface
        From `nbtools.data.brains.anatomy.load_surfaces`; without any a note says so.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If a table lacks a region, or an image is missing.
    """

    def __init__(
        self,
        volume: RegionVolume,
        tables: BrainTables,
        images: ImageSet,
        surfaces: Sequence[Surface] = (),
        *,
        order: Sequence[str] = HIERARCHY,
        title: str,
    ):
        brain_state.check_tables(volume, tables)
        self.volume, self.tables, self.images = volume, tables, images
        self.order, self.title = order, title
        self.state = state = brain_state.pick_region(volume, volume.names[-1])
        sizes = zip(_AXES.items(), volume.labels.shape, state.at, strict=True)
        sliders = {axis: parts.slider(name, n - 1, place) for (axis, name), n, place in sizes}
        self.controls = parts.Controls(self._chosen, region=parts.choice("region", volume.names, state.roi), **sliders)
        self.figure = parts.LiveFigure(self._drawn(), self._pointed)
        drawn = [surface_view(surface, order=order, title=title).update_layout(width=_HALF) for surface in surfaces]
        self.surfaces = [
            parts.LiveFigure(figure, partial(self._pointed_surface, surface))
            for figure, surface in zip(drawn, surfaces, strict=True)
        ]
        self.words, self.driven = parts.caption(), widgets.HTML(layout=parts.FULL)
        self._say()
        under = widgets.HBox(self.surfaces, layout=parts.WRAPPED) if surfaces else parts.caption(_NO_SURFACE)
        shown = [self.controls.row(), self.figure, self.words, self.driven, under]
        super().__init__(shown, title=_NAME, hint=_HINT)

    def show(self, state: BrainState) -> None:
        """Bring every part to a state."""
        if state == self.state:
            return
        self.state = state
        self.controls.set(region=state.roi, **dict(zip(_AXES, state.at, strict=True)))
        self.figure.draw(self._drawn())
        self._say()

    def _drawn(self) -> go.Figure:
        tables, state, names = self.tables, self.state, self.volume.names
        shown = slices(self.volume, state.at), names, state.roi, tables.ceilings, tables.voxels, tables.pattern
        return region_view(*shown, order=self.order, title=self.title)

    def _say(self) -> None:
        parts.say(self.words, brain_state.describe(self.volume, self.tables, self.state))
        ends = brain_state.driving(self.tables, self.images, self.state.roi)
        rows = [parts.image_row(end.head, self.images[end.rows].to_numpy(), end.notes) for end in ends]
        self.driven.value = "".join(rows)

    def _chosen(self) -> None:
        chosen = self.controls.values()
        if chosen["region"] != self.state.roi:
            self._to_region(chosen["region"])
        else:
            self.show(brain_state.pick_voxel(self.volume, self.state, [chosen[axis] for axis in _AXES]))

    def _to_region(self, roi: str) -> None:
        if roi != self.state.roi:
            self.show(brain_state.pick_region(self.volume, roi))

    def _pointed(self, at: Pointed) -> None:
        plane, layer = divmod(at.trace, TRACES_PER_SLICE)
        if at.how == "click" and plane < len(PLANES) and layer < 2:  # what is below, and the regions
            place = brain_state.clicked(plane, at.x, at.y)
            self.show(brain_state.pick_voxel(self.volume, self.state, place))

    def _pointed_surface(self, surface: Surface, at: Pointed) -> None:
        if at.how == "click" and (label := surface.labels[at.index]):
            self._to_region(surface.names[label - 1])
