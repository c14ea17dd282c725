"""Reading and writing the CSRs that are more than a variable: WARL rules and side effects.

The list of CSRs is csr.py's.
"""
from __future__ import annotations

from popek.isa.fp import fflags_read, fflags_write
from popek.isa.hart import (
    ADUE,
    CBCFE,
    CBIE,
    CBZE,
    FIOM,
    FS,
    MACHINE,
    MIE,
    MPIE,
    MPP,
    MPP_SHIFT,
    MPRV,
    MXR,
    PBMTE,
    SD,
    SIE,
    SPIE,
    SPP,
    SSIP,
    STCE,
    STIP,
    SUM,
    SUPERVISOR,
    TSR,
    TVM,
    TW,
    USER,
    UXL_64,
    VS,
    Hart,
)
from popek.isa.interrupts import change_mip, interrupts_changed, read_mip, settle_timer
from popek.isa.pmp import pmp_get_address, pmp_refresh, pmp_set_address, pmp_set_config
from popek.isa.ports import pmp_changed, read_time, timer_changed, tlb_regime_changed
from popek.lang import atomic_and, fn, u8, u32, u64

MSTATUS_WRITABLE = SIE | MIE | SPIE | MPIE | SPP | MPP | FS | VS | MPRV | SUM | MXR | TVM | TW | TSR
SSTATUS_WRITABLE = SIE | SPIE | SPP | FS | VS | SUM | MXR
MIE_WRITABLE = 0xAAA
SUPERVISOR_INTERRUPTS = 0x222
MEDELEG_WRITABLE = 0xB3FF              # everything but ecall from M and the reserved causes
MENVCFG_WRITABLE = STCE | PBMTE | ADUE | CBZE | CBCFE | CBIE | FIOM
SENVCFG_WRITABLE = CBZE | CBCFE | CBIE | FIOM
CBIE_RESERVED = 2 << 4
SATP_MODE_SHIFT = 60
INHIBIT_CYCLE, INHIBIT_INSTRET = 1, 4
#: RV64 with A B C D F I M S U; V is apart.
MISA = 2 << 62 | sum(1 << ord(letter) - ord("A") for letter in "ABCDFIMSU")
MISA_V = 1 << ord("V") - ord("A")


@fn
def read_misa(h: Hart) -> u64:
    """misa."""
    return MISA | MISA_V if h.vector != 0 else MISA


@fn
def read_mstatus(h: Hart) -> u64:
    """mstatus with SD."""
    if h.mstatus & FS == FS or h.mstatus & VS == VS:
        return h.mstatus | SD
    return h.mstatus


@fn
def write_mstatus(h: Hart, value: u64) -> None:
    """mstatus; MPP keeps its value when told a mode that does not exist."""
    writable: u64 = MSTATUS_WRITABLE
    if value >> MPP_SHIFT & 3 == 2:
        writable = writable & ~MPP
    set_mstatus(h, h.mstatus & ~writable | value & writable)


@fn
def read_sstatus(h: Hart) -> u64:
    """The supervisor's view of mstatus."""
    return read_mstatus(h) & (SSTATUS_WRITABLE | SD | UXL_64)


@fn
def write_sstatus(h: Hart, value: u64) -> None:
    """The supervisor's view of mstatus."""
    set_mstatus(h, h.mstatus & ~SSTATUS_WRITABLE | value & SSTATUS_WRITABLE)


@fn
def set_mstatus(h: Hart, new: u64) -> None:
    """Store mstatus and tell who depends on it."""
    old = h.mstatus
    if h.vector == 0:
        new = new & ~VS
    h.mstatus = new
    if (old ^ new) & (MPRV | MPP | SUM | MXR) != 0:
        tlb_regime_changed(h)
    if new & ~old & (SIE | MIE) != 0:
        interrupts_changed(h)


@fn
def write_mie(h: Hart, value: u64) -> None:
    """mie."""
    h.mie = value & MIE_WRITABLE
    interrupts_changed(h)


@fn
def read_sie(h: Hart) -> u64:
    """The delegated part of mie."""
    return h.mie & h.mideleg


@fn
def write_sie(h: Hart, value: u64) -> None:
    """The delegated part of mie."""
    h.mie = h.mie & ~h.mideleg | value & h.mideleg
    interrupts_changed(h)


@fn
def write_mip(h: Hart, value: u64) -> None:
    """mip."""
    change_mip(h, -1, value)


@fn
def read_sip(h: Hart) -> u64:
    """The delegated part of mip."""
    return read_mip(h) & h.mideleg


@fn
def write_sip(h: Hart, value: u64) -> None:
    """Of sip the supervisor may change SSIP only."""
    change_mip(h, h.mideleg & SSIP, value)


@fn
def write_mideleg(h: Hart, value: u64) -> None:
    """mideleg."""
    h.mideleg = value & SUPERVISOR_INTERRUPTS
    interrupts_changed(h)


@fn
def write_satp(h: Hart, value: u64) -> None:
    """satp; naming a mode that does not exist changes nothing at all."""
    mode = value >> SATP_MODE_SHIFT
    if mode == 0 or (mode >= 8 and mode <= 10):
        h.satp = value
        h.reservation_addr = 0         # LR named a virtual address, and may have meant another place
        tlb_regime_changed(h)


@fn
def write_menvcfg(h: Hart, value: u64) -> None:
    """menvcfg."""
    old = h.menvcfg
    h.menvcfg = legal_cbie(value & MENVCFG_WRITABLE, old)
    if (old ^ h.menvcfg) & (ADUE | PBMTE) != 0:
        pmp_changed(h)
        tlb_regime_changed(h)
    if (old ^ h.menvcfg) & STCE != 0:
        if h.menvcfg & STCE != 0:
            settle_timer(h)
        else:
            atomic_and(h.mip, ~STIP)
        timer_changed(h)
        interrupts_changed(h)


@fn
def write_senvcfg(h: Hart, value: u64) -> None:
    """senvcfg."""
    h.senvcfg = legal_cbie(value & SENVCFG_WRITABLE, h.senvcfg)


@fn
def legal_cbie(value: u64, old: u64) -> u64:
    """CBIE = 2 is reserved: keep the old one."""
    if value & CBIE == CBIE_RESERVED:
        return value & ~CBIE | old & CBIE
    return value


@fn
def read_pmpcfg(h: Hart, pair: u64) -> u64:
    """pmpcfg0 and pmpcfg2 hold eight entries each; `pair` is 0 or 2."""
    value: u64 = 0
    for i in range(8):
        value = value | u64(h.pmpcfg[pair * 4 + i]) << (i * 8)
    return value


@fn
def write_pmpcfg(h: Hart, pair: u64, value: u64) -> None:
    """Eight configuration bytes."""
    for i in range(8):
        pmp_set_config(h, pair * 4 + i, u8(value >> (i * 8)))
    pmp_refresh(h)
    pmp_changed(h)
    tlb_regime_changed(h)


@fn
def read_pmpaddr(h: Hart, i: u64) -> u64:
    """pmpaddr<i>."""
    return pmp_get_address(h, i)


@fn
def write_pmpaddr(h: Hart, i: u64, value: u64) -> None:
    """pmpaddr<i>."""
    pmp_set_address(h, i, value)
    pmp_changed(h)
    tlb_regime_changed(h)


@fn
def read_cycle(h: Hart) -> u64:
    """One instruction is one cycle: the same program always reads the same."""
    if h.mcountinhibit & INHIBIT_CYCLE != 0:
        return h.mcycle_offset
    return h.instret + h.mcycle_offset


@fn
def write_mcycle(h: Hart, value: u64) -> None:
    """The write wins over this instruction's own increment."""
    h.mcycle_offset = value
    if h.mcountinhibit & INHIBIT_CYCLE == 0:
        h.mcycle_offset = value - (h.instret + 1)


@fn
def read_instret(h: Hart) -> u64:
    """Instructions retired."""
    if h.mcountinhibit & INHIBIT_INSTRET != 0:
        return h.minstret_offset
    return h.instret + h.minstret_offset


@fn
def write_minstret(h: Hart, value: u64) -> None:
    """The write wins over this instruction's own increment."""
    h.minstret_offset = value
    if h.mcountinhibit & INHIBIT_INSTRET == 0:
        h.minstret_offset = value - (h.instret + 1)


@fn
def write_mcountinhibit(h: Hart, value: u64) -> None:
    """Stop and restart the two counters."""
    cycle, instret = read_cycle(h), read_instret(h)
    h.mcountinhibit = value & (INHIBIT_CYCLE | INHIBIT_INSTRET)
    h.mcycle_offset = cycle
    h.minstret_offset = instret
    if h.mcountinhibit & INHIBIT_CYCLE == 0:
        h.mcycle_offset = cycle - h.instret
    if h.mcountinhibit & INHIBIT_INSTRET == 0:
        h.minstret_offset = instret - h.instret


@fn
def read_clock(h: Hart) -> u64:
    """The time CSR."""
    return read_time(h)


@fn
def counter_allowed(h: Hart, number: u64) -> bool:
    """mcounteren and scounteren: Privileged ISA, "Machine Counter-Enable (mcounteren) Register"."""
    if h.mode == MACHINE:
        return True
    if h.mcounteren >> (number & 31) & 1 == 0:
        return False
    return h.mode != USER or h.scounteren >> (number & 31) & 1 != 0


@fn
def stimecmp_allowed(h: Hart) -> bool:
    """Below M-mode stimecmp needs menvcfg.STCE and mcounteren.TM."""
    return h.mode == MACHINE or (h.menvcfg & STCE != 0 and h.mcounteren & 2 != 0)


@fn
def satp_allowed(h: Hart) -> bool:
    """mstatus.TVM keeps the supervisor away from satp."""
    return h.mode != SUPERVISOR or h.mstatus & TVM == 0


@fn
def fp_allowed(h: Hart) -> bool:
    """mstatus.FS Off hides the floating-point state."""
    return h.mstatus & FS != 0


@fn
def read_fflags(h: Hart) -> u64:
    """fflags."""
    return u64(fflags_read(h))


@fn
def write_fflags(h: Hart, value: u64) -> None:
    """fflags."""
    fflags_write(h, u32(value))
    h.mstatus = h.mstatus | FS


@fn
def write_frm(h: Hart, value: u64) -> None:
    """frm."""
    h.frm = u32(value) & 7
    h.mstatus = h.mstatus | FS


@fn
def read_fcsr(h: Hart) -> u64:
    """fcsr is frm and fflags."""
    return u64(h.frm) << 5 | u64(fflags_read(h))


@fn
def write_fcsr(h: Hart, value: u64) -> None:
    """fcsr is frm and fflags."""
    fflags_write(h, u32(value))
    h.frm = u32(value) >> 5 & 7
    h.mstatus = h.mstatus | FS
