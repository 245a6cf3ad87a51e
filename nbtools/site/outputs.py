"""What a notebook's cells gave, as a page without Python can show it: figures, pictures, tables, text."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import nbformat

from nbtools.workflow.teaching import ANSWER

PLOTLY = "application/vnd.plotly.v1+json"
WIDGET = "application/vnd.jupyter.widget-view+json"
SMALL = (900, 500)  # pixels: of a figure that takes the width it is given, where it is drawn small
_BAR = re.compile(r"\d+%\|")  # what tqdm's widgets are as text
# The explorers' pictures: a widget needs its kernel.
EXPLORERS = {
    "AttackExplorer": ("attack_explorer.png", "The attack explorer: one image, two networks, ε on a slider"),
    "BrainView": ("brain_view.png", "The brain view: voxels, their responses, the images that drive them"),
    "GeometryExplorer": ("geometry_explorer.png", "The geometry explorer: the RDMs and maps of two spaces"),
    "StudyExplorer": ("study_explorer.png", "The study explorer: every run, and networks compared at one setting"),
}


@dataclass(frozen=True)
class Figure:
    """A plotly figure of a notebook.

    Attributes
    ----------
    name : str
        Of its file of data: ``04_adversarial_attacks-1``.
    notebook : str
    title : str
    description : str
        What it draws, for those who do not see it: title, axes, and what is named in it.
    width : int or None
        In pixels; None: as wide as its place.
    height : int
        In pixels.
    content : dict
        Plotly's ``data`` and ``layout``.
    """

    name: str
    notebook: str
    title: str
    description: str
    width: int | None
    height: int
    content: Mapping[str, Any]

    @property
    def place(self) -> str:
        """Its place in the notebook's page: ``figure-1``."""
        return f"figure-{self.name.rpartition('-')[2]}"

    @property
    def script(self) -> str:
        """The file that gives the figure's data to the page: a script, since pages read from disk fetch no other."""
        return f"window.nbtoolsFigures[{json.dumps(self.name)}] = {json.dumps(self.content)};\n"

    def markup(self, *, still: bool = False) -> str:
        """The place on a page where figures.js draws it: small and still in the gallery."""
        width = self.width or (SMALL[0] if still else None)
        size = f'data-height="{self.height}"' + (f' data-width="{width}"' if width else "")
        box = f'<div class="chart-area" data-figure="{self.name}" {size}{" data-still" * still}></div>'
        told = html.escape(self.description, quote=True)
        if still:
            return f'<div class="chart still" role="img" aria-label="{told}">{box}</div>'
        return f'<figure class="chart" id="{self.place}" tabindex="0" aria-label="{told}">{box}</figure>'


def prepare(notebook: Any, name: str) -> list[Figure]:
    """Make a notebook's cells fit for a page, in place, and return its figures.

    Cells that install, and the instructor's answers, are left out; parameters are folded; progress bars vanish.
    """
    figures: list[Figure] = []
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict(_shown_as(cell.metadata.get("tags", [])))
        if cell.cell_type == "code":
            cell.outputs = list(_outputs(cell.outputs, name, figures))
            cell.metadata["mystnb"] = {"image": {"alt": _heading_before(notebook.cells, cell)}}
    notebook.metadata.pop("widgets", None)  # else the page would ask another host for their code
    return figures


def _shown_as(tags: Iterable[str]) -> dict[str, Any]:
    if {"install", ANSWER} & {*tags}:
        return {"tags": ["remove-cell"]}
    return {"tags": ["hide-input"]} if "parameters" in tags else {"tags": []}


def _heading_before(cells: Iterable[Any], cell: Any) -> str:
    """Return the heading that a cell stands under: what its pictures are of."""
    heading = ""
    for other in cells:
        if other is cell:
            break
        if other.cell_type == "markdown" and (found := re.findall(r"^#+ (.*)", other.source, re.MULTILINE)):
            heading = found[-1]
    return f"Picture under “{heading}”"


def _outputs(outputs: Iterable[Any], name: str, figures: list[Figure]) -> Iterable[Any]:
    for output in outputs:
        data = output.get("data", {})
        if PLOTLY in data:
            figures.append(_figure(data[PLOTLY], name, len(figures) + 1))
            yield _html(figures[-1].markup())
        elif WIDGET in data:
            if not _BAR.search(told := "".join(data.get("text/plain", ""))):
                yield _widget(told, name)
        else:
            yield output


def _html(text: str) -> Any:
    return nbformat.v4.new_output("display_data", {"text/html": text})


def _widget(told: str, name: str) -> Any:
    """What stands for a widget: it needs a kernel, so the page says where it moves, and has an explorer's picture."""
    known = next((picture for kind, picture in EXPLORERS.items() if re.search(rf"\b{kind}\b", told)), None)
    if known is None:
        text = "*Here the notebook asks, and answers what you do: open it in JupyterLab.*"
    else:
        app = f"`make explore EXPLORER={name}` ([explorers](../explorers-page.md))"
        text = f"![{known[1]}](../docs/{known[0]})\n\nIt moves in JupyterLab, and as an app: {app}."
    return nbformat.v4.new_output("display_data", {"text/markdown": text})


def _figure(content: Mapping[str, Any], notebook: str, number: int) -> Figure:
    layout = content["layout"]
    template = layout.get("template", {}).get("layout", {})
    width, height = (layout.get(side) or template.get(side) for side in ("width", "height"))
    title = _plain(layout.get("title", {}).get("text")) or f"Figure {number} of notebook {notebook}"
    kept = {"data": content["data"], "layout": layout}
    return Figure(f"{notebook}-{number}", notebook, title, _described(title, content), width, height or SMALL[1], kept)


def _plain(text: str | None) -> str:
    """Return a label without plotly's tags."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", text or "")).strip()


def _described(title: str, content: Mapping[str, Any]) -> str:
    axes = [_plain(axis.get("title", {}).get("text")) for axis in _axes(content["layout"])]
    named = [_plain(trace.get("name")) for trace in content["data"]]
    told = [("Axes", axes), ("Shown", named)]
    lists = [f"{what}: {', '.join(dict.fromkeys(filter(None, names)))}." for what, names in told if any(names)]
    return " ".join([title if title[-1] in ".?!" else f"{title}.", *lists])


def _axes(layout: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [value for key, value in layout.items() if re.fullmatch(r"[xy]axis\d*", key)]
