"""Of what networks answered: to attacked, corrupted and cue-conflict images, and alike or not."""
