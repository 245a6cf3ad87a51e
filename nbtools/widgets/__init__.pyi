from .attack_explorer import AttackExplorer as AttackExplorer
from .attack_networks import TrainedNetworks as TrainedNetworks
from .attack_paths import attack_path as attack_path
from .attack_saved import Origin as Origin
from .attack_view import decision_table as decision_table
from .brain_state import BrainTables as BrainTables
from .brain_view import BrainView as BrainView
from .comparison_state import (
    describe_missing as describe_missing,
    describe_pair as describe_pair,
    first_axes as first_axes,
)
from .exercise import Exercise as Exercise
from .forking_game import ForkingGame as ForkingGame
from .geometry_explorer import GeometryExplorer as GeometryExplorer
from .geometry_state import SpaceTables as SpaceTables
from .network_comparison import NetworkComparison as NetworkComparison
from .static import write_pages as write_pages
from .study_explorer import StudyExplorer as StudyExplorer
from .study_state import (
    HierarchyChoice as HierarchyChoice,
    all_runs as all_runs,
    hierarchy_of as hierarchy_of,
    histories as histories,
    measured as measured,
    metrics_of as metrics_of,
)
