from .comparisons import COMPARISONS as COMPARISONS, main as main
