from .clouds import category_manifolds as category_manifolds
from .clouds import cloud_geometry as cloud_geometry
from .guided import (
    Guide as Guide,
)
from .guided import (
    fit_predictor as fit_predictor,
)
from .guided import (
    make_guide as make_guide,
)
from .guided import (
    train_guided as train_guided,
)
from .loop import TrainConfig as TrainConfig
from .manifolds import (
    cloud_responses as cloud_responses,
)
from .manifolds import (
    neural_manifolds as neural_manifolds,
)
from .manifolds import (
    train_manifold_guided as train_manifold_guided,
)
from .prepared import config_of as config_of
from .prepared import load_guide as load_guide
from .prepared import new_network as new_network
