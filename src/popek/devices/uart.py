"""A 16550A serial port as Linux's 8250 driver, OpenSBI and U-Boot expect it. In the typed subset.

National Semiconductor PC16550D data sheet. Output leaves at once, input comes from a ring in which any amount may
wait; both rings are the monitor's.
"""
from __future__ import annotations

from popek.devices.irq import Plic, cancel, pulse, relax, set_level
from popek.lang import Array, Opaque, Ptr, atomic_cas, atomic_store, cast, fn, port, struct, u8, u32, u64

RBR, IER, IIR, LCR, MCR, LSR, MSR, SCR = range(8)
RX_ENABLE, TX_ENABLE, LINE_ENABLE, MODEM_ENABLE = 1, 2, 4, 8
NO_INTERRUPT, TX_INTERRUPT, RX_INTERRUPT, TIMEOUT_INTERRUPT = 1, 2, 4, 12
FIFO_ENABLED = 0xC0
FIFO_ON, FIFO_CLEAR_INPUT = 1, 2
DLAB = 0x80
LOOPBACK = 0x10
DATA_READY, OVERRUN, TX_EMPTY, IDLE = 1, 2, 0x20, 0x40
MODEM_PRESENT = 0xB0           # carrier, data set ready, clear to send
FIFO = 16
ROOM = 64                      # the transmitter counts as empty while the ring has that much room


@port
def put(owner: Opaque, byte: u8) -> None:
    """Output one byte, waiting for room."""
    ...


@port
def output_room(owner: Opaque) -> u64:
    """Room for output."""
    ...


@port
def input_ready(owner: Opaque) -> u64:
    """Bytes of input that wait."""
    ...


@port
def get(owner: Opaque) -> u8:
    """The next byte of input."""
    ...


@struct
class Uart:
    """The port's registers."""

    owner: Ptr[Opaque]         # what the rings' functions want
    plic: Ptr[Plic]
    source: u32
    lock: u32
    up: u32                    # the interrupt line
    ier: u8
    fcr: u8
    lcr: u8
    mcr: u8
    scr: u8
    dll: u8
    dlm: u8
    overrun: u8
    tx_pending: u8             # the transmitter became empty, and nobody has asked since
    loop: Array[u8, FIFO]      # what was sent in loopback mode
    loop_count: u32


@fn
def received(u: Uart) -> u64:
    """Bytes to be read."""
    if u.mcr & LOOPBACK != 0 or u.loop_count != 0:
        return u64(u.loop_count)
    return input_ready(cast(Opaque, u.owner))


@fn
def transmitter_empty(u: Uart) -> bool:
    """May the guest send?"""
    return output_room(cast(Opaque, u.owner)) >= ROOM


@fn
def interrupt_id(u: Uart) -> u8:
    """IIR without the FIFO bits: the most urgent cause."""
    if u.ier & LINE_ENABLE != 0 and u.overrun != 0:
        return 6
    if u.ier & RX_ENABLE != 0:
        n = received(u)
        if n != 0:
            return RX_INTERRUPT if u.fcr & FIFO_ON == 0 or n >= trigger(u) else TIMEOUT_INTERRUPT
    if u.ier & TX_ENABLE != 0 and u.tx_pending != 0 and transmitter_empty(u):
        return TX_INTERRUPT
    return NO_INTERRUPT


@fn
def trigger(u: Uart) -> u64:
    """How many bytes make the receive interrupt (fewer: the time-out one)."""
    which = u.fcr >> 6
    if which == 0:
        return 1
    if which == 3:
        return 14
    return u64(which) * 4


@fn
def settle(u: Uart) -> None:
    """Hold the interrupt line up while something received waits. A transmitter that is empty only pulses it.

    A level there would be the data sheet's, but drivers that never read IIR (xv6) would be interrupted for ever; they
    were written for a machine whose interrupt controller does not look at the level again.
    """
    plic = cast(Plic, u.plic)
    up: u32 = 0
    if (u.ier & RX_ENABLE != 0 and received(u) != 0) or (u.ier & LINE_ENABLE != 0 and u.overrun != 0):
        up = 1
    fell = up == 0 and u.up != 0
    u.up = up
    set_level(plic, u64(u.source), up)
    if fell:
        pulse_transmitter(u)       # which the level hid


@fn
def pulse_transmitter(u: Uart) -> None:
    """Interrupt if the transmitter became empty, nobody has asked since, and the guest wants to know."""
    if u.ier & TX_ENABLE != 0 and u.tx_pending != 0 and transmitter_empty(u):
        pulse(cast(Plic, u.plic), u64(u.source))


@fn
def calm_transmitter(u: Uart) -> None:
    """The guest has asked, or does not want to know any more."""
    cancel(cast(Plic, u.plic), u64(u.source))


@fn
def lock(u: Uart) -> None:
    """Registers change as one."""
    while not atomic_cas(u.lock, 0, 1):
        relax()


@fn
def changed(u: Uart) -> None:
    """Input has arrived, or there is room for output again. Any thread."""
    lock(u)
    settle(u)
    pulse_transmitter(u)
    atomic_store(u.lock, 0)


@fn
def receive(u: Uart) -> u8:
    """Read the receiver's buffer."""
    if u.loop_count != 0:
        byte = u.loop[0]
        u.loop_count -= 1
        for i in range(u.loop_count):
            u.loop[i] = u.loop[i + 1]
        return byte
    if received(u) == 0:
        return 0
    return get(cast(Opaque, u.owner))


@fn
def line_status(u: Uart) -> u8:
    """LSR; reading it clears the overrun."""
    status: u8 = 0
    if received(u) != 0:
        status = DATA_READY
    if u.overrun != 0:
        status = status | OVERRUN
        u.overrun = 0
    if transmitter_empty(u):
        status = status | TX_EMPTY | IDLE
    return status


@fn
def modem_status(u: Uart) -> u8:
    """MSR: always connected; in loopback mode what MCR says."""
    if u.mcr & LOOPBACK == 0:
        return MODEM_PRESENT
    return (u.mcr & 1) << 5 | (u.mcr & 2) << 3 | (u.mcr & 12) << 4


@fn
def uart_read(u: Uart, offset: u64) -> u8:
    """Read a register."""
    lock(u)
    value: u8 = 0
    if offset == RBR:
        value = u.dll if u.lcr & DLAB != 0 else receive(u)
    elif offset == IER:
        value = u.dlm if u.lcr & DLAB != 0 else u.ier
    elif offset == IIR:
        value = interrupt_id(u)
        if value == TX_INTERRUPT:
            u.tx_pending = 0
            calm_transmitter(u)
        if u.fcr & FIFO_ON != 0:
            value = value | FIFO_ENABLED
    elif offset == LCR:
        value = u.lcr
    elif offset == MCR:
        value = u.mcr
    elif offset == LSR:
        value = line_status(u)
    elif offset == MSR:
        value = modem_status(u)
    elif offset == SCR:
        value = u.scr
    settle(u)
    atomic_store(u.lock, 0)
    return value


@fn
def uart_write(u: Uart, offset: u64, value: u8) -> None:
    """Write a register."""
    if offset == RBR and u.lcr & DLAB == 0 and u.mcr & LOOPBACK == 0:
        put(cast(Opaque, u.owner), value)      # may wait: outside the lock
    lock(u)
    if offset == RBR:
        if u.lcr & DLAB != 0:
            u.dll = value
        else:
            u.tx_pending = 1
            pulse_transmitter(u)
            if u.mcr & LOOPBACK != 0:
                loop_back(u, value)
    elif offset == IER:
        if u.lcr & DLAB != 0:
            u.dlm = value
        else:
            old = u.ier
            u.ier = value & 15
            if value & TX_ENABLE & ~old != 0:
                u.tx_pending = 1
                pulse_transmitter(u)
            elif old & TX_ENABLE & ~value != 0:
                calm_transmitter(u)
    elif offset == IIR:
        if value & FIFO_CLEAR_INPUT != 0 or (value ^ u.fcr) & FIFO_ON != 0:
            clear_input(u)
        u.fcr = value & (FIFO_ENABLED | FIFO_ON)
    elif offset == LCR:
        u.lcr = value
    elif offset == MCR:
        u.mcr = value & 31
    elif offset == SCR:
        u.scr = value
    settle(u)
    atomic_store(u.lock, 0)


@fn
def loop_back(u: Uart, byte: u8) -> None:
    """What is sent in loopback mode is received."""
    if u.loop_count < FIFO:
        u.loop[u.loop_count] = byte
        u.loop_count += 1
    else:
        u.overrun = 1


@fn
def clear_input(u: Uart) -> None:
    """Empty the receiver: of what waits outside only as much as the real FIFO could hold counts as received."""
    u.loop_count = 0
    u.overrun = 0
    n = min(u64(FIFO), input_ready(cast(Opaque, u.owner)))
    for _i in range(n):
        get(cast(Opaque, u.owner))
