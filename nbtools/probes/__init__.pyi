from .corruptions import decide_corrupted as decide_corrupted
from .style_transfer import make_cue_conflict as make_cue_conflict
