"""Exercises: answers and guesses, the file that keeps them, a room's vote, and the game of forking paths."""

from __future__ import annotations

import io
import json
import socket
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import pytest
from tornado.testing import AsyncHTTPTestCase

from nbtools import metrics, plots, widgets, workflow
from nbtools.cli import main
from nbtools.errors import InputError
from nbtools.widgets import forking_game
from nbtools.widgets.vote import Ballot, application

HOSTILE = ["inf", "nan", "", " ", "a lot", "1/2/3", "nan%", "[1]", "None"]


@pytest.fixture(autouse=True)
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))
    return tmp_path / "answers.jsonl"


# --- answers ------------------------------------------------------------------------------------------------


def test_hints_come_by_degrees_and_the_last_stays() -> None:
    exercise = widgets.Exercise("01-1", "?", workflow.number(1, 2), ["one", "two"], "well")
    said = [exercise.commit(answer) for answer in (5, 6, 7, 1.5)]
    assert said == ["Not yet: one", "Not yet: two", "Not yet: two", "Right: well"]


@pytest.mark.parametrize("answer", HOSTILE)
def test_what_is_no_number_gets_no_traceback_and_costs_no_hint(answer: str) -> None:
    exercise = widgets.Exercise("01-1", "?", workflow.number(1, 2), ["one", "two"])
    exercise.commit(answer)
    assert exercise.state == "wrong"
    assert exercise.commit("9") == "Not yet: one"


def test_what_is_right_is_not_sent_to_the_page() -> None:
    exercise = widgets.Exercise("00-1", "?", workflow.word("the planted secret"), ["the hidden hint"])
    assert not any("planted" in str(value) or "hidden" in str(value) for value in exercise.get_state().values())


def test_where_nothing_can_be_right_it_says_so(answers: Path) -> None:
    """The cell runs whatever the parameters left to compare: what is right is asked for with an answer."""
    empty = pd.Series(dtype=float)
    exercise = widgets.Exercise("21-1", "?", workflow.word(lambda: empty.idxmax()))
    assert exercise.commit("V1").startswith("With these parameters there is nothing")
    assert exercise.state == "wrong"
    assert json.loads(answers.read_text())["right"] is None


def test_a_guess_is_kept_and_neither_right_nor_wrong(answers: Path) -> None:
    guess = widgets.Exercise("04-guess", "?", at=["clean", "2/255"])
    assert guess.value is None
    guess.commit([1, 0.25])
    assert guess.value == [1.0, 0.25]
    (line,) = map(json.loads, answers.read_text().splitlines())
    assert (line["exercise"], line["answer"], line["right"]) == ("04-guess", [1.0, 0.25], None)


def test_answers_of_a_class_are_pooled(tmp_path: Path, answers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, given in {"ada": [3, 1.5], "bob": [7]}.items():
        exercise = widgets.Exercise("01-1", "?", workflow.number(1, 2))
        for answer in given:
            exercise.commit(answer)
        answers.rename(tmp_path / f"{name}.jsonl")
    pooled = workflow.pool_answers([tmp_path / "ada.jsonl", tmp_path / "bob.jsonl"]).set_index("student")
    assert list(pooled.answers) == [2, 1]
    assert list(pooled["first"]) == ["3", "7"]
    assert list(pooled["last"]) == ["1.5", "7"]
    assert list(pooled.right) == [True, False]
    assert main(["answers", str(tmp_path / "ada.jsonl")]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("ada,01-1,2,3,1.5,True,")


@pytest.mark.parametrize("answer", ["-1.5", "−1.5", " −1,5 %", "-1.5/255", "−１.5"])
def test_a_number_may_be_written_as_figures_and_people_write_it(answer: str) -> None:
    assert workflow.number(-2, -1)(answer) is True
    assert workflow.number(1, 2)(answer) is False


@pytest.mark.parametrize(
    "answer", ["a\u2028b", "a\x85b", "a\x0bb", "a\r\nb", "\ud800", "€ “ä”", '"', "'", "x" * 100_000]
)
def test_whatever_is_typed_leaves_a_file_that_can_be_pooled(answer: str, answers: Path) -> None:
    """Also a line's end of Unicode, and half a character, which no encoding writes."""
    exercise = widgets.Exercise("01-1", "?", workflow.word("x"))
    exercise.commit(answer)
    exercise.commit("x")
    pooled = workflow.pool_answers([answers]).loc[0]
    assert (pooled["first"], pooled["last"], pooled.answers) == (answer.replace("\ud800", "?"), "x", 2)


def test_an_answer_is_judged_also_where_it_cannot_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path / "file" / "below"))
    said = widgets.Exercise("01-1", "?", workflow.number(1, 2), praise="well").commit("1")
    assert said.startswith("Right: well (This answer could not be kept.")
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path / "yet" / "to come"))
    assert widgets.Exercise("01-1", "?", workflow.number(1, 2)).commit("1") == "Right"


def line(**changed: object) -> str:
    return json.dumps({"time": "2026-01-01", "exercise": "01-1", "answer": "x", "right": None, **changed})


def test_a_windows_editors_mark_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "ada.jsonl").write_text(line() + "\r\n" + line(), encoding="utf-8-sig")
    assert list(workflow.pool_answers([tmp_path / "ada.jsonl"]).answers) == [2]


@pytest.mark.parametrize(
    ("cell", "safe"),
    [
        *((f"{sign}cmd|' /C calc'!A0", f"'{sign}cmd|' /C calc'!A0") for sign in ("=", "+", "-", "@", "\t=", " =")),
        *((number, number) for number in ("-0.5", "+1", "−2", "-1,5", "-4/255", "-3 %")),
        *((word, word) for word in ("V1", "", "a=b", "LinfPGD")),
    ],
)
def test_no_answer_is_a_spreadsheets_formula(cell: str, safe: str, tmp_path: Path) -> None:
    (tmp_path / "=ada.jsonl").write_text(line(answer=cell, exercise=cell or "1"))
    pooled = workflow.pool_answers(tmp_path.glob("*.jsonl"))
    csv = pd.read_csv(io.StringIO(workflow.as_csv(pooled)), dtype=str, keep_default_na=False)
    assert list(csv.loc[0, ["student", "exercise", "first", "last"]]) == ["'=ada", safe or "1", safe, safe]


HOSTILE_LINES = [
    *(line(time=3), line(time=None), line(exercise=[1]), line(exercise=None), line(answer={"a": 1}), line(answer=None)),
    *(line(right="yes"), line(right=[1]), line(more=1), "[" * 100_000, line().replace('"x"', "9" * 5000)),
]


@pytest.mark.parametrize(
    "text", ["{", "[]", "3", '{"time": 1}', "\x00", '{"time":0,"exercise":0,"answer":0}', *HOSTILE_LINES]
)
def test_another_file_is_not_taken_for_answers(text: str, tmp_path: Path) -> None:
    file = tmp_path / "carl.jsonl"
    file.write_text(f"{line()}\n{text}")
    with pytest.raises(InputError, match="no file of answers"):
        workflow.pool_answers([file])
    with pytest.raises(InputError, match="no file of answers"):
        workflow.pool_answers([tmp_path / "missing.jsonl"])


def test_two_students_of_one_name_are_refused(tmp_path: Path) -> None:
    files = [tmp_path / folder / "answers.jsonl" for folder in ("a", "b")]
    for file in files:
        file.parent.mkdir()
        file.write_text("")
    with pytest.raises(InputError, match="one name"):
        workflow.pool_answers(files)
    assert workflow.pool_answers(files[:1]).empty


# --- a guess in a figure ------------------------------------------------------------------------------------

ACCURACY = pd.DataFrame(
    {"epsilon": [0.0, 2 / 255, 4 / 255], "accuracy": [0.9, 0.5, 0.1], "ci_low": 0.0, "ci_high": 1.0}
)


def test_a_guess_stands_where_its_places_are() -> None:
    figure = plots.robustness_curves(ACCURACY.assign(condition="TO", n=9), title="x")
    assert plots.with_guess(figure, ["clean"], None) is figure
    drawn = plots.with_guess(figure, ["4/255", "clean", "9/255"], [0.2, 0.8, 0.5])
    assert len(drawn.data) == len(figure.data) + 1, "the figure that is saved keeps no guess"
    assert (list(drawn.data[-1].x), list(drawn.data[-1].y)) == ([0.0, 4.0], [0.8, 0.2])


def test_a_guess_about_conditions_stands_in_the_panel_it_is_about() -> None:
    table = pd.concat([ACCURACY.assign(condition=name) for name in ("none", "V1", "TO")])
    figure = plots.hierarchy(table, {}, [0.0, 4 / 255], title="x")
    guess = plots.with_guess(figure, ["none", "V1", "TO"], [0.1, 0.2, 0.3], row=2).data[-1]
    (level,) = {trace.yaxis for trace in figure.data if trace.name == "TO" and trace.y[0] == 0.1}
    assert guess.yaxis == level
    assert list(guess.x) == sorted(guess.x)


# --- forking paths ------------------------------------------------------------------------------------------


def decisions_of(rng: np.random.Generator, n_seeds: int, gain: float = 0.0, n_images: int = 200) -> pd.DataFrame:
    """Networks whose robust accuracy is .5 and luck; those of TO stand `gain` more."""
    parts = []
    for name in ("none", "random", "V1", "TO"):
        for seed in range(n_seeds):
            stands = rng.random(n_images) < 0.5 + gain * (name == "TO") + rng.normal(0, 0.05)
            right = {"image_id": range(n_images), "label": 0, "attack": "LinfPGD", "condition": name, "seed": seed}
            clean = pd.DataFrame(right).assign(epsilon=0.0, prediction=0)
            parts += [clean, clean.assign(epsilon=4 / 255, prediction=1 - stands.astype(int))]
    return pd.concat(parts, ignore_index=True)


def test_paths_are_the_tests_of_the_package(rng: np.random.Generator) -> None:
    decisions = decisions_of(rng, 4)
    paths = metrics.forking_paths(decisions, ["LinfPGD"], ["V1", "TO"], ["none", "random"])
    networks = metrics.robust_accuracy(decisions, by=("condition", "seed"))
    own = metrics.compare(metrics.at_epsilon(networks, 4 / 255), "accuracy", ["V1", "TO"], ["none", "random"])
    pd.testing.assert_series_equal(paths.p, own.p)


def test_one_look_wins_one_time_in_twenty_and_many_win_more(rng: np.random.Generator) -> None:
    """Also where a difference was planted: shuffled names leave only luck."""
    for gain in (0.0, 0.3):
        asked = decisions_of(rng, 8, gain), ["LinfPGD"], ["V1", "TO"], ["none", "random"]
        once, often = metrics.luck(*asked, 1), metrics.luck(*asked, 4)
        assert 0.02 <= once <= 0.09
        assert once < often < 0.25
    with pytest.raises(InputError, match="without a look"):
        metrics.luck(*asked, 0)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def played(monkeypatch: pytest.MonkeyPatch, decisions: pd.DataFrame) -> widgets.ForkingGame:
    """A game on networks that are handed in place of a study's."""
    found = decisions.groupby(["condition", "seed"], as_index=False).size().rename(columns={"condition": "roi"})
    monkeypatch.setattr(forking_game, "open_study", lambda _: SimpleNamespace(hierarchy=("V1", "V4", "TO")))
    monkeypatch.setattr(forking_game.folders, "collect", lambda *_: found)
    monkeypatch.setattr(forking_game.several, "chosen", lambda found, *_, **__: found)
    monkeypatch.setattr(forking_game.several, "tables", lambda *_: decisions)
    return widgets.ForkingGame("shapes", 0.9)


def test_the_game_tells_what_a_win_is_worth(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    game = played(monkeypatch, decisions_of(rng, 6, gain=0.4))
    game.chosen.set(condition="V1", control="random")
    assert game.look() == game.look() == "Look 1: no p below .05. Choose again.", "a look is counted once"
    game.chosen.set(condition="TO")
    assert game.look().startswith("You win after 2 looks: p = 0.0")
    assert "for all 8 there were" in game.words.value


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_are_no_game(seeds: int, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    assert "3 seeds" in played(monkeypatch, decisions_of(rng, seeds)).children[0].value


# --- a vote -------------------------------------------------------------------------------------------------


def test_a_vote_is_between_two_options_or_more() -> None:
    with pytest.raises(InputError, match="nothing to choose from"):
        Ballot("?", ["one", "one", " one", "", "  "])


def test_a_port_that_is_taken_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        assert main(["vote", "?", "yes", "no", "--port", str(other.getsockname()[1])]) == 1
    assert "--port 8899" in capsys.readouterr().err


ODD = [" around ", "two  blanks", "a\nline", "<b>&amp;", "🧠", "1", "__proto__", "x" * 2000, *map(str, range(2, 40))]
UNCHOSEN = {" ".join(option.split()): 0 for option in ODD}


class TestVote(AsyncHTTPTestCase):
    """From first to last over HTTP, as phones and the lectern do."""

    def get_app(self) -> object:
        self.ballot = Ballot("Is </script> there a rise?", ["yes", "no", *ODD])
        return application(self.ballot, "lectern")

    def vote(self, option: str, cookie: str = "") -> int:
        body = urlencode({"option": option})
        return self.fetch("/vote", method="POST", body=body, headers={"Cookie": cookie}).code

    def test_each_browser_has_one_vote_and_may_change_it(self) -> None:
        for number, options in enumerate((["yes", "no"], ["yes"], ["no"])):
            for option in options:
                assert self.vote(option, f"voter=phone{number}") == 200
        assert json.loads(self.fetch("/lectern/count").body) == {"count": {"yes": 1, "no": 2, **UNCHOSEN}}

    def test_what_the_page_offers_can_be_chosen(self) -> None:
        page = self.fetch("/").body.decode()
        offered = json.loads(page.partition("const told = ")[2].partition(";\n")[0])["options"]
        assert len(offered) == 2 + len(ODD)
        for number, option in enumerate(offered):
            assert self.vote(option, f"voter=phone{number}") == 200
        assert set(self.ballot.count().values()) == {1}

    def test_what_is_no_vote_is_not_counted(self) -> None:
        assert self.vote("yes") == 400, "the page was not opened"
        assert self.vote("maybe", "voter=a") == 400
        assert self.ballot.count() == {"yes": 0, "no": 0, **UNCHOSEN}

    def test_the_room_sees_no_count_and_every_browser_gets_a_name(self) -> None:
        page = self.fetch("/")
        assert page.headers["Set-Cookie"].startswith("voter=")
        assert b"Is \\u003c/script> there a rise?" in page.body
        assert [self.fetch(path).code for path in ("/count", "/other/count", "/../cli.py")] == [404, 404, 404]
