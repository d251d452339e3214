"""The main job with amounts read off the same curves in several ways."""

from __future__ import annotations

import argparse
from pathlib import Path

from efat.campaign import outcome, run_stages
from experiments.records import write
from experiments.studies import open_study

HERE = Path(__file__).parent
WAYS = (  # maps per rate, stat, sustained
    (5, "max", 1), (5, "max", 2), (5, "max", 3),
    (25, "max", 1), (25, "mean", 1), (25, "quantile", 1),
    (25, "conformal", 1), (25, "conformal", 2), (25, "conformal", 3),
)  # fmt: skip


def campaign_row(seed: int, way: tuple[int, str, int], store: Path) -> dict[str, object]:
    """Run a campaign; what is in the store is not trained again."""
    maps, stat, sustained = way
    experiment, runner = open_study(
        [
            "+experiment=resnet_fat", "planner=greedy", "compare=[]", "executor=serial",
            f"fault_rates.maps_per_rate={maps}", f"selection.stat={stat}",
            f"selection.sustained={sustained}", f"seed={seed}", f"store={store}",
        ]
    )  # fmt: skip
    state = run_stages(experiment, runner)
    result, resilience_map = outcome.build_outcome(state), state.resilience_map
    reached = [chip for chip in result.chips if chip["salvageable"]]
    [strategy] = result.strategies
    return {
        "seed": seed, "maps": maps, "stat": stat, "sustained": sustained,
        "max_rate": f"{resilience_map.max_severity:.4f}",
        "amounts_steps": " ".join(f"{amount:g}" for amount in resilience_map.amounts_steps),
        "chips": len(result.chips),
        "models": strategy.models,
        "retrain_steps": strategy.retraining.steps,
        **{
            f"met_{split}": " ".join(c["chip_id"] for c in reached if c[f"met_{split}"])
            for split in ("val", "test")
        },
        "reached": " ".join(chip["chip_id"] for chip in reached),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("outputs/amounts/store").absolute())
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    rows = [campaign_row(seed, way, args.store) for seed in args.seeds for way in WAYS]
    write(HERE / "results.csv", rows)
