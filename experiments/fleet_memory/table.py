"""Seconds and peak memory by format."""

from __future__ import annotations

from pathlib import Path

from experiments.records import markdown, read


def tables() -> list[str]:
    lines = [
        [row["format"], f"{int(row['chips']):,}", f"{100 * float(row['fault_rate']):g} %",
         row["file_mb"], row["load_s"], row["start_mb"], f"{int(row['peak_mb']):,}"]
        for row in read(Path(__file__).parent / "results.csv")
    ]  # fmt: skip
    head = ["format", "chips", "fault rate", "file, MB", "load, s", "peak before, MB",
            "peak after, MB"]  # fmt: skip
    return [markdown(head, lines)]
