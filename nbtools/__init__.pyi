from . import attacks as attacks
from . import bench as bench
from . import conditions as conditions
from . import data as data
from . import metrics as metrics
from . import models as models
from . import plots as plots
from . import probes as probes
from . import runs as runs
from . import training as training
from . import widgets as widgets
from . import workflow as workflow

__version__: str
