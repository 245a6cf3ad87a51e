"""Networks: a backbone that owns its normalisation, the neural predictor of a region, the guided network."""

from __future__ import annotations

import copy
import json
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models import VisionTransformer, WeightsEnum
from torchvision.models.vision_transformer import interpolate_embeddings

from nbtools.checks import as_names, check_choice, check_same_classes, reading
from nbtools.errors import InputError
from nbtools.files import write_tensors, write_text
from nbtools.models.backbones import Backbone, check_readouts, named, readout, resized, together
from nbtools.models.passes import conv_norm_pairs
from nbtools.models.weights import put

M = TypeVar("M", bound=nn.Module)
Key = TypeVar("Key")


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
    readouts : sequence of str
        Read-outs the linear head sits on, side by side; ``pooled`` alone in the paper. Any nodes, as `Backbone`.
    side : int, optional
        To which images are resized within, in pixels, as in `AdoptedNet`; left out, they are taken as they are.
    roi : str
        Whose responses it predicts, where that is known: no guide of another name is made of it.

    Raises
    ------
    InputError
        If no read-out is named, or one twice; as `Backbone`.
    """

    components: Tensor

    def __init__(
        self,
        architecture: str,
        n_components: int,
        n_voxels: int,
        image_size: int | None = None,
        readouts: Sequence[str] = ("pooled",),
        side: int | None = None,
        roi: str = "",
    ):
        super().__init__()
        check_readouts(readouts)
        self.backbone = Backbone(architecture, image_size, readouts)
        size = {"n_components": n_components, "n_voxels": n_voxels}
        self.config = {**self.backbone.config, **size, "readouts": list(readouts), "side": side, "roi": roi}
        self.readouts, self.side, self.roi = tuple(readouts), side, roi
        self.head = nn.Linear(sum(map(self.backbone.readout_width, readouts)), n_components)
        self.register_buffer("components", torch.zeros(n_components, n_voxels))

    def forward(self, x: Tensor) -> Tensor:
        """Map pixels (n, 3, h, w) in [0, 1] to component scores (n, n_components)."""
        maps = self.backbone(resized(x, self.side))
        return self.head(torch.cat([readout(maps, name) for name in self.readouts], dim=1))

    def voxels(self, scores: Tensor) -> Tensor:
        """Map scores (n, n_components) to z-scored voxel responses (n, n_voxels)."""
        return scores @ self.components

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Return every read-out and the predicted scores under ``neural``: each (n, width)."""
        maps = self.backbone(resized(x, self.side))
        pooled = {name: readout(maps, name) for name in maps}
        return {**pooled, "neural": self.head(torch.cat([pooled[name] for name in self.readouts], dim=1))}


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
        The read-out that each neural head sits on; ``"pooled"`` in the paper. Any node of the network, as `Backbone`.
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
        n_components: int | Sequence[int],
        guided_readout: str | Sequence[str] = "pooled",
        image_size: int | None = None,
    ):
        super().__init__()
        self.n_components = (n_components,) if isinstance(n_components, int) else tuple(n_components)
        self.guided_readouts = tuple(as_names(guided_readout))
        self.classes = named(classes)
        # The neural heads come last: all conditions of one seed start from the same backbone and class head.
        self.backbone = Backbone(architecture, image_size, self.guided_readouts)
        self.config = {
            **self.backbone.config,
            "classes": list(self.classes),
            "n_components": n_components if isinstance(n_components, int) else list(n_components),
            "guided_readout": guided_readout if isinstance(guided_readout, str) else list(guided_readout),
        }
        self.class_head = nn.Linear(self.backbone.width, len(self.classes), bias=self.backbone.anatomy.biased)
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
        pooled = {name: readout(maps, name) for name in maps}
        neural = self._neural(self._matched(pooled.__getitem__))
        heads = {"logits": self.class_head(pooled["pooled"])}
        return {**pooled, **heads} if neural is None else {**pooled, **heads, "neural": neural}


class AdoptedNet(GuidedNet):
    """A network that was trained elsewhere; takes a study's pixels in [0, 1], whatever their size.

    Parameters
    ----------
    architecture : str
        As of any network.
    own_classes : sequence of str (n_own,)
        What it was trained to tell apart, in the order of its last layer.
    classes : sequence of str (n_classes,)
        What its logits stand for here: a study's classes, or its own.
    members : sequence of sequence of int (n_classes,), or None
        Which of its own classes are each of these; None: they are its own.
    side : int
        Of the square images it was trained on, in pixels.

    Notes
    -----
    Images of another size are resized within, bilinear and antialiased, so that an attack's ε is one of the study's
    pixels. The logit of a class is log Σ exp over its members' logits: softmax then sums their probabilities, among all
    members.
    """

    def __init__(
        self,
        architecture: str,
        own_classes: Sequence[str],
        classes: Sequence[str],
        members: Sequence[Sequence[int]] | None,
        side: int,
    ):
        super().__init__(architecture, own_classes, 0, image_size=side)
        self.classes, self.members, self.side = named(classes), members, side
        self.config = {"architecture": architecture, "own_classes": list(own_classes)}
        self.config |= {"classes": list(classes), "members": members, "side": side}

    def forward(self, x: Tensor) -> Tensor:
        """Map pixels (n, 3, h, w) in [0, 1] to logits (n, n_classes)."""
        return together(super().forward(resized(x, self.side)), self.members)

    def matched(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return logits (n, n_classes), and the read-out (n, width) that a guide would match: it has none."""
        logits, values = super().matched(resized(x, self.side))
        return together(logits, self.members), values

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Return every read-out, and ``logits``: each (n, width)."""
        found = super().features(resized(x, self.side))
        return {**found, "logits": together(found["logits"], self.members)}


Network = RoiPredictor | GuidedNet
_MODELS: dict[str, type[Network]] = {kind.__name__: kind for kind in (RoiPredictor, GuidedNet, AdoptedNet)}


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
        If they are not of one architecture, for images of one size where it takes one alone, or know other classes.
    """
    check_same_classes(network.classes, start)
    ours, theirs = (model.backbone.config for model in (network, start))
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
    with _telling_of(weights):
        backbone.parts.load_state_dict(_fitted(downloaded(weights), backbone))


def _fitted(state: dict[str, Tensor], backbone: Backbone) -> dict[str, Tensor]:
    """Return published weights as a backbone names them, those of other layers left out."""
    # DenseNet's files are of a time when names could hold dots
    state = {re.sub(r"(denselayer\d+\.(?:norm|conv))\.", r"\1", name): value for name, value in state.items()}
    network = backbone.anatomy.blueprint
    if isinstance(network, VisionTransformer):
        state = interpolate_embeddings(network.image_size, network.patch_size, OrderedDict(state))
    own = backbone.parts.state_dict()
    return {name: value for name, value in state.items() if name in own}


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
    (`passes.conv_norm_pairs`), where it has one; anything else stays as it is. What is read at a folded convolution
    afterwards is normalised already.
    """
    folded = copy.deepcopy(model).eval()
    for network, pairs in _foldable(folded):
        for first, second in pairs:
            conv, norm = network.get_submodule(first), network.get_submodule(second)
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):  # not if it was folded before
                network.set_submodule(first, fuse_conv_bn_eval(conv, norm))
                network.set_submodule(second, nn.Identity())
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


def save_model(model: Network, folder: Path) -> None:
    """Write ``weights.safetensors`` and ``model.json`` into a folder; each appears whole or not at all."""
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    write_tensors(folder / "weights.safetensors", state)
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
        put(model, load_file(weights))
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
