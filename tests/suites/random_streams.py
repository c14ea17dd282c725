"""Random streams of instructions for streams.py: any operation, any mode, pages of all rights, edge values."""

from __future__ import annotations

import random

from popek.isa import hart, table
from popek.isa.encoding import Field
from popek.isa.op import Op
from popek.isa.paging import PTE_A, PTE_D, PTE_N, PTE_R, PTE_U, PTE_V, PTE_W, PTE_X
from tests.elves import elf
from tests.suites.streams import (
    ALIGNED,
    BASES,
    COUNTER,
    DATA,
    DATA_PAGES,
    MASK,
    RAM,
    STATES,
    STREAMS,
    TABLES,
    TURNS,
    VIRTUAL,
    Stream,
    harness,
)

#: Not compared: what machines may answer differently, or what would end a stream.
EXCLUDED = {"ecall", "mret", "sret", "wfi", "pause", "wrs_nto", "wrs_sto", "fence_instruction", "jalr", "cbo_inval",
            "cbo_clean", "cbo_flush", "cbo_zero", "lr_w", "lr_d", "sc_w", "sc_d"}  # fmt: skip
CSRS = ("fflags", "frm", "fcsr", "sscratch", "scause", "stval",
        "sstatus", "mstatus", "mvendorid", "satp")  # fmt: skip


class Generator:
    """Makes programs; the same seed makes the same program."""

    def __init__(self, seed: int, without: tuple[str, ...] = ()) -> None:
        self.random = random.Random(seed)
        self.ops = [op for op in table.OPS if op.name not in EXCLUDED and op.name not in without]
        self.memory = [op for op in self.ops
                       if op.kind in ("load", "store", "amo") or op.name in ("flw", "fld", "fsw", "fsd")]

    def program(self, streams: int, length: int, paged: bool) -> bytes:
        """An ELF file of `streams` streams of `length` instructions each."""
        code, states = bytearray(), bytearray()
        for _ in range(streams):
            stream = self.stream(length, paged)
            entry = STREAMS + len(code)
            code += b"".join(word.to_bytes(4, "little") for word in stream.words)
            for value in (entry, stream.satp, stream.mstatus, stream.fcsr, *stream.x, *stream.f):
                states += (value & MASK).to_bytes(8, "little")
        pieces = {RAM: harness(streams), STREAMS: bytes(code), STATES: bytes(states),
                  DATA: self.random.randbytes(DATA_PAGES * 4096), TABLES: self.tables()}  # fmt: skip
        image = bytearray(max(at + len(data) for at, data in pieces.items()) - RAM)
        for at, data in sorted(pieces.items()):
            assert not any(image[at - RAM:at - RAM + len(data)]), "the pieces overlap"
            image[at - RAM:at - RAM + len(data)] = data
        return elf(bytes(image), RAM)

    def tables(self) -> bytes:
        """Sv39: one table set for supervisor streams and one for user streams; pages differ in their rights."""
        out = bytearray()
        for user in (0, PTE_U):
            root, middle, low = (TABLES + len(out) + 4096 * n for n in range(3))
            pages = [bytearray(4096) for _ in range(3)]

            def put(page: bytearray, index: int, target: int, flags: int) -> None:
                page[8 * index:8 * index + 8] = (target >> 12 << 10 | flags).to_bytes(8, "little")

            put(pages[0], VIRTUAL >> 30, middle, PTE_V)
            put(pages[0], RAM >> 30, RAM, PTE_V | PTE_R | PTE_X | PTE_A | user)
            put(pages[1], 0, low, PTE_V)
            put(pages[1], 1, RAM + 0x60_0000, PTE_V | PTE_R | PTE_W | PTE_A | PTE_D | user)
            for n in range(512):
                flags = self.random.choice((0, PTE_R, PTE_R | PTE_W, PTE_X, PTE_R | PTE_X, PTE_R | PTE_W | PTE_X))
                flags |= PTE_V if self.random.random() < 0.95 else 0
                flags |= user if self.random.random() < 0.8 else user ^ PTE_U
                flags |= self.random.choice((0, PTE_A, PTE_A | PTE_D, PTE_A | PTE_D, PTE_A | PTE_D))
                flags |= self.random.choice((0, 0, 0, 1, 2)) << 61          # Svpbmt
                frame = DATA + self.random.randrange(DATA_PAGES) * 4096
                if self.random.random() < 0.15:
                    flags, frame = flags | PTE_N, DATA + self.random.choice((8, 8, 8, 4)) * 4096
                put(pages[2], n, frame, flags)
            out += b"".join(pages)
            assert root == TABLES + len(out) - 3 * 4096
        return bytes(out)

    def stream(self, length: int, paged: bool) -> Stream:
        """One stream from a random state."""
        pick = self.random.choice
        mode = pick((hart.USER, hart.SUPERVISOR, hart.MACHINE))          # paged machine mode: MPRV lends it U's rights
        satp = 8 << 60 | (TABLES >> 12) + (0 if mode == hart.SUPERVISOR else 3) if paged else 0
        mstatus = hart.FS | mode << hart.MPP_SHIFT | self.random.getrandbits(64) & (hart.SUM | hart.MXR)
        if paged and mode == hart.MACHINE:
            mstatus |= hart.MPRV
        x = [self.value() for _ in range(32)]
        for register in BASES:
            x[register] = self.address(paged)
        x[ALIGNED] &= ~7
        x[COUNTER] = TURNS
        f = [pick((self.random.getrandbits(64), self.boxed(), self.special())) for _ in range(32)]
        stream = Stream(mode, satp, mstatus, x, f, pick((0, 0x20, 0x40, 0x60, 0x80, 0x1F)))
        while (left := length - len(stream.words)) > 0:
            straight = all(word & 0x7F not in (0x63, 0x6F) for word in stream.words[-4:])     # nothing jumps inside
            pair = straight and left > 8 and self.random.random() < 0.06
            if pair and paged and mode != hart.USER and pick((True, False)):
                stream.words += self.switch(mode)
            else:
                stream.words += self.reserved() if pair else [self.word(left, paged)]
        lines = f"addi x{COUNTER}, x{COUNTER}, -1", f"bne x{COUNTER}, zero, {-4 * length - 4}", "ecall"
        stream.words += [table.assemble(line) for line in lines]
        return stream

    def value(self) -> int:
        """An integer register's first value."""
        wild = self.random.getrandbits(64)
        return self.random.choice((wild, wild >> 32, wild >> 57, -(wild >> 57), 1 << (wild & 63), wild | MASK << 31))

    def boxed(self) -> int:
        """A single-precision number."""
        return MASK << 32 & MASK | self.random.getrandbits(32)

    def special(self) -> int:
        """Zeros, infinities, subnormals, NaNs."""
        return self.random.choice(
            (0, 1 << 63, 0x7FF << 52, 0xFFF << 52, 1, 0x7FF0_0000_0000_0001, 0x7FF8 << 48, 0x3FF << 52))

    def address(self, paged: bool) -> int:
        """A data address, often near the end of its page."""
        inside = self.random.choice((self.random.randrange(0x40, 0xFC0), 0xFF8, 0xFFC, 0x1000))
        if paged and self.random.random() < 0.2:
            return VIRTUAL + 0x20_0000 + self.random.randrange(DATA_PAGES) * 4096 + (inside & 0xFFF)
        page = self.random.randrange(1, 511 if paged else DATA_PAGES - 1)
        return (VIRTUAL if paged else DATA) + page * 4096 + inside

    def word(self, left: int, paged: bool = False) -> int:
        """A random instruction, or two short ones; branches go forward within the `left` remaining words."""
        if self.random.random() < 0.15:
            return self.short(paged) | self.short(paged) << 16
        op = self.random.choice(self.memory if self.random.random() < 0.2 else self.ops)
        word = self.random.getrandbits(32) & ~op.encoding.mask & 0xFFFF_FFFF | op.encoding.match
        for field in op.encoding.fields:
            if field.name == "rd":
                word = self._set(word, field, self.random.choice([n for n in range(32) if n not in (*BASES, COUNTER)]))
            elif field.name == "rs1" and op in self.memory:
                word = self._set(word, field, ALIGNED if op.kind == "amo" else self.random.choice(BASES))
            elif field.name == "rm":
                word = self._set(word, field, self.random.choice((0, 1, 2, 3, 4, 7, 7)))
            elif field.name == "imm" and op.kind in ("branch", "jump"):
                word = self._set(word, field, 4 * self.random.randint(1, min(4, left)))
            elif field.name == "imm" and op.kind in ("load", "store", "fp"):
                word = self._set(word, field, self.random.randint(-64, 64) & ~self.random.choice((0, 3, 7, 7)))
        return self.csr(op) if op.kind == "csr" else word

    def short(self, paged: bool) -> int:
        """A random 16-bit instruction that stays where it is; in paged streams one that cannot trap."""
        kinds = ("alu",) if paged else ("alu", "load", "store", "fp")
        forms = [form for form in table.FORMS if form.of.kind in kinds and "(sp)" not in form.assembly]
        form = self.random.choice(forms)
        while True:
            word = self.random.getrandbits(16) & ~form.encoding.mask | form.encoding.match
            for field in form.encoding.fields:
                if field.name in ("rd", "rd'"):
                    word = self._set(word, field, self.random.choice((10, 11, 12, 13, 14, 15)))
                elif field.name == "rs1'":
                    word = self._set(word, field, self.random.choice((8, 9)))
            if table.disassemble(word).startswith(form.mnemonic + " "):      # neither reserved nor another one
                return word

    def reserved(self) -> list[int]:
        """LR and SC with nothing in between that may end the reservation."""
        size, wrong = self.random.choice("wd"), self.random.choice((0, 0, 8))
        a, b, c = (self.random.choice((5, 6, 7, 10, 11)) for _ in range(3))
        lines = (f"lr.{size} x{a}, (x{ALIGNED})", f"xori x{a}, x{b}, 5", f"addi x12, x{ALIGNED}, {wrong}",
                 f"sc.{size} x{c}, x{a}, (x12)")  # fmt: skip
        return [table.assemble(line) for line in lines]

    def switch(self, mode: int) -> list[int]:
        """Change how data accesses translate."""
        bits = self.random.choice((hart.SUM, hart.MXR, hart.SUM | hart.MXR, hart.MPRV if mode == hart.MACHINE else 0))
        how, name = self.random.choice(("csrrs", "csrrc")), "mstatus" if mode == hart.MACHINE else "sstatus"
        return [table.assemble(f"lui x7, {bits >> 12:#x}"), table.assemble(f"{how} zero, {name}, x7")]

    def csr(self, op: Op) -> int:
        """Reads of any, writes of harmless bits of some."""
        name = self.random.choice(CSRS)
        if name == "satp" or name == "mvendorid" or op.name in ("csrr", "csrrc_none", "csrrsi_none", "csrrci_none"):
            return table.assemble(f"csrr x{self.random.choice((5, 6, 7))}, {name}")
        if name in ("sstatus", "mstatus"):
            return table.assemble(f"{self.random.choice(('csrrsi', 'csrrci'))} x7, {name}, 0")
        return table.assemble(f"csrrw x{self.random.choice((5, 6, 7))}, {name}, x{self.random.randrange(1, 8)}")

    def _set(self, word: int, field: Field, value: int) -> int:
        clear = 0
        for piece in field.pieces:
            clear |= (1 << piece.width) - 1 << piece.at
        return word & ~clear | field.insert(value)
