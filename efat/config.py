"""The typed schema of the configuration: a misspelt key is refused by name (Hydra, OmegaConf)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

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
)

PACKAGED = Path(__file__).parent / "conf"
CONF = PACKAGED if PACKAGED.is_dir() else Path(__file__).parent.parent / "conf"
"""The folder `conf/`: beside this file in an installed wheel, beside the package in a checkout."""


@dataclass
class ArrayConfig:
    """See `efat.mapping.SystolicArray`; `off_array` names layers that do not run on it."""

    rows: int = MISSING
    cols: int = MISSING
    order: str = "im2col"
    dataflow: str = "ws"
    off_array: list[str] = field(default_factory=list)


@dataclass
class BaselineConfig:
    """Training of the fault-free network."""

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


@dataclass
class FaultRatesConfig:
    """The grid of the resilience analysis."""

    rates: list[float] = MISSING
    maps_per_rate: int = MISSING


@dataclass
class SelectionConfig:
    """The accuracy constraint, and how curves become amounts."""

    max_drop: float | None = None
    min_accuracy: float | None = None
    stat: str = "max"
    quantile: float = 0.9
    interpolation: str = "linear"
    severity: str = "array_rate"


@dataclass
class TrainerConfig:
    """Arguments of Lightning's `Trainer`, by Lightning's own names."""

    accelerator: str = "cpu"
    precision: str = "32-true"
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
    model: Any = MISSING
    data: Any = MISSING
    array: ArrayConfig = field(default_factory=ArrayConfig)
    baseline: BaselineConfig = field(default_factory=BaselineConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    fault_rates: FaultRatesConfig = field(default_factory=FaultRatesConfig)
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    fleet: Any = MISSING
    rules: Any = MISSING
    planner: Any = MISSING
    compare: list[str] = field(default_factory=list)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    tracking: Any = None
    executor: Any = MISSING


ConfigStore.instance().store(name="schema", node=Config)  # where `conf/config.yaml` starts from
