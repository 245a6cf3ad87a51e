"""A study's description: paths relative to it, and one error for each thing that can be wrong with it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from nbtools import data, metrics, plots
from nbtools.cli import main
from nbtools.conditions import HIERARCHY
from nbtools.data.brains.sessions import Session, read_session, write_session
from nbtools.data.study import Study, as_toml, home, open_study, study_file
from nbtools.errors import InputError
from nbtools.plots.looks import color
from nbtools.workflow.doctor import findings
from nbtools.workflow.graph import make_graph

WHOLE = {
    "name": '"mine"',
    "simulated": "false",
    "nsd": '"../nsd"',
    "subject": "3",
    "classification": '"pictures"',
    "image_size": "64",
}


def write(file: Path, **changed: str | None) -> Path:
    entries = {key: value for key, value in {**WHOLE, **changed}.items() if value is not None}
    file.write_text("\n".join(f"{key} = {value}" for key, value in entries.items()))
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The study's folder, with the folders it names."""
    for name in ("nsd", "study/pictures", "study/conflicts"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "study/labels.parquet").touch()
    return tmp_path / "study"


def test_paths_are_relative_to_the_file(folder: Path) -> None:
    study = open_study(str(write(folder / "s.toml")))
    assert (study.nsd, study.classification) == (folder.parent / "nsd", folder / "pictures")
    assert (study.name, study.simulated, study.subject, study.image_size) == ("mine", False, 3, 64)
    assert study.cue_conflict is None
    assert open_study(str(write(folder / "s.toml", cue_conflict='"conflicts"'))).cue_conflict == folder / "conflicts"
    assert study.scanner_labels is None
    labelled = open_study(str(write(folder / "s.toml", scanner_labels='"labels.parquet"')))
    assert labelled.scanner_labels == folder / "labels.parquet"


def test_a_name_is_looked_up_at_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBTOOLS_HOME", str(folder))
    assert study_file("mine") == folder / "data/derived/mine/study.toml"
    (folder / "data/derived/mine").mkdir(parents=True)
    write(study_file("mine"), nsd='"../../../../nsd"', classification='"../../../pictures"')
    assert open_study("mine").nsd == folder.parent / "nsd"
    monkeypatch.delenv("NBTOOLS_HOME")
    assert (home() / "nbtools" / "conditions.py").exists()


def test_a_simulated_study_says_so(folder: Path) -> None:
    assert open_study(str(write(folder / "s.toml", simulated="true"))).title == "mine study, simulated"
    assert open_study(str(write(folder / "s.toml"))).title == "mine, subject 3"


@pytest.mark.parametrize("key", [key for key in WHOLE if key != "classification"])
def test_a_missing_entry_is_named(folder: Path, key: str) -> None:
    with pytest.raises(InputError, match=rf"another type: {key}\n"):
        open_study(str(write(folder / "s.toml", **{key: None})))


@pytest.mark.parametrize(
    ("key", "value"),
    [("subject", '"3"'), ("subject", "true"), ("image_size", "64.0"), ("nsd", "1"), ("cue_conflict", "5")],
)
def test_an_entry_of_another_type_is_named(folder: Path, key: str, value: str) -> None:
    with pytest.raises(InputError, match=rf"another type: {key}\n"):
        open_study(str(write(folder / "s.toml", **{key: value})))


@pytest.mark.parametrize("key", ["nsd", "classification", "cue_conflict"])
def test_a_folder_that_is_not_there(folder: Path, key: str) -> None:
    study = open_study(str(write(folder / "s.toml", **{key: '"nowhere"'})))
    assert not study.has(key)
    with pytest.raises(InputError, match=rf"'mine' has no {key}\n +file: +{folder / 'nowhere'}\n"):
        study.need(key)


@pytest.mark.parametrize("content", [b"name = ", b"<html></html>", b"\xff\xfe"])
def test_a_file_that_is_not_toml(folder: Path, content: bytes) -> None:
    (folder / "s.toml").write_bytes(content)
    with pytest.raises(InputError, match=r"cannot be read\n +file: +.*s\.toml"):
        open_study(str(folder / "s.toml"))


def test_no_file(folder: Path) -> None:
    with pytest.raises(InputError, match="python -m nbtools world"):
        open_study(str(folder / "other.toml"))


def test_what_a_study_may_lack_is_asked_for_in_words(folder: Path) -> None:
    study = open_study(str(write(folder / "s.toml", classification=None)))
    assert study.need("nsd") == folder.parent / "nsd"
    with pytest.raises(InputError, match=r"'mine' has no classification"):
        study.need("classification")


def test_responses_of_ones_own_need_no_nsd(folder: Path) -> None:
    own = {"nsd": None, "subject": None, "responses": '"mine"', "stimuli": '"images.hdf5"'}
    study = open_study(str(write(folder / "s.toml", **own)))
    assert (study.nsd, study.subject, study.title) == (None, 0, "mine")  # whose they are was not said
    assert open_study(str(write(folder / "s.toml", **{**own, "subject": "2"}))).title == "mine, subject 2"
    assert (study.responses, study.stimuli) == (folder / "mine", folder / "images.hdf5")
    assert study.measured == folder / "mine"
    with pytest.raises(InputError, match="another type: stimuli"):
        open_study(str(write(folder / "s.toml", **{**own, "stimuli": None})))


def test_prepared_sessions_are_kept_apart_by_what_chose_them(folder: Path) -> None:
    usual = open_study(str(write(folder / "s.toml")))
    assert usual.responses == folder / "responses/subj03_b3_Kastner2015"
    other = open_study(str(write(folder / "s.toml", voxels='{betas = "b2", retinotopy = "prf-visualrois"}')))
    assert other.responses == folder / "responses/subj03_b2_prf-visualrois"
    assert usual.measured == usual.nsd
    usual.responses.mkdir(parents=True)
    (usual.responses / "session01.hdf5").touch()
    assert usual.measured == usual.responses


@pytest.mark.parametrize(
    "voxels",
    [
        '{betas = "b4"}',
        "{betas = {b3 = 1}}",
        '{retinotopy = "Wang2015"}',
        "{zscore = 1}",
        "{noise_ceiling = -1}",
        "{noise_ceiling = 100}",
        '{noise_ceiling = "10"}',
        "{noise_ceiling = true}",
        "{zscore = false, noise_ceiling = 10}",
        "{subjects = 2}",
        "{subjects = [1]}",
        "{subjects = [1, 1]}",
        "{subjects = [0, 1]}",
        "{noise_ceiling = nan}",
        '{subjects = [1, "2"]}',
    ],
)
def test_choices_of_voxels_that_cannot_be(folder: Path, voxels: str) -> None:
    with pytest.raises(InputError, match="choice of voxels cannot be"):
        open_study(str(write(folder / "s.toml", voxels=voxels)))


def test_a_fetched_study_goes_before_a_made_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBTOOLS_HOME", str(folder))
    assert study_file("mine").parts[-3:] == ("derived", "mine", "study.toml")
    (folder / "data/raw/mine").mkdir(parents=True)
    (folder / "data/raw/mine/study.toml").touch()
    assert study_file("mine").parts[-3:] == ("raw", "mine", "study.toml")


@pytest.mark.parametrize(("name", "way"), [("nsd", "nbtools fetch nsd"), ("haxby", "nbtools prepare haxby")])
def test_how_to_get_a_study_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, way: str
) -> None:
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))
    with pytest.raises(InputError, match=way):
        open_study(name)


def test_links_in_a_circle_are_no_folder(folder: Path) -> None:
    (folder / "a").symlink_to(folder / "b")
    (folder / "b").symlink_to(folder / "a")
    with pytest.raises(InputError, match="has no classification"):
        open_study(str(write(folder / "s.toml", classification='"a"'))).need("classification")


def test_a_path_is_of_the_file_or_its_folder(tiny_study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny_study.parent.parent)
    for place in (tiny_study, tiny_study.parent, Path(tiny_study.parent.name)):
        assert open_study(place) == open_study(str(tiny_study))


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("zscore = false", "zscore stands under [voxels]"),
        ("noise_ceiling = 30", "noise_ceiling stands under [voxels]"),
        ('calssification = "x"', "classification stands at the top"),
        ("zscor = false", "zscore stands under [voxels]"),
        ("zqx = 1", "leave out zqx"),
        ("[voxels]\nzscores = true", "zscore stands under [voxels]"),
        ('[voxels]\ncue_conflict = "x"', "cue_conflict stands at the top"),
        ('zscore = false\ncoruptions = "x"', "zscore stands under [voxels]; corruptions stands at the top"),
    ],
)
def test_a_key_that_nothing_reads_is_refused_with_its_place(folder: Path, lines: str, told: str) -> None:
    file = write(folder / "s.toml")
    file.write_text(f"{file.read_text()}\n{lines}\n")
    with pytest.raises(InputError, match="a key that nothing reads") as error:
        open_study(str(file))
    assert told in str(error.value)


@pytest.mark.parametrize("key", ["image_size", "subject"])
@pytest.mark.parametrize("value", ["0", "-32"])
def test_numbers_have_a_range(folder: Path, key: str, value: str) -> None:
    with pytest.raises(InputError, match=rf"got: +{key} = {value}\n"):
        open_study(str(write(folder / "s.toml", **{key: value})))


def test_a_byte_order_mark_is_no_content(folder: Path) -> None:
    file = write(folder / "s.toml")
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert open_study(file).name == "mine"


def test_a_description_is_read_back(folder: Path) -> None:
    entries = {"name": "naïve 😀", "simulated": False, "image_size": 8, "regions": ["V1", "PIT"], "nsd": 'a "b"\\c'}
    assert tomllib.loads(as_toml(entries)) == entries


def test_the_order_of_regions_is_the_studys(folder: Path) -> None:
    assert open_study(str(write(folder / "s.toml"))).hierarchy == HIERARCHY
    own = {"nsd": None, "responses": '"r"', "stimuli": '"s.hdf5"', "regions": '["V1", "7a", "VT-face"]'}
    assert open_study(str(write(folder / "s.toml", **own))).hierarchy == ("V1", "7a", "VT-face")


@pytest.mark.parametrize(
    "names", ['["V1", "V1"]', '["area 3b"]', '["none"]', '["V1-shuffle"]', "[1]", '["a/b"]', '[["V1"]]']
)
def test_regions_need_names(folder: Path, names: str) -> None:
    with pytest.raises(InputError, match="regions cannot be"):
        open_study(str(write(folder / "s.toml", regions=names)))


def test_an_entry_that_no_study_has(folder: Path) -> None:
    study = open_study(str(write(folder / "s.toml")))
    for ask in (study.has, study.need):
        with pytest.raises(InputError, match="no such entry"):
            ask("nothing")


def test_subjects_together_have_a_folder_each(folder: Path) -> None:
    own = {"nsd": None, "subject": None, "stimuli": '"s.hdf5"', "voxels": "{subjects = [1, 2]}"}
    study = open_study(str(write(folder / "s.toml", **{**own, "responses": '"subj01"'})))
    assert [part.responses.name for part in study.parts] == ["subj01", "subj02"]
    with pytest.raises(InputError, match="lie in one folder"):
        open_study(str(write(folder / "s.toml", **{**own, "responses": '"responses"'})))


@pytest.mark.parametrize("given", ["here", "./a/../here", "~/here"])
def test_a_home_is_one_place_for_every_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    """A kernel runs in notebooks/, and inherits the environment."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NBTOOLS_HOME", given)
    monkeypatch.chdir(tmp_path)
    assert home() == tmp_path / "here"
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert home() == tmp_path / "here"
    asked = [sys.executable, "-c", "from nbtools.data.study import home; print(home())"]
    told = subprocess.run(asked, env=os.environ, capture_output=True, text=True, check=True).stdout
    assert told.strip() == str(tmp_path / "here")


def test_paths_may_begin_at_the_users_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    write(folder / "s.toml", nsd='"~/pictures"')
    assert open_study("~/s.toml").nsd == folder / "pictures"


# --- a study's own regions ----------------------------------------------------------------------------------

OWN = ("A1", "V4", "7a", "PIT")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A study whose sessions hold `OWN`, in that order."""
    ids, sites = np.repeat(np.arange(6), 2), np.full((3, 3), -1)
    responses = {roi: np.random.default_rng(i).normal(size=(12, 3)) for i, roi in enumerate(OWN)}
    session = Session(ids, ids < 2, np.tile([1, 2], 6), responses, dict.fromkeys(OWN, sites))
    write_session(tmp_path / "responses/session01.hdf5", session)
    entries = {"name": "mine", "simulated": False, "responses": "responses", "stimuli": "s.hdf5", "image_size": 8}
    (tmp_path / "study.toml").write_text(as_toml({**entries, "regions": list(OWN)}))
    return tmp_path / "study.toml"


def test_regions_of_ones_own_are_loaded_by_their_names(own: Path) -> None:
    study = open_study(own)
    trials = data.load_trials(study, OWN, progress=False)
    assert [part.responses.shape for part in trials.values()] == [(12, 3)] * 4
    for name, roi in {"7a": "7a", "PIT-shuffle": "PIT", "random": "PIT", "A1-manifold": "A1"}.items():
        assert data.condition_of(study, name).predictors[0]["roi"] == roi
    with pytest.raises(InputError, match=r"unknown condition 'TO'\n.*7a, A1, PIT, V4"):
        data.condition_of(study, "TO")
    with pytest.raises(InputError, match=r"holds no TO\n"):
        data.load_trials(study, ["TO"], progress=False)


def test_nsd_has_its_own_regions_only(folder: Path) -> None:
    assert open_study(str(write(folder / "s.toml", regions='["early", "FFA"]'))).hierarchy == ("early", "FFA")
    with pytest.raises(InputError, match="NSD has no region PIT"):
        open_study(str(write(folder / "s.toml", regions='["V1", "PIT"]')))


def test_verdicts_and_figures_follow_the_studys_order(own: Path) -> None:
    order, rng = open_study(own).hierarchy, np.random.default_rng(0)
    shares = {"none": 0.3, **dict(zip(OWN, (0.2, 0.4, 0.6, 0.8), strict=True))}
    networks = pd.DataFrame(
        [
            {"condition": name, "seed": seed, "epsilon": 0.0, "accuracy": share + rng.normal(0, 0.01)}
            for name, share in shares.items()
            for seed in range(3)
        ]
    )
    said = metrics.verdicts(networks, order)
    assert "rises along these 4 regions" in said[0.0]
    assert "falls along these 4 regions" in metrics.verdict(networks, "accuracy", order[::-1])
    accuracy = metrics.over_networks(networks.sample(frac=1, random_state=0), "accuracy", by=("condition", "epsilon"))
    figure = plots.hierarchy(accuracy, said, [0.0], order=order, title="mine")
    marks = {trace.name: trace.marker.color for trace in figure.data if trace.mode == "markers"}
    assert list(marks) == ["none", *OWN]
    assert [marks[roi] for roi in OWN] == [color(roi, order) for roi in OWN]
    assert len(set(marks.values())) == 5


def test_regions_of_ones_own_are_no_damage(own: Path) -> None:
    found = {part.part: (part.state, part.found) for part in findings(open_study(own), deep=True)}
    assert found["prepared"][0] == "good"
    assert "7a, A1, PIT, V4" in found["prepared"][1]


def test_a_plan_is_of_the_studys_regions(own: Path) -> None:
    for split in ("train", "val"):  # images to classify are there
        (own.parent / "images" / split).mkdir(parents=True)
    own.write_text(own.read_text(encoding="utf-8") + 'classification = "images"\n', encoding="utf-8")
    jobs = {job.name: job.parameters for job in make_graph({"study": str(own)}).jobs}
    assert jobs["responses"]["rois"] == "A1 V4 7a PIT"
    assert jobs["summary"]["rois"] == "none random A1-shuffle PIT-shuffle A1 V4 7a PIT"
    assert {name for name in jobs if name.startswith("predictor_")} == {f"predictor_{roi}_seed0" for roi in OWN}
    with pytest.raises(InputError, match=r"unknown condition 'PITT.*\n.*7a, A1, PIT, V4"):
        make_graph({"study": str(own), "rois": "A1 PITT"})


def blocks(language: str) -> list[str]:
    page = (Path(__file__).parents[1] / "data/README.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def test_what_the_page_shows_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in blocks("toml"):
        (tmp_path / "study.toml").write_text(text)
        study = open_study(tmp_path / "study.toml")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "responses").mkdir()
    ids, rng = np.repeat(np.arange(4), 3), np.random.default_rng(0)
    given = {"image_id": ids, "shared": ids < 1, "repeat": np.tile([1, 2, 3], 4), "affine": np.eye(4)}
    given |= {"responses": rng.normal(size=(12, 2)), "voxels": np.array([[1, 2, 3], [4, 5, 6]])}
    (code,) = [block for block in blocks("python") if "h5py" in block]
    exec(code, {**given, "images": np.zeros((4, 8, 8, 3), np.uint8)})
    with h5py.File("responses/session01.hdf5") as session:
        assert "IT" in session["regions"]
    trials = data.load_trials(study, ["IT"], progress=False)["IT"]
    assert (trials.responses.shape, trials.repeats.max(), len(trials.voxels)) == ((12, 2), 3, 2)
    volume = data.region_volume(study, ["IT"])
    assert volume is not None
    assert volume.shape == (81, 104, 83)
    assert data.load_stimuli(study.stimuli, ids[:1], 8).pixels.shape == (1, 3, 8, 8)


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda study, trials: data.split_images(data.average_repeats(trials, np.array([], int))), "mark some images"),
        (
            lambda study, trials: metrics.drive(trials.responses, trials.image_ids, trials.repeats, np.full(3, 99)),
            "come again",
        ),
        (lambda study, trials: data.load_trials(study, ["TO"], progress=False), "name regions that it holds"),
        (lambda study, trials: other_sites(study), "same voxels or sites"),
    ],
)
def test_words_are_not_of_another_data_set(own: Path, ask: Callable[..., object], told: str) -> None:
    """NSD is named as one case, if at all."""
    study = open_study(own)
    with pytest.raises(InputError, match=f"to do: .*{told}") as error:
        ask(study, data.load_trials(study, ["PIT"], progress=False)["PIT"])
    assert not re.search(r"nsd_expdesign|subject", str(error.value))
    assert "NSD" not in str(error.value).replace("of NSD, ", "")


def other_sites(study: Study) -> object:
    first = read_session(study.responses / "session01.hdf5", ["PIT"])
    fewer = replace(first, responses={"PIT": first.responses["PIT"][:, :2]}, voxels={"PIT": first.voxels["PIT"][:2]})
    write_session(study.responses / "session02.hdf5", fewer)
    return data.load_trials(study, ["PIT"], progress=False)


def test_a_reader_who_leaves_ends_a_command_without_a_traceback(own: Path, tmp_path: Path) -> None:
    (tmp_path / "data/raw").mkdir(parents=True)
    (tmp_path / "data/raw/mine").symlink_to(own.parent)
    process = subprocess.Popen(
        [sys.executable, "-m", "nbtools", "doctor", "mine"],
        env={**os.environ, "NBTOOLS_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    told = process.stderr.read()
    assert process.wait() == 1
    assert "BrokenPipe" not in told
    assert "Traceback" not in told


def test_a_study_that_is_not_there_is_answered_with_those_that_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))
    with pytest.raises(InputError, match="there are no studies"):
        open_study("mien")
    for place in ("raw/mine", "derived/demo", "raw/demo"):
        (tmp_path / "data" / place).mkdir(parents=True)
        (tmp_path / "data" / place / "study.toml").touch()
    with pytest.raises(InputError, match="there are demo, mine\n"):
        open_study("mien")


@pytest.mark.parametrize(
    ("study", "says"),
    [
        ("tiny", "make it: `python -m nbtools world tiny`"),
        ("demo-null", "make it: `python -m nbtools world demo-null`"),
        ("dmeo", r"did you mean demo\? if not, describe yours"),
        ("my stduy", r"did you mean my study\?"),
        ("haxbi", r"did you mean haxby\?"),
        ("nsd", "fetch it"),
        ("other", "describe yours as data/README.md shows, or take the simulated one"),
    ],
)
def test_of_a_study_that_is_not_there_the_command_that_makes_it_is_said(
    study: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))
    (tmp_path / "data/raw/my study").mkdir(parents=True)
    (tmp_path / "data/raw/my study/study.toml").write_text("")
    with pytest.raises(InputError, match=f"to do: +{says}"):
        open_study(study)


@pytest.mark.parametrize(
    ("words", "made"),
    [
        ("tiny", "tiny tiny beyond 1 False"),
        ("demo-null", "demo-null demo null 1 False"),
        ("tiny-labels-subj03 --seed 4", "tiny-labels-subj03 tiny labels 3 False"),
        ("tiny --truth null", "tiny tiny null 1 False"),
        ("demo-2 --subject 2", "demo-2 demo beyond 2 False"),
        ("--profile tiny --subject 2", "tiny-subj02 tiny beyond 2 False"),
        ("--dorsal", "demo-dorsal demo beyond 1 True"),
        ("tiny-dorsal", "tiny-dorsal tiny beyond 1 True"),
        ("", "demo demo beyond 1 False"),
    ],
)
def test_a_world_with_a_usual_name_is_the_world_that_it_says(
    words: str, made: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr("nbtools.data.make_study", lambda folder, **settings: asked.update(settings, folder=folder))
    assert main(["world", *words.split()]) == 0
    assert " ".join(str(asked[key]) for key in ("name", "profile", "truth", "subject", "dorsal")) == made
    assert asked["folder"].name == asked["name"]
