"""A figure's page in a run folder: small, since all pages share one plotly.js, and never blank."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nbtools.data.study import home
from nbtools.files import write_text

# What runs where plotly.js is not at its place, because the page was copied: it may have been copied along.
_ELSEWHERE = """<script>window.Plotly || document.write('<script src="plotly.min.js"></' + 'script>')</script>
<script>window.Plotly ||= {newPlot: async (id) => document.getElementById(id).innerHTML =
'<p>This page draws its figure with <b>plotly.min.js</b> of the runs folder: copy that file beside this one. ' +
'For a picture to take along, open the page in its run folder and click the camera (SVG).</p>'}</script>
"""


def shared_library() -> Path:
    """Return where plotly.js lies for all pages, written there the first time."""
    library = home() / "runs" / "plotly.min.js"
    if not library.exists():
        from plotly.offline import get_plotlyjs

        write_text(library, get_plotlyjs())
    return library


def page(figure: Any, name: str, library: str) -> str:
    """Return the page of a plotly figure.

    Parameters
    ----------
    figure : plotly Figure
        What is drawn.
    name : str
        Of the picture that the camera above the figure saves (SVG).
    library : str
        Where plotly.js lies, seen from the page.
    """
    config = {"displaylogo": False, "toImageButtonOptions": {"format": "svg", "filename": name}}
    drawn = figure.to_html(include_plotlyjs=False, full_html=False, config=config)
    head = f'<meta charset="utf-8">\n<title>{name}</title>\n<script src="{library}"></script>\n{_ELSEWHERE}'
    return f'<!doctype html>\n<html lang="en">\n<head>\n{head}</head>\n<body>\n{drawn}\n</body>\n</html>\n'
