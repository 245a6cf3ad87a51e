"""The comparison of networks: one table of all measures, and two of them, chosen from lists, against each other."""

from __future__ import annotations

from collections.abc import Sequence

import ipywidgets as widgets
import pandas as pd

from nbtools.conditions import HIERARCHY
from nbtools.plots.studies.compare import Bands, score_scatter, score_table
from nbtools.widgets import comparison_state, parts


class NetworkComparison(parts.Explorer):
    """Compare networks: the table is sorted by one measure, the figure has one along each axis.

    Parameters
    ----------
    table : DataFrame
        From `metrics.score_conditions`.
    bands : mapping of measure → (lower, upper)
        Noise ceilings.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty or lacks a column.
    """

    def __init__(self, table: pd.DataFrame, bands: Bands, *, order: Sequence[str] = HIERARCHY, title: str):
        self.scores, self.bands, self.order, self.title = table, bands, order, title
        measures, (x, y) = comparison_state.measures_in(table), comparison_state.first_axes(table)
        self.axes = parts.Controls(
            self._show, x=parts.choice("horizontal", measures, x), y=parts.choice("vertical", measures, y)
        )
        self.sorting = parts.Controls(self._sort, by=parts.choice("sorted by", measures, y))
        self.table, self.figure = widgets.HTML(layout=parts.FULL), widgets.Box(layout=parts.FULL)
        self.words = parts.caption()
        missing = parts.caption(comparison_state.describe_missing(table))
        self._sort()
        self._show()
        below = [self.axes.row(), self.figure, self.words]
        super().__init__([self.sorting.row(), self.table, missing, *below])

    def _sort(self) -> None:
        self.table.value = score_table(self.scores, self.sorting["by"].value, self.bands, order=self.order)

    def _show(self) -> None:
        chosen = self.axes.values()
        with parts.drawing(self.figure, self.words):
            drawn = score_scatter(self.scores, **chosen, bands=self.bands, order=self.order, title=self.title)
            parts.fill(self.figure, drawn)
            parts.say(self.words, comparison_state.describe_pair(self.scores, **chosen))
