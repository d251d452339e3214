"""Headings and captions of the figures."""

from __future__ import annotations

from efat.campaign.run_result import RunResult
from efat.io import pluralise
from efat.reporting.html.charts import needs_retraining


def figures_of(run: RunResult) -> list[tuple[str, str, str]]:
    """Return name, heading and caption of each figure."""
    figures = []
    if any(s.retraining.epochs or run.outcome.once_epochs(s) for s in run.strategies):
        figures.append(("cost", "What each strategy cost", _cost(run)))
    if run.map is not None:
        figures += [
            ("map", "How much retraining a fault map needs", _map(run)),
            ("curves", "Resilience curves", _curves(run)),
        ]
    if not run.until_met:
        figures.append(("groups", "The plan", _plan(run)))
    figures.append(("chips", "Every chip before and after", _chips(run)))
    what = "Mean, and range over the chips or models."
    layers = ("layers", "Share of weights pruned, layer by layer", what)
    return [*figures, layers] if run.layers else figures


def _cost(run: RunResult) -> str:
    hardened = " and hardening" if run.hardening_epochs else ""
    if run.map is None:
        once = "; the hatched part is hardening, once per network" * bool(hardened)
        return f"Blue is retraining{once}. No resilience analysis was needed."
    return (
        f"Blue is retraining; the hatched part is the resilience analysis{hardened}, done once per "
        "network and reused for later fleets."
    )


def _chips(run: RunResult) -> str:
    shared = "Chips of one group carry the same model and have the same accuracy."
    alone = "Each chip carries a model of its own."
    return f"Dashed: the target on test. {alone if run.until_met else shared}"


def _map(run: RunResult) -> str:
    not_met = sum(epochs is None for _, epochs in run.crossings)
    beyond = run.chips_beyond
    caption = (
        "Grey dots are the fault maps of the analysis, where their curve first met the constraint; "
        "the line is the resilience map, read off them. Green ticks are chips"
        f"{'' if run.until_met else ', rings are groups with fused fault maps'}."
    )
    if not_met or beyond:
        within = f"within the budget of {run.budget_epochs:.1f} epochs"
        if not run.budget_epochs:
            within = "as repaired, and nothing is retrained"
        above = [f"{not_met} of {len(run.curves)} fault maps did not meet it {within}"]
        above = above * bool(not_met)
        above += [f"{beyond} of {len(run.chips)} chips are beyond the line"] * bool(beyond)
        caption += f" Triangles, above the others: {', '.join(above)}."
    return caption + _searched(run)


def _searched(run: RunResult) -> str:
    """Say how many of the grid's fault rates the line is read off, where a search chose them."""
    assert run.map is not None  # noqa: S101 - drawn only where something was analysed
    rates, read_off = run.settings.fault_rates, run.map.fault_rates
    if len(read_off) >= len(rates):
        return ""
    ended = ", until fault_rates.max_cost ended it" if run.map.cut_short else ""
    return (
        f" The line is read off {len(read_off)} of {len(rates)} fault rates, those that bisection "
        f"measured{ended}."
    )


def _curves(run: RunResult) -> str:
    caption = (
        "Mean over the fault maps of a rate; choose one rate to see its range. Dashed: the target."
    )
    if not run.budget_epochs:
        return f"{caption} Nothing is retrained: each dot is a fault map as it was repaired."
    if not run.early_ends:
        return caption
    at_once = sum(curve.amount_steps[-1] == 0 for curve in run.early_ends)
    return (
        f"{caption} A curve ends, with a dot, where it first met the constraint, and counts with "
        f"its last value from there on. {at_once} of {pluralise(len(run.curves), 'curve')} end at "
        "amount 0: they met it without any retraining."
    )


def _plan(run: RunResult) -> str:
    if needs_retraining(run):
        caption = (
            "What each group takes, beside what its chips would one by one: retraining above, "
            "models to store below."
        )
    else:
        caption = (
            "No group needs retraining, and neither would its chips one by one; grouping saves "
            "models to store."
        )
    price, step = run.plan.rules.price_group, run.plan.rules.price_step
    if price and step:
        epochs = price / step / run.amounts.steps_per_epoch
        caption += (
            f" To the planner a model counts as much as {epochs:.2g} epochs of retraining "
            f"({price / step:g} step{'' if price == step else 's'}; rules.price_group)."
        )
    elif price:
        caption += " To the planner models alone count (rules.price_step=0)."
    return caption
