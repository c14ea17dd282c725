"""What a hart does for the manager at poll points: note where it is, open its mail, describe the code around a pc.

Lives here: what runs on the hart's thread, because only that may look into its tables. Nothing the guest could see.
Not here: who asks (watching, manager), how regions are installed (regions).
"""

from __future__ import annotations

from popek.engine.optimizing import hooks, regions, views
from popek.engine.optimizing.image import MAX_PAGES
from popek.engine.optimizing.state import (
    ABOUT_ENTRY,
    ABOUT_IN_REGION,
    ASKED,
    ASKED_MAIL,
    ASKED_REQUEST,
    ASKED_SAMPLE,
    ASKED_TRACE,
    DESCRIBED,
    DESCRIBED_WELL,
    IN_REGION,
    IN_WORK,
    MAILS,
    SAMPLES,
    TARGETS,
    WALK,
    Described,
    Description,
)
from popek.engine.optimizing.tracing import trace
from popek.engine.template.layout import BUCKETS, FETCH_ENTRIES, HALFWORDS, JUMP_ENTRIES, Cache, CodePage, JumpTable
from popek.engine.template.pages import code_page, fetch_regime
from popek.engine.template.translate import fetch_word, now, since
from popek.engine.tlb import PAGE, PAGE_MASK
from popek.isa.hart import Hart
from popek.isa.op import KINDS
from popek.isa.table import decode
from popek.lang import addr_of, atomic_cas, atomic_load, atomic_store, atomic_swap, cast, fn, memcpy, u32, u64

BRANCH, JUMP, JUMP_REGISTER = (KINDS.index(k) for k in ("branch", "jump", "jump_register"))
NO_PAGE = 0xFFFF_FFFF


@fn
def tend(h: Hart, c: Cache) -> None:
    """At a poll point, h.pc being where the hart goes on: do what the manager asked for."""
    o = c.optimizing
    asked = atomic_swap(o.asked, 0)
    if asked & ASKED_TRACE != 0:
        trace(h, c)
    if asked & ASKED_SAMPLE != 0:
        note(h, c)
    if asked & ASKED_MAIL != 0:
        while o.opened != atomic_load(o.mailed):
            mail = o.mails[o.opened & (MAILS - 1)]
            began = now(c)
            mail.result = regions.install(h, mail.image, mail.size, mail.pc, u32(mail.mode))
            o.installing += since(c, began)
            atomic_store(o.opened, o.opened + 1)
    if asked & ASKED_REQUEST != 0 and atomic_load(o.request_state) == ASKED:
        if u64(h.mode) == o.request_mode and still_there(h, c) and atomic_cas(o.request_state, ASKED, IN_WORK):
            describe(h, c)
            atomic_store(o.request_state, DESCRIBED_WELL)


@fn
def note(h: Hart, c: Cache) -> None:
    """Note where the hart is."""
    o = c.optimizing
    s = o.samples[o.sampled & (SAMPLES - 1)]
    pc = h.pc
    s.pc = pc
    s.host = 0
    s.about = u64(h.mode)
    if o.came_from & IN_REGION != 0:
        s.about |= ABOUT_IN_REGION
    o.came_from = 0
    fetched = c.fetch[fetch_regime(h)].entries[(pc >> 12) & (FETCH_ENTRIES - 1)]
    if fetched.tag == pc & PAGE_MASK:
        page = code_page(c, fetched.page)
        s.host = page.host + (pc & (PAGE - 1))
        if hooks.at(c, page, (pc & (PAGE - 1)) >> 1):
            s.about |= ABOUT_ENTRY
    atomic_store(o.sampled, o.sampled + 1)


@fn
def still_there(h: Hart, c: Cache) -> bool:
    """Does the hart see the code that was asked for where it was found (or, if that is open, anywhere)?"""
    o = c.optimizing
    host = regions.shown(h, o.request_pc & PAGE_MASK, h.mode)
    if o.request_host == 0 and host != regions.NOWHERE:
        o.request_host = host + (o.request_pc & (PAGE - 1))
    return host == o.request_host & PAGE_MASK


@fn
def existing(h: Hart, c: Cache, vpage: u64) -> u64:
    """The number of the code page that the hart would execute from; NO_PAGE if there is none yet."""
    host = regions.shown(h, vpage, h.mode)
    number = c.buckets[(host >> 12) & (BUCKETS - 1)]
    while number != 0:
        page = code_page(c, number - 1)
        if page.host == host and page.vpage == vpage:
            return number - 1
        number = page.chain
    return NO_PAGE


@fn(inline=True)
def was_translated(page: CodePage, slot: u64) -> bool:
    """Was an instruction that begins at that halfword ever executed (or would have been soon)?"""
    return page.entry[slot] != 0 or (page.known[slot >> 6] >> (slot & 63)) & 1 != 0


@fn
def described(h: Hart, c: Cache, d: Description, vpage: u64) -> u64:
    """The place of a page in the description, put there if there is room and it has translations; else MAX_PAGES."""
    i: u64 = 0
    while i < d.count:
        if d.pages[i].vpage == vpage:
            return i
        i += 1
    if i == MAX_PAGES:
        return MAX_PAGES
    number = existing(h, c, vpage)
    if number == NO_PAGE:
        return MAX_PAGES
    page = code_page(c, number)
    c.optimizing.described[i] = number
    one = d.pages[i]
    one.vpage = vpage
    for word in range(HALFWORDS // 64):
        bits = page.known[word]
        for bit in range(64):
            if page.entry[word * 64 + bit] != 0:
                bits |= u64(1) << bit
        one.translated[word] = bits
        c.optimizing.seen[i * 32 + word] = 0
    copy_page(one, page.host)
    d.count = i + 1
    return i


@fn(inline=True)
def copy_page(one: Described, host: u64) -> None:
    """The page's bytes, as they are now: what is made of them is compared before it is used."""
    memcpy(place_of(one), host, PAGE)


@fn(inline=True)
def place_of(one: Described) -> u64:
    """Host address of the copy."""
    return addr_of(one.data)


@fn
def describe(h: Hart, c: Cache) -> None:
    """Follow the code from the request's pc through direct jumps and calls, and put down the pages it lies in."""
    o = c.optimizing
    d = cast(Description, o.request_place)
    d.pc = o.request_pc
    d.bare = u64(views.reads_bare(h))
    d.count = 0
    o.walk[0] = o.request_pc
    waiting: u64 = 1
    left: u64 = DESCRIBED
    while waiting != 0 and left != 0:
        waiting -= 1
        pc = o.walk[waiting]
        while left != 0:
            left -= 1
            where = described(h, c, d, pc & PAGE_MASK)
            slot = (pc & (PAGE - 1)) >> 1
            if where == MAX_PAGES or (d.pages[where].translated[slot >> 6] >> (slot & 63)) & 1 == 0:
                break
            if (o.seen[where * 32 + (slot >> 6)] >> (slot & 63)) & 1 != 0:
                break
            o.seen[where * 32 + (slot >> 6)] |= u64(1) << (slot & 63)
            page = code_page(c, o.described[where])
            decode(fetch_word(page, pc & (PAGE - 1)), c.decoded)
            kind = u32(c.decoded.flags)
            length = u64(c.decoded.length)
            if (kind == BRANCH or kind == JUMP) and waiting < WALK:
                o.walk[waiting] = pc + c.decoded.imm
                waiting += 1
            if (kind == JUMP or kind == JUMP_REGISTER) and c.decoded.rd == 0:
                break
            pc += length
    note_targets(d, c.jumps[fetch_regime(h)])


@fn
def note_targets(d: Description, table: JumpTable) -> None:
    """Put down where indirect jumps (and those from other pages) led to in the described pages."""
    d.target_count = 0
    for i in range(JUMP_ENTRIES):
        pc = table.entries[i].pc
        k: u64 = 0
        while k < d.count:
            if d.pages[k].vpage == pc & PAGE_MASK and d.target_count < TARGETS:
                d.targets[d.target_count] = pc
                d.target_count += 1
            k += 1
