"""Data brought into the form that notebooks read, on the command line: ``prepare``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from nbtools import data, probes
from nbtools.checks import reading
from nbtools.cli.parser import add
from nbtools.conditions import HIERARCHY
from nbtools.data.study import home, open_study
from nbtools.files import read_table

THINGS_FOLDERS = ("images", "images-concepts", "images-categories")
ASKED_BY = {"tvsd-F": "tvsd", "tvsd-F-224px": "tvsd-224", "things-subj01": "things"}  # file of config/ of a study
MEASURES = {  # of reliability, as publishers call them
    "reliab": "mean r of two showings",
    "oracle": "mean r of a showing with the mean of the others",
    "nc_singletrial": "noise ceiling of one showing, percent of variance",
    "nc_testset": "noise ceiling of the mean of all showings, percent of variance",
}


def add_prepare(commands: argparse._SubParsersAction) -> None:
    """Add the command ``prepare``."""
    prepare = commands.add_parser("prepare", help="bring data into the form the notebooks read; what is done is kept")
    kinds = prepare.add_subparsers(required=True, metavar="what")
    own = add(kinds, "nsd", _prepare_nsd, "reduce NSD's volumes to the voxels of regions, once")
    own.add_argument("--study", default="nsd", help="name, or path of a study.toml (default: nsd)")
    own.add_argument("--rois", nargs="+", help=f"(default: the study's hierarchy, or {' '.join(HIERARCHY)})")
    own.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    imagenet = add(kinds, "imagenet50", _prepare_imagenet, "take the study's 50 classes out of ILSVRC 2012")
    imagenet.add_argument("source", type=Path, help="folder with train/ and val/, or with the original tar files")
    imagenet.add_argument("--classes", type=Path, help="a text file of other synsets, one a line")
    images = add(kinds, "images", _prepare_images, "take classes out of any folder of images sorted by class")
    images.add_argument("source", type=Path, help="<class>/* or train/<class>/* and val/<class>/*")
    images.add_argument("--classes", type=Path, help="a text file of classes, one a line (default: all)")
    images.add_argument("--validation", type=float, default=0.1, help="share to validate on, if there is no val/")
    for parser in (imagenet, images):
        parser.add_argument("--to", type=Path, help="folder to make (default: in data/raw)")
    about = "paint cue-conflict images of a study's own classes, by style transfer; wants a GPU"
    conflict = add(kinds, "cue-conflict", _prepare_cue_conflict, about)
    conflict.add_argument("--study", default="nsd", help="name, or path of a study.toml (default: nsd)")
    conflict.add_argument("--weights", type=Path, help="VGG-19's, a safetensors file (default: torchvision's, 550 MB)")
    haxby = add(kinds, "haxby", _prepare_haxby, "make a study of Haxby et al. 2001, fetched by nilearn")
    haxby.add_argument("--subject", type=int, default=2, help="1 to 6 (default: 2)")
    monkeys = add(kinds, "tvsd", _prepare_tvsd, "make studies of two macaques' V1, V4, IT (Papale et al. 2025)")
    monkeys.add_argument("--monkeys", nargs="+", default=["F", "N"], help="(default: F N)")
    people = add(kinds, "things-fmri", _prepare_things, "make studies of three people's V1 to TO (Hebart et al. 2023)")
    people.add_argument("--subjects", nargs="+", type=int, default=[1, 2, 3], help="(default: 1 2 3)")
    for parser in (monkeys, people):
        parser.add_argument("--size", type=int, default=64, help="side of the pictures in pixels (default: 64)")


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


def _prepare_tvsd(chosen: argparse.Namespace) -> None:
    for monkey in chosen.monkeys:
        _print_study(data.prepare_tvsd(_raw(""), monkey, image_size=chosen.size), "tvsd")


def _prepare_things(chosen: argparse.Namespace) -> None:
    print("PPA stands in for PHC, which the data do not name")
    for subject in chosen.subjects:
        _print_study(data.prepare_things_fmri(_raw(""), subject, image_size=chosen.size), "things")


def _print_study(file: Path, config: str) -> None:
    """Say what came out, and what comes next: by a file of ``config/``, or a copy of this one."""
    study = open_study(file)
    print(f"study: {study.title} ({file})\nregions: {' '.join(study.hierarchy)}")
    if study.simulated:
        print("simulated: the responses say of themselves that no brain was measured")
    for name in THINGS_FOLDERS:
        _print_classes(file.parent / name)
    beside = data.ceilings_beside(study, _raw(""))
    print(f"\nreliability of all n {study.sites}, from the repeats of test images, beside the publishers' own:")
    print(beside.round(3).to_string(index=False))
    print(*(f"  {name}: {MEASURES[name]}" for name in beside["measure"].unique()), sep="\n")
    print(f"  kept: {study.sites} of a noise ceiling of {study.voxels.noise_ceiling:g} % or more (study.toml)")
    plan, copied = "python -m nbtools plan config/", f"a copy of config/{config}.yaml, config/mine.yaml"
    asks = ASKED_BY.get(study.name)
    print(f"\nnext: {plan}{asks}.yaml" if asks else f"\nnext: {copied}, with `study: {study.name}`; {plan}mine.yaml")


def _print_classes(folder: Path) -> None:
    """Say how many pictures of how many categories there are, if any."""
    if (file := folder / "report.parquet").is_file():
        report = read_table(file, ["split", "class", "images"])
        n = report.groupby("split")["images"].sum()
        of = f"{report['class'].nunique()} categories, {n['train']} pictures to train, {n['val']} to test"
        print(f"pictures to classify, {folder.name}: {of}")
    else:
        print(f"pictures to classify, {folder.name}: none, there are too few categories")
