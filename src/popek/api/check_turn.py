"""Whose turn it is to touch guest memory while a machine is checked: the hart's, or that of other threads.

What a device's thread writes must come at a moment that can be told: so it writes while the hart is out of guest code,
at a poll point or within an access to a device. Not here: what is written down then (check).
"""

from __future__ import annotations

import threading
from collections.abc import Callable

AGAIN = 0.02  # seconds after which the hart is asked again


class Turn:
    """The hart is in guest code between `enter` and `leave`; others are in `with turn`. Never both."""

    def __init__(self, ask: Callable[[], None], gone: Callable[[], bool]) -> None:
        """`ask` makes the hart come out soon; `gone`: it is in guest code's place, but will never run any again."""
        self._ask, self._gone = ask, gone
        self._change = threading.Condition(threading.Lock())
        self._visitors = 0
        self._mine = threading.local()
        self._hart = 0
        self.inside = False

    def enter(self) -> None:
        """The hart, before it runs guest code: waits until all visitors have left."""
        with self._change:
            self._hart = threading.get_ident()
            self._change.wait_for(lambda: not self._visitors)
            self.inside = True

    def leave(self) -> None:
        """The hart, when it has come out."""
        with self._change:
            self.inside = False
            self._change.notify_all()

    def __enter__(self) -> None:
        if threading.get_ident() == self._hart:
            return  # in an access of its own
        self._mine.depth = getattr(self._mine, "depth", 0) + 1
        if self._mine.depth == 1:
            with self._change:
                self._visitors += 1
                while self.inside and not self._gone():
                    self._ask()
                    self._change.wait(AGAIN)

    def __exit__(self, *ignored: object) -> None:
        if threading.get_ident() == self._hart:
            return
        self._mine.depth -= 1
        if self._mine.depth == 0:
            with self._change:
                self._visitors -= 1
                self._change.notify_all()


class Gate:
    """A device's lock, for devices of a machine that is checked."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._turn.__enter__()
        self._lock.acquire()

    def __exit__(self, *ignored: object) -> None:
        self._lock.release()
        self._turn.__exit__()
