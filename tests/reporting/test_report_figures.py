"""The report's figures and captions of runs that are out of the ordinary."""

import math
from dataclasses import replace
from io import BytesIO

import pytest
from efat.reporting.figures.map_line import map_line
from efat.reporting.html.run_reader import read_run
from efat.reporting.html.summary_text import sentences

from efat.planning.plan import Merge, Plan
from efat.planning.rules import Rules
from efat.reporting.advice import Settings, next_steps
from efat.reporting.figures.plan import draw_groups, draw_rewards
from efat.reporting.figures.resilience import plot_curves, plot_resilience_map
from efat.reporting.html.captions import figures_of
from efat.reporting.html.charts import plan_chart
from efat.reporting.html.report_page import chip_columns, page_data
from efat.reporting.html.resilience_charts import curves_chart, map_chart
from efat.resilience.resilience_map import ResilienceCurve, ResilienceMap
from tests.campaign.by_hand import CHIPS, experiment, group
from tests.reporting.run_folders import finished


@pytest.fixture
def run(tmp_path):
    return read_run(finished(tmp_path))


def without_retraining(run):
    """The same run under rules=few_models, where no group needs any retraining."""
    groups = tuple(row | {"amount_steps": 0.0, "alone_steps": 0.0} for row in run.groups)
    rules = {"price_group": 1, "price_step": 1}
    return replace(run, groups=groups, plan=run.plan | {"rules": rules})


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
    kept = [r for r in run.curves if r["amount_steps"] <= last[r["fault_rate"], r["repeat"]]]
    return replace(
        run, curves=tuple(kept), resilience_map=run.resilience_map | {"budget_steps": 30}
    )


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
    rows = tuple(
        row for row in run.curves if (row["fault_rate"], row["repeat"]) != (0.1, 1) or
        row["amount_steps"] < 20
    )  # fmt: skip
    here = replace(run, curves=rows)
    lines = [t for t in curves_chart(here)["data"] if t["mode"] == "lines" and "fill" not in t]
    assert lines[0]["y"] == pytest.approx([71, 81, (91 + 81) / 2, (101 + 81) / 2])


def test_where_the_recipe_does_not_retrain_all_curves_are_points(run):
    rows = tuple(row for row in run.curves if row["amount_steps"] == 0)
    here = replace(run, curves=rows, resilience_map=run.resilience_map | {"budget_steps": 0})
    marks = [t for t in curves_chart(here)["data"] if t["mode"] == "markers"]
    assert sum(len(t["x"]) for t in marks) == 4
    assert "each dot is a fault map as it was repaired" in caption(here, "curves")


def test_what_never_met_the_constraint_is_shown_above_the_budget(run):
    here = replace(run, resilience_map=run.resilience_map | {"target": 0.95})  # 30 % again: lost
    chips = tuple(row | {"severity": 0.45 if i < 2 else 0.1} for i, row in enumerate(run.chips))
    traces = {t["name"]: t for t in map_chart(replace(here, chips=chips))["data"]}
    assert len(traces["one fault map"]["x"]) == 3
    lost = traces["a fault map, not met within the budget"]
    assert (lost["x"], lost["marker"]["symbol"]) == ([0.3], "triangle-up-open")
    assert lost["y"][0] > run.budget_epochs
    assert traces["a chip, beyond the map"]["text"] == ["chip00", "chip01"]
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
    axes = plot_resilience_map(experiment(), CURVES, drawn).axes[0]
    marks = {found.get_label(): found.get_offsets() for found in axes.collections}
    [(severity, height)] = marks["fault maps, not met within the budget (1)"]
    assert (severity, height > 4.0) == (0.5, True)
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


def test_epochs_are_the_unit_of_the_table_of_chips_and_of_the_sentences(run):
    headings = [heading for _, heading, _ in chip_columns(run)]
    assert "lower end (95%)" in headings
    assert not {"at least", "pruned for", "statement", "steps"} & set(headings)
    data = page_data(replace(run, chips=tuple(row | {"trained_steps": 25.0} for row in run.chips)))
    place = [name for name, _, _ in data["columns"]].index("trained_epochs")
    assert data["chips"][0][place] == 2.5
    run.summary["recipe"] = ["retrain", "top_up"]
    longer = {"trained_steps": 25.0, "topped_up": True}
    groups = (run.groups[0] | longer, run.groups[1] | longer | {"topped_up": False})
    strategy = run.summary["strategies"][0]
    strategy["retraining"]["evaluations"] = 6
    strategy |= {"topped_up": 1, "topped_up_steps": 5, "short_groups": []}
    strategy["kept_groups"] = ["group002"]
    said = " ".join(sentences(replace(run, groups=groups)))
    assert "1 of 4 groups fell short there and went on, for 0.50 epochs together" in said
    assert "(group000: planned 2.00, trained 2.50 epochs)" in said
    assert "diverged for group002: the model of the planned amount is kept" in said
    assert said.count("steps") == said.count("(10 steps)") + said.count("recipe.steps")


SETTINGS = Settings(("retrain",), 1, 13, "selection.max_drop", repairable=True)
MET = {"met_val": True, "met_test": True, "salvageable": True, "group_size": 1}
UNSURE, SHORT = MET | {"met_test": False}, MET | {"met_val": False, "met_test": False}
LOST = SHORT | {"salvageable": False}


@pytest.mark.parametrize(
    ("chips", "settings", "said", "unsaid"),
    [
        ([MET, UNSURE], SETTINGS,
         ["For the 1 short chip, try repair before retraining, recipe=remap_compensate",
          "selection.sustained=2 with a larger training.budget_epochs, ",
          "(met on validation, not on test: 1)", "(selection.max_drop)"],
         ["top_up", "unsalv"]),
        ([MET, SHORT], SETTINGS, ["recipe.steps=[retrain,top_up]"], ["sustained"]),
        ([SHORT], replace(SETTINGS, recipe=("retrain", "top_up")), ["remap_compensate"], ["steps"]),
        ([UNSURE], replace(SETTINGS, sustained=13), ["looser"], ["sustained"]),
        ([UNSURE], replace(SETTINGS, repairable=False), ["looser"], ["remap_compensate"]),
        ([UNSURE], replace(SETTINGS, recipe=("compensate",)), ["[compensate,retrain]"],
         ["sustained", "remap_compensate"]),
        ([MET, LOST], SETTINGS, ["For the 1 unsalvageable chip, try a larger training.budget_"],
         ["short", "sustained"]),
        ([LOST], replace(SETTINGS, recipe=("remap", "compensate")),
         ["For the 1 unsalvageable chip, try recipe.steps=[remap,compensate,retrain]"],
         ["training.budget_epochs"]),
        ([UNSURE], SETTINGS, [], ["individual", "max_cost"]),
        ([LOST], replace(SETTINGS, undecided=1),
         ["For the 1 undecided chip, try a larger fault_rates.max_cost, or none."],
         ["unsalvageable", "budget"]),
        ([LOST, LOST], replace(SETTINGS, undecided=1),
         ["For the 1 undecided chip", "For the 1 unsalvageable chip, try a larger training."], []),
        ([UNSURE | {"group_size": 2}], SETTINGS,
         ["planner=individual", "(chips that share one: 1)"], ["early_stop"]),
        ([UNSURE | {"group_size": 2}], replace(SETTINGS, recipe=("remap", "compensate")),
         ["planner=early_stop", "(chips that share one: 1)"], ["individual"]),
        ([UNSURE, LOST], SETTINGS, ["For the 1 short chip", "For the 1 unsalvageable"], []),
    ],
)  # fmt: skip
def test_what_to_do_next_hangs_on_the_run(chips, settings, said, unsaid):
    advice = next_steps(chips, settings)
    assert [words for words in said if words not in advice] == []
    assert [words for words in unsaid if words in advice] == []


def test_what_a_limited_analysis_does_not_know_is_not_called_lost(run):
    config = run.config + "fault_rates: {rates: [0.1, 0.2, 0.3, 0.5]}\n"
    read_off = "The line is read off 3 of 4 fault rates, those that bisection measured"
    for cut_short in (False, True):
        found = run.resilience_map | {"fault_rates": [0.1, 0.3, 0.5], "cut_short": cut_short}
        undecided = run.summary["unsalvageable"] * cut_short
        here = replace(
            run,
            config=config,
            resilience_map=found,
            summary=run.summary | {"undecided": undecided},
        )
        assert f"{read_off}{', until fault_rates.max_cost' * cut_short}" in caption(here, "map")
        said = " ".join(sentences(here))
        assert ("no amount within the budget is known for them" in said) == (not cut_short)
        assert ("Undecided, since fault_rates.max_cost ended the analysis: " in said) == cut_short
        assert ("a larger fault_rates.max_cost" in said) == cut_short
    whole = replace(run, config=config.replace("0.2, ", ""), resilience_map=found)
    assert "read off 3" not in caption(whole, "map")


def test_nothing_is_advised_where_all_is_well(run):
    assert next_steps([MET, MET], SETTINGS) is None
    (advice,) = [line for line in sentences(run) if ", try " in line]
    assert "For the 1 short chip, try repair before" in advice
    assert "; recipe.steps=[retrain,top_up], which trains on" in advice


def test_what_was_never_met_lies_above_a_budget_of_nothing(run):
    document = run.resilience_map | {"budget_steps": 0, "target": 0.95}
    here = replace(run, resilience_map=document)
    traces = {t["name"]: t for t in map_chart(here)["data"]}
    assert traces["a fault map, not met within the budget"]["y"][0] > 0
    assert "did not meet it as repaired" in caption(here, "map")


def test_what_to_do_next_does_not_hang_on_where_curves_end(run):
    run.resilience_map["budget_steps"] = 30
    chips = tuple(row | {"met_val": True} for row in run.chips)
    at_once = tuple(row for row in run.curves if row["amount_steps"] == 0)
    whole, ended = replace(run, chips=chips), replace(run, chips=chips, curves=at_once)
    (advice,) = [line for line in sentences(ended) if ", try " in line]
    assert "selection.sustained=2 " in advice
    assert advice in sentences(whole)
