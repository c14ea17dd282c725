"""The main thread while a guest runs: keys and piped input to the guest, signals, the end. No terminal modes here.

Everything waits in one poll(): the guest's harts run in threads of their own, and need nothing from this one.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

CHUNK = 1 << 16
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Keys(Protocol):
    """Finds the commands to us among what is typed."""

    help: str

    def feed(self, data: bytes) -> tuple[bytes, str]: ...


class Guest(Protocol):
    """What the pump needs of a running guest."""

    @property
    def done(self) -> int: ...  # readable when it has ended

    def feed(self, data: bytes) -> object: ...

    def end_of_input(self) -> None: ...

    def backlog(self) -> int: ...  # bytes fed and not taken yet

    def stop(self) -> None: ...


class Signals:
    """`with Signals() as s:` terminating signals are remembered in `s.seen` and wake a poll() on `s.fd`."""

    def __init__(self, also: tuple[int, ...] = ()) -> None:
        self.watched = SIGNALS + also
        self.seen: list[int] = []

    def __enter__(self) -> Signals:
        self.fd, self.wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.before = {number: signal.signal(number, lambda n, _: self.seen.append(n)) for number in self.watched}
        self.wake_before = signal.set_wakeup_fd(self.wake, warn_on_full_buffer=False)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        signal.set_wakeup_fd(self.wake_before)
        for number, handler in self.before.items():
            signal.signal(number, handler)
        os.close(self.fd)
        os.close(self.wake)

    def take(self) -> list[int]:
        """The signals since the last call."""
        try:
            os.read(self.fd, 256)
        except BlockingIOError:
            pass
        seen, self.seen = self.seen, []
        return seen


def pump(
    guest: Guest,
    source: int,
    keys: Keys,
    signals: Signals,
    *,
    say: Callable[[str], None] = lambda text: None,
    on_signal: Callable[[int], bool] = lambda number: False,
) -> int:
    """Serve the guest until it has ended. Returns the signal that ended it, or 0, or -1 if the user left by key.

    `source` is the file descriptor of the input (-1: none). `on_signal` may handle a signal itself by returning True.
    """
    poll = select.poll()
    poll.register(guest.done, select.POLLIN)
    poll.register(signals.fd, select.POLLIN)
    reading = False
    open_ = source >= 0
    while True:
        want = open_ and guest.backlog() < CHUNK
        if want != reading:
            poll.register(source, select.POLLIN) if want else poll.unregister(source)
            reading = want
        ready = {fd for fd, _ in poll.poll(20 if open_ and not want else None)}
        for number in signals.take() if signals.fd in ready else ():
            if not on_signal(number):
                guest.stop()
                return number
        if guest.done in ready:
            return 0
        if source in ready and reading:
            try:
                data = os.read(source, CHUNK)
            except (BlockingIOError, InterruptedError):
                continue
            except OSError:  # the terminal went away
                data = b""
            if not data:
                open_ = False
                guest.end_of_input()
                continue
            data, command = keys.feed(data)
            if data:
                guest.feed(data)
            if command == "leave":
                guest.stop()
                return -1
            if command == "help":
                say(keys.help)
