"""How fast this machine is: seconds an image for each kind of pass, measured in moments and kept with the study."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm.auto import tqdm

from nbtools.data.study import home, study_name
from nbtools.errors import InputError
from nbtools.files import written
from nbtools.workflow.costs import ARITHMETIC, START, Rates

if TYPE_CHECKING:
    from nbtools.data.images.sets import ImageSet
    from nbtools.models.networks import GuidedNet

_SECONDS = 1.0  # of each kind
_CPU_PIXELS = 4 * 224**2  # of a batch: half precision without the instructions for it takes seconds an image
_N_CLASSES = 10
_IMPORTS = "import papermill, nbtools.training.guided, nbtools.attacks.interface, nbtools.plots.networks"


def calibration_file(study: str) -> Path:
    """Return where a study's rates are kept."""
    return home() / "runs" / study_name(study) / "calibration.json"


def read_rates(study: str) -> tuple[str, Rates]:
    """Return the device that a study's rates were measured on and the rates, both empty if none were.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    file = calibration_file(study)
    if not file.is_file():
        return "", {}
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        return str(kept["device"]), {str(kind): float(value) for kind, value in kept["seconds"].items()}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(
            "the calibration is damaged",
            file=file,
            expected="device, and seconds by kind of pass",
            got=f"{type(error).__name__}: {error}",
            fix="delete it: `python -m nbtools plan` measures again",
        ) from error


def rates_for(study: str, kinds: Iterable[str], image_size: int, threads: int) -> tuple[str, Rates]:
    """Return this device's name and its rates; what is not known of it yet is measured, and kept.

    Parameters
    ----------
    study : str
        Whose rates they are.
    kinds : iterable of str
        Kinds of pass, as `costs.work_of` names them.
    image_size : int
        Side of the images in pixels.
    threads : int
        That a run has on a CPU.
    """
    here = device_name(threads)
    device, rates = read_rates(study)
    known = dict(rates) if device == here else {}
    missing = [kind for kind in dict.fromkeys([START, *kinds]) if kind not in known and kind != ARITHMETIC]
    for kind in tqdm(missing, "calibration", disable=None):
        known[kind] = _start() if kind == START else measure(kind, image_size, threads)
    if missing:
        with written(calibration_file(study)) as beside:
            kept = {"device": here, "image_size": image_size, "seconds": known}
            beside.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return here, known


def device_name(threads: int) -> str:
    """Name what passes run on: ``"GPU: <its name>"``, or ``"CPU: <threads> of <cores> cores"``."""
    import torch

    if torch.cuda.is_available():
        return f"GPU: {torch.cuda.get_device_name()}"
    return f"CPU: {threads} of {os.cpu_count()} cores"


def on_gpu(device: str) -> bool:
    """Say whether a device that `device_name` named is a GPU."""
    return device.startswith("GPU")


def measure(kind: str, image_size: int, threads: int) -> float:
    """Return the seconds an image takes in one kind of pass, at the study's size, architecture, batch and precision.

    Parameters
    ----------
    kind : str
        As `costs.work_of` names it.
    image_size : int
        Side of the images in pixels.
    threads : int
        That a run has on a CPU.
    """
    import torch

    from nbtools.models.networks import GuidedNet, build

    how, architecture, *settings = kind.split()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        if how == "trained":
            precision, batch_size = settings
            return _trained(architecture, image_size, precision, _batch(image_size, int(batch_size)))
        network = build(GuidedNet, 0, architecture, _N_CLASSES, 0)
        return {"passed": _passed, "gradient": _gradient}[how](network, image_size)
    finally:
        torch.set_num_threads(before)


@cache  # batches that a CPU would only take longer for are one
def _trained(architecture: str, size: int, precision: str, batch: int) -> float:
    """Train for two short epochs; the first one warms up."""
    from nbtools.models.networks import GuidedNet, build
    from nbtools.training.guided import train_guided
    from nbtools.training.loop import TrainConfig

    network = build(GuidedNet, 0, architecture, _N_CLASSES, 0)
    n = batch * max(1, min(512, _CPU_PIXELS // size**2) // batch)
    config = TrainConfig(epochs=2, batch_size=batch, lr=1e-4, precision=precision)  # type: ignore[arg-type]
    splits = {"train": np.arange(n), "validation": np.arange(1)}
    with redirect_stderr(io.StringIO()):  # one progress bar is enough
        history = train_guided(network, _noise(n, size), None, 0.0, splits, config)
    return float(history[history.split == "train"].seconds[history.epoch > 0].min()) / n


def _passed(network: GuidedNet, size: int) -> float:
    from nbtools.devices import best_device
    from nbtools.models.networks import freeze
    from nbtools.models.read_outs import predict

    images, model = _noise(_batch(size, 256), size), freeze(network).to(best_device())
    return _timed(lambda: predict(model, images.pixels)) / len(images)


def _gradient(network: GuidedNet, size: int) -> float:
    """As a step of PGD: a gradient on the pixels, and the move along its sign."""
    import torch
    from torch.nn import functional as F

    from nbtools.data.images.sets import to_float
    from nbtools.devices import best_device
    from nbtools.models.networks import fold_batchnorm

    device, images = best_device(), _noise(_batch(size, 256), size)
    fast, x, labels = fold_batchnorm(network).to(device), to_float(images.pixels).to(device), images.labels.to(device)

    def step() -> None:
        here = x.contiguous(memory_format=torch.channels_last).requires_grad_(True)
        (gradient,) = torch.autograd.grad(F.cross_entropy(fast(here), labels, reduction="sum"), here)
        float((x + gradient.sign() / 255).clamp(0, 1)[0, 0, 0, 0])  # waits for a GPU

    return _timed(step) / len(images)


def _batch(size: int, wished: int) -> int:
    """Return the batch to measure with: a CPU's rate stays the same beyond a certain size, and only takes longer."""
    from nbtools.devices import best_device

    return wished if best_device().type == "cuda" else min(wished, max(_CPU_PIXELS // size**2, 1))


def _noise(n: int, size: int) -> ImageSet:
    import torch

    from nbtools.data.images.sets import ImageSet

    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=generator)
    classes = tuple(map(str, range(_N_CLASSES)))
    return ImageSet(pixels, torch.arange(n) % _N_CLASSES, np.array([str(i) for i in range(n)]), classes)


def _timed(work: Callable[[], object]) -> float:
    """Return the seconds of the quickest of several tries, after one that warms up."""
    work()
    times: list[float] = []
    while len(times) < 2 or (sum(times) < _SECONDS and len(times) < 20):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def _start() -> float:
    """Return how long the libraries of a notebook take to load, its runner's among them."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", _IMPORTS], check=True, cwd=Path(__file__).parents[2])
    return time.perf_counter() - started
