"""Vector loads and stores. Unprivileged ISA, "V", "Vector Loads and Stores".

Elements are accessed in order; the one that faults is in vstart, and those before it are done. Most never leave a page
that can be accessed where the host has it (`ports.element_view`); the others are loaded and stored as scalars are.
"""
from __future__ import annotations

from popek.isa.hart import ILLEGAL_INSTRUCTION, Hart
from popek.isa.ports import element_load, element_store, element_view
from popek.isa.vector.groups import apart, destination, lmul, narrower, register, span, wider
from popek.isa.vector.layout import VLEN_BYTES
from popek.lang import Trap, at_u8, at_u16, at_u32, at_u64, fn, i64, memcpy, u8, u16, u32, u64, unlikely

LOAD = 0b0000111               # the opcodes
STORE = 0b0100111
UNIT, INDEXED, STRIDED, INDEXED_ORDERED = range(4)          # mop
WHOLE, MASK, FAULT_ONLY_FIRST = 8, 11, 16                   # lumop and sumop
ALL = (1 << 64) - 1


@fn(inline=True)
def read(address: u64, size: u32) -> u64:
    """An element of 1 << size bytes in host memory."""
    if size == 0:
        return u64(at_u8(address).value)
    if size == 1:
        return u64(at_u16(address).value)
    if size == 2:
        return u64(at_u32(address).value)
    return at_u64(address).value


@fn(inline=True)
def write(address: u64, size: u32, value: u64) -> None:
    """The same, written."""
    if size == 0:
        at_u8(address).value = u8(value)
    elif size == 1:
        at_u16(address).value = u16(value)
    elif size == 2:
        at_u32(address).value = u32(value)
    else:
        at_u64(address).value = value


@fn
def one(h: Hart, addr: u64, place: u64, size: u32, writing: bool) -> None:
    """An element by the scalar way."""
    if writing:
        element_store(h, addr, u64(1) << u64(size), read(place, size))
    else:
        write(place, size, element_load(h, addr, u64(1) << u64(size)))


@fn
def together(h: Hart, addr: u64, place: u64, size: u32, end: u64, writing: bool) -> None:
    """Elements that lie one behind the other, from vstart to `end`, all active: as many at a time as a page holds."""
    i = h.vstart
    while i < end:
        at = addr + (i << u64(size))
        here = place + (i << u64(size))
        count = min((4096 - (at & 0xFFF)) >> u64(size), end - i)
        host: u64 = 0
        if count != 0:
            host = element_view(h, at, writing)
        if host == 0:
            h.vstart = i
            one(h, at, here, size, writing)
            i += 1
        else:
            if writing:
                memcpy(host, here, count << u64(size))
            else:
                memcpy(here, host, count << u64(size))
            i += count


@fn
def apart_each(
    h: Hart, addr: u64, stride: u64, index: u64, index_size: u32, place: u64, step: u64, size: u32, fields: u64,
    vm: u32, end: u64, writing: bool,
) -> None:  # fmt: skip
    """Elements from vstart to `end` one by one: at a stride, or at offsets in the group at `index`, if that is not 0.

    Each has so many fields, one behind the other in memory, and `step` bytes from one another in registers.
    """
    page: u64 = ALL
    delta: u64 = 0
    for i in range(h.vstart, end):
        if vm == 0 and at_u8(h.vector + (i >> 3)).value >> (i & 7) & 1 == 0:
            continue
        at = addr + i * stride
        if index != 0:
            at = addr + read(index + (i << u64(index_size)), index_size)
        h.vstart = i
        for field in range(fields):
            here = place + field * step + (i << u64(size))
            if at >> 12 != page:
                page = at >> 12
                delta = element_view(h, at, writing)
                if delta != 0:
                    delta -= at
            if delta == 0 or (at & 0xFFF) + (u64(1) << u64(size)) > 4096:
                one(h, at, here, size, writing)
            elif writing:
                write(at + delta, size, read(here, size))
            else:
                write(here, size, read(at + delta, size))
            at += u64(1) << u64(size)


@fn
def width(h: Hart, word: u32) -> u32:
    """The element width in an encoding, as a logarithm; mew and the widths of scalar floating point are reserved."""
    code = word >> 12 & 7
    if unlikely(code != 0 and code < 5 or word >> 28 & 1 != 0):
        raise Trap(ILLEGAL_INSTRUCTION, 0)
    return code & 3


@fn
def group(h: Hart, number: u32, log: i64, fields: u32, masked: bool) -> u64:
    """The address of the first of so many groups. `masked`: a destination, of a masked instruction."""
    if unlikely(fields * span(log) > 8 or number + fields * span(log) > 32):
        raise Trap(ILLEGAL_INSTRUCTION, 0)
    return destination(h, number, u32(0), log) if masked else register(h, number, log)


@fn
def whole(h: Hart, word: u32, writing: bool) -> None:
    """Whole registers: neither vtype nor vl counts."""
    count, number, size = (word >> 29) + 1, word >> 7 & 31, width(h, word)
    if count & (count - 1) != 0 or number & (count - 1) != 0 or word >> 25 & 1 == 0 or (writing and size != 0):
        raise Trap(ILLEGAL_INSTRUCTION, 0)
    place = h.vector + u64(number) * VLEN_BYTES
    together(h, h.x[word >> 15 & 31], place, size, u64(count) * VLEN_BYTES >> u64(size), writing)


@fn
def mask(h: Hart, word: u32, writing: bool) -> None:
    """As many bytes as hold vl bits."""
    if lmul(h) > 3 or width(h, word) != 0 or word >> 29 != 0 or word >> 25 & 1 == 0:
        raise Trap(ILLEGAL_INSTRUCTION, 0)
    together(h, h.x[word >> 15 & 31], register(h, word >> 7 & 31, i64(0)), u32(0), h.vl + 7 >> 3, writing)


@fn
def first(h: Hart, addr: u64, place: u64, step: u64, size: u32, fields: u64, vm: u32) -> None:
    """Fault-only-first: what faults behind the first element ends the vector there instead."""
    try:
        if vm != 0 and fields == 1:
            together(h, addr, place, size, h.vl, False)
        else:
            apart_each(h, addr, fields << u64(size), 0, 0, place, step, size, fields, vm, h.vl, False)
    except Trap:
        if h.vstart == 0:
            raise
        h.vl = h.vstart


@fn
def indexed(h: Hart, word: u32, writing: bool) -> None:
    """At an address, plus an offset of a width of its own for each element."""
    log, size, index_size = lmul(h), u32(h.vtype >> 3) & 7, width(h, word)
    fields, number, vs2, vm = (word >> 29) + 1, word >> 7 & 31, word >> 20 & 31, word >> 25 & 1
    index_log = log + i64(index_size) - i64(size)
    index = register(h, vs2, index_log)
    place = group(h, number, log, fields, vm == 0 and not writing)
    if not writing:
        for field in range(fields):
            vd = number + u32(field) * span(log)
            if fields > 1:
                apart(h, vd, log, vs2, index_log)
            elif index_size > size:
                narrower(h, vd, log, vs2, index_log)
            elif index_size < size:
                wider(h, vd, log, vs2, index_log)
    apart_each(h, h.x[word >> 15 & 31], 0, index, index_size, place, u64(span(log)) * VLEN_BYTES, size, u64(fields),
               vm, h.vl, writing)  # fmt: skip


@fn
def access(h: Hart, word: u32, writing: bool) -> None:
    """Any load or store."""
    mop, special, vm = word >> 26 & 3, word >> 20 & 31, word >> 25 & 1
    if mop & 1 != 0:
        indexed(h, word, writing)
        return
    if mop == UNIT and special == WHOLE:
        whole(h, word, writing)
        return
    if mop == UNIT and special == MASK:
        mask(h, word, writing)
        return
    if mop == UNIT and special != 0 and (special != FAULT_ONLY_FIRST or writing):
        raise Trap(ILLEGAL_INSTRUCTION, 0)
    size = width(h, word)
    log = lmul(h) + i64(size) - i64(h.vtype >> 3 & 7)
    fields = (word >> 29) + 1
    place = group(h, word >> 7 & 31, log, fields, vm == 0 and not writing)
    addr = h.x[word >> 15 & 31]
    step = u64(span(log)) * VLEN_BYTES
    stride = u64(fields) << u64(size)
    if mop == STRIDED:
        stride = h.x[special]
    elif special == FAULT_ONLY_FIRST:
        first(h, addr, place, step, size, u64(fields), vm)
        return
    elif vm != 0 and fields == 1:
        together(h, addr, place, size, h.vl, writing)
        return
    apart_each(h, addr, stride, 0, 0, place, step, size, u64(fields), vm, h.vl, writing)


@fn
def load(h: Hart, word: u32) -> None:
    """All instructions of opcode LOAD-FP that load vectors."""
    access(h, word, False)


@fn
def store(h: Hart, word: u32) -> None:
    """All instructions of opcode STORE-FP that store vectors."""
    access(h, word, True)
