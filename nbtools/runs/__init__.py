"""Parameters in, a run folder out: where results go, how they are found again, and what they came from."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
