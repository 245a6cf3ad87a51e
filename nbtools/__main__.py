"""``python -m nbtools``."""

import io
import signal
import sys
import warnings

for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")  # where the terminal's alphabet has no ρ

try:
    from nbtools.cli import main

    status = main()
except KeyboardInterrupt:  # in imports, too; whoever stops a command wants no word of what it left half built
    warnings.simplefilter("ignore")
    sys.unraisablehook = lambda _: None
    status = 128 + signal.SIGINT
raise SystemExit(status)
