"""The command line: run notebooks in batch, make the simulated study, copy notebooks for a class, measure speed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

from nbtools import runs
from nbtools.data.study import home, open_study
from nbtools.errors import InputError
from nbtools.metrics.robustness import epsilon_label


def main(arguments: list[str] | None = None) -> int:
    """Run ``python -m nbtools …``; return the exit status."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    try:
        return chosen.command(chosen)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m nbtools", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    run = commands.add_parser("run", help="execute a notebook into its run folder, unless it is finished there")
    run.add_argument("notebook", help="e.g. notebooks/03_guided_training.ipynb")
    run.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="set a parameter")
    run.set_defaults(command=_run)

    world = commands.add_parser("world", help="make the simulated study")
    world.add_argument("name", nargs="?", default="demo", help="its folder under data/derived (default: demo)")
    world.add_argument("--seed", type=int, default=0)
    world.add_argument("--profile", choices=("demo", "tiny"), default="demo")
    world.add_argument("--labels", action="store_true", help="plant category labels in the late regions")
    world.add_argument("--subject", type=int, default=1, help="1 to 8: other voxels, the same scenes")
    world.set_defaults(command=_world)

    summary = commands.add_parser("summary", help="print a study's summary table and where its report is")
    summary.add_argument("study", nargs="?", default="demo")
    summary.set_defaults(command=_summary)

    explore = commands.add_parser("explore", help="serve a notebook's explorer as an app, for this machine only")
    explore.add_argument("notebook", nargs="?", default="05_attack_explorer", help="(default: 05_attack_explorer)")
    explore.add_argument("--port", type=int, default=8866)
    explore.add_argument("--no-browser", action="store_true", help="only print the address")
    explore.set_defaults(command=_explore)

    student = commands.add_parser("student", help="copy the notebooks for students: without the instructor's answers")
    student.add_argument("folder", help="a new or empty folder, anywhere")
    student.set_defaults(command=_student)

    bench = commands.add_parser("bench", help="measure speed side by side with the usual way")
    bench.add_argument("names", nargs="*", help="comparisons to run (default: all)")
    bench.set_defaults(command=_bench)
    return parser


def _run(chosen: argparse.Namespace) -> int:
    file = Path(chosen.notebook)
    if file.exists() and file.resolve().parent != runs.NOTEBOOKS.resolve():
        raise InputError(
            "runs are kept for the project's own notebooks only",
            file=file,
            expected=f"a notebook in {runs.NOTEBOOKS}",
            got=f"one in {file.resolve().parent}",
            fix="put it beside the others, under a name of its own",
        )
    return run_notebook(file.stem, dict(chosen.p))


def run_notebook(notebook: str, texts: dict[str, str]) -> int:
    """Execute a notebook with papermill, strictly, into its run folder.

    Parameters
    ----------
    notebook : str
        Name without ``.ipynb``.
    texts : dict
        Parameters as they stand on the command line.

    Returns
    -------
    int
        0 if the run is finished, now or before; 1 if a cell failed.

    Raises
    ------
    InputError
        If a parameter does not exist or has a value of another type than its default.
    """
    parameters = runs.typed(notebook, texts)
    folder = runs.run_folder(notebook, parameters)
    if runs.stale(folder) == []:
        print(f"finished before: {folder}")
        return 0
    # papermill imports slowly; skipping what is finished should not wait for it
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    folder.mkdir(parents=True, exist_ok=True)
    print(f"running {notebook} into {folder}")
    try:
        papermill.execute_notebook(
            str(runs.NOTEBOOKS / f"{notebook}.ipynb"),
            str(folder / "notebook.ipynb"),
            parameters=parameters,
            cwd=str(runs.NOTEBOOKS),
            progress_bar=sys.stderr.isatty(),
            config=Config({"KernelManager": {"transport_encryption": "auto"}}),  # ipykernel warns of plain TCP
            extra_arguments=["--IPKernelApp.log_level=CRITICAL"],  # it reports its own shutdown as an error
        )
    except (PapermillExecutionError, DeadKernelError) as error:
        (folder / runs.RECORD).unlink(missing_ok=True)  # a run whose notebook failed anywhere is not finished
        print(f"{error}\nthe notebook as far as it went: {folder / 'notebook.ipynb'}", file=sys.stderr)
        return 1
    if not (folder / runs.RECORD).exists():
        raise InputError(
            "the notebook ended without finishing its run",
            file=folder / "notebook.ipynb",
            expected="a cell that calls run.finish()",
            got=f"no {runs.RECORD}",
            fix="see the notebook; the other notebooks show how",
        )
    return 0


def _world(chosen: argparse.Namespace) -> int:
    from nbtools.data.synthetic import make_study

    folder = home() / "data" / "derived" / chosen.name
    file = make_study(
        folder,
        seed=chosen.seed,
        profile=chosen.profile,
        category_labels=chosen.labels,
        subject=chosen.subject,
        name=chosen.name,
    )
    print(f"simulated study: {file}")
    return 0


def _summary(chosen: argparse.Namespace) -> int:
    found = runs.collect("10_summary", chosen.study)
    if found.empty:
        raise InputError(
            "there is no summary yet", expected="a finished run of 10_summary", got="none", fix="run `make demo`"
        )
    run = found.loc[found["finished"].idxmax()]
    newest = Path(run["folder"])
    accuracy = pd.read_parquet(newest / "accuracy.parquet")
    accuracy["epsilon"] = accuracy["epsilon"].map(epsilon_label)
    table = accuracy.pivot(index="condition", columns="epsilon", values="accuracy")
    rows = [name for name in run["rois"].split() if name in table.index]
    print(f"\nRobust accuracy, {open_study(chosen.study).title}\n")
    print(table.loc[rows, accuracy["epsilon"].unique()].to_string(float_format="{:.2f}".format))
    print(f"\n{(newest / 'verdict.txt').read_text()}\n\nReport: {newest / 'report.html'}")
    return 0


def _explore(chosen: argparse.Namespace) -> int:
    from nbtools.widgets.serve import serve

    return serve(Path(chosen.notebook).stem, chosen.port, open_browser=not chosen.no_browser)


def _student(chosen: argparse.Namespace) -> int:
    from nbtools.teaching import student_copies

    copies = student_copies(Path(chosen.folder))
    print(f"{len(copies)} notebooks without answers: {copies[0].parent}")
    return 0


def _bench(chosen: argparse.Namespace) -> int:
    from nbtools import bench

    bench.main(chosen.names)
    return 0
