"""``python -m nbtools bench gpu``: what one card does in a few minutes, one table, one process.

Without a GPU the same runs on the processor, and says so: at these sizes for hours.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
import torch.distributed as dist

from nbtools.attacks.interface import sweep
from nbtools.bench.measure import timed
from nbtools.bench.networks import matrix_rate, operations, wait
from nbtools.conditions import parse_condition
from nbtools.data.images.sets import ImageSet
from nbtools.data.images.views import draw_boxes
from nbtools.devices import best_device, launch, make_fabric
from nbtools.models.networks import GuidedNet, RoiPredictor, build, freeze
from nbtools.models.read_outs import predict
from nbtools.processes import Bar
from nbtools.training.guided import labelled_views, train_guided
from nbtools.training.loop import Precision, TrainConfig
from nbtools.training.targets import Guide, make_guide

PRECISIONS: dict[Precision, torch.dtype] = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16}
ALPHA, CLASSES, COMPONENTS, VOXELS = 0.5, 50, 50, 500
REDUCED = 25_000_000  # float32 values summed over two cards: a ResNet-50's gradient


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes
    ----------
    size : int
        Side of the views, pixels; images are an eighth larger.
    batch, steps : int
        Images of a step, and steps that are timed, after as many that are not.
    attacked, attack_steps : int
        Images under attack, and steps of PGD at each of three ε.
    product : int
        Side of the matrices that are multiplied.
    """

    size: int = 224
    batch: int = 1024
    steps: int = 8
    attacked: int = 512
    attack_steps: int = 40
    product: int = 8192


FULL = Sizes()


def gpu_table(sizes: Sizes = FULL) -> pd.DataFrame:
    """Measure matrix products, guided training, an attack, the way of pictures, and NCCL where there are two cards.

    Returns
    -------
    DataFrame
        A row each: ``what``, ``value``, ``unit``, ``notes``.

    Notes
    -----
    The floor of a training step is its floating-point operations at the rate at which the device multiplies matrices
    of the same precision. Losses are means over the first epoch, of the same steps on the same views.
    """
    several = torch.cuda.device_count() > 1
    return pd.DataFrame(list(Bar(_rows(sizes, several), "bench gpu", 6 + several, unit="row")))


def _rows(sizes: Sizes, several: bool) -> Iterator[dict[str, object]]:
    device, rates = best_device(), {}
    for precision, dtype in PRECISIONS.items():
        rate = rates[precision] = matrix_rate(device, dtype, sizes.product)
        yield {"what": f"matrix product, {precision}", "value": rate / 1e12, "unit": "TFLOP/s", "notes": _name(device)}
    images = _images(sizes)
    yield from _training(sizes, images, rates)
    yield _attack(sizes, images)
    yield _views(sizes, images, device)
    if several:
        yield _nccl()


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "no GPU: the processor"


def _images(sizes: Sizes) -> ImageSet:
    """Draw pictures of noise: what they show costs nothing."""
    n, side = sizes.batch * sizes.steps, sizes.size * 8 // 7
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8, generator=draw)
    classes = tuple(f"class {k:02d}" for k in range(CLASSES))
    return ImageSet(pixels, torch.arange(n) % CLASSES, np.arange(n).astype(str), classes)


def _training(sizes: Sizes, images: ImageSet, rates: dict[Precision, float]) -> Iterator[dict[str, object]]:
    """Train in both precisions, compiled and not, with a guide and without; an untrained one costs what others do."""
    predictor = build(RoiPredictor, 1, "resnet18", COMPONENTS, VOXELS)
    freeze(predictor)
    guide = make_guide(parse_condition("TO"), copy.deepcopy(predictor), images[: min(64, len(images))], "raw", 0)
    network = build(GuidedNet, 0, "resnet18", images.classes, COMPONENTS)
    floor = operations(network, predictor, sizes.size) / rates["bf16-mixed"]
    whole = _train(sizes, images, guide, "32-true", compiled=False)
    for compiled in (False, True):
        guided = _train(sizes, images, guide, "bf16-mixed", compiled=compiled)
        alone = _train(sizes, images, None, "bf16-mixed", compiled=compiled)
        off = abs(guided["loss"] / whole["loss"] - 1)
        yield {
            "what": "guided training, bf16-mixed" + ", compiled" * compiled,
            "value": guided["rate"],
            "unit": "images/s",
            "notes": f"{floor * guided['rate']:.0%} of the matrix rate; a guide costs "
            f"{alone['rate'] / guided['rate']:.2f}x of a plain step; {guided['rate'] / whole['rate']:.1f}x float32; "
            f"loss off float32's by {off:.2%}" + " (more than 1 %)" * bool(off > 0.01),
        }


def _train(
    sizes: Sizes, images: ImageSet, guide: Guide | None, precision: Precision, *, compiled: bool
) -> dict[str, float]:
    """Train two epochs; the second is timed."""
    model = build(GuidedNet, 0, "resnet18", images.classes, COMPONENTS if guide else 0)
    config = TrainConfig(2, sizes.batch, 0.001, "sgd", augmentation="crop-flip", precision=precision, compile=compiled)
    splits = {"train": np.arange(len(images)), "validation": np.arange(min(8, len(images)))}
    history = train_guided(model, images, guide, ALPHA if guide else 0.0, splits, config, size=sizes.size)
    first, second = history[history["split"] == "train"].itertuples()
    return {"rate": sizes.batch * sizes.steps / second.seconds, "loss": first.loss}


def _attack(sizes: Sizes, images: ImageSet) -> dict[str, object]:
    """Sweep PGD over three ε."""
    side = sizes.size
    some = images[: sizes.attacked]
    some = replace(some, pixels=some.pixels[..., :side, :side].contiguous())
    model = build(GuidedNet, 0, "resnet18", images.classes, 0)
    freeze(model)
    said = predict(model, some.pixels).argmax(1)  # then every image is attacked
    radii = [level / 255 for level in (1, 2, 4)]
    seconds, _ = timed(lambda: sweep(model, replace(some, labels=said), radii, steps=sizes.attack_steps))
    notes = f"PGD-{sizes.attack_steps}, three ε, an untrained ResNet-18, {side} px"
    return {"what": "attack sweep", "value": len(some) / seconds, "unit": "images/s", "notes": notes}


def _views(sizes: Sizes, images: ImageSet, device: torch.device) -> dict[str, object]:
    """Make training views, from pixels in memory to batches on the device."""
    make = labelled_views(images, sizes.size, device)
    boxes = draw_boxes("crop-flip", len(images), torch.Generator().manual_seed(0))
    rows = torch.arange(len(images)).split(sizes.batch)

    def once() -> None:
        for part in rows:
            make(part, boxes[part])
        wait(device)

    rate = len(images) / min(timed(once)[0] for _ in range(2))  # the first one warms up
    return {"what": "training views", "value": rate, "unit": "images/s", "notes": "crop and flip, on the device"}


def _nccl() -> dict[str, object]:
    """Sum a gradient over all cards."""
    n = torch.cuda.device_count()
    with TemporaryDirectory() as folder:
        file = Path(folder) / "seconds.txt"
        launch(_reduce, (str(file),), n)
        seconds = float(file.read_text(encoding="utf-8"))
    moved = 2 * (n - 1) / n * REDUCED * 4 / seconds / 1e9
    return {"what": f"all_reduce over {n} cards", "value": moved, "unit": "GB/s", "notes": "100 MB, NCCL"}


def _reduce(options: dict[str, object], file: str) -> None:
    """In each process: sum often, and let the first one say how long a sum takes."""
    fabric = make_fabric("32-true", **options)
    fabric.launch()
    values = torch.ones(REDUCED, device=fabric.device)

    def often() -> None:
        for _ in range(20):
            dist.all_reduce(values)
        wait(fabric.device)

    seconds = min(timed(often)[0] for _ in range(2)) / 20  # the first one warms up
    if fabric.global_rank == 0:
        Path(file).write_text(str(seconds), encoding="utf-8")
