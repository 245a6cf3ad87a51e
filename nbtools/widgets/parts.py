"""What the explorers share: their frame, controls, figures that change in place, captions, tables and images.

An explorer has a module that knows no widget (``*_state``: what can be chosen, and the tables and sentences to show of
it) and one that draws. There, `Controls` hold what a reader chooses and tell of every change in one call; figures,
captions and tables are then shown anew in place; `Explorer` frames them all.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as widgets
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import traitlets
from plotly.offline import get_plotlyjs

from nbtools.errors import InputError
from nbtools.plots.images import png_uri

_HERE = Path(__file__).parent
_DESCRIBED = {"style": {"description_width": "initial"}}
FULL = {
    "width": "100%",
    "margin": "2px 0",
}  # of the widgets' usual margin, what lies beside would make an output scroll
WRAPPED = {"flex_flow": "row wrap"}


def script(*names: str) -> str:
    """Return scripts of this folder, one after the other: together they are one module."""
    return "".join((_HERE / f"{name}.js").read_text(encoding="utf-8") for name in names)


def styles(name: str) -> str:
    """Return a style sheet of this folder."""
    return (_HERE / f"{name}.css").read_text(encoding="utf-8")


class Explorer(widgets.VBox):
    """Parts in a column, with a lamp that says whether the kernel hears; JupyterLab's shortcuts do not reach into it.

    Parameters
    ----------
    parts : sequence of Widget
        From top to bottom.
    title, hint : str
        What it is, and what one does with it; left out where a part says so itself.
    figures : bool
        Whether there are `LiveFigure`s among the parts.
    """

    def __init__(self, parts: Sequence[widgets.Widget], *, title: str = "", hint: str = "", figures: bool = True):
        said = f"<h2>{html.escape(title)}</h2><p>{html.escape(hint)}</p>"
        head = [widgets.HTML(f'<div class="nbtools-head">{said}</div>', layout=FULL)] if title else []
        super().__init__([*head, *parts, *([_plotly()] if figures else []), _page()], layout=FULL)
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


class _Plotly(anywidget.AnyWidget):
    """Plotly's script, once a page."""

    _esm = script("shared", "plotly")
    script = traitlets.Unicode().tag(sync=True)


@cache
def _plotly() -> _Plotly:
    return _Plotly(script=get_plotlyjs())


class _Page(anywidget.AnyWidget):
    """What the explorers of a page share; it answers whoever asks whether the kernel still hears."""

    _esm = script("page")
    _css = styles("style")

    def __init__(self, **traits: object):
        super().__init__(**traits)
        self.on_msg(lambda *_: self.send({}))


@cache
def _page() -> _Page:
    return _Page()


@dataclass(frozen=True)
class Pointed:
    """What the mouse is on in a figure: how (``click`` or ``hover``), the trace's place, x, y, the point's place."""

    how: str
    trace: int
    x: Any = None
    y: Any = None
    index: Any = None


class LiveFigure(anywidget.AnyWidget):
    """A figure that changes in place, inside an `Explorer`: every view of it, whenever made, draws its current state.

    Plotly's `FigureWidget` tells its views of changes and forgets them: one made later shows the first figure.

    Parameters
    ----------
    figure : Figure
        The first one.
    pointed : callable
        Called with a `Pointed` when a point is clicked or the mouse comes to it.

    Attributes
    ----------
    drawn : Figure
        What is shown. After a change to it call `draw`.
    """

    _esm = script("shared", "figure")
    _json = traitlets.Unicode().tag(sync=True)

    def __init__(self, figure: go.Figure, pointed: Callable[[Pointed], None] = lambda _: None):
        self.drawn = figure
        # Not afterwards: a view that comes before the message has no figure.
        super().__init__(layout={} if figure.layout.width else FULL, _json=figure.to_json())
        self.on_msg(lambda _, content, __: pointed(Pointed(**content)))

    def draw(self, figure: go.Figure) -> None:
        """Show this figure."""
        self.drawn = figure
        self._json = figure.to_json()


def fill(box: widgets.Box, figure: go.Figure | None) -> None:
    """Show a figure in a box; None hides the box. One widget stays, and what a reader has scrolled to with it."""
    box.layout.display = "none" if figure is None else None
    if figure is None:
        return
    if box.children:
        box.children[0].draw(figure)
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
    rows = max(1, min(len(options), 10))  # a list that scrolls is a scroller inside a page
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
    frame = '<div class="nbtools-table" style="overflow-x:auto">'
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
