from .architectures import architectures as architectures
from .networks import (
    READOUTS as READOUTS,
    GuidedNet as GuidedNet,
    RoiPredictor as RoiPredictor,
    build as build,
    fold_batchnorm as fold_batchnorm,
    freeze as freeze,
    load_imagenet_weights as load_imagenet_weights,
)
from .read_outs import predict as predict, read_each as read_each, read_out as read_out
from .saved import load_model as load_model, load_models as load_models, save_model as save_model
from .sources import source_of as source_of
