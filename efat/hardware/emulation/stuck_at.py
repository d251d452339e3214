"""What a faulty PE does: it is bypassed, or a bit of one of its registers is stuck."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from efat.errors import raise_problems
from efat.hardware.fault_map import FaultMap

Site = Literal["weight", "input", "product", "psum"]
WORD: Mapping[Site, Any] = MappingProxyType(
    {"weight": np.int8, "input": np.int8, "product": np.int16, "psum": np.int32}
)
"""Two's-complement word of each register; a product of two int8 always fits int16."""

Integers = NDArray[np.signedinteger[Any]]


@dataclass(frozen=True, order=True)
class StuckAt:
    """One bit of one register of one PE that always reads the same.

    Args:
        row: Row of the PE.
        col: Column of the PE.
        site: Register: `weight` and `input` (8 bits), `product` (16), `psum` (32: partial sum).
        bit: 0 is the least significant, the last one the sign.
        value: 0 or 1.

    Raises:
        EfatError: A row, column or bit that is no int, an unknown site, a bit beyond the register,
            another value; all at once.
    """

    row: int
    col: int
    site: Site
    bit: int
    value: int

    def __post_init__(self) -> None:
        numbers = {name: getattr(self, name) for name in ("row", "col", "bit", "value")}
        raise_problems(
            f"stuck_at.{name}: {given!r} given; an int is needed"
            for name, given in numbers.items()
            if not isinstance(given, int | np.integer) or isinstance(given, bool)
        )
        for name, given in numbers.items():  # a bit as NumPy's int8 would overflow in a shift
            object.__setattr__(self, name, int(given))
        problems = []
        if self.site not in get_args(Site):
            allowed = ", ".join(get_args(Site))
            problems.append(f"stuck_at.site: {self.site!r} given; one of {allowed} is needed")
        elif not 0 <= self.bit < (width := np.iinfo(WORD[self.site]).bits):
            problems.append(
                f"stuck_at.bit: {self.bit!r} given; {self.site} has bits 0 to {width - 1}"
            )
        if self.value not in (0, 1):
            problems.append(f"stuck_at.value: {self.value!r} given; 0 or 1 is needed")
        raise_problems(problems)


class BitForce(NamedTuple):
    """What a register makes of a word: `word & keep | put`, [rows, cols] each."""

    keep: Integers
    put: Integers

    @property
    def active(self) -> NDArray[np.bool_]:
        """Which PEs change some word."""
        return np.asarray((self.keep != -1) | (self.put != 0))

    def then(self, row: Any, col: Any, words: Integers) -> Integers:
        """Pass `words` through the registers of PEs that broadcast with them."""
        return np.asarray((words & self.keep[row, col]) | self.put[row, col])


@dataclass(frozen=True)
class ArrayFaults:
    """The faults of one chip, as its array shows them.

    A bypassed PE is out of the way altogether: it adds nothing, and operands and partial sums pass
    it unchanged, whatever else is wrong with it. An operand register that is stuck and hands its
    operand on (inputs along a row; weights too where they stream) hands on the wrong one.

    Args:
        bypassed: PEs that are bypassed.
        stuck: Stuck bits; several in one PE act together, and 1 wins where a bit is given both.

    Raises:
        EfatError: A stuck bit outside the array; every one is named.
    """

    bypassed: FaultMap
    stuck: tuple[StuckAt, ...] = ()

    def __post_init__(self) -> None:
        rows, cols = self.bypassed.shape
        raise_problems(
            f"stuck_at: PE({fault.row}, {fault.col}) given; the array has {rows}x{cols} PEs"
            for fault in self.stuck
            if not (0 <= fault.row < rows and 0 <= fault.col < cols)
        )

    @classmethod
    def undetected(cls, rows: int, cols: int, stuck: Iterable[StuckAt]) -> ArrayFaults:
        """Return the faults of a chip on which nobody has bypassed anything."""
        return cls(FaultMap.none(rows, cols), tuple(stuck))

    @property
    def fault_map(self) -> FaultMap:
        """Every PE with a fault, bypassed or not."""
        faulty = self.bypassed.faulty
        for fault in self.stuck:
            faulty[fault.row, fault.col] = True
        return FaultMap(faulty)

    def mitigated(self, detected: FaultMap | None = None) -> ArrayFaults:
        """Return the same chip with `detected` PEs (None: all faulty ones) bypassed as well."""
        found = self.fault_map if detected is None else detected
        return ArrayFaults(self.bypassed | found, self.stuck)

    def force(self, site: Site) -> BitForce:
        """Return what a register does to its word, in each PE by itself."""
        return self._forces[site]

    def streamed(self, site: Site, axis: int) -> BitForce:
        """Return what an operand has become in each PE, streaming along `axis` from index 0."""
        keep, put = (np.array(words) for words in self.force(site))
        for index in range(1, keep.shape[axis]):
            here, before = [(slice(None),) * axis + (i,) for i in (index, index - 1)]
            put[here] |= put[before] & keep[here]
            keep[here] &= keep[before]
        return BitForce(keep, put)

    @cached_property
    def _forces(self) -> dict[Site, BitForce]:
        forces = {
            site: BitForce(
                np.full(self.bypassed.shape, -1, word), np.zeros(self.bypassed.shape, word)
            )
            for site, word in WORD.items()
        }
        bypassed = self.bypassed.faulty
        for fault in self.stuck:
            if not bypassed[fault.row, fault.col]:
                force, word = forces[fault.site], WORD[fault.site]
                bit = np.array(1 << fault.bit).astype(word)  # the sign bit wraps to the minimum
                force.keep[fault.row, fault.col] &= ~bit
                force.put[fault.row, fault.col] |= bit * word(fault.value)
        return forces


def check_operands(faults: ArrayFaults, inputs: NDArray[Any], weights: NDArray[Any]) -> None:
    """Raise `EfatError` unless the array can multiply these operands.

    They are [n, k] and [k, m], both int8, or both float64 on a chip with no stuck bit.
    """
    kinds = {inputs.dtype, weights.dtype}
    problems = []
    if kinds != {np.dtype(np.int8)} and (kinds != {np.dtype(np.float64)} or faults.stuck):
        names = ", ".join(sorted(map(str, kinds)))
        problems.append(
            f"gemm: operands of {names} given; both int8, or both float64 without stuck bits, is "
            "needed"
        )
    if inputs.ndim != 2 or weights.ndim != 2 or inputs.shape[1] != weights.shape[0]:
        problems.append(
            f"gemm: shapes {inputs.shape} and {weights.shape} given; [n, k] and [k, m] are needed"
        )
    raise_problems(problems)
