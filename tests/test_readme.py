"""Every Python block of the README runs; every command of it composes."""

import re
import shlex
from pathlib import Path

import pytest
import safetensors.torch

from efat.fleets import save_fleet, uniform_fleet
from efat.mapping import SystolicArray
from efat.models.resnet import ResNet
from efat.overrides import compose_jobs

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
DOCS = sorted((Path(__file__).parents[1] / "docs").glob("*.md"))
COMMAND = r"^\s*python -m efat\.run ([^\n`#]*)"
COMMANDS = re.findall(r"python -m efat\.run ([^\n`#]*)", README) + [
    command for page in DOCS for command in re.findall(COMMAND, page.read_text(), re.MULTILINE)
]


def test_pictures_and_links_are_there():
    root = Path(__file__).parents[1]
    links = re.findall(r"\]\(([^)#]+)\)", README) + re.findall(r"`(docs/[^`]+)`", README)
    assert [link for link in links if not (root / link).exists()] == []
    assert len(links) >= 4


def test_there_is_something_to_test():
    assert len(BLOCKS) >= 2
    assert len(COMMANDS) >= 17


def fake_campaign(folder):
    """Leave what the block about results reads, without an hour of training."""
    run = folder / "outputs/resnet_fat/date"
    (run / "models").mkdir(parents=True)
    save_fleet(uniform_fleet(SystolicArray(16, 16), 0, 2, 0.1), run / "fleet.npz")
    (run / "chips.csv").write_text("chip_id,group\nchip0,\nchip1,group000\n")
    weights = ResNet(8, 10, in_channels=1).state_dict()
    safetensors.torch.save_file(weights, run / "models/group000.safetensors")


@pytest.mark.parametrize("block", BLOCKS)
def test_blocks_run(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fake_campaign(tmp_path)
    exec(compile(block, "README.md", "exec"), {})


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_compose(command, tmp_path, monkeypatch):
    for launcher in ("joblib", "submitit"):
        if f"hydra/launcher={launcher}" in command:
            pytest.importorskip(f"hydra_plugins.hydra_{launcher}_launcher")
    monkeypatch.chdir(tmp_path)
    save_fleet(uniform_fleet(SystolicArray(16, 16), 0, 2, 0.1), tmp_path / "chips.npz")
    jobs = compose_jobs(shlex.split(command))
    if "-m " in command:
        assert len(jobs) == 8 if "array=ws_8,ws_16 seed=0,1" in command else len(jobs) >= 3
    else:
        assert len(jobs) == (0 if "--help" in command else 1)
