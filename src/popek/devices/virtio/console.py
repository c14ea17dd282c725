"""A console with several ports (Virtio 1.2, 5.3). Where the bytes come from and go to is `port`'s.

Port 0 has queues 0 and 1, the control messages 2 and 3, port n from 1 on 2n+2 and 2n+3: first the one to the guest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from struct import Struct

from popek.devices.virtio import Broken, Transport
from popek.devices.virtio.port import Port
from popek.devices.virtio.queue import Chain

SIZE, MULTIPORT = 1 << 0, 1 << 1  # 5.3.3
# 5.3.6.2 control messages
DEVICE_READY, PORT_ADD, PORT_REMOVE, PORT_READY, CONSOLE_PORT, RESIZE, PORT_OPEN, PORT_NAME = range(8)

QUEUE_SIZE = 64
CONTROL_IN, CONTROL_OUT = 2, 3
MAX_PENDING = 4096  # control messages that the guest has not taken
MAX_WRITE = 1 << 20  # in one chain; Linux has at most 64 KiB

_CONTROL = Struct("<IHH")
_CONFIG = Struct("<HHII")
_WINDOW = Struct("<HH")


class Console:
    """The device."""

    kind = 3
    features = SIZE | MULTIPORT

    def __init__(self, ports: Sequence[Port], size: tuple[int, int] = (80, 25)) -> None:
        self.ports = list(ports)
        self.size_of_window = size  # columns, rows
        self.queue_sizes = (QUEUE_SIZE,) * (2 * len(self.ports) + 2)
        self._forget()

    def _forget(self) -> None:
        self._multiport = False
        self._pending: deque[bytes] = deque()
        self._ready: set[int] = set()  # ports that the guest has set up
        self._said_open: set[int] = set()  # ports that the guest was told are open
        for port in self.ports:
            port.guest_open = False

    # for the host, from any thread

    def resize(self, columns: int, rows: int) -> None:
        """The terminal has another size."""
        self.size_of_window = columns, rows
        self.transport.config_changed()
        self.transport.call(self._tell_size)

    # for the transport

    def attach(self, transport: Transport) -> None:
        self.transport = transport
        for number, port in enumerate(self.ports):
            port.attach(lambda n=number: transport.call(lambda: self._fed(n)))  # type: ignore[misc]

    def config(self) -> bytes:
        """5.3.4: window size, number of ports, no emergency write."""
        return _CONFIG.pack(*self.size_of_window, len(self.ports), 0)

    def write_config(self, offset: int, data: bytes) -> None:
        """Emergency writes are not offered."""

    def start(self, features: int) -> None:
        self._multiport = bool(features & MULTIPORT)
        if not self._multiport and self.ports:
            self.ports[0].guest_open = True

    def reset(self) -> None:
        self._forget()

    def close(self) -> None:
        for port in self.ports:
            port.close()

    def handle_queue(self, index: int) -> bool:
        if index == CONTROL_IN:
            self._send_pending()
            return False
        if index == CONTROL_OUT:
            return self._listen()
        number = index // 2 - (index > CONTROL_OUT)
        return self._collect(number) if index % 2 else self._deliver(number)

    # bytes

    def _queue(self, number: int, output: int) -> int:
        return 2 * number + (2 if number else 0) + output

    def _fed(self, number: int) -> None:
        """The host has something for the guest."""
        if self._deliver(number):
            index = self._queue(number, 0)
            self.transport.worker.submit(lambda: self.transport.kick(index))

    def _deliver(self, number: int) -> bool:
        """To the guest: what it has room for; then the end of input. True if there is more to do."""
        port, queue = self.ports[number], self.transport.queues[self._queue(number, 0)]
        again = False
        if (port.guest_open or port.console) and queue.ready:
            for _ in range(queue.maximum):
                if not port.has_input():
                    break
                chain = queue.pop()
                if chain is not None:
                    queue.push(chain, port.take(chain.writable))
                elif not queue.more():
                    break
            else:
                again = True
            self.transport.notify(queue)
        self._say_open(number)
        return again

    def _collect(self, number: int) -> bool:
        """From the guest, as fast as it is taken. True if there is more to do."""
        port, queue = self.ports[number], self.transport.queues[self._queue(number, 1)]
        for chain in queue.chains() if not port.full() else ():
            if sum(map(len, chain.readable)) > MAX_WRITE:
                raise Broken("too many bytes for a console at once")
            held = None if port.console else chain
            if port.put(b"".join(chain.readable), lambda held=held: self._taken(number, held)):  # type: ignore[misc]
                queue.push(chain, 0)
            if port.full():
                break
        self.transport.notify(queue)
        return not port.full() and queue.more()

    def _taken(self, number: int, held: Chain | None) -> None:
        """On the port's worker: what the guest wrote has been taken, it may go on."""
        index = self._queue(number, 1)
        if held is not None:
            self.transport.call(lambda: self.transport.queues[index].push(held, 0))
        self.transport.kick(index)

    # control messages

    def _say(self, number: int, event: int, value: int = 0, data: bytes = b"") -> None:
        if len(self._pending) >= MAX_PENDING:
            raise Broken("control messages are not taken")
        self._pending.append(_CONTROL.pack(number, event, value) + data)
        self._send_pending()

    def _send_pending(self) -> None:
        queue = self.transport.queues[CONTROL_IN]
        while self._pending and queue.ready:
            chain = queue.pop()
            if chain is not None:
                queue.push(chain, chain.fill(self._pending.popleft()))
            elif not queue.more():
                break
        self.transport.notify(queue)

    def _say_open(self, number: int) -> None:
        """Tell the guest whether anything is connected to the port, if that has changed."""
        if number in self._ready and (now := self.ports[number].input_open) != (number in self._said_open):
            self._said_open.symmetric_difference_update((number,))
            self._say(number, PORT_OPEN, int(now))

    def _tell_size(self) -> None:
        for number in sorted(self._ready):
            if self.ports[number].console:
                self._say(number, RESIZE, 0, _WINDOW.pack(*self.size_of_window))

    def _listen(self) -> bool:
        """The guest's messages."""
        queue = self.transport.queues[CONTROL_OUT]
        for chain in queue.chains():
            message = chain.text(_CONTROL.size)
            queue.push(chain, 0)
            if len(message) == _CONTROL.size and self._multiport:
                self._hear(*_CONTROL.unpack(message))
        self.transport.notify(queue)
        return queue.more()

    def _hear(self, number: int, event: int, value: int) -> None:
        if event == DEVICE_READY:
            for number in range(len(self.ports)) if value else ():
                self._say(number, PORT_ADD)
        elif number >= len(self.ports):
            return
        elif event == PORT_READY and value:
            port = self.ports[number]
            if port.console:
                self._say(number, CONSOLE_PORT, 1)
            self._say(number, PORT_NAME, 1, port.name.encode() + b"\0")
            self._ready.add(number)
            if port.console:
                self._say(number, RESIZE, 0, _WINDOW.pack(*self.size_of_window))
            self._said_open.add(number)
            self._say(number, PORT_OPEN, 1)  # even if its input has ended: the guest must see it open first
            self._fed(number)
        elif event == PORT_OPEN:
            self.ports[number].guest_open = bool(value)
            self._fed(number)
