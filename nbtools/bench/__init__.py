"""Speed and memory against the plain way of doing the same: ``python -m nbtools bench [names…]``.

Each side of a comparison that concerns memory runs in a process of its own. Both sides must give the same
values, or there is no row.
"""

from __future__ import annotations

from collections.abc import Callable

from nbtools.bench import data, networks, study
from nbtools.bench.timing import Row
from nbtools.errors import InputError

COMPARISONS: dict[str, Callable[[], Row]] = {
    "nsd": data.compare_nsd,
    "prepare": data.compare_prepare,
    "noise_ceiling": data.compare_noise_ceiling,
    "packed": data.compare_packed,
    "training64": networks.compare_training_64,
    "training224": networks.compare_training_224,
    "attacks": networks.compare_attacks,
    "collect": study.compare_collect,
    "workflow": study.compare_workflow,
}


def main(names: list[str]) -> None:
    """Run comparisons and print their table.

    Parameters
    ----------
    names : list of str
        Keys of `COMPARISONS`; none means all.

    Raises
    ------
    InputError
        If a name is unknown.
    """
    # Imported here: the processes that are measured import this module too, and do without pandas.
    import pandas as pd

    unknown = [name for name in names if name not in COMPARISONS]
    if unknown:
        raise InputError(
            "unknown comparison",
            expected=", ".join(COMPARISONS),
            got=", ".join(unknown),
            fix="name some of these, or none for all",
        )
    rows = [COMPARISONS[name]() for name in names or COMPARISONS]
    print(pd.DataFrame(rows).round(3).to_string(index=False))
