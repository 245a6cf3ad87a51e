"""A figure's files in a run folder: a page that opens alone, offline, and pictures for papers and talks."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from nbtools.files import write_text

PICTURES = ("png", "svg")
_WIDTH, _HEIGHT, _SCALE = 1000, 500, 2  # of a picture in pixels, where its figure says nothing; of a PNG's pixels
_PATIENCE = 60  # seconds for one picture
# White as the figures; plotly.js is inside, packed to a quarter, and unpacked by the browser itself.
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}</title>
<style>body {{ margin: 1em auto; max-width: 1920px; }} #figure {{ min-width: 700px; }}</style>
</head>
<body>
<div id="figure"></div>
<script type="text/plain" id="library">{library}</script>
<script type="module">
const packed = Uint8Array.from(atob(document.getElementById("library").textContent), (c) => c.charCodeAt(0));
const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
const script = document.createElement("script");
script.textContent = await new Response(unpacked).text();
document.head.append(script);
const {{ data, layout }} = {figure};
const camera = {{ format: "svg", filename: "{name}" }};
Plotly.newPlot("figure", data, layout, {{ displaylogo: false, responsive: true, toImageButtonOptions: camera }});
</script>
</body>
</html>
"""


def page(figure: Any, name: str) -> str:
    """Return a plotly figure's page: 1.9 MB, which need no other file and no network.

    Parameters
    ----------
    figure : plotly Figure
        What is drawn.
    name : str
        Of the picture that the camera above the figure saves (SVG).
    """
    return _PAGE.format(
        name=name, library=_library(), figure=figure.to_json()
    )  # plotly escapes what would end a script


@cache
def _library() -> str:
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()


def save(figures: Mapping[str, Any], folder: Path) -> None:
    """Write each figure as ``<name>.html``, ``.png`` and ``.svg``; without a browser as a page alone, and say so.

    Parameters
    ----------
    figures : mapping of name → plotly Figure
        What is drawn.
    folder : Path
        Where to.
    """
    for name, figure in figures.items():
        write_text(folder / f"{name}.html", page(figure, name))
    lacking = _draw([(figure, folder / f"{name}.{kind}") for name, figure in figures.items() for kind in PICTURES])
    if lacking:
        print(f"note: {', '.join(figures)} without PNG and SVG, which kaleido and Chrome or Chromium draw: {lacking}")


def _draw(pictures: list[tuple[Any, Path]]) -> str:
    """Draw all pictures in one browser, offline; return what was in the way, if anything."""
    try:
        import kaleido
    except ImportError as error:
        return str(error)
    wanted = [{"fig": fig, "path": str(file), "opts": _options(fig, file)} for fig, file in pictures]
    try:
        errors = kaleido.write_fig_from_object_sync(wanted, kopts={"mathjax": False, "timeout": _PATIENCE})
    except Exception as error:  # whatever a browser dies of: hours of training do not fail for a picture
        errors = [error]
    return "; ".join(dict.fromkeys(str(error).strip().split("\n")[0] or type(error).__name__ for error in errors or ()))


def _options(figure: Any, file: Path) -> dict[str, Any]:
    size = {"width": figure.layout.width or _WIDTH, "height": figure.layout.height or _HEIGHT}
    return {"format": file.suffix[1:], "scale": _SCALE if file.suffix == ".png" else 1, **size}


def drawn(folder: Path) -> dict[str, list[str]]:
    """Return which files each figure of a run folder has: ``{"hierarchy": ["html", "png", "svg"]}``."""
    files = sorted(file for kind in ("html", *PICTURES) for file in folder.glob(f"*.{kind}"))
    names = dict.fromkeys(file.stem for file in files if (folder / f"{file.stem}.html").exists())
    return {name: [file.suffix[1:] for file in files if file.stem == name] for name in names if name != "report"}
