"""Every code block of README and docs runs or composes; every other command there exists."""

import contextlib
import io
import re
import shlex
import subprocess
import sys

import pytest
import safetensors.torch
import torch
import yaml
from torch import nn

from efat.config.build import build_experiment
from efat.config.compose import compose_jobs
from efat.data.digits import Digits
from efat.errors import EfatError
from efat.hardware.fleets import save_fleet, uniform_fleet
from efat.hardware.mapping import SystolicArray
from efat.models.resnet import ResNet
from efat.run import main
from tests.reporting.pages import BLOCKS, COMMANDS, INLINE, PAGES, ROOT

PROJECT = (ROOT / "pyproject.toml").read_text()
EXTRAS = re.findall(
    r"^(\w+) = \[", PROJECT.split("[project.optional-dependencies]")[1], re.MULTILINE
)
TARGETS = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
ONCE = [(page, line) for line, page in {line: page for page, line in [*COMMANDS, *INLINE]}.items()]
EFAT = [(page, line) for page, line in ONCE if "python -m efat.run" in line]
OTHER = [(page, line) for page, line in ONCE if "python -m efat.run" not in line]
NOT_HERE = "no such (file|folder)|no library.json in it|No module named|No supported gpu|efat.ray"
"""What commands of the pages may be refused for where their files, extras and devices are not."""

RUNNING = [name for name, found in BLOCKS.items() if any(b.language == "python" for b in found)]

TUTORIALS = {
    "docs/tutorials/network.md": (
        "executor=serial", "baseline.epochs=2", "fault_rates.rates=[0.4]",
        "fault_rates.maps_per_rate=1", "fleet.chips=2", "training.budget_epochs=0.5",
        "selection.max_drop=0.5", "compare=[none]",
    ),
    "docs/tutorials/tester.md": ("stage=fleet",),
}  # fmt: skip
"""Pages whose commands are run as well, with what makes them short."""


def test_there_is_something_to_test():
    assert len(PAGES) > 15
    assert len(EFAT) > 40
    assert sum(b.language == "python" for found in BLOCKS.values() for b in found) >= 9
    assert {page for page, _ in COMMANDS} >= set(TUTORIALS)


def test_links_lead_somewhere():
    """`mkdocs build --strict` would say so too, but takes a package that is not always there."""
    missing = []
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
        inside = ROOT if page.name == "README.md" else ROOT / "docs"
        for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
            target = (page.parent / link).resolve()
            if "://" not in link and not (target.exists() and target.is_relative_to(inside)):
                missing.append(f"{page.name}: {link}")
    assert missing == []


def test_every_page_is_in_the_navigation():
    listed = set(re.findall(r"[\w/]+\.md", (ROOT / "mkdocs.yml").read_text()))
    assert {p.relative_to(ROOT / "docs").as_posix() for p in PAGES[1:]} == listed


def test_a_block_says_what_it_is():
    """So that none is left out below."""
    known = {"python", "bash", "yaml", "text", ""}
    assert {b.language for found in BLOCKS.values() for b in found} <= known
    for found in BLOCKS.values():
        for block in found:
            if block.language in ("", "text") and not block.title:  # a drawing, or what was printed
                assert "efat.run" not in block.text
                assert not re.search(r"^(import|from) ", block.text, re.MULTILINE)


@pytest.mark.parametrize(("page", "command"), EFAT)
def test_commands_compose(page, command, tmp_path, monkeypatch):
    for launcher in ("joblib", "submitit"):
        if f"hydra/launcher={launcher}" in command:
            pytest.importorskip(f"hydra_plugins.hydra_{launcher}_launcher")
    monkeypatch.chdir(tmp_path)
    lay_out(page, tmp_path)
    save_fleet(uniform_fleet(SystolicArray(16, 16), 0, 2, 0.1), tmp_path / "chips.npz")
    jobs = compose_jobs(shlex.split(command)[3:])
    if "-m " in command.split("efat.run")[1]:
        assert len(jobs) == 8 if "array=ws_8,ws_16 seed=0,1" in command else len(jobs) >= 3
    else:
        assert len(jobs) == (0 if "--help" in command or "--cfg" in command else 1)
    problems = [problem for job in jobs for problem in refused(job)]
    assert [p for p in problems if not re.search(NOT_HERE, p)] == []


def refused(job):
    """Return what a job is refused for, before any work."""
    if job.stage in ("report", "compare", "dashboard"):  # of runs that are there
        return []
    try:
        build_experiment(job)
    except EfatError as error:
        return error.problems
    return []


@pytest.mark.parametrize(("page", "command"), OTHER)
def test_other_commands_exist(page, command):
    """As far as one can tell without running them: targets, extras, names of tools and options."""
    words = shlex.split(command)
    if words[0] == "make":
        assert {word for word in words[1:] if "=" not in word} <= set(TARGETS)
    elif words[:2] == ["pip", "install"]:
        extras = re.findall(r"efat\[([^\]]+)\]", command)
        assert {name for names in extras for name in names.split(",")} <= set(EXTRAS)
        assert extras or words[2] == "." or words[2].startswith("hydra-")
    elif words[0] == "wandb":
        import wandb.cli.cli as tool

        options = {text for o in tool.cli.commands[words[1]].params for text in o.opts}
        assert {word for word in words if word.startswith("--")} <= options
    elif words[0] == "ray":
        scripts = pytest.importorskip("ray.scripts.scripts")
        options = {text for o in scripts.cli.commands[words[1]].params for text in o.opts}
        assert {word.split("=")[0] for word in words if word.startswith("--")} <= options
    elif words[0] == "eval":
        inner = shlex.split(words[1].removeprefix("$(").removesuffix(")"))
        assert f'{inner[0]} = "efat.run:main"' in PROJECT
        assert compose_jobs(inner[1:]) == []
    else:
        pytest.fail(f"{page}: {command}: no test knows this command")


def lay_out(page, folder):
    """Write the blocks of a page that have a file's name."""
    for block in BLOCKS[page]:
        if block.title:
            (folder / block.title).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.title).write_text(block.text)
            if block.language == "yaml":
                yaml.safe_load(block.text)


def fake_campaign(folder):
    """Leave what the block of docs/python.md about results reads, without a campaign."""
    run = folder / "outputs/resnet_fat/date"
    (run / "models").mkdir(parents=True)
    save_fleet(uniform_fleet(SystolicArray(16, 16), 0, 2, 0.1), run / "fleet.npz")
    (run / "chips.csv").write_text("chip_id,group\nchip0,\nchip1,group000\n")
    weights = ResNet(8, 10, in_channels=1).state_dict()
    safetensors.torch.save_file(weights, run / "models/group000.safetensors")


def own_names():
    """What the blocks of docs/emulation.md take for given: a network, and batches."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
    return {"model": model, "train_batches": [torch.rand(4, 1, 8, 8)], "Digits": Digits}


def run_line(line, small):
    """Run a command of a tutorial in this process; what it says is of no interest here."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.setattr(sys, "argv", ["efat", *shlex.split(line)[3:], *small])
        assert main() == 0


@pytest.mark.parametrize("page", RUNNING)
def test_blocks_run(page, tmp_path, monkeypatch):
    """In their order, each page in a folder of its own; commands of tutorials between them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    lay_out(page, tmp_path)
    if page == "docs/python.md":
        fake_campaign(tmp_path)
    names = own_names()
    for block in BLOCKS[page]:
        if block.language == "python" and not block.title:
            exec(compile(block.text, page, "exec"), names)
        for line in block.commands if page in TUTORIALS else ():
            if not re.search("--cfg|stage=(fleet|assign)", line):
                run_line(line, TUTORIALS[page])
    sys.modules.pop("my_network", None)


@pytest.mark.slow
def test_the_ray_tutorial_runs(tmp_path):
    pytest.importorskip("ray")
    small = TUTORIALS["docs/tutorials/network.md"][1:]
    [line, *_] = [c for p, c in COMMANDS if p == "docs/tutorials/ray.md" and "executor=ray" in c]
    command = [sys.executable, *shlex.split(line)[1:], *small]
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("outputs/resnet_fat/*/report.html"))
