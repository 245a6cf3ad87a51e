"""A study's file in; its runs out, planned, with what they cost: the graph, `plan`, `doctor`, copies for students,
and what exercises say to their answers.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
