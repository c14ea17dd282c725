"""Traps and the instructions that deal with them: ecall, ebreak, xRET, WFI, fences of translation and of code.

Privileged ISA.
"""
from __future__ import annotations

from popek.isa.hart import (
    BREAKPOINT,
    ECALL_FROM_USER,
    ILLEGAL_INSTRUCTION,
    INTERRUPT,
    MACHINE,
    MIE,
    MPIE,
    MPP,
    MPP_SHIFT,
    MPRV,
    NO_INTERRUPT,
    POLL_INTERRUPT,
    SIE,
    SPIE,
    SPP,
    SUPERVISOR,
    TSR,
    TVM,
    TW,
    USER,
    Hart,
)
from popek.isa.interrupts import interrupts_changed, pending_interrupt
from popek.isa.memory import fetch
from popek.isa.op import op
from popek.isa.ports import (
    FLUSH_BY_ADDRESS,
    FLUSH_BY_ASID,
    fence_i,
    tlb_flush,
    tlb_regime_changed,
    wait_for_interrupt,
)
from popek.lang import Trap, atomic_and, fn, u32, u64


@fn
def take_trap(h: Hart) -> None:
    """Enter the handler for h.trap_cause, h.trap_tval at h.pc.

    Privileged ISA, "Trap delegation" and "Trap-vector base address".
    """
    cause = h.trap_cause
    if cause == ILLEGAL_INSTRUCTION:
        h.trap_tval = instruction_bits(h)
    tval = h.trap_tval
    delegated = h.medeleg
    if cause & INTERRUPT != 0:
        delegated = h.mideleg
    status = h.mstatus
    if h.mode != MACHINE and delegated >> (cause & 63) & 1 != 0:
        h.scause = cause
        h.sepc = h.pc
        h.stval = tval
        status = status & ~(SPIE | SPP)
        if status & SIE != 0:
            status = status | SPIE
        if h.mode == SUPERVISOR:
            status = status | SPP
        h.mstatus = status & ~SIE
        h.mode = SUPERVISOR
        h.pc = vector(h.stvec, cause)
    else:
        h.mcause = cause
        h.mepc = h.pc
        h.mtval = tval
        status = status & ~(MPIE | MPP)
        if status & MIE != 0:
            status = status | MPIE
        h.mstatus = status & ~MIE | u64(h.mode) << MPP_SHIFT
        h.mode = MACHINE
        h.pc = vector(h.mtvec, cause)
    tlb_regime_changed(h)
    interrupts_changed(h)


@fn
def vector(tvec: u64, cause: u64) -> u64:
    """Where the handler of `cause` starts: vectored mode spreads interrupts only."""
    if tvec & 1 != 0 and cause & INTERRUPT != 0:
        return (tvec & ~3) + (cause & 63) * 4
    return tvec & ~3


@fn(cold=True)
def instruction_bits(h: Hart) -> u64:
    """The bits of the instruction at pc, for xtval of an illegal one; 0 when they cannot be read any more."""
    try:
        return u64(fetch(h, h.pc))
    except Trap:
        h.trap_cause = ILLEGAL_INSTRUCTION
        return 0


@fn
def poll_interrupts(h: Hart) -> bool:
    """At a poll point: take the interrupt that is due, if any. Clears the request first, so that none is lost."""
    atomic_and(h.poll, ~POLL_INTERRUPT)
    cause = pending_interrupt(h)
    if cause == NO_INTERRUPT:
        return False
    h.trap_cause = cause
    h.trap_tval = 0
    take_trap(h)
    return True


@op("000000000000 00000 000 00000 1110011", "ecall", kind="system")
def ecall(h: Hart) -> None:
    raise Trap(ECALL_FROM_USER + u64(h.mode), 0)


@op("000000000001 00000 000 00000 1110011", "ebreak", kind="system")
def ebreak(h: Hart) -> None:
    raise Trap(BREAKPOINT, h.pc)


@op("0011000 00010 00000 000 00000 1110011", "mret", kind="system")
def mret(h: Hart) -> None:
    if h.mode != MACHINE:
        raise Trap(ILLEGAL_INSTRUCTION, 0)
    status = h.mstatus
    h.mode = u32(status >> MPP_SHIFT & 3)
    status = status & ~(MIE | MPP)
    if status & MPIE != 0:
        status = status | MIE
    if h.mode != MACHINE:
        status = status & ~MPRV
    returned(h, status | MPIE, h.mepc)


@op("0001000 00010 00000 000 00000 1110011", "sret", kind="system")
def sret(h: Hart) -> None:
    if h.mode == USER or (h.mode == SUPERVISOR and h.mstatus & TSR != 0):
        raise Trap(ILLEGAL_INSTRUCTION, 0)
    status = h.mstatus
    h.mode = USER
    if status & SPP != 0:
        h.mode = SUPERVISOR
    status = status & ~(SIE | SPP | MPRV)
    if status & SPIE != 0:
        status = status | SIE
    returned(h, status | SPIE, h.sepc)


@fn
def returned(h: Hart, status: u64, pc: u64) -> None:
    """What every xRET ends with."""
    h.mstatus = status
    h.pc = pc
    h.reservation_addr = 0
    tlb_regime_changed(h)
    interrupts_changed(h)


@op("0001000 00101 00000 000 00000 1110011", "wfi", kind="system")
def wfi(h: Hart) -> None:
    if h.mode == USER or (h.mode == SUPERVISOR and h.mstatus & TW != 0):
        raise Trap(ILLEGAL_INSTRUCTION, 0)
    h.pc += 4
    wait_for_interrupt(h)
    interrupts_changed(h)


@fn
def need_translation_control(h: Hart, virtualizable: bool) -> None:
    """Fences of translation are the supervisor's, unless mstatus.TVM says they are not. They end a reservation, too."""
    if h.mode == USER or (virtualizable and h.mode == SUPERVISOR and h.mstatus & TVM != 0):
        raise Trap(ILLEGAL_INSTRUCTION, 0)
    h.reservation_addr = 0


# Register x0 as an operand of SFENCE.VMA means "all", so each combination is an encoding of its own.
@op("0001001 00000 00000 000 00000 1110011", "sfence.vma", kind="system")
def sfence_vma(h: Hart) -> None:
    need_translation_control(h, True)
    tlb_flush(h, 0, 0, 0)
    h.pc += 4


@op("0001001 00000 rs1 000 00000 1110011", "sfence.vma rs1", kind="system")
def sfence_vma_address(h: Hart, rs1: u64) -> None:
    need_translation_control(h, True)
    tlb_flush(h, rs1, 0, FLUSH_BY_ADDRESS)
    h.pc += 4


@op("0001001 rs2 00000 000 00000 1110011", "sfence.vma zero, rs2", kind="system")
def sfence_vma_asid(h: Hart, rs2: u64) -> None:
    need_translation_control(h, True)
    tlb_flush(h, 0, rs2 & 0xFFFF, FLUSH_BY_ASID)
    h.pc += 4


@op("0001001 rs2 rs1 000 00000 1110011", "sfence.vma rs1, rs2", kind="system")
def sfence_vma_both(h: Hart, rs1: u64, rs2: u64) -> None:
    need_translation_control(h, True)
    tlb_flush(h, rs1, rs2 & 0xFFFF, FLUSH_BY_ADDRESS | FLUSH_BY_ASID)
    h.pc += 4


# Svinval: the invalidation happens at once, so the two fences around it have nothing left to do.
@op("0001011 00000 00000 000 00000 1110011", "sinval.vma", kind="system")
def sinval_vma(h: Hart) -> None:
    need_translation_control(h, True)
    tlb_flush(h, 0, 0, 0)
    h.pc += 4


@op("0001011 00000 rs1 000 00000 1110011", "sinval.vma rs1", kind="system")
def sinval_vma_address(h: Hart, rs1: u64) -> None:
    need_translation_control(h, True)
    tlb_flush(h, rs1, 0, FLUSH_BY_ADDRESS)
    h.pc += 4


@op("0001011 rs2 00000 000 00000 1110011", "sinval.vma zero, rs2", kind="system")
def sinval_vma_asid(h: Hart, rs2: u64) -> None:
    need_translation_control(h, True)
    tlb_flush(h, 0, rs2 & 0xFFFF, FLUSH_BY_ASID)
    h.pc += 4


@op("0001011 rs2 rs1 000 00000 1110011", "sinval.vma rs1, rs2", kind="system")
def sinval_vma_both(h: Hart, rs1: u64, rs2: u64) -> None:
    need_translation_control(h, True)
    tlb_flush(h, rs1, rs2 & 0xFFFF, FLUSH_BY_ADDRESS | FLUSH_BY_ASID)
    h.pc += 4


@op("0001100 00000 00000 000 00000 1110011", "sfence.w.inval", kind="system")
def sfence_w_inval(h: Hart) -> None:
    need_translation_control(h, False)
    h.pc += 4


@op("0001100 00001 00000 000 00000 1110011", "sfence.inval.ir", kind="system")
def sfence_inval_ir(h: Hart) -> None:
    need_translation_control(h, False)
    h.pc += 4


# Zifencei. Unprivileged ISA, "Zifencei Extension for Instruction-Fetch Fence".
@op("------------ ----- 001 ----- 0001111", "fence.i", kind="system")
def fence_instruction(h: Hart) -> None:
    fence_i(h)
    h.pc += 4
