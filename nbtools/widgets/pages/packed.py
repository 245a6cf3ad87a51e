"""Arrays and words as a script: the one kind of file that a page opened from a disk may still read.

A browser lets a page from ``file://`` fetch nothing, neither ``.bin`` nor ``.json``, and read no pixel of an image
beside it; a ``<script>`` it does load. So arrays travel as deflated bytes in base64, behind an index in JSON.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from nbtools.plots.looks import color, dash, symbol

KINDS = ("uint8", "int8", "uint16", "float32")  # as typed arrays of JavaScript are called, but for the capital


def packed(name: str, index: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """Return the script that brings a page arrays and what else there is to know.

    Parameters
    ----------
    name : str
        Of the file, without ``.js``: a page asks for it by that.
    index : mapping
        Words, numbers and lists; a NaN becomes null.
    arrays : mapping of name → array
        Of one of `KINDS`.
    """
    places, blobs, end = {}, [], 0
    for key, array in arrays.items():
        kind = KINDS[[np.dtype(kind) for kind in KINDS].index(array.dtype)]
        places[key] = {"kind": kind, "shape": array.shape, "at": end}
        blob = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"))).tobytes()
        blobs += [blob, bytes(-len(blob) % 4)]  # a typed array begins at a multiple of its size
        end += len(blob) + len(blobs[-1])
    said = json.dumps(_plain({**index, "arrays": places}), separators=(",", ":"), allow_nan=False)
    text = base64.b64encode(zlib.compress(b"".join(blobs), 9)).decode()
    return f'take({json.dumps(name)},{said},"{text}");\n'


def rows(table: pd.DataFrame) -> dict[str, list[Any]]:
    """Return a table as a list for each column."""
    return {str(name): table[name].tolist() for name in table}


def looks(names: Sequence[str], order: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return each condition's fixed look: ``color`` (hex), ``symbol`` and ``dash`` as plotly calls them."""
    return {
        name: {"color": color(name, order), "symbol": symbol(name, order), "dash": dash(name)}
        for name in dict.fromkeys(names)
    }


def _plain(value: Any) -> Any:
    """Return what JSON can hold: NumPy's numbers as Python's, NaN as None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and value != value:
        return None
    return value
