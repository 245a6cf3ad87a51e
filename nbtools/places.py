"""Where the project's own files lie: in a checkout beside the package, in an installed package inside it."""

from pathlib import Path

PACKAGE = Path(__file__).parent
_SHIPPED = PACKAGE / "shipped"  # the wheel puts there what a checkout has at its top
INSTALLED = _SHIPPED.is_dir()
# The folder of notebooks/, config/ and the Snakefile, none of which an installed package lets a reader change.
PROJECT = _SHIPPED if INSTALLED else PACKAGE.parent
# In a reader's notebooks/: what `runs.copies` has put there.
COPIED = ".nbtools.json"


def usual_home() -> Path:
    """Return a checkout's top; of an installed package the working folder, or that above it, if it has the copies."""
    if not INSTALLED:
        return PROJECT
    here = Path.cwd()
    return here.parent if (here / COPIED).is_file() else here
