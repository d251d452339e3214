"""What cannot be: refused before any work, or said when it is known."""

from functools import partial

import pytest

from efat.config.build import build_experiment
from efat.hardware.fleets import save_fleet, uniform_fleet
from efat.hardware.mapping import SystolicArray
from tests.cli.command_line import TINY, efat, errors, rows, run_folder


def test_bad_keys_are_named_where_a_configuration_is_only_shown(tmp_path):
    for flags in (["--cfg", "job"], ["--help"]):
        result = efat(tmp_path, *flags, "+experiment=resnet_fat", "modle=x", "sede=1")
        assert result.returncode == 2
        assert "modle: no such key" in result.stderr
        assert "sede: no such key" in result.stderr


def test_every_problem_is_named_at_once_and_nothing_is_written(tmp_path):
    """Keys, types and values, of every part, in one round."""
    wanted = {
        "optimizer_typo=1": "optimizer_typo: no such key (1 given); allowed here: array, baseline",
        "array.rowz=8": "array.rowz: no such key (8 given); allowed here: cols, dataflow, off_array"
        ", order, rows",
        "fleet.chps=3": "fleet.chps: no such key (3 given)",
        "training.batch_size=abc": "training.batch_size: no such key (abc given)",
        "selection=nosuch": "selection: nosuch given; allowed: drop_1",
        "seed=x": "seed: x given; an int is needed",
        "trainer.accumulate_grad_batches=x": "trainer.accumulate_grad_batches: x given; an int",
        "array.rows=0": "array.rows: 0 given; an int >= 1 is needed",
        "array.dataflow=xx": "array.dataflow: 'xx' given; 'ws', 'os' or 'is' is needed",
        "fault_rates.rates=[0.2,1.2]": "fault_rates.rates: [0.2, 1.2] given",
        "fault_rates.maps_per_rate=0": "fault_rates.maps_per_rate: 0 given",
        "fleet.fault_rate=3": "fleet.fault_rate: 3 given",
        "fleet.chips=0": "fleet.chips: 0 given",
        "stage=everything": "stage: 'everything' given",
        "training.budget_epochs=-1": "training.budget_epochs: -1.0 given",
        "planner.chunk=1": "planner.chunk: 1 given",
        "compare=[none,nosuch]": "compare: 'nosuch' given",
        "training.optimizer.lr=-1": "training.optimizer: ValueError: Invalid learning rate: -1",
        "+baseline.scheduler.gama=1": "baseline.scheduler: ",
        "executor.workers=0": "executor.workers: 0 given",
        "model.depth=9": "model.depth: 9 given",
        "data.batch_size=5000": "data.batch_size: larger than the training split",
        "trainer.accelerator=abacus": "trainer.accelerator: ",
        "trainer.precision=7": "trainer.precision: ValueError: Precision '7' is invalid",
        "trainer.gradient_clip_val=-1": "trainer.gradient_clip_val: -1.0 given",
        "name=a/b": "name: 'a/b' given",
        "hardening.fault_rate=[null,0.3]": "hardening.fault_rate: [null,0.3] given; a list without "
        "null is needed",
    }
    result = efat(tmp_path, *wanted)
    assert result.returncode == 2
    found = errors(result)
    for start in wanted.values():
        assert sum(problem.startswith(start) for problem in found) == 1, (start, found)
    assert len(found) == len(wanted), found
    assert not list(tmp_path.iterdir())


def test_values_that_depend_on_one_left_out_are_not_judged(tmp_path):
    """Defaults stand in for what cannot be; nobody asked for them."""
    bad = {
        "training.budget_epochs=x": "training.eval_every_epochs=9",
        "array.rows=two": "fault_rates.rates=[0.001]",
        "selection.max_drop=x": "selection.limit=0.9",
        "array.dataflow=xx": "selection.severity=weight_rate",
        "model.num_clases=3": "model.num_classes=3",
        "data.batch_size=0": "trainer.accumulate_grad_batches=7",
    }
    found = errors(efat(tmp_path, *bad, *bad.values()))
    keys = {override.split("=")[0] for override in bad}
    assert {problem.split(":")[0] for problem in found} == keys
    assert len(found) == len(keys)


def test_a_fleet_file_is_checked_while_the_array_is_wrong(tmp_path):
    (tmp_path / "bad.npz").write_bytes(b"PK truncated")
    found = errors(efat(tmp_path, "array.rows=0", "fleet=file", "fleet.path=bad.npz"))
    assert found[0] == "array.rows: 0 given; an int >= 1 is needed"
    assert found[1].startswith("bad.npz: not a readable fleet file")
    assert len(found) == 2


def test_an_accelerator_that_is_not_there_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    (problem,) = errors(efat(tmp_path, "trainer=gpu"))
    assert problem.startswith("trainer.accelerator: gpu given; Lightning: No supported gpu")
    assert "; use trainer=cpu, or a machine with such a device" in problem


def test_an_experiment_is_built_once(tmp_path, monkeypatch):
    built = []
    monkeypatch.setattr(
        "efat.config.build.build_experiment", partial(_counted, built, build_experiment)
    )
    arguments = ("+experiment=resnet_fat", "stage=fleet", "executor=serial")
    assert efat(tmp_path, *arguments).returncode == 0
    assert len(built) == 1


def _counted(built, build, *arguments):
    built.append(arguments)
    return build(*arguments)


def test_fleet_files_are_checked_before_any_work(tmp_path):
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 truncated")
    save_fleet(uniform_fleet(SystolicArray(4, 4), 0, 2, 0.2), tmp_path / "small.npz")
    before = sorted(tmp_path.iterdir())
    for name, problem in (("broken", "not a readable fleet"), ("small", "holds maps of 4x4 PEs")):
        result = efat(tmp_path, "fleet=file", f"fleet.path={name}.npz", "executor=serial")
        assert result.returncode == 2, result.stdout
        assert problem in result.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_a_constraint_above_the_baseline_stops_as_soon_as_that_is_known(tmp_path):
    result = efat(
        tmp_path, *TINY[:-1], "selection.max_drop=null", "selection.limit=0.9999",
        "executor=serial",
    )  # fmt: skip
    assert result.returncode == 1
    assert "0.9999 asked for, but the fault-free baseline reaches only" in result.stderr
    assert not (run_folder(tmp_path) / "curves.csv").exists()


def test_an_unreachable_constraint_finishes_and_says_so(tmp_path):
    result = efat(
        tmp_path, *TINY[:-1], "selection.max_drop=0", "fault_rates.rates=[0.6]",
        "training.budget_epochs=0.25", "fleet.fault_rate=0.6", "executor=serial",
    )  # fmt: skip
    assert result.returncode == 1, result.stdout
    assert "none of the fault rates reaches it within the budget" in result.stdout
    names = "unsalvageable, beyond the resilience map: chip0, chip1, chip2, chip3, chip4, chip5"
    assert names in " ".join(result.stdout.split())
    chips = rows(run_folder(tmp_path) / "chips.csv")
    assert {chip["salvageable"] for chip in chips} == {"False"}
    assert all(chip["test_after"] == chip["test_before"] for chip in chips)


def stopped(*_):
    raise KeyboardInterrupt


def full(*_):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("happens", "status", "message"),
    [
        (stopped, 130, "stopped; finished work is saved"),
        (full, 1, "error: files: [Errno 28] No space"),
    ],
)
def test_ctrl_c_and_a_full_disk_end_in_one_line(tmp_path, monkeypatch, happens, status, message):
    monkeypatch.setattr("efat.engine.runner.UnitRunner.run", happens)
    result = efat(tmp_path, *TINY, "executor=serial")
    assert result.returncode == status
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr
