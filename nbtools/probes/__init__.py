"""A finished network in, its answers to other questions out: other images, noise of an octave, cue conflict."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
