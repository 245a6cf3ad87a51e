"""The brain view, the geometry explorer and the study explorer: what they say, draw and do, without a browser."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
import torch
from scipy import stats
from scipy.spatial.distance import pdist, squareform
from traitlets import TraitError

from nbtools.conditions import HIERARCHY
from nbtools.data.brains import anatomy
from nbtools.data.brains.anatomy import RegionVolume, Surface
from nbtools.data.images.sets import ImageSet
from nbtools.data.study import open_study
from nbtools.errors import InputError, Note
from nbtools.metrics.brain.drive import drive, extremes
from nbtools.metrics.geometry.embedding import image_map, manifold_tables, pairs, rdm_tables, square, top_components
from nbtools.plots.brain.spaces import ranked
from nbtools.plots.looks import color
from nbtools.plots.studies.curves import compared_curves
from nbtools.runs import folders, several
from nbtools.widgets import brain_state, geometry_state, study_state
from nbtools.widgets.brain_state import BrainTables
from nbtools.widgets.brain_view import BrainView
from nbtools.widgets.geometry_explorer import GeometryExplorer
from nbtools.widgets.geometry_state import SpaceTables
from nbtools.widgets.parts import Controls, Explorer, LiveFigure, choice, fill, slider, table_html
from nbtools.widgets.study_explorer import StudyExplorer
from nbtools.widgets.study_state import HierarchyChoice

TITLE = "Regions (tiny study, simulated)"
ROIS = ("V1", "TO")


def some_images(n: int = 20) -> ImageSet:
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (n, 3, 8, 8), dtype=np.uint8))
    return ImageSet(pixels, torch.full((n,), -1), np.arange(n) * 3, ())


# --- which images drive a region ----------------------------------------------------------------------------


def trials(n_images: int = 60, n_voxels: int = 30, signal: float = 1.0):
    """Responses (n_trials, n_voxels) whose mean over voxels is known, ids and repeats."""
    rng = np.random.default_rng(1)
    truth = signal * rng.standard_normal(n_images)
    ids, repeats = np.repeat(np.arange(n_images) * 3, 3), np.tile([1, 2, 3], n_images)
    noise = rng.standard_normal((3 * n_images, 1)) + 0.1 * rng.standard_normal((3 * n_images, n_voxels))
    return truth, truth[ids // 3][:, None] + noise, ids, repeats


def test_unreliable_voxels_do_not_count():
    _, responses, ids, repeats = trials()
    ceilings = np.full(30, 50.0)
    ceilings[:10] = 2.0
    responses[:, :10] = 1e6
    table = drive(responses, ids, repeats, ceilings)
    order = np.random.default_rng(0).permutation(len(ids))
    np.testing.assert_allclose(table["response"], responses[:, 10:].mean(axis=1))
    pd.testing.assert_frame_equal(table, drive(responses[order], ids[order], repeats[order], ceilings))


def test_images_seen_less_than_three_times_are_left_out():
    _, responses, ids, repeats = trials()
    assert 0 not in set(drive(responses[1:], ids[1:], repeats[1:], np.full(30, 50.0))["image_id"])


def test_extremes_are_the_ends_of_the_order():
    _, responses, ids, repeats = trials()
    table = drive(responses, ids, repeats, np.full(30, 50.0))
    chosen = extremes(table, 4)
    means = table.groupby("image_id")["response"].mean().sort_values()
    assert chosen.loc[chosen["end"] == "most", "image_id"].tolist() == means.index[::-1][:4].tolist()
    assert chosen.loc[chosen["end"] == "least", "response"].tolist() == pytest.approx(means.iloc[:4].tolist())


def test_held_out_responses_do_not_flatter():
    """Without any signal the chosen images' own means are far from 0, those of left-out repeats are not."""
    _, responses, ids, repeats = trials(n_images=900, signal=0.0)
    found = (
        extremes(drive(responses, ids, repeats, np.full(30, 50.0)), 50).groupby("end")[["response", "held_out"]].mean()
    )
    assert found.loc["most", "response"] > 0.8
    assert abs(found["held_out"]).max() < 0.2  # 150 trials an end: standard error 0.08


@pytest.mark.parametrize(
    "bad",
    [
        lambda r, i, n: drive(r, i[1:], n, np.full(30, 50.0)),
        lambda r, i, n: drive(r, i, n, np.zeros(30)),
        lambda r, i, n: drive(r[::3], i[::3], n[::3], np.full(30, 50.0)),
        lambda r, i, n: extremes(drive(r, i, n, np.full(30, 50.0)), 31),
    ],
)
def test_bad_input_gives_no_drive(bad):
    _, responses, ids, repeats = trials()
    with pytest.raises(InputError):
        bad(responses, ids, repeats)


# --- low-dimensional pictures -------------------------------------------------------------------------------


def test_a_plane_is_found_again():
    xy = np.random.default_rng(0).standard_normal((12, 2))
    distances = squareform(pdist(xy))
    found = image_map(distances, np.arange(12))
    np.testing.assert_allclose(squareform(pdist(found[["x", "y"]])), distances, atol=1e-3)
    assert found["stress"].iloc[0] < 1e-3


def test_the_map_is_better_than_the_classical_solution_and_repeats():
    distances = squareform(pdist(np.random.default_rng(0).standard_normal((20, 9))))
    found = image_map(distances, np.arange(20))
    pd.testing.assert_frame_equal(found, image_map(distances, np.arange(20)))
    values, vectors = np.linalg.eigh(-0.5 * (np.eye(20) - 1 / 20) @ distances**2 @ (np.eye(20) - 1 / 20))
    classical = pdist(vectors[:, -2:] * np.sqrt(values[-2:]))
    stress = np.sqrt(np.square(classical - squareform(distances)).sum() / np.square(classical).sum())
    assert 0.05 < found["stress"].iloc[0] < stress


def test_pairs_and_square_are_inverse_in_any_order():
    ids = np.array([7, 3, 5, 11])
    distances = squareform(np.arange(1.0, 7.0))
    order = np.array([2, 0, 3, 1])
    np.testing.assert_array_equal(square(pairs(distances, ids), ids[order]), distances[np.ix_(order, order)])
    with pytest.raises(InputError, match="pairs"):
        square(pairs(distances, ids).iloc[1:], ids)


def test_top_components_hold_what_the_variance_says():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 6)) * [5, 4, 3, 0.1, 0.1, 0.1]
    found = top_components(x, np.arange(50), np.repeat(["a", "b"], 25))
    variances = np.sort(np.linalg.eigvalsh(np.cov(x.T)))[::-1]
    np.testing.assert_allclose(found[["c1", "c2", "c3"]].var().to_numpy(), variances[:3])
    assert found["share"].iloc[0] == pytest.approx(variances[:3].sum() / variances.sum())


@pytest.mark.parametrize(
    "bad",
    [
        lambda: image_map(np.ones((4, 4)), np.arange(4)),
        lambda: image_map(np.array([[0, 1.0], [2.0, 0]]), np.arange(2)),
        lambda: pairs(squareform([1.0, 2, 3]), [1, 1, 2]),
        lambda: top_components(np.full((9, 4), np.nan), np.arange(9), np.arange(9)),
        lambda: top_components(np.ones((9, 2)), np.arange(9), np.arange(9)),
    ],
)
def test_bad_input_gives_no_picture(bad):
    with pytest.raises(InputError):
        bad()


# --- slices and surfaces ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def volume(tiny_study: Path) -> RegionVolume:
    source = open_study(str(tiny_study))
    return anatomy.load_volume(source.nsd, source.subject, ROIS)


def test_slices_meet_in_their_voxel(volume):
    at = anatomy.centre_of(volume, "TO")
    for cut in anatomy.slices(volume, at).values():
        horizontal, vertical = cut.cross
        assert cut.labels[vertical, horizontal] == volume.labels[at] == 2
    assert anatomy.region_at(volume, at) == "TO"
    assert anatomy.region_at(volume, (0, 0, 0)) is None
    with pytest.raises(InputError, match="voxel"):
        anatomy.slices(volume, (99, 0, 0))


def test_volumes_are_turned_to_right_front_up(tmp_path):
    """A file stored right to left, front to back gives the same picture; anatomy is taken where it is."""
    folder = tmp_path / "nsddata/ppdata/subj01/func1pt8mm"
    (folder / "roi").mkdir(parents=True)
    labels = np.zeros((4, 5, 6), np.int16)
    labels[3, 1, 2] = 1
    flipped = nib.Nifti1Image(labels[::-1, ::-1], np.diag([-1.8, -1.8, 1.8, 1.0]))
    nib.save(flipped, folder / "roi/Kastner2015.nii.gz")
    nib.save(
        nib.Nifti1Image((labels[::-1, ::-1] > 0).astype(np.int16), flipped.affine), folder / "roi/nsdgeneral.nii.gz"
    )
    found = anatomy.load_volume(tmp_path, 1, ["V1"])
    np.testing.assert_array_equal(found.labels, labels)
    anatomical = np.zeros((4, 5, 6), np.int16)
    anatomical[0] = 900
    nib.save(nib.Nifti1Image(anatomical[::-1, ::-1], flipped.affine), folder / "T1_to_func1pt8mm.nii.gz")
    np.testing.assert_allclose(anatomy.load_volume(tmp_path, 1, ["V1"]).underlay, anatomical / 900)
    nib.save(nib.Nifti1Image(anatomical[:2], flipped.affine), folder / "T1_to_func1pt8mm.nii.gz")
    with pytest.raises(InputError, match="shape"):
        anatomy.load_volume(tmp_path, 1, ["V1"])


def sphere(n: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (n², 3) and faces of a ball."""
    polar, around = np.meshgrid(np.linspace(0.1, 3.0, n), np.linspace(0, 2 * np.pi, n, endpoint=False), indexing="ij")
    xyz = 50 * np.stack([np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], -1)
    corner = [(i * n + j, i * n + (j + 1) % n) for i in range(n - 1) for j in range(n)]
    faces = [face for a, b in corner for face in ((a, b, a + n), (b, b + n, a + n))]
    return xyz.reshape(-1, 3), np.array(faces)


def write_surfaces(folder: Path) -> np.ndarray:
    (folder / "surf").mkdir(parents=True)
    (folder / "label").mkdir()
    xyz, faces = sphere()
    atlas = np.zeros(len(xyz), np.float32)
    atlas[:20], atlas[40:60], atlas[100:] = 1, 13, 25
    for prefix in ("lh", "rh"):
        nib.freesurfer.write_geometry(folder / f"surf/{prefix}.inflated", xyz, faces)
        nib.freesurfer.write_morph_data(folder / f"surf/{prefix}.sulc", np.sin(xyz[:, 0]))
        nib.save(nib.MGHImage(atlas[:, None, None], np.eye(4)), folder / f"label/{prefix}.Kastner2015.mgz")
    return atlas


def test_surfaces_are_read_as_freesurfer_writes_them(tmp_path):
    assert anatomy.load_surfaces(tmp_path, 1, ROIS) == ()
    atlas = write_surfaces(tmp_path / "nsddata/freesurfer/fsaverage")
    left, right = anatomy.load_surfaces(tmp_path, 1, ROIS)
    assert (left.hemisphere, right.hemisphere) == ("left", "right")
    np.testing.assert_array_equal(left.labels, np.select([atlas == 1, atlas == 13], [1, 2]))
    np.testing.assert_allclose(left.coordinates, sphere()[0], atol=1e-4)
    assert left.sulc is not None
    write_surfaces(tmp_path / "nsddata/freesurfer/subj01")
    (tmp_path / "nsddata/freesurfer/subj01/label/rh.Kastner2015.mgz").unlink()
    with pytest.raises(InputError, match="cannot be read"):
        anatomy.load_surfaces(tmp_path, 1, ROIS)
    short = nib.MGHImage(atlas[:9, None, None], np.eye(4))
    nib.save(short, tmp_path / "nsddata/freesurfer/subj01/label/lh.Kastner2015.mgz")
    with pytest.raises(InputError, match="fit"):
        anatomy.load_surfaces(tmp_path, 1, ROIS)


# --- the brain view -----------------------------------------------------------------------------------------


def brain_tables(images: ImageSet) -> BrainTables:
    rng = np.random.default_rng(0)
    per_voxel = pd.DataFrame({"roi": np.repeat(ROIS, 30), "voxel": np.tile(range(30), 2)})
    per_voxel = per_voxel.assign(noise_ceiling=80 * rng.random(60), r=rng.random(60))
    pattern = pd.DataFrame({"roi": np.repeat(ROIS, 40), "control": np.tile(["trained", "shuffled"], 40)})
    driven = pd.DataFrame({"roi": np.repeat(ROIS, 60), "image_id": np.tile(np.repeat(images.ids, 3), 2)})
    driven = driven.assign(repeat=np.tile([1, 2, 3], 40), response=rng.standard_normal(120))
    pattern = pattern.assign(pattern_r=rng.random(80))
    return BrainTables(per_voxel.drop(columns="r"), per_voxel, pattern, driven)


@pytest.fixture
def brain(volume: RegionVolume) -> BrainView:
    xyz, faces = sphere()
    labels = np.repeat(np.array([0, 1, 2], np.int16), 48)
    surface = Surface("left", xyz, faces, labels, None, ROIS)
    images = some_images()
    return BrainView(volume, brain_tables(images), images, [surface], title=TITLE)


def histogram(view: BrainView) -> np.ndarray:
    return np.asarray(next(trace for trace in view.figure.drawn.data if trace.type == "histogram").x)


def point(widget: LiveFigure, trace: int, how: str = "click", **at: object) -> None:
    """Point at a place of a figure, as the page tells it."""
    widget._handle_custom_msg({"how": how, "trace": trace, **at}, [])


def shows(view: BrainView, roi: str) -> bool:
    """Whether every part of the view is about this region."""
    ceilings = view.tables.ceilings
    same = np.array_equal(histogram(view), ceilings.loc[ceilings["roi"] == roi, "noise_ceiling"])
    named = f"drive {roi} most" in view.driven.value and f"{roi} has 30 voxels" in view.words.value
    return bool(same and named and view.controls["region"].value == roi)


def test_every_way_to_choose_a_region_shows_it(brain, volume):
    assert shows(brain, "TO")
    brain.controls["region"].value = "V1"
    assert shows(brain, "V1")
    assert [brain.controls[axis].value for axis in "xyz"] == list(anatomy.centre_of(volume, "V1"))
    i, j, k = anatomy.centre_of(volume, "TO")
    point(brain.figure, 2 * 4, x=i, y=j)  # on the axial slice at V1's height
    for axis, coordinate in zip("xyz", (i, j, k), strict=True):
        brain.controls[axis].value = coordinate
    assert shows(brain, "TO")
    point(brain.surfaces[0], 0, index=60)
    assert shows(brain, "V1")


def test_clicks_reach_the_traces(brain):
    """As the browser sends them: through the figure widget's own dispatch."""
    plane = 2  # axial
    x, y, _ = anatomy.centre_of(brain.volume, "TO")
    point(brain.figure, plane * 4 + 1, x=x - 1, y=y)
    assert brain.state.at[:2] == (x - 1, y)
    assert "voxel" in brain.words.value


def test_a_slider_moves_the_slice_and_keeps_the_region(brain):
    before = np.array(brain.figure.drawn.data[1].z, float)
    brain.controls["x"].value = 0  # out of the brain
    assert brain.state.roi == "TO"
    assert "none of the regions" in brain.words.value
    assert not np.array_equal(before, np.array(brain.figure.drawn.data[1].z, float), equal_nan=True)
    assert len(brain.figure.drawn.data[1].z) == brain.volume.labels.shape[2], "the sagittal slice has z upwards"


def test_the_brain_view_says_all_in_words(brain):
    alternatives = re.findall(r'alt="([^"]+)"', brain.driven.value)
    assert len(alternatives) == 12
    assert all(re.fullmatch(r"image \d+: [+-]\d\.\d\d", text) for text in alternatives)
    assert 'aria-live="polite"' in brain.words.value
    assert "simulated" in brain.figure.drawn.layout.title.text


def test_regions_keep_their_colours_and_names(brain):
    heatmap = brain.figure.drawn.data[1]
    assert [color for _, color in heatmap.colorscale][::2] == [color(roi) for roi in ROIS]
    names = {str(text) for trace in brain.figure.drawn.data[3:12:4] for text in trace.text or ()}
    assert "TO" in names, "a name on the patch, for those who do not see the colour"
    assert brain.surfaces[0].drawn.data[0].type == "mesh3d"


def test_without_a_surface_a_note_says_so(volume):
    images = some_images()
    view = BrainView(volume, brain_tables(images), images, title=TITLE)
    assert "no cortical surface" in view.children[-3].value


def test_a_region_without_numbers_is_refused(volume):
    images = some_images()
    tables = brain_tables(images)
    for name in vars(tables):
        table = getattr(tables, name)
        lacking = BrainTables(**{**vars(tables), name: table[table["roi"] == "V1"]})
        with pytest.raises(InputError, match=name):
            BrainView(volume, lacking, images, title=TITLE)


# --- the geometry explorer ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tables() -> SpaceTables:
    rng = np.random.default_rng(0)
    ids, labels = some_images().ids, np.repeat(["disk", "star"], 10)
    centres = 3 * rng.standard_normal((2, 12))
    spaces = {f"measured {roi}": centres[np.repeat([0, 1], 10)] + rng.standard_normal((20, 12)) for roi in ROIS}
    order = ids[[3, 0, 12, 15, 7, 18]]
    rdms, maps = rdm_tables({**spaces, "pooled none": rng.standard_normal((20, 5))}, ids, order)
    components, manifolds = manifold_tables(spaces, ids, labels)
    return SpaceTables(rdms, maps, components, manifolds)


@pytest.fixture
def geometry(tables: SpaceTables) -> GeometryExplorer:
    classes = dict(zip(some_images().ids, np.repeat(["disk", "star"], 10), strict=True))
    return GeometryExplorer(tables, some_images(), classes, title=TITLE)


def test_tables_hold_correlation_distances_in_the_order_asked_for(tables):
    rng = np.random.default_rng(0)
    centres = 3 * rng.standard_normal((2, 12))
    values = centres[np.repeat([0, 1], 10)] + rng.standard_normal((20, 12))
    np.testing.assert_array_equal(tables.image_ids, some_images().ids[[3, 0, 12, 15, 7, 18]])
    expected = 1 - np.corrcoef(values[[3, 0, 12, 15, 7, 18]])
    np.testing.assert_allclose(tables.rdm("measured V1"), expected, atol=1e-12)


def test_hovering_and_typing_show_the_two_images(geometry, tables):
    point(geometry.figure, 1, "hover", x=2, y=4)
    assert (geometry.controls["first"].value, geometry.controls["second"].value) == (4, 2)
    alternatives = re.findall(r'alt="([^"]+)"', geometry.pair.value)
    assert alternatives == ["4: image 21, disk", "2: image 36, star"]
    assert f"{tables.rdm('measured V1')[4, 2]:.2f} in measured V1" in geometry.pair_words.value
    geometry.controls["second"].value = 5
    assert re.findall(r'alt="([^"]+)"', geometry.pair.value)[1] == "5: image 54, star"
    geometry.controls["first"].value = 5
    assert "two different images" in geometry.pair_words.value


def test_switching_spaces_redraws_all(geometry, tables):
    geometry.controls["left"].value = "measured TO"
    np.testing.assert_allclose(geometry.figure.drawn.data[0].customdata, tables.rdm("measured TO"))
    np.testing.assert_allclose(geometry.figure.drawn.data[2].x, tables.of("maps", "measured TO")["x"])
    titles = [note.text for note in geometry.figure.drawn.layout.annotations]
    assert "<b>measured TO</b>" in titles
    rho = stats.spearmanr(
        tables.of("rdms", "measured TO")["dissimilarity"], tables.of("rdms", "pooled none")["dissimilarity"]
    )
    assert f"ρ = {rho.statistic:.2f}" in geometry.words.value
    geometry.controls["right"].value = "measured TO"  # the same twice
    assert "ρ = 1.00" in geometry.words.value


def test_images_lie_where_the_map_says(geometry, tables):
    places = tables.of("maps", "measured V1")
    found = [(image.x, image.y) for image in geometry.figure.drawn.layout.images if image.xref == "x3"]
    np.testing.assert_allclose(found, places[["x", "y"]])


def test_manifolds_appear_where_there_are_classes(geometry):
    def shown() -> list[str]:
        box = geometry.manifolds
        return [] if box.layout.display == "none" else [trace.name for trace in box.children[0].drawn.data]

    assert shown() == ["disk", "star"], "the network's images have no classes here"
    geometry.controls["right"].value = "measured TO"
    assert shown() == ["disk", "star", "disk", "star"]
    looks = {(t.marker.color, t.marker.symbol) for t in geometry.manifolds.children[0].drawn.data}
    assert len(looks) == 2
    assert "measured TO: radius" in geometry.radii.value
    geometry.controls["left"].value = geometry.controls["right"].value = "pooled none"
    assert shown() == []
    assert "no class manifolds" in geometry.radii.value
    geometry.controls["left"].value = "measured V1"
    assert shown() == ["disk", "star"]


def test_ranks_run_from_the_most_alike_to_the_least():
    rdm = squareform([0.3, 0.1, 0.9])
    np.testing.assert_allclose(ranked(rdm)[[0, 0, 1], [1, 2, 2]], [0.5, 0, 1])
    assert np.isnan(np.diag(ranked(rdm))).all()


def test_places_outside_an_rdm_are_moved_to_its_rim(tables):
    state = geometry_state.pick_pair(tables, geometry_state.first_state(tables), -3, 99)
    assert (state.first, state.second) == (0, 5)


def test_tables_that_cannot_be_explored_are_refused(tables):
    whole = {name: getattr(tables, name) for name in ("rdms", "maps", "components", "manifolds")}
    for name in whole:
        with pytest.raises(InputError, match=name):
            SpaceTables(**{**whole, name: whole[name].drop(columns="space")})
    with pytest.raises(InputError, match="compare"):
        SpaceTables(**{**whole, "rdms": tables.of("rdms", "measured V1")})


# --- the study explorer -------------------------------------------------------------------------------------


def write_run(folder: Path, notebook: str, number: int, **own: object) -> Path:
    target = folder / notebook / f"run{number}"
    target.mkdir(parents=True)
    parameters = {**folders.defaults(notebook), "study": "tiny", **own}
    record = {"notebook": notebook, "parameters": parameters, "inputs": {}, "seconds": 12.5, "finished": "2026-01-01"}
    (target / folders.RECORD).write_text(json.dumps(record))
    return target


def decisions(condition: str, share: float) -> pd.DataFrame:
    right = np.random.default_rng(HIERARCHY.index(condition)).random(40)
    levels = {
        ("LinfPGD", 0.0): 0.9,
        ("LinfPGD", 4 / 255): share,
        ("LinfFGSM", 0.0): 0.9,
        ("LinfFGSM", 4 / 255): share + 0.1,
    }
    parts = [
        {"image_id": f"i{i}", "label": 1, "prediction": int(right[i] < level), "margin": 0.0, "attack": a, "epsilon": e}
        for (a, e), level in levels.items()
        for i in range(40)
    ]
    return pd.DataFrame(parts).assign(condition=condition, seed=0)


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A home with a study and a few runs, written as `runs` writes them."""
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))
    place = tmp_path / "data/derived/tiny"
    for part in ("nsd", "pictures"):
        (place / part).mkdir(parents=True)
    entries = {"name": "tiny", "simulated": True, "nsd": "nsd", "subject": 1, "classification": "pictures"}
    (place / "study.toml").write_text(
        "\n".join(f"{k} = {json.dumps(v)}" for k, v in entries.items()) + "\nimage_size = 8\n"
    )
    folder = tmp_path / "runs/tiny"
    for i, roi in enumerate(("V1", "V4", "TO")):
        predictor = write_run(folder, "02_neural_predictors", i, roi=roi)
        score = pd.DataFrame({"roi": roi, "pattern_r": [0.1 * i, 0.9], "control": ["trained", "shuffled"]})
        score.to_parquet(predictor / "pattern_r.parquet")
        network = write_run(folder, "03_guided_training", i, roi=roi, alpha=0.65)
        history = pd.DataFrame(
            {"epoch": [1, 1, 2, 2], "split": ["train", "validation"] * 2, "accuracy": [0.5, 0.4, 0.9, 0.8]}
        )
        history.assign(neural_r=[0.1, 0.2, 0.3, 0.1 * i]).to_parquet(network / "history.parquet")
        attacked = write_run(folder, "04_adversarial_attacks", i, roi=roi, alpha=0.65)
        decisions(roi, 0.3 + 0.2 * i).to_parquet(attacked / "decisions.parquet")
    other = write_run(folder, "04_adversarial_attacks", 9, roi="TO", alpha=0.9)
    decisions("TO", 0.1).to_parquet(other / "decisions.parquet")
    return "tiny"


def test_all_runs_say_what_they_reached(study):
    table = study_state.all_runs(study)
    assert len(table) == 10
    rows = table.set_index(["notebook", "roi", "alpha"]).sort_index()
    assert rows.loc[("02_neural_predictors", "TO"), "pattern r"].iloc[0] == pytest.approx(0.2)
    assert rows.loc[("03_guided_training", "V4", 0.65), "validation accuracy"] == 0.8
    expected = decisions("TO", 0.1).query("attack == 'LinfPGD' and epsilon > 0").prediction.mean()
    assert rows.loc[("04_adversarial_attacks", "TO", 0.9), "LinfPGD at 4/255"] == expected
    assert study_state.metrics_of(table)[:3] == ["pattern r", "validation accuracy", "neural r"]


@pytest.mark.parametrize(
    ("notebook", "words", "n"),
    [
        ("all", "", 10),
        ("03_guided_training", "", 3),
        ("all", "to", 4),
        ("all", "roi=TO alpha=0.65", 2),
        ("04_adversarial_attacks", "alpha=0.9", 1),
        ("all", "V", 0),
    ],
)
def test_the_filter_keeps_runs_that_hold_every_word(study, notebook, words, n):
    assert len(study_state.filtered(study_state.all_runs(study), notebook, words)) == n


def test_the_explorer_follows_its_filter(study):
    view = StudyExplorer(study)
    assert view.filters["notebook"].value == "03_guided_training"
    assert "3 runs" in view.table.value
    assert [trace.name for trace in view.curves.children[0].drawn.data[:3]] == ["V1", "V4", "TO"]
    assert "neural correlation r ends from 0 (V1" in view.curves_words.value
    view.filters["words"].value = "TO"
    assert len(view.curves.children[0].drawn.data) == 2, "two metrics of one network"
    view.filters["curves"].value = ("accuracy",)
    assert len(view.curves.children[0].drawn.data) == 1
    view.filters["notebook"].value = "04_adversarial_attacks"
    assert "2 runs" in view.table.value
    assert view.curves.layout.display == "none"
    assert "none of these runs was a training" in view.curves_words.value
    view.filters["words"].value = "no such run"
    assert "0 runs" in view.table.value
    view.filters["words"].value, view.filters["notebook"].value = "TO", "03_guided_training"
    assert view.curves.layout.display is None
    assert len(view.curves.children[0].drawn.data) == 1
    view.filters["metrics"].value = ("neural r",)
    assert "<th>neural r</th>" in view.table.value
    assert "validation accuracy" not in view.table.value


def test_a_long_table_shows_its_first_rows_and_says_so(study, monkeypatch):
    monkeypatch.setattr("nbtools.widgets.study_explorer._ROWS", 2)
    view = StudyExplorer(study)
    assert view.table.value.count("<tr") == 1 + 2
    assert "3 runs, the first 2 of them here: narrow the filter" in view.table.value
    view.filters["words"].value = "TO"
    assert "narrow" not in view.table.value


def test_the_hierarchy_follows_its_lists(study):
    view = StudyExplorer(study)
    assert view.networks["alpha"].value == 0.65
    shown = view.hierarchy.children[0]
    expected = decisions("TO", 0.7).query("attack == 'LinfPGD' and epsilon > 0").prediction.mean()
    assert [t.y[0] for t in shown.drawn.data if t.name == "TO"][1] == pytest.approx(expected)
    assert "3 conditions at α = 0.65" in view.hierarchy_words.value
    assert "one seed is no sample: no test" in view.hierarchy_words.value
    view.networks["attack"].value = "LinfFGSM"
    assert "LinfFGSM" in shown.drawn.layout.title.text
    expected = decisions("TO", 0.7).query("attack == 'LinfFGSM' and epsilon > 0").prediction.mean()
    assert [t.y[0] for t in shown.drawn.data if t.name == "TO"][1] == pytest.approx(expected)
    view.networks["alpha"].value = 0.9
    assert {t.name for t in view.hierarchy.children[0].drawn.data if t.name} >= {"TO"}
    assert "1 condition at α = 0.9" in view.hierarchy_words.value


def test_a_choice_that_was_not_run_says_what_to_do(study):
    with pytest.raises(InputError, match="no finished run"):
        study_state.hierarchy_of(study_state.all_runs(study), HierarchyChoice(0.1, (0,), "LinfPGD", 4 / 255))


def test_a_network_that_was_attacked_on_other_images_is_left_out_and_said(study):
    table = study_state.all_runs(study)
    table.loc[table["roi"] == "TO", "n_images"] = 7
    with pytest.warns(Note, match="on other images: TO"):
        accuracy, _ = study_state.hierarchy_of(table, HierarchyChoice(0.65, (0,), "LinfPGD", 4 / 255))
    assert len(accuracy)
    assert "TO" not in set(accuracy["condition"])


def test_a_study_without_runs_says_so(study, tmp_path):
    (tmp_path / "runs").rename(tmp_path / "gone")
    with pytest.raises(InputError, match="no finished run"):
        StudyExplorer(study)


def test_what_was_never_measured_is_not_drawn():
    unguided = pd.DataFrame({"accuracy": [0.5, 0.6], "neural_r": [np.nan, np.nan]})
    assert study_state.measured(unguided, ["accuracy", "neural_r", "pattern_r"]) == ["accuracy"]


def test_runs_are_told_apart_by_what_differs_within_a_condition():
    values = pd.DataFrame({"alpha": [0.9, 0.35, 0.9, np.nan], "seed": [0.0, 0.0, 0.0, 1.0]}).convert_dtypes()
    named = several.told_apart(["TO", "TO", "V1", "TO predictor"], values)
    assert named == ["TO alpha=0.9", "TO alpha=0.35", "V1", "TO predictor"]
    assert several.told_apart(["TO", "TO"], values.loc[2:3, ["seed"]]) == ["TO seed=0", "TO seed=1"]


def test_curves_have_the_conditions_look(study):
    figure = compared_curves(study_state.histories(study_state.all_runs(study)), ["accuracy"], title=TITLE)
    assert [trace.line.color for trace in figure.data] == [color(roi) for roi in ("V1", "V4", "TO")]
    assert figure.layout.annotations[0].text == "accuracy"
    with pytest.raises(InputError):
        compared_curves(study_state.histories(study_state.all_runs(study)), [], title=TITLE)


# --- what explorers share -----------------------------------------------------------------------------------


def test_a_readers_change_is_heard_once_and_a_set_value_not():
    heard = []
    controls = Controls(
        lambda: heard.append(controls.values()), left=choice("left", "ab", "a"), top=slider("top", 9, 1)
    )
    controls.set(left="b", top=3)
    assert heard == []
    controls["top"].value = 4
    assert heard == [{"left": "b", "top": 4}]
    with pytest.raises(TraitError):
        controls.set(left="c")
    controls["left"].value = "a"
    assert len(heard) == 2, "a value that is not there leaves nothing deaf"
    assert [control.description for control in controls.row().children] == ["left", "top"]


def test_names_in_tables_are_escaped():
    made = table_html("1 row", pd.DataFrame({"<b>space": ["<i>disk"], "radius": [0.123]}), "{:.2f}")
    assert "<b>" not in made
    assert "<i>" not in made
    assert "0.12<" in made
    assert "<table" not in table_html("0 rows", pd.DataFrame(), "{:.2f}")


def test_an_explorer_says_what_it_is_and_what_to_do(brain, geometry):
    for view, name in ((brain, "Brain view"), (geometry, "Geometry explorer")):
        assert f"<h2>{name}</h2><p>C" in view.children[0].value
    wicked = Explorer([], title="<script>", hint="a & b").children[0].value
    assert "<h2>&lt;script&gt;</h2><p>a &amp; b</p>" in wicked


# --- rules --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [brain_state, geometry_state, study_state])
def test_logic_knows_no_widgets(module):
    tree = ast.parse(Path(module.__file__).read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name for name in imported if name.split(".")[0] in ("ipywidgets", "plotly")}


def test_figures_hold_what_json_can_say(brain, geometry):
    """A NaN in a table of two axes breaks the message to the browser."""
    for figure in (brain.figure.drawn, geometry.figure.drawn):
        for trace in figure.data:
            values = np.asarray(trace.z, object).ravel() if trace.type == "heatmap" else np.array([])
            assert not [value for value in values if value is not None and not np.isfinite(value)]


def test_a_page_gets_plotly_once(brain, geometry):
    """A script of 5 MB in every figure is read so slowly that anywidget gives figures up."""
    (script,) = {view.children[-2] for view in (brain, geometry)}
    assert len(script.script) > 1e6
    assert len(Explorer([slider("x", 3, 1)], figures=False).children) == 2, "none where there are no figures"
    for figure in (brain.figure, geometry.figure, geometry.manifolds.children[0]):
        assert len(figure.get_state("_esm")["_esm"]) < 2000


def test_nothing_is_fetched_at_run_time(brain, geometry):
    for view in (brain, geometry):
        texts = [part.value for part in view.children if hasattr(part, "value")]
        assert not re.search(r"https?://", " ".join(map(str, texts)))


def test_a_page_that_comes_later_is_given_the_figure_of_now(brain, geometry):
    """A reload asks for the widgets' state; no axis, shape or note of another figure may be left in it."""
    before = brain.figure.get_state("_json")
    brain.controls["region"].value = "V1"
    geometry.controls["left"].value = "measured TO"
    assert brain.figure.get_state("_json") != before
    for widget, wanted in ((brain.figure, brain._drawn()), (geometry.figure, geometry._drawn())):
        assert json.loads(widget.get_state("_json")["_json"]) == json.loads(wanted.to_json())
    fill(geometry.manifolds, go.Figure(go.Bar(x=[1], y=[2])))  # after scenes in three dimensions
    assert set(json.loads(geometry.manifolds.children[0].get_state("_json")["_json"])["layout"]) <= {"template"}


def test_a_page_that_asks_is_answered(brain, monkeypatch):
    """Else it says that the kernel does not answer, and stops the controls."""
    page, answers = brain.children[-1], []
    monkeypatch.setattr(page, "send", answers.append)
    page._handle_custom_msg({}, [])
    assert answers == [{}]
