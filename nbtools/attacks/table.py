"""Which attacks there are, and how each is made.

A new attack goes into one of three frames, each a function of a `Task`:

- `gradient.descend`: plain gradient steps of Foolbox's, one sweep down over all ε; several aims share them `in_turn`;
- `minimum_norm.nearest`: a Foolbox attack that looks for the nearest adversarial point, which gives the whole curve;
- `ascending.survivors`: anything else. A function (`Task` of one ε → a point for each image) is run at each ε in turn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any

import foolbox.attacks as fa

from nbtools.attacks.adaptive import adaptive
from nbtools.attacks.ascending import STANDARD, autoattack, noise, survivors
from nbtools.attacks.gradient import descend, towards
from nbtools.attacks.minimum_norm import L2FMN, LinfFMN, nearest
from nbtools.attacks.points import Attacked


@dataclass(frozen=True)
class Attack:
    """An attack of the table below.

    Attributes
    ----------
    run : partial of a frame
        A task → points and logits at every ε.
    norm : float
        Of the ball the perturbation stays in.
    steps : int
        The usual number.
    least : int
        With fewer the attack does not converge: an image that stands is then no answer.
    random : bool
        Whether it draws random numbers: other seeds and restarts then try something new.
    """

    run: partial[Attacked]
    norm: float
    steps: int
    least: int
    random: bool

    def steps_for(self, steps: int) -> int:
        """Return a run's steps for gradient ascent, whose number is a choice; for others, the one they are known by."""
        return steps if self.run.func in (descend, towards, adaptive) else self.steps


def _crossing(method: Callable[..., Any], steps: int) -> Any:
    """Make PGD whose steps cross the ball: Foolbox's are too small; 2.5/steps is the usual choice (Madry et al.)."""
    return method(rel_stepsize=2.5 / steps, steps=steps)


_LINF_PGD = partial(descend, partial(_crossing, fa.LinfPGD), 2)
_L2_PGD = partial(descend, partial(_crossing, fa.L2PGD), 2)
_LINF_TARGETED = partial(towards, partial(_crossing, fa.LinfPGD), 3)
_L2_TARGETED = partial(towards, partial(_crossing, fa.L2PGD), 3)
_LINF_ADAPTIVE = partial(adaptive, partial(_crossing, fa.LinfPGD))
_L2_ADAPTIVE = partial(adaptive, partial(_crossing, fa.L2PGD))
_FGSM = partial(descend, lambda steps: fa.LinfFastGradientAttack(), inf)
_FGM = partial(descend, lambda steps: fa.L2FastGradientAttack(), inf)

_CARLINI_WAGNER = partial(nearest, lambda steps: fa.L2CarliniWagnerAttack(steps=steps), 2)
_DEEPFOOL = partial(nearest, lambda steps: fa.L2DeepFoolAttack(steps=steps), 2)
_BRENDEL_BETHGE = partial(nearest, lambda steps: fa.L2BrendelBethgeAttack(steps=steps), 2)
_LINF_FMN = partial(nearest, lambda steps: LinfFMN(steps=steps), inf)
_L2_FMN = partial(nearest, lambda steps: L2FMN(steps=steps), 2)

_LINF_NOISE = partial(noise, lambda steps: fa.LinfRepeatedAdditiveUniformNoiseAttack(repeats=steps))
_L2_NOISE = partial(noise, lambda steps: fa.L2ClippingAwareRepeatedAdditiveGaussianNoiseAttack(repeats=steps))

# The least steps are those from which on accuracy fell by no more than .01 on a small network: docs/methods.md.
ATTACKS: dict[str, Attack] = {
    "LinfPGD": Attack(_LINF_PGD, inf, 40, 10, random=True),
    "LinfTargetedPGD": Attack(_LINF_TARGETED, inf, 60, 15, random=True),
    "LinfAdaptivePGD": Attack(_LINF_ADAPTIVE, inf, 40, 10, random=True),
    "LinfFGSM": Attack(_FGSM, inf, 1, 1, random=False),
    "LinfFMN": Attack(_LINF_FMN, inf, 100, 10, random=False),
    "LinfAutoAttack": Attack(partial(survivors, partial(autoattack, "Linf", STANDARD), inf), inf, 100, 10, random=True),
    "LinfSquare": Attack(partial(survivors, partial(autoattack, "Linf", ("square",)), inf), inf, 100, 100, random=True),
    "LinfNoise": Attack(partial(survivors, _LINF_NOISE, inf), inf, 100, 1, random=True),
    "L2PGD": Attack(_L2_PGD, 2, 40, 10, random=True),
    "L2TargetedPGD": Attack(_L2_TARGETED, 2, 60, 15, random=True),
    "L2AdaptivePGD": Attack(_L2_ADAPTIVE, 2, 40, 10, random=True),
    "L2FGM": Attack(_FGM, 2, 1, 1, random=False),
    "L2CarliniWagner": Attack(_CARLINI_WAGNER, 2, 200, 10, random=False),
    "L2DeepFool": Attack(_DEEPFOOL, 2, 50, 10, random=False),
    "L2BrendelBethge": Attack(_BRENDEL_BETHGE, 2, 1000, 100, random=True),
    "L2FMN": Attack(_L2_FMN, 2, 100, 10, random=False),
    "L2AutoAttack": Attack(partial(survivors, partial(autoattack, "L2", STANDARD), 2), 2, 100, 10, random=True),
    "L2Square": Attack(partial(survivors, partial(autoattack, "L2", ("square",)), 2), 2, 100, 100, random=True),
    "L2Noise": Attack(partial(survivors, _L2_NOISE, 2), 2, 100, 1, random=True),
}
