"""Of what networks answered: to attacked, corrupted, masked, filtered and cue-conflict images, and alike or not."""
