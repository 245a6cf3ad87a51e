"""Style transfer: the result takes the style's statistics and keeps the content, image by image."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F
from torchvision.models import vgg19

from nbtools import probes
from nbtools.cli import main
from nbtools.data.images.cue_conflict import cue_conflict_names
from nbtools.data.images.sets import ImageSet, load_folder
from nbtools.data.study import Study, as_toml, open_study
from nbtools.errors import InputError
from nbtools.metrics.decisions.sixteen import conflict_reach
from nbtools.probes import style_transfer
from nbtools.probes.style_transfer import gram, make_cue_conflict, paint_cue_conflict, stylise, vgg19_features

_FILTERS = torch.randn(8, 3, 3, 3, generator=torch.Generator().manual_seed(0))
SETTINGS = {"steps": 60, "style_weight": 300.0}


def features(x: Tensor) -> dict[str, Tensor]:
    """One layer of random filters for the style, the blurred image for the content."""
    return {"conv1_1": F.relu(F.conv2d(x - 0.5, _FILTERS, padding=1)), "conv4_2": F.avg_pool2d(x, 4)}


def pictures(n: int = 2) -> tuple[Tensor, Tensor]:
    """Smooth contents and striped styles."""
    generator = torch.Generator().manual_seed(1)
    content = F.interpolate(torch.rand(n, 3, 4, 4, generator=generator), size=16, mode="bilinear")
    stripes = (torch.arange(16) % 4 < 2).float().expand(n, 3, 16, 16)
    return content, 0.2 + 0.6 * stripes


def style_distance(a: Tensor, b: Tensor) -> Tensor:
    return (gram(features(a)["conv1_1"]) - gram(features(b)["conv1_1"])).square().flatten(1).sum(1)


def test_gram_is_the_mean_product_of_maps():
    maps = torch.randn(2, 5, 4, 6, generator=torch.Generator().manual_seed(0))
    expected = torch.einsum("nchw,ndhw->ncd", maps, maps) / (5 * 4 * 6)
    torch.testing.assert_close(gram(maps), expected)
    assert gram(maps.roll(2, dims=3)) == pytest.approx(gram(maps), abs=1e-5), "where things stand does not matter"


def test_texture_comes_from_the_style_and_layout_from_the_content():
    content, style = pictures()
    made = stylise(content, style, features, **SETTINGS)
    assert (style_distance(made, style) < 0.3 * style_distance(content, style)).all()
    near, far = ((F.avg_pool2d(made - other, 4)).square().mean() for other in (content, style))
    assert near < far
    assert made.min() >= 0
    assert made.max() <= 1


def test_an_image_does_not_depend_on_its_batch():
    content, style = pictures()
    both = stylise(content, style, features, **SETTINGS)
    torch.testing.assert_close(both[1:], stylise(content[1:], style[1:], features, **SETTINGS), rtol=1e-3, atol=1e-3)


def test_a_style_of_its_own_changes_nothing():
    content, _ = pictures()
    torch.testing.assert_close(stylise(content, content, features, **SETTINGS), content)


def test_bad_pictures_are_refused():
    content, style = pictures()
    with pytest.raises(InputError, match="outside"):
        stylise(content * 255, style, features)
    with pytest.raises(InputError, match="no style transfer"):
        stylise(content, style[:1], features)
    with pytest.raises(InputError, match="no style transfer"):
        stylise(content, style, lambda x: {"conv1_1": x})


def labelled(seed: int, classes: tuple[str, ...] = ("cat", "truck", "oven")) -> ImageSet:
    pixels = torch.randint(0, 256, (6, 3, 16, 16), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return ImageSet(pixels, torch.arange(6) % 3, np.arange(6), classes)


def test_a_set_is_made_in_the_layout_that_is_read(tmp_path: Path):
    quick = {"steps": 2, "per_pair": 2}
    folder = make_cue_conflict(labelled(0), labelled(1), tmp_path / "a", features, **quick)
    images = load_folder(folder, 16)
    table = cue_conflict_names(images.ids)
    assert len(images) == 12
    assert (table["shape"] != table["texture"]).all()
    assert table.groupby(["shape", "texture"]).size().tolist() == [2] * 6
    assert [images.classes[label] for label in images.labels] == table["shape"].tolist()
    victim = folder / images.ids[3]
    before = {file: (folder / file).stat().st_mtime_ns for file in images.ids if folder / file != victim}
    pixels = np.asarray(Image.open(victim))
    victim.unlink()
    make_cue_conflict(labelled(0), labelled(1), folder, features, **quick)
    assert {file: (folder / file).stat().st_mtime_ns for file in before} == before, "what is there is kept"
    assert np.abs(np.asarray(Image.open(victim)).astype(int) - pixels).max() <= 1


def test_sets_that_cannot_be_crossed_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match="cannot be crossed"):
        make_cue_conflict(labelled(0), labelled(1, ("cat", "truck", "dog")), tmp_path, features)
    with pytest.raises(InputError, match="no image"):
        make_cue_conflict(labelled(0)[[0, 1]], labelled(1), tmp_path, features)


@pytest.fixture
def synsets(tmp_path: Path) -> Study:
    """A study of four of ImageNet-50's classes, in its folders; photographs are three grey-level JPEGs a class."""
    for split, number in product(("train", "val"), range(12)):
        name = ("n02504458", "n02690373", "n02708093", "n09835506")[number % 4]
        file = tmp_path / f"imagenet50/{split}/{name}/ILSVRC2012_{split}_{number:08d}.JPEG"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((20, 24, 3), 20 * number, np.uint8)).save(file)
    lines = {"name": "fifty", "simulated": False, "responses": "none", "stimuli": "none.hdf5", "image_size": 16}
    places = {"classification": "imagenet50", "cue_conflict": "imagenet50-cue-conflict"}
    (tmp_path / "study.toml").write_text(as_toml({**lines, **places}))
    return open_study(tmp_path)


def test_a_study_is_painted_in_its_own_classes_whatever_they_are_called(synsets: Study):
    table = paint_cue_conflict(synsets, features, steps=1)
    read = cue_conflict_names(load_folder(synsets.need("cue_conflict"), 16).ids)
    pd.testing.assert_frame_equal(read, table.reset_index(drop=True))
    assert table.groupby(["shape", "texture"]).size().tolist() == [1] * 12, "each ordered pair once"
    classes = synsets.need("classification") / "val"
    assert set(table["shape"]) == {folder.name for folder in classes.iterdir()}
    reach = conflict_reach(read, sorted(table["shape"].unique()))
    assert reach == "4 of 4 categories are known: 12 ordered pairs, 12 images, a shape bias of .5 within ± .28"
    folder = synsets.need("cue_conflict")
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*.png")}
    paint_cue_conflict(synsets, features, steps=1)
    assert before == {file: file.stat().st_mtime_ns for file in folder.rglob("*.png")}, "a finished set is kept"
    with pytest.raises(InputError, match="something else lies there"):
        paint_cue_conflict(synsets, features, steps=2)
    with pytest.raises(InputError, match="does not say where"):
        paint_cue_conflict(replace(synsets, cue_conflict=None), features)


def test_the_command_paints_with_vgg(synsets: Study, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(probes, "vgg19_features", lambda weights: features)
    monkeypatch.setattr(style_transfer, "stylise", lambda content, style, features: (content + style) / 2)
    study = str(synsets.need("classification").parent / "study.toml")
    assert main(["prepare", "cue-conflict", "--study", study]) == 0
    assert "12 cue-conflict images of 4 classes" in capsys.readouterr().out


@pytest.mark.slow
def test_vgg_is_built_from_a_file_and_gives_the_named_maps(tmp_path: Path):
    net = vgg19(weights=None)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in net.features.parameters():
            parameter.normal_(0, 0.05)
    file = tmp_path / "vgg19.safetensors"
    save_file({f"features.{name}": value for name, value in net.features.state_dict().items()}, file)
    maps = vgg19_features(file)(torch.rand(1, 3, 32, 32))
    assert {name: tuple(value.shape) for name, value in maps.items()} == {
        "conv1_1": (1, 64, 32, 32),
        "conv2_1": (1, 128, 16, 16),
        "conv3_1": (1, 256, 8, 8),
        "conv4_1": (1, 512, 4, 4),
        "conv4_2": (1, 512, 4, 4),
        "conv5_1": (1, 512, 2, 2),
    }
    first = net.features[0]
    x = torch.full((1, 3, 32, 32), 0.5)
    mean, sd = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = F.relu(first((x - mean.view(3, 1, 1)) / sd.view(3, 1, 1)))
    torch.testing.assert_close(vgg19_features(file)(x)["conv1_1"], expected)
    file.write_bytes(b"nothing")
    with pytest.raises(InputError, match="VGG-19 cannot be built"):
        vgg19_features(file)


def test_images_are_painted_wherever_it_is_called():
    content, style = pictures(1)
    expected = stylise(content, style, features, steps=3)
    with torch.inference_mode():
        assert torch.equal(stylise(content.clone(), style.clone(), features, steps=3), expected)


@pytest.mark.parametrize("settings", [{"steps": 0}, {"steps": 1.5}, {"style_weight": -1}, {"learning_rate": "fast"}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(InputError, match="cannot be"):
        stylise(*pictures(1), features, **settings)
