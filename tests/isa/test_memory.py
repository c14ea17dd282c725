"""Loads, stores, atomics and fetches: alignment, page borders, what is not memory."""

from __future__ import annotations

import pytest

from popek.isa import hart, ports, table
from popek.isa.paging import PTE_A, PTE_D, PTE_R, PTE_V, PTE_W, PTE_X
from popek.lang import Trap
from tests.isa.machine import RAM, Machine
from tests.isa.test_paging import map_page

LOADS = {"lb": (1, True), "lbu": (1, False), "lh": (2, True), "lhu": (2, False), "lw": (4, True), "lwu": (4, False),
         "ld": (8, True)}  # fmt: skip
DATA = bytes(range(0x78, 0x98))


@pytest.mark.parametrize("name", LOADS)
@pytest.mark.parametrize("offset", range(9))
def test_loads_at_every_alignment(name: str, offset: int) -> None:
    m = Machine()
    m.write(RAM + 0x1FF8, DATA)                            # crosses a page border
    size, signed = LOADS[name]
    value = int.from_bytes(DATA[offset:offset + size], "little", signed=signed)
    assert m.one(f"{name} a0, {offset}(a1)", a1=RAM + 0x1FF8) == value & (1 << 64) - 1
    assert m.hart.pc == RAM + 4


@pytest.mark.parametrize(("name", "size"), [("sb", 1), ("sh", 2), ("sw", 4), ("sd", 8)])
@pytest.mark.parametrize("offset", range(9))
def test_stores_at_every_alignment(name: str, size: int, offset: int) -> None:
    m = Machine()
    m.write(RAM + 0x1FF8, DATA)
    m.one(f"{name} a0, {offset}(a1)", a0=0x1122334455667788, a1=RAM + 0x1FF8)
    stored = (0x1122334455667788).to_bytes(8, "little")[:size]
    assert m.memory[0x1FF8:0x2018] == DATA[:offset] + stored + DATA[offset + size:]


def test_a_store_across_pages_writes_nothing_when_the_second_one_faults() -> None:
    m = Machine()
    map_page(m, 0x4000, RAM + 0x4000, PTE_V | PTE_R | PTE_W | PTE_A | PTE_D)
    map_page(m, RAM, RAM, PTE_V | PTE_X | PTE_A)
    m.hart.mode = hart.SUPERVISOR
    m.one("sd a0, 0(a1)", a0=-1, a1=0x4FFC)
    assert (m.hart.mcause, m.hart.mtval) == (hart.STORE_PAGE_FAULT, 0x5000)
    assert m.word(RAM + 0x4FFC, 4) == 0


def test_an_instruction_across_pages() -> None:
    m = Machine()
    m.hart.pc = RAM + 0xFFE
    m.one("addi a0, zero, 7")
    assert (m.hart.x[10], m.hart.pc) == (7, RAM + 0x1002)


def test_an_instruction_whose_second_half_is_not_mapped() -> None:
    m = Machine()
    map_page(m, 0x4000, RAM, PTE_V | PTE_X | PTE_A)
    m.put(RAM + 0xFFE, 0x13, 2)
    m.hart.mode, m.hart.pc = hart.SUPERVISOR, 0x4FFE
    m.step()
    assert (m.hart.mcause, m.hart.mtval, m.hart.mepc) == (hart.INSTRUCTION_PAGE_FAULT, 0x5000, 0x4FFE)


@pytest.mark.parametrize(("text", "cause"), [
    ("lw a0, 0(a1)", hart.LOAD_ACCESS_FAULT), ("sw a0, 0(a1)", hart.STORE_ACCESS_FAULT),
    ("lw a0, 1(a1)", hart.LOAD_ACCESS_FAULT), ("sw a0, 1(a1)", hart.STORE_ACCESS_FAULT),
    ("lr.w a0, (a1)", hart.LOAD_ACCESS_FAULT), ("amoadd.w a0, a2, (a1)", hart.STORE_ACCESS_FAULT),
    ("cbo.zero (a1)", hart.STORE_ACCESS_FAULT),
])  # fmt: skip
def test_nothing_there(text: str, cause: int) -> None:
    m = Machine()
    m.one(text, a1=0x1000)
    assert m.hart.mcause == cause
    assert m.hart.mtval == 0x1000 + ("1(" in text)
    assert m.hart.mepc == RAM


def test_devices_get_aligned_accesses() -> None:
    seen = []

    def read(h: hart.Hart, paddr: int, size: int) -> int:
        seen.append((paddr, size))
        return 0xFFFF_FFFF_FFFF_FF80

    def write(h: hart.Hart, paddr: int, size: int, value: int) -> None:
        seen.append((paddr, size, value))

    m = Machine(ports={ports.mmio_read: read, ports.mmio_write: write})
    assert m.one("lb a0, 0(a1)", a1=0x1000) == (1 << 64) - 0x80
    assert m.one("lwu a0, 4(a1)") == 0xFFFF_FF80
    m.one("sh a2, 2(a1)", a2=0x12345678)
    assert seen == [(0x1000, 1), (0x1004, 4), (0x1002, 2, 0x5678)]


def test_a_device_that_refuses_is_an_access_fault_at_the_virtual_address() -> None:
    def refuse(h: hart.Hart, paddr: int, size: int) -> int:
        raise Trap(99, paddr)

    m = Machine(ports={ports.mmio_read: refuse})
    map_page(m, 0x4000, 0x1000_0000, PTE_V | PTE_R | PTE_A)
    map_page(m, RAM, RAM, PTE_V | PTE_X | PTE_A)
    m.hart.mode = hart.SUPERVISOR
    m.one("lw a0, 8(a1)", a1=0x4000)
    assert (m.hart.mcause, m.hart.mtval) == (hart.LOAD_ACCESS_FAULT, 0x4008)


AMOS = {"swap": lambda a, b: b, "add": lambda a, b: a + b, "xor": lambda a, b: a ^ b, "and": lambda a, b: a & b,
        "or": lambda a, b: a | b, "min": min, "max": max}  # fmt: skip


@pytest.mark.parametrize("suffix", ["w", "d"])
@pytest.mark.parametrize("name", AMOS)
@pytest.mark.parametrize(("old", "new"), [(5, -3), (-7, 2), (0x7FFF_FFFF, 1)])
def test_amos(name: str, suffix: str, old: int, new: int) -> None:
    m = Machine()
    m.put(RAM + 0x1000, old, 8 if suffix == "d" else 4)
    m.put(RAM + 0x1008, 0x55, 8)
    assert m.one(f"amo{name}.{suffix} a0, a2, (a1)", a1=RAM + 0x1000, a2=new) == old & (1 << 64) - 1
    bits = 64 if suffix == "d" else 32
    assert m.word(RAM + 0x1000, bits // 8) == AMOS[name](old, new) & (1 << bits) - 1
    assert m.word(RAM + 0x1008) == 0x55


@pytest.mark.parametrize(("name", "expected"), [("minu", 2), ("maxu", (1 << 32) - 7)])
def test_unsigned_amos(name: str, expected: int) -> None:
    m = Machine()
    m.put(RAM + 0x1000, -7, 4)
    m.one(f"amo{name}.w a0, a2, (a1)", a1=RAM + 0x1000, a2=2)
    assert m.word(RAM + 0x1000) == expected


@pytest.mark.parametrize(("text", "cause"), [
    ("lr.w a0, (a1)", hart.LOAD_MISALIGNED), ("sc.w a0, a2, (a1)", hart.STORE_MISALIGNED),
    ("lr.d a0, (a1)", hart.LOAD_MISALIGNED), ("sc.d a0, a2, (a1)", hart.STORE_MISALIGNED),
    ("amoswap.d a0, a2, (a1)", hart.STORE_MISALIGNED), ("amomax.w a0, a2, (a1)", hart.STORE_MISALIGNED),
])  # fmt: skip
def test_misaligned_atomics_raise(text: str, cause: int) -> None:
    m = Machine()
    m.one(text, a1=RAM + 0x1002)
    assert (m.hart.mcause, m.hart.mtval) == (cause, RAM + 0x1002)


def test_reservations() -> None:
    m = Machine()
    place = RAM + 0x1000
    m.put(place, 5)
    assert m.one("sc.d a0, a2, (a1)", a1=place, a2=9) == 1          # never reserved
    m.one("lr.d a0, (a1)")
    assert m.one("sc.d a0, a2, (a1)") == 0
    assert m.word(place) == 9
    assert m.one("sc.d a0, a2, (a1)") == 1                          # used up
    m.one("lr.d a0, (a1)")
    m.put(place, 10)                                                # somebody else wrote
    assert m.one("sc.d a0, a2, (a1)") == 1
    m.one("lr.d a0, (a1)")
    assert m.one("sc.d a0, a2, (a1)", a1=place + 8) == 1            # another address
    for text in ("sfence.vma", "csrrw zero, satp, zero"):           # the address may mean another place from here on
        m.one("lr.d a0, (a1)", a1=place)
        m.one(text)
        assert m.one("sc.d a0, a2, (a1)") == 1
    m.one("lr.w a0, (a1)", a1=place)
    m.hart.mepc, m.hart.mstatus = m.hart.pc + 4, m.hart.mstatus | hart.MPP
    m.one("mret")
    assert m.one("sc.w a0, a2, (a1)") == 1                          # a trap handler ran in between
    assert m.word(place) == 10


def test_another_hart_between_lr_and_sc() -> None:
    m = Machine(harts=2)
    place, (one, other) = RAM + 0x1000, m.harts

    def run(h: hart.Hart, text: str) -> int:
        h.x[11] = place
        m.put(h.pc, table.assemble(text, h.pc), 4)
        m.engine.step(h)
        return int(h.x[10])

    def after(*between: str) -> int:
        """What SC says after the other hart did something."""
        m.put(place, 5)
        other.x[12], other.x[13] = 9, 5
        run(one, "lr.d a0, (a1)")
        for text in between:
            run(other, text)
        return run(one, "sc.d a0, a2, (a1)")

    assert after() == 0
    assert after("lr.d a0, (a1)") == 0
    assert after("lr.d a0, (a1)", "sc.d a0, a2, (a1)") == 1
    assert after("amoswap.d a0, a2, (a1)", "amoswap.d a0, a3, (a1)") == 1      # 5 again
    assert after("amoor.w a0, zero, (a1)") == 1
    assert after("sd a2, 0(a1)", "sd a3, 0(a1)") == 0                          # what is not noticed: isa/reservation
    assert after("lr.w a0, (a1)", "sc.w a0, a2, (a1)", "sw a3, 0(a1)") == 1
    assert not any(version & 1 for version in m.board.versions)


def test_cache_block_zero() -> None:
    m = Machine()
    m.write(RAM + 0x1000, b"\xff" * 192)
    m.one("cbo.zero (a1)", a1=RAM + 0x1047)
    assert m.memory[0x1000:0x10C0] == b"\xff" * 64 + bytes(64) + b"\xff" * 64


def test_writes_to_marked_code_pages_are_reported() -> None:
    pages = []
    m = Machine(ports={ports.code_modified: lambda h, paddr: pages.append(paddr)})
    m.put(RAM + 0x80000 + 3, 1, 1)                                  # the map, in guest memory for want of another
    m.board.code_map = m.board.ram + 0x80000
    m.one("sw zero, 0(a1)", a1=RAM + 0x2000)
    assert pages == []
    m.one("sw zero, 8(a1)", a1=RAM + 0x3000)
    m.one("sd zero, -4(a1)")                                        # crosses into it
    m.one("amoadd.w a0, zero, (a1)")
    m.one("cbo.zero (a1)")
    page = RAM + 0x3000
    assert pages == [page + 8, page, page, *range(page, page + 64, 8)]
