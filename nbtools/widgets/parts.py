"""What the explorers share: their frame, controls, figures that change in place, captions, tables and images.

An explorer has a module that knows no widget (``*_state``: what can be chosen, and the tables and sentences to show of
it) and one that draws. There, `Controls` hold what a reader chooses and tell of every change in one call; figures,
captions and tables are then shown anew in place; `Explorer` frames them all.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as widgets
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import traitlets

from nbtools.errors import InputError
from nbtools.plots.images import png_uri

_HERE = Path(__file__).parent
_DESCRIBED = {"style": {"description_width": "initial"}}
FULL = {"width": "100%"}
WRAPPED = {"flex_flow": "row wrap"}


def _script(name: str) -> str:
    return "".join((_HERE / f"{part}.js").read_text(encoding="utf-8") for part in ("shared", name))


class Explorer(widgets.VBox):
    """Parts in a column whose keys are its own: JupyterLab's shortcuts do not reach into it.

    Parameters
    ----------
    parts : sequence of Widget
        From top to bottom.
    """

    def __init__(self, parts: Sequence[widgets.Widget]):
        super().__init__([*parts, _page()], layout=FULL)
        self.add_class("nbtools-explorer")


class Controls:
    """Controls by name: what a reader changes in any of them is heard in one place.

    Parameters
    ----------
    changed : callable
        Called after a reader has changed a control; not where `set` has.
    **named : Widget
        With a ``value``.
    """

    def __init__(self, changed: Callable[[], None], **named: widgets.Widget):
        self.named = named
        self._changed, self._quiet = changed, False
        for control in named.values():
            control.observe(self._heard, "value")

    def __getitem__(self, name: str) -> widgets.Widget:
        return self.named[name]

    def values(self) -> dict[str, Any]:
        """Return what is chosen, by the controls' names."""
        return {name: control.value for name, control in self.named.items()}

    def set(self, **values: object) -> None:
        """Show other values in the controls."""
        with self.quietly():
            for name, value in values.items():
                self.named[name].value = value

    def row(self) -> widgets.HBox:
        """Return the controls side by side, in their order."""
        return widgets.HBox(list(self.named.values()), layout=WRAPPED)

    @contextmanager
    def quietly(self) -> Iterator[None]:
        """Hear no change meanwhile."""
        self._quiet = True
        try:
            yield
        finally:
            self._quiet = False

    def _heard(self, _change: object) -> None:
        if not self._quiet:
            self._changed()


class _Page(anywidget.AnyWidget):
    """What the explorers of a page share; nothing to see."""

    _esm = _script("page")
    plotly = traitlets.Unicode().tag(sync=True)


@cache
def _page() -> _Page:
    return _Page(plotly=str(go.FigureWidget._esm))


class LiveFigure(go.FigureWidget):
    """A figure that changes in place, inside an `Explorer`: the page's one copy of plotly draws it.

    Make it of a whole figure: Voila loses a layout that is set afterwards.
    """

    _esm = _script("figure")


def redraw(widget: go.FigureWidget, figure: go.Figure) -> None:
    """Show another figure in a widget. Where the traces are of the same kinds they are changed, not replaced."""
    same = [t.type for t in widget.data] == [t.type for t in figure.data]
    with widget.batch_update():
        if same:
            for old, new in zip(widget.data, figure.data, strict=True):
                old.update({k: v for k, v in new.to_plotly_json().items() if k != "type"}, overwrite=True)
        else:
            widget.data = ()
            widget.add_traces(figure.data)
        layout = {name: value for name, value in figure.layout.to_plotly_json().items() if name != "template"}
        widget.layout.update(layout, overwrite=True)


def fill(box: widgets.Box, figure: go.Figure | None) -> None:
    """Show a figure in a box; None hides the box. One figure widget stays: a closed one fails on the page."""
    box.layout.display = "none" if figure is None else None
    if figure is None:
        return
    if box.children:
        redraw(box.children[0], figure)
    else:
        box.children = [LiveFigure(figure)]


def caption(text: str = "") -> widgets.HTML:
    """Return a caption: it says in words what a figure shows, for those who cannot see it too."""
    made = widgets.HTML(layout=FULL)
    say(made, text)
    return made


def say(made: widgets.HTML, text: str) -> None:
    """Put another text into a caption; screen readers read it out (`aria-live`)."""
    made.value = f'<p role="status" aria-live="polite" style="max-width:56em;line-height:1.4">{html.escape(text)}</p>'


@contextmanager
def drawing(box: widgets.Box, words: widgets.HTML) -> Iterator[None]:
    """Where a figure cannot be drawn, hide its box, and say in its caption what is wrong and what to do."""
    try:
        yield
    except InputError as error:
        fill(box, None)
        lines = str(error).splitlines()
        say(words, f"{lines[0]}: {lines[-1].split('to do:')[-1].strip()}.")


def choice(name: str, options: Sequence, value: object) -> widgets.Dropdown:
    """Return a drop-down list of named options; arrow keys and letters move it."""
    return widgets.Dropdown(options=options, value=value, description=name, **_DESCRIBED)


def slider(name: str, top: int, value: int) -> widgets.IntSlider:
    """Return a slider from 0 to `top`; arrow keys move it."""
    return widgets.IntSlider(value=value, min=0, max=top, description=name, **_DESCRIBED)


def number(name: str, top: int, value: int) -> widgets.BoundedIntText:
    """Return a field for a whole number from 0 to `top`."""
    return widgets.BoundedIntText(value=value, min=0, max=top, description=name, **_DESCRIBED)


def words_field(name: str, hint: str) -> widgets.Text:
    """Return a field for words; it counts when Enter is pressed or the field is left."""
    return widgets.Text(description=name, placeholder=hint, continuous_update=False, **_DESCRIBED)


def several(name: str, options: Sequence, value: Sequence) -> widgets.SelectMultiple:
    """Return a list to choose several from (with Ctrl and Shift, or Space)."""
    rows = max(1, min(len(options), 6))
    return widgets.SelectMultiple(options=options, value=tuple(value), description=name, rows=rows, **_DESCRIBED)


def table_html(head: str, table: pd.DataFrame, number: str) -> str:
    """Return HTML for a table that reads in light and dark themes: it takes the page's own colours.

    Parameters
    ----------
    head : str
        HTML above the table.
    table : DataFrame
        Its index is not shown; without a row there is only the head.
    number : str
        Format of a float, such as ``"{:.2f}"``.
    """
    look = (
        ".nbtools-table table{border-collapse:collapse;font-size:13px}"
        ".nbtools-table td,.nbtools-table th{padding:3px 10px;text-align:right;border-bottom:1px solid #8884}"
        ".nbtools-table td:first-child,.nbtools-table th:first-child{text-align:left}"
    )
    body = table.to_html(index=False, na_rep="", float_format=number.format, border=0) if len(table) else ""
    frame = '<div class="nbtools-table" style="overflow:auto;max-height:420px">'
    return f"<style>{look}</style>{frame}<p>{head}</p>{body}</div>"


def image_row(head: str, images: np.ndarray, notes: Sequence[str], side: int = 84) -> str:
    """Return HTML for a row of images, a note below each, which is its alternative text too.

    Parameters
    ----------
    head : str
        Above the row.
    images : uint8 array (n, height, width, 3)
        RGB pixels; shown crisp.
    notes : sequence of str (n,)
        A note per image.
    side : int
        Of an image on the screen, in pixels.
    """
    tiles = "".join(
        f'<figure style="margin:0 8px 8px 0;width:{side}px;display:inline-block;vertical-align:top">'
        f'<img src="{png_uri(image)}" alt="{html.escape(note, quote=True)}" width="{side}" height="{side}" '
        'style="image-rendering:pixelated;display:block">'
        f'<figcaption style="font-size:11px;line-height:1.3">{html.escape(note)}</figcaption></figure>'
        for image, note in zip(images, notes, strict=True)
    )
    above = f'<p style="margin:4px 0"><b>{html.escape(head)}</b></p>' if head else ""
    return f"<div>{above}{tiles}</div>"
