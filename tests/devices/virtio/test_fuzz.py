"""Random accesses and random rings: no exception leaves a device, nothing hangs, a reset repairs.

POPEK_FUZZ multiplies the number of inputs (the release run uses 1,000,000 a device).
"""

from __future__ import annotations

import os
import random
import resource
import struct
import time

import pytest

from popek.devices.virtio import blk, console, mmio
from popek.devices.virtio.console import Console
from popek.devices.virtio.port import Port
from popek.devices.virtio.rng import Rng
from tests.devices.virtio.guest import BASE, BUFFERS, Driver
from tests.devices.virtio.test_blk import Store

INPUTS = int(20_000 * float(os.environ.get("POPEK_FUZZ", "1")))
REGISTERS = [*range(0, 0x110, 4), mmio.QUEUE_NOTIFY, mmio.QUEUE_NOTIFY, mmio.STATUS, mmio.QUEUE_READY, mmio.QUEUE_SEL]


def devices() -> dict:
    ports = [Port("tty", lambda data: None, console=True), Port("a"), Port("b", lambda data: None)]
    return {"blk": blk.Block(Store(1 << 20)), "rng": Rng(), "console": Console(ports)}


def value(rng: random.Random) -> int:
    return rng.choice((
        0, 1, 2, 3, 4, 8, 11, 15, 0xFFFF_FFFF, 1 << 31, rng.randrange(16), rng.getrandbits(32), BASE, BASE + 0x1000,
        BASE + 0x2000,
    ))  # fmt: skip


@pytest.fixture(params=["blk", "rng", "console"])
def guest(request):
    driver = Driver(devices()[request.param], memory=4 << 20)
    yield driver
    driver.mmio.close()


def grown() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_random_accesses(guest) -> None:
    rng = random.Random(1)
    before, slowest = grown(), 0.0
    for n in range(INPUTS):
        if n % 100 == 0:
            guest.start() if rng.random() < 0.5 else guest.put(mmio.STATUS, 0)
        at, size = rng.choice(REGISTERS) + (rng.random() < 0.05), rng.choice((4, 4, 4, 4, 1, 2, 8))
        start = time.perf_counter()
        if rng.random() < 0.3:
            assert 0 <= guest.get(at, size) < 1 << 8 * size
        else:
            guest.put(at, value(rng) & (1 << 8 * size) - 1, size)
        slowest = max(slowest, time.perf_counter() - start)
    assert slowest < 1 and grown() - before < 16 << 20


def address(rng: random.Random) -> int:
    return rng.choice((BASE, BASE + (4 << 20) - 8, BUFFERS + rng.randrange(1 << 20), rng.getrandbits(64), 0))


def request(rng: random.Random) -> bytes:
    """The beginning of a buffer that makes sense to some device, now and then."""
    kind = rng.choice((blk.T_IN, blk.T_OUT, blk.T_FLUSH, blk.T_GET_ID, blk.T_DISCARD, blk.T_WRITE_ZEROES, 77))
    return rng.choice((
        struct.pack("<IIQ", kind, 0, rng.choice((0, 1, 2047, 2048, rng.getrandbits(64)))),
        struct.pack("<IHH", rng.choice((0, 1, 2, 3, 0xFFFF_FFFF)), rng.randrange(9), rng.randrange(2)),
        struct.pack("<QII", rng.getrandbits(12), rng.getrandbits(12), rng.randrange(3)),
        rng.randbytes(16),
    ))  # fmt: skip


def test_random_rings(guest) -> None:
    """Descriptors, heads, indexes and tables at random, within a device that is set up."""
    rng = random.Random(2)
    before, slowest = grown(), 0.0
    for n in range(INPUTS // 4):
        if n % 50 == 0 or guest.broken():
            guest.dirty.clear()
            guest.start(size=rng.choice((1, 2, 8, 64, 0)) if isinstance(guest.mmio.device, blk.Block) else 8)
        number = rng.randrange(len(guest.rings))
        ring = guest.rings[number]
        for _ in range(rng.randrange(1, 5)):
            place = BUFFERS + 256 * rng.randrange(64)
            guest.memory.write(place, request(rng))
            ring.descriptor(
                rng.randrange(ring.size),
                place if rng.random() < 0.9 else address(rng),
                rng.choice((0, 1, 8, 15, 16, 16, 17, 512, 513, 4096, 1 << 20, rng.getrandbits(32))),
                rng.choice((0, 1, 1, 2, 2, 3, 4, 7, rng.getrandbits(16))),
                rng.choice((0, 1, rng.randrange(ring.size), rng.getrandbits(16))),
            )
        if rng.random() < 0.1:  # a table of descriptors in the guest's buffers
            entries = [(BUFFERS + 256 * rng.randrange(64), 16, rng.randrange(4), rng.randrange(5)) for _ in range(4)]
            guest.memory.write(BUFFERS, b"".join(struct.pack("<QIHH", *entry) for entry in entries))
        if rng.random() < 0.03:
            ring.posted += rng.getrandbits(16)
        start = time.perf_counter()
        ring.post(rng.randrange(ring.size) if rng.random() < 0.97 else rng.getrandbits(16))
        guest.put(mmio.QUEUE_NOTIFY, number)
        if isinstance(guest.mmio.device, console.Console) and n % 7 == 0:
            if guest.mmio.device.ports[n % 3].backlog() < 1000:
                guest.mmio.device.ports[n % 3].feed(b"input")
            guest.mmio.device.resize(n % 200, 50)
        slowest = max(slowest, time.perf_counter() - start)
    assert slowest < 1 and grown() - before < 16 << 20
    guest.mmio.worker.cancel()
    guest.start()
    assert not guest.broken()
