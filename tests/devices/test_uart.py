"""The 16550A as its drivers use it: Linux 8250, OpenSBI, U-Boot, xv6. PC16550D data sheet, table of registers."""

from hypothesis import given, settings
from hypothesis import strategies as st

from popek.isa.hart import SEIP
from tests.devices.chips import Board

UART, PLIC = 0x1000_0000, 0xC00_0000
ACTIONS = ("read", "write", "type", "room")
RBR, IER, IIR, LCR, MCR, LSR, MSR, SCR = range(8)


class Port(Board):
    """A board whose UART interrupts hart 0's supervisor."""

    def __init__(self) -> None:
        super().__init__(1)
        self.write(PLIC + 40, 1)
        self.write(PLIC + 0x2080, 1 << 10)

    def get(self, register: int) -> int:
        return self.read(UART + register, 1)

    def set(self, register: int, value: int) -> None:
        self.write(UART + register, value, 1)

    def interrupted(self) -> bool:
        """Claim and complete what is there."""
        up = bool(self.mip[0] & SEIP)
        source = self.read(PLIC + 0x20_1004)
        assert source == (10 if up else 0)
        if source:
            self.write(PLIC + 0x20_1004, source)
        return up


def test_polled_output_and_input():
    port = Port()
    assert port.get(LSR) == 0x60
    for byte in b"hi":
        port.set(RBR, byte)
    assert (bytes(port.out), port.get(RBR)) == (b"hi", 0)
    port.typed(b"x")
    assert (port.get(LSR), port.get(RBR), port.get(LSR)) == (0x61, ord("x"), 0x60)
    assert not port.interrupted()


def test_divisor_latch_hides_data_and_interrupt_enable():
    port = Port()
    port.set(LCR, 0x80)
    port.set(RBR, 3)
    port.set(IER, 1)
    assert (port.get(RBR), port.get(IER), bytes(port.out)) == (3, 1, b"")
    port.set(LCR, 3)
    assert (port.get(IER), port.get(LCR)) == (0, 3)


def test_received_data_interrupt_stays_until_all_is_read():
    port = Port()
    port.set(2, 1)
    port.set(IER, 1)
    assert not port.interrupted()
    port.typed(b"ab")
    assert port.interrupted()
    assert port.get(IIR) & 15 in (4, 12)
    assert port.interrupted()  # a level
    port.get(RBR)
    assert port.interrupted()
    port.get(RBR)
    assert not port.interrupted()
    assert port.get(IIR) == 0xC1


def test_trigger_level_tells_data_from_time_out():
    port = Port()
    port.set(2, 0x81)  # 8 bytes
    port.set(IER, 1)
    port.typed(b"1234567")
    assert port.get(IIR) == 0xCC
    port.typed(b"8")
    assert port.get(IIR) == 0xC4
    port.set(2, 0)  # no FIFO: no trigger, and IIR says so
    port.typed(b"x")
    assert port.get(IIR) == 4


def test_transmitter_interrupt_comes_once_for_each_reason():
    port = Port()
    port.set(IER, 2)
    assert port.interrupted()  # enabled while empty
    assert not port.interrupted()
    assert (port.get(IIR), port.get(IIR)) == (2, 1)
    port.set(RBR, 65)
    assert port.interrupted()  # sent
    port.set(RBR, 66)
    assert port.get(IIR) == 2  # polled before it was claimed
    assert not port.interrupted()
    port.set(RBR, 66)
    port.set(IER, 0)
    assert not port.interrupted()


def test_linux_8250_tests_that_the_interrupt_comes_back():
    """serial8250_do_startup: enabling the transmitter interrupt must show in IIR, each time."""
    port = Port()
    for _ in range(2):
        port.set(IER, 2)
        assert port.get(IIR) & 15 == 2
        port.set(IER, 0)
        assert port.get(IIR) & 15 == 1


def test_a_driver_that_never_reads_iir_is_not_interrupted_for_ever():
    port = Port()
    port.set(2, 7)
    port.set(IER, 3)
    assert port.interrupted() and not port.interrupted()
    port.typed(b"q")
    assert port.interrupted()
    assert port.get(RBR) == ord("q")
    count = 0
    while port.interrupted():
        count += 1
    assert count <= 1


def test_transmitter_request_survives_a_receive_in_between():
    port = Port()
    port.set(IER, 3)
    port.get(IIR)
    port.typed(b"r")
    port.set(RBR, 65)  # sent while the line was up
    assert port.interrupted()
    assert port.get(IIR) & 15 == 4
    port.get(RBR)
    assert port.interrupted()
    assert port.get(IIR) & 15 == 2


def test_back_pressure():
    port = Port()
    port.room = 10
    assert port.get(LSR) == 0
    port.set(IER, 2)
    assert not port.interrupted()
    port.room = 1000
    port.typed(b"")
    assert port.interrupted()
    assert (port.get(LSR), port.get(IIR)) == (0x60, 2)


def test_loopback_for_autoconfiguration():
    port = Port()
    assert port.get(MSR) == 0xB0
    port.set(MCR, 0x10)
    assert port.get(MSR) == 0
    port.set(MCR, 0x1A)
    assert port.get(MSR) & 0xF0 == 0x90  # Linux: UART_MSR_DCD | UART_MSR_CTS
    port.set(2, 1)
    for i in range(40):
        port.set(RBR, i)
    assert bytes(port.out) == b""
    assert port.get(LSR) & 3 == 3  # data, and an overrun
    assert [port.get(RBR) for _ in range(16)] == list(range(16))
    assert port.get(LSR) & 3 == 0
    port.set(MCR, 0)
    assert port.get(MSR) == 0xB0


def test_clearing_the_fifo_drops_no_more_than_a_fifo_holds():
    port = Port()
    port.typed(bytes(100))
    port.set(2, 3)
    assert len(port.input) == 84


def test_scratch_and_unknown_registers():
    port = Port()
    port.set(SCR, 0xA5)
    assert port.get(SCR) == 0xA5
    port.write(UART + 9, 1, 1)
    assert port.read(UART + 9, 1) == 0
    assert port.faults(UART, 8)
    assert port.faults(UART + 0x100, 1)


@settings(deadline=None, max_examples=80)
@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 7), st.integers(0, 255)), max_size=60))
def test_no_history_does_harm(history):
    port = Port()
    for what, register, value in history:
        match what:
            case "read":
                assert 0 <= port.get(register) < 256
            case "write":
                port.set(register, value)
            case "type":
                port.typed(bytes([value]))
            case "room":
                port.room = value
        assert port.chips.uart.loop_count <= 16
