"""The settings of the study, and what is run in each: arguments of `efat.run`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Job:
    """What is run: arguments of `efat.run`, and which strategies serve the fleet.

    Args:
        arguments: Besides those of the setting.
        strategies: `none`: masked chips; `each`: a repaired model per chip, with no analysis and no
            retraining; `early_stop`: a model per chip, trained until it meets the constraint, with
            no analysis; `planned`, `fixed`, `individual`: by the resilience map and the planner,
            one amount for all, an amount per chip; none: curves alone.
    """

    arguments: tuple[str, ...]
    strategies: tuple[str, ...] = ()


def budget(steps: int, every: int, epoch: int = 78) -> tuple[str, ...]:
    """Return what asks for a budget in steps; 78 of 128 samples are 10,000 images."""
    return (
        f"training.budget_epochs={steps / epoch:.6f}",
        f"training.eval_every_epochs={every / epoch:.6f}",
    )


def decaying(rate: float, gamma: float) -> tuple[str, ...]:
    """Return what asks for all training images, and a learning rate that falls with every step."""
    scheduler = f"{{_target_:torch.optim.lr_scheduler.ExponentialLR,_partial_:true,gamma:{gamma}}}"
    return (
        f"training.optimizer.lr={rate}", "data.train_size=null", f"training.scheduler={scheduler}",
    )  # fmt: skip


def rates(*values: float) -> str:
    """Return what asks for these fault rates."""
    return f"fault_rates.rates={list(values)}"


def recipes(amounts: Sequence[str], grid: str) -> dict[str, Job]:
    """Return the recipes; `recalibrate` needs BatchNorm."""
    few = ("training=repaired", *amounts, "rules=few_models", "planner=min_cost")
    return {
        "remap + compensate": Job(
            ("recipe=remap_compensate", *few, grid, "fault_rates.until_met=true"),
            ("each", "planned", "early_stop"),
        ),
        "remap + compensate, sequential": Job(
            ("recipe=remap_compensate", "recipe.mode=sequential", *few), ("each",)
        ),
        "remap": Job(("recipe=remap_compensate", "recipe.steps=[remap,retrain]", *few), ("each",)),
        "compensate": Job(("recipe=compensate", *few), ("each",)),
        "recalibrate": Job(("recipe=recalibrate", *few), ("each",)),
    }


def hardened(amounts: Sequence[str], epoch: int, *others: str) -> tuple[str, ...]:
    """Return what asks for 2,000 steps of hardening, and nothing but repair after it."""
    epochs = f"hardening.epochs={2000 / epoch:.6f}"
    return ("recipe=harden", "training=repaired", *amounts, epochs, *others)


def efat_style(amounts: Sequence[str], grid: str, *others: str) -> dict[str, Job]:
    """Return eFAT-style retraining, and what it is compared with in the same training."""
    return {
        "eFAT-style": Job(
            ("planner=greedy", *amounts, grid, *others),
            ("none", "planned", "fixed", "individual", "early_stop"),
        ),
    }


CLUSTERED = ("fleet=clustered", "fleet.fault_rate=0.1")
COMMON = ("selection.max_drop=0.01", "selection.interpolation=ceil",
          "compare=[fixed,individual,early_stop]", "fault_rates.maps_per_rate=3")  # fmt: skip
FASHION = ("data.path={data}/fashion_mnist", *COMMON, "fleet.chips=40")
RESNET8 = (
    "+experiment=fashion_mnist_resnet8", *FASHION, "data.train_size=10000", "data.val_size=2000",
    "baseline.epochs=16", "baseline.scheduler.gamma=0.997", "fleet.fault_rate=[0.01,0.2]",
)  # fmt: skip
MOBILENET = (
    *RESNET8, "model=mobilenet_v2", "model.in_channels=1", "model.width=0.25", "array=ws_64",
    "trainer.channels_last=true", "baseline.epochs=5", "baseline.scheduler.gamma=0.99",
    "fault_rates.maps_per_rate=1",
)  # fmt: skip
MLP = ("+experiment=mlp_vts18", *FASHION, "fleet.fault_rate=[0.01,0.5]")
CIFAR10 = (
    "+experiment=cifar10_resnet20", "data.path={data}/cifar10", "data.eval_batch_size=128",
    "baseline.checkpoint={data}/cifar_resnet_weights/resnet20-12fca82f.th", *COMMON,
    "fleet.chips=100", "fleet.fault_rate=[0.01,0.2]",
)  # fmt: skip
RESNET32 = (
    "model=resnet32", "baseline.checkpoint={data}/cifar_resnet_weights/resnet32-d509ac18.th",
)  # fmt: skip
SETTINGS: dict[str, tuple[str, ...]] = {
    "cifar10": CIFAR10,
    "cifar10 clustered": (*CIFAR10, *CLUSTERED),
    "cifar10-256": (*CIFAR10, "array=ws_256", "fault_rates.maps_per_rate=2"),
    "cifar10-resnet32": (*CIFAR10, *RESNET32, "fault_rates.maps_per_rate=1"),
    "cifar10-resnet32-256": (
        *CIFAR10,
        *RESNET32,
        "array=ws_256",
        "fault_rates.maps_per_rate=1",
    ),
    "resnet8": RESNET8,
    "resnet8 clustered": (*RESNET8, *CLUSTERED),
    "mobilenet": MOBILENET,
    "mlp": MLP,
    "mlp clustered": (*MLP, *CLUSTERED, "fleet.fault_rate=0.3"),
}
NARROW, WIDE = rates(0.05, 0.1, 0.2), rates(0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
REPAIRED = recipes(budget(64, 16), rates(0.05, 0.1, 0.15, 0.2, 0.25, 0.3))
RESNET8_JOBS = {
    **REPAIRED,
    "harden + recalibrate": Job(hardened(budget(64, 16), 78), ("each",)),
    **efat_style(
        budget(480, 48), NARROW, "training.optimizer.lr=0.002", "fault_rates.until_met=true"
    ),
    "eFAT-style, 160 steps": Job(
        ("planner=greedy", *budget(160, 32), NARROW, "training.optimizer.lr=0.002"), ("planned",)
    ),
}
MOBILENET_JOBS = {
    **recipes(budget(64, 16), rates(0.1, 0.2, 0.3)),
    "harden + recalibrate": Job(hardened(budget(64, 16), 78), ("each",)),
    **efat_style(budget(128, 32), rates(0.05), "training.optimizer.lr=0.003"),
}
MLP_JOBS = {
    **efat_style(budget(429, 39, 429), WIDE),
    **{k: v for k, v in recipes(budget(429, 39, 429), WIDE).items() if k != "recalibrate"},
    "harden": Job(hardened(budget(39, 39, 429), 429, "recipe.steps=[harden,retrain]"), ("each",)),
}
CIFAR10_JOBS = {
    **REPAIRED,
    "harden + recalibrate": Job(hardened(budget(64, 16), 78), ("each",)),
    **efat_style(budget(128, 32), NARROW, "training.optimizer.lr=0.003"),
    "remap + compensate, 30-50 %": Job(
        ("recipe=remap_compensate", "training=repaired", *budget(16, 16), rates(0.3, 0.4, 0.5),
         "fault_rates.maps_per_rate=5"),
    ),
}  # fmt: skip
RESNET32_JOBS = {
    **CIFAR10_JOBS,
    **efat_style(budget(128, 32), rates(0.05, 0.1), "training.optimizer.lr=0.003"),
}
LONG = {
    "eFAT-style at 0.01, long": Job(
        (*budget(1024, 128, 390), rates(0.1, 0.2), "training.optimizer.lr=0.01",
         "fault_rates.maps_per_rate=1", "data.train_size=null"),
    ),
    "eFAT-style, 0.02 decaying, long": Job(
        (*budget(2048, 128, 390), rates(0.1, 0.2), *decaying(0.02, 0.99834),
         "fault_rates.maps_per_rate=1"),
    ),
    "eFAT-style, 0.05 decaying, long": Job(
        (*budget(4096, 256, 390), rates(0.2), *decaying(0.05, 0.998876),
         "fault_rates.maps_per_rate=1"),
    ),
    "eFAT-style, 0.05 decaying": Job(
        ("planner=greedy", *budget(4096, 256, 390), NARROW, *decaying(0.05, 0.998876),
         "fault_rates.maps_per_rate=1", "fault_rates.until_met=true"),
        ("planned",),
    ),
}  # fmt: skip
JOBS = {
    "cifar10": {**CIFAR10_JOBS, **LONG},
    "cifar10 clustered": CIFAR10_JOBS,
    "cifar10-256": CIFAR10_JOBS,
    "cifar10-resnet32": RESNET32_JOBS,
    "cifar10-resnet32-256": RESNET32_JOBS,
    "resnet8": RESNET8_JOBS,
    "resnet8 clustered": {k: v for k, v in RESNET8_JOBS.items() if "160" not in k},
    "mobilenet": MOBILENET_JOBS,
    "mlp": MLP_JOBS,
    "mlp clustered": MLP_JOBS,
}
