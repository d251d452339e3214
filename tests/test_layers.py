"""Modules import lower layers only, and the core knows no framework (docs/design.md)."""

import ast
from pathlib import Path

import pytest

import efat

ROOT = Path(efat.__file__).parent
LAYERS = (
    ("errors", "atomic", "seeds"),
    ("tables",),
    ("faults.fault_map", "metric"),
    ("faults.detection",),
    ("faults",),
    ("mapping", "resilience", "constraint"),
    ("rate_search",),
    ("chips", "severity", "attention", "verification"),
    ("lowering",),
    ("fleets.draw", "fleets.npy_files", "fleets.csv_files", "activation_masks"),
    ("fleets.npz_files",),
    ("fleets.uniform", "fleets.clustered", "fleets.patterned", "fleets.files", "fleets.summary"),
    ("masking.weights",),
    ("masking.masks",),
    ("masking.training",),
    ("fleets", "masking", "planning.cost", "planning.rules"),
    ("planning.base",),
    ("planning.early_stop",),
    ("planning.problem",),
    ("planning.forest",),
    ("planning.partners", "planning.subsets", "planning.fit", "planning.columns"),
    ("planning.branch",),
    ("planning.common",),
    ("planning.proof", "planning.listing", "planning.choice"),
    ("planning.duals",),
    ("planning.bound",),
    ("planning.planner",),
    ("planning.hierarchical",),
    ("planning.greedy", "planning.local_search"),
    ("planning.exact", "planning.packing"),
    ("saliency", "emulation.faults"),
    ("emulation.gemm", "emulation.cycles"),
    ("emulation.model", "emulation.tested", "emulation.bench"),
    ("repair.products", "repair.blocks", "repair.solve", "repair.artifact"),
    ("repair.intercepts", "repair.moments", "repair.side_by_side"),
    ("repair.grams", "repair.recalibrate", "repair.rescale"),
    ("repair.compensate", "repair.costs"),
    ("repair.remap",),
    ("repair.sequential",),
    ("repair",),
    ("planning.*", "models.*", "data.tensors", "store", "config", "executors.base", "injection"),
    (
        "retraining",
        "recipe",
        "groups",
        "data.samples",
        "data.splits",
        "data.augment",
        "weight_files",
    ),
    ("data.sizes", "data.prepare", "data.files"),
    ("data.stream", "data.decode"),
    ("data.base", "jobs"),
    ("loading",),
    ("mending",),
    ("data.*", "module", "callbacks", "checkpoints", "progress", "sweep"),
    ("hardening",),
    ("fit", "misfits"),
    ("executors.pool", "executors.launch", "work"),
    ("executors.*", "campaign", "experiment", "checks", "overrides", "tasks"),
    ("executors", "units"),
    ("findings",),
    ("trainings",),
    ("curves",),
    ("stages", "workload"),
    ("result_rows", "status", "estimate"),
    ("report",),
    ("library", "pruned_share"),
    ("library_files", "assignment", "provenance"),
    ("plan_checks", "library_checks", "recipe_checks", "selection_checks"),
    ("amounts",),
    ("preflight", "palette", "map_line", "advice"),
    ("plots", "terminal", "outcome_terminal", "fleets.figures", "plan_figures", "rate_figures"),
    ("artifacts", "assignment_terminal", "pages.finished"),
    ("pages.resilience", "pages.traces", "pages.glosses", "pages.treatment"),
    ("pages.verdict", "pages.charts", "pages.resilience_charts", "pages.compare"),
    ("pages.captions", "pages.compare_charts", "pages.text"),
    ("pages.html",),
    ("pages.compare_page",),
    ("pages.writing", "tracking.base", "tracking.wandb_key"),
    ("tracking.guard", "tracking.lightning", "tracking.wandb_results", "tracking.scene"),
    ("tracking.wandb_runs", "tracking.wandb_dashboard"),
    ("pipeline",),
    ("run",),
)
CORE = 35  # layers that a user imports into a training loop of their own
FRAMEWORKS = {
    "hydra",
    "omegaconf",
    "pytorch_lightning",
    "wandb",
    "torchmetrics",
    "matplotlib",
    "rich",
}


def layer_of(module):
    family = module.split(".")[0] + ".*"
    for wanted in (module, family):
        for level, names in enumerate(LAYERS):
            if wanted in names:
                return level
    raise AssertionError(f"efat.{module} has no layer; give it one in tests/test_layers.py")


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
    found = []
    for name in imports_of(source):
        if name.startswith("efat."):
            other = name.removeprefix("efat.")
            if layer_of(other) >= layer_of(module):
                found.append(f"{module} imports {other}, which is not below it")
        elif layer_of(module) < CORE and name.split(".")[0] in FRAMEWORKS:
            found.append(f"{module} is of the core and imports {name}")
        elif name.split(".")[0] == "wandb" and not module.startswith("tracking.wandb_"):
            found.append(f"{module} imports wandb; only tracking may")
    return found


MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in ROOT.rglob("*.py")
    if path.name != "__init__.py"
)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module):
    source = ROOT.joinpath(*module.split(".")).with_suffix(".py").read_text()
    assert not violations(module, source)


def test_the_check_finds_what_it_should():
    assert violations("faults.fault_map", "from efat.hardware.chip import Fleet")
    assert violations("faults.fault_map", "from efat import chips")
    assert violations("planning.greedy", "from efat.planning.planners.fixed import Fixed")
    assert violations("masking.masks", "import pytorch_lightning as pl")
    assert violations("stages", "def f():\n    import wandb")
    assert not violations("chips", "from efat.hardware import FaultMap")
