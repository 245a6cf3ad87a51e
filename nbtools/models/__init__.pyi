from .architectures import list_architectures as list_architectures
from .backbones import READOUTS as READOUTS
from .lesions import lesioned as lesioned, neural_weights as neural_weights
from .networks import (
    AdoptedNet as AdoptedNet,
    GuidedNet as GuidedNet,
    RoiPredictor as RoiPredictor,
    build as build,
    fold_batchnorm as fold_batchnorm,
    freeze as freeze,
    load_imagenet_weights as load_imagenet_weights,
    load_model as load_model,
    load_models as load_models,
    save_model as save_model,
)
from .read_outs import predict as predict, read_each as read_each, read_out as read_out
from .sizes import taken_by as taken_by
from .sources import source_of as source_of
