"""Run one unit for `executor=launch`: `python -m efat.engine.executors.launch_main FOLDER`.

Lightning runs it again, with LOCAL_RANK set, for each further process of a distributed training.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
from pathlib import Path

from efat.engine.executors.base import is_secondary, one_thread
from efat.engine.executors.launch import ANSWER, UNIT
from efat.io import write_bytes


def main(folder: Path) -> None:
    """Run the unit in the folder; the first process of a training writes the answer."""
    threading.Thread(target=_die_with_driver, daemon=True).start()
    one_thread()
    function, unit = pickle.loads((folder / UNIT).read_bytes())
    try:
        answer = True, function(unit)
    except Exception as error:
        answer = False, error
    if not is_secondary():
        write_bytes(folder / ANSWER, pickle.dumps(answer))


def _die_with_driver() -> None:
    """End all processes of the unit when the driver closes standard input, or dies."""
    os.read(sys.stdin.fileno(), 1)  # not through a buffer, whose lock would be held at exit
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
