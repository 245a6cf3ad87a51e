"""Keep what the attack explorer shows: as JSON or an address to open again, as lines of code that compute the same."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import get_origin, get_type_hints
from urllib.parse import parse_qs, urlencode

from nbtools.attacks.table import ATTACKS
from nbtools.checks import reading
from nbtools.data.images.own import read_image
from nbtools.plots.images import png_uri
from nbtools.widgets.attack_networks import condition_of, seed_of
from nbtools.widgets.attack_state import OWN, Bench, Choice

FORMAT = "nbtools attack explorer 1"


@dataclass(frozen=True)
class Origin:
    """Where the explorer's networks and images come from: the parameters that find them again.

    Attributes
    ----------
    study : str
        A study by name, or the path of its ``study.toml``.
    alpha : float
        Of the guided networks.
    seed : int
        Of their training.
    """

    study: str
    alpha: float
    seed: int


def save_state(bench: Bench, choice: Choice) -> str:
    """Return a choice as JSON; an image that was dropped in travels inside it."""
    state: dict[str, object] = {"format": FORMAT, "choice": asdict(choice)}
    if choice.image.startswith(OWN):
        pixels = bench.image(choice.image)[0].permute(1, 2, 0).contiguous().numpy()
        state["own_image"] = png_uri(pixels).partition(",")[2]
    return json.dumps(state, indent=1, ensure_ascii=False) + "\n"


def load_state(bench: Bench, text: str) -> Choice:
    """Read what `save_state` wrote; an image inside it is added to the bench.

    Raises
    ------
    InputError
        If it is something else, is damaged, or chooses what is not there.
    """
    with reading(
        "this is not a saved state of the explorer",
        *(ValueError, KeyError, TypeError, OverflowError, RecursionError),
        expected=f"the JSON it saved, {FORMAT!r}",
        fix="save a state with the button, and load that file",
    ):
        state = json.loads(text)
        if state["format"] != FORMAT:
            raise ValueError(f"format {state['format']!r}")
        choice = read_choice(state["choice"])
        own = base64.b64decode(state["own_image"], validate=True) if "own_image" in state else None
    if own is not None and choice.image.startswith(OWN):
        size = int(bench.images.pixels.shape[-1])
        trial = replace(choice, image=str(bench.images.ids[0]))
        bench.check(trial)  # a state that cannot be shown adds nothing
        bench.add_image(read_image(own, choice.image, size), choice.image.removeprefix(OWN))
    bench.check(choice)
    return choice


def read_choice(entries: Mapping) -> Choice:
    """Make a choice of JSON's entries: all of them, no others, each of its own type; a file may know no tab.

    Raises
    ------
    ValueError, KeyError, TypeError
        If they are something else.
    """
    names, level = entries["networks"], entries["level"]
    values = {"tab": Choice.tab, **entries, "networks": tuple(map(str, names))}
    values["level"] = float(level) if type(level) is int else level
    for name, kind in get_type_hints(Choice).items():
        if type(values[name]) is not (get_origin(kind) or kind):
            raise ValueError(f"{name} is {values[name]!r}")
    return Choice(**values)


def as_address(choice: Choice) -> str:
    """Return a choice as the end of an address, behind ``#``; an image that was dropped in is left out."""
    entries = asdict(choice) | {"level": f"{choice.level:g}"}
    own = choice.image.startswith(OWN)
    told = {name: value for name, value in entries.items() if value != "" and not (own and name == "image")}
    return urlencode(told, doseq=True, safe="/")


def read_address(text: str, choice: Choice) -> Choice:
    """Read what `as_address` wrote; what it does not say is as in `choice`.

    Raises
    ------
    InputError
        If it is something else.
    """
    with reading(
        "this address says nothing to the explorer",
        *(ValueError, KeyError, TypeError),
        expected="what stands behind # in an address it wrote",
        fix="copy the whole address, or take the explorer's start page",
    ):
        told = parse_qs(text.removeprefix("#"), strict_parsing=True, max_num_fields=32)
        if unknown := told.keys() - vars(choice).keys():
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
        kinds = get_type_hints(Choice)
        values = {name: kinds[name](texts[-1]) for name, texts in told.items() if name != "networks"}
        values["networks"] = tuple(told.get("networks", choice.networks))
        return replace(choice, **{"target": "", **values})


def as_code(bench: Bench, choice: Choice, origin: Origin) -> str:
    """Return the lines of Python that compute the pictures of a choice, bit for bit."""
    size = "" if ATTACKS[choice.attack].norm != 2 else " * x.numel() ** 0.5"
    picture = f"attacked[levels.index({choice.level})]" if choice.level else "x"
    named = [(name, condition_of(name), seed_of(name, origin.seed)) for name in choice.networks]
    code = f"""\
source = data.open_study({origin.study!r})
{_image_code(choice.image)}
levels = {bench.levels}  # in 1/255
radii = [level / 255{size} for level in levels]
pictures = {{}}
for name, roi, seed in {named}:
    found = runs.find("03_guided_training", {origin.study!r}, roi=roi, alpha={origin.alpha}, seed=seed)
    network = models.load_model(found.folder)
    {_attack_code(bench, choice)}
    pictures[name] = {picture}
    print(name, [f"{{p:.3f}}" for p in network(pictures[name]).softmax(1)[0]])
    shown = [pixels.permute(0, 2, 3, 1).numpy() for pixels in (x, pictures[name])]
    plots.perturbations(*shown, title=f"{choice.attack} on {{name}} ({{source.title}})").show()
"""
    return "\n".join([*_imports(code), "", code])


def _attack_code(bench: Bench, choice: Choice) -> str:
    settings = f'attack="{choice.attack}", steps={choice.steps}, seed={choice.seed}'
    if choice.target:
        target = bench.classes.index(choice.target)
        return f"attacked = perturb_towards(network, x, {target}, radii, {settings})  # {choice.target}"
    label = "image.labels" if bench.image(choice.image)[1] >= 0 else "network(x).argmax(1)"
    return f"attacked = perturb(network, x, {label}, radii, {settings})"


def _image_code(name: str) -> str:
    if name.startswith(OWN):
        file = name.removeprefix(OWN)
        return f"x = data.to_float(data.read_image(Path({file!r}).read_bytes(), {file!r}, source.image_size))[None]"
    images = 'data.load_folder(source.need("classification") / "val", source.image_size)'
    if name.startswith("foolbox/"):
        images = f"data.photographs(source.image_size, {images}.classes)"
    return f"""\
images = {images}
image = images[images.rows(np.array([{name!r}]))]
x = data.to_float(image.pixels)"""


def _imports(code: str) -> list[str]:
    """Return the import lines that a piece of code needs."""
    usual = {
        "from pathlib import Path": "Path(",
        "import numpy as np": "np.",
        "from nbtools import data, models, plots, runs": "runs.",
        "from nbtools.attacks import perturb": "perturb(",
        "from nbtools.attacks import perturb_towards": "perturb_towards(",
    }
    return [line for line, word in usual.items() if word in code]
