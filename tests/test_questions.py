"""What the paper leaves open, answered from tables in which the answer is planted."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nbtools.errors import InputError
from nbtools.runs.folders import Run
from nbtools.workflow import questions
from nbtools.workflow.questions import NOT_SUPPORTED, QUESTIONS, SUPPORTED, UNTOLD, answer_questions

SEEDS = range(4)


def scores(of: dict[str, float], column: str, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [{"condition": name, "seed": s, column: at + rng.normal(0, 0.004)} for name, at in of.items() for s in SEEDS]
    return pd.DataFrame(rows)


def effect(**named: object) -> pd.DataFrame:
    row = {"difference": 0.1, "ci_low": 0.05, "ci_high": 0.15, "p": 0.001, "p_holm": 0.01, "equivalent": False}
    return pd.DataFrame([{**row, **named}])


def certificates(right: dict[str, float]) -> pd.DataFrame:
    rows = []
    for name, share in right.items():
        for seed in SEEDS:
            for image in range(100):
                held = image < 100 * share + seed
                row = {"condition": name, "seed": seed, "sigma": 0.1, "image_id": str(image), "label": 1}
                rows.append({**row, "prediction": 1 if held else 0, "radius": 0.3 if held else 0.0})
    return pd.DataFrame(rows)


def tables(sign: float) -> dict[str, dict[str, pd.DataFrame]]:
    """What notebooks would have saved: effects of this sign."""
    tell = {"difference": 0.1 * sign, "effective": 0.1 * sign, "slope": 0.4 * sign}
    where = {"condition": "TO", "control": "TO-shuffle", "over": "matched directions", "attacked": "lesioned"}
    lesion = effect(**tell, **where, epsilon=0.01)
    against = {"difference": -0.1 * sign, "slope": -0.4 * sign, "effective": -0.1 * sign}  # rows that do not answer
    lesion = pd.concat([lesion, lesion.assign(**against, attacked="intact"), lesion.assign(**against, control="none")])
    streams = effect(**tell, measure="accuracy at 4/255", along="dorsal", p_order=0.01)
    streams = pd.concat([streams, streams.assign(**against, measure="accuracy on others' attacks")])
    beyond = effect(**tell, condition="TO", images="2/255")
    beyond = pd.concat([beyond, beyond.assign(**against, images="4/255")])
    gains = scores({"TO": 0.06 * sign}, "gain").drop(columns="condition")
    return {
        "10_summary": {"streams": streams},
        "21_mechanism": {"compared": lesion},
        "19_training_and_certificates": {
            "gains": gains.assign(guide="TO", way="at", training="at-4", clean="equal"),
            "certificates": certificates({"none": 0.4, "TO": 0.4 + 0.2 * sign}),
            "certified": pd.DataFrame({"epsilon": [0.0, 0.1, 0.2]}),
        },
        "22_other_images": {"beyond": beyond},
        "12_alpha": {"area": scores({"V1": 0.2, "TO": 0.2 + 0.1 * sign}, "accuracy")},
    }


def asked(saved: dict[str, dict[str, pd.DataFrame]], tmp_path: Path) -> pd.DataFrame:
    runs = {}
    for notebook, named in saved.items():
        folder = tmp_path / notebook
        folder.mkdir()
        for name, table in named.items():
            table.to_parquet(folder / f"{name}.parquet", index=False)
        runs[notebook] = Run(notebook, {}, folder, finished=True)
    return answer_questions(runs, saved["10_summary"], "TO")


@pytest.mark.parametrize(("sign", "finding"), [(1.0, SUPPORTED), (-1.0, NOT_SUPPORTED)])
def test_each_question_is_answered_as_planted(sign: float, finding: str, tmp_path: Path) -> None:
    found = asked(tables(sign), tmp_path)
    assert found["finding"].tolist() == [finding] * len(QUESTIONS)
    assert found["number"].str.contains("95 % CI").all()
    assert found["number"].str.startswith("+" if sign > 0 else "−").all()


def test_what_was_not_run_or_cannot_be_tested_is_said_to_be_so() -> None:
    nothing = answer_questions({}, {"streams": pd.DataFrame()}, "TO")
    assert (nothing["finding"] == UNTOLD).all()
    assert nothing["number"].str.contains("was not run|three dorsal").all()


def test_three_regions_rise_in_no_order_that_could_be_tested(tmp_path: Path) -> None:
    saved = tables(1.0)
    saved["10_summary"]["streams"]["p_order"] = np.nan
    told = asked(saved, tmp_path).set_index("from").loc["10_summary"]
    assert told["finding"] == UNTOLD
    assert "order of so few regions" in told["number"]


def test_one_network_has_a_number_and_no_test(tmp_path: Path) -> None:
    saved = tables(1.0)
    saved["12_alpha"]["area"] = saved["12_alpha"]["area"].query("seed == 0")
    told = asked(saved, tmp_path).set_index("from").loc["12_alpha"]
    assert told["finding"] == UNTOLD
    assert told["number"].startswith("+0.")
    assert "no test" in told["number"]


def test_of_several_runs_the_last_one_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A study whose settings changed has older runs of the same notebook: the summary goes by what was made last."""
    made = pd.DataFrame({"alpha": [0.9, 0.9, 0.5], "folder": [str(tmp_path / name) for name in "abc"]})
    made["finished"] = pd.to_datetime(["2026-01-01", "2026-01-03", "2026-01-05"], utc=True)
    monkeypatch.setattr(questions, "collect", lambda notebook, study: made)
    monkeypatch.setattr(questions, "finished_record", lambda folder: {"parameters": {}})
    monkeypatch.setattr(Run, "use", lambda self, found: found)
    run = Run("10_summary", {"study": "tiny"}, tmp_path, finished=False)
    assert questions.asking(run, ["12_alpha"], alpha=0.9)["12_alpha"].folder == tmp_path / "b"
    assert questions.asking(run, [], alpha=0.9) == {}
    with pytest.raises(InputError, match="no finished run of 12_alpha"):
        questions.asking(run, ["12_alpha"], alpha=0.1)


@pytest.mark.parametrize(
    ("other", "there"), [({}, True), ({"doses": ""}, False), ({"regions": "V1"}, False), ({"epsilon": "2"}, False)]
)
def test_equal_quality_answers_for_the_same_region_and_attack(
    other: dict[str, str], there: bool, tmp_path: Path
) -> None:
    made = {"doses": "0.3", "regions": "V1 TO", "epsilon": "4", "attack": "LinfPGD", **other}
    scores({"V1": 0.2, "TO": 0.3}, "accuracy").to_parquet(tmp_path / "equal.parquet")
    runs = {"12_alpha": Run("12_alpha", made, tmp_path, finished=True)}
    found = questions.at_equal_quality(runs, "TO", 4 / 255, "LinfPGD")
    assert (found is not None) == there
    assert questions.at_equal_quality(runs, "TO", 4 / 255, "worst case") is None
    assert questions.at_equal_quality({}, "TO", 4 / 255, "LinfPGD") is None
