"""Costs and results of a campaign worked out by hand, and the table that shows them."""

import io
import math
from dataclasses import replace

import pytest
from rich.console import Console
from scipy.stats import beta

from efat.campaign import State
from efat.campaign.outcome import TrainingCost, build_outcome
from efat.campaign.results import Analysis, Evaluation, Measured, TrainedModel
from efat.campaign.tables import group_results
from efat.planning.plan import Plan
from efat.planning.rules import Rules
from efat.reporting.terminal.outcome import describe_outcome
from efat.reporting.terminal.stages import (
    describe_groups,
    describe_map,
    describe_plan,
    open_console,
)
from efat.resilience.resilience_map import ResilienceCurve, ResilienceMap
from efat.resilience.severity import array_rate
from tests.campaign.by_hand import BASELINE, CHIPS, experiment, group
from tests.reporting.run_folders import result

BEFORE = {
    "a": Measured(0.25, 0.25),
    "b": Measured(0.25, 0.25),
    "c": Measured(0.25, 0.25),
    "d": Measured(0.625, 0.5),  # meets both targets exactly
}
AFTER = {
    "a": Measured(0.5625, 0.5625),  # above the target on test, below that on validation
    "b": Measured(0.75, 0.4375),  # the other way round
    "c": Measured(0.875, 0.4375),
    "d": BEFORE["d"],
}


@pytest.fixture
def outcome():
    """Baseline 0.875 on validation and 0.75 on test; a drop of 0.25 is accepted."""
    groups = (group("a", "b", amount=math.inf), group("c", amount=15))
    steps = (0, 20, 40)
    curves = tuple(ResilienceCurve(0.5, i, 0.5, steps, (0.1, 0.5, 0.7)) for i in range(3))
    state = State(
        experiment(),
        baseline=BASELINE,
        severity=array_rate,
        analysis=Analysis(curves, 60.0, 0.0, ResilienceMap(0.625, (0.5,), (40.0,))),
        plans={"greedy": Plan(groups, ("d",)), "none": Plan((), ())},
        models={
            "greedy": (
                TrainedModel(groups[0], 40, ("retrain", "one"), 7.0),
                TrainedModel(groups[1], 15, ("retrain", "two"), 4.0),
            ),
            "none": (),
        },
        evaluation=Evaluation(Measured(0.875, 0.75), BEFORE, {"greedy": AFTER, "none": BEFORE}, 64),
    )
    return build_outcome(state)


def test_each_split_has_its_own_target(outcome):
    assert outcome.baseline == Measured(0.875, 0.75)
    assert outcome.targets == Measured(0.625, 0.5)


def test_costs_add_up(outcome):
    greedy, none = outcome.strategies
    assert outcome.pretrain_s == 3.0
    assert outcome.analysis == TrainingCost(
        120, epochs=12.0, samples=3840, elapsed_s=60.0, evaluations=9
    )
    assert greedy.retraining == TrainingCost(steps=55, epochs=5.5, samples=1760, elapsed_s=11.0)
    assert none.retraining == TrainingCost(steps=0, epochs=0.0, samples=0, elapsed_s=0.0)
    assert (greedy.models, greedy.beyond_map, greedy.needs_analysis) == (2, 1, True)
    assert (none.models, none.beyond_map, none.needs_analysis) == (0, 0, False)
    assert outcome.unsalvageable == ("d",)


def test_results_are_judged_split_by_split(outcome):
    greedy, none = outcome.strategies
    assert (greedy.name, none.name) == ("greedy", "none")
    assert (greedy.pass_val, greedy.pass_test, greedy.failing) == (3, 2, ("b", "c"))
    assert (none.pass_val, none.pass_test, none.failing) == (1, 1, ("a", "b", "c"))
    assert (greedy.mean_test, greedy.worst_test) == (0.484375, 0.4375)
    assert (none.mean_test, none.worst_test) == (0.3125, 0.25)
    met = {row.chip_id: (row.pass_val, row.pass_test) for row in outcome.chips}
    assert met == {"a": (False, True), "b": (True, False), "c": (True, False), "d": (True, True)}


def test_chips_are_verified_by_the_lower_end_of_their_interval(outcome):
    rows = {row.chip_id: (row.status, row.test_low) for row in outcome.chips}
    low = beta.ppf(0.025, 36, 64 - 36 + 1)  # 36 of 64 right (Clopper & Pearson, 1934)
    assert rows["a"] == ("pass", pytest.approx(low))
    assert rows["b"][0] == rows["c"][0] == "fail"
    assert [s.certified for s in outcome.strategies] == [0, 0]
    assert outcome.needed == next(k for k in range(1, 65) if beta.ppf(0.025, k, 65 - k) >= 0.5)


def test_the_table_of_groups_says_what_each_saves():
    def cost(fault_map):
        return {5: 20, 4: 10, 3: 12}.get(fault_map.fault_count, math.inf)

    plan = Plan((group("a", "b", amount=24), group("c", amount=math.inf)), ("d", "e"))
    first, beyond, lost = group_results(plan, CHIPS, cost)
    assert (first.group, first.chips, first.members) == ("group000", 2, "a;b")
    assert (first.price, first.price_alone) == (24, 30)
    assert first.share_saved == pytest.approx(0.2)
    assert first.fused_rate == 5 / 16
    assert first.alone_steps == 30
    assert (beyond.amount_steps, beyond.share_saved) == (None, None)
    assert (lost.group, lost.chips, lost.members) == ("unsalvageable", 2, "d;e")
    assert len(group_results(Plan(plan.groups, ()), CHIPS, cost)) == 2


def test_nothing_is_saved_of_no_retraining_whatever_a_model_costs():
    plan = Plan((group("a", "b", amount=0),), (), Rules(price_group=1.0))
    (row,) = group_results(plan, CHIPS, lambda _: 0)
    assert (row.price, row.price_alone, row.share_saved) == (1.0, 2.0, None)
    plan = Plan((group("a", "b", amount=10),), (), Rules(price_group=50.0))
    (row,) = group_results(plan, CHIPS, lambda _: 20)
    assert row.share_saved == 0.75  # of the retraining


def test_the_terminal_says_what_amounts_are_of_and_how_good_the_plan_is():
    curves = (ResilienceCurve(0.5, 0, 0.5, (0, 20), (0.1, 0.7)),)
    analysis = Analysis(curves, 1.0, 0.0, ResilienceMap(0.6, (0.5,), (20.0,)))
    line = describe_map(experiment(), analysis)
    assert line.endswith("reaches 50% faulty PEs and requires at most 2.00 epochs of retraining")
    plan = Plan((group("a", "b", amount=20),), ())
    assert "; optimal: no plan costs less" in describe_plan(experiment(), replace(plan, bound=20.0))
    assert "optimality gap <= 25.0%" in describe_plan(experiment(), replace(plan, bound=15.0))


def test_a_limit_that_may_be_why_a_chip_is_unsalvageable_is_named():
    run = result()
    undecided = replace(run, outcome=replace(run.outcome, undecided=run.outcome.unsalvageable))
    texts = []
    for each in (run, undecided):
        console = Console(file=io.StringIO(), width=800)
        console.print(describe_outcome(each))
        texts.append(console.file.getvalue())
    assert "Unsalvageable, beyond the resilience map: chip11" in texts[0]
    assert "max_cost" not in texts[0]
    assert "\nUndecided, since fault_rates.max_cost ended the analysis: chip11\n" in texts[1]
    assert "nsalvageable" not in texts[1]


def test_the_terminal_prints_brackets_as_they_are(capsys):
    console = open_console()
    console.print("try recipe.steps=[retrain,top_up] on chip:on:wafer")
    (row,) = group_results(Plan((group("a", amount=20),), ()), CHIPS, lambda _: 40)
    console.print(describe_groups(experiment(), [replace(row, members="[a]")]))
    said = capsys.readouterr().out
    assert "recipe.steps=[retrain,top_up] on chip:on:wafer" in said
    assert " [a] " in said


def test_many_groups_are_shown_short():
    plan = Plan(tuple(group("a", amount=20) for _ in range(11)), ())
    console = Console(file=io.StringIO(), width=100)
    console.print(describe_groups(experiment(), group_results(plan, CHIPS, lambda _: 40)))
    text = console.file.getvalue()
    assert text.count("50%") == 8
    assert "and 3 more in groups.csv" in text
