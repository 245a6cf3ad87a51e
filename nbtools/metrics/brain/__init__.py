"""Of measured and predicted responses: what noise leaves to explain, prediction, drive, similarity."""
