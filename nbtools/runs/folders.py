"""Run folders: where a notebook's results go, how they are found again, and what they came from.

    runs/<study>/<notebook>/<what>_seed=<n>[_<other>=<not the default>]_<hash of all parameters>/

The same parameters always name the same folder. ``run.json`` is written last: a folder without it is unfinished.
From `start` to `Run.finish` one process holds it; another one waits a while, then is told whose it is.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import re
import time
from collections.abc import Iterable, Mapping, MutableMapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbtools.data.study import home, open_study, study_file, study_name
from nbtools.errors import InputError
from nbtools.files import locked, make_folder, read_table, write_text, written
from nbtools.places import PROJECT as PROJECT
from nbtools.processes import place
from nbtools.runs.asked import check_asked, check_whole
from nbtools.runs.copies import own_folder
from nbtools.runs.figures import save
from nbtools.runs.lineage import ALL_OF_DEMO, Asked, before, check_trained, command, telling
from nbtools.runs.parameters import Parameters, as_defaults, defaults_in
from nbtools.runs.provenance import ran_stamp, registered_names, short, sources, stamp, surroundings
from nbtools.runs.records import RECORD, finished_record, one_of_each_name, read_record, stale
from nbtools.runs.shown import show_whole_tables

if TYPE_CHECKING:
    import pandas as pd

NOTEBOOKS = own_folder() / "notebooks"
CHECKPOINT = "checkpoint.safetensors"
_RESULTS = ("parquet", "safetensors", "png", "svg")
PATIENCE = 60.0  # seconds to wait for another process at work on the same run
_HELD: dict[Path, ExitStack] = {}  # the unfinished runs of this process, each with its lock


@dataclass(frozen=True)
class Run:
    """One execution of a notebook with one set of parameters.

    Attributes
    ----------
    notebook : str
        Name without ``.ipynb``.
    parameters : dict
        All of them, defaults included.
    folder : Path
        Where its results lie.
    finished : bool
        True if the results are there and nothing they came from has changed: a finished run is only read.
    """

    notebook: str
    parameters: Parameters
    folder: Path
    finished: bool
    started: float = field(default_factory=time.time, repr=False)
    inputs: list[Path] = field(default_factory=list, repr=False)
    networks: dict[tuple[Any, ...], Parameters] = field(default_factory=dict, repr=False)  # behind these, by name
    ran: list[str] | None = field(default=None, repr=False)  # the cells that ran, where IPython keeps them

    @property
    def checkpoint(self) -> Path:
        """Where an unfinished training is kept."""
        return self.folder / CHECKPOINT

    def reads(self, *paths: Path) -> None:
        """Note files or folders this run reads; `finish` records their digests."""
        self.inputs.extend(paths)
        self._discard_checkpoint_before(paths)

    def upstream(self, notebook: str, **parameters: Any) -> Run:
        """Find the finished run this one builds on, in the same study unless another is named; note it as input."""
        return self.use(*self._finished(notebook, [{"study": self.parameters["study"], **parameters}]))

    def use(self, found: Run) -> Run:
        """Build on a finished run: note it as input."""
        print(f"using {short(found.folder)}")
        if changed := stale(found.folder):
            print(f"note: {', '.join(changed)} changed since that ran: run {found.notebook} again, then this")
        one_of_each_name(self.networks, found.folder)
        self.reads(*sorted(f for f in found.folder.iterdir() if f.suffix in (".parquet", ".safetensors")))
        return found

    def upstreams(self, notebook: str, **parameters: Any) -> dict[Any, Run]:
        """Find several finished runs: a list of values asks for each of them, several lists for every combination.

        Their keys are the listed values, tuples of them where several parameters have lists.
        """
        asked = {"study": self.parameters["study"], **parameters}
        listed = [name for name, value in asked.items() if isinstance(value, list)]
        every = [{**asked, **dict(zip(listed, values, strict=True))} for values in product(*(asked[n] for n in listed))]
        runs = [self.use(run) for run in self._finished(notebook, every)]
        keys = [tuple(typed(notebook, each)[name] for name in listed) for each in every]
        return {key[0] if len(key) == 1 else key: run for key, run in zip(keys, runs, strict=True)}

    def _finished(self, notebook: str, every: list[Parameters]) -> list[Run]:
        """Find finished runs; where one is missing, say so of all that this run builds on."""
        found = [_found(notebook, each) for each in every]
        if None in found:
            raise _missing([*((notebook, each) for each in every), *before(self.notebook, self.parameters)])
        return [run for run in found if run]

    def save(self, tables: Mapping[str, pd.DataFrame | None], figures: Mapping[str, Any]) -> None:
        """Write tables and figures by their names, but for None; a finished run keeps those it has."""
        if not self.finished:
            for name in [name for name, table in tables.items() if table is not None]:
                self.save_table(name, tables[name])
            save({name: figure for name, figure in figures.items() if figure is not None}, self.folder)

    def save_table(self, name: str, table: pd.DataFrame) -> None:
        """Write a table as ``<name>.parquet``."""
        with written(self.folder / f"{name}.parquet") as beside:
            table.to_parquet(beside, index=False)

    def table(self, name: str) -> pd.DataFrame:
        """Read a table back.

        Raises
        ------
        InputError
            If the run has no table of that name, or it cannot be read.
        """
        file = self.folder / f"{name}.parquet"
        if not file.exists():
            have = ", ".join(sorted(f.stem for f in self.folder.glob("*.parquet"))) or "none"
            raise InputError("no such table", file=file, expected=have, got=name, fix="check the name")
        return read_table(file)

    def save_text(self, name: str, text: str) -> Path:
        """Write a text file such as ``report.html`` and return its path."""
        return write_text(self.folder / name, text)

    def save_figure(self, name: str, figure: Any) -> None:
        """Write a plotly figure as ``<name>.html``, which opens alone, ``<name>.png`` and ``<name>.svg``."""
        save({name: figure}, self.folder)

    def finish(self) -> None:
        """Record what the results came from; from here on the run counts as finished. A finished run stays."""
        if self.finished:
            return
        notebook = _notebook_file(self.notebook)
        inputs = {short(path): stamp(path) for path in [*sources(notebook), notebook, *self.inputs]}
        if self.ran is not None and (ran := ran_stamp(notebook, self.ran)) != inputs[short(notebook)]:
            inputs[short(notebook)] = ran
            print(f"note: other cells ran than {short(notebook)} has: to that notebook, this run is not finished")
        study, source = study_file(self.parameters["study"]), open_study(self.parameters["study"])
        record = {
            "notebook": self.notebook,
            "parameters": self.parameters,
            "study": source.name,
            "subject": source.subject,
            "voxels": asdict(source.voxels),
            "inputs": {short(study): stamp(study), **inputs},
            "preregistered": registered_names(source.name),
            **surroundings(),
            "seconds": round(time.time() - self.started, 1),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }
        write_text(self.folder / RECORD, json.dumps(record, indent=1) + "\n")
        self.checkpoint.unlink(missing_ok=True)
        _release(self.folder)
        print(f"finished {short(self.folder)}")

    def _discard_checkpoint_before(self, inputs: Iterable[Path]) -> None:
        """Start anew where an interrupted training began with older inputs than there are now."""
        if self.checkpoint.exists() and place().rank == 0:
            newer = [path for path in inputs if path.stat().st_mtime > self.checkpoint.stat().st_mtime]
            if newer:
                print(f"{', '.join(map(short, newer))} changed since the checkpoint: training starts anew")
                self.checkpoint.unlink()


def start(notebook: str, values: MutableMapping[str, Any]) -> Run:
    """Open the run of a notebook with the parameters it has now.

    Parameters
    ----------
    notebook : str
        Name without ``.ipynb``.
    values : mapping
        Holds the notebook's parameters by name: ``globals()`` in the notebook itself. They are put back as what they
        are: where papermill wrote ``epsilons = 4``, that is the text ``"4"`` from here on.

    Returns
    -------
    Run
        Finished, if this was run before and nothing it came from has changed. Else open: a checkpoint in its
        folder is taken up, anything that came from changed inputs is removed first.

    Raises
    ------
    InputError
        If a parameter cannot have its value or names what is not there, the network is adopted and not trained, or
        another process is still at work on this run after `PATIENCE`.
    """
    show_whole_tables()
    parameters = typed(notebook, {name: values[name] for name in defaults(notebook)})
    values.update(parameters)
    check_trained(notebook, parameters)
    folder = run_folder(notebook, parameters)
    changed = stale(folder)
    if changed != []:
        check_asked(notebook, parameters)
        _hold(folder)
        make_folder(folder)
        changed = stale(folder)  # another process may have finished it meanwhile
    if changed == []:
        _release(folder)
        print(f"finished before: results are read from {short(folder)} (delete the folder to redo)")
        return Run(notebook, parameters, folder, finished=True)
    run = Run(notebook, parameters, folder, finished=False, ran=values.get("In"))
    if changed and place().rank == 0:
        print(f"{', '.join(changed)} changed since this ran: redoing {short(folder)}")
        for file in [folder / RECORD, *(file for kind in _RESULTS for file in folder.glob(f"*.{kind}"))]:
            file.unlink(missing_ok=True)
    run._discard_checkpoint_before([*sources(_notebook_file(notebook)), study_file(parameters["study"])])
    return run


def _hold(folder: Path) -> None:
    """Hold a run until it is finished, or this process ends; processes that train together share the first one's."""
    if folder not in _HELD and place().rank == 0:
        lock = ExitStack()
        atexit.register(lock.close)
        lock.enter_context(locked(folder, PATIENCE))
        lock.enter_context(suppress(OSError))  # of the next line: a folder that is not empty stays
        lock.callback(folder.rmdir)  # a run that was refused before it had saved anything leaves nothing
        _HELD[folder] = lock


def _release(folder: Path) -> None:
    _HELD.pop(folder, ExitStack()).close()


def notebooks() -> list[str]:
    """Name the project's notebooks in their order; one without a number, or without parameters, is a reader's own."""
    return [file.stem for file in sorted(NOTEBOOKS.glob("[0-9]*.ipynb")) if defaults_in(file) is not None]


def defaults(notebook: str) -> Parameters:
    """Return a notebook's parameters and their default values, read from its cell tagged ``parameters``.

    Raises
    ------
    InputError
        If there is no such notebook or no such cell, or it cannot be read.
    """
    file = _notebook_file(notebook)
    if file.exists() and (found := defaults_in(file)) is not None:
        return found
    raise InputError(
        f"no notebook {notebook!r} with parameters",
        file=file,
        expected=f"one of {', '.join(sorted(f.stem for f in NOTEBOOKS.glob('*.ipynb')))}",
        got="no such file" if not file.exists() else "no cell tagged parameters",
        fix="check the name",
    )


def typed(notebook: str, values: Mapping[str, Any]) -> Parameters:
    """Read parameters as the types of their defaults, whoever wrote them.

    Raises
    ------
    InputError
        If a parameter does not exist or cannot have that value (`parameters.as_defaults`).
    """
    default = defaults(notebook)
    if unknown := ", ".join(sorted(values.keys() - default.keys())):
        expected, fix = ", ".join(default), "check the spelling"
        raise InputError(f"{notebook} has no parameter {unknown}", expected=expected, got=unknown, fix=fix)
    return as_defaults(default, values)


def run_folder(notebook: str, parameters: Mapping[str, Any]) -> Path:
    """Return the folder of a notebook's run; `parameters` left out have their defaults."""
    default = defaults(notebook)
    full = {**default, **telling(typed(notebook, parameters))}
    study = full["study"] = study_name(full["study"])
    digest = hashlib.sha256(json.dumps(full, sort_keys=True).encode()).hexdigest()[:8]
    shown = [str(full.get("roi", "all"))]
    shown += [f"seed={full['seed']}"] if "seed" in full else []
    shown += [f"{k}={v}" for k, v in full.items() if k not in ("study", "roi", "seed") and v != default[k]]
    name = re.sub(r"[^\w=.+-]", "-", "_".join(shown))[:120]  # no sign that a shell or papermill reads
    folder = home() / "runs" / study / notebook
    # The shown part depends on the defaults, which a reader may edit: the digest alone says which folder it is.
    return next(folder.glob(f"*_{digest}"), folder / f"{name}_{digest}")


def collect(notebook: str, study: str) -> pd.DataFrame:
    """Return all finished runs of a notebook in a study: one row each, its parameters as columns, and its folder.

    A run with a parameter that the notebook has no more is left out: nobody could say which of them is meant.
    ``finished`` is an instant, in UTC: records say it in the time zone of the machine that ran.
    """
    import pandas as pd  # slow: each run of a workflow would wait for it

    rows, known = [], defaults(notebook).keys()
    for file in sorted((home() / "runs" / study_name(study) / notebook).glob(f"*/{RECORD}")):
        record = read_record(file.parent)
        if record and record["parameters"].keys() <= known:
            noted = {name: record[name] for name in ("seconds", "finished")}
            rows.append({**record["parameters"], **noted, "folder": str(file.parent)})
    found = pd.DataFrame(rows, columns=[*known, "seconds", "finished", "folder"])  # there even where no run is
    return found.assign(finished=pd.to_datetime(found["finished"], utc=True, format="ISO8601"))


def prefer_defaults(runs: pd.DataFrame, notebook: str, by: tuple[str, ...]) -> pd.DataFrame:
    """Of runs that agree in the parameters `by`, keep the one with most defaults in the others, or all with as many."""
    if len(runs) < 2:
        return runs
    import pandas as pd

    others = {name: value for name, value in defaults(notebook).items() if name not in ("study", *by)}
    # a run from before a parameter existed has no value for it
    usual = (runs.reindex(columns=list(others)) == pd.Series(others)).sum(axis=1)
    best = usual.groupby([runs[name] for name in by], dropna=False).transform("max") if by else usual.max()
    return runs[usual == best]


def find(notebook: str, study: str, **parameters: Any) -> Run:
    """Return the finished run with these parameters.

    Where several differ in parameters not named here, the one with the defaults is taken.

    Raises
    ------
    InputError
        If there is none, or the choice is not clear.
    """
    asked = {"study": study, **parameters}
    if run := _found(notebook, asked):
        return run
    raise _missing([(notebook, asked)])


def _found(notebook: str, parameters: Parameters) -> Run | None:
    """Return the finished run with these parameters, ``study`` among them; None if there is none."""
    asked = telling(typed(notebook, parameters))
    usual = run_folder(notebook, asked)
    if record := read_record(usual):  # at once: among thousands of runs, a notebook asks for many
        return Run(notebook, record["parameters"], usual, finished=True)
    study = asked.pop("study")
    runs = collect(notebook, study)
    for name, value in asked.items():
        runs = runs[runs[name] == value] if len(runs) else runs
    runs = prefer_defaults(runs, notebook, tuple(asked))
    if len(runs) > 1:
        raise InputError(
            f"{notebook} has {len(runs)} finished runs with {parameters}",
            file=home() / "runs" / study_name(study) / notebook,
            expected="one finished run",
            got=", ".join(Path(folder).name for folder in runs["folder"]),
            fix="name the parameters they differ in, or delete the folders you do not want",
        )
    if runs.empty:
        return None
    folder = Path(runs["folder"].iloc[0])
    return Run(notebook, finished_record(folder)["parameters"], folder, finished=True)


def _missing(asked: list[Asked]) -> InputError:
    """Say which runs are missing, with the commands that make them and what they build on."""
    each = [(notebook, typed(notebook, values)) for notebook, values in asked]
    absent = [one for n, one in enumerate(each) if one not in each[:n] and _found(*one) is None]
    study = absent[0][1]["study"]
    check_whole(study, [values["roi"] for _, values in absent if "roi" in values])
    lines = [f"{notebook}: " + ", ".join(f"{k} {v}" for k, v in values.items()) for notebook, values in absent]
    return InputError(
        f"no finished runs of {' and '.join(dict.fromkeys(notebook for notebook, _ in absent))} with these parameters",
        file=home() / "runs" / study_name(study),
        expected="\n            ".join(lines),
        got="none",
        fix=" &&\n            ".join(_commands(absent)) + ALL_OF_DEMO * (study == "demo"),
    )


def _commands(wanted: list[Asked]) -> list[str]:
    """Return the commands that make missing runs, in their order: first what they build on and is missing, too."""
    commands: dict[str, None] = {}
    for notebook, asked in wanted:
        absent = [one for one in before(notebook, {**defaults(notebook), **asked}) if _found(*one) is None]
        commands |= dict.fromkeys([*_commands(absent), command(notebook, asked)])
    return list(commands)


def _notebook_file(notebook: str) -> Path:
    return NOTEBOOKS / f"{notebook}.ipynb"
