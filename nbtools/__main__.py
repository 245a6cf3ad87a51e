"""``python -m nbtools``."""

from nbtools.batch import main

raise SystemExit(main())
