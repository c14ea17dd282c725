"""Region images: compiled code of a hot region as bytes, and the request that asks for one.

Lives here: the packed form, which the code cache keeps and a hart installs. No LLVM, no layouts of the engine.

A region is one function with the templates' prototype. It is position independent: guest addresses in it are relocated
against BASE, the virtual address of the guest page that the entry lies in. Form, little endian, all parts aligned to 8:
header (``_HEADER``), code, relocations (``_RELOCATION``), spans (``_SPAN``), the spans' guest bytes one after another.
"""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag
from typing import NamedTuple

MAGIC = b"popekrg1"
PAGE = 4096
MAX_PAGES = 8  # guest pages that one region may be made from
RAM_BASE = 0x8000_0000  # what BARE regions take for granted
VIEWS_AT, VIEW_BYTES = 16, 32  # of RegionData: where its views begin, and the size of one
_HEADER = struct.Struct("<8s12I")
_RELOCATION = struct.Struct("<IHHq")
_SPAN = struct.Struct("<iHH")


class Symbol(IntEnum):
    """What a relocation is against."""

    BASE = 0  # virtual address of the entry's page
    DATA = 1  # the region's RegionData
    STEP = 2  # glue: execute the instruction at pc the long way
    FAR = 3  # go on at pc
    POLL = 4  # a poll point with something to do
    INDIRECT = 5  # go on at pc after a jalr
    REFRESH = 6  # mapping or views are stale
    FILL_READ = 7  # functions: make a view serve an access
    FILL_WRITE = 8


class Reloc(IntEnum):
    """How a relocation is written. Numbers as in engine.template.layout."""

    ABS64 = 1
    PC32 = 2


class RegionFlag(IntFlag):
    """Properties of a region."""

    BARE = 1  # reads assume that data addresses are physical ones, that RAM begins at RAM_BASE and may be read


class Relocation(NamedTuple):
    """A place in the code to be patched."""

    offset: int
    kind: Reloc
    symbol: Symbol
    addend: int


class Span(NamedTuple):
    """Guest bytes that a region was made from: in page number `page`, relative to the entry's."""

    page: int
    first: int
    data: bytes


class Region(NamedTuple):
    """A compiled region."""

    code: bytes
    relocations: list[Relocation]
    spans: list[Span]
    entry: int  # offset of the entry in its page
    views: int
    instructions: int
    flags: RegionFlag


class Page(NamedTuple):
    """One guest page as the hart executes it. `translated`: a bit for each halfword that has a translation."""

    data: bytes
    translated: bytes

    def has(self, offset: int) -> bool:
        """Did the template engine translate an instruction at `offset`?"""
        return bool(self.translated[offset >> 4] >> (offset >> 1 & 7) & 1)


class Request(NamedTuple):
    """Please compile a region. `entry`: guest address; `pages`: by virtual address; `targets`: where jumps led."""

    entry: int
    bare: bool
    pages: dict[int, Page]
    targets: tuple[int, ...] = ()


def _aligned(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


def pack(region: Region) -> bytes:
    """The packed form."""
    code = _aligned(region.code)
    relocations = b"".join(_RELOCATION.pack(r.offset, r.kind, r.symbol, r.addend) for r in region.relocations)
    spans = b"".join(_SPAN.pack(s.page, s.first, len(s.data)) for s in region.spans)
    guest = _aligned(b"".join(s.data for s in region.spans))
    at = [_HEADER.size + (-_HEADER.size % 8)]
    for part in (code, relocations, spans):
        at.append(at[-1] + len(part))
    total = at[-1] + len(guest)
    header = _HEADER.pack(
        MAGIC,
        total,
        at[0],
        len(region.code),
        at[1],
        len(region.relocations),
        at[2],
        len(region.spans),
        at[3],
        region.views,
        region.entry,
        region.instructions,
        region.flags,
    )
    return _aligned(header) + code + relocations + spans + guest


def unpack(data: bytes | memoryview) -> Region:
    """The region of a packed form. Raises ValueError if `data` is none."""
    view = memoryview(data)
    if len(view) < _HEADER.size:
        raise ValueError("a region image is cut short")
    magic, total, code, size, relocations, count, spans, n, guest, views, entry, instructions, flags = (
        _HEADER.unpack_from(view)
    )
    if magic != MAGIC or total != len(view):
        raise ValueError("not a region image")
    if not (code + size <= relocations and relocations + 16 * count <= spans and spans + 8 * n <= guest <= total):
        raise ValueError("the parts of a region image overlap")
    found, at = [], guest
    for page, first, length in _SPAN.iter_unpack(view[spans : spans + 8 * n]):
        if at + length > total or first + length > PAGE:
            raise ValueError("a region image is cut short")
        found.append(Span(page, first, bytes(view[at : at + length])))
        at += length
    patches = [
        Relocation(o, Reloc(k), Symbol(s), a)
        for o, k, s, a in _RELOCATION.iter_unpack(view[relocations : relocations + 16 * count])
    ]
    return Region(
        bytes(view[code : code + size]), patches, found, entry, views, instructions, RegionFlag(flags)
    )


def beginning(data: bytes, most: int) -> tuple[int, bytes]:
    """What the code cache finds a region by: its entry's offset in the page, and up to `most` guest bytes there.

    Raises ValueError if `data` is no region image.
    """
    try:
        magic, total, *_, spans, count, at, _, entry, _, _ = _HEADER.unpack_from(data)
        for page, first, length in _SPAN.iter_unpack(data[spans : spans + _SPAN.size * count]):
            if page == 0 and first <= entry < first + length and magic == MAGIC and total == len(data):
                return entry, bytes(data[at + entry - first : at + min(entry - first + most, length)])
            at += length
    except struct.error:
        pass
    raise ValueError("not a region image")
