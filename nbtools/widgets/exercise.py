"""Exercises: commit an answer or a guess, hear whether it is right, get hints by degrees; a file keeps every commit."""

from __future__ import annotations

from collections.abc import Sequence

import anywidget
import traitlets

from nbtools.errors import InputError
from nbtools.widgets.parts import script, styles
from nbtools.workflow.answers import Right, keep_answer

UNANSWERED = "With these parameters there is nothing here to answer."
GUESSED = "Kept. Run the cells below, or run them again: your guess is drawn into the figure."


class Exercise(anywidget.AnyWidget):
    """A question, a place for its answer, and *Commit*.

    With `right` it is an exercise: a wrong answer gets the next hint, and never the solution. Without, it is a guess
    before the result is seen, which `plots.with_guess` draws into a figure.

    Parameters
    ----------
    name : str
        Notebook and number, ``"04-1"``: the name in the file of answers.
    question : str
    right : callable, optional
        `workflow.word` or `workflow.number` of what is right.
    hints : sequence of str
        The first is for the first wrong answer.
    praise : str
        What to say to a right answer.
    options : sequence of str
        Words to choose from; without them (and without `at`) there is a field to write in.
    at : sequence of str
        Names of places on a horizontal axis: the answer is a curve over them, sketched between `low` and `high`.

    Attributes
    ----------
    value : str, list of float or None
        What was last committed.
    said : str
        What was said to it.
    """

    _esm = script("elements", "exercise")
    _css = styles("exercise")
    question = traitlets.Unicode().tag(sync=True)
    options = traitlets.List(traitlets.Unicode()).tag(sync=True)
    at = traitlets.List(traitlets.Unicode()).tag(sync=True)
    bounds = traitlets.List(traitlets.Float()).tag(sync=True)
    value = traitlets.Any(None, allow_none=True).tag(sync=True)
    said = traitlets.Unicode().tag(sync=True)
    state = traitlets.Unicode("open").tag(sync=True)

    def __init__(
        self,
        name: str,
        question: str,
        right: Right | None = None,
        hints: Sequence[str] = (),
        praise: str = "",
        *,
        options: Sequence[str] = (),
        at: Sequence[str] = (),
        low: float = 0.0,
        high: float = 1.0,
    ):
        super().__init__(question=question, options=list(options), at=list(at), bounds=[float(low), float(high)])
        self.name, self._right, self._hints, self._praise = name, right, list(hints), praise
        self._wrong = 0
        self.on_msg(lambda _, content, __: self.commit(content["answer"]))

    def commit(self, answer: str | float | Sequence[float]) -> str:
        """Answer, as the button does; return what is said to it."""
        self.value = [float(each) for each in answer] if self.at else str(answer)  # type: ignore[union-attr]
        right, self.state, self.said = self._judged(answer)
        try:
            keep_answer(self.name, self.value, right)
        except InputError as error:  # whoever answers shall hear what was said to it all the same
            self.said += f" (This answer could not be kept. {error})"
        self.send({})  # behind what has changed: the page shows it
        return self.said

    def _judged(self, answer: object) -> tuple[bool | None, str, str]:
        """Return whether an answer is right, in what state the exercise is then, and what to say."""
        if self._right is None:
            return None, "kept", GUESSED
        try:
            right = self._right(answer)
        except (InputError, ValueError, LookupError):  # such as the highest of no rows
            return None, "wrong", UNANSWERED
        if right is None:
            return None, "wrong", f"{answer!r} is not a number."
        return (True, "right", self._praised()) if right else (False, "wrong", self._hinted())

    def _praised(self) -> str:
        return ": ".join(filter(None, ["Right", self._praise]))

    def _hinted(self) -> str:
        """Say the next hint; after the last one there is only that."""
        hint = self._hints[min(self._wrong, len(self._hints) - 1)] if self._hints else ""
        self._wrong += 1
        return ": ".join(filter(None, ["Not yet", hint]))
