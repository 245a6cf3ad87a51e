"""A new linear head on the read-out of a frozen network: what it learned, asked about categories that it never saw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from nbtools.checks import check_counts, check_enough
from nbtools.data.images.sets import ImageSet
from nbtools.devices import best_device
from nbtools.metrics.inputs import check_features
from nbtools.models.networks import Network, freeze
from nbtools.models.read_outs import read_out

MAX_STEPS = 1000  # of the solver, which needs a tenth of them


class NewHead(nn.Module):
    """A frozen network whose read-out a linear head of other categories reads.

    Parameters
    ----------
    trunk : RoiPredictor or GuidedNet
        In eval mode; its own heads say nothing here.
    classes : sequence of str (n_classes,)
        The categories, in the order of the logits.
    weight, bias : Tensor (n_classes, width) and (n_classes,)
        Of the head.
    name : str
        The read-out, as ``trunk.features`` names it.
    """

    def __init__(self, trunk: Network, classes: Sequence[str], weight: Tensor, bias: Tensor, name: str):
        super().__init__()
        self.trunk, self.classes, self.name = trunk, tuple(classes), name
        self.head = nn.Linear(weight.shape[1], len(weight))
        self.head.load_state_dict({"weight": weight, "bias": bias})

    def forward(self, x: Tensor) -> Tensor:
        """Map pixels (n, 3, h, w) in [0, 1] to logits (n, n_classes)."""
        return self.head(self.trunk.features(x)[self.name])


def fit_head(trunk: Network, images: ImageSet, name: str = "pooled") -> NewHead:
    """Fit a linear head on a frozen network's read-out.

    Parameters
    ----------
    trunk : RoiPredictor or GuidedNet
        In eval mode; nothing in it is changed.
    images : ImageSet
        Labelled, of three categories or more.
    name : str
        The read-out, as ``trunk.features`` names it.

    Returns
    -------
    NewHead
        Frozen, and differentiable in its pixels: attacks go through the trunk.

    Raises
    ------
    InputError
        If there are fewer than three categories, one has no image or an image none of them, the network is in training
        mode, has no such read-out, or gives it values that are not finite.

    Notes
    -----
    Multinomial logistic regression on z-scored features (a linear probe: Alain & Bengio 2017; Kornblith, Shlens & Le
    2019), with scikit-learn's penalty, ½ ‖W‖² beside the sum of losses, the same for all networks. Means and SDs go
    into the weights.
    """
    check_enough("a head tells several categories apart", len(images.classes), 3, fix="give more categories")
    labels, numbers = images.labels.numpy(), np.arange(len(images.classes))
    wrong = {
        "images of none of them": int((~np.isin(labels, numbers)).sum()),
        "categories without an image": int((~np.isin(numbers, labels)).sum()),
    }
    fix = "leave these images, or these categories, out"
    check_counts("the images do not show the categories", wrong, expected="images of every category alone", fix=fix)
    home = next(trunk.parameters()).device
    features = read_out(trunk.to(best_device()), images.pixels, [name])[name].double().numpy()
    trunk.to(home)
    check_features(f"the network's read-outs {name}", features)
    scaler = StandardScaler().fit(features)
    fitted = LogisticRegression(max_iter=MAX_STEPS).fit(scaler.transform(features), labels)
    weight = fitted.coef_ / scaler.scale_
    bias = fitted.intercept_ - weight @ scaler.mean_
    weights, biases = (torch.from_numpy(np.asarray(each, np.float32)) for each in (weight, bias))
    head = NewHead(trunk, images.classes, weights, biases, name)
    freeze(head.to(home))
    return head
