from .comparisons import claims as claims
from .comparisons import compare as compare
from .comparisons import robust_at_clean as robust_at_clean
from .consistency import consistency_matrix as consistency_matrix
from .consistency import error_consistency as error_consistency
from .corruptions import (
    corruption_accuracy as corruption_accuracy,
)
from .corruptions import (
    mean_corruption_accuracy as mean_corruption_accuracy,
)
from .drive import drive as drive
from .drive import extremes as extremes
from .embedding import manifold_tables as manifold_tables
from .embedding import rdm_tables as rdm_tables
from .gain import correlate_with_gain as correlate_with_gain
from .manifolds import (
    manifold_geometry as manifold_geometry,
)
from .manifolds import (
    repeated_geometry as repeated_geometry,
)
from .manifolds import (
    separability as separability,
)
from .manifolds import (
    summarise as summarise,
)
from .noise_ceiling import ncsnr as ncsnr
from .noise_ceiling import noise_ceiling as noise_ceiling
from .prediction import pattern_r as pattern_r
from .prediction import shuffled_pattern_r as shuffled_pattern_r
from .prediction import voxel_r as voxel_r
from .robustness import correctness as correctness
from .robustness import epsilon_label as epsilon_label
from .robustness import robust_accuracy as robust_accuracy
from .rsa import (
    category_means as category_means,
)
from .rsa import (
    joined as joined,
)
from .rsa import (
    labels_of as labels_of,
)
from .rsa import (
    matrices_of as matrices_of,
)
from .rsa import (
    rdm as rdm,
)
from .rsa import (
    rdm_noise_ceiling as rdm_noise_ceiling,
)
from .rsa import (
    rdms as rdms,
)
from .rsa import (
    repeat_rdms as repeat_rdms,
)
from .rsa import (
    similarities as similarities,
)
from .shape_bias import shape_bias as shape_bias
from .similarity import (
    differences as differences,
)
from .similarity import (
    intervals as intervals,
)
from .similarity import (
    mds as mds,
)
from .similarity import (
    over_runs as over_runs,
)
from .similarity import (
    own_region as own_region,
)
from .sixteen import decidable as decidable
from .sixteen import decide_category as decide_category
from .smoothness import loss_surface as loss_surface
from .smoothness import smoothness as smoothness
from .smoothness import squared_gradient as squared_gradient
from .stats import (
    bootstrap_ci as bootstrap_ci,
)
from .stats import (
    describe as describe,
)
from .stats import (
    holm as holm,
)
from .stats import (
    trend_over_images as trend_over_images,
)
from .stats import (
    trend_test as trend_test,
)
from .tables import as_scores as as_scores
from .tables import stacked as stacked
from .transfer import (
    at_equal_smoothness as at_equal_smoothness,
)
from .transfer import (
    transfer_matrix as transfer_matrix,
)
from .transfer import (
    transfer_robustness as transfer_robustness,
)
from .verdicts import in_order as in_order
from .verdicts import trends as trends
from .verdicts import verdict as verdict
from .verdicts import verdicts as verdicts
from .visibility import mean_visibility as mean_visibility
from .visibility import visibility as visibility
from .voxels import PUBLISHED_CEILINGS as PUBLISHED_CEILINGS
from .voxels import voxel_ceilings as voxel_ceilings
