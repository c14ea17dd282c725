"""The symbols that a Linux kernel carries with it (CONFIG_KALLSYMS), found in its image by how they look.

As scripts/kallsyms.c of Linux 4.20 and later writes them: `token_table` are 256 texts, one for each byte of a packed
name, `token_index` where each begins; `names` are lengths and packed names, the first letter being nm's type;
`markers` say where every 256th name begins; `offsets` are addresses, counted from the lowest. Nothing in the image
says where these are, but each must fit the others. Up to 6.3 the offsets stand first, since 6.4 behind the index.

Not here: where the kernel is while it runs (api/profile_kernel).
"""

from __future__ import annotations

import re
import struct
from itertools import pairwise
from typing import NamedTuple

TOKENS = 256
GROUP = 256  # names from one marker to the next
LONGEST = 512  # bytes of a name, and more
REACH = 1 << 20  # bytes before the tokens in which the markers are
ALIGN = 8
DIGITS = re.compile(b"".join(b"%d\0" % digit for digit in range(10)))  # which stand for themselves
MARKERS = re.compile(rb"(?=\0{4}(?!\0{4})..[\0-\2]\0)", re.DOTALL)  # 0, and at most LONGEST * GROUP
ORIGIN = "_start"  # the image's first byte
GRAIN = 2 << 20  # which is linked for a multiple of it


class Symbol(NamedTuple):
    """A name. `offset`: from the image's first byte; `kind`: as `nm` prints it."""

    offset: int
    kind: str
    name: str


class _Names(NamedTuple):
    """Where the packed names are, and how many."""

    number_at: int
    number: int
    start: int


def find(image: memoryview) -> list[Symbol]:
    """The symbols of a kernel's image, by address; none if there are none to be found."""
    data = bytes(image)
    for match in DIGITS.finditer(data):
        tokens = _tokens(data, match.start())
        if tokens is None:
            continue
        start, index, texts = tokens
        names = _names(data, start)
        if names is None:
            continue
        offsets = _offsets(data, names, index + 2 * TOKENS)
        if offsets is not None:
            return _symbols(*offsets, _unpack(data, names, texts))
    return []


def _tokens(data: bytes, zero: int) -> tuple[int, int, list[bytes]] | None:
    """(start, index, texts) of the table in which the token for `0` is at `zero`."""
    start = zero
    for _ in range(ord("0")):
        start = data.rfind(b"\0", 0, start - 1) + 1
    texts = data[start : start + TOKENS * LONGEST].split(b"\0", TOKENS)[:TOKENS]
    places, at = [], 0
    for text in texts:
        places.append(at)
        at += len(text) + 1
    if len(texts) < TOKENS or at > 0xFFFF:
        return None
    index = struct.pack(f"<{TOKENS}H", *places)
    where = data.find(index, start + at, start + at + 2 * ALIGN + len(index))
    return (start, where, texts) if where >= 0 else None


def _names(data: bytes, end: int) -> _Names | None:
    """The packed names whose markers are the last before `end`."""
    starts = [match.start() for match in MARKERS.finditer(data, max(end - REACH, 0), end)]
    for at in reversed(starts):
        markers = _markers(data, at, end) if at % 4 == 0 else []
        names = _names_before(data, at, markers) if len(markers) > 2 else None
        if names is not None:
            return names
    return None


def _markers(data: bytes, at: int, end: int) -> list[int]:
    """Numbers that grow from 0 as markers do."""
    found = [0]
    for (value,) in struct.iter_unpack("<I", memoryview(data)[at + 4 : at + 4 + (end - at - 4) // 4 * 4]):
        if not 2 * GROUP <= value - found[-1] <= LONGEST * GROUP:
            break
        found.append(value)
    return found


def _names_before(data: bytes, end: int, markers: list[int]) -> _Names | None:
    """Names that end at `end` (rounded up) and fit the markers, of which the last may be none."""
    last = end - markers[-1] - ALIGN
    for at in range(last // ALIGN * ALIGN, max(last - LONGEST * GROUP, 0), -ALIGN):
        count = int.from_bytes(data[at : at + 4], "little")
        groups = -(-count // GROUP)
        if len(markers) - 1 <= groups <= len(markers) and groups and _fit(data, at + ALIGN, count, markers, end):
            return _Names(at, count, at + ALIGN)
    return None


def _fit(data: bytes, start: int, count: int, markers: list[int], end: int) -> bool:
    at = start
    for i in range(count):
        if i % GROUP == 0 and at - start != markers[i // GROUP]:
            return False
        if at >= end:
            return False
        at, size = _length(data, at)
        at += size
    return 0 <= end - at < ALIGN


def _length(data: bytes, at: int) -> tuple[int, int]:
    """Where a packed name's bytes begin, how many; two bytes of length since Linux 6.1 if it has more than 127."""
    size = data[at]
    if size & 0x80:
        return at + 2, size & 0x7F | data[at + 1] << 7
    return at + 1, size


def _offsets(data: bytes, names: _Names, behind: int) -> tuple[tuple[int, ...], int] | None:
    """The addresses as the kernel counts them, sorted, and the lowest, which stands behind them."""
    size = 4 * names.number
    before = (names.number_at - 8 - size) // ALIGN * ALIGN
    for at in (-(-behind // ALIGN) * ALIGN, before):
        if 0 <= at <= len(data) - size - 2 * ALIGN:
            found = struct.unpack_from(f"<{names.number}I", data, at)
            if found[-1] > found[0] and all(a <= b for a, b in pairwise(found)):
                return found, struct.unpack_from("<Q", data, -(-(at + size) // ALIGN) * ALIGN)[0]
    return None


def _unpack(data: bytes, names: _Names, texts: list[bytes]) -> list[bytes]:
    found, at = [], names.start
    for _ in range(names.number):
        at, size = _length(data, at)
        found.append(b"".join([texts[code] for code in data[at : at + size]]))
        at += size
    return found


def _symbols(offsets: tuple[int, ...], lowest: int, names: list[bytes]) -> list[Symbol]:
    found = [
        Symbol(offset, chr(name[0]), name[1:].decode("ascii", "replace"))
        for offset, name in zip(offsets, names, strict=True)
        if name
    ]
    origin = next((one.offset for one in found if one.name == ORIGIN), None)
    if origin is None:  # without CONFIG_KALLSYMS_ALL
        if not lowest:  # to be relocated by the kernel itself
            return []
        origin = -(lowest % GRAIN)
    return [one._replace(offset=one.offset - origin) for one in found]
