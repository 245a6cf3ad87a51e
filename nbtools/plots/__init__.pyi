from .anatomy import region_view as region_view
from .anatomy import surface_view as surface_view
from .attacks import attack_curves as attack_curves
from .attacks import audit_grid as audit_grid
from .attacks import visibility_curves as visibility_curves
from .brain import (
    noise_ceilings as noise_ceilings,
)
from .brain import (
    predictor_scores as predictor_scores,
)
from .brain import (
    regions as regions,
)
from .brain import (
    voxel_scores as voxel_scores,
)
from .clouds import category_clouds as category_clouds
from .comparisons import (
    alpha_ablation as alpha_ablation,
)
from .comparisons import (
    differences as differences,
)
from .comparisons import (
    scores_by_condition as scores_by_condition,
)
from .comparisons import (
    trends as trends,
)
from .corruptions import corruption_curves as corruption_curves
from .curves import compared_curves as compared_curves
from .decisions import class_bars as class_bars
from .decisions import decision_path as decision_path
from .gradients import (
    equal_smoothness as equal_smoothness,
)
from .gradients import (
    loss_surfaces as loss_surfaces,
)
from .gradients import (
    smoothness_curves as smoothness_curves,
)
from .gradients import (
    transfer_heatmap as transfer_heatmap,
)
from .images import image_grid as image_grid
from .images import perturbations as perturbations
from .manifolds import (
    manifolds_and_gain as manifolds_and_gain,
)
from .manifolds import (
    manifolds_by_condition as manifolds_by_condition,
)
from .manifolds import (
    manifolds_by_readout as manifolds_by_readout,
)
from .networks import (
    hierarchy as hierarchy,
)
from .networks import (
    robustness_curves as robustness_curves,
)
from .networks import (
    trade_off as trade_off,
)
from .networks import (
    training_curves as training_curves,
)
from .report import report as report
from .rsa import (
    network_region as network_region,
)
from .rsa import (
    rdm_grid as rdm_grid,
)
from .rsa import (
    rdm_map as rdm_map,
)
from .rsa import (
    similarity_heatmap as similarity_heatmap,
)
from .shape import (
    class_bias as class_bias,
)
from .shape import (
    consistency_heatmap as consistency_heatmap,
)
from .shape import (
    shape_and_texture as shape_and_texture,
)
from .spaces import class_manifolds as class_manifolds
from .spaces import rdms_and_maps as rdms_and_maps
