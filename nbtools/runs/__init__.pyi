from .batch import run_notebook as run_notebook
from .folders import (
    Run as Run,
    collect as collect,
    defaults as defaults,
    find as find,
    prefer_defaults as prefer_defaults,
    run_folder as run_folder,
    stale as stale,
    start as start,
    tables as tables,
)
from .repeat import compare as compare, repeat as repeat
