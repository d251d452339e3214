"""Print and write what each stage of a job made, once it is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rich.console import RenderableType

from efat.campaign import State, group_name, known
from efat.campaign.run_files import write_groups
from efat.campaign.run_result import RunResult
from efat.campaign.stages import cost
from efat.campaign.tables import GroupResult, group_results
from efat.engine import Store
from efat.reporting.run_folder import RunFolder
from efat.reporting.terminal import outcome as outcome_terminal
from efat.reporting.terminal import stages as terminal


@dataclass(frozen=True)
class StageOutput:
    """Handed to `run_stages` as `on_done`.

    Args:
        folder: Where files are written.
        say: Prints a line or a table.
        store: Where the networks are.
    """

    folder: RunFolder
    say: Callable[[RenderableType], None]
    store: Store

    def __call__(self, stage: str, state: State) -> None:
        """Print and write what `stage` added to `state`."""
        getattr(self, f"after_{stage}")(state)

    def after_pretrain(self, state: State) -> None:
        """Say what the fault-free network reaches, and what is asked of the chips."""
        self._say_if(terminal.describe_data(state.experiment))
        self.say(terminal.describe_baseline(state.experiment, known(state.baseline)))

    def after_harden(self, state: State) -> None:
        """Say what hardening cost."""
        self._say_if(terminal.describe_hardened(state.experiment, known(state.baseline)))

    def after_measure_grams(self, state: State) -> None:
        """Say what the recipe does; also without Gram matrices."""
        self._say_if(terminal.describe_recipe(state.experiment, known(state.baseline)))

    def after_analyse(self, state: State) -> None:
        """Write curves and resilience map."""
        analysis = known(state.analysis)
        self._say_if(terminal.describe_diverged(analysis))
        self.folder.write_curves(analysis.curves, state.target)
        self.say(terminal.describe_map(state.experiment, analysis))
        self.folder.write_map(analysis, known(state.severity))

    def after_plan(self, state: State) -> None:
        """Write the plan, the fleet with its unsalvageable chips, and the groups on the map."""
        experiment, plan, severity = state.experiment, state.plan, known(state.severity)
        if state.analysis is None:
            self.say(terminal.describe_no_map(experiment))
        else:
            self.folder.write_map(state.analysis, severity, plan)
        self.folder.write_fleet(plan)
        rows = _groups(state)
        self.folder.write_plan(plan, rows, severity)
        self.say(terminal.describe_plan(experiment, plan, state.undecided))
        if not plan.until_met:  # else the amounts are known once the models are trained
            self.folder.write_library(plan, self.store)
            self.say(terminal.describe_groups(experiment, rows))

    def after_retrain(self, state: State) -> None:
        """Write the models, and the library that `stage=assign` adds to."""
        plan, models = state.plan, state.carried
        write_groups(self.folder.path, _groups(state))
        self.folder.write_models(self.store, models)
        self.folder.write_library(plan, self.store, models)
        if plan.until_met:
            self.say(terminal.describe_until_met(state.experiment, models))
        else:
            named = {group_name(index): model for index, model in enumerate(models)}
            self._say_if(terminal.describe_top_up(state.experiment, named))

    def after_evaluate(self, state: State) -> None:
        """Write one row per chip and the summary of every strategy."""
        result = RunResult.of(state, self.folder.path)
        self.folder.write_result(result)
        self.folder.write_layers(state.plan, self.store, state.carried)
        self.say(outcome_terminal.describe_outcome(result))

    def after_single(self, state: State) -> None:
        """Write the curve and the network of the chip."""
        single = known(state.single)
        self.folder.write_curves((single.curve,), state.target)
        self.folder.write_models(self.store, (single.model,))
        self.say(terminal.describe_single(state.experiment, single, state.target))

    def _say_if(self, line: str | None) -> None:
        if line is not None:
            self.say(line)


def _groups(state: State) -> tuple[GroupResult, ...]:
    price = cost(state.experiment, state.resilience_map, known(state.severity))
    return group_results(state.plan, state.experiment.fleet.chips, price, state.carried)
