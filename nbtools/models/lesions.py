"""Lesions of the read-out: a guided network whose class head no longer sees some directions of the pooled features."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import torch
from torch import nn

from nbtools.errors import InputError
from nbtools.models.networks import GuidedNet


def neural_weights(network: GuidedNet) -> np.ndarray | None:
    """Return the weights of the neural heads that sit on the pooled features.

    Parameters
    ----------
    network : GuidedNet
        With a neural head, or several, or none.

    Returns
    -------
    array (n_components, width), or None
        float64, all such heads below each other; None where there is none: without guidance, or where other read-outs
        are guided.
    """
    heads = zip((network.neural_head, *network.further_heads), network.guided_readouts, strict=True)
    pooled = [head.weight for head, name in heads if name == "pooled" and isinstance(head, nn.Linear)]
    return torch.cat(pooled).detach().cpu().double().numpy() if pooled else None


def lesioned(network: GuidedNet, basis: np.ndarray, centre: np.ndarray) -> GuidedNet:
    """Copy a network and take a subspace of the pooled features away from its class head.

    Parameters
    ----------
    network : GuidedNet
        Stays as it is.
    basis : array (width, k)
        Orthonormal; single units are columns of the identity.
    centre : array (width,)
        The features' mean, which is left in place of what is taken away: f − QQᵀ(f − μ).

    Returns
    -------
    GuidedNet
        Of the same kind, ready to be attacked: W(f − QQᵀ(f − μ)) + b is a class head of its own, with the weights
        W(I − QQᵀ) and the bias b + WQQᵀμ. Neural heads read what they read before.

    Raises
    ------
    InputError
        If basis or centre do not fit the features, or the basis is not orthonormal.
    """
    width = network.class_head.in_features
    fits = basis.ndim == 2 and len(basis) == width and centre.shape == (width,)
    if not fits or not np.allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-6):
        raise InputError(
            "this is no subspace of the network's pooled features",
            expected=f"an orthonormal basis ({width}, k) and a centre ({width},)",
            got=f"{basis.shape}, {centre.shape}",
            fix="orthonormalise it (numpy.linalg.qr), and average the pooled features of this network",
        )
    copy = deepcopy(network)
    head = copy.class_head
    away, at = (torch.as_tensor(values).to(head.weight) for values in (basis @ basis.T, centre))
    with torch.no_grad():
        hidden = head.weight @ away
        head.bias.add_(hidden @ at)
        head.weight.sub_(hidden)
    return copy
