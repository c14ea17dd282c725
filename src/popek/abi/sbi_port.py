"""What the supervisor's calls ask of the monitor. Declarations only: the monitor's side is vmm/services."""
from __future__ import annotations

from popek.isa.hart import Hart
from popek.lang import port, u8, u64


@port
def hart_count(h: Hart) -> u64:
    """How many harts there are, numbered from 0."""
    ...


@port
def is_ram(h: Hart, place: u64, count: u64) -> bool:
    """Do `count` bytes at that physical address lie in RAM?"""
    ...


@port
def set_timer(h: Hart, time: u64) -> None:
    """Supervisor timer interrupt at `time`."""
    ...


@port
def send_ipi(h: Hart, harts: u64) -> None:
    """Supervisor software interrupt on these harts."""
    ...


@port
def remote_fence_i(h: Hart, harts: u64) -> None:
    """FENCE.I on these harts."""
    ...


@port
def remote_sfence(h: Hart, harts: u64, start: u64, size: u64) -> None:
    """SFENCE.VMA on these harts; size 0 or all ones: everything."""
    ...


@port
def remote_sfence_asid(h: Hart, harts: u64, start: u64, size: u64, asid: u64) -> None:
    """The same for one address space."""
    ...


@port
def hart_start(h: Hart, hart: u64, pc: u64, argument: u64) -> bool:
    """Start a stopped hart; False: it is not stopped."""
    ...


@port
def hart_stop(h: Hart) -> None:
    """Stop the calling hart at its next poll point."""
    ...


@port
def hart_status(h: Hart, hart: u64) -> u64:
    """State of a hart, in SBI's numbers."""
    ...


@port
def hart_suspend(h: Hart) -> None:
    """Suspend the calling hart until an interrupt is pending."""
    ...


@port
def hart_resume(h: Hart, pc: u64, argument: u64) -> None:
    """The calling hart begins at `pc`, as after a start."""
    ...


@port
def system_reset(h: Hart, kind: u64, reason: u64) -> None:
    """Power off (0) or reset (1, 2); reason 1 is a failure."""
    ...


@port
def console_put(h: Hart, byte: u8) -> None:
    """Output one byte."""
    ...


@port
def console_get(h: Hart) -> u64:
    """The next byte of input, all ones if there is none."""
    ...


@port
def console_write(h: Hart, place: u64, count: u64) -> u64:
    """Output bytes from RAM; how many."""
    ...


@port
def console_read(h: Hart, place: u64, count: u64) -> u64:
    """Input to RAM; how many bytes."""
    ...
