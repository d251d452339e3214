"""What the strategies of a run are, in a few words each."""

from __future__ import annotations

from collections.abc import Iterable

GLOSSES = {
    "min_cost": "the cheapest plan that its planners find",
    "greedy": "chips merged pair by pair (eFAT-style)",
    "hierarchical": "the best pair merged each time",
    "packing": "grouping as bin packing",
    "local_search": "a plan improved move by move",
    "exact": "the cheapest plan there is",
    "none": "no retraining",
    "fixed": "one amount for all, one model a chip",
    "individual": "its own amount and model for each chip (as in Reduce)",
    "early_stop": "each chip until it meets the constraint on validation, no analysis",
    "no_remap": "each chip until it meets the constraint on validation, nothing remapped",
    "single": "one model for all",
    "random": "random groups of the same sizes",
}


def glossary(strategies: Iterable[str]) -> str:
    """Say what these strategies are.

    >>> glossary(["none", "single"])
    'none: no retraining; single: one model for all.'
    """
    return "; ".join(f"{name}: {GLOSSES[name]}" for name in strategies if name in GLOSSES) + "."
