"""Widgets over models and tables: their logic without drawing, and the drawing."""

from nbtools.widgets.attack_explorer import AttackExplorer
from nbtools.widgets.attack_saved import Origin
from nbtools.widgets.attack_state import attack_path
from nbtools.widgets.attack_view import decision_table

__all__ = ["AttackExplorer", "Origin", "attack_path", "decision_table"]
