"""The notebook runs from the first cell to the last."""

import contextlib
import io
import json
from pathlib import Path

import pytest
from matplotlib.figure import Figure

NOTEBOOK = Path(__file__).parents[1] / "docs/tutorials/campaign.ipynb"


def test_the_notebook_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Figure, "savefig", lambda *_, **__: None)
    cells = [c for c in json.loads(NOTEBOOK.read_text())["cells"] if c["cell_type"] == "code"]
    assert len(cells) >= 6
    assert all(cell["execution_count"] for cell in cells)  # stored as a reader sees it
    names, printed = {}, io.StringIO()
    with contextlib.redirect_stdout(printed):
        for cell in cells:
            source = "".join(line for line in cell["source"] if not line.startswith("%"))
            exec(compile(source, NOTEBOOK.name, "exec"), names)
    result = names["result"]
    assert (tmp_path / "outputs/notebook/report.html").exists()
    assert f"{result.chosen.pass_test} of 10 chips pass on test" in printed.getvalue()
    assert names["state"].plan.total_steps == pytest.approx(result.plan.total_steps)
