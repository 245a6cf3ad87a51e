"""A study's finished runs and the project's pages in, a site out: ``python -m nbtools site``."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
