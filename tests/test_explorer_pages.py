"""The static pages without a browser: what is packed comes out again, as it was computed; what is missing is told."""

from __future__ import annotations

import base64
import json
import re
import shutil
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, strategies as st

from nbtools.attacks import sweep
from nbtools.cli import main
from nbtools.conditions import CONDITIONS
from nbtools.data.images.sets import ImageSet
from nbtools.errors import InputError
from nbtools.guides import MODIFIERS
from nbtools.models.networks import GuidedNet, build, freeze
from nbtools.plots.looks import symbol
from nbtools.runs import folders
from nbtools.widgets import static, write_pages
from nbtools.widgets.attack_paths import LEVELS, AttackPath
from nbtools.widgets.pages import attack
from nbtools.widgets.pages.packed import KINDS, packed

PARTS = Path(static.__file__).parent / "pages"


def unpacked(script: str) -> tuple[str, dict[str, Any], dict[str, np.ndarray]]:
    """Read a script as a page does."""
    given = script.removeprefix("take(").removesuffix(");\n")
    name, said, text = json.loads(f"[{given}]")
    data = zlib.decompress(base64.b64decode(text))
    arrays = {
        key: np.frombuffer(data, f"<{np.dtype(part['kind']).str[1:]}", int(np.prod(part["shape"])), part["at"])
        for key, part in said["arrays"].items()
    }
    return name, said, {key: array.reshape(said["arrays"][key]["shape"]) for key, array in arrays.items()}


# --- what is packed -----------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.lists(st.integers(0, 5), min_size=1, max_size=3)), max_size=5))
def test_arrays_come_out_as_they_went_in(asked: list[tuple[str, list[int]]]) -> None:
    rng = np.random.default_rng(0)
    arrays = {f"a{i}": (100 * rng.random(shape)).astype(kind) for i, (kind, shape) in enumerate(asked)}
    name, _, found = unpacked(packed("box", {}, arrays))
    assert name == "box"
    assert found.keys() == arrays.keys()
    for key, array in arrays.items():
        assert found[key].dtype == array.dtype
        assert np.array_equal(found[key], array)


def test_a_number_that_is_missing_is_null_and_no_text_ends_the_script() -> None:
    index = {"nan": [np.float64("nan"), 1.5], "count": np.int64(3), "text": '</script>"); alert("\u2028'}
    _, said, _ = unpacked(packed("box", index, {}))
    assert said == {"nan": [None, 1.5], "count": 3, "text": index["text"], "arrays": {}}


@given(st.lists(st.floats(0, 1), min_size=2, max_size=4), st.integers(0, 9))
def test_a_change_is_stored_to_half_a_grey_level_and_small_ones_finer(peaks: list[float], seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    clean = torch.rand((1, 3, 4, 4), generator=rng)
    changes = [peak * (2 * torch.rand((1, 3, 4, 4), generator=rng) - 1) for peak in peaks]
    pixels = torch.cat([clean, *(clean + change for change in changes)])
    levels = tuple(float(i) for i in range(len(pixels)))
    path = AttackPath(levels, levels, pixels, torch.eye(len(pixels)), 0)
    stored, units = attack.change_of(path)
    assert stored.dtype == np.int8
    true = (pixels[1:] - pixels[0]).permute(0, 2, 3, 1).flatten(1).numpy().T
    largest = np.abs(true).max(0)
    allowed = np.maximum(np.minimum(largest / 14, 0.5 / 255), largest / 254)
    assert (np.abs(stored * units - true) <= allowed + 1e-6).all()


# --- what was computed --------------------------------------------------------------------------------------


def test_a_page_shows_what_a_sweep_decides() -> None:
    """The same images, the same attack without random numbers, counted by the other door."""
    classes = ("cat", "dog", "fox")
    network = freeze(build(GuidedNet, 0, "small_resnet", classes, 0))
    pixels = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    labels = network(pixels / 255).argmax(1)
    images = ImageSet(pixels, labels, np.array([f"{i}" for i in range(8)]), classes)
    paths = attack.attack_paths(network, images, "LinfFGSM", 0)
    decided = sweep(network, images, [level / 255 for level in LEVELS], attack="LinfFGSM", steps=1)
    for row, path in enumerate(paths):
        assert path.predictions.tolist() == decided.loc[decided["image_id"] == str(row), "prediction"].tolist()
        reach = (path.pixels - path.pixels[0]).abs().amax((1, 2, 3)) * 255
        assert (reach <= torch.tensor(path.levels) + 1e-3).all()


def test_every_condition_has_a_shape() -> None:
    text = (PARTS / "charts.js").read_text()
    body = text[text.index("const SHAPES") : text.index("function mark")]
    drawn = set(re.findall(r'^  "?([\w-]+)"?: ', body, re.MULTILINE))
    numbers = {word: f"-{changed.number.example:g}" if changed.number else "" for word, changed in MODIFIERS.items()}
    words = [f"TO-{word}{number}" for word, number in numbers.items()]
    others = ["start", "none-at-2", "none-fast-2", "none-trades-2", "none-gauss-0.1", "none-lowpass-8", "V1+TO"]
    shapes = {_bare(symbol(name)) for name in [*CONDITIONS, *others, *words] if _is_condition(name)}
    shapes |= {_bare(symbol(f"net-{i}")) for i in range(40)}
    assert len(shapes) > 15
    assert shapes <= drawn


def _bare(shape: str) -> str:
    return "-".join(word for word in shape.split("-") if word not in ("open", "dot"))


def _is_condition(name: str) -> bool:
    try:
        symbol(name)
    except InputError:
        return False
    return True


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_stands_out_from_what_it_stands_on(theme: int) -> None:
    blocks = re.findall(r":root \{(.*?)\}", (PARTS / "style.css").read_text(), re.DOTALL)
    colors = dict(re.findall(r"--([\w-]+): (#\w{6})", blocks[theme]))
    pairs = [(ink, ground) for ink in ("ink", "soft", "accent", "alert") for ground in ("page", "paper")]
    for ink, ground in [*pairs, ("badge-ink", "badge")]:
        assert _contrast(colors[ink], colors[ground]) >= 4.5, (ink, ground)


def _contrast(one: str, other: str) -> float:
    """WCAG 2.2's ratio of relative luminances."""
    light, dark = sorted((_luminance(color) for color in (one, other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(color: str) -> float:
    share = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return float(np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])


# --- what is missing ----------------------------------------------------------------------------------------


@pytest.fixture
def tiny(tmp_path: Path, tiny_study: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place with the tiny study and no run."""
    shutil.copytree(tiny_study.parent, tmp_path / "data/derived/tiny")
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))
    return tmp_path


def _finished(notebook: str, tables: dict[str, pd.DataFrame] | None = None, **own: object) -> folders.Run:
    run = folders.start(notebook, {**folders.defaults(notebook), "study": "tiny", **own})
    run.save(tables or {}, {})
    run.finish()
    return run


def test_missing_runs_are_named_with_the_command_that_makes_them(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match="no finished run") as told:
        write_pages(tiny / "pages", "tiny")
    assert "python -m nbtools run" in str(told.value)
    _finished("00_start_here")
    with pytest.raises(InputError) as told:
        write_pages(tiny / "pages", "tiny")
    assert "python -m nbtools run 14_brain_and_geometry -p study tiny" in str(told.value)
    assert main(["pages", "--study", "tiny", "--to", str(tiny / "pages")]) == 1
    assert "python -m nbtools run 14_brain_and_geometry" in capsys.readouterr().err
    assert not (tiny / "pages").exists()


def test_without_attacked_networks_it_says_what_attacks_them(tiny: Path) -> None:
    _finished("00_start_here")
    runs = pd.DataFrame({"notebook": ["00_start_here"]})
    with pytest.raises(InputError, match="python -m nbtools study tiny"):
        next(iter(attack.attack_files(static.open_study("tiny"), runs, 4)))


def test_pages_that_would_be_too_large_are_refused(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static, "LIMIT", 1000)
    with pytest.raises(InputError, match="--images"):
        static._check_size({"index.html": "é" * 600})  # 1,200 bytes of UTF-8
    static._check_size({"index.html": "é" * 400})
