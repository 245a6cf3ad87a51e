"""What crosses between page and kernel: an image or file comes in, code and a saved state go out."""

from __future__ import annotations

from pathlib import Path

import anywidget
import traitlets

from nbtools.data.images.own import MAX_BYTES

_HERE = Path(__file__).parent


class Tray(anywidget.AnyWidget):
    """Thumbnails to choose from, and a place to drop a file on.

    Attributes
    ----------
    thumbnails : list of dict
        ``id``, ``source`` (data URI) and ``text`` of each image.
    value : str
        Id of the chosen one.

    Notes
    -----
    A dropped file arrives as a message ``{"name", "size"}`` with its bytes as the only buffer, or without a buffer
    if it is larger than `limit`.
    """

    _esm = (_HERE / "tray.js").read_text(encoding="utf-8")
    thumbnails = traitlets.List(traitlets.Dict()).tag(sync=True)
    value = traitlets.Unicode().tag(sync=True)
    limit = traitlets.Int(MAX_BYTES).tag(sync=True)


class Outbox(anywidget.AnyWidget):
    """Buttons that copy the code and save the state.

    Attributes
    ----------
    code, state : str
        What they give.
    """

    _esm = (_HERE / "outbox.js").read_text(encoding="utf-8")
    code = traitlets.Unicode().tag(sync=True)
    state = traitlets.Unicode().tag(sync=True)
