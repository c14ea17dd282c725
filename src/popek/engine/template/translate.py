"""The translator: decodes guest instructions, copies templates, patches holes. Native code, written in the subset.

Lives here: one straight run at a time, from an entry to a jump or to code that is already there. Not here: what a
template looks like (templates), when translation happens and what is thrown away (run).
"""

from popek.engine.template.layout import (
    ABS8,
    ABS32,
    ABS64,
    ACCESS,
    F_COMMUTES,
    F_FRD,
    F_FRS1,
    F_FRS2,
    F_MEMORY,
    F_PURE,
    F_RD,
    F_RM,
    F_RS1,
    F_RS2,
    F_TABLE_PINS,
    H_CELL,
    H_COUNT,
    H_IMM,
    H_JUMP,
    H_LINK,
    H_NEXT,
    H_RD,
    H_RS1,
    H_RS2,
    H_RS3,
    H_SHAMT,
    H_SITE,
    H_SLOW,
    H_TAKEN,
    H_VALUE,
    JUMP_ENTRIES,
    K_BRANCH,
    K_JUMP,
    K_JUMP_REGISTER,
    K_PLAIN,
    K_STEP_END,
    LINKED,
    PINNED,
    T_FAR,
    T_FAR_BACK,
    T_GOTO,
    T_GOTO_BACK,
    T_JUMP,
    T_LINK,
    T_STEP,
    Access,
    Cache,
    CodePage,
    Link,
    Relocation,
    Rule,
    Template,
)
from popek.engine.tlb import Entry
from popek.isa.hart import Hart
from popek.isa.table import decode
from popek.lang import Ptr, at_u8, at_u16, at_u32, at_u64, cast, fn, i64, u8, u16, u32, u64

PAGE = 4096
MAX_RUN = 400  # instructions
RUN_BYTES = 96 * 1024  # room asked for in the arena before a run is begun
JUMP_OPCODE = 0xE9  # of x86-64: jmp rel32
FIELD_X = Hart.offset("x")
FIELD_F = Hart.offset("f")
FIELD_SINK = Hart.offset("engine") + 8 * 5


@fn(inline=True)
def shape(c: Cache, index: u32) -> u32:
    """Template number at `index` of the shape table."""
    return u32(at_u16(c.library.shapes + u64(index) * 2).value)


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
    c.holes[H_NEXT] = c.executable + start + size
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
            if hole == H_COUNT:
                c.count_at = start + offset
        elif kind == ABS64:
            at_u64(target + offset).value = value
        elif kind == ABS8:
            at_u8(target + offset).value = u8(value)
        else:
            at_u32(target + offset).value = u32(value - code - offset)
            if hole == H_SLOW or hole == H_TAKEN:
                if hole == H_TAKEN:
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
                c.holes[H_LINK] = u64(value & (LINKED - 1))
                emit(c, T_LINK)
            else:
                c.holes[H_SITE] = u64(value)
                if (value & ACCESS) != 0:
                    access(c, u64(value & (ACCESS - 1))).stub = u32(stub)
                emit(c, T_STEP)
        at = u64(c.pending_at[i])
        at_u32(c.writable + at).value = u32(stub - at - 4)
    c.pending_count = 0


@fn(inline=True)
def access(c: Cache, number: u64) -> Ptr[Access]:
    """The access of that number."""
    return cast(Access, c.accesses + number * Access.size)


@fn
def through_table(c: Cache, page: CodePage, number: u64) -> None:
    """Let an access whose cell often does not serve look into the TLB: in place of its stub, code beside the line of execution."""
    d = c.decoded
    one = access(c, number)
    site = u64(one.site)
    decode(fetch_word(page, (site & 2047) * 2), d)
    rule = cast(Rule, c.library.rules + u64(d.op) * Rule.size)
    at_u8(c.writable + u64(one.stub)).value = JUMP_OPCODE
    at_u32(c.writable + u64(one.stub) + 1).value = u32(c.position) - one.stub - 5
    c.stub = site
    c.holes[H_SLOW] = 0
    c.holes[H_IMM] = d.imm
    c.holes[H_CELL] = c.tlbs.cells + number * Entry.size
    if (rule.flags & F_TABLE_PINS) != 0:
        operands(c, rule.flags)
        emit(c, shape(c, rule.table + shape_of(c, rule)))
    else:
        around_spills(c, rule.flags, rule.table)
    c.holes[H_TAKEN] = c.executable + u64(one.after)
    emit(c, T_JUMP)
    finish_pending(c)


@fn(inline=True)
def pin(c: Cache, register: u8) -> u32:
    """0 if the guest register is in memory, else its number among the pinned ones from 1."""
    return u32(c.library.pin_of[u64(register)])


@fn
def operands(c: Cache, flags: u16) -> None:
    """Set the holes of register operands from c.decoded."""
    d = c.decoded
    if (flags & F_FRS1) != 0:
        c.holes[H_RS1] = FIELD_F + u64(d.rs1) * 8
    else:
        c.holes[H_RS1] = FIELD_X + u64(d.rs1) * 8
    if (flags & F_FRS2) != 0:
        c.holes[H_RS2] = FIELD_F + u64(d.rs2) * 8
    else:
        c.holes[H_RS2] = FIELD_X + u64(d.rs2) * 8
    c.holes[H_RS3] = FIELD_F + u64(d.rs3) * 8
    if (flags & F_FRD) != 0:
        c.holes[H_RD] = FIELD_F + u64(d.rd) * 8
    elif d.rd == 0:
        c.holes[H_RD] = FIELD_SINK
    else:
        c.holes[H_RD] = FIELD_X + u64(d.rd) * 8


@fn
def shape_of(c: Cache, rule: Rule) -> u32:
    """The number of the operand shape of c.decoded, as rules.shapes orders them."""
    d = c.decoded
    width = u32(rule.pins) + 1
    index: u32 = 0
    if (rule.flags & F_RD) != 0:
        index = pin(c, d.rd)
    if (rule.flags & F_RS1) != 0:
        index = index * width + pin(c, d.rs1)
    if (rule.flags & F_RS2) != 0:
        index = index * width + pin(c, d.rs2)
    return index


@fn
def plain(c: Cache, rule: Rule) -> None:
    """An operation that goes on to the next instruction."""
    d = c.decoded
    flags = rule.flags
    name_rd = (flags & F_RD) != 0
    if d.rd == 0 and (flags & F_PURE) != 0 and name_rd:
        return
    if rule.pins != 0:
        if (flags & F_COMMUTES) != 0 and pin(c, d.rs1) < pin(c, d.rs2):
            other = d.rs1
            d.rs1 = d.rs2
            d.rs2 = other
        operands(c, flags)
        emit(c, shape(c, rule.base + shape_of(c, rule)))
        return
    base = rule.base
    if (flags & F_RM) != 0 and d.rm == 7:
        base += 1
    around_spills(c, flags, base)


@fn
def around_spills(c: Cache, flags: u16, index: u32) -> None:
    """A template whose operands are all in memory: put pinned ones there before, fetch the result after."""
    d = c.decoded
    if (flags & F_RS1) != 0:
        spill(c, d.rs1)
    if (flags & F_RS2) != 0 and d.rs2 != d.rs1:
        spill(c, d.rs2)
    operands(c, flags)
    emit(c, shape(c, index))
    if (flags & F_RD) != 0 and pin(c, d.rd) != 0:
        c.holes[H_RS1] = FIELD_X + u64(d.rd) * 8
        emit(c, shape(c, c.library.reload + pin(c, d.rd)))


@fn
def spill(c: Cache, register: u8) -> None:
    """Store a pinned guest register where templates of unpinned operations find it."""
    p = pin(c, register)
    if p != 0:
        c.holes[H_RD] = FIELD_X + u64(register) * 8
        emit(c, shape(c, c.library.spill + p))


@fn
def constant(c: Cache, register: u8, value: u64) -> None:
    """Load a constant into a guest register."""
    if register == 0:
        return
    c.holes[H_RD] = FIELD_X + u64(register) * 8
    if value + 0x8000_0000 < 0x1_0000_0000:
        c.holes[H_IMM] = value
        emit(c, shape(c, c.library.li + pin(c, register)))
    else:
        c.holes[H_VALUE] = value
        emit(c, shape(c, c.library.li64 + pin(c, register)))


@fn
def far(c: Cache, target: u64, retired: u64, backward: bool) -> None:
    """Go to another page, through the jump cache."""
    c.holes[H_VALUE] = target
    c.holes[H_JUMP] = ((target >> 1) & (JUMP_ENTRIES - 1)) * 32
    c.holes[H_COUNT] = retired
    if backward:
        emit(c, T_FAR_BACK)
    else:
        emit(c, T_FAR)


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
def connect(c: Cache, page: CodePage, target: u64, number: u64, retired: u64) -> None:
    """Fill the holes of a direct jump to `target`: the code if it is there, else 0, which makes emit ask for a stub."""
    entry = page.entry[target >> 1]
    if entry != 0:
        c.holes[H_TAKEN] = c.executable + u64(entry)
        c.holes[H_COUNT] = retired - u64(page.seq[target >> 1])
    else:
        c.holes[H_TAKEN] = 0
        c.holes[H_COUNT] = 0
    c.holes[H_SLOW] = 0
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
        connect(c, page, target, number, retired)
        if backward:
            emit(c, T_GOTO_BACK)
        else:
            emit(c, T_GOTO)
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
    if (flags & F_COMMUTES) != 0 and rs1 < rs2:
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
        connect(c, page, target, number, retired)
        if backward:
            index += 1
        emit(c, shape(c, rule.base + index))
        connected(c, number)
        return
    c.holes[H_TAKEN] = c.executable + c.position
    c.holes[H_COUNT] = 0
    c.holes[H_SLOW] = 0
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
def fetch_word(page: CodePage, offset: u64) -> u32:
    """The instruction at `offset` of the page; of one that crosses into the next page only the first half."""
    low = u32(at_u16(page.host + offset).value)
    if (low & 3) == 3 and offset < PAGE - 2:
        return low | (u32(at_u16(page.host + offset + 2).value) << 16)
    return low


@fn
def translate(c: Cache, page: CodePage, first: u64) -> None:
    """Translate a run that begins at offset `first` of the page. The caller has made sure of room (RUN_BYTES)."""
    offset = first
    seq: u64 = 0
    d = c.decoded
    while True:
        if offset >= PAGE:
            far(c, page.vpage + offset, seq, False)
            break
        slot = offset >> 1
        if page.entry[slot] != 0 or seq >= MAX_RUN:
            goto(c, page, offset - 1, offset, seq)
            break
        page.entry[slot] = u32(c.position)
        page.seq[slot] = u16(seq)
        site = (u64(page.number) << 11) | slot
        c.stub = site
        c.holes[H_SITE] = site
        c.holes[H_SLOW] = 0
        word = fetch_word(page, offset)
        if (word & 3) == 3 and offset == PAGE - 2:
            emit(c, T_STEP)
            break
        decode(word, d)
        length = u64(d.length)
        rule = cast(Rule, c.library.rules + u64(d.op) * Rule.size)
        kind = rule.kind
        seq += 1
        c.holes[H_IMM] = d.imm
        c.holes[H_SHAMT] = d.imm
        pc = page.vpage + offset
        if kind == K_PLAIN:
            if (rule.flags & F_RM) != 0 and d.rm != 0 and d.rm != 7:
                emit(c, T_STEP)
            elif not special(c, rule, pc):
                if (rule.flags & F_MEMORY) != 0:
                    number = new_access(c, site)
                    plain(c, rule)
                    access(c, number).after = u32(c.position)
                else:
                    plain(c, rule)
        elif kind == K_BRANCH:
            branch(c, page, rule, offset, seq)
        elif kind == K_JUMP:
            constant(c, d.rd, pc + length)
            goto(c, page, offset, offset + d.imm, seq)
            break
        elif kind == K_JUMP_REGISTER:
            if jump_register(c, pc + length, seq):
                break
            emit(c, T_STEP)
            break
        else:
            emit(c, T_STEP)
            if kind == K_STEP_END:
                break
        offset += length
    finish_far(c)
    finish_pending(c)
    c.translated += seq


@fn(inline=True)
def new_access(c: Cache, site: u64) -> u64:
    """An access with an empty cell; what pends from now on belongs to it."""
    n = c.tlbs.cell_count
    c.tlbs.cell_count = n + 1
    c.holes[H_CELL] = c.tlbs.cells + n * Entry.size
    cast(Entry, c.holes[H_CELL]).tag = 0
    one = access(c, n)
    one.site = u32(site)
    one.misses = 0
    c.stub = n | ACCESS
    return n


@fn
def special(c: Cache, rule: Rule, pc: u64) -> bool:
    """Operations that are better made from constants and moves: lui, auipc, li, mv. True if done."""
    d = c.decoded
    library = c.library
    if d.op == library.op_lui:
        constant(c, d.rd, d.imm)
        return True
    if d.op == library.op_auipc:
        constant(c, d.rd, pc + d.imm)
        return True
    if d.op == library.op_addi:
        if d.rs1 == 0:
            constant(c, d.rd, d.imm)
            return True
        if d.imm == 0 and d.rd != 0:
            operands(c, rule.flags)
            emit(c, shape(c, library.mv + pin(c, d.rd) * (PINNED + 1) + pin(c, d.rs1)))
            return True
    elif d.op == library.op_add and d.rd != 0 and (d.rs1 == 0 or d.rs2 == 0):
        if d.rs1 == 0:
            d.rs1 = d.rs2
        operands(c, rule.flags)
        emit(c, shape(c, library.mv + pin(c, d.rd) * (PINNED + 1) + pin(c, d.rs1)))
        return True
    return False


@fn
def jump_register(c: Cache, back: u64, retired: u64) -> bool:
    """jalr; False if there is no template (a pinned link register)."""
    d = c.decoded
    if d.rd != 0 and pin(c, d.rd) != 0:
        return False
    operands(c, F_RS1 | F_RD)
    c.holes[H_COUNT] = retired
    c.holes[H_VALUE] = back
    base = c.library.jump_register
    if d.rd != 0:
        base = c.library.call_register
    emit(c, shape(c, base + pin(c, d.rs1)))
    return True
