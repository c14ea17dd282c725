"""The control and status registers: number, name, who may touch it, how it reads and writes.

Their rules are status.py's.

csr_read and csr_write are made from the table. A register that is not in the table does not exist: illegal instruction.
"""
from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from popek.isa import hart, interrupts, status, v
from popek.isa.generate import Case, bisect
from popek.isa.hart import ILLEGAL_INSTRUCTION, SSIP, Hart
from popek.isa.interrupts import change_mip
from popek.lang import Trap, fn, source_fn, u64

ALL = (1 << 64) - 1
MIP, SIP = 0x344, 0x144


@dataclass(frozen=True)
class Csr:
    """One register, or `count` alike ones with successive numbers (their functions take the index, too)."""

    number: int
    name: str
    field: str = ""                              # the Hart field that holds it ...
    mask: int = ALL                              # ... and which of its bits can be written
    value: int | None = None                     # a constant; writes are ignored
    read: Callable[..., Any] | None = None
    write: Callable[..., Any] | None = None
    allowed: Callable[..., Any] | None = None    # a further condition on any access
    count: int = 1
    step: int = 1
    first: int = 0                               # of alike ones: the number in the first one's name

    @property
    def names(self) -> dict[str, int]:
        """Name and number of each register of this row."""
        if self.count == 1:
            return {self.name: self.number}
        return {f"{self.name}{self.first + i * self.step}": self.number + i * self.step for i in range(self.count)}

    @property
    def privilege(self) -> int:
        """The lowest mode that may access it (bits 9:8 of the number)."""
        return self.number >> 8 & 3

    @property
    def read_only(self) -> bool:
        """Bits 11:10 of the number are 11."""
        return self.number >> 10 == 3


CSRS = (
    Csr(0x001, "fflags", read=status.read_fflags, write=status.write_fflags, allowed=status.fp_allowed),
    Csr(0x002, "frm", "frm", write=status.write_frm, allowed=status.fp_allowed),
    Csr(0x003, "fcsr", read=status.read_fcsr, write=status.write_fcsr, allowed=status.fp_allowed),
    Csr(0x008, "vstart", "vstart", write=v.write_vstart, allowed=v.vector_allowed),
    Csr(0x009, "vxsat", "vxsat", write=v.write_vxsat, allowed=v.vector_allowed),
    Csr(0x00A, "vxrm", "vxrm", write=v.write_vxrm, allowed=v.vector_allowed),
    Csr(0x00F, "vcsr", read=v.read_vcsr, write=v.write_vcsr, allowed=v.vector_allowed),
    Csr(0x100, "sstatus", read=status.read_sstatus, write=status.write_sstatus),
    Csr(0x104, "sie", read=status.read_sie, write=status.write_sie),
    Csr(0x105, "stvec", "stvec", mask=ALL & ~2),
    Csr(0x106, "scounteren", "scounteren", mask=0xFFFF_FFFF),
    Csr(0x10A, "senvcfg", "senvcfg", write=status.write_senvcfg),
    Csr(0x140, "sscratch", "sscratch"),
    Csr(0x141, "sepc", "sepc", mask=ALL & ~1),
    Csr(0x142, "scause", "scause"),
    Csr(0x143, "stval", "stval"),
    Csr(0x144, "sip", read=status.read_sip, write=status.write_sip),
    Csr(0x14D, "stimecmp", "stimecmp", write=interrupts.write_stimecmp, allowed=status.stimecmp_allowed),
    Csr(0x180, "satp", "satp", write=status.write_satp, allowed=status.satp_allowed),
    Csr(0x300, "mstatus", read=status.read_mstatus, write=status.write_mstatus),
    Csr(0x301, "misa", read=status.read_misa),
    Csr(0x302, "medeleg", "medeleg", mask=status.MEDELEG_WRITABLE),
    Csr(0x303, "mideleg", "mideleg", write=status.write_mideleg),
    Csr(0x304, "mie", "mie", write=status.write_mie),
    Csr(0x305, "mtvec", "mtvec", mask=ALL & ~2),
    Csr(0x306, "mcounteren", "mcounteren", mask=0xFFFF_FFFF),
    Csr(0x30A, "menvcfg", "menvcfg", write=status.write_menvcfg),
    Csr(0x320, "mcountinhibit", "mcountinhibit", write=status.write_mcountinhibit),
    Csr(0x323, "mhpmevent", value=0, count=29, first=3),
    Csr(0x340, "mscratch", "mscratch"),
    Csr(0x341, "mepc", "mepc", mask=ALL & ~1),
    Csr(0x342, "mcause", "mcause"),
    Csr(0x343, "mtval", "mtval"),
    Csr(0x344, "mip", read=interrupts.read_mip, write=status.write_mip),
    Csr(0x3A0, "pmpcfg", read=status.read_pmpcfg, write=status.write_pmpcfg, count=2, step=2),
    Csr(0x3B0, "pmpaddr", read=status.read_pmpaddr, write=status.write_pmpaddr, count=hart.PMP_ENTRIES),
    # Sdtrig with no trigger: tselect stays 0 and tdata1 says that trigger 0 is not there
    Csr(0x7A0, "tselect", value=0),
    Csr(0x7A1, "tdata1", value=0),
    Csr(0x7A2, "tdata2", value=0),
    Csr(0x7A3, "tdata3", value=0),
    Csr(0x7A4, "tinfo", value=1),
    Csr(0xB00, "mcycle", read=status.read_cycle, write=status.write_mcycle),
    Csr(0xB02, "minstret", read=status.read_instret, write=status.write_minstret),
    Csr(0xB03, "mhpmcounter", value=0, count=29, first=3),
    Csr(0xC00, "cycle", read=status.read_cycle, allowed=status.counter_allowed),
    Csr(0xC01, "time", read=status.read_clock, allowed=status.counter_allowed),
    Csr(0xC02, "instret", read=status.read_instret, allowed=status.counter_allowed),
    Csr(0xC03, "hpmcounter", value=0, count=29, first=3, allowed=status.counter_allowed),
    Csr(0xC20, "vl", "vl", allowed=v.vector_allowed),
    Csr(0xC21, "vtype", "vtype", allowed=v.vector_allowed),
    Csr(0xC22, "vlenb", value=v.VLENB, allowed=v.vector_allowed),
    Csr(0xF11, "mvendorid", value=0),
    Csr(0xF12, "marchid", value=0),
    Csr(0xF13, "mimpid", value=0),
    Csr(0xF14, "mhartid", "hartid"),
    Csr(0xF15, "mconfigptr", value=0),
)


#: Number of every register by name, and back.
NUMBERS: dict[str, int] = {name: number for csr in CSRS for name, number in csr.names.items()}
NAMES: dict[int, str] = {number: name for name, number in NUMBERS.items()}


@fn
def csr_check(h: Hart, number: u64, writing: bool) -> None:
    """The number itself says who may access it: Privileged ISA, "CSR Address Mapping Conventions"."""
    if number >> 8 & 3 > u64(h.mode) or (writing and number >> 10 == 3):
        raise Trap(ILLEGAL_INSTRUCTION, 0)


_ILLEGAL = "raise Trap(ILLEGAL_INSTRUCTION, 0)"


def _guarded(csr: Csr, lines: list[str]) -> tuple[str, ...]:
    if csr.allowed is None:
        return tuple(lines)
    arguments = "h, number" if len(inspect.signature(csr.allowed).parameters) == 2 else "h"
    return (f"if not {csr.allowed.__name__}({arguments}):", f"    {_ILLEGAL}", *lines)


def _read(csr: Csr, index: str) -> tuple[str, ...]:
    if csr.read is not None:
        return _guarded(csr, [f"return {csr.read.__name__}(h{index})"])
    if csr.field:
        return _guarded(csr, [f"return u64(h.{csr.field})"])
    return _guarded(csr, [f"return {csr.value}"])


def _write(csr: Csr, index: str) -> tuple[str, ...]:
    if csr.write is not None:
        return _guarded(csr, [f"{csr.write.__name__}(h{index}, value)"])
    if csr.field and not csr.read_only:
        return _guarded(csr, [f"h.{csr.field} = value & {csr.mask}"])
    return _guarded(csr, ["pass"])


def _cases(body: Callable[[Csr, str], tuple[str, ...]]) -> list[Case]:
    cases = []
    for csr in CSRS:
        last = csr.number + (csr.count - 1) * csr.step
        if csr.step == 1:
            cases.append(Case(csr.number, last, body(csr, f", number - {csr.number}" if csr.count > 1 else "")))
        else:
            cases += [Case(n, n, body(csr, f", {n - csr.number}")) for n in range(csr.number, last + 1, csr.step)]
    return sorted(cases, key=lambda case: case.low)


def _scope() -> dict[str, Any]:
    rules = (rule for csr in CSRS for rule in (csr.read, csr.write, csr.allowed) if rule is not None)
    return {"__name__": __name__, "Hart": Hart, "Trap": Trap, "u64": u64, "csr_check": csr_check,
            "ILLEGAL_INSTRUCTION": ILLEGAL_INSTRUCTION, **{rule.__name__: rule for rule in rules}}


csr_read = source_fn("csr_read", "\n".join([
    "def csr_read(h: Hart, number: u64) -> u64:",
    "    csr_check(h, number, False)",
    *bisect("number", _cases(_read), [_ILLEGAL])]), _scope())

csr_write = source_fn("csr_write", "\n".join([
    "def csr_write(h: Hart, number: u64, value: u64) -> None:",
    "    csr_check(h, number, True)",
    *bisect("number", _cases(_write), [_ILLEGAL])]), _scope())


@fn
def csr_set(h: Hart, number: u64, old: u64, bits: u64) -> None:
    """Set bits of a register that read as `old`. Pending bits other threads set meanwhile must not be lost."""
    csr_check(h, number, True)
    if number == MIP:
        change_mip(h, bits, bits)
    elif number == SIP:
        change_mip(h, bits & h.mideleg & SSIP, bits)
    else:
        csr_write(h, number, old | bits)


@fn
def csr_clear(h: Hart, number: u64, old: u64, bits: u64) -> None:
    """Clear bits of a register that read as `old`."""
    csr_check(h, number, True)
    if number == MIP:
        change_mip(h, bits, 0)
    elif number == SIP:
        change_mip(h, bits & h.mideleg & SSIP, 0)
    else:
        csr_write(h, number, old & ~bits)
