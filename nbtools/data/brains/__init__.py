"""Recordings in, `RoiTrials` and `RoiResponses` out: the Natural Scenes Dataset, Haxby et al., one's own sessions."""
