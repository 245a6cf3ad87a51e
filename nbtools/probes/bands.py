"""Which spatial frequencies networks decide by: noise of one octave added, or frequencies taken away."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor, nn

from nbtools.checks import check_counts, check_enough, check_eval, check_labels, check_range, check_same_classes
from nbtools.classifiers import Classifier, logits_of
from nbtools.conditions import BLUR
from nbtools.data.images.bands import (
    CONTRAST,
    PASSES,
    band_noise,
    check_square,
    filtered,
    low_contrast,
    octave_centres,
    pass_gain,
)
from nbtools.data.images.sets import ImageSet, to_float
from nbtools.devices import best_device
from nbtools.errors import InputError
from nbtools.models.read_outs import decided
from nbtools.processes import Bar

Networks = Mapping[tuple[str, int], nn.Module]
Stimuli = Iterator[tuple[dict[str, Any], Tensor]]  # what the images are, and their pixels in [0, 1]

NOISE_SDS: tuple[float, ...] = (0.02, 0.04, 0.08, 0.16)  # of pixels in [0, 1]: those of Subramanian et al. (2023)


def decide_masked(
    networks: Networks,
    images: ImageSet,
    sds: Sequence[float] = NOISE_SDS,
    *,
    contrast: float = CONTRAST,
    seed: int = 0,
    batch_size: int = 64,
) -> pd.DataFrame:
    """Let networks decide on grey images of low contrast, in noise of one octave band at a time.

    Parameters
    ----------
    networks : mapping of (condition, seed) → nn.Module
        In eval mode, of the images' classes.
    images : ImageSet
        Labelled, square. The noise of an image is drawn by its id, and is the same for all networks.
    sds : sequence of float
        Standard deviations of the noise, pixel units, ascending, above 0, at most 1.
    contrast : float
        What is left of the images' own.
    seed : int
        Of the noise.
    batch_size : int
        Images at a time; no decision depends on it but by rounding.

    Returns
    -------
    DataFrame
        One row per network × image × band × SD: ``image_id``, ``label``, ``prediction``, ``margin`` (logit of the label
        − largest other), ``condition``, ``seed``, ``band`` (its centre, cycles/image), ``sd``; and one without noise
        (``sd`` 0, ``band`` NaN).

    Raises
    ------
    InputError
        If images are not square, have no label or are not of a network's classes, a network is in training mode, or
        SDs do not ascend from above 0 to at most 1.

    Notes
    -----
    Critical-band masking as Subramanian, Sizikova, Majaj & Pelli (2023) ask networks and people; docs/methods.md says
    where this differs. Where noise leaves [0, 1] it is clipped.
    """
    sds = list(sds)
    for sd in sds:
        check_range("a noise SD", sd, np.finfo(float).tiny, 1, fix="give pixel units: 25.5/255 is 0.1")
    check_enough("no noise was asked for", len(sds), 1, fix="name SDs, or leave them out")
    if sorted(set(sds)) != sds:
        raise InputError("noise does not grow", expected="ascending SDs", got=sds, fix="sort them, each once")
    stimuli = partial(_masked, sds=sds, contrast=contrast, seed=seed)
    return _decided(networks, images, stimuli, "critical-band masking", batch_size)


def decide_filtered(
    networks: Networks, images: ImageSet, *, contrast: float = CONTRAST, batch_size: int = 64
) -> pd.DataFrame:
    """Let networks decide on grey images of low contrast that lack some of their frequencies.

    Parameters
    ----------
    networks, images, contrast, batch_size
        As for `decide_masked`.

    Returns
    -------
    DataFrame
        One row per network × image × filter: ``image_id``, ``label``, ``prediction``, ``margin``, ``condition``,
        ``seed``, ``passes`` (``"low"``, ``"high"``, ``"band"``; ``"all"`` is the whole image), ``cut`` (cycles/image:
        where low and high passes cut, the centre of an octave; of a whole image NaN).

    Raises
    ------
    InputError
        As `decide_masked`.

    Notes
    -----
    Butterworth filters of order 4, cuts at the centres of the octaves: `data.images.bands.pass_gain`.
    """
    return _decided(networks, images, partial(_filtered, contrast=contrast), "filtered images", batch_size)


class Blurred(nn.Module):
    """A network that meets its images through a low pass, attacked ones too: blur at test time, and nothing learnt.

    Parameters
    ----------
    model : nn.Module
        Maps square pixels (n, 3, h, w) in [0, 1] to logits.
    cut : float
        In cycles/image, as `data.images.bands.pass_gain` has it; what is left is not clipped.
    """

    def __init__(self, model: nn.Module, cut: float):
        super().__init__()
        self.model, self.cut, self.training = model, cut, model.training
        if hasattr(model, "classes"):  # by which images are joined with it
            self.classes = model.classes

    def forward(self, x: Tensor) -> Tensor:
        """Return the network's logits of pixels (n, 3, side, side) that have lost their high frequencies."""
        return self.model(filtered(x, pass_gain("low", self.cut, check_square(x)).to(x)))


def blurred(networks: Networks, cuts: Sequence[float]) -> dict[tuple[str, int], nn.Module]:
    """Put each network behind each low pass.

    Parameters
    ----------
    networks : mapping of (condition, seed) → nn.Module
        Of square images.
    cuts : sequence of float
        In cycles/image.

    Returns
    -------
    dict of (``"<condition> blur <cut>"``, seed) → `Blurred`

    Raises
    ------
    InputError
        If two cuts are the same, or are spelled alike.
    """
    doubled = {"cuts that are spelled as another": len(cuts) - len({f"{cut:g}" for cut in cuts})}
    fix = "give each once"
    check_counts("blurs cannot be told apart", doubled, expected="cuts that differ in six digits", fix=fix)
    return {
        (f"{condition}{BLUR} {cut:g}", seed): Blurred(network, cut)
        for (condition, seed), network in networks.items()
        for cut in cuts
    }


def _masked(rows: ImageSet, *, sds: Sequence[float], contrast: float, seed: int) -> Stimuli:
    base, side = low_contrast(to_float(rows.pixels), contrast), rows.pixels.shape[-1]
    noise = band_noise(rows.ids, side, seed).to(base.device)
    yield {"band": np.nan, "sd": 0.0}, base
    for band, centre in enumerate(octave_centres(side)):
        for sd in sds:
            yield {"band": centre, "sd": sd}, (base + sd * noise[:, band, None]).clamp(0, 1)


def _filtered(rows: ImageSet, *, contrast: float) -> Stimuli:
    base, side = low_contrast(to_float(rows.pixels), contrast), rows.pixels.shape[-1]
    yield {"passes": "all", "cut": np.nan}, base
    for kind in PASSES:
        for cut in octave_centres(side):
            gain = pass_gain(kind, cut, side).to(base.device)
            yield {"passes": kind, "cut": cut}, filtered(base, gain).clamp(0, 1)


def _decided(
    networks: Networks, images: ImageSet, stimuli: Callable[[ImageSet], Stimuli], what: str, batch_size: int
) -> pd.DataFrame:
    """Show every network all stimuli of every batch of images: they are made once for all networks."""
    check_range("batch_size", batch_size, 1, whole=True)
    check_enough("no network was given", len(networks), 1, fix="name one: {('none', 0): network}")
    check_same_classes(images.classes, *networks.values())
    check_square(images.pixels)
    for network in networks.values():
        check_eval(network)
    asked = {key: Classifier(network) for key, network in networks.items()}
    parts = []
    for start in Bar(range(0, len(images), batch_size), what, unit="batch"):
        rows = images[slice(start, start + batch_size)].to(best_device())
        for named, x in stimuli(rows):
            for (condition, seed), network in asked.items():
                logits = logits_of(network, x)
                check_labels(logits, rows.labels)
                answers = {"label": rows.labels, **decided(logits, rows.labels)}
                columns = {name: value.cpu().numpy() for name, value in answers.items()}
                network_of = {"condition": condition, "seed": seed}
                parts.append(pd.DataFrame({"image_id": rows.ids, **columns, **network_of, **named}))
    return pd.concat(parts, ignore_index=True)
