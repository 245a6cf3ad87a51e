"""Pages that are made of what there is: the notebooks, the gallery of their figures, the explorers."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

from nbtools.site.outputs import Figure
from nbtools.site.shown import Shown


def notebooks_page(pages: Sequence[Shown]) -> str:
    """List all notebooks, with what each asks, and whether it is shown with a run's outputs."""
    rows = "\n".join(f"| [{page.title}]({page.name}.ipynb){_state(page)} | {page.question} |" for page in pages)
    listed = "\n".join(page.name for page in pages)
    return (
        "# Notebooks\n\nOne question each. What is shown here is a finished run of this site's study; "
        "in a copy of your own, every cell can be changed and run again.\n\n"
        f"| notebook | question |\n|---|---|\n{rows}\n\n```{{toctree}}\n:hidden:\n\n{listed}\n```\n"
    )


def _state(page: Shown) -> str:
    return "" if page.run else "<br>*without outputs*"


def gallery_page(figures: Iterable[Figure], pages: Sequence[Shown]) -> str:
    """Show every figure of every notebook, small; a click leads to its place."""
    titles = {page.name: page.title for page in pages}
    parts = groupby(figures, key=lambda figure: figure.notebook)
    shown = "".join(f"## {titles[name]}\n\n{_cards(group)}\n\n" for name, group in parts)
    return (
        "# Gallery\n\nEvery figure that this site's notebooks drew, from their finished runs. "
        "Each leads to its place, where it can be zoomed, pointed at and saved as SVG.\n\n"
        + (shown or "*No notebook of this study has been run yet.*\n")
    )


def _cards(figures: Iterable[Figure]) -> str:
    cards = "".join(
        f'<a class="card-link" href="notebooks/{figure.notebook}.html#{figure.place}">'
        f"{figure.markup(still=True)}<span>{html.escape(figure.title)}</span></a>\n"
        for figure in figures
    )
    return f'<div class="gallery">\n{cards}</div>'


def explorers_page(folder: Path) -> str:
    """Say what the explorers are and how they open; where there are static pages of them, lead to these.

    Parameters
    ----------
    folder : Path
        Of static pages (html), beside the site's own; may not exist.
    """
    static = sorted(folder.glob("*.html"))
    named = [(page.name, html.escape(_page_title(page))) for page in static]
    links = "\n".join(f'<li><a href="explorers/{name}">{title}</a></li>' for name, title in named)
    opened = f"## Here, without Python\n\n<ul>\n{links}\n</ul>\n\n" if static else ""
    return _EXPLORERS.replace("STATIC", opened)


def _page_title(page: Path) -> str:
    found = re.search(r"<title>(.*?)</title>", page.read_text(encoding="utf-8"), re.DOTALL)
    return html.unescape(found[1]).strip() if found else page.stem


_EXPLORERS = """# Explorers

Pictures of a study that move under the hand: what an attack does to one image as ε grows, where a voxel lies and what
drives it, how a region and a network lay images out, and which runs there are.

STATIC## With your own networks

```sh
make lab                                       # in JupyterLab: notebooks 05, 14 and 15
make explore                                   # the attack explorer as an app, for this machine alone
make explore EXPLORER=14_brain_and_geometry    # or 15_study_explorer
```

:::{figure} docs/attack_explorer.png
:alt: The attack explorer: an image beside its attacked copies for two networks, with ε on a slider

The attack explorer of [notebook 05](notebooks/05_attack_explorer.ipynb): one image, two networks, ε on a slider.
:::

:::{figure} docs/brain_view.png
:alt: The brain view: a map of voxels, the responses of the chosen one and the images that drive it most

The brain view of [notebook 14](notebooks/14_brain_and_geometry.ipynb): voxels, their responses, what drives them.
:::

:::{figure} docs/geometry_explorer.png
:alt: The geometry explorer: the RDMs of two spaces side by side, and maps of the images in each

The geometry explorer of [notebook 14](notebooks/14_brain_and_geometry.ipynb): two spaces, of regions or networks.
:::

:::{figure} docs/study_explorer.png
:alt: The study explorer: a table of finished runs and the robustness of the networks that are chosen

The study explorer of [notebook 15](notebooks/15_study_explorer.ipynb): every run, and networks at one setting.
:::
"""
