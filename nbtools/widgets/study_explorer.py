"""The study explorer: all finished runs in one table; filter them, pick metrics, see curves and the hierarchy."""

from __future__ import annotations

import ipywidgets as widgets

from nbtools.data.study import open_study
from nbtools.metrics.decisions.robustness import epsilon_label
from nbtools.plots.robustness.networks import METRIC_LABELS, hierarchy
from nbtools.plots.studies.curves import compared_curves
from nbtools.widgets import parts, study_state
from nbtools.widgets.study_state import ALL, NETWORKS, HierarchyChoice

_FIRST = ("accuracy", "neural_r")
_ROWS = 15  # of the table: a longer one would scroll inside a page that scrolls
_HINT = (
    "Choose a notebook, and words that a run must hold: a condition, a parameter such as alpha=0.65. Table and curves "
    "of training follow. Below, the hierarchy of all attacked networks has an α, a seed, an attack and an ε of its own."
)


class StudyExplorer(parts.Explorer):
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
        source = open_study(study)
        self.title, self.order = source.title, source.hierarchy
        self.runs = study_state.all_runs(study)
        notebooks = list(dict.fromkeys(self.runs["notebook"]))
        reached = study_state.metrics_of(self.runs)
        self.filters = parts.Controls(
            self._show_runs,
            notebook=parts.choice("notebook", [ALL, *notebooks], NETWORKS if NETWORKS in notebooks else ALL),
            words=parts.words_field("words", "e.g. TO alpha=0.65"),
            metrics=parts.several("metrics of the table", reached, reached),
            curves=parts.several("curves", [(label, name) for name, label in METRIC_LABELS.items()], _FIRST),
        )
        self.table = widgets.HTML(layout=parts.FULL)
        self.curves, self.curves_words = widgets.Box(layout=parts.FULL), parts.caption()
        self.hierarchy, self.hierarchy_words = widgets.Box(layout=parts.FULL), parts.caption()
        shown = [self.filters.row(), self.table, self.curves, self.curves_words]
        if options := study_state.hierarchy_options(self.runs):
            self.networks = self._choose_networks(options)
            shown += [self.networks.row(), self.hierarchy]
            self._show_hierarchy()
        else:
            parts.say(self.hierarchy_words, "No network of this study has been attacked yet (notebook 04).")
        self._show_runs()
        super().__init__([*shown, self.hierarchy_words], title=f"Study explorer · {source.title}", hint=_HINT)

    def _choose_networks(self, of: dict[str, list]) -> parts.Controls:
        """Make the hierarchy's controls: one for every field of `HierarchyChoice`."""
        seeds = [(f"all ({len(of['seeds'])})", tuple(of["seeds"])), *((str(s), (s,)) for s in of["seeds"])]
        levels = [(epsilon_label(epsilon), epsilon) for epsilon in of["epsilon"]]
        alphas = [(f"{alpha:g}", alpha) for alpha in of["alpha"]]
        return parts.Controls(
            self._show_hierarchy,
            alpha=parts.choice("α", alphas, study_state.usual_alpha(self.runs)),
            seeds=parts.choice("seed", seeds, seeds[0][1]),
            attack=parts.choice("attack", of["attack"], of["attack"][0]),
            epsilon=parts.choice("ε", levels, levels[len(levels) // 2][1]),
        )

    def _show_runs(self) -> None:
        chosen = self.filters.values()
        found = study_state.filtered(self.runs, chosen["notebook"], chosen["words"])
        more = f", the first {_ROWS} of them here: narrow the filter to see others" if len(found) > _ROWS else ""
        head = study_state.counted(len(found), "run") + more
        table = study_state.table_of(found.head(_ROWS), chosen["metrics"])
        self.table.value = parts.table_html(head, table, "{:.4g}")
        with parts.drawing(self.curves, self.curves_words):
            curves = study_state.histories(found, self.order)
            metrics = study_state.measured(curves, chosen["curves"])
            title = f"Training of {study_state.counted(curves['folder'].nunique(), 'network')} ({self.title})"
            parts.fill(self.curves, compared_curves(curves, metrics, order=self.order, title=title))
            parts.say(self.curves_words, study_state.describe_curves(curves, metrics))

    def _show_hierarchy(self) -> None:
        chosen = HierarchyChoice(**self.networks.values())
        with parts.drawing(self.hierarchy, self.hierarchy_words):
            accuracy, said = study_state.hierarchy_of(self.runs, chosen, self.order)
            title = f"{chosen.attack}, α = {chosen.alpha:g} ({self.title})"
            drawn = hierarchy(accuracy, said, [0.0, chosen.epsilon], order=self.order, title=title)
            parts.fill(self.hierarchy, drawn)
            tested = [f"Slope, {epsilon_label(epsilon)}: {words}." for epsilon, words in said.items()]
            parts.say(self.hierarchy_words, " ".join([study_state.describe_hierarchy(accuracy, chosen), *tested]))
