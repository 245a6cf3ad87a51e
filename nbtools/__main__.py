"""``nbtools``, and ``python -m nbtools``."""

import io
import signal
import sys
import warnings


def main() -> int:
    """Run the command line; return the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # where the terminal's alphabet has no ρ
    try:
        from nbtools import cli

        return cli.main()
    except KeyboardInterrupt:  # in imports, too; whoever stops a command wants no word of what it left half built
        warnings.simplefilter("ignore")
        sys.unraisablehook = lambda _: None
        return 128 + signal.SIGINT


if __name__ == "__main__":
    raise SystemExit(main())
