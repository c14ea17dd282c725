"""The step engine: fetch, decode, execute, one instruction after another, natively. For bringing machines up and as
a second opinion.

It keeps decoded instructions by their bits and one translation, that of the page it fetches from; every load and store
walks the page tables anew. So it holds nothing that could go stale, and shares nothing with the template engine.
What the monitor does is bound to the two ports at composition.
"""
from __future__ import annotations

from popek.isa import memory
from popek.isa.fp import host_flags_enter, host_flags_leave
from popek.isa.hart import Hart
from popek.isa.op import KINDS
from popek.isa.paging import EXECUTE
from popek.isa.table import IDS, Decoded, decode, execute
from popek.lang import Array, Trap, at_u16, at_u32, atomic_load, cast, fn, port, struct, u32, u64

KNOWN = 4096
PAGE_MASK = 0xFFFF_FFFF_FFFF_F000
NOWHERE = 1
BRANCH, JUMP, JUMP_REGISTER, SYSTEM = (KINDS.index(k) for k in ("branch", "jump", "jump_register", "system"))
MRET, SRET, WFI = IDS["mret"], IDS["sret"], IDS["wfi"]


@port
def poll(h: Hart) -> bool:
    """At a poll point with something in h.poll. True: leave."""
    ...


@port
def trap(h: Hart) -> None:
    """The instruction at h.pc trapped."""
    ...


@struct
class Known:
    """A word and what it decodes to. All zero is right: the word 0 is illegal."""

    word: u32
    decoded: Decoded


@struct
class Step:
    """What the engine keeps of one hart: h.engine[0] leads here."""

    fetch_page: u64            # guest page that instructions were last fetched from, and where it is
    fetch_host: u64
    known: Array[Known, KNOWN]


@fn(export=True)
def step_size() -> u64:
    """Bytes to give to `attach`."""
    return Step.size


@fn(export=True)
def attach(h: Hart, place: u64) -> None:
    """Let zeroed memory at host address `place` serve a hart that was reset."""
    h.engine[0] = place
    cast(Step, h.engine[0]).fetch_page = NOWHERE


@fn
def forget_fetch(h: Hart) -> None:
    """Translate the next fetch anew."""
    cast(Step, h.engine[0]).fetch_page = NOWHERE


@fn
def tlb_flush(h: Hart, vaddr: u64, asid: u64, flags: u64) -> None:
    """isa.ports.tlb_flush"""
    forget_fetch(h)


@fn
def code_modified(h: Hart, paddr: u64) -> None:
    """isa.ports.code_modified: no code is kept."""


@fn
def fence_i(h: Hart) -> None:
    """isa.ports.fence_i: no code is kept."""


@fn
def fetch(h: Hart, s: Step) -> u32:
    """The instruction at h.pc."""
    pc = h.pc
    if pc & PAGE_MASK != s.fetch_page:
        s.fetch_host = memory.ram_for(h, pc, EXECUTE) & PAGE_MASK
        s.fetch_page = pc & PAGE_MASK
    offset = pc & 0xFFF
    if offset <= 0xFFC:
        word = at_u32(s.fetch_host + offset).value
        if word & 3 != 3:
            return word & 0xFFFF
        return word
    word = u32(at_u16(s.fetch_host + offset).value)
    if word & 3 != 3:
        return word
    return memory.fetch(h, pc)


@fn
def advance(h: Hart, s: Step) -> None:
    """Run to a poll point at which there is something to do. Raises what the instructions raise."""
    while True:
        word = fetch(h, s)
        k = s.known[(word ^ word >> 12 ^ word >> 20) & (KNOWN - 1)]
        if k.word != word:
            decode(word, k.decoded)
            k.word = word
        pc = h.pc
        kind, op = k.decoded.flags, k.decoded.op
        execute(h, k.decoded)
        h.instret += 1
        if kind == BRANCH or kind == JUMP:
            if h.pc <= pc and atomic_load(h.poll) != 0:
                return
        elif kind == JUMP_REGISTER or (kind == SYSTEM and (op == MRET or op == SRET or op == WFI)):
            if atomic_load(h.poll) != 0:
                return


@fn(export=True)
def run_hart(h: Hart) -> None:
    """Run until the monitor says stop."""
    host_flags_enter(h)
    s = cast(Step, h.engine[0])
    while True:
        if atomic_load(h.poll) != 0 and poll(h):
            break
        try:
            advance(h, s)
        except Trap:
            trap(h)
    host_flags_leave(h)
