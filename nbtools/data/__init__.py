"""Loaders: a study's files in, `RoiTrials`, `RoiResponses` and `ImageSet` out."""
