"""Figures of a study: scores by condition, differences, doses, and networks of any kind side by side."""
