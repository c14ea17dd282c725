"""The devices that live in native code, and their places: QEMU's `virt` map. What is nobody's raises Trap."""
from __future__ import annotations

from popek.devices.clint import clint_read, clint_write
from popek.devices.irq import Plic, plic_read, plic_write, set_level
from popek.devices.rtc import NEVER, Rtc, alarm_due, rtc_read, rtc_write
from popek.devices.syscon import syscon_write
from popek.devices.uart import Uart, changed, uart_read, uart_write
from popek.isa.hart import Hart
from popek.lang import Opaque, Ptr, Trap, cast, fn, port, struct, u8, u32, u64

SYSCON, SYSCON_SIZE = 0x10_0000, 0x1000
RTC, RTC_SIZE, RTC_SOURCE = 0x10_1000, 0x1000, 11
CLINT, CLINT_SIZE = 0x200_0000, 0x1_0000
PLIC, PLIC_SIZE = 0xC00_0000, 0x60_0000
UART, UART_SIZE, UART_SOURCE = 0x1000_0000, 0x100, 10


@port
def guest_time(owner: Opaque) -> u64:
    """Guest time, on the timer thread."""
    ...


@struct
class Builtin:
    """All of them."""

    owner: Ptr[Opaque]
    harts: u32
    plic: Plic
    uart: Uart
    rtc: Rtc


@fn
def prepare(b: Builtin, owner: Opaque, harts: u32) -> None:
    """After memory was zero: connect everything."""
    b.owner = owner
    b.harts = harts
    b.plic.owner = owner
    b.plic.contexts = harts * 2
    b.uart.owner = owner
    b.uart.plic = b.plic
    b.uart.source = UART_SOURCE
    b.rtc.owner = owner
    b.rtc.plic = b.plic
    b.rtc.source = RTC_SOURCE
    b.rtc.deadline = NEVER


@fn
def device_read(h: Hart, devices: Opaque, paddr: u64, size: u32) -> u64:
    """Read a register."""
    b = cast(Builtin, devices)
    if paddr - UART < UART_SIZE and size == 1:
        return u64(uart_read(b.uart, paddr - UART)) if paddr - UART < 8 else 0
    if paddr - PLIC < PLIC_SIZE and size == 4:
        return u64(plic_read(b.plic, paddr - PLIC))
    if paddr - CLINT < CLINT_SIZE and size >= 4:
        return clint_read(h, cast(Opaque, b.owner), u64(b.harts), paddr - CLINT, size)
    if paddr - RTC < RTC_SIZE and size == 4:
        return u64(rtc_read(h, b.rtc, paddr - RTC))
    if paddr - SYSCON < SYSCON_SIZE:
        return 0
    raise Trap(0, paddr)


@fn
def device_write(h: Hart, devices: Opaque, paddr: u64, size: u32, value: u64) -> None:
    """Write a register."""
    b = cast(Builtin, devices)
    if paddr - UART < UART_SIZE and size == 1:
        if paddr - UART < 8:
            uart_write(b.uart, paddr - UART, u8(value))
    elif paddr - PLIC < PLIC_SIZE and size == 4:
        plic_write(b.plic, paddr - PLIC, u32(value))
    elif paddr - CLINT < CLINT_SIZE and size >= 4:
        clint_write(h, cast(Opaque, b.owner), u64(b.harts), paddr - CLINT, size, value)
    elif paddr - RTC < RTC_SIZE and size == 4:
        rtc_write(h, b.rtc, paddr - RTC, u32(value))
    elif paddr - SYSCON < SYSCON_SIZE:
        syscon_write(cast(Opaque, b.owner), paddr - SYSCON, u32(value))
    else:
        raise Trap(0, paddr)


@fn
def input_arrived(devices: Opaque) -> None:
    """The serial line has input, or room for output."""
    changed(cast(Builtin, devices).uart)


@fn
def devices_tick(devices: Opaque) -> u64:
    """On the timer thread: do what is due."""
    b = cast(Builtin, devices)
    if b.rtc.deadline == NEVER:
        return NEVER
    return alarm_due(b.rtc, guest_time(cast(Opaque, b.owner)))


@fn
def raise_source(devices: Opaque, source: u64, level: u32) -> None:
    """A device outside native code drives its line."""
    set_level(cast(Builtin, devices).plic, source, level)
