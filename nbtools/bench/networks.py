"""Networks: training."""

from __future__ import annotations

import copy
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from nbtools.bench.images import plain_loader, write_photographs
from nbtools.bench.measure import Row, row, scratch, timed
from nbtools.conditions import parse_condition
from nbtools.data.images.sets import ImageSet, load_folder
from nbtools.models.networks import GuidedNet, RoiPredictor, build, freeze
from nbtools.models.read_outs import predict
from nbtools.training.guided import train_guided
from nbtools.training.loop import Precision, TrainConfig
from nbtools.training.targets import Guide, make_guide

_ALPHA, _BATCH, _LR = 0.5, 32, 0.01
_ROUNDS = 3  # of training


def compare_training(size: int, n_images: int) -> Row:
    """Guided training of a ResNet-18, against a plain float32 loop over ImageFolder and DataLoader.

    In turns of two epochs, of which the second counts: what else the machine does falls on all alike.
    """
    predictor = build(RoiPredictor, 1, "resnet18", 50, 500)
    freeze(predictor)
    with scratch() as folder:
        write_photographs(folder / "train", n_images)
        write_photographs(folder / "val", 100)
        images = load_folder(folder / "train", round(size * 8 / 7), memory_limit=0)
        plain, ours, alone = (build(GuidedNet, 0, "resnet18", images.classes, n) for n in (50, 50, 0))
        splits = {"train": np.arange(len(images)), "validation": np.arange(len(images))[::8]}
        config = TrainConfig(
            epochs=2,
            batch_size=_BATCH,
            lr=_LR,
            optimizer="sgd",
            schedule="constant",
            augmentation="crop-flip",
            precision=_precision(),
        )
        guide = make_guide(parse_condition("TO"), copy.deepcopy(predictor), images[:64], "raw", 0)

        def train(model: GuidedNet, guide: Guide | None, alpha: float) -> float:
            history = train_guided(model.requires_grad_(True), images, guide, alpha, splits, config, size=size)
            return history.loc[history["split"] == "train", "seconds"].iloc[-1]

        seconds = [
            (
                _plain_training(plain, predictor, folder / "train", size),
                train(ours, guide, _ALPHA),
                train(alone, None, 0.0),
            )
            for _ in range(_ROUNDS)
        ]
        test = load_folder(folder / "val", size)
        right = [_accuracy(model, test) for model in (plain, ours)]
    baseline, guided, _ = np.median(seconds, axis=0)
    cost = np.median([ours_s / alone_s for _, ours_s, alone_s in seconds])  # of neighbours, which share a load
    seen = n_images // _BATCH * _BATCH
    floor = seen * operations(plain, predictor, size) / matrix_rate(torch.device("cpu"), torch.float32, 2048)
    return row(
        baseline,
        guided,
        goal="1.5x, guidance 1.35x",
        notes=f"{seen / baseline:.0f} and {seen / guided:.0f} images/s, ours in {config.precision}; guidance costs "
        f"{cost:.2f}x of a plain step; {floor / baseline:.0%} and {floor / guided:.0%} of the rate at "
        f"which the processor multiplies float32 matrices; accuracy after {2 * _ROUNDS} epochs {right[0]:.2f} and "
        f"{right[1]:.2f}",
    )


def compare_hardening(size: int, n_images: int) -> Row:
    """Adversarial training of a ResNet-18, by PGD and by one step, against plain training; as `compare_training`."""
    with scratch() as folder:
        write_photographs(folder, n_images)
        images = load_folder(folder, size, memory_limit=0)
        ways = (None, ("at", 4.0), ("fast", 4.0))
        networks = [build(GuidedNet, 0, "resnet18", images.classes, 0) for _ in ways]
        splits = {"train": np.arange(len(images)), "validation": np.arange(len(images))[:1]}
        config = TrainConfig(2, _BATCH, _LR, optimizer="sgd", augmentation="crop-flip", precision=_precision())

        def train(model: GuidedNet, hardened: tuple[str, float] | None) -> float:
            history = train_guided(
                model.requires_grad_(True), images, None, 0.0, splits, config, size=size, hardened=hardened
            )
            return history.loc[history["split"] == "train", "seconds"].iloc[-1]

        seconds = [[train(*pair) for pair in zip(networks, ways, strict=True)] for _ in range(_ROUNDS)]
    plain, pgd, fast = np.median(seconds, axis=0)
    return row(
        plain,
        pgd,
        goal="PGD 8x, fast 2.2x of plain",
        notes=f"adversarial training takes {pgd / plain:.2f}x (PGD, 7 steps) and {fast / plain:.2f}x (fast) as long as "
        f"plain training, in {config.precision}",
    )


def _precision() -> Precision:
    """Return the precision that pays here: processors without instructions for bf16 imitate it, far slower."""
    cpu = Path("/proc/cpuinfo")
    flags = cpu.read_text(encoding="utf-8") if cpu.exists() else ""
    has = torch.cuda.is_available() or "avx512_bf16" in flags or "amx_bf16" in flags
    return "bf16-mixed" if has else "32-true"


def _plain_training(model: GuidedNet, predictor: RoiPredictor, folder: Path, size: int) -> float:
    """Train two epochs as a tutorial would; return the seconds of the second."""
    loader = plain_loader(folder, size, _BATCH, drop_last=True)
    optimizer = torch.optim.SGD(model.parameters(), _LR, momentum=0.9)
    model.train()
    for _ in range(2):
        start = time.perf_counter()
        for x, labels in loader:
            loss = _guided_loss(model, predictor, x, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return time.perf_counter() - start


def _guided_loss(model: GuidedNet, predictor: RoiPredictor, x: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        target = predictor(x)
    logits, neural = model.heads(x)
    assert neural is not None
    return (1 - _ALPHA) * F.cross_entropy(logits, labels) + _ALPHA * F.mse_loss(neural, target)


def operations(model: GuidedNet, predictor: RoiPredictor, size: int) -> float:
    """Count the floating-point operations of a guided training step, for one image."""
    with FlopCounterMode(display=False) as counter:
        _guided_loss(model.train(), predictor, torch.rand(2, 3, size, size), torch.tensor([0, 1])).backward()
    return counter.get_total_flops() / 2


def wait(device: torch.device) -> None:
    """Wait until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matrix_rate(device: torch.device, dtype: torch.dtype, side: int) -> float:
    """Return the operations per second of a device in a large matrix product, its best of five; the first warms up."""
    a = torch.rand(side, side, device=device, dtype=dtype)

    def product() -> None:
        a @ a
        wait(device)

    return 2 * side**3 / min(timed(product)[0] for _ in range(6))


def _accuracy(model: nn.Module, images: ImageSet) -> float:
    return float((predict(model.eval(), images.pixels).argmax(1) == images.labels).float().mean())
