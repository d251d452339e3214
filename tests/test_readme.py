"""Every Python block of the README runs; every command of it composes."""

import re
import shlex
from pathlib import Path

import pytest

from efat.fleets import save_fleet, uniform_fleet
from efat.mapping import SystolicArray
from efat.overrides import compose_jobs

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = re.findall(r"python -m efat\.run ([^\n`#]*)", README)


def test_there_is_something_to_test():
    assert len(BLOCKS) >= 2
    assert len(COMMANDS) >= 7


@pytest.mark.parametrize("block", BLOCKS)
def test_blocks_run(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_compose(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_fleet(uniform_fleet(SystolicArray(16, 16), 0, 2, 0.1), tmp_path / "chips.npz")
    jobs = compose_jobs(shlex.split(command))
    assert len(jobs) == (8 if "-m " in command else 0 if "--help" in command else 1)
