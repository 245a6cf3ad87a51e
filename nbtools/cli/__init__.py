"""The command line: get data, run notebooks in batch, look at results, teach, measure speed."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from nbtools import bench, data, probes, runs, workflow
from nbtools.checks import check_choice, check_range, reading
from nbtools.cli.networks import add_networks
from nbtools.cli.parser import Parser
from nbtools.conditions import HIERARCHY, RETINOTOPY, check_rois
from nbtools.data.names import USUAL, ProfileName, Truth
from nbtools.data.study import BETAS, home, open_study
from nbtools.errors import InputError
from nbtools.runs import folders
from nbtools.workflow.config import number, words

if TYPE_CHECKING:
    from nbtools.data.fetch.obtain import Route

# Of numbers in any command.
_RANGES = {"subject": (1, 8), "size": (1, inf), "jobs": (1, inf), "cores": (1, inf), "port": (1, 65535)}
# What the commands take that are about a study as a whole.
_STUDY: dict[str, Any] = {
    "nargs": "?",
    "default": "demo",
    "help": "config/nsd.yaml, or nsd for short; or a study's name or path of its study.toml (default: demo)",
}
Command = Callable[[argparse.Namespace], int | None]  # its exit status, if that is not always 0


def main(arguments: list[str] | None = None) -> int:
    """Run ``python -m nbtools …``; return the exit status."""
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
    parser = Parser(prog="python -m nbtools", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    _add_data(commands)
    _add_notebooks(commands)
    add_networks(commands, _add)
    return parser


def _add(commands: argparse._SubParsersAction, name: str, command: Command, about: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.")
    parser.set_defaults(command=command)
    return parser


# --- data ---------------------------------------------------------------------------------------------------


def _add_data(commands: argparse._SubParsersAction) -> None:
    world = _add(commands, "world", _world, "make the simulated study")
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

    fetch = commands.add_parser("fetch", help="fetch public data; what is there is kept, what broke off goes on")
    kinds = fetch.add_subparsers(required=True, metavar="what", dest="what")
    nsd = _add(kinds, "nsd", _fetch_nsd, "fetch a subject's betas, regions and design (Natural Scenes Dataset)")
    nsd.add_argument("--subject", type=int, default=1, help="1 to 8 (default: 1)")
    nsd.add_argument("--sessions", default="", help="such as 1-10 or 1,2,5 (default: all)")
    nsd.add_argument("--rois", nargs="+", default=[], help="reduce sessions to these regions and remove their volumes")
    nsd.add_argument("--keep-volumes", action="store_true", help="with --rois: keep the volumes too")
    nsd.add_argument("--betas", choices=BETAS, default="b3", help="version of the betas (default: b3, the paper's)")
    nsd.add_argument("--retinotopy", choices=RETINOTOPY, default="Kastner2015", help="where V1 to V4 are taken from")
    nsd.add_argument("--hdf5", action="store_true", help="fetch .hdf5 files: larger than .nii.gz, read faster")
    stimuli = _add(kinds, "stimuli", _fetch, "fetch the images NSD's subjects saw (37 GB)")
    conflict = _add(kinds, "cue-conflict", _fetch, "fetch the cue-conflict images of Geirhos et al. 2019")
    cifar = _add(kinds, "cifar100", _fetch, "fetch CIFAR-100 and sort it into folders")
    for parser in (nsd, stimuli, conflict, cifar):
        parser.add_argument("--to", type=Path, help="folder (default: in data/raw)")
        parser.add_argument("--mirror", help="address to fetch from in place of the public one")
        parser.add_argument("--proxy", help="proxy for http and https (default: that of the environment)")
        parser.add_argument("--dry-run", action="store_true", help="say what and how large, and fetch nothing")
        parser.add_argument("--jobs", type=int, default=4, help="files at the same time (default: 4)")
    for parser in (nsd, stimuli):
        parser.add_argument("--agreed", action="store_true", help="you filled in NSD's access form and keep its terms")

    prepare = commands.add_parser("prepare", help="bring data into the form the notebooks read; what is done is kept")
    kinds = prepare.add_subparsers(required=True, metavar="what")
    own = _add(kinds, "nsd", _prepare_nsd, "reduce NSD's volumes to the voxels of regions, once")
    own.add_argument("--study", default="nsd", help="name, or path of a study.toml (default: nsd)")
    own.add_argument("--rois", nargs="+", help=f"(default: the study's hierarchy, or {' '.join(HIERARCHY)})")
    own.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    imagenet = _add(kinds, "imagenet50", _prepare_imagenet, "take the study's 50 classes out of ILSVRC 2012")
    imagenet.add_argument("source", type=Path, help="folder with train/ and val/, or with the original tar files")
    imagenet.add_argument("--classes", type=Path, help="a text file of other synsets, one a line")
    images = _add(kinds, "images", _prepare_images, "take classes out of any folder of images sorted by class")
    images.add_argument("source", type=Path, help="<class>/* or train/<class>/* and val/<class>/*")
    images.add_argument("--classes", type=Path, help="a text file of classes, one a line (default: all)")
    images.add_argument("--validation", type=float, default=0.1, help="share to validate on, if there is no val/")
    for parser in (imagenet, images):
        parser.add_argument("--to", type=Path, help="folder to make (default: in data/raw)")
    about = "paint cue-conflict images of a study's own classes, by style transfer; wants a GPU"
    conflict = _add(kinds, "cue-conflict", _prepare_cue_conflict, about)
    conflict.add_argument("--study", default="nsd", help="name, or path of a study.toml (default: nsd)")
    conflict.add_argument("--weights", type=Path, help="VGG-19's, a safetensors file (default: torchvision's, 550 MB)")
    haxby = _add(kinds, "haxby", _prepare_haxby, "make a study of Haxby et al. 2001, fetched by nilearn")
    haxby.add_argument("--subject", type=int, default=2, help="1 to 6 (default: 2)")

    doctor = _add(commands, "doctor", _doctor, "say what data a study has, what is damaged, what it can run")
    doctor.add_argument("study", **_STUDY)
    doctor.add_argument("--deep", action="store_true", help="read every byte and compare checksums")


def _world(chosen: argparse.Namespace) -> None:
    usual = USUAL.get(chosen.name, USUAL["demo"])
    world = {key: value if (value := getattr(chosen, key)) is not None else usual[key] for key in usual}
    name = data.study_name(chosen.name or data.usual_name(**world))
    file = data.make_study(home() / "data" / "derived" / name, seed=chosen.seed, **world, name=name)
    print(f"simulated study: {file}")


def _fetch_nsd(chosen: argparse.Namespace) -> None:
    from nbtools.data.fetch.obtain import NsdWish, obtain_nsd

    wish = NsdWish(
        subject=chosen.subject,
        sessions=_numbers(chosen.sessions),
        rois=tuple(chosen.rois),
        keep_volumes=chosen.keep_volumes or not chosen.rois,
        betas=chosen.betas,
        retinotopy=chosen.retinotopy,
        ending=".hdf5" if chosen.hdf5 else ".nii.gz",
    )
    obtain_nsd(wish, chosen.to, _route(chosen))


def _fetch(chosen: argparse.Namespace) -> None:
    from nbtools.data.fetch import obtain

    obtainers = {
        "stimuli": obtain.obtain_stimuli,
        "cue-conflict": obtain.obtain_cue_conflict,
        "cifar100": obtain.obtain_cifar100,
    }
    obtainers[chosen.what](chosen.to, _route(chosen))


def _route(chosen: argparse.Namespace) -> Route:
    from nbtools.data.fetch.obtain import Route

    agreed = getattr(chosen, "agreed", True)
    return Route(chosen.mirror, chosen.proxy, chosen.dry_run, chosen.jobs, agreed)


def _numbers(text: str) -> tuple[int, ...]:
    """Read ``1-3,7`` as 1, 2, 3, 7."""
    parts = [re.fullmatch(r"(\d+)(?:-(\d+))?", part) for part in text.split(",") if part]
    spans = [range(int(part[1]), int(part[2] or part[1]) + 1) for part in parts if part]
    if not all(parts) or not all(spans):
        raise InputError(
            "these are no sessions", expected="numbers such as 1-10 or 1,2,5", got=repr(text), fix="correct --sessions"
        )
    return tuple(sorted(set().union(*spans)))


def _prepare_nsd(chosen: argparse.Namespace) -> None:
    study = open_study(chosen.study)
    rois = chosen.rois or study.hierarchy
    files = [file for part in study.parts for file in data.prepare_nsd(part, rois, jobs=chosen.jobs)]
    size = sum(file.stat().st_size for file in files) / 1e6
    print(f"{len(files)} sessions of {study.title} are prepared: {size:.0f} MB in {study.responses.parent}")


def _prepare_imagenet(chosen: argparse.Namespace) -> None:
    from nbtools.data.images.imagenet import SYNSETS

    classes = [line.split()[0] for line in _lines(chosen.classes)] if chosen.classes else list(SYNSETS)
    target = chosen.to or _raw(chosen.classes.stem if chosen.classes else "imagenet50")
    data.prepare_imagenet(chosen.source, target, classes)
    _print_images(target)


def _prepare_images(chosen: argparse.Namespace) -> None:
    target = chosen.to or _raw(chosen.source.resolve().name)
    classes = _lines(chosen.classes) if chosen.classes else None
    report = data.prepare_folder(chosen.source, target, classes, chosen.validation)
    left_out = report["left_out"].explode().dropna()
    print(report[["split", "class", "images"]].to_string(index=False))
    print("\n".join([f"left out: {len(left_out)}", *left_out]))
    _print_images(target)


def _print_images(folder: Path) -> None:
    print(f'images: {folder}\nin study.toml: classification = "{folder.resolve()}"')


def _prepare_cue_conflict(chosen: argparse.Namespace) -> None:
    study = open_study(chosen.study)
    painted = probes.paint_cue_conflict(study, probes.vgg19_features(chosen.weights))
    print(f"{len(painted)} cue-conflict images of {painted['shape'].nunique()} classes: {study.cue_conflict}")


def _lines(file: Path) -> list[str]:
    expected = "a text file, a class a line"
    with reading("the classes cannot be read", OSError, ValueError, file=file, expected=expected, fix="write one"):
        lines = file.read_text(encoding="utf-8-sig").splitlines()  # Windows' editors begin UTF-8 with a mark
    return [line.strip() for line in lines if line.strip()]


def _raw(name: str) -> Path:
    return home() / "data" / "raw" / name


def _prepare_haxby(chosen: argparse.Namespace) -> None:
    print(f"study: {data.prepare_haxby(_raw('haxby'), chosen.subject)}")


def _doctor(chosen: argparse.Namespace) -> int:
    return workflow.examine(str(workflow.config_named(chosen.study).get("study", "demo")), deep=chosen.deep)


# --- notebooks ----------------------------------------------------------------------------------------------


def _add_notebooks(commands: argparse._SubParsersAction) -> None:
    run = _add(commands, "run", _run, "execute a notebook into its run folder, unless it is finished there")
    run.add_argument("notebook", help="its file, name or number: 03_guided_training, 03")
    run.add_argument("--quiet", action="store_true", help="say nothing but what fails")
    run.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="set a parameter")

    repeat = _add(commands, "repeat", _repeat, "run a finished run again, elsewhere, and say whether it gives the same")
    repeat.add_argument("run", type=Path, help="its folder: runs/<study>/<notebook>/…")

    compare = _add(commands, "compare", _compare, "say in what two finished runs differ")
    compare.add_argument("runs", type=Path, nargs=2, metavar="run", help="their folders")

    plan = _add(commands, "plan", _plan, "say what runs a study takes, which are finished, what the rest will take")
    fix = _add(
        commands, "preregister", _preregister, "fix a study's claims, tests and settings in a dated, hashed file"
    )
    study = _add(commands, "study", _study, "make a study's runs, and say what is finished and how long the rest takes")
    for parser in (plan, fix, study):
        parser.add_argument("study", **_STUDY)
        parser.add_argument("--rois", help='in place of the file\'s, such as "V1 TO"')
        parser.add_argument("--seeds", help='in place of the file\'s, such as "0 1 2"')
    fix.add_argument("--endpoint", default="", help='the primary one, such as "accuracy at 4/255" (default: largest ε)')
    fix.add_argument(
        "--least-clean", type=float, default=0.0, help="exclude seeds with a network of lower clean accuracy"
    )
    fix.add_argument("--note", default="", help="what else is to be fixed, in words")
    study.add_argument("--targets", nargs="+", default=["all"], help="all (default), attacks, study, explorers")
    study.add_argument("--cores", type=_cores, default="all", help="how many runs at once (default: one a core)")
    study.add_argument("--profile", help="of Snakemake, in place of this machine: config/slurm for a cluster")

    known = "say how often each claim's test is right: the whole chain in simulated worlds whose answers are known"
    calibrate = _add(commands, "calibrate", _calibrate, known)
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

    summary = _add(commands, "summary", _summary, "print a study's summary table and where its report is")
    summary.add_argument("study", nargs="?", default="demo")

    explore = _add(commands, "explore", _explore, "serve a notebook's explorer as an app, for this machine only")
    explore.add_argument("notebook", nargs="?", default="05_attack_explorer", help="(default: 05_attack_explorer)")
    explore.add_argument("--port", type=int, default=8866)
    explore.add_argument("--no-browser", action="store_true", help="only print the address")

    student = _add(commands, "student", _student, "copy the notebooks for students: without the instructor's answers")
    student.add_argument("folder", help="a new or empty folder, anywhere")

    speed = _add(commands, "bench", _bench, "measure speed side by side with the usual way")
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
            fix="put it beside the others, under a name of its own",
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
    place = ["--profile", chosen.profile] if chosen.profile else ["--cores", str(chosen.cores)]
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

    return serve(_notebook(chosen.notebook), chosen.port, open_browser=not chosen.no_browser)


def _student(chosen: argparse.Namespace) -> None:
    copies = workflow.student_copies(Path(chosen.folder))
    print(f"{len(copies)} notebooks without answers: {copies[0].parent}")


def _bench(chosen: argparse.Namespace) -> None:
    bench.main(chosen.names)
