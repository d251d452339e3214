"""What the figures and the table say is what the plan says."""

from __future__ import annotations

import pytest

from efat.plan_figures import draw_groups, draw_history, draw_overlaps, draw_rewards, group_rows
from efat.planning.hierarchical import Hierarchical
from efat.planning.individual import Individual
from tests.planning.fleets import fleet, table_cost


@pytest.mark.parametrize("n", [1, 2, 30, 90])
def test_figures_show_the_plan(n: int) -> None:
    chips, cost = fleet("systematic", n, 16), table_cost("floored", 16)
    plan = Hierarchical()(chips, cost, 0)
    amounts = [bar.get_height() for bar in draw_groups(plan, chips).axes[1].patches]
    assert amounts == [group.amount_steps for group in plan.groups][: len(amounts)]
    bars = [bar.get_height() for bar in draw_rewards(plan).axes[0].patches]
    assert bars == pytest.approx([merge.reward for merge in plan.merges])
    shares = draw_overlaps(plan, chips).axes[0].images[0].get_array()
    assert shares.shape == (len(plan.chip_names),) * 2
    faulty = {chip.chip_id: chip.fault_map.fault_count > 0 for chip in chips}
    in_order = [faulty[name] for group in plan.groups for name in group.members]
    assert shares.diagonal().tolist() == in_order  # a chip shares all its faults with itself
    assert (shares == shares.T).all()
    history = draw_history(plan)
    title = history.axes[0].get_title()
    assert not plan.merges or title == f"How {n} chips became {len(plan.groups)} groups"


def test_history_without_merges_says_so() -> None:
    chips, cost = fleet("uniform", 3, 16), table_cost("floored", 16)
    figure = draw_history(Individual()(chips, cost, 0))
    assert figure.axes[0].texts[0].get_text() == "no chips were merged"


def test_rows_add_up() -> None:
    chips, cost = fleet("clustered", 30, 16), table_cost("concave", 16)
    plan = Hierarchical()(chips, cost, 0)
    rows = group_rows(plan)
    assert sum(row["price"] for row in rows) == plan.price
    assert sorted(" ".join(row["members"] for row in rows).split()) == list(plan.chip_names)
