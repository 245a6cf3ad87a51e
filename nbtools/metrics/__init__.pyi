from .brain.drive import drive as drive, extremes as extremes
from .brain.noise_ceiling import (
    PUBLISHED_CEILINGS as PUBLISHED_CEILINGS,
    ncsnr as ncsnr,
    noise_ceiling as noise_ceiling,
    voxel_ceilings as voxel_ceilings,
)
from .brain.prediction import pattern_r as pattern_r, shuffled_pattern_r as shuffled_pattern_r, voxel_r as voxel_r
from .brain.rsa import (
    category_means as category_means,
    joined as joined,
    labels_of as labels_of,
    matrices_of as matrices_of,
    rdm as rdm,
    rdm_noise_ceiling as rdm_noise_ceiling,
    rdms as rdms,
    repeat_rdms as repeat_rdms,
    similarities as similarities,
)
from .brain.similarity import (
    differences as differences,
    intervals as intervals,
    mds as mds,
    over_runs as over_runs,
    own_region as own_region,
)
from .decisions.certificates import (
    ABSTAINED as ABSTAINED,
    certified_accuracy as certified_accuracy,
    certified_decisions as certified_decisions,
)
from .decisions.channels import (
    CHANNEL as CHANNEL,
    HUMAN_CHANNEL as HUMAN_CHANNEL,
    filtered_accuracy as filtered_accuracy,
    masked_accuracy as masked_accuracy,
    mean_sensitivity as mean_sensitivity,
    noise_channel as noise_channel,
    noise_thresholds as noise_thresholds,
)
from .decisions.consistency import (
    consistency_matrix as consistency_matrix,
    error_consistency as error_consistency,
    on_same_images as on_same_images,
)
from .decisions.corruptions import (
    corruption_accuracy as corruption_accuracy,
    mean_corruption_accuracy as mean_corruption_accuracy,
)
from .decisions.effective import (
    accuracy_lines as accuracy_lines,
    accuracy_pairs as accuracy_pairs,
    effective_robustness as effective_robustness,
)
from .decisions.lesions import lesion_accuracy as lesion_accuracy, lesion_cost as lesion_cost
from .decisions.robustness import (
    WORST_CASE as WORST_CASE,
    accuracy_at as accuracy_at,
    at_epsilon as at_epsilon,
    epsilon_label as epsilon_label,
    robust_accuracy as robust_accuracy,
    under_attack as under_attack,
    worst_case as worst_case,
)
from .decisions.shape_bias import shape_bias as shape_bias
from .decisions.sixteen import (
    conflict_reach as conflict_reach,
    decidable_conflicts as decidable_conflicts,
    decide_category as decide_category,
)
from .decisions.transfer import (
    at_equal_smoothness as at_equal_smoothness,
    transfer_matrix as transfer_matrix,
    transfer_robustness as transfer_robustness,
)
from .geometry.curvature import (
    mean_curvature as mean_curvature,
    step_angles as step_angles,
    tangent_angles as tangent_angles,
)
from .geometry.dimension import (
    category_dimensions as category_dimensions,
    dimensions as dimensions,
    participation_ratio as participation_ratio,
    two_nn as two_nn,
)
from .geometry.embedding import manifold_tables as manifold_tables, rdm_tables as rdm_tables
from .geometry.manifolds import (
    manifold_geometry as manifold_geometry,
    repeated_geometry as repeated_geometry,
    separability as separability,
    summarise as summarise,
)
from .pixels.smoothness import (
    describe_span as describe_span,
    input_gradient as input_gradient,
    loss_surface as loss_surface,
    smoothness as smoothness,
    squared_gradient as squared_gradient,
)
from .pixels.spectrum import (
    frequency_scores as frequency_scores,
    radial_spectrum as radial_spectrum,
    spectral_energy as spectral_energy,
    white_spectrum as white_spectrum,
)
from .pixels.visibility import mean_visibility as mean_visibility, visibility as visibility
from .samples.contrasts import (
    compare as compare,
    contrast as contrast,
    over_networks as over_networks,
    slope as slope,
)
from .samples.measures import claims as claims
from .samples.power import (
    Spread as Spread,
    power as power,
    sample_needed as sample_needed,
    smallest_effect as smallest_effect,
    spread as spread,
)
from .samples.streams import (
    slope_difference as slope_difference,
    streams as streams,
    streams_verdict as streams_verdict,
)
from .samples.tables import as_scores as as_scores, stacked as stacked
from .samples.verdicts import in_order as in_order, verdict as verdict, verdicts as verdicts
from .stats import bootstrap_ci as bootstrap_ci, holm as holm
from .studies.answer import answer as answer
from .studies.comparison import (
    correlate_conditions as correlate_conditions,
    missing_scores as missing_scores,
    score_conditions as score_conditions,
    score_networks as score_networks,
)
from .studies.dose import at_equal as at_equal, explained_r as explained_r
from .studies.factorial import (
    EQUAL as EQUAL,
    OWN as OWN,
    PUBLISHED as PUBLISHED,
    factors_of as factors_of,
    guidance_gains as guidance_gains,
    interactions as interactions,
    training_of as training_of,
)
from .studies.forking import forking_paths as forking_paths, luck as luck
from .studies.frontier import (
    alpha_within as alpha_within,
    frontier_area as frontier_area,
    robust_at_clean as robust_at_clean,
)
from .studies.fronts import (
    compare_fronts as compare_fronts,
    front_of as front_of,
    fronts as fronts,
    named_fronts as named_fronts,
    training_costs as training_costs,
)
from .studies.gain import correlate_with_gain as correlate_with_gain
from .studies.operating import findings as findings, rates as rates
from .studies.rivals import rivals as rivals, rivals_verdict as rivals_verdict
