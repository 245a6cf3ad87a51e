"""What a network is told of a guide: losses between what it has and a batch's targets."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from nbtools.guides import Target


def row_r(a: Tensor, b: Tensor) -> Tensor:
    """Return the Pearson correlation of each pair of rows: (n, k), (n, k) → (n,); 0 for a constant row."""
    return F.cosine_similarity(a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True), dim=1)


def rdm(x: Tensor) -> Tensor:
    """Return 1 − Pearson's r between all rows of (n, k): (n, n); 1 beside a constant row."""
    z = F.normalize(x - x.mean(1, keepdim=True), dim=1)
    return 1 - z @ z.T


def linear_cka(a: Tensor, b: Tensor) -> Tensor:
    """Return linear CKA of n images' features, (n, k) and (n, l) (Kornblith et al. 2019); 0 for constant ones.

    ‖YᵀX‖² / (‖XᵀX‖ ‖YᵀY‖) of features centred over images, here by their products (n, n).
    """
    ours, theirs = (x @ x.T for x in (a - a.mean(0), b - b.mean(0)))
    return F.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0)


def _responses(neural: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return F.mse_loss(neural, target), row_r(neural.detach(), target).mean()


def _rdm(features: Tensor, responses: Tensor) -> tuple[Tensor, Tensor]:
    ours, theirs = rdm(features), rdm(responses)
    pairs = torch.triu_indices(len(ours), len(ours), 1, device=ours.device).unbind()
    r = row_r(ours.detach()[pairs][None], theirs[pairs][None]).mean()
    return F.mse_loss(ours, theirs), r.nan_to_num()  # one image alone has no pair


def _cka(features: Tensor, responses: Tensor) -> tuple[Tensor, Tensor]:
    cka = linear_cka(features, responses)
    return 1 - cka, cka.detach()


# (what the network has (n, k), what its guide says (n, l)) → the loss, and how well they agree, at best 1.
MATCHED: dict[Target, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    "responses": _responses,
    "rdm": _rdm,
    "cka": _cka,
}
