"""What each attack of the table does, in a line for readers."""

from __future__ import annotations

_PGD = "many small steps up the gradient, back into the ball after each"
_TARGETED = "small steps towards one wrong class, then another: the three likeliest in turn"
_ADAPTIVE = "made for guided networks: holds what their guide matches still, then breaks it"
_ONE_STEP = "one step along the gradient, to the edge of the ball: fast, and weak"
_FMN = "looks for the nearest picture that is taken for something else, and gives the whole curve at once"
_AUTO = "four attacks in turn, without a setting to choose: the usual benchmark, slow"
_SQUARE = "tries squares of colour and keeps what helps: asks for decisions only, no gradient"
_NOISE = "random noise, the worst of many draws: what no adversary chose"

MEANING: dict[str, str] = {
    "LinfPGD": f"every value moves by ε at most; {_PGD}",
    "LinfTargetedPGD": f"every value moves by ε at most; {_TARGETED}",
    "LinfAdaptivePGD": f"every value moves by ε at most; {_ADAPTIVE}",
    "LinfFGSM": f"every value moves by ε; {_ONE_STEP}",
    "LinfFMN": f"every value moves by ε at most; {_FMN}",
    "LinfAutoAttack": f"every value moves by ε at most; {_AUTO}",
    "LinfSquare": f"every value moves by ε at most; {_SQUARE}",
    "LinfNoise": f"every value moves by ε at most; {_NOISE}",
    "L2PGD": f"ε limits the length of the whole change; {_PGD}",
    "L2TargetedPGD": f"ε limits the length of the whole change; {_TARGETED}",
    "L2AdaptivePGD": f"ε limits the length of the whole change; {_ADAPTIVE}",
    "L2FGM": f"ε limits the length of the whole change; {_ONE_STEP}",
    "L2CarliniWagner": "the smallest change, by an optimiser that weighs its length against its success; slow",
    "L2DeepFool": "walks to the nearest border as if borders were flat, again and again",
    "L2BrendelBethge": "starts from a picture that fools, and slides along the border towards the image; slow",
    "L2FMN": f"ε limits the length of the whole change; {_FMN}",
    "L2AutoAttack": f"ε limits the length of the whole change; {_AUTO}",
    "L2Square": f"ε limits the length of the whole change; {_SQUARE}",
    "L2Noise": f"ε limits the length of the whole change; {_NOISE}",
}
