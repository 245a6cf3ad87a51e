"""How visible a perturbation is: its contrast, alone and beside the image's own, and structural similarity."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from skimage.metrics import structural_similarity
from torch import Tensor

from nbtools.checks import as_names, check_counts, check_pixels, check_table
from nbtools.errors import InputError
from nbtools.metrics.inputs import groups_of
from nbtools.metrics.stats import bootstrap_ci, ci

MEASURES: tuple[str, ...] = ("rms_contrast", "relative_contrast", "ssim")
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])  # of red, green and blue (ITU-R BT.709)
_GAUSSIAN = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}  # as Wang et al. computed it


def visibility(original: Tensor, perturbed: Tensor) -> pd.DataFrame:
    """Measure how visible the change of each image is.

    Parameters
    ----------
    original, perturbed : Tensor
        Pixels (n, 3, h, w) in [0, 1], in the same order; sides of 11 pixels or more.

    Returns
    -------
    DataFrame
        One row per image: ``rms_contrast`` (root mean square of the luminance difference), ``relative_contrast`` (that
        over the image's own RMS contrast), ``ssim`` (structural similarity of the luminances: 1 is the same image).

    Raises
    ------
    InputError
        If pixels leave [0, 1] or are not a number, shapes differ, images are too small, or an image has no contrast.

    Notes
    -----
    RMS contrast: Peli (1990), the standard deviation of luminance. Luminance is the BT.709 sum of the pixel values as
    they are stored, not linearised: a contrast of grey levels, like ε. A change of colour at equal luminance has none.
    SSIM: Wang et al. (2004), Gaussian window of σ = 1.5 and 11 pixels.
    """
    check_pixels(original)
    check_pixels(perturbed)
    if original.shape != perturbed.shape or min(original.shape[2:]) < 11:
        raise InputError(
            "images cannot be compared",
            expected="originals and perturbed images of one shape, sides of 11 pixels or more",
            got=f"{tuple(original.shape)} and {tuple(perturbed.shape)}",
            fix="give the same images in the same order, not patches of them",
        )
    before, after = _luminance(original), _luminance(perturbed)
    own = before.std(axis=(1, 2))
    uniform = {f"of {len(own)} images are uniform": int((own == 0).sum())}
    fix = "leave them out: nothing can be compared with a contrast of 0"
    check_counts("an image without contrast", uniform, expected="images whose luminance varies", fix=fix)
    change = np.sqrt(((after - before) ** 2).mean(axis=(1, 2)))
    pairs = zip(before, after, strict=True)
    ssim = [structural_similarity(a, b, data_range=1.0, **_GAUSSIAN) for a, b in pairs]
    return pd.DataFrame({"rms_contrast": change, "relative_contrast": change / own, "ssim": ssim})


def mean_visibility(table: pd.DataFrame, by: Sequence[str] = ("attack", "epsilon"), seed: int = 0) -> pd.DataFrame:
    """Average over images, with bootstrap intervals.

    Parameters
    ----------
    table : DataFrame
        Rows of `visibility` with the `by` columns; two images or more in each group.
    by : sequence of str
        What to keep apart.
    seed : int
        Of the bootstrap over images.

    Returns
    -------
    DataFrame
        One row per group × measure: the `by` columns, ``measure`` (of `MEASURES`), ``mean``, ``ci_low``, ``ci_high``
        (95 %), ``n`` (images).

    Raises
    ------
    InputError
        If a column is missing, a value is not finite, or a group has fewer than two images.
    """
    by = as_names(by)
    fix = "make it with metrics.visibility and name attack and ε"
    check_table("this is not a table of visibility", table, (*by, *MEASURES), fix=fix)
    parts = []
    for named, group in groups_of(table, by):
        values = group[list(MEASURES)].to_numpy(float)
        means = {"measure": MEASURES, "mean": values.mean(axis=0), **ci(bootstrap_ci(values, seed=seed))}
        parts.append(pd.DataFrame({**named, **means, "n": len(group)}))
    return pd.concat(parts, ignore_index=True)


def _luminance(x: Tensor) -> np.ndarray:
    """Return the luminance (n, h, w), float64."""
    return np.einsum("nchw,c->nhw", x.detach().cpu().numpy().astype(float), _LUMINANCE)
