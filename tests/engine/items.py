"""What streams are made of, in straight lines: computing, memory, CSRs, devices, what needs privilege.

Each function writes one thing. Not here: control flow (control), how often what is chosen (streams).
"""

from __future__ import annotations

import re

from popek.isa import csr
from tests.engine.scaffold import DATA, DATA_PAGES, EXECUTE_ONLY, OTHERS, READ_ONLY, SUPERPAGES
from tests.engine.writer import (
    BASE,
    BY_KIND,
    BY_NAME,
    FENCES,
    FREE_CSRS,
    P_CODE,
    P_DEVICES,
    P_PMP,
    P_SATP,
    P_STATUS,
    P_TABLE,
    POOL_SIZE,
    VECTOR_ROWS,
    Row,
    Writer,
)  # fmt: skip


def any_of(w: Writer, rows: list[Row]) -> None:
    """A random instruction of these."""
    while True:
        row = w.r.choice(rows)
        chosen = w.registers(row)
        if chosen is not None:
            w.put(row, **chosen)
            return


def alu(w: Writer, depth: int) -> None:
    any_of(w, BY_KIND["alu"])


def fp(w: Writer, depth: int) -> None:
    for _ in range(w.r.randrange(1, 5)):
        any_of(w, BY_KIND["fp"])


def memory(w: Writer, depth: int) -> None:
    r = w.r
    row = r.choice(BY_KIND["memory"])
    chosen = w.registers(row)
    if chosen is None:
        return
    if "rs1" in chosen and r.random() < 0.97:
        chosen["rs1"] = r.choice(BASE)
    field = row.encoding.field("imm")
    if field and field.signed and r.random() < 0.6:
        chosen["imm"] = r.choice((0, 8, -8, 16, 2040, -2048, r.randrange(-64, 64)))
    w.put(row, **chosen)


def atomic(w: Writer, depth: int) -> None:
    r = w.r
    base = BASE[0] if r.random() < 0.85 else r.choice((BASE[1], w.source()))
    if r.random() < 0.25:
        size = r.choice("wd")
        w.put(f"lr_{size}", rd=w.target(), rs1=base)
        for _ in range(r.randrange(3)):
            alu(w, depth)
        w.put(f"sc_{size if r.random() < 0.9 else r.choice('wd')}", rd=w.target(), rs1=base, rs2=w.source())
        return
    row = r.choice(BY_KIND["amo"])
    w.put(row, rd=w.target(), rs1=base, **({"rs2": w.source()} if row.encoding.field("rs2") else {}))


def csr_access(w: Writer, depth: int) -> None:
    r = w.r
    row = r.choice(BY_KIND["csr"])
    roll, zimm = r.random(), r.randrange(32) << 12
    if roll < 0.1:
        number = r.choice(list(csr.NUMBERS.values())) if roll < 0.09 else r.getrandbits(12)
        row = BY_NAME[r.choice(("csrr", "csrrc_none", "csrrci_none", "csrrsi_none"))]
    elif roll < 0.35 and w.floating > 0.3:
        number = r.choice((1, 1, 1, 3, 2))
        if number == 2:
            row, zimm = BY_NAME["csrrwi"], r.choice((0, 0, 1, 2, 3, 4, 5)) << 12
    elif roll < 0.8:
        number = csr.NUMBERS[r.choice((FREE_CSRS[:3], FREE_CSRS[:12], (), FREE_CSRS)[w.mode])]
    elif w.mode < 3:
        number, row = csr.NUMBERS[r.choice(("cycle", "time", "instret", "hpmcounter5", "sstatus"))], BY_NAME["csrr"]
    else:
        number, row = (
            csr.NUMBERS[r.choice(("medeleg", "sstatus", "mstatus"))],
            BY_NAME[r.choice(("csrrci", "csrrsi"))],
        )
    w.put(
        row,
        rd=w.target(),
        rs1=w.source(),
        imm=number,
        uimm=number | zimm if row.encoding.field("uimm").top > 12 else number,
    )  # type: ignore[union-attr]


def vectors(w: Writer, depth: int) -> None:
    """A few vector instructions, mostly behind one that says what the elements are."""
    r = w.r
    if r.random() < 0.6:
        log = r.choice((0, 0, 1, 2, 3, -1, -2, -3))
        size = r.choice([s for s in range(4) if s <= 3 + min(log, 0)])
        kind = r.getrandbits(2) << 6 | size << 3 | log & 7
        if r.random() < 0.04:
            kind = r.getrandbits(11)
        if r.random() < 0.5:
            w.put(VECTOR_ROWS["vsetivli"], rd=w.target(), uimm=r.randrange(32), vtypei=kind & 0x3FF)
        else:
            w.put(VECTOR_ROWS["vsetvli"], rd=w.target(), rs1=w.source(), vtypei=kind)
    else:
        log = r.randrange(4)
    for _ in range(r.randrange(1, 5)):
        if r.random() < 0.08:
            number = csr.NUMBERS[r.choice(("vstart", "vxsat", "vxrm", "vcsr", "vl", "vtype", "vlenb"))]
            if number < 0xC00 and r.random() < 0.5:
                w.put("csrrwi", rd=w.target(), uimm=number | r.randrange(8) << 12)
            else:
                w.put("csrr", rd=w.target(), uimm=number)
            continue
        row = r.choice(list(VECTOR_ROWS.values()))
        if row.module.endswith("accesses") and "ei" in row.mnemonic and r.random() < 0.7:
            row = VECTOR_ROWS[re.sub("ei(16|32|64)", "ei8", row.name)]
        chosen = {"rd": w.target(), "rs1": w.source(), "rs2": w.source(), "vm": int(r.random() < 0.6)}
        if row.module.endswith("accesses"):
            chosen["rs1"] = r.choice(BASE)
        for name in ("vd", "vs1", "vs2", "vs3"):
            chosen[name] = r.randrange(32) & -(1 << max(0, log + r.choice((0, 0, 0, 0, 1))) if r.random() < 0.95 else 1)
        w.put(row, **{name: chosen[name] for name in chosen if row.encoding.field(name)})


def system(w: Writer, depth: int) -> None:
    r = w.r
    if r.random() < 0.12:
        w.put(r.choice(("ecall", "ebreak", "c.ebreak", "mret", "sret")))
    else:
        row = BY_NAME[r.choice(FENCES)]
        w.put(row, **{n: r.choice((*BASE, w.source())) for n in ("rs1", "rs2") if row.encoding.field(n)})


def illegal(w: Writer, depth: int) -> None:
    w.raw(
        *w.r.choice(
            (
                (0, 2),
                (0xFFFF_FFFF, 4),
                (w.r.getrandbits(32) | 3, 4),
                (0x0000_5003, 4),
                (w.r.getrandbits(16) & ~1, 2),
            )
        )
    )


def device(w: Writer, depth: int) -> None:
    """Touch a device."""
    r = w.r
    through = w.target() or 29
    slot = r.randrange(P_DEVICES, P_CODE)
    w.constant(through, slot)
    if slot == P_CODE - 1:
        w.put("sw", rs1=through, rs2=w.source(), imm=r.choice((0, 8)))
        return
    row = r.choice(BY_KIND["memory"])
    chosen = w.registers(row)
    if chosen is not None and "rs1" in chosen and row.encoding.length == 4:
        chosen["rs1"] = through
        w.put(row, **{**chosen, "imm": r.choice((0, 8, 16, 4, 3))})


def special(w: Writer, depth: int) -> None:
    """What needs several instructions and privilege."""
    r = w.r
    one, two = scratch(w)
    roll = r.randrange(5)
    if roll == 0:
        other_tables(w, one, two)
    elif roll == 1:
        if w.edits:
            edit_table(w, one, two, r.randrange(len(w.edits)))
    elif roll == 2:
        protect(w, one)
    elif roll == 3 and w.mode >= 1:  # return to somewhere ahead
        rest = w.at
        w.put("auipc", rd=one, imm=0)
        index = w.raw(0x13, 4)
        number = 0x341 if w.mode == 3 else 0x141
        w.put("csrw", rs1=one, imm=number, uimm=number)
        if r.random() < 0.5:
            lend(w, two, 0)
        w.put("mret" if w.mode == 3 else "sret")
        w.patch(index, "addi", rd=one, rs1=one, imm=w.at - rest)
    elif roll == 3:
        lend(w, one, two)
    else:
        w.put(
            "cbo_zero" if r.random() < 0.5 else r.choice(("cbo_clean", "cbo_flush", "cbo_inval")),
            rs1=r.choice(BASE),
        )


def scratch(w: Writer) -> tuple[int, int]:
    """Two registers."""
    one, two = w.target() or 29, w.target() or 30
    if one == two:
        two = 30 if one != 30 else 29
    return one, two


def other_tables(w: Writer, one: int, two: int) -> None:
    """Another satp."""
    w.constant(one, w.r.randrange(P_SATP, P_TABLE))
    w.put("csrrw", rd=0 if w.r.random() < 0.5 else two, rs1=one, imm=0x180, uimm=0x180)


def edit_table(w: Writer, one: int, two: int, k: int) -> None:
    """Write a page-table entry, with a fence."""
    if w.mode == 0 or (k in w.machine_only and w.mode < 3):
        return
    w.constant(one, P_TABLE + 3 * k)
    w.constant(two, P_TABLE + 3 * k + 1)
    w.put("sd", rs1=one, rs2=two, imm=0)
    roll = w.r.random()
    if roll < 0.3:
        w.put("sfence_vma")
        return
    if roll < 0.4:  # the present address space only; entries that are written are not global
        w.put("csrr", rd=two, imm=0x180, uimm=0x180)
        w.put("srli", rd=two, rs1=two, imm=44, uimm=44)
    w.constant(one, P_TABLE + 3 * k + 2)
    if roll < 0.35:
        w.put("sfence_vma_both", rs1=one, rs2=two)
    elif roll < 0.4:
        w.put("sfence_vma_asid", rs2=two)
    else:
        w.put("sfence_vma_address", rs1=one)


def protect(w: Writer, one: int) -> None:
    """Other physical memory protection."""
    if w.mode == 3 and w.protecting:
        which = w.r.randrange(4)
        w.constant(one, w.r.randrange(P_PMP, P_PMP + 6))
        w.put("csrw", rs1=one, imm=0x3B0 + which, uimm=0x3B0 + which)
        w.constant(one, w.r.randrange(P_PMP + 6, P_STATUS))
        w.put("csrw", rs1=one, imm=0x3A0, uimm=0x3A0)


def lend(w: Writer, one: int, two: int, turn: int = -1, slot: int = 0) -> None:
    """Set or clear bits of the status: MPRV, SUM, MXR and others; set in even turns, clear in odd ones."""
    number = 0x300 if w.mode == 3 else 0x100
    w.constant(one, slot or w.r.randrange(P_STATUS, POOL_SIZE))
    how = w.r.choice(("csrrs", "csrrc")) if turn < 0 else ("csrrs", "csrrc")[turn & 1]
    w.put(how, rd=two, rs1=one, imm=number, uimm=number)


def sandwich(w: Writer, depth: int) -> None:
    """Accesses, a change of how addresses are translated, the same accesses; and the other way round."""
    r = w.r
    free = [c for c in (5, 6, 7, 12, 16, 28) if c not in w.keep]
    if not free:
        return
    pointer = r.choice(free)
    w.keep.add(pointer)
    one, two = scratch(w)
    k = r.randrange(len(w.edits)) & ~1 if w.edits and r.random() < 0.7 else -1
    if k >= 0 and r.random() < 0.9:  # where that entry shows
        w.constant(pointer, P_TABLE + 3 * k + 2)
        if r.random() < 0.5:
            w.put("srli", rd=pointer, rs1=pointer, imm=12, uimm=12)
            w.put("slli", rd=pointer, rs1=pointer, imm=12, uimm=12)
            w.put("addi", rd=pointer, rs1=pointer, imm=8 * r.randrange(200))
        if w.edits[k][0] in SUPERPAGES:  # somewhere else in it than where the fence says
            w.put("lui", rd=one, imm=4096 * r.randrange(1, 16))
            w.put("sub" if w.edits[k][2] & 0x4_0000 else "add", rd=pointer, rs1=pointer, rs2=one)
    elif w.protecting and r.random() < 0.5:
        w.constant(pointer, r.randrange(P_PMP, P_PMP + 6))
        w.put("srli", rd=pointer, rs1=pointer, imm=10, uimm=10)
        w.put("slli", rd=pointer, rs1=pointer, imm=12, uimm=12)
    else:
        page = r.choice((READ_ONLY, EXECUTE_ONLY, EXECUTE_ONLY, OTHERS, OTHERS, r.randrange(DATA_PAGES)))
        w.relative(pointer, DATA + 4096 * page + 8 * r.randrange(512))
    slot = r.randrange(P_STATUS, POOL_SIZE)
    tables = r.random() < 0.3
    rows = [
        row for row in BY_KIND["memory"] if row.encoding.length == 4 and "rs1" in [f.name for f in row.encoding.fields]
    ]
    some = [(row, w.registers(row) or {}) for row in r.sample(rows, r.randrange(1, 4))]
    for turn in range(r.choice((2, 3, 4))):
        for row, chosen in some:
            w.put(row, **{**chosen, "rs1": pointer, **({"imm": 0} if row.encoding.field("imm") else {})})
        if k >= 0:
            edit_table(w, one, two, k + (turn & 1))
        elif w.protecting and r.random() < 0.4:
            protect(w, one)
        elif tables:
            other_tables(w, one, two)
        else:
            lend(w, one, two, turn, slot)
    w.keep.discard(pointer)


def interrupt(w: Writer, depth: int) -> None:
    """Let an interrupt become pending, enabled or both."""
    r = w.r
    one, two = w.target() or 29, w.target()
    w.put("addi", rd=one, rs1=0, imm=r.choice((2, 0x20, 0x22, 0x200, 0x222)))
    if w.mode == 3:
        w.put("csrrs", rd=two, rs1=one, imm=0x344, uimm=0x344)
        if r.random() < 0.8:
            w.put("csrrs", rd=0, rs1=one, imm=0x304, uimm=0x304)
        if r.random() < 0.7:
            w.put("csrrsi", rd=0, imm=0, uimm=0x300 | 8 << 12)
    elif w.mode == 1:
        w.put("csrrs", rd=two, rs1=one, imm=0x104, uimm=0x104)
        w.put("csrrsi", rd=0, imm=0, uimm=0x144 | 2 << 12)
        if r.random() < 0.8:
            w.put("csrrsi", rd=0, imm=0, uimm=0x100 | 2 << 12)
