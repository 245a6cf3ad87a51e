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
                held = image < 100 * share + seed * (1 + (name == "none"))
                row = {"condition": name, "seed": seed, "sigma": 0.1, "image_id": str(image), "label": 1}
                rows.append({**row, "prediction": 1 if held else 0, "radius": 0.3 if held else 0.0})
    return pd.DataFrame(rows)


def tables(sign: float) -> dict[str, dict[str, pd.DataFrame]]:
    """What notebooks would have saved: effects of this sign."""
    tell = {"difference": 0.1 * sign, "effective": 0.1 * sign, "slope": 0.4 * sign}
    where = {"condition": "TO", "control": "TO-shuffle", "over": "matched directions", "attacked": "lesioned"}
    lesion = effect(**tell, **where, epsilon=0.01)
    against = {"difference": -0.1 * sign, "slope": -0.4 * sign, "effective": -0.1 * sign}  # rows that do not answer
    lesion = pd.concat(
        [lesion.assign(**against, control="random"), lesion, lesion.assign(**against, attacked="intact")]
    )
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
    return answer_questions(runs, saved["10_summary"], ["V1", "TO"])


@pytest.mark.parametrize(("sign", "finding"), [(1.0, SUPPORTED), (-1.0, NOT_SUPPORTED)])
def test_each_question_is_answered_as_planted(sign: float, finding: str, tmp_path: Path) -> None:
    found = asked(tables(sign), tmp_path)
    assert found["finding"].tolist() == [finding] * len(QUESTIONS)
    assert found["number"].str.contains("95 % CI").all()
    assert found["number"].str.startswith("+" if sign > 0 else "−").all()


def test_what_was_not_run_or_cannot_be_tested_is_said_to_be_so() -> None:
    nothing = answer_questions({}, {"streams": pd.DataFrame()}, ["V1", "TO"])
    assert (nothing["finding"] == UNTOLD).all()
    assert nothing["number"].str.contains("is not among the notebooks|three dorsal").all()


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


def collected(monkeypatch: pytest.MonkeyPatch, folders: dict[str, Path]) -> Run:
    made = pd.DataFrame({"alpha": [0.9, 0.9, 0.5], "folder": list(map(str, folders.values()))})
    made["finished"] = pd.to_datetime(["2026-01-01", "2026-01-03", "2026-01-05"], utc=True)
    monkeypatch.setattr(questions, "collect", lambda notebook, study: made)
    monkeypatch.setattr(questions, "finished_record", lambda folder: {"parameters": {}})
    monkeypatch.setattr(Run, "use", lambda self, found: found)
    return Run("10_summary", {"study": "tiny"}, folders["a"].parent, finished=False)


def test_the_run_that_is_named_answers_or_the_last_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever tries other parameters in a notebook does not change what a study's own report says."""
    folders = {name: tmp_path / name for name in "abc"}
    run = collected(monkeypatch, folders)
    assert questions.asking(run, ["12_alpha/a"], alpha=0.9)["12_alpha"].folder == folders["a"]
    assert questions.asking(run, ["12_alpha"], alpha=0.9)["12_alpha"].folder == folders["b"]
    assert questions.asking(run, [], alpha=0.9) == {}
    for word, alpha in (("12_alpha", 0.1), ("12_alpha/c", 0.9), ("12_alpha/d", 0.9)):
        with pytest.raises(InputError, match="no finished run of 12_alpha"):
            questions.asking(run, [word], alpha=alpha)
    with pytest.raises(InputError, match="nothing is asked of this notebook"):
        questions.asking(run, ["00_start_here"], alpha=0.9)


def told(saved: dict[str, dict[str, pd.DataFrame]], tmp_path: Path, notebook: str, nth: int = 0) -> tuple[str, str]:
    row = asked(saved, tmp_path).query("`from` == @notebook").iloc[nth]
    return row["finding"], row["number"]


def test_a_sure_difference_within_the_margin_is_none(tmp_path: Path) -> None:
    saved = tables(1.0)
    first = scores({"V1": 0.2}, "accuracy")
    last = first.assign(condition="TO", accuracy=first["accuracy"] + 0.004 + 0.0001 * first["seed"])
    saved["12_alpha"]["area"] = pd.concat([first, last])
    finding, number = told(saved, tmp_path, "12_alpha")
    assert finding == NOT_SUPPORTED
    assert "+0.004" in number


def test_all_adversarial_training_counts_in_whatever_order(tmp_path: Path) -> None:
    saved = tables(1.0)
    gains = saved["19_training_and_certificates"]["gains"]
    worse = gains.assign(training="trades-8", way="trades", gain=gains["gain"] - 0.3)
    for n, parts in enumerate(([gains, worse], [worse, gains])):
        saved["19_training_and_certificates"]["gains"] = pd.concat(parts)
        (tmp_path / str(n)).mkdir()
        finding, number = told(saved, tmp_path / str(n), "19_training_and_certificates")
        assert finding == NOT_SUPPORTED
        assert "−0.09" in number
        assert {"at-4", "trades-8"} <= set(number.replace(",", " ").split())


def test_what_stands_beside_something_else_does_not_answer(tmp_path: Path) -> None:
    saved = tables(1.0)
    lesions = saved["21_mechanism"]["compared"]
    saved["21_mechanism"]["compared"] = lesions[lesions["control"] != "TO-shuffle"]
    saved["12_alpha"]["area"] = scores({"random": 0.2, "TO": 0.3}, "accuracy")
    assert told(saved, tmp_path, "21_mechanism") == (UNTOLD, "no lesions of TO beside TO-shuffle")
    (tmp_path / "b").mkdir()
    assert told(saved, tmp_path / "b", "12_alpha") == (UNTOLD, "V1 and TO were not both trained at several α")


def test_a_run_without_its_table_says_so(tmp_path: Path) -> None:
    for notebook in ("12_alpha", "19_training_and_certificates", "21_mechanism", "22_other_images"):
        saved = tables(1.0)
        saved[notebook] = {}
        (tmp_path / notebook).mkdir()
        finding, number = told(saved, tmp_path / notebook, notebook)
        assert finding == UNTOLD
        assert number.startswith("its run has no ")


def test_where_no_image_can_be_certified_there_is_no_answer(tmp_path: Path) -> None:
    saved = tables(1.0)
    saved["19_training_and_certificates"]["certified"] = pd.DataFrame({"epsilon": [0.0, 0.5]})
    finding, number = told(saved, tmp_path, "19_training_and_certificates", nth=1)
    assert (finding, number) == (UNTOLD, "no image was certified at L2 0.5 under σ = 0.1")


@pytest.mark.parametrize(
    ("other", "there"), [({}, True), ({"doses": ""}, False), ({"regions": "V1"}, False), ({"epsilon": "2"}, False)]
)
def test_equal_quality_answers_for_the_same_region_and_attack(
    other: dict[str, str], there: bool, tmp_path: Path
) -> None:
    made = {"doses": "0.3", "epsilon": "4", "attack": "LinfPGD", **other}
    regions = {"V1": 0.2, "V4": 0.25, "TO": 0.3}
    named = {name: at for name, at in regions.items() if name in made.get("regions", "V1 V4 TO").split()}
    scores(named, "accuracy").to_parquet(tmp_path / "equal.parquet")
    runs = {"12_alpha": Run("12_alpha", made, tmp_path, finished=True)}
    found = questions.controls_elsewhere(runs, "TO", 4 / 255, "LinfPGD")
    assert list(found) == ["predictor quality"] * there
    if there:
        assert list(found["predictor quality"]["condition"].unique()) == ["V1, equal predictor r", "TO"]
    assert questions.controls_elsewhere(runs, "TO", 4 / 255, "worst case") == {}
    assert questions.controls_elsewhere({}, "TO", 4 / 255, "LinfPGD") == {}


def test_blur_at_test_time_stands_beside_the_same_networks_on_the_same_images(tmp_path: Path) -> None:
    rows = [(name, e) for name in ("none", "none blur 8", "TO", "TO blur 8") for e in (0.0, 4 / 255)]
    decisions = pd.concat(
        pd.DataFrame({"condition": name, "seed": 0, "epsilon": e, "image_id": range(10), "label": 1, "prediction": 1})
        for name, e in rows
    )
    decisions.to_parquet(tmp_path / "decisions.parquet")
    runs = {"20_frequency": Run("20_frequency", {}, tmp_path, finished=True)}
    found = questions.controls_elsewhere(runs, "TO", 4 / 255, "worst case")
    assert list(found["low spatial frequency"]["condition"]) == ["none blur 8", "TO"]
    assert questions.controls_elsewhere(runs, "TO", 2 / 255, "worst case") == {}
    assert questions.controls_elsewhere(runs, "V1", 4 / 255, "worst case") == {}
