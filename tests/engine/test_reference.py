"""The reference engine: order, poll points, sleep, several harts."""

from __future__ import annotations

from popek.isa import hart, interrupts, ports
from popek.isa.hart import Hart
from popek.lang.run import Runner
from tests.isa.machine import RAM, Machine

MTVEC = RAM + 0x800
RUN = Runner()


def test_a_loop() -> None:
    m = Machine()
    end = m.program("""
        addi a0, zero, 10
    loop:
        add a1, a1, a0
        addi a0, a0, -1
        bne a0, zero, loop
    stop:
        c.j stop
    """)
    m.engine.run(100, check=lambda: m.hart.pc == end - 2)
    assert m.hart.x[11] == 55
    assert m.hart.instret == 1 + 3 * 10 + 1               # the last jump is the first poll point after the loop


def test_poll_points() -> None:
    m = Machine()
    m.program("""
        beq zero, zero, over
    over:
        addi a0, zero, 1
        jal zero, on
    on:
        c.nop 0
        auipc t0, 0x0
        jalr zero, 8(t0)
    here:
        jal zero, here
    """)
    polls = [m.engine.step(m.hart) for _ in range(8)]
    assert polls == [False, False, False, False, False, True, True, True]


def test_interrupts_wait_for_a_poll_point() -> None:
    m = Machine()
    m.program("""
        csrw mtvec, a1
        csrw mie, a2
        csrw mip, a2
        csrwi mstatus, 8
        addi a0, a0, 1
        addi a0, a0, 1
    spin:
        jal zero, spin
    """)
    m.hart.x[11], m.hart.x[12] = MTVEC, hart.SSIP
    assert m.engine.turn(m.hart) == 7
    assert (m.hart.pc, m.hart.mcause, m.hart.x[10]) == (MTVEC, hart.INTERRUPT | 1, 2)
    assert m.hart.mepc == RAM + 24


def test_trap_entry_and_return_are_poll_points() -> None:
    m = Machine()
    m.hart.mtvec = MTVEC
    m.program("ecall")
    m.program("mret", MTVEC)
    assert m.engine.turn(m.hart) == 1
    m.hart.mepc = RAM + 4
    assert m.engine.turn(m.hart) == 1


def test_sleeping_harts_wake_up() -> None:
    m = Machine(harts=2)
    m.program("""
        csrr a0, mhartid
        bne a0, zero, other
        wfi
        addi a1, zero, 7
    done:
        jal zero, done
    other:
        addi a2, a2, 1
        jal zero, other
    """)
    first, second = m.harts
    first.mie = hart.MSIP
    m.engine.run(200)
    assert first.x[11] == 0 and second.x[12] > 30
    RUN[interrupts.raise_interrupt](first, hart.MSIP)
    m.engine.run(10)
    assert first.x[11] == 7


def test_a_machine_that_sleeps_for_ever_stops() -> None:
    m = Machine()
    m.program("wfi")
    assert m.engine.run(1000) == 1


def test_two_harts_count_with_lr_and_sc() -> None:
    m = Machine(harts=2)
    end = m.program("""
        addi a0, zero, 50
    again:
        lr.w.aqrl a1, (a2)
        addi a1, a1, 1
        sc.w a3, a1, (a2)
        bne a3, zero, again
        addi a0, a0, -1
        bne a0, zero, again
    done:
        jal zero, done
    """)
    for h in m.harts:
        h.x[12] = RAM + 0x1000
    m.engine.run(10_000, check=lambda: all(h.pc == end - 4 for h in m.harts))
    assert m.word(RAM + 0x1000, 4) == 100


def test_the_monitor_may_handle_a_trap() -> None:
    calls = []

    def on_trap(h: Hart) -> bool:
        if h.trap_cause != hart.ECALL_FROM_MACHINE:
            return False
        calls.append(h.x[17])
        h.pc += 4
        return True

    m = Machine()
    m.engine.on_trap = on_trap
    m.hart.mtvec = MTVEC
    m.program("ecall\nebreak")
    m.hart.x[17] = 93
    m.engine.turn(m.hart)
    assert calls == [93] and m.hart.pc == RAM + 4
    m.engine.turn(m.hart)
    assert m.hart.pc == MTVEC


def test_self_modifying_code_is_seen_at_once() -> None:
    m = Machine()
    m.program("""
        addi a0, zero, 1
        sw a1, 0(a2)
        fence.i
        addi a0, zero, 2
    """)
    m.hart.x[11], m.hart.x[12] = 0x00700513, RAM + 12           # addi a0, zero, 7
    m.step(4)
    assert m.hart.x[10] == 7


def test_devices_through_ports() -> None:
    output = bytearray()
    m = Machine(ports={ports.mmio_write: lambda h, paddr, size, value: output.append(value & 255)})
    m.program("""
        lui a1, 0x10000
        addi a0, zero, 72
        sb a0, 0(a1)
        addi a0, zero, 105
        sb a0, 0(a1)
    """)
    m.step(5)
    assert output == b"Hi"
