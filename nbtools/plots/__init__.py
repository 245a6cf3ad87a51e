"""Tables to plotly figures: one function per figure, one look, a colour and marker per condition."""

from nbtools.plots.brain import noise_ceilings, predictor_scores, regions, voxel_scores
from nbtools.plots.comparisons import alpha_ablation, differences, trends
from nbtools.plots.images import image_grid, perturbations
from nbtools.plots.networks import hierarchy, robustness_curves, trade_off, training_curves
from nbtools.plots.report import report

__all__ = [
    "alpha_ablation",
    "differences",
    "hierarchy",
    "image_grid",
    "noise_ceilings",
    "perturbations",
    "predictor_scores",
    "regions",
    "report",
    "robustness_curves",
    "trade_off",
    "training_curves",
    "trends",
    "voxel_scores",
]
