"""How fast this machine is: seconds an image of one step of training, measured in moments and kept with the study."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nbtools.checks import reading
from nbtools.data.study import home, study_name
from nbtools.files import write_text
from nbtools.processes import Bar

_CPU_PIXELS = 4 * 224**2  # of a batch: half precision without the instructions for it takes seconds an image
_N_CLASSES = 10


@dataclass(frozen=True)
class Step:
    """What a step of training is of: its rate depends on all of these."""

    architecture: str
    precision: str
    batch_size: int
    image_size: int

    def __str__(self) -> str:
        return f"{self.architecture} {self.precision} {self.batch_size} images of {self.image_size} px"


@dataclass(frozen=True)
class Calibration:
    """What was measured.

    Attributes
    ----------
    device : str
        As `device_name` gives it; empty if nothing was measured.
    seconds : mapping
        By a `Step`'s text: those of an image.
    """

    device: str
    seconds: Mapping[str, float]


def threads_for(image_size: int) -> int:
    """Return how many threads of a CPU a run is given: networks of small images gain nothing from a second."""
    return 1 if image_size < 96 else 4


def calibration_file(study: str) -> Path:
    """Return where a study's calibration is kept."""
    return home() / "runs" / study_name(study) / "calibration.json"


def device_name() -> str:
    """Name what networks run on: ``"GPU: <its name>"``, or ``"CPU: <its number of cores>"``."""
    import torch

    return f"GPU: {torch.cuda.get_device_name()}" if torch.cuda.is_available() else f"CPU: {os.cpu_count()} cores"


def on_gpu(device: str) -> bool:
    """Say whether a device that `device_name` named is a GPU."""
    return device.startswith("GPU")


def read_calibration(study: str) -> Calibration:
    """Return what was measured for a study.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    file = calibration_file(study)
    if not file.is_file():
        return Calibration("", {})
    with reading(
        "the calibration is damaged",
        *(ValueError, LookupError, TypeError, AttributeError),
        file=file,
        expected="device, and seconds by step of training",
        fix="delete it: `python -m nbtools plan` measures again",
    ):
        kept = json.loads(file.read_text(encoding="utf-8"))
        return Calibration(str(kept["device"]), {str(step): float(value) for step, value in kept["seconds"].items()})


def measured_rates(study: str, steps: Iterable[Step]) -> Calibration:
    """Return what is known of this device; steps that are not known yet are measured, and kept."""
    kept, here = read_calibration(study), device_name()
    known = dict(kept.seconds) if kept.device == here else {}
    if missing := [step for step in dict.fromkeys(steps) if str(step) not in known]:
        known |= {str(step): measure(step) for step in Bar(missing, "measuring a step of training", unit="step")}
        write_text(calibration_file(study), json.dumps({"device": here, "seconds": known}, indent=1) + "\n")
    return Calibration(here, known)


def measure(step: Step) -> float:
    """Return the seconds that an image takes in a step of training: the second of two short epochs, the first warms up.

    A CPU's rate stays the same beyond a certain size of batch, which only takes longer: there it is cut.
    """
    import torch

    from nbtools.data.images.sets import ImageSet
    from nbtools.devices import best_device
    from nbtools.models.networks import GuidedNet, build
    from nbtools.training.guided import train_guided
    from nbtools.training.loop import TrainConfig

    size, fitting = step.image_size, max(_CPU_PIXELS // step.image_size**2, 1)
    batch = step.batch_size if best_device().type == "cuda" else min(step.batch_size, fitting)
    n = batch * max(1, min(512, fitting) // batch)
    pixels = torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    classes = tuple(map(str, range(_N_CLASSES)))
    images = ImageSet(pixels, torch.arange(n) % _N_CLASSES, np.arange(n).astype(str), classes)
    config = TrainConfig(epochs=2, batch_size=batch, lr=1e-4, precision=step.precision)  # type: ignore[arg-type]
    splits = {"train": np.arange(n), "validation": np.arange(1)}
    before = torch.get_num_threads()
    torch.set_num_threads(min(threads_for(size), os.cpu_count() or 1))
    try:
        network = build(GuidedNet, 0, step.architecture, classes, 0, image_size=size)
        history = train_guided(network, images, None, 0.0, splits, config)
    finally:
        torch.set_num_threads(before)
    return float(history[history.split == "train"].seconds[history.epoch > 0].min()) / n
