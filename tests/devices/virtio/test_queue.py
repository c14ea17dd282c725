"""Rings a driver may and may not build. What it may not ends in DEVICE_NEEDS_RESET, never in an exception."""

from __future__ import annotations

import struct

import pytest

from popek.devices.virtio import mmio
from popek.devices.virtio.queue import INDIRECT, NEXT, WRITE
from popek.devices.virtio.rng import Rng
from tests.devices.virtio.guest import BASE, BUFFERS, Driver

SIZE = 8
TOP = BASE + (16 << 20)


@pytest.fixture
def guest():
    driver = Driver(Rng(lambda n: b"R" * n)).start()
    yield driver
    driver.mmio.close()


def kick(guest: Driver, head: int = 0) -> None:
    guest.rings[0].post(head)
    guest.put(mmio.QUEUE_NOTIFY, 0)


def test_ring_wraps_around(guest) -> None:
    """Indexes count on past 2^16; heads come round and round."""
    for turn in range(70_000 // SIZE):
        for _ in range(SIZE):
            guest.add(0, [], [16], kick=False)
        guest.put(mmio.QUEUE_NOTIFY, 0)
        used = guest.used(0)
        assert len(used) == SIZE and all(u.data == b"R" * 16 for u in used), turn


@pytest.mark.parametrize(
    ("address", "length"),
    [
        (0, 16), (TOP, 16), (TOP - 8, 16), (BASE - 8, 16), ((1 << 64) - 8, 16), ((1 << 64) - 1, 1), (BASE, 0xFFFF_FFFF),
        (0x1000_1000, 4),  # a device's registers: DMA does not reach them
    ],
)  # fmt: skip
def test_buffers_outside_memory(guest, address, length) -> None:
    guest.rings[0].descriptor(0, address, length, WRITE)
    kick(guest)
    assert guest.broken()


def test_loops(guest) -> None:
    guest.rings[0].descriptor(0, BUFFERS, 16, WRITE | NEXT, 1)
    guest.rings[0].descriptor(1, BUFFERS, 16, WRITE | NEXT, 0)
    kick(guest)
    assert guest.broken()
    assert "loops" in guest.mmio.broken_because


@pytest.mark.parametrize("head", [SIZE, 0xFFFF])
def test_heads_outside_the_table(guest, head) -> None:
    kick(guest, head)
    assert guest.broken()


def test_next_outside_the_table(guest) -> None:
    guest.rings[0].descriptor(0, BUFFERS, 16, WRITE | NEXT, SIZE)
    kick(guest)
    assert guest.broken()


def test_index_that_jumps(guest) -> None:
    """More chains than the ring holds: unbounded pops from one kick."""
    guest.rings[0].posted = 40_000
    kick(guest)
    assert guest.broken()


def test_readable_after_writable(guest) -> None:
    guest.rings[0].descriptor(0, BUFFERS, 16, WRITE | NEXT, 1)
    guest.rings[0].descriptor(1, BUFFERS, 16, 0)
    kick(guest)
    assert guest.broken()


def indirect(guest: Driver, table: list[tuple[int, int, int, int]], flags: int = INDIRECT, length: int = -1) -> None:
    raw = b"".join(struct.pack("<QIHH", *entry) for entry in table)
    guest.memory.write(BUFFERS, raw)
    guest.rings[0].descriptor(0, BUFFERS, len(raw) if length < 0 else length, flags, 1)
    guest.rings[0].descriptor(1, BUFFERS + 0x1000, 16, WRITE)
    kick(guest)


ROOM = (BUFFERS + 0x1000, 16, WRITE, 0)


def test_indirect(guest) -> None:
    indirect(guest, [(BUFFERS + 0x1000, 16, WRITE | NEXT, 2), (0, 0, 0, 0), (BUFFERS + 0x1010, 8, WRITE, 0)])
    assert not guest.broken()
    assert guest.memory.read(BUFFERS + 0x1000, 25) == b"R" * 24 + b"\0"


@pytest.mark.parametrize(
    ("table", "flags", "length"),
    [
        ([ROOM], INDIRECT | NEXT, -1),
        ([ROOM], INDIRECT, 15),
        ([ROOM], INDIRECT, 0),
        ([ROOM], INDIRECT, 16 * 1025),
        ([(BUFFERS, 16, INDIRECT, 0)], INDIRECT, -1),
        ([(BUFFERS + 0x1000, 16, WRITE | NEXT, 1)], INDIRECT, -1),
        ([(BUFFERS + 0x1000, 16, WRITE | NEXT, 0)], INDIRECT, -1),
    ],
)
def test_bad_indirect_tables(guest, table, flags, length) -> None:
    indirect(guest, table, flags, length)
    assert guest.broken()


def test_indirect_table_outside_memory(guest) -> None:
    guest.rings[0].descriptor(0, TOP - 16, 32, INDIRECT)
    kick(guest)
    assert guest.broken()


def test_indirect_that_was_not_agreed() -> None:
    guest = Driver(Rng()).start(without=mmio.INDIRECT_DESC)
    indirect(guest, [ROOM])
    assert guest.broken()


def test_chains_of_many_gigabytes(guest) -> None:
    table = [(BASE, 16 << 20, WRITE | NEXT, n + 1) for n in range(300)]
    table[-1] = (BASE, 16, WRITE, 0)
    indirect(guest, table)
    assert guest.broken() and "too long" in guest.mmio.broken_because


def test_empty_buffers_are_allowed(guest) -> None:
    guest.rings[0].descriptor(0, 0, 0, WRITE)
    kick(guest)
    assert not guest.broken() and guest.rings[0].used_index() == 1


def test_reset_repairs(guest) -> None:
    kick(guest, 99)
    assert guest.broken() and guest.line.level and guest.acknowledge() == mmio.CONFIG_CHANGE
    kick(guest)  # ignored
    guest.start()
    assert not guest.broken() and not guest.line.level
    guest.add(0, [], [8])
    assert guest.used(0)[0].data == b"R" * 8


@pytest.mark.parametrize(
    ("register", "value"),
    [
        (mmio.QUEUE_NUM, 0), (mmio.QUEUE_NUM, 3), (mmio.QUEUE_NUM, 16), (mmio.QUEUE_NUM, 0xFFFF_FFFF),
        (mmio.QUEUE_DESC, BASE + 8), (mmio.QUEUE_DRIVER, BASE + 1), (mmio.QUEUE_DEVICE, BASE + 2),
        (mmio.QUEUE_DESC, 0), (mmio.QUEUE_DESC + 4, 0xFFFF_FFFF), (mmio.QUEUE_DEVICE, TOP - 64),
        (mmio.QUEUE_DRIVER, TOP),
    ],
)  # fmt: skip
def test_queues_that_cannot_be(register, value) -> None:
    guest = Driver(Rng())
    assert guest.negotiate(mmio.VERSION_1)
    for name, start in ((mmio.QUEUE_DESC, 0), (mmio.QUEUE_DRIVER, 0x1000), (mmio.QUEUE_DEVICE, 0x2000)):
        guest.put(name, BASE + start)
    guest.put(register, value)
    guest.put(mmio.QUEUE_READY, 1)
    assert guest.broken() and not guest.get(mmio.QUEUE_READY)


def test_interrupts_by_event_index(guest) -> None:
    """2.7.7: the driver says which used entry it wants to hear of."""
    guest.rings[0].want_interrupt_at(2)
    for n in range(5):
        guest.add(0, [], [1])
        assert guest.line.raised == (n >= 2)
    guest.acknowledge()
    guest.used(0)
    guest.add(0, [], [1])
    assert guest.line.raised == 2


def test_kicks_by_event_index(guest) -> None:
    guest.add(0, [], [1])
    assert guest.rings[0].kick_wanted_at() == 1


def test_suppressed_interrupts_without_event_index() -> None:
    guest = Driver(Rng()).start(without=mmio.EVENT_IDX)
    guest.rings[0].suppress(True)
    guest.add(0, [], [1])
    assert not guest.line.raised
    guest.rings[0].suppress(False)
    guest.add(0, [], [1])
    assert guest.line.raised == 1


def test_written_memory_is_reported(guest) -> None:
    guest.dirty.clear()
    guest.add(0, [], [100])
    assert any(n == 100 for _, n in guest.dirty)
