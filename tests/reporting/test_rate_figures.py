"""The figure over the fault rates, worked out by hand."""

import math

import numpy as np
import pytest

from efat.reporting.figures.resilience import plot_fault_rates
from efat.resilience.metric import Metric
from efat.resilience.resilience_map import ResilienceCurve

STEPS = (0, 10, 20)
CURVES = (
    ResilienceCurve(0.1, 0, 0.1, STEPS, (0.5, 0.8, 0.9)),
    ResilienceCurve(0.1, 1, 0.1, STEPS, (0.7, 0.9, 0.9)),
    ResilienceCurve(0.5, 0, 0.5, STEPS, (0.1, 0.5, 0.7)),
)


def lines(figure):
    axes = figure.axes[0]
    handles, labels = axes.get_legend_handles_labels()
    return dict(zip(labels, handles, strict=True))


def test_every_amount_has_a_line_of_means():
    drawn = lines(plot_fault_rates(CURVES, 20, 0.85))
    assert list(drawn) == [
        "target: 85.00%",
        "before retraining",
        "after 0.5 epochs",
        "after 1 epoch",
    ]
    points = {name: line.lines[0].get_ydata() for name, line in list(drawn.items())[1:]}
    assert points["before retraining"] == pytest.approx([60, 10])
    assert points["after 0.5 epochs"] == pytest.approx([85, 50])
    assert points["after 1 epoch"] == pytest.approx([90, 70])


def test_bars_reach_from_the_worst_map_to_the_best():
    bars = lines(plot_fault_rates(CURVES, 20, 0.85))["before retraining"].lines[2][0].get_segments()
    assert bars[0] == pytest.approx(np.array([[0.1, 50], [0.1, 70]]))
    assert bars[1] == pytest.approx(np.array([[0.5, 10], [0.5, 10]]))


def test_of_many_amounts_the_first_and_the_last_are_drawn():
    steps = tuple(range(12))
    curve = ResilienceCurve(0.1, 0, 0.1, steps, tuple(0.5 + 0.01 * step for step in steps))
    drawn = list(lines(plot_fault_rates([curve], 1, 0.85)))
    assert len(drawn) == 1 + 5
    assert (drawn[1], drawn[-1]) == ("before retraining", "after 11 epochs")


def test_a_divergence_is_a_gap_and_an_error_has_its_own_unit():
    curve = ResilienceCurve(0.1, 0, 0.1, STEPS, (9.0, math.nan, math.nan), higher_is_better=False)
    figure = plot_fault_rates([curve], 20, 4.0, Metric("mse", False, 0, None))
    assert figure.axes[0].get_ylabel() == "validation mse"
    assert lines(figure)["before retraining"].lines[0].get_ydata() == [9.0]


def test_a_curve_that_met_the_constraint_early_keeps_its_last_value():
    early = ResilienceCurve(0.1, 2, 0.1, (0, 10), (0.6, 0.95))
    drawn = lines(plot_fault_rates([early, *CURVES], 20, 0.85))
    assert drawn["after 1 epoch"].lines[0].get_ydata()[0] == pytest.approx(100 * 2.75 / 3)
