"""Measure speed, all parts or those named: `python -m experiments.bench [PART ...]`.

Parts are the modules of this package. Read ratios and growth, not seconds: machines differ.
"""

from __future__ import annotations

import argparse
from importlib import import_module

import torch

PARTS = (
    "training", "loading", "emulation", "engine", "planning", "repair", "tracking", "blocks",
    "batched_solves",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--chips", nargs="+", type=int, help="sizes of the fleets to plan")
    args = parser.parse_args()
    if unknown := [part for part in args.parts if part not in PARTS]:
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    torch.set_num_threads(1)
    for part in args.parts or PARTS:
        bench = import_module(f"experiments.bench.{part}").main
        if part == "planning" and args.chips:
            bench(args.chips)
        else:
            bench()


if __name__ == "__main__":  # planning starts processes that import this module
    main()
