"""Figures of networks under attack, of their gradients, and of what else they withstand."""
