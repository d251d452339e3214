"""The report of a run as text (Markdown), for a README, an issue or a paper's notes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import efat.reporting.html.summary_text as verdict
from efat.io import write_bytes
from efat.reporting.html.run_reader import FinishedRun


def write_text(run: FinishedRun, path: Path) -> None:
    """Write `report.md`; its figures are those in `figures/` beside it."""
    parts = [
        f"# {run.made.get('name', run.folder.name)}",
        f"**{verdict.headline(run)}**",
        "\n".join(f"- {sentence}" for sentence in verdict.sentences(run)),
        "## Strategies",
        markdown_table(strategy_head(run), strategy_rows(run)),
        *_figures(run.folder),
        "## How this was made",
        "\n".join(f"- {name}: `{value}`" for name, value in run.made_lines),
        "Each unit of work is a row of `units.csv`: its settings, cost, host, result and log.",
    ]
    write_bytes(path, ("\n\n".join(parts) + "\n").encode())


def strategy_head(run: FinishedRun) -> tuple[str, ...]:
    """Return the headings of the table of strategies."""
    once = ("with analysis",) * run.analysed or ("with hardening",) * bool(run.hardening_epochs)
    return (
        "strategy", "models", "epochs", *once, "evaluations", "met, val.", "met, test", "verified",
        "mean test", "worst test",
    )  # fmt: skip


def strategy_rows(run: FinishedRun) -> Iterable[Sequence[object]]:
    """Lay the strategies out under these headings."""
    show = run.metric.show
    for s in run.summary["strategies"]:
        epochs = s["retraining"]["epochs"]
        once = run.analysed or run.hardening_epochs
        together = (f"{epochs + run.once_epochs(s):.1f}",) if once else ()
        models = f"{s['models']}{'*' if s['beyond_map'] else ''}"
        yield (
            s["name"], models, f"{epochs:.1f}", *together,
            s["retraining"].get("evaluations", 0), s["met_val"], s["met_test"],
            "-" if s.get("verified") is None else s["verified"],
            show(s["mean_test"]), show(s["worst_test"]),
        )  # fmt: skip


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
