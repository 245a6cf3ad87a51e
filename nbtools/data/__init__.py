"""Files in; `RoiTrials`, `RoiResponses` and `ImageSet` out: loaders, and the simulated study."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
