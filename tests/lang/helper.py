"""Help for the tests of the subset: compile functions natively, and a struct that can trap."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from popek.lang import Array, Opaque, Ptr, i32, struct, u8, u16, u32, u64
from popek.lang.llvm import emit
from popek.lang.objects import Library, build


@struct
class Entry:
    tag: u64
    valid: bool
    kind: u16


@struct
class State:
    pc: u64
    x: Array[u64, 32]
    trap_cause: u64
    trap_tval: u64
    small: u8
    flag: bool
    count: i32
    word: u32
    entries: Array[Entry, 4]
    one: Entry
    next: Ptr[State]
    owner: Ptr[Opaque]
    peers: Array[Ptr[State], 3]


def library(functions: list[Any], externals: dict[str, Any] | None = None, opt: int = 2, **options: Any) -> Library:
    """These functions, compiled and loaded."""
    return build(emit(functions, exports=functions, **options), opt=opt).link(externals)


def native(function: Any, **options: Any) -> Callable[..., Any]:
    """One function, compiled and loaded; structs are passed as ctypes objects."""
    return callable_of(library([function], **options), function)


def callable_of(made: Library, function: Any) -> Callable[..., Any]:
    """A function of a library that takes ctypes structures by reference."""
    inner = made.function(function)

    def call(*arguments: Any) -> Any:
        return inner(*(ctypes.addressof(a) if isinstance(a, ctypes.Structure) else a for a in arguments))

    return call


def as_plain(view: Any, kind: Any) -> Any:
    """A plain copy (numbers and lists) of a struct, plain or ctypes, for comparison; pointers are left out."""
    if isinstance(kind, type) and hasattr(kind, "fields"):
        return {n: as_plain(getattr(view, n), t) for n, t in kind.fields.items() if "Ptr" not in repr(t)}
    if hasattr(kind, "length"):
        return [as_plain(v, kind.item) for v in view]
    return int(view)
