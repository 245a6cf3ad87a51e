from .networks import (
    ARCHITECTURES as ARCHITECTURES,
)
from .networks import (
    READOUTS as READOUTS,
)
from .networks import (
    GuidedNet as GuidedNet,
)
from .networks import (
    RoiPredictor as RoiPredictor,
)
from .networks import (
    build as build,
)
from .networks import (
    fold_batchnorm as fold_batchnorm,
)
from .networks import (
    freeze as freeze,
)
from .networks import (
    load_imagenet_weights as load_imagenet_weights,
)
from .networks import (
    load_model as load_model,
)
from .networks import (
    save_model as save_model,
)
from .read_outs import predict as predict
from .read_outs import read_out as read_out
from .several import load_models as load_models
from .several import read_each as read_each
