"""A study's file (`config/*.yaml`, or what Snakemake hands over): its keys and its table, read strictly."""

from __future__ import annotations

import ast
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml

from nbtools.checks import reading
from nbtools.conditions import parse_condition
from nbtools.data.names import ProfileName, Truth
from nbtools.data.study import Study, open_study, study_file
from nbtools.errors import InputError
from nbtools.guides import unguided
from nbtools.places import PACKAGE, PROJECT
from nbtools.runs import folders
from nbtools.runs.copies import found, own_folder
from nbtools.runs.parameters import words_of

Config = Mapping[str, Any]

# What a study's file may say: README.md and config/nsd.yaml tell what it means.
KEYS = (
    *("study", "profile", "world_seed", "subject", "truth"),  # which study, and how a simulated one is made
    *("rois", "controls", "further", "hardened", "filtered", "seeds", "predictors", "alphas", "dose", "doses"),
    *("table", "settings", "gpus"),
)
PREDICTORS = ("shared", "own")
# Notebooks that read the decisions of 04.
OF_DECISIONS = ("09_manifolds", "10_summary", "12_alpha", "15_study_explorer", "19_training_and_certificates")
_SUFFIXES = (".yaml", ".yml", ".json")
COLUMNS = ("rois", "seeds", "subjects", "alphas", "attacks")


def file_named(named: str) -> Path | None:
    """Return the study's file that is meant, by its path or, of those in ``config/``, by its name; None: a study is."""
    if Path(named).suffix in _SUFFIXES:
        return found(named)
    files = (root / "config" / f"{named}.yaml" for root in (own_folder(), PROJECT))
    return next((file for file in files if file.is_file()), None)


def config_named(named: str) -> Config:
    """Read the study's file that is meant (`file_named`); a study that is meant itself has everything at its default.

    Parameters
    ----------
    named : str
        Such as ``config/nsd.yaml``, ``nsd`` (that file) or, where there is no such file, a study as `open_study` takes
        it; a simulated one need not be there yet.

    Raises
    ------
    InputError
        As `read_config` and `open_study`.
    """
    if file := file_named(named):
        return read_config(file)
    if not is_simulated(named):
        open_study(named)
    return {"study": named}


def read_config(file: Path) -> Config:
    """Read a study's file, such as ``config/nsd.yaml``.

    Raises
    ------
    InputError
        If it cannot be read or is no list of keys and values.
    """
    with reading(
        "the study's file cannot be read",
        *(OSError, ValueError, yaml.YAMLError),
        file=file,
        expected="YAML, as config/nsd.yaml has it",
        fix="correct the path or the line",
    ):
        config = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    if not isinstance(config, dict):
        raise _wrong("the study's file holds no keys", ", ".join(KEYS), type(config).__name__)
    return config


def check_config(config: Config) -> Study | None:
    """Return the description of the study that its file names; None where it is not there yet.

    Raises
    ------
    InputError
        Unless every key, notebook, parameter and condition exists, or as `open_study` and `check_made`.
    """
    _check_known("the study's file has a key that nothing reads", config, KEYS)
    settings, table = config.get("settings") or {}, config.get("table") or []
    if not isinstance(settings, Mapping) or not all(isinstance(v, Mapping | None) for v in settings.values()):
        raise _wrong("settings cannot be read", "notebook: {parameter: value}", repr(settings))
    for notebook, values in settings.items():
        folders.typed(str(notebook), values or {})
    if not isinstance(table, list) or not all(isinstance(row, Mapping) and row for row in table):
        raise _wrong(
            "the table cannot be read", f"a list of rows, each with one or more of {', '.join(COLUMNS)}", table
        )
    for name in (word for key in ("rois", "controls", "further") for word in words(config.get(key), key)):
        parse_condition(name)
    for word in (word for key in ("hardened", "filtered") for word in words(config.get(key), key)):
        parse_condition(unguided(word))
    if empty := [key for key in ("rois", "seeds") if key in config and not words(config[key], key)]:
        raise _wrong(
            "a study without regions or seeds", 'such as rois: "V1 TO", seeds: 0', f"{', '.join(empty)}: nothing"
        )
    _check_known("there is no such profile", [config.get("profile", "demo")], get_args(ProfileName))
    truths = ", ".join(get_args(Truth)).replace("null", '"null" (in quotes: YAML takes the bare word for nothing)')
    if config.get("truth", "beyond") not in get_args(Truth):
        raise _wrong("there is no world of such a truth", truths, config["truth"])
    number(config.get("gpus", 0), "gpus", int)
    number(config.get("world_seed", 0), "world_seed", int)
    _check_known("there is no such subject", [config.get("subject", 1)], list(map(str, range(1, 9))))
    _check_known("predictors are shared by all seeds, or own", [config.get("predictors", PREDICTORS[0])], PREDICTORS)
    return _described(config)


def _described(config: Config) -> Study | None:
    from nbtools.data.synthetic import check_made  # imports slowly

    study = str(config.get("study", "demo"))
    if not study_file(study).is_file():
        return None
    named = {"profile": "profile", "world_seed": "seed", "subject": "subject", "truth": "truth"}
    source = open_study(study)
    check_made(source, **{named[key]: value for key, value in config.items() if key in named})
    return source


def world_arguments(config: Config) -> str:
    """Return what follows ``python -m nbtools world`` to make the simulated study, quoted for a shell."""
    options = {"profile": "demo", "world_seed": 0, "subject": 1, "truth": "beyond"}
    values = [str(config.get(key, default)) for key, default in options.items()]
    named = zip(("--profile", "--seed", "--subject", "--truth"), values, strict=True)
    return shlex.join([str(config.get("study", "demo")), *(word for pair in named for word in pair)])


def read_row(row: Config, own_study: str) -> dict[str, list[Any]]:
    """Read a row of the table: its columns, each as a list.

    Raises
    ------
    InputError
        If a column, a condition, an attack or a further study does not exist, or a value cannot be read.
    """
    _check_known("a row of the table has an unknown column", row, COLUMNS)
    asked: dict[str, list[Any]] = {str(name): once(words(value, str(name))) for name, value in row.items()}
    if empty := [name for name, found in asked.items() if not found]:
        raise _wrong("a row of the table has an empty column", "one word or more, or no such column", ", ".join(empty))
    for name in asked.get("rois", []):
        parse_condition(name)
    for subject in asked.get("subjects", []):
        if subject != own_study:
            open_study(subject)  # says what to do where there is none
    if "attacks" in asked:
        check_attacks(asked["attacks"])
    for name, kind in {"seeds": int, "alphas": float}.items():
        if name in asked:
            asked[name] = once(number(word, name, kind) for word in asked[name])
    return asked


def check_attacks(names: Sequence[str]) -> None:
    """Raise `InputError` unless attacks exist, and are of one norm: accuracy of record is their worst case."""
    _check_known("unknown attack", names, attack_names())
    if len({name.startswith("L2") for name in names}) > 1:
        raise _wrong("attacks of several norms have no common worst case", "all of L∞, or all of L2", " ".join(names))


def check_attacked(
    planned: Iterable[tuple[str, Mapping[str, Any]]], attacks: Sequence[str], epsilons: Sequence[str]
) -> None:
    """Raise `InputError` unless networks are attacked as the notebooks that read their decisions ask for.

    Parameters
    ----------
    planned : iterable of (str, mapping)
        Notebooks, with those of their parameters that are not left at the default.
    attacks, epsilons : sequence of str
        Those of notebook 04.
    """
    from nbtools.metrics.decisions.robustness import WORST_CASE  # imports slowly

    check_attacks(attacks)
    for notebook, parameters in planned:
        if notebook in OF_DECISIONS:
            asked = {**folders.defaults(notebook), **folders.typed(notebook, parameters)}
            read = map(float, words_of(asked.get("epsilons", asked.get("epsilon", ""))))
            _check_known(f"{notebook} reads an attack that is not run", [asked["attack"]], [WORST_CASE, *attacks])
            _check_known(f"{notebook} reads ε that are not attacked", read, [str(float(each)) for each in epsilons])


def attack_names() -> list[str]:
    """Return the names of `nbtools.attacks.ATTACKS`, read from its text: to import it takes seconds."""
    for node in ast.parse((PACKAGE / "attacks" / "table.py").read_text(encoding="utf-8")).body:
        match node:
            case ast.AnnAssign(target=ast.Name(id="ATTACKS"), value=ast.Dict(keys=names)):
                return [str(ast.literal_eval(name)) for name in names if name]
    raise AssertionError("attacks/table.py has no table")


def words(value: object, key: str) -> list[str]:
    """Read words separated by blanks or commas; a lone number is a word.

    Raises
    ------
    InputError
        If it is neither.
    """
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        if value is None:
            return []
        raise _wrong(f"{key} cannot be read", 'words separated by blanks, such as "V1 TO" or 0.9', repr(value))
    return words_of(str(value))


def number(word: object, key: str, kind: type) -> Any:
    """Read a whole number from 0 (`kind` int) or an α (`kind` float, in [0, 1]).

    Raises
    ------
    InputError
        If it is none.
    """
    try:
        value = kind(str(word))
    except ValueError:
        value = -1
    if not value >= 0 or (kind is float and value > 1):
        raise _wrong(
            f"{key} cannot be {word!r}", "whole numbers from 0" if kind is int else "numbers from 0 to 1", repr(word)
        )
    return value


def is_simulated(study: str) -> bool:
    """Say whether a study that is not there yet would be simulated: its name begins as a profile's (``demo-2``).

    Any other name is that of data to fetch or prepare: a made-up study may not take its place.
    """
    return not study.endswith(".toml") and study.partition("-")[0] in get_args(ProfileName)


def once(values: Iterable[Any]) -> list[Any]:
    """Return the values in their order, each once."""
    return list(dict.fromkeys(values))


def _check_known(problem: str, names: Iterable[object], known: Sequence[str]) -> None:
    if unknown := sorted(set(map(str, names)) - set(known)):
        raise _wrong(problem, ", ".join(known), ", ".join(unknown))


def _wrong(problem: str, expected: str, got: object) -> InputError:
    return InputError(problem, expected=expected, got=got, fix="correct the study's file; config/nsd.yaml shows one")
