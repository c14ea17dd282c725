"""Lock-step: what a hart cannot know from its own state and RAM is written into a log, or read from it.

Lives here: ports and substitutes of a machine that is checked (api/check), for both of its harts. The first records;
the second, on another engine, replays: it asks no clock and no device, and looks up exactly at the poll points at
which the first did. What is compared, and what is said about a difference, is api/check's. One hart a machine.

A *position* counts retired instructions and traps: no two poll points have the same. Lines that others drive wait in
`raised` and `lowered` until the hart takes them over at a moment that is in the log; so mip is the hart's alone.
"""
from __future__ import annotations

from popek.isa import interrupts
from popek.isa.fp import host_flags_enter, host_flags_leave
from popek.isa.hart import POLL_INTERRUPT, Hart
from popek.isa.memory import block_written, fetch
from popek.isa.ports import fence_i, tlb_flush, tlb_regime_changed
from popek.isa.privileged import poll_interrupts
from popek.isa.table import Decoded, decode, execute
from popek.lang import (
    Opaque,
    Ptr,
    Trap,
    at_u8,
    at_u64,
    atomic_and,
    atomic_load,
    atomic_or,
    atomic_store,
    atomic_swap,
    cast,
    fn,
    memcpy,
    struct,
    u8,
    u32,
    u64,
)
from popek.vmm import allocator, dispatcher, services, timers
from popek.vmm.vm import POLL_ENGINE, POLL_STATE, STARTED, VM

RECORD, REPLAY = 0, 1

# Events: words kind | size << 32, position, address, value, lines raised, lines lowered
EVENT = 48
POLL, COMPARE, TIME, READ, NO_READ, WRITE, NO_WRITE, WAIT, MEMORY, MEMORY_AT_POLL, GET, PUT, BYTES = range(1, 14)
KINDS = ("nothing", "poll point", "comparison", "clock", "device read", "read of no device", "device write",
         "write of no device", "wait for interrupt", "memory written by a device",
         "memory written by a device at a poll point", "console input", "console output",
         "console input to memory")  # fmt: skip
MARGIN = 1 << 16               # events kept free for what happens up to the next poll point

POLL_CHECK = 16                # bit of Hart.poll: always set in who replays

# Why a replay went wrong
RIGHT, OTHER_EVENT, MISSED_POLL, NO_EVENT = 0, 1, 2, 3


@struct
class Log:
    """One hart's view of the log: the writer's or a reader's."""

    events: u64                # host address
    count: u64                 # events written, or that may be read
    limit: u64
    index: u64                 # the next one to read
    mode: u32
    muted: u32                 # the hart sleeps: what it looks at meanwhile is not to be replayed
    wanted: u32                # leave native code at the next poll point, for a comparison
    ended: u32                 # the machine has ended
    every: u32                 # replaying: leave at every poll point
    wrong: u32                 # replaying: why the log does not fit what the hart does
    met_kind: u64              # what it did then, and where
    met_address: u64
    met_value: u64
    met_pc: u64
    traps: u64
    left_at: u64               # replaying: the position at which native code was left last
    raised: u64                # lines that others have driven since the hart looked
    lowered: u64
    took_raised: u64           # and those it took over since the last event
    took_lowered: u64
    nothing: u64               # host address of an empty event
    word: u32                  # replaying one by one: the last instruction
    decoded: Decoded


@fn(inline=True)
def log_of(h: Hart) -> Ptr[Log]:
    """The hart's log."""
    return cast(Log, cast(VM, h.vm).check)


@fn(export=True)
def log_size() -> u64:
    """Bytes of zeroed memory for a Log."""
    return Log.size


@fn(export=True)
def begin(h: Hart, log: u64, events: u64, limit: u64, nothing: u64, mode: u32) -> None:
    """Let a hart write or read a log. `limit`: events it has room for; the first of all is empty (`nothing`)."""
    g = cast(Log, log)
    g.events = events
    g.limit = limit
    g.nothing = nothing
    g.mode = mode
    g.left_at = ~0
    cast(VM, h.vm).check = cast(Opaque, log)
    if mode == REPLAY:
        atomic_or(h.poll, POLL_CHECK)


@fn(export=True)
def rewind(h: Hart, traps: u64) -> None:
    """Replay from the first event on: the hart's registers and RAM are those of that moment. What engines keep goes."""
    g = log_of(h)
    g.mode = REPLAY
    g.index = 0
    g.traps = traps
    g.wrong = RIGHT
    g.every = 0
    g.wanted = 0
    g.left_at = ~0
    tlb_flush(h, 0, 0, 0)
    fence_i(h)
    tlb_regime_changed(h)
    atomic_or(h.poll, POLL_CHECK)


@fn(inline=True)
def position(h: Hart, g: Log) -> u64:
    """Where the hart is. Exact at poll points."""
    return h.instret + g.traps


@fn(export=True)
def ask(h: Hart) -> None:
    """Make the first hart leave native code at its next poll point. Any thread."""
    g = log_of(h)
    atomic_store(g.wanted, 1)
    allocator.post(cast(VM, h.vm), 0, POLL_STATE)


@fn(export=True)
def idle(h: Hart) -> bool:
    """Does the hart sleep, or will it never run again? Any thread."""
    s = allocator.state_of(h)
    return atomic_load(s.sleeping) != 0 or atomic_load(s.state) != STARTED


@fn(export=True)
def parked(h: Hart) -> bool:
    """Will the hart never run again? Any thread."""
    return atomic_load(allocator.state_of(h).state) != STARTED


# -- lines --


@fn
def raise_interrupt(h: Hart, lines: u64) -> None:
    """Stands for isa.interrupts.raise_interrupt: the lines wait until the hart looks."""
    g = log_of(h)
    if g.mode == RECORD:
        atomic_and(g.lowered, ~lines)
        atomic_or(g.raised, lines)
        atomic_or(h.poll, POLL_INTERRUPT)


@fn
def lower_interrupt(h: Hart, lines: u64) -> None:
    """Stands for isa.interrupts.lower_interrupt."""
    g = log_of(h)
    if g.mode == RECORD:
        atomic_and(g.raised, ~lines)
        atomic_or(g.lowered, lines)


@fn
def take_lines(h: Hart, g: Log) -> None:
    """Take over what others drove. `lowered` first: who raises and lowers meanwhile must not leave a line up."""
    lowered = atomic_swap(g.lowered, 0)
    raised = atomic_swap(g.raised, 0)
    h.mip = h.mip & ~lowered | raised
    g.took_lowered = g.took_lowered | lowered
    g.took_raised = g.took_raised & ~lowered | raised


@fn
def wakes(h: Hart) -> bool:
    """Stands for isa.interrupts.wakes."""
    g = log_of(h)
    if g.mode == RECORD:
        take_lines(h, g)
    return interrupts.wakes(h)


# -- events --


@fn
def note(h: Hart, g: Log, kind: u64, address: u64, value: u64) -> None:
    """Write an event, with the lines that the hart took over."""
    if g.muted != 0 or g.count >= g.limit:
        return
    e = g.events + g.count * EVENT
    at_u64(e).value = kind
    at_u64(e + 8).value = position(h, g)
    at_u64(e + 16).value = address
    at_u64(e + 24).value = value
    at_u64(e + 32).value = g.took_raised
    at_u64(e + 40).value = g.took_lowered
    g.took_raised = 0
    g.took_lowered = 0
    g.count += 1
    if g.count + MARGIN >= g.limit:
        atomic_store(g.wanted, 1)
        atomic_or(h.poll, POLL_STATE)


@fn(export=True)
def note_memory(h: Hart, kind: u64, paddr: u64, size: u64, place: u64) -> None:
    """A device has written guest memory; its bytes are kept at host address `place`. While the hart is out."""
    note(h, log_of(h), kind | size << 32, paddr, place)


@fn
def event(h: Hart, g: Log, kind: u64, address: u64, value: u64) -> u64:
    """The next event, which must be of that kind (with its size) and address; else the empty one."""
    if g.wrong == RIGHT:
        while g.index < g.count and at_u64(g.events + g.index * EVENT).value & 0xFFFF == MEMORY:
            write_memory(h, g.events + g.index * EVENT)
            g.index += 1
        if g.index < g.count:
            e = g.events + g.index * EVENT
            if at_u64(e).value == kind and at_u64(e + 16).value == address:
                g.index += 1
                h.mip = h.mip & ~at_u64(e + 40).value | at_u64(e + 32).value
                return e
        g.wrong = OTHER_EVENT if g.index < g.count else NO_EVENT
        g.met_kind = kind
        g.met_address = address
        g.met_value = value
        g.met_pc = h.pc
    return g.nothing


@fn
def write_memory(h: Hart, e: u64) -> None:
    """Write what a device wrote, and tell the engine."""
    offset = at_u64(e + 16).value - h.board.ram_base
    place, left = at_u64(e + 24).value, at_u64(e).value >> 32
    while left != 0:
        n = min(4096 - (offset & 0xFFF), left)
        memcpy(h.board.ram + offset, place, n)
        block_written(h, h.board.ram + offset, n)
        offset += n
        place += n
        left -= n


# -- ports --


@fn
def mmio_read(h: Hart, paddr: u64, size: u32) -> u64:
    """isa.ports.mmio_read"""
    g = log_of(h)
    width = u64(size) << 32
    value: u64 = 0
    there = True
    if g.mode == REPLAY:
        there = next_is(h, g, READ)
        e = event(h, g, (READ if there else NO_READ) | width, paddr, 0)
        value = at_u64(e + 24).value
    else:
        try:
            value = dispatcher.mmio_read(h, paddr, size)
        except Trap:
            there = False
        take_lines(h, g)
        note(h, g, (READ if there else NO_READ) | width, paddr, value)
    if not there:
        raise Trap(0, paddr)
    return value


@fn
def mmio_write(h: Hart, paddr: u64, size: u32, value: u64) -> None:
    """isa.ports.mmio_write"""
    g = log_of(h)
    width = u64(size) << 32
    there = True
    if g.mode == REPLAY:
        there = next_is(h, g, WRITE)
        e = event(h, g, (WRITE if there else NO_WRITE) | width, paddr, value)
        if g.wrong == RIGHT and at_u64(e + 24).value != value:
            g.index -= 1
            g.wrong = OTHER_EVENT
            g.met_kind = WRITE | width
            g.met_address = paddr
            g.met_value = value
            g.met_pc = h.pc
    else:
        try:
            dispatcher.mmio_write(h, paddr, size, value)
        except Trap:
            there = False
        take_lines(h, g)
        note(h, g, (WRITE if there else NO_WRITE) | width, paddr, value)
    if not there:
        raise Trap(0, paddr)


@fn
def next_is(h: Hart, g: Log, kind: u64) -> bool:
    """Is the next event, behind what devices wrote, of that kind?"""
    i = g.index
    while i < g.count and at_u64(g.events + i * EVENT).value & 0xFFFF == MEMORY:
        i += 1
    return i >= g.count or at_u64(g.events + i * EVENT).value & 0xFFFF == kind


@fn
def read_time(h: Hart) -> u64:
    """isa.ports.read_time"""
    g = log_of(h)
    if g.mode == REPLAY:
        return at_u64(event(h, g, TIME, 0, 0) + 24).value
    now = timers.read_time(h)
    note(h, g, TIME, 0, now)
    return now


@fn
def timer_changed(h: Hart) -> None:
    """isa.ports.timer_changed: who replays has no timer."""
    if log_of(h).mode == RECORD:
        timers.timer_changed(h)


@fn
def wait_for_interrupt(h: Hart) -> None:
    """isa.ports.wait_for_interrupt: the sleep itself, and the looking around in it, are not replayed."""
    g = log_of(h)
    if g.mode == REPLAY:
        e = event(h, g, WAIT, 0, 0)
        if g.wrong == RIGHT:
            h.mip = at_u64(e + 24).value
        return
    g.muted = 1
    allocator.wait_for_interrupt(h)
    g.muted = 0
    note(h, g, WAIT, 0, h.mip)


@fn
def trap(h: Hart) -> None:
    """The engines' port."""
    g = log_of(h)
    g.traps += 1
    dispatcher.trap(h)


@fn
def poll(h: Hart) -> bool:
    """The engines' port: vmm.dispatcher.poll, recorded or replayed. True: leave native code."""
    g = log_of(h)
    if g.mode == REPLAY:
        return replay_poll(h, g)
    take_lines(h, g)
    note(h, g, POLL, 0, 0)
    mine = g.events + (g.count - 1) * EVENT
    atomic_or(h.poll, POLL_INTERRUPT)      # so that both ask whether one is due
    if dispatcher.poll(h):
        at_u64(mine).value = COMPARE
        g.ended = 1
        return True
    if atomic_load(g.wanted) == 0:
        return False
    atomic_store(g.wanted, 0)
    note(h, g, COMPARE, 0, 0)
    return True


@fn
def replay_poll(h: Hart, g: Log) -> bool:
    """At a poll point: is it one at which the recorded hart looked up? Then all that it met there is met here."""
    atomic_and(h.poll, POLL_CHECK | POLL_ENGINE | POLL_INTERRUPT)
    now = position(h, g)
    leave = False
    while g.wrong == RIGHT and g.index < g.count and not leave:
        e = g.events + g.index * EVENT
        kind = at_u64(e).value & 0xFFFF
        if kind != POLL and kind != COMPARE and kind != MEMORY_AT_POLL:
            break
        if at_u64(e + 8).value != now:
            if at_u64(e + 8).value < now:
                g.wrong = MISSED_POLL
                g.met_kind = kind
                g.met_pc = h.pc
            break
        g.index += 1
        if kind == MEMORY_AT_POLL:
            write_memory(h, e)
        else:
            h.mip = h.mip & ~at_u64(e + 40).value | at_u64(e + 32).value
            if kind == POLL:
                atomic_or(h.poll, POLL_INTERRUPT)
                poll_interrupts(h)
            elif g.every == 0:
                leave = True
    if g.every != 0 and now != g.left_at:
        leave = True
    if g.wrong == RIGHT and not leave and g.index >= g.count:
        g.wrong = NO_EVENT
        g.met_kind = POLL
        g.met_pc = h.pc
    if leave:
        g.left_at = now
    return leave or g.wrong != RIGHT


@fn(export=True)
def one(h: Hart) -> None:
    """Replay a single instruction, or its trap."""
    host_flags_enter(h)
    g = log_of(h)
    d = g.decoded
    try:
        g.word = 0
        g.word = fetch(h, h.pc)
        decode(g.word, d)
        execute(h, d)
        h.instret += 1
    except Trap:
        trap(h)
    host_flags_leave(h)


# -- the supervisor's calls that reach outside (abi/sbi_port) --


@fn
def console_put(h: Hart, byte: u8) -> None:
    g = log_of(h)
    if g.mode == REPLAY:
        event(h, g, PUT, u64(byte), 0)
    else:
        services.console_put(h, byte)
        note(h, g, PUT, u64(byte), 0)


@fn
def console_get(h: Hart) -> u64:
    g = log_of(h)
    if g.mode == REPLAY:
        return at_u64(event(h, g, GET, 0, 0) + 24).value
    value = services.console_get(h)
    note(h, g, GET, 0, value)
    return value


@fn
def console_write(h: Hart, place: u64, count: u64) -> u64:
    g = log_of(h)
    if g.mode == REPLAY:
        return at_u64(event(h, g, PUT | count << 32, place, 0) + 24).value
    n = services.console_write(h, place, count)
    note(h, g, PUT | count << 32, place, n)
    return n


@fn
def console_read(h: Hart, place: u64, count: u64) -> u64:
    """The bytes are in the log, one in an event."""
    g = log_of(h)
    host = h.board.ram + (place - h.board.ram_base)
    n: u64 = 0
    if g.mode == REPLAY:
        n = at_u64(event(h, g, BYTES, place, 0) + 24).value
        for i in range(n):
            at_u8(host + i).value = u8(at_u64(event(h, g, GET, place + i, 0) + 24).value)
            block_written(h, host + i, 1)
        return n
    n = services.console_read(h, place, count)
    note(h, g, BYTES, place, n)
    for i in range(n):
        note(h, g, GET, place + i, u64(at_u8(host + i).value))
    return n


@fn
def system_reset(h: Hart, kind: u64, reason: u64) -> None:
    if log_of(h).mode == RECORD:
        services.system_reset(h, kind, reason)
