from .clouds import category_manifolds as category_manifolds, cloud_geometry as cloud_geometry
from .guided import (
    fit_predictor as fit_predictor,
    train_guided as train_guided,
)
from .hardening import collapsed as collapsed
from .heads import NewHead as NewHead, fit_head as fit_head
from .loop import TrainConfig as TrainConfig
from .manifolds import (
    cloud_responses as cloud_responses,
    neural_manifolds as neural_manifolds,
    train_manifold_guided as train_manifold_guided,
)
from .parameters import (
    config_of as config_of,
    load_guide as load_guide,
    new_network as new_network,
    new_predictor as new_predictor,
)
from .pipeline import train_network as train_network, train_predictor as train_predictor
from .ridge import fit_ridge as fit_ridge
from .targets import Guide as Guide, make_guide as make_guide
