"""From retraining amounts to a plan: which chips share a retraining.

A planner is one file in `planners` and one YAML in `conf/planner/`; `bounds` proves how far a plan
is from the cheapest. Imports `hardware`, `errors` and `seeds`.
"""

from efat.planning.assign import Assignment, How, LibraryModel, assign, plan_library
from efat.planning.cost import Cost, CountCost, no_cost, union_counts
from efat.planning.plan import Group, Plan, Planner, PlannerInfo, info_of, make_plan
from efat.planning.planners.base import Grouping, GroupingPlanner
from efat.planning.planners.baselines import (
    EarlyStopping,
    Fixed,
    Individual,
    NoRemap,
    Random,
    Single,
)
from efat.planning.planners.exact import Exact
from efat.planning.planners.greedy import Greedy
from efat.planning.planners.hierarchical import Hierarchical
from efat.planning.planners.local_search import LocalSearch
from efat.planning.planners.min_cost import MinCost
from efat.planning.planners.packing import Packing
from efat.planning.problem import Problem
from efat.planning.rules import Rules

__all__ = [
    "Assignment",
    "Cost",
    "CountCost",
    "EarlyStopping",
    "Exact",
    "Fixed",
    "Greedy",
    "Group",
    "Grouping",
    "GroupingPlanner",
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
    "PlannerInfo",
    "Problem",
    "Random",
    "Rules",
    "Single",
    "assign",
    "info_of",
    "make_plan",
    "no_cost",
    "plan_library",
    "union_counts",
]
