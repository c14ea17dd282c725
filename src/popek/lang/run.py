"""Running subset functions as plain Python: one namespace a runner, functions compiled when first called.

A Runner fixes the choice of ports and substitutes. `bind` makes one current for a while; `Function.__call__` uses it.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from popek.lang.front import read, signature
from popek.lang.functions import Function, SubsetError, Trap
from popek.lang.python import Python
from popek.lang.source import deep
from popek.lang.types import IntType


class Unbound(Exception):
    """A port was called that has no implementation here, or an operation that exists natively only."""


# -- what generated source calls --


def _native_only(name: str) -> Any:
    raise Unbound(f"{name} works in native code only")


def _address_of(thing: Any) -> int:
    try:
        return ctypes.addressof(thing)
    except TypeError:
        raise Unbound(f"addr_of: a {type(thing).__name__} in plain Python has no address") from None


def _count_trailing(a: int, bits: int) -> int:
    return (a & -a).bit_length() - 1 if a else bits


def _swap_bytes(a: int, size: int) -> int:
    return int.from_bytes((a & ((1 << (8 * size)) - 1)).to_bytes(size, "little"), "big")


def _divide(a: int, b: int) -> int:
    return abs(a) // abs(b) if (a < 0) == (b < 0) else -(abs(a) // abs(b))


def _remainder(a: int, b: int) -> int:
    return abs(a) % abs(b) if a >= 0 else -(abs(a) % abs(b))


def _update(compute: Callable[[int, int], int], wraps: bool) -> tuple[Any, Any]:
    """The read-modify-write of a field and of an array item."""

    def of_field(owner: Any, key: str, value: int, mask: int = 0, sign: int = 0) -> int:
        old: int = getattr(owner, key)
        new = compute(old, value)
        setattr(owner, key, ((new & mask) ^ sign) - sign if wraps else new)
        return old

    def of_item(owner: Any, key: int, value: int, mask: int = 0, sign: int = 0) -> int:
        old: int = owner[key]
        new = compute(old, value)
        owner[key] = ((new & mask) ^ sign) - sign if wraps else new
        return old

    return of_field, of_item


def _field_cas(owner: Any, key: str, old: int, new: int) -> bool:
    if getattr(owner, key) != old:
        return False
    setattr(owner, key, new)
    return True


def _item_cas(owner: Any, key: int, old: int, new: int) -> bool:
    if owner[key] != old:
        return False
    owner[key] = new
    return True


def _item_store(owner: Any, key: int, value: int) -> None:
    owner[key] = value


SUPPORT: dict[str, Any] = {
    "Trap": Trap, "native_only": _native_only, "address_of": _address_of, "count_trailing": _count_trailing,
    "swap_bytes": _swap_bytes, "divide": _divide, "remainder": _remainder, "field_cas": _field_cas,
    "item_cas": _item_cas, "field_store": setattr, "item_store": _item_store, "fence": lambda: None,
    "spin_hint": lambda: None, "memcpy": ctypes.memmove, "memset": ctypes.memset,
}  # fmt: skip
for _name, _compute in {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "or": lambda a, b: a | b, "and": lambda a, b: a & b,
    "xor": lambda a, b: a ^ b, "swap": lambda a, b: b,
}.items():  # fmt: skip
    SUPPORT["field_" + _name], SUPPORT["item_" + _name] = _update(_compute, _name in ("add", "sub"))
for _type in (ctypes.c_uint8, ctypes.c_uint16, ctypes.c_uint32, ctypes.c_uint64):
    SUPPORT[_type.__name__] = _type


# -- compiling --


def source(function: Function) -> str:
    """The generated plain-Python source of a function, for people."""
    return Python(read(function)).text(function.__name__)


def _code(function: Function) -> tuple[Any, dict[str, Any]]:
    if function.code is None:
        writer = Python(read(function))
        with deep():
            text = writer.text(f"f{id(function)}")
        function.code = (compile(text, f"<popek python {function.symbol}>", "exec"), writer.names)
    return function.code


class Runner:
    """Plain-Python versions of subset functions under one choice of ports and substitutes."""

    def __init__(
        self, ports: Mapping[Any, Callable[..., Any]] | None = None, substitute: Mapping[Any, Any] | None = None
    ) -> None:
        self.ports: dict[Any, Any] = dict(ports or {})
        self.substitute: dict[Any, Any] = dict(substitute or {})
        self._space: dict[str, Any] = dict(SUPPORT)
        self._keep: list[Any] = []  # ids in names stay valid

    def __getitem__(self, function: Any) -> Any:
        """The plain function (no conversion of arguments: give exact values)."""
        name = f"f{id(function)}"
        found = self._space.get(name)
        if found is None or getattr(found, "pending", False):
            found = self._make(function)
        return found

    def _make(self, function: Function) -> Any:
        name = f"f{id(function)}"
        self._keep.append(function)
        chosen = self.substitute.get(function)
        self._space[name] = made = self._original(function, name) if chosen is None else self[chosen]
        return made

    def _original(self, function: Function, name: str) -> Any:
        """The function itself (or what is bound to the port), whatever substitutes it for others."""
        if function in self.ports:
            bound = self.ports[function]
            return self[bound] if isinstance(bound, Function) else bound
        if function.kind == "port":
            return _unbound(function)
        if function.kind == "extern":
            return function.python
        replaced = [f for f, g in self.substitute.items() if g is function]
        if name == f"f{id(function)}" and not replaced:
            code, names = _code(function)
        else:
            code, names = self._variant(function, name, replaced)
        for key, thing in names.items():
            if isinstance(thing, Function):
                self._space.setdefault(key, self._later(thing))
            else:
                self._space[key] = thing
        exec(code, self._space)
        return self._space[name]

    def _variant(self, function: Function, name: str, replaced: list[Function]) -> tuple[Any, dict[str, Any]]:
        """Code under another name; calls of `replaced`, for which this function stands, reach the originals."""
        writer = Python(read(function))
        text = writer.text(name)
        for original in replaced:
            outside = f"original{id(original)}"
            text = text.replace(f"f{id(original)}(", outside + "(")
            writer.names[outside] = self._original(original, outside)
        return compile(text, f"<popek python {function.symbol}>", "exec"), writer.names

    def _later(self, function: Function) -> Callable[..., Any]:
        """Stands in the namespace until the function is first called."""

        def first_call(*arguments: Any) -> Any:
            return self._make(function)(*arguments)

        first_call.pending = True  # type: ignore[attr-defined]
        return first_call


def _unbound(function: Function) -> Callable[..., Any]:
    def unbound(*arguments: Any) -> Any:
        raise Unbound(f"port {function.symbol} is not bound: use `with bind({{{function.__name__}: ...}})`")

    return unbound


# -- the current runner --


class _Current(threading.local):
    def __init__(self) -> None:
        self.stack = [_default]


_default = Runner()
_current = _Current()


@contextmanager
def bind(ports: Mapping[Any, Callable[..., Any]], substitute: Mapping[Any, Any] | None = None) -> Iterator[Runner]:
    """Within this context (and thread), ports called by subset functions are these Python callables."""
    outer = _current.stack[-1]
    runner = Runner({**outer.ports, **ports}, {**outer.substitute, **(substitute or {})})
    with use(runner):
        yield runner


@contextmanager
def use(runner: Runner) -> Iterator[Runner]:
    """Within this context (and thread), subset functions run in this runner."""
    _current.stack.append(runner)
    try:
        yield runner
    finally:
        _current.stack.pop()


def call(function: Function, arguments: tuple[Any, ...]) -> Any:
    """What `function(...)` does in ordinary Python: numbers are wrapped to the parameters' types first."""
    target = _current.stack[-1][function]
    parameters = signature(function)[0]
    if len(parameters) != len(arguments):
        raise TypeError(f"{function.__name__} takes {len(parameters)} arguments, not {len(arguments)}")
    exact = [p.type(a) if isinstance(p.type, IntType) else a for p, a in zip(parameters, arguments, strict=True)]
    return target(*exact)


def compiled(function: Any) -> Any:
    """The plain function of the default runner, without any conversion of arguments."""
    return _default[function]


__all__ = ["Runner", "SubsetError", "Unbound", "bind", "call", "compiled", "source", "use"]
