"""Clouds of categories in a component space: their centres, radii and bases, and what lies outside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from nbtools.errors import InputError

Form = Literal["corrected", "authors"]

VARIANCE = 0.95  # share of a category's variance that its basis holds
FEWEST = 2  # images of a category: one image has no variance
TINY = 1e-12  # below it a squared distance counts as 0: the root has no slope there


@dataclass(frozen=True)
class CategoryManifolds:
    """Where each category's responses lie in a region's component space.

    Attributes
    ----------
    centres : Tensor
        Shape (n_categories, n_components): mean response.
    radii : Tensor
        Shape (n_categories,): root of the mean squared distance to the centre.
    bases : Tensor
        Shape (n_categories, m, n_components): orthonormal directions, by falling variance. m is that of the
        largest basis; rows of zeros fill the others.

    Raises
    ------
    InputError
        If shapes do not fit each other.
    """

    centres: Tensor
    radii: Tensor
    bases: Tensor

    def __post_init__(self) -> None:
        k, d = self.centres.shape if self.centres.ndim == 2 else (0, 0)
        if not k or self.radii.shape != (k,) or self.bases.ndim != 3 or self.bases.shape[::2] != (k, d):
            raise InputError(
                "centres, radii and bases do not belong together",
                expected="(n_categories, n_components), (n_categories,), (n_categories, m, n_components)",
                got=", ".join(str(tuple(part.shape)) for part in (self.centres, self.radii, self.bases)),
                fix="make them with category_manifolds",
            )

    @property
    def dimensions(self) -> Tensor:
        """Size of each category's basis, shape (n_categories,)."""
        return (self.bases.abs().sum(2) > 0).sum(1)

    def of_categories(self, order: Tensor) -> CategoryManifolds:
        """Return the manifolds of these categories (n,), in this order."""
        return CategoryManifolds(self.centres[order], self.radii[order], self.bases[order])


def category_manifolds(
    responses: Tensor, labels: Tensor, n_categories: int, variance: float = VARIANCE
) -> CategoryManifolds:
    """Measure centre, radius and basis of every category's responses.

    Parameters
    ----------
    responses : Tensor
        Shape (n_images, n_components).
    labels : Tensor
        int64, shape (n_images,), from 0 to ``n_categories - 1``.
    n_categories : int
        How many categories there are.
    variance : float
        Share of a category's variance its basis holds at least, in (0, 1).

    Returns
    -------
    CategoryManifolds
        In the order of the labels.

    Raises
    ------
    InputError
        If shapes do not fit, a response is not finite, a label or `variance` is out of range, or a category has
        fewer than two images or the same response to all of them.

    Notes
    -----
    The basis is that of a principal component analysis of the category's responses alone.
    """
    _check_responses(responses, labels, n_categories, variance)
    centres, radii, bases = [], [], []
    for category in range(n_categories):
        members = responses[labels == category].double()
        centre = members.mean(0)
        _, spread, directions = torch.linalg.svd(members - centre, full_matrices=False)
        held = spread.square().cumsum(0) / spread.square().sum()
        centres.append(centre)
        radii.append((spread.square().sum() / len(members)).sqrt())
        bases.append(directions[: int((held < variance).sum()) + 1])
    _check_spread(torch.stack(radii), responses)
    padded = torch.nn.utils.rnn.pad_sequence(bases, batch_first=True)
    return CategoryManifolds(torch.stack(centres).float(), torch.stack(radii).float(), padded.float())


def distance_outside(neural: Tensor, labels: Tensor, centres: Tensor, radii: Tensor) -> Tensor:
    """Return how far categories lie outside their neural sphere, on average (term 2 of the paper's loss).

    Parameters
    ----------
    neural : Tensor
        Shape (n, n_components).
    labels : Tensor
        Shape (n,).
    centres, radii : Tensor
        Shapes (n_categories, n_components), (n_categories,): as in `CategoryManifolds`.

    Returns
    -------
    Tensor
        Scalar: mean over categories of max(0, RMS distance to the neural centre − neural radius).

    Notes
    -----
    A mean over the categories with two images or more in the batch; 0 if there is none.
    """
    members, counts = _members(labels, len(radii))
    rms = _mean_per_category(members, counts, (neural - centres[labels]).square().sum(1)).clamp_min(TINY).sqrt()
    return _mean_of_seen((rms - radii).relu(), counts)


def variance_outside(neural: Tensor, labels: Tensor, bases: Tensor, form: Form = "corrected") -> Tensor:
    """Return the share of categories' variance outside their neural basis (term 3 of the paper's loss).

    Parameters
    ----------
    neural, labels
        As in `distance_outside`.
    bases : Tensor
        Shape (n_categories, m, n_components).
    form : {"corrected", "authors"}
        See Notes.

    Returns
    -------
    Tensor
        Scalar in [0, 1], to be minimised.

    Notes
    -----
    ``corrected``: 1 − VAF, VAF = Σ‖B c‖² / Σ‖c‖² over a category's images, c = response − the category's mean in
    the batch. ``authors``, as their code has it: VAF itself is added to the minimised loss, so that variance is
    driven *out of* the neural basis; VAF = mean of 1 − ‖c − BᵀB c‖ / ‖c‖ over a category's images, unsquared, and
    c = response − the mean of the whole batch. Both are means over the categories with two images or more in the
    batch; 0 if there is none.
    """
    members, counts = _members(labels, len(bases))
    means = (members @ neural) / counts.clamp_min(1)[:, None]
    centred = neural - (means[labels] if form == "corrected" else neural.mean(0))
    # All bases for all images, then each image's own: cheaper than a copy of its basis for every image.
    inside = torch.einsum("nd,kmd->nkm", centred, bases)[torch.arange(len(labels), device=labels.device), labels]
    total, held = centred.square().sum(1), inside.square().sum(1)
    if form == "corrected":
        held, total = (_mean_per_category(members, counts, part) for part in (held, total))
        return _mean_of_seen(1 - held / total.clamp_min(TINY), counts)
    missed = (total - held).clamp_min(TINY).sqrt() / total.clamp_min(TINY).sqrt()
    return _mean_of_seen(_mean_per_category(members, counts, 1 - missed), counts)


def _members(labels: Tensor, n_categories: int) -> tuple[Tensor, Tensor]:
    """Return which images are a category's, as 0 or 1 (n_categories, n), and how many they are (n_categories,)."""
    members = F.one_hot(labels, n_categories).T.float()
    return members, members.sum(1)


def _mean_per_category(members: Tensor, counts: Tensor, values: Tensor) -> Tensor:
    return members @ values / counts.clamp_min(1)


def _mean_of_seen(values: Tensor, counts: Tensor) -> Tensor:
    seen = counts >= FEWEST
    return torch.where(seen, values, 0.0).sum() / seen.sum().clamp_min(1)


def cloud_geometry(features: Tensor, labels: Tensor, manifolds: CategoryManifolds) -> pd.DataFrame:
    """Compare the clouds of some responses with a region's, category by category.

    Parameters
    ----------
    features : Tensor
        Shape (n_images, n_components): a neural head's or a guide's responses.
    labels : Tensor
        Shape (n_images,); every category has two images or more.
    manifolds : CategoryManifolds
        The region's.

    Returns
    -------
    DataFrame
        One row per category: category, distance (RMS, to the neural centre), radius (RMS, to the cloud's own
        centre), neural_radius, variance_inside (share of the cloud's variance in the neural basis),
        variance_expected (that share for a cloud that varies alike in all directions).

    Raises
    ------
    InputError
        As `category_manifolds`, or if features and manifolds have different components.
    """
    k, d = manifolds.centres.shape
    if features.ndim != 2 or features.shape[1] != d:
        raise InputError(
            "features are not in the manifolds' space",
            expected=f"(n_images, {d})",
            got=tuple(features.shape),
            fix="give the responses of the neural head the manifolds are for",
        )
    own = category_manifolds(features, labels, k)
    rows = []
    for category in range(k):
        cloud = features[labels == category]
        here = torch.zeros(len(cloud), dtype=torch.int64)
        one = manifolds.of_categories(torch.tensor([category]))
        rows.append(
            {
                "category": category,
                "distance": float(distance_outside(cloud, here, one.centres, torch.zeros(1))),
                "radius": float(own.radii[category]),
                "neural_radius": float(one.radii),
                "variance_inside": 1 - float(variance_outside(cloud, here, one.bases)),
                "variance_expected": float(one.dimensions / d),
            }
        )
    return pd.DataFrame(rows)


def _check_responses(responses: Tensor, labels: Tensor, n_categories: int, variance: float) -> None:
    sound = responses.ndim == 2 and labels.shape == responses.shape[:1] and labels.dtype == torch.int64
    if not (sound and len(labels) and responses.isfinite().all() and 0 < variance < 1):
        raise InputError(
            "no manifolds can be measured",
            expected="finite responses (n_images, n_components), int64 labels (n_images,), a variance in (0, 1)",
            got=f"{tuple(responses.shape)}, {tuple(labels.shape)} {labels.dtype}, variance={variance}",
            fix="give a guide's responses to labelled images",
        )
    if labels.min() < 0 or labels.max() >= n_categories:
        raise InputError(
            "labels do not fit the categories",
            expected=f"0 to {n_categories - 1}",
            got=f"{int(labels.min())} to {int(labels.max())}",
            fix="label every image, by the classes of the image set",
        )
    counts = labels.bincount(minlength=n_categories)
    if (counts < FEWEST).any():
        raise InputError(
            "categories with too few images",
            expected=f"{FEWEST} images or more of each category",
            got=f"fewer for categories {(counts < FEWEST).nonzero().flatten().tolist()}",
            fix="add images, or leave these categories out",
        )


def _check_spread(radii: Tensor, responses: Tensor) -> None:
    flat = radii <= 1e-6 * responses.abs().max()  # what rounding leaves of no variance
    if flat.any():
        raise InputError(
            "categories without variance",
            expected="responses that differ within each category",
            got=f"one response to all images of categories {flat.nonzero().flatten().tolist()}",
            fix="check that the predictor was trained",
        )
