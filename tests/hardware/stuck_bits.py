"""Hypothesis strategy of stuck bits, for the emulator and the detection."""

from hypothesis import strategies as st

from efat.hardware.emulation import StuckAt

BITS = {"weight": 8, "input": 8, "product": 16, "psum": 32}


def stuck_bits(rows, cols):
    def at(site):
        row, col = st.integers(0, rows - 1), st.integers(0, cols - 1)
        bit = st.integers(0, BITS[site] - 1)
        return st.builds(StuckAt, row, col, st.just(site), bit, st.integers(0, 1))

    return st.sampled_from(sorted(BITS)).flatmap(at)
