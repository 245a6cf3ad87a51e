from .brain.anatomy import region_view as region_view, surface_view as surface_view
from .brain.responses import (
    noise_ceilings as noise_ceilings,
    predictor_scores as predictor_scores,
    regions as regions,
    voxel_scores as voxel_scores,
)
from .brain.ridge import ridge_penalties as ridge_penalties
from .brain.rsa import (
    network_region as network_region,
    rdm_grid as rdm_grid,
    rdm_map as rdm_map,
    similarity_heatmap as similarity_heatmap,
)
from .brain.spaces import class_manifolds as class_manifolds, rdms_and_maps as rdms_and_maps
from .geometry.clouds import category_clouds as category_clouds
from .geometry.manifolds import (
    manifolds_and_gain as manifolds_and_gain,
    manifolds_by_condition as manifolds_by_condition,
    manifolds_by_readout as manifolds_by_readout,
)
from .geometry.readouts import (
    curvature_by_readout as curvature_by_readout,
    dimensions_by_readout as dimensions_by_readout,
)
from .guesses import with_guess as with_guess
from .images import image_grid as image_grid, perturbations as perturbations
from .report import report as report
from .robustness.attacks import (
    attack_curves as attack_curves,
    audit_grid as audit_grid,
    visibility_curves as visibility_curves,
)
from .robustness.certificates import (
    certified_and_attacked as certified_and_attacked,
    certified_curves as certified_curves,
)
from .robustness.channels import filter_curves as filter_curves, noise_channels as noise_channels
from .robustness.corruptions import corruption_curves as corruption_curves
from .robustness.decisions import decision_path as decision_path
from .robustness.factorial import training_factorial as training_factorial
from .robustness.gradients import (
    equal_smoothness as equal_smoothness,
    loss_surfaces as loss_surfaces,
    smoothness_curves as smoothness_curves,
    transfer_heatmap as transfer_heatmap,
)
from .robustness.lesions import lesion_accuracies as lesion_accuracies, lesion_costs as lesion_costs
from .robustness.networks import (
    hierarchy as hierarchy,
    robustness_curves as robustness_curves,
    trade_off as trade_off,
    training_curves as training_curves,
)
from .robustness.others import accuracy_lines as accuracy_lines, effective_robustness as effective_robustness
from .robustness.shape import (
    class_bias as class_bias,
    consistency_heatmap as consistency_heatmap,
    shape_and_texture as shape_and_texture,
)
from .studies.compare import score_scatter as score_scatter, score_table as score_table, spectra as spectra
from .studies.comparisons import (
    alpha_ablation as alpha_ablation,
    differences as differences,
    doses as doses,
    scores_by_condition as scores_by_condition,
    trends as trends,
)
from .studies.curves import compared_curves as compared_curves
from .studies.fronts import fronts as fronts
from .studies.rivals import rivals as rivals
from .style import guided_by as guided_by
