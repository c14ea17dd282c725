"""A block device (Virtio 1.2, 5.2) on a store that is passed in. Disk formats are the storage room's.

Requests are done where they are noticed, on the hart that kicks: measured for 4 KiB from the page cache, that costs
17 us of CPU time against 70 us on another thread, and the guest mostly waits for them anyway. When the store turns
out to be slow (a flush, a disk that has to seek, a large request), a worker does the work and the hart runs on; while
it has work, everything goes its way, so requests keep their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from struct import Struct
from time import perf_counter_ns
from typing import Protocol

from popek.base.errors import PopekError
from popek.devices.virtio import Transport
from popek.devices.virtio.queue import Chain

SECTOR = 512
# 5.2.3 features
SEG_MAX, RO, BLK_SIZE, FLUSH, DISCARD, WRITE_ZEROES = 1 << 2, 1 << 5, 1 << 6, 1 << 9, 1 << 13, 1 << 14
# 5.2.6 requests and their outcomes
T_IN, T_OUT, T_FLUSH, T_GET_ID, T_DISCARD, T_WRITE_ZEROES = 0, 1, 4, 8, 11, 13
OK, IOERR, UNSUPP = 0, 1, 2
UNMAP = 1  # 5.2.6.1
ID_BYTES = 20

QUEUE_SIZE = 256
RANGES = 16  # in one discard
RANGE_SECTORS = 1 << 22  # 2 GiB, in one range
INLINE_BYTES = 1 << 20  # more than that at once is the worker's
# A request that takes longer than SLOW_NS is not for a hart; but one alone may be the host's load. A slow one adds
# SCORE (to at most MOST), a fast one takes 1; what is above LIMIT is for the worker.
SLOW_NS = 2_000_000
SCORE, LIMIT, MOST = 40, 60, 80

_HEADER = Struct("<IIQ")
_RANGE = Struct("<QII")
_CONFIG = Struct("<QII4xI10xHIIIIIB3x")


class Store(Protocol):
    """What holds the bytes: `storage/block.Store`. Offsets and lengths are whole sectors within `size`."""

    size: int
    read_only: bool

    def read_into(self, offset: int, views: Sequence[memoryview]) -> None: ...

    def write_from(self, offset: int, views: Sequence[memoryview]) -> None: ...

    def flush(self) -> None: ...

    def discard(self, offset: int, length: int) -> None: ...

    def write_zeroes(self, offset: int, length: int, unmap: bool) -> None: ...

    def close(self) -> None: ...


class Block:
    """The device. It owns its store."""

    kind = 2
    queue_sizes = (QUEUE_SIZE,)

    def __init__(self, store: Store, serial: str = "") -> None:
        self.store = store
        self.sectors = store.size // SECTOR
        self.serial = serial.encode()[:ID_BYTES].ljust(ID_BYTES, b"\0")
        self.features = SEG_MAX | BLK_SIZE | FLUSH | (RO if store.read_only else DISCARD | WRITE_ZEROES)
        self._slow = {T_FLUSH: MOST}  # slow until shown otherwise
        self._write_through = False
        self.requests = 0

    def attach(self, transport: Transport) -> None:
        self.transport = transport
        self.queue = transport.queues[0]

    def config(self) -> bytes:
        """5.2.4: capacity, largest request, block size, limits of discards and zeroes."""
        writable = not self.store.read_only
        limits = (RANGE_SECTORS, RANGES) if writable else (0, 0)
        return _CONFIG.pack(
            self.sectors, 0, QUEUE_SIZE - 2, SECTOR, 1, *limits, 8 if writable else 0, *limits, int(writable)
        )

    def write_config(self, offset: int, data: bytes) -> None:
        """Nothing in it can be written without the write-back switch, which is not offered."""

    def start(self, features: int) -> None:
        self._write_through = not features & FLUSH  # 5.2.6.2

    def reset(self) -> None:
        self._write_through = False

    def close(self) -> None:
        """Every write that the guest was told of is kept."""
        try:
            self.store.flush()
        except (PopekError, OSError) as error:
            self.transport.report(f"the last writes may be lost: {error}")
        self.store.close()

    def handle_queue(self, index: int) -> bool:
        queue, worker = self.queue, self.transport.worker
        for chain in queue.chains():
            request = self._request(chain)
            if request is None:
                continue
            kind, size = request[0], request[4]
            if worker.busy or size > INLINE_BYTES or kind >= T_DISCARD or self._slow.get(kind, 0) > LIMIT:
                worker.submit(partial(self._later, request))
            else:
                before = perf_counter_ns()
                self._finish(request, self._perform(*request))
                self._judge(kind, perf_counter_ns() - before)
        self.transport.notify(queue)
        return queue.more()

    def _judge(self, kind: int, spent: int) -> None:
        """Remember whether requests of this kind are fast enough for a hart."""
        score = self._slow.get(kind, 0)
        if spent > SLOW_NS:
            self._slow[kind] = min(score + SCORE, MOST)
        elif score:
            self._slow[kind] = score - 1

    def _later(self, request: Request) -> None:
        """On the worker. Guest memory and the store need no lock, the queue does."""
        before = perf_counter_ns()
        status = self._perform(*request)
        spent = perf_counter_ns() - before

        def done() -> None:
            self._judge(request[0], spent)
            self._finish(request, status)
            self.transport.notify(self.queue)

        self.transport.call(done)

    def _request(self, chain: Chain) -> Request | None:
        """5.2.6: header, data, status; how they are cut into buffers is the driver's choice (2.7.4.1)."""
        self.requests += 1
        readable, writable = chain.readable, chain.writable
        header = chain.text(_HEADER.size)
        if len(header) < _HEADER.size or not writable:
            self.queue.push(chain, 0)  # nowhere to say what is wrong
            return None
        kind, _, sector = _HEADER.unpack(header)
        last = writable[-1]
        answer = last[-1:]
        if kind == T_OUT or kind >= T_DISCARD:
            data, skip = readable, _HEADER.size
            while skip >= len(data[0]):
                skip -= len(data[0])
                data = data[1:]
                if not data:
                    break
            if skip:
                data = [data[0][skip:], *data[1:]]
        else:
            data = writable[:-1]
            if len(last) > 1:
                data.append(last[:-1])
        return kind, sector, data, answer, sum(map(len, data)), chain

    def _finish(self, request: Request, status: int) -> None:
        request[3][0] = status
        chain = request[5]
        self.queue.push(chain, chain.room())

    def _perform(
        self, kind: int, sector: int, data: list[memoryview], answer: memoryview, size: int, chain: Chain
    ) -> int:
        """Do it; the status for the guest."""
        try:
            if kind == T_IN or kind == T_OUT:
                if size % SECTOR or sector + size // SECTOR > self.sectors:
                    return IOERR
                if kind == T_IN:
                    self.store.read_into(sector * SECTOR, data)
                    return OK
                if self.store.read_only:
                    return IOERR
                self.store.write_from(sector * SECTOR, data)
                if self._write_through:
                    self.store.flush()
                return OK
            if kind == T_FLUSH:
                self.store.flush()
                return OK
            if kind == T_GET_ID:
                chain.fill(self.serial[: max(size, 0)])
                return OK
            if kind == T_DISCARD or kind == T_WRITE_ZEROES:
                return self._ranges(kind, data, size)
        except (PopekError, OSError) as error:
            self.transport.report(str(error))
            return IOERR
        return UNSUPP

    def _ranges(self, kind: int, data: list[memoryview], size: int) -> int:
        """5.2.6.2: up to `RANGES` ranges to forget or to zero."""
        if self.store.read_only or not size or size % _RANGE.size or size > RANGES * _RANGE.size:
            return IOERR
        ranges = list(_RANGE.iter_unpack(b"".join(data)))
        for sector, count, flags in ranges:
            if flags & ~UNMAP or (kind == T_DISCARD and flags):
                return UNSUPP
            if count > RANGE_SECTORS or sector + count > self.sectors:
                return IOERR
        for sector, count, flags in ranges:
            if kind == T_DISCARD:
                self.store.discard(sector * SECTOR, count * SECTOR)
            else:
                self.store.write_zeroes(sector * SECTOR, count * SECTOR, bool(flags & UNMAP))
        if self._write_through:
            self.store.flush()
        return OK


Request = tuple[int, int, list[memoryview], memoryview, int, Chain]
