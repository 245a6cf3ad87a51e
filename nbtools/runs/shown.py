"""How notebooks show tables: whole."""

from __future__ import annotations

_ROWS = 300  # of a longer table, its ends


def show_whole_tables() -> None:
    """Have pandas show whole sentences and all columns: what ends in dots cannot be read in an executed notebook."""
    import pandas as pd

    for option, value in {"max_colwidth": None, "max_columns": None, "max_rows": _ROWS}.items():
        pd.set_option(f"display.{option}", value)
