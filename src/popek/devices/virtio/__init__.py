"""Virtio 1.2 devices over memory-mapped registers: one file a device, `queue` and `mmio` under all of them.

What a device and its transport need of each other is said here. No device, and no host files or sockets, in this file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from popek.devices.virtio.queue import Queue
    from popek.devices.virtio.worker import Worker


class Broken(Exception):
    """The guest's driver broke a rule: its device needs a reset (2.1.2). Never leaves the transport."""


class Memory(Protocol):
    """Guest memory as a device sees it. `devices/bus.GuestMemory` is one."""

    def read(self, paddr: int, n: int) -> bytes: ...

    def view(self, paddr: int, n: int) -> memoryview: ...

    def mark_written(self, paddr: int, n: int) -> None: ...


class Line(Protocol):
    """An interrupt line."""

    def set(self, level: bool) -> None: ...


class Transport(Protocol):
    """What a device may ask of the transport it is attached to."""

    queues: list[Queue]
    worker: Worker

    def kick(self, index: int) -> None:
        """Serve a queue, as if the driver had asked for it."""

    def notify(self, queue: Queue) -> None:
        """Chains of `queue` were pushed: interrupt the guest if it wants that. With the device's lock held."""

    def config_changed(self) -> None:
        """The configuration space has new contents."""

    def call(self, function: Callable[[], object]) -> None:
        """Run `function` with the device's lock held, as if the guest had asked for it; not if it is not running."""

    def report(self, message: str) -> None:
        """Tell the user of trouble, a limited number of times."""


class Device(Protocol):
    """One virtio device. All calls but `close` come with the device's lock held, from any thread."""

    kind: int  # Device ID, section 5
    features: int  # what it offers, without the transport's own
    queue_sizes: tuple[int, ...]

    def attach(self, transport: Transport) -> None: ...

    def config(self) -> bytes:
        """The configuration space."""

    def write_config(self, offset: int, data: bytes) -> None: ...

    def start(self, features: int) -> None:
        """The driver is ready; `features` are agreed."""

    def handle_queue(self, index: int) -> bool:
        """There may be chains in a queue. True: more are left than fit into one turn, call again."""

    def reset(self) -> None:
        """Forget everything the driver said. Work under way has ended before this call."""

    def close(self) -> None: ...
