from .brains.anatomy import (
    centre_of as centre_of,
)
from .brains.anatomy import (
    load_surfaces as load_surfaces,
)
from .brains.anatomy import (
    load_volume as load_volume,
)
from .brains.anatomy import (
    slices as slices,
)
from .brains.haxby import prepare_haxby as prepare_haxby
from .brains.measured import load_design as load_design
from .brains.measured import load_trials as load_trials
from .brains.measured import region_volume as region_volume
from .brains.prepare import prepare_nsd as prepare_nsd
from .brains.responses import (
    ResponseBasis as ResponseBasis,
)
from .brains.responses import (
    RoiResponses as RoiResponses,
)
from .brains.responses import (
    RoiTrials as RoiTrials,
)
from .brains.responses import (
    average_repeats as average_repeats,
)
from .brains.responses import (
    average_within_sessions as average_within_sessions,
)
from .brains.responses import (
    fit_basis as fit_basis,
)
from .brains.responses import (
    project as project,
)
from .brains.responses import (
    reconstruct as reconstruct,
)
from .brains.responses import (
    split_images as split_images,
)
from .brains.responses import (
    trials_of as trials_of,
)
from .brains.sessions import Session as Session
from .brains.sessions import read_session as read_session
from .brains.sessions import write_session as write_session
from .images.classified import load_labels as load_labels
from .images.classified import load_test_images as load_test_images
from .images.classified import load_training_images as load_training_images
from .images.cue_conflict import cue_conflict_names as cue_conflict_names
from .images.imagenet import prepare_imagenet as prepare_imagenet
from .images.labels import joined as joined
from .images.labels import label_stimuli as label_stimuli
from .images.own import photographs as photographs
from .images.own import read_image as read_image
from .images.own import with_photographs as with_photographs
from .images.public import (
    corruptions as corruptions,
)
from .images.public import (
    load_corruption as load_corruption,
)
from .images.public import (
    prepare_folder as prepare_folder,
)
from .images.sets import (
    ImageSet as ImageSet,
)
from .images.sets import (
    choose_rows as choose_rows,
)
from .images.sets import (
    load_folder as load_folder,
)
from .images.sets import (
    load_stimuli as load_stimuli,
)
from .images.sets import (
    split_rows as split_rows,
)
from .images.sets import (
    to_float as to_float,
)
from .images.sets import (
    to_pictures as to_pictures,
)
from .study import (
    Study as Study,
)
from .study import (
    VoxelChoices as VoxelChoices,
)
from .study import (
    home as home,
)
from .study import (
    open_study as open_study,
)
from .study import (
    study_file as study_file,
)
from .synthetic import make_study as make_study
