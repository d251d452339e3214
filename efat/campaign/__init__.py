"""What the method does, stage by stage, and what each stage returns.

Imports `training`, `planning`, `resilience`, `nn`, `engine`, `hardware` and below.
"""

from efat.campaign.assignment import Arrival
from efat.campaign.estimate import MAPPING, estimate
from efat.campaign.experiment import Amounts, Experiment, Selection
from efat.campaign.library import Library, identity, library_from_plan
from efat.campaign.library_io import read_library, write_library
from efat.campaign.outcome import Outcome, StrategyResult
from efat.campaign.results import (
    Analysis,
    Baseline,
    Evaluation,
    TrainedModel,
    diverged_note,
    lost_note,
)
from efat.campaign.tables import Row, group_name

__all__ = [
    "MAPPING",
    "Amounts",
    "Analysis",
    "Arrival",
    "Baseline",
    "Evaluation",
    "Experiment",
    "Library",
    "Outcome",
    "Row",
    "Selection",
    "StrategyResult",
    "TrainedModel",
    "diverged_note",
    "estimate",
    "group_name",
    "identity",
    "library_from_plan",
    "lost_note",
    "read_library",
    "write_library",
]
