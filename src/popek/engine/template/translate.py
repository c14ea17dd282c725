"""The translator: decodes guest instructions and has templates put one behind the other. Native code, in the subset.

Lives here: one straight run at a time, from an entry to a jump or to code that is already there; and the second
thoughts about an access that its cell serves badly. Not here: copying and patching (emit), control transfers (jumps),
when translation happens (run) and what is thrown away (pages).
"""

from popek.engine.template.emit import (
    access,
    around_spills,
    constant,
    emit,
    finish_pending,
    operands,
    pin,
    plain,
    shape,
    shape_of,
    vector,
)
from popek.engine.template.jumps import branch, far, finish_far, goto, jump_register
from popek.engine.template.layout import ACCESS, MAX_RUN, PINNED, Cache, CodePage, Fixed, Flag, Hole, Kind, Rule
from popek.engine.tlb import PAGE, Entry
from popek.isa.table import decode
from popek.lang import at_u8, at_u16, at_u32, cast, extern, fn, u16, u32, u64

JUMP_OPCODE = 0xE9  # of x86-64: jmp rel32
LONGEST = 1 << 18  # ticks of a run or a region, about 0.1 ms: ten times what a long one takes


@extern("llvm.readcyclecounter")
def ticks() -> u64:
    """The processor's time stamp counter."""
    ...


@fn(inline=True)
def now(c: Cache) -> u64:
    """Ticks, where time is measured."""
    if c.measured:
        return ticks()
    return 0


@fn(inline=True)
def since(c: Cache, began: u64) -> u64:
    """Ticks that passed. If they are too many, the host did something else meanwhile."""
    return min(now(c) - began, u64(LONGEST))


@fn
def fetch_word(page: CodePage, offset: u64) -> u32:
    """The instruction at `offset` of the page; of one that crosses into the next page only the first half."""
    if offset & 3 == 0:  # read at once (Ziccif): another hart may be writing it
        word = at_u32(page.host + offset).value
        if word & 3 == 3:
            return word
        return word & 0xFFFF
    low = u32(at_u16(page.host + offset).value)
    if (low & 3) == 3 and offset < PAGE - 2:
        return low | (u32(at_u16(page.host + offset + 2).value) << 16)
    return low


@fn
def translate(c: Cache, page: CodePage, first: u64) -> None:
    """Translate a run that begins at offset `first` of the page. The caller has made sure of room (RUN_BYTES)."""
    began = now(c)
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
        c.holes[Hole.SITE] = site
        c.holes[Hole.SLOW] = 0
        word = fetch_word(page, offset)
        if (word & 3) == 3 and offset == PAGE - 2:
            emit(c, Fixed.STEP)
            break
        decode(word, d)
        length = u64(d.length)
        rule = cast(Rule, c.library.rules + u64(d.op) * Rule.size)
        kind = rule.kind
        seq += 1
        c.holes[Hole.IMM] = d.imm
        c.holes[Hole.SHAMT] = d.imm
        pc = page.vpage + offset
        if kind == Kind.PLAIN:
            if (rule.flags & Flag.RM) != 0 and d.rm != 0 and d.rm != 7:
                emit(c, Fixed.STEP)
            elif not special(c, rule, pc):
                if (rule.flags & Flag.MEMORY) != 0:
                    number = new_access(c, site)
                    plain(c, rule)
                    access(c, number).after = u32(c.position)
                else:
                    plain(c, rule)
        elif kind == Kind.BRANCH:
            branch(c, page, rule, offset, seq)
        elif kind == Kind.JUMP:
            constant(c, d.rd, pc + length)
            goto(c, page, offset, offset + d.imm, seq)
            break
        elif kind == Kind.JUMP_REGISTER:
            if jump_register(c, pc + length, seq):
                break
            emit(c, Fixed.STEP)
            break
        elif kind == Kind.VECTOR:
            vector(c, word, pc, seq - 1)
        else:
            emit(c, Fixed.STEP)
            if kind == Kind.STEP_END:
                break
        offset += length
    finish_far(c)
    finish_pending(c)
    c.translated += seq
    c.translating += since(c, began)


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


@fn(inline=True)
def new_access(c: Cache, site: u64) -> u64:
    """An access with an empty cell; what pends from now on belongs to it."""
    n = c.tlbs.cell_count
    c.tlbs.cell_count = n + 1
    c.holes[Hole.CELL] = c.tlbs.cells + n * Entry.size
    cast(Entry, c.holes[Hole.CELL]).tag = 0
    one = access(c, n)
    one.site = u32(site)
    one.misses = 0
    c.stub = n | ACCESS
    return n


@fn
def through_table(c: Cache, page: CodePage, number: u64) -> None:
    """Let an access whose cell often does not serve look into the TLB.

    That code is put beside the line of execution, and takes the place of the access's stub.
    """
    d = c.decoded
    one = access(c, number)
    site = u64(one.site)
    decode(fetch_word(page, (site & 2047) * 2), d)
    rule = cast(Rule, c.library.rules + u64(d.op) * Rule.size)
    if (rule.flags & Flag.MEMORY) == 0:
        return  # another hart is writing over it
    at_u8(c.writable + u64(one.stub)).value = JUMP_OPCODE
    at_u32(c.writable + u64(one.stub) + 1).value = u32(c.position) - one.stub - 5
    c.stub = site
    c.holes[Hole.SLOW] = 0
    c.holes[Hole.IMM] = d.imm
    c.holes[Hole.CELL] = c.tlbs.cells + number * Entry.size
    if (rule.flags & Flag.TABLE_PINS) != 0:
        operands(c, rule.flags)
        emit(c, shape(c, rule.table + shape_of(c, rule)))
    else:
        around_spills(c, rule.flags, rule.table)
    c.holes[Hole.TAKEN] = c.executable + u64(one.after)
    emit(c, Fixed.JUMP)
    finish_pending(c)
