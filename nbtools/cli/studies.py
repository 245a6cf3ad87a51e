"""A study on the command line: planned, fixed beforehand, made, summed up; and how often its tests are right."""

from __future__ import annotations

import argparse
import os
from typing import Any, get_args

from nbtools import workflow
from nbtools.checks import check_choice
from nbtools.cli.parser import STUDY, add
from nbtools.conditions import HIERARCHY, check_rois
from nbtools.data.names import ProfileName, Truth
from nbtools.runs.copies import found
from nbtools.workflow.config import number, words


def add_studies(commands: argparse._SubParsersAction) -> None:
    """Add the commands ``plan``, ``preregister``, ``study``, ``demo``, ``summary`` and ``calibrate``."""
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

    summary = add(commands, "summary", _summary, "print a study's summary table and where its report is")
    summary.add_argument("study", nargs="?", default="demo")
    _add_calibrate(commands)


def _add_calibrate(commands: argparse._SubParsersAction) -> None:
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


def _cores(text: str) -> int:
    """Read how many cores runs may use; for a number that is none, argparse says so."""
    return (os.cpu_count() or 1) if text == "all" else int(text)


def _plan(chosen: argparse.Namespace) -> None:
    print(workflow.plan(_config(chosen)))


def _preregister(chosen: argparse.Namespace) -> None:
    said = {"endpoint": chosen.endpoint, "least_clean": chosen.least_clean, "note": chosen.note}
    print(workflow.preregister(_config(chosen), **said))


def _study(chosen: argparse.Namespace) -> int:
    place = ["--profile", str(found(chosen.profile))] if chosen.profile else ["--cores", str(chosen.cores)]
    file = workflow.file_named(chosen.study)
    given = {**({} if file else {"study": chosen.study}), **_given(chosen)}
    values = ["--config", *(f"{key}={value}" for key, value in given.items())] if given else []
    planned_from = [*(["--configfile", str(file)] if file else []), *values]
    return workflow.follow(workflow.make_graph(_config(chosen)), chosen.targets, [*place, *planned_from])


def _config(chosen: argparse.Namespace) -> dict[str, Any]:
    return {**workflow.config_named(chosen.study), **_given(chosen)}


def _given(chosen: argparse.Namespace) -> dict[str, str]:
    return {key: value for key in ("rois", "seeds") if (value := getattr(chosen, key)) is not None}


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
