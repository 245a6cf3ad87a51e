"""Speed and memory against the plain way of doing the same: ``python -m nbtools bench [names…]``.

Names of comparisons in, a row for each out. Each side of a comparison that concerns memory runs in a process of its
own. Both sides must give the same values, or there is no row.
"""

import lazy_loader

# The processes that are measured import from here too, and do without torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
