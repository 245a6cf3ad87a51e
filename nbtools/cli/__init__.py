"""The command line: get data, run notebooks in batch, look at results, teach, measure speed."""

from __future__ import annotations

import argparse
import os
import sys
from math import inf
from pathlib import Path
from typing import Any, get_args

from nbtools import __version__, bench, data, runs, workflow
from nbtools.checks import check_choice, check_range
from nbtools.cli.fetching import add_fetch
from nbtools.cli.lab import add_lab
from nbtools.cli.networks import add_networks
from nbtools.cli.pages import add_pages
from nbtools.cli.parser import PARAMETER, STUDY, Parser, add
from nbtools.cli.preparing import add_prepare
from nbtools.conditions import HIERARCHY, check_rois
from nbtools.data.names import USUAL, ProfileName, Truth
from nbtools.data.study import home
from nbtools.errors import InputError
from nbtools.places import INSTALLED
from nbtools.runs import folders
from nbtools.runs.copies import found
from nbtools.workflow.config import number, words

# Of numbers in any command.
_RANGES = {"subject": (1, 8), "size": (1, inf), "jobs": (1, inf), "cores": (1, inf), "port": (1, 65535)}


def main(arguments: list[str] | None = None) -> int:
    """Run ``nbtools …``; return the exit status."""
    try:
        chosen = _parser().parse_args(arguments)
        for name in _RANGES.keys() & {given for given, value in vars(chosen).items() if value is not None}:
            check_range(f"--{name}", getattr(chosen, name), *_RANGES[name])
        status = chosen.command(chosen) or 0
        sys.stdout.flush()  # so that a reader who has left is met here, not at the interpreter's end
        return status
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="nbtools", description=__doc__)
    parser.add_argument("--version", action="version", version=f"nbtools {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    _add_data(commands)
    _add_notebooks(commands)
    add_networks(commands)
    add_pages(commands)
    return parser


# --- data ---------------------------------------------------------------------------------------------------


def _add_data(commands: argparse._SubParsersAction) -> None:
    world = add(commands, "world", _world, "make the simulated study")
    world.add_argument("name", nargs="?", help="its folder under data/derived (default: demo, demo-null …)")
    world.add_argument("--seed", type=int, default=0)
    world.add_argument("--profile", choices=get_args(ProfileName), help="(default: what a usual name says, or demo)")
    truths = "what is true of it: late regions help (beyond), by labels alone (labels), no region differs (null), "
    truths += "late regions are only measured better (quality); default: what a usual name says, or beyond"
    world.add_argument("--truth", choices=get_args(Truth), help=truths)
    subjects = "1 to 8: other voxels, the same scenes; default: what a usual name says, or 1"
    world.add_argument("--subject", type=int, help=subjects)
    also = "with V3A, V3B and IPS0, which code position and size"
    world.add_argument("--dorsal", action="store_true", default=None, help=also)
    add_fetch(commands)
    add_prepare(commands)
    doctor = add(commands, "doctor", _doctor, "say what data a study has, what is damaged, what it can run")
    doctor.add_argument("study", **STUDY)
    doctor.add_argument("--deep", action="store_true", help="read every byte and compare checksums")


def _world(chosen: argparse.Namespace) -> None:
    usual = USUAL.get(chosen.name, USUAL["demo"])
    world = {key: value if (value := getattr(chosen, key)) is not None else usual[key] for key in usual}
    name = data.study_name(chosen.name or data.usual_name(**world))
    file = data.make_study(home() / "data" / "derived" / name, seed=chosen.seed, **world, name=name)
    print(f"simulated study: {file}")


def _doctor(chosen: argparse.Namespace) -> int:
    return workflow.examine(str(workflow.config_named(chosen.study).get("study", "demo")), deep=chosen.deep)


# --- notebooks ----------------------------------------------------------------------------------------------


def _add_notebooks(commands: argparse._SubParsersAction) -> None:
    run = add(commands, "run", _run, "execute a notebook into its run folder, unless it is finished there")
    run.add_argument("notebook", help="its file, name or number: 03_guided_training, 03")
    run.add_argument("--quiet", action="store_true", help="say nothing but what fails")
    run.add_argument("-p", **PARAMETER)

    repeat = add(commands, "repeat", _repeat, "run a finished run again, elsewhere, and say whether it gives the same")
    repeat.add_argument("run", type=Path, help="its folder: runs/<study>/<notebook>/…")

    compare = add(commands, "compare", _compare, "say in what two finished runs differ")
    compare.add_argument("runs", type=Path, nargs=2, metavar="run", help="their folders")

    plan = add(commands, "plan", _plan, "say what runs a study takes, which are finished, what the rest will take")
    fix = add(commands, "preregister", _preregister, "fix a study's claims, tests and settings in a dated, hashed file")
    study = add(commands, "study", _study, "make a study's runs, and say what is finished and how long the rest takes")
    demo = add(commands, "demo", _study, "make the simulated study, and its report")
    demo.set_defaults(study="demo", targets=["all"])
    for parser in (plan, fix, study):
        parser.add_argument("study", **STUDY)
    for parser in (plan, fix, study, demo):
        parser.add_argument("--rois", help='in place of the file\'s, such as "V1 TO"')
        parser.add_argument("--seeds", help='in place of the file\'s, such as "0 1 2"')
    fix.add_argument("--endpoint", default="", help='the primary one, such as "accuracy at 4/255" (default: largest ε)')
    fix.add_argument(
        "--least-clean", type=float, default=0.0, help="exclude seeds with a network of lower clean accuracy"
    )
    fix.add_argument("--note", default="", help="what else is to be fixed, in words")
    study.add_argument("--targets", nargs="+", default=["all"], help="all (default), attacks, study, explorers")
    for parser in (study, demo):
        parser.add_argument("--cores", type=_cores, default="all", help="how many runs at once (default: one a core)")
        parser.add_argument("--profile", help="of Snakemake, in place of this machine: config/slurm for a cluster")

    known = "say how often each claim's test is right: the whole chain in simulated worlds whose answers are known"
    calibrate = add(commands, "calibrate", _calibrate, known)
    calibrate.add_argument(
        "--truths", nargs="+", choices=get_args(Truth), default=get_args(Truth), help="(default: all)"
    )
    calibrate.add_argument("--seeds", default="0 1 2 3 4 5", help="of the networks of each world (default: 0 to 5)")
    who, numbers = "of each world, 1 to 8 (default: 1)", range(1, 9)
    calibrate.add_argument("--subjects", type=int, choices=numbers, metavar="N", nargs="+", default=[1], help=who)
    calibrate.add_argument("--size", type=int, default=3, help="seeds of a study that it speaks of (default: 3)")
    calibrate.add_argument("--rois", default=" ".join(HIERARCHY), help="(default: all regions)")
    calibrate.add_argument("--profile", choices=get_args(ProfileName), default="demo")
    calibrate.add_argument("--cores", type=_cores, default="all", help="(default: all)")
    calibrate.add_argument("--save", action="store_true", help="into the table that summaries quote: for the project")
    sets = "of the processor: default, avx2, avx512 (default: native, as it is)"
    calibrate.add_argument("--instructions", nargs="+", default=["native"], help=sets)

    summary = add(commands, "summary", _summary, "print a study's summary table and where its report is")
    summary.add_argument("study", nargs="?", default="demo")

    add_lab(commands)
    explore = add(commands, "explore", _explore, "serve a notebook's explorer as an app, for this machine only")
    explore.add_argument("notebook", nargs="?", default="05_attack_explorer", help="(default: 05_attack_explorer)")
    explore.add_argument("-p", **PARAMETER)
    explore.add_argument("--port", type=int, default=8866)
    explore.add_argument("--no-browser", action="store_true", help="only print the address")

    ask = add(commands, "vote", _vote, "let a room vote: phones choose on a page, the lectern's page counts")
    ask.add_argument("question")
    ask.add_argument("options", nargs="+", help="two or more")
    ask.add_argument("--port", type=int, default=8867)
    ask.add_argument("--room", action="store_true", help="let other machines of the network vote (default: this alone)")

    answers = add(commands, "answers", _answers, "put students' answers to the exercises into one table (CSV)")
    answers.add_argument("files", type=Path, nargs="+", help="each student's answers.jsonl, under a name of its own")

    student = add(commands, "student", _student, "copy the notebooks for students: without the instructor's answers")
    student.add_argument("folder", help="a new or empty folder, anywhere")

    site = add(commands, "site", _site, "build the site: notebooks with a study's outputs, methods, reference, gallery")
    site.add_argument("study", nargs="?", default="demo", help="whose finished runs are shown (default: demo)")

    speed = add(commands, "bench", _bench, "measure speed side by side with the usual way")
    speed.add_argument("names", nargs="*", help="comparisons to run (default: all)")


def _cores(text: str) -> int:
    """Read how many cores runs may use; for a number that is none, argparse says so."""
    return (os.cpu_count() or 1) if text == "all" else int(text)


def _run(chosen: argparse.Namespace) -> int:
    file = Path(chosen.notebook)
    if file.exists() and file.resolve().parent != folders.NOTEBOOKS.resolve():
        raise InputError(
            "runs are kept for the project's own notebooks only",
            file=file,
            expected=f"a notebook in {folders.NOTEBOOKS}",
            got=f"one in {file.resolve().parent}",
            fix="put it beside the others, under a name of its own"
            + " (`nbtools lab` copies them into this folder)" * INSTALLED,
        )
    return runs.run_notebook(_notebook(chosen.notebook), dict(chosen.p), quiet=chosen.quiet)


def _notebook(given: str) -> str:
    """Return the name of a notebook that is given by its file, its name or its number."""
    stem = Path(given).stem
    return next((name for name in folders.notebooks() if name.partition("_")[0] == stem), stem)


def _repeat(chosen: argparse.Namespace) -> int:
    return runs.repeat(chosen.run)


def _compare(chosen: argparse.Namespace) -> int:
    return runs.compare(*chosen.runs)


def _plan(chosen: argparse.Namespace) -> None:
    print(workflow.plan(_config(chosen)))


def _preregister(chosen: argparse.Namespace) -> None:
    said = {"endpoint": chosen.endpoint, "least_clean": chosen.least_clean, "note": chosen.note}
    print(workflow.preregister(_config(chosen), **said))


def _config(chosen: argparse.Namespace) -> dict[str, Any]:
    return {**workflow.config_named(chosen.study), **_given(chosen)}


def _given(chosen: argparse.Namespace) -> dict[str, str]:
    return {key: value for key in ("rois", "seeds") if (value := getattr(chosen, key)) is not None}


def _study(chosen: argparse.Namespace) -> int:
    place = ["--profile", str(found(chosen.profile))] if chosen.profile else ["--cores", str(chosen.cores)]
    file = workflow.file_named(chosen.study)
    given = {**({} if file else {"study": chosen.study}), **_given(chosen)}
    values = ["--config", *(f"{key}={value}" for key, value in given.items())] if given else []
    planned_from = [*(["--configfile", str(file)] if file else []), *values]
    return workflow.follow(workflow.make_graph(_config(chosen)), chosen.targets, [*place, *planned_from])


def _calibrate(chosen: argparse.Namespace) -> None:
    if chosen.save:
        check_choice("the numbers of such worlds mean nothing", chosen.profile, ["demo"], fix="leave --save out")
    seeds = tuple(dict.fromkeys(number(seed, "--seeds", int) for seed in words(chosen.seeds, "--seeds")))
    truths, subjects = (tuple(dict.fromkeys(named)) for named in (chosen.truths, chosen.subjects))  # each once
    rois = tuple(words(chosen.rois, "--rois"))
    check_rois(rois)
    asked = workflow.Asked(truths, seeds, subjects, chosen.size, chosen.profile, rois, chosen.cores)
    for instructions in chosen.instructions:
        with workflow.told_to_use(instructions):
            rows = workflow.calibrate(asked)
            file = workflow.save_counts(rows, asked)
        print(f"\n{workflow.as_text(rows)}\n\nTable: {file}")
        if chosen.save:
            print(f"Quoted from now on: {workflow.save_known(rows)}")


def _summary(chosen: argparse.Namespace) -> None:
    newest = workflow.newest_summary(chosen.study)
    print(f"{workflow.summary(newest)}\nReport: {newest / 'report.html'}")


def _explore(chosen: argparse.Namespace) -> int:
    from nbtools.widgets.serve import serve

    return serve(_notebook(chosen.notebook), chosen.port, dict(chosen.p), open_browser=not chosen.no_browser)


def _vote(chosen: argparse.Namespace) -> None:
    from nbtools.widgets.vote import Ballot, hold_vote

    hold_vote(Ballot(chosen.question, chosen.options), chosen.port, room=chosen.room)


def _answers(chosen: argparse.Namespace) -> None:
    print(workflow.pool_answers(chosen.files).to_csv(index=False), end="")


def _student(chosen: argparse.Namespace) -> None:
    copies = workflow.student_copies(Path(chosen.folder))
    print(f"{len(copies)} notebooks without answers: {copies[0].parent}")


def _site(chosen: argparse.Namespace) -> None:
    from nbtools.site import build_site

    print(f"Site: {build_site(chosen.study)}")


def _bench(chosen: argparse.Namespace) -> None:
    bench.main(chosen.names)
