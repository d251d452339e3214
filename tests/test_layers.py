"""Packages import packages below them only, and the core knows no framework (docs/design.md)."""

import ast
from pathlib import Path

import pytest

import efat

ROOT = Path(efat.__file__).parent
LAYERS = (
    ("errors", "seeds", "io"),
    ("hardware", "data", "models"),
    ("engine", "nn", "planning", "resilience"),
    ("training",),
    ("campaign",),
    ("config", "reporting"),
    ("pipeline",),
    ("run",),
)
"""From bottom to top; places of one layer do not see each other, but for those of `BESIDE`."""

BESIDE = {("io", "errors"), ("seeds", "errors"), ("nn", "resilience")}
FRAMEWORKS = {"hydra", "omegaconf", "pytorch_lightning", "torchmetrics", "matplotlib", "rich"}
HYDRA = {"config", "reporting", "pipeline", "run"}
"""Places that may see Hydra and its nodes; all others get values and factories."""
CORE = {"errors", "seeds", "io", "hardware", "resilience", "planning", "nn"}


def layer_of(place):
    for level, names in enumerate(LAYERS):
        if place in names:
            return level
    raise AssertionError(f"efat.{place} has no layer; give it one in tests/test_layers.py")


def imports_of(source):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (
                [f"efat.{alias.name}" for alias in node.names]
                if node.module == "efat"
                else [node.module]
            )
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def violations(module, source):
    place, problems = module.split(".")[0], []
    for name in imports_of(source):
        other = name.split(".")[1] if name.startswith("efat.") else None
        beside = other in (None, place) or (place, other) in BESIDE
        if not beside and layer_of(other) >= layer_of(place):
            problems.append(f"{module} imports {name}, which is not below it")
        if place in CORE and name.split(".")[0] in FRAMEWORKS:
            problems.append(f"{module} is of the core and imports {name}")
        if place not in HYDRA and name.split(".")[0] in ("hydra", "omegaconf"):
            problems.append(f"{module} imports {name}; only {', '.join(sorted(HYDRA))} may")
        if name.split(".")[0] == "wandb" and not module.startswith("reporting.tracking.wandb_"):
            problems.append(f"{module} imports wandb; only reporting.tracking.wandb_* may")
    return problems


MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in ROOT.rglob("*.py")
)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module):
    if module == "__init__":
        return
    source = ROOT.joinpath(*module.split(".")).with_suffix(".py").read_text()
    assert not violations(module, source)


def test_the_check_finds_what_it_should():
    assert violations("hardware.fault_map", "from efat.nn import mask_model")
    assert violations("hardware.fault_map", "from efat import pipeline")
    assert violations("planning.plan", "import torchmetrics")
    assert violations("training.loading", "from hydra.utils import instantiate")
    assert violations("config.build", "from efat.reporting.terminal import open_console")
    assert violations("campaign.stages", "def f():\n    import wandb")
    assert not violations("nn.masking.masks", "from efat.hardware import FaultMap")
