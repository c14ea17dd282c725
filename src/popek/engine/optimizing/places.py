"""What the manager thinks of places in guest code: when they are worth a region, and what their code says by itself.

No state, no machine: bytes of guest code, numbers, and images of regions.
"""

from __future__ import annotations

import os
from typing import NamedTuple

CALL_BYTES = 8  # of the longest call: auipc, jalr
RA = 1
JAL, JALR, AUIPC = 0x6F, 0x67, 0x17


class Place(NamedTuple):
    """Where code was found hot: guest address, and host address (0: not known yet)."""

    pc: int
    host: int


class Policy(NamedTuple):
    """When it pays to compile.

    hot: milliseconds that harts were found at a place; start: the same, for all places that wait together, if the
    worker has to be started; share: of the guest's time that may be spent on compiling, and `credit` seconds at once.
    """

    period: int = 1
    hot: int = 8
    start: int = 60
    share: float = 0.2
    credit: float = 0.15

    @staticmethod
    def eager() -> Policy:
        """For tests: everything that is seen twice."""
        return Policy(hot=2, start=0, share=1e9)

    @staticmethod
    def usual() -> Policy:
        """POPEK_HOT: milliseconds."""
        text = os.environ.get("POPEK_HOT", "")
        return Policy(hot=max(int(text), 1)) if text.isdecimal() else Policy()


def hopeless(offset: int, code: bytes) -> bytes:
    """What the cache keeps of code that is not worth a region: an image with no instructions."""
    from popek.engine.optimizing.image import Region, RegionFlag, Span, pack

    return pack(Region(b"", [], [Span(0, offset, code)], offset, 0, 0, RegionFlag(0)))


def is_hopeless(image: bytes) -> bool:
    """Did `hopeless` make it?"""
    return image[48:52] == bytes(4)


def hopeless_code(image: bytes) -> bytes:
    """The code that a hopeless image is of."""
    from popek.engine.optimizing.image import unpack

    return unpack(image).spans[0].data


def callee(before: bytes, pc: int) -> int:
    """The function that returns to `pc`, going by the code before it; 0 if that says nothing.

    A hart is sampled at poll points. Where a function without loops returns to, it was found to have used up time.
    """
    if len(before) < 4:
        return 0
    word = int.from_bytes(before[-4:], "little")
    if word & 0xFFF == JAL | RA << 7:
        offset = (word >> 21 & 0x3FF) << 1 | (word >> 20 & 1) << 11 | (word >> 12 & 0xFF) << 12 | (word >> 31) << 20
        return (pc - 4 + _signed(offset, 21)) & (1 << 64) - 1
    if word & 0x7FFF == JALR | RA << 7 and len(before) >= CALL_BYTES:
        upper = int.from_bytes(before[-8:-4], "little")
        if upper & 0xFFF == AUIPC | (word >> 15 & 31) << 7:
            return (pc - 8 + _signed(upper & 0xFFFFF000, 32) + _signed(word >> 20, 12)) & (1 << 64) - 2
    return 0


def _signed(value: int, bits: int) -> int:
    return (value ^ 1 << bits - 1) - (1 << bits - 1)
