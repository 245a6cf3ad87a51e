"""Tensors, arrays and tables in, tables and numbers out: nothing here knows of files, models or plots."""
