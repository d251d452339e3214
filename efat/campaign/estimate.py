"""How much work a job has ahead, before its stages know better."""

from __future__ import annotations

from efat.campaign.experiment import Experiment
from efat.training import GRAM_STEPS

MAPPING = ("analyse", "assign")
"""Stages that need the resilience map whoever plans."""


def estimate(experiment: Experiment, stage: str) -> dict[str, int]:
    """Guess the work ahead, in training steps, until each stage knows better."""
    amounts, chips = experiment.amounts, len(experiment.fleet)
    strategies = 1 + len(experiment.compare)
    analysed = experiment.needs_map or stage in MAPPING
    if stage == "fleet":
        return {"fleet": 0}
    if stage == "single":
        return {"pretrain": amounts.pretrain_steps, "single": amounts.budget_steps}
    if stage == "assign":  # none of the strategies that a plan is compared with
        strategies, stage = 1, "evaluate"
    curves = len(experiment.fault_rates) * experiment.maps_per_rate
    guess = {
        "pretrain": amounts.pretrain_steps,
        "harden": experiment.hardening.amount_steps if experiment.hardening else 0,
        "measure_grams": GRAM_STEPS if experiment.recipe.needs_grams else 0,
        "analyse": analysed
        * int(curves * (experiment.max_cost or 1))
        * (amounts.budget_steps + 3 * amounts.budget_steps // amounts.eval_every_steps),
        "plan": 0,
        "retrain": chips * strategies * amounts.budget_steps // 6,
        "evaluate": 6 * chips * strategies,
    }
    last = list(guess).index(stage)
    return dict(list(guess.items())[: last + 1])
