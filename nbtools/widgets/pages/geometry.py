"""What the geometry page knows: RDMs and maps of images in each region and network, from notebook 14."""

from __future__ import annotations

import numpy as np
import pandas as pd
from plotly.colors import get_colorscale, sample_colorscale

from nbtools.data.images.labels import load_labels
from nbtools.data.images.sets import load_stimuli
from nbtools.data.study import Study
from nbtools.plots.brain.spaces import ranked
from nbtools.plots.style import SEQUENTIAL
from nbtools.runs import folders
from nbtools.runs.lineage import NETWORKS
from nbtools.widgets.geometry_state import SpaceTables, first_state, notes
from nbtools.widgets.pages.packed import looks, packed, rows
from nbtools.widgets.pages.sprites import Files, sprite

NOTEBOOK = "14_brain_and_geometry"


def geometry_files(source: Study, runs: pd.DataFrame) -> Files:
    """Pack the tables of the study's newest run of notebook 14.

    Parameters
    ----------
    source : Study
        Whose images are shown.
    runs : DataFrame
        From `study_state.all_runs`.

    Raises
    ------
    InputError
        If notebook 14 has not been run, with the command that runs it for the networks there are.
    """
    tables = SpaceTables(*(_run(source, runs).table(name) for name in ("rdms", "maps", "components", "manifolds")))
    ids, spaces = tables.image_ids, tables.spaces
    classes = load_labels(source, ids).to_dict()
    tiles, layout = sprite(load_stimuli(source.stimuli, ids, source.image_size).to_numpy())
    upper = np.triu_indices(len(ids), 1)
    rdms = {space: tables.rdm(space) for space in spaces}
    state = first_state(tables)
    index = {
        "spaces": spaces,
        "looks": looks([space.split(" ", 1)[-1] for space in spaces], source.hierarchy),
        "notes": notes(tables, classes),
        "ids": [str(i) for i in ids],
        "first": {"left": state.left, "right": state.right, "one": state.first, "two": state.second},
        "stress": [tables.of("maps", space)["stress"].iloc[0] for space in spaces],
        "manifolds": {space: rows(tables.of("manifolds", space).drop(columns="space")) for space in spaces},
        "sprite": layout,
    }
    found = [tables.of("maps", space).set_index("image_id").loc[ids, ["x", "y"]] for space in spaces]
    arrays = {
        "dissimilarities": np.stack([rdm[upper] for rdm in rdms.values()]).astype(np.float32),
        "ranks": np.stack([ranked(rdm)[upper] for rdm in rdms.values()]).astype(np.float32),
        "agreement": np.corrcoef([pd.Series(rdm[upper]).rank() for rdm in rdms.values()]).astype(np.float32),
        "places": np.stack([part.to_numpy() for part in found]).astype(np.float32),
        "colors": _colors(),
    }
    return {"data/geometry.js": packed("geometry", index, arrays), "data/geometry.png": tiles}


def _run(source: Study, runs: pd.DataFrame) -> folders.Run:
    """Find the newest run of the notebook; where there is none, ask for it, with the regions of the networks."""
    there = folders.collect(NOTEBOOK, source.name).sort_values("finished")
    if len(there):
        return folders.find(NOTEBOOK, **{name: there[name].iloc[-1] for name in folders.defaults(NOTEBOOK)})
    trained = set(runs[runs["notebook"] == NETWORKS].get("roi", ()))
    rois = " ".join(name for name in source.hierarchy if name in trained)
    return folders.find(NOTEBOOK, source.name, **({"rois": rois} if rois else {}))


def _colors() -> np.ndarray:
    """Return the colours of ranks from 0 to 1, those of all figures: uint8 (256, 3)."""
    shades = sample_colorscale(get_colorscale(SEQUENTIAL), np.linspace(0, 1, 256).tolist(), colortype="tuple")
    return np.round(255 * np.array(shades)).astype(np.uint8)
