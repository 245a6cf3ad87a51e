"""The study as a script: the docs/script.md's own, and the two calls it is made of against the notebooks' steps."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor

from nbtools.conditions import parse_condition
from nbtools.data import (
    ImageSet,
    RoiResponses,
    fit_basis,
    load_folder,
    load_responses,
    load_stimuli,
    open_study,
    project,
    split_images,
    split_rows,
)
from nbtools.errors import InputError
from nbtools.models import GuidedNet, RoiPredictor, build
from nbtools.models.networks import load_model, save_model
from nbtools.runs.provenance import PROJECT
from nbtools.training import TrainConfig, fit_predictor, make_guide, train_guided, train_network, train_predictor

CONFIG = TrainConfig(epochs=1, batch_size=64, lr=2e-3, seed=3)


@pytest.fixture(scope="module")
def region(tiny_study: Path) -> tuple[ImageSet, RoiResponses]:
    study = open_study(tiny_study)
    responses = load_responses(study, "TO")
    return load_stimuli(study.stimuli, responses.image_ids, study.image_size), responses


@pytest.fixture(scope="module")
def predictor(region: tuple[ImageSet, RoiResponses]) -> RoiPredictor:
    return train_predictor(*region, CONFIG)[0]


@pytest.fixture(scope="module")
def pictures(tiny_study: Path) -> ImageSet:
    study = open_study(tiny_study)
    return load_folder(study.need("classification") / "train", study.image_size)


def same_bits(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    pairs: list[tuple[Tensor, Tensor]] = list(zip(a.state_dict().values(), b.state_dict().values(), strict=True))
    return all(torch.equal(one, other) for one, other in pairs)


def test_a_predictor_is_trained_by_the_steps_of_notebook_02(
    region: tuple[ImageSet, RoiResponses], predictor: RoiPredictor
) -> None:
    images, responses = region
    splits = split_images(responses)
    basis = fit_basis(responses.responses[splits["train"]], 0.95)
    scores = torch.from_numpy(project(basis, responses.responses)).float()
    model = build(RoiPredictor, 3, "small_resnet", *basis.components.shape)
    model.components.copy_(torch.from_numpy(basis.components))
    fit_predictor(model, images, scores, splits, CONFIG)
    assert same_bits(model, predictor)


@pytest.mark.slow
@pytest.mark.parametrize("condition", ["none", "TO", "TO-shuffle", "random", "ce-weight", "decay-0.01"])
def test_a_network_is_trained_by_the_steps_of_notebook_03(
    pictures: ImageSet, predictor: RoiPredictor, condition: str
) -> None:
    chosen, guide = parse_condition(condition), None
    if chosen.parts:
        of = build(RoiPredictor, 1003, **predictor.config) if condition == "random" else predictor
        guide = make_guide(chosen, of, pictures, "global", 3)
    model = build(GuidedNet, 3, "small_resnet", pictures.classes, guide.n_components[0] if guide else 0)
    config = TrainConfig(epochs=1, batch_size=64, lr=2e-3, seed=3, weight_decay=chosen.weight_decay)
    weight = 0.9 if chosen.weighted else 0.0
    history = train_guided(model, pictures, guide, weight, split_rows(len(pictures), 0.12), config)
    network, told = train_network(pictures, condition, predictor, CONFIG)
    assert same_bits(model, network)
    pd.testing.assert_frame_equal(told.drop(columns="seconds"), history.drop(columns="seconds"))


@pytest.mark.parametrize(("condition", "words"), [("V1", "train its predictor first"), ("labels", "run notebook 03")])
def test_what_cannot_be_trained_says_what_to_do(pictures: ImageSet, condition: str, words: str) -> None:
    with pytest.raises(InputError, match=f"cannot be trained[\\s\\S]*{words}"):
        train_network(pictures, condition, None, CONFIG)


@pytest.mark.parametrize("typed", ["TO-AT-4", "TO-fast4", "TO-lowpas-8", "none_at_4", "NONE", "none-pgd-4", "V1"])
def test_a_mistyped_condition_trains_no_other_network(
    pictures: ImageSet, predictor: RoiPredictor, typed: str, tmp_path: Path
) -> None:
    save_model(predictor, tmp_path)
    for of in (predictor, load_model(tmp_path)):
        with pytest.raises(InputError, match=r"unknown condition|guided by other regions than these predictors are of"):
            train_network(pictures, typed, of, CONFIG)


def test_images_and_responses_are_of_the_same_ids(region: tuple[ImageSet, RoiResponses]) -> None:
    images, responses = region
    with pytest.raises(InputError, match=r"not of the same images[\s\S]*load them by id"):
        train_predictor(images[torch.arange(len(images)).flip(0).numpy()], responses, CONFIG)


@pytest.mark.slow
def test_a_page_shows_the_study_as_a_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most 40 lines, from at most a dozen names; run as it stands there, but for shorter trainings."""
    blocks = re.findall(r"```python\n(.*?)```", (PROJECT / "docs/script.md").read_text(encoding="utf-8"), re.DOTALL)
    (script,) = [block for block in blocks if "from nbtools import" in block]
    assert len(script.splitlines()) <= 40
    rooms = ("attacks", "data", "metrics", "models", "plots", "training")
    used = [node for node in ast.walk(ast.parse(script)) if isinstance(node, ast.Attribute)]
    assert len({node.attr for node in used if ast.unparse(node.value) in rooms}) <= 12
    monkeypatch.chdir(tmp_path)
    assert script.count("epochs=8") == 2
    assert script.count("steps=20") == 2
    exec(script.replace("epochs=8", "epochs=1").replace("steps=20", "steps=2"), {})
    assert "Plotly.newPlot" in (tmp_path / "curve.html").read_text(encoding="utf-8")
