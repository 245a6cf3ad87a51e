"""Ridge regression of a region's responses on features of a frozen network: the head is found, all else stays."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from himalaya.kernel_ridge import generate_dirichlet_samples
from himalaya.ridge import solve_group_ridge_random_search
from himalaya.scoring import l2_neg_loss
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from nbtools.checks import check_enough
from nbtools.data.images.sets import ImageSet
from nbtools.devices import best_device
from nbtools.models.networks import RoiPredictor, freeze
from nbtools.models.read_outs import read_out
from nbtools.training.guided import check_scores

ALPHAS = np.logspace(-5, 1, 13)  # of features whose squares sum to 1 over images and each read-out
N_FOLDS = 5
N_DRAWS = 20  # of the read-outs' weights, where there are several


def fit_ridge(
    model: RoiPredictor, images: ImageSet, scores: Tensor, splits: dict[str, np.ndarray], groups: np.ndarray
) -> pd.DataFrame:
    """Fit a predictor's linear head by ridge regression, banded where it sits on several read-outs.

    Parameters
    ----------
    model : RoiPredictor
        Its backbone stays as it is, its head is set in place; it is left frozen.
    images : ImageSet
        Scanner images.
    scores : Tensor
        Shape (n_images, n_components): measured responses in the component basis, row by row with `images`.
    splits : dict
        Rows under ``train``; others are never touched.
    groups : array (n_train,)
        Images of one group are in one fold (`data.fold_groups`).

    Returns
    -------
    DataFrame
        One row per component, α tried and read-out: ``component`` (from 1), ``alpha``, ``readout``; ``weight`` of the
        read-out in the best draw at that α (they sum to 1), ``r2`` (what it explains of the component's variance,
        cross-validated), ``variance`` (of the component's scores over training images), ``chosen`` (the best α).

    Raises
    ------
    InputError
        If scores do not fit images and model, or there are fewer than two groups.

    Notes
    -----
    min ‖Y − Σ_b X_b W_b‖² + Σ_b α / γ_b ‖W_b‖², each component with the α and the weights γ_b of the read-outs b that
    cross-validated squared error chooses (banded ridge by random search: Dupré la Tour et al. 2022, NeuroImage 264).
    Features are z-scored over training images and divided by the root of their number and of that of the images, so
    that neither counts, nor a read-out for its width; this, too, goes into the head's weights.
    """
    check_scores(model, images, scores)
    problem = "no fold of a cross-validation can be left out: groups of images"
    check_enough(problem, n_groups := len(np.unique(groups)), 2, fix="take more images")
    rows = splits["train"]
    features = _features(model, images.pixels[torch.from_numpy(rows)])
    scalers = [StandardScaler().fit(each) for each in features]
    for scaler in scalers:
        scaler.scale_ *= np.sqrt(len(scaler.scale_) * len(rows))
    bands = [scaler.transform(each) for scaler, each in zip(scalers, features, strict=True)]
    target = scores[rows].double().numpy()
    folds = list(GroupKFold(min(N_FOLDS, n_groups)).split(target, groups=groups))
    weights, intercept, tried = _search(bands, target, folds, model.readouts)
    weights = weights / np.concatenate([scaler.scale_ for scaler in scalers])[:, None]
    intercept = intercept - np.concatenate([scaler.mean_ for scaler in scalers]) @ weights
    model.head.weight.copy_(torch.from_numpy(weights.T))
    model.head.bias.copy_(torch.from_numpy(intercept))
    return tried


def _features(model: RoiPredictor, pixels: Tensor) -> list[np.ndarray]:
    """Return the read-outs that a predictor's head sits on, each (n_images, width); the model goes back to the CPU."""
    freeze(model.to(best_device()))
    read = read_out(model, pixels, model.readouts)
    model.cpu()
    return [read[name].double().numpy() for name in model.readouts]


def _search(
    bands: list[np.ndarray], target: np.ndarray, folds: list[tuple[np.ndarray, np.ndarray]], readouts: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """Return weights (n_features, n_components), intercepts (n_components,) and what was tried, as `fit_ridge` does."""
    gammas = generate_dirichlet_samples(N_DRAWS if len(bands) > 1 else 1, len(bands), random_state=0)
    gammas[0] = 1 / len(bands)
    losses: list[np.ndarray] = []  # himalaya keeps that of the best α alone

    def noted(measured: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        losses.append(l2_neg_loss(measured, predicted))
        return losses[-1]

    _, weights, _, intercept = solve_group_ridge_random_search(
        bands,
        target,
        n_iter=gammas,
        alphas=ALPHAS,
        fit_intercept=True,
        score_func=noted,
        cv=folds,
        return_weights=True,
        n_alphas_batch=1,  # those of all together would fill the memory
        progress_bar=False,
        warn=False,
    )
    loss = np.reshape(losses, (len(gammas), len(folds), len(ALPHAS), -1)).mean(axis=1)
    return weights, intercept, _tried(loss, gammas, target.var(axis=0), readouts)


def _tried(loss: np.ndarray, gammas: np.ndarray, variance: np.ndarray, readouts: tuple[str, ...]) -> pd.DataFrame:
    """Tabulate −squared errors (n_draws, n_alphas, n_components) of weights γ (n_draws, n_bands)."""
    r2 = 1 + loss.max(axis=0).T / variance[:, None]  # (n_components, n_alphas)
    names = {"component": range(1, len(r2) + 1), "alpha": ALPHAS, "readout": readouts}
    index = pd.MultiIndex.from_product(names.values(), names=list(names))
    n = len(readouts)
    table = {
        "weight": gammas[loss.argmax(axis=0).T].ravel(),
        "r2": np.repeat(r2, n),
        "variance": np.repeat(variance, len(ALPHAS) * n),
        "chosen": np.repeat(r2 == r2.max(axis=1, keepdims=True), n),
    }
    return pd.DataFrame(table, index=index).reset_index()
