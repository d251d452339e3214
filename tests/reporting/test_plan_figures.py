"""What the figures and the table say is what the plan says."""

from __future__ import annotations

import io

import numpy as np
import pytest

from efat import FaultMap
from efat.hardware.chip import Chip
from efat.planning import Individual, Single
from efat.planning.planners.hierarchical import Hierarchical
from efat.reporting.figures.plan import draw_groups, draw_history, draw_overlaps, draw_rewards
from tests.planning.fleets import fleet, table_cost


@pytest.mark.parametrize("n", [1, 2, 30, 90])
def test_figures_show_the_plan(n: int) -> None:
    chips, cost = fleet("systematic", n, 16), table_cost("floored", 16)
    plan = Hierarchical()(chips, cost, 0)
    amounts = [bar.get_height() for bar in draw_groups(plan, chips, 4).axes[1].patches]
    assert amounts == [group.amount_steps / 4 for group in plan.groups][: len(amounts)]
    bars = [bar.get_height() for bar in draw_rewards(plan, 4).axes[0].patches]
    assert bars == pytest.approx([merge.reward / 4 for merge in plan.merges])
    shares = draw_overlaps(plan, chips).axes[0].images[0].get_array()
    assert shares.shape == (len(plan.chip_names),) * 2
    faulty = {chip.chip_id: chip.fault_map.fault_count > 0 for chip in chips}
    in_order = [faulty[name] for group in plan.groups for name in group.members]
    assert shares.diagonal().tolist() == in_order  # a chip shares all its faults with itself
    assert (shares == shares.T).all()
    history = draw_history(plan)
    title = history.axes[0].get_title()
    assert not plan.merges or title == f"How {n} chips became {len(plan.groups)} groups"


@pytest.mark.filterwarnings("error")
def test_a_fleet_without_faults_can_be_drawn() -> None:
    chips = (Chip("a", FaultMap(np.zeros((4, 4), dtype=bool))),)
    figure = draw_groups(Individual()(chips, table_cost("floored", 4), 0), chips, 4)
    assert figure.axes[0].get_ylim() == (0, 1.12)


def test_history_without_merges_says_so() -> None:
    chips, cost = fleet("uniform", 3, 16), table_cost("floored", 16)
    figure = draw_history(Individual()(chips, cost, 0))
    assert figure.axes[0].texts[0].get_text() == "no chips were merged"


@pytest.mark.filterwarnings("error")
def test_a_group_beyond_the_map_can_be_drawn() -> None:
    chips, cost = fleet("uniform", 60, 16), table_cost("floored", 16)
    plan = Single()(chips, cost, 0)
    figures = [draw_groups(plan, chips, 4), draw_history(plan), draw_rewards(plan, 4)]
    for figure in figures:
        figure.savefig(io.BytesIO(), format="png")
    assert "beyond the resilience map" in [text.get_text() for text in figures[0].axes[1].texts]
    assert "some beyond the map" in figures[0].axes[0].get_title()


def test_frames_are_the_groups_and_unsalvageable_chips_are_counted() -> None:
    lost = Chip("lost", FaultMap(np.ones((16, 16), dtype=bool)))
    chips, cost = [*fleet("clustered", 30, 16), lost], table_cost("floored", 16)
    plan = Hierarchical()(chips, cost, 0)
    frames = draw_overlaps(plan, chips).axes[0].patches
    assert [frame.get_width() for frame in frames] == [len(g.members) for g in plan.groups]
    assert "1 more unsalvageable" in draw_groups(plan, chips, 4).axes[0].get_title()
