"""Misses and false alarms by dataflow and number of stuck bits."""

from __future__ import annotations

from pathlib import Path

from experiments.records import markdown, read, where


def tables() -> list[str]:
    rows, lines = read(Path(__file__).parent / "results.csv"), []
    for dataflow, count in dict.fromkeys((row["dataflow"], row["faulty_pes"]) for row in rows):
        chips = where(rows, dataflow=dataflow, faulty_pes=count)
        sums = [str(sum(int(chip[name]) for chip in chips)) for name in ("misses", "false_alarms")]
        seconds = sorted(float(chip["elapsed_s"]) for chip in chips)
        took = f"{seconds[0]:.0f}-{seconds[-1]:.0f}"
        lines.append([dataflow, count, str(len(chips)), *sums, took])
    return [markdown(["dataflow", "stuck bits", "chips", "misses", "false alarms", "s"], lines)]
