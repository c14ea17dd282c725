"""Is a region image one that may be copied and patched? What a hart checks before it touches anything.

An image comes from the worker process or from the code cache, which has its own checksums; here it is about staying
within bounds. Not here: whether the guest's bytes are those that it was made from (regions).
"""

from __future__ import annotations

from popek.engine.optimizing.image import Reloc
from popek.engine.optimizing.state import HEADER_BYTES, MAGIC_NUMBER, RELOCATION_BYTES, SPAN_BYTES, SYMBOLS
from popek.engine.template.layout import RUN_BYTES
from popek.engine.tlb import PAGE
from popek.lang import at_u8, at_u16, at_u32, at_u64, fn, u32, u64

MAX_CODE = RUN_BYTES
MAX_VIEWS = 256


@fn
def well_formed(image: u64, size: u64) -> bool:
    """Do all parts of an image lie within its `size` bytes, and may it be copied and patched?"""
    if size < HEADER_BYTES or at_u64(image).value != MAGIC_NUMBER or u64(at_u32(image + 8).value) != size:
        return False
    code, code_size = u64(at_u32(image + 12).value), u64(at_u32(image + 16).value)
    relocations, count = u64(at_u32(image + 20).value), u64(at_u32(image + 24).value)
    spans, n = u64(at_u32(image + 28).value), u64(at_u32(image + 32).value)
    guest = u64(at_u32(image + 36).value)
    if code & 7 != 0 or relocations & 7 != 0 or spans & 7 != 0 or code_size == 0 or code_size > MAX_CODE or n == 0:
        return False
    if code + code_size > relocations or relocations + count * RELOCATION_BYTES > spans or guest > size:
        return False
    if spans + n * SPAN_BYTES > guest or u64(at_u32(image + 40).value) > MAX_VIEWS or at_u32(image + 44).value >= PAGE:
        return False
    i: u64 = 0
    while i < count:
        r = image + relocations + i * RELOCATION_BYTES
        width: u64 = 4
        if u32(at_u16(r + 4).value) == Reloc.ABS64:
            width = 8
        elif u32(at_u16(r + 4).value) != Reloc.PC32:
            return False
        if u64(at_u32(r).value) + width > code_size or u64(at_u16(r + 6).value) >= SYMBOLS:
            return False
        i += 1
    i = 0
    while i < n:
        s = image + spans + i * SPAN_BYTES
        length = u64(at_u16(s + 6).value)
        if length == 0 or u64(at_u16(s + 4).value) + length > PAGE or guest + length > size:
            return False
        guest += length
        i += 1
    return True


@fn(inline=True)
def same(a: u64, b: u64, count: u64) -> bool:
    """Are the bytes at two host addresses equal?"""
    i: u64 = 0
    while i + 8 <= count:
        if at_u64(a + i).value != at_u64(b + i).value:
            return False
        i += 8
    while i < count:
        if at_u8(a + i).value != at_u8(b + i).value:
            return False
        i += 1
    return True
