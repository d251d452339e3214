"""The road of one job: pretrain, analyse, select, plan, retrain, evaluate, report."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from efat.campaign import (
    MAPPING,
    Analysis,
    Baseline,
    Experiment,
    assignment,
    estimate,
    group_name,
    read_library,
    stages,
    status,
    write_library,
)
from efat.campaign import outcome as report
from efat.campaign import tables as result_rows
from efat.engine import Progress, Store, UnitRunner
from efat.errors import EfatError, raise_problems
from efat.io import write_bytes
from efat.reporting.html.write import write_comparison, write_report
from efat.reporting.run_folder import RunFolder
from efat.reporting.terminal import assignment as assignment_terminal
from efat.reporting.terminal import outcome as outcome_terminal
from efat.reporting.terminal import stages as terminal
from efat.reporting.tracking import BackgroundTracker, apply_dashboard, describe_run, track
from efat.resilience import ResilienceMap

OK, NO = 0, 1


def run_job(cfg: DictConfig, experiment: Experiment) -> int:
    """Run one composed and checked job.

    Args:
        cfg: Its configuration.
        experiment: What `efat.config.build.build_experiment` makes of that.

    Returns:
        0, or 1 when the work ran and the answer is no.

    Raises:
        EfatError: The constraint is above the baseline, or a worker died; what is done is saved.
    """
    begin = time.perf_counter()
    folder = RunFolder(Path(HydraConfig.get().runtime.output_dir), experiment)
    write_bytes(folder.path / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True).encode())
    command = shlex.join(["python", "-m", "efat.run", *HydraConfig.get().overrides.task])
    folder.write_provenance(command, time.strftime("%Y-%m-%dT%H:%M:%S%z"))
    executor, store = instantiate(cfg.executor), Store(Path(cfg.store))
    console = terminal.open_console()
    if cfg.stage != "fleet":
        store.open()
        executor.start()
    per_epoch = experiment.amounts.steps_per_epoch
    with Progress(console, estimate(experiment, cfg.stage), per_epoch) as progress:
        scene = describe_run(experiment, OmegaConf.to_container(cfg, resolve=True), folder.path)
        tracker, finished = BackgroundTracker(instantiate(cfg.tracking), progress.say), None
        tracker.begin(scene)
        campaign = UnitRunner(store, executor, progress, cfg.checkpoint_every)
        campaign.on_computed = lambda unit, result: track(tracker, unit, result)
        try:
            answer = _travel(cfg, campaign, folder)
            folder.write_units(campaign.records.values(), store)
            if cfg.stage == "evaluate":
                finished = write_report(folder.path)
        except BaseException:
            folder.write_units(campaign.records.values(), store)
            raise
        finally:
            tracker.finish(finished)
    terminal.print_end(console, campaign.computed, folder.path, time.perf_counter() - begin)
    return answer


def print_status(cfg: DictConfig, experiment: Experiment) -> None:
    """Print what a checked job has done and has left; writes nothing."""
    store = Store(Path(cfg.store))
    guess = estimate(experiment, "evaluate")
    counts = status.count_units(experiment, store, guess)
    workers = instantiate(cfg.executor).workers
    console = terminal.open_console()
    console.print(f"{cfg.name}: units in {store.root}", highlight=False, soft_wrap=True)
    per_epoch = experiment.amounts.steps_per_epoch
    console.print(status.status_table(counts, per_epoch, workers), highlight=False)


def write_reports(cfg: DictConfig) -> None:
    """Write the report of every run that `cfg.runs` names into its folder.

    Raises:
        EfatError: None is named, or some are not finished; the others have their report.
    """
    if not cfg.runs:
        raise EfatError("runs: none given; stage=report needs folders: runs=[outputs/NAME/DATE]")
    problems: list[str] = []
    for name in cfg.runs:
        try:
            write_report(Path(name))
            terminal.open_console().print(f"report in {Path(name) / 'report.html'}", soft_wrap=True)
        except EfatError as error:  # noqa: PERF203 - one run at a time
            problems += error.problems
    raise_problems(problems)


def compare(cfg: DictConfig) -> None:
    """Compare the runs that `cfg.runs` names, in a folder of its own.

    Raises:
        EfatError: Fewer than two, unfinished ones, or of different metrics.
    """
    target = Path("outputs/compare") / f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}"  # as runs are named
    findings = write_comparison([Path(name) for name in cfg.runs], target)
    for finding in [*findings, f"comparison in {target / 'compare.html'} (also .md and .csv)"]:
        terminal.open_console().print(finding, soft_wrap=True, highlight=False)


def set_up_dashboard(cfg: DictConfig) -> None:
    """Give the W&B project of `cfg.tracking` a dashboard.

    Raises:
        EfatError: Another tracker, runs that are named, or W&B did not take it.
    """
    problems = [f"runs: {list(cfg.runs)} given; stage=dashboard takes none"] if cfg.runs else []
    if "project" not in cfg.tracking:
        problems.append("tracking: stage=dashboard is for W&B; add tracking=wandb")
    raise_problems(problems)
    address = apply_dashboard(cfg.tracking.project)
    terminal.open_console().print(f"dashboard  {address}", soft_wrap=True, highlight=False)


def _travel(cfg: DictConfig, campaign: UnitRunner, folder: RunFolder) -> int:
    """Go from stage to stage as far as `cfg.stage`."""
    experiment, say = folder.experiment, campaign.progress.say
    if cfg.stage == "fleet":
        say(terminal.describe_fleet(folder.write_fleet()))
        return OK
    _say_if(say, terminal.describe_data(experiment))
    baseline = stages.pretrain(experiment, campaign)
    say(terminal.describe_baseline(experiment, baseline))
    target = stages.check_reachable(experiment, baseline)
    if cfg.stage == "pretrain":
        return OK
    baseline = stages.harden(experiment, campaign, baseline)
    _say_if(say, terminal.describe_hardened(experiment, baseline))
    baseline = stages.measure_grams(experiment, campaign, baseline)
    _say_if(say, terminal.describe_recipe(experiment, baseline))
    experiment = stages.bind_severity(experiment, campaign.store, baseline)
    folder = replace(folder, experiment=experiment)
    if cfg.stage == "single":
        return _run_single(campaign, folder, baseline, target)
    if not (experiment.needs_map or cfg.stage in MAPPING):
        say(terminal.describe_no_map(experiment))
        return _serve(cfg, campaign, folder, baseline)
    analysis = stages.analyse(experiment, campaign, baseline)
    _say_if(say, terminal.describe_diverged(analysis))
    folder.write_curves(analysis.curves, target)
    resilience_map = stages.select(experiment, analysis, target)
    say(terminal.describe_map(experiment, analysis, resilience_map))
    if cfg.stage in MAPPING:
        folder.write_map(analysis, resilience_map, None)
        if cfg.stage == "analyse":
            return OK
        return _assign(cfg, campaign, folder, baseline, resilience_map)
    return _serve(cfg, campaign, folder, baseline, analysis, resilience_map)


def _serve(
    cfg: DictConfig,
    campaign: UnitRunner,
    folder: RunFolder,
    baseline: Baseline,
    analysis: Analysis | None = None,
    resilience_map: ResilienceMap | None = None,
) -> int:
    """Plan for the whole fleet, retrain and evaluate, as far as `cfg.stage`."""
    experiment, say = folder.experiment, campaign.progress.say
    plans = stages.plan(experiment, resilience_map)
    chosen = plans[experiment.planner_name]
    if analysis and resilience_map:
        folder.write_map(analysis, resilience_map, chosen)
    folder.write_fleet(chosen)
    cost = stages.cost(experiment, resilience_map)
    groups = result_rows.group_rows(chosen, experiment.fleet.chips, cost)
    folder.write_plan(chosen, groups)
    undecided = report.undecided(experiment, analysis, resilience_map, chosen)
    say(terminal.describe_plan(experiment, chosen, undecided))
    if not chosen.until_met:  # else what a model is worth is known once it is trained
        folder.write_library(chosen, campaign.store)
        say(terminal.describe_groups(experiment, groups))
    answer = OK if chosen.groups else NO
    if cfg.stage == "plan":
        return answer
    if cfg.stage == "retrain":
        plans = {experiment.planner_name: chosen}
    models = stages.retrain(experiment, campaign, baseline, plans)
    carried = models[experiment.planner_name]
    folder.write_groups(result_rows.group_rows(chosen, experiment.fleet.chips, cost, carried))
    folder.write_models(campaign.store, carried)
    folder.write_library(chosen, campaign.store, carried)
    named = {group_name(i): model for i, model in enumerate(carried)}
    if chosen.until_met:
        say(terminal.describe_until_met(experiment, carried))
        answer = OK if any(model.met for model in carried) else NO
    else:
        _say_if(say, terminal.describe_top_up(experiment, named))
    if cfg.stage == "retrain":
        return answer
    evaluation = stages.evaluate(experiment, campaign, baseline, models)
    outcome = report.build_outcome(
        experiment, baseline, analysis, resilience_map, plans, models, evaluation
    )
    folder.write_outcome(outcome)
    folder.write_layers(chosen, campaign.store, carried)
    say(outcome_terminal.describe_outcome(experiment, outcome))
    return answer


def _assign(
    cfg: DictConfig,
    campaign: UnitRunner,
    folder: RunFolder,
    baseline: Baseline,
    resilience_map: ResilienceMap,
) -> int:
    """Assign the fleet to the models of a library, train what is missing, and keep it there."""
    experiment, say = folder.experiment, campaign.progress.say
    home = Path(cfg.library)
    before = read_library(home)
    arrival = assignment.place(experiment, resilience_map, before)
    folder.write_fleet(arrival.plan)
    say(assignment_terminal.describe_arrival(experiment, arrival, before))
    library, models = assignment.train(experiment, campaign, baseline, before, arrival)
    _say_if(say, terminal.describe_top_up(experiment, models))
    if library != before:
        write_library(home, library, before, campaign.store)
    arrival = assignment.as_trained(arrival, library)
    evaluation = assignment.evaluate(experiment, campaign, baseline, library, arrival)
    targets = assignment.targets_of(experiment, resilience_map, evaluation)
    rows = assignment.arrival_rows(experiment, arrival, evaluation, targets)
    folder.write_assignment(home, arrival, rows)
    say(assignment_terminal.describe_assignment(experiment, rows))
    say(assignment_terminal.describe_growth(home, before, library))
    return OK if arrival.assignment.placements else NO


def _say_if(say: Callable[[str], None], line: str | None) -> None:
    if line is not None:
        say(line)


def _run_single(campaign: UnitRunner, folder: RunFolder, baseline: Baseline, target: float) -> int:
    """Train one chip's network for the whole budget."""
    experiment = folder.experiment
    chip, curve, model, evaluation = stages.single(experiment, campaign, baseline)
    folder.write_curves((curve,), target)
    folder.write_models(campaign.store, (model,))
    campaign.progress.say(terminal.describe_single(experiment, chip, curve, evaluation, target))
    return OK
