from .answers import check_number as check_number, check_word as check_word
from .config import read_config as read_config
from .doctor import examine as examine
from .graph import make_graph as make_graph
from .plan import plan as plan
from .teaching import student_copies as student_copies
