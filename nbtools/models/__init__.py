"""Pixels in, named read-outs out: networks that own their normalisation, built, saved, and run over many images."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
