import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from efat import EfatError
from efat.engine.executors import Launch, Processes, Ray, Serial, Slurm, WorkerDied
from efat.engine.executors.pool import shared_pool


def double(number):
    return 2 * number


def die(unit):
    """Kill the worker: at the number 3 always, at a path once."""
    if unit == 3 or (isinstance(unit, Path) and not unit.exists()):
        if unit != 3:
            unit.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return unit.name if isinstance(unit, Path) else 2 * unit


def test_a_dead_worker_costs_its_own_unit_alone_which_is_tried_again(tmp_path):
    executor = Processes(workers=2, retries=1)
    done = dict(executor.run(die, [1, 2, 3, tmp_path / "a", 5, 6]))
    assert done.pop(2) == WorkerDied("its worker died 2 times, last by SIGKILL")
    assert done == {0: 2, 1: 4, 3: "a", 4: 10, 5: 12}
    before = {worker.process.pid for worker in shared_pool(2).idle}
    assert sorted(executor.run(double, [4, 5])) == [(0, 8), (1, 10)]
    assert {worker.process.pid for worker in shared_pool(2).idle} == before  # they live on


@pytest.mark.slow
def test_workers_killed_while_idle_are_replaced():
    executor = Processes(workers=2)
    executor.start()
    for worker in shared_pool(2).idle:
        worker.process.kill()
        worker.process.join()
    assert sorted(executor.run(double, [1, 2, 3])) == [(0, 2), (1, 4), (2, 6)]


def test_a_unit_is_taken_when_a_worker_is_free_and_not_before():
    taken = []

    def units():
        for number in range(6):
            taken.append(number)
            yield number

    for count, _ in enumerate(Processes(2).run(double, units()), 1):
        assert len(taken) <= count + 2


def leave_a_trace(path):
    if path:
        (path / str(os.getpid())).touch()
        time.sleep(60)


@pytest.mark.slow
def test_what_is_under_way_ends_with_the_run(tmp_path):
    run = Processes(2).run(leave_a_trace, [None, tmp_path, tmp_path])
    next(run)
    while not list(tmp_path.iterdir()):
        time.sleep(0.05)
    run.close()
    for trace in tmp_path.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(trace.name), 0)


def sleep_beside_another(folder):
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    (folder / str(os.getpid())).touch()
    (folder / str(other.pid)).touch()
    time.sleep(60)


def test_a_launched_unit_that_dies_is_tried_again(tmp_path):
    assert list(Launch(retries=1).run(die, [tmp_path / "a"])) == [(0, "a")]
    died = WorkerDied("its process died 1 times, last by SIGKILL")
    assert list(Launch(retries=0).run(die, [3])) == [(0, died)]


def test_a_launched_unit_takes_all_its_processes_with_it(tmp_path):
    def interrupt():
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # xdist ignores it
    threading.Thread(target=interrupt, daemon=True).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            next(Launch().run(sleep_beside_another, [tmp_path]))
    finally:
        signal.signal(signal.SIGINT, before)
    for trace in tmp_path.iterdir():
        assert not _runs(int(trace.name))


def _runs(process):
    """Return whether a process is there; one that ended and whose parent is gone is not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_serial_runs_in_order():
    assert list(Serial().run(double, [3, 1])) == [(0, 6), (1, 2)]


@pytest.mark.parametrize("workers", [0, -1, 1.5, 10**6])
def test_a_number_of_workers_that_cannot_be(workers):
    with pytest.raises(EfatError, match=r"executor\.workers: .* given; an int from 1 to"):
        Processes(workers)


def test_numbers_that_cannot_be():
    with pytest.raises(EfatError, match=r"executor\.retries: -1 given; an int >= 0 is needed"):
        Processes(2, retries=-1)
    with pytest.raises(EfatError, match=r"executor\.jobs: 0 given.*\n.*units_per_job: 1\.5 given"):
        Slurm(jobs=0, units_per_job=1.5)


@pytest.mark.parametrize(("executor", "package"), [(Ray, "ray"), (Slurm, "submitit")])
def test_without_its_package_an_executor_names_the_extra(monkeypatch, executor, package):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    extra = "ray" if package == "ray" else "slurm"
    with pytest.raises(EfatError, match=rf"not installed; pip install 'efat\[{extra}\]'"):
        executor()


@pytest.mark.slow
def test_slurm_jobs_in_local_processes(tmp_path):
    pytest.importorskip("submitit")
    executor = Slurm(
        str(tmp_path), jobs=2, units_per_job=2, cluster="local", poll_s=0.05, retries=1
    )
    done = dict(executor.run(die, [1, 2, 3, 4]))
    assert isinstance(done.pop(2), WorkerDied)
    assert done == {0: 2, 1: 4, 3: 8}  # 4 was in the job that 3 killed
    with pytest.raises(EfatError, match="executor: "):
        Slurm(str(tmp_path), cluster="local", parameters={"gpus": 1})


@pytest.fixture(scope="module")
def ray_executor():
    ray = pytest.importorskip("ray")
    executor = Ray(num_cpus=1, retries=1)
    handler = signal.getsignal(signal.SIGTERM)
    executor.start()
    assert signal.getsignal(signal.SIGTERM) is handler
    yield executor
    ray.shutdown()


@pytest.mark.slow
def test_ray_retries_a_dead_worker_and_goes_on(ray_executor, tmp_path):
    done = dict(ray_executor.run(die, [1, 2, 3, 4]))
    assert isinstance(done.pop(2), WorkerDied)
    assert done == {0: 2, 1: 4, 3: 8}
    assert list(ray_executor.run(die, [tmp_path / "b"])) == [(0, "b")]


def grow(path):
    Path(path).touch()
    time.sleep(0.2)
    return path


@pytest.mark.slow
def test_ray_holds_a_bounded_number_of_units(ray_executor, tmp_path):
    executor = Ray(in_flight=2)
    taken = []

    def units():
        for number in range(6):
            taken.append(number)
            yield str(tmp_path / str(number))

    for count, _ in enumerate(executor.run(grow, units()), 1):
        assert len(taken) <= count + 2
