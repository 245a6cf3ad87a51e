"""Networks: a backbone that owns its normalisation, the neural predictor of a region, the guided network."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import torch
import torchvision
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models import WeightsEnum

from nbtools.checks import check_choice, check_same_classes, reading
from nbtools.errors import InputError
from nbtools.models.anatomy import Anatomy, anatomy_of, conv_norm_pairs, passes_of
from nbtools.models.architectures import normalisation

M = TypeVar("M", bound=nn.Module)

# Side of the grid each read-out is average-pooled to, as in the authors' code.
READOUTS: dict[str, int] = {"layer1": 4, "layer2": 2, "layer3": 2, "layer4": 2, "pooled": 1}
_GRID = 2  # of maps of any other node


class Backbone(nn.Module):
    """A network without its last linear layer; takes pixels in [0, 1] and normalises them itself.

    Parameters
    ----------
    architecture : str
        Of `models.architectures`.
    image_size : int, optional
        Side in pixels of the images it is for: it is built for them where an architecture takes one size alone, and it
        is refused where it cannot take them. Left out, its library's.
    readouts : sequence of str
        Nodes to read beside `READOUTS`, as torchvision's ``get_graph_node_names`` gives them.

    Attributes
    ----------
    pixel_mean, pixel_sd : Tensor (3, 1, 1)
        By which pixels are normalised: those of the library's weights, until others are copied into them.
    image_size : int or None
        Of the only images it takes; None for any.

    Raises
    ------
    InputError
        If there is no such architecture or read-out, or it does not take such images; as `anatomy_of`.
    """

    pixel_mean: Tensor
    pixel_sd: Tensor

    def __init__(self, architecture: str, image_size: int | None = None, readouts: Sequence[str] = ()):
        super().__init__()
        anatomy = anatomy_of(architecture, image_size)
        self.architecture, self.image_size = architecture, anatomy.image_size
        self.readouts = tuple(dict.fromkeys([*READOUTS, *readouts]))
        self.passes = passes_of(anatomy, self.readouts)
        self.parts = anatomy.trunk()
        mean, sd = normalisation(anatomy.blueprint)
        self.register_buffer("pixel_mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("pixel_sd", torch.tensor(sd).view(3, 1, 1))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "passes": None}  # code, which is no data: made again where it is needed

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.passes = passes_of(self.anatomy, self.readouts)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *told: Any) -> None:
        if self.architecture == "resnet18":  # its first layers stood under other names until November 2026
            for name in list(state_dict):
                for old, new in {"stem.0.": "conv1.", "stem.1.": "bn1."}.items():
                    if name.startswith(f"{prefix}parts.{old}"):
                        state_dict[name.replace(f"parts.{old}", f"parts.{new}")] = state_dict.pop(name)
        super()._load_from_state_dict(state_dict, prefix, *told)

    @property
    def anatomy(self) -> Anatomy:
        """What it is made of."""
        return anatomy_of(self.architecture, self.image_size)

    @property
    def config(self) -> dict[str, Any]:
        """What it is rebuilt from, in JSON's terms; the read-outs apart."""
        return {"architecture": self.architecture, **({"image_size": self.image_size} if self.image_size else {})}

    @property
    def width(self) -> int:
        """Number of values of ``pooled``."""
        return self.readout_width("pooled")

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map pixels (n, 3, h, w) in [0, 1] to the maps of its read-outs: (n, c, h, w), or (n, c) of vectors.

        Raises
        ------
        InputError
            If it takes images of another size alone.
        """
        if self.image_size and x.shape[-2:] != (self.image_size, self.image_size):
            raise InputError(
                f"{self.architecture} was built for images of another size",
                expected=f"(n, 3, {self.image_size}, {self.image_size})",
                got=tuple(x.shape),
                fix="resize the images, or build it with their image_size",
            )
        return self.passes.by_mode[self.training](self.parts, (x - self.pixel_mean) / self.pixel_sd)

    def readout_width(self, name: str) -> int:
        """Return the number of values `readout` gives for a read-out."""
        layout = self.anatomy.nodes[self.anatomy.node(name)]
        return layout.channels * (_grid(name) ** 2 if layout.grid else 1)


def _grid(name: str) -> int:
    return READOUTS.get(name, _GRID)


def readout(maps: dict[str, Tensor], name: str) -> Tensor:
    """Pool a read-out's maps to its grid and flatten them: (n, channels · grid²); a vector stays as it is."""
    return F.adaptive_avg_pool2d(maps[name], _grid(name)).flatten(1) if maps[name].ndim == 4 else maps[name]


class RoiPredictor(nn.Module):
    """Predicts a region's responses to an image as principal-component scores.

    Parameters
    ----------
    architecture : str
        Backbone.
    n_components, n_voxels : int
        Size of the response basis. The basis itself travels with the weights: `voxels` needs nothing else.
    image_size : int, optional
        As `Backbone`.
    """

    components: Tensor

    def __init__(self, architecture: str, n_components: int, n_voxels: int, image_size: int | None = None):
        super().__init__()
        self.backbone = Backbone(architecture, image_size)
        self.config = {**self.backbone.config, "n_components": n_components, "n_voxels": n_voxels}
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
        pooled = {name: readout(maps, name) for name in maps}
        return {**pooled, "neural": self.head(pooled["pooled"])}


class GuidedNet(nn.Module):
    """A classifier with a second, neural head that is trained to match a region's predicted responses.

    Parameters
    ----------
    architecture : str
        Backbone.
    classes : sequence of str (n_classes,)
        The classes' names, in the order of the class head's logits; they travel with the weights, so that images are
        joined with a network by name (`checks.check_same_classes`).
    n_components : int
        Size of the neural head; 0 for a network without one.
    guided_readout : str
        The read-out the neural head sits on; ``"pooled"`` in the paper. Any node of the network, as `Backbone`.
    image_size : int, optional
        As `Backbone`.

    Raises
    ------
    InputError
        If classes are not different names; as `Backbone`.
    """

    def __init__(
        self,
        architecture: str,
        classes: Sequence[str],
        n_components: int,
        guided_readout: str = "pooled",
        image_size: int | None = None,
    ):
        super().__init__()
        self.classes = named(classes)
        # The neural head comes last: all conditions of one seed start from the same backbone and class head.
        self.backbone = Backbone(architecture, image_size, [guided_readout])
        self.config = {
            **self.backbone.config,
            "classes": list(self.classes),
            "n_components": n_components,
            "guided_readout": guided_readout,
        }
        self.class_head = nn.Linear(self.backbone.width, len(self.classes))
        self.neural_head = (
            nn.Linear(self.backbone.readout_width(guided_readout), n_components) if n_components else None
        )
        self.guided_readout = guided_readout

    def forward(self, x: Tensor) -> Tensor:
        """Map pixels (n, 3, h, w) in [0, 1] to class logits (n, n_classes)."""
        return self.class_head(readout(self.backbone(x), "pooled"))

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return class logits (n, n_classes) and neural responses (n, n_components) or None."""
        maps = self.backbone(x)
        logits = self.class_head(readout(maps, "pooled"))
        return logits, self.neural_head(readout(maps, self.guided_readout)) if self.neural_head else None

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Return every read-out, ``logits`` and, where there is one, the ``neural`` head: each (n, width)."""
        maps = self.backbone(x)
        pooled = {name: readout(maps, name) for name in maps}
        heads = {"logits": self.class_head(pooled["pooled"])}
        if self.neural_head:
            heads["neural"] = self.neural_head(pooled[self.guided_readout])
        return {**pooled, **heads}


def named(classes: Sequence[str]) -> tuple[str, ...]:
    """Return classes' names as a tuple; raise `InputError` unless they are different names."""
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
    """Start a backbone from the ImageNet weights that torchvision published first, as the paper's guided networks do.

    Downloads them on first use.

    Raises
    ------
    InputError
        If torchvision has none for its architecture, or not for its size of images; or as `downloaded`.
    """
    known = torchvision.models.list_models(module=torchvision.models)
    check_choice("torchvision has no weights for this architecture", backbone.architecture, known)
    weights = next(iter(torchvision.models.get_model_weights(backbone.architecture)))
    state = downloaded(weights)
    with _telling_of(weights):
        own = backbone.parts.state_dict()
        backbone.parts.load_state_dict({name: value for name, value in state.items() if name in own})


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

    The same function up to float rounding, and faster. Pairs are found on the network's graph
    (`anatomy.conv_norm_pairs`), where it has one; anything else stays as it is.
    """
    folded = copy.deepcopy(model).eval()
    for network, pairs in _foldable(folded):
        for conv, norm in pairs:
            fused = fuse_conv_bn_eval(network.get_submodule(conv), network.get_submodule(norm))
            network.set_submodule(conv, fused)
            network.set_submodule(norm, nn.Identity())
    freeze(folded)
    return folded.to(memory_format=torch.channels_last)


def _foldable(model: nn.Module) -> list[tuple[nn.Module, Sequence[tuple[str, str]]]]:
    if backbones := [part for part in model.modules() if isinstance(part, Backbone)]:
        return [(backbone.parts, backbone.passes.pairs) for backbone in backbones]
    try:
        graph = fx.Tracer().trace(model)
    except Exception:  # of many kinds: its path goes by the values it meets, so that it has no one graph
        return []
    return [(model, conv_norm_pairs(graph, model))]
