"""The user's terminal: raw mode that is always undone, and the keys that leave the guest. No machine here."""

from __future__ import annotations

import os
import signal
import termios
import time
from collections.abc import Callable
from types import TracebackType

IFLAG, OFLAG, CFLAG, LFLAG, CC = 0, 1, 2, 3, 6  # places in what tcgetattr gives

BOOT_KEYS = "Ctrl-A x leaves, Ctrl-A Ctrl-A sends one Ctrl-A, Ctrl-A h helps"
RUN_KEYS = "Ctrl-] three times within a second leaves"


def ours(fd: int) -> bool:
    """Whether `fd` is a terminal whose foreground we are: only then may its mode be changed or its keys be read."""
    try:
        return os.isatty(fd) and os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        return False


class RawMode:
    """`with RawMode(fd):` every key goes through unchanged; the old mode comes back however the process ends.

    A small child process keeps the old mode and waits for our end of a pipe to close: so the terminal comes back even
    after a crash of native code or `kill -9`. `output`: what is shown goes through unchanged too, for guests whose own
    terminal makes the ends of lines.
    """

    def __init__(self, fd: int, output: bool = False) -> None:
        self.fd = fd
        self.output = output
        self.before = termios.tcgetattr(fd)
        self.guardian = 0
        self.leash = -1

    def __enter__(self) -> RawMode:
        self._guard()
        mode = termios.tcgetattr(self.fd)
        mode[IFLAG] &= ~(
            termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP
            | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON
        )  # fmt: skip
        if self.output:
            mode[OFLAG] &= ~termios.OPOST
        mode[LFLAG] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        mode[CFLAG] = mode[CFLAG] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
        mode[CC] = list(mode[CC])
        mode[CC][termios.VMIN], mode[CC][termios.VTIME] = 1, 0
        termios.tcsetattr(self.fd, termios.TCSADRAIN, mode)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        _restore(self.fd, self.before)
        if self.guardian:
            os.write(self.leash, b"!")  # all is well
            os.close(self.leash)
            os.waitpid(self.guardian, 0)
            self.guardian = 0

    def _guard(self) -> None:
        watch, self.leash = os.pipe()
        self.guardian = os.fork()
        if self.guardian:
            os.close(watch)
            return
        try:
            for number in (
                signal.SIGINT,
                signal.SIGTERM,
                signal.SIGHUP,
                signal.SIGQUIT,
                signal.SIGTTOU,
                signal.SIGTSTP,
            ):
                signal.signal(number, signal.SIG_IGN)
            keep = sorted({watch, self.fd})
            for low, high in zip([-1, *keep], [*keep, 1 << 16], strict=True):
                if low + 1 < high:  # CPython 3.11 takes an empty range at 0 for all there are
                    os.closerange(low + 1, high)
            if os.read(watch, 1) != b"!":
                _restore(self.fd, self.before)
        finally:
            os._exit(0)


def _restore(fd: int, mode: list) -> None:
    before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    try:
        termios.tcsetattr(fd, termios.TCSADRAIN, mode)
    except termios.error:
        pass  # the terminal is gone
    finally:
        signal.signal(signal.SIGTTOU, before)


class QemuKeys:
    """Ctrl-A commands as QEMU has them."""

    help = BOOT_KEYS

    def __init__(self) -> None:
        self.pending = False

    def feed(self, data: bytes) -> tuple[bytes, str]:
        """What goes to the guest, and `""`, `"leave"` or `"help"`; what follows a `leave` is dropped."""
        out = bytearray()
        said = ""
        for byte in data:
            if not self.pending:
                if byte == 1:
                    self.pending = True
                else:
                    out.append(byte)
                continue
            self.pending = False
            if byte in b"xX":
                return bytes(out), "leave"
            if byte in b"h?":
                said = "help"
            elif byte == 1:
                out.append(1)
            else:
                out += bytes((1, byte))
        return bytes(out), said


class TripleKey:
    """Ctrl-] three times within a second, as systemd-nspawn has it: it takes no key away from a shell."""

    help = RUN_KEYS

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.times: list[float] = []

    def feed(self, data: bytes) -> tuple[bytes, str]:
        for at, byte in enumerate(data):
            if byte != 0x1D:
                self.times.clear()
                continue
            now = self.clock()
            self.times = [t for t in self.times if now - t <= 1] + [now]
            if len(self.times) == 3:
                return data[:at], "leave"
        return data, ""


class PlainInput:
    """No keys: input that is not a terminal belongs to the guest altogether."""

    help = ""

    def feed(self, data: bytes) -> tuple[bytes, str]:
        return data, ""


def size(fd: int) -> tuple[int, int]:
    """Columns and rows; 80 x 24 if nobody knows."""
    try:
        columns, rows = os.get_terminal_size(fd)
    except OSError:
        return 80, 24
    return columns or 80, rows or 24
