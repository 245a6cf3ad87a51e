"""A figure's files in a run folder: a page that opens alone, offline, and pictures for papers and talks."""

from __future__ import annotations

import base64
import gzip
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from nbtools.data.study import home, study_name
from nbtools.files import write_text
from nbtools.processes import Bar
from nbtools.runs.records import RECORD

PICTURES = ("png", "svg")
LATER = "NBTOOLS_PICTURES_LATER"  # a workflow sets it for its runs, and has the pictures of all drawn in the end
_WIDTH, _HEIGHT, _SCALE = 1000, 500, 2  # of a picture in pixels, where its figure says nothing; of a PNG's pixels
_PATIENCE = 60  # seconds for one picture
_TOGETHER = 24  # figures in one browser: it takes longer to start than to draw, and the bar shall move
_FIGURE = "const { data, layout } = "  # begins the page's line that holds it
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
{begins}{figure};
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
    drawn = figure.to_json()  # plotly escapes what would end a script
    return _PAGE.format(name=name, library=_library(), begins=_FIGURE, figure=drawn)


def figure_on(page: Path) -> dict[str, Any] | None:
    """Return the figure of a page that `page` has made, None if it is another page, or one that was cut."""
    with suppress(OSError, ValueError, TypeError), page.open(encoding="utf-8") as lines:
        if line := next((line for line in lines if line.startswith(_FIGURE)), ""):
            return dict(json.loads(line.removeprefix(_FIGURE).rstrip(";\n")))
    return None


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
    pages = {folder / f"{name}.html": figure for name, figure in figures.items()}
    for file, figure in pages.items():
        for picture in pictures_of(file):
            picture.unlink(missing_ok=True)  # of what the figure was before
        write_text(file, page(figure, file.stem))
    if LATER in os.environ:
        return
    if lacking := draw((figure.to_dict(), file) for file, figure in pages.items()):
        print(f"note: {', '.join(figures)} without PNG and SVG, {lacking}")


def draw_pictures(study: str) -> None:
    """Draw the pictures that figures of a study's finished runs lack, in few browsers; say which are still lacking.

    A figure that cannot be drawn keeps no other from it; where none of many can, no further browser is started.

    Parameters
    ----------
    study : str
        Name, or path of a study.toml.
    """
    finished = (home() / "runs" / study_name(study)).rglob(RECORD)
    pages = [page for record in sorted(finished) for page in sorted(record.parent.glob("*.html"))]
    lacking = [page for page in pages if not _has_pictures(page) and figure_on(page)]
    if not lacking:
        return
    hindered = ""
    with Bar(total=len(lacking), desc="PNG and SVG", unit="figure") as bar:
        for start in range(0, len(lacking), _TOGETHER):
            some = lacking[start : start + _TOGETHER]
            hindered = draw((figure_on(page) or {}, page) for page in some) or hindered
            if not any(map(_has_pictures, some)):
                break
            bar.update(len(some))
    if still := [page for page in lacking if not _has_pictures(page)]:
        print(f"note: PNG and SVG of {len(still)} figures of {study} are lacking, {hindered}: {still[0]}")


def pictures_of(page: Path) -> list[Path]:
    """Return where the pictures of a figure's page lie, or will."""
    return [page.with_suffix(f".{kind}") for kind in PICTURES]


def _has_pictures(page: Path) -> bool:
    """Tell whether they were drawn, and not begun on a full disk."""
    return all(picture.is_file() and picture.stat().st_size for picture in pictures_of(page))


def draw(figures: Iterable[tuple[dict[str, Any], Path]]) -> str:
    """Draw the pictures of figures, each beside its page, in one browser, offline; return what was in the way."""
    needed = "which kaleido and Chrome or Chromium draw: "
    try:
        import kaleido
    except ImportError as error:
        return f"{needed}{error}"
    pairs = [(figure, picture) for figure, page in figures for picture in pictures_of(page)]
    wanted = [{"fig": figure, "path": str(file), "opts": _options(figure, file)} for figure, file in pairs]
    try:
        errors = kaleido.write_fig_from_object_sync(wanted, kopts={"mathjax": False, "timeout": _PATIENCE})
    except Exception as error:  # whatever a browser dies of: hours of training do not fail for a picture
        errors = [error]
    told = dict.fromkeys(str(error).strip().split("\n")[0] or type(error).__name__ for error in errors or ())
    return f"{needed}{'; '.join(told)}" if told else ""


def _options(figure: dict[str, Any], file: Path) -> dict[str, Any]:
    layout = figure.get("layout", {})
    size = {"width": layout.get("width") or _WIDTH, "height": layout.get("height") or _HEIGHT}
    return {"format": file.suffix[1:], "scale": _SCALE if file.suffix == ".png" else 1, **size}
