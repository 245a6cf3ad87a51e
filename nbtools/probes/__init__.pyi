from .bands import blurred as blurred, decide_filtered as decide_filtered, decide_masked as decide_masked
from .comparison import (
    askable_conflicts as askable_conflicts,
    decide_conflicts as decide_conflicts,
    describe_conflicts as describe_conflicts,
    region_similarity as region_similarity,
)
from .corruptions import decide_corrupted as decide_corrupted
from .curvature import measure_curvature as measure_curvature
from .others import decide_others as decide_others
from .style_transfer import (
    make_cue_conflict as make_cue_conflict,
    paint_cue_conflict as paint_cue_conflict,
    vgg19_features as vgg19_features,
)
