"""Image files and folders in, `ImageSet` out: decoded, listed, packed, and cut into views for training."""
