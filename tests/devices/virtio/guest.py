"""What a guest's virtio driver does, for tests: registers, rings, buffers. Correct by default; tests break it."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Sequence
from typing import NamedTuple

from popek.devices.bus import GuestMemory
from popek.devices.virtio import mmio
from popek.devices.virtio.queue import INDIRECT, NEXT, WRITE

BASE = 0x8000_0000
BUFFERS = BASE + 0x10_0000


class Line:
    """An interrupt line that remembers its level and its edges."""

    def __init__(self) -> None:
        self.level = False
        self.raised = 0

    def set(self, level: bool) -> None:
        self.raised += level and not self.level
        self.level = level


class Used(NamedTuple):
    head: int
    written: int
    data: bytes  # of the writable buffers


class Ring:
    """The driver's side of one queue."""

    def __init__(self, memory: GuestMemory, number: int, size: int) -> None:
        self.memory, self.size = memory, size
        self.desc = BASE + 0x1_0000 * number + 0x1000
        self.avail = self.desc + 0x5000
        self.used = self.desc + 0x6000
        self.free = list(range(size))
        self.posted = self.seen = 0
        self.chains: dict[int, tuple[list[int], list[tuple[int, int]]]] = {}

    def descriptor(self, index: int, address: int, length: int, flags: int, following: int = 0) -> None:
        self.memory.write(self.desc + 16 * index, struct.pack("<QIHH", address, length, flags, following))

    def post(self, head: int) -> None:
        """Make a chain available."""
        self.memory.write(self.avail + 4 + 2 * (self.posted % self.size), struct.pack("<H", head))
        self.posted += 1
        self.memory.write(self.avail + 2, struct.pack("<H", self.posted & 0xFFFF))

    def want_interrupt_at(self, index: int) -> None:
        self.memory.write(self.avail + 4 + 2 * self.size, struct.pack("<H", index & 0xFFFF))

    def suppress(self, on: bool) -> None:
        self.memory.write(self.avail, struct.pack("<H", int(on)))

    def kick_wanted_at(self) -> int:
        return struct.unpack("<H", self.memory.read(self.used + 4 + 8 * self.size, 2))[0]

    def used_index(self) -> int:
        return struct.unpack("<H", self.memory.read(self.used + 2, 2))[0]


class Driver:
    """Drives one device."""

    def __init__(self, device: object, memory: int = 16 << 20) -> None:
        self.map = mmap.mmap(-1, memory)
        self.dirty: list[tuple[int, int]] = []
        self.memory = GuestMemory(BASE, memoryview(self.map), lambda a, n: self.dirty.append((a, n)))
        self.line = Line()
        self.reports: list[str] = []
        self.mmio = mmio.Mmio(0x1000_1000, device, self.memory, self.line, self.reports.append)  # type: ignore[arg-type]
        self.rings: list[Ring] = []
        self.next_buffer = BUFFERS

    def get(self, offset: int, size: int = 4) -> int:
        return self.mmio.read(offset, size)

    def put(self, offset: int, value: int, size: int = 4) -> None:
        self.mmio.write(offset, size, value)

    def offered(self) -> int:
        self.put(mmio.DEVICE_FEATURES_SEL, 0)
        low = self.get(mmio.DEVICE_FEATURES)
        self.put(mmio.DEVICE_FEATURES_SEL, 1)
        return self.get(mmio.DEVICE_FEATURES) << 32 | low

    def negotiate(self, features: int) -> bool:
        self.put(mmio.STATUS, 0)
        self.put(mmio.STATUS, 1)
        self.put(mmio.STATUS, 3)
        for word in (0, 1):
            self.put(mmio.DRIVER_FEATURES_SEL, word)
            self.put(mmio.DRIVER_FEATURES, features >> 32 * word & 0xFFFF_FFFF)
        self.put(mmio.STATUS, 11)
        return bool(self.get(mmio.STATUS) & mmio.FEATURES_OK)

    def start(self, without: int = 0, size: int = 0) -> Driver:
        """All that 3.1.1 says, with all offered features but `without`."""
        assert self.negotiate(self.offered() & ~without)
        self.rings = []
        number = 0
        while True:
            self.put(mmio.QUEUE_SEL, number)
            largest = self.get(mmio.QUEUE_NUM_MAX)
            if not largest:
                break
            ring = Ring(self.memory, number, size or largest)
            self.map[ring.desc - BASE : ring.desc - BASE + 0x8000] = bytes(0x8000)
            self.put(mmio.QUEUE_NUM, ring.size)
            for register, address in (
                (mmio.QUEUE_DESC, ring.desc), (mmio.QUEUE_DRIVER, ring.avail), (mmio.QUEUE_DEVICE, ring.used)
            ):  # fmt: skip
                self.put(register, address & 0xFFFF_FFFF)
                self.put(register + 4, address >> 32)
            self.put(mmio.QUEUE_READY, 1)
            assert self.get(mmio.QUEUE_READY) == 1
            self.rings.append(ring)
            number += 1
        self.put(mmio.STATUS, 15)
        return self

    def buffer(self, size: int, data: bytes = b"") -> int:
        """Place for `size` bytes. They are not given back: tests are short."""
        if self.next_buffer + size > BASE + len(self.map):
            self.next_buffer = BUFFERS
        address = self.next_buffer
        self.next_buffer += -(-size // 16) * 16
        if data:
            self.map[address - BASE : address - BASE + len(data)] = data
        return address

    def add(
        self, queue: int, out: Sequence[bytes] = (), into: Sequence[int] = (), indirect: bool = False, kick: bool = True
    ) -> int:
        """Post a chain of `out` buffers, then of buffers with room for `into` bytes; its head."""
        ring = self.rings[queue]
        places = [(self.buffer(len(data), data), len(data), 0) for data in out]
        room = [(self.buffer(n), n, WRITE) for n in into]
        table = places + room
        if indirect:
            raw = b"".join(
                struct.pack("<QIHH", a, n, flags | (NEXT if i + 1 < len(table) else 0), i + 1)
                for i, (a, n, flags) in enumerate(table)
            )
            indexes = [ring.free.pop(0)]
            ring.descriptor(indexes[0], self.buffer(len(raw), raw), len(raw), INDIRECT)
        else:
            indexes = [ring.free.pop(0) for _ in table]
            for i, (address, n, flags) in enumerate(table):
                last = i + 1 == len(table)
                ring.descriptor(indexes[i], address, n, flags | (0 if last else NEXT), 0 if last else indexes[i + 1])
        ring.chains[indexes[0]] = indexes, [(a, n) for a, n, _ in room]
        ring.post(indexes[0])
        if kick:
            self.put(mmio.QUEUE_NOTIFY, queue)
        return indexes[0]

    def used(self, queue: int) -> list[Used]:
        """The chains that came back since the last call."""
        ring = self.rings[queue]
        found = []
        while ring.seen & 0xFFFF != ring.used_index():
            place = ring.used + 4 + 8 * (ring.seen % ring.size)
            head, written = struct.unpack("<II", self.memory.read(place, 8))
            indexes, room = ring.chains.pop(head)
            ring.free.extend(indexes)
            found.append(Used(head, written, b"".join(self.memory.read(a, n) for a, n in room)))
            ring.seen += 1
        ring.want_interrupt_at(ring.seen)
        return found

    def status(self) -> int:
        return self.get(mmio.STATUS)

    def broken(self) -> bool:
        return bool(self.status() & mmio.NEEDS_RESET)

    def acknowledge(self) -> int:
        """What the interrupt handler does; the reasons."""
        reasons = self.get(mmio.INTERRUPT_STATUS)
        self.put(mmio.INTERRUPT_ACK, reasons)
        return reasons
