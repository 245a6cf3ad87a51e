from .brains.anatomy import (
    centre_of as centre_of,
    load_surfaces as load_surfaces,
    load_volume as load_volume,
    slices as slices,
)
from .brains.folds import fold_groups as fold_groups
from .brains.haxby import prepare_haxby as prepare_haxby
from .brains.measured import (
    check_alike as check_alike,
    condition_of as condition_of,
    label_trials as label_trials,
    load_design as load_design,
    load_responses as load_responses,
    load_trials as load_trials,
    region_volume as region_volume,
)
from .brains.prepare_nsd import prepare_nsd as prepare_nsd
from .brains.prepare_things import (
    ceilings_beside as ceilings_beside,
    prepare_things_fmri as prepare_things_fmri,
    prepare_tvsd as prepare_tvsd,
)
from .brains.responses import (
    ResponseBasis as ResponseBasis,
    RoiResponses as RoiResponses,
    RoiTrials as RoiTrials,
    average_repeats as average_repeats,
    average_within_sessions as average_within_sessions,
    equal_repeats as equal_repeats,
    fit_basis as fit_basis,
    project as project,
    reconstruct as reconstruct,
    split_images as split_images,
    trials_of as trials_of,
)
from .brains.sessions import Session as Session, read_session as read_session, write_session as write_session
from .brains.worse import plant_noise as plant_noise, some_voxels as some_voxels
from .images.classified import (
    load_test_images as load_test_images,
    load_training_images as load_training_images,
)
from .images.corruptions import corruptions as corruptions, load_corruption as load_corruption
from .images.cue_conflict import cue_conflict_names as cue_conflict_names
from .images.decisions import read_decisions as read_decisions
from .images.imagenet import prepare_imagenet as prepare_imagenet
from .images.labels import label_stimuli as label_stimuli, load_labels as load_labels
from .images.others import (
    load_categories as load_categories,
    load_other_images as load_other_images,
    name_sets as name_sets,
)
from .images.own import photographs as photographs, read_image as read_image, with_photographs as with_photographs
from .images.prepare import prepare_folder as prepare_folder
from .images.sets import (
    ImageSet as ImageSet,
    choose_rows as choose_rows,
    joined as joined,
    load_folder as load_folder,
    load_stimuli as load_stimuli,
    split_rows as split_rows,
    to_float as to_float,
    to_pictures as to_pictures,
)
from .images.statistics import other_statistics as other_statistics
from .images.things import (
    things_classes as things_classes,
    things_labels as things_labels,
    things_stimuli as things_stimuli,
)
from .images.transformations import PATHS as PATHS, transformed as transformed
from .names import usual_name as usual_name
from .study import (
    Study as Study,
    VoxelChoices as VoxelChoices,
    home as home,
    open_study as open_study,
    study_file as study_file,
    study_name as study_name,
)
from .synthetic import (
    draw_others as draw_others,
    expected_verdicts as expected_verdicts,
    make_study as make_study,
)
