"""Which elements an instruction works on, and how its results reach the destination. No arithmetic.

Unprivileged ISA, "V", "Prestart, Active, Inactive, Body, and Tail Element Definitions". What is not active stays as
it was, whatever vta and vma say: undisturbed is one way to be agnostic. Results are made in scratch memory, for
inactive elements too where no flag depends on them, and then kept where active.
"""
from __future__ import annotations

from popek.isa.hart import ILLEGAL_INSTRUCTION, Hart
from popek.isa.vector.layout import ACTIVE, CARRY, RESULT, SPLAT
from popek.isa.vector.views import Bytes, Doubles, Halves, Words
from popek.lang import (
    Trap,
    at_u8,
    at_u16,
    at_u32,
    at_u64,
    cast,
    fn,
    i8,
    i16,
    i32,
    memcpy,
    memset,
    u8,
    u16,
    u32,
    u64,
    unlikely,
)

ONES = (1 << 64) - 1
EACH = 0x0101010101010101          # one of every byte
DIAGONAL = 0x8040201008040201      # bit n of byte n
GATHER = 0x0102040810204080        # brings bit 0 of byte n to bit 56 + n
LOW = 0x7F7F7F7F7F7F7F7F


@fn(inline=True)
def below(count: u64, word: u64) -> u64:
    """The elements less than `count`, as bits of the mask word with that number."""
    if count <= word * 64:
        return 0
    left = count - word * 64
    return ONES if left >= 64 else (u64(1) << left) - 1


@fn
def from_start(h: Hart) -> None:
    """For instructions that cannot begin in the middle."""
    if unlikely(h.vstart != 0):
        raise Trap(ILLEGAL_INSTRUCTION, 0)


@fn
def active(h: Hart, vm: u32, word: u64) -> u64:
    """The active elements, as bits of the mask word with that number."""
    found = below(h.vl, word) & ~below(h.vstart, word)
    if vm == 0:
        found &= at_u64(h.vector + word * 8).value
    return found


@fn(inline=True)
def spread(bits: u64) -> u64:
    """Eight bits as eight bytes of 0 or 1."""
    return ((bits & 0xFF) * EACH & DIAGONAL) + LOW >> 7 & EACH


@fn
def spread_word(to: u64, bits: u64) -> None:
    """64 bits as 64 bytes."""
    for part in range(u64(8)):
        at_u64(to + part * 8).value = spread(bits >> part * 8)


@fn
def begin(h: Hart, vm: u32) -> u64:
    """Note the active elements as bytes; where."""
    to = h.vector + ACTIVE
    if vm != 0 and h.vstart == 0:
        memset(to, 1, h.vl)
    else:
        for word in range(h.vl + 63 >> 6):
            spread_word(to + word * 64, active(h, vm, word))
    return to


@fn
def carries(h: Hart, vm: u32) -> u64:
    """The bits of v0 as bytes, zero if the instruction does not take them; where."""
    to = h.vector + CARRY
    if vm != 0:
        memset(to, 0, h.vl)
    else:
        for word in range(h.vl + 63 >> 6):
            spread_word(to + word * 64, at_u64(h.vector + word * 8).value)
    return to


@fn
def fill(h: Hart, to: u64, value: u64, size: u32) -> None:
    """The body of a group, all elements of one value."""
    if size == 0:
        value = u64(u8(value)) * EACH
    elif size == 1:
        value = u64(u16(value)) * 0x0001000100010001
    elif size == 2:
        value = value << 32 | u64(u32(value))
    view = cast(Doubles, to)
    for word in range(((h.vl << u64(size)) + 31 >> 5) * 4):
        view.e[word] = value


@fn(inline=True)
def splat(h: Hart, value: u64, size: u32) -> u64:
    """A scalar operand as a group; where."""
    to = h.vector + SPLAT
    fill(h, to, value, size)
    return to


@fn
def put(base: u64, i: u64, value: u64, size: u32) -> None:
    """Set element `i` of 1 << size bytes."""
    if size == 0:
        at_u8(base + i).value = u8(value)
    elif size == 1:
        at_u16(base + i * 2).value = u16(value)
    elif size == 2:
        at_u32(base + i * 4).value = u32(value)
    else:
        at_u64(base + i * 8).value = value


@fn
def get(base: u64, i: u64, size: u32) -> u64:
    """Element `i` of 1 << size bytes, sign-extended."""
    if size == 0:
        return u64(i8(at_u8(base + i).value))
    if size == 1:
        return u64(i16(at_u16(base + i * 2).value))
    if size == 2:
        return u64(i32(at_u32(base + i * 4).value))
    return at_u64(base + i * 8).value


@fn
def keep(h: Hart, d: u64, vm: u32, size: u32) -> None:
    """The active results go to a group of elements of 1 << size bytes, and the instruction is complete."""
    source = h.vector + RESULT
    n = h.vl
    if vm != 0 and h.vstart == 0:
        memcpy(d, source, n << u64(size))
        return
    m = cast(Bytes, begin(h, vm))         # zero up to a multiple of 64 elements
    if size == 0:
        to_8, from_8 = cast(Bytes, d), cast(Bytes, source)
        for i in range(n + 31 & ~u64(31)):
            to_8.e[i] = from_8.e[i] if m.e[i] != 0 else to_8.e[i]
    elif size == 1:
        to_16, from_16 = cast(Halves, d), cast(Halves, source)
        for i in range(n + 15 & ~u64(15)):
            to_16.e[i] = from_16.e[i] if m.e[i] != 0 else to_16.e[i]
    elif size == 2:
        to_32, from_32 = cast(Words, d), cast(Words, source)
        for i in range(n + 7 & ~u64(7)):
            to_32.e[i] = from_32.e[i] if m.e[i] != 0 else to_32.e[i]
    else:
        to_64, from_64 = cast(Doubles, d), cast(Doubles, source)
        for i in range(n + 3 & ~u64(3)):
            to_64.e[i] = from_64.e[i] if m.e[i] != 0 else to_64.e[i]
    h.vstart = 0


@fn
def keep_bits(h: Hart, d: u64, vm: u32) -> None:
    """The active results, bytes of 0 or 1, go to a mask register, and the instruction is complete."""
    source = h.vector + RESULT
    for word in range(h.vl + 63 >> 6):
        bits: u64 = 0
        for part in range(u64(8)):
            bits |= ((at_u64(source + word * 64 + part * 8).value & EACH) * GATHER >> 56) << part * 8
        chosen = active(h, vm, word)
        old = at_u64(d + word * 8).value
        at_u64(d + word * 8).value = old & ~chosen | bits & chosen
    h.vstart = 0
