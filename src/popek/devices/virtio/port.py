"""The host's end of one port of the virtio console: bytes to the guest, bytes from the guest. No queues here.

What the guest writes goes to a file descriptor or a function. A hart never waits for a full pipe or a slow terminal:
the port has a worker for that. What is fed to the guest is kept until the guest takes it.
"""

from __future__ import annotations

import os
import select
import stat
import time
from _thread import allocate_lock
from collections import deque
from collections.abc import Callable, Sequence

from popek.devices.virtio.worker import Worker

PIPE_PORTION = 4096  # a pipe that polls as writable takes so much without waiting (pipe(7), PIPE_BUF)
TERMINAL_BUFFER = 1 << 20  # of a console: its guest's kernel spins until a write is taken
STUCK_SECONDS = 1.0  # at the end, output that nobody takes for so long is dropped

Sink = int | Callable[[bytes], object]


class Port:
    """One port. `console` ports become terminals of the guest (hvc0), others /dev/vport..., found by `name`."""

    def __init__(
        self, name: str, sink: Sink = -1, *, console: bool = False, lost: Callable[[OSError], object] | None = None
    ) -> None:
        self.name = name
        self.console = console
        self.guest_open = False
        self.broken = False  # nobody takes what the guest writes; it is thrown away
        self._sink = sink
        self._lost = lost
        self._inbox: deque[memoryview] = deque()
        self._ended = False
        self._deliver: Callable[[], None] = lambda: None
        self._worker = Worker(f"port-{name}")
        self._unwritten = 0  # bytes that the worker has
        self._written = 0  # bytes in all
        self._closing = False
        self._waiting: deque[Callable[[], object]] = deque()
        self._waiting_lock = allocate_lock()
        self._regular = self._terminal = False
        if not callable(sink) and sink >= 0:
            mode = os.fstat(sink).st_mode
            self._regular = stat.S_ISREG(mode)
            self._terminal = stat.S_ISCHR(mode)

    # for the host, from any thread

    def feed(self, data: bytes) -> None:
        """Bytes for the guest. After an end of input this opens the port again."""
        if data:
            self._ended = False
            self._inbox.append(memoryview(data))
            self._deliver()

    def end_of_input(self) -> None:
        """The guest reads an end of file after the bytes it was fed."""
        self._ended = True
        self._deliver()

    def backlog(self) -> int:
        """Bytes fed that the guest has not taken."""
        return sum(map(len, tuple(self._inbox)))

    def after_output(self, call: Callable[[], object]) -> None:
        """Call `call` once all that the guest has written so far is written: now, or later from a worker."""
        with self._waiting_lock:
            self._waiting.append(call)
        self._settle()

    # for the device, with its lock held

    def attach(self, deliver: Callable[[], None]) -> None:
        """`deliver` is called when there is something new for the guest."""
        self._deliver = deliver

    @property
    def input_open(self) -> bool:
        """False once the guest has been fed everything and no more will come."""
        return not self._ended or bool(self._inbox)

    def has_input(self) -> bool:
        return bool(self._inbox)

    def take(self, buffers: Sequence[memoryview]) -> int:
        """Move bytes for the guest into its buffers; how many."""
        done = 0
        for buffer in buffers:
            at = 0
            while at < len(buffer) and self._inbox:
                data = self._inbox[0]
                n = min(len(buffer) - at, len(data))
                buffer[at : at + n] = data[:n]
                at += n
                if n < len(data):
                    self._inbox[0] = data[n:]
                else:
                    self._inbox.popleft()
            done += at
        return done

    def full(self) -> bool:
        """Must the guest wait with its next bytes?"""
        return self._unwritten > (TERMINAL_BUFFER if self.console else 0)

    def put(self, data: bytes, then: Callable[[], None]) -> bool:
        """Bytes from the guest. True if they are dealt with; else `then` is called (on a worker) when they are."""
        sink = self._sink
        if callable(sink):
            sink(data)
        elif sink >= 0 and not self.broken:
            at = 0
            if not self._worker.busy and not self._terminal:
                at = self._write(data, waiting=False)
            if at < len(data) and not self.broken:
                rest = data[at:]
                self._unwritten += len(rest)
                self._worker.submit(lambda: self._later(rest, then))
                return self.console and not self.full()
        return True

    def close(self) -> None:
        """Write what can be written; output that nobody takes is dropped."""
        deadline, seen = time.monotonic() + STUCK_SECONDS, self._written
        while self._unwritten and time.monotonic() < deadline:
            time.sleep(0.001)
            if self._written != seen:
                deadline, seen = time.monotonic() + STUCK_SECONDS, self._written
        self._closing = True
        self._worker.close(STUCK_SECONDS)

    # inside

    def _later(self, data: bytes, then: Callable[[], None]) -> None:
        self._write(data, waiting=True)
        self._unwritten -= len(data)
        then()  # the guest goes on, and may have more at once
        self._settle()

    def _settle(self) -> None:
        while not self._unwritten:
            with self._waiting_lock:
                call = self._waiting.popleft() if self._waiting else None
            if call is None:
                break
            call()

    def _write(self, data: bytes, waiting: bool) -> int:
        """Write to the descriptor; how much. Without `waiting` only what it takes at once."""
        fd, at = int(self._sink), 0  # type: ignore[arg-type]
        poll = select.poll()
        poll.register(fd, select.POLLOUT)
        try:
            while at < len(data) and not self._closing:
                if not self._regular and not poll.poll(100 if waiting else 0):
                    if waiting:
                        continue
                    break
                try:
                    n = os.write(fd, data[at:] if self._regular else data[at : at + PIPE_PORTION])
                except BlockingIOError:
                    if not waiting:
                        break
                    time.sleep(0.001)
                    continue
                at += n
                self._written += n
        except OSError as error:
            self.broken = True
            if self._lost is not None:
                self._lost(error)
        return at
