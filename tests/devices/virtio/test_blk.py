"""The block device, as a driver sees it: requests, errors, features, slow stores."""

from __future__ import annotations

import struct
import threading
import time

import pytest

from popek.base.errors import HostProblem
from popek.devices.virtio import blk
from tests.devices.virtio.guest import Driver, Used

SECTORS = 4096


class Store:
    """A disk in memory that remembers what was asked of it."""

    read_only = False

    def __init__(self, size: int = SECTORS * 512) -> None:
        self.size = size
        self.data = bytearray(size)
        self.calls: list[tuple] = []
        self.error: Exception | None = None
        self.gate: threading.Event | None = None

    def _enter(self, *call) -> None:
        self.calls.append(call)
        if self.gate:
            assert self.gate.wait(10)
        if self.error:
            raise self.error

    def read_into(self, offset, views) -> None:
        self._enter("read", offset, sum(map(len, views)))
        for view in views:
            view[:] = self.data[offset : offset + len(view)]
            offset += len(view)

    def write_from(self, offset, views) -> None:
        self._enter("write", offset, sum(map(len, views)))
        for view in views:
            self.data[offset : offset + len(view)] = view
            offset += len(view)

    def flush(self) -> None:
        self._enter("flush")

    def discard(self, offset, length) -> None:
        self._enter("discard", offset, length)

    def write_zeroes(self, offset, length, unmap) -> None:
        self._enter("zeroes", offset, length, unmap)
        self.data[offset : offset + length] = bytes(length)

    def close(self) -> None:
        self.calls.append(("close",))


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def guest(store):
    driver = Driver(blk.Block(store, "popek-1")).start()
    yield driver
    driver.mmio.close()


def header(kind: int, sector: int = 0) -> bytes:
    return struct.pack("<IIQ", kind, 0, sector)


def request(guest: Driver, out, into, **options) -> Used:
    guest.add(0, out, into, **options)
    return finish(guest)


def finish(guest: Driver) -> Used:
    deadline = time.monotonic() + 10
    while not (found := guest.used(0)):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert len(found) == 1
    return found[0]


def status(used: Used) -> int:
    return used.data[-1]


@pytest.mark.parametrize("indirect", [False, True])
def test_write_then_read(guest, store, indirect) -> None:
    data = bytes(range(256)) * 8
    assert status(request(guest, [header(blk.T_OUT, 7), data], [1], indirect=indirect)) == blk.OK
    assert store.data[7 * 512 : 7 * 512 + 2048] == data
    used = request(guest, [header(blk.T_IN, 7)], [512, 1024, 512, 1], indirect=indirect)
    assert used.data == data + b"\0"
    assert used.written == 2049


def test_any_framing(guest, store) -> None:
    """2.7.4.1: how a request is cut into buffers means nothing."""
    data = b"x" * 512 + b"y" * 512
    assert status(request(guest, [header(blk.T_OUT, 1)[:5], header(blk.T_OUT, 1)[5:] + data[:3], data[3:]], [1])) == 0
    assert store.data[512:1536] == data
    assert request(guest, [header(blk.T_IN, 1)], [700, 325]).data == data + b"\0"
    assert request(guest, [header(blk.T_IN, 1)], [1025]).data == data + b"\0"
    assert status(request(guest, [header(blk.T_OUT, 3) + data], [1])) == 0
    assert store.data[3 * 512 : 5 * 512] == data


def test_engines_hear_of_what_was_read(guest) -> None:
    guest.dirty.clear()
    guest.add(0, [header(blk.T_IN)], [512, 1])
    room = guest.rings[0].chains[next(iter(guest.rings[0].chains))][1]
    assert set(room) <= set(guest.dirty)


def test_identity(guest) -> None:
    assert request(guest, [header(blk.T_GET_ID)], [20, 1]).data == b"popek-1".ljust(20, b"\0") + b"\0"


def test_configuration(guest, store) -> None:
    config = guest.mmio.device.config()
    assert len(config) == 60
    assert [guest.get(0x100 + at, 1) for at in range(60)] == list(config)
    assert guest.get(0x100) == SECTORS and guest.get(0x104) == 0
    assert guest.get(0x100 + 12) == 254 and guest.get(0x100 + 20) == 512
    assert guest.get(0x100 + 34, 2) == 1
    assert guest.get(0x100 + 40) == guest.get(0x100 + 52) == blk.RANGES and guest.get(0x100 + 56, 1) == 1


@pytest.mark.parametrize(
    ("sector", "size"), [(SECTORS, 512), (SECTORS - 1, 1024), ((1 << 64) - 1, 512), (1 << 55, 512), (0, 511), (0, 513)]
)
def test_outside_the_disk(guest, store, sector, size) -> None:
    assert status(request(guest, [header(blk.T_IN, sector)], [size, 1])) == blk.IOERR
    assert status(request(guest, [header(blk.T_OUT, sector), bytes(size)], [1])) == blk.IOERR
    assert not store.calls and not guest.broken()


def test_unknown_request(guest) -> None:
    assert status(request(guest, [header(99)], [16, 1])) == blk.UNSUPP


def test_no_place_for_the_status(guest) -> None:
    assert request(guest, [header(blk.T_OUT), bytes(512)], []).written == 0
    assert request(guest, [b"short"], [1]).written == 0
    assert request(guest, [], [512]).written == 0
    assert not guest.broken()


def test_store_errors_reach_guest_and_user(guest, store) -> None:
    store.error = HostProblem("disk x: no space left on the host")
    for _ in range(30):
        assert status(request(guest, [header(blk.T_OUT), bytes(512)], [1])) == blk.IOERR
    assert "no space" in guest.reports[0] and len(guest.reports) == 10
    store.error = OSError(5, "Input/output error")
    assert status(request(guest, [header(blk.T_IN)], [512, 1])) == blk.IOERR


def test_flush_and_ranges(guest, store) -> None:
    assert status(request(guest, [header(blk.T_FLUSH)], [1])) == blk.OK
    ranges = struct.pack("<QIIQII", 0, 8, 0, 16, 8, 0)
    assert status(request(guest, [header(blk.T_DISCARD), ranges], [1])) == blk.OK
    assert status(request(guest, [header(blk.T_WRITE_ZEROES), struct.pack("<QII", 8, 2, 1)], [1])) == blk.OK
    assert store.calls == [
        ("flush",), ("discard", 0, 4096), ("discard", 16 * 512, 4096), ("zeroes", 4096, 1024, True)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "ranges", "outcome"),
    [
        (blk.T_DISCARD, struct.pack("<QII", 0, 8, 1), blk.UNSUPP),
        (blk.T_WRITE_ZEROES, struct.pack("<QII", 0, 8, 2), blk.UNSUPP),
        (blk.T_DISCARD, struct.pack("<QII", SECTORS, 1, 0), blk.IOERR),
        (blk.T_DISCARD, struct.pack("<QII", (1 << 64) - 1, 2, 0), blk.IOERR),
        (blk.T_DISCARD, struct.pack("<QII", 0, 0xFFFF_FFFF, 0), blk.IOERR),
        (blk.T_DISCARD, b"", blk.IOERR),
        (blk.T_DISCARD, bytes(15), blk.IOERR),
        (blk.T_DISCARD, bytes(16) * (blk.RANGES + 1), blk.IOERR),
    ],
)
def test_ranges_that_cannot_be(guest, store, kind, ranges, outcome) -> None:
    assert status(request(guest, [header(kind), *([ranges] if ranges else [])], [1])) == outcome
    assert not store.calls


def test_read_only(store) -> None:
    store.read_only = True
    guest = Driver(blk.Block(store)).start()
    assert guest.offered() & blk.RO and not guest.offered() & blk.DISCARD
    assert status(request(guest, [header(blk.T_OUT), bytes(512)], [1])) == blk.IOERR
    assert status(request(guest, [header(blk.T_DISCARD), struct.pack("<QII", 0, 8, 0)], [1])) == blk.IOERR
    assert status(request(guest, [header(blk.T_IN)], [512, 1])) == blk.OK
    guest.mmio.close()


def test_write_through_without_flush(store) -> None:
    """5.2.6.2: a driver that cannot flush has its writes kept at once."""
    guest = Driver(blk.Block(store)).start(without=blk.FLUSH)
    assert status(request(guest, [header(blk.T_OUT), bytes(512)], [1])) == blk.OK
    assert [call[0] for call in store.calls] == ["write", "flush"]
    guest.mmio.close()


def test_a_slow_store_does_not_hold_the_hart(guest, store) -> None:
    store.gate = threading.Event()
    before = time.monotonic()
    guest.add(0, [header(blk.T_FLUSH)], [1])
    guest.add(0, [header(blk.T_OUT, 1), b"q" * 512], [1])  # behind the flush: the order stays
    assert time.monotonic() - before < 1 and not guest.used(0)
    store.gate.set()
    assert status(finish_all(guest, 2)[1]) == blk.OK
    assert [call[0] for call in store.calls] == ["flush", "write"]
    assert guest.line.level


def finish_all(guest: Driver, n: int) -> list[Used]:
    found: list[Used] = []
    deadline = time.monotonic() + 10
    while len(found) < n:
        found += guest.used(0)
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return found


def test_slowness_is_noticed(guest, store, monkeypatch) -> None:
    """Reads that were slow on the hart send the next ones to the worker."""
    monkeypatch.setattr(blk, "SLOW_NS", -1)
    for _ in range(2):
        assert status(request(guest, [header(blk.T_IN)], [512, 1])) == blk.OK
    store.gate = threading.Event()
    guest.add(0, [header(blk.T_IN)], [512, 1])
    assert not guest.used(0)
    store.gate.set()
    finish(guest)


def test_reset_waits_for_work_under_way(guest, store) -> None:
    """2.4: after a reset nothing of the guest's memory changes."""
    store.gate = threading.Event()
    guest.add(0, [header(blk.T_FLUSH)], [1])
    guest.add(0, [header(blk.T_IN)], [512, 1])
    threading.Timer(0.05, store.gate.set).start()
    guest.put(0x70, 0)
    assert [call[0] for call in store.calls] == ["flush"]
    store.data[:512] = b"z" * 512
    guest.start()
    assert request(guest, [header(blk.T_IN)], [512, 1]).data[:512] == b"z" * 512


def test_close_flushes(store) -> None:
    guest = Driver(blk.Block(store)).start()
    guest.mmio.close()
    assert store.calls == [("flush",), ("close",)]


def test_several_requests_in_one_kick(guest, store) -> None:
    for sector in range(50):
        guest.add(0, [header(blk.T_OUT, sector), bytes([sector]) * 512], [1], kick=False)
    guest.put(0x50, 0)
    assert len(guest.used(0)) == 50 and guest.line.raised == 1
    assert [store.data[512 * n] for n in range(50)] == list(range(50))
