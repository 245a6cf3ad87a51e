"""Figures of attacks: whether they agree, how visible their budgets are, and whether gradients can be trusted."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nbtools.errors import InputError
from nbtools.plots.style import BOTTOM, INK, TEMPLATE, TOP, check_accuracy, check_table, error_bars, ordered, thinned

_NORMS = {"Linf": "L∞: ε (pixel units, 1/255)", "L2": "L2: ε (pixel units, length)"}
# The colour-blind safe palette of Okabe and Ito, and a shape each.
_LOOKS: dict[str, tuple[str, str]] = {
    "PGD": ("#0072B2", "circle"),
    "FGSM": ("#8c8c8c", "x"),
    "FGM": ("#8c8c8c", "x"),
    "FMN": ("#009E73", "square"),
    "AutoAttack": ("#000000", "diamond"),
    "CarliniWagner": ("#D55E00", "triangle-up"),
    "DeepFool": ("#E69F00", "triangle-down"),
    "BrendelBethge": ("#56B4E9", "star"),
    "Square": ("#CC79A7", "pentagon"),
    "Noise": ("#b59a00", "cross"),
}
_MEASURES = {
    "rms_contrast": "RMS contrast",
    "relative_contrast": "RMS contrast /<br>image's own",
    "ssim": "SSIM",
}
_PASS, _FAIL = "#d7ead9", "#e9a3a3"


def attack_curves(accuracy: pd.DataFrame, *, title: str) -> go.Figure:
    """Show accuracy against ε for every attack: one row per condition, L∞ left, L2 right.

    Parameters
    ----------
    accuracy : DataFrame
        ``robust_accuracy(decisions, by=("condition", "attack"))``: one row per condition × attack × ε.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty, lacks a column, or holds a condition × attack × ε twice.
    """
    check_accuracy(accuracy, ("condition", "attack"))
    conditions, norms = ordered(accuracy["condition"]), _norms(accuracy["attack"])
    fig = make_subplots(
        len(conditions), len(norms), shared_yaxes=True, horizontal_spacing=0.05, vertical_spacing=0.24 / len(conditions)
    )
    for row, condition in enumerate(conditions, start=1):
        for column, norm in enumerate(norms, start=1):
            part = accuracy[(accuracy["condition"] == condition) & accuracy["attack"].str.startswith(norm)]
            for attack, curve in part.groupby("attack", sort=False):
                _curve(fig, curve, norm, attack, "accuracy", row, column)
        fig.update_yaxes(title_text=f"accuracy,<br>guided by {condition}", row=row, col=1)
    fig.update_yaxes(tickformat=".0%", range=[-0.03, 1.03])
    return _finish(fig, accuracy, norms, len(conditions), title)


def visibility_curves(summary: pd.DataFrame, *, title: str) -> go.Figure:
    """Show how visible each budget is: one row per measure, L∞ left, L2 right.

    Parameters
    ----------
    summary : DataFrame
        From `metrics.visibility.mean_visibility`: ``attack``, ``epsilon``, ``measure``, ``mean``, ``ci_low``,
        ``ci_high``.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty or lacks a column.
    """
    check_table(summary, ("attack", "epsilon", "measure", "mean", "ci_low", "ci_high"))
    measures, norms = list(dict.fromkeys(summary["measure"])), _norms(summary["attack"])
    fig = make_subplots(
        len(measures), len(norms), shared_yaxes=True, horizontal_spacing=0.05, vertical_spacing=0.24 / len(measures)
    )
    for row, measure in enumerate(measures, start=1):
        for column, norm in enumerate(norms, start=1):
            part = summary[(summary["measure"] == measure) & summary["attack"].str.startswith(norm)]
            for attack, curve in part.groupby("attack", sort=False):
                _curve(fig, curve, norm, attack, "mean", row, column)
        fig.update_yaxes(title_text=_MEASURES.get(measure, measure), row=row, col=1)
    return _finish(fig, summary, norms, len(measures), title)


def audit_grid(audit: pd.DataFrame, *, title: str) -> go.Figure:
    """Show which checks each network passed, with their numbers.

    Parameters
    ----------
    audit : DataFrame
        Rows of `audit.audit` with a ``condition``: ``check``, ``value``, ``limit`` (shares), ``passed``.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If the table is empty, lacks a column, or holds a check of a condition twice.
    """
    check_table(audit, ("condition", "check", "value", "limit", "passed"))
    doubled = int(audit.duplicated(["condition", "check"]).sum())
    if doubled:
        raise InputError(
            "a check stands twice for one network",
            expected="one row per condition × check",
            got=f"{doubled} rows too many",
            fix="draw one audit of each network",
        )
    checks, conditions = list(dict.fromkeys(audit["check"])), ordered(audit["condition"])
    cells = audit.set_index(["check", "condition"])
    cells = cells.reindex(pd.MultiIndex.from_product([checks, conditions]))
    limits = [f"{check}<br><i>at most {cells.loc[check, 'limit'].max():.1%}</i>" for check in checks]
    words = {True: "pass", False: "FAIL"}
    text = [
        f"{words.get(passed, '')} {value:+.1%}" if np.isfinite(value) else ""
        for passed, value in zip(cells["passed"], cells["value"], strict=True)
    ]
    shape = (len(checks), len(conditions))
    fig = go.Figure(layout={"template": TEMPLATE, "title_text": title})
    fig.add_heatmap(
        z=cells["passed"].astype(float).to_numpy().reshape(shape),
        x=conditions,
        y=limits,
        text=np.reshape(text, shape),
        texttemplate="%{text}",
        zmin=0,
        zmax=1,
        colorscale=[[0, _FAIL], [1, _PASS]],
        showscale=False,
        xgap=3,
        ygap=3,
        hoverinfo="skip",
    )
    fig.update_xaxes(title_text="what guided the network", showline=False, ticks="")
    fig.update_yaxes(autorange="reversed", showline=False, ticks="", showgrid=False)
    return fig.update_layout(height=TOP + BOTTOM + 52 * len(checks), margin={"l": 170})


def _norms(attacks: Iterable[str]) -> list[str]:
    return [norm for norm in _NORMS if any(str(name).startswith(norm) for name in attacks)]


def _scale(norm: str) -> float:
    return 255.0 if norm == "Linf" else 1.0


def _curve(fig: go.Figure, curve: pd.DataFrame, norm: str, attack: str, value: str, row: int, column: int) -> None:
    """Draw one attack's line with its intervals; its name enters the legend once."""
    name = attack.removeprefix(norm)
    shade, shape = _LOOKS.get(name, (INK, "hexagon"))
    curve = curve.sort_values("epsilon")
    bars = error_bars(curve[value], curve["ci_low"], curve["ci_high"], shade, "cross")
    shown = {"FGSM": "FGSM, FGM", "FGM": "FGSM, FGM"}.get(name, name)  # one step of either norm
    fig.add_scatter(
        x=curve["epsilon"] * _scale(norm),
        y=curve[value],
        error_y=bars,
        name=shown,
        legendgroup=shown,
        showlegend=not any(trace.name == shown for trace in fig.data),
        mode="lines+markers",
        line={"color": shade, "width": 2},
        marker={"symbol": shape, "size": 8},
        row=row,
        col=column,
    )


def _finish(fig: go.Figure, table: pd.DataFrame, norms: list[str], n_rows: int, title: str) -> go.Figure:
    """Set ticks, titles and size."""
    for column, norm in enumerate(norms, start=1):
        epsilons = np.sort(table.loc[table["attack"].str.startswith(norm), "epsilon"].unique())
        ticks = thinned(epsilons) * _scale(norm)
        fig.update_xaxes(tickvals=ticks, ticktext=[f"{tick:.4g}" for tick in ticks], col=column)
        fig.update_xaxes(title_text=_NORMS[norm], row=n_rows, col=column)
    fig.update_layout(template=TEMPLATE, title_text=title, height=TOP + BOTTOM + 40 + 210 * n_rows)
    return fig.update_layout(margin={"t": TOP + 20, "l": 100}, legend={"x": 0, "xanchor": "left", "y": 1.01})
