"""Of a study as a whole: measures side by side, doses and curves compared, how often its tests are right."""
