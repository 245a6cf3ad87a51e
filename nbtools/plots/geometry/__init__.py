"""Figures of class manifolds and category clouds."""
