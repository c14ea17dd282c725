"""A register group as elements of each width. No code but the length of loops.

LLVM makes host vector code of loops over these structs, but not of loops over addresses. Their length is no limit.
"""
from __future__ import annotations

from typing import Any

from popek.lang import Array, struct, u8, u16, u32, u64

CHUNK = 32             # bytes that LLVM handles in a step of a loop


@struct
class Bytes:
    """Of 8 bits."""

    e: Array[u8, 256]


@struct
class Halves:
    """Of 16 bits."""

    e: Array[u16, 128]


@struct
class Words:
    """Of 32 bits."""

    e: Array[u32, 64]


@struct
class Doubles:
    """Of 64 bits."""

    e: Array[u64, 32]


VIEWS: dict[int, Any] = {8: Bytes, 16: Halves, 32: Words, 64: Doubles}


def whole_vectors(n: str, bits: int) -> str:
    """`n` elements or some more, so that LLVM needs no second loop for the last ones; a group has room for them."""
    step = CHUNK * 8 // bits
    return f"{n} + {step - 1} & ~u64({step - 1})"
