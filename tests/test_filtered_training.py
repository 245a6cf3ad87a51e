"""Controls of the frequency claim: networks trained on filtered pictures, and blur at test time."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from nbtools.conditions import parse_condition
from nbtools.data.images.bands import filtered, pass_gain
from nbtools.models import GuidedNet, build
from nbtools.plots import filter_curves
from nbtools.probes import blurred
from nbtools.training.guided import GuidedObjective
from nbtools.training.hardening import HARDENINGS, Asked, hardening


def a_network() -> GuidedNet:
    return build(GuidedNet, 0, "small_resnet", ("a", "b"), 0).eval()


def gratings(cycles: int, n: int = 4) -> Tensor:
    """Pictures (n, 3, 32, 32) of one spatial frequency."""
    wave = 0.5 + 0.4 * torch.sin(2 * torch.pi * cycles * torch.arange(32) / 32 + torch.arange(n)[:, None])
    return wave[:, None, None, :].expand(n, 3, 32, 32)


@pytest.mark.parametrize(("word", "kept", "lost"), [("lowpass", [2, 4], [14]), ("channel", [8], [2, 15])])
def test_a_network_is_shown_what_the_filter_passes(word: str, kept: list[int], lost: list[int]) -> None:
    shown: list[Tensor] = []
    model = a_network()
    model.backbone.register_forward_pre_hook(lambda _, args: shown.append(args[0]))
    show, watched = hardening((word, 8.0))
    assert watched is None
    for cycles in (*kept, *lost):
        x = gratings(cycles)
        show(Asked(model, x, torch.zeros(4, dtype=torch.long), lambda other: other.sum()))
        remains = (shown[-1] - 0.5).std() / (x - 0.5).std()
        assert remains > 0.85 if cycles in kept else remains < 0.15, (word, cycles, float(remains))


def test_it_is_tested_on_whole_pictures() -> None:
    model, x, labels = a_network(), gratings(14), torch.tensor([0, 1, 0, 1])
    objective = GuidedObjective(model, 0.0, hardened=("lowpass", 4.0)).eval()
    plain = GuidedObjective(model, 0.0).eval()
    assert torch.equal(objective(x, labels)["class_loss"], plain(x, labels)["class_loss"])
    assert not torch.equal(objective.train()(x, labels)["class_loss"], plain(x, labels)["class_loss"])


@pytest.mark.parametrize("word", HARDENINGS)
def test_every_way_has_a_name(word: str) -> None:
    number = "0.5" if word == "gauss" else "4"
    guide = "TO" if word == "atboth" else "none"
    assert parse_condition(f"{guide}-{word}-{number}").hardened == (word, float(number))


def test_blur_goes_before_the_network_and_attacks_go_through_it() -> None:
    model = a_network()
    ((key, network),) = blurred({("TO", 3): model}, [4.0]).items()
    assert key == ("TO blur 4", 3)
    assert network.classes == model.classes
    x = torch.rand(4, 3, 32, 32, requires_grad=True)
    gain = pass_gain("low", 4.0, 32)
    assert torch.equal(network(x), model(filtered(x, gain)))
    (through,) = torch.autograd.grad(network(x).logsumexp(1).sum(), x)
    spectrum = torch.fft.rfft2(through - through.mean((2, 3), keepdim=True)).abs().square().sum((0, 1))
    assert spectrum[gain < 0.01].sum() < 1e-3 * spectrum.sum()


def test_the_figure_shows_whole_pictures_in_every_panel() -> None:
    rows = [("none", passes, cut, 0.5) for passes in ("low", "high", "band") for cut in (2.0, 4.0)]
    rows.append(("none", "all", np.nan, 0.9))
    table = pd.DataFrame(rows, columns=["condition", "passes", "cut", "accuracy"])
    fig = filter_curves(table.assign(ci_low=0.4, ci_high=0.95), title="t")
    assert sum(0.9 in trace.y for trace in fig.data) == 3
    assert len({trace.name for trace in fig.data if trace.showlegend is not False}) == 1


def test_a_network_without_classes_is_blurred_too() -> None:
    ((_, network),) = blurred({("x", 0): nn.Flatten()}, [2.0]).items()
    assert not hasattr(network, "classes")
    assert network(torch.rand(2, 3, 8, 8)).shape == (2, 192)
