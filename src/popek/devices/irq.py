"""The platform-level interrupt controller: RISC-V PLIC Specification 1.0. Any thread may raise a line.

In the typed subset. Software interrupts and timers are clint.py's.
"""
from __future__ import annotations

from popek.isa.hart import MEIP, SEIP
from popek.lang import (
    Array,
    Opaque,
    Ptr,
    atomic_cas,
    atomic_load,
    atomic_store,
    cast,
    ctz,
    fn,
    port,
    struct,
    u8,
    u32,
    u64,
)

SOURCES = 96                   # 0 is none
WORDS = SOURCES // 32
CONTEXTS = 16                  # two a hart: machine, supervisor
PRIORITIES = 7
PRIORITY, PENDING, ENABLE, ENABLE_END, CONTEXT = 0, 0x1000, 0x2000, 0x1F_2000, 0x20_0000


@port
def drive(owner: Opaque, i: u64, lines: u64, level: u32) -> None:
    """Raise or lower lines of hart `i`'s mip."""
    ...


@port
def relax() -> None:
    """A lock is taken: let others run."""
    ...


@struct
class Context:
    """One target of interrupts: a hart in one mode."""

    enable: Array[u32, WORDS]
    threshold: u32
    up: u32                    # the line as last driven


@struct
class Plic:
    """The platform-level interrupt controller."""

    lock: u32
    contexts: u32
    owner: Ptr[Opaque]         # what `drive` wants
    priority: Array[u8, SOURCES]
    level: Array[u32, WORDS]   # the sources' lines
    pending: Array[u32, WORDS]
    claimed: Array[u32, WORDS]
    again: Array[u32, WORDS]   # pulses that came while their source was being served
    context: Array[Context, CONTEXTS]


@fn
def lock(p: Plic) -> None:
    """Registers change as one."""
    while not atomic_cas(p.lock, 0, 1):
        relax()


@fn
def best(p: Plic, c: Context) -> u64:
    """The pending, enabled source of highest priority (lowest number among equals) above the threshold; 0: none."""
    found: u64 = 0
    above = c.threshold
    for w in range(WORDS):
        bits = p.pending[w] & c.enable[w]
        while bits != 0:
            source = w * 32 + u64(ctz(bits))
            bits = bits & (bits - 1)
            if u32(p.priority[source]) > above:
                above = u32(p.priority[source])
                found = source
    return found


@fn
def update(p: Plic) -> None:
    """Drive the harts' lines as the registers say. The lock is held."""
    for i in range(p.contexts):
        c = p.context[i]
        up: u32 = 0
        if best(p, c) != 0:
            up = 1
        if up != c.up:
            c.up = up
            line: u64 = MEIP
            if i & 1 != 0:
                line = SEIP
            drive(cast(Opaque, p.owner), i >> 1, line, up)


@fn
def gateway(p: Plic) -> None:
    """A level that is up and not being served becomes pending. The lock is held."""
    for w in range(WORDS):
        p.pending[w] = p.pending[w] | (p.level[w] | p.again[w]) & ~p.claimed[w]
        p.again[w] = p.again[w] & p.claimed[w]
    update(p)


@fn
def set_level(p: Plic, source: u64, level: u32) -> None:
    """A source's line. Any thread."""
    if source == 0 or source >= SOURCES:
        return
    bit = u32(1) << (source & 31)
    if (atomic_load(p.level[source >> 5]) & bit != 0) == (level != 0):
        return
    lock(p)
    if level != 0:
        p.level[source >> 5] = p.level[source >> 5] | bit
        gateway(p)
    else:
        # the gateway has passed the request on: it stays pending until somebody claims it, as the specification has it,
        # but a level that went away before that is not worth an interrupt
        p.level[source >> 5] = p.level[source >> 5] & ~bit
        forget(p, source)
    atomic_store(p.lock, 0)


@fn
def forget(p: Plic, source: u64) -> None:
    """A request that nobody has claimed yet is withdrawn. The lock is held."""
    bit = u32(1) << (source & 31)
    p.pending[source >> 5] = p.pending[source >> 5] & ~bit
    p.again[source >> 5] = p.again[source >> 5] & ~bit
    update(p)


@fn
def pulse(p: Plic, source: u64) -> None:
    """One request of a source, whatever its level. Any thread."""
    lock(p)
    p.again[source >> 5] = p.again[source >> 5] | u32(1) << (source & 31)
    gateway(p)
    atomic_store(p.lock, 0)


@fn
def cancel(p: Plic, source: u64) -> None:
    """Withdraw a pulse. Any thread."""
    lock(p)
    if p.level[source >> 5] >> (source & 31) & 1 == 0:
        forget(p, source)
    atomic_store(p.lock, 0)


@fn
def claim(p: Plic, c: Context) -> u32:
    """Take the best source."""
    source = best(p, c)
    if source != 0:
        bit = u32(1) << (source & 31)
        p.pending[source >> 5] = p.pending[source >> 5] & ~bit
        p.claimed[source >> 5] = p.claimed[source >> 5] | bit
        update(p)
    return u32(source)


@fn
def complete(p: Plic, c: Context, source: u64) -> None:
    """The source was served; of one that is not enabled here nothing is known."""
    if source == 0 or source >= SOURCES:
        return
    bit = u32(1) << (source & 31)
    if c.enable[source >> 5] & bit != 0:
        p.claimed[source >> 5] = p.claimed[source >> 5] & ~bit
        gateway(p)


@fn
def plic_read(p: Plic, offset: u64) -> u32:
    """Read a 32-bit register."""
    if offset < PENDING:
        return u32(p.priority[offset >> 2]) if offset >> 2 < SOURCES else 0
    if offset < ENABLE:
        word = offset - PENDING >> 2
        return atomic_load(p.pending[word]) if word < WORDS else 0
    if offset < ENABLE_END:
        i, word = offset - ENABLE >> 7, offset >> 2 & 31
        return p.context[i].enable[word] if i < u64(p.contexts) and word < WORDS else 0
    if offset < CONTEXT:
        return 0
    i = offset - CONTEXT >> 12
    if i >= u64(p.contexts):
        return 0
    if offset & 0xFFF == 0:
        return p.context[i].threshold
    if offset & 0xFFF != 4:
        return 0
    lock(p)
    source = claim(p, p.context[i])
    atomic_store(p.lock, 0)
    return source


@fn
def plic_write(p: Plic, offset: u64, value: u32) -> None:
    """Write a 32-bit register."""
    lock(p)
    if offset < PENDING:
        if offset >> 2 < SOURCES and offset >> 2 != 0:
            p.priority[offset >> 2] = u8(value & PRIORITIES)
            update(p)
    elif offset >= ENABLE and offset < ENABLE_END:
        i, word = offset - ENABLE >> 7, offset >> 2 & 31
        if i < u64(p.contexts) and word < WORDS:
            p.context[i].enable[word] = value & (~1 if word == 0 else ~0)
            update(p)
    elif offset >= CONTEXT:
        i = offset - CONTEXT >> 12
        if i < u64(p.contexts):
            if offset & 0xFFF == 0:
                p.context[i].threshold = value & PRIORITIES
                update(p)
            elif offset & 0xFFF == 4:
                complete(p, p.context[i], u64(value))
    atomic_store(p.lock, 0)
