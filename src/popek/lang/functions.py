"""What makes up subset code besides types: functions, ports, externs, tables, Trap, and the names of the intrinsics.

Only declarations live here. Reading the source is front.py's, plain-Python running run.py's, LLVM text llvm.py's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from popek.lang.types import IntType

F = TypeVar("F", bound=Callable[..., Any])
Builder = Callable[[str], Any]


class SubsetError(Exception):
    """Source that is not in the subset; the message names file and line."""


class Trap(Exception):
    """Raised by subset code as `raise Trap(cause, tval)`; the hart's trap_cause and trap_tval are set as well."""

    def __init__(self, cause: int = 0, tval: int = 0) -> None:
        super().__init__(cause, tval)
        self.cause, self.tval = cause, tval


class Function:
    """A function of the subset. Calling it runs its plain-Python version in the current runner (see run.py)."""

    def __init__(self, python: FunctionType, kind: str = "fn", **options: Any) -> None:
        self.python = python
        self.kind = kind  # "fn", "port" or "extern"
        self.inline: bool = options.pop("inline", False)
        self.cold: bool = options.pop("cold", False)
        self.export: bool = options.pop("export", False)
        self.native: Builder | None = options.pop("native", None)
        self.raises: bool = options.pop("raises", False)  # ports only: may the bound function raise Trap?
        self.external: str = options.pop("external", "")  # externs only: the C symbol
        if options:
            raise TypeError(f"unknown option {', '.join(options)}")
        self.__name__ = python.__name__
        self.__qualname__ = python.__qualname__
        self.__module__ = python.__module__
        self.__doc__ = python.__doc__
        self.__wrapped__ = python
        self.symbol: str = f"{python.__module__}.{python.__qualname__}".replace(".<locals>", "")
        self.nearby: dict[str, Any] = {}  # names in annotations that are locals of the function around
        self.tree: Any = None  # the typed tree, once front.py has read it
        self.code: Any = None  # the plain-Python version, once run.py has made it

    def __call__(self, *arguments: Any) -> Any:
        from popek.lang.run import call

        return call(self, arguments)

    def __repr__(self) -> str:
        return f"<{self.kind} {self.symbol}>"


def _with_nearby(function: Function) -> Function:
    """Note what annotations mean inside a factory: as text they are not part of the closure."""
    if "<locals>" in function.__qualname__:
        around = sys._getframe(2).f_locals
        texts = function.python.__annotations__.values()
        function.nearby = {text: around[text] for text in texts if isinstance(text, str) and text in around}
    return function


@overload
def fn(function: F) -> F: ...
@overload
def fn(
    *, inline: bool = ..., cold: bool = ..., export: bool = ..., native: Builder | None = ...
) -> Callable[[F], F]: ...
def fn(function: Any = None, **options: Any) -> Any:
    """Make an annotated function part of the subset.

    inline: always inlined. cold: rarely called, kept out of line. export: callable from outside through the C ABI.
    native: `builder(symbol)` returns LLVM IR text of the function (or text and a list of module-level declarations);
    it may call the subset body as `symbol.soft`. If it returns None (host not able), the subset body is used as it is.
    """
    if function is None:
        return lambda f: _with_nearby(Function(f, **options))
    return _with_nearby(Function(function, **options))


@overload
def port(function: F) -> F: ...
@overload
def port(*, raises: bool = ...) -> Callable[[F], F]: ...
def port(function: Any = None, *, raises: bool = False) -> Any:
    """Declare a function whose implementation is chosen at composition."""
    if function is None:
        return lambda f: _with_nearby(Function(f, "port", raises=raises))
    return _with_nearby(Function(function, "port", raises=raises))


def extern(symbol: str) -> Callable[[F], F]:
    """Declare a C function; the Python body, if it has one, is used (as ordinary Python) when run as plain Python."""
    return lambda f: Function(f, "extern", external=symbol)  # type: ignore[arg-type, return-value]


def source_fn(name: str, source: str, scope: dict[str, Any], **options: Any) -> Any:
    """Define a subset function from generated source text; names in it are looked up in `scope`.

    The text is parsed when the function is first needed. It holds one `def`, without decorators.
    """
    import linecache

    module = scope.get("__name__", "generated")
    filename = f"<popek {module}.{name}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
    line = source[: source.index(f"def {name}(")].count("\n") + 1
    code = _nothing.__code__.replace(co_name=name, co_qualname=name, co_filename=filename, co_firstlineno=line)
    python = FunctionType(code, scope, name)
    python.__module__ = module
    return Function(python, **options)


def _nothing() -> None:
    """Stands for the body of a generated function."""


class Table:
    """A constant array of integers."""

    __slots__ = ("item", "name", "values")

    def __init__(self, item: IntType, values: Sequence[int]) -> None:
        self.item = item
        self.values = tuple(item(v) for v in values)

    def __getitem__(self, index: int) -> int:
        return self.values[index]

    def __len__(self) -> int:
        return len(self.values)


if TYPE_CHECKING:

    def table(item: type[int], values: Sequence[int]) -> Sequence[int]: ...
else:
    table = Table


class Intrinsic:
    """An operation the front end knows by name. In ordinary Python the simple ones can be called, too."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *arguments: Any) -> Any:
        raise TypeError(f"{self.name} works in subset functions only")

    def __repr__(self) -> str:
        return f"<intrinsic {self.name}>"


class Accessor(Intrinsic):
    """`at_uN(address)`: raw host memory as a variable, `.value`. In ordinary Python a ctypes object."""

    __slots__ = ("type",)

    def __init__(self, name: str, type_: IntType) -> None:
        super().__init__(name)
        self.type = type_

    def __call__(self, address: int) -> Any:
        return self.type.ctype.from_address(address)
