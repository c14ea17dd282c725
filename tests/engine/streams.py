"""Random instruction streams: a seed makes a Program (scaffold) of some hundred instructions in several modes.

Lives here: how often what is generated, and the state around it. What must not be generated: what the ISA leaves open,
such as page-table changes without a fence, or code changes without fence.i.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from popek.isa.hart import FS_SHIFT, MPIE, MPP_SHIFT, MPRV, MXR, SPIE, SPP, SUM, TSR, TVM, TW, VS_SHIFT
from popek.isa.op import Op
from popek.isa.pmp import ADDRESS_MASK
from tests.engine import control, items, scaffold
from tests.engine.scaffold import CODE, CODE_PAGES, DATA, DATA_PAGES, NUMBERS, RAM, A, D, G, N, Program, R, U, V, W, X
from tests.engine.writer import (
    BY_KIND,
    LINKS,
    P_CODE,
    P_DEVICES,
    P_PMP,
    P_POINTERS,
    P_RANDOM,
    P_SATP,
    P_STATUS,
    P_TABLE,
    POOL_SIZE,
    WINDOWS,
    Writer,
)  # fmt: skip


def original(address: int) -> int:
    """What a page-table entry is when nothing is said about it."""
    at = address - scaffold.TABLES
    return int.from_bytes(scaffold.tables()[at:at + 8], "little")


class Streams(Writer):
    """Writes a whole program."""

    def item(self, depth: int = 0) -> None:
        """One thing."""
        f = self.floating
        weights: list[tuple[float, Callable[[Writer, int], None]]] = [
            (34, items.alu), (18, items.memory), (6, items.atomic), (30 * f * f, items.fp), (4, items.csr_access),
            (1.2, items.system), (0.15, items.illegal), (1.2 if self.mode else 0.3, items.device), (1.2, items.special),
            (1.0, items.interrupt), (1.5, lambda w, d: w.pointers()), (1.2, control.smc), (0.6, control.wild),
            (2.0 if depth < 2 else 0, items.sandwich), (1.5 if depth < 2 else 0, control.stride)]  # fmt: skip
        if depth == 0:
            weights.append((0.1, control.wall))
        if self.vectors:
            weights.append((20, items.vectors))
        if depth < 3:
            weights += [(6, control.skip), (3.5, control.loop), (2, control.call), (1.5, control.indirect)]
        (chosen,) = self.r.choices([w[1] for w in weights], [w[0] for w in weights])
        chosen(self, depth)

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
        self.mode = 0  # whoever may call it

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
        if self.vectors:
            status |= r.choice((0, 1, 2, 3, 3, 3, 3, 3, 3, 3)) << VS_SHIFT
        for bit, likely in (
            (MPIE, 0.5),
            (SPIE, 0.5),
            (SPP, 0.5),
            (SUM, 0.4),
            (MXR, 0.2),
            (TVM, 0.1),
            (TW, 0.1),
            (TSR, 0.1),
        ):
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
            inside = DATA + 4096 * r.randrange(1, DATA_PAGES) + r.choice((0, 8, -1, -4, r.randrange(4096)))
            where = r.choice((inside, RAM + scaffold.SIZE - r.randrange(12), RAM - r.choice((1, 8)))) - RAM
            base = (RAM, RAM, scaffold.GIGAPAGE, scaffold.USER_PAGES, scaffold.USER_BIG, r.choice(WINDOWS[1]))[
                (i - P_POINTERS) // 3
            ]
            pool[i] = base + where & (1 << 64) - 1
            if r.random() < 0.06:
                pool[i] = r.choice(
                    (r.getrandbits(64), (1 << 64) - r.randrange(1, 9), 1 << 38, 0xFFFF_FFC0_0000_0000, 0x100_0000_0000)
                )
        for i, value in enumerate(
            (0x1000_0000, 0x1000_0FF0, scaffold.USER_BIG + 0x40_0008, 0x1000_1000, 0xFE0, 0x200_0000)
        ):
            pool[P_DEVICES + i] = value
        for i in range(P_CODE, P_SATP):
            rows = [
                self.encode(row, **chosen)
                for row in r.sample(BY_KIND["alu"], 12)
                if (chosen := self.registers(row)) and row.encoding.length == 4
            ]
            small = [
                self.encode(row, **chosen)
                for row in r.sample(BY_KIND["alu"], 40)
                if (chosen := self.registers(row)) and row.encoding.length == 2
            ]
            low, high = (r.choice(rows), r.choice(rows)) if rows else (0x13, 0x13)
            if r.random() < 0.3 and len(small) > 1:
                low = small[0] | small[1] << 16
            pool[i] = low | high << 32
        roots = [
            (8, scaffold.ROOT_A, 0), (8, scaffold.ROOT_A, 7), (8, scaffold.ROOT_B, 0), (8, scaffold.ROOT_B, 3),
            (9, scaffold.ROOT_48, 0), (10, scaffold.ROOT_57, 1), (0, 0, 0), (5, scaffold.ROOT_A, 0)]  # fmt: skip
        for i, root in enumerate(roots):
            pool[P_SATP + i] = scaffold.satp(*root)
        for i, (address, value, vaddr) in enumerate(self.edits):
            pool[P_TABLE + 3 * i : P_TABLE + 3 * i + 3] = [address, value, vaddr]
        for i in range(6):
            page = DATA + 4096 * r.randrange(DATA_PAGES)
            if r.random() < 0.3:
                page = CODE + 4096 * r.randrange(CODE_PAGES)
            pool[P_PMP + i] = page >> 2 | r.choice((0, 0x1FF, 0x3FF, 0x7FF))
        for i in range(P_PMP + 6, P_STATUS):
            pool[i] = 0x1F << 32 | sum(
                (r.choice((0, 0x18, 0x18, 8 if n else 0, 0x10)) | r.randrange(8) | (0x80 if r.random() < 0.1 else 0))
                << 8 * n
                for n in range(4)
            )
        lent = MPRV | 1 << MPP_SHIFT
        status = (
            MPRV,
            SUM,
            MXR,
            SUM | MXR,
            lent,
            lent | SUM,
            3 << FS_SHIFT,
            SPP | SPIE,
            TVM | TSR,
            TW,
            r.getrandbits(64),
        )
        pool[P_STATUS:POOL_SIZE] = [r.choice(status) for _ in range(POOL_SIZE - P_STATUS)]
        self.p.pool = pool

    def tables(self) -> None:
        """Which page-table entries differ from the rule, and which will be written."""
        r = self.r
        leaves = (
            (scaffold.S_LEAVES, scaffold.KERNEL, scaffold.IDENTITY),
            (scaffold.U_LEAVES_A, scaffold.USER, scaffold.USER_PAGES),
        )
        for _ in range(r.choice((0, 0, 0, 1, 3, 5))):
            leaf, flags, _ = r.choice(leaves)
            page = (
                r.randrange(DATA_PAGES) + (DATA - RAM >> 12)
                if r.random() < 0.85
                else r.randrange(CODE_PAGES) + (CODE - RAM >> 12)
            )
            flags = r.choice((
                flags & ~W, flags & ~(W | D), flags & ~D, flags & ~(A | D), flags & ~R, flags & ~X, flags & ~V,
                flags ^ U, flags & ~(R | W), flags | 1 << 61, flags | 2 << 61, flags | 3 << 61,
                flags | N, flags | N))  # fmt: skip
            frame = page & ~15 | r.choice((8, 8, 8, 8, 4)) if flags & N else page
            self.p.entries.append((leaf + 8 * page, scaffold.pte(RAM + 4096 * frame, flags)))
        if r.random() < 0.5:
            for _ in range(r.randrange(1, 5)):
                page = (DATA - RAM >> 12) + r.randrange(DATA_PAGES)
                leaf, flags, window = r.choice(leaves)
                other = r.choice((flags, flags & ~W, flags & ~(R | W), flags & ~V, flags & ~D, flags & ~A))
                shown = page if r.random() < 0.6 else (DATA - RAM >> 12) + r.randrange(DATA_PAGES)
                if r.random() < 0.1:  # a block of 64 KiB
                    other, shown = other | N, shown & ~15 | 8
                edit = (
                    leaf + 8 * page,
                    scaffold.pte(RAM + 4096 * shown, other),
                    window + 4096 * page + r.randrange(4096),
                )
                if r.random() < 0.4:  # a superpage, fenced by any address inside it
                    where = r.randrange(scaffold.SIZE)
                    user = scaffold.USER & ~r.choice((W, D, X, R | W))
                    kernel = scaffold.KERNEL & ~r.choice((W, W, X, R | W))
                    if kernel & (R | X) != R | X:  # supervisor code may run there
                        self.machine_only.add(len(self.edits))
                    edit = (scaffold.BIG_MIDDLE, scaffold.pte(RAM, user), scaffold.USER_BIG + where)
                    if r.random() < 0.5:
                        edit = (scaffold.ROOT_A + 8 * 258, scaffold.pte(RAM, kernel), scaffold.GIGAPAGE + where)
                elif r.random() < 0.3:  # code
                    page, shown = ((CODE - RAM >> 12) + r.randrange(CODE_PAGES) for _ in range(2))
                    if leaf == scaffold.S_LEAVES:
                        self.machine_only.add(len(self.edits))
                    other = r.choice((flags, flags, flags & ~X, flags & ~V, flags ^ U, flags & ~A))
                    edit = (
                        leaf + 8 * page,
                        scaffold.pte(RAM + 4096 * r.choice((page, shown)), other),
                        window + 4096 * page,
                    )
                back = original(edit[0])
                if len(self.edits) in self.machine_only:
                    self.machine_only.add(len(self.edits) + 1)
                self.edits += [edit, (edit[0], back, edit[2])]
        self.shared()

    def shared(self) -> None:
        """Global pages: entries that all address spaces have, and that nobody writes."""
        r = self.r
        used = {entry[0] for entry in (*self.p.entries, *self.edits)}
        if r.random() < 0.5:
            return
        for page in range(DATA - RAM >> 12):
            leaves = scaffold.S_LEAVES + 8 * page, scaffold.S_LEAVES_B + 8 * page
            if used.isdisjoint(leaves) and r.random() < 0.9:
                self.p.entries += [(leaf, scaffold.pte(RAM + 4096 * page, scaffold.KERNEL | G)) for leaf in leaves]
        if scaffold.BIG_MIDDLE not in used:
            self.p.entries.append((scaffold.BIG_MIDDLE, scaffold.pte(RAM, scaffold.USER | G)))
        if scaffold.ROOT_A + 8 * 258 not in used:
            roots = scaffold.ROOT_A, scaffold.ROOT_B
            self.p.entries += [(root + 8 * 258, scaffold.pte(RAM, scaffold.KERNEL | G)) for root in roots]

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
        state["menvcfg"] = r.choice((0, 1 << 61, 3 << 61, 1 << 63, 7 << 61)) | r.choice(
            (0xF0 & ~0x20, 0x10, 0x80, 0)
        )
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
        self.tables()
        self.fill_pool()
        self.registers_at_start()
        for _ in range(r.randrange(2, 6)):
            self.subroutine()
        blocks = r.randrange(4, 14)
        for i in range(blocks):
            self.block(i == blocks - 1)
        for landing in r.choices(self.p.landings, k=r.choice((0, 2, 6))):  # and again
            self.p.landings.insert(r.randrange(len(self.p.landings) + 1), landing)
        return self.p


def stream(seed: int) -> Program:
    """The program of a seed."""
    return Streams(seed).make()


def names(program: Program) -> set[str]:
    """Which rows occur in a program."""
    from popek.isa.table import assembly

    found: set[str] = set()
    for _, bits, _ in program.words:
        row: Any = assembly().find(bits)
        if row is not None:
            found.add(row.name if isinstance(row, Op) else row.mnemonic)
    return found
