"""Finished runs as the site reads them: a record, and a notebook with outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import plotly.graph_objects as go

from nbtools.runs import folders
from nbtools.site.outputs import PLOTLY


def write_run(home: Path, notebook: str, finished: str, cells: list[Any] | None = None, **changed: Any) -> Path:
    """Write a finished run of a notebook of the study `demo`; `cells` are added to the notebook's own."""
    parameters = {**folders.defaults(notebook), **changed}
    folder = home / "runs" / "demo" / notebook / "_".join([finished[:10], *(f"{k}={v}" for k, v in changed.items())])
    folder.mkdir(parents=True)
    record = {"notebook": notebook, "study": "demo", "parameters": parameters, "inputs": {}, "seconds": 1}
    (folder / "run.json").write_text(json.dumps({**record, "finished": finished}), encoding="utf-8")
    kept = nbformat.read(folders.NOTEBOOKS / f"{notebook}.ipynb", as_version=4)
    kept.cells += cells or []
    nbformat.write(kept, folder / "notebook.ipynb")
    return folder


def code(*outputs: Any, tags: tuple[str, ...] = ()) -> Any:
    return nbformat.v4.new_code_cell("show", outputs=list(outputs), metadata={"tags": list(tags)})


def display(data: dict[str, Any]) -> Any:
    return nbformat.v4.new_output("display_data", data)


def plotly(figure: go.Figure) -> Any:
    return display({PLOTLY: json.loads(figure.to_json())})
