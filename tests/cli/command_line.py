"""The command line as the tests call it."""

import contextlib
import csv
import io
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from efat.run import main

TINY = (
    "+experiment=resnet_fat",
    "model.width=8",
    "baseline.epochs=6",
    "fault_rates.rates=[0.05,0.3,0.6]",
    "fault_rates.maps_per_rate=2",
    "training.budget_epochs=1",
    "training.eval_every_epochs=0.25",
    "fleet.chips=6",
    "selection.max_drop=0.05",
)
SHORT = (
    *TINY,
    "baseline.epochs=2",
    "fault_rates.maps_per_rate=1",
    "training.budget_epochs=0.5",
    "selection.max_drop=0.9",
)
"""Where nobody looks at the accuracy."""
SAME = (
    "curves.csv",
    "resilience_map.json",
    "plan.json",
    "chips.csv",
    "fleet.npz",
    "fused_maps.npz",
)


@dataclass
class Ran:
    returncode: int
    stdout: str
    stderr: str


def efat(folder, *arguments, drawn=False):
    """Run the command line in `folder`, in this process: importing Lightning takes seconds.

    Figures are built, but their files are empty unless they are to be `drawn`: that is half of the
    time of a tiny campaign.
    """
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["efat", *arguments])
        patch.setenv("COLUMNS", "100")
        if not drawn:
            patch.setattr(Figure, "draw_without_rendering", lambda *_: None)
            patch.setattr(Figure, "savefig", lambda *_, **__: None)
        try:
            returncode = main()
        except SystemExit as stop:  # Hydra ends --help so
            returncode = int(stop.code or 0)
    return Ran(returncode, out.getvalue(), err.getvalue())


def efat_process(folder, *arguments):
    """Run the command line as a user does."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    command = [sys.executable, "-m", "efat.run", *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def run_folder(folder):
    (found,) = folder.glob("outputs/*/*/config.yaml")
    return found.parent


def rows(path):
    with path.open() as stream:
        return list(csv.DictReader(stream))


def errors(result):
    """Return the problems printed, by key; nothing else may be on standard error."""
    lines = result.stderr.splitlines()
    assert all(line.startswith("error: ") for line in lines), result.stderr
    assert len(set(lines)) == len(lines)
    return [line.removeprefix("error: ") for line in lines]


def counts(result):
    """Read the table of `stage=status`: done, running and missing units by stage."""
    lines = [line.split() for line in result.stdout.splitlines()[2:]]
    return {words[0]: words[1:4] for words in lines}
