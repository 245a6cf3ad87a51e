"""Figures of attacks, visibility and audits show the numbers they are given."""

from __future__ import annotations

import pandas as pd
import pytest

from nbtools import plots
from nbtools.errors import InputError

TITLE = "t (demo study, simulated)"
EPSILONS = {"LinfPGD": [0.0, 1 / 255, 4 / 255], "LinfFMN": [0.0, 1 / 255, 4 / 255], "L2PGD": [0.0, 0.2, 0.8]}


def accuracy() -> pd.DataFrame:
    rows = [
        {"condition": c, "attack": a, "epsilon": e, "accuracy": v, "ci_low": v - 0.04, "ci_high": v + 0.02}
        for c in ("none", "TO")
        for a, epsilons in EPSILONS.items()
        for e, v in zip(epsilons, (0.9, 0.5, 0.1), strict=True)
    ]
    return pd.DataFrame(rows)


def summary() -> pd.DataFrame:
    rows = [
        {"attack": a, "epsilon": e, "measure": m, "mean": v, "ci_low": v - 0.01, "ci_high": v + 0.02}
        for a, epsilons in EPSILONS.items()
        for e, v in zip(epsilons, (0.0, 0.1, 0.4), strict=True)
        for m in ("rms_contrast", "ssim")
    ]
    return pd.DataFrame(rows)


def audit() -> pd.DataFrame:
    rows = [
        {"condition": c, "check": k, "value": v, "limit": 0.02, "passed": v <= 0.02}
        for c, shift in (("none", 0.0), ("TO", 0.3))
        for k, v in (("black box", -0.1 + shift), ("more steps", 0.01))
    ]
    return pd.DataFrame(rows)


def test_each_norm_has_its_panel_and_each_condition_its_row() -> None:
    fig = plots.attack_curves(accuracy(), title=TITLE)
    assert fig.layout.title.text == TITLE
    assert [trace.name for trace in fig.data] == ["PGD", "FMN", "PGD"] * 2
    assert sum(bool(trace.showlegend) for trace in fig.data) == 2
    first, last = fig.data[0], fig.data[-1]
    assert list(first.x) == [0, 1, 4], "L∞ in 1/255"
    assert list(last.x) == [0, 0.2, 0.8], "L2 as a length"
    assert list(first.error_y.array) == pytest.approx([0.02] * 3)
    assert fig.layout.yaxis.title.text.endswith("none")


def test_an_attack_that_did_not_converge_is_dotted() -> None:
    table = accuracy().assign(unconverged=0.0)
    table.loc[(table["attack"] == "L2PGD") & (table["epsilon"] > 0.5), "unconverged"] = 0.1
    names = {trace.name: trace.line.dash for trace in plots.attack_curves(table, title=TITLE).data}
    assert names == {"PGD": "solid", "FMN": "solid", "PGD (not converged)": "dot"}


def test_visibility_has_a_row_per_measure() -> None:
    fig = plots.visibility_curves(summary(), title=TITLE)
    assert len(fig.data) == 2 * len(EPSILONS)
    assert [fig.layout.yaxis.title.text, fig.layout.yaxis3.title.text] == ["RMS contrast", "SSIM"]


def test_an_audit_shows_pass_and_fail_with_numbers() -> None:
    grid = plots.audit_grid(audit(), title=TITLE).data[0]
    assert list(grid.x) == ["none", "TO"]
    assert grid.text[0][0] == "pass<br>-10.0%"
    assert grid.text[0][1] == "FAIL<br>+20.0%"
    assert "at most 2.0%" in grid.y[0]


def test_a_check_that_stands_twice_is_refused() -> None:
    with pytest.raises(InputError, match="twice"):
        plots.audit_grid(pd.concat([audit(), audit()]), title=TITLE)


@pytest.mark.parametrize(
    ("draw", "table", "column"),
    [
        (plots.attack_curves, accuracy(), "attack"),
        (plots.visibility_curves, summary(), "measure"),
        (plots.audit_grid, audit(), "passed"),
    ],
)
def test_a_table_that_lacks_a_column_is_refused(draw, table, column) -> None:
    with pytest.raises(InputError, match="cannot be drawn"):
        draw(table.drop(columns=column), title=TITLE)


def test_nothing_is_said_to_have_guided_a_network_from_outside() -> None:
    """Titles and axes: as ever where all are guided or controls, another word where one is from outside."""
    assert [plots.guided_by(name) for name in ("V1", "none", "net-r18")] == [
        "guided by V1",
        "guided by none",
        "net-r18",
    ]
    for last, said in {"TO": "what guided the network", "net-r18": "network"}.items():
        attacked, audited = (table.replace({"condition": {"TO": last}}) for table in (accuracy(), audit()))
        curves = plots.attack_curves(attacked, title=TITLE)
        assert any(axis.title.text == f"accuracy,<br>{plots.guided_by(last)}" for axis in curves.select_yaxes())
        clean = attacked.query("attack == 'LinfPGD' and epsilon == 0")
        bars = plots.scores_by_condition(clean, "accuracy", "accuracy", title=TITLE)
        for figure in (plots.audit_grid(audited, title=TITLE), bars):
            assert figure.layout.xaxis.title.text == said
