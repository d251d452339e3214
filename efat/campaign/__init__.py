"""What the method does, stage by stage, and what each stage returns.

Imports `training`, `planning`, `resilience`, `nn`, `engine`, `hardware` and below.
"""

from efat.campaign.experiment import Amounts, Experiment, Selection
from efat.campaign.library import Library, identity, library_from_plan
from efat.campaign.library_io import read_library, write_library
from efat.campaign.outcome import Outcome, StrategyResult
from efat.campaign.results import (
    Analysis,
    Arrival,
    Baseline,
    Evaluation,
    Single,
    TrainedModel,
    diverged_note,
    unsalvageable_note,
)
from efat.campaign.run_result import RunResult
from efat.campaign.tables import Row, group_name
from efat.campaign.walk import STAGES, Stage, State, estimate_steps, known, run_stages, stages_until

__all__ = [
    "STAGES",
    "Amounts",
    "Analysis",
    "Arrival",
    "Baseline",
    "Evaluation",
    "Experiment",
    "Library",
    "Outcome",
    "Row",
    "RunResult",
    "Selection",
    "Single",
    "Stage",
    "State",
    "StrategyResult",
    "TrainedModel",
    "diverged_note",
    "estimate_steps",
    "group_name",
    "identity",
    "known",
    "library_from_plan",
    "read_library",
    "run_stages",
    "stages_until",
    "unsalvageable_note",
    "write_library",
]
