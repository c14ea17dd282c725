"""The world around the harts of an engine test, in the typed subset: one text for the reference and native code.

Lives here: a few devices whose every access leaves a trace, a clock that is the instruction count, a finisher, and what
happens at poll points. Not here: machines (native, tests.isa.machine).
"""

from __future__ import annotations

from popek.engine import vector
from popek.isa import interrupts, ports, privileged
from popek.isa.hart import Hart
from popek.lang import Trap, atomic_load, atomic_or, cast, fn, rotl, struct, u32, u64

POLL_STOP = 2
POLL_WATCH = 4  # stays set: every poll point is counted, until `limit` of them
FINISHER, LINES_UP, LINES_DOWN, REGISTERS = 0x10_0000, 0x200_0000, 0x200_0008, 0x1000_0000
DEVICE_LINES = 0xA88  # MSIP, MTIP, SEIP, MEIP


@struct
class Desk:
    """What one hart's tester sees."""

    finished: u64  # what the guest wrote to the finisher, plus one
    polls: u64
    limit: u64
    reads: u64
    trace: u64  # of all device accesses, in order


@fn
def mmio_read(h: Hart, paddr: u64, size: u32) -> u64:
    """Device registers answer something else each time; everywhere else is nothing."""
    desk = cast(Desk, h.vm)
    if paddr - REGISTERS >= 0x1000:
        raise Trap(0, 0)
    desk.reads += 1
    desk.trace = rotl(desk.trace, 5) ^ paddr ^ (u64(size) << 60)
    return (desk.reads + paddr) * 0x9E37_79B9_7F4A_7C15


@fn
def mmio_write(h: Hart, paddr: u64, size: u32, value: u64) -> None:
    """The finisher, interrupt lines, and registers that only leave a trace."""
    desk = cast(Desk, h.vm)
    if paddr == FINISHER:
        desk.finished = value + 1
        atomic_or(h.poll, POLL_STOP)
    elif paddr == LINES_UP:
        interrupts.raise_interrupt(h, value & DEVICE_LINES)
    elif paddr == LINES_DOWN:
        interrupts.lower_interrupt(h, value & DEVICE_LINES)
    elif paddr - REGISTERS >= 0x1000:
        raise Trap(0, 0)
    desk.trace = rotl(desk.trace, 7) ^ paddr ^ (u64(size) << 61) ^ value


@fn
def read_time(h: Hart) -> u64:
    """Time passes with instructions."""
    return h.instret


@fn
def timer_changed(h: Hart) -> None:
    """Nobody watches deadlines here."""


@fn
def wait_for_interrupt(h: Hart) -> None:
    """WFI may return at any time, and does."""


@fn
def poll(h: Hart) -> bool:
    """At a poll point with something in h.poll. True: stop."""
    desk = cast(Desk, h.vm)
    desk.polls += 1
    if (h.poll & 1) != 0:
        privileged.poll_interrupts(h)
    waiting = atomic_load(h.poll)
    return (waiting & POLL_STOP) != 0 or ((waiting & POLL_WATCH) != 0 and desk.polls >= desk.limit)


@fn
def asleep(h: Hart) -> bool:
    """Harts of a desk never sleep."""
    return False


@fn
def trap(h: Hart) -> None:
    """Every trap is the guest's own."""
    privileged.take_trap(h)


PORTS = {
    ports.mmio_read: mmio_read,
    ports.mmio_write: mmio_write,
    ports.read_time: read_time,
    ports.timer_changed: timer_changed,
    ports.spins: timer_changed,
    ports.vector: vector.vector,
    ports.wait_for_interrupt: wait_for_interrupt,
}
