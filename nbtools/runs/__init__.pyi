from .batch import run_notebook as run_notebook
from .folders import (
    Run as Run,
)
from .folders import (
    collect as collect,
)
from .folders import (
    defaults as defaults,
)
from .folders import (
    find as find,
)
from .folders import (
    prefer_defaults as prefer_defaults,
)
from .folders import (
    run_folder as run_folder,
)
from .folders import (
    stale as stale,
)
from .folders import (
    start as start,
)
from .repeat import compare as compare
from .repeat import repeat as repeat
from .several import chosen as chosen
from .several import tables as tables
from .several import taken_over as taken_over
