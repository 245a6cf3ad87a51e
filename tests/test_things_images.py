"""THINGS's pictures: categories, splits and stimuli are what was planted, and what they promise holds for any table."""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import psutil
import pytest
from hypothesis import given, settings, strategies as st
from things_pictures import picture, picture_names, write_categories, write_pictures

from nbtools.data.brains.measured import load_design, load_responses
from nbtools.data.brains.sessions import Session, write_session
from nbtools.data.images import things
from nbtools.data.images.files import decode_image, fitted, read_image
from nbtools.data.images.labels import load_labels
from nbtools.data.images.others import load_categories, load_other_images
from nbtools.data.images.sets import load_folder, load_stimuli
from nbtools.data.images.superordinate import (
    OVERLAP,
    VALIDATION,
    category_of,
    choose_categories,
    read_categories,
    split_pictures,
)
from nbtools.data.images.things import concept_of, place_of, things_classes, things_labels, things_stimuli
from nbtools.data.study import open_study
from nbtools.errors import InputError
from nbtools.runs import folders
from nbtools.runs.batch import EXECUTED, run_notebook

MEMBERS = {
    "animal": [f"animal{i}" for i in range(9)] + ["dog", "bat"],
    "bird": [f"animal{i}" for i in range(4)],  # within animal
    "tool": [f"tool{i}" for i in range(8)] + ["bat", "dog_2"],  # bat is an animal, too
    "body part": [f"part{i}" for i in range(6)],
    "food": [f"food{i}" for i in range(5)],
}
SOLE = ["nothing", "thing"]  # of no category
CONCEPTS = sorted({concept for concepts in MEMBERS.values() for concept in concepts} | {*SOLE})
HELD = ["dog_03s.jpg", "tool3_01b.jpg", "nothing_02s.jpg"]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write_pictures(
        tmp_path / "object_images", (place for concept in CONCEPTS for place in picture_names(concept, 5))
    )


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_categories(tmp_path / "category53_long-format.tsv", MEMBERS)


def tree(folder: Path) -> dict[str, set[str]]:
    """The names of the images below ``split/class``."""
    found = sorted(folder.glob("*/*"))
    return {place.relative_to(folder).as_posix(): {file.name for file in place.iterdir()} for place in found}


def names_in(folder: Path, split: str = "*") -> set[str]:
    return {file.name for file in folder.glob(f"{split}/*/*")}


# --- names and tables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "concept"),
    [
        ("dog_12s.jpg", "dog"),
        ("dog/dog_12s.jpg", "dog"),
        ("aardvark\\aardvark_01b.jpg", "aardvark"),
        ("dog_2_01b.jpg", "dog_2"),
        ("dog_22_01b.jpg", "dog_22"),
        ("ice-cream_cone_03n.jpg", "ice-cream_cone"),
    ],
)
def test_a_concept_is_what_stands_before_number_and_letter(name: str, concept: str) -> None:
    assert concept_of(name) == concept
    file = name.replace("\\", "/").rpartition("/")[2]
    assert place_of(name) == f"{concept}/{file}"


@pytest.mark.parametrize("name", ["dog.jpg", "dog_1s.jpg", "_12s.jpg", "dog_12s.png", "", "dog_12s.jpg/"])
def test_other_names_are_refused(name: str) -> None:
    if name.endswith("/"):
        assert place_of(name) == "dog/dog_12s.jpg"
    else:
        with pytest.raises(InputError, match="no picture of THINGS"):
            place_of(name)


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"end": "\r\n"},
        {"mark": "\ufeff"},
        {"columns": ("Word", "uniqueID", "category")},
        {"columns": ("uniqueID", "mean", "category"), "end": "\r\n", "mark": "\ufeff"},
    ],
)
def test_the_table_is_read_however_it_is_written(tmp_path: Path, how: dict[str, Any]) -> None:
    members = {**MEMBERS, "nulls": ["null", "NA", "nan"]}
    read = read_categories(write_categories(tmp_path / "c.tsv", members, **how))
    assert read == {name: set(concepts) for name, concepts in members.items()}


@pytest.mark.parametrize(
    "raw",
    [b"", b"<!DOCTYPE html>\n<html></html>", b"category,uniqueID,Word\nanimal,dog,dog\n", b"\xff\xfe\x00", None],
    ids=["empty", "a page", "commas", "no text", "none"],
)
def test_what_is_no_table_is_named(tmp_path: Path, raw: bytes | None) -> None:
    if raw is not None:
        (tmp_path / "c.tsv").write_bytes(raw)
    with pytest.raises(InputError, match=r"categories cannot be read\n +file: .*c\.tsv"):
        read_categories(tmp_path / "c.tsv")


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="uniqueID"):
        read_categories(write_categories(tmp_path / "c.tsv", MEMBERS, columns=("category", "Word")))


# --- categories ---------------------------------------------------------------------------------------------


def test_categories_are_the_largest_that_do_not_overlap() -> None:
    sizes = dict.fromkeys(CONCEPTS, 5)
    chosen = choose_categories(MEMBERS, sizes)
    assert chosen == ["animal", "tool", "body part", "food"]  # bird is animal; a tenth of tool's pictures are bats
    of = category_of(MEMBERS, chosen)
    assert "bat" not in of
    assert {"nothing", "thing"}.isdisjoint(of)
    assert (of["dog"], of["dog_2"]) == ("animal", "tool")
    assert choose_categories(MEMBERS, {**sizes, "bat": 6}) == ["animal", "body part", "food"]


NAMES = st.text("abc", min_size=1, max_size=2)
TABLES = st.dictionaries(NAMES, st.sets(st.sampled_from(CONCEPTS), min_size=1), min_size=1, max_size=8)
SIZES = st.dictionaries(st.sampled_from(CONCEPTS), st.integers(1, 9))


@settings(max_examples=80, deadline=None)
@given(members=TABLES, sizes=SIZES, rng=st.randoms())
def test_any_table_gives_categories_that_hardly_overlap(
    members: dict[str, set[str]], sizes: dict[str, int], rng: Any
) -> None:
    chosen = choose_categories(members, sizes)
    shuffled = rng.sample(sorted(members.items()), len(members))
    assert choose_categories(dict(shuffled), dict(reversed(sizes.items()))) == chosen
    size = {name: sum(sizes.get(concept, 0) for concept in members[name]) for name in members}
    assert [size[name] for name in chosen] == sorted((size[name] for name in chosen), reverse=True)
    taken: set[str] = set()
    for name in chosen:
        common = sum(sizes.get(concept, 0) for concept in members[name] & taken)
        assert size[name] > 0
        assert common <= OVERLAP * size[name]
        taken |= members[name]
    for name in set(members) - set(chosen):
        larger = [other for other in chosen if (-size[other], other) < (-size[name], name)]
        before = set().union(*(members[other] for other in larger))
        assert sum(sizes.get(c, 0) for c in members[name] & before) > OVERLAP * size[name] or size[name] == 0
    of = category_of(members, chosen)
    assert all([name for name in chosen if concept in members[name]] == [of[concept]] for concept in of)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[dict[str, list[str]], dict[str, str], set[str], set[str]]:
    """Pictures of concepts, concepts' categories, test images, and all that was shown."""
    sizes = draw(st.dictionaries(st.sampled_from(CONCEPTS), st.integers(1, 8), min_size=1))
    files = {concept: [place.split("/")[1] for place in picture_names(concept, n)] for concept, n in sizes.items()}
    category = {concept: draw(st.sampled_from(["a", "b"])) for concept in draw(st.sets(st.sampled_from(CONCEPTS)))}
    places = [f"{concept}/{file}" for concept in files for file in files[concept]]
    some = st.sets(st.sampled_from(places), max_size=len(places))
    return files, category, draw(st.sets(st.sampled_from(places), max_size=3)), draw(some)


@settings(max_examples=80, deadline=None)
@given(world=worlds(), rng=st.randoms())
def test_any_split_keeps_its_promises(world: tuple[dict, dict, set, set], rng: Any) -> None:
    files, category, held, shown = world
    rows = split_pictures(files, category, held, shown | held)
    turned = {concept: rng.sample(files[concept], len(files[concept])) for concept in rng.sample([*files], len(files))}
    pd.testing.assert_frame_equal(split_pictures(turned, category, held, shown | held), rows)
    assert rows["place"].is_unique
    part = {name: set(own["place"]) for name, own in rows.groupby("part")}
    train, val, new = (part.get(name, set()) for name in ("train", "val", "new"))
    everything = {f"{concept}/{file}" for concept in files if concept in category for file in files[concept]}
    assert not (train | val | new) & held
    assert not (val | new) & shown
    concepts = {name: {place.split("/")[0] for place in some} for name, some in part.items()}
    assert not concepts.get("new", set()) & (concepts.get("train", set()) | concepts.get("val", set()))
    assert not concepts.get("new", set()) & {place.split("/")[0] for place in held}
    left = everything - train - val - new - held
    assert left <= shown, "nothing else is lost"
    assert {place.split("/")[0] for place in left} <= concepts.get("new", set())
    for _, own in rows[rows["part"] != "new"].groupby("category"):
        unseen = ~own["place"].isin(shown)
        assert (own["part"] == "val").sum() == min(unseen.sum(), round(VALIDATION * len(own)))


def test_new_concepts_are_first_those_the_brain_never_met() -> None:
    files = {f"c{i}": [f"c{i}_{j:02d}s.jpg" for j in range(5)] for i in range(20)}
    met = {f"c{i}/c{i}_00s.jpg" for i in range(17)}
    rows = split_pictures(files, dict.fromkeys(files, "a"), {"c17/c17_03s.jpg"}, met)
    assert {"c18", "c19"} < set(rows.concept[rows.part == "new"])
    assert "c17" not in set(rows.concept[rows.part == "new"]), "one of its pictures is a test image"
    assert rows.groupby("part").size().to_dict() == {"new": 18, "train": 63, "val": 16}


# --- folders ------------------------------------------------------------------------------------------------


def test_folders_are_disjoint_by_picture_and_by_concept(pictures: Path, table: Path, tmp_path: Path) -> None:
    to = tmp_path / "things"
    report = things_classes(pictures, table, to, HELD, largest=2)
    folders = {end: to.with_name(f"things{end}") for end in ("", "-concepts", "-categories")}
    assert {file.parent.name for file in folders[""].glob("train/*/*")} == {"animal", "tool"}
    assert {place.name for place in folders["-categories"].glob("train/*")} == {"body part", "food"}
    sets = {(end, split): names_in(folder, split) for end, folder in folders.items() for split in ("train", "val")}
    every = [name for key, names in sets.items() if key != ("-concepts", "train") for name in names]
    assert len(every) == len(set(every))
    assert not {*HELD} & {*every}
    known = {concept_of(name) for split in ("train", "val") for name in sets["", split]}
    for key in (("-concepts", "val"), ("-categories", "train"), ("-categories", "val")):
        assert not {concept_of(name) for name in sets[key]} & known
    kept = {name for name in sets["", "train"] if concept_of(name) not in {"dog", "tool3", "nothing"}}
    assert sets["-concepts", "train"] == kept
    assert {"bat", "nothing", "thing"}.isdisjoint(known)
    assert {"dog", "tool3"} <= known, "a test image's concept may train where pictures are asked for"
    counts = report.set_index(["folder", "split", "class"])[["images", "concepts"]].sort_index()
    assert counts.loc[("things", "train", "animal")].tolist() == [31, 8]  # 39 of 10 concepts less 2; a fifth are new
    for (end, split), names in sets.items():
        own = counts.loc[(f"things{end}", split)]
        assert own["images"].sum() == len(names)
        assert own["concepts"].sum() == len({concept_of(name) for name in names})


def test_what_the_brain_was_shown_validates_nowhere(pictures: Path, table: Path, tmp_path: Path) -> None:
    shown = {place.split("/")[1] for concept in CONCEPTS for place in picture_names(concept, 3)}
    things_classes(pictures, table, tmp_path / "things", HELD, largest=2, shown=shown | {*HELD})
    for end in ("", "-concepts", "-categories"):
        names = names_in(tmp_path / f"things{end}", "val")
        assert names
        assert not names & shown
    assert names_in(tmp_path / "things", "train") & shown


def test_the_order_of_files_changes_nothing(
    pictures: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = things_classes(pictures, table, tmp_path / "a/things", HELD)
    files, folders = things.images_below, things.subfolders
    monkeypatch.setattr(things, "images_below", lambda folder: files(folder)[::-1])
    monkeypatch.setattr(things, "subfolders", lambda folder: folders(folder)[::-1])
    backwards = write_categories(tmp_path / "c.tsv", dict(reversed(MEMBERS.items())))
    second = things_classes(pictures, backwards, tmp_path / "b/things", [place_of(name) for name in HELD[::-1]])
    pd.testing.assert_frame_equal(first, second)
    assert tree(tmp_path / "a/things") == tree(tmp_path / "b/things")
    assert tree(tmp_path / "a/things-concepts") == tree(tmp_path / "b/things-concepts")


@pytest.mark.parametrize("refused", [[], ["link"], ["link", "symlink"]])
def test_pictures_are_linked_not_copied(
    pictures: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: list[str]
) -> None:
    def elsewhere(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "another disk")

    for name in refused:
        monkeypatch.setattr(os, name, elsewhere)
    things_classes(pictures, table, tmp_path / "things", HELD)
    file = next((tmp_path / "things/train/animal").iterdir())
    assert (file.stat().st_nlink > 1, file.is_symlink()) == (refused == [], refused == ["link"])
    assert file.read_bytes() == picture(place_of(file.name))


def test_damage_and_copies_are_left_out_and_told(pictures: Path, table: Path, tmp_path: Path) -> None:
    clean = things_classes(pictures, table, tmp_path / "clean", HELD)
    train, val = (sorted(names_in(tmp_path / "clean", split)) for split in ("train", "val"))
    (pictures / place_of(train[0])).unlink()  # a link elsewhere, too
    (pictures / place_of(train[0])).write_bytes(b"<html>")
    for here, there in ((train[5], val[0]), (train[9], "dog_03s.jpg"), (val[1], "tool3_01b.jpg")):
        (pictures / place_of(here)).unlink()
        (pictures / place_of(here)).write_bytes((pictures / place_of(there)).read_bytes())
    report = things_classes(pictures, table, tmp_path / "things", HELD)
    left = {flaw.split(": ")[0]: flaw for flaws in report.left_out for flaw in flaws}
    assert left.keys() == {train[0], train[5], train[9], val[1]}
    assert f"the same bytes as {val[0]}" in left[train[5]]
    assert "the same bytes as dog_03s.jpg" in left[train[9]]
    assert not left.keys() & (names_in(tmp_path / "things") | names_in(tmp_path / "things-concepts"))
    assert report.images.sum() < clean.images.sum()


def test_a_kill_costs_little_and_twice_is_once(
    pictures: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    want = things_classes(pictures, table, tmp_path / "whole", HELD)
    with monkeypatch.context() as patch:
        calls = iter(range(7))
        linked = Path.hardlink_to
        patch.setattr(Path, "hardlink_to", lambda *args: linked(*args) if next(calls, None) is not None else exit())
        with pytest.raises(SystemExit):
            things_classes(pictures, table, tmp_path / "whole2", HELD)
    assert not (tmp_path / "whole2").exists()
    for _ in range(2):
        made = things_classes(pictures, table, tmp_path / "whole2", HELD)
    counts = ["split", "class", "images", "concepts"]
    pd.testing.assert_frame_equal(made[counts], want[counts])
    assert tree(tmp_path / "whole2") == tree(tmp_path / "whole")
    with pytest.raises(InputError, match="something else lies there"):
        things_classes(pictures, table, tmp_path / "whole2", HELD[:1])


@pytest.mark.parametrize(
    ("members", "got"),
    [
        ({"stone": ["granite"]}, f"{len(CONCEPTS)} concepts in no category"),
        ({"animal": MEMBERS["animal"]}, "concepts in animal"),
        ({"../animal": MEMBERS["animal"], "food": MEMBERS["food"]}, r"concepts in \.\./animal"),
    ],
)
def test_pictures_of_too_few_categories_are_refused(
    pictures: Path, tmp_path: Path, members: Mapping[str, Collection[str]], got: str
) -> None:
    with pytest.raises(InputError, match=got):
        things_classes(pictures, write_categories(tmp_path / "c.tsv", members), tmp_path / "x/things", HELD)
    assert not (tmp_path / "x").exists()


def test_where_all_concepts_are_the_brains_test_no_picture_is_left_and_that_is_said(
    pictures: Path, table: Path, tmp_path: Path
) -> None:
    every = [file.name for file in pictures.rglob("*.jpg")]
    with pytest.raises(InputError, match="too few pictures"):
        things_classes(pictures, table, tmp_path / "c", every, largest=2)
    assert not (tmp_path / "c").exists()


def test_notebook_22_takes_the_folders(pictures: Path, table: Path, tmp_path: Path) -> None:
    things_classes(pictures, table, tmp_path / "things", HELD, largest=2)
    classes = load_folder(tmp_path / "things/val", 16).classes
    new, left_out = load_other_images(tmp_path / "things-concepts/val", 16, classes)
    assert new.classes == classes
    assert left_out == {"folders": [], "classes": []}
    others = load_categories(tmp_path / "things-categories", 16, classes)
    assert others["train"].classes == ("body part", "food")
    with pytest.raises(InputError, match="not new"):
        load_categories(tmp_path / "things-concepts", 16, classes)


# --- labels and stimuli -------------------------------------------------------------------------------------


def test_labels_name_the_pictures_of_one_class_alone(table: Path) -> None:
    names = ["dog_01b.jpg", "thing/thing_02s.jpg", "bat_01b.jpg", "dog_2\\dog_2_04s.jpg", "food1_01b.jpg"]
    labels = things_labels(names, table, ["tool", "animal"])
    assert labels.to_dict("list") == {"image_id": [0, 3], "label": ["animal", "tool"]}
    assert labels.dtypes.astype(str).tolist()[0] == "int64"
    assert things_labels(names, table, ["tool", "food"]).image_id.tolist() == [2, 3, 4], "of these a bat is one"
    with pytest.raises(InputError, match=r"no categories\n[\s\S]*got: +zebra"):
        things_labels(names, table, ["animal", "zebra"])


@pytest.mark.parametrize("size", [16, 20, 32])
def test_stimuli_have_the_pixels_of_images_to_classify(pictures: Path, tmp_path: Path, size: int) -> None:
    names = ["dog_2\\dog_2_03s.jpg", "bat/bat_01b.jpg", "dog/dog_02s.jpg"] * 100  # more than a block of them
    things_stimuli(pictures, names, tmp_path / "s/stimuli.hdf5", size)
    with h5py.File(tmp_path / "s/stimuli.hdf5") as tree:
        assert tree["imgBrick"].dtype == np.uint8
        found = tree["imgBrick"][:]
    assert found.shape == (300, size, size, 3)
    for name, pixels in zip(names[:3], found[297:], strict=True):
        wanted = fitted(read_image(pictures / place_of(name)), size)
        np.testing.assert_array_equal(pixels, wanted.permute(1, 2, 0))
    assert (found[:3] == found[297:]).all()
    assert load_stimuli(tmp_path / "s/stimuli.hdf5", np.arange(3), size).to_numpy().tobytes() == found[:3].tobytes()
    assert [file.name for file in (tmp_path / "s").iterdir()] == ["stimuli.hdf5"]


def test_missing_and_damaged_pictures_are_named(pictures: Path, tmp_path: Path) -> None:
    file = tmp_path / "s/stimuli.hdf5"
    names = [*picture_names("dog", 7), "cow/cow_01b.jpg"]
    with pytest.raises(InputError, match=r"3 pictures[\s\S]*no dog/dog_06s\.jpg, dog/dog_07s\.jpg, cow/cow_01b\.jpg"):
        things_stimuli(pictures, names, file, 16)
    with pytest.raises(InputError, match="no name"):
        things_stimuli(pictures, [], file, 16)
    raw = (pictures / names[3]).read_bytes()
    (pictures / names[3]).write_bytes(raw[: len(raw) // 2])
    with pytest.raises(InputError, match=r"cannot be read\n +file: .*dog_04s\.jpg"):
        things_stimuli(pictures, names[:5], file, 16)
    assert not [*file.parent.iterdir()]
    (pictures / names[3]).write_bytes(raw)
    (file.parent / ".tmp-stimuli.hdf5.4711").write_bytes(b"left by a kill")
    things_stimuli(pictures, names[:5], file, 16)
    assert [*file.parent.iterdir()] == [file]


@pytest.mark.skipif(sys.platform == "win32", reason="has no limits")
def test_a_full_disk_is_told(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    names, old, whole = picture_names("dog", 5) * 100, resource.getrlimit(resource.RLIMIT_FSIZE), things.decoded

    def filling(source: Any) -> Iterator[Any]:
        for block in whole(source):
            yield block
            resource.setrlimit(resource.RLIMIT_FSIZE, (250_000, old[1]))  # of 384,000, once a block is written

    monkeypatch.setattr(things, "decoded", filling)
    try:
        with pytest.raises(InputError, match="cannot be written"):
            things_stimuli(pictures, names, tmp_path / "s/stimuli.hdf5", 16)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert not [*(tmp_path / "s").iterdir()]


# --- the label control --------------------------------------------------------------------------------------


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study of random responses to THINGS's pictures: half of them are of no category that is classified."""
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))
    members = {name: [f"{name}{i}" for i in range(n)] for name, n in (("animal", 7), ("tool", 6))}
    concepts = [*members["animal"], *members["tool"], *(f"thing{i}" for i in range(12))]
    names = [name for concept in concepts for name in picture_names(concept, 8)]
    pictures = write_pictures(tmp_path / "object_images", names, 32)
    table = write_categories(tmp_path / "category53_long-format.tsv", members)
    train = [name for name in names if int(name[-7:-5]) <= 5]
    test = [name for name in names if int(name[-7:-5]) == 6 and name[-9] in "03"]
    folder = tmp_path / "data/raw/small"
    things_stimuli(pictures, train + test, folder / "stimuli.hdf5", 32)
    report = things_classes(pictures, table, folder / "images", test, shown=train + test)
    things_labels(train + test, table, list(report["class"].unique())).to_parquet(folder / "labels.parquet")
    ids, tested = np.arange(len(train + test)), np.arange(len(train + test)) >= len(train)
    ids, tested = np.concatenate([ids, ids[tested]]), np.concatenate([tested, tested[tested]])
    values = np.random.default_rng(0).normal(size=(len(ids), 12)).astype(np.float32)
    voxels, repeats = np.full((12, 3), -1), np.zeros(len(ids), int)
    write_session(folder / "responses/session01.hdf5", Session(ids, tested, repeats, {"V1": values}, {"V1": voxels}))
    (folder / "study.toml").write_text(
        'name = "small"\nsimulated = false\nresponses = "responses"\nstimuli = "stimuli.hdf5"\nimage_size = 32\n'
        'classification = "images"\nscanner_labels = "labels.parquet"\nregions = ["V1"]\n'
    )
    return folder / "study.toml"


def test_pictures_of_no_category_stay_among_a_guides_trials(study: Path) -> None:
    source = open_study(study)
    region, made = load_responses(source, "V1"), load_responses(source, "labels-guide")
    np.testing.assert_array_equal(made.image_ids, region.image_ids)
    named = load_labels(source, made.image_ids)
    assert 0.4 < named.isna().mean() < 0.6
    assert made.responses.shape == (len(region.responses), 2)
    for row, name in enumerate(("animal", "tool")):
        assert ((made.responses[:, row] > 0) == (named == name).to_numpy()).all()


@pytest.mark.notebook
def test_labels_control_networks_of_real_pictures(study: Path) -> None:
    few = {"study": "small", "epochs": "1", "batch_size": "8"}
    assert run_notebook("02_neural_predictors", {**few, "roi": "labels-guide"}) == 0
    for roi in ("start", "labels", "labels-guide"):
        assert run_notebook("03_guided_training", {**few, "roi": roi, "start_epochs": "1"}) == 0
    taken = folders.find("03_guided_training", "small", roi="labels").folder
    cells = json.loads((taken / EXECUTED).read_text(encoding="utf-8"))["cells"]
    told = "".join(text for cell in cells for out in cell.get("outputs", []) for text in out.get("text", []))
    labels = pd.read_parquet(study.parent / "labels.parquet")
    n = int((labels["image_id"].to_numpy() < len(load_design(open_study(study)).training_ids)).sum())
    assert f"{n} images of the scanner's, labelled, join" in told


# --- true number --------------------------------------------------------------------------------------------


@pytest.mark.long
def test_all_of_things_in_the_time_of_decoding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """26,107 pictures of 500 px of 1,854 concepts, 53 categories, of which the brain was shown 22,248 and 100."""
    members, places = true_size(tmp_path / "object_images")
    table = write_categories(tmp_path / "category53_long-format.tsv", members)
    shown = [place for place in places if int(place[-7:-5]) <= 12]
    held = [place for place in places if int(place[-7:-5]) == 13][::5][:100]
    process, spent = psutil.Process(), {}
    began, before = time.monotonic(), process.memory_info().rss
    for place in places[:500]:
        fitted(decode_image((tmp_path / "object_images" / place).read_bytes(), Path(place)), 64)
    spent["decoding, one thread"] = (time.monotonic() - began) / 500 * len(shown)
    began = time.monotonic()
    things_stimuli(tmp_path / "object_images", shown, tmp_path / "stimuli.hdf5", 64)
    spent["stimuli"] = time.monotonic() - began
    grown = process.memory_info().rss - before
    began = time.monotonic()
    report = things_classes(tmp_path / "object_images", table, tmp_path / "things", held, shown=shown + held)
    spent["classes"] = time.monotonic() - began
    with capsys.disabled():
        sizes = report.groupby(["folder", "split"])[["images", "concepts"]].sum()
        print({name: f"{seconds:.0f} s" for name, seconds in spent.items()}, f"{grown / 1e6:.0f} MB more", sizes)
    assert grown < 300e6
    assert spent["stimuli"] < 1.5 * spent["decoding, one thread"]
    assert spent["classes"] < 2.5 * spent["decoding, one thread"]


def true_size(folder: Path) -> tuple[dict[str, list[str]], list[str]]:
    """Lay out as many pictures as there are; return categories that overlap as people's may, and the pictures."""
    rng = np.random.default_rng(0)
    concepts = [f"concept{i}" for i in range(1854)]
    numbers = 12 + rng.multinomial(26_107 - 12 * 1854, rng.dirichlet(np.full(1854, 4)))
    places = [place for concept, n in zip(concepts, numbers, strict=True) for place in picture_names(concept, n)]
    photographs = [picture(f"{i}.jpg", 500) for i in range(12)]
    for i, place in enumerate(places):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(photographs[i % 12] + place.encode())  # what follows a JPEG's end is not read
    ends = np.linspace(100, 10, 30).cumsum().astype(int)
    members = {f"main {i}": concepts[start:end] for i, (start, end) in enumerate(zip([0, *ends], ends, strict=False))}
    return members | {f"part {i}": list(rng.choice(members[f"main {i}"], 12)) for i in range(23)}, places
