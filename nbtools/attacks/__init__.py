"""A network and pictures in; decisions out, one row per image and ε: attacks in pixel units, and what tests them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
