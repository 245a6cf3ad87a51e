"""The comparison of networks without its widgets: which measures there are, and what to say of two of them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from nbtools.metrics.studies.comparison import correlate_conditions, kind_of, missing_scores


def measures_in(table: pd.DataFrame) -> list[str]:
    """Return the measures that any network has a score of, in their order."""
    return list(dict.fromkeys(table.loc[table["score"].notna(), "measure"]))


def first_axes(table: pd.DataFrame) -> tuple[str, str]:
    """Begin with likeness to the brain, across, and accuracy at the largest ε, or else the last measure, up."""
    measures = measures_in(table)
    (similarity,) = (name for name in measures if name.startswith("similarity"))
    return similarity, [measures[-1], *(name for name in measures if name.startswith("accuracy"))][-1]


def describe_pair(table: pd.DataFrame, x: str, y: str) -> str:
    """Say in words how two measures go together over conditions, and what that does not show."""
    rho, n = correlate_conditions(table, x, y)
    found = "no correlation" if np.isnan(rho) else f"Spearman's ρ = {rho:z.2f}"
    return (
        f"{x} and {y}: {found} over n = {n} conditions, each the mean of its seeds. Take it for a description: "
        "networks of one study share images, and those of one seed their first weights, so they are no independent "
        "sample, and there is no p. Bars are 95 % intervals over seeds; a single network has none."
    )


def describe_missing(table: pd.DataFrame) -> str:
    """Say in words which scores are missing, and what they take; nothing where all are there."""
    absent = missing_scores(table).assign(kind=lambda rows: rows["measure"].map(kind_of))
    kinds = absent.groupby(["takes", "missing"], sort=False)["kind"].agg(lambda kind: ", ".join(kind.unique()))
    said = [f"{named} of {conditions} (takes {takes})" for (takes, conditions), named in kinds.items()]
    return f"Missing: {'; '.join(said)}." if said else ""
