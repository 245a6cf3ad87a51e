"""What each analysis should find in a simulated world, as far as what was planted decides it."""

from __future__ import annotations

import json
from typing import Literal

import pandas as pd

from nbtools.checks import reading
from nbtools.data.names import Truth
from nbtools.data.study import Study
from nbtools.errors import InputError

VERDICTS = "truth/verdicts.json"  # in the study's folder
Expected = Literal["rises", "falls", "none", "unknown"]
Verdict = tuple[Expected, str]  # and why

# What is asked. "Rises" means: along the hierarchy; of two conditions: the first has more than the second.
QUESTIONS = {
    "robustness": "robust accuracy along the hierarchy",
    "region against none": "robust accuracy: the last region's guide against no guide",
    "region against shuffle": "robust accuracy: the last region's guide against the same guide, looking elsewhere",
    "region against labels": "robust accuracy: the last region's guide against the scanner's images with their labels",
    "region against labels-guide": "robust accuracy: the last region's guide against labels through a guide",
    "smoothness": "smoothness of the loss along the hierarchy",
    "transfer": "accuracy under attacks made on networks of other seeds, along the hierarchy",
    "shape bias": "shape bias along the hierarchy",
    "own region": "RSA: similarity with the own region against that with other regions",
    "manifolds": "capacity of category manifolds along the hierarchy",
    "predictor": "how well responses are predicted, along the hierarchy",
    "equal prediction": "robust accuracy along the hierarchy, of predictors brought to equal r",
}

_FURTHER: dict[str, str] = {  # why a world may leave it open
    "region against none": "half of what the last region answers to helps to withstand: that may be enough, or not",
    "region against shuffle": "half of what the last region answers to helps to withstand: that may be enough, or not",
    "region against labels": "labelled images may teach more than a guide, or less",
    "region against labels-guide": "labels through a guide may teach more than features, or less",
    "smoothness": "no feature was planted for how smooth it makes a network",
    "transfer": "no feature was planted for what networks of several seeds share",
    "shape bias": "a guide that answers to outlines need not change what the classifier goes by",
    "own region": "regions that differ in degree alone may not be told apart",
    "manifolds": "how categories lie depends on more than the guide",
    "predictor": "features may be learned more or less easily",
}
_GUIDED: dict[str, Verdict] = {  # wherever the last region holds something that helps
    "region against none": ("rises", "what the last region answers to helps to withstand"),
    "region against shuffle": ("rises", "another image's response teaches nothing about this one"),
}
_SAME = "every region answers to the same mixture of features, equally well measured"
_DECIDED: dict[Truth, dict[str, Verdict]] = {
    "beyond": {
        **_GUIDED,
        "robustness": ("rises", "the later the region, the more it answers to outlines in place of contrast"),
        "predictor": ("none", "ceilings are equal, and numbers of features chosen for it"),
        "equal prediction": ("rises", "regions differ in what is predicted, not in how well"),
    },
    "labels": {
        **_GUIDED,
        "robustness": ("rises", "the later the region, the larger the part of the class in its responses"),
        "region against labels-guide": (
            "none",
            "all that helps in the last region is labels; its noise and contrast add nothing",
        ),
        "equal prediction": ("rises", "regions differ in what is predicted, and that is the class"),
    },
    "null": {
        **dict.fromkeys(
            ("robustness", "smoothness", "transfer", "shape bias", "own region", "manifolds", "predictor"),
            ("none", _SAME),
        ),
        "equal prediction": ("none", _SAME),
    },
    "quality": {
        **_GUIDED,
        "robustness": ("unknown", "less noise need not mean a guide that helps more: it averages over images"),
        "own region": ("none", "every region answers to the same features"),
        "predictor": ("rises", "noise ceilings rise along the hierarchy"),
        "equal prediction": ("none", "every region answers to the same features, and noise is evened out"),
    },
}


def verdicts_in(truth: Truth) -> list[dict[str, str]]:
    """Return what each analysis should find where this is true: its name, question, expected verdict, and why."""
    unknown: dict[str, Verdict] = {name: ("unknown", why) for name, why in _FURTHER.items()}
    decided = unknown | _DECIDED[truth]
    return [
        {"analysis": name, "question": question, "expected": decided[name][0], "why": decided[name][1]}
        for name, question in QUESTIONS.items()
    ]


def expected_verdicts(study: Study) -> pd.DataFrame:
    """Read what each analysis of a simulated study should find.

    Parameters
    ----------
    study : Study
        A simulated one.

    Returns
    -------
    DataFrame
        One row per analysis: ``analysis``, ``question``, ``expected`` (rises, falls, none, unknown), ``why``.

    Raises
    ------
    InputError
        If the study was measured, not simulated, or its list cannot be read.
    """
    if not study.simulated or study.nsd is None:
        raise InputError(
            "nobody knows what should be found in this study",
            expected="a simulated one",
            got=study.title,
            fix="make one whose truth is known: `python -m nbtools world --truth null`",
        )
    file = study.nsd.parent / VERDICTS
    fix = "make the study again, elsewhere or after deleting it: it may be of an older recipe"
    with reading("the expected verdicts cannot be read", OSError, ValueError, file=file, expected="JSON", fix=fix):
        return pd.DataFrame(json.loads(file.read_text(encoding="utf-8")))
