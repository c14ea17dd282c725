"""What streams are made of, out of line: branches, loops, calls, jumps to anywhere, code that writes over code.

Each function writes one thing. Loops end: their counters are kept from other uses.
"""

from __future__ import annotations

from tests.engine.items import alu
from tests.engine.scaffold import CODE, CODE_PAGES, DATA, DATA_PAGES
from tests.engine.writer import (
    BASE,
    BY_KIND,
    BY_NAME,
    COUNTERS,
    LINKS,
    P_CODE,
    P_DEVICES,
    P_SATP,
    Writer,
    is_memory,
    kind,
)


def branch_to(w: Writer, index: int, distance: int) -> None:
    """Make the word at `index` a conditional branch (4 bytes, or 2 if near)."""
    _, _, length = w.p.words[index]
    if length == 2:
        row = w.r.choice(("c.beqz", "c.bnez", "c.j"))
        w.patch(index, row, imm=distance, **({} if row == "c.j" else {"rs1": w.source(True)}))
    elif w.r.random() < 0.15:
        w.patch(index, "jal", rd=w.target(), imm=distance)
    else:
        w.patch(
            index,
            w.r.choice(("beq", "bne", "blt", "bge", "bltu", "bgeu")),
            rs1=w.source(),
            rs2=w.source(),
            imm=distance,
        )


def skip(w: Writer, depth: int) -> None:
    """A forward branch over something, now and then into the middle of an instruction."""
    r = w.r
    count = r.choice((0, 1, 1, 2, 3, 4, 6))
    index = w.raw(1, 2) if count < 2 and r.random() < 0.4 else w.raw(0x13, 4)
    start = w.at
    for _ in range(count):
        w.item(depth + 1)
    odd = 2 if r.random() < 0.05 else 0
    distance = w.at - w.p.words[index][0] + odd
    if distance > (250 if w.p.words[index][2] == 2 else 4000) or distance == 0:
        return
    branch_to(w, index, distance)
    if odd:
        w.put("lui", rd=w.target())
    assert start <= w.at


def loop(w: Writer, depth: int) -> None:
    """Something a few times."""
    r = w.r
    free = [c for c in COUNTERS if c not in w.keep]
    if len(free) < 2 or w.at & 4095 > 4000 and r.random() < 0.5:
        return
    counter, other = r.sample(free, 2)
    w.keep.add(counter)
    w.put("addi", rd=counter, rs1=0, imm=r.choice((1, 2, 2, 3, 5)) if depth else r.choice((1, 2, 3, 5, 12)))
    indirect = r.random() < 0.2
    if indirect:
        w.keep.add(other)
        w.put("auipc", rd=other, imm=0)
    start = w.at
    for _ in range(r.randrange(1, 6 if depth else 10)):
        w.item(depth + 1)
    w.put("addi", rd=counter, rs1=counter, imm=-1)
    back = start - w.at
    if back < -3900:
        w.put("ecall")
    elif indirect:
        w.put("beq", rs1=counter, rs2=0, imm=8)
        w.put("jalr", rd=w.r.choice((0, 0, *LINKS)) if not w.keep & set(LINKS) else 0, rs1=other, imm=4)
    elif counter == 12 and back > -250 and r.random() < 0.7:
        w.put("c.bnez", rs1=12, imm=back)
    elif r.random() < 0.3:
        w.put("beq", rs1=counter, rs2=0, imm=8)
        w.put("jal", rd=w.target(), imm=back - 4)
    else:
        row, one, two = r.choice((("bne", counter, 0), ("bne", 0, counter), ("blt", 0, counter), ("bltu", 0, counter)))
        w.put(row, rs1=one, rs2=two, imm=back)
    w.keep -= {counter, other}


def call(w: Writer, depth: int) -> None:
    """A subroutine, directly or through a register."""
    r = w.r
    usable = [s for s in w.subroutines if s[1] not in w.keep]
    if not usable:
        return
    where, link = r.choice(usable)
    if r.random() < 0.5:
        w.put("jal", rd=link, imm=where - w.at)
    else:
        through = link if r.random() < 0.4 else w.target() or 31
        rest = w.relative(through, where, low=False)
        w.put("jalr", rd=link, rs1=through, imm=rest)


def indirect(w: Writer, depth: int) -> None:
    """jalr a little ahead."""
    r = w.r
    through = w.target() or 31
    at = w.at
    w.put("auipc", rd=through, imm=0)
    index = w.raw(0x13, 4)
    for _ in range(r.randrange(1, 4)):
        w.item(depth + 1)
    if w.at - at < 2000:
        w.patch(index, "jalr", rd=w.target(), rs1=through, imm=w.at - at)


def wild(w: Writer, depth: int) -> None:
    """To anywhere in the code."""
    through = w.target() or 31
    rest = w.relative(through, CODE + w.r.randrange(CODE_PAGES * 4096), low=False)
    w.put("jalr", rd=w.target(), rs1=through, imm=rest)


def smc(w: Writer, depth: int) -> None:
    """Write over an instruction, fence.i, run it; perhaps again."""
    r = w.r
    free = [c for c in COUNTERS if c not in w.keep]
    if len(free) < 3 or w.at & 1:
        return
    pointer, value, counter = r.sample(free, 3)
    w.keep |= {pointer, value, counter}
    index = w.put("auipc", rd=pointer, imm=0)
    again = r.random() < 0.5
    if again:
        w.put("addi", rd=counter, rs1=0, imm=3)
    w.constant(value, r.randrange(P_CODE, P_SATP))
    start = w.at
    before = r.random() < 0.4
    slot = w.at
    if before:
        w.raw(w.encode(BY_NAME["addi"], rd=w.target(), rs1=w.source()), 4)
    store, fence = w.raw(0x13, 4), w.put("fence_instruction")
    for _ in range(r.randrange(3)):
        alu(w, depth)
    if not before:
        slot = w.at
        w.raw(w.encode(BY_NAME["xori"], rd=w.target(), rs1=w.source()), 4)
    half = r.random() < 0.3  # of an instruction
    w.patch(
        store,
        "sh" if half else r.choice(("sw", "sw", "sd") if not before else ("sw",)),
        rs1=pointer,
        rs2=value,
        imm=slot - w.p.words[index][0] + (2 if half else 0),
    )
    if not before:
        w.raw(0x13, 4)  # what sd writes over
    if again:
        w.put("srli", rd=value, rs1=value, imm=32, uimm=32) if r.random() < 0.5 else alu(w, depth)
        w.put("addi", rd=counter, rs1=counter, imm=-1)
        w.put("bne", rs1=counter, rs2=0, imm=start - w.at)
    assert fence > store
    w.keep -= {pointer, value, counter}


def stride(w: Writer, depth: int) -> None:
    """Accesses whose pages change from one time to the next: over pages, to and fro, between RAM and devices."""
    r = w.r
    free = [c for c in COUNTERS if c not in w.keep]
    if len(free) < 4 or w.at & 4095 > 3900:
        return
    pointer, step, counter, other = r.sample(free, 4)
    kept = {pointer, step, counter, other}
    w.keep |= kept
    how = r.randrange(3)
    times = r.randrange(2, 16)
    if how == 0:  # over pages
        first = r.randrange(DATA_PAGES - 2)
        times = min(times, 2 * (DATA_PAGES - 2 - first)) if first < DATA_PAGES - 4 else 2
        w.relative(pointer, DATA + 4096 * first + r.choice((0, 8, 4093, 4090, r.randrange(4096))))
        w.put("lui", rd=step, imm=4096)
        if r.random() < 0.6:
            w.put("srli", rd=step, rs1=step, imm=1, uimm=1)
        else:
            times = min(times, max(1, DATA_PAGES - 2 - first))
    else:
        w.relative(pointer, DATA + 4096 * r.randrange(2, DATA_PAGES - 2) + r.choice((0, 16, r.randrange(4090))))
        if how == 1 or w.mode == 0:
            w.put("lui", rd=step, imm=r.choice((0x1000, 0x3000)))
        else:
            w.constant(step, P_DEVICES)
            w.put("xor", rd=step, rs1=step, rs2=pointer)
    w.put("addi", rd=counter, rs1=0, imm=times)
    start = w.at
    rows = [
        row
        for row in BY_KIND["memory"] + BY_KIND["amo"] * (how != 2)
        if row.encoding.length == 4 and row.encoding.field("rs1")
    ]
    for _ in range(r.randrange(1, 4)):
        row = r.choice(rows)
        chosen = w.registers(row) or {}
        chosen["rs1"] = pointer
        if row.encoding.field("imm"):
            chosen["imm"] = r.choice((0, 0, 8, 1, -3, 4))
        w.put(row, **chosen)
        if r.random() < 0.3:
            alu(w, depth)
    w.put("add" if how == 0 else "xor", rd=pointer, rs1=pointer, rs2=step)
    w.put("addi", rd=counter, rs1=counter, imm=-1)
    w.put("bne", rs1=counter, rs2=0, imm=start - w.at)
    w.keep -= kept


def wall(w: Writer, depth: int) -> None:
    """More of the same than is translated in one go."""
    rows = [row for row in BY_KIND[w.r.choice(("fp", "memory", "amo", "alu", "branch"))] if row.encoding.length == 4]
    some = w.r.sample(rows, min(len(rows), w.r.choice((1, 3, 20))))
    for _ in range(w.r.randrange(200, 700)):
        row = w.r.choice(some)
        chosen = w.registers(row) or {}
        if kind(row) == "branch":
            chosen["imm"] = w.r.choice((4, 8, 12))
        elif kind(row) == "amo" or is_memory(row):
            chosen["rs1"] = BASE[0] if w.r.random() < 0.98 else chosen.get("rs1", 0)
            if row.encoding.field("imm"):
                chosen["imm"] = 8 * w.r.randrange(-20, 20)
        w.put(row, **chosen)
    for _ in range(3):
        w.put("addi", rd=0, rs1=0, imm=0)
