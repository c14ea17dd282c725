"""Writing a program word by word: random words of an encoding, registers, addresses relative to the code.

Lives here: the pen. What is written, and how often, is items' and streams' to choose.
"""

from __future__ import annotations

import random

from popek.engine.template.layout import PINS
from popek.isa.op import Expansion, Op
from popek.isa.table import FORMS, OPS
from popek.isa.vector.table import OPS as VECTOR_OPS
from tests.engine import scaffold
from tests.engine.scaffold import (
    CODE,
    CODE_PAGES,
    DATA,
    DATA_PAGES,
    POOL,
    RAM,
    Program,
)

Row = Op | Expansion
BASE = (9, 11)  # pointer registers: to somewhere aligned, to somewhere else; and sp
COUNTERS = (5, 6, 7, 12, 16, 28)
LINKS = (1, 5, 15, 10, 18)
WINDOWS = {3: (RAM,), 1: (scaffold.IDENTITY, scaffold.GIGAPAGE), 0: (scaffold.USER_PAGES, scaffold.USER_BIG)}
MEMORY = ("load", "store")


def kind(row: Row) -> str:
    """The kind of the operation behind a row."""
    return row.of.kind if isinstance(row, Expansion) else row.kind


def is_memory(row: Row) -> bool:
    """Loads and stores, also of floating point."""
    name = row.of.name if isinstance(row, Expansion) else row.name
    return kind(row) in MEMORY or name in ("flw", "fld", "fsw", "fsd")


ROWS: list[Row] = [*OPS, *FORMS]
VECTOR_ROWS = {op.name: op for op in VECTOR_OPS}
BY_KIND: dict[str, list[Row]] = {}
for _row in ROWS:
    BY_KIND.setdefault("memory" if is_memory(_row) else kind(_row), []).append(_row)
FIELD_MASKS = {
    id(f): sum((1 << p.width) - 1 << p.at for p in f.pieces)
    for row in (*ROWS, *VECTOR_ROWS.values())
    for f in row.encoding.fields
}
BY_NAME = {row.name: row for row in OPS} | {row.mnemonic: row for row in FORMS}
FENCES = """
    sfence_vma sfence_vma_address sfence_vma_asid sfence_vma_both sinval_vma sinval_vma_address
    sinval_vma_asid sinval_vma_both sfence_w_inval sfence_inval_ir fence_instruction fence pause wfi
""".split()
FREE_CSRS = """
    fflags frm fcsr scounteren senvcfg sscratch sepc scause stval sip sie stimecmp mideleg mie mcounteren
    menvcfg mcountinhibit mscratch mepc mcause mtval mip mcycle minstret misa mstatus sstatus cycle time
    instret mhartid mhpmcounter3 tselect
""".split()
P_RANDOM, P_POINTERS, P_DEVICES, P_CODE, P_SATP, P_TABLE, P_PMP, P_STATUS = 16, 28, 44, 50, 62, 70, 94, 104
POOL_SIZE = 112
VECTORS = 0x5EED


class Writer:
    """Writes one Program."""

    def __init__(self, seed: int) -> None:
        self.r = r = random.Random(seed)
        self.p = Program(data=seed, note=f"seed {seed}")
        self.at = CODE
        self.keep: set[int] = {2, *BASE}
        self.taken: list[tuple[int, int]] = []  # code ranges in use
        self.subroutines: list[tuple[int, int]] = []  # address, link register
        self.mode = 3
        # Page-table entries that the stream writes: address, value, where it shows
        self.edits: list[tuple[int, int, int]] = []
        self.machine_only: set[int] = set()  # edits of pages that supervisor code may be running from
        self.protecting = r.random() < 0.15  # PMP is in use
        self.p.vectored, self.p.skip = r.random() < 0.5, r.choice((2, 4, 4))
        self.p.patience = r.choice((0, 10, 30, 50))
        if r.random() < 0.3:
            self.p.junk = r.randrange(CODE_PAGES)
        self.floating = r.random()  # how much floating point this stream likes
        self.vectors = random.Random(seed ^ VECTORS).random() < 0.4  # it likes vectors

    # -- words --

    def encode(self, row: Row, **chosen: int) -> int:
        """A random word of a row; given fields have their values."""
        e = row.encoding
        word = e.match | self.r.getrandbits(8 * e.length) & ~e.mask & (1 << 8 * e.length) - 1
        for f in e.fields:
            value = chosen.get(f.name.rstrip("'"))
            if value is not None:
                word = word & ~FIELD_MASKS[id(f)] | f.insert(value)
        return word

    def put(self, row: str | Row, **chosen: int) -> int:
        """Append an instruction; the index of its word."""
        row = BY_NAME[row] if isinstance(row, str) else row
        return self.raw(self.encode(row, **chosen), row.encoding.length)

    def raw(self, bits: int, length: int) -> int:
        """Append bits."""
        self.p.words.append((self.at, bits, length))
        self.at += length
        return len(self.p.words) - 1

    def patch(self, index: int, row: str, **chosen: int) -> None:
        """Replace a word appended before."""
        address, _, length = self.p.words[index]
        assert BY_NAME[row].encoding.length == length
        self.p.words[index] = (address, self.encode(BY_NAME[row], **chosen), length)

    def source(self, prime: bool = False) -> int:
        """A register to read."""
        r = self.r
        if prime:
            return r.randrange(8, 16)
        roll = r.random()
        return 0 if roll < 0.07 else r.choice(PINS) if roll < 0.5 else r.randrange(32)

    def target(self, prime: bool = False) -> int:
        """A register to write."""
        while True:
            register = self.source(prime)
            if register not in self.keep:
                return register

    def registers(self, row: Row) -> dict[str, int] | None:
        """Random register fields; None if this form must write a register that is to be kept."""
        chosen: dict[str, int] = {}
        for f in row.encoding.fields:
            name, prime = f.name.rstrip("'"), f.name.endswith("'")
            if name == "rd":
                chosen[name] = self.target(prime)
            elif name in ("rs1", "rs2"):
                chosen[name] = self.source(prime)
            elif name == "rm":
                chosen[name] = self.r.choice((0, 0, 0, 1, 2, 3, 4, 7, 7, 7, 7, self.r.randrange(8)))
        if (
            isinstance(row, Expansion)
            and any(t == "rd" and isinstance(s, int) and s in self.keep for t, s in row.operands)
            and row.mnemonic != "c.addi16sp"
        ):
            return None
        return chosen

    # -- addresses --

    def relative(self, register: int, address: int, low: bool = True) -> int:
        """auipc (and addi) to make an address in this window; what remains to be added if not `low`."""
        distance = address - self.at
        high = distance + 0x800 & ~0xFFF
        self.put("auipc", rd=register, imm=high)
        if low and distance != high:
            self.put("addi", rd=register, rs1=register, imm=distance - high)
        return distance - high

    def constant(self, register: int, slot: int) -> None:
        """Load from the pool."""
        rest = self.relative(register, POOL + 8 * slot, low=False)
        self.put("ld", rd=register, rs1=register, imm=rest)

    def pointers(self) -> None:
        """Point the base registers somewhere."""
        r = self.r
        for register in (*BASE, 2):
            page = DATA + 4096 * r.randrange(DATA_PAGES)
            if r.random() < 0.02:  # data among code
                page = CODE + 4096 * r.randrange(CODE_PAGES)
            if register == BASE[0]:
                where = page + 16 * r.randrange(256)
            elif register == BASE[1]:
                where = page + r.choice((r.randrange(4096), 4096 - r.randrange(1, 9), 2048))
            else:
                where = page + 8 * r.randrange(512)
            if r.random() < 0.12:
                kind = {3: (0, 1, 2, 3, 4, 5), 1: (0, 1, 2, 3, 4, 5, 6, 7, 8), 0: (9, 10, 11, 12, 13, 14)}[self.mode]
                self.constant(register, P_POINTERS + (r.choice(kind) if r.random() < 0.8 else r.randrange(16)))
            else:
                self.relative(register, where)

    def item(self, depth: int = 0) -> None:
        """Write one thing: streams decides."""
        raise NotImplementedError
