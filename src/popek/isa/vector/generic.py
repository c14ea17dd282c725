"""Functions of the typed subset that are written once for all element widths. No instruction here.

    @generic
    def vsub(a: U, b: U) -> U:
        return a - b

    vsub.at(16)        # the subset function with U = u16

U and S are the unsigned and the signed type of an element (SEW bits), W and WS those of twice the width; BITS is SEW. A
generic function may call others, defined above it.
"""
from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeVar

from popek.lang import Function, fn, i8, i16, i32, i64, i128, u8, u16, u32, u64, u128

F = TypeVar("F")

UNSIGNED: dict[int, Any] = {8: u8, 16: u16, 32: u32, 64: u64, 128: u128}
SIGNED: dict[int, Any] = {8: i8, 16: i16, 32: i32, 64: i64, 128: i128}
WIDTHS = (8, 16, 32, 64)

if TYPE_CHECKING:
    U = int
    S = int
    W = int
    WS = int
    BITS: int
else:
    U = S = W = WS = BITS = None  # a generic function sees those of its width


def types(bits: int) -> dict[str, Any]:
    """What the names above mean at an element width."""
    return {"U": UNSIGNED[bits], "S": SIGNED[bits], "W": UNSIGNED[2 * bits], "WS": SIGNED[2 * bits], "BITS": bits}


class Choice:
    """Something else at each width, for generic functions to call."""

    def __init__(self, versions: dict[int, Any]) -> None:
        self.versions = versions

    def at(self, bits: int) -> Any:
        """What it is for elements of that width."""
        return self.versions[bits]


class Generic:
    """One function, and its versions by width."""

    def __init__(self, python: FunctionType) -> None:
        self.python = python
        self.__name__ = python.__name__
        self.parameters = python.__code__.co_varnames[: python.__code__.co_argcount]
        self._made: dict[int, Function] = {}

    def at(self, bits: int) -> Function:
        """The version for elements of that width."""
        if bits not in self._made:
            python = self.python
            scope = {name: value.at(bits) if name in python.__code__.co_names and hasattr(value, "at") else value
                     for name, value in python.__globals__.items()}
            scope.update(types(bits))
            made = FunctionType(python.__code__, scope, python.__name__)
            made.__qualname__ = f"{python.__qualname__}_{bits}"
            made.__module__ = python.__module__
            self._made[bits] = fn(inline=True)(made)  # type: ignore[assignment]
        return self._made[bits]


if TYPE_CHECKING:

    def generic(function: F) -> F: ...
    def choice(versions: dict[int, Any]) -> Callable[..., Any]: ...
else:
    choice = Choice

    def generic(function: FunctionType) -> Generic:
        """Declare a function for all widths."""
        return Generic(function)
