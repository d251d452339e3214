"""The typed schema of the configuration: a misspelt key is refused by name (Hydra, OmegaConf)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf

STAGES = (
    "status",
    "fleet",
    "pretrain",
    "analyse",
    "plan",
    "retrain",
    "evaluate",
    "assign",
    "single",
    "report",
    "compare",
    "dashboard",
)

PACKAGED = Path(__file__).parents[1] / "conf"
CONF = PACKAGED if PACKAGED.is_dir() else Path(__file__).parents[2] / "conf"
"""The folder `conf/`: beside this file in an installed wheel, beside the package in a checkout."""


@dataclass
class ArrayConfig:
    """See `efat.hardware.mapping.SystolicArray`; `off_array` names layers that do not run on it."""

    rows: int = MISSING
    cols: int = MISSING
    order: str = "im2col"
    dataflow: str = "ws"
    off_array: list[str] = field(default_factory=list)


@dataclass
class BaselineConfig:
    """Training of the fault-free network."""

    checkpoint: str | None = None
    epochs: float = MISSING
    optimizer: Any = MISSING
    scheduler: Any = None


@dataclass
class TrainingConfig:
    """Fault-aware retraining: its optimizer, its budget, and how finely curves are recorded."""

    budget_epochs: float = MISSING
    eval_every_epochs: float = MISSING
    optimizer: Any = MISSING
    scheduler: Any = None
    frozen: list[str] = field(default_factory=list)
    lr_factors: dict[str, float] = field(default_factory=dict)
    batch_norm: str = "train"


@dataclass
class RecipeConfig:
    """The steps applied to a chip or a group; see `efat.training.recipe.Recipe`."""

    steps: list[str] = field(default_factory=lambda: ["retrain"])
    mode: str = "one_shot"
    samples: int = 1024
    remap: str = "columns"
    inject: str = "at_once"
    inject_parts: int = 4
    inject_every_epochs: float = 0.25


@dataclass
class HardeningConfig:
    """Training the fault-free network to stand faults, for recipes that do."""

    epochs: float = MISSING
    fault_rate: list[float] = MISSING
    optimizer: Any = MISSING
    scheduler: Any = None


@dataclass
class FaultRatesConfig:
    """The grid of the resilience analysis."""

    rates: list[float] = MISSING
    maps_per_rate: int = MISSING
    until_met: bool = False
    search: str = "grid"
    max_cost: float | None = None


@dataclass
class SelectionConfig:
    """The constraint, how curves become amounts, and how surely chips are to meet it."""

    max_drop: float | None = None
    limit: float | None = None
    stat: str = "max"
    quantile: float = 0.9
    monotone: str = "envelope"
    interpolation: str = "linear"
    severity: str = "array_rate"
    confidence: float = 0.95
    sustained: int = 1


@dataclass
class TaskConfig:
    """What the network is for: its loss, and the metric that the constraint is about."""

    name: str = MISSING
    loss: Any = MISSING
    metric: Any = MISSING


@dataclass
class TrainerConfig:
    """Arguments of Lightning's `Trainer`, by Lightning's own names; `channels_last` is efat's."""

    accelerator: str = "cpu"
    devices: int = 1
    strategy: str = "auto"
    precision: str = "32-true"
    channels_last: bool = False
    gradient_clip_val: float | None = None
    accumulate_grad_batches: int = 1


@dataclass
class Config:
    """The whole configuration; nodes typed Any hold a `_target_` and its arguments."""

    name: str = "efat"
    stage: str = "evaluate"
    seed: int = 0
    store: str = "outputs/store"
    checkpoint_every: int = 1000
    library: str | None = None
    runs: list[str] = field(default_factory=list)
    model: Any = MISSING
    data: Any = MISSING
    task: TaskConfig = field(default_factory=TaskConfig)
    array: ArrayConfig = field(default_factory=ArrayConfig)
    baseline: BaselineConfig = field(default_factory=BaselineConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    recipe: RecipeConfig = field(default_factory=RecipeConfig)
    hardening: HardeningConfig = field(default_factory=HardeningConfig)
    fault_rates: FaultRatesConfig = field(default_factory=FaultRatesConfig)
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    fleet: Any = MISSING
    rules: Any = MISSING
    planner: Any = MISSING
    compare: list[str] = field(default_factory=list)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    tracking: Any = None
    executor: Any = MISSING


def _cpu_precision() -> str:
    """Return Lightning's name for bf16 autocast where the processor computes in bf16."""
    import torch  # seconds; only configurations that ask

    return "bf16-mixed" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "32-true"


OmegaConf.register_new_resolver("cpu_precision", _cpu_precision, replace=True)
ConfigStore.instance().store(name="schema", node=Config)  # where `conf/config.yaml` starts from
