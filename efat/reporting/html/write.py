"""Write the pages of finished runs into folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from efat.campaign.run_result import RunResult
from efat.io import write_csv
from efat.reporting.html.comparison import compare_runs
from efat.reporting.html.comparison_page import write_compare_page, write_compare_text
from efat.reporting.html.report_markdown import write_text
from efat.reporting.html.report_page import write_page


def write_report(folder: Path) -> RunResult:
    """Write `report.html` and `report.md` of a finished run into its folder; return the run.

    Raises:
        EfatError: The run is not finished, or a file of it is damaged.
    """
    run = RunResult.load(folder)
    write_page(run, folder / "report.html")
    write_text(run, folder / "report.md")
    return run


def write_comparison(folders: Sequence[Path], target: Path) -> list[str]:
    """Write `compare.html`, `compare.md` and `compare.csv` into `target`; return the findings.

    Raises:
        EfatError: A run is not finished, or measures another thing than the others.
    """
    comparison = compare_runs([RunResult.load(folder) for folder in folders])
    write_compare_page(comparison, target / "compare.html")
    write_compare_text(comparison, target / "compare.md")
    write_csv(target / "compare.csv", comparison.rows)
    return list(comparison.findings)
