"""The one exception type that a user of efat ever has to catch."""

from __future__ import annotations

from collections.abc import Iterable


class EfatError(Exception):
    """Bad input or an impossible request: every problem found, one line each.

    A problem reads "key: what was given, what is allowed, what to do".

    >>> print(EfatError(["array.rows: 0 given; an int >= 1 is needed", "seed: -1 given; ..."]))
    array.rows: 0 given; an int >= 1 is needed
    seed: -1 given; ...
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type[EfatError], tuple[tuple[str, ...]]]:
        """Cross process boundaries unchanged (the default passes the joined text)."""
        return EfatError, (self.problems,)


def raise_problems(problems: Iterable[str]) -> None:
    """Raise one `EfatError` that lists `problems`, if there are any."""
    found = tuple(problems)
    if found:
        raise EfatError(found)
