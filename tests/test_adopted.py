"""Networks from outside: the library's own answers, a study's classes, a finished run, and out again."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import foolbox
import numpy as np
import pandas as pd
import pyautoattack
import pytest
import torch
from pyautoattack import AutoAttack
from safetensors.torch import save_file
from scipy.stats import binomtest
from torch import Tensor, nn
from torchvision.models import get_model

from nbtools import data
from nbtools.attacks import sweep
from nbtools.cli import main
from nbtools.data.images.counterparts import counterparts, read_class_names, read_class_table
from nbtools.data.images.files import decode_image
from nbtools.data.images.ilsvrc import ILSVRC
from nbtools.data.images.imagenet import SYNSETS
from nbtools.data.images.sets import ImageSet
from nbtools.data.study import open_study
from nbtools.errors import InputError
from nbtools.metrics.decisions.sixteen import CATEGORIES, SYNSETS as SIXTEEN
from nbtools.models.networks import (
    AdoptedNet,
    GuidedNet,
    build,
    fold_batchnorm,
    freeze,
    load_model,
    resized,
    save_model,
    together,
)
from nbtools.models.sources import source_of
from nbtools.runs import folders
from nbtools.runs.adopted import _made, adopt
from nbtools.runs.exported import export, network_run
from nbtools.runs.lineage import ATTACKED, NETWORKS, PREDICTORS
from nbtools.runs.several import chosen
from nbtools.widgets.study_state import all_runs
from nbtools.workflow.calibration import Calibration
from nbtools.workflow.costs import estimates
from nbtools.workflow.graph import make_graph

OWN = ("disk", "cat", "square", "flower", "dog")
MEAN, SD = (0.4, 0.5, 0.3), (0.2, 0.3, 0.25)


def library(name: str, n_classes: int = len(OWN), **options: Any) -> nn.Module:
    """The library's own network, with weights and statistics of batch normalisation that are not those of a new one."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = get_model(name, weights=None, num_classes=n_classes, **options)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
    return network.eval()


def as_safetensors(state: dict[str, Tensor], file: Path) -> Path:
    save_file({name: value.clone() for name, value in state.items()}, file)
    return file


def as_torch(state: dict[str, Tensor], file: Path) -> Path:
    torch.save(state, file)
    return file


def as_checkpoint(state: dict[str, Tensor], file: Path) -> Path:
    torch.save({"epoch": 90, "state_dict": {f"module.{name}": value for name, value in state.items()}}, file)
    return file


def written_lines(file: Path, lines: Any) -> Path:
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def source(tmp_path: Path, network: nn.Module, save: Callable = as_torch, **changes: Any) -> Any:
    names = written_lines(tmp_path / "classes.txt", changes.pop("names", OWN))
    how = {"architecture": "shufflenet_v2_x0_5", "classes": names, "mean": MEAN, "sd": SD, "size": 64, **changes}
    return source_of(weights=save(network.state_dict(), tmp_path / "weights"), **how)


def filled(found: Any, classes: tuple[str, ...] = OWN) -> AdoptedNet:
    return _made(found, classes, None)[0]


def pictures(n: int, side: int) -> Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(1))


def normalised(x: Tensor) -> Tensor:
    return (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(SD).view(3, 1, 1)


# --- the library's answers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["resnet18", "shufflenet_v2_x0_5", "mnasnet0_5", "efficientnet_b0", "mobilenet_v3_small"]
)
def test_an_adopted_network_is_the_librarys(tmp_path: Path, name: str) -> None:
    own, x = library(name), pictures(2, 64)
    with torch.no_grad():
        expected = own(normalised(x))
        assert expected.std() > 1e-3, "random weights say something"
        for save in (as_safetensors, as_torch, as_checkpoint):
            adopted = filled(source(tmp_path, own, save, architecture=name))
            torch.testing.assert_close(adopted(x), expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(adopted.features(x)["logits"], expected, rtol=0, atol=1e-5)
    assert not any(weights.requires_grad for weights in adopted.parameters())
    assert not adopted.training
    save_model(adopted, tmp_path)
    again = load_model(tmp_path)
    assert torch.equal(again(x), adopted(x))
    assert (again.config, again.classes) == (adopted.config, OWN)


UNUSUAL = {  # in what a file of theirs holds: places in windows, a second classifier, none but the library's own widths
    "swin_t": (64, {}),
    "googlenet": (64, {"aux_logits": True, "init_weights": False}),
    "regnet_y_400mf": (64, {}),
    "maxvit_t": (224, {"input_size": (224, 224)}),  # its last layer has no bias
}


@pytest.mark.slow
@pytest.mark.parametrize("name", UNUSUAL)
def test_networks_whose_files_hold_more_than_weights_are_the_librarys_too(tmp_path: Path, name: str) -> None:
    side, options = UNUSUAL[name]
    own, x = library(name, **options), pictures(1, side)
    with torch.no_grad():
        found = source(tmp_path, own, as_safetensors, architecture=name, size=side)
        torch.testing.assert_close(filled(found)(x), own(normalised(x)), rtol=0, atol=1e-5)


def test_places_that_there_are_not_are_refused(home: Path, tmp_path: Path) -> None:
    """A network's whole numbers say where it looks: a hostile file's lead out of the table."""
    own = library("swin_t")
    own.features[1][0].attn.relative_position_index.fill_(10**6)
    with pytest.raises(InputError, match="gives no answer"):
        adopt("astray", source(tmp_path, own, architecture="swin_t"), "tiny")
    assert not list((home / "runs").rglob("*.json"))


def test_batch_normalisation_folds(tmp_path: Path) -> None:
    adopted, x = filled(source(tmp_path, library("resnet18"), architecture="resnet18")), pictures(2, 40)
    folded = fold_batchnorm(adopted)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    torch.testing.assert_close(folded(x), adopted(x), rtol=1e-3, atol=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("save", [as_safetensors, as_torch, as_checkpoint])
@pytest.mark.parametrize("name", ["resnet50", "alexnet", "vgg11", "convnext_tiny", "vit_b_16"])
def test_the_large_ones_too(tmp_path: Path, name: str, save: Callable) -> None:
    own, x = library(name, len(ILSVRC)), pictures(1, 224)
    found = source(tmp_path, own, save, architecture=name, size=224, classes=Path("imagenet"))
    with torch.no_grad():
        expected = own(normalised(x))
        torch.testing.assert_close(filled(found, ILSVRC)(x), expected, rtol=0, atol=1e-5)


# --- a robust network of others, under their own attack -----------------------------------------------------

WHEEL = Path(pyautoattack.__file__).parent / "examples"
CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def cifar_images(n: int) -> ImageSet:
    """The first of CIFAR-10's test images, as Foolbox brings them along: a name ends in the label."""
    files = sorted((Path(foolbox.__file__).parent / "data").glob("cifar10_*.png"))[:n]
    pixels = torch.stack([decode_image(file.read_bytes(), file) for file in files])
    labels = torch.tensor([int(file.stem.split("_")[-1]) for file in files])
    return ImageSet(pixels, labels, np.array([file.name for file in files]), tuple(CIFAR10))


def of_the_wheel(monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    monkeypatch.syspath_prepend(WHEEL)
    network = importlib.import_module("resnet").ResNet18()
    network.load_state_dict(torch.load(WHEEL / "model_test.pt", map_location="cpu", weights_only=True))
    return freeze(network)


@pytest.mark.slow
def test_the_network_in_autoattacks_wheel_stands_as_much_when_adopted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its evaluation (APGD, few steps: minutes otherwise), on its own network and as it is adopted: image by image."""
    names = written_lines(tmp_path / "classes.txt", CIFAR10)
    found = source_of(
        architecture="cifar_resnet18",
        weights=WHEEL / "model_test.pt",
        classes=names,
        mean=(0,) * 3,
        sd=(1,) * 3,
        size=32,
    )
    adopted, theirs, images = filled(found, tuple(CIFAR10)), of_the_wheel(monkeypatch), cifar_images(6)
    x = data.to_float(images.pixels)
    torch.testing.assert_close(adopted(x), theirs(x), rtol=0, atol=1e-5)
    stood = []
    for network in (adopted, theirs):
        suite = AutoAttack(network, norm="Linf", eps=1 / 255, version="custom", attacks=["apgd-ce"], seed=0)
        suite.apgd.n_restarts, suite.apgd.n_iter = 1, 6
        with torch.random.fork_rng():
            attacked = suite.run_standard_evaluation(x, images.labels, batch_size=6)[0]
        stood.append(theirs(attacked).argmax(1) == images.labels)
    assert torch.equal(*stood)
    assert 0 < stood[0].float().mean() < (theirs(x).argmax(1) == images.labels).float().mean()


# --- classes and sizes --------------------------------------------------------------------------------------


def test_imagenets_classes_are_a_studys() -> None:
    english = read_english()
    for wanted in (list(SYNSETS), [english[name] for name in SYNSETS], [n.replace(" ", "_") for n in SYNSETS.values()]):
        found = counterparts(ILSVRC, wanted)
        assert [[ILSVRC[i] for i in members] for members in found] == [[name] for name in SYNSETS]
    sixteen = counterparts(ILSVRC, CATEGORIES)
    assert {name: {ILSVRC[i] for i in own} for name, own in zip(CATEGORIES, sixteen, strict=True)} == {
        name: synsets & set(ILSVRC) for name, synsets in SIXTEEN.items()
    }
    assert counterparts(list(english.values()), list(SYNSETS)) == counterparts(ILSVRC, list(SYNSETS))
    assert counterparts(["b", "a", "c"], ["a", "b"]) == [[1], [0]]
    assert counterparts(["b"], ["a"]) == [[]]
    with pytest.raises(InputError, match=r"several of the study's(.|\n)*n02690373"):
        counterparts(ILSVRC, ["airplane", "airliner"])


def read_english() -> dict[str, str]:
    from torchvision.models import ResNet50_Weights

    return dict(zip(ILSVRC, ResNet50_Weights.IMAGENET1K_V2.meta["categories"], strict=True))


def test_the_thousand_synsets_are_imagenets() -> None:
    assert len(set(ILSVRC)) == 1000
    assert list(ILSVRC) == sorted(ILSVRC), "the order of folders of that name, which is that of logits"
    english = read_english()
    assert {name: english[synset] for synset, name in SYNSETS.items()} == {n: n for n in SYNSETS.values()}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("cat\n dog \n\nbird\n", ("cat", "dog", "bird")),
        ('["cat", "dog"]', ("cat", "dog")),
        ('{"1": "dog", "0": "cat"}', ("cat", "dog")),
        ('{"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]}', ("n01440764", "n01443537")),
    ],
)
def test_names_of_classes_are_read(tmp_path: Path, text: str, names: tuple[str, ...]) -> None:
    file = tmp_path / "classes"
    file.write_text(text, encoding="utf-8-sig")
    assert read_class_names(file) == names


def test_english_names_of_imagenets_thousand_are_read_as_synsets(tmp_path: Path) -> None:
    assert read_class_names(written_lines(tmp_path / "c.txt", read_english().values())) == ILSVRC
    assert read_class_names(Path("imagenet")) == ILSVRC


@pytest.mark.parametrize("text", ["", "cat\ncat", '{"0": "cat", "2": "dog"}', "[1, 2]", "[" * 9999, '{"a": 1}', "[[]]"])
def test_other_names_of_classes_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "classes").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="classes"):
        read_class_names(tmp_path / "classes")


@pytest.mark.parametrize("sign", [",", "\t"])
def test_a_table_says_which_class_is_which(tmp_path: Path, sign: str) -> None:
    file = written_lines(tmp_path / "table", [f"tabby cat{sign}cat", f"tiger_cat{sign}cat", f"beagle{sign}dog"])
    own, wanted = ["beagle", "tiger cat", "tabby cat", "car"], ["cat", "dog"]
    assert counterparts(own, wanted, read_class_table(file, own, wanted)) == [[1, 2], [0]]
    layout = rf"table[^\n]*\n +file: +{file}\n +expected: two columns.*no header; a line is such as: tabby cat,cat\n"
    for wrong, says in {
        "a": "1 lines without two",
        "beagle>dog|beagle>cat": "1 classes of the network repeat",
        "tiger cat>dog|tiger_cat>cat": "1 classes of the network repeat",
        "a>": "1 lines",
        "lion>cat": "the network has no class lion\n",
        "beagle>wolf": "the study has no class wolf\n",
        "dog>beagle": "the network has no class dog; the study has no class beagle\n",
        "network>study|beagle>dog": "the network has no class network; the study has no class study\n",
        "|".join(f"l{n}>cat" for n in range(9)): "the network has no class l0, l1, l2, l3, l4, …\n",
    }.items():
        with pytest.raises(InputError, match=rf"{layout} +got: +{says}"):
            read_class_table(written_lines(file, wrong.replace(">", sign).split("|")), own, wanted)


def test_names_that_differ_in_capitals_alone_are_the_same_where_that_is_clear() -> None:
    assert counterparts(["Ring", "DISK", "cat"], ["disk", "ring"]) == [[1], [0]]
    assert counterparts(["Cardigan", "cardigan"], ["cardigan"]) == [[1]], "as it is written, before all"
    assert counterparts(["Cardigan", "cardigan"], ["CARDIGAN"]) == [[]]
    assert counterparts(["cardigan"], ["cardigan", "Cardigan"]) == [[0], []], "one is not two"
    dog, garment = (ILSVRC.index(synset) for synset in ("n02113186", "n02963159"))
    assert counterparts(ILSVRC, ["Cardigan", "cardigan", "GOLDFISH"]) == [[dog], [garment], [1]]


def test_the_probability_of_a_class_is_the_sum_of_its_members() -> None:
    logits = 5 * torch.randn(20, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    members = [[0, 3], [5], [1, 2]]
    p = logits.softmax(1)
    summed = torch.stack([p[:, own].sum(1) for own in members], 1)
    torch.testing.assert_close(together(logits, members).softmax(1), summed / summed.sum(1, keepdim=True))
    assert torch.equal(together(logits, [[i] for i in range(6)]), logits)
    assert together(logits, None) is logits


def test_images_of_another_size_are_resized_within(tmp_path: Path) -> None:
    adopted, x = filled(source(tmp_path, library("shufflenet_v2_x0_5"))), pictures(2, 40)
    at_its_own = nn.functional.interpolate(x, (64, 64), mode="bilinear", antialias=True)
    assert torch.equal(adopted(x), adopted(at_its_own))
    assert resized(at_its_own, 64) is at_its_own
    assert all(
        torch.equal(a, b)
        for a, b in zip(adopted.features(x).values(), adopted.features(at_its_own).values(), strict=True)
    )
    grey = torch.full((1, 3, 50, 50), 0.25)
    for side in (20, 64):
        torch.testing.assert_close(resized(grey, side), torch.full((1, 3, side, side), 0.25))
    # an attack changes the study's pixels: their gradient is that of the whole
    for n, side in ((4, 6), (6, 4)):
        x = pictures(1, n).double().requires_grad_()
        assert torch.autograd.gradcheck(lambda pixels, side=side: resized(pixels, side), (x,))


# --- a run --------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, tiny_study: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with the tiny study in it, under its name."""
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path / "home"))
    place = tmp_path / "home" / "data" / "derived" / "tiny"
    place.parent.mkdir(parents=True)
    place.symlink_to(tiny_study.parent)
    return tmp_path / "home"


def classes_of_the_study() -> tuple[str, ...]:
    folder = open_study("tiny").need("classification") / "val"
    return tuple(sorted(place.name for place in folder.iterdir()))


def test_an_adopted_network_is_a_finished_run(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    names = classes_of_the_study()
    own = library("shufflenet_v2_x0_5", len(names) + 2)
    backwards = [*names[::-1], "lamp", "kite"]
    file = as_checkpoint(own.state_dict(), tmp_path / "weights.pt")
    asked = ["adopt", "mine", "--study", "tiny", "--architecture", "shufflenet_v2_x0_5", "--weights", str(file)]
    asked += ["--classes", str(written_lines(tmp_path / "classes.txt", backwards)), "--size", "64"]
    asked += ["--mean", *map(str, MEAN), "--sd", *map(str, SD), "--seed", "1"]
    assert main(asked) == 0
    assert "module." in capsys.readouterr().out
    assert main([*asked[:-1], "2"]) == 1, "twice the same is no sample of two"
    assert "there already" in capsys.readouterr().err
    for values in ({}, {"alpha": 0.35}, {"alpha": 0.65}):  # of which it knows nothing
        run = folders.find(NETWORKS, "tiny", roi="net-mine", seed=1, **values)
    network, x = load_model(run.folder), pictures(2, 64)
    assert network.classes == names
    with torch.no_grad():
        expected = own(normalised(x))[:, : len(names)].flip(1)
    torch.testing.assert_close(network(x), expected, rtol=0, atol=1e-5)
    record = json.loads((run.folder / "run.json").read_text())
    assert "was not run" in record["adopted"]["by"]
    assert record["adopted"]["sha256"] == folders.stamp(file)["sha256"]
    assert record["adopted"]["classes"] == {name: [name] for name in names}
    assert record["parameters"] == {"study": "tiny", "roi": "net-mine", "seed": 1, "architecture": "shufflenet_v2_x0_5"}
    assert folders.stale(run.folder) == []
    assert main(asked) == 1
    assert "already" in capsys.readouterr().err
    with torch.no_grad():
        own.fc.bias += 1
    as_checkpoint(own.state_dict(), file)
    assert main([*asked[:-1], "2"]) == 0
    table = all_runs("tiny")
    assert sorted(chosen(table, NETWORKS, alpha=0.35, roi="net-mine").seed) == [1, 2], "a sample of two"
    assert sorted(chosen(table, NETWORKS, alpha=0.35, seed=[2]).seed) == [2]
    assert chosen(table, NETWORKS, alpha=0.35, roi="none").empty


def test_without_the_studys_classes_it_serves_where_none_are_needed(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = adopt("other", source(tmp_path, library("shufflenet_v2_x0_5")), "tiny")
    assert re.search(r"is \w+, \w+, \w+, \w+, \w+, …; .*--table FILE\): notebooks 07, 08", capsys.readouterr().out)
    network, images = load_model(folder), data.load_test_images(open_study("tiny"), 4)
    assert network.classes == OWN
    assert network.features(data.to_float(images.pixels))["pooled"].shape == (4, 1024)
    with pytest.raises(
        InputError, match=r"not of the network's classes[\s\S]*--table FILE.*one that has some: notebooks"
    ):
        sweep(network, images, [0.1], steps=1)
    table = written_lines(tmp_path / "table.csv", [f"cat,{images.classes[0]}"])
    found = source(tmp_path, library("shufflenet_v2_x0_5"))
    with pytest.raises(InputError, match=r"table leaves out classes of the study(.|\n)*leave out --table: notebooks"):
        adopt("mapped", found, "tiny", table=table)


def test_a_table_makes_the_studys_classes_of_others(home: Path, tmp_path: Path) -> None:
    own, images = [f"c{i}" for i in range(12)], data.load_test_images(open_study("tiny"), 4)
    table = written_lines(
        tmp_path / "table.csv",
        [f"{a},{b}" for a, b in zip(own, images.classes[:1] * 3 + images.classes[1:], strict=True)],
    )
    found = source(tmp_path, library("shufflenet_v2_x0_5", 12), names=own)
    mapped = load_model(adopt("mapped", found, "tiny", table=table))
    assert mapped.classes == images.classes
    x = data.to_float(images.pixels)
    p = filled(found, ())(x).softmax(1)
    torch.testing.assert_close(mapped(x).softmax(1), torch.cat([p[:, :3].sum(1, keepdim=True), p[:, 3:]], 1))
    assert len(sweep(mapped, images, [0.1], steps=1)) == 8


def test_what_cannot_be_adopted_is_refused_and_leaves_nothing(home: Path, tmp_path: Path) -> None:
    endless = library("shufflenet_v2_x0_5")
    endless.fc.weight.data.fill_(1e38)
    for name, network in {"a b": library("shufflenet_v2_x0_5"), "net-shuffle": endless, "large": endless}.items():
        with pytest.raises(InputError, match=r"cannot have this name|logits are not finite"):
            adopt(name, source(tmp_path, network), "tiny")
    assert not list((home / "runs").rglob("*.json"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("net-r18", r"to do: +write r18: net- is added"),
        ("a+b", "to do: +choose another"),
        ("mine", "there is a net-mine of seed 0 already"),
        ("other --study elsewhere", "no study 'elsewhere'"),
        ("other", r"these are no classes\n +file: +.*classes.txt"),
    ],
)
def test_what_can_be_refused_at_once_is_refused_before_torch_is_there(
    home: Path, tmp_path: Path, words: str, says: str
) -> None:
    record = folders.run_folder(NETWORKS, {"study": "tiny", "roi": "net-mine", "seed": 0}) / "run.json"
    record.parent.mkdir(parents=True)
    record.write_text("{}")
    told = f"adopt {words} --architecture resnet18 --weights w.pt --mean 0 0 0 --sd 1 1 1 --size 32 --classes".split()
    told += [str(written_lines(tmp_path / "classes.txt", ["cat", "cat"]))]
    told += ["--study", "tiny"] * ("--study" not in told)
    code = "import sys; sys.modules['torch'] = None; from nbtools.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", code, *told], capture_output=True, encoding="utf-8")
    assert done.returncode == 1
    assert re.search(says, done.stderr), done.stderr


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mean": None}, "missing: --mean"),
        ({"classes": None, "sd": None}, "missing: --classes, --sd"),
        ({"architecture": None}, "missing: --architecture"),
        ({"torchvision": "IMAGENET1K_V1", "weights": None}, "too much: --classes, --mean, --sd, --size"),
        ({"timm": "resnet18", "weights": None}, "too much: --architecture"),
        ({"mean": (123.7, 116.3, 103.5)}, r"the mean of pixels in \[0, 1\] cannot be 123.7"),
        ({"mean": (123, 116, 103)}, r"cannot be 123\n(.|\n)*of pixels up to 255, divide by 255"),
        ({"sd": (0.0, 1.0, 1.0)}, "the sd of pixels"),
        ({"mean": (0.5,)}, "number of channels of the mean cannot be 1"),
        ({"mean": (0.5,) * 4, "sd": (0.5,) * 4}, "number of channels of the mean cannot be 4"),
        ({"sd": (0.5,) * 2}, "number of channels of the sd cannot be 2"),
        ({"architecture": "resnet81"}, "unknown architecture"),
        ({"weights": Path("nowhere.pt")}, "these weights cannot be read"),
    ],
)
def test_a_source_says_what_it_was_trained_on(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    names, file = written_lines(tmp_path / "classes.txt", OWN), tmp_path / "weights.pt"
    file.write_bytes(b"")
    told = {"architecture": "resnet18", "weights": file, "classes": names, "mean": MEAN, "sd": SD, "size": 64}
    with pytest.raises(InputError, match=words):
        source_of(**{**told, **changes})


def test_torchvision_knows_what_its_weights_were_trained_on() -> None:
    found = source_of(architecture="resnet50", torchvision="IMAGENET1K_V2")
    assert (found.classes, found.side) == (ILSVRC, 224)
    assert (found.mean, found.sd) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    with pytest.raises(InputError, match="IMAGENET1K_V1, IMAGENET1K_V2"):
        source_of(architecture="resnet50", torchvision="V3")


def test_a_missing_one_is_adopted_and_not_trained(home: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"to do: +python -m nbtools adopt mine --study tiny --seed 3 --weights FILE"):
        folders.find(NETWORKS, "tiny", roi="net-mine", seed=3, alpha=0.9)
    with pytest.raises(InputError, match="net-mine is not trained"):
        folders.start(NETWORKS, {**folders.defaults(NETWORKS), "study": "tiny", "roi": "net-mine"})
    config = {"study": "tiny", "rois": "V1", "controls": "none net-mine", "seeds": 0, "further": ""}
    with pytest.raises(InputError, match="adopt mine"):
        make_graph(config)
    adopt("mine", source(tmp_path, library("shufflenet_v2_x0_5")), "tiny")
    jobs = {job.name: job for job in make_graph(config).jobs}
    assert "network_net-mine_seed0" not in jobs
    assert jobs["attack_net-mine_seed0"].after == ()
    assert jobs["attack_net-mine_seed0"].record in jobs["summary"].after


def test_a_plan_counts_an_adopted_network_as_what_it_is(home: Path, tmp_path: Path) -> None:
    """At its own size and of its own operations; a run of several takes as long as one of each."""

    def seconds(controls: str, name: str, **settings: Any) -> float:
        asked = {"study": "tiny", "rois": "V1", "controls": controls, "seeds": 0, "further": ""}
        graph = make_graph({**asked, "settings": {PREDICTORS: {"predictor": "ridge", **settings}}})
        table = estimates(graph, Calibration("", {})).loc[[job.record for job in graph.jobs if job.name == name]]
        return float(table.seconds.iloc[0])

    for size in (64, 128):
        adopt(f"at{size}", source(tmp_path, library("resnet18"), architecture="resnet18", size=size), "tiny")
    named = ("none", "net-at64", "net-at128")
    none, small, large = (seconds(" ".join(named), f"attack_{name}_seed0") for name in named)
    assert none < small
    assert large > 3 * small
    together = "06_smoothness_and_transfer"
    assert seconds("none net-at128", together) > 3 * seconds("none", together)
    on_start, on_large = (seconds("none", "predictor_V1_seed0", features_of=of) for of in ("start", "net-at128"))
    assert on_large > on_start, "a ridge predictor takes what its network takes"


# --- and out again ------------------------------------------------------------------------------------------

LOADED = """
import runpy, sys
sys.modules["nbtools"] = None  # cannot be imported
import torch
x = torch.load("pixels.pt", weights_only=True)
for place in sys.argv[1:]:
    sys.path.insert(0, place)
    made = runpy.run_path(f"{place}/load.py")
    torch.save((made["load"]()(x).detach(), made["CLASSES"]), f"{place}/logits.pt")
    sys.path.remove(place)
"""


def finished(folder: Path, network: GuidedNet, **parameters: Any) -> Path:
    save_model(freeze(network), folder)
    record = {"notebook": NETWORKS, "parameters": {**folders.defaults(NETWORKS), "study": "tiny", **parameters}}
    record |= {"inputs": {}, "seconds": 1.0, "finished": "2026-11-01T10:00:00+0000"}
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    return folder


def test_what_is_exported_loads_without_this_package(home: Path, tmp_path: Path) -> None:
    names, x = classes_of_the_study(), pictures(3, 48)
    torch.save(x, tmp_path / "pixels.pt")
    guided, own = build(GuidedNet, 0, "small_resnet", names, 7), library("mnasnet0_5", len(names) + 1)
    runs = {
        "guided": finished(tmp_path / "guided run", guided, roi="TO"),
        "mapped": adopt("mapped", source(tmp_path, own, architecture="mnasnet0_5", names=["lamp", *names]), "tiny"),
    }
    places = []
    for name, folder in runs.items():
        places.append(export(network_run(str(folder)), tmp_path / name))
    subprocess.run([sys.executable, "-c", LOADED, *map(str, places)], cwd=tmp_path, env={}, check=True)
    for place, folder in zip(places, runs.values(), strict=True):
        logits, classes = torch.load(place / "logits.pt", weights_only=True)
        torch.testing.assert_close(logits, load_model(folder)(x), rtol=0, atol=1e-5)
        assert tuple(classes) == load_model(folder).classes
    card = (places[0] / "README.md").read_text(encoding="utf-8")
    assert all(word in card for word in ("TO, α = 0.9, seed 0", "simulated", "MIT", "load.py", "like a brain is not"))
    with pytest.raises(InputError, match="not empty"):
        export(network_run("net-mapped", "tiny"), places[0])


def test_a_card_of_an_adopted_network_says_what_is_known_of_it(home: Path, tmp_path: Path) -> None:
    """Nothing guided it; no fact stands twice; none of 40 right is no proof that none ever is."""
    folder = adopt("mine", source(tmp_path, library("shufflenet_v2_x0_5")), "tiny")
    ids = [f"i{k}" for k in range(40)]
    said = {"image_id": ids, "label": 0, "condition": "net-mine", "seed": 0, "attack": "LinfPGD"}
    right = {0.0: np.arange(40) < 30, 4 / 255: np.zeros(40, bool)}
    parts = [pd.DataFrame({**said, "epsilon": e, "prediction": (~stands).astype(int)}) for e, stands in right.items()]
    full = {**folders.defaults(ATTACKED), "study": "tiny", "roi": "net-mine"}
    attacked = folders.run_folder(ATTACKED, full)
    attacked.mkdir(parents=True)
    pd.concat(parts).to_parquet(attacked / "decisions.parquet")
    record = {"notebook": ATTACKED, "parameters": full, "inputs": {folders.short(folder / "weights.safetensors"): {}}}
    record |= {"seconds": 1.0, "finished": "2026-11-01T10:00:00+0000"}
    (attacked / "run.json").write_text(json.dumps(record), encoding="utf-8")
    export(network_run("net-mine", "tiny"), tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    for n, interval in ((30, binomtest(30, 40)), (0, binomtest(0, 40))):
        low, high = interval.proportion_ci()
        assert f"accuracy {n / 40:.3f} (95 % interval {low:.3f} to {high:.3f})" in card
    assert "no brain guided it" in card
    assert "torchvision's `shufflenet_v2_x0_5`" in card
    assert "like a brain" not in card
    assert not re.search(r"its own *\|", card), "its notes say that, and which it lacks"
    assert len(re.findall(r"\| (?:adopted: )?architecture \|", card)) == 1
