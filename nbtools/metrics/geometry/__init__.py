"""Of clouds of points: class manifolds, how many dimensions they fill, and pictures of a space."""
