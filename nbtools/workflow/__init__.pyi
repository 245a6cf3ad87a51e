from .answers import as_csv as as_csv, number as number, pool_answers as pool_answers, word as word
from .beforehand import beforehand as beforehand
from .config import config_named as config_named, file_named as file_named, read_config as read_config
from .doctor import examine as examine
from .follow import follow as follow
from .graph import make_graph as make_graph
from .instructions import told_to_use as told_to_use
from .known import as_text as as_text, how_often as how_often, save_known as save_known
from .plan import plan as plan
from .preregistration import preregister as preregister
from .questions import (
    answer_questions as answer_questions,
    asking as asking,
    controls_elsewhere as controls_elsewhere,
)
from .summary import newest_summary as newest_summary, summary as summary
from .teaching import student_copies as student_copies
from .worlds import Asked as Asked, calibrate as calibrate, save_counts as save_counts
