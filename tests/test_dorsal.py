"""The simulated brain's dorsal regions: an addition that leaves every byte of the ventral ones as it was."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file
from test_synthetic import digests, session_file, shown, truth, volumes

from nbtools.conditions import HIERARCHY, ROI_LABELS
from nbtools.data.brains.measured import load_trials
from nbtools.data.names import Truth
from nbtools.data.study import open_study
from nbtools.data.synthetic import make_study
from nbtools.data.synthetic.anatomy import build_anatomy, build_dorsal
from nbtools.data.synthetic.recipe import DORSAL_REGIONS, RECIPE, VOXELS, Settings, dorsal_regions
from nbtools.data.synthetic.subject import noise_sd
from nbtools.data.synthetic.world import World
from nbtools.errors import InputError


@pytest.fixture(scope="module")
def plain(tiny_study: Path) -> Path:
    return tiny_study.parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_study(tmp_path_factory.mktemp("dorsal"), profile="tiny", dorsal=True, progress=False).parent


def test_only_what_holds_the_new_voxels_changes(plain: Path, folder: Path) -> None:
    before, after = digests(plain), digests(folder)
    new = {f"truth/{roi}.safetensors" for roi in DORSAL_REGIONS} | {"truth/features_dorsal.safetensors"}
    assert after.keys() - before.keys() == new
    changed = {name for name in before if before[name] != after[name]}
    holding = {name for name in changed if name.startswith("nsd/")}
    assert changed - holding == {"settings.json", "study.toml", "truth/subject.json"}
    assert all("/roi/" in name or "betas_session" in name for name in holding)


def test_the_ventral_voxels_are_the_same_bit_by_bit(plain: Path, folder: Path) -> None:
    new = np.isin(volumes(folder)[0], [label for roi in DORSAL_REGIONS for label in ROI_LABELS[roi]])
    for before, after in zip(volumes(plain), volumes(folder), strict=True):
        np.testing.assert_array_equal(before[~new], after[~new])
        assert (before[new] == 0).all(), "in the brain, and nowhere else"
    one, two = (np.asarray(nib.load(session_file(path, 1)).dataobj) for path in (plain, folder))
    np.testing.assert_array_equal(one[~new], two[~new])
    assert (one[new] == 0).all()
    assert (two[new].std(axis=1) > 100).all()


@pytest.mark.filterwarnings("ignore:.*do not vary")
def test_they_are_read_beside_the_ventral_ones(plain: Path, folder: Path) -> None:
    study = open_study(folder)
    assert (study.name, study.hierarchy, study.dorsal) == ("tiny-dorsal", HIERARCHY, DORSAL_REGIONS)
    trials = load_trials(study, ["V1", *DORSAL_REGIONS], progress=False)
    assert {roi: trials[roi].responses.shape[1] for roi in DORSAL_REGIONS} == dict.fromkeys(DORSAL_REGIONS, VOXELS)
    alone = load_trials(open_study(plain), ["V1"], progress=False)["V1"]
    np.testing.assert_array_equal(trials["V1"].responses, alone.responses)


def test_a_study_made_before_is_still_itself() -> None:
    """What tells a folder's study says nothing of dorsal regions where there are none."""
    settings = Settings("tiny", 0, "tiny", "beyond", 32)
    before = {"name": "tiny", "seed": 0, "profile": "tiny", "truth": "beyond", "image_size": 32, "subject": 1}
    assert json.loads(World(Path(), settings).identity()) == {"recipe": RECIPE, **before}
    assert json.loads(World(Path(), replace(settings, dorsal=True)).identity())["dorsal"] is True


def test_the_regions_fit_beside_the_ventral_ones() -> None:
    ventral = build_anatomy(Settings("any", 0, "tiny", "beyond", 32))
    dorsal = build_dorsal(ventral)
    assert {roi: len(voxels) for roi, voxels in dorsal.live.items()} == dict.fromkeys(DORSAL_REGIONS, VOXELS)
    taken = np.concatenate([ventral.scanned, dorsal.scanned])
    assert len(np.unique(taken, axis=0)) == len(taken)


LATENTS = {"position": ["dx", "dy"], "size": ["scale"]}


def explained(planted: dict[str, np.ndarray], scenes: pd.DataFrame) -> dict[str, float]:
    """Share of a region's signal that goes linearly with where the object lies, and with how large it is."""
    shares, signal = {}, planted["signal"]
    for name, columns in LATENTS.items():
        design = np.column_stack([np.ones(len(scenes)), scenes[columns]])
        fitted = design @ np.linalg.lstsq(design, signal, rcond=None)[0]
        shares[name] = float(fitted.var(axis=0).mean() / signal.var(axis=0).mean())
    return shares


@pytest.mark.parametrize("roi", DORSAL_REGIONS)
def test_position_and_size_are_what_is_planted(folder: Path, roi: str) -> None:
    planted, blocks = truth(folder, roi), load_file(folder / "truth/features.safetensors")
    blocks |= load_file(folder / "truth/features_dorsal.safetensors")
    tuning = {name.removeprefix("tuning."): w for name, w in planted.items() if name.startswith("tuning.")}
    shares = {block: (blocks[block] @ weights).var(axis=0).mean() for block, weights in tuning.items()}
    assert shares == pytest.approx(dorsal_regions("beyond")[roi].weights, abs=0.12)
    scenes = pd.read_parquet(folder / "truth/scanner.parquet")
    known, ventral = explained(planted, scenes), explained(truth(folder, "TO"), scenes)
    assert known["position"] > 0.2 > 0.1 > ventral["position"]
    assert (known["size"] > 0.2) == (roi == "IPS0")
    assert ventral["size"] < 0.1


def test_the_betas_hold_the_signal_where_it_was_planted(folder: Path) -> None:
    planted = truth(folder, "IPS0")
    measured = np.asarray(nib.load(session_file(folder, 1)).dataobj)[tuple(planted["ijk"].T)].T
    signal = planted["signal"][shown(folder, 1)]
    r = [np.corrcoef(m, s)[0, 1] for m, s in zip(measured.T, signal.T, strict=True)]
    expected = np.sqrt(1 / (1 + noise_sd(planted["noise_ceiling"]) ** 2))
    assert np.mean(r) == pytest.approx(expected.mean(), abs=0.02)


@pytest.mark.parametrize("name", ["beyond", "labels", "null", "quality"])
def test_the_shares_of_a_dorsal_region_add_up_to_one(name: Truth) -> None:
    planted = dorsal_regions(name)
    assert all(sum(region.weights.values()) == pytest.approx(1) for region in planted.values())
    if name in ("null", "quality"):
        assert len({str(region.weights) for region in planted.values()}) == 1


BAD = {
    "one of the ventral ones": '["V3A", "V1"]',
    "twice": '["V3A", "V3A"]',
    "no name": '["V3A", ""]',
    "not of this atlas": '["V3A", "IPS9"]',
}


@pytest.mark.parametrize("case", BAD)
def test_a_second_hierarchy_has_regions_of_its_own(plain: Path, tmp_path: Path, case: str) -> None:
    file = tmp_path / "study.toml"
    file.write_text(f"{(plain / 'study.toml').read_text()}dorsal = {BAD[case]}\n")
    with pytest.raises(InputError, match=r"dorsal cannot be|IPS9"):
        open_study(file)
