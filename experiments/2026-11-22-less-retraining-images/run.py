"""eFAT-style beside repair in closed form, on networks for images: raw rows of costs and results.

python experiments/2026-11-22-less-retraining-images/run.py SETTING --data FOLDER [--jobs ...]

A job that is cut off goes on where it was: every unit is in the store. Rows of a job replace those
that it wrote before.
"""

from __future__ import annotations

import argparse
import csv
import fcntl
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from efat import fit, stages
from efat.campaign import Campaign
from efat.chips import Fleet
from efat.experiment import Experiment
from efat.findings import Analysis, Baseline, Model
from efat.jobs import EvaluationJob
from efat.planning.base import Group, Plan
from experiments.studies import open_study

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Job:
    """What is run: arguments of `efat.run`, and which strategies serve the fleet.

    Args:
        arguments: Besides those of the setting.
        strategies: `none`: masked chips; `each`: a repaired model a chip, with no analysis and no
            retraining; `planned`: by the resilience map and the planner; none: curves alone.
    """

    arguments: tuple[str, ...]
    strategies: tuple[str, ...] = ()


def budget(steps: int, every: int, epoch: int = 78) -> tuple[str, ...]:
    """Return what asks for a budget in steps; 78 of 128 samples are 10,000 images."""
    return (
        f"training.budget_epochs={steps / epoch:.6f}",
        f"training.eval_every_epochs={every / epoch:.6f}",
    )


def rates(*values: float) -> str:
    return f"fault_rates.rates={list(values)}"


def recipes(amounts: Sequence[str], grid: str) -> dict[str, Job]:
    """Return the recipes; `recalibrate` needs BatchNorm."""
    few = ("training=repaired", *amounts, "rules=few_models", "planner=best")
    return {
        "remap + compensate": Job(
            ("recipe=remap_compensate", *few, grid, "fault_rates.until_met=true"),
            ("each", "planned"),
        ),
        "compensate": Job(("recipe=compensate", *few), ("each",)),
        "recalibrate": Job(("recipe=recalibrate", *few), ("each",)),
    }


CLUSTERED = ("fleet=clustered", "fleet.fault_rate=0.1")
COMMON = ("selection.max_drop=0.01", "selection.interpolation=ceil", "compare=[]",
          "fault_rates.maps_per_rate=3")  # fmt: skip
FASHION = ("data.path={data}/fashion_mnist", *COMMON, "fleet.chips=40")
RESNET8 = (
    "+experiment=fashion_mnist_resnet8", *FASHION, "data.train_size=10000", "data.val_size=2000",
    "baseline.epochs=16", "baseline.scheduler.gamma=0.997", "fleet.fault_rate=[0.01,0.2]",
)  # fmt: skip
MLP = ("+experiment=mlp_vts18", *FASHION, "fleet.fault_rate=[0.01,0.5]")
SETTINGS: dict[str, tuple[str, ...]] = {
    "cifar10": (
        "+experiment=cifar10_resnet20", "data.path={data}/cifar10", "data.eval_batch_size=128",
        "baseline.checkpoint={data}/cifar_resnet_weights/resnet20-12fca82f.th", *COMMON,
        "fleet.chips=100", "fleet.fault_rate=[0.01,0.2]",
    ),
    "resnet8": RESNET8,
    "resnet8 clustered": (*RESNET8, *CLUSTERED),
    "mlp": MLP,
    "mlp clustered": (*MLP, *CLUSTERED, "fleet.fault_rate=0.3"),
}  # fmt: skip
WIDE = rates(0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
RESNET8_JOBS = {
    **recipes(budget(64, 16), rates(0.05, 0.1, 0.15, 0.2, 0.25, 0.3)),
    "eFAT-style": Job(
        ("planner=greedy", *budget(160, 32), rates(0.05, 0.1, 0.2), "training.optimizer.lr=0.002"),
        ("none", "planned"),
    ),
}
MLP_JOBS = {
    "eFAT-style": Job(("planner=greedy", *budget(429, 39, 429), WIDE), ("none", "planned")),
    **recipes(budget(429, 39, 429), WIDE),
}
MLP_JOBS.pop("recalibrate")
CIFAR10_JOBS = {
    **recipes(budget(64, 16), rates(0.05, 0.1, 0.15, 0.2, 0.25, 0.3)),
    "eFAT-style": Job(
        ("planner=greedy", *budget(128, 32), rates(0.05, 0.1, 0.2),
         "training.optimizer.lr=0.003"),
        ("none", "planned"),
    ),
    "remap + compensate, 30-50 %": Job(
        ("recipe=remap_compensate", "training=repaired", *budget(16, 16), rates(0.3, 0.4, 0.5),
         "fault_rates.maps_per_rate=5"),
    ),
    "eFAT-style, long": Job(
        (*budget(512, 64), rates(0.1, 0.2), "training.optimizer.lr=0.003",
         "fault_rates.maps_per_rate=1"),
    ),
}  # fmt: skip
JOBS = {
    "cifar10": CIFAR10_JOBS,
    "resnet8": RESNET8_JOBS,
    "resnet8 clustered": RESNET8_JOBS,
    "mlp": MLP_JOBS,
    "mlp clustered": MLP_JOBS,
}


def serve(args: argparse.Namespace, job: str) -> None:
    """Run a job and write its rows."""
    name, how = args.setting, JOBS[args.setting][job]
    strategies = [s for s in how.strategies if s in (args.strategies or how.strategies)]
    arguments = [a.format(data=args.data) for a in SETTINGS[name]] + list(how.arguments)
    where = [f"store={args.out.absolute() / 'store'}", "executor=serial"]
    experiment, campaign = open_study([*arguments, *where])
    baseline = stages.pretrain(experiment, campaign)
    baseline = stages.calibrate(experiment, campaign, baseline)
    key = {"setting": name, "job": job}
    update(HERE / "baselines.csv", {"setting": name}, [described(experiment, campaign, baseline)])
    part = replace(experiment, fleet=Fleet(experiment.fleet.chips[:: args.every]))
    for strategy in [s for s in strategies if s != "planned"]:
        serve_alone(part, campaign, baseline, key | {"strategy": strategy})
    if how.strategies and "planned" not in strategies:
        return
    analysis = stages.analyse(experiment, campaign, baseline)
    update(HERE / "curves.csv", key, curve_rows(analysis))
    if "planned" in strategies:
        named = {chip.chip_id for chip in part.fleet}
        planned = key | {"strategy": "planned"}
        serve_planned(experiment, campaign, baseline, analysis, named, planned)


def described(experiment: Experiment, campaign: Campaign, baseline: Baseline) -> dict[str, object]:
    """Return the fault-free network's accuracy, and the size of the splits."""
    job = EvaluationJob(experiment.baseline_setup, baseline.weights, experiment.array, (None,))
    [(_, values)] = campaign.run("evaluate", fit.evaluate, [job])
    return {
        "val": values["val"][0], "test": values["test"][0], "test_samples": values["test_samples"],
        "max_drop": experiment.selection.constraint.max_drop, "chips": len(experiment.fleet),
    }  # fmt: skip


def serve_alone(
    experiment: Experiment, campaign: Campaign, baseline: Baseline, key: dict[str, str]
) -> None:
    """Serve every chip on its own, without retraining: masked, or repaired."""
    chips = experiment.fleet.chips
    alone = Plan(tuple(Group((c.chip_id,), c.fault_map, 0.0) for c in chips), ())
    if key["strategy"] == "none":
        carried = [(group, baseline.weights) for group in alone.groups]
    else:
        models = stages.retrain(experiment, campaign, baseline, {"each": alone})["each"]
        carried = [(model.group, model.weights) for model in models]
    count = 0 if key["strategy"] == "none" else len(chips)
    named = {chip.chip_id for chip in chips}
    write(experiment, campaign, carried, named, key, {"models": count, "retrain_steps": 0})


def serve_planned(
    experiment: Experiment,
    campaign: Campaign,
    baseline: Baseline,
    analysis: Analysis,
    named: set[str],
    key: dict[str, str],
) -> None:
    """Serve the fleet as planned; a chip beyond the resilience map carries the masked baseline.

    All is planned, the named chips' models are made and measured.
    """
    target = stages.check_reachable(experiment, baseline)
    resilience_map = stages.select(experiment, analysis, target)
    print(resilience_map)
    plan = stages.plan(experiment, resilience_map)[experiment.planner_name]
    made = Plan(tuple(g for g in plan.groups if named & set(g.members)), ())
    models: Sequence[Model] = stages.retrain(experiment, campaign, baseline, {"plan": made})["plan"]
    maps = {chip.chip_id: chip.fault_map for chip in experiment.fleet}
    carried = [(model.group, model.weights) for model in models]
    left = [chip for chip in plan.unsalvageable if chip in named]
    carried += [(Group((chip,), maps[chip], 0.0), baseline.weights) for chip in left]
    counts = {
        "models": len(plan.groups), "retrain_steps": int(plan.total_steps),
        "unsalvageable": len(plan.unsalvageable),
    }  # fmt: skip
    write(experiment, campaign, carried, named, key, counts)


def write(
    experiment: Experiment,
    campaign: Campaign,
    carried: list[tuple[Group, tuple[str, str]]],
    named: set[str],
    key: dict[str, str],
    counts: dict[str, int],
) -> None:
    """Measure and write: one measurement a model, under its fused map.

    The weights of all PEs that are faulty in any of its chips are zero in a model, so that under a
    chip's own map it is the same network.
    """
    # One setup for all recipes: a measurement trains nothing.
    jobs = [
        EvaluationJob(experiment.baseline_setup, weights, experiment.array, (group.fused,))
        for group, weights in carried
    ]
    found = [values for _, values in campaign.run("evaluate", fit.evaluate, jobs)]
    rates = {chip.chip_id: chip.fault_map.fault_rate for chip in experiment.fleet}
    rows = [
        {
            "chip_id": chip, "fault_rate": rates[chip],
            "model": place, "group_size": len(g.members),
            "fused_fault_rate": g.fused.fault_rate, "amount_steps": int(g.amount_steps),
            "val": f"{values['val'][0]:.6f}", "test": f"{values['test'][0]:.6f}",
        }
        for place, ((g, _), values) in enumerate(zip(carried, found, strict=True))
        for chip in g.members
        if chip in named
    ]  # fmt: skip
    update(HERE / "chips.csv", key, sorted(rows, key=lambda row: row["chip_id"]))
    update(HERE / "results.csv", key, [{"unsalvageable": 0} | counts])


def curve_rows(analysis: Analysis) -> list[dict[str, object]]:
    return [
        {
            "fault_rate": curve.fault_rate, "repeat": curve.repeat,
            "amount_steps": steps, "val": f"{value:.6f}",
        }
        for curve in analysis.curves
        for steps, value in zip(curve.amount_steps, curve.metric, strict=True)
    ]  # fmt: skip


def update(path: Path, key: dict[str, str], rows: Sequence[dict[str, object]]) -> None:
    """Put rows in the place of those that have the same key; other processes wait meanwhile."""
    keyed = [key | row for row in rows]
    with path.open("a+", newline="") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        kept = [
            row
            for row in csv.DictReader(file)
            if any(row[name] != value for name, value in key.items())
        ]
        file.truncate(0)
        table = csv.DictWriter(file, list(keyed[0]), lineterminator="\n")
        table.writeheader()
        table.writerows([*kept, *keyed])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("setting", choices=SETTINGS)
    parser.add_argument("--data", type=Path, required=True, help="cifar10/, fashion_mnist/, ...")
    parser.add_argument("--out", type=Path, default=Path("outputs/less-retraining-images"))
    parser.add_argument("--jobs", nargs="*", help="all by default")
    parser.add_argument("--strategies", nargs="*", help="of a job; all by default")
    parser.add_argument("--every", type=int, default=1, help="serve each so-manyth chip alone")
    args = parser.parse_args()
    for job in args.jobs or JOBS[args.setting]:
        serve(args, job)


if __name__ == "__main__":
    main()
