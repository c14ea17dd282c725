"""Progress on stderr: one line that is drawn over on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import os
import sys
import threading
import time
from types import TracebackType

REDRAW = 0.1  # seconds between two drawings
SAY = 10.0  # seconds between two lines when nobody watches a terminal


class Progress:
    """`with Progress(enabled) as progress: progress(text, done, total)`, from any thread."""

    def __init__(self, enabled: bool, fd: int = 2) -> None:
        self.enabled = enabled
        self.terminal = os.isatty(fd)
        self.lock = threading.Lock()
        self.text = ""
        self.last = 0.0
        self.drawn = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.drawn:
            self._write("\r\x1b[K")

    def __call__(self, text: str, done: int = 0, total: int = 0) -> None:
        if not self.enabled:
            return
        with self.lock:
            now = time.monotonic()
            other = text != self.text
            if not other and now - self.last < (REDRAW if self.terminal else SAY):
                return
            self.text, self.last = text, now
            if self.terminal:
                self._write(f"\r\x1b[K{self._fit(text + amount(done, total))}")
                self.drawn = True
            else:
                self._write(f"popek: {text}{amount(done, total)}\n")

    def _fit(self, text: str) -> str:
        try:
            width = os.get_terminal_size(2).columns
        except OSError:
            width = 80
        return text[: max(width - 1, 10)]

    def _write(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except OSError:
            self.enabled = False


def amount(done: int, total: int) -> str:
    """How far: ` 12.3 of 45.6 MB (27%)`; counts below 100,000 are no bytes."""
    if not total:
        return f" {megabytes(done)}" if done >= 100_000 else ""
    share = f"{min(done * 100 // total, 100)}%"
    return f" {done / 1e6:.1f} of {megabytes(total)} ({share})" if total >= 100_000 else f" {done} of {total} ({share})"


def megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
