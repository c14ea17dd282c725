"""The way into, between and out of translated code: what generated code calls, and the exported run loop.

Lives here: the helpers behind the glue (slow step, link, resolve; of regions step_at and refresh), each of which
returns the code address to go on at. Not here: translation (translate), pages and coherence, traps and interrupts
(vmm.dispatcher, through ports).
"""

from __future__ import annotations

from popek.engine.optimizing import hooks, regions
from popek.engine.optimizing.sampling import tend
from popek.engine.optimizing.state import E_INSIDE
from popek.engine.template.coherence import POLL_OTHERS, look_after
from popek.engine.template.emit import access
from popek.engine.template.layout import (
    ACCESS,
    AGAIN,
    DONE,
    JUMP_ENTRIES,
    JUMP_PAGES,
    LEAVE,
    MAX_RUN,
    RUN_BYTES,
    Cache,
    CodePage,
    Link,
)
from popek.engine.template.pages import (
    POLL_ENGINE,
    cache_of,
    code_page,
    fetch_regime,
    forget_all,
    mark,
    page_at,
)
from popek.engine.template.translate import fetch_word, now, since, through_table, ticks, translate
from popek.engine.tlb import PAGE, Entry
from popek.isa import memory
from popek.isa.fp import host_flags_enter, host_flags_leave
from popek.isa.hart import Hart
from popek.isa.op import KINDS
from popek.isa.table import IDS, decode, execute
from popek.isa.v import enter
from popek.lang import Trap, addr_of, at_u32, atomic_load, atomic_or, cast, fn, invoke, port, u32, u64

MRET, SRET, WFI = IDS["mret"], IDS["sret"], IDS["wfi"]  # poll points, like traps
BRANCH, JUMP, JUMP_REGISTER, SYSTEM = (KINDS.index(k) for k in ("branch", "jump", "jump_register", "system"))
VECTOR_STORE = 0b0100111  # the opcode
PATIENCE = 6  # misses of a cell, after which its access gets code that looks into the TLB


@port
def poll(h: Hart) -> bool:
    """At a poll point with something in h.poll: take an interrupt, do what was asked. True: leave native code."""
    ...


@port
def trap(h: Hart) -> None:
    """The instruction at h.pc trapped (h.trap_cause, h.trap_tval): hand over to who handles it."""
    ...


@fn
def proceed(h: Hart, at_poll_point: bool) -> u64:
    """The code address at which to go on from h.pc; h.instret is exact on entry, raw (see layout) on return."""
    c = cache_of(h)
    while True:
        waiting = atomic_load(h.poll)
        if waiting != 0:
            if waiting & POLL_ENGINE != 0:
                look_after(h, c)
                if atomic_load(c.optimizing.asked) != 0:
                    if at_poll_point:
                        tend(h, c)
                    else:
                        atomic_or(h.poll, POLL_ENGINE)
            if at_poll_point and waiting & POLL_OTHERS != 0:
                if poll(h):
                    return c.leave
                if atomic_load(h.poll) & POLL_ENGINE != 0:  # it may have slept
                    look_after(h, c)
        try:
            return enter_at(h, c)
        except Trap:
            trap(h)
            at_poll_point = True


@fn
def enter_at(h: Hart, c: Cache) -> u64:
    """Code of h.pc, translated if need be and remembered in the jump cache. Raises the faults of a fetch."""
    pc = h.pc
    page = page_at(h, c, pc)
    slot = (pc & (PAGE - 1)) >> 1
    if page.entry[slot] == 0:
        if not room(c):
            forget_all(h, c)
            page = page_at(h, c, pc)
        if not page.marked:
            mark(h, c, page)
        translate(c, page, slot << 1)
    code = c.executable + u64(page.entry[slot])
    seq = u64(page.seq[slot])
    index = (pc >> 1) & (JUMP_ENTRIES - 1)
    table = c.jumps[fetch_regime(h)]
    table.entries[index].pc = pc
    table.entries[index].code = code
    table.entries[index].seq = seq
    table.used = True
    bit = (pc >> 12) & (JUMP_PAGES - 1)
    table.pages[bit >> 6] |= u64(1) << (bit & 63)
    h.instret -= seq
    return code


@fn(inline=True)
def room(c: Cache) -> bool:
    """Can another run be translated?"""
    return (
        c.limit - c.position >= RUN_BYTES
        and c.link_limit - c.link_count >= MAX_RUN + 2
        and c.cell_limit - c.tlbs.cell_count >= MAX_RUN + 2
    )


@fn(export=True)
def resolve(h: Hart, at_poll_point: u64) -> u64:
    """A jump to h.pc that the jump cache does not know, or a poll point (not 0; see state) with something to do."""
    c = cache_of(h)
    c.resolves += 1
    c.optimizing.came_from = u32(at_poll_point)
    return proceed(h, at_poll_point != 0)


@fn(export=True)
def link(h: Hart, number: u64) -> u64:
    """A direct jump inside a page whose target had no code, or a backward one that must poll."""
    c = cache_of(h)
    l = cast(Link, c.links + number * Link.size)
    page = code_page(c, u64(l.page))
    h.pc = page.vpage + u64(l.target)
    h.instret += u64(l.retired)
    c.optimizing.came_from = 0
    if l.backward != 0 and atomic_load(h.poll) != 0:
        return proceed(h, True)
    slot = u64(l.target) >> 1
    if page.entry[slot] == 0:
        if not room(c):
            return proceed(h, False)
        if not page.marked:
            mark(h, c, page)
        translate(c, page, u64(l.target))
    seq = u64(page.seq[slot])
    entry = page.entry[slot]
    at_u32(c.writable + u64(l.taken)).value = entry - l.taken - 4
    at_u32(c.writable + u64(l.count)).value = u32(u64(l.retired) - seq)
    h.instret -= seq
    return c.executable + u64(entry)


@fn(inline=True)
def improve(c: Cache, page: CodePage, number: u64) -> None:
    """After the slow path: let the cell serve next time, and look into the TLB by itself if it fails too often."""
    cell = cast(Entry, c.tlbs.cells + number * Entry.size)
    cell.addend = c.tlbs.last.addend
    cell.tag = c.tlbs.last.tag
    one = access(c, number)
    one.misses += 1
    if one.misses == PATIENCE and room(c):
        began = now(c)
        through_table(c, page, number)
        c.translating += since(c, began)


@fn(export=True)
def slow_step(h: Hart, number: u64) -> u64:
    """Execute one instruction, given by its site or access, the long way.

    It has no template, or its template could not go through with it.
    """
    c = cache_of(h)
    site = number
    if number & ACCESS != 0:
        site = u64(access(c, number - ACCESS).site)
        c.tlbs.last.tag = 0
        c.cell_misses += 1
    page = code_page(c, site >> 11)
    slot = site & 2047
    h.pc = page.vpage + slot * 2
    h.instret += u64(page.seq[slot])
    return step(h, c, page, number)


@fn(export=True)
def step_at(h: Hart, pc: u64) -> u64:
    """Execute one instruction of a region the long way, and go on wherever there is code for what follows."""
    c = cache_of(h)
    h.pc = pc
    c.optimizing.steps += 1
    try:
        return step(h, c, page_at(h, c, pc), 0)
    except Trap:
        trap(h)
    return proceed(h, True)


@fn
def step(h: Hart, c: Cache, page: CodePage, number: u64) -> u64:
    """Execute the instruction at h.pc, which lies in `page`; h.instret is exact. Where to go on."""
    c.slow_steps += 1
    at_poll_point = False
    try:
        offset = h.pc & (PAGE - 1)
        word = fetch_word(page, offset)
        if word & 3 == 3 and offset == PAGE - 2:
            word = memory.fetch(h, h.pc)
        d = c.decoded
        decode(word, d)
        op, kind, pc, epoch = d.op, d.flags, h.pc, c.epoch
        straight = kind != SYSTEM
        execute(h, d)
        h.instret += 1
        c.stepped += 1
        if straight and c.epoch == epoch and atomic_load(h.poll) == 0:
            offset = h.pc - page.vpage
            if offset < PAGE and page.entry[offset >> 1] != 0:
                if number & ACCESS != 0:
                    improve(c, page, number - ACCESS)
                h.instret -= u64(page.seq[offset >> 1])
                return c.executable + u64(page.entry[offset >> 1])
        at_poll_point = (
            kind == JUMP_REGISTER
            or ((kind == BRANCH or kind == JUMP) and h.pc <= pc)
            or op == MRET
            or op == SRET
            or op == WFI
        )
    except Trap:
        trap(h)
        at_poll_point = True
    c.optimizing.came_from = 0
    return proceed(h, at_poll_point)


@fn(export=True)
def vector_step(h: Hart, word: u64) -> u64:
    """Execute a vector instruction for its template. A store may have changed what follows."""
    c = cache_of(h)
    epoch = c.epoch
    try:
        enter(h, u32(word))
    except Trap:
        return AGAIN
    if word & 0x7F == VECTOR_STORE and (c.epoch != epoch or atomic_load(h.poll) != 0):
        return LEAVE
    return DONE


@fn(export=True)
def refresh(h: Hart, number: u64) -> u64:
    """A region was entered under another E_VIEW than last time; nothing of it is executed yet."""
    c = cache_of(h)
    r = hooks.region(c, number)
    h.pc = code_page(c, u64(r.page)).vpage + u64(r.slot) * 2
    if r.live != 0:
        if regions.renew(h, c, r):
            return c.executable + u64(r.code)
        regions.unhook(c, r)
    return proceed(h, False)


@fn(export=True)
def run_hart(h: Hart) -> None:
    """Run until the monitor says stop."""
    c = cache_of(h)
    host_flags_enter(h)
    code = proceed(h, True)
    if code != c.leave:
        invoke(u64, c.enter, addr_of(h), code)
    host_flags_leave(h)


@fn(export=True)
def statistic(h: Hart, what: u64) -> u64:
    """A counter of the hart's engine; setup.STATISTICS and setup.TICKS name them in this order. Else: ticks now."""
    c = cache_of(h)
    if what == 0:
        return c.slow_steps
    if what == 1:
        return c.resolves
    if what == 2:
        return c.translated
    if what == 3:
        return c.position
    if what == 4:
        return c.flushes
    if what == 5:
        return c.tlbs.misses
    if what == 6:
        return c.cell_misses
    if what == 7:
        return c.tlbs.flushes
    if what == 8:
        return c.stepped
    if what == 9:
        return h.engine[E_INSIDE]
    if what == 10:
        return c.translating
    if what == 11:
        return c.optimizing.installing
    return ticks()
