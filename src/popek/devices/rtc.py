"""Goldfish RTC: wall-clock time in nanoseconds, and an alarm. In the typed subset.

Android goldfish, "RTC (Real-time Clock)", list of registers.
"""
from __future__ import annotations

from popek.devices.clint import read_time
from popek.devices.irq import Plic, set_level
from popek.isa.hart import Hart
from popek.lang import Opaque, Ptr, atomic_load, atomic_store, cast, fn, port, struct, u32, u64

TIME_LOW, TIME_HIGH, ALARM_LOW, ALARM_HIGH, IRQ_ENABLED, CLEAR_ALARM, ALARM_STATUS, CLEAR_INTERRUPT = range(0, 0x20, 4)
TICK = 100                     # nanoseconds of guest time
NEVER = (1 << 64) - 1


@port
def wall_clock(h: Hart) -> u64:
    """Nanoseconds since 1970."""
    ...


@port
def watch(owner: Opaque, deadline: u64) -> None:
    """Have `alarm_due` called at that guest time."""
    ...


@struct
class Rtc:
    """Registers, and the alarm as a deadline in guest time."""

    owner: Ptr[Opaque]
    plic: Ptr[Plic]
    source: u32
    high: u32                  # of the time last read
    shift: u64                 # what the guest has set the clock ahead by
    alarm_high: u32
    enabled: u32
    alarm: u64                 # wall-clock nanoseconds
    deadline: u64              # guest time; NEVER: not set
    pending: u32


@fn
def settle(r: Rtc) -> None:
    """Drive the interrupt line."""
    set_level(cast(Plic, r.plic), u64(r.source), u32(atomic_load(r.pending) != 0 and r.enabled != 0))


@fn
def now(h: Hart, r: Rtc) -> u64:
    """The guest's wall clock."""
    return wall_clock(h) + r.shift


@fn
def rtc_read(h: Hart, r: Rtc, offset: u64) -> u32:
    """Read a register; TIME_LOW keeps the matching high half."""
    if offset == TIME_LOW:
        time = now(h, r)
        r.high = u32(time >> 32)
        return u32(time)
    if offset == TIME_HIGH:
        return r.high
    if offset == ALARM_LOW:
        return u32(r.alarm)
    if offset == ALARM_HIGH:
        return u32(r.alarm >> 32)
    if offset == IRQ_ENABLED:
        return r.enabled
    if offset == ALARM_STATUS:
        return u32(atomic_load(r.deadline) != NEVER)
    return 0


@fn
def rtc_write(h: Hart, r: Rtc, offset: u64, value: u32) -> None:
    """Write a register; the high halves take effect with the low ones."""
    if offset == TIME_LOW:
        r.shift = r.shift + ((u64(r.high) << 32 | u64(value)) - now(h, r))
    elif offset == TIME_HIGH:
        r.high = value
    elif offset == ALARM_LOW:
        set_alarm(h, r, u64(r.alarm_high) << 32 | u64(value))
    elif offset == ALARM_HIGH:
        r.alarm_high = value
    elif offset == IRQ_ENABLED:
        r.enabled = value & 1
        settle(r)
    elif offset == CLEAR_ALARM:
        atomic_store(r.deadline, NEVER)
    elif offset == CLEAR_INTERRUPT:
        atomic_store(r.pending, 0)
        settle(r)


@fn
def set_alarm(h: Hart, r: Rtc, time: u64) -> None:
    """Arm the alarm."""
    r.alarm = time
    clock = now(h, r)
    deadline = read_time(h)
    if time > clock:
        deadline += (time - clock) // TICK + 1
    atomic_store(r.deadline, deadline)
    watch(cast(Opaque, r.owner), deadline)


@fn
def alarm_due(r: Rtc, time: u64) -> u64:
    """On the timer thread, at guest time `time`: ring if it is time. The next moment to be called, or NEVER."""
    deadline = atomic_load(r.deadline)
    if deadline == NEVER or time < deadline:
        return deadline
    atomic_store(r.deadline, NEVER)
    atomic_store(r.pending, 1)
    settle(r)
    return NEVER
