"""The geometry explorer: two spaces side by side, their RDMs, maps of images, and class manifolds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ipywidgets as widgets
import pandas as pd
import plotly.graph_objects as go

from nbtools.data.images.sets import ImageSet
from nbtools.plots.brain.spaces import class_manifolds, rdms_and_maps
from nbtools.widgets import geometry_state, parts
from nbtools.widgets.geometry_state import GeometryState, SpaceTables
from nbtools.widgets.parts import Pointed

_NAME = "Geometry explorer"
_HINT = (
    "Choose two spaces: regions, predictors, networks. Move the mouse over a cell of a dissimilarity matrix, or type "
    "the places of two images, to see which two it compares and how far apart each space holds them."
)
_CLASSED = "<b>Radius (relative to the centre's length) and dimension of each class manifold</b>"
_NOT_CLASSED = "The images of these spaces have no classes, so there are no class manifolds."


class GeometryExplorer(parts.Explorer):
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
        top = len(tables.image_ids) - 1
        self.controls = parts.Controls(
            self._chosen,
            left=parts.choice("left", tables.spaces, state.left),
            right=parts.choice("right", tables.spaces, state.right),
            first=parts.number("first image", top, state.first),
            second=parts.number("second image", top, state.second),
        )
        self.figure = parts.LiveFigure(self._drawn(), self._pointed)
        self.manifolds = widgets.Box(layout=parts.FULL)
        self.pair, self.pair_words, self.words = widgets.HTML(), parts.caption(), parts.caption()
        # Room for the longest words: the figure must not move under the mouse.
        self.pair.layout, self.pair_words.layout = {"min_height": "176px"}, {**parts.FULL, "min_height": "64px"}
        self.radii = widgets.HTML(layout=parts.FULL)
        self._say_pair()
        self._say_spaces()
        above = [self.controls.row(), self.pair_words, self.pair]
        super().__init__([*above, self.figure, self.words, self.manifolds, self.radii], title=_NAME, hint=_HINT)

    def show(self, state: GeometryState) -> None:
        """Bring every part to a state."""
        old, self.state = self.state, state
        self.controls.set(**vars(state))
        self._say_pair()
        if (old.left, old.right) != (state.left, state.right):
            self.figure.draw(self._drawn())
            self._say_spaces()

    def _of(self, table: str) -> dict[str, pd.DataFrame]:
        """Return each panel's rows of a table."""
        return {panel: self.tables.of(table, space) for panel, space in self._panels().items()}

    def _panels(self) -> dict[str, str]:
        """Name the panels; a space that is chosen twice is shown twice."""
        state = self.state
        return {state.left: state.left, state.right + " " * (state.left == state.right): state.right}

    def _drawn(self) -> go.Figure:
        rdms = {panel: self.tables.rdm(space) for panel, space in self._panels().items()}
        return rdms_and_maps(rdms, self._of("maps"), self.pixels, self.notes, title=self.title)

    def _clouds(self) -> go.Figure | None:
        """Draw the class manifolds of the spaces that have some."""
        geometry = {panel: table for panel, table in self._of("manifolds").items() if len(table)}
        components = {panel: table for panel, table in self._of("components").items() if panel in geometry}
        return class_manifolds(components, geometry, title=self.title) if geometry else None

    def _say_pair(self) -> None:
        chosen = [self.state.first, self.state.second]
        self.pair.value = parts.image_row("", self.pixels[chosen], [self.notes[place] for place in chosen], side=112)
        parts.say(self.pair_words, geometry_state.describe_pair(self.tables, self.state))

    def _say_spaces(self) -> None:
        parts.fill(self.manifolds, self._clouds())
        parts.say(self.words, geometry_state.describe_spaces(self.tables, self.state))
        radii = geometry_state.manifold_table(self.tables, self.state)
        self.radii.value = parts.table_html(_CLASSED if len(radii) else _NOT_CLASSED, radii, "{:.2f}")

    def _chosen(self) -> None:
        self.show(GeometryState(**self.controls.values()))

    def _pointed(self, at: Pointed) -> None:
        if at.trace < 2:  # the RDMs
            self.show(geometry_state.pick_pair(self.tables, self.state, at.y, at.x))
