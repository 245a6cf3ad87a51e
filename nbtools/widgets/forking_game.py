"""A game: choose attack, ε and two conditions; the first p < .05 wins, and then you are told what it was worth."""

from __future__ import annotations

import ipywidgets as widgets
import pandas as pd

from nbtools.conditions import baselines
from nbtools.data.study import open_study
from nbtools.metrics.decisions.robustness import WORST_CASE, epsilon_label
from nbtools.metrics.samples.contrasts import SIGNIFICANT
from nbtools.metrics.samples.verdicts import in_order
from nbtools.metrics.studies.forking import forking_paths, luck
from nbtools.runs import folders, several
from nbtools.runs.lineage import ATTACKED
from nbtools.widgets import parts

RULES = "Choose an attack, an ε and two conditions, and test. The first p < .05 wins; choose again until you have it."
SEEDS = 3  # fewer hardly ever win
NEEDS = f"The game takes attacked networks of {SEEDS} seeds: of a region, and of a control (`nbtools demo`)."


class ForkingGame(parts.Explorer):
    """Play it on a study's networks.

    Parameters
    ----------
    study : str
        A study by name, or the path of its ``study.toml``.
    alpha : float
        α of the networks. Of conditions that lack a seed there are none to choose; where too few are left, it says so.
    """

    def __init__(self, study: str, alpha: float):
        hierarchy = open_study(study).hierarchy
        found = folders.collect(ATTACKED, study)
        if len(found):
            found = several.chosen(found, ATTACKED, alpha=alpha)
            found = found[found.groupby("roi")["seed"].transform("nunique") == found["seed"].nunique()]
        names = list(found["roi"].unique()) if len(found) else []
        regions, controls = in_order(names, hierarchy), [name for name in baselines(hierarchy) if name in names]
        if not (regions and controls and found["seed"].nunique() >= SEEDS):
            self._frame([parts.caption(NEEDS)])
            return
        decisions = several.tables(found, "decisions")
        attacks = [WORST_CASE, *decisions["attack"].unique()]
        self.asked = decisions, attacks, regions, controls
        self.paths, self.taken = forking_paths(*self.asked), list[int]()
        levels = [(epsilon_label(epsilon), epsilon) for epsilon in sorted(self.paths["epsilon"].unique())]
        self.chosen = parts.Controls(
            lambda: None,
            attack=parts.choice("attack", attacks, WORST_CASE),
            epsilon=parts.choice("ε", levels, levels[0][1]),
            condition=parts.choice("region", regions, regions[-1]),
            control=parts.choice("control", controls, controls[0]),
        )
        test = widgets.Button(description="Test")
        test.on_click(lambda _: self.look())
        self.looks, self.words = widgets.HTML(layout=parts.FULL), parts.caption(RULES)
        self._frame([self.chosen.row(), test, self.words, self.looks])

    def _frame(self, shown: list[widgets.Widget]) -> None:
        super().__init__(shown)
        self.add_class("nbtools-game")

    def look(self) -> str:
        """Take the path that is chosen; one that was taken before is no new look. Return what is said to it."""
        wanted = self.chosen.values()
        (place,) = self.paths.index[(self.paths[list(wanted)] == pd.Series(wanted)).all(axis=1)]
        self.taken = list(dict.fromkeys([*self.taken, place]))
        shown = self.paths.loc[self.taken].assign(epsilon=lambda table: table["epsilon"].map(epsilon_label))
        self.looks.value = parts.table_html("Your looks", shown, "{:.3f}")
        won = self.paths.loc[place, "p"] < SIGNIFICANT
        said = self._worth(place) if won else f"Look {len(self.taken)}: no p below .05. Choose again."
        parts.say(self.words, said)
        return said

    def _worth(self, place: int) -> str:
        """Say what the winner's p is worth."""
        p, looks, paths = self.paths.loc[place, "p"], len(self.taken), len(self.paths)
        return (
            f"You win after {looks} {'look' if looks == 1 else 'looks'}: p = {p:.3f}. Corrected for your looks "
            f"(Bonferroni) it is {min(1, p * looks):.2f}, for all {paths} there were to choose from "
            f"{min(1, p * paths):.2f}. Where names mean nothing (shuffled within seeds), somebody who looks as often "
            f"wins {luck(*self.asked, looks):.0%} of the time. Name attack, ε and pair before you look: "
            "python -m nbtools preregister."
        )
