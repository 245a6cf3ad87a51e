"""Every public figure, by its name, with inputs of the size of a whole study: a figure that is not here fails a test.

    python tests/gallery.py FOLDER [NAME …]

draws them all, or some, at three widths, light and dark, and writes contact sheets to look at: FOLDER/<width>.png.
"""

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Any

import gallery_tables as tables
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from PIL import Image
from plotly.offline import get_plotlyjs

from nbtools import metrics, plots
from nbtools.conditions import BASELINES, CONDITIONS, HIERARCHY
from nbtools.metrics.decisions.lesions import INTACT, LESIONS
from nbtools.plots.geometry.manifolds import PANELS

if TYPE_CHECKING:
    from playwright.sync_api import Page

WIDTHS = {700: 0.45, 1300: 0.6, 1920: 0.65}  # pixels, and the share of them that a plot fills at least
THEMES = ("light", "dark")
BROWSER = next(filter(None, map(which, ("chromium", "chromium-browser", "google-chrome"))), None)
MEASURE = (Path(__file__).parent / "browser/figures.js").read_text(encoding="utf-8")
_STYLE = "body { margin: 0; background: white } @media (prefers-color-scheme: dark) { body { background: #111 } }"
STUDY = "NSD, subject 1, simulated, ε in pixel units"
FIGURES: dict[str, Callable[[str], Any]] = {
    "accuracy_lines": lambda title: plots.accuracy_lines(*tables.lines_and_pairs(), title=title),
    "alpha_ablation": lambda title: plots.alpha_ablation(
        tables.robust(("V1", "V4", "TO-shuffle", "TO"), alpha=(0.1, 0.35, 0.9)), tables.EPSILONS[3], title=title
    ),
    "attack_curves": lambda title: plots.attack_curves(tables.attacked(), title=title),
    "audit_grid": lambda title: plots.audit_grid(tables.audited(), title=title),
    "category_clouds": lambda title: plots.category_clouds(tables.clouds(), title=title),
    "certified_and_attacked": lambda title: plots.certified_and_attacked(
        tables.robust(("none", "V1", "V4", "TO")), tables.robust(("none", "V1", "V4", "TO")), 7 / 255, title=title
    ),
    "certified_curves": lambda title: plots.certified_curves(
        tables.robust(sigma=(0.12, 0.25)), {0.12: 4 / 255, 0.25: 8 / 255}, title=title
    ),
    "class_bias": lambda title: plots.class_bias(
        tables.rows("shape_bias", condition=tables.NAMES[::3], shape=tables.CLASSES), title=title
    ),
    "class_manifolds": lambda title: plots.class_manifolds(*tables.manifold_tables(), title=title),
    "compared_curves": lambda title: plots.compared_curves(
        tables.histories(), ["class_loss", "accuracy", "neural_r"], title=title
    ),
    "consistency_heatmap": lambda title: plots.consistency_heatmap(
        tables.square(tables.NAMES, "a", "b", "kappa"), title=title
    ),
    "corruption_curves": lambda title: plots.corruption_curves(
        tables.rows(
            condition=tables.NAMES, corruption=("gaussian_noise", "defocus_blur", "contrast", "fog"), severity=range(6)
        ),
        title=title,
    ),
    "curvature_by_readout": lambda title: plots.curvature_by_readout(
        tables.rows(
            "value",
            condition=tables.NAMES,
            readout=("pixels", "layer1", "layer2", "layer3", "layer4", "pooled"),
            transformation=("rotation", "scale", "translation"),
            measure=("step angle", "tangent angle"),
        ),
        title=title,
    ),
    "decision_path": lambda title: plots.decision_path(tables.path(), 2.0, title=title),
    "differences": lambda title: plots.differences(
        tables.rows("difference", condition=HIERARCHY, control=BASELINES).assign(p_holm=0.03), title=title
    ),
    "dimensions_by_readout": lambda title: plots.dimensions_by_readout(
        tables.rows(
            "value",
            condition=tables.NAMES,
            readout=("pixels", "layer1", "layer2", "layer3", "layer4", "pooled", "neural", "logits"),
            measure=("participation ratio", "two-NN"),
        ),
        title=title,
    ),
    "doses": lambda title: plots.doses(
        tables.rows(condition=("V1", "V4", "TO"), dose=(0.1, 0.3, 1.0)).assign(r=tables.RNG.random(9)),
        tables.EPSILONS[3],
        title=title,
    ),
    "effective_robustness": lambda title: plots.effective_robustness(
        tables.rows("effective", images=tables.lines_and_pairs()[1]["images"], condition=tables.NAMES).assign(
            p_holm=0.03
        ),
        title=title,
    ),
    "equal_smoothness": lambda title: plots.equal_smoothness(*tables.matched(), title=title),
    "filter_curves": lambda title: plots.filter_curves(
        pd.concat(
            [
                tables.rows(condition=tables.NAMES, passes=("low", "high", "band"), cut=(1.0, 2.0, 4.0, 8.0, 16.0)),
                tables.rows(condition=tables.NAMES, passes=("all",), cut=(np.nan,)),
            ]
        ),
        title=title,
    ),
    "fronts": lambda title: plots.fronts(tables.fronts(), tables.EPSILONS[3], title=title),
    "hierarchy": lambda title: plots.hierarchy(
        tables.robust(), tables.said(), [0.0, *tables.EPSILONS[2:4]], tables.robust(seed=(0, 1, 2)), title=title
    ),
    "image_grid": lambda title: plots.image_grid(
        tables.pictures(14), [f"{name} no. 3" for name in tables.CLASSES * 2][:14], title=title
    ),
    "lesion_accuracies": lambda title: plots.lesion_accuracies(
        tables.lesioned(
            "accuracy", "lesion", (INTACT, *LESIONS, *(c for controls in LESIONS.values() for c in controls))
        ),
        title=title,
    ),
    "lesion_costs": lambda title: plots.lesion_costs(
        tables.lesioned("cost", "control", LESIONS["neural directions"]), title=title
    ),
    "loss_surfaces": lambda title: plots.loss_surfaces(
        {name: tables.loss_table() for name in ("none", "TO")}, title=title
    ),
    "manifolds_and_gain": lambda title: plots.manifolds_and_gain(*tables.gained(), title=title),
    "manifolds_by_condition": lambda title: plots.manifolds_by_condition(
        tables.rows("value", condition=HIERARCHY, space=("measured", "predicted"), measure=tuple(PANELS)), title=title
    ),
    "manifolds_by_readout": lambda title: plots.manifolds_by_readout(
        tables.rows(
            "value",
            condition=tables.NAMES,
            readout=("layer1", "layer2", "layer3", "layer4", "pooled"),
            measure=tuple(PANELS),
        ),
        title=title,
    ),
    "network_region": lambda title: plots.network_region(
        tables.to_regions(), pd.DataFrame({"region": HIERARCHY, "lower": 0.5, "upper": 0.7}), title=title
    ),
    "noise_ceilings": lambda title: plots.noise_ceilings(
        tables.per_voxel(), {"TO": (43.0, 20.4), "V1": (30.0, 10.0)}, title=title
    ),
    "noise_channels": lambda title: plots.noise_channels(*tables.channel_tables(), title=title),
    "perturbations": lambda title: plots.perturbations(
        *2 * [tables.pixels(6)],
        captions=[f"{a} → {b}" for a, b in zip(tables.CLASSES, tables.CLASSES[4:], strict=False)],
        title=title,
    ),
    "predictor_scores": lambda title: plots.predictor_scores(tables.per_image(), title=title),
    "rdm_grid": lambda title: plots.rdm_grid(tables.spaces(), list(tables.CLASSES) * 4, title=title),
    "rdm_map": lambda title: plots.rdm_map(tables.placed(), title=title),
    "rdms_and_maps": lambda title: plots.rdms_and_maps(*tables.maps_of_images(), title=title),
    "region_view": lambda title: plots.region_view(
        tables.slices(), HIERARCHY, "TO", tables.per_voxel(), tables.per_voxel(), tables.per_image(), title=title
    ),
    "regions": lambda title: plots.regions(tables.labelled_volume(), HIERARCHY, title=title),
    "ridge_penalties": lambda title: plots.ridge_penalties(tables.tried(), title=title),
    "rivals": lambda title: plots.rivals(tables.rival_table(), "TO", title=title),
    "robustness_curves": lambda title: plots.robustness_curves(tables.robust(), title=title),
    "score_scatter": lambda title: plots.score_scatter(
        tables.compared(), "shape bias", "accuracy at ε = 4/255", {"shape bias": (0.3, 0.4)}, title=title
    ),
    "scores_by_condition": lambda title: plots.scores_by_condition(
        tables.rows("shape_bias", condition=CONDITIONS),
        "shape_bias",
        "shape bias",
        note=tables.said()[0.0],
        title=title,
    ),
    "shape_and_texture": lambda title: plots.shape_and_texture(
        tables.rows("shape_accuracy", condition=tables.NAMES).assign(shape_accuracy=0.4, texture_accuracy=0.35),
        title=title,
    ),
    "similarity_heatmap": lambda title: plots.similarity_heatmap(tables.similarities(), title=title),
    "smoothness_curves": lambda title: plots.smoothness_curves(tables.smooth(), title=title),
    "spectra": lambda title: plots.spectra(
        tables.rows("share", condition=tables.NAMES, of=("gradient", "attack"), frequency=range(17)),
        metrics.white_spectrum(32),
        title=title,
    ),
    "surface_view": lambda title: plots.surface_view(tables.surface(), title=title),
    "trade_off": lambda title: plots.trade_off(tables.robust(), tables.EPSILONS[2], title=title),
    "training_curves": lambda title: plots.training_curves(tables.history(), title=title),
    "training_factorial": lambda title: plots.training_factorial(
        tables.robust(
            ("none", "TO", "V1", "none-at-2", "none-at-4", "TO-at-4", "V1-at-4", "none-gauss-0.1"), seed=(0, 1, 2)
        ),
        tables.EPSILONS[3],
        metrics.PUBLISHED,
        title=title,
    ),
    "transfer_heatmap": lambda title: plots.transfer_heatmap(
        tables.square(tables.NAMES, "source", "target", "accuracy"), title=title
    ),
    "trends": lambda title: plots.trends(tables.claims(), title=title),
    "visibility_curves": lambda title: plots.visibility_curves(tables.visible(), title=title),
    "voxel_scores": lambda title: plots.voxel_scores(tables.per_voxel(), title=title),
    "with_guess": lambda title: plots.with_guess(
        plots.hierarchy(tables.robust(), tables.said(), tables.EPSILONS[2:4], title=title),
        HIERARCHY,
        [0.2 + 0.05 * place for place in range(len(HIERARCHY))],
        row=2,
    ),
}


def page(names: Iterable[str] = FIGURES) -> str:
    """Return one page of these figures, each with a title as notebooks write it, at whatever width the window has."""
    titles = {name: f"{name.replace('_', ' ').capitalize()} at ε = 4/255 ({STUDY})" for name in names}
    body = "".join(f'<div data-name="{name}">{shown(FIGURES[name](title))}</div>' for name, title in titles.items())
    head = f'<meta charset="utf-8"><style>{_STYLE}</style><script>{get_plotlyjs()}</script>'
    return f"<!doctype html><html><head>{head}</head><body>{body}</body></html>"


def shown(figure: Any) -> str:
    if isinstance(figure, go.Figure):
        return figure.to_html(full_html=False, include_plotlyjs=False)
    figure.savefig(picture := io.BytesIO(), format="png")
    return f'<img style="max-width: 100%" src="data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()}">'


@contextmanager
def opened(file: Path) -> Iterator[tuple[Page, list[str]]]:
    """Open a page in a browser; yield it, and a list that gets the errors of its console."""
    from playwright.sync_api import sync_playwright

    errors: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        view = browser.new_page()
        view.set_default_timeout(300_000)
        view.on("pageerror", lambda error: errors.append(str(error)))
        view.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        view.goto(file.as_uri())
        yield view, errors
        browser.close()


def measured(view: Page, width: int, theme: Any) -> list[str]:
    """Return what does not fit at a width (pixels) and in a theme, once the figures have settled there."""
    view.emulate_media(color_scheme=theme)
    view.set_viewport_size({"width": width, "height": 900})
    view.wait_for_function(
        """() => [...document.querySelectorAll(".js-plotly-plot")].every(
            ({ _fullLayout: { width }, clientWidth }) => Math.abs(width - clientWidth) < 2)"""
    )
    before, now = None, view.evaluate(MEASURE, WIDTHS[width])
    while before != now:  # they are drawn anew one after the other
        view.wait_for_timeout(400)
        before, now = now, view.evaluate(MEASURE, WIDTHS[width])
    return now


def sheet(view: Page, file: Path) -> None:
    """Write all figures of a page into one picture, in columns."""
    shots = [Image.open(io.BytesIO(place.screenshot())) for place in view.locator("[data-name]").all()]
    columns = 4 if shots[0].width < 1000 else 2
    rows = [shots[i : i + columns] for i in range(0, len(shots), columns)]
    size = columns * (shots[0].width + 10), sum(max(shot.height for shot in row) + 10 for row in rows)
    whole, top = Image.new("RGB", size, "#888"), 0
    for row in rows:
        for i, shot in enumerate(row):
            whole.paste(shot, (i * (shot.width + 10), top))
        top += max(shot.height for shot in row) + 10
    whole.save(file)


def main(folder: Path, *names: str) -> None:
    """Write the page and its contact sheets, and print what does not fit."""
    folder.mkdir(parents=True, exist_ok=True)
    (file := folder.resolve() / "gallery.html").write_text(page(names or FIGURES), encoding="utf-8")
    with opened(file) as (view, errors):
        for width in WIDTHS:
            for theme in THEMES:
                print(f"{width} px, {theme}", *measured(view, width, theme), sep="\n  ")
            sheet(view, folder / f"{width}.png")
        print("console:", *errors)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
