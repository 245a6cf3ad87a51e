"""Many small images as one PNG: a page shows a part of it."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

Files = dict[str, str | bytes]  # what a page is made of: path from its folder → what is in it


def sprite(images: np.ndarray) -> tuple[bytes, dict[str, int]]:
    """Put images side by side, row by row.

    Parameters
    ----------
    images : uint8 array (n, height, width, 3)
        RGB pixels.

    Returns
    -------
    bytes
        A PNG.
    dict
        ``columns`` and ``rows`` of images in it.
    """
    n, height, width, _ = images.shape
    columns = int(np.ceil(n**0.5))
    rows = -(-n // columns)
    sheet = np.zeros((rows * columns, height, width, 3), np.uint8)
    sheet[:n] = images
    sheet = sheet.reshape(rows, columns, height, width, 3).swapaxes(1, 2).reshape(rows * height, columns * width, 3)
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, format="png", optimize=True)
    return buffer.getvalue(), {"columns": columns, "rows": rows}
