"""Widgets over models and tables: their logic without drawing, and the drawing."""
