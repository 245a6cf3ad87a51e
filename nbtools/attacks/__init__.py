"""Adversarial attacks in pixel units: a table of attacks, one interface, one row per decision."""

from nbtools.attacks.interface import perturb, sweep
from nbtools.attacks.table import ATTACKS, Attack

__all__ = ["ATTACKS", "Attack", "perturb", "sweep"]
