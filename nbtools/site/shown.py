"""Which run of a notebook the site shows, and what its page says of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from nbtools.runs import folders
from nbtools.runs.parameters import reading_notebook
from nbtools.runs.records import finished_record

EXECUTED = "notebook.ipynb"  # in a run's folder


@dataclass(frozen=True)
class Shown:
    """A notebook as the site shows it.

    Attributes
    ----------
    name : str
        Of the notebook, without ``.ipynb``.
    notebook : NotebookNode
        Executed, if there is a run; else as it is kept, without outputs.
    run : Path or None
        The folder of the run.
    others : int
        Further finished runs of the notebook in this study.
    """

    name: str
    notebook: Any
    run: Path | None
    others: int = 0

    @property
    def title(self) -> str:
        """What the notebook's first line says; its name where there is none."""
        return next(iter(self._opening.splitlines()), self.name).removeprefix("# ")

    @property
    def question(self) -> str:
        """What it asks, as its opening says it."""
        return self._opening.partition("**Question.** ")[2].partition("\n")[0]

    @property
    def _opening(self) -> str:
        return "".join(cell.source.strip() for cell in self.notebook.cells[:1])


def shown(name: str, study: str) -> Shown:
    """Find the run of a notebook to show: most parameters at their defaults, then the newest.

    A notebook that is about another study by default (Haxby's) shows that one's where the asked study has none.
    """
    for where in dict.fromkeys((study, folders.defaults(name)["study"])):
        runs = folders.collect(name, where)
        runs = runs[[(Path(folder) / EXECUTED).exists() for folder in runs["folder"]]]
        if len(runs):
            best = folders.prefer_defaults(runs, name, ())
            folder = Path(best.loc[best["finished"].idxmax(), "folder"])
            return Shown(name, _read(folder / EXECUTED), folder, len(runs) - 1)
    return Shown(name, _read(folders.NOTEBOOKS / f"{name}.ipynb"), None)


def _read(file: Path) -> Any:
    with reading_notebook(file):
        return nbformat.read(file, as_version=4)


def note(page: Shown) -> str:
    """Say in Markdown which run a page shows, or that it shows none, and how to make one's own."""
    command = f"```sh\n.venv/bin/python -m nbtools run {page.name}\n```\n\n"
    command += f"{{download}}`The notebook, to open in JupyterLab <../kept/{page.name}.ipynb>`"
    if page.run is None:
        return (
            "::::{admonition} Shown without outputs\n:class: warning\n"
            f"This site's study has no finished run of this notebook. It is made by\n\n{command}\n::::"
        )
    record = finished_record(page.run)
    kept = folders.defaults(page.name)
    changed = {key: value for key, value in record["parameters"].items() if value != kept.get(key)}
    told = ", ".join(f"`{key} = {value!r}`" for key, value in changed.items()) or "all parameters as they stand"
    others = f" It is one of {page.others + 1} finished runs." if page.others else ""
    since = " **The notebook has changed since.**" if _changed(page) else ""
    return (
        "::::{admonition} The run shown here\n:class: note\n"
        f"`{page.run.name}`, finished {record['finished'][:10]}, of the study *{record['study']}*: "
        f"{told}.{others}{since} The same, and your own:\n\n{command}\n::::"
    )


def _changed(page: Shown) -> bool:
    """Whether the notebook that is kept has other cells than those that ran."""
    kept = _read(folders.NOTEBOOKS / f"{page.name}.ipynb")
    ran = [cell for cell in page.notebook.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    return [cell.source for cell in kept.cells] != [cell.source for cell in ran]
