"""Figures of attacks: whether they agree, how visible their budgets are, and whether gradients can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from nbtools.conditions import HIERARCHY
from nbtools.plots.labels import thinned
from nbtools.plots.marks import Look, add_curve
from nbtools.plots.style import INK, conditions_title, guided_by, new_figure, panels, tall
from nbtools.plots.tables import check_accuracy, check_drawable, check_points, ordered

_NORMS = {"Linf": "L∞: ε (pixel units, 1/255)", "L2": "L2: ε (pixel units, length)"}
# The colour-blind safe palette of Okabe and Ito, two more, and a shape each.
_LOOKS = {
    "PGD": Look("#0072B2", symbol="circle"),
    "TargetedPGD": Look("#882255", symbol="triangle-left"),
    "AdaptivePGD": Look("#332288", symbol="hexagram"),
    "FGSM": Look("#8c8c8c", symbol="x"),
    "FGM": Look("#8c8c8c", symbol="x"),
    "FMN": Look("#009E73", symbol="square"),
    "AutoAttack": Look("#000000", symbol="diamond"),
    "CarliniWagner": Look("#D55E00", symbol="triangle-up"),
    "DeepFool": Look("#E69F00", symbol="triangle-down"),
    "BrendelBethge": Look("#56B4E9", symbol="star"),
    "Square": Look("#CC79A7", symbol="pentagon"),
    "Noise": Look("#b59a00", symbol="cross"),
}
_OTHER = Look(INK, symbol="hexagon")
_ONE_STEP = {"FGSM": "FGSM, FGM", "FGM": "FGSM, FGM"}  # of either norm
_MEASURES = {
    "rms_contrast": "RMS contrast",
    "relative_contrast": "RMS contrast /<br>image's own",
    "ssim": "SSIM",
}
_COLORS = {"zmin": 0, "zmax": 1, "colorscale": [[0, "#e9a3a3"], [1, "#d7ead9"]], "showscale": False}  # failed, passed


def attack_curves(accuracy: pd.DataFrame, *, order: Sequence[str] = HIERARCHY, title: str) -> go.Figure:
    """Show accuracy against ε for every attack: one row per condition, L∞ left, L2 right.

    Parameters
    ----------
    accuracy : DataFrame
        ``robust_accuracy(decisions, by=("condition", "attack"))``: one row per condition × attack × ε. Where some of
        its images are ``unconverged``, an attack is dotted.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty, lacks a column, or holds a condition × attack × ε twice.
    """
    check_accuracy(accuracy, ("condition", "attack"))
    heads = {name: f"accuracy,<br>{guided_by(name)}" for name in ordered(accuracy["condition"], order)}
    fig = _curves(accuracy, "condition", heads, "accuracy", title)
    return fig.update_yaxes(tickformat=".0%", range=[-0.03, 1.03])


def visibility_curves(summary: pd.DataFrame, *, title: str) -> go.Figure:
    """Show how visible each budget is: one row per measure, L∞ left, L2 right.

    Parameters
    ----------
    summary : DataFrame
        From `metrics.mean_visibility`: ``attack``, ``epsilon``, ``measure``, ``mean``, ``ci_low``,
        ``ci_high``.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty or lacks a column.
    """
    check_drawable(summary, ("attack", "epsilon", "measure", "mean", "ci_low", "ci_high"))
    heads = {measure: _MEASURES.get(measure, measure) for measure in dict.fromkeys(summary["measure"])}
    return _curves(summary, "measure", heads, "mean", title)


def audit_grid(audit: pd.DataFrame, *, order: Sequence[str] = HIERARCHY, title: str) -> go.Figure:
    """Show which checks each network passed, with their numbers.

    Parameters
    ----------
    audit : DataFrame
        Rows of `attacks.audit` with a ``condition``: ``check``, ``value``, ``limit`` (shares), ``passed``.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty, lacks a column, or holds a check of a condition twice.
    """
    check_drawable(audit, ("condition", "check", "value", "limit", "passed"))
    check_points(audit, ("condition", "check"), fix="draw one audit of each network")
    checks, conditions = list(dict.fromkeys(audit["check"])), ordered(audit["condition"], order)
    text = [
        f"{'pass' if passed else 'FAIL'}<br>{value:+.1%}" if np.isfinite(value) else ""
        for passed, value in zip(audit["passed"], audit["value"], strict=True)
    ]
    cells = audit.assign(text=text).pivot(index="check", columns="condition").loc[checks]
    limits = [f"{check}<br><i>at most {row.max():.1%}</i>" for check, row in cells["limit"].iterrows()]
    passed, words = cells["passed"][conditions].astype(float), cells["text"][conditions].fillna("")
    fig = new_figure(title, conditions_title(conditions))
    look = {"texttemplate": "%{text}", "textfont": {"size": 11}, "hoverinfo": "skip", "xgap": 3, "ygap": 3, **_COLORS}
    fig.add_heatmap(x=conditions, y=limits, z=passed.to_numpy(), text=words.to_numpy(), **look)
    fig.update_xaxes(showline=False, ticks="")
    fig.update_yaxes(autorange="reversed", showline=False, ticks="", showgrid=False)
    return tall(fig, 52 * len(checks))


def _curves(table: pd.DataFrame, key: str, heads: Mapping[str, str], value: str, title: str) -> go.Figure:
    """Draw every attack's curve: a row per value of the key, with its head, a column per norm."""
    norms = [norm for norm in _NORMS if table["attack"].str.startswith(norm).any()]
    shared: dict[str, Any] = {"row": 200, "gap": 48, "shared_yaxes": True, "horizontal_spacing": 0.05}
    fig, places = panels(title, len(heads) * len(norms), len(norms), **shared)
    for place, (row, norm) in zip(places, product(heads, norms), strict=True):
        scale = 255 if norm == "Linf" else 1
        part = table[(table[key] == row) & table["attack"].str.startswith(norm)]
        for attack, curve in part.groupby("attack", sort=False):
            name, curve = str(attack).removeprefix(norm), curve.sort_values("epsilon")
            look, shown = _LOOKS.get(name, _OTHER), _ONE_STEP.get(name, name)
            if curve.get("unconverged", pd.Series(0.0)).any():
                look, shown = replace(look, dash="dot"), f"{shown} (not converged)"
            add_curve(fig, curve["epsilon"] * scale, curve, value, shown, look=look, bars="cross", **place)
        ticks = thinned(np.sort(table.loc[table["attack"].str.startswith(norm), "epsilon"].unique())) * scale
        fig.update_xaxes(tickvals=ticks, ticktext=[f"{tick:.4g}" for tick in ticks], **place)
        fig.update_yaxes(title_text=heads[row] if norm == norms[0] else None, **place)
    for column, norm in enumerate(norms, start=1):
        fig.update_xaxes(title_text=_NORMS[norm], row=len(heads), col=column)
    return fig
