"""Certificates: within which L2 radius no attack of any kind changes what a network says under Gaussian noise."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from nbtools.attacks.interface import check_classes
from nbtools.checks import check_eval, check_range, check_same_classes
from nbtools.classifiers import Classifier, logits_of
from nbtools.data.images.sets import ImageSet, to_float
from nbtools.devices import best_device
from nbtools.metrics.decisions.certificates import ABSTAINED, check_radii
from nbtools.metrics.stats import clopper_pearson
from nbtools.processes import Bar

_BLOCK = 100  # noisy copies of an image that one random generator makes: no batch size changes them
# After how many draws it is seen whether an image is decided: whole blocks, each look half as many again as the last.
# Growing by a fifth or twofold makes as many passes, up to 8 %.
_LOOKS = [_BLOCK * ceil(1.5**k) for k in range(64)]


def certify(
    model: nn.Module,
    images: ImageSet,
    sigma: float,
    *,
    radii: Sequence[float] | None = None,
    n: int = 100_000,
    n0: int = 100,
    alpha: float = 0.001,
    seed: int = 0,
    batch_size: int = 500,
) -> pd.DataFrame:
    """Certify a network by randomised smoothing: image by image, a class and a radius within which it cannot change.

    Parameters
    ----------
    model : nn.Module
        In eval mode; maps pixels (n, 3, h, w) to logits (n, n_classes), in any precision (`Classifier`). It is asked
        about pixels with noise, which leave [0, 1]: they are clipped if the network clips them itself.
    images : ImageSet
        Labelled images.
    sigma : float
        Standard deviation of the noise in pixel units, from .001 to 1.
    radii : sequence of float, optional
        "Is it certified at this radius, yes or no?" (L2, pixel units, 0: does it abstain?) An image is left alone as
        soon as this is decided at every one of them. Without them every image takes all passes, as in the paper.
    n, n0 : int
        Passes that bound the chosen class's probability, at most, and those that choose the class before: of an image,
        n0 + n in all, at most.
    alpha : float
        Chance that an image's certificate is wrong, at most, wherever it stopped.
    seed : int
        Of the noise. An image's depends on this and its id: not on the batch, nor on the other images, nor on `radii`.
    batch_size : int
        Passes made together.

    Returns
    -------
    DataFrame
        One row per image: ``image_id``, ``label``, ``prediction`` (class of the smoothed network, or `ABSTAINED`),
        ``votes`` (for the chosen class, of the passes after the first `n0`), ``p_low`` (lower bound of that class's
        probability), ``radius`` (L2, pixel units; 0 where it abstained), ``passes`` (all that were made), ``sigma``.
        ``asked``: the `radii`, as text; a radius is then as large as was shown by then, and tells nothing of others.

    Raises
    ------
    InputError
        If the model is in training mode or gives logits that are not finite, images and model are not of the same
        classes, or a number is out of its range.

    Notes
    -----
    Cohen, Rosenfeld and Kolter (2019, arXiv 1902.02918), algorithm CERTIFY. The certificate is that of the *smoothed*
    network, which says what the network says most often under noise. It is of real numbers: rounding of noise and
    sums is not accounted for. Forward passes of another size or device round otherwise, which may turn a vote.
    """
    check_eval(model)
    check_same_classes(images.classes, model)
    check_range("sigma", sigma, 0.001, 1)
    check_range("n", n, 1, whole=True)
    check_range("n0", n0, 1, whole=True)
    check_range("alpha", alpha, 1e-9, 0.5)
    check_range("batch_size", batch_size, 1, whole=True)
    within = np.empty(0) if radii is None else check_radii(radii)
    device = best_device()
    model = Classifier(model.to(device))
    check_classes(model, images)
    with Bar(total=len(images) * (n0 + n), desc=f"certify, σ = {sigma:g}", unit="pass", leave=False) as bar:
        noisy = _Noisy(model, images, sigma, seed, batch_size, n0 + n, device, bar)
        chosen = noisy.counts(np.arange(len(images)), 0, n0).argmax(1)

        def votes(rows: np.ndarray, first: int, last: int) -> np.ndarray:
            return noisy.counts(rows, n0 + first, n0 + last)[np.arange(len(rows)), chosen[rows]]

        found = bound(votes, len(images), n, alpha, _share_at(within, sigma))
    sure = found.low >= 0.5
    columns = {
        "label": images.labels.cpu().numpy(),
        "prediction": np.where(sure, chosen, ABSTAINED),
        "votes": found.votes,
        "p_low": found.low,
        "radius": np.where(sure, _radius_of(found.low, sigma), 0.0),
        "passes": n0 + found.draws,
    }
    table = pd.DataFrame({"image_id": images.ids.astype(str), **columns})
    return table.assign(sigma=float(sigma), asked=" ".join(map(str, within)))


def reach(sigma: float, n: int = 100_000, alpha: float = 0.001, *, radii: Sequence[float] | None = None) -> float:
    """Return the largest radius (L2, pixel units) that so many passes can certify: that of an image all agree on.

    Parameters
    ----------
    sigma, n, alpha, radii
        As in `certify`; asked about radii, it keeps half of α for the last look.

    Raises
    ------
    InputError
        If a number is out of its range.
    """
    check_range("sigma", sigma, 0.001, 1)
    check_range("n", n, 1, whole=True)
    check_range("alpha", alpha, 1e-9, 0.5)
    *_, (_, level) = _looks(n, alpha, early=radii is not None)
    return max(0.0, float(_radius_of(clopper_pearson(n, n, level)[0], sigma)))


class Bounded(NamedTuple):
    """Of each image, arrays (n_images,): votes among draws, and a lower bound of the share of votes."""

    votes: np.ndarray
    draws: np.ndarray
    low: np.ndarray


def bound(
    votes: Callable[[np.ndarray, int, int], np.ndarray], n_images: int, n: int, alpha: float, asked: np.ndarray
) -> Bounded:
    """Bound shares of votes from below, drawing until it is known of each on which side of the asked values it is.

    Parameters
    ----------
    votes : callable
        Of images (rows, (n_rows,)) and numbers of draws (from the first, before the last) the votes among these.
    n_images, n : int
        Images, and draws of each at most.
    alpha : float
        Chance that an image's bound is above its share, at most, wherever it stopped.
    asked : array (n_asked,)
        Shares. Without any, all draws are made and looked at once.

    Returns
    -------
    Bounded

    Notes
    -----
    One-sided bounds of Clopper and Pearson (1934) at a schedule of looks that is fixed beforehand; α is shared out
    among the looks (Bonferroni), so that all bounds hold at once and the largest is one: the union-bound confidence
    sequence of Voráček (2024, arXiv 2406.17830), with an end. The last look has half of α: what gets that far is
    decided almost as by all draws at once. "No" takes an upper bound of the same level.
    """
    looks = _looks(n, alpha, early=len(asked) > 0)
    asked = asked[asked <= clopper_pearson(n, n, looks[-1][1])[0]]  # of more, not even all votes would convince
    tally, draws = np.zeros((2, n_images), dtype=int)
    low, high = np.zeros(n_images), np.ones(n_images)
    rows, first = np.arange(n_images), 0
    for last, level in looks:
        tally[rows] += votes(rows, first, last)
        draws[rows] = last
        lower, upper = clopper_pearson(tally[rows], last, level)
        low[rows], high[rows] = np.maximum(low[rows], lower), np.minimum(high[rows], upper)
        undecided = (low[rows, None] < asked) & (asked <= high[rows, None])
        rows, first = rows[undecided.any(1)], last
    return Bounded(tally, draws, low)


def _looks(n: int, alpha: float, *, early: bool) -> list[tuple[int, float]]:
    """Return after how many draws of n it is looked, and the share of α of each look."""
    before = [look for look in _LOOKS if look < n] if early else []
    return [*((look, alpha / 2 / len(before)) for look in before), (n, alpha / 2 if before else alpha)]


@dataclass(frozen=True)
class _Noisy:
    """A network, asked about noisy copies of images; the copies of an image have numbers."""

    model: nn.Module
    images: ImageSet
    sigma: float
    seed: int
    batch_size: int
    most: int
    device: torch.device
    bar: Bar

    def counts(self, rows: np.ndarray, first: int, last: int) -> np.ndarray:
        """Return how often each class is said to the copies from the first on, before the last: (n_rows, n_classes)."""
        self.bar.update(self.bar.total - len(rows) * (self.most - first) - self.bar.n)  # those that need not be made
        counts = np.zeros((len(rows), len(self.images.classes)), dtype=int)
        starts = [(at, start) for at in range(len(rows)) for start in range(first, last, _BLOCK)]
        together = max(1, self.batch_size // _BLOCK)
        for part in (starts[i : i + together] for i in range(0, len(starts), together)):
            copies = [self._copies(rows[at], start, min(start + _BLOCK, last)) for at, start in part]
            whose = np.repeat([at for at, _ in part], [len(some) for some in copies])
            np.add.at(counts, (whose, self._classes(torch.cat(copies))), 1)
            self.bar.update(len(whose))
        return counts

    def _copies(self, row: int, start: int, stop: int) -> Tensor:
        """Return these copies of an image, (stop − start, 3, h, w)."""
        x = to_float(self.images.pixels[row].to(self.device))
        digest = hashlib.sha256(f"{self.seed}/{self.images.ids[row]}".encode()).digest()
        # torch's generator on a CPU takes the last 32 bits alone: numbers below 2³² keep an image's blocks apart
        generator = torch.Generator(self.device).manual_seed((int.from_bytes(digest[:8]) + start) % 2**64)
        noise = torch.randn((stop - start, *x.shape), generator=generator, device=self.device)
        return x + self.sigma * noise

    def _classes(self, copies: Tensor) -> np.ndarray:
        """Return what the network says to copies (n, 3, h, w)."""
        said = [logits_of(self.model, some).argmax(1) for some in copies.split(self.batch_size)]
        return torch.cat(said).cpu().numpy()


def _share_at(radius: np.ndarray, sigma: float) -> np.ndarray:
    """Return the share of votes that certifies a radius."""
    from scipy.special import ndtr  # imports slowly

    return ndtr(radius / sigma)


def _radius_of(share: np.ndarray, sigma: float) -> np.ndarray:
    from scipy.special import ndtri

    return sigma * ndtri(share)
