"""Names of regions and conditions: one spelling, one order, one colour each."""

from __future__ import annotations

import pytest

from nbtools import conditions
from nbtools.conditions import (
    CONDITIONS,
    DORSAL,
    HIERARCHY,
    ROI_LABELS,
    Condition,
    check_rois,
    nsd_regions,
    parse_condition,
    region_labels,
)
from nbtools.errors import InputError


def test_atlas_labels_are_those_of_the_paper() -> None:
    paper = {"V1": {1, 2}, "V2": {3, 4}, "V4": {7}, "VO": {8, 9}, "PHC": {10, 11}, "LO": {14, 15}, "TO": {12, 13}}
    assert {roi: set(ROI_LABELS[roi]) for roi in HIERARCHY} == paper
    assert HIERARCHY == ("V1", "V2", "V4", "VO", "PHC", "LO", "TO")
    labels = [label for both in ROI_LABELS.values() for label in both]
    assert sorted(labels) == list(range(1, 24))  # V1v to IPS5, no voxel in two regions


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("none", Condition("none", "none", None)),
        ("random", Condition("random", "random", "TO")),
        ("V1", Condition("V1", "roi", "V1")),
        ("IPS3", Condition("IPS3", "roi", "IPS3")),
        ("TO-shuffle", Condition("TO-shuffle", "shuffle", "TO")),
        ("labels", Condition("labels", "labels", None)),
        ("labels-guide", Condition("labels-guide", "labels-guide", "labels-guide")),
        ("ce-weight", Condition("ce-weight", "ce-weight", None)),
        ("decay-0.003", Condition("decay-0.003", "decay", None, 0.003)),
        ("decay-1e-05", Condition("decay-1e-05", "decay", None, 1e-5)),
        ("V4-manifold", Condition("V4-manifold", "manifold", "V4")),
        ("TO-shuffle-manifold", Condition("TO-shuffle-manifold", "manifold", "TO")),
        ("random-manifold", Condition("random-manifold", "manifold", "TO")),
    ],
)
def test_names_are_read(name: str, expected: Condition) -> None:
    assert parse_condition(name) == expected


def test_alpha_says_something_of_guided_networks_and_of_the_class_terms_weight_alone() -> None:
    weighted = [name for name in CONDITIONS if parse_condition(name).weighted]
    guided = [name for name in CONDITIONS if parse_condition(name).roi]
    assert sorted(weighted) == sorted([*guided, "ce-weight"])
    assert {"random", "TO-shuffle", "labels-guide", *HIERARCHY} <= set(guided)
    assert {"none", "labels", *conditions.DECAYS}.isdisjoint(weighted)


OTHERS = "TO- V1/V2 area.3b none-shuffle random-shuffle labels-shuffle TO-shuffle-shuffle -shuffle -manifold"
OTHERS += " labels-guide-shuffle labels-guide-manifold ce-weight-manifold ce-weight-0.5"
NO_MANIFOLDS = (
    "none-manifold labels-manifold decay-0.1-manifold TO-manifold-manifold TO-manifold-shuffle random-shuffle-manifold"
)
NO_DECAYS = "decay decay- decay-0 decay--1 decay-0.0030 decay-1e-5 decay-x"


@pytest.mark.parametrize("name", ["", "V1 ", *OTHERS.split(), *NO_MANIFOLDS.split(), *NO_DECAYS.split()])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="unknown condition"):
        parse_condition(name)


@pytest.mark.parametrize("name", ["v1", "TO-shuffled", "TO-manifolds", "V9", "V9-shuffle", "V9-manifold"])
def test_regions_that_are_not_there_are_refused_where_it_is_known(name: str) -> None:
    assert parse_condition(name).roi == name.removesuffix("-shuffle").removesuffix("-manifold")
    with pytest.raises(InputError, match=r"unknown condition.*\n.*\(V1, 7a, PIT\)"):
        parse_condition(name, regions=("V1", "7a", "PIT"))


def test_names_are_checked() -> None:
    check_rois(["V1", "7a", "VT-face"])
    for names in (["V1", "area 3b"], ["none"], ["V1/.."], [""]):
        with pytest.raises(InputError, match="no regions' names"):
            check_rois(names)
    with pytest.raises(InputError, match="no region"):
        check_rois([])


OWN = ("A1", "V1", "7a", "CIT", "PIT", "V4", "STS", "TE-face", "TO")


@pytest.mark.parametrize("n", [1, 2, 3, 7, 9])
def test_the_hierarchy_decides_controls_order_and_marks(n: int) -> None:
    own = OWN[:n]
    assert parse_condition("random", own).roi == own[-1]
    ends = list(dict.fromkeys([f"{own[0]}-shuffle", f"{own[-1]}-shuffle"]))
    assert conditions.baselines(own) == ("none", "random", *ends, *conditions.MATCHED)
    names = conditions.conditions_of(own)
    assert names == (*conditions.baselines(own), *conditions.DECAYS, *own)
    looks = {(conditions.color(name, own), conditions.dash(name), conditions.symbol(name, own)) for name in names}
    assert len(looks) == len(names)
    shades = [sum(bytes.fromhex(conditions.color(roi, own)[1:])) for roi in own]
    assert shades == sorted(shades)
    assert len(set(shades)) == n
    assert conditions.color(own[0], own) == conditions.color("V1")  # both ends are the paper's
    assert n == 1 or conditions.color(own[-1], own) == conditions.color("TO")
    assert conditions.color("elsewhere", own) == conditions.color("V3A")


def test_a_condition_is_told_apart_by_color_dash_and_symbol() -> None:
    names = [*CONDITIONS, *(f"{guide}-manifold" for guide in ("random", "TO-shuffle", *HIERARCHY))]
    looks = {name: (conditions.color(name), conditions.dash(name), conditions.symbol(name)) for name in names}
    assert len(set(looks.values())) == len(names)
    assert looks["TO-shuffle"][0] == looks["TO"][0] == looks["TO-manifold"][0] == looks["TO-shuffle-manifold"][0]
    assert looks["random-manifold"][0] == looks["random"][0]
    assert {conditions.color(roi) for roi in DORSAL}.isdisjoint(conditions.color(name) for name in CONDITIONS)


def test_regions_stand_in_nsds_volumes() -> None:
    assert region_labels("V4") == ("Kastner2015", (7,))
    assert region_labels("V4", "prf-visualrois") == ("prf-visualrois", (7,))
    assert region_labels("FFA", "prf-visualrois") == ("floc-faces", (2, 3))
    for roi, retinotopy in [("TO", "prf-visualrois"), ("VT", "Kastner2015"), ("V1", "Wang")]:
        with pytest.raises(InputError, match=f"NSD has no region {roi}"):
            region_labels(roi, retinotopy)
    regions = nsd_regions()
    assert len(set(regions)) == len(regions)
    assert {parse_condition(roi).roi for roi in regions} == set(regions)


def test_an_adopted_network_is_no_region_and_looks_like_no_other() -> None:
    names = [f"net-{name}" for name in ("robust50", "v2", "clip-RN50", "cifar", "a", "b")]
    assert {parse_condition(name).kind for name in names} == {"adopted"}
    assert not any(parse_condition(name).weighted for name in names), "α says nothing of them"
    looks = {name: (conditions.color(name), conditions.symbol(name)) for name in names}
    assert len(set(looks.values())) == len(names)
    others = {conditions.color(name) for name in (*CONDITIONS, *DORSAL)}
    assert others.isdisjoint(color for color, _ in looks.values())
    assert conditions.dash("net-v2") not in {conditions.dash(name) for name in CONDITIONS}
    for wrong in ("net", "net-", "net-TO-shuffle", "net-none", "net-a b", "net-x-manifold", "TO-net"):
        with pytest.raises(InputError, match="unknown condition"):
            parse_condition(wrong)
