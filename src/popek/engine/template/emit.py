"""Copy and patch: puts one template behind what is there already, and its operands into the holes.

Lives here: holes of register operands, shapes, spills around what works on memory, constants, and the stubs that a
template jumps to when it cannot go on. Not here: what a template looks like (templates), control transfers (jumps),
which instruction comes next (translate).
"""

from popek.engine.template.layout import (
    ABS8,
    ABS32,
    ABS64,
    ACCESS,
    E_SINK,
    LINKED,
    Access,
    Cache,
    Fixed,
    Flag,
    Hole,
    Relocation,
    Rule,
    Template,
)
from popek.isa.hart import Hart
from popek.lang import Ptr, at_u8, at_u16, at_u32, at_u64, cast, fn, i32, i64, u8, u16, u32, u64

FIELD_X = Hart.offset("x")
FIELD_F = Hart.offset("f")
FIELD_SINK = Hart.offset("engine") + 8 * E_SINK  # where results for x0 go


@fn(inline=True)
def pin(c: Cache, register: u8) -> u32:
    """0 if the guest register is in memory, else its number among the pinned ones from 1."""
    return u32(c.library.pin_of[u64(register)])


@fn(inline=True)
def shape(c: Cache, index: u32) -> u32:
    """Template number at `index` of the shape table."""
    return u32(at_u16(c.library.shapes + u64(index) * 2).value)


@fn
def shape_of(c: Cache, rule: Rule) -> u32:
    """The number of the operand shape of c.decoded, as rules.shapes orders them."""
    d = c.decoded
    width = u32(rule.pins) + 1
    index: u32 = 0
    if (rule.flags & Flag.RD) != 0:
        index = pin(c, d.rd)
    if (rule.flags & Flag.RS1) != 0:
        index = index * width + pin(c, d.rs1)
    if (rule.flags & Flag.RS2) != 0:
        index = index * width + pin(c, d.rs2)
    return index


@fn
def operands(c: Cache, flags: u16) -> None:
    """Set the holes of register operands from c.decoded."""
    d = c.decoded
    if (flags & Flag.FRS1) != 0:
        c.holes[Hole.RS1] = FIELD_F + u64(d.rs1) * 8
    else:
        c.holes[Hole.RS1] = FIELD_X + u64(d.rs1) * 8
    if (flags & Flag.FRS2) != 0:
        c.holes[Hole.RS2] = FIELD_F + u64(d.rs2) * 8
    else:
        c.holes[Hole.RS2] = FIELD_X + u64(d.rs2) * 8
    c.holes[Hole.RS3] = FIELD_F + u64(d.rs3) * 8
    if (flags & Flag.FRD) != 0:
        c.holes[Hole.RD] = FIELD_F + u64(d.rd) * 8
    elif d.rd == 0:
        c.holes[Hole.RD] = FIELD_SINK
    else:
        c.holes[Hole.RD] = FIELD_X + u64(d.rd) * 8


@fn
def emit(c: Cache, number: u32) -> None:
    """Copy template `number` to the arena's position and patch its holes from c.holes."""
    library = c.library
    t = cast(Template, library.templates + u64(number) * Template.size)
    source = library.code + u64(t.offset)
    start = c.position
    target = c.writable + start
    size = u64(t.size)
    done: u64 = 0
    while done < size:
        at_u64(target + done).value = at_u64(source + done).value
        done += 8
    c.position = start + size
    c.holes[Hole.NEXT] = c.executable + start + size
    code = c.executable + start
    r = library.relocations + u64(t.first) * Relocation.size
    end = r + u64(t.relocations) * Relocation.size
    while r < end:
        relocation = cast(Relocation, r)
        offset = u64(relocation.offset)
        hole = u64(relocation.hole)
        value = c.holes[hole] + u64(i64(relocation.addend))
        kind = relocation.kind
        if kind == ABS32:
            at_u32(target + offset).value = u32(value)
            if hole == Hole.COUNT:
                c.count_at = start + offset
        elif kind == ABS64:
            at_u64(target + offset).value = value
        elif kind == ABS8:
            at_u8(target + offset).value = u8(value)
        else:
            at_u32(target + offset).value = u32(value - code - offset)
            if hole == Hole.SLOW or hole == Hole.TAKEN:
                if hole == Hole.TAKEN:
                    c.taken_at = start + offset
                if c.holes[hole] == 0:
                    pend(c, start + offset)
        r += Relocation.size


@fn(inline=True)
def pend(c: Cache, at: u64) -> None:
    """Remember a rel32 that must reach a stub of the current site (or link), made at the end of the run."""
    n = c.pending_count
    c.pending_at[n] = u32(at)
    c.pending_value[n] = u32(c.stub)
    c.pending_count = n + 1


@fn
def finish_pending(c: Cache) -> None:
    """Make the stubs that templates jump to when they cannot go on; one stub serves neighbours of one site."""
    last: u32 = 0
    stub: u64 = 0
    for i in range(c.pending_count):
        value = c.pending_value[i]
        if i == 0 or value != last:
            stub = c.position
            last = value
            if (value & LINKED) != 0:
                c.holes[Hole.LINK] = u64(value & (LINKED - 1))
                emit(c, Fixed.LINK)
            else:
                c.holes[Hole.SITE] = u64(value)
                if (value & ACCESS) != 0:
                    access(c, u64(value & (ACCESS - 1))).stub = u32(stub)
                emit(c, Fixed.STEP)
        at = u64(c.pending_at[i])
        at_u32(c.writable + at).value = u32(stub - at - 4)
    c.pending_count = 0


@fn(inline=True)
def access(c: Cache, number: u64) -> Ptr[Access]:
    """The access of that number."""
    return cast(Access, c.accesses + number * Access.size)


@fn
def plain(c: Cache, rule: Rule) -> None:
    """An operation that goes on to the next instruction."""
    d = c.decoded
    flags = rule.flags
    name_rd = (flags & Flag.RD) != 0
    if d.rd == 0 and (flags & Flag.PURE) != 0 and name_rd:
        return
    if rule.pins != 0:
        if (flags & Flag.COMMUTES) != 0 and pin(c, d.rs1) < pin(c, d.rs2):
            other = d.rs1
            d.rs1 = d.rs2
            d.rs2 = other
        operands(c, flags)
        emit(c, shape(c, rule.base + shape_of(c, rule)))
        return
    base = rule.base
    if (flags & Flag.RM) != 0 and d.rm == 7:
        base += 1
    around_spills(c, flags, base)


@fn
def around_spills(c: Cache, flags: u16, index: u32) -> None:
    """A template whose operands are all in memory: put pinned ones there before, fetch the result after."""
    d = c.decoded
    if (flags & Flag.RS1) != 0:
        spill(c, d.rs1)
    if (flags & Flag.RS2) != 0 and d.rs2 != d.rs1:
        spill(c, d.rs2)
    operands(c, flags)
    emit(c, shape(c, index))
    if (flags & Flag.RD) != 0 and pin(c, d.rd) != 0:
        c.holes[Hole.RS1] = FIELD_X + u64(d.rd) * 8
        emit(c, shape(c, c.library.reload + pin(c, d.rd)))


@fn
def vector(c: Cache, word: u32, pc: u64, seq: u64) -> None:
    """A vector instruction, `seq` in its run: whatever may be x registers of it is in memory."""
    rd, rs1, rs2 = u8(word >> 7 & 31), u8(word >> 15 & 31), u8(word >> 20 & 31)
    spill(c, rs1)
    if rs2 != rs1:
        spill(c, rs2)
    spill(c, rd)
    c.holes[Hole.IMM] = u64(i64(i32(word)))
    c.holes[Hole.VALUE] = pc
    c.holes[Hole.COUNT] = seq
    emit(c, Fixed.VECTOR)
    if pin(c, rd) != 0:
        c.holes[Hole.RS1] = FIELD_X + u64(rd) * 8
        emit(c, shape(c, c.library.reload + pin(c, rd)))


@fn
def spill(c: Cache, register: u8) -> None:
    """Store a pinned guest register where templates of unpinned operations find it."""
    p = pin(c, register)
    if p != 0:
        c.holes[Hole.RD] = FIELD_X + u64(register) * 8
        emit(c, shape(c, c.library.spill + p))


@fn
def constant(c: Cache, register: u8, value: u64) -> None:
    """Load a constant into a guest register."""
    if register == 0:
        return
    c.holes[Hole.RD] = FIELD_X + u64(register) * 8
    if value + 0x8000_0000 < 0x1_0000_0000:
        c.holes[Hole.IMM] = value
        emit(c, shape(c, c.library.li + pin(c, register)))
    else:
        c.holes[Hole.VALUE] = value
        emit(c, shape(c, c.library.li64 + pin(c, register)))
