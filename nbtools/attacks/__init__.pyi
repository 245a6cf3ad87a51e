from .audit import audit as audit
from .audit import describe_audit as describe_audit
from .interface import perturb as perturb
from .interface import sweep as sweep
from .table import ATTACKS as ATTACKS
from .table import Attack as Attack
from .targeted import perturb_towards as perturb_towards
from .transfer import transfer as transfer
