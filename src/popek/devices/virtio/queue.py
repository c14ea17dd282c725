"""Split virtqueues (Virtio 1.2, 2.7): chains of guest buffers come out, used chains go back. No device, no registers.

Everything in guest memory is hostile and may change while it is looked at: every value is read once, then checked;
whatever a driver must not do raises Broken. Hosts are little-endian, as the rings are.
"""

from __future__ import annotations

from _thread import allocate_lock
from collections.abc import Iterator
from struct import Struct

from popek.base.errors import PopekError
from popek.devices.virtio import Broken, Memory

NEXT, WRITE, INDIRECT = 1, 2, 4  # 2.7.5
NO_INTERRUPT = 1  # 2.7.6
MAX_SEGMENTS = 1024  # in one chain; also what one preadv() takes
MAX_BYTES = 1 << 32  # 2.7.5: a chain is never longer

_DESCRIPTOR = Struct("<QIHH")
_USED = Struct("<II")
_gate = allocate_lock()


def fence() -> None:
    """Order memory accesses before with those after it, as other threads see them."""
    with _gate:
        pass


class Chain:
    """One chain of buffers: what the guest has for the device, then where it wants to be answered."""

    __slots__ = ("generation", "head", "places", "readable", "writable")

    def __init__(self, head: int, generation: int) -> None:
        self.head = head
        self.generation = generation
        self.readable: list[memoryview] = []
        self.writable: list[memoryview] = []
        self.places: list[tuple[int, int]] = []  # guest address and length of each writable view

    def text(self, limit: int) -> bytes:
        """The readable bytes, at most `limit`."""
        if len(self.readable) == 1:
            return bytes(self.readable[0][:limit])
        parts = bytearray()
        for view in self.readable:
            parts += view[: limit - len(parts)]
        return bytes(parts)

    def room(self) -> int:
        """How many bytes the guest takes."""
        return sum(map(len, self.writable))

    def fill(self, data: bytes | memoryview) -> int:
        """Put `data` into the writable buffers; how much fitted."""
        done = 0
        for view in self.writable:
            n = min(len(view), len(data) - done)
            view[:n] = data[done : done + n]
            done += n
        return done


class Queue:
    """One virtqueue. The transport sets size and addresses, then `start`s it; everything is under the device's lock."""

    def __init__(self, memory: Memory, maximum: int) -> None:
        self.memory = memory
        self.maximum = maximum
        self.generation = 0  # counts resets: a chain from before one is never pushed
        self.reset()

    def reset(self) -> None:
        self.generation += 1
        self.size = self.maximum
        self.descriptors = self.driver = self.device = 0  # guest addresses of the three areas
        self.ready = False
        self.indirect = self.event_index = False  # agreed features
        self.taken = 0  # chains popped and not pushed
        self.next = 0  # the next entry of the available ring
        self.used = 0  # the next entry of the used ring
        self.signalled = 0  # `used` when the driver was last asked whether it wants an interrupt
        self._table = self._available = self._ring = self._used = memoryview(b"")

    def start(self, indirect: bool, event_index: bool) -> None:
        """The areas are where the driver said (2.7): find them in memory."""
        size = self.size
        if not 0 < size <= self.maximum or size & (size - 1):
            raise Broken(f"a queue of {size} entries")
        if self.descriptors % 16 or self.driver % 2 or self.device % 4:
            raise Broken("a misaligned queue")
        self.indirect, self.event_index = indirect, event_index
        self._table = self._view(self.descriptors, 16 * size)
        self._available = self._view(self.driver, 6 + 2 * size).cast("H")
        self._ring = self._view(self.device, 6 + 8 * size)
        self._used = self._ring.cast("H")
        self.next = self.used = self.signalled = self.taken = 0
        self.ready = True

    def stop(self) -> None:
        """The driver takes the queue back; it may set up another one in its place."""
        self.generation += 1
        self.ready = False
        self._table = self._available = self._ring = self._used = memoryview(b"")

    def waiting(self) -> int:
        """How many chains the driver has made available."""
        if not self.ready:
            return 0
        count = self._available[1] - self.next & 0xFFFF
        if count > self.size:
            raise Broken(f"{count} chains in a queue of {self.size}")
        return count

    def more(self) -> bool:
        """Ask to be told of the next chain; True if it came meanwhile (2.7.10)."""
        if not self.ready:
            return False
        if self.event_index:
            self._used[2 + 4 * self.size] = self.next
            fence()
        return self.waiting() > 0

    def pop(self) -> Chain | None:
        """The next chain, or None."""
        if not self.waiting():
            return None
        if self.taken >= self.size:
            raise Broken("more requests under way than the queue has room for")
        head = self._available[2 + (self.next & self.size - 1)]
        chain = Chain(head, self.generation)
        self._follow(chain, head)
        self.next = self.next + 1 & 0xFFFF
        self.taken += 1
        return chain

    def chains(self) -> Iterator[Chain]:
        """The chains that are there, at most as many as the queue is long; then asks to be told of the next one."""
        for _ in range(self.maximum):
            chain = self.pop()
            if chain is not None:
                yield chain
            elif not self.more():
                break

    def push(self, chain: Chain, written: int) -> None:
        """Give a chain back; its first `written` writable bytes may have changed."""
        if chain.generation != self.generation:
            return
        self.taken -= 1
        left = written
        for address, n in chain.places:
            if left <= 0:
                break
            self.memory.mark_written(address, min(n, left))
            left -= n
        _USED.pack_into(self._ring, 4 + 8 * (self.used & self.size - 1), chain.head, written)
        fence()
        self.used = self.used + 1 & 0xFFFF
        self._used[1] = self.used

    def wants_interrupt(self) -> bool:
        """Does the driver want to hear of what was pushed since this was last asked (2.7.7)?"""
        before, self.signalled = self.signalled, self.used
        if not self.ready or before == self.used:
            return False
        self.memory.mark_written(self.device, len(self._ring))
        fence()
        if self.event_index:
            event = self._available[2 + self.size]
            return self.used - event - 1 & 0xFFFF < self.used - before & 0xFFFF
        return not self._available[0] & NO_INTERRUPT

    def _view(self, address: int, n: int) -> memoryview:
        try:
            return self.memory.view(address, n)
        except (PopekError, ValueError, LookupError, OverflowError):
            raise Broken(f"{n} bytes at {address:#x} are not in memory") from None

    def _follow(self, chain: Chain, index: int) -> None:
        """Collect the buffers of a chain (2.7.5), which may end in an indirect table (2.7.5.3)."""
        table: memoryview | bytes = self._table
        limit = left = self.size
        nested = False
        total = 0
        while True:
            if index >= limit or left == 0:
                raise Broken("a chain that leaves its table or loops")
            left -= 1
            address, n, flags, following = _DESCRIPTOR.unpack_from(table, 16 * index)
            if flags & INDIRECT:
                if nested or flags & NEXT or not self.indirect:
                    raise Broken("an indirect table where none may be")
                if n % 16 or not 0 < n <= 16 * MAX_SEGMENTS:
                    raise Broken(f"an indirect table of {n} bytes")
                table = bytes(self._view(address, n))
                limit = left = n // 16
                nested, index = True, 0
                continue
            total += n
            if total > MAX_BYTES or len(chain.readable) + len(chain.places) >= MAX_SEGMENTS:
                raise Broken("a chain that is too long")
            if n:
                view = self._view(address, n)
                if flags & WRITE:
                    chain.writable.append(view)
                    chain.places.append((address, n))
                elif chain.places:
                    raise Broken("a readable buffer after a writable one")
                else:
                    chain.readable.append(view)
            if not flags & NEXT:
                return
            index = following
