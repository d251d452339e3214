"""Bisection over fault rates: the map of the whole grid for fewer curves."""

import json
import math
import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from efat.campaign.analysis import analyse
from efat.engine.progress import Progress
from efat.resilience.rate_search import next_rates
from efat.resilience.resilience_map import ResilienceMap
from efat.resilience.severity import array_rate
from tests.campaign.by_hand import BASELINE, FakeRunner, experiment
from tests.cli.command_line import TINY, counts, efat, rows, run_folder

EVERY = 8
amounts = st.lists(st.sampled_from([*range(0, 97, 4), math.inf]), min_size=1, max_size=12)
BISECT = (
    *TINY,
    "executor=serial",
    "fault_rates.search=bisect",
    "fault_rates.rates=[0.05,0.3,0.6,0.7,0.8]",  # from 0.6 on out of reach
    "fault_rates.maps_per_rate=1",
    "training.budget_epochs=0.5",
    "baseline.epochs=3",
)


def searched(needs):
    """Return the amounts of the rates that bisection measures, and its rounds."""
    candidates, known, rounds = tuple(needs), {}, 0
    while rates := next_rates(candidates, known, "bisect", EVERY):
        assert not known.keys() & set(rates)
        known |= {rate: needs[rate] for rate in rates}
        rounds += 1
    return dict(sorted(known.items())), rounds


@given(amounts)
def test_what_is_not_measured_is_known_to_one_evaluation(steps):
    needs = {(i + 1) / 20: need for i, need in enumerate(sorted(steps))}
    known, rounds = searched(needs)
    assert rounds <= 1 + math.log2(len(needs))
    found = ResilienceMap(0.9, tuple(known), tuple(known.values()), "ceil")
    whole = ResilienceMap(0.9, tuple(needs), tuple(needs.values()), "ceil")
    assert found.max_severity == whole.max_severity
    for rate, need in needs.items():
        if need < math.inf:
            assert need <= found.amount(rate) <= need + EVERY


def test_few_rates_are_enough_where_amounts_agree():
    rates = [i / 50 for i in range(1, 41)]
    known, rounds = searched({rate: 0 if rate < 0.5 else math.inf for rate in rates})
    assert (known[0.48], known[0.5]) == (0, math.inf)  # p_max
    assert len(known) == rounds <= 6  # halving 41 steps
    known, _ = searched(dict.fromkeys(rates, 8))
    assert max(known) == rates[-1]  # else it could be out of reach
    assert min(known) == 0.4  # below it at most one evaluation is needed
    assert min(searched(dict.fromkeys(rates, math.inf))[0]) == rates[0]


class ByRate(FakeRunner):
    """Answers each training with a curve that crosses 0.625 at an amount set for its rate."""

    def __init__(self, needs):
        super().__init__()
        self.needs = needs

    def trained(self, job):
        need = self.needs[job.fault_map.fault_rate]
        metric = [0.75 if step >= need else 0.5 for step in (0, 20, 40)]
        return super().trained(job) | {"metric": metric, "repair_s": 0.5}


def test_the_analysis_goes_on_between_rates_that_differ():
    needs = {0.125: 0, 0.25: 20, 0.375: 40, 0.5: 20, 0.625: 40, 0.75: 60}  # noise at 0.5
    here = experiment(fault_rates=tuple(needs), maps_per_rate=2, search="bisect")
    campaign, grid = ByRate(needs), ByRate(needs)
    found = analyse(here, campaign, BASELINE, array_rate)
    asked = [[job.fault_map.fault_rate for job in jobs] for _, _, jobs in campaign.asked]
    assert asked == [[0.375] * 2, [0.125] * 2 + [0.625] * 2, [0.25] * 2 + [0.75] * 2]
    assert [(c.fault_rate, c.repeat) for c in found.curves] == [
        (rate, repeat) for rate in needs if rate != 0.5 for repeat in (0, 1)
    ]
    assert (found.elapsed_s, found.repair_s) == (20.0, 5.0)
    analyse(replace(here, search="grid"), grid, BASELINE, array_rate)
    [(_, _, jobs)] = grid.asked
    assert all(job in jobs for _, _, some in campaign.asked for job in some)


def test_a_search_says_what_it_measured_and_finds_it_again(tmp_path):
    status = efat(tmp_path, *BISECT, "stage=status")
    assert re.search(r"analyse +0 +0 +1 or more ", status.stdout)
    result = efat(tmp_path, *BISECT, "stage=analyse")
    assert result.returncode == 0, result.stderr
    folder = run_folder(tmp_path)
    measured = {row["fault_rate"] for row in rows(folder / "curves.csv")}
    assert measured == {"0.05", "0.3", "0.6"}
    document = json.loads((folder / "resilience_map.json").read_text())
    assert (len(document["severities"]), document["cut_short"]) == (3, False)
    assert "3 curves at 3 of 5 fault rates" in result.stdout
    assert counts(efat(tmp_path, *BISECT, "stage=status"))["analyse"] == ["3", "0", "0"]


def test_a_stage_of_several_rounds_is_the_sum_of_them():
    progress = Progress(Console(quiet=True), {"analyse": 500})
    for steps in (100, 60):
        progress.begin("analyse", steps, 1)
        progress.advance(steps)
    assert (progress.remaining_steps(), progress.steps["analyse"]) == (0, 160)
    progress.begin("analyse", 40, 1)
    assert progress.remaining_steps() == 40
