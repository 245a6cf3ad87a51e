"""The study explorer: all finished runs in one table; filter them, pick metrics, see curves and the hierarchy."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets

from nbtools.data.study import open_study
from nbtools.errors import InputError
from nbtools.metrics.robustness import epsilon_label
from nbtools.metrics.stats import describe
from nbtools.plots.curves import compared_curves
from nbtools.plots.networks import METRIC_LABELS, hierarchy
from nbtools.widgets import study_state
from nbtools.widgets.parts import FULL, WRAPPED, Explorer, caption, choice, fill, say, several, table_html, words_field
from nbtools.widgets.study_state import ALL, NETWORKS, HierarchyChoice

_FIRST = ("accuracy", "neural_r")


class StudyExplorer(Explorer):
    """Look through everything a study has computed.

    The filter (a notebook, and words such as ``TO`` or ``alpha=0.65``) chooses the runs of the table and of the
    curves; the hierarchy has its own choice of α, seed, attack and ε.

    Parameters
    ----------
    study : str
        A study by name, or the path of its ``study.toml``.

    Raises
    ------
    InputError
        If there is no such study, or it has no finished run.
    """

    def __init__(self, study: str):
        self.title = open_study(study).title
        self.runs = study_state.all_runs(study)
        notebooks = list(dict.fromkeys(self.runs["notebook"]))
        self.notebook = choice("notebook", [ALL, *notebooks], NETWORKS if NETWORKS in notebooks else ALL)
        self.words = words_field("words", "e.g. TO alpha=0.65")
        reached = study_state.metrics_of(self.runs)
        self.metrics = several("metrics of the table", reached, reached)
        self.curves_of = several("curves", [(label, name) for name, label in METRIC_LABELS.items()], _FIRST)
        self.table = widgets.HTML(layout=FULL)
        self.curves, self.curves_words = widgets.Box(layout=FULL), caption()
        filters = widgets.HBox([self.notebook, self.words, self.metrics, self.curves_of], layout=WRAPPED)
        shown = [filters, self.table, self.curves, self.curves_words]
        self.options = study_state.hierarchy_options(self.runs)
        super().__init__([*shown, *self._hierarchy_parts()])
        self._show_runs()
        for control in (self.notebook, self.words, self.metrics, self.curves_of):
            control.observe(self._show_runs, "value")

    def _hierarchy_parts(self) -> list[widgets.Widget]:
        """Make the hierarchy's controls and figure, where networks were attacked."""
        self.hierarchy, self.hierarchy_words = widgets.Box(layout=FULL), caption()
        if not self.options:
            say(self.hierarchy_words, "No network of this study has been attacked yet (notebook 04).")
            return [self.hierarchy_words]
        of = self.options
        seeds = [(f"all ({len(of['seeds'])})", tuple(of["seeds"])), *((str(s), (s,)) for s in of["seeds"])]
        levels = [(epsilon_label(epsilon), epsilon) for epsilon in of["epsilon"]]
        self.alpha = choice("α", [(f"{alpha:g}", alpha) for alpha in of["alpha"]], study_state.usual_alpha(self.runs))
        self.seed = choice("seed", seeds, seeds[0][1])
        self.attack = choice("attack", of["attack"], of["attack"][0])
        self.epsilon = choice("ε", levels, levels[len(levels) // 2][1])
        controls = (self.alpha, self.seed, self.attack, self.epsilon)
        self._show_hierarchy()
        for control in controls:
            control.observe(self._show_hierarchy, "value")
        return [widgets.HBox(controls, layout=WRAPPED), self.hierarchy, self.hierarchy_words]

    def _show_runs(self, _change: Any = None) -> None:
        found = study_state.filtered(self.runs, self.notebook.value, self.words.value)
        self.table.value = table_html(study_state.table_of(found, self.metrics.value))
        try:
            curves = study_state.histories(found)
            metrics = study_state.measured(curves, self.curves_of.value)
            figure = compared_curves(
                curves, metrics, title=f"Training of {curves['folder'].nunique()} networks ({self.title})"
            )
        except InputError as error:
            fill(self.curves, None)
            say(self.curves_words, study_state.failure(error))
            return
        fill(self.curves, figure)
        say(self.curves_words, study_state.describe_curves(curves, metrics))

    def _show_hierarchy(self, _change: Any = None) -> None:
        chosen = HierarchyChoice(self.alpha.value, self.seed.value, self.attack.value, self.epsilon.value)
        try:
            accuracy, trends = study_state.hierarchy_of(self.runs, chosen)
            title = f"{chosen.attack}, α = {chosen.alpha:g} ({self.title})"
            figure = hierarchy(accuracy, trends, [0.0, chosen.epsilon], title=title)
        except InputError as error:
            fill(self.hierarchy, None)
            say(self.hierarchy_words, study_state.failure(error))
            return
        fill(self.hierarchy, figure)
        said = study_state.describe_hierarchy(accuracy, chosen)
        tested = [f"Trend, {epsilon_label(e)}: {describe(trend)}." for e, trend in trends.items()]
        say(self.hierarchy_words, " ".join([said, *tested]))
