"""Views to explore a study with: widgets over models and tables. Import each from its own module."""
