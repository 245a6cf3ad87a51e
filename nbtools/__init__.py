"""Neurally-guided networks and their visual robustness: the package behind the notebooks."""

__version__ = "0.1.0"
