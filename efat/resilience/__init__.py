"""Resilience curves, the resilience map and retraining amounts; the constraint and its metric.

Imports `hardware` and `errors`.
"""

from efat.resilience.constraint import Constraint
from efat.resilience.metric import ACCURACY, Metric, kept_note
from efat.resilience.rate_search import RateGrid, Search, highest_within_reach
from efat.resilience.resilience_map import (
    Interpolation,
    Monotone,
    ResilienceCurve,
    ResilienceMap,
    Stat,
    amounts_of_rates,
    build_resilience_map,
    check_monotone,
    conformal_rank,
    severity_of_rate,
)
from efat.resilience.severity import IN_WORDS, Severity, array_rate, saliency_rate, weight_rate
from efat.resilience.verification import Verification, verification_note

__all__ = [
    "ACCURACY",
    "IN_WORDS",
    "Constraint",
    "Interpolation",
    "Metric",
    "Monotone",
    "RateGrid",
    "ResilienceCurve",
    "ResilienceMap",
    "Search",
    "Severity",
    "Stat",
    "Verification",
    "amounts_of_rates",
    "array_rate",
    "build_resilience_map",
    "check_monotone",
    "conformal_rank",
    "highest_within_reach",
    "kept_note",
    "saliency_rate",
    "severity_of_rate",
    "verification_note",
    "weight_rate",
]
