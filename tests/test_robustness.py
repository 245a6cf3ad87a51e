"""From decisions to accuracies: planted accuracies, pairing, and tables that must be refused."""

import numpy as np
import pandas as pd
import pytest

from nbtools.errors import InputError
from nbtools.metrics.decisions.robustness import (
    WORST_CASE,
    check_decisions,
    epsilon_label,
    robust_accuracy,
    under_attack,
    worst_case,
)
from nbtools.metrics.decisions.shape_bias import shape_bias
from nbtools.metrics.pixels.visibility import MEASURES, mean_visibility
from nbtools.metrics.samples.contrasts import compare

EPSILONS = (0.0, 1 / 255, 2 / 255)


def decisions(conditions=("V1", "V4", "TO"), seeds=(0, 1), n_images=40, epsilons=EPSILONS):
    """Make decisions of which the last 10 × k images fall at the k-th ε, and 4 more for each later seed."""
    rows = [
        {
            "image_id": f"img{image:03d}",
            "label": image % 5,
            "epsilon": epsilon,
            "prediction": image % 5 if image < n_images - 10 * k - 4 * seed else 9,
            "margin": 0.5,
            "condition": condition,
            "seed": seed,
        }
        for condition in conditions
        for seed in seeds
        for k, epsilon in enumerate(epsilons)
        for image in range(n_images)
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=0)


def one_by_one(table):
    return [
        robust_accuracy(one_seed(table), by="condition"),
        mean_visibility(table.assign(**dict.fromkeys(MEASURES, 0.5)), by="condition"),
        shape_bias(clean(one_seed(table)).assign(shape="a", texture="b", prediction="a"), by="condition"),
        compare(clean(robust_accuracy(table)), "accuracy", "TO", "V1"),
    ]


def one_seed(table):
    return table[table["seed"] == 0]


def clean(table):
    return table[table["epsilon"] == 0]


def test_one_name_is_a_list_of_one():
    """Where names of columns or conditions come in: a text is one name, not its letters."""
    table = decisions()
    in_lists = [
        robust_accuracy(one_seed(table), by=["condition"]),
        mean_visibility(table.assign(**dict.fromkeys(MEASURES, 0.5)), by=["condition"]),
        shape_bias(clean(one_seed(table)).assign(shape="a", texture="b", prediction="a"), by=["condition"]),
        compare(clean(robust_accuracy(table)), "accuracy", ["TO"], ["V1"]),
    ]
    for alone, listed in zip(one_by_one(table), in_lists, strict=True):
        pd.testing.assert_frame_equal(alone, listed)


@pytest.mark.parametrize(
    "columns", [["condition"], ["label"], ["prediction"], ["image_id", "seed", "label", "condition"]]
)
def test_columns_may_be_categories(columns):
    table, categories = decisions(), decisions().astype(dict.fromkeys(columns, "category"))
    for plain, categorical in zip(one_by_one(table), one_by_one(categories), strict=True):
        pd.testing.assert_frame_equal(plain, categorical, check_categorical=False)
    check_decisions(categories)


@pytest.mark.parametrize(
    ("epsilon", "label"), [(0, "clean"), (2 / 255, "2/255"), (0.25 / 255, "0.25/255"), (8 / 255, "8/255")]
)
def test_epsilon_is_shown_in_pixel_steps(epsilon, label):
    assert epsilon_label(epsilon) == label


def test_accuracy_of_each_run_and_budget():
    table = robust_accuracy(decisions())
    assert list(table) == [
        "condition",
        "seed",
        "epsilon",
        "accuracy",
        "ci_low",
        "ci_high",
        "n",
        "unconverged",
    ]
    assert len(table) == 3 * 2 * 3
    run = table[(table["condition"] == "V4") & (table["seed"] == 1)]
    assert run["accuracy"].tolist() == pytest.approx([36 / 40, 26 / 40, 16 / 40])
    assert run["epsilon"].tolist() == list(EPSILONS)
    assert (run["n"] == 40).all()
    assert (run["ci_low"] <= run["accuracy"]).all()
    assert (run["accuracy"] <= run["ci_high"]).all()


def test_interval_is_binomial_over_images():
    table = robust_accuracy(decisions(seeds=(0,), n_images=400)).query("epsilon > 0.005").iloc[0]
    sd = np.sqrt(table["accuracy"] * (1 - table["accuracy"]) / 400)
    assert table["ci_high"] - table["ci_low"] == pytest.approx(2 * 1.96 * sd, rel=0.15)


def test_seeds_are_never_pooled_unseen():
    with pytest.raises(InputError, match="twice"):
        robust_accuracy(decisions(), by=("condition",))


def test_runs_with_the_same_answers_get_the_same_interval():
    table = robust_accuracy(decisions(seeds=(0,)), by=("condition",))
    assert (table.groupby("epsilon")[["ci_low", "ci_high"]].nunique() == 1).all(axis=None)


def test_rows_may_come_in_any_order():
    table = decisions()
    shuffled = robust_accuracy(table.sample(frac=1, random_state=1)).sort_values(["condition", "seed", "epsilon"])
    expected = robust_accuracy(table).sort_values(["condition", "seed", "epsilon"])
    pd.testing.assert_frame_equal(shuffled.reset_index(drop=True), expected.reset_index(drop=True))


def test_one_run_needs_no_group():
    table = decisions(conditions=("V1",), seeds=(0,)).drop(columns=["condition", "seed"])
    assert robust_accuracy(table, by=())["accuracy"].tolist() == pytest.approx([1, 0.75, 0.5])


def test_only_a_euclidean_budget_may_pass_one():
    table = decisions(epsilons=(0, 1.5))
    assert len(robust_accuracy(table.assign(attack="L2PGD"), by=("attack", "condition", "seed"))) == 12
    with pytest.raises(InputError, match="outside"):
        robust_accuracy(table.assign(attack="LinfPGD"), by=("attack", "condition", "seed"))


def test_what_did_not_converge_is_shown_beside_the_accuracy():
    table = decisions(seeds=(0,)).assign(converged=True)
    assert (robust_accuracy(table)["unconverged"] == 0).all()
    assert (robust_accuracy(table.drop(columns="converged"))["unconverged"] == 0).all()
    table.loc[(table["epsilon"] == 1 / 255) & (table["image_id"] < "img010"), "converged"] = False
    scores = robust_accuracy(table)
    assert scores.groupby("epsilon")["unconverged"].unique().tolist() == [[0.0], [0.25], [0.0]]
    with pytest.raises(InputError, match="True or False"):
        robust_accuracy(table.assign(converged=table["converged"].astype(str)))


@pytest.mark.parametrize("column", ["condition", "seed"])
def test_networks_that_saw_other_images_are_not_compared(column):
    table = decisions()
    table = table[(table[column] != table[column].max()) | (table["image_id"] != "img003")]
    with pytest.raises(InputError, match="1 images that some networks lack"):
        robust_accuracy(table)


def spoiled(kind):
    table = decisions().reset_index(drop=True)
    match kind:
        case "no column":
            return table.drop(columns="prediction")
        case "no rows":
            return table.iloc[:0]
        case "twice":
            return pd.concat([table, table.iloc[[7]]])
        case "seeds mixed":
            return table.drop(columns="seed")
        case "gap":
            return table.drop(index=11)
        case "negative":
            return table.assign(epsilon=-table["epsilon"])
        case "in 0 to 255":
            return table.assign(epsilon=255 * table["epsilon"])
        case "nan":
            return table.assign(margin=table["margin"].where(table.index != 5))
        case "infinite":
            return table.assign(margin=table["margin"].where(table.index != 5, np.inf))
        case "float label":
            return table.assign(label=table["label"].astype(float))
        case "two labels":
            return table.assign(label=table["label"].where(table.index != 5, 77))


SPOILED = [
    "no column",
    "no rows",
    "twice",
    "seeds mixed",
    "gap",
    "negative",
    "in 0 to 255",
    "nan",
    "infinite",
]


@pytest.mark.parametrize("kind", [*SPOILED, "float label", "two labels"])
def test_malformed_decisions_are_refused(kind):
    with pytest.raises(InputError, match="to do"):
        check_decisions(spoiled(kind))
    with pytest.raises(InputError):
        robust_accuracy(spoiled(kind), by=("condition",))


def test_classes_may_have_names_and_margins_may_be_missing():
    table = decisions().drop(columns="margin")
    named = table.assign(**{name: "class " + table[name].astype(str) for name in ("label", "prediction")})
    pd.testing.assert_frame_equal(robust_accuracy(named), robust_accuracy(table))
    with pytest.raises(InputError, match="all integer or all text"):
        robust_accuracy(table.assign(label=table["label"].astype(str)))


def test_good_decisions_pass():
    check_decisions(decisions())


# --- the worst case -----------------------------------------------------------------------------------------

ATTACKED = ("LinfPGD", "LinfTargetedPGD", "LinfNoise")
IMAGE, NETWORK = ["condition", "seed", "image_id"], ["condition", "seed"]


def attacked(seed: int) -> pd.DataFrame:
    """Make decisions of three attacks that fall here and there, not even at larger ε for good, in any order."""
    rng = np.random.default_rng(seed)
    grid = pd.MultiIndex.from_product(
        [ATTACKED, ("none", "TO"), (0, 1), [f"i{k}" for k in range(9)], EPSILONS],
        names=["attack", *IMAGE, "epsilon"],
    ).to_frame(index=False)
    margin = rng.normal(0.5, 1, len(grid)).round(1)
    told = {
        "label": 1,
        "margin": margin,
        "prediction": np.where(margin > 0, 1, 2),
        "converged": rng.random(len(grid)) > 0.5,
    }
    table = grid.assign(**told)
    table["converged"] |= table["prediction"] != table["label"]
    return table.sample(frac=1, random_state=seed)


@pytest.mark.parametrize("seed", range(3))
def test_an_image_is_right_in_the_worst_case_if_it_stood_every_attack_up_to_that_epsilon(seed):
    table = attacked(seed)
    worst = worst_case(table)
    assert list(worst) == list(table)
    assert set(worst["attack"]) == {WORST_CASE}
    assert len(worst) == len(table) / len(ATTACKED)
    for row in worst.itertuples():
        same = (table[IMAGE] == [getattr(row, name) for name in IMAGE]).all(axis=1)
        met = table[same & (table["epsilon"] <= row.epsilon)]
        assert (row.prediction == row.label) == (met["prediction"] == met["label"]).all()
        here = met[met["epsilon"] == row.epsilon]
        assert row.margin == here["margin"].min() or (row.margin <= 0 and row.margin in set(met["margin"]))
        assert row.converged == (row.prediction != row.label or here["converged"].any())


@pytest.mark.parametrize("seed", range(3))
def test_the_worst_case_is_below_each_attack_falls_with_epsilon_and_knows_no_order(seed):
    table = attacked(seed)
    worst = worst_case(table)
    pd.testing.assert_frame_equal(worst, worst_case(table.sample(frac=1, random_state=seed + 10)))
    pd.testing.assert_frame_equal(worst, worst_case(worst))
    pd.testing.assert_frame_equal(worst, worst_case(pd.concat([table, worst])))
    curve = robust_accuracy(worst).set_index([*NETWORK, "epsilon"])["accuracy"]
    assert (curve.groupby(NETWORK).diff().dropna() <= 0).all()
    for _, alone in table.groupby("attack"):
        assert curve.le(robust_accuracy(alone).set_index([*NETWORK, "epsilon"])["accuracy"]).all()  # joined by name


def test_one_attack_is_asked_by_name():
    table = attacked(0)
    pd.testing.assert_frame_equal(under_attack(table), worst_case(table))
    pd.testing.assert_frame_equal(under_attack(table, "LinfPGD"), table[table["attack"] == "LinfPGD"])
    with pytest.raises(InputError, match="worst case, "):
        under_attack(table, "LinfFGSM")


UNEQUAL = {
    "another image": lambda table: table[(table["attack"] != "LinfPGD") | (table["image_id"] != "i3")],
    "another ε": lambda table: table[(table["attack"] != "LinfPGD") | (table["epsilon"] > 0)],
    "not every network": lambda table: table[(table["attack"] != "LinfPGD") | (table["condition"] == "TO")],
    "another norm": lambda table: table.replace({"attack": {"LinfPGD": "L2PGD"}}),
    "no attack": lambda table: table.drop(columns="attack"),
}


@pytest.mark.parametrize("case", UNEQUAL)
def test_attacks_that_did_not_meet_the_same_have_no_worst_case(case):
    with pytest.raises(InputError, match="worst case"):
        worst_case(UNEQUAL[case](attacked(0)))
