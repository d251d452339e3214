"""Callables with their arguments as values: they can be hashed, sent to a process and called there.

A job holds factories in place of networks, data and optimizers. `Factory.of` makes one in Python,
`Factory.from_node` from a node of the configuration.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import inspect
import linecache
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

from efat.engine import plain
from efat.errors import EfatError

HYDRA = ("_target_", "_partial_", "_args_", "_recursive_", "_convert_")
"""Keys of a node that are no arguments."""


@dataclass(frozen=True)
class Factory:
    """An importable callable and its arguments.

    Args:
        target: Dotted name, such as `torch.optim.SGD`.
        arguments: By keyword: JSON scalars, lists, mappings and further factories, nested.
        positional: Arguments before those of a call.
        partial: As an argument, or as a loss, it stands for the callable itself with its arguments
            bound, not for what the callable returns.

    Raises:
        EfatError: The target is of `__main__`, and its source cannot be read.

    >>> Factory("datetime.timedelta", {"days": 2})()
    datetime.timedelta(days=2)
    """

    target: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    positional: tuple[Any, ...] = ()
    partial: bool = False
    source: str = field(default="", init=False)
    """Hash of the source of a target in `__main__`: its name does not say what it computes."""

    def __post_init__(self) -> None:
        if self.target.startswith("__main__."):
            object.__setattr__(self, "source", hash_source(resolve(self.target)))

    @classmethod
    def of(cls, item: Any) -> Factory:
        """Make a factory from a class, a function, or a `functools.partial` of either.

        Raises:
            EfatError: A lambda, a local function or an object, which no other process can import;
                or an argument that is none of the types above.

        >>> import datetime
        >>> Factory.of(functools.partial(datetime.timedelta, days=2)).target
        'datetime.timedelta'
        """
        if isinstance(item, Factory):
            return item
        if isinstance(item, functools.partial):
            arguments, positional = _of_argument(dict(item.keywords)), _of_argument(item.args)
            return cls(public_name(item.func), arguments, positional, partial=True)
        return cls(public_name(item))

    @classmethod
    def from_node(cls, node: Mapping[str, Any]) -> Factory:
        """Make a factory from a mapping with `_target_`, as Hydra defines it."""
        arguments = {str(name): value for name, value in node.items() if name not in HYDRA}
        positional = list(node.get("_args_", ()))
        if node.get("_recursive_", True):
            arguments, positional = _from_nodes(arguments), _from_nodes(positional)
        partial = bool(node.get("_partial_", False))
        return cls(str(node["_target_"]), arguments, tuple(positional), partial)

    def node(self) -> dict[str, Any]:
        """Return the factory as a node of the configuration; the object is built there.

        >>> Factory("datetime.timedelta", {"days": 2}).node()
        {'_target_': 'datetime.timedelta', 'days': 2}
        """
        positional = {"_args_": _nodes(list(self.positional))} if self.positional else {}
        return {"_target_": self.target, **positional, **_nodes(dict(self.arguments))}

    def __call__(self, *args: Any) -> Any:
        """Call the target with `positional`, `args` and `arguments`."""
        return self.bound()(*args)

    def bound(self) -> Callable[..., Any]:
        """Return the target with its arguments bound."""
        target = resolve(self.target)
        if not (self.arguments or self.positional):
            return target
        return functools.partial(target, *_built(self.positional), **_built(self.arguments))

    def value(self) -> Any:
        """Return what the factory stands for: the bound target if `partial`, else what it makes."""
        return self.bound() if self.partial else self()

    def content(self) -> Mapping[str, Any]:
        """Return what determines the objects that are built, for keys of results."""
        special = {"_args_": plain(self.positional), "_partial_": self.partial}
        given = {name: value for name, value in special.items() if value}
        source = {"_source_": self.source} if self.source else {}
        return {"_target_": self.target, **plain(self.arguments), **given, **source}


def _nodes(value: Any) -> Any:
    """Return `value` with factories as nodes."""
    if isinstance(value, Factory):
        return value.node() | ({"_partial_": True} if value.partial else {})
    if isinstance(value, Mapping):
        return {name: _nodes(item) for name, item in value.items()}
    return [_nodes(item) for item in value] if isinstance(value, list | tuple) else value


def resolve(target: str) -> Callable[..., Any]:
    """Import a callable by its dotted name.

    Raises:
        EfatError: There is no such module or attribute, or it cannot be called.
    """
    parts = target.split(".")
    for length in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:length])
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if f"{name}.".startswith(f"{error.name}."):
                continue  # the rest of the name may be attributes
            raise
        item = _attribute(module, ".".join(parts[length:]))
        if callable(item):
            return item  # type: ignore[no-any-return]
        break
    advice = "give the full name of a class or function that can be imported"
    if parts[0] == "__main__":
        advice = "a notebook's classes exist in its own process alone: put it in a module, or use "
        advice += "executor=serial"
    raise EfatError(f"{target}: no such class or function; {advice}")


def public_name(item: Any) -> str:
    """Return the shortest dotted name under which a class or function can be imported.

    Raises:
        EfatError: There is none.

    >>> public_name(Factory)
    'efat.training.Factory'
    """
    module, name = getattr(item, "__module__", None), getattr(item, "__qualname__", "")
    parts = module.split(".") if module and callable(item) else []
    for length in range(1, len(parts) + 1):
        package = ".".join(parts[:length])
        if _attribute(sys.modules.get(package), name) == item:
            return f"{package}.{name}"
    raise EfatError(
        f"{name or repr(item)} given; other processes must be able to import it: use a class, a "
        "function that a module defines by def, or functools.partial of one; no lambda, no "
        "function inside a function, no object"
    )


def hash_source(item: Any) -> str:
    """Hash (SHA-256, hex) the source of a class or function of `__main__`, and of all it names.

    Raises:
        EfatError: A source cannot be read.
    """
    main, sources = sys.modules["__main__"], dict[str, str]()
    waiting = [getattr(main, item.__qualname__.split(".")[0])]
    while waiting:
        current = waiting.pop()
        name = current.__qualname__
        if name not in sources:
            sources[name] = _source_of(current)
            for other in _names_in(sources[name]):
                value = getattr(main, other, None)
                if isinstance(value, bool | int | float | str | tuple):
                    sources[other] = repr(value)
                elif getattr(value, "__module__", None) == "__main__" and (
                    inspect.isclass(value) or inspect.isfunction(value)
                ):
                    waiting.append(value)
    return hashlib.sha256(repr(sorted(sources.items())).encode()).hexdigest()


def _names_in(source: str) -> set[str]:
    tree = ast.parse(textwrap.dedent(source))
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _source_of(item: Any) -> str:
    """Return the source; a notebook's classes have no file, but their methods name their cell."""
    try:
        return inspect.getsource(item)
    except (OSError, TypeError):
        pass
    for method in filter(inspect.isfunction, vars(item).values() if inspect.isclass(item) else ()):
        cell = "".join(linecache.getlines(method.__code__.co_filename))
        for node in _parsed(cell):
            segment = ast.get_source_segment(cell, node)
            if isinstance(node, ast.ClassDef) and node.name == item.__name__ and segment:
                return segment
    raise EfatError(
        f"{item.__qualname__} given; its source cannot be read, so that an edited version would be "
        "taken for the old one: put it in a module"
    )


def _parsed(text: str) -> Iterator[ast.AST]:
    try:
        yield from ast.walk(ast.parse(text))
    except SyntaxError:  # a cell with commands of IPython
        return


def _attribute(module: ModuleType | None, path: str) -> Any:
    try:
        return functools.reduce(getattr, path.split("."), module)
    except AttributeError:
        return None


def _of_argument(value: Any) -> Any:
    """Turn an argument of a partial into one of a factory."""
    if value is None or isinstance(value, bool | int | float | str | Factory):
        return value
    if isinstance(value, Mapping):
        return {str(name): _of_argument(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_of_argument(item) for item in value)
    return replace(Factory.of(value), partial=True)


def _from_nodes(value: Any) -> Any:
    """Turn nodes with `_target_` into factories."""
    if isinstance(value, Mapping):
        if "_target_" in value:
            return Factory.from_node(value)
        return {name: _from_nodes(item) for name, item in value.items()}
    return [_from_nodes(item) for item in value] if isinstance(value, list | tuple) else value


def _built(value: Any) -> Any:
    """Put what factories stand for in their place."""
    if isinstance(value, Factory):
        return value.value()
    if isinstance(value, Mapping):
        return {name: _built(item) for name, item in value.items()}
    return type(value)(map(_built, value)) if isinstance(value, list | tuple) else value
