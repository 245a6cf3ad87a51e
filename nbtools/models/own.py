"""Networks of our own, each whole, as a library would build it."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn
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
