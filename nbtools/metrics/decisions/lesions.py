"""What a lesion costs: accuracy without some directions or units of the read-out, and against a control's lesion."""

from __future__ import annotations

import pandas as pd

from nbtools.checks import check_choice, check_counts, check_table
from nbtools.metrics.decisions.accuracy import accuracy_by, answered
from nbtools.metrics.inputs import groups_of
from nbtools.metrics.stats import bootstrap_ci, ci

INTACT = "intact"
# A lesion of what the neural head reads, and the random ones it is held against.
LESIONS: dict[str, tuple[str, ...]] = {
    "neural directions": ("matched directions", "random directions"),
    "neural units": ("random units",),
}
_FIX = "give the decisions of attacks.decide_lesioned, those of other runs apart"
_NETWORK = ["condition", "seed"]
_ASKED = ["attacked", "epsilon"]
_KEYS = ("image_id", *_NETWORK, *_ASKED, "lesion", "draw")


def lesion_accuracy(decisions: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of each network after each lesion, over the draws of random ones.

    Parameters
    ----------
    decisions : DataFrame
        From `attacks.decide_lesioned`: ``image_id``, ``label``, ``prediction``, ``condition``, ``seed``, ``attacked``,
        ``epsilon``, ``lesion``, ``draw``, ``variance``.

    Returns
    -------
    DataFrame
        One row per condition × seed × attack × ε × lesion: ``accuracy``, ``ci_low``, ``ci_high`` (fractions, 95 % over
        images), ``n`` (images), ``variance`` (the share that is gone, the mean over draws).

    Raises
    ------
    InputError
        If a column or an answer is missing, answers are of two kinds, an image was decided twice, or not after every
        lesion and draw of a network.
    """
    by = [*_NETWORK, *_ASKED, "lesion"]
    right = _answered(decisions)
    gone = right.groupby(by, as_index=False)["variance"].mean()
    return accuracy_by(right, by).merge(gone, on=by)


def lesion_cost(decisions: pd.DataFrame, lesion: str = "neural directions") -> pd.DataFrame:
    """Measure how much more accuracy a network loses to a lesion than to random ones, image by image.

    Parameters
    ----------
    decisions : DataFrame
        As for `lesion_accuracy`.
    lesion : str
        Of `LESIONS`.

    Returns
    -------
    DataFrame
        One row per condition × seed × attack × ε × control of the lesion: ``control``, ``cost`` (accuracy after the
        control, its mean over draws, minus accuracy after the lesion), ``ci_low``, ``ci_high`` (95 %, bootstrap over
        images), ``n`` (images). Above 0, decisions go by what the lesion took more than by anything of that size, or
        of that variance. Networks without lesions have no row.

    Raises
    ------
    InputError
        As `lesion_accuracy`, or if there is no such lesion, or a network has it, or a control of it, alone.
    """
    check_choice("unknown lesion", lesion, LESIONS)
    right, rows = _answered(decisions), []
    for named, group in groups_of(right[right["lesion"] != INTACT], [*_NETWORK, *_ASKED]):
        each = group.groupby(["image_id", "lesion"])["right"].mean().unstack()
        wanted = (lesion, *LESIONS[lesion])
        absent = {"of a lesion and its controls": sum(name not in each for name in wanted)}
        problem = f"{named['condition']}, seed {named['seed']}, lacks lesions"
        check_counts(problem, absent, expected=", ".join(wanted), fix=_FIX)
        for control in LESIONS[lesion]:
            lost = (each[control] - each[lesion]).to_numpy()  # all groups draw the same images
            interval = ci(bootstrap_ci(lost))
            rows.append({**named, "control": control, "cost": lost.mean(), **interval, "n": len(lost)})
    return pd.DataFrame(rows, columns=[*_NETWORK, *_ASKED, "control", "cost", "ci_low", "ci_high", "n"])


def _answered(decisions: pd.DataFrame) -> pd.DataFrame:
    problem = "lesions cannot be compared"
    check_table(problem, decisions, ("variance",), fix=_FIX)
    right = answered(problem, decisions, _KEYS, fix=_FIX)
    asked = right.groupby([*_NETWORK, *_ASKED])["image_id"].transform("nunique")
    seen = right.groupby(list(_KEYS[1:]))["image_id"].transform("size")
    partly = {"decisions after a lesion or draw that other images lack": int((seen < asked).sum())}
    check_counts(problem, partly, expected="every image after every lesion and draw", fix=_FIX)
    return right
