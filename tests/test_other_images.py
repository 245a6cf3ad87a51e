"""Other statistics, other categories, other people's folders: what is read, drawn and decided is what was planted."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nbtools import attacks, data
from nbtools.data.images.ilsvrc import ILSVRC
from nbtools.data.images.others import load_categories, load_other_images, name_sets
from nbtools.data.images.sets import ImageSet, load_folder
from nbtools.data.images.statistics import CUT, other_statistics
from nbtools.data.study import as_toml, open_study
from nbtools.errors import InputError
from nbtools.models.networks import GuidedNet, build, freeze, save_model
from nbtools.models.read_outs import predict, read_out
from nbtools.probes.others import decide_others
from nbtools.runs import folders
from nbtools.training.heads import fit_head


@pytest.fixture(scope="module")
def study(tiny_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what other images are made from, with these beside it."""
    folder = tmp_path_factory.mktemp("others") / "tiny"
    for name in ("classification", "corruptions", "truth"):
        shutil.copytree(tiny_study.parent / name, folder / name)
    for name in ("settings.json", "study.toml"):
        shutil.copy(tiny_study.parent / name, folder / name)
    data.draw_others(open_study(folder / "study.toml"))
    return folder / "study.toml"


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file() and "others" not in path.relative_to(folder).parts]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# --- other statistics ---------------------------------------------------------------------------------------


def one(pixels: np.ndarray) -> ImageSet:
    """A set of one image (height, width), grey."""
    grey = torch.from_numpy(pixels.round().astype(np.uint8))[None, None].repeat(1, 3, 1, 1)
    return ImageSet(grey, torch.tensor([0]), np.array(["a/1.png"]), ("a", "b"))


@pytest.mark.parametrize(("octaves", "gains"), [(-2, (1, 0, 0)), (2, (0, 1, 0)), (0, (0.5, 0.5, 0.88))])
def test_a_grating_passes_its_own_filter_alone(octaves: int, gains: tuple[float, ...]) -> None:
    side, cycles = 64, CUT * 64 * 2.0**octaves
    wave = 40 * np.sin(2 * np.pi * (np.arange(side) + 0.25) * cycles / side)
    made = other_statistics(one(128 + wave[None].repeat(side, 0)))
    for kind, gain in zip(("low pass", "high pass", "band pass"), gains, strict=True):
        left = made[kind].pixels.double()
        assert left.std() / wave.std() == pytest.approx(gain, abs=0.03)
        assert left.mean() == pytest.approx(128, abs=0.5)


def test_a_line_drawing_is_the_outline() -> None:
    square = np.full((64, 64), 90.0)
    square[20:44, 20:44] = 170
    drawn = other_statistics(one(square))["line drawing"]
    assert set(drawn.pixels.unique().tolist()) == {0, 255}
    rows, columns = np.nonzero(drawn.pixels[0, 0].numpy() == 0)
    from_edge = np.maximum(np.abs(rows - 31.5), np.abs(columns - 31.5)) - 12
    assert np.abs(from_edge).max() < 2
    assert len(rows) == pytest.approx(4 * 24, rel=0.15)
    assert (drawn.ids, drawn.labels) == (one(square).ids, torch.tensor([0]))


# --- folders ------------------------------------------------------------------------------------------------


def folder_of(root: Path, names: tuple[str, ...]) -> Path:
    """Image i of class k tells both."""
    for k, name in enumerate(names):
        for i in range(2):
            file = root / name / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 40), (20 * k, 100 * i, 0)).save(file)
    return root


CLASSES = (ILSVRC[9], ILSVRC[2], "zebra", ILSVRC[5])


@pytest.mark.parametrize(
    ("names", "labels", "folders_left"),
    [
        ((ILSVRC[2], ILSVRC[7], ILSVRC[9]), {0: (2,), 1: (0,)}, [ILSVRC[7]]),  # as ImageNet-R and -Sketch
        (("2", "340", "7", "9"), {0: (3,), 1: (0,), 2: (1,)}, ["7"]),  # as ImageNet-V2; zebra is ImageNet's number 340
    ],
)
def test_folders_are_mapped_to_the_studys_classes(
    tmp_path: Path, names: tuple[str, ...], labels: dict[int, tuple[int, ...]], folders_left: list[str]
) -> None:
    images, left_out = load_other_images(folder_of(tmp_path, names), 32, CLASSES)
    assert images.classes == CLASSES
    assert left_out["folders"] == folders_left
    assert left_out["classes"] == [name for label, name in enumerate(CLASSES) if label not in labels]
    for label, places in labels.items():
        mine = images.pixels[images.labels == label].float().mean((2, 3))
        assert mine[:, :2].tolist() == [[20 * k, 100 * i] for k in places for i in range(2)]


def test_malformed_folders_are_refused(tmp_path: Path) -> None:
    for names in ((), ("ant", "bee"), ("imagenet-r",)):
        with pytest.raises(InputError, match="no images of the study's classes"):
            load_other_images(folder_of(tmp_path / str(len(names)), names), 32, CLASSES)
    broken = folder_of(tmp_path / "broken", (ILSVRC[2],))
    (broken / ILSVRC[9]).mkdir()
    with pytest.raises(InputError, match=f"no image in {ILSVRC[9]}"):
        load_other_images(broken, 32, CLASSES)
    (broken / ILSVRC[9] / "1.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"1\.png"):
        load_other_images(broken, 32, CLASSES)


def test_classes_that_are_digits_are_no_numbers_of_imagenets(tmp_path: Path) -> None:
    images, left_out = load_other_images(folder_of(tmp_path, ("3", "7", "12")), 32, ("1", "3", "7"))
    assert sorted(images.labels.tolist()) == [1, 1, 2, 2]
    assert left_out == {"folders": ["12"], "classes": ["1"]}


def test_sets_of_one_name_are_told_apart(tmp_path: Path) -> None:
    folders_ = [tmp_path / name for name in ("a/photos", "b/photos", "c/clean", "sketch", "a/photos", "x/a/photos")]
    named = name_sets(folders_, ["clean", "drawing"])
    top = tmp_path.name
    assert list(named) == [f"{top}/a/photos", "b/photos", "c/clean", "sketch", "x/a/photos"]
    assert list(named.values()) == list(dict.fromkeys(folders_))


def test_categories_must_be_new(tmp_path: Path) -> None:
    for split in ("train", "val"):
        folder_of(tmp_path / split, ("ant", ILSVRC[2]))
    with pytest.raises(InputError, match=r"nothing is left to test on(.|\n)*all of them"):
        load_categories(tmp_path, 32, ("bee",))
    Image.new("RGB", (40, 40), (0, 0, 90)).save(tmp_path / "val/ant/0.png")
    with pytest.raises(InputError, match=ILSVRC[2]):
        load_categories(tmp_path, 32, CLASSES)
    assert load_categories(tmp_path, 32, ("bee",))["val"].classes == ("ant", ILSVRC[2])


# --- the simulated world ------------------------------------------------------------------------------------


def test_other_images_are_drawn_beside_the_study(study: Path, tiny_study: Path) -> None:
    original, copied = digests(tiny_study.parent), digests(study.parent)
    drawn_too = {"truth/others/categories.parquet"}
    assert {name: original[name] for name in copied.keys() - drawn_too if name in original} == {
        name: copied[name] for name in copied.keys() - drawn_too if name in original
    }
    assert copied.keys() <= original.keys() | drawn_too


def test_a_silhouette_is_the_object_of_its_image(study: Path) -> None:
    source = open_study(study)
    clean = load_folder(source.need("classification") / "val", 32)
    black, left_out = load_other_images(study.parent / "others/silhouettes", 32, clean.classes)
    assert list(black.ids) == list(clean.ids)
    assert torch.equal(black.labels, clean.labels)
    assert left_out == {"folders": [], "classes": []}
    inside, outside = black.pixels[:, 0] == 0, black.pixels[:, 0] == 255
    assert ((inside.sum((1, 2)) > 40) & (outside.sum((1, 2)) > 300)).all()
    # what is inside differs from what is outside by the contrast that is planted, 0.18 or more
    grey = clean.pixels.float().mean(1) / 255
    apart = [abs(x[a].mean() - x[b].mean()) for x, a, b in zip(grey, inside, outside, strict=True)]
    assert np.mean(np.array(apart) > 0.12) > 0.9


def test_further_categories_are_none_of_the_studys(study: Path) -> None:
    source = open_study(study)
    known = load_folder(source.need("classification") / "val", 32).classes
    new = load_categories(study.parent / "others/categories", 32, known)
    assert new["train"].classes == new["val"].classes
    assert not set(new["val"].classes) & set(known)
    assert [len(new[split]) for split in ("train", "val")] == [6 * 50, 6 * 10]
    first = new["train"].pixels.flatten(1).float()
    assert torch.cdist(first, new["val"].pixels.flatten(1).float()).min() > 100


def test_nobody_draws_for_photographs(study: Path, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(study.read_text().replace("simulated = true", "simulated = false"))
    with pytest.raises(InputError, match="nobody knows"):
        data.draw_others(open_study(tmp_path / "study.toml"))


# --- networks -----------------------------------------------------------------------------------------------


def test_a_new_head_is_logistic_regression_on_the_read_out(study: Path) -> None:
    new = load_categories(study.parent / "others/categories", 32, ())
    trunk = freeze(build(GuidedNet, 0, "small_resnet", ("a", "b"), 3))
    before = {name: value.clone() for name, value in trunk.state_dict().items()}
    head = fit_head(trunk, new["train"])
    fit, test = (read_out(trunk, new[split].pixels, ["pooled"])["pooled"].double().numpy() for split in new)
    reference = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(fit, new["train"].labels)
    p = predict(head, new["val"].pixels).softmax(1).numpy()
    np.testing.assert_allclose(p, reference.predict_proba(test), atol=1e-3)
    assert all(torch.equal(value, before[name]) for name, value in trunk.state_dict().items())
    decisions = attacks.sweep(head, new["val"], [8 / 255], steps=5)
    right = (decisions.prediction == decisions.label).groupby(decisions.epsilon).mean()
    assert right[0.0] > 2 / 6, "untrained features tell them apart beyond chance"
    assert right.iloc[-1] < right[0.0] / 2, "the attack climbs through the trunk"


def test_two_categories_are_too_few() -> None:
    trunk = freeze(build(GuidedNet, 0, "small_resnet", ("a", "b"), 0))
    with pytest.raises(InputError, match="several categories"):
        fit_head(trunk, one(np.zeros((32, 32))))


def test_a_head_is_of_the_classes_that_all_images_have(study: Path) -> None:
    images = load_categories(study.parent / "others/categories", 32, ())["val"]
    trunk = freeze(build(GuidedNet, 0, "small_resnet", ("a", "b"), 3))
    broken = freeze(build(GuidedNet, 0, "small_resnet", ("a", "b"), 3))
    broken.backbone.load_state_dict({k: v * torch.nan if v.ndim else v for k, v in trunk.backbone.state_dict().items()})
    labels = images.labels
    wrong = {
        "1 categories without an image": images[np.flatnonzero(labels != 0)],
        "5 categories without an image": images[np.flatnonzero(labels == 0)],
        "1 images of none of them": replace(images, labels=torch.where(torch.arange(len(labels)) == 3, -1, labels)),
    }
    for says, some in wrong.items():
        with pytest.raises(InputError, match=says):
            fit_head(trunk, some)
    with pytest.raises(InputError, match="not finite"):
        fit_head(broken, images)


def test_decisions_are_of_each_set(study: Path) -> None:
    clean = load_folder(open_study(study).need("classification") / "val", 32)
    network = freeze(build(GuidedNet, 0, "small_resnet", clean.classes, 0))
    sets = {"clean": clean, "high pass": other_statistics(clean)["high pass"][:7]}
    table = decide_others({("none", 0): network}, sets)
    assert table.groupby("images", sort=False).size().to_dict() == {"clean": len(clean), "high pass": 7}
    said = predict(network, sets["high pass"].pixels).argmax(1).tolist()
    assert table[table.images == "high pass"].prediction.tolist() == said


@pytest.mark.notebook
@pytest.mark.parametrize("drawn", [True, False], ids=["drawn here", "made up elsewhere"])
def test_the_notebook_runs_on_a_simulated_study(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawn: bool
) -> None:
    """Of images that this project drew it knows the objects; of others it draws nothing, and finishes without."""
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))
    if not drawn:
        told, study = open_study(study), tmp_path / "study.toml"
        of = {"classification": str(told.classification), "corruptions": str(told.corruptions), "image_size": 32}
        entries = {"name": "other", "simulated": True, "responses": "r", "stimuli": str(told.stimuli)}
        study.write_text(as_toml({**entries, **of}))
    classes = load_folder(open_study(study).need("classification") / "val", 32).classes
    rois, asked = "start none V1 TO", {"study": str(study), "seeds": "0 1", "steps": 2, "n_images": 12}
    for i, (roi, seed) in enumerate(product(rois.split(), (0, 1))):
        full = {**folders.defaults("03_guided_training"), "study": str(study), "roi": roi, "seed": seed}
        folder = folders.run_folder("03_guided_training", full)
        save_model(freeze(build(GuidedNet, i, "small_resnet", classes, 0)), folder)
        record = {"notebook": "03_guided_training", "parameters": full, "inputs": {}, "seconds": 1.0}
        (folder / folders.RECORD).write_text(json.dumps({**record, "finished": "2026-01-01T00:00:00+0000"}))
    found: dict[str, Any] = {}
    for cell in json.loads((folders.NOTEBOOKS / "22_other_images.ipynb").read_text(encoding="utf-8"))["cells"]:
        tags = cell["metadata"].get("tags", [])
        if cell["cell_type"] == "code" and "install" not in tags:
            exec("".join(cell["source"]), found)
        if "parameters" in tags:
            found |= {**asked, "rois": rois}
    assert found["plain"] == ["start", "none"]
    assert set(found["sets"]) >= {"clean", "low pass", "line drawing", "gaussian noise"}
    assert ("silhouettes" in found["sets"]) == drawn
    assert found["pairs"].paired.all()
    assert set(found["effective"].condition) == {"V1", "TO"}
    if drawn:
        assert set(found["beyond"].condition) == {"V1", "TO"}
        assert found["attacked"].groupby(["condition", "seed", "epsilon"]).size().eq(12).all()
    assert (found["run"].folder / folders.RECORD).is_file()
