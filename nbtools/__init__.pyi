from . import (
    attacks as attacks,
    bench as bench,
    conditions as conditions,
    data as data,
    metrics as metrics,
    models as models,
    plots as plots,
    probes as probes,
    runs as runs,
    training as training,
    widgets as widgets,
    workflow as workflow,
)

__version__: str
