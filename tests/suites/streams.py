"""The program around instruction streams: runs them and reports all they changed. For comparing machines.

A program runs its streams one after another, each in its own mode and translation regime, from its own registers. Every
trap is logged and stepped over. At the end all registers after each stream, the log of traps and the data pages go out
over the UART at 0x1000_0000, and the test finisher at 0x10_0000 is told to power off.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import NamedTuple

from popek.isa import hart, table

RAM = 0x8000_0000
CONTROL, STREAMS, STATES = RAM + 0x1000, RAM + 0x20_0000, RAM + 0x40_0000
DATA, TABLES, SIGNATURES, LOG = RAM + 0x60_0000, RAM + 0x68_0000, RAM + 0x80_0000, RAM + 0xA0_0000
DATA_PAGES = 8
VIRTUAL = 0xC000_0000                       # where paged streams see the data pages, each with other rights
STATE_SIZE = 8 * (4 + 32 + 32)              # entry, satp, mstatus, fcsr, x, f
SIGNATURE_SIZE = 8 * (32 + 32 + 1)
BASES = (8, 9, 18)                          # registers that hold data addresses and are never written
ALIGNED = 18                                # this one a multiple of 8, for atomics
COUNTER, TURNS = 19, 3                      # each stream runs so often: code that is warm, in regimes that changed
MASK = (1 << 64) - 1

#: Slots of the control block, which mscratch points to.
LOG_AT, SAVE, SIGNATURE_AT, STATE_AT, LEFT = 0, 8, 32, 40, 48


class Assembler:
    """Instructions and labels, one after another."""

    def __init__(self, at: int) -> None:
        self.start = self.at = at
        self.code = bytearray()
        self.labels: dict[str, int] = {}
        self.open: list[tuple[int, str, str]] = []

    def __call__(self, *lines: str) -> None:
        """Add lines; a target written @name is a label, defined now or later."""
        for line in lines:
            if line.endswith(":"):
                self.labels[line[:-1]] = self.at
                continue
            if "@" in line:
                text, label = line.split("@")
                self.open.append((self.at, text, label))
                line = "addi zero, zero, 0"
            self.code += table.assemble(line, self.at).to_bytes(4, "little")
            self.at += 4

    def li(self, register: str, value: int) -> None:
        """Any 64-bit constant."""
        value &= MASK
        self(f"addi {register}, zero, 0")
        for shift in range(55, -1, -11):
            self(f"slli {register}, {register}, 11", f"ori {register}, {register}, {value >> shift & 0x7FF}")

    def done(self) -> bytes:
        """The code, with all labels filled in."""
        for at, text, label in self.open:
            word = table.assemble(f"{text}{self.labels[label]:#x}", at)
            self.code[at - self.start:at - self.start + 4] = word.to_bytes(4, "little")
        return bytes(self.code)


@dataclass
class Stream:
    """One stream: where it runs and from what state."""

    mode: int
    satp: int
    mstatus: int
    x: list[int]
    f: list[int]
    fcsr: int
    words: list[int] = field(default_factory=list)


def harness(streams: int) -> bytes:
    """The program around the streams."""
    a = Assembler(RAM)
    a("jal zero, @begin")
    _handler(a)
    a("begin:")
    a.li("t0", CONTROL)
    a("csrw mscratch, t0")
    for slot, value in ((LOG_AT, LOG), (SIGNATURE_AT, SIGNATURES), (STATE_AT, STATES), (LEFT, streams)):
        a.li("t1", value)
        a(f"sd t1, {slot}(t0)")
    a.li("t1", RAM + 4)
    a("csrw mtvec, t1", "addi t1, zero, -1", "csrw pmpaddr0, t1", "addi t1, zero, 31", "csrw pmpcfg0, t1")
    a("csrw medeleg, zero", "csrw mideleg, zero", "csrw mie, zero", "addi t1, zero, 7", "csrw mcounteren, t1")
    a("csrw scounteren, t1")
    a.li("t1", hart.ADUE | hart.PBMTE)
    a("csrrs zero, menvcfg, t1")
    a("next:", f"ld t1, {LEFT}(t0)", "beq t1, zero, @report", "addi t1, t1, -1", f"sd t1, {LEFT}(t0)")
    a(f"ld t1, {STATE_AT}(t0)", f"addi t2, t1, {STATE_SIZE}", f"sd t2, {STATE_AT}(t0)")
    a.li("t2", hart.FS)
    a("csrw mstatus, t2")                   # so that FP registers can be loaded
    a("ld t2, 0(t1)", "csrw mepc, t2", "ld t2, 8(t1)", "csrw satp, t2", "sfence.vma", "fence.i")
    a("ld t2, 24(t1)", "csrw fcsr, t2")
    for n in range(32):
        a(f"fld f{n}, {32 + 256 + 8 * n}(t1)")
    a("ld t2, 16(t1)", "csrw mstatus, t2")
    for n in range(1, 32):
        if n != 6:
            a(f"ld x{n}, {32 + 8 * n}(t1)")
    a(f"ld t1, {32 + 48}(t1)", "mret")
    _report(a)
    return a.done()


def _handler(a: Assembler) -> None:
    """Log the trap and step over the instruction; an ecall ends the stream.

    MPRV needs no care: it is clear after a trap from S or U, and after one from M it lends M's own rights.
    """
    a("csrrw t6, mscratch, t6", f"sd ra, {SAVE}(t6)", f"sd sp, {SAVE + 8}(t6)", f"sd gp, {SAVE + 16}(t6)")
    a("csrr ra, mcause", "addi sp, zero, 8", "bltu ra, sp, @trap", "addi sp, zero, 12", "bltu ra, sp, @finish")
    a("trap:", f"ld gp, {LOG_AT}(t6)")
    for offset, name in enumerate(("mcause", "mepc", "mtval", "mstatus")):
        a(f"csrr sp, {name}", f"sd sp, {8 * offset}(gp)")
    a("addi gp, gp, 32", f"sd gp, {LOG_AT}(t6)", "csrr sp, mepc", "addi sp, sp, 4", "csrw mepc, sp")
    a(f"ld ra, {SAVE}(t6)", f"ld sp, {SAVE + 8}(t6)", f"ld gp, {SAVE + 16}(t6)", "csrrw t6, mscratch, t6", "mret")
    a("finish:", f"ld ra, {SIGNATURE_AT}(t6)")
    for n in range(4, 31):
        a(f"sd x{n}, {8 * n}(ra)")
    for n in (1, 2, 3):
        a(f"ld sp, {SAVE + 8 * (n - 1)}(t6)", f"sd sp, {8 * n}(ra)")
    a("csrr sp, mscratch", f"sd sp, {8 * 31}(ra)", "csrr sp, mepc", "sd sp, 0(ra)")
    a.li("sp", hart.FS)
    a("csrrs zero, mstatus, sp")
    for n in range(32):
        a(f"fsd f{n}, {256 + 8 * n}(ra)")
    a("csrr sp, fcsr", "sd sp, 512(ra)", f"addi ra, ra, {SIGNATURE_SIZE}", f"sd ra, {SIGNATURE_AT}(t6)")
    a("csrw mscratch, t6", "addi t0, t6, 0", "jal zero, @next")


def _report(a: Assembler) -> None:
    """Everything out over the UART, then off."""
    a("report:", "csrw satp, zero")
    a.li("a1", 0x1000_0000)
    for label, first, slot in (("signatures", SIGNATURES, SIGNATURE_AT), ("log", LOG, LOG_AT)):
        a.li("a2", first)
        a(f"ld a3, {slot}(t0)", f"{label}:", "lbu a4, 0(a2)", "sb a4, 0(a1)", "addi a2, a2, 1", f"bne a2, a3, @{label}")
    a.li("a2", DATA)
    a.li("a3", DATA + DATA_PAGES * 4096)
    a("data:", "lbu a4, 0(a2)", "sb a4, 0(a1)", "addi a2, a2, 1", "bne a2, a3, @data")
    a.li("a1", 0x10_0000)
    a.li("a2", 0x5555)
    a("sw a2, 0(a1)", "halt:", "jal zero, @halt")


class Report(NamedTuple):
    """What a program said, taken apart."""

    registers: tuple[tuple[int, ...], ...]       # of each stream: mepc, x1..x31, f0..f31, fcsr
    traps: tuple[tuple[int, int, int, int], ...]     # mcause, mepc, mtval, mstatus
    data: bytes


def report(output: bytes, streams: int) -> Report:
    """Read a program's output."""
    end, data = streams * SIGNATURE_SIZE, len(output) - DATA_PAGES * 4096
    registers = tuple(struct.iter_unpack(f"<{SIGNATURE_SIZE // 8}Q", output[:end]))
    traps = tuple(struct.iter_unpack("<4Q", output[end:data]))
    return Report(registers, traps, output[data:])
