"""Cue-conflict images of one's own: the shapes of one image set with the textures of another, by style transfer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import VGG19_Weights, vgg19

from nbtools.checks import check_names, check_pixels, check_range
from nbtools.classifiers import differentiating
from nbtools.data.archives import build
from nbtools.data.images.classified import load_test_images
from nbtools.data.images.cue_conflict import cue_conflict_names
from nbtools.data.images.folders import images_below
from nbtools.data.images.sets import ImageSet, to_float
from nbtools.data.study import Study
from nbtools.devices import best_device
from nbtools.errors import InputError
from nbtools.files import written
from nbtools.models.architectures import PIXEL_MEAN, PIXEL_SD
from nbtools.models.networks import downloaded, freeze
from nbtools.processes import Bar

Features = Callable[[Tensor], dict[str, Tensor]]

CONTENT = "conv4_2"
STYLE = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")


class VggFeatures(nn.Module):
    """The rectified maps of VGG-19's named convolutions, for pixels in [0, 1]; frozen.

    Parameters
    ----------
    layers : nn.Sequential
        ``torchvision.models.vgg19().features``.
    """

    pixel_mean: Tensor
    pixel_sd: Tensor

    def __init__(self, layers: nn.Sequential):
        super().__init__()
        self.layers = layers
        self.register_buffer("pixel_mean", torch.tensor(PIXEL_MEAN).view(3, 1, 1))
        self.register_buffer("pixel_sd", torch.tensor(PIXEL_SD).view(3, 1, 1))
        freeze(self)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map pixels (n, 3, h, w) in [0, 1] to the maps of `STYLE` and `CONTENT`: each (n, channels, h', w')."""
        x = (x - self.pixel_mean) / self.pixel_sd
        maps: dict[str, Tensor] = {}
        block, conv = 1, 0
        for layer in self.layers:
            if isinstance(layer, nn.MaxPool2d):
                block, conv = block + 1, 0
                if f"conv{block}_1" not in (*STYLE, CONTENT):
                    break
                # Average pooling makes better images than maximum pooling (Gatys et al. 2016, section 2).
                x = F.avg_pool2d(x, 2)
            elif isinstance(layer, nn.Conv2d):
                conv += 1
                x = F.relu(layer(x))
                if (name := f"conv{block}_{conv}") in (*STYLE, CONTENT):
                    maps[name] = x
        return maps


def vgg19_features(weights: Path | None = None) -> VggFeatures:
    """Build VGG-19's features.

    Parameters
    ----------
    weights : Path, optional
        A safetensors file of torchvision's VGG-19 state (``features.0.weight`` …). Left out, torchvision downloads its
        ImageNet weights (550 MB) once and checks their hash.

    Raises
    ------
    InputError
        If the file cannot be read or does not fit.
    """
    net = vgg19(weights=None).features
    try:
        state = load_file(weights) if weights else downloaded(VGG19_Weights.IMAGENET1K_V1)
        layers = {name: value for name, value in state.items() if not name.startswith("classifier.")}
        net.load_state_dict({name.removeprefix("features."): value for name, value in layers.items()})
    except (OSError, RuntimeError, AttributeError, TypeError, SafetensorError) as error:
        raise InputError(
            "VGG-19 cannot be built",
            file=weights,
            expected="a safetensors file of torchvision's vgg19, features.0.weight to features.34.bias",
            got=f"{type(error).__name__}: {str(error)[:200]}",
            fix="save vgg19().state_dict() with safetensors, or leave the path out to download",
        ) from error
    return VggFeatures(net).to(best_device())


def gram(maps: Tensor) -> Tensor:
    """Return the Gram matrices (n, c, c) of feature maps (n, c, h, w), divided by the c·h·w values they sum over."""
    flat = maps.flatten(2)
    return flat @ flat.transpose(1, 2) / (flat.shape[1] * flat.shape[2])


@differentiating
def stylise(
    content: Tensor,
    style: Tensor,
    features: Features,
    *,
    style_weight: float = 1e4,
    steps: int = 300,
    learning_rate: float = 0.02,
    progress: bool = False,
) -> Tensor:
    """Paint each content image in the texture of its style image.

    Parameters
    ----------
    content, style : Tensor
        Pixels in [0, 1], (n, 3, h, w) each, on the device of the features.
    features : callable
        Pixels → named maps, `CONTENT` and at least one of `STYLE` among them: `vgg19_features`, or another network's.
    style_weight : float
        Of the texture against the shape: β/α of the paper, for these losses' normalisation.
    steps, learning_rate
        Of Adam, which starts at the content image.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    Tensor
        (n, 3, h, w) in [0, 1]. Images do not influence each other.

    Raises
    ------
    InputError
        If shapes differ, pixels leave [0, 1], a number is out of its range, or the features lack those layers.

    Notes
    -----
    Gatys, Ecker & Bethge (2016), eq. 1–7: mean squared difference of the content layer's maps, plus `style_weight`
    times the mean over style layers of the squared differences of Gram matrices.
    """
    check_pixels(content)
    check_pixels(style)
    check_range("steps", steps, 1, whole=True)
    check_range("style_weight", style_weight, 0)
    check_range("learning_rate", learning_rate, 0)
    with torch.no_grad():
        shape, texture = features(content), features(style)
    layers = [name for name in STYLE if name in texture]
    if content.shape != style.shape or CONTENT not in shape or not layers:
        raise InputError(
            "no style transfer is possible",
            expected=f"as many styles as contents, of one size; maps of {CONTENT} and some of {', '.join(STYLE)}",
            got=f"{tuple(content.shape)} and {tuple(style.shape)}, maps of {', '.join(shape)}",
            fix="load both sets at one size, and use vgg19_features",
        )
    grams = {name: gram(texture[name]) for name in layers}
    image = content.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([image], learning_rate)
    for _ in Bar(range(steps), desc="style transfer", disable=not progress):
        maps = features(image)
        # Summed over images: each has the gradient it would have alone.
        loss = (maps[CONTENT] - shape[CONTENT]).square().flatten(1).mean(1).sum()
        for name in layers:
            off = (gram(maps[name]) - grams[name]).square().flatten(1).sum(1).sum()
            loss = loss + style_weight / len(layers) * off
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            image.clamp_(0, 1)
    return image.detach()


def make_cue_conflict(
    shapes: ImageSet,
    textures: ImageSet,
    folder: Path,
    features: Features,
    *,
    per_pair: int = 1,
    batch_size: int = 16,
    seed: int = 0,
    **settings: float,
) -> Path:
    """Make cue-conflict images of every pair of different classes, or finish a set that was interrupted.

    Parameters
    ----------
    shapes, textures : ImageSet
        Labelled images of one size and the same classes.
    folder : Path
        Gets ``<shape>/<shape>_<i>-<texture>_<j>.png``, as `cue_conflict_names` reads it. Files that are there are kept.
    features : callable
        As for `stylise`.
    per_pair : int
        Images per ordered pair of classes; all there are, if fewer.
    batch_size : int
        Images painted together.
    seed : int
        Of the choice of images.
    **settings
        ``style_weight``, ``steps``, ``learning_rate`` of `stylise`.

    Returns
    -------
    Path
        `folder`.

    Raises
    ------
    InputError
        If classes differ, a class has no image, or a number is out of its range; as `stylise`.
    """
    check_names("the two sets cannot be crossed", textures.classes, shapes.classes, fix="name classes alike in both")
    check_range("per_pair", per_pair, 1, whole=True)
    check_range("batch_size", batch_size, 1, whole=True)
    jobs = [job for job in _pairs(shapes, textures, per_pair, seed) if not (folder / job[0]).exists()]
    device = best_device()
    with Bar(total=len(jobs), desc="cue-conflict images", unit="image") as bar:
        for start in range(0, len(jobs), batch_size):
            names, rows, style_rows = zip(*jobs[start : start + batch_size], strict=True)
            content = to_float(shapes.pixels[list(rows)].to(device))
            style = to_float(textures.pixels[list(style_rows)].to(device))
            made = stylise(content, style, features, **settings)  # type: ignore[arg-type]
            for name, picture in zip(names, made, strict=True):
                _write_png(folder / name, picture)
            bar.update(len(names))
    return folder


def paint_cue_conflict(source: Study, features: Features, **settings: float) -> pd.DataFrame:
    """Make a study's own cue-conflict images where its ``cue_conflict`` says: its test images, crossed class by class.

    One image of each ordered pair of classes, so that every class of the networks counts, as in the study that this
    toolkit re-creates: of Geirhos's 16 categories, ImageNet-50 has few.

    Parameters
    ----------
    source : Study
        With ``classification`` and ``cue_conflict``.
    features : callable
        As for `stylise`.
    **settings
        As for `make_cue_conflict`.

    Returns
    -------
    DataFrame
        One row per image, as `cue_conflict_names` reads it from the name.

    Raises
    ------
    InputError
        If the study does not say where, or something else lies there; as `make_cue_conflict`.
    """
    if source.cue_conflict is None:
        raise InputError(
            f"the study {source.name!r} does not say where its cue-conflict images lie",
            expected='cue_conflict = "…" in its study.toml',
            got="no such entry",
            fix="name a folder that is to be made, such as ../imagenet50-cue-conflict",
        )
    images = load_test_images(source)

    def fill(part: Path) -> pd.DataFrame:
        make_cue_conflict(images, images, part, features, **settings)  # type: ignore[arg-type]
        return cue_conflict_names(np.array([file.relative_to(part).as_posix() for file in images_below(part)]))

    of = str(source.need("classification") / "val")
    return build(source.cue_conflict, {"painted": of, "image_size": source.image_size, **settings}, fill)


def _pairs(shapes: ImageSet, textures: ImageSet, per_pair: int, seed: int) -> list[tuple[str, int, int]]:
    """File name, row of the shape image and row of the texture image of everything to make."""
    rng, jobs = np.random.default_rng(seed), []
    sets = (shapes, textures)
    members = [[np.flatnonzero(part.labels.numpy() == k) for k in range(len(part.classes))] for part in sets]
    if not all(len(rows) for part in members for rows in part):
        raise InputError(
            "a class has no image",
            expected="at least one image of every class in both sets",
            got=f"{sum(not len(rows) for part in members for rows in part)} empty classes",
            fix="load more images, or drop the class from both",
        )
    for shape, texture in np.argwhere(~np.eye(len(shapes.classes), dtype=bool)):
        a, b = members[0][shape], members[1][texture]
        for pair in rng.choice(len(a) * len(b), min(per_pair, len(a) * len(b)), replace=False):
            i, j = divmod(int(pair), len(b))
            name = shapes.classes[shape]
            jobs.append((f"{name}/{name}_{i + 1}-{shapes.classes[texture]}_{j + 1}.png", int(a[i]), int(b[j])))
    return jobs


def _write_png(file: Path, picture: Tensor) -> None:
    pixels = (picture * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    with written(file) as beside:
        Image.fromarray(pixels).save(beside, format="png")
