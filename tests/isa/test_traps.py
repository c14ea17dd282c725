"""Traps, returns, interrupts and the instructions that may trap by configuration."""

from __future__ import annotations

import pytest

from popek.isa import hart, interrupts, ports, privileged
from popek.isa.hart import INTERRUPT, MACHINE, SUPERVISOR, USER
from popek.lang.run import Runner, bind
from tests.isa.machine import RAM, Machine

MTVEC, STVEC = RAM + 0x100, RAM + 0x200


def at(mode: int, **fields: int) -> Machine:
    m = Machine()
    m.hart.mode, m.hart.mtvec, m.hart.stvec = mode, MTVEC, STVEC
    for name, value in fields.items():
        setattr(m.hart, name, value | getattr(m.hart, name) if name == "mstatus" else value)
    return m


@pytest.mark.parametrize(("mode", "cause"), [(USER, 8), (SUPERVISOR, 9), (MACHINE, 11)])
def test_ecall(mode: int, cause: int) -> None:
    m = at(mode, mstatus=hart.MIE)
    m.one("ecall")
    h = m.hart
    assert (h.mcause, h.mepc, h.mtval, h.pc, h.mode) == (cause, RAM, 0, MTVEC, MACHINE)
    assert h.mstatus >> hart.MPP_SHIFT & 3 == mode
    assert h.mstatus & (hart.MIE | hart.MPIE) == hart.MPIE


@pytest.mark.parametrize("mode", [USER, SUPERVISOR])
def test_delegated_traps_go_to_the_supervisor(mode: int) -> None:
    m = at(mode, medeleg=1 << 8 | 1 << 9, mstatus=hart.SIE)
    m.one("ecall")
    h = m.hart
    assert (h.scause, h.sepc, h.stval, h.pc, h.mode) == (8 + mode, RAM, 0, STVEC, SUPERVISOR)
    assert bool(h.mstatus & hart.SPP) == (mode == SUPERVISOR)
    assert h.mstatus & (hart.SIE | hart.SPIE) == hart.SPIE
    assert h.mcause == 0


def test_machine_mode_never_delegates() -> None:
    m = at(MACHINE, medeleg=0xFFFF)
    m.one("ebreak")
    assert (m.hart.mcause, m.hart.mtval, m.hart.pc) == (hart.BREAKPOINT, RAM, MTVEC)


def test_illegal_instructions_report_their_bits() -> None:
    m = at(MACHINE)
    m.put(RAM, 0xFFFF_FFFF, 4)
    m.step()
    assert (m.hart.mcause, m.hart.mtval) == (hart.ILLEGAL_INSTRUCTION, 0xFFFF_FFFF)
    m.hart.pc = RAM + 16
    m.step()
    assert (m.hart.mcause, m.hart.mtval) == (hart.ILLEGAL_INSTRUCTION, 0)


def test_mret() -> None:
    m = at(MACHINE, mepc=RAM + 0x400, mstatus=hart.MPIE | hart.MPRV | SUPERVISOR << hart.MPP_SHIFT)
    m.hart.reservation_addr = 1
    m.one("mret")
    h = m.hart
    assert (h.pc, h.mode, h.reservation_addr) == (RAM + 0x400, SUPERVISOR, 0)
    assert h.mstatus & (hart.MIE | hart.MPIE | hart.MPP | hart.MPRV) == hart.MIE | hart.MPIE


def test_mret_to_machine_mode_keeps_mprv() -> None:
    m = at(MACHINE, mepc=RAM, mstatus=hart.MPRV | hart.MPP)
    m.one("mret")
    assert m.hart.mstatus & hart.MPRV and m.hart.mode == MACHINE


@pytest.mark.parametrize("spp", [0, hart.SPP])
def test_sret(spp: int) -> None:
    m = at(SUPERVISOR, sepc=RAM + 0x400, mstatus=spp | hart.SPIE | hart.MPRV)
    m.one("sret")
    assert (m.hart.pc, m.hart.mode) == (RAM + 0x400, SUPERVISOR if spp else USER)
    assert m.hart.mstatus & (hart.SIE | hart.SPIE | hart.SPP | hart.MPRV) == hart.SIE | hart.SPIE


@pytest.mark.parametrize(("text", "modes", "blocker"), [
    ("mret", {MACHINE}, 0), ("sret", {SUPERVISOR, MACHINE}, hart.TSR), ("wfi", {SUPERVISOR, MACHINE}, hart.TW),
    ("sfence.vma", {SUPERVISOR, MACHINE}, hart.TVM), ("sfence.vma a1, a2", {SUPERVISOR, MACHINE}, hart.TVM),
    ("sinval.vma a1", {SUPERVISOR, MACHINE}, hart.TVM), ("sfence.w.inval", {SUPERVISOR, MACHINE}, 0),
    ("sfence.inval.ir", {SUPERVISOR, MACHINE}, 0), ("fence.i", {USER, SUPERVISOR, MACHINE}, 0),
    ("fence", {USER, SUPERVISOR, MACHINE}, 0), ("pause", {USER, SUPERVISOR, MACHINE}, 0),
])  # fmt: skip
@pytest.mark.parametrize("mode", [USER, SUPERVISOR, MACHINE])
def test_who_may_execute_what(text: str, modes: set[int], blocker: int, mode: int) -> None:
    for status in (0, blocker):
        m = at(mode, mstatus=status, mepc=RAM + 4, sepc=RAM + 4)
        m.one(text)
        allowed = mode in modes and not (status and mode == SUPERVISOR)
        assert m.hart.pc == (RAM + 4 if allowed else MTVEC)
        assert allowed or m.hart.mcause == hart.ILLEGAL_INSTRUCTION


@pytest.mark.parametrize(("text", "bit"), [("cbo.inval (a1)", hart.CBIE), ("cbo.clean (a1)", hart.CBCFE),
                                           ("cbo.flush (a1)", hart.CBCFE), ("cbo.zero (a1)", hart.CBZE)])  # fmt: skip
def test_cache_block_instructions_are_granted(text: str, bit: int) -> None:
    for mode, machine, supervisor, allowed in (
        (MACHINE, 0, 0, True), (SUPERVISOR, 0, bit, False), (SUPERVISOR, bit, 0, True), (USER, bit, 0, False),
        (USER, 0, bit, False), (USER, bit, bit, True),
    ):  # fmt: skip
        m = at(mode, menvcfg=machine, senvcfg=supervisor)
        m.one(text, a1=RAM + 0x1000)
        assert (m.hart.pc == RAM + 4) == allowed


@pytest.mark.parametrize(("text", "expected"), [
    ("sfence.vma", (0, 0, 0)), ("sfence.vma a1", (0x5000, 0, 1)), ("sfence.vma zero, a2", (0, 7, 2)),
    ("sfence.vma a1, a2", (0x5000, 7, 3)), ("sinval.vma a1, a2", (0x5000, 7, 3)),
])  # fmt: skip
def test_fences_say_what_to_flush(text: str, expected: tuple[int, int, int]) -> None:
    seen = []
    m = Machine(ports={ports.tlb_flush: lambda h, *arguments: seen.append(arguments)})
    m.one(text, a1=0x5000, a2=7)
    assert seen == [expected]


def pending(m: Machine) -> int:
    with bind({ports.read_time: lambda h: 1000}):
        return int(interrupts.pending_interrupt(m.hart))


@pytest.mark.parametrize("mode", [USER, SUPERVISOR, MACHINE])
@pytest.mark.parametrize("enables", [0, hart.SIE, hart.MIE])
def test_when_interrupts_are_taken(mode: int, enables: int) -> None:
    m = at(mode, mie=0xAAA, mip=hart.MTIP, mideleg=0x222, mstatus=enables)
    taken = mode < MACHINE or enables == hart.MIE
    assert (pending(m) == INTERRUPT | 7) == taken
    m.hart.mip = hart.STIP
    taken = mode == USER or (mode == SUPERVISOR and enables == hart.SIE)
    assert (pending(m) == INTERRUPT | 5) == taken
    m.hart.mideleg = 0
    assert (pending(m) == INTERRUPT | 5) == (mode < MACHINE or enables == hart.MIE)
    m.hart.mie = 0
    assert pending(m) == hart.NO_INTERRUPT


def test_priorities() -> None:
    m = at(USER, mie=0xAAA, mip=0xAAA)
    order = []
    while (cause := pending(m)) != hart.NO_INTERRUPT:
        order.append(cause & 63)
        m.hart.mip &= ~(1 << (cause & 63))
    assert order == [11, 3, 7, 9, 1, 5]


def test_machine_interrupts_come_before_delegated_ones() -> None:
    m = at(USER, mie=0xAAA, mip=hart.SEIP | hart.MTIP, mideleg=0x222)
    assert pending(m) == INTERRUPT | 7


@pytest.mark.parametrize("vectored", [0, 1])
def test_vectors(vectored: int) -> None:
    m = at(SUPERVISOR, mie=0xAAA, mip=hart.SEIP, mideleg=0x222, mstatus=hart.SIE, poll=1, stvec=STVEC | vectored)
    with bind({p: lambda *_: 0 for p in (ports.tlb_regime_changed, ports.read_time)}):
        assert privileged.poll_interrupts(m.hart)
        assert not privileged.poll_interrupts(m.hart)
    h = m.hart
    assert (h.pc, h.scause, h.poll, h.stval) == (STVEC + 36 * vectored, INTERRUPT | 9, 0, 0)
    h.medeleg, h.mode = 1 << 8, USER                # exceptions are not spread
    h.trap_cause, h.trap_tval = 8, 0
    with bind({ports.tlb_regime_changed: lambda h: None}):
        privileged.take_trap(h)
    assert h.pc == STVEC


@pytest.mark.parametrize("text", ["csrw mie, a1", "csrw mstatus, a1", "csrrs a0, mip, a1", "csrw sie, a1"])
def test_unmasking_asks_for_a_poll_point(text: str) -> None:
    m = at(MACHINE, mie=0, mip=0, mideleg=0)
    if "mie" in text:
        m.hart.mip, m.hart.mstatus = hart.SSIP, hart.MIE
    elif "mstatus" in text:
        m.hart.mip, m.hart.mie = hart.SSIP, 0xAAA
    elif "mip" in text:
        m.hart.mie, m.hart.mstatus = 0xAAA, hart.MIE
    else:
        m.hart.mode, m.hart.mip, m.hart.mideleg, m.hart.mstatus = SUPERVISOR, hart.SSIP, 0x222, hart.SIE
    assert m.hart.poll == 0
    m.one(text, a1=0xAAA)
    assert m.hart.poll == hart.POLL_INTERRUPT


def test_the_supervisor_timer() -> None:
    clock = [100]
    changes = []
    bound = {ports.read_time: lambda h: clock[0], ports.timer_changed: lambda h: changes.append(h.stimecmp)}
    m = Machine(ports=bound)
    run = Runner(bound)
    h = m.hart
    m.one("csrw menvcfg, a1", a1=hart.STCE)
    m.one("csrw stimecmp, a1", a1=150)
    assert changes[-1] == 150
    assert m.one("csrr a0, mip") & hart.STIP == 0
    h.mie, h.mode, h.mideleg = hart.STIP, USER, 0x222
    clock[0] = 150
    run[interrupts.raise_interrupt](h, hart.STIP)
    assert run[interrupts.pending_interrupt](h) == INTERRUPT | 5
    clock[0] = 149                                  # a report that came too early does not count
    assert run[interrupts.pending_interrupt](h) == hart.NO_INTERRUPT
    assert h.mip & hart.STIP == 0
    h.mode = MACHINE
    clock[0] = 200
    assert m.one("csrr a0, mip") & hart.STIP
    m.one("csrw stimecmp, a1", a1=-1)
    assert m.one("csrr a0, mip") & hart.STIP == 0
    m.one("csrw stimecmp, a1", a1=3)
    assert m.one("csrr a0, mip") & hart.STIP
    m.one("csrw menvcfg, zero")
    assert m.one("csrr a0, mip") & hart.STIP == 0
