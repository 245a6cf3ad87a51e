"""What a run is asked for, refused before anything is made on disk: studies and conditions that are not there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from nbtools.conditions import check_rois
from nbtools.data.study import open_study
from nbtools.guides import LABELS_GUIDE
from nbtools.runs.lineage import PREDICTORS, before
from nbtools.runs.parameters import SEVERAL, words_of

_STUDIES = ("study", "subjects", "networks_of")  # parameters that name studies
_CONDITIONS = ("roi", "rois", "regions", "controls")  # and regions or other conditions of `study`


def check_asked(notebook: str, parameters: Mapping[str, Any]) -> None:
    """Check the names in a run's parameters.

    Parameters
    ----------
    notebook : str
        Without ``.ipynb``.
    parameters : mapping
        All of its parameters.

    Raises
    ------
    InputError
        If a study, region or condition is not there, or a run it builds on cannot be.
    """
    from nbtools.data.brains.measured import condition_of  # imports slowly

    if parameters["study"] == "demo" and "world_seed" in parameters:  # the notebook that makes that study
        return
    source, *_ = [open_study(name) for name in _named(parameters, _STUDIES)]
    for name in _named(parameters, _CONDITIONS):
        condition_of(source, name)
    if notebook == PREDICTORS and parameters["roi"] != LABELS_GUIDE:
        check_rois([parameters["roi"]])
    before(notebook, parameters)


def _named(parameters: Mapping[str, Any], which: Iterable[str]) -> Iterator[str]:
    for name in which:
        text = parameters.get(name, "")
        yield from words_of(text) if name in SEVERAL else [text] * bool(text)
