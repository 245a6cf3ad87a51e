from .comparisons import COMPARISONS as COMPARISONS
from .comparisons import main as main
