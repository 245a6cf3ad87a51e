"""Networks of our own, each whole, as a library would build it."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock, resnet18


def small_resnet() -> nn.Module:
    """Return a ResNet of one block per stage, for images of 32 to 64 pixels."""
    widths = (32, 64, 128, 256)
    stem = nn.Sequential(
        nn.Conv2d(3, widths[0], 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(widths[0]),
        nn.ReLU(inplace=True),
    )
    parts = OrderedDict[str, nn.Module](stem=stem, layer1=BasicBlock(widths[0], widths[0]))
    for stage, before, width in zip(("layer2", "layer3", "layer4"), widths, widths[1:], strict=False):
        shortcut = nn.Sequential(nn.Conv2d(before, width, 1, stride=2, bias=False), nn.BatchNorm2d(width))
        parts[stage] = BasicBlock(before, width, stride=2, downsample=shortcut)
    network = nn.Sequential(parts)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    network.add_module("avgpool", nn.AdaptiveAvgPool2d(1))
    network.add_module("flatten", nn.Flatten())
    network.add_module("fc", nn.Linear(widths[-1], 1, device="meta"))  # draws nothing: a class head takes its place
    return network


def cifar_resnet18() -> nn.Module:
    """Return torchvision's ResNet-18 as it is taken for CIFAR-10: first layer 3 × 3, no stride, no pooling after it."""
    network = resnet18()
    network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    network.set_submodule("maxpool", nn.Identity())
    return network


class RecurrentBlock(nn.Module):
    """An area of CORnet-S: a bottleneck that takes what it gave, some times over, with a normalisation for each time.

    Parameters
    ----------
    before, width : int
        Channels it takes and gives; its maps have half the side.
    times : int
        Passes.
    """

    def __init__(self, before: int, width: int, times: int):
        super().__init__()
        self.conv_input = nn.Conv2d(before, width, 1, bias=False)
        self.skip, self.norm_skip = nn.Conv2d(width, width, 1, stride=2, bias=False), nn.BatchNorm2d(width)
        inner = 4 * width
        self.conv1 = nn.Conv2d(width, inner, 1, bias=False)
        self.conv2 = nn.Conv2d(inner, inner, 3, padding=1, bias=False)
        self.conv3 = nn.Conv2d(inner, width, 1, bias=False)
        self.norm1, self.norm2, self.norm3 = (
            nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(times)) for channels in (inner, inner, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map features (n, before, h, w) to (n, width, h/2, w/2)."""
        x = self.conv_input(x)
        for time, norms in enumerate(zip(self.norm1, self.norm2, self.norm3, strict=True)):
            kept = x if time else self.norm_skip(self.skip(x))
            x = F.relu(norms[0](self.conv1(x)))
            x = F.relu(norms[1](F.conv2d(x, self.conv2.weight, stride=1 if time else 2, padding=1)))
            x = F.relu(norms[2](self.conv3(x)) + kept)
        return x


def cornet_s() -> nn.Module:
    """Return CORnet-S, a shallow recurrent network of four areas, read as ``V1``, ``V2``, ``V4``, ``IT``.

    From its description in Kubilius et al. (2019), arXiv 1909.06161.
    """
    areas = OrderedDict[str, nn.Module](
        V1=nn.Sequential(
            nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, padding=1),
            nn.Conv2d(64, 64, 3, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
        ),
        V2=RecurrentBlock(64, 128, times=2),
        V4=RecurrentBlock(128, 256, times=4),
        IT=RecurrentBlock(256, 512, times=2),
        avgpool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        linear=nn.Linear(512, 1000),
    )
    network = nn.Sequential(areas)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network
