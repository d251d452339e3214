import os
import signal

import pytest

from efat import EfatError
from efat.executors import Processes, Serial


def double(number):
    return 2 * number


def die_at_three(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * number


def test_a_killed_worker_is_one_clear_error_and_the_next_run_has_new_workers():
    executor = Processes(workers=2)
    done = []
    with pytest.raises(EfatError, match=r"a worker process died .* run the same command again"):
        done.extend(executor.run(die_at_three, [1, 2, 3, 4, 5, 6]))
    assert sorted(executor.run(double, [1, 2, 3])) == [(0, 2), (1, 4), (2, 6)]


def test_serial_runs_in_order_and_a_lone_item_stays_here():
    assert list(Serial().run(double, [3, 1])) == [(0, 6), (1, 2)]
    assert list(Processes(1).run(lambda _: os.getpid(), [0])) == [(0, os.getpid())]


@pytest.mark.parametrize("workers", [0, -1, 1.5, 10**6])
def test_a_number_of_workers_that_cannot_be(workers):
    with pytest.raises(EfatError, match=r"executor\.workers: .* given; an int from 1 to"):
        Processes(workers)
