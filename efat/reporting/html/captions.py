"""Headings of the figures, and what a reader of this run's should know."""

from __future__ import annotations

from omegaconf import OmegaConf

from efat.io import pluralise
from efat.reporting.html.charts import needs_retraining
from efat.reporting.html.resilience import chips_beyond, crossings, curves_of, early_ends
from efat.reporting.html.run_reader import FinishedRun


def figures_of(run: FinishedRun) -> list[tuple[str, str, str]]:
    """Return name, heading and caption of each figure."""
    figures = []
    if any(s["retraining"]["epochs"] or run.once_epochs(s) for s in run.summary["strategies"]):
        figures.append(("cost", "What each strategy cost", _cost(run)))
    if run.analysed:
        figures += [
            ("map", "How much retraining a fault map needs", _map(run)),
            ("curves", "Resilience curves", _curves(run)),
        ]
    if not run.until_met:
        figures.append(("groups", "The plan", _plan(run)))
    figures.append(("chips", "Every chip before and after", _chips(run)))
    layers = ("layers", "What is pruned, layer by layer", "Mean, and range over the chips or "
              "models.")  # fmt: skip
    return [*figures, layers] if run.layers else figures


def _cost(run: FinishedRun) -> str:
    hardened = " and hardening" if run.hardening_epochs else ""
    if not run.analysed:
        once = "; the hatched part is hardening, which is done once a network" * bool(hardened)
        return f"Blue is retraining{once}. No resilience analysis was needed."
    return (
        f"Blue is retraining; the hatched part is the resilience analysis{hardened}, which is done "
        "once a network and serves every fleet after it."
    )


def _chips(run: FinishedRun) -> str:
    shared = "Chips of one group carry the same model and have the same accuracy."
    alone = "Each chip carries a model of its own."
    return f"Dashed: the constraint on test. {alone if run.until_met else shared}"


def _map(run: FinishedRun) -> str:
    found, beyond = crossings(run), chips_beyond(run)
    lost = sum(crossing.epochs is None for crossing in found)
    caption = (
        "Grey dots are the fault maps of the analysis, where their curve first met the constraint; "
        "the line is the resilience map, read off them. Green ticks are chips"
        f"{'' if run.until_met else ', rings are groups with fused maps'}."
    )
    if lost or beyond:
        within = f"within the budget of {run.budget_epochs:.1f} epochs"
        if not run.budget_epochs:
            within = "as repaired, and nothing is retrained"
        above = [f"{lost} of {len(found)} fault maps did not meet it {within}"] * bool(lost)
        above += [f"{beyond} of {len(run.chips)} chips are beyond the line"] * bool(beyond)
        caption += f" Triangles, above the others: {', '.join(above)}."
    return caption + _searched(run)


def _searched(run: FinishedRun) -> str:
    """Say how many of the grid's fault rates the line is read off, where a search chose them."""
    rates = OmegaConf.select(OmegaConf.create(run.config), "fault_rates.rates") or ()
    read_off = run.resilience_map.get("fault_rates", run.resilience_map["severities"])
    if len(read_off) >= len(rates):
        return ""
    ended = ", until fault_rates.max_cost ended it" if run.resilience_map.get("cut_short") else ""
    return (
        f" The line is read off {len(read_off)} of {len(rates)} fault rates, those that bisection "
        f"measured{ended}."
    )


def _curves(run: FinishedRun) -> str:
    caption = (
        "Mean over the fault maps of a rate; choose one rate to see its range. Dashed: the "
        "constraint."
    )
    ends, curves = early_ends(run), len(curves_of(run))
    if not run.budget_epochs:
        return f"{caption} Nothing is retrained: each dot is a fault map as it was repaired."
    if not ends:
        return caption
    at_once = sum(row["amount_epochs"] == 0 for row in ends)
    return (
        f"{caption} A curve ends, with a dot, where it first met the constraint, and counts with "
        f"its last value from there on. {at_once} of {pluralise(curves, 'curve')} end at amount 0: "
        "they met it without any retraining."
    )


def _plan(run: FinishedRun) -> str:
    if needs_retraining(run):
        caption = (
            "What each group takes, beside what its chips would one by one: retraining above, "
            "models to store below."
        )
    else:
        caption = (
            "No group needs retraining, and neither would its chips one by one; what grouping "
            "saves is models to store."
        )
    rules = run.plan.get("rules", {})
    price, step = rules.get("price_group", 0), rules.get("price_step", 1)
    if price and step:
        epochs = price / step / run.steps_per_epoch
        caption += (
            f" To the planner a model counts as much as {epochs:.2g} epochs of retraining "
            f"({price / step:g} step{'' if price == step else 's'}; rules.price_group)."
        )
    elif price:
        caption += " To the planner models alone count (rules.price_step=0)."
    return caption
