"""The one exception type that a user of efat ever has to catch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any, TypeVar

import pydantic
from pydantic import ConfigDict, ValidationError
from typing_extensions import dataclass_transform


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


Value = TypeVar("Value")


@dataclass_transform(frozen_default=True)
def checked(key: str) -> Callable[[type[Value]], type[Value]]:
    """Make a class a frozen dataclass whose fields are checked against their types.

    Constructing it with bad values raises one `EfatError` with every problem, each named by its
    configuration key. Rules between fields are `problems(self)` of the class: an iterable of
    texts, asked once all fields are right.

    Args:
        key: Where the object stands in the configuration, such as `array`; fields follow a dot.

    >>> @checked("array")
    ... class Size:
    ...     rows: int
    ...     cols: int = 16
    >>> Size("x", cols=None)
    Traceback (most recent call last):
    efat.errors.EfatError: array.rows: 'x' given; an int is needed
    array.cols: None given; an int is needed
    """

    def decorate(plain: type[Value]) -> type[Value]:
        config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")
        made: Any = pydantic.dataclasses.dataclass(plain, frozen=True, config=config)
        construct, names = made.__init__, [each.name for each in fields(made) if each.init]

        @functools.wraps(construct)
        def init(self: Value, *args: Any, **values: Any) -> None:
            try:
                construct(self, **dict(zip(names, args, strict=False)), **values)
            except ValidationError as error:
                problems = [_explain(key, each, names) for each in error.errors()]
                raise EfatError(problems) from None
            raise_problems(getattr(self, "problems", tuple)())

        made.__init__ = init
        return made  # type: ignore[no-any-return]

    return decorate


NEEDED = {
    "int_type": "an int",
    "int_parsing": "an int",
    "float_parsing": "a number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "finite_number": "a finite number",
}
BOUNDS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


def _explain(key: str, error: Any, names: list[str]) -> str:
    """Turn one of pydantic's errors into "key: what was given, what is needed"."""
    path = ".".join([key, *(str(part) for part in error["loc"][:1])])
    context, kind = error.get("ctx", {}), error["type"]
    bounds = [f"{sign} {context[name]:g}" for name, sign in BOUNDS.items() if name in context]
    if kind == "missing":
        return f"{path}: not given; set it"
    if kind == "unexpected_keyword_argument":
        return f"{path}: no such key; allowed: {', '.join(names)}"
    if kind == "literal_error":
        return f"{path}: {error['input']!r} given; {context['expected']} is needed"
    needed = NEEDED.get(kind) or (f"a number {' and '.join(bounds)}" if bounds else error["msg"])
    if type(error["input"]) is int and bounds:
        needed = needed.replace("a number", "an int")
    return f"{path}: {error['input']!r} given; {needed} is needed"
