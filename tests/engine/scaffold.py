"""What surrounds a random stream: the address map, page tables, trap handlers, and a program as data.

A program is a row of *landings*. The machine-mode handler answers a trap by going on at the next landing, in that
landing's mode (or, a number of times, behind the instruction that was at fault), so that a stream survives whatever
its instructions do. The last landing is the finisher.
"""

from __future__ import annotations

import functools
import json
import random
from dataclasses import asdict, dataclass, field

from popek.isa import table
from popek.isa.hart import FS, MPIE, MPP, MPRV, MXR, SPIE, SPP, SUM, TSR, TVM, TW, VS

RAM, SIZE = 0x8000_0000, 0x8_0000
HANDLER, SUPERVISOR_HANDLER, FINISH = RAM + 0x900, RAM + 0xC00, RAM + 0xE00  # not near RAM, which stray stores hit
AREA, LANDINGS, POOL = RAM + 0x1000, RAM + 0x1040, RAM + 0x1800
CODE, CODE_PAGES = RAM + 0x2000, 8
DATA, DATA_PAGES = RAM + 0x1_0000, 16
READ_ONLY, EXECUTE_ONLY, OTHERS = 12, 13, 14  # data pages under permissions of their own where pages are 4 KiB
TABLES = RAM + 0x4_0000
ROOT_A, ROOT_B, ROOT_48, ROOT_57 = (TABLES + 0x1000 * n for n in range(4))
S_MIDDLE, S_LEAVES, U_MIDDLE_A, U_LEAVES_A, U_MIDDLE_B, U_LEAVES_B, BIG_MIDDLE, S_MIDDLE_B, S_LEAVES_B = (
    TABLES + 0x1000 * n for n in range(4, 13)
)
SUPERPAGES = (BIG_MIDDLE, ROOT_A + 8 * 258)  # entries
TABLES_END = TABLES + 0x1000 * 13

# Windows: virtual addresses at which all of RAM is seen.
IDENTITY = RAM  # supervisor, 4 KiB pages; the same addresses as without translation
GIGAPAGE = 0xFFFF_FFC0_8000_0000  # supervisor
USER_PAGES = 0x4000_0000  # user, 4 KiB pages
USER_BIG = 0x1_0000_0000  # user, 2 MiB pages; the third one leads to devices

V, R, W, X, U, G, A, D = (1 << n for n in range(8))
N = 1 << 63
KERNEL, USER = V | R | W | X | A | D, V | R | W | X | U | A | D
ALL_STATUS = MPP | MPIE | MPRV | FS | VS | SUM | MXR | TVM | TW | TSR | SPP | SPIE


def pte(address: int, flags: int) -> int:
    """A page-table entry."""
    return address >> 12 << 10 | flags


def satp(mode: int, root: int, asid: int = 0) -> int:
    """A value of satp."""
    return mode << 60 | asid << 44 | root >> 12


@dataclass
class Program:
    """Everything that decides what happens."""

    words: list[tuple[int, int, int]] = field(default_factory=list)  # address, bits, length
    landings: list[tuple[int, int, int]] = field(default_factory=list)  # pc, mstatus bits, mie
    state: dict[str, int] = field(default_factory=dict)  # Hart fields; x10, f3, pmpaddr2 for items of arrays
    pool: list[int] = field(default_factory=list)
    entries: list[tuple[int, int]] = field(default_factory=list)  # page-table entries that differ: address, value
    vectored: bool = False
    patience: int = (
        0  # faults after which the machine's handler goes on behind the instruction, not at the next landing
    )
    skip: int = 4  # what the supervisor's handler adds to sepc
    data: int = 0  # seed of the data pages
    junk: int = -1  # a code page that holds random bytes at first
    note: str = ""

    def to_json(self) -> str:
        """As text."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Program:
        """From text."""
        raw = json.loads(text)
        raw.pop("edited", None)
        for name in ("words", "landings", "entries"):
            raw[name] = [tuple(item) for item in raw[name]]
        return Program(**raw)

    def listing(self) -> str:
        """For people: what is left of a stream."""
        lines = [f"{name} = {value:#x}" for name, value in self.state.items() if value]
        lines += [f"landing {pc:#x} mstatus {bits:#x} mie {mie:#x}" for pc, bits, mie in self.landings]
        for address, bits, length in self.words:
            if bits not in (0x13, 1):
                lines.append(f"{address:#x}: {bits:0{2 * length}x}  {table.disassemble(bits, address)}")
        return "\n".join(lines)

    def image(self) -> bytes:
        """RAM at the start."""
        ram = bytearray(SIZE)
        handlers(ram, self.vectored, self.skip)
        ram[TABLES - RAM : TABLES_END - RAM] = tables()
        r = random.Random(self.data)
        ram[DATA - RAM : DATA - RAM + DATA_PAGES * 4096] = r.randbytes(DATA_PAGES * 4096)
        for _ in range(300):
            put(ram, DATA + r.randrange(DATA_PAGES * 512) * 8, r.choice(NUMBERS))
        if self.junk >= 0:
            start = CODE - RAM + self.junk * 4096
            ram[start : start + 4096] = r.randbytes(4096)
        put(ram, AREA, LANDINGS - 32)
        put(ram, AREA + 8, self.patience)
        for i, (pc, bits, mie) in enumerate([*self.landings, (FINISH, MPP, 0)]):
            for j, value in enumerate((pc, ALL_STATUS, bits, mie)):
                put(ram, LANDINGS + 32 * i + 8 * j, value)
        for i, value in enumerate(self.pool):
            put(ram, POOL + 8 * i, value)
        for address, value in self.entries:
            put(ram, address, value)
        for address, bits, length in self.words:
            ram[address - RAM : address - RAM + length] = bits.to_bytes(length, "little")
        return bytes(ram)


#: Numbers that tend to matter, of both kinds.
NUMBERS = [0, 1, 2, 3, 31, 32, 63, 64, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000,
           0xFFFF_FFFF, 0x1_0000_0000, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, (1 << 64) - 2, 0xFFFF_FFFF_8000_0000,
           0x5555_5555_5555_5555, 0x7FF0_0000_0000_0000, 0xFFF0_0000_0000_0000, 0x7FF8_0000_0000_0000,
           0x7FF0_0000_0000_0001, 0x3FF0_0000_0000_0000, 0xBFF0_0000_0000_0000, 0x4340_0000_0000_0000,
           0x0010_0000_0000_0000, 0x000F_FFFF_FFFF_FFFF, 0x7FEF_FFFF_FFFF_FFFF, 0x41DF_FFFF_FFC0_0000,
           0x43E0_0000_0000_0000, 0x3FE0_0000_0000_0000, 0xFFFF_FFFF_7F80_0000, 0xFFFF_FFFF_FF80_0000,
           0xFFFF_FFFF_7FC0_0000, 0xFFFF_FFFF_7F80_0001, 0xFFFF_FFFF_3F80_0000, 0xFFFF_FFFF_BF80_0000,
           0xFFFF_FFFF_0080_0000, 0xFFFF_FFFF_007F_FFFF, 0xFFFF_FFFF_7F7F_FFFF, 0xFFFF_FFFF_4B00_0000,
           0xFFFF_FFFF_0000_0000, 0xFFFF_FFFF_4F00_0000, 0x7FFF_FFFF_3F80_0000]  # fmt: skip


def put(ram: bytearray, address: int, value: int) -> None:
    """A doubleword of RAM."""
    ram[address - RAM : address - RAM + 8] = value.to_bytes(8, "little")


@functools.cache
def tables() -> bytes:
    """All page tables. Root B shows the user other data pages, and two code pages exchanged."""
    ram = bytearray(SIZE)

    def leaves(at: int, flags: int, order: dict[int, int]) -> None:
        for page in range(SIZE >> 12):
            put(ram, at + 8 * page, pte(RAM + (order.get(page, page) << 12), flags))

    code, data = CODE - RAM >> 12, DATA - RAM >> 12
    turned = {data + n: data + (n + 3) % DATA_PAGES for n in range(DATA_PAGES)} | {
        code + 6: code + 7,
        code + 7: code + 6,
    }
    for root, s_middle, u_middle in ((ROOT_A, S_MIDDLE, U_MIDDLE_A), (ROOT_B, S_MIDDLE_B, U_MIDDLE_B)):
        put(ram, root, pte(0, V | R | W | A | D))  # devices, for the supervisor
        put(ram, root + 8, pte(u_middle, V))
        put(ram, root + 16, pte(s_middle, V))
        put(ram, root + 32, pte(BIG_MIDDLE, V))
        put(ram, root + 8 * 258, pte(RAM, KERNEL))
    put(ram, ROOT_48, pte(ROOT_A, V))
    put(ram, ROOT_48 + 8 * 511, pte(ROOT_A, V))
    put(ram, ROOT_57, pte(ROOT_48, V))
    put(ram, ROOT_57 + 8 * 511, pte(ROOT_48, V))
    for middle, leaf in (
        (S_MIDDLE, S_LEAVES),
        (S_MIDDLE_B, S_LEAVES_B),
        (U_MIDDLE_A, U_LEAVES_A),
        (U_MIDDLE_B, U_LEAVES_B),
    ):
        put(ram, middle, pte(leaf, V))
    put(ram, BIG_MIDDLE, pte(RAM, USER))
    put(ram, BIG_MIDDLE + 8, pte(RAM + 4096, USER))  # misaligned: a fault
    put(ram, BIG_MIDDLE + 16, pte(0x1000_0000, USER))
    leaves(S_LEAVES, KERNEL, {})
    leaves(S_LEAVES_B, KERNEL, {k: v for k, v in turned.items() if k >= data})
    leaves(U_LEAVES_A, USER, {})
    leaves(U_LEAVES_B, USER, turned)
    for leaf, usual in ((S_LEAVES, KERNEL), (S_LEAVES_B, KERNEL), (U_LEAVES_A, USER), (U_LEAVES_B, USER)):
        for page, flags in ((READ_ONLY, usual & ~W), (EXECUTE_ONLY, usual & ~(R | W)), (OTHERS, usual ^ U)):
            put(ram, leaf + 8 * (data + page), pte(RAM + (data + page << 12), flags))
    return bytes(ram[TABLES - RAM : TABLES_END - RAM])


def handlers(ram: bytearray, vectored: bool, skip: int) -> None:
    """The trap handlers and the finisher. They use x30 and x31 only."""
    body = HANDLER + 0x100
    for cause in range(16):
        place(ram, HANDLER + 4 * cause, f"jal zero, {body:#x}")
        place(ram, SUPERVISOR_HANDLER + 4 * cause, f"jal zero, {SUPERVISOR_HANDLER + 0x100:#x}")
    following = body + 4 * 34
    patience, landing = AREA + 8 - (body + 40), AREA - (following + 16)
    place(
        ram,
        body,
        f"""lui t5, 0x20
        csrrc zero, mstatus, t5
        csrr t5, mcause
        blt t5, zero, {following:#x}
        addi t6, zero, 1
        sll t6, t6, t5
        lui t5, 0xa
        addi t5, t5, 0xf4
        and t6, t6, t5
        beq t6, zero, {following:#x}
        auipc t6, 0
        ld t5, {patience}(t6)
        addi t5, t5, -1
        sd t5, {patience}(t6)
        bge zero, t5, {following:#x}
        csrr t5, mepc
        slli t5, t5, 45
        srli t5, t5, 45
        addi t6, zero, 1
        slli t6, t6, 31
        add t5, t5, t6
        lhu t5, 0(t5)
        andi t5, t5, 3
        addi t5, t5, -3
        csrr t6, mepc
        addi t6, t6, 2
        bne t5, zero, {body + 4 * 28:#x}
        addi t6, t6, 2
        csrw mepc, t6
        mret
        addi zero, zero, 0
        addi zero, zero, 0
        addi zero, zero, 0
        addi zero, zero, 0
        csrw mip, zero
        lui t6, 0x2000
        addi t5, zero, -1
        sd t5, 8(t6)
        auipc t6, 0
        ld t5, {landing}(t6)
        addi t5, t5, 32
        sd t5, {landing}(t6)
        ld t6, 0(t5)
        csrw mepc, t6
        ld t6, 8(t5)
        csrrc zero, mstatus, t6
        ld t6, 16(t5)
        csrrs zero, mstatus, t6
        ld t6, 24(t5)
        csrw mie, t6
        mret""",
    )
    at = SUPERVISOR_HANDLER + 0x100
    place(
        ram,
        at,
        f"""csrr t6, sscratch
        addi t6, t6, -1
        csrw sscratch, t6
        bge zero, t6, {at + 36:#x}
        csrr t5, scause
        blt t5, zero, {at + 44:#x}
        csrr t6, sepc
        addi t6, t6, {skip}
        jal zero, {at + 56:#x}
        ecall
        jal zero, {at + 36:#x}
        csrw sip, zero
        csrw sie, zero
        sret
        csrw sepc, t6
        sret""",
    )
    place(
        ram,
        FINISH,
        f"""lui t6, 0x100
        sd t6, 0(t6)
        jal zero, {FINISH + 8:#x}""",
    )


@functools.lru_cache(1000)
def _assemble(line: str, at: int) -> int:
    return table.assemble(line, at)


def place(ram: bytearray, address: int, text: str) -> None:
    """Assemble 32-bit instructions."""
    for i, line in enumerate(text.splitlines()):
        at = address + 4 * i
        ram[at - RAM : at - RAM + 4] = _assemble(line.strip(), at).to_bytes(4, "little")
