from .networks import (
    ARCHITECTURES as ARCHITECTURES,
    READOUTS as READOUTS,
    GuidedNet as GuidedNet,
    RoiPredictor as RoiPredictor,
    build as build,
    fold_batchnorm as fold_batchnorm,
    freeze as freeze,
    load_imagenet_weights as load_imagenet_weights,
    load_model as load_model,
    save_model as save_model,
)
from .read_outs import predict as predict, read_out as read_out
from .several import load_models as load_models, read_each as read_each
