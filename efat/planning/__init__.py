"""From retraining amounts to a plan: which chips share a retraining.

A planner is one file in `planners` and one YAML in `conf/planner/`; `bounds` proves how far a plan
is from the cheapest. Imports `hardware`, `errors` and `seeds`.
"""

from efat.planning.assign import Assignment, How, LibraryModel, assign, plan_library
from efat.planning.bounds.subsets import MOST_ASKED, MOST_COUNTED
from efat.planning.cost import Cost, CountCost, no_cost, union_counts
from efat.planning.plan import Group, Plan, Planner, name_of, needs_map
from efat.planning.planners.early_stop import EarlyStopping, NoRemap
from efat.planning.planners.exact import Exact
from efat.planning.planners.fixed import Fixed
from efat.planning.planners.greedy import Greedy
from efat.planning.planners.hierarchical import Hierarchical
from efat.planning.planners.individual import Individual
from efat.planning.planners.local_search import LocalSearch
from efat.planning.planners.min_cost import MinCost
from efat.planning.planners.packing import Packing
from efat.planning.planners.random import Random
from efat.planning.planners.single import Single
from efat.planning.problem import Problem
from efat.planning.rules import Rules

__all__ = [
    "MOST_ASKED",
    "MOST_COUNTED",
    "Assignment",
    "Cost",
    "CountCost",
    "EarlyStopping",
    "Exact",
    "Fixed",
    "Greedy",
    "Group",
    "Hierarchical",
    "How",
    "Individual",
    "LibraryModel",
    "LocalSearch",
    "MinCost",
    "NoRemap",
    "Packing",
    "Plan",
    "Planner",
    "Problem",
    "Random",
    "Rules",
    "Single",
    "assign",
    "name_of",
    "needs_map",
    "no_cost",
    "plan_library",
    "union_counts",
]
