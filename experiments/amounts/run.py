"""The main job with amounts read off the same curves in several ways.

python experiments/2026-11-22-amounts/run.py
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from efat.campaign import stages
from efat.campaign.outcome import build_outcome
from experiments.studies import open_study

HERE = Path(__file__).parent
WAYS = (  # maps a rate, stat, sustained
    (5, "max", 1), (5, "max", 2), (5, "max", 3),
    (25, "max", 1), (25, "mean", 1), (25, "quantile", 1),
    (25, "conformal", 1), (25, "conformal", 2), (25, "conformal", 3),
)  # fmt: skip


def reached(maps: int, stat: str, sustained: int, seed: int, store: Path) -> dict[str, object]:
    """Go the road of a campaign; what is in the store is not trained again."""
    experiment, campaign = open_study(
        [
            "+experiment=resnet_fat", "planner=greedy", "compare=[]", "executor=serial",
            f"fault_rates.maps_per_rate={maps}", f"selection.stat={stat}",
            f"selection.sustained={sustained}", f"seed={seed}", f"store={store}",
        ]
    )  # fmt: skip
    baseline = stages.pretrain(experiment, campaign)
    target = stages.check_reachable(experiment, baseline)
    analysis = stages.analyse(experiment, campaign, baseline)
    resilience_map = stages.select(experiment, analysis, target)
    plans = stages.plan(experiment, resilience_map)
    models = stages.retrain(experiment, campaign, baseline, plans)
    found = stages.evaluate(experiment, campaign, baseline, models)
    outcome = build_outcome(experiment, baseline, analysis, resilience_map, plans, models, found)
    near = [chip for chip in outcome.chips if chip["salvageable"]]
    [strategy] = outcome.strategies
    return {
        "max_rate": f"{resilience_map.max_severity:.4f}",
        "amounts_steps": " ".join(f"{amount:g}" for amount in resilience_map.amounts_steps),
        "chips": len(outcome.chips),
        "models": strategy.models,
        "retrain_steps": strategy.retraining.steps,
        **{
            f"met_{split}": " ".join(c["chip_id"] for c in near if c[f"met_{split}"])
            for split in ("val", "test")
        },
        "reached": " ".join(chip["chip_id"] for chip in near),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("outputs/amounts/store"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    rows = [
        {"seed": seed, "maps": maps, "stat": stat, "sustained": sustained}
        | reached(maps, stat, sustained, seed, args.store)
        for seed in args.seeds
        for maps, stat, sustained in WAYS
    ]
    with (HERE / "results.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


if __name__ == "__main__":
    main()
