"""Image files and folders in, `ImageSet` out: decoded, packed, cut into views; public sets prepared, each by name."""
