"""The geometry explorer: two spaces side by side, their RDMs, maps of images, and class manifolds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import ipywidgets as widgets
import plotly.graph_objects as go

from nbtools.data.images.sets import ImageSet
from nbtools.plots.spaces import class_manifolds, rdms_and_maps
from nbtools.widgets import geometry_state
from nbtools.widgets.geometry_state import GeometryState, SpaceTables
from nbtools.widgets.parts import (
    FULL,
    WRAPPED,
    Explorer,
    caption,
    choice,
    fill,
    image_row,
    live,
    number,
    redraw,
    say,
    table_html,
)


class GeometryExplorer(Explorer):
    """Compare two spaces: hover over a cell of an RDM, or type the places of two images, to see both.

    Parameters
    ----------
    tables : SpaceTables
        Of the spaces to choose from.
    images : ImageSet
        Those of the RDMs, and others.
    classes : mapping of image id → str
        Class names, where they are known.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If an image is missing.
    """

    def __init__(self, tables: SpaceTables, images: ImageSet, classes: Mapping[Any, str], *, title: str):
        self.tables, self.title = tables, title
        self.pixels = images[images.rows(tables.image_ids)].to_numpy()
        self.notes = geometry_state.notes(tables, dict(classes))
        self.state = state = geometry_state.first_state(tables)
        self.left, self.right = choice("left", tables.spaces, state.left), choice("right", tables.spaces, state.right)
        top = len(tables.image_ids) - 1
        self.first, self.second = number("first image", top, state.first), number("second image", top, state.second)
        self.figure = live(self._drawn())
        self.manifolds = widgets.Box(layout=FULL)
        self.pair, self.pair_words, self.words = widgets.HTML(), caption(), caption()
        # Room for the longest words: the figure must not move under the mouse.
        self.pair.layout, self.pair_words.layout = {"min_height": "176px"}, {**FULL, "min_height": "64px"}
        self.radii = widgets.HTML(layout=FULL)
        self._say_pair()
        self._say_spaces()
        self._listen()
        choose = widgets.HBox([self.left, self.right, self.first, self.second], layout=WRAPPED)
        shown = [choose, self.pair_words, self.pair, self.figure, self.words, self.manifolds, self.radii]
        super().__init__(shown)

    def show(self, state: GeometryState) -> None:
        """Bring every part to a state."""
        old, self.state = self.state, state
        controls = ((self.left, "left"), (self.right, "right"), (self.first, "first"), (self.second, "second"))
        for control, name in controls:
            control.value = getattr(state, name)
        self._say_pair()
        if (old.left, old.right) != (state.left, state.right):
            redraw(self.figure, self._drawn())
            self._say_spaces()

    def _chosen(self) -> dict[str, str]:
        """Name the panels; a space that is chosen twice is shown twice."""
        state = self.state
        return {state.left: state.left, state.right + " " * (state.left == state.right): state.right}

    def _drawn(self) -> go.Figure:
        chosen, tables = self._chosen(), self.tables
        rdms = {panel: tables.rdm(space) for panel, space in chosen.items()}
        maps = {panel: tables.of("maps", space) for panel, space in chosen.items()}
        return rdms_and_maps(rdms, maps, self.pixels, self.notes, title=self.title)

    def _classed(self) -> dict[str, str]:
        return {panel: space for panel, space in self._chosen().items() if len(self.tables.of("manifolds", space))}

    def _clouds(self) -> go.Figure:
        components = {panel: self.tables.of("components", space) for panel, space in self._classed().items()}
        geometry = {panel: self.tables.of("manifolds", space) for panel, space in self._classed().items()}
        return class_manifolds(components, geometry, title=self.title)

    def _say_pair(self) -> None:
        chosen = [self.state.first, self.state.second]
        self.pair.value = image_row("", self.pixels[chosen], [self.notes[place] for place in chosen], side=112)
        say(self.pair_words, geometry_state.describe_pair(self.tables, self.state))

    def _say_spaces(self) -> None:
        fill(self.manifolds, self._clouds() if self._classed() else None)
        say(self.words, geometry_state.describe_spaces(self.tables, self.state))
        self.radii.value = table_html(geometry_state.manifold_table(self.tables, self.state))

    def _listen(self) -> None:
        for name in ("left", "right", "first", "second"):
            getattr(self, name).observe(partial(self._set, name), "value")
        for heatmap in self.figure.data[:2]:
            heatmap.on_hover(self._pointed)
            heatmap.on_click(self._pointed)

    def _set(self, name: str, change: Any) -> None:
        if change.new != getattr(self.state, name):
            self.show(replace(self.state, **{name: change.new}))

    def _pointed(self, _trace: object, points: Any, _event: object) -> None:
        if points.xs:
            self.show(geometry_state.pick_pair(self.tables, self.state, points.ys[0], points.xs[0]))
