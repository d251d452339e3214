"""The typed schema of the configuration: every key, its default, and what it means.

A default stands once, in this file; a file in `conf/` lists the keys in which it differs. Hydra and
OmegaConf refuse a misspelt key by name. Nodes of type `Part` have a `_target_`, and the keys that
this class takes: those defaults are in `conf/`, where Hydra needs them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf

PACKAGED = Path(__file__).parents[1] / "conf"
CONF = PACKAGED if PACKAGED.is_dir() else Path(__file__).parents[2] / "conf"
"""The folder `conf/`: beside this file in an installed wheel, beside the package in a checkout."""

CAMPAIGN_STAGES = {
    "pretrain": "train the fault-free network, or load it from baseline.checkpoint",
    "harden": "train it once to withstand faults, where the recipe asks for that",
    "measure_grams": "measure the Gram matrices, where closed-form repair needs them",
    "analyse": "record resilience curves and read the resilience map off them",
    "plan": "group the chips: plan.json, groups.csv",
    "retrain": "repair and retrain one model per group",
    "evaluate": "measure every chip on validation and test, and write the report",
    "single": "retrain the first chip's network for the whole budget",
}
"""As in `efat.campaign.STAGES`, which takes seconds to import; a test holds the two equal."""

READING_STAGES = {
    "report": "write the pages of finished runs: runs=[outputs/NAME/DATE]",
    "compare": "compare finished runs: runs=[...,...]",
    "dashboard": "give a W&B project its view: tracking=wandb",
}
"""Stages that compute nothing: they read finished runs, or set up W&B."""

STAGES = {
    "status": "what is done and what would run; runs nothing",
    "fleet": "look at the chips; trains nothing",
    **CAMPAIGN_STAGES,
    "assign": "assign new chips to the models of an earlier run: library=outputs/NAME/DATE",
    **READING_STAGES,
}
"""Values of the key `stage`, each with what it does."""

Part = dict[str, Any]


@dataclass
class ArrayConfig:
    """See `efat.hardware.SystolicArray`."""

    rows: int = MISSING
    cols: int = MISSING
    order: str = "im2col"
    """In which order a kernel is laid out: `im2col`, `im2col_spatial_first` or `channel`."""
    dataflow: str = "ws"
    """`ws`, `os` or `is`: weight-, output- or input-stationary."""
    off_array: list[str] = field(default_factory=list)
    """Names of layers that do not run on the array."""


@dataclass
class BaselineConfig:
    """Training of the fault-free network."""

    checkpoint: str | None = None
    """A file (.pt, .th, .ckpt, .safetensors) whose weights are used; then nothing is trained."""
    epochs: float = MISSING
    optimizer: Any = MISSING
    scheduler: Any = None
    """Stepped once per optimizer step; null: a constant learning rate."""


@dataclass
class TrainingConfig:
    """Fault-aware retraining: its optimizer, its budget, and how finely curves are recorded."""

    budget_epochs: float = 3
    """Rounded to whole evaluation intervals: for digits 12 of 8 steps, 2.9 epochs."""
    eval_every_epochs: float = 0.25
    optimizer: Any = MISSING
    scheduler: Any = None
    """Stepped once per optimizer step; it must not depend on the budget (the prefix rule)."""
    frozen: list[str] = field(default_factory=list)
    """Names of layers that are not trained."""
    lr_factors: dict[str, float] = field(default_factory=dict)
    """Learning rate over the optimizer's, by layer: `+training.lr_factors.conv1=0.1`."""
    batch_norm: str = "train"
    """`train`, or `eval`: keep the statistics that the network starts with."""


@dataclass
class RecipeConfig:
    """The steps applied to a chip or a group; see `efat.training.Recipe`."""

    steps: list[str] = field(default_factory=lambda: ["retrain"])
    """In this order, of: `harden` (once, to the network itself), `remap`, `compensate`,
    `recalibrate`, `retrain`, `top_up` (train a group on that its amount leaves below the target).
    Amounts of retraining are counted after the steps before it."""
    mode: str = "one_shot"
    """Of `compensate`: `one_shot`; `sequential`: better from 30 % faults on, and more expensive;
    `auto`: sequential from 20 % on."""
    samples: int = 1024
    """Of the training split to calibrate on, at the most."""
    remap: str = "columns"
    """Or `rows_and_columns`: better from 30 % faults on, but the hardware must stream inputs in
    another order."""
    inject: str = "at_once"
    """How faults enter a retraining. `gradual`: in `inject_parts` parts, in random order, one every
    `inject_every_epochs`. It does not depend on the budget: a curve may be read at any amount."""
    inject_parts: int = 4
    inject_every_epochs: float = 0.25


@dataclass
class HardeningConfig:
    """Training the fault-free network to withstand faults, for recipes that do."""

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
    """End each curve where it first meets the constraint: the same resilience map for less."""
    search: str = "grid"
    """Or `bisect`: from the middle, only between fault rates whose amounts differ by more than one
    evaluation."""
    max_cost: float | None = None
    """With `bisect`: 0.25 is at most a quarter of the evaluations, steps and repairs of all curves
    for the whole budget. Leave it out where a recipe repairs."""


@dataclass
class SelectionConfig:
    """The constraint, how curves become amounts, and how surely chips are to meet it."""

    max_drop: float | None = None
    """Largest loss of the metric, in its unit; or null with `limit`."""
    limit: float | None = None
    """The target as an absolute value of the metric."""
    stat: str = "max"
    """Over the fault maps of a rate: `max` (safe), `mean`, `quantile`, or `conformal`
    (finite-sample valid)."""
    quantile: float = 0.9
    """Of `quantile` and `conformal`: the share of new fault maps that the amount is enough for."""
    monotone: str = "envelope"
    """Never less than at a lower rate; with `stat=mean` also `isotonic`, a least-squares fit."""
    interpolation: str = "linear"
    """Or `ceil`: take the next fault rate of the grid."""
    severity: str = "array_rate"
    """How bad a fault map is: `array_rate` (faulty PEs), `weight_rate` (weights that it prunes),
    `magnitude_rate` or `taylor_rate` (share of the pruned weights' saliency)."""
    confidence: float = 0.95
    """Of the exact interval on the test split by which a chip is certified (accuracy alone has
    one)."""
    sustained: int = 1
    """Consecutive evaluations that have to meet the constraint; the amount is the first's."""


@dataclass
class RulesConfig:
    """Limits and prices of a plan, honoured by every planner; see `efat.planning.Rules`."""

    _target_: str = "efat.planning.Rules"
    max_groups: int | None = None
    """Models that may be stored; null: any number."""
    max_members: int | None = None
    """Chips that one group may hold; null: any number."""
    price_group: float = 0
    """Fixed price of a group (evaluation, storage)."""
    price_step: float = 1
    """Price of one retraining step."""
    alone: list[str] = field(default_factory=list)
    """Names of chips that must not share a model."""
    eval_every: int | None = None
    """Round amounts up to a multiple of so many steps."""


@dataclass
class TaskConfig:
    """Loss of the network, and the metric that the constraint is about."""

    name: str = MISSING
    loss: Any = MISSING
    metric: Any = MISSING


@dataclass
class TrainerConfig:
    """Arguments of Lightning's `Trainer`, by Lightning's own names."""

    accelerator: str = "cpu"
    devices: int = 1
    strategy: str = "auto"
    precision: str = "32-true"
    channels_last: bool = False
    """efat's own: convolutions with channels innermost in memory."""
    gradient_clip_val: float | None = None
    accumulate_grad_batches: int = 1


@dataclass
class Config:
    """The whole configuration."""

    name: str = "efat"
    """Results are written to outputs/NAME/DATE."""
    stage: str = "evaluate"
    """How far to go: a name of `STAGES`. What an earlier run stored is read, not computed again."""
    seed: int = 0
    store: str = "outputs/store"
    """Results of finished units of work, shared by all runs that name the same folder."""
    checkpoint_every: int = 1000
    """Optimizer steps between two checkpoints of a long training; 0: none. No result depends on
    it."""
    library: str | None = None
    """For `stage=assign`: the folder of the run whose models new chips are assigned to."""
    runs: list[str] = field(default_factory=list)
    """For `stage=report` and `stage=compare`: folders of finished runs."""
    compare: list[str] = field(default_factory=list)
    """Strategies to compare the planner with: options of `planner`, and none (no retraining). All
    but none, early_stop and no_remap need the analysis; where the planner does not either, none is
    run."""
    model: Part = MISSING
    data: Part = MISSING
    task: TaskConfig = field(default_factory=TaskConfig)
    array: ArrayConfig = field(default_factory=ArrayConfig)
    baseline: BaselineConfig = field(default_factory=BaselineConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    recipe: RecipeConfig = field(default_factory=RecipeConfig)
    hardening: HardeningConfig = field(default_factory=HardeningConfig)
    fault_rates: FaultRatesConfig = field(default_factory=FaultRatesConfig)
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    fleet: Part = MISSING
    rules: RulesConfig = field(default_factory=RulesConfig)
    planner: Part = MISSING
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    tracking: Part = MISSING
    executor: Part = MISSING


def _cpu_precision() -> str:
    """Return Lightning's name for bf16 autocast where the processor computes in bf16."""
    import torch  # seconds; only configurations that ask

    return "bf16-mixed" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "32-true"


OmegaConf.register_new_resolver("cpu_precision", _cpu_precision, replace=True)
ConfigStore.instance().store(name="schema", node=Config)  # where `conf/config.yaml` starts from
