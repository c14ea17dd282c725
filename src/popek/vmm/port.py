"""The few operations a host must supply to the monitor, and what the machine around it answers. Declarations only.

The hosted side is hosted/port; for a run as plain Python, api/machine binds ordinary functions.
"""
from __future__ import annotations

from popek.isa.hart import Hart
from popek.lang import Opaque, port, u32, u64
from popek.vmm.vm import Access, Waiter


@port
def monotonic(w: Waiter) -> u64:
    """Nanoseconds of a clock that only goes forward."""
    ...


@port
def realtime(w: Waiter) -> u64:
    """Nanoseconds since 1970."""
    ...


@port
def sleep(w: Waiter, value: u32, until: u64) -> None:
    """Sleep while w.word is `value`, at most until that moment of `monotonic` (NEVER: without limit). May end early."""
    ...


@port
def wake(w: Waiter) -> None:
    """Wake whoever sleeps there: several may, if none of them has a limit."""
    ...


@port
def give_way() -> None:
    """Let other threads run: a lock is taken, or another hart is waited for."""
    ...


@port
def host_device(function: u64, access: Access) -> bool:
    """Let a device model outside native code answer; False: nothing is there."""
    ...


@port(raises=True)
def device_read(h: Hart, devices: Opaque, paddr: u64, size: u32) -> u64:
    """Read a register of the devices in native code; Trap: not theirs."""
    ...


@port(raises=True)
def device_write(h: Hart, devices: Opaque, paddr: u64, size: u32, value: u64) -> None:
    """Write a register of the devices in native code; Trap: not theirs."""
    ...


@port
def devices_tick(devices: Opaque) -> u64:
    """Called by the timer thread: do what is due; the guest time of the next moment, or NEVER."""
    ...


@port
def input_arrived(devices: Opaque) -> None:
    """Bytes for the serial line have arrived, or room for its output."""
    ...
