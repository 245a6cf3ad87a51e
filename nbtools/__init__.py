"""Neurally-guided networks and their visual robustness: the package behind the notebooks.

Its rooms in the order in which data flows, each with a door that says what comes in and what goes out:
`data` → `models` → `training` → `attacks` and `probes` → `metrics` → `runs` → `workflow` → `plots` → `widgets`.
Whatever a notebook or script needs of a room, the room itself offers: ``from nbtools import data, training, attacks``.
"""

import os

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

# Large pages for torch's tensors (Linux): a fresh batch of 224 px costs an eighth of the time. Read once, when torch
# first allocates memory; whoever set it already is left alone.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
