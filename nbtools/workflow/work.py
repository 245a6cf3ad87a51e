"""What a notebook's run works on: images, each as often as it costs a step of training, by its parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nbtools.checks import check_choice
from nbtools.conditions import parse_condition
from nbtools.runs.lineage import CLOUDS, NETWORKS, PREDICTORS
from nbtools.workflow.sizes import Sizes

# Of a step of training, which goes forward, back to the weights and back to the maps: a look, and the pixels' gradient.
PASSED, GRADIENT = 1 / 3, 2 / 3
FULL_BATCH = 256
# A climb that succeeds ends, and who stands at a large ε is not attacked at a smaller one: share of all steps.
CLIMBED = 0.45
CERTIFIED = 0.3  # an image is left alone once its certificate is decided: share of all passes
# What a step of training against perturbations takes beside its own: nbtools.training.hardening, which loads torch.
HARDENED = {
    "at": 7 * GRADIENT,
    "atboth": 7 * GRADIENT,
    "fast": GRADIENT,
    **dict.fromkeys(("trades", "beta"), PASSED + 10 * GRADIENT + 1),
    **dict.fromkeys(("gauss", "lowpass", "channel"), 0.0),
}
OCTAVES, FILTERS = 6, 3  # in which notebook 20 has noise, and what it passes or stops there
BLURRED = 2  # conditions that it attacks behind each blur, too: none, the last region
# What one step of an attack takes, in steps of training, and whether it starts anew at every ε.
_ATTACKS = {
    "PGD": (GRADIENT + PASSED, True),
    "TargetedPGD": (GRADIENT + PASSED, True),
    "AdaptivePGD": (GRADIENT + 2 * PASSED, True),
    "FGSM": (2 * GRADIENT + PASSED, True),
    "FGM": (2 * GRADIENT + PASSED, True),
    "FMN": (GRADIENT + PASSED, False),
    "DeepFool": (10 * GRADIENT + PASSED, False),
    "CarliniWagner": (9 * GRADIENT + 9 * PASSED, False),
    "BrendelBethge": (GRADIENT + 20 * PASSED, False),
    "AutoAttack": (20 * GRADIENT + 60 * PASSED, True),
    "Square": (50 * PASSED, True),
    "Noise": (PASSED, True),
}
# Steps of those that a run's `steps` is not for: `Attack.steps_for`.
OWN_STEPS = {
    **dict.fromkeys(("FGSM", "FGM"), 1),
    **dict.fromkeys(("FMN", "AutoAttack", "Square", "Noise"), 100),
    "DeepFool": 50,
    "CarliniWagner": 200,
    "BrendelBethge": 1000,
}

Values = Mapping[str, Any]


def _rdms_compared(values: Values, sizes: Sizes) -> float:
    n_rdms, n_images = 4 * n_networks(values), min(values["n_images"] or sizes.shared, sizes.shared)
    return 4e-9 * values["n_boot"] * n_rdms**2 * n_images**2 / 2


def _manifolds_drawn(values: Values, sizes: Sizes) -> float:
    n_spaces = n_networks(values) * (1 + len(values["readouts"].split()))
    return n_spaces * (1 + 1e-4 * values["n_draws"] * values["n_samples"] * values["n_points"])


@dataclass(frozen=True)
class Kind:
    """What a notebook's runs do.

    Attributes
    ----------
    trains : str
        The images it trains a network of its own on, as `Sizes` names them.
    looks : tuple of str
        The images that each of its networks sees.
    attacks : str
        On each of its networks, beside those that its parameters name.
    seconds : float
        Beside networks.
    more : callable, optional
        Further such seconds, from the run's parameters and the study's sizes.
    gpu : bool
        Whether it is given a GPU.
    shown_mb : float
        Size of its tables and figures.
    """

    trains: str = ""
    looks: tuple[str, ...] = ()
    attacks: str = ""
    seconds: float = 3.0
    more: Callable[[Values, Sizes], float] = lambda values, sizes: 0.0
    gpu: bool = False
    shown_mb: float = 0.3


KINDS = {
    "01_brain_responses": Kind(),
    PREDICTORS: Kind(trains="scanner", gpu=True),
    NETWORKS: Kind(trains="train", gpu=True),
    "04_adversarial_attacks": Kind(gpu=True),
    "05_attack_explorer": Kind(),
    "06_smoothness_and_transfer": Kind(attacks="LinfPGD LinfFGSM LinfNoise", looks=("val",), seconds=10, gpu=True),
    "07_shape_bias": Kind(looks=("conflict",), seconds=10),
    "08_rsa": Kind(looks=4 * ("shared",), seconds=15, more=_rdms_compared, shown_mb=5),
    "09_manifolds": Kind(looks=4 * ("shared",), seconds=15, more=_manifolds_drawn),
    "10_summary": Kind(shown_mb=5),
    # nbtools.attacks.audit: each ε apart, without bound, four times the steps, those towards targets, four starts;
    # Square; noise; another network's images
    "11_attacks_and_audit": Kind(attacks=15 * "LinfPGD " + "LinfSquare LinfNoise", seconds=20, gpu=True),
    "12_alpha": Kind(),
    CLOUDS: Kind(trains="train", attacks=3 * "LinfPGD ", seconds=10, gpu=True),
    "14_brain_and_geometry": Kind(looks=("shared", "val"), seconds=40, shown_mb=20),
    "15_study_explorer": Kind(),
    "17_natural_corruptions": Kind(looks=("corrupted", "val"), seconds=10),
    # one climb for the spectra, gradients before and after it
    "18_compare_networks": Kind(looks=("conflict", "shared"), attacks="LinfPGD LinfFGSM", seconds=10, gpu=True),
    "19_training_and_certificates": Kind(seconds=10, gpu=True),
    "20_frequency": Kind(attacks="LinfPGD LinfFGSM", seconds=10, gpu=True),
    # lesions with three draws, each attacked; before, nine steps along each of four transformations
    "21_mechanism": Kind(looks=6 * ("val",), attacks=13 * "LinfPGD ", seconds=20, gpu=True),
    # clean, filtered three ways, drawn, corrupted twice; one more for the images that heads are fitted on
    "22_other_images": Kind(looks=8 * ("val",), attacks="LinfPGD", seconds=30, gpu=True),
}


def images_of(notebook: str, values: Values, sizes: Sizes) -> float:
    """Count the images that a run works on, each as often as it costs a step of training; `values`: all parameters."""
    kind = KINDS[notebook]
    n, n_images = n_networks(values), min(values.get("n_images", 2), sizes.val)
    found = PASSED * sum(getattr(sizes, images) for images in kind.looks) * n
    asked = [_climbed(attack, values, own=True) for attack in values.get("attacks", "").split()]
    asked += [_climbed(attack, values) for attack in kind.attacks.split()]
    asked.append(PASSED * CERTIFIED * values.get("passes", 0) * len(values.get("sigmas", "").split()))
    if "blurs" in values:
        found += PASSED * OCTAVES * (FILTERS + len(values["sigmas"].split())) * n_images * n
        n += BLURRED * len(values["blurs"].split()) * n_seeds(values)
    found += sum(asked) * n_images * n
    return found + (_trained(values, sizes, kind.trains) if kind.trains else 0)


def networks_of(values: Values) -> list[str]:
    """Return the conditions of the networks that a run takes."""
    several = [word for name in ("rois", "controls", "networks") for word in values.get(name, "").split()]
    return several or [str(values.get("roi", ""))]


def n_networks(values: Values) -> int:
    """Count them: of every condition one a seed."""
    return len(networks_of(values)) * n_seeds(values)


def n_seeds(values: Values) -> int:
    """Count the seeds, one where the run has no list of them."""
    return max(len(values.get("seeds", "").split()), 1)


def _climbed(attack: str, values: Values, *, own: bool = False) -> float:
    """Count an attack on one image, with the run's steps, or with its own where it has such."""
    kind, n_epsilons = attack.removeprefix("Linf").removeprefix("L2"), len(values["epsilons"].split())
    check_choice(f"what {attack} costs is not known", kind, _ATTACKS, fix="add a line to _ATTACKS in workflow/work.py")
    worth, anew = _ATTACKS[kind]
    fixed = kind in OWN_STEPS and (own or OWN_STEPS[kind] == 1)
    steps = OWN_STEPS[kind] if fixed else values["steps"]
    return steps * worth * (n_epsilons * CLIMBED if anew else 1) + (n_epsilons + 1) * PASSED


def _trained(values: Values, sizes: Sizes, images: str) -> float:
    """Count validation as training; a guided network's images pass its guides too."""
    condition, n_images = parse_condition(values["roi"]), getattr(sizes, images)
    if values.get("predictor") == "ridge":  # what follows is a matter of matrices, not of networks
        return PASSED * n_images
    epochs = values["start_epochs"] if condition.kind == "start" else values["epochs"]
    guided = images == "train" and bool(condition.parts)  # parts share the images
    hardened = HARDENED[condition.hardened[0]] if condition.hardened else 0
    return epochs * n_images * (1 + PASSED * guided + hardened)
