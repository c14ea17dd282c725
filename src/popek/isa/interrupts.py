"""Which interrupt a hart takes next, and the supervisor timer (Sstc).

Taking it is privileged.py's; lines come from outside.

The timer's rule: with menvcfg.STCE set, mip.STIP reads as time >= stimecmp. The stored bit is only a hint, set by
whoever watches the deadline (raise_interrupt) and checked against the clock before it counts.
"""
from __future__ import annotations

from popek.isa.hart import (
    INTERRUPT,
    M_EXTERNAL,
    M_SOFTWARE,
    M_TIMER,
    MACHINE,
    MEIP,
    MIE,
    MSIP,
    MTIP,
    NO_INTERRUPT,
    POLL_INTERRUPT,
    S_EXTERNAL,
    S_SOFTWARE,
    S_TIMER,
    SEIP,
    SIE,
    SSIP,
    STCE,
    STIP,
    SUPERVISOR,
    Hart,
)
from popek.isa.ports import read_time, timer_changed
from popek.lang import atomic_and, atomic_load, atomic_or, fn, u64


@fn
def raise_interrupt(h: Hart, lines: u64) -> None:
    """Set bits of mip, from any thread. Whoever calls it also wakes a hart that sleeps."""
    atomic_or(h.mip, lines)
    atomic_or(h.poll, POLL_INTERRUPT)


@fn
def lower_interrupt(h: Hart, lines: u64) -> None:
    """Clear bits of mip, from any thread."""
    atomic_and(h.mip, ~lines)


@fn
def timer_is_due(h: Hart) -> bool:
    """Has the supervisor timer's moment come?"""
    return read_time(h) >= h.stimecmp


@fn
def settle_timer(h: Hart) -> None:
    """Make the stored STIP agree with the clock, losing no expiry that another thread reports meanwhile."""
    if timer_is_due(h):
        atomic_or(h.mip, STIP)
    else:
        atomic_and(h.mip, ~STIP)
        if timer_is_due(h):
            atomic_or(h.mip, STIP)


@fn
def lines_up(h: Hart) -> u64:
    """mip as it counts now. Asks the clock only when the timer's hint is up and someone listens."""
    lines = atomic_load(h.mip) | h.seip_software
    if h.menvcfg & STCE != 0 and lines & h.mie & STIP != 0:
        settle_timer(h)
        lines = atomic_load(h.mip) | h.seip_software
    return lines


@fn
def read_mip(h: Hart) -> u64:
    """mip as software sees it."""
    if h.menvcfg & STCE != 0:
        settle_timer(h)
    return atomic_load(h.mip) | h.seip_software


@fn
def change_mip(h: Hart, which: u64, value: u64) -> None:
    """Software changes the bits `which` of mip to those of `value`; bits that are wires stay."""
    stored = which & (SSIP | STIP)
    if h.menvcfg & STCE != 0:
        stored = which & SSIP
    atomic_and(h.mip, ~(stored & ~value))
    atomic_or(h.mip, stored & value)
    h.seip_software = h.seip_software & ~which | which & value & SEIP
    interrupts_changed(h)


@fn
def wakes(h: Hart) -> bool:
    """Does WFI end: is any interrupt pending that is enabled one by one, whatever the global enables say?"""
    return lines_up(h) & h.mie != 0


@fn
def pending_interrupt(h: Hart) -> u64:
    """The cause of the interrupt to take now, or NO_INTERRUPT."""
    ready = lines_up(h) & h.mie
    if ready == 0:
        return NO_INTERRUPT
    machine = ready & ~h.mideleg
    if machine != 0 and (h.mode != MACHINE or h.mstatus & MIE != 0):
        return most_urgent(machine)
    supervisor = ready & h.mideleg
    if supervisor != 0 and (h.mode < SUPERVISOR or (h.mode == SUPERVISOR and h.mstatus & SIE != 0)):
        return most_urgent(supervisor)
    return NO_INTERRUPT


@fn
def most_urgent(lines: u64) -> u64:
    """Fixed priority: MEI, MSI, MTI, SEI, SSI, STI."""
    if lines & MEIP != 0:
        return INTERRUPT | M_EXTERNAL
    if lines & MSIP != 0:
        return INTERRUPT | M_SOFTWARE
    if lines & MTIP != 0:
        return INTERRUPT | M_TIMER
    if lines & SEIP != 0:
        return INTERRUPT | S_EXTERNAL
    if lines & SSIP != 0:
        return INTERRUPT | S_SOFTWARE
    return INTERRUPT | S_TIMER


@fn
def interrupts_changed(h: Hart) -> None:
    """After anything that may have unmasked an interrupt: ask the engine for a poll point."""
    if pending_interrupt(h) != NO_INTERRUPT:
        atomic_or(h.poll, POLL_INTERRUPT)


@fn
def write_stimecmp(h: Hart, value: u64) -> None:
    """Set the supervisor timer (Privileged ISA, "Supervisor Timer (stimecmp) Register")."""
    h.stimecmp = value
    if h.menvcfg & STCE != 0:
        settle_timer(h)
        timer_changed(h)
        interrupts_changed(h)
