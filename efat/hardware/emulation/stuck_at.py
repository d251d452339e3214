"""Faulty PEs: each is bypassed, or some bits of its registers are stuck."""

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
    """A stuck-at fault: one bit of one register of one PE always reads the same value.

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
    """The masks that a register's stuck bits apply: `word & and_mask | or_mask`, [rows, cols]."""

    and_mask: Integers
    or_mask: Integers

    @property
    def active(self) -> NDArray[np.bool_]:
        """The PEs in which a bit of this register is stuck, [rows, cols]."""
        return np.asarray((self.and_mask != -1) | (self.or_mask != 0))

    def apply(self, row: Any, col: Any, words: Integers) -> Integers:
        """Return `words` as the registers of PEs [row, col], which broadcast with them, read."""
        return np.asarray((words & self.and_mask[row, col]) | self.or_mask[row, col])


@dataclass(frozen=True)
class ArrayFaults:
    """The bypassed PEs and stuck bits of one chip.

    A bypassed PE adds nothing, and operands and partial sums pass it unchanged, whatever stuck bits
    it has. A stuck operand register passes the changed operand on to the next PE (inputs along a
    row; weights too where they stream).

    Args:
        bypassed: PEs that are bypassed.
        stuck: Stuck bits; several in one PE act together, and 1 wins where a bit has both values.

    Raises:
        EfatError: Stuck bits outside the array; all at once.
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
        """Return the faults of a chip without bypassed PEs."""
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
        detected = self.fault_map if detected is None else detected
        return ArrayFaults(self.bypassed | detected, self.stuck)

    def force(self, site: Site) -> BitForce:
        """Return the masks of one register, in each PE by itself."""
        return self._forces[site]

    def streamed(self, site: Site, axis: int) -> BitForce:
        """Return the masks that an operand has passed when it streams along `axis` from index 0."""
        and_mask, or_mask = (np.array(masks) for masks in self.force(site))
        for index in range(1, and_mask.shape[axis]):
            current, previous = [(slice(None),) * axis + (i,) for i in (index, index - 1)]
            or_mask[current] |= or_mask[previous] & and_mask[current]
            and_mask[current] &= and_mask[previous]
        return BitForce(and_mask, or_mask)

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
                force.and_mask[fault.row, fault.col] &= ~bit
                force.or_mask[fault.row, fault.col] |= bit * word(fault.value)
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
