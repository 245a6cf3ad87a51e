from .adopted import adopt as adopt
from .batch import run_notebook as run_notebook
from .exported import export as export, network_run as network_run
from .facts import facts as facts
from .folders import (
    NOTEBOOKS as NOTEBOOKS,
    Run as Run,
    collect as collect,
    defaults as defaults,
    find as find,
    prefer_defaults as prefer_defaults,
    run_folder as run_folder,
    stale as stale,
    start as start,
)
from .lineage import start_of as start_of, trunk_of as trunk_of
from .repeat import compare as compare, repeat as repeat
from .several import chosen as chosen, compared as compared, tables as tables, taken_over as taken_over
