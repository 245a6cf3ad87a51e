from .audit import audit as audit, describe_audit as describe_audit
from .certified import certify as certify, reach as reach
from .examined import Examined as Examined, examine as examine
from .interface import perturb as perturb, sweep as sweep
from .lesions import decide_lesioned as decide_lesioned
from .smoothness import attacked_gradients as attacked_gradients
from .table import ATTACKS as ATTACKS, Attack as Attack
from .targeted import perturb_towards as perturb_towards
from .transfer import transfer as transfer
