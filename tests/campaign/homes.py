"""A small campaign of the command line, whose runs share a folder and a store."""

from tests.cli.command_line import efat

EARLY_STOP = (
    "+experiment=resnet_fat", "planner=early_stop", "executor=serial", "model.width=4",
    "baseline.epochs=4", "fault_rates.rates=[0.1]", "fault_rates.maps_per_rate=1",
    "training.budget_epochs=0.75", "training.eval_every_epochs=0.25", "fleet.chips=4",
    "fleet.fault_rate=[0.01,0.39]", "selection.max_drop=0.04",
)  # fmt: skip
"""The first chip meets the constraint as masked, the last one not within the budget."""


class Home:
    """A folder with a store that several commands share."""

    def __init__(self, path):
        self.path = path

    def run(self, *arguments):
        """Run the campaign; return what was printed, and its folder."""
        before = set(self.path.glob("outputs/*/*/config.yaml"))
        ran = efat(self.path, *EARLY_STOP, *arguments)
        new = set(self.path.glob("outputs/*/*/config.yaml")) - before
        return ran, new.pop().parent if new else None
