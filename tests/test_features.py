"""Read-outs come in batches as they do at once, and only those a model has."""

from __future__ import annotations

import pytest
import torch

from nbtools.data.images.sets import to_float
from nbtools.errors import InputError
from nbtools.models.networks import GuidedNet, build, freeze
from nbtools.models.read_outs import read_out

TEN = list("abcdefghij")
PIXELS = torch.randint(256, (7, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_batches_give_what_all_images_at_once_give():
    model = freeze(build(GuidedNet, 0, "small_resnet", TEN, 5))
    found, whole = read_out(model, PIXELS, ["pooled", "neural"], batch_size=3), model.features(to_float(PIXELS))
    assert list(found) == ["pooled", "neural"]
    for name, values in found.items():
        torch.testing.assert_close(values, whole[name], atol=1e-5, rtol=1e-4)


def test_what_a_model_lacks_is_left_out():
    assert list(read_out(freeze(build(GuidedNet, 0, "small_resnet", TEN, 0)), PIXELS, ["pooled", "neural"])) == [
        "pooled"
    ]


def test_a_model_in_training_is_refused():
    with pytest.raises(InputError, match="training mode"):
        read_out(build(GuidedNet, 0, "small_resnet", TEN, 5), PIXELS, ["pooled"])


@pytest.mark.parametrize("model", [torch.nn.Linear(2, 2).eval(), torch.nn.Identity().eval()])
def test_a_network_of_another_library_names_no_read_outs(model):
    with pytest.raises(InputError, match="names no read-outs"):
        read_out(model, PIXELS, ["pooled"])


def test_weights_of_another_precision_read_out_in_float32():
    found = read_out(freeze(build(GuidedNet, 0, "small_resnet", TEN, 0)).double(), PIXELS, ["pooled"])["pooled"]
    expected = read_out(freeze(build(GuidedNet, 0, "small_resnet", TEN, 0)), PIXELS, ["pooled"])["pooled"]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
