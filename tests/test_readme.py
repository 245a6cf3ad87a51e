"""Pages for readers: README in two screens; every command that a page shows can be given, every link leads on."""

from __future__ import annotations

import re
import shlex

import pytest

from nbtools.cli import _parser
from nbtools.runs.folders import PROJECT

PAGES = ["README.md", "data/README.md", "CONTRIBUTING.md", *sorted(f"docs/{f.name}" for f in PROJECT.glob("docs/*.md"))]
CALLED = re.compile(r"(?:python(?:3)? -m )?\bnbtools (?=[a-z])")
LINK = re.compile(r"\]\(([^)#\s]+)|(?:src|href)=\"([^\"#]+)\"")


def text_of(page: str) -> str:
    return (PROJECT / page).read_text(encoding="utf-8")


def commands(page: str) -> list[str]:
    """Lines of the page's blocks that call nbtools, whole again where a backslash ends a line."""
    fences = re.findall(r"^ *```(\w*)\n(.*?)^ *```", text_of(page), re.DOTALL | re.MULTILINE)
    blocks = [text for language, text in fences if language in ("", "sh", "bash")]
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if re.search(r"(-m nbtools|^\s*nbtools|bin/nbtools) [a-z]", line)]


def words_of(line: str) -> list[str]:
    """What the command line is given: behind nbtools, up to a comment, a pipe or the end of a loop's step."""
    words = shlex.split(re.split(r"nbtools ", line, maxsplit=1)[1], comments=True)
    ends = [place for place, word in enumerate(words) if word in {"|", ">", "&&", "done"} or word.endswith(";")]
    return [word.rstrip(";") for word in words[: ends[0] + words[ends[0]].endswith(";") if ends else len(words)]]


def test_readme_is_two_screens() -> None:
    text = text_of("README.md")
    assert len(text.splitlines()) <= 80
    assert len(text) <= 6_500


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_understood(page: str) -> None:
    """A renamed option leaves no page behind; the parser is asked, nothing is run."""
    for line in commands(page):
        if "…" in line:
            continue
        _parser().parse_args(words_of(line))


def test_commands_are_found() -> None:
    assert sum(len(commands(page)) for page in PAGES) > 40


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    here = (PROJECT / page).parent
    for found in LINK.findall(text_of(page)):
        to = next(filter(None, found))
        if not re.match(r"[a-z]+:", to):
            assert (here / to).exists(), to
            assert (here / to).resolve().is_relative_to(PROJECT.resolve()), to
