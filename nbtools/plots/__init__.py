"""Tables in, plotly figures out: one function per figure, one look, a colour and marker per condition."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
