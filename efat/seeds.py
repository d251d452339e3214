"""Named random streams: every draw depends on the seed and its name, never on order or place."""

from __future__ import annotations

import hashlib

import numpy as np


def derive(seed: int, *names: object) -> int:
    """Derive the seed of a named stream.

    Args:
        seed: The run's seed.
        names: What the stream is for, e.g. `"fleet", 17`.

    Returns:
        An int in [0, 2**63), the same on every machine.

    >>> derive(0, "fleet") == derive(0, "fleet"), derive(0, "fleet") == derive(1, "fleet")
    (True, False)
    """
    text = "\x1f".join([str(int(seed)), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: object) -> np.random.Generator:
    """Return a NumPy generator on the named stream `derive(seed, *names)`."""
    return np.random.default_rng(derive(seed, *names))
