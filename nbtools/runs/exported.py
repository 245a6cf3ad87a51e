"""A network out of its run: weights under its library's names, a card, and a file that loads it in plain PyTorch."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from nbtools.conditions import is_adopted, parse_condition
from nbtools.data.study import open_study
from nbtools.errors import InputError
from nbtools.files import make_folder, read_table, write_tensors, write_text
from nbtools.metrics.decisions.robustness import epsilon_label, robust_accuracy, worst_case
from nbtools.metrics.stats import share
from nbtools.models import own
from nbtools.models.adopted import as_library
from nbtools.models.architectures import OWN, TIMM, options_of
from nbtools.models.networks import GuidedNet, load_model
from nbtools.runs.folders import Run, collect, find
from nbtools.runs.lineage import ATTACKED, CLOUDS, NETWORKS, telling
from nbtools.runs.records import finished_record
from nbtools.runs.several import chosen, took

_LOADER = '''"""{title}: in plain PyTorch, without the toolkit that it comes from."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

{imports}

CLASSES = {classes}
MEAN, SD = {mean}, {sd}
SIDE = {side}  # in pixels, to which images are resized; None: it takes them as they are
MEMBERS = {members}  # of each class, which outputs are it; None: each output is a class


class Network(nn.Module):
    """Pixels (n, 3, height, width) in [0, 1] in, logits (n, n_classes) out."""

    def __init__(self):
        super().__init__()
        self.network = {call}
        self.network.set_submodule({last!r}, nn.Linear({width}, {n_outputs}, bias={biased}))
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1))
        self.register_buffer("sd", torch.tensor(SD).view(3, 1, 1))

    def forward(self, x):
        if SIDE and x.shape[-2:] != (SIDE, SIDE):
            x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
        logits = self.network((x - self.mean) / self.sd)
        if MEMBERS is None:
            return logits
        return torch.stack([logits[:, members].logsumexp(1) for members in MEMBERS], dim=1)


def load(folder=Path(__file__).parent):
    """Return the network, ready to be asked."""
    network = Network()
    state, weights = network.network.state_dict(), load_file(Path(folder) / "weights.safetensors")
    assert state.keys() == weights.keys()
    state.update(weights)  # and keeps the version of its layout, which some networks of torchvision ask for
    network.network.load_state_dict(state)
    return network.eval()
'''
_CARD = """# {title}

{about}

```python
from load import CLASSES, load  # load.py, beside this file: takes PyTorch, the network's library and safetensors

network = load()
logits = network(x)  # pixels (n, 3, height, width) in [0, 1]: normalisation is inside; ({n_classes} classes)
```

`weights.safetensors` has the names of {names}.{without}

| what | |
|---|---|
{facts}

## What it reached

{scores}

## Before you share it

The code that made this folder is under the MIT licence. {owners}
"""
_NO_HEAD = " The head that was trained to answer like a brain is not among them."
_OF_DATA = """Weights come from the images and responses that they were trained on,
and whoever gave you these decides: NSD's and ImageNet's terms allow research, and no passing on of the data."""
_OF_MAKERS = "The weights are their makers': see where they were published, and under which terms."


def network_run(named: str, study: str = "demo", seed: int = 0) -> Run:
    """Find a finished network.

    Parameters
    ----------
    named : str
        Its run's folder, or its condition: of several networks of that, the one at the usual α.
    study, seed
        Of a condition.

    Raises
    ------
    InputError
        If there is no such run, or it is not finished.
    """
    folder = Path(named)
    if folder.is_dir():
        record = finished_record(folder)
        return Run(record["notebook"], record["parameters"], folder, finished=True)
    return find(NETWORKS, study, roi=parse_condition(named).name, seed=seed)


def export(run: Run, to: Path) -> Path:
    """Write a run's network into a folder that needs nothing of this package.

    Parameters
    ----------
    run : Run
        Finished, of a network that classifies.
    to : Path
        A new or empty folder: ``weights.safetensors``, ``README.md``, ``load.py``, and of an architecture of this
        package ``networks.py``.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        If the run has no such network, or there is something in the folder.
    """
    network = load_model(run.folder)
    if not isinstance(network, GuidedNet):
        raise InputError(
            "this run has no network that classifies",
            file=run.folder,
            expected=f"a run of {NETWORKS}, or an adopted network",
            got=f"a {type(network).__name__} of {run.notebook}",
            fix="name another run",
        )
    make_folder(to)
    if any(to.iterdir()):
        raise InputError("the folder is not empty", file=to, expected="a new one", got="files", fix="name another")
    state = {name: value.contiguous() for name, value in as_library(network).items()}
    write_tensors(to / "weights.safetensors", state)
    if network.backbone.architecture in OWN:
        write_text(to / "networks.py", Path(own.__file__).read_text(encoding="utf-8"))
    write_text(to / "load.py", _loader(run, network))
    write_text(to / "README.md", _card(run, network))
    print(f"exported {run.folder.name}: {to}")
    return to


def _title(run: Run) -> str:
    given = telling(run.parameters)
    alpha = f", α = {given['alpha']:g}" if "alpha" in given and parse_condition(given["roi"]).weighted else ""
    name = given["roi"] + "-manifold" * (run.notebook == CLOUDS)
    return f"{name}{alpha}, seed {given['seed']} ({open_study(given['study']).title})"


def _loader(run: Run, network: GuidedNet) -> str:
    backbone, head = network.backbone, network.class_head
    built = _built(backbone.architecture, backbone.image_size)
    return _LOADER.format(
        title=re.sub(r'["\\]', "'", _title(run)),  # whatever a study is called, this is no code
        imports=built.imports,
        call=built.call,
        classes=list(network.classes),
        mean=backbone.pixel_mean.flatten().tolist(),
        sd=backbone.pixel_sd.flatten().tolist(),
        side=getattr(network, "side", None),
        members=getattr(network, "members", None),
        last=backbone.anatomy.last,
        width=head.in_features,
        n_outputs=head.out_features,
        biased=head.bias is not None,
    )


class _Built(NamedTuple):
    """How a network is built without this package: what to import, the call, and whose its names are."""

    imports: str
    call: str
    names: str


def _built(architecture: str, image_size: int | None) -> _Built:
    if architecture in OWN:
        return _Built(f"from networks import {architecture}", f"{architecture}()", "`networks.py`")
    library, function = (
        ("timm", "create_model") if architecture.startswith(TIMM) else ("torchvision.models", "get_model")
    )
    name = architecture.removeprefix(TIMM)
    options = "".join(f", {key}={value!r}" for key, value in options_of(architecture, image_size).items())
    names = f"{library.partition('.')[0]}'s `{name}`"
    return _Built(f"from {library} import {function}", f"{function}({name!r}{options})", names)


def _card(run: Run, network: GuidedNet) -> str:
    given = telling(run.parameters)
    adopted, backbone = finished_record(run.folder).get("adopted", {}), network.backbone
    told = {f"adopted: {name}": value for name, value in adopted.items() if name != "architecture"}
    facts = {**given, "architecture": backbone.architecture, **told}
    return _CARD.format(
        title=_title(run),
        about=_about(given),
        n_classes=len(network.classes),
        names=_built(backbone.architecture, backbone.image_size).names,
        without=_NO_HEAD if any(network.n_components) else "",
        facts="\n".join(f"| {name} | {_cell(value)} |" for name, value in facts.items()),
        scores="\n".join(f"- {line}" for line in _scores(run, given)) or "Nothing was measured yet.",
        owners=_OF_MAKERS if adopted else _OF_DATA,
    )


def _about(given: dict[str, Any]) -> str:
    """Say what guided a network: nothing here, where it is from outside."""
    simulated, name = open_study(given["study"]).simulated, given["roi"]
    if is_adopted(name):
        study = f" The study {given['study']}, by which it was asked, is simulated." * simulated
        return f"A network from outside, here `{name}`: it was trained elsewhere, and no brain guided it.{study}"
    guide = f"Condition `{name}`: {parse_condition(name).meaning}."
    return guide + " The study is simulated: no brain was measured." * simulated


def _cell(value: Any) -> str:
    text = "; ".join(map(str, value)) if isinstance(value, list) else str(value)
    text = text.replace("|", "\\|").replace("\n", " ")
    return text if len(text) <= 300 else f"{text[:300]} …"


def _scores(run: Run, given: dict[str, Any]) -> list[str]:
    """Say what the network reached in its training and under attacks, as far as there are such runs."""
    history = run.folder / "history.parquet"
    said = []
    if history.exists():
        last = read_table(history).query("split == 'validation'").iloc[-1]
        said.append(f"validation images: accuracy {last['accuracy']:.3f}")
    same = {name: given[name] for name in ("roi", "seed", "alpha") if name in given}
    for row in chosen(collect(ATTACKED, given["study"]), ATTACKED, **same).to_dict("records"):
        if not took(Path(row["folder"]), run.folder):  # of another network of that name
            continue
        accuracy = robust_accuracy(worst_case(read_table(Path(row["folder"]) / "decisions.parquet")))
        said += [_attacked(row, point) for point in accuracy.to_dict("records")]
    return said


def _attacked(row: dict[str, Any], point: dict[str, Any]) -> str:
    under = f"worst case of {row['attacks']} at ε = {epsilon_label(point['epsilon'])}" if point["epsilon"] else "clean"
    value, low, high = share(point["accuracy"] * point["n"], point["n"], point["n"])
    return f"{point['n']} test images, {under}: accuracy {value:.3f} (95 % interval {low:.3f} to {high:.3f})"
