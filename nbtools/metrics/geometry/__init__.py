"""Of clouds of points: class manifolds, and pictures of a space."""
