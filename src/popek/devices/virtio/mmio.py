"""The virtio-mmio transport, version 2 (Virtio 1.2, 4.2): registers, feature negotiation, interrupts. No device here.

Harts access the registers from their own threads, all at once. One lock a device orders what matters; interrupt status
has a lock of its own, so that reading and acknowledging an interrupt never waits for a request.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

from popek.devices.virtio import Broken, Device, Line, Memory
from popek.devices.virtio.queue import Queue
from popek.devices.virtio.worker import Worker

SIZE = 0x1000
VENDOR = 0x554D4551  # "QEMU": drivers written for its machine (xv6) look for it

# 2.1 device status
DRIVER_OK, FEATURES_OK, NEEDS_RESET, FAILED = 4, 8, 64, 128
# 6 reserved feature bits
INDIRECT_DESC, EVENT_IDX, VERSION_1 = 1 << 28, 1 << 29, 1 << 32
TRANSPORT_FEATURES = INDIRECT_DESC | EVENT_IDX | VERSION_1
# 4.2.2 interrupt status
USED_BUFFER, CONFIG_CHANGE = 1, 2

# 4.2.2 registers
MAGIC, VERSION, DEVICE_ID, VENDOR_ID = 0x000, 0x004, 0x008, 0x00C
DEVICE_FEATURES, DEVICE_FEATURES_SEL = 0x010, 0x014
DRIVER_FEATURES, DRIVER_FEATURES_SEL = 0x020, 0x024
QUEUE_SEL, QUEUE_NUM_MAX, QUEUE_NUM, QUEUE_READY, QUEUE_NOTIFY = 0x030, 0x034, 0x038, 0x044, 0x050
INTERRUPT_STATUS, INTERRUPT_ACK, STATUS = 0x060, 0x064, 0x070
QUEUE_DESC, QUEUE_DRIVER, QUEUE_DEVICE = 0x080, 0x090, 0x0A0  # low words; the high ones follow
SHM_LENGTH, SHM_BASE, CONFIG_GENERATION, CONFIG = 0x0B0, 0x0B8, 0x0FC, 0x100

_CONSTANT = {MAGIC: 0x74726976, VERSION: 2, VENDOR_ID: VENDOR}  # "virt"
_CONSTANT |= dict.fromkeys(range(SHM_LENGTH, SHM_BASE + 8, 4), 0xFFFF_FFFF)  # no shared memory
_ADDRESSES = {QUEUE_DESC: "descriptors", QUEUE_DRIVER: "driver", QUEUE_DEVICE: "device"}
_TURNS = 4  # of handle_queue in one kick; what is left is the worker's
_REPORTS = 10  # a hostile guest does not fill anybody's log


def to_stderr(message: str) -> None:
    print(f"popek: {message}", file=sys.stderr, flush=True)


class Mmio:
    """A device on the bus: `base`, `size`, `read`, `write`."""

    size = SIZE

    def __init__(
        self, base: int, device: Device, memory: Memory, irq: Line, report: Callable[[str], None] = to_stderr,
        lock: AbstractContextManager[object] | None = None,
    ) -> None:  # fmt: skip
        """`lock`: the device's, one that its thread may take again; None: its own."""
        self.base = base
        self.device = device
        self.name = type(device).__name__.lower()
        self.queues = [Queue(memory, maximum) for maximum in device.queue_sizes]
        self.worker = Worker(f"virtio-{self.name}")
        self.broken_because = ""
        self._lock = lock or threading.RLock()
        self._irq, self._irq_lock = irq, threading.Lock()
        self._report, self._reports = report, 0
        self._interrupts = 0
        self._generation = 0
        self._forget()
        device.attach(self)

    # the bus

    def read(self, offset: int, size: int) -> int:
        """A register or a part of the configuration space; what does not exist reads as zero."""
        if offset == INTERRUPT_STATUS and size == 4:
            return self._interrupts
        if offset >= CONFIG:
            with self._lock:
                return int.from_bytes(self.device.config()[offset - CONFIG : offset - CONFIG + size], "little")
        if size != 4:
            return 0
        if offset in _CONSTANT:
            return _CONSTANT[offset]
        if offset == STATUS:
            return self._status
        if offset == DEVICE_ID:
            return self.device.kind
        if offset == DEVICE_FEATURES:
            return (self.device.features | TRANSPORT_FEATURES) >> 32 * self._device_select & 0xFFFF_FFFF
        if offset == CONFIG_GENERATION:
            return self._generation
        queue = self._queue()
        if offset == QUEUE_NUM_MAX and queue:
            return queue.maximum
        if offset == QUEUE_READY and queue:
            return int(queue.ready)
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        """A register or a part of the configuration space; what does not exist swallows it."""
        if offset == QUEUE_NOTIFY:
            self.kick(value)
        elif offset == INTERRUPT_ACK:
            with self._irq_lock:
                if self._interrupts:
                    self._interrupts &= ~value
                    if not self._interrupts:
                        self._irq.set(False)
        elif offset == STATUS and not value:
            self._reset()
        elif size == 4 or offset >= CONFIG:
            with self._lock:
                try:
                    self._write(offset, size, value)
                except Broken as reason:
                    self._break(str(reason))

    def close(self) -> None:
        """End what runs beside the harts. They have stopped; guest memory is still there."""
        self.worker.close()
        self.device.close()
        with self._lock:
            self._forget()  # and with it the views of guest memory

    # what devices ask for

    def notify(self, queue: Queue) -> None:
        if queue.wants_interrupt():
            self._interrupt(USED_BUFFER)

    def config_changed(self) -> None:
        with self._lock:
            self._generation = self._generation + 1 & 0xFFFF_FFFF
            if self._live:
                self._interrupt(CONFIG_CHANGE)

    def call(self, function: Callable[[], object]) -> None:
        with self._lock:
            if self._live:
                try:
                    function()
                except Broken as reason:
                    self._break(str(reason))

    def report(self, message: str) -> None:
        self._reports += 1
        if self._reports <= _REPORTS:
            self._report(f"virtio {self.name}: {message}")

    def kick(self, index: int) -> None:
        """The driver made chains available in a queue."""
        if not 0 <= index < len(self.queues):
            return
        with self._lock:
            if not self._live or not self.queues[index].ready:
                return
            try:
                for _ in range(_TURNS):
                    if not self.device.handle_queue(index):
                        return
            except Broken as reason:
                self._break(str(reason))
                return
        self.worker.submit(lambda: self.kick(index))  # another hart fills the queue as fast as it is emptied

    # inside

    @property
    def _live(self) -> bool:
        return self._status & (DRIVER_OK | NEEDS_RESET) == DRIVER_OK

    def _queue(self) -> Queue | None:
        return self.queues[self._queue_select] if self._queue_select < len(self.queues) else None

    def _forget(self) -> None:
        self._status = 0
        self._features = 0
        self._device_select = self._driver_select = self._queue_select = 0
        for queue in self.queues:
            queue.reset()

    def _reset(self) -> None:
        """2.4: when this is done, guest memory is not touched any more."""
        with self._lock:
            self._forget()
        self.worker.cancel()  # without the lock: the job under way may need it
        with self._lock:
            self.device.reset()
            with self._irq_lock:
                self._interrupts = 0
                self._irq.set(False)

    def _interrupt(self, reason: int) -> None:
        with self._irq_lock:
            before, self._interrupts = self._interrupts, self._interrupts | reason
            if not before:
                self._irq.set(True)

    def _break(self, reason: str) -> None:
        """2.1.2: the device is in an error state until the driver resets it."""
        self.broken_because = reason
        tell = self._live
        self._status |= NEEDS_RESET
        self.report(f"the guest's driver is at fault: {reason}; the device stops until it is reset")
        if tell:
            self._interrupt(CONFIG_CHANGE)

    def _write(self, offset: int, size: int, value: int) -> None:
        if offset >= CONFIG:
            self.device.write_config(offset - CONFIG, (value & (1 << 8 * size) - 1).to_bytes(size, "little"))
        elif offset == DEVICE_FEATURES_SEL:
            self._device_select = min(value, 2)  # beyond bit 63 there are none
        elif offset == DRIVER_FEATURES_SEL:
            self._driver_select = min(value, 2)
        elif offset == DRIVER_FEATURES:
            if not self._status & FEATURES_OK and self._driver_select < 2:
                shift = 32 * self._driver_select
                self._features = self._features & ~(0xFFFF_FFFF << shift) | value << shift
        elif offset == QUEUE_SEL:
            self._queue_select = value
        elif offset == STATUS:
            self._write_status(value)
        else:
            queue = self._queue()
            if queue is not None:
                self._write_queue(queue, offset, value)

    def _write_queue(self, queue: Queue, offset: int, value: int) -> None:
        if offset == QUEUE_READY:
            if not value:
                queue.stop()
            elif not queue.ready:
                queue.start(bool(self._features & INDIRECT_DESC), bool(self._features & EVENT_IDX))
        elif queue.ready:
            return  # 4.2.2.2: not to be changed now
        elif offset == QUEUE_NUM:
            queue.size = value
        elif (area := _ADDRESSES.get(offset & ~4)) is not None:
            shift = 8 * (offset & 4)
            address = getattr(queue, area) & ~(0xFFFF_FFFF << shift)
            setattr(queue, area, address | value << shift)

    def _write_status(self, value: int) -> None:
        """3.1.1: the driver only ever adds bits. One that does not say VERSION_1 may go on (6.2): xv6 does not."""
        new = value & ~self._status & 0xBF  # never NEEDS_RESET
        if new & FEATURES_OK and self._features & ~(self.device.features | TRANSPORT_FEATURES):
            new &= ~FEATURES_OK
        if new & DRIVER_OK and not (self._status | new) & FEATURES_OK:
            raise Broken("ready without agreed features")
        self._status |= new
        if new & DRIVER_OK and self._live:
            self.device.start(self._features)
            for index in range(len(self.queues)):
                self.kick(index)  # 4.2.3.3: it may have been busy before it was ready
