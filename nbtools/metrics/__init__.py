"""Tensors and tables in, tables of scores with intervals out; nothing here knows of files or models."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
