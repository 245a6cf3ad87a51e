"""What an exercise of a notebook says to an answer: that it is right, or a hint; never a traceback."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def check_word(answer: object, right: str | Collection[str], hint: str, praise: str = "") -> None:
    """Print whether an answer is the word asked for, in small or capital letters.

    Parameters
    ----------
    answer : object
        What a student wrote.
    right : str or collection of str
        The word, or several that are equally right.
    hint, praise : str
        What to say to a wrong and to a right answer.
    """
    words = [right] if isinstance(right, str) else right
    _say(str(answer).strip().casefold() in [word.casefold() for word in words], hint, praise)


def check_number(
    answer: object, low: float, high: float, hint: str, praise: str = "", units: Sequence[float] = (1,)
) -> None:
    """Print whether an answer is the number asked for; ``"42.9 %"``, ``"5.7/255"`` and ``"0,65"`` are numbers too.

    Parameters
    ----------
    answer : object
        What a student wrote.
    low, high : float
        The bounds of what is right: an answer that was read off a figure is near.
    hint, praise : str
        What to say to a wrong and to a right answer.
    units : sequence of float
        Units an answer may be in, in units of the bounds: ``(1, 100)`` takes a share for per cent.
    """
    text = str(answer).strip().removesuffix("%").removesuffix("/255").replace(",", ".")
    try:
        value = float(text)
    except ValueError:
        _say(False, f"{answer!r} is not a number. {hint}", praise)
    else:
        _say(any(low <= value * unit <= high for unit in units), hint, praise)


def _say(right: bool, hint: str, praise: str) -> None:
    print(": ".join(filter(None, ["right", praise])) if right else f"not yet: {hint}")
