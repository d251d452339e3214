"""Read what W&B wrote offline: records in the blocks of a LevelDB log."""

import struct

BLOCK, HEADER = 32768, 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def payloads(path):
    """Yield the whole records of a `.wandb` file, as bytes; W&B may still be writing to it."""
    data, at, parts = path.read_bytes(), HEADER, []
    while at + HEADER <= len(data):
        if BLOCK - at % BLOCK < HEADER:  # the rest of a block that holds no header is padding
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + HEADER])
        at += HEADER
        if kind == 0 or at + length > len(data):  # not written yet, or not to its end
            return
        parts.append(data[at : at + length])
        at += length
        if kind in (FULL, LAST):
            yield b"".join(parts)
            parts = []


def records(folder):
    """Return the records of every offline run below `folder`, by the run's id."""
    from wandb.proto.wandb_internal_pb2 import Record

    found = {}
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        found[path.stem.removeprefix("run-")] = [Record.FromString(p) for p in payloads(path)]
    return found


def of_kind(runs, kind):
    """Return the records of one kind, by run."""
    picked = {
        name: [getattr(r, kind) for r in rs if r.WhichOneof("record_type") == kind]
        for name, rs in runs.items()
    }
    return {name: rs for name, rs in picked.items() if rs}
