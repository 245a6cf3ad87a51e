"""``python -m nbtools``."""

import io
import sys

from nbtools.cli import main

for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")  # where the terminal's alphabet has no ρ

raise SystemExit(main())
