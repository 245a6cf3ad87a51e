"""All public figures in a real browser, at three widths, light and dark: no word is cut, none lies on another."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import gallery
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from nbtools import plots

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Page, list[str]]]:
    if gallery.BROWSER is None:
        pytest.skip("needs chromium or google-chrome on the PATH")
    file = tmp_path_factory.mktemp("gallery") / "gallery.html"
    file.write_text(gallery.page(), encoding="utf-8")
    with gallery.opened(file) as opened:
        yield opened


def test_every_public_figure_is_in_the_gallery() -> None:
    returns = {name: inspect.signature(function).return_annotation for name, function in public().items()}
    assert sorted(gallery.FIGURES) == sorted(name for name, kind in returns.items() if "Figure" in str(kind))


def public() -> dict[str, object]:
    return {name: getattr(plots, name) for name in plots.__all__}


@pytest.mark.parametrize("theme", gallery.THEMES)
@pytest.mark.parametrize("width", gallery.WIDTHS)
def test_figures_fit(seen: tuple[Page, list[str]], width: int, theme: str) -> None:
    view, errors = seen
    assert gallery.measured(view, width, theme) == []
    assert errors == []


def test_what_does_not_fit_is_found(seen: tuple[Page, list[str]], tmp_path: Path) -> None:
    """The measure itself: a figure of fixed width, with a title too long for it, words on words, a legend on data."""
    file = tmp_path / "bad.html"
    bad = gallery.go.Figure(gallery.go.Scatter(y=[1, 2], name="a", showlegend=True), {"width": 600, "height": 400})
    bad.update_layout(title_text="a title that is far too long " * 4, legend={"x": 0.5, "y": 0.5})
    for text in ("one", "two"):
        bad.add_annotation(text=text, x=0.2, y=1.5, showarrow=False, font_color="#cccccc")
    file.write_text(gallery.page([]).replace("<body>", f'<body><div data-name="bad">{gallery.shown(bad)}</div>'))
    view = seen[0].context.browser.new_page()
    view.goto(file.as_uri())
    found = " ".join(gallery.measured(view, 1300, "light"))
    view.close()
    for words in ("is cut", "overlap", "fills", "lies over data", "is too pale"):
        assert words in found


def test_the_words_of_a_matplotlib_figure_are_inside() -> None:
    figure = gallery.FIGURES["regions"]("Regions")
    FigureCanvasAgg(figure).draw()
    for text in filter(Text.get_text, figure.findobj(Text)):
        box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width
