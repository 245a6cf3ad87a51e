"""Teaching on the command line: an explorer for a room, votes, students' copies and answers."""

from __future__ import annotations

import argparse
from pathlib import Path

from nbtools import workflow
from nbtools.cli.parser import PARAMETER, add
from nbtools.cli.runs import notebook_name


def add_teaching(commands: argparse._SubParsersAction) -> None:
    """Add the commands ``explore``, ``vote``, ``answers`` and ``student``."""
    explore = add(commands, "explore", _explore, "serve a notebook's explorer as an app, for this machine only")
    explore.add_argument("notebook", nargs="?", default="05_attack_explorer", help="(default: 05_attack_explorer)")
    explore.add_argument("-p", **PARAMETER)
    explore.add_argument("--port", type=int, default=8866)
    explore.add_argument("--no-browser", action="store_true", help="only print the address")

    ask = add(commands, "vote", _vote, "let a room vote: phones choose on a page, the lectern's page counts")
    ask.add_argument("question")
    ask.add_argument("options", nargs="+", help="two or more")
    ask.add_argument("--port", type=int, default=8867)
    ask.add_argument("--room", action="store_true", help="let other machines of the network vote (default: this alone)")

    answers = add(commands, "answers", _answers, "put students' answers to the exercises into one table (CSV)")
    answers.add_argument("files", type=Path, nargs="+", help="each student's answers.jsonl, under a name of its own")

    student = add(commands, "student", _student, "copy the notebooks for students: without the instructor's answers")
    student.add_argument("folder", help="a new or empty folder, anywhere")


def _explore(chosen: argparse.Namespace) -> int:
    from nbtools.widgets.serve import serve

    return serve(notebook_name(chosen.notebook), chosen.port, dict(chosen.p), open_browser=not chosen.no_browser)


def _vote(chosen: argparse.Namespace) -> None:
    from nbtools.widgets.vote import Ballot, hold_vote

    hold_vote(Ballot(chosen.question, chosen.options), chosen.port, room=chosen.room)


def _answers(chosen: argparse.Namespace) -> None:
    print(workflow.as_csv(workflow.pool_answers(chosen.files)), end="")


def _student(chosen: argparse.Namespace) -> None:
    copies = workflow.student_copies(Path(chosen.folder))
    print(f"{len(copies)} notebooks without answers: {copies[0].parent}")
