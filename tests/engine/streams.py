"""Random instruction streams: a seed makes a Program (scaffold) of some hundred instructions in several modes.

Lives here: what is generated, how often. What must not be generated: what the ISA leaves open, such as page-table
changes without a fence, or code changes without fence.i.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from popek.engine.template.layout import PINS
from popek.isa import csr
from popek.isa.hart import FS_SHIFT, MPIE, MPP_SHIFT, MPRV, MXR, SPIE, SPP, SUM, TSR, TVM, TW
from popek.isa.op import Expansion, Op
from popek.isa.pmp import ADDRESS_MASK
from popek.isa.table import FORMS, OPS
from tests.engine import scaffold
from tests.engine.scaffold import CODE, CODE_PAGES, DATA, DATA_PAGES, NUMBERS, POOL, RAM, A, D, G, Program, R, U, V, W, X

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
BY_KIND: dict[str, list[Row]] = {}
for _row in ROWS:
    BY_KIND.setdefault("memory" if is_memory(_row) else kind(_row), []).append(_row)
FIELD_MASKS = {id(f): sum((1 << p.width) - 1 << p.at for p in f.pieces) for row in ROWS for f in row.encoding.fields}
BY_NAME = {row.name: row for row in OPS} | {row.mnemonic: row for row in FORMS}
FENCES = ["sfence_vma", "sfence_vma_address", "sfence_vma_asid", "sfence_vma_both", "sinval_vma", "sinval_vma_address", "sinval_vma_asid",
          "sinval_vma_both", "sfence_w_inval", "sfence_inval_ir", "fence_instruction", "fence", "pause", "wfi"]  # fmt: skip
FREE_CSRS = ["fflags", "frm", "fcsr", "scounteren", "senvcfg", "sscratch", "sepc", "scause", "stval", "sip", "sie", "stimecmp", "mideleg", "mie",
             "mcounteren", "menvcfg", "mcountinhibit", "mscratch", "mepc", "mcause", "mtval", "mip", "mcycle", "minstret", "misa", "mstatus",
             "sstatus", "cycle", "time", "instret", "mhartid", "mhpmcounter3", "tselect"]  # fmt: skip
P_NUMBERS, P_RANDOM, P_POINTERS, P_DEVICES, P_CODE, P_SATP, P_TABLE, P_PMP, P_STATUS = 0, 16, 28, 44, 50, 62, 70, 82, 92
POOL_SIZE = 96


class Streams:
    """Writes one Program."""

    def __init__(self, seed: int) -> None:
        self.r = r = random.Random(seed)
        self.p = Program(data=seed, note=f"seed {seed}")
        self.at = CODE
        self.keep: set[int] = {2, *BASE}
        self.taken: list[tuple[int, int]] = []  # code ranges in use
        self.subroutines: list[tuple[int, int]] = []  # address, link register
        self.mode = 3
        self.p.vectored, self.p.skip = r.random() < 0.5, r.choice((2, 4, 4))
        self.p.patience = r.choice((0, 10, 30, 50))
        if r.random() < 0.3:
            self.p.junk = r.randrange(CODE_PAGES)
        self.floating = r.random()  # how much floating point this stream likes

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
        if isinstance(row, Expansion) and any(t == "rd" and isinstance(s, int) and s in self.keep for t, s in row.operands) \
                and row.mnemonic != "c.addi16sp":
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

    # -- items: what a stream is made of --

    def item(self, depth: int = 0) -> None:
        """One thing."""
        f = self.floating
        weights: list[tuple[float, Callable[[int], None]]] = [
            (34, self.alu), (18, self.memory), (6, self.atomic), (30 * f * f, self.fp), (4, self.csr), (1.2, self.system), (0.15, self.illegal),
            (1.5, lambda d: self.pointers()), (1.2, self.smc), (0.6, self.wild), (1.2 if self.mode else 0.3, self.device), (1.2, self.special), (1.0, self.interrupt)]  # fmt: skip
        if depth < 3:
            weights += [(6, self.skip), (3.5, self.loop), (2, self.call), (1.5, self.indirect)]
        (chosen,) = self.r.choices([w[1] for w in weights], [w[0] for w in weights])
        chosen(depth)

    def any_of(self, rows: list[Row]) -> None:
        """A random instruction of these."""
        while True:
            row = self.r.choice(rows)
            chosen = self.registers(row)
            if chosen is not None:
                self.put(row, **chosen)
                return

    def alu(self, depth: int) -> None:
        self.any_of(BY_KIND["alu"])

    def fp(self, depth: int) -> None:
        for _ in range(self.r.randrange(1, 5)):
            self.any_of(BY_KIND["fp"])

    def memory(self, depth: int) -> None:
        r = self.r
        row = r.choice(BY_KIND["memory"])
        chosen = self.registers(row)
        if chosen is None:
            return
        if "rs1" in chosen and r.random() < 0.97:
            chosen["rs1"] = r.choice(BASE)
        field = row.encoding.field("imm")
        if field and field.signed and r.random() < 0.6:
            chosen["imm"] = r.choice((0, 8, -8, 16, 2040, -2048, r.randrange(-64, 64)))
        self.put(row, **chosen)

    def atomic(self, depth: int) -> None:
        r = self.r
        base = BASE[0] if r.random() < 0.85 else r.choice((BASE[1], self.source()))
        if r.random() < 0.25:
            size = r.choice("wd")
            self.put(f"lr_{size}", rd=self.target(), rs1=base)
            for _ in range(r.randrange(3)):
                self.alu(depth)
            self.put(f"sc_{size if r.random() < 0.9 else r.choice('wd')}", rd=self.target(), rs1=base, rs2=self.source())
            return
        row = r.choice(BY_KIND["amo"])
        self.put(row, rd=self.target(), rs1=base, **({"rs2": self.source()} if row.encoding.field("rs2") else {}))

    def csr(self, depth: int) -> None:
        r = self.r
        row = r.choice(BY_KIND["csr"])
        roll, zimm = r.random(), r.randrange(32) << 12
        if roll < 0.1:
            number = r.choice(list(csr.NUMBERS.values())) if roll < 0.09 else r.getrandbits(12)
            row = BY_NAME[r.choice(("csrr", "csrrc_none", "csrrci_none", "csrrsi_none"))]
        elif roll < 0.35 and self.floating > 0.3:
            number = r.choice((1, 1, 1, 3, 2))
            if number == 2:
                row, zimm = BY_NAME["csrrwi"], r.choice((0, 0, 1, 2, 3, 4, 5)) << 12
        elif roll < 0.8:
            number = csr.NUMBERS[r.choice((FREE_CSRS[:3], FREE_CSRS[:12], (), FREE_CSRS)[self.mode])]
        elif self.mode < 3:
            number, row = csr.NUMBERS[r.choice(("cycle", "time", "instret", "hpmcounter5", "sstatus"))], BY_NAME["csrr"]
        else:
            number, row = csr.NUMBERS[r.choice(("medeleg", "sstatus", "mstatus"))], BY_NAME[r.choice(("csrrci", "csrrsi"))]
        self.put(row, rd=self.target(), rs1=self.source(), imm=number, uimm=number | zimm if row.encoding.field("uimm").top > 12 else number)  # type: ignore[union-attr]

    def system(self, depth: int) -> None:
        r = self.r
        if r.random() < 0.12:
            self.put(r.choice(("ecall", "ebreak", "c.ebreak", "mret", "sret")))
        else:
            row = BY_NAME[r.choice(FENCES)]
            self.put(row, **{n: r.choice((*BASE, self.source())) for n in ("rs1", "rs2") if row.encoding.field(n)})

    def illegal(self, depth: int) -> None:
        self.raw(*self.r.choice(((0, 2), (0xFFFF_FFFF, 4), (self.r.getrandbits(32) | 3, 4), (0x0000_5003, 4), (self.r.getrandbits(16) & ~1, 2))))

    def branch_to(self, index: int, distance: int) -> None:
        """Make the word at `index` a conditional branch (4 bytes, or 2 if near)."""
        _, _, length = self.p.words[index]
        if length == 2:
            row = self.r.choice(("c.beqz", "c.bnez", "c.j"))
            self.patch(index, row, imm=distance, **({} if row == "c.j" else {"rs1": self.source(True)}))
        elif self.r.random() < 0.15:
            self.patch(index, "jal", rd=self.target(), imm=distance)
        else:
            self.patch(index, self.r.choice(("beq", "bne", "blt", "bge", "bltu", "bgeu")), rs1=self.source(), rs2=self.source(), imm=distance)

    def skip(self, depth: int) -> None:
        """A forward branch over something, now and then into the middle of an instruction."""
        r = self.r
        count = r.choice((0, 1, 1, 2, 3, 4, 6))
        index = self.raw(1, 2) if count < 2 and r.random() < 0.4 else self.raw(0x13, 4)
        start = self.at
        for _ in range(count):
            self.item(depth + 1)
        odd = 2 if r.random() < 0.05 else 0
        distance = self.at - self.p.words[index][0] + odd
        if distance > (250 if self.p.words[index][2] == 2 else 4000) or distance == 0:
            return
        self.branch_to(index, distance)
        if odd:
            self.put("lui", rd=self.target())
        assert start <= self.at

    def loop(self, depth: int) -> None:
        """Something a few times."""
        r = self.r
        free = [c for c in COUNTERS if c not in self.keep]
        if len(free) < 2 or self.at & 4095 > 4000 and r.random() < 0.5:
            return
        counter, other = r.sample(free, 2)
        self.keep.add(counter)
        self.put("addi", rd=counter, rs1=0, imm=r.choice((1, 2, 2, 3, 5)) if depth else r.choice((1, 2, 3, 5, 12)))
        indirect = r.random() < 0.2
        if indirect:
            self.keep.add(other)
            self.put("auipc", rd=other, imm=0)
        start = self.at
        for _ in range(r.randrange(1, 6 if depth else 10)):
            self.item(depth + 1)
        self.put("addi", rd=counter, rs1=counter, imm=-1)
        back = start - self.at
        if back < -3900:
            self.put("ecall")
        elif indirect:
            self.put("beq", rs1=counter, rs2=0, imm=8)
            self.put("jalr", rd=self.r.choice((0, 0, *LINKS)) if not self.keep & set(LINKS) else 0, rs1=other, imm=4)
        elif counter == 12 and back > -250 and r.random() < 0.7:
            self.put("c.bnez", rs1=12, imm=back)
        elif r.random() < 0.3:
            self.put("beq", rs1=counter, rs2=0, imm=8)
            self.put("jal", rd=self.target(), imm=back - 4)
        else:
            row, one, two = r.choice((("bne", counter, 0), ("bne", 0, counter), ("blt", 0, counter), ("bltu", 0, counter)))
            self.put(row, rs1=one, rs2=two, imm=back)
        self.keep -= {counter, other}

    def call(self, depth: int) -> None:
        """A subroutine, directly or through a register."""
        r = self.r
        usable = [s for s in self.subroutines if s[1] not in self.keep]
        if not usable:
            return
        where, link = r.choice(usable)
        if r.random() < 0.5:
            self.put("jal", rd=link, imm=where - self.at)
        else:
            through = link if r.random() < 0.4 else self.target() or 31
            rest = self.relative(through, where, low=False)
            self.put("jalr", rd=link, rs1=through, imm=rest)

    def indirect(self, depth: int) -> None:
        """jalr a little ahead."""
        r = self.r
        through = self.target() or 31
        at = self.at
        self.put("auipc", rd=through, imm=0)
        index = self.raw(0x13, 4)
        for _ in range(r.randrange(1, 4)):
            self.item(depth + 1)
        if self.at - at < 2000:
            self.patch(index, "jalr", rd=self.target(), rs1=through, imm=self.at - at)

    def wild(self, depth: int) -> None:
        """To anywhere in the code."""
        through = self.target() or 31
        rest = self.relative(through, CODE + self.r.randrange(CODE_PAGES * 4096), low=False)
        self.put("jalr", rd=self.target(), rs1=through, imm=rest)

    def smc(self, depth: int) -> None:
        """Write over an instruction, fence.i, run it; perhaps again."""
        r = self.r
        free = [c for c in COUNTERS if c not in self.keep]
        if len(free) < 3 or self.at & 1:
            return
        pointer, value, counter = r.sample(free, 3)
        self.keep |= {pointer, value, counter}
        index = self.put("auipc", rd=pointer, imm=0)
        again = r.random() < 0.5
        if again:
            self.put("addi", rd=counter, rs1=0, imm=3)
        self.constant(value, r.randrange(P_CODE, P_SATP))
        start = self.at
        before = r.random() < 0.4
        slot = self.at
        if before:
            self.raw(self.encode(BY_NAME["addi"], rd=self.target(), rs1=self.source()), 4)
        store, fence = self.raw(0x13, 4), self.put("fence_instruction")
        for _ in range(r.randrange(3)):
            self.alu(depth)
        if not before:
            slot = self.at
            self.raw(self.encode(BY_NAME["xori"], rd=self.target(), rs1=self.source()), 4)
        self.patch(store, r.choice(("sw", "sw", "sh", "sd") if not before else ("sw", "sh")), rs1=pointer, rs2=value, imm=slot - self.p.words[index][0])
        if not before:
            self.raw(0x13, 4)  # what sd writes over
        if again:
            self.put("srli", rd=value, rs1=value, imm=32, uimm=32) if r.random() < 0.5 else self.alu(depth)
            self.put("addi", rd=counter, rs1=counter, imm=-1)
            self.put("bne", rs1=counter, rs2=0, imm=start - self.at)
        assert fence > store
        self.keep -= {pointer, value, counter}

    def device(self, depth: int) -> None:
        """Touch a device."""
        r = self.r
        through = self.target() or 29
        slot = r.randrange(P_DEVICES, P_CODE)
        self.constant(through, slot)
        if slot == P_CODE - 1:
            self.put("sw", rs1=through, rs2=self.source(), imm=r.choice((0, 8)))
            return
        row = r.choice(BY_KIND["memory"])
        chosen = self.registers(row)
        if chosen is not None and "rs1" in chosen and row.encoding.length == 4:
            chosen["rs1"] = through
            self.put(row, **{**chosen, "imm": r.choice((0, 8, 16, 4, 3))})

    def special(self, depth: int) -> None:
        """What needs several instructions and privilege."""
        r = self.r
        one, two = self.target() or 29, self.target() or 30
        if one == two:
            two = 30 if one != 30 else 29
        roll = r.randrange(6)
        if roll == 0:  # other page tables
            self.constant(one, r.randrange(P_SATP, P_TABLE))
            self.put("csrrw", rd=0 if r.random() < 0.5 else two, rs1=one, imm=0x180, uimm=0x180)
        elif roll == 1 and self.mode >= 1 and self.edits:  # a page-table entry
            k = r.randrange(len(self.edits))
            self.constant(one, P_TABLE + 3 * k)
            self.constant(two, P_TABLE + 3 * k + 1)
            self.put("sd", rs1=one, rs2=two, imm=0)
            if r.random() < 0.4:
                self.put("sfence_vma")
            else:
                self.constant(one, P_TABLE + 3 * k + 2)
                self.put("sfence_vma_address", rs1=one)
        elif roll == 2 and self.mode == 3 and self.protecting:
            which = r.randrange(4)
            self.constant(one, r.randrange(P_PMP, P_PMP + 6))
            self.put("csrw", rs1=one, imm=0x3B0 + which, uimm=0x3B0 + which)
            self.constant(one, r.randrange(P_PMP + 6, P_STATUS))
            self.put("csrw", rs1=one, imm=0x3A0, uimm=0x3A0)
        elif roll == 3 and self.mode == 3:  # borrow another mode's view
            self.constant(one, r.randrange(P_STATUS, POOL_SIZE))
            self.put(r.choice(("csrrs", "csrrc")), rd=two, rs1=one, imm=0x300, uimm=0x300)
        elif roll == 4 and self.mode >= 1:  # return to somewhere ahead
            rest = self.at
            self.put("auipc", rd=one, imm=0)
            index = self.raw(0x13, 4)
            number = 0x341 if self.mode == 3 else 0x141
            self.put("csrw", rs1=one, imm=number, uimm=number)
            if r.random() < 0.5:
                number = 0x300 if self.mode == 3 else 0x100
                self.constant(two, r.randrange(P_STATUS, POOL_SIZE))
                self.put(r.choice(("csrrs", "csrrc")), rd=0, rs1=two, imm=number, uimm=number)
            self.put("mret" if self.mode == 3 else "sret")
            self.patch(index, "addi", rd=one, rs1=one, imm=self.at - rest)
        else:
            self.put("cbo_zero" if r.random() < 0.5 else r.choice(("cbo_clean", "cbo_flush", "cbo_inval")), rs1=r.choice(BASE))

    def interrupt(self, depth: int) -> None:
        """Let an interrupt become pending, enabled or both."""
        r = self.r
        one, two = self.target() or 29, self.target()
        self.put("addi", rd=one, rs1=0, imm=r.choice((2, 0x20, 0x22, 0x200, 0x222)))
        if self.mode == 3:
            self.put("csrrs", rd=two, rs1=one, imm=0x344, uimm=0x344)
            if r.random() < 0.8:
                self.put("csrrs", rd=0, rs1=one, imm=0x304, uimm=0x304)
            if r.random() < 0.7:
                self.put("csrrsi", rd=0, imm=0, uimm=0x300 | 8 << 12)
        elif self.mode == 1:
            self.put("csrrs", rd=two, rs1=one, imm=0x104, uimm=0x104)
            self.put("csrrsi", rd=0, imm=0, uimm=0x144 | 2 << 12)
            if r.random() < 0.8:
                self.put("csrrsi", rd=0, imm=0, uimm=0x100 | 2 << 12)

    # -- the whole --

    def seek(self) -> None:
        """Choose a place for the next piece of code, often near the end of a page."""
        r = self.r
        for _ in range(50):
            page = CODE + 4096 * r.randrange(CODE_PAGES - 1)
            at = page + (4096 - 2 * r.randrange(1, 80) if r.random() < 0.5 else 2 * r.randrange(0, 1600))
            if all(at + 700 < low or at >= high for low, high in self.taken):
                self.at = at
                return
        self.at = max(high for _, high in self.taken)

    def piece(self, write: Callable[[], None]) -> int:
        """Write a piece of code somewhere; its address."""
        self.seek()
        start = self.at
        write()
        self.taken.append((start, self.at))
        return start

    def subroutine(self) -> None:
        """A short function."""
        link = self.r.choice(LINKS)
        self.keep.add(link)

        def write() -> None:
            for _ in range(self.r.randrange(1, 7)):
                self.item(2)
            if link == 5 or self.r.random() < 0.5:
                self.put("jalr", rd=0, rs1=link, imm=0)
            else:
                self.put("c.jr", rs1=link)

        start = self.piece(write)
        self.keep.discard(link)
        self.subroutines.append((start, link))

    def block(self, last: bool) -> None:
        """One landing."""
        r = self.r
        mode = self.mode = r.choice((3, 3, 1, 1, 0, 0))
        window = r.choice(WINDOWS[mode])

        def write() -> None:
            self.pointers()
            for _ in range(r.randrange(5, 45)):
                self.item()
            self.put("ecall" if last or r.random() < 0.7 else "ebreak")

        start = self.piece(write)
        status = mode << MPP_SHIFT | r.choice((0, 1, 2, 3, 3, 3, 3, 3, 3, 3)) << FS_SHIFT
        for bit, likely in ((MPIE, 0.5), (SPIE, 0.5), (SPP, 0.5), (SUM, 0.4), (MXR, 0.2), (TVM, 0.1), (TW, 0.1), (TSR, 0.1)):
            status |= bit if r.random() < likely else 0
        if mode == 3 and r.random() < 0.08:
            status |= MPRV
        mie = r.choice((0, 0, 0, r.getrandbits(12)))
        self.p.landings.append((start - RAM + window, status, mie))

    def fill_pool(self) -> None:
        """Constants."""
        r = self.r
        pool = [r.choice(NUMBERS) for _ in range(POOL_SIZE)]
        for i in range(P_RANDOM, P_POINTERS):
            pool[i] = r.getrandbits(64)
        for i in range(P_POINTERS, P_DEVICES):
            where = r.choice((DATA + 4096 * r.randrange(1, DATA_PAGES) + r.choice((0, 8, -1, -4, r.randrange(4096))), RAM + scaffold.SIZE - r.randrange(12),
                              RAM - r.choice((1, 8)))) - RAM  # fmt: skip
            base = (RAM, RAM, scaffold.GIGAPAGE, scaffold.USER_PAGES, scaffold.USER_BIG, r.choice(WINDOWS[1]))[(i - P_POINTERS) // 3]
            pool[i] = base + where & (1 << 64) - 1
            if r.random() < 0.06:
                pool[i] = r.choice((r.getrandbits(64), (1 << 64) - r.randrange(1, 9), 1 << 38, 0xFFFF_FFC0_0000_0000, 0x100_0000_0000))
        for i, value in enumerate((0x1000_0000, 0x1000_0FF0, scaffold.USER_BIG + 0x40_0008, 0x1000_1000, 0xFE0, 0x200_0000)):
            pool[P_DEVICES + i] = value
        for i in range(P_CODE, P_SATP):
            rows = [self.encode(row, **chosen) for row in r.sample(BY_KIND["alu"], 12) if (chosen := self.registers(row)) and row.encoding.length == 4]
            small = [self.encode(row, **chosen) for row in r.sample(BY_KIND["alu"], 40) if (chosen := self.registers(row)) and row.encoding.length == 2]
            low, high = (r.choice(rows), r.choice(rows)) if rows else (0x13, 0x13)
            if r.random() < 0.3 and len(small) > 1:
                low = small[0] | small[1] << 16
            pool[i] = low | high << 32
        roots = [(8, scaffold.ROOT_A, 0), (8, scaffold.ROOT_A, 7), (8, scaffold.ROOT_B, 0), (8, scaffold.ROOT_B, 3), (9, scaffold.ROOT_48, 0),
                 (10, scaffold.ROOT_57, 1), (0, 0, 0), (5, scaffold.ROOT_A, 0)]  # fmt: skip
        for i, root in enumerate(roots):
            pool[P_SATP + i] = scaffold.satp(*root)
        for i, (address, value, vaddr) in enumerate(self.edits):
            pool[P_TABLE + 3 * i:P_TABLE + 3 * i + 3] = [address, value, vaddr]
        for i in range(6):
            pool[P_PMP + i] = DATA + 4096 * r.randrange(DATA_PAGES) >> 2 | r.choice((0, 0x1FF, 0x3FF, 0x7FF))
        for i in range(P_PMP + 6, P_STATUS):
            pool[i] = 0x1F << 32 | sum((r.choice((0, 0x18, 0x18, 8 if n else 0, 0x10)) | r.randrange(8) | (0x80 if r.random() < 0.1 else 0)) << 8 * n for n in range(4))
        pool[P_STATUS:POOL_SIZE] = [r.choice((MPRV, SUM, MXR, SUM | MXR, MPRV | 1 << MPP_SHIFT, MPRV | 1 << MPP_SHIFT | SUM, 3 << FS_SHIFT, SPP | SPIE, TVM | TSR, TW,
                                              r.getrandbits(64))) for _ in range(POOL_SIZE - P_STATUS)]  # fmt: skip
        self.p.pool = pool

    def tables(self) -> None:
        """Which page-table entries differ from the rule, and which will be written."""
        r = self.r
        leaves = ((scaffold.S_LEAVES, scaffold.KERNEL, scaffold.IDENTITY), (scaffold.U_LEAVES_A, scaffold.USER, scaffold.USER_PAGES))
        self.edits: list[tuple[int, int, int]] = []
        for _ in range(r.choice((0, 0, 0, 1, 3, 5))):
            leaf, flags, _ = r.choice(leaves)
            page = r.randrange(DATA_PAGES) + (DATA - RAM >> 12) if r.random() < 0.85 else r.randrange(CODE_PAGES) + (CODE - RAM >> 12)
            flags = r.choice((flags & ~W, flags & ~(W | D), flags & ~D, flags & ~(A | D), flags & ~R, flags & ~X, flags & ~V, flags ^ U, flags & ~(R | W), flags | G,
                              flags | 1 << 61))  # fmt: skip
            self.p.entries.append((leaf + 8 * page, scaffold.pte(RAM + 4096 * page, flags)))
        if r.random() < 0.5:
            for _ in range(r.randrange(1, 5)):
                page = (DATA - RAM >> 12) + r.randrange(DATA_PAGES)
                leaf, flags, window = r.choice(leaves)
                other = r.choice((flags, flags & ~W, flags & ~(R | W), flags & ~V, flags & ~D, flags & ~A))
                shown = page if r.random() < 0.6 else (DATA - RAM >> 12) + r.randrange(DATA_PAGES)
                edit = (leaf + 8 * page, scaffold.pte(RAM + 4096 * shown, other), window + 4096 * page + r.randrange(4096))
                if r.random() < 0.4:  # a superpage, fenced by any address inside it
                    where = r.randrange(scaffold.SIZE)
                    edit = r.choice((
                        (scaffold.BIG_MIDDLE, scaffold.pte(RAM, r.choice((scaffold.USER, scaffold.USER & ~W, scaffold.USER & ~D))), scaffold.USER_BIG + where),
                        (scaffold.ROOT_A + 8 * 258, scaffold.pte(RAM, r.choice((scaffold.KERNEL, scaffold.KERNEL & ~W))), scaffold.GIGAPAGE + where)))  # fmt: skip
                self.edits.append(edit)
                self.p.edited.append(edit[0])

    def registers_at_start(self) -> None:
        """The hart's state."""
        r, state = self.r, self.p.state
        for i in range(1, 32):
            state[f"x{i}"] = r.choice((r.choice(NUMBERS), r.getrandbits(64), r.randrange(64)))
        for i in range(32):
            state[f"f{i}"] = r.choice((r.choice(NUMBERS), r.getrandbits(64), 0xFFFF_FFFF_0000_0000 | r.getrandbits(32)))
        state["frm"] = r.choice((0, 0, 0, 0, 1, 2, 3, 4, 0, 1, 5, 7))
        state["fflags"] = r.choice((0, r.randrange(32)))
        state["pc"] = scaffold.HANDLER
        state["mtvec"] = scaffold.HANDLER | (1 if self.p.vectored else 0)
        state["stvec"] = scaffold.SUPERVISOR_HANDLER | r.randrange(2)
        state["medeleg"] = r.choice((0, 0, 0xB1FF, r.getrandbits(16) & 0xB1FF))
        state["mideleg"] = r.choice((0, 0x222, r.getrandbits(12) & 0x222))
        state["menvcfg"] = r.choice((0, 1 << 61, 1 << 61, 1 << 63, 7 << 61 & ~(1 << 62))) | r.choice((0xF0 & ~0x20, 0x10, 0x80, 0))
        state["senvcfg"] = r.choice((0, 0xD0, 0xD1))
        state["mcounteren"], state["scounteren"] = r.choice((0, 7, 7)), r.choice((0, 7, 7))
        state["sscratch"] = r.randrange(30)
        if r.random() < 0.85:
            state["satp"] = self.p.pool[P_SATP + r.randrange(6)]
        self.protection()

    def protection(self) -> None:
        """PMP: entry 4 opens everything; the ones before it may close data pages again."""
        state = self.p.state
        state["pmp_used"] = 5 if self.protecting else 1
        last = 4 if self.protecting else 0
        if self.protecting:
            for i in range(4):
                state[f"pmpaddr{i}"] = DATA + 4096 * (2 * i + 4) >> 2 | (0x1FF, 0x3FF, 0, 0x7FF)[i]
        state[f"pmpcfg{last}"], state[f"pmpaddr{last}"] = 0x1F, ADDRESS_MASK

    def make(self) -> Program:
        """The program."""
        r = self.r
        self.protecting = r.random() < 0.15
        self.tables()
        self.fill_pool()
        self.registers_at_start()
        for _ in range(r.randrange(2, 6)):
            self.subroutine()
        blocks = r.randrange(4, 14)
        for i in range(blocks):
            self.block(i == blocks - 1)
        return self.p


def stream(seed: int) -> Program:
    """The program of a seed."""
    return Streams(seed).make()


def names(program: Program) -> set[str]:
    """Which rows occur in a program."""
    from popek.isa.table import _assembly

    found: set[str] = set()
    for _, bits, _ in program.words:
        row: Any = _assembly.find(bits)
        if row is not None:
            found.add(row.name if isinstance(row, Op) else row.mnemonic)
    return found
