"""One HTML page that needs no network: figures, tables and words of a study."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from nbtools.errors import InputError
from nbtools.metrics.decisions.robustness import epsilon_label

_CSS = """
:root { color-scheme: light dark; --ink: #222; --faint: #555; --paper: #fff; --line: #d0d0d0; --box: #f3f5f8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --faint: #b4b4b4; --paper: #191b1e; --line: #4a4d52; --box: #24272c; } }
body { font: 16px/1.55 Georgia, "Times New Roman", serif; color: var(--ink); background: var(--paper);
       max-width: 1120px; margin: 2.5em auto; padding: 0 1em; }
h1, h2 { font-family: Arial, Helvetica, sans-serif; line-height: 1.25; overflow-wrap: anywhere; }
h2 { margin-top: 2.2em; border-bottom: 1px solid var(--line); padding-bottom: .2em; }
figure { margin: 1.2em 0; overflow-x: auto; }
figcaption { font-size: 15px; color: var(--faint); margin-top: .5em; position: sticky; left: 0; }
p { white-space: pre-line; }
.answer { background: var(--box); border-left: 4px solid #2d6cc0; padding: .1em 1.2em; font-size: 17px; }
.js-plotly-plot { min-width: 700px; }
table { border-collapse: collapse; font: 14px Arial, Helvetica, sans-serif; }
th { text-align: left; border-bottom: 2px solid var(--ink); }
td, th { padding: .3em .9em .3em 0; font-variant-numeric: tabular-nums; vertical-align: top; }
td { border-bottom: 1px solid var(--line); } td:last-child { overflow-wrap: anywhere; }
@page { margin: 15mm; }
@media print {
  :root { color-scheme: light; --ink: #000; --faint: #333; --paper: #fff; --line: #bbb; --box: #fff; }
  body { max-width: none; margin: 0; padding: 0; font-size: 11pt; } table { font-size: 9pt; }
  figure { overflow: visible; } figure, tr { break-inside: avoid; } figure:has(table) { break-inside: auto; }
  h2 { break-after: avoid; } thead { display: table-header-group; } .modebar { display: none; } }
"""
# On paper a figure is as wide as the page, whatever it was on the screen.
_PRINT = """
const sized = (width) => document.querySelectorAll(".js-plotly-plot").forEach((figure) =>
  Plotly.relayout(figure, { width, autosize: width === null }));
addEventListener("beforeprint", () => sized(680));
addEventListener("afterprint", () => sized(null));
"""


Section = tuple[str, str, go.Figure | pd.DataFrame | None]  # heading, text, content


def report(title: str, sections: Sequence[Section], answer: Sequence[str] = ()) -> str:
    """Return a self-contained page: plotly.js is written into it once, nothing is fetched.

    It follows the reader's theme, dark or light (figures stay on white paper), scrolls wide figures and tables on a
    phone, and prints.

    Parameters
    ----------
    title : str
        Title of the page, with `Study.title`.
    sections : sequence of (heading, text, content)
        Text is plain but for `code`; lines stay lines, a blank one begins a paragraph. With a figure or a table it
        stands below as the caption. A table's column ``epsilon`` is shown as k/255, its fractions with three decimals.
    answer : sequence of str
        Sentences that the page opens with (`metrics.answer`), each a paragraph.

    Returns
    -------
    str
        HTML, about 5 MB.

    Raises
    ------
    InputError
        If there is no section, or a content is neither figure, table nor None.
    """
    if not sections:
        raise InputError(
            "a report needs a section", expected="(heading, text, content)", got="no section", fix="add one"
        )
    body = "\n".join(_section(*section) for section in sections)
    opening = f'<div class="answer">{"".join(f"<p>{_marked(sentence)}</p>" for sentence in answer)}</div>' * bool(
        answer
    )
    # Without its own charset a saved page shows ε and √ wrongly.
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n"
        f"<style>{_CSS}</style>\n<script>{get_plotlyjs()}</script>\n"
        f"<script>{_PRINT}</script>\n</head>\n"
        f"<body>\n<h1>{html.escape(title)}</h1>\n{opening}\n{body}\n</body>\n</html>\n"
    )


def _section(heading: str, text: str, content: go.Figure | pd.DataFrame | None) -> str:
    words = "".join(f"<p>{_marked(part)}</p>" for part in text.split("\n\n") if part.strip())
    if content is not None:
        words = f"<figure>{_content(content)}<figcaption>{words}</figcaption></figure>"
    return f"<section>\n<h2>{html.escape(heading)}</h2>\n{words}\n</section>"


def _marked(text: str) -> str:
    return re.sub("`([^`\n]+)`", r"<code>\1</code>", html.escape(text))


def _content(content: go.Figure | pd.DataFrame) -> str:
    if isinstance(content, pd.DataFrame):
        if "epsilon" in content:
            content = content.assign(epsilon=[epsilon_label(epsilon) for epsilon in content["epsilon"]])
        # the name of the columns, as a pivot leaves it, would be a column of its own
        content = content.rename_axis(columns=None)
        with pd.option_context("display.max_colwidth", None):  # whole sentences
            return content.to_html(index=False, border=0, float_format="{:.3f}".format, na_rep="–")
    if isinstance(content, go.Figure):
        return content.to_html(full_html=False, include_plotlyjs=False, config={"displaylogo": False})
    raise InputError(
        "a report shows figures and tables",
        expected="a plotly figure, a DataFrame or None",
        got=type(content).__name__,
        fix="convert it first",
    )
