"""Tables to plotly figures: one function per figure, one look, a colour and marker per condition."""

from nbtools.plots.anatomy import region_view, surface_view
from nbtools.plots.attacks import attack_curves, audit_grid, visibility_curves
from nbtools.plots.brain import noise_ceilings, predictor_scores, regions, voxel_scores
from nbtools.plots.clouds import category_clouds
from nbtools.plots.comparisons import alpha_ablation, differences, scores_by_condition, trends
from nbtools.plots.corruptions import corruption_curves
from nbtools.plots.curves import compared_curves
from nbtools.plots.decisions import class_bars, decision_path
from nbtools.plots.gradients import equal_smoothness, loss_surfaces, smoothness_curves, transfer_heatmap
from nbtools.plots.images import image_grid, perturbations
from nbtools.plots.manifolds import manifolds_and_gain, manifolds_by_condition, manifolds_by_readout
from nbtools.plots.networks import hierarchy, robustness_curves, trade_off, training_curves
from nbtools.plots.report import report
from nbtools.plots.rsa import network_region, rdm_grid, rdm_map, similarity_heatmap
from nbtools.plots.shape import class_bias, consistency_heatmap, shape_and_texture
from nbtools.plots.spaces import class_manifolds, rdms_and_maps

__all__ = [
    "alpha_ablation",
    "attack_curves",
    "audit_grid",
    "category_clouds",
    "class_bars",
    "class_bias",
    "class_manifolds",
    "compared_curves",
    "consistency_heatmap",
    "corruption_curves",
    "decision_path",
    "differences",
    "equal_smoothness",
    "hierarchy",
    "image_grid",
    "loss_surfaces",
    "manifolds_and_gain",
    "manifolds_by_condition",
    "manifolds_by_readout",
    "network_region",
    "noise_ceilings",
    "perturbations",
    "predictor_scores",
    "rdm_grid",
    "rdm_map",
    "rdms_and_maps",
    "region_view",
    "regions",
    "report",
    "robustness_curves",
    "scores_by_condition",
    "shape_and_texture",
    "similarity_heatmap",
    "smoothness_curves",
    "surface_view",
    "trade_off",
    "training_curves",
    "transfer_heatmap",
    "trends",
    "visibility_curves",
    "voxel_scores",
]
