"""``python -m nbtools``."""

from nbtools.cli import main

raise SystemExit(main())
