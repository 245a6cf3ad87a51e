"""Networks: a backbone that owns its normalisation, the neural predictor of a region, the guided network."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models import ResNet18_Weights, WeightsEnum, resnet18
from torchvision.models.resnet import BasicBlock

from nbtools.checks import as_names, check_choice, check_same_classes, reading
from nbtools.errors import InputError
from nbtools.files import write_text, written

M = TypeVar("M", bound=nn.Module)
Key = TypeVar("Key")

# Side of the grid each read-out is average-pooled to, as in the authors' code.
READOUTS: dict[str, int] = {"layer1": 4, "layer2": 2, "layer3": 2, "layer4": 2, "pooled": 1}
STAGES = ("layer1", "layer2", "layer3", "layer4")
PIXEL_MEAN = (0.485, 0.456, 0.406)  # ImageNet's, so that pretrained weights see what they were trained on
PIXEL_SD = (0.229, 0.224, 0.225)


def _resnet18() -> nn.ModuleDict:
    net = resnet18(weights=None)
    stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
    return nn.ModuleDict({"stem": stem, **{stage: getattr(net, stage) for stage in STAGES}})


def _small_resnet() -> nn.ModuleDict:
    """One residual block per stage, for images of 32 to 64 pixels."""
    widths = (32, 64, 128, 256)
    stem = nn.Sequential(
        nn.Conv2d(3, widths[0], 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(widths[0]),
        nn.ReLU(inplace=True),
    )
    blocks = {"layer1": BasicBlock(widths[0], widths[0])}
    for stage, before, width in zip(STAGES[1:], widths, widths[1:], strict=False):
        shortcut = nn.Sequential(nn.Conv2d(before, width, 1, stride=2, bias=False), nn.BatchNorm2d(width))
        blocks[stage] = BasicBlock(before, width, stride=2, downsample=shortcut)
    parts = nn.ModuleDict({"stem": stem, **blocks})
    for module in parts.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return parts


ARCHITECTURES: dict[str, tuple[Callable[[], nn.ModuleDict], int]] = {
    "resnet18": (_resnet18, 512),
    "small_resnet": (_small_resnet, 256),
}


class Backbone(nn.Module):
    """A residual network without its classifier; takes pixels in [0, 1] and normalises them itself.

    Parameters
    ----------
    architecture : {"resnet18", "small_resnet"}
        torchvision's ResNet-18, or one block per stage for small images.
    """

    pixel_mean: Tensor
    pixel_sd: Tensor

    def __init__(self, architecture: str):
        super().__init__()
        check_choice("unknown architecture", architecture, ARCHITECTURES)
        build, self.width = ARCHITECTURES[architecture]
        self.parts = build()
        self.register_buffer("pixel_mean", torch.tensor(PIXEL_MEAN).view(3, 1, 1))
        self.register_buffer("pixel_sd", torch.tensor(PIXEL_SD).view(3, 1, 1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map pixels (n, 3, h, w) in [0, 1] to the feature maps of the four stages."""
        x = self.parts["stem"]((x - self.pixel_mean) / self.pixel_sd)
        maps = {}
        for stage in STAGES:
            x = maps[stage] = self.parts[stage](x)
        return maps

    def readout_width(self, name: str) -> int:
        """Return the number of values `readout` gives for a read-out."""
        channels = self.width // 2 ** (len(STAGES) - 1 - STAGES.index("layer4" if name == "pooled" else name))
        return channels * READOUTS[name] ** 2


def readout(maps: dict[str, Tensor], name: str) -> Tensor:
    """Pool a stage's maps to its grid and flatten them: (n, channels · grid²)."""
    stage = "layer4" if name == "pooled" else name
    return F.adaptive_avg_pool2d(maps[stage], READOUTS[name]).flatten(1)


class RoiPredictor(nn.Module):
    """Predicts a region's responses to an image as principal-component scores.

    Parameters
    ----------
    architecture : str
        Backbone.
    n_components, n_voxels : int
        Size of the response basis. The basis itself travels with the weights: `voxels` needs nothing else.
    """

    components: Tensor

    def __init__(self, architecture: str, n_components: int, n_voxels: int):
        super().__init__()
        self.config = {"architecture": architecture, "n_components": n_components, "n_voxels": n_voxels}
        self.backbone = Backbone(architecture)
        self.head = nn.Linear(self.backbone.width, n_components)
        self.register_buffer("components", torch.zeros(n_components, n_voxels))

    def forward(self, x: Tensor) -> Tensor:
        """Map pixels (n, 3, h, w) in [0, 1] to component scores (n, n_components)."""
        return self.head(readout(self.backbone(x), "pooled"))

    def voxels(self, scores: Tensor) -> Tensor:
        """Map scores (n, n_components) to z-scored voxel responses (n, n_voxels)."""
        return scores @ self.components

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Return every read-out and the predicted scores under ``neural``: each (n, width)."""
        maps = self.backbone(x)
        pooled = {name: readout(maps, name) for name in READOUTS}
        return {**pooled, "neural": self.head(pooled["pooled"])}


class GuidedNet(nn.Module):
    """A classifier with neural heads that are trained to match regions' predicted responses: one for each, or none.

    Parameters
    ----------
    architecture : str
        Backbone.
    classes : sequence of str (n_classes,)
        The classes' names, in the order of the class head's logits; they travel with the weights, so that images are
        joined with a network by name (`checks.check_same_classes`).
    n_components : int or sequence of int
        Size of the neural head, of each where there are several; 0: none, and what is matched is the read-out itself.
    guided_readout : str or sequence of str
        The read-out that each neural head sits on; ``"pooled"`` in the paper.

    Raises
    ------
    InputError
        If there is no such architecture or read-out, or classes are not different names.
    """

    def __init__(
        self,
        architecture: str,
        classes: Sequence[str],
        n_components: int | Sequence[int],
        guided_readout: str | Sequence[str] = "pooled",
    ):
        super().__init__()
        self.n_components = (n_components,) if isinstance(n_components, int) else tuple(n_components)
        self.guided_readouts = tuple(as_names(guided_readout))
        for name in self.guided_readouts:
            check_choice("unknown read-out", name, READOUTS)
        self.classes = _named(classes)
        self.config = {
            "architecture": architecture,
            "classes": list(self.classes),
            "n_components": n_components if isinstance(n_components, int) else list(n_components),
            "guided_readout": guided_readout if isinstance(guided_readout, str) else list(guided_readout),
        }
        # The neural heads come last: all conditions of one seed start from the same backbone and class head.
        self.backbone = Backbone(architecture)
        self.class_head = nn.Linear(self.backbone.width, len(self.classes))
        self.neural_head, *further = (
            nn.Linear(self.backbone.readout_width(name), n) if n else nn.Identity()
            for n, name in zip(self.n_components, self.guided_readouts, strict=True)
        )
        self.further_heads = nn.ModuleList(further)

    def forward(self, x: Tensor) -> Tensor:
        """Map pixels (n, 3, h, w) in [0, 1] to class logits (n, n_classes)."""
        return self.class_head(readout(self.backbone(x), "pooled"))

    def matched(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return class logits (n, n_classes) and what each guide matches (n, width): a neural head, or a read-out."""
        maps = self.backbone(x)
        return self.class_head(readout(maps, "pooled")), self._matched(lambda name: readout(maps, name))

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return class logits (n, n_classes) and all heads' neural responses (n, n_components), or None."""
        logits, matched = self.matched(x)
        return logits, self._neural(matched)

    def _matched(self, read: Callable[[str], Tensor]) -> list[Tensor]:
        heads = (self.neural_head, *self.further_heads)
        return [head(read(name)) for head, name in zip(heads, self.guided_readouts, strict=True)]

    def _neural(self, matched: list[Tensor]) -> Tensor | None:
        responses = [values for values, n in zip(matched, self.n_components, strict=True) if n]
        return torch.cat(responses, dim=1) if responses else None

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Return every read-out, ``logits`` and, if there are such, all ``neural`` heads together: each (n, width)."""
        maps = self.backbone(x)
        pooled = {name: readout(maps, name) for name in READOUTS}
        neural = self._neural(self._matched(pooled.__getitem__))
        heads = {"logits": self.class_head(pooled["pooled"])}
        return {**pooled, **heads} if neural is None else {**pooled, **heads, "neural": neural}


def _named(classes: Sequence[str]) -> tuple[str, ...]:
    names = tuple(classes) if isinstance(classes, (list, tuple)) else ()
    if not names or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise InputError(
            "a network has to know its classes' names",
            expected="a list of different names",
            got=repr(classes)[:200],
            fix="give the classes of the images it is trained on",
        )
    return names


Network = RoiPredictor | GuidedNet
_MODELS: dict[str, type[RoiPredictor] | type[GuidedNet]] = {
    "RoiPredictor": RoiPredictor,
    "GuidedNet": GuidedNet,
}


def build(model: Callable[..., Any], seed: int, *args: Any, **kwargs: Any) -> Any:
    """Build a model with weights drawn from `seed`, leaving the global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model(*args, **kwargs)


def begin_with(network: GuidedNet, start: GuidedNet) -> None:
    """Give a network another one's backbone and class head; its neural head stays as it is.

    Raises
    ------
    InputError
        If they are not of one architecture, or know other classes.
    """
    check_same_classes(network.classes, start)
    ours, theirs = (model.config["architecture"] for model in (network, start))
    if ours != theirs:
        raise InputError(
            "a network cannot begin with one of another architecture",
            expected=ours,
            got=theirs,
            fix="train the start with the same architecture",
        )
    network.backbone.load_state_dict(start.backbone.state_dict())
    network.class_head.load_state_dict(start.class_head.state_dict())


def load_imagenet_weights(backbone: Backbone) -> None:
    """Start a ResNet-18 backbone from torchvision's ImageNet weights, as the paper's guided networks do.

    Downloads them on first use.

    Raises
    ------
    InputError
        As `downloaded`.
    """
    weights = ResNet18_Weights.IMAGENET1K_V1
    state, stem = downloaded(weights), {"conv1": "0", "bn1": "1"}
    with _telling_of(weights):
        renamed = {}
        for name, value in state.items():
            first, _, rest = name.partition(".")
            if first != "fc":
                renamed[f"stem.{stem[first]}.{rest}" if first in stem else name] = value
        backbone.parts.load_state_dict(renamed)


def downloaded(weights: WeightsEnum) -> dict[str, Tensor]:
    """Return weights that torchvision publishes, downloaded once and checked by their hash; only tensors are read.

    Raises
    ------
    InputError
        If they cannot be had, or the file is damaged or holds anything else.
    """
    with _telling_of(weights):
        return dict(weights.get_state_dict(progress=True, check_hash=True, weights_only=True))


def _telling_of(weights: WeightsEnum) -> AbstractContextManager[None]:
    return reading(
        "torchvision's weights cannot be had",
        Exception,  # the network's, the disk's, or those of torch's reader, which are of many kinds
        file=Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name,
        expected="the file torchvision publishes, of tensors alone",
        fix="delete the file if it is there, and try again with a network",
    )


def freeze(model: nn.Module) -> nn.Module:
    """Put a model into eval mode without gradients: nothing in it can change any more."""
    return model.eval().requires_grad_(False)


def fold_batchnorm(model: M) -> M:
    """Return a frozen copy of an eval-mode model with each batch normalisation folded into its convolution.

    The same function up to float rounding, and faster. Pairs are found by position in an ``nn.Sequential`` and by
    torchvision's names (``conv1`` and ``bn1``) in residual blocks; anything else stays as it is.
    """
    folded = copy.deepcopy(model).eval()
    for module in list(folded.modules()):
        children = dict(module.named_children())
        pairs = list(zip(children, list(children)[1:], strict=False)) if isinstance(module, nn.Sequential) else []
        pairs += [(name, name.replace("conv", "bn")) for name in children if name.startswith("conv")]
        for conv, norm in pairs:
            first, second = children[conv], children.get(norm)
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                setattr(module, conv, fuse_conv_bn_eval(first, second))
                setattr(module, norm, nn.Identity())
    freeze(folded)
    return folded.to(memory_format=torch.channels_last)


def save_model(model: Network, folder: Path) -> None:
    """Write ``weights.safetensors`` and ``model.json`` into a folder; each appears whole or not at all."""
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    with written(folder / "weights.safetensors") as beside:
        save_file(state, beside)
    write_text(folder / "model.json", json.dumps({"model": type(model).__name__, **model.config}, indent=2) + "\n")


def load_model(folder: Path) -> Any:
    """Rebuild a model from ``model.json`` and ``weights.safetensors`` alone, frozen.

    Raises
    ------
    InputError
        If a file is missing, describes no known model, or the weights do not fit.
    """
    description, weights = folder / "model.json", folder / "weights.safetensors"
    try:
        config = json.loads(description.read_text(encoding="utf-8"))
        model = _MODELS[config.pop("model")](**config)
        model.load_state_dict(load_file(weights))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        raise InputError(
            "the model cannot be rebuilt",
            file=folder,
            expected=f"model.json ({' or '.join(_MODELS)}) and weights.safetensors that fit it",
            got=f"{type(error).__name__}: {error}",
            fix="train it again; a finished run has both files. One trained before networks knew their classes: write "
            '"classes": ["…", …], the folders of its training images sorted, in place of "n_classes" in model.json',
        ) from error
    return freeze(model)


class InFolder(Protocol):
    """What lies in a folder of its own: a run."""

    @property
    def folder(self) -> Path:
        """Where its model lies."""


def load_models(found: Mapping[Key, InFolder]) -> dict[Key, Any]:
    """Rebuild the model of every run, frozen.

    Parameters
    ----------
    found : mapping of key → run
        Such as ``run.upstreams`` returns it.

    Returns
    -------
    dict of key → model
        In the same order.

    Raises
    ------
    InputError
        As `load_model`.
    """
    return {key: load_model(run.folder) for key, run in found.items()}
