"""What a run is asked for, refused before anything is made on disk: studies and conditions that are not there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from nbtools.conditions import ADOPTED, Condition, check_rois, is_adopted
from nbtools.data.study import home, open_study, study_name
from nbtools.errors import InputError
from nbtools.guides import LABELS_GUIDE, STAGES
from nbtools.runs.lineage import NETWORKS, PREDICTORS, before
from nbtools.runs.parameters import SEVERAL, words_of
from nbtools.runs.records import RECORD

_STUDIES = ("study", "subjects", "networks_of")  # parameters that name studies
_CONDITIONS = ("roi", "rois", "regions", "controls", "others")  # and regions or other conditions of `study`
_READOUTS = ("guided_readout", "readouts")  # and where the network is read that the run trains
_EVERYWHERE = {*STAGES, "pooled"}


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
        If a study, region, condition or read-out is not there, or a run it builds on cannot be.
    """
    from nbtools.data.brains.measured import condition_of  # imports slowly

    if parameters["study"] == "demo" and "world_seed" in parameters:  # the notebook that makes that study
        return
    source, *_ = [open_study(name) for name in _named(parameters, _STUDIES)]
    names = list(_named(parameters, _CONDITIONS))
    check_whole(parameters["study"], names)
    conditions = [condition_of(source, name) for name in names]
    if "architecture" in parameters:
        check_readouts(parameters["architecture"], conditions, _named(parameters, _READOUTS))
    if notebook == PREDICTORS and parameters["roi"] != LABELS_GUIDE:
        check_rois([parameters["roi"]])
    before(notebook, parameters)


def check_whole(study: str, names: Iterable[str]) -> None:
    """Raise `InputError` if a name that is no region's is an adopted network's without its ``net-``.

    Parameters
    ----------
    study : str
        By name, or the path of its ``study.toml``.
    names : iterable of str
        Conditions that runs are asked of.
    """
    networks = home() / "runs" / study_name(study) / NETWORKS
    for name in names:
        whole = ADOPTED + name
        if is_adopted(whole) and any(networks.glob(f"{whole}_seed=*/{RECORD}")) and name not in _regions(study):
            raise InputError(
                f"unknown condition {name!r}",
                expected=f"a region of the study, a control, or an adopted network by its whole name, {whole}",
                got=repr(name),
                fix=f"did you mean {whole}?",
            )


def _regions(study: str) -> tuple[str, ...]:
    from nbtools.data.brains.measured import region_names  # imports slowly

    return region_names(open_study(study))


def check_readouts(architecture: str, conditions: Iterable[Condition], others: Iterable[str]) -> None:
    """Raise `InputError` unless a network has the read-outs where conditions match it, and others.

    Parameters
    ----------
    architecture : str
        As `models.list_architectures` names it.
    conditions : iterable of Condition
        That guide it.
    others : iterable of str
        Further read-outs.
    """
    matched = {part.readout for condition in conditions for part, _ in condition.parts if part.readout}
    if elsewhere := matched.union(others) - _EVERYWHERE:
        from nbtools.models.anatomy import anatomy_of  # imports slowly

        for name in sorted(elsewhere):
            anatomy_of(architecture).node(name)


def _named(parameters: Mapping[str, Any], which: Iterable[str]) -> Iterator[str]:
    for name in which:
        text = parameters.get(name, "")
        yield from words_of(text) if name in SEVERAL else [text] * bool(text)
