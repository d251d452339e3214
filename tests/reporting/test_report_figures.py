"""The report's figures and captions of runs that are out of the ordinary."""

import math
from dataclasses import replace
from io import BytesIO

import pytest

from efat.campaign.results import Analysis
from efat.campaign.tables import ChipResult
from efat.planning.plan import Merge, Plan
from efat.planning.rules import Rules
from efat.reporting.advice import next_steps
from efat.reporting.figures.plan import draw_groups, draw_rewards
from efat.reporting.figures.resilience import plot_curves, plot_resilience_map
from efat.reporting.figures.series import map_line
from efat.reporting.html.captions import figures_of
from efat.reporting.html.charts import plan_chart
from efat.reporting.html.report_page import chip_columns, page_data
from efat.reporting.html.resilience_charts import curves_chart, map_chart
from efat.reporting.sentences import summary
from efat.resilience.resilience_map import ResilienceCurve, ResilienceMap
from efat.resilience.severity import array_rate
from tests.campaign.by_hand import CHIPS, experiment, group
from tests.reporting.run_folders import result


@pytest.fixture
def run():
    return result()


def shortened(run, steps_of):
    """The run with each curve cut to its first points."""
    curves = []
    for curve in run.curves:
        n = 1 + curve.amount_steps.index(steps_of(curve))
        curves.append(replace(curve, amount_steps=curve.amount_steps[:n], metric=curve.metric[:n]))
    return replace(run, curves=tuple(curves))


def without_retraining(run):
    """The same run under rules=few_models, where no group needs any retraining."""
    groups = tuple(replace(row, amount_steps=0.0, alone_steps=0.0) for row in run.groups)
    return replace(run, groups=groups, plan=replace(run.plan, rules=Rules(price_group=1)))


def caption(run, name):
    return next(words for found, _, words in figures_of(run) if found == name)


def titles(figure):
    return [v["title"]["text"] for k, v in figure["layout"].items() if k.startswith("yaxis")]


def test_the_plan_shows_retraining_and_models_apart(run):
    figure = plan_chart(run)
    assert sorted(titles(figure)) == ["models to store", "retraining (epochs)"]
    bars = {(t["yaxis"], t["name"]): t["y"] for t in figure["data"]}
    assert bars["y2", "its chips on their own"] == [3.0] * 4
    assert bars["y2", "the group"] == [2.0] * 4
    assert bars["y", "its chips on their own"] == [3, 3, 3, 2]
    assert bars["y", "the group"] == [1] * 4


def test_where_nothing_is_retrained_the_plan_shows_models_only_and_says_so(run):
    here = without_retraining(run)
    assert titles(plan_chart(here)) == ["models to store"]
    words = caption(here, "groups")
    assert "No group needs retraining" in words
    assert "counts as much as 0.1 epochs of retraining (1 step; rules.price_group)" in words
    assert "price" not in caption(run, "groups")


def ended_at_once(run):
    """The same run with fault_rates.until_met: one of 10 % and one of 30 % met at amount 0."""
    last = {(0.1, 0): 0, (0.1, 1): 10, (0.3, 0): 0, (0.3, 1): 30}
    return shortened(run, lambda curve: last[curve.fault_rate, curve.repeat])


def test_curves_that_end_at_amount_0_are_marked_and_counted(run):
    here = ended_at_once(run)
    marks = [t for t in curves_chart(here)["data"] if t["mode"] == "markers"]
    assert [(t["x"], t["y"]) for t in marks] == [([0.0, 1.0], [71.0, 81.0]), ([0.0], [71.0])]
    assert curves_chart(here)["layout"]["xaxis"]["range"][0] < 0  # the dots are seen whole
    assert "2 of 4 curves end at amount 0: they met it without any retraining" in caption(
        here, "curves"
    )
    assert "end at amount 0" not in caption(run, "curves")
    assert not [t for t in curves_chart(run)["data"] if t["mode"] == "markers"]


def test_a_curve_that_ended_counts_in_the_mean_with_its_last_value(run):
    ends = lambda c: 10 if (c.fault_rate, c.repeat) == (0.1, 1) else 30  # noqa: E731
    here = shortened(run, ends)
    lines = [t for t in curves_chart(here)["data"] if t["mode"] == "lines" and "fill" not in t]
    assert lines[0]["y"] == pytest.approx([71, 81, (91 + 81) / 2, (101 + 81) / 2])


def test_where_the_recipe_does_not_retrain_all_curves_are_points(run):
    here = shortened(run, lambda curve: 0)
    here = replace(here, amounts=replace(run.amounts, budget_steps=0))
    marks = [t for t in curves_chart(here)["data"] if t["mode"] == "markers"]
    assert sum(len(t["x"]) for t in marks) == 4
    assert "each dot is a fault map as it was repaired" in caption(here, "curves")


def test_what_never_met_the_constraint_is_shown_above_the_budget(run):
    here = replace(run, map=replace(run.map, target=0.95))  # 30 % again: never met
    chips = tuple(replace(c, severity=0.45 if i < 2 else 0.1) for i, c in enumerate(run.chips))
    served = replace(here, outcome=replace(run.outcome, chips=chips))
    traces = {t["name"]: t for t in map_chart(served)["data"]}
    assert len(traces["one fault map"]["x"]) == 3
    lost = traces["a fault map, not met within the budget"]
    assert (lost["x"], lost["marker"]["symbol"]) == ([0.3], "triangle-up")
    assert list(traces)[-1] == lost["name"]  # over the chips, which lie at the same height
    assert lost["y"][0] > run.budget_epochs
    assert traces["a chip, beyond the resilience map"]["text"] == ["chip00", "chip01"]
    said = "1 of 4 fault maps did not meet it within the budget of 3.0 epochs, 1 of 12 chips are"
    assert said in caption(here, "map")
    everywhere = [t["name"] for t in map_chart(run)["data"]]
    assert "a fault map, not met within the budget" not in everywhere


CURVES = (
    ResilienceCurve(0.1, 0, 0.1, (0,), (0.9,)),
    ResilienceCurve(0.3, 0, 0.3, (0, 20), (0.5, 0.7)),
    ResilienceCurve(0.5, 0, 0.5, (0, 20, 40), (0.1, 0.2, 0.3)),
)


def test_figures_on_paper_agree_with_the_page():
    figure = plot_curves(CURVES, 10, 0.6)
    assert "1 of 3 end at amount 0 (dots): met without retraining" in figure._suptitle.get_text()
    [dot] = [
        line for line in figure.axes[0].lines if line.get_marker() == "o" and line.get_ms() > 3
    ]
    assert (list(dot.get_xdata()), list(dot.get_ydata())) == ([0.0], [90.0])
    drawn = ResilienceMap(0.6, (0.1, 0.3, 0.5), (0.0, 20.0, math.inf))
    analysis = Analysis(CURVES, 1.0, 0.0, drawn)
    axes = plot_resilience_map(experiment(), analysis, array_rate).axes[0]
    marks = {found.get_label(): found.get_offsets() for found in axes.collections}
    [(severity, height)] = marks["fault maps, not met within the budget (1)"]
    assert (severity, height > 4.0) == (0.5, True)
    assert list(marks)[-1].startswith("fault maps, not met")  # over the chips
    assert len(marks["one fault map"]) == 2
    assert axes.get_xlabel() == "severity: share of faulty PEs"


def test_curves_that_end_stay_in_their_panels_and_each_column_has_its_axis():
    curves = [
        ResilienceCurve(rate / 10, 0, rate / 10, (0, 20, 40), (0.1, 0.5, 0.95))
        for rate in range(1, 7)
    ]
    figure = plot_curves([replace(curves[0], amount_steps=(0,), metric=(0.95,)), *curves], 10, 0.9)
    figure.savefig(BytesIO(), format="png")
    for axes in figure.axes[:6]:
        assert all(line.get_clip_on() for line in axes.lines)
    shown = [
        any(label.get_visible() and label.get_text() for label in axes.get_xticklabels())
        for axes in figure.axes[:6]
    ]
    assert shown == [False, True, True, True, True, True]


def test_a_plan_of_models_alone_is_drawn_in_models():
    rules = Rules(price_group=1.0)
    merges = (Merge(0, 1, 1.0),)
    plan = Plan((group("a", "b", amount=0), group("c", amount=0)), (), rules, merges)
    bottom = draw_groups(plan, CHIPS, 10).axes[1]
    assert [text.get_text() for text in bottom.texts] == ["no group needs retraining"]
    assert bottom.get_ylabel() == "retraining (epochs)"
    rewards = draw_rewards(plan, 10).axes
    assert rewards[0].get_ylabel() == "saved by the merge (models)"
    assert list(rewards[1].lines[0].get_ydata()) == [3.0, 2.0]
    priced = Plan((group("a", "b", amount=20),), (), rules, merges)
    assert draw_rewards(priced, 10).axes[0].get_ylabel() == (
        "saved by the merge (epochs; a model counts 0.1)"
    )


def test_a_step_of_the_map_is_drawn_upright():
    drawn = ResilienceMap(0.9, (0.1, 0.3), (10.0, 20.0), "ceil")
    line = dict(zip(*map_line(drawn, 10), strict=True))
    assert (line[0.1], line[math.nextafter(0.1, 1)]) == (1.0, 2.0)


def test_epochs_are_the_unit_of_the_table_of_chips(run):
    headings = [heading for _, heading, _ in chip_columns(run)]
    assert "lower end (95%)" in headings
    chips = tuple(replace(chip, trained_steps=25) for chip in run.chips)
    data = page_data(replace(run, outcome=replace(run.outcome, chips=chips)))
    place = [name for name, _, _ in data["columns"]].index("trained_epochs")
    assert data["chips"][0][place] == 2.5


PASS = ChipResult(
    "c", 0.1, 0.1, "group000", 1, 0.1, 20, 2.0, 20, 0.5, 0.9, 0.5, 0.9, True, True, 0.8, 0.95,
    "pass", True,
)  # fmt: skip
UNSURE = replace(PASS, pass_test=False)
FAIL = replace(UNSURE, pass_val=False)
BEYOND = replace(FAIL, salvageable=False)


def advised(run, *chips, recipe=("retrain",), sustained=1, dataflow="ws", undecided=()):
    array = replace(run.settings.array, dataflow=dataflow)
    settings = replace(run.settings, sustained=sustained, array=array)
    outcome = replace(run.outcome, chips=chips, recipe=recipe, undecided=undecided)
    return next_steps(replace(run, settings=settings, outcome=outcome))


@pytest.mark.parametrize(
    ("chips", "changes", "advises", "not_advised"),
    [
        ([PASS, UNSURE], {},
         ["the 1 failing chip", "recipe=remap_compensate", "selection.sustained=2",
          "(selection.max_drop)"], ["top_up", "unsalv"]),
        ([PASS, FAIL], {}, ["recipe.steps=[retrain,top_up]"], ["sustained"]),
        ([FAIL], {"recipe": ("retrain", "top_up")}, ["remap_compensate"], ["steps"]),
        ([UNSURE], {"sustained": 4}, ["looser"], ["sustained"]),
        ([UNSURE], {"dataflow": "os"}, ["looser"], ["remap_compensate"]),
        ([UNSURE], {"recipe": ("compensate",)}, ["[compensate,retrain]"],
         ["sustained", "remap_compensate"]),
        ([PASS, BEYOND], {}, ["the 1 unsalvageable chip", "training.budget_"],
         ["failing", "sustained"]),
        ([BEYOND], {"recipe": ("remap", "compensate")},
         ["the 1 unsalvageable chip", "recipe.steps=[remap,compensate,retrain]"],
         ["training.budget_epochs"]),
        ([UNSURE], {}, [], ["individual", "max_cost"]),
        ([BEYOND], {"undecided": ("c",)}, ["the 1 undecided chip", "fault_rates.max_cost"],
         ["unsalvageable", "budget"]),
        ([BEYOND, BEYOND], {"undecided": ("c",)},
         ["the 1 undecided chip", "the 1 unsalvageable chip"], []),
        ([replace(UNSURE, group_size=2)], {}, ["planner=individual"], ["early_stop"]),
        ([replace(UNSURE, group_size=2)], {"recipe": ("remap", "compensate")},
         ["planner=early_stop"], ["individual"]),
        ([UNSURE, BEYOND], {}, ["the 1 failing chip", "the 1 unsalvageable"], []),
    ],
)  # fmt: skip
def test_advice_depends_on_the_run(run, chips, changes, advises, not_advised):
    advice = advised(run, *chips, **changes)
    assert [words for words in advises if words not in advice] == []
    assert [words for words in not_advised if words in advice] == []


def test_nothing_is_advised_where_every_chip_passes(run):
    assert advised(run, PASS, PASS) is None


def test_undecided_chips_are_not_called_unsalvageable(run):
    undecided = run.outcome.unsalvageable
    here = replace(
        run,
        settings=replace(run.settings, fault_rates=(0.1, 0.2, 0.3, 0.5)),
        map=replace(run.map, cut_short=True),
        outcome=replace(run.outcome, undecided=undecided),
    )
    assert "until fault_rates.max_cost" in caption(here, "map")
    notes = " ".join(summary(here))
    assert "Undecided" in notes
    assert "Unsalvageable" not in notes
    assert "line is read off" not in caption(replace(here, settings=run.settings), "map")


def test_what_was_never_met_lies_above_a_budget_of_nothing(run):
    amounts, target = replace(run.amounts, budget_steps=0), replace(run.map, target=0.95)
    here = replace(run, amounts=amounts, map=target)
    traces = {t["name"]: t for t in map_chart(here)["data"]}
    assert traces["a fault map, not met within the budget"]["y"][0] > 0
