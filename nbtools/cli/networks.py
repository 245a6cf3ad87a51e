"""Networks of others on the command line: taken into a study, and given out of it."""

from __future__ import annotations

import argparse
from pathlib import Path

from nbtools.cli.parser import add


def add_networks(commands: argparse._SubParsersAction) -> None:
    """Add the commands ``adopt`` and ``export``."""
    about = "take a network from outside into a study, where it is the condition net-NAME"
    adopt = add(commands, "adopt", _adopt, about)
    adopt.add_argument("name", help="its own, such as robust50: notebooks take it as net-robust50")
    adopt.add_argument("--architecture", help="such as resnet50, of weights in a file or of torchvision's")
    source = adopt.add_mutually_exclusive_group(required=True)
    source.add_argument("--weights", type=Path, metavar="FILE", help="safetensors, or a PyTorch file of tensors")
    source.add_argument("--torchvision", metavar="NAME", help="weights that torchvision has, such as IMAGENET1K_V2")
    source.add_argument("--timm", metavar="NAME", help="a network of timm and its weights, such as resnet50.a1_in1k")
    names = "a name a line, or JSON, in the order of its logits; the word imagenet for ImageNet's thousand"
    adopt.add_argument("--classes", type=Path, metavar="FILE", help=names)
    channels = ("R", "G", "B")
    mean = "what its training subtracted from pixels in [0, 1] (0 0 0: nothing)"
    adopt.add_argument("--mean", type=float, nargs=3, metavar=channels, help=mean)
    sd = "what it then divided them by (1 1 1: nothing)"
    adopt.add_argument("--sd", type=float, nargs=3, metavar=channels, help=sd)
    adopt.add_argument("--size", type=int, help="side in pixels of the images it was trained on")
    table = "CSV of two columns, no header: the network's class, the study's (default: found by name or synset)"
    adopt.add_argument("--table", type=Path, metavar="FILE", help=table)
    adopt.formatter_class = argparse.RawDescriptionHelpFormatter
    adopt.epilog = "a table has lines such as\n  tabby cat,cat\n  beagle,dog"

    about = "write a network's weights, a card, and the lines that load it in plain PyTorch"
    export = add(commands, "export", _export, about)
    export.add_argument("network", help="a run's folder, or a condition such as TO or net-robust50")
    export.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="a new or empty folder")
    for parser in (adopt, export):
        parser.add_argument("--study", default="demo", help="name, or path of a study.toml (default: demo)")
        parser.add_argument("--seed", type=int, default=0, help="(default: 0)")


def _adopt(chosen: argparse.Namespace) -> None:
    from nbtools.data.images.counterparts import read_class_names  # imports slowly
    from nbtools.runs.newcomers import free_folder

    free_folder(chosen.name, chosen.study, chosen.seed)  # what can be refused at once, before torch is there
    if chosen.classes:
        read_class_names(chosen.classes)
    from nbtools.models.sources import source_of
    from nbtools.runs.adopted import adopt

    where = ("architecture", "weights", "torchvision", "timm", "classes", "mean", "sd", "size")
    source = source_of(**{name: getattr(chosen, name) for name in where})
    adopt(chosen.name, source, chosen.study, seed=chosen.seed, table=chosen.table)


def _export(chosen: argparse.Namespace) -> None:
    from nbtools.runs.exported import export, network_run  # imports slowly

    export(network_run(chosen.network, chosen.study, chosen.seed), chosen.to)
