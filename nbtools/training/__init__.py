"""Images and responses in; frozen networks and their histories out: predictors, and networks guided by them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
