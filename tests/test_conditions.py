"""Names of regions and conditions: one spelling, one order, one colour each."""

from __future__ import annotations

import re
from itertools import pairwise
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

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
from nbtools.guides import MODIFIERS, Part, Parts, example, fits, is_region
from nbtools.plots import looks as look
from nbtools.plots.marks import look_of, marker


def test_atlas_labels_are_those_of_the_paper() -> None:
    paper = {"V1": {1, 2}, "V2": {3, 4}, "V4": {7}, "VO": {8, 9}, "PHC": {10, 11}, "LO": {14, 15}, "TO": {12, 13}}
    assert {roi: set(ROI_LABELS[roi]) for roi in HIERARCHY} == paper
    assert HIERARCHY == ("V1", "V2", "V4", "VO", "PHC", "LO", "TO")
    labels = [label for both in ROI_LABELS.values() for label in both]
    assert sorted(labels) == list(range(1, 24))  # V1v to IPS5, no voxel in two regions


RIDGE = Part("TO", "TO", (("ridge", None),), "layer4")


def of(*rois: str) -> Parts:
    return tuple((Part(roi, roi), 1) for roi in rois)


WHOLE = {"noise": 0.0, "share": 1.0, "voxels": 1.0}  # a guide that is not made worse says so


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("none", Condition("none", ("none",))),
        ("random", Condition("random", ("random",), ((Part("random", "TO"), 1),))),
        ("V1", Condition("V1", ("roi",), of("V1"))),
        ("IPS3", Condition("IPS3", ("roi",), of("IPS3"))),
        ("TO-shuffle", Condition("TO-shuffle", ("roi", "shuffle"), of("TO"))),
        ("labels", Condition("labels", ("labels",))),
        ("labels-guide", Condition("labels-guide", ("labels-guide",), of("labels-guide"))),
        ("ce-weight", Condition("ce-weight", ("ce-weight",))),
        ("decay-0.003", Condition("decay-0.003", ("decay",), (), 0.003)),
        ("decay-1e-05", Condition("decay-1e-05", ("decay",), (), 1e-5)),
        ("V4-manifold", Condition("V4-manifold", ("roi", "manifold"), of("V4"))),
        ("TO-shuffle-manifold", Condition("TO-shuffle-manifold", ("roi", "shuffle", "manifold"), of("TO"))),
        ("random-manifold", Condition("random-manifold", ("random", "manifold"), ((Part("random", "TO"), 1),))),
        ("V1+V4+TO", Condition("V1+V4+TO", ("parts",), of("V1", "V4", "TO"))),
        ("V1~2+TO", Condition("V1~2+TO", ("parts",), ((Part("V1", "V1"), 2), *of("TO")))),
        ("TO-ridge@layer4", Condition("TO-ridge@layer4", ("roi", "depth", "ridge"), ((RIDGE, 1),))),
        ("labels-guide-shuffle", Condition("labels-guide-shuffle", ("labels-guide", "shuffle"), of("labels-guide"))),
    ],
)
def test_names_are_read(name: str, expected: Condition) -> None:
    assert parse_condition(name) == expected


def test_alpha_says_something_of_guided_networks_and_of_the_class_terms_weight_alone() -> None:
    weighted = [name for name in CONDITIONS if parse_condition(name).weighted]
    guided = [name for name in CONDITIONS if parse_condition(name).parts]
    assert sorted(weighted) == sorted([*guided, "ce-weight"])
    assert {"random", "TO-shuffle", "labels-guide", *HIERARCHY} <= set(guided)
    assert {"none", "labels", *conditions.DECAYS}.isdisjoint(weighted)


OTHERS = "TO- V1/V2 area.3b none-shuffle labels-shuffle TO-shuffle-shuffle TO-shuffle-scrambled -shuffle -manifold"
OTHERS += " ce-weight-shuffle ce-weight-manifold ce-weight-0.5 random-noise-0.5 random-ridge TO-rdm-cka V1-shuffle+TO"
OTHERS += " TO-noise TO-ridge-1 TO-noise-0 TO-images-1 TO-voxels-1e-3 TO-images-0.5-images-0.2 TO@ TO@a/b TO~0 TO~1.5"
OTHERS += " V1++TO +TO none+TO decay-0.1+TO V1:TO"
NO_MANIFOLDS = (
    "none-manifold labels-manifold decay-0.1-manifold TO-manifold-manifold V1+TO-manifold TO-rdm-manifold "
    "TO@layer1-manifold"
)
NO_DECAYS = "decay decay- decay-0 decay--1 decay-0.0030 decay-1e-5 decay-x"


@pytest.mark.parametrize("name", ["", "V1 ", *OTHERS.split(), *NO_MANIFOLDS.split(), *NO_DECAYS.split()])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="unknown condition"):
        parse_condition(name)


@pytest.mark.parametrize("name", ["v1", "TO-shuffled", "TO-manifolds", "V9", "V9-shuffle", "V9-manifold"])
def test_regions_that_are_not_there_are_refused_where_it_is_known(name: str) -> None:
    assert parse_condition(name).predictors == [
        {**WHOLE, "roi": name.removesuffix("-shuffle").removesuffix("-manifold")}
    ]
    with pytest.raises(InputError, match=r"unknown condition.*\n.* or a guide of V1, 7a, PIT\n"):
        parse_condition(name, regions=("V1", "7a", "PIT"))


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("TO-noise", "after noise comes a number above 0, such as noise-0.5: its predictor .* noise .in SD."),
        (
            "V1+TO-images-rdm@layer1",
            "after images comes a number above 0 and below 1, such as images-0.5: .* a share of",
        ),
        ("TO-voxels-shuffle", "after voxels comes a number"),
        ("TO-noise-1e-3", "after noise comes a number"),
        ("TO-noise-0", "after noise comes a number above 0, such"),
        ("V1~0.5+TO", "'V1~0.5': a weight is a whole number from 1, after its part, such as V1~2"),
        ("V1~0+TO", "'V1~0': a weight is"),
        ("V1~+TO", "'V1~': a weight is"),
        ("V1~2-rdm+TO", "'V1~2': a weight is a whole number from 1, after its part"),
        ("V1 + TO", r"write V1\+TO$"),
        ("+", r"\+ stands between two parts, without blanks: V1\+TO"),
        ("V1+", r"\+ stands between"),
        ("V1~2 +TO", r"write V1~2\+TO$"),
        ("TO-lowpass", r"after lowpass comes a number above 0, such as lowpass-8 \(below 8 cycles/image\): "),
        ("none-trades", r"after trades comes a number from 0.1 and below 255, such as trades-4 \(ε = 4/255\): "),
        ("none-gauss-25", "after gauss comes a number above 0 to 1, such as gauss-0.1"),
        ("none-at-0.0157", r"after at comes a number from 0.1 .*, such as at-4 \(ε = 4/255\): .*, ε in 1/255$"),
        ("TO-fast-0.0314", r"after fast comes .* such as fast-8 \(ε = 8/255\)"),
        ("none-pgd", "'none-pgd' is no source.* how it is trained: -at-4, .*-atboth-4"),
        ("none-tradse-3", "'none-tradse-3' is no source.* how it is trained: -trades-4, "),
        ("none-foo-3", "'none-foo-3' is no source.* how it is trained: -at-4, -atboth-4, -fast-4, .*-channel-8$"),
    ],
)
def test_a_word_without_its_number_is_answered_with_which_it_is(typed: str, says: str) -> None:
    with pytest.raises(InputError, match=f"to do: +{says}"):
        parse_condition(typed)


@pytest.mark.parametrize("name", ["V9", "v1", "TO-noise", "TO-shufle", "TO+V1", "V1 TO", *OTHERS.split()])
def test_what_a_refused_name_is_told_can_be_read_at_a_glance(name: str) -> None:
    with pytest.raises(InputError) as raised:
        parse_condition(name, regions=[*nsd_regions(), *(f"area{n}" for n in range(180))])
    assert max(map(len, str(raised.value).splitlines())) < 320


def test_the_grammar_of_an_error_has_every_word() -> None:
    with pytest.raises(InputError) as raised:
        parse_condition("?")
    assert all(f"-{example(word)}" in str(raised.value) for word in MODIFIERS)
    for word, changed in MODIFIERS.items():
        base = "TO" if word != "atboth" else "V1"
        assert parse_condition(f"{base}-{example(word)}").kind == word
        assert changed.number is None or fits(word, changed.number.example)


@pytest.mark.parametrize("name", ["TO-AT", "TO-AT-4", "NONE", "none_at_4", "TO_fast_4", "Start", "V1-Net"])
def test_a_mistyped_word_is_no_region(name: str) -> None:
    assert not is_region(name)
    with pytest.raises(InputError, match="unknown condition"):
        parse_condition(name)


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
    assert parse_condition("random", own).predictors == [{**WHOLE, "roi": own[-1]}]
    ends = list(dict.fromkeys([f"{own[0]}-shuffle", f"{own[-1]}-shuffle"]))
    assert conditions.baselines(own) == ("none", "random", *ends, *conditions.MATCHED)
    names = conditions.conditions_of(own)
    assert names == (*conditions.baselines(own), *conditions.DECAYS, *own)
    looks = {(look.color(name, own), look.dash(name), look.symbol(name, own)) for name in names}
    assert len(looks) == len(names)
    shades = [sum(bytes.fromhex(look.color(roi, own)[1:])) for roi in own]
    assert shades == sorted(shades)
    assert len(set(shades)) == n
    assert look.color(own[0], own) == look.color("V1")  # both ends are the paper's
    assert n == 1 or look.color(own[-1], own) == look.color("TO")
    assert look.color("elsewhere", own) == look.color("V3A")


def test_a_condition_is_told_apart_by_color_dash_and_symbol() -> None:
    names = [*CONDITIONS, *(f"{guide}-manifold" for guide in ("random", "TO-shuffle", *HIERARCHY))]
    looks = {name: (look.color(name), look.dash(name), look.symbol(name)) for name in names}
    assert len(set(looks.values())) == len(names)
    assert looks["TO-shuffle"][0] == looks["TO"][0] == looks["TO-manifold"][0] == looks["TO-shuffle-manifold"][0]
    assert looks["random-manifold"][0] == looks["random"][0]
    assert {look.color(roi) for roi in DORSAL}.isdisjoint(look.color(name) for name in CONDITIONS)


@pytest.mark.parametrize("kind", ["none-at", "none-gauss", "TO-at", "TO-noise", "V1+TO-rdm-lowpass"])
def test_numbers_of_one_kind_of_condition_look_apart(kind: str) -> None:
    """By sizes, which grey print and colour-blind readers see; without a guide also the darker, the larger."""
    usual = MODIFIERS[kind.rpartition("-")[2]].number.example  # type: ignore[union-attr]
    looks = [look_of(f"{kind}-{times * usual:g}", HIERARCHY) for times in (0.25, 0.5, 1, 2, 4)]
    scales = [look.scale for look in looks]
    assert all(second > 1.15 * first for first, second in pairwise(scales))
    assert 0.4 < scales[0] < scales[2] == look_of("TO", HIERARCHY).scale == 1 < scales[-1] < 1.6
    greys = [look.color for look in looks]
    assert greys == sorted(greys, reverse=True)
    assert len(set(greys)) == (5 if kind.startswith("none") else 1)
    assert marker(f"{kind}-{2 * usual:g}", HIERARCHY)["size"] > 1.3 * marker(f"{kind}-{usual:g}", HIERARCHY)["size"]


def test_regions_stand_in_nsds_volumes() -> None:
    assert region_labels("V4") == ("Kastner2015", (7,))
    assert region_labels("V4", "prf-visualrois") == ("prf-visualrois", (7,))
    assert region_labels("FFA", "prf-visualrois") == ("floc-faces", (2, 3))
    for roi, retinotopy in [("TO", "prf-visualrois"), ("VT", "Kastner2015"), ("V1", "Wang")]:
        with pytest.raises(InputError, match=f"NSD has no region {roi}"):
            region_labels(roi, retinotopy)
    regions = nsd_regions()
    assert len(set(regions)) == len(regions)
    assert {parse_condition(roi).parts[0][0].roi for roi in regions} == set(regions)


NUMBERS = st.decimals("0.0001", "0.9999", places=4).map(lambda number: f"{number:f}")
WORDS = [st.tuples(st.just(w), NUMBERS) if m.number else st.tuples(st.just(w)) for w, m in MODIFIERS.items()]
PART_WORDS = st.lists(st.one_of(WORDS[:6]), max_size=3, unique_by=lambda word: word[0])
SOURCES = st.sampled_from(["V1", "TO", "V3A", "7a", "VT-face", "random", "labels-guide"])
READOUTS = st.sampled_from(["", "@layer1", "@blocks.3.attn", "@features.12"])
WEIGHTS = st.sampled_from(["", "~1", "~2", "~3", "~6"])


@st.composite
def part_texts(draw: st.DrawFn) -> str:
    words = ["-".join(word) for word in draw(PART_WORDS)]
    return "-".join([draw(SOURCES), *words]) + draw(READOUTS) + draw(WEIGHTS)


@st.composite
def guide_texts(draw: st.DrawFn) -> tuple[list[str], str]:
    parts = draw(st.lists(part_texts(), min_size=1, max_size=4))
    ends = [
        "",
        "-shuffle",
        "-scrambled",
        "-manifold",
        "-manifold-shuffle",
        "-at-4",
        "-shuffle-gauss-0.50",
        "-at-4-shuffle",
    ]
    return parts, draw(st.sampled_from(ends))


def spelled(name: str) -> str | None:
    """The one spelling of a name: its own, or the one that its refusal gives; None if it means nothing."""
    try:
        return parse_condition(name).name
    except InputError as refused:
        return found[1] if (found := re.search(r"write (\S+)$", str(refused))) else None


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(guide_texts(), st.randoms(use_true_random=False))
def test_a_guide_has_one_name_in_any_order_of_its_parts(text: tuple[list[str], str], random: Random) -> None:
    parts, end = text
    if name := spelled("+".join(parts) + end):
        condition = parse_condition(name)
        assert condition.name == name
        assert sum(condition.weights) == pytest.approx(1)
        assert re.fullmatch(r"[\w.+~@-]+", name, re.ASCII), "safe in folders, shells, YAML and rules"
        assert len({look.color(name), look.dash(name), look.symbol(name)}) == 3
        random.shuffle(parts)
        assert spelled("+".join(parts) + end) == name
        assert spelled("+".join([*parts, *parts]) + end) == name


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("TO+V1", "V1+TO"),
        ("V1+V1", "V1"),
        ("V1~2+TO~4", "V1+TO~2"),
        ("TO~3", "TO"),
        ("TO-rdm-noise-0.50", "TO-noise-0.5-rdm"),
        ("TO-manifold-shuffle", "TO-shuffle-manifold"),
        ("TO+V1-at-4", "V1+TO-at-4"),
        ("TO + V1~2-shuffle-at-4.0", "V1~2+TO-shuffle-at-4"),
        ("TO-at-4-shuffle", "TO-shuffle-at-4"),
        ("TO-at-4+V1", "V1+TO-at-4"),
        ("TO-at-4/255", "TO-at-4"),
        ("none-atboth-4", "none-at-4"),
        ("labels-guide+zz+7a+V3+TO@layer4+TO@layer1", "TO@layer1+TO@layer4+V3+7a+zz+labels-guide"),
    ],
)
def test_another_spelling_is_refused_with_the_one(typed: str, name: str) -> None:
    with pytest.raises(InputError, match=rf"unknown condition(.|\n)*write {re.escape(name)}$"):
        parse_condition(typed)
    assert parse_condition(name).name == name


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("to", "TO"),
        ("TO_shuffle", "TO-shuffle"),
        ("TO-shufle", "TO-shuffle"),
        ("TO-nois-1", "TO-noise-1"),
        ("TO-AT", "TO-at-4"),
        ("TO-AT-8", "TO-at-8"),
        ("V1+TO-AT-8", "V1+TO-at-8"),
        ("TO at", "TO-at-4"),
        ("TO at 4", "TO-at-4"),
        ("at-4", "none-at-4"),
        ("trades", "none-trades-4"),
        ("none_at_4", "none-at-4"),
        ("NONE", "none"),
        ("none-pgd-8", "none-at-8"),
        ("none-adv-4", "none-at-4"),
        ("none-madry-4", "none-at-4"),
        ("none-blur-8", "none-lowpass-8"),
        ("TO-fast4", "TO-fast-4"),
        ("TO-lowpas-8", "TO-lowpass-8"),
        ("V1-scrambeld", "V1-scrambled"),
        ("label", "labels"),
    ],
)
def test_a_mistyped_name_is_answered_with_the_nearest(typed: str, meant: str) -> None:
    with pytest.raises(InputError, match=rf"did you mean {re.escape(meant)}\?"):
        parse_condition(typed, regions=HIERARCHY)


def test_a_meaning_says_whose_guide_it_is() -> None:
    assert parse_condition("TO-shuffle").meaning == conditions.MEANING["shuffle"]
    for name, kind in {
        "random-shuffle": "random",
        "V1+V4-shuffle": "parts",
        "labels-guide-shuffle": "labels-guide",
    }.items():
        assert parse_condition(name).meaning == f"{conditions.MEANING[kind]}; {conditions.MEANING['shuffle']}"


@pytest.mark.parametrize("level", [1e-5, 0.1, 0.3, 4.0, 100.0])
def test_doses_are_spelled_as_the_language_reads_them(level: float) -> None:
    names = conditions.dosed(["V1"], "noise", [0.0, level])
    assert len(names) == 2
    for name, (roi, planted) in names.items():
        assert parse_condition(name).predictors == [{**WHOLE, "roi": roi, "noise": planted}]


def test_parts_say_which_predictor_they_take_and_what_is_matched() -> None:
    condition = parse_condition("V1-noise-0.5-voxels-0.25~2+V4-images-0.1-rdm@layer3+TO-ridge-cka-scrambled")
    assert condition.predictors == [
        {**WHOLE, "roi": "V1", "noise": 0.5, "voxels": 0.25},
        {**WHOLE, "roi": "V4", "share": 0.1},
        {**WHOLE, "roi": "TO", "predictor": "ridge"},
    ]
    assert condition.weights == [0.5, 0.25, 0.25]
    assert [part.target for part, _ in condition.parts] == ["responses", "rdm", "cka"]
    assert [part.readout for part, _ in condition.parts] == [None, "layer3", None]
    assert condition.kinds == ("parts", "depth", "noise", "images", "voxels", "ridge", "rdm", "cka", "scrambled")
    assert condition.meaning.count("; ") == 9


def test_several_regions_have_the_colour_of_their_mean_place() -> None:
    assert look.color("V1+V4+VO") == look._shade((0 + 2 + 3) / 3 / 6)
    assert look.color("V1~2+VO") == look._shade(1 / 6) == look.color("V2")
    assert look.symbol("V1~2+VO") not in {look.symbol(name) for name in CONDITIONS}
    assert look.color("V1+V3A") == look.color("V1")
    assert look.color("V3+V3A") == look.color("V3A")


def test_an_adopted_network_is_no_region_and_looks_like_no_other() -> None:
    names = [f"net-{name}" for name in ("robust50", "v2", "clip-RN50", "cifar", "a", "b")]
    assert {parse_condition(name).kind for name in names} == {"adopted"}
    assert not any(parse_condition(name).weighted for name in names), "α says nothing of them"
    looks = {name: (look.color(name), look.symbol(name)) for name in names}
    assert len(set(looks.values())) == len(names)
    others = {look.color(name) for name in (*CONDITIONS, *DORSAL)}
    assert others.isdisjoint(color for color, _ in looks.values())
    assert look.dash("net-v2") not in {look.dash(name) for name in CONDITIONS}
    for wrong in ("net", "net-", "net-TO-shuffle", "net-none", "net-a b", "net-x-manifold", "TO-net"):
        with pytest.raises(InputError, match="unknown condition"):
            parse_condition(wrong)
