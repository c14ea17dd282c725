"""Starting `popek` as a user does, for the tests of the faces: plain, and on a terminal of its own. No assertions."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time

POPEK = [sys.executable, "-m", "popek"]


def popek(*arguments: str, stdin: bytes | None = None, timeout: float = 60, **more) -> subprocess.CompletedProcess:
    """Run to the end; stdin is /dev/null unless given."""
    source = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
    return subprocess.run([*POPEK, *arguments], capture_output=True, timeout=timeout, **source, **more)


def start(*arguments: str, **more) -> subprocess.Popen:
    return subprocess.Popen(
        [*POPEK, *arguments],
        **({"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more),
    )


def read_until(fd: int, text: bytes, timeout: float = 60) -> bytes:
    """Everything up to and with `text`; less if it does not come."""
    got = b""
    end = time.monotonic() + timeout
    while text not in got and time.monotonic() < end:
        if select.select([fd], [], [], 0.1)[0]:
            try:
                data = os.read(fd, 4096)
            except OSError:
                break
            if not data:
                break
            got += data
    return got


class OnTerminal:
    """`with OnTerminal("boot", ...) as t:` popek in a session with a terminal; type with `t.write`."""

    def __init__(self, *arguments: str, columns: int = 80, rows: int = 24) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execv(POPEK[0], [*POPEK, *arguments])
        self.resize(columns, rows)
        self.status: int | None = None

    def __enter__(self) -> OnTerminal:
        return self

    def __exit__(self, *ignored) -> None:
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def write(self, data: bytes) -> None:
        os.write(self.fd, data)

    def until(self, text: bytes, timeout: float = 60) -> bytes:
        return read_until(self.fd, text, timeout)

    def wait(self, timeout: float = 30) -> int:
        """The exit status."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
                return self.status
            self.until(b"\0never", 0.05)
        raise TimeoutError("popek does not end")
