"""All comparisons by name, and their table."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pandas as pd

from nbtools.bench import attacks, brains, images, networks, study
from nbtools.bench.measure import Row
from nbtools.checks import check_choice
from nbtools.processes import Bar

COMPARISONS: dict[str, Callable[[], Row]] = {
    "nsd": brains.compare_nsd,
    "prepare": brains.compare_prepare,
    "noise_ceiling": brains.compare_noise_ceiling,
    "packed": images.compare_packed,
    "training64": partial(networks.compare_training, size=64, n_images=480),
    "training224": partial(networks.compare_training, size=224, n_images=96),
    "hardening": partial(networks.compare_hardening, size=64, n_images=256),
    "attacks": attacks.compare_attacks,
    "long_pgd": attacks.compare_long_pgd,
    "autoattack": attacks.compare_autoattack,
    "collect": study.compare_collect,
    "workflow": study.compare_workflow,
}


def main(names: list[str]) -> None:
    """Run comparisons and print their table.

    Parameters
    ----------
    names : list of str
        Keys of `COMPARISONS`; none means all; ``gpu`` alone what one card does.

    Raises
    ------
    InputError
        If a name is unknown.
    """
    if names == ["gpu"]:  # a table of its own: minutes on a card, hours without one
        from nbtools.bench.gpu import gpu_table

        print(gpu_table().round(3).to_string(index=False))
        return
    for name in names:
        check_choice("unknown comparison", name, COMPARISONS, fix="name some of these, or none for all")
    rows = []
    with Bar(names or COMPARISONS, "bench", unit="comparison") as each:
        for name in each:
            each.set_description_str(f"bench, {name}")
            rows.append({"comparison": name, **COMPARISONS[name]()})
    print(pd.DataFrame(rows).round(3).to_string(index=False))
