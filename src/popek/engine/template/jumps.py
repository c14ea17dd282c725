"""Control transfers of translated code: direct jumps inside a page, jumps that leave it, branches, indirect jumps.

Lives here: which template makes the transfer, and what the count register gains by it. A jump inside the page whose
target has no code yet gets a link, which `run.link` resolves when it is first taken. Not here: what happens then (run).
"""

from popek.engine.template.emit import emit, operands, pin, shape
from popek.engine.template.layout import (
    JUMP_ENTRIES,
    LINKED,
    Cache,
    CodePage,
    Fixed,
    Flag,
    Hole,
    Jump,
    Link,
    Rule,
)
from popek.engine.tlb import PAGE
from popek.lang import at_u32, cast, fn, i64, u16, u32, u64


@fn
def far(c: Cache, target: u64, retired: u64, backward: bool) -> None:
    """Go to another page, through the jump cache."""
    c.holes[Hole.VALUE] = target
    c.holes[Hole.JUMP] = ((target >> 1) & (JUMP_ENTRIES - 1)) * Jump.size
    c.holes[Hole.COUNT] = retired
    if backward:
        emit(c, Fixed.FAR_BACK)
    else:
        emit(c, Fixed.FAR)


@fn
def new_link(c: Cache, page: CodePage, target: u64, retired: u64, backward: bool) -> u64:
    """A link for a direct jump inside the page; what pends from now on belongs to it."""
    n = c.link_count
    link = cast(Link, c.links + n * Link.size)
    link.page = page.number
    link.target = u16(target)
    link.retired = u16(retired)
    link.backward = u32(backward)
    link.taken = 0
    c.link_count = n + 1
    c.stub = n | LINKED
    return n


@fn
def connect(c: Cache, page: CodePage, target: u64, retired: u64) -> None:
    """Fill the holes of a direct jump to `target`: the code if it is there, else 0, which makes emit ask for a stub."""
    entry = page.entry[target >> 1]
    if entry != 0:
        c.holes[Hole.TAKEN] = c.executable + u64(entry)
        c.holes[Hole.COUNT] = retired - u64(page.seq[target >> 1])
    else:
        c.holes[Hole.TAKEN] = 0
        c.holes[Hole.COUNT] = 0
    c.holes[Hole.SLOW] = 0
    c.taken_at = 0
    c.count_at = 0


@fn
def connected(c: Cache, number: u64) -> None:
    """Note where the emitted jump is to be patched once its target exists."""
    link = cast(Link, c.links + number * Link.size)
    link.taken = u32(c.taken_at)
    link.count = u32(c.count_at)


@fn
def goto(c: Cache, page: CodePage, offset: u64, target: u64, retired: u64) -> None:
    """An unconditional direct jump from `offset` to `target` (both relative to the page)."""
    backward = i64(target) <= i64(offset)
    if target < PAGE:
        number = new_link(c, page, target, retired, backward)
        connect(c, page, target, retired)
        if backward:
            emit(c, Fixed.GOTO_BACK)
        else:
            emit(c, Fixed.GOTO)
        connected(c, number)
    else:
        far(c, page.vpage + target, retired, backward)


@fn
def branch(c: Cache, page: CodePage, rule: Rule, offset: u64, retired: u64) -> None:
    """A conditional branch. One that leaves the page goes through a far jump placed beside the line of execution."""
    d = c.decoded
    flags = rule.flags
    target = offset + d.imm
    rs1: u32 = pin(c, d.rs1)
    rs2: u32 = pin(c, d.rs2)
    if (flags & Flag.COMMUTES) != 0 and rs1 < rs2:
        other = d.rs1
        d.rs1 = d.rs2
        d.rs2 = other
        swap = rs1
        rs1 = rs2
        rs2 = swap
    operands(c, flags)
    index: u32 = (rs1 * (u32(rule.pins) + 1) + rs2) * 2
    if target < PAGE:
        backward = i64(target) <= i64(offset)
        number = new_link(c, page, target, retired, backward)
        connect(c, page, target, retired)
        if backward:
            index += 1
        emit(c, shape(c, rule.base + index))
        connected(c, number)
        return
    c.holes[Hole.TAKEN] = c.executable + c.position
    c.holes[Hole.COUNT] = 0
    c.holes[Hole.SLOW] = 0
    c.taken_at = 0
    emit(c, shape(c, rule.base + index))
    if c.taken_at == 0:
        return  # both operands are one pinned register, and the template knows that it is never taken
    c.far_at[c.far_count] = u32(c.taken_at)
    c.far_target[c.far_count] = page.vpage + target
    c.far_retired[c.far_count] = u32(retired)
    c.far_back[c.far_count] = u32(i64(target) <= i64(offset))
    c.far_count += 1


@fn
def finish_far(c: Cache) -> None:
    """Make the far jumps of conditional branches of the run."""
    i: u64 = 0
    while i < c.far_count:
        at = u64(c.far_at[i])
        at_u32(c.writable + at).value = u32(c.position - at - 4)
        far(c, c.far_target[i], u64(c.far_retired[i]), c.far_back[i] != 0)
        i += 1
    c.far_count = 0


@fn
def jump_register(c: Cache, back: u64, retired: u64) -> bool:
    """jalr; False if there is no template (a pinned link register)."""
    d = c.decoded
    if d.rd != 0 and pin(c, d.rd) != 0:
        return False
    operands(c, Flag.RS1 | Flag.RD)
    c.holes[Hole.COUNT] = retired
    c.holes[Hole.VALUE] = back
    base = c.library.jump_register
    if d.rd != 0:
        base = c.library.call_register
    emit(c, shape(c, base + pin(c, d.rs1)))
    return True
