"""The report of a run as text (Markdown), for a README, an issue or a paper's notes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from efat.campaign.run_result import RunResult
from efat.io import write_bytes
from efat.reporting.sentences import headline, strategy_rows, summary


def write_text(run: RunResult, path: Path) -> None:
    """Write `report.md`; its figures are those in `figures/` beside it."""
    parts = [
        f"# {run.name}",
        f"**{headline(run)}**",
        "\n".join(f"- {sentence}" for sentence in summary(run)),
        "## Strategies",
        markdown_table(strategy_head(run), strategy_table(run)),
        *_figures(run.folder),
        "## Provenance",
        "\n".join(f"- {name}: `{value}`" for name, value in run.made_lines),
        "Each unit of work is a row of `units.csv`: its settings, cost, host, result and log.",
    ]
    write_bytes(path, ("\n\n".join(parts) + "\n").encode())


def strategy_head(run: RunResult) -> tuple[str, ...]:
    """Return the headings of the table of strategies."""
    once = ("incl. analysis",) * bool(run.map)
    once = once or ("incl. hardening",) * bool(run.hardening_epochs)
    return (
        "strategy", "models", "epochs", *once, "evaluations", "pass, val.", "pass, test",
        "certified", "mean test", "worst test",
    )  # fmt: skip


def strategy_table(run: RunResult) -> list[list[str]]:
    """Lay the strategies out under these headings."""
    show, lines = run.metric.show, []
    for row, strategy in zip(strategy_rows(run), run.strategies, strict=True):
        once = [f"{row['epochs_incl_analysis']:.1f}"] if run.map or run.hardening_epochs else []
        certified = "-" if row["certified"] is None else str(row["certified"])
        lines.append([
            strategy.label, f"{strategy.models}{'*' if strategy.beyond_map else ''}",
            f"{row['epochs']:.1f}", *once, str(row["evaluations"]), str(row["pass_val"]),
            str(row["pass_test"]), certified, show(strategy.mean_test), show(strategy.worst_test),
        ])  # fmt: skip
    return lines


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    r"""Lay a table out in Markdown.

    >>> print(markdown_table(["a", "b"], [[1, "x|y"]]))
    | a | b |
    |---|---|
    | 1 | x\|y |
    """
    lines = [head, ["---"] * len(head), *rows]
    written = ["|".join(["", *(f" {cell} " for cell in map(_cell, line)), ""]) for line in lines]
    written[1] = written[1].replace(" ", "")
    return "\n".join(written)


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|")


def _figures(folder: Path) -> Iterable[str]:
    """Show the figures that are there; a reader without pictures has their names."""
    for name, what in (
        ("strategies", "Cost of each strategy"),
        ("resilience_map", "The resilience map, with chips and groups on it"),
        ("curves", "Resilience curves"),
        ("fault_rates", "Before and after retraining, over the fault rates"),
        ("fault_maps", "Fault maps of some groups"),
    ):
        if (folder / "figures" / f"{name}.png").exists():
            yield f"![{what}](figures/{name}.png)"
