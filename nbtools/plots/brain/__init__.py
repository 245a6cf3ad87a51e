"""Figures of responses, of regions in the brain and of representational similarity."""
