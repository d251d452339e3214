"""Run an experiment: its stages, what they print and write, the report, the tracker."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from efat.campaign import Experiment, State, assignment, estimate_steps, run_stages
from efat.campaign.library_io import read_library, write_library
from efat.campaign.status import count_units
from efat.engine import Executor, Progress, Store, UnitRunner
from efat.engine.executors import Serial
from efat.errors import EfatError, raise_problems
from efat.io import write_bytes
from efat.reporting.html.write import write_comparison, write_report
from efat.reporting.run_folder import RunFolder
from efat.reporting.stage_output import StageOutput
from efat.reporting.terminal import assignment as assignment_terminal
from efat.reporting.terminal import stages as terminal
from efat.reporting.terminal.status import status_table
from efat.reporting.tracking import BackgroundTracker, NoTracker, describe_run, track
from efat.reporting.tracking.wandb_dashboard import apply_dashboard

OK, NO = 0, 1


def run_experiment(
    experiment: Experiment,
    folder: Path | str,
    until: str = "evaluate",
    *,
    store: Path | str = "outputs/store",
    executor: Executor | None = None,
    command: str = "",
    config: Mapping[str, Any] | None = None,
    tracker: Any = None,
    checkpoint_every: int = 1000,
    library: Path | None = None,
) -> State:
    """Run the stages of an experiment; results are written into `folder` as they come.

    What is finished is found in `store`, so that the same call goes on where it was stopped.

    Args:
        experiment: What to run, see `efat.config.compose_experiment`.
        folder: Where figures, tables, models and the report are written.
        until: The last stage: `fleet`, `pretrain`, `analyse`, `plan`, `retrain`, `evaluate`,
            `single` or `assign`.
        store: Folder of finished units.
        executor: Where units run; None: in this process.
        command: The command line that a person would type for this, for the report.
        config: Composed configuration, for the tracker.
        tracker: An experiment tracker (`efat.reporting.tracking`); None: none.
        checkpoint_every: Steps between two checkpoints of a long training; 0 writes none.
        library: Of `assign`: the run folder whose models new chips are assigned to.

    Returns:
        What each stage made.

    Raises:
        EfatError: The constraint is above the baseline, a training diverged or a worker died; what
            is done is saved.
    """
    begin = time.perf_counter()
    output = RunFolder(Path(folder), experiment)
    output.write_provenance(command, time.strftime("%Y-%m-%dT%H:%M:%S%z"))
    kept, executor = Store(Path(store)), executor or Serial()
    console = terminal.open_console()
    if until == "fleet":
        console.print(terminal.describe_fleet(output.write_fleet()), highlight=False)
        return State(experiment, until)
    kept.open()
    executor.start()
    ahead = (
        estimate_steps(experiment, until)
        if library is None
        else estimate_steps(replace(experiment, compare={}), "evaluate")
    )
    with Progress(console, ahead, experiment.amounts.steps_per_epoch) as progress:
        background, finished = BackgroundTracker(tracker or NoTracker(), progress.say), None
        background.begin(describe_run(experiment, config or {}, output.path))
        runner = UnitRunner(kept, executor, progress, checkpoint_every)
        runner.on_computed = lambda unit, result: track(background, unit, result)
        try:
            on_done = StageOutput(output, progress.say, kept)
            if library is None:
                state = run_stages(experiment, runner, until, on_done)
            else:
                state = run_stages(experiment, runner, "analyse", on_done)
                state = _assign(state, runner, output, library)
            output.write_units(runner.records.values(), kept)
            if until == "evaluate":
                finished = write_report(output.path)
        except BaseException:
            output.write_units(runner.records.values(), kept)
            raise
        finally:
            background.finish(finished)
    terminal.print_end(console, runner.computed, output.path, time.perf_counter() - begin)
    return state


def run_job(cfg: DictConfig, experiment: Experiment) -> int:
    """Run one composed and checked job of the command line.

    Args:
        cfg: Its configuration.
        experiment: What `efat.config.build.build_experiment` makes of that.

    Returns:
        0, or 1 when the work ran and the answer is no.

    Raises:
        EfatError: See `run_experiment`.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    write_bytes(folder / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True).encode())
    config = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(config, dict)  # noqa: S101 - for mypy
    state = run_experiment(
        experiment,
        folder,
        cfg.stage,
        store=cfg.store,
        executor=instantiate(cfg.executor),
        command=shlex.join(["python", "-m", "efat.run", *HydraConfig.get().overrides.task]),
        config={str(key): value for key, value in config.items()},
        tracker=instantiate(cfg.tracking),
        checkpoint_every=cfg.checkpoint_every,
        library=Path(cfg.library) if cfg.library else None,
    )
    return OK if delivers(state) else NO


def delivers(state: State) -> bool:
    """Return whether the stages that were asked for gave a chip a model, where they should."""
    if state.arrival:
        return bool(state.arrival.assignment.placements)
    if not state.plans:
        return True
    if state.plan.until_met and state.models:
        return any(model.met for model in state.carried)
    return bool(state.plan.groups)


def print_status(cfg: DictConfig, experiment: Experiment) -> None:
    """Print what a checked job has done and has left; writes nothing."""
    store = Store(Path(cfg.store))
    counts = count_units(experiment, store)
    workers = instantiate(cfg.executor).workers
    console = terminal.open_console()
    console.print(f"{cfg.name}: units in {store.root}", highlight=False, soft_wrap=True)
    per_epoch = experiment.amounts.steps_per_epoch
    console.print(status_table(counts, per_epoch, workers), highlight=False)


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


def _assign(state: State, runner: UnitRunner, folder: RunFolder, home: Path) -> State:
    """Assign the fleet to the models of a library, train what is missing, and keep it there."""
    experiment, say = state.experiment, runner.progress.say
    before = read_library(home)
    arrival = assignment.place(state, before)
    folder.write_fleet(arrival.plan)
    say(assignment_terminal.describe_arrival(experiment, arrival, before))
    library, models = assignment.train(state, runner, before, arrival)
    if line := terminal.describe_top_up(experiment, models):
        say(line)
    if library != before:
        write_library(home, library, before, runner.store)
    arrival = assignment.as_trained(arrival, library)
    evaluation = assignment.evaluate(state, runner, library, arrival)
    rows = assignment.arrival_rows(state, arrival, evaluation)
    folder.write_assignment(home, arrival, rows)
    say(assignment_terminal.describe_assignment(experiment, rows))
    say(assignment_terminal.describe_growth(home, before, library))
    return replace(state, evaluation=evaluation, arrival=arrival)
