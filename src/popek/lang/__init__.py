"""The typed subset of Python that becomes machine code: what subset code imports.

Names are looked up when first asked for: a start from the cache imports this package, but none of its language.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from popek.lang.functions import Function, SubsetError, Trap, extern, fn, port, source_fn, table
    from popek.lang.intrinsics import (
        addr_of,
        at_u8,
        at_u16,
        at_u32,
        at_u64,
        atomic_add,
        atomic_and,
        atomic_cas,
        atomic_load,
        atomic_or,
        atomic_release,
        atomic_store,
        atomic_sub,
        atomic_swap,
        atomic_xor,
        bswap,
        cast,
        clz,
        ctz,
        fence,
        invoke,
        likely,
        memcpy,
        memset,
        popcount,
        rotl,
        rotr,
        sdiv,
        spin_hint,
        srem,
        unlikely,
    )
    from popek.lang.types import Array, Opaque, Ptr, i8, i16, i32, i64, i128, struct, u8, u16, u32, u64, u128

__all__ = [
    "Array", "Function", "Opaque", "Ptr", "SubsetError", "Trap", "addr_of", "at_u8", "at_u16", "at_u32", "at_u64",
    "atomic_add", "atomic_and", "atomic_cas", "atomic_load", "atomic_or", "atomic_release", "atomic_store",
    "atomic_sub", "atomic_swap", "atomic_xor", "bswap", "cast", "clz", "ctz", "extern", "fence", "fn", "i8", "i16",
    "i32", "i64", "i128", "invoke", "likely", "memcpy", "memset", "popcount", "port", "rotl", "rotr", "sdiv",
    "source_fn", "spin_hint", "srem", "struct", "table", "u8", "u16", "u32", "u64", "u128", "unlikely",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """PEP 562."""
    if name in __all__:
        from popek.lang import functions, intrinsics, types

        for module in (functions, intrinsics, types):
            if hasattr(module, name):
                return globals().setdefault(name, getattr(module, name))
    raise AttributeError(f"popek.lang has no {name}")
