"""Of images and their gradients: how smooth a loss is, and what a change of an image looks like."""
