"""An entropy source (Virtio 1.2, 5.4): the host's random numbers."""

from __future__ import annotations

import os
from collections.abc import Callable

from popek.devices.virtio import Transport

QUEUE_SIZE = 8
PORTION = 1 << 16  # of one buffer; a driver that wants more asks again


class Rng:
    """The device."""

    kind = 4
    features = 0
    queue_sizes = (QUEUE_SIZE,)

    def __init__(self, source: Callable[[int], bytes] = os.urandom) -> None:
        self.source = source

    def attach(self, transport: Transport) -> None:
        self.transport = transport
        self.queue = transport.queues[0]

    def config(self) -> bytes:
        return b""

    def write_config(self, offset: int, data: bytes) -> None:
        """There is none."""

    def start(self, features: int) -> None:
        """Nothing depends on features."""

    def handle_queue(self, index: int) -> bool:
        for chain in self.queue.chains():
            self.queue.push(chain, chain.fill(self.source(min(chain.room(), PORTION))))
        self.transport.notify(self.queue)
        return self.queue.more()

    def reset(self) -> None:
        """Nothing to forget."""

    def close(self) -> None:
        """Nothing is open."""
